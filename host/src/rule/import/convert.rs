//! What each parameter means here, with a note where the artifact does something else than its documentation
//! says, which is what Bewit does.

mod tables;

use serde_json::Value;

use super::super::address::Mailbox;
use super::super::defaults;
use super::super::pattern::{Pattern, PatternFault};
use super::values::{integer, is_true, list, number, text};
use super::{ImportedRule, Item, Line, Parameters};
use crate::text::Shown;

/// All parameters, in the artifact's order.
const PARAMETERS: [&str; 28] = [
    "Secret",
    "Recipients",
    "NotifyExecutor",
    "NotifyExecutorDomains",
    "NotifyMetadataEMail",
    "Sender",
    "HTML",
    "ArtifactsToAlertOn",
    "ArtifactsToIgnore",
    "ClientLabelsToAlertOn",
    "ClientLabelsToIgnore",
    "NotifyHunts",
    "NewClientArtifacts",
    "NewClientThreshold",
    "ArtifactPermToAlertOn",
    "ErrorHandling",
    "DelayThreshold",
    "SendInterval",
    "KeepEmptyRows",
    "ClientMetadata",
    "IncludeUploadsTableRows",
    "IncludeResultTableFrom",
    "ResultTableMaxColumns",
    "IncludeResultAttachmentFrom",
    "AttachmentFormat",
    "AttachmentsMaxMiB",
    "NotifyIfResultsLabels",
    "NotifyIfUploadsLabels",
];

/// What `ErrorHandling` may hold.
const SWITCHES: [&str; 4] = ["IncludeHunts", "IgnoreCancelled", "IgnoreArtifactFilters", "IgnoreDelay"];

/// A pattern that matches no text.
const NEVER: &str = r"[^\s\S]";

/// Converts one parameter set. What is not set keeps its default and is not written, unless there is something to say.
#[must_use]
pub fn convert(parameters: &Parameters) -> ImportedRule {
    let mut it = Converter { parameters, out: ImportedRule::default() };
    it.secret();
    it.recipients();
    it.executor();
    it.metadata_email();
    it.sender();
    it.boolean("HTML", "html", Vec::new());
    it.artifacts();
    it.labels();
    it.hunts();
    it.new_clients();
    it.pattern("ArtifactPermToAlertOn", "artifact_perm_to_alert_on", Invalid::Stops, |_| None);
    it.error_handling();
    it.delay();
    it.send_interval();
    it.keep_empty_rows();
    it.client_metadata();
    it.limits();
    it.result_tables();
    it.result_table_columns();
    it.result_attachments();
    it.attachment_format();
    it.attachments_size();
    it.forcing_labels();
    it.unknown();
    it.out
}

/// What an invalid pattern, which never matches, means for its filter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Invalid {
    /// Nothing passes it.
    Stops,
    /// As if it were not set.
    Off,
}

struct Converter<'a> {
    parameters: &'a Parameters,
    out: ImportedRule,
}

