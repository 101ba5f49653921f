//! Looks at a few things in an event. `host/benches/plugins` asks the same in a native closure.
#![allow(clippy::indexing_slicing, reason = "an index into a JSON value answers null, here as in the native closure")]

use bewit_plugin::prelude::*;
use serde_json::Value;

/// Rows from which on a flow is of interest.
const MANY: u64 = 100;

/// What it looks at.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reads {
    /// Nothing: what a call costs by itself.
    Nothing,
    /// The record's fields.
    Record,
    /// The JSON text.
    Document,
}

/// What `[plugins.NAME] settings` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    reads: Reads,
}

struct Look {
    reads: Reads,
}

impl Plugin for Look {
    type Settings = Settings;

    const SETTINGS: &'static [Setting] =
        &[Setting::required("reads", "What it looks at: `nothing`, `record` or `document`.")];

    fn new(settings: Settings) -> Result<Self, Problems> {
        Ok(Self { reads: settings.reads })
    }
}

impl Filter for Look {
    fn decide(&self, event: &Event) -> Answer {
        match self.reads {
            Reads::Nothing => abstain(),
            Reads::Record => record(event),
            Reads::Document => document(event),
        }
    }
}

fn record(event: &Event) -> Answer {
    let found = event.state == "FINISHED"
        && event.labels.iter().any(|label| label == "vip")
        && event.total_rows >= MANY
        && event.artifacts.iter().any(|name| name.starts_with("Windows.EventLogs."));
    answer(found, &event.host, event.total_rows)
}

fn document(event: &Event) -> Answer {
    let document: Value = event.json()?;
    let (flow, client) = (&document["Flow"], &document["client_info"]);
    let rows = flow["total_collected_rows"].as_u64().unwrap_or_default();
    let mut labels = client["labels"].as_array().into_iter().flatten();
    let mut artifacts = flow["request"]["artifacts"].as_array().into_iter().flatten();
    let found = flow["state"] == "FINISHED"
        && labels.any(|label| label == "vip")
        && rows >= MANY
        && artifacts.any(|name| name.as_str().is_some_and(|name| name.starts_with("Windows.EventLogs.")));
    answer(found, client["os_info"]["fqdn"].as_str().unwrap_or_default(), rows)
}

fn answer(found: bool, host: &str, rows: u64) -> Answer {
    if found { keep(Note::warning(format!("{host}: {rows} rows"))) } else { abstain() }
}

export_filter!(Look: Plugin);
