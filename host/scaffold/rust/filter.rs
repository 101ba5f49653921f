//! @summary@

use bewit_plugin::prelude::*;

/// `[plugins.@name@] settings`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    label: String,
}

struct Labelled {
    label: String,
}

impl Plugin for Labelled {
    type Settings = Settings;
    const SETTINGS: &[Setting] = &[Setting::required("label", "the client label to look for, a text")];

    // What is refused here is seen by `bewit check`, and not in the night.
    fn new(settings: Settings) -> Result<Self, Problems> {
        if settings.label.is_empty() {
            return Err(Problem::new("label", "label must not be empty").into());
        }
        Ok(Self { label: settings.label })
    }
}

impl Filter for Labelled {
    // Asked for each event. `keep` adds a note to the mail, `discard` prevents the mail, `abstain` says nothing.
    fn decide(&self, event: &Event) -> Answer {
        if event.labels.iter().any(|label| label.eq_ignore_ascii_case(&self.label)) {
            keep(format!("{} has the label {}.", event.host, self.label))
        } else {
            abstain()
        }
    }
}

export_filter!(Labelled: Plugin);