impl<'a> Converter<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.parameters.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text).map(std::borrow::Cow::into_owned)
    }

    fn set(&mut self, key: &'static str, value: Item, notes: Vec<String>) {
        self.out.lines.push(Line { key, value: Some(value), is_default: false, notes });
    }

    /// A parameter that was not set, but whose default differs in effect.
    fn default(&mut self, key: &'static str, value: Item, note: String) {
        self.out.lines.push(Line { key, value: Some(value), is_default: true, notes: vec![note] });
    }

    /// A parameter that becomes no key.
    fn remark(&mut self, key: &'static str, notes: Vec<String>) {
        self.out.lines.push(Line { key, value: None, is_default: false, notes });
    }

    /// Something was lost or not understood: said in the rule and on the terminal.
    fn warn(&mut self, name: &str, text: String) -> String {
        self.out.warnings.push(format!("{name}: {text}"));
        text
    }

    fn boolean(&mut self, name: &str, key: &'static str, mut notes: Vec<String>) -> bool {
        let Some(text) = self.text(name) else { return false };
        let value = is_true(&text);
        if !value && !["", "N", "NO", "FALSE"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
            notes.push(format!("{} is false for Velociraptor", Shown(&text)));
        }
        self.set(key, Item::Bool(value), notes);
        value
    }

    /// An integer, and a note if its text is none.
    fn integer(&mut self, name: &str) -> Option<(i64, Vec<String>)> {
        let value = self.get(name)?;
        Some(match number(value) {
            Some(number) => (number, Vec::new()),
            None => {
                let shown = text(value).unwrap_or_default();
                let blank = shown.is_empty();
                let note = format!("{} is no number, which is 0 for Velociraptor", Shown(&shown));
                (0, if blank { Vec::new() } else { vec![note] })
            }
        })
    }

    /// A pattern; `note` says what there is to say about the one that ends up in the rule.
    fn pattern(
        &mut self,
        name: &str,
        key: &'static str,
        invalid: Invalid,
        note: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let given = self.text(name)?;
        let mut notes = Vec::new();
        let used = match Pattern::new(&given) {
            Ok(_) => given,
            Err(error) => {
                let why = error.reason.lines().next().unwrap_or_default();
                let (used, what) = match (error.fault, invalid) {
                    (PatternFault::Invalid, Invalid::Stops) => {
                        (NEVER, "an invalid pattern never matches in Velociraptor, and neither does this one")
                    }
                    (PatternFault::Invalid, Invalid::Off) => {
                        ("", "an invalid pattern never matches in Velociraptor; here it is off")
                    }
                    (PatternFault::TooLarge, _) => ("", "it is left off; write a smaller one"),
                };
                notes.push(self.warn(name, format!("{} cannot be used ({why}): {what}", Shown(&given))));
                used.to_owned()
            }
        };
        notes.extend(note(&used));
        self.set(key, Item::Pattern(used.clone()), notes);
        Some(used)
    }

    fn secret(&mut self) {
        if let Some(name) = self.text("Secret").filter(|name| !name.trim().is_empty()) {
            let note = format!(
                "Secret {} is not part of a rule: the server, port, login and sender that it holds belong into [smtp]",
                Shown(&name)
            );
            self.remark("secret", vec![note]);
        }
    }

    fn metadata_email(&mut self) {
        if let Some(field) = self.text("NotifyMetadataEMail") {
            self.set("notify_metadata_email", Item::Text(field), Vec::new());
        }
    }

    fn sender(&mut self) {
        let Some(sender) = self.text("Sender") else { return };
        let sender = sender.trim();
        if sender.is_empty() {
            return;
        }
        match Mailbox::parse(sender) {
            Ok(_) => {
                let note = "the rule's sender beats [smtp] from; in Velociraptor the secret's from beats it".to_owned();
                self.set("sender", Item::Text(sender.to_owned()), vec![note]);
            }
            Err(error) => {
                let note = self.warn("Sender", format!("{error}; [smtp] from is used"));
                self.remark("sender", vec![note]);
            }
        }
    }

    fn artifacts(&mut self) {
        self.pattern("ArtifactsToAlertOn", "artifacts_to_alert_on", Invalid::Stops, |_| None);
        self.pattern("ArtifactsToIgnore", "artifacts_to_ignore", Invalid::Off, |_| None);
    }

    fn labels(&mut self) {
        self.pattern("ClientLabelsToAlertOn", "client_labels_to_alert_on", Invalid::Stops, |pattern| {
            let filters = !matches!(pattern, "" | "." | ".*" | ".+");
            filters.then(|| "a client without labels does not pass; in Velociraptor it does".to_owned())
        });
        self.pattern("ClientLabelsToIgnore", "client_labels_to_ignore", Invalid::Off, |pattern| {
            matches!(pattern, "." | ".*")
                .then(|| "stops clients that have a label; in Velociraptor it stops those without one too".to_owned())
        });
    }

    fn hunts(&mut self) {
        if let Some(text) = self.text("NotifyHunts") {
            let note = "a flow is of a hunt when its id ends in `.H` or the event carries a hunt; \
                        in Velociraptor when its id ends in any character and `H` or `h`";
            let notes = if is_true(&text) { Vec::new() } else { vec![note.to_owned()] };
            self.boolean("NotifyHunts", "notify_hunts", notes);
        }
    }

    fn new_clients(&mut self) {
        let threshold = match self.get("NewClientThreshold") {
            None => defaults::NEW_CLIENT_THRESHOLD,
            Some(value) => number(value).unwrap_or(0),
        };
        let note = format!(
            "blank is off; in Velociraptor blank lets every flow of a client that is new ({threshold} s) pass all filters \
             (new_client_artifacts = '.*' does that here)"
        );
        match self.text("NewClientArtifacts") {
            None if threshold > 0 => {
                self.default("new_client_artifacts", Item::Text(String::new()), note);
            }
            None => {}
            Some(_) => {
                self.pattern("NewClientArtifacts", "new_client_artifacts", Invalid::Off, |pattern| {
                    (pattern.is_empty() && threshold > 0).then(|| note.clone())
                });
            }
        }
        if let Some((threshold, notes)) = self.integer("NewClientThreshold") {
            self.set("new_client_threshold", Item::Integer(threshold), notes);
        }
    }

    fn error_handling(&mut self) {
        let Some(value) = self.get("ErrorHandling") else { return };
        let mut notes = Vec::new();
        let mut switches: Vec<Item> = Vec::new();
        for name in list(value) {
            let switch = Item::Text(name.clone());
            if !SWITCHES.contains(&name.as_str()) {
                notes.push(self.warn("ErrorHandling", format!("{} is unknown and left out", Shown(&name))));
            } else if !switches.contains(&switch) {
                switches.push(switch);
            }
        }
        if let Value::String(text) = value
            && !text.trim().is_empty()
            && !matches!(serde_json::from_str(text), Ok(Value::Array(_)))
        {
            notes.push(self.warn("ErrorHandling", format!("{} is no JSON array: an empty list", Shown(text))));
        }
        self.set("error_handling", Item::List(switches), notes);
    }

    fn delay(&mut self) {
        if let Some((seconds, mut notes)) = self.integer("DelayThreshold") {
            if seconds <= 0 {
                notes.push(
                    "0 or less is off; Velociraptor still drops flows that the clocks make shorter than that"
                        .to_owned(),
                );
            }
            self.set("delay_threshold", Item::Integer(seconds), notes);
        }
    }

    fn send_interval(&mut self) {
        let seconds = |seconds: i64| Item::Text(format!("{} s", seconds.max(0)));
        let note = "for this rule alone, and what falls inside is gathered into one mail; in Velociraptor the interval \
                    is the whole server's, and what falls inside is lost (throttle = \"drop\" does that here)";
        let Some((given, mut notes)) = self.integer("SendInterval") else {
            let default = i64::try_from(defaults::SEND_INTERVAL).unwrap_or_default();
            return self.default("send_interval", seconds(default), note.to_owned());
        };
        match given {
            0 => notes.push("0 is off; in Velociraptor it is 60 s".to_owned()),
            1.. => notes.push(note.to_owned()),
            _ => {}
        }
        self.set("send_interval", seconds(given), notes);
    }

    fn keep_empty_rows(&mut self) {
        if let Some(text) = self.text("KeepEmptyRows") {
            let note = "keeps an empty row of labels too; in Velociraptor it does not".to_owned();
            self.boolean("KeepEmptyRows", "keep_empty_rows", if is_true(&text) { vec![note] } else { Vec::new() });
        }
    }

    fn limits(&mut self) {
        if let Some((rows, notes)) = self.integer("IncludeUploadsTableRows") {
            self.set("include_uploads_table_rows", Item::Integer(rows.max(0)), notes);
        }
    }

    fn result_table_columns(&mut self) {
        let Some((columns, mut notes)) = self.integer("ResultTableMaxColumns") else { return };
        if columns > 0 {
            return self.set("result_table_max_columns", Item::Integer(columns), notes);
        }
        notes.push(format!("0 or less is the default, {} columns", defaults::RESULT_TABLE_MAX_COLUMNS));
        let default = i64::try_from(defaults::RESULT_TABLE_MAX_COLUMNS).unwrap_or_default();
        self.set("result_table_max_columns", Item::Integer(default), notes);
    }

    fn attachment_format(&mut self) {
        let Some(format) = self.text("AttachmentFormat") else { return };
        let mut notes = Vec::new();
        let known = match format.trim().to_ascii_lowercase().as_str() {
            "csv" => "csv",
            "jsonl" => "jsonl",
            "" => return,
            _ => {
                notes.push(self.warn("AttachmentFormat", format!("{} is unknown, jsonl is used", Shown(&format))));
                "jsonl"
            }
        };
        self.set("attachment_format", Item::Text(known.to_owned()), notes);
    }

    fn attachments_size(&mut self) {
        if let Some((size, mut notes)) = self.integer("AttachmentsMaxMiB") {
            if size <= 0 {
                notes.push("0 attaches nothing".to_owned());
            }
            self.set("attachments_max_mib", Item::Integer(size.max(0)), notes);
        }
    }

    fn forcing_labels(&mut self) {
        let note = |pattern: &str| {
            matches!(pattern, "." | ".*")
                .then(|| "needs a label or a hunt tag, whatever it is; in Velociraptor it needs none".to_owned())
        };
        self.pattern("NotifyIfResultsLabels", "notify_if_results_labels", Invalid::Off, note);
        self.pattern("NotifyIfUploadsLabels", "notify_if_uploads_labels", Invalid::Off, note);
    }

    fn unknown(&mut self) {
        let unknown: Vec<(String, String)> = self
            .parameters
            .0
            .iter()
            .filter(|(name, _)| !PARAMETERS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), text(value).unwrap_or_default().into_owned()))
            .collect();
        for (name, value) in unknown {
            let nearest = PARAMETERS
                .iter()
                .map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase()), known))
                .min()
                .filter(|(distance, _)| *distance <= 3)
                .map(|(_, known)| format!("; did you mean {known}?"))
                .unwrap_or_default();
            let shown = Shown(&name).to_string();
            self.out.warnings.push(format!("{shown} is no parameter of the artifact, left out{nearest}"));
            let note = format!("{shown} = {} is no parameter of the artifact, left out{nearest}", Shown(&value));
            self.remark("unknown", vec![note]);
        }
    }
}

/// A number in a table's cell: only what is more than 0 counts.
fn positive(cell: &str) -> Option<i64> {
    integer(cell.trim()).filter(|number| *number > 0)
}
