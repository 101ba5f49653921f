//! Which facts a rule needs of an event that does not carry them; pure.
//!
//! A live row has neither the request nor anything of the client. Whether that must be asked for is told from the row as it
//! is: a rule that is sure to skip, whatever the missing facts say, needs nothing. What a rule that may mail shows counts
//! as needed. Result rows and uploads come second, when the filters have decided: [`wants`].

use indexmap::IndexMap;

use super::Rule;
use super::decide::{filter, findings, is_of_the_server};
use super::pattern::Pattern;
use crate::event::{FlowCompletion, FlowState, QueryStats};
use crate::rule::Verdict;

/// Bytes of rows after which reading a source stops, where nothing else says when: for plugins, and for tables.
pub const READ: u64 = 64 << 20;
/// Uploads that are listed for a plugin.
const UPLOADS: u64 = 10_000;
/// Sources of one flow whose rows are read.
const SOURCES: usize = 1_000;

/// Facts that are needed and not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "five facts, each needed or not")]
pub struct Needs {
    /// The flow's stored record (VQL `flows()`).
    pub record: bool,
    /// VQL `client_info()`.
    pub client: bool,
    /// VQL `client_metadata()`.
    pub metadata: bool,
    /// The hunt that the flow's id names.
    pub hunt: bool,
    /// Definitions of the requested artifacts.
    pub definitions: bool,
}

impl Needs {
    /// Whether there is any.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// What one of the two needs.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            record: self.record || other.record,
            client: self.client || other.client,
            metadata: self.metadata || other.metadata,
            hunt: self.hunt || other.hunt,
            definitions: self.definitions || other.definitions,
        }
    }
}

/// What `rule` needs to decide on `event` and to write its mail.
#[must_use]
pub fn needs(rule: &Rule, event: &FlowCompletion) -> Needs {
    if is_sure_to_skip(rule, event) {
        return Needs::default();
    }
    let plugins = !rule.filters.is_empty() || !rule.renderers.is_empty();
    let metadata = plugins || !rule.client_metadata.is_empty() || !rule.notify_metadata_email.is_empty();
    Needs {
        record: !event.flow.complete,
        client: event.client.is_none(),
        metadata: metadata && event.metadata.is_none(),
        hunt: names_a_hunt(event) && event.hunt.is_none(),
        definitions: !rule.artifact_perm_to_alert_on.is_empty() && event.artifact_definitions.is_none(),
    }
}

/// Whether the flow's id alone says that it is of a hunt: only such a hunt can be asked for.
fn names_a_hunt(event: &FlowCompletion) -> bool {
    event.key.flow_id.ends_with(".H")
}

/// Whether the rule skips the event whatever the facts say that are not there.
fn is_sure_to_skip(rule: &Rule, event: &FlowCompletion) -> bool {
    if is_of_the_server(event) {
        return true;
    }
    if rule.filters.iter().any(|filter| filter.always) {
        return false;
    }
    let mut stopped = false;
    for (name, finding) in findings(rule, event) {
        if finding.forces() || !cannot_force(name, rule, event) {
            return false;
        }
        stopped |= finding.stops() && stays(name, rule, event);
    }
    stopped
}

/// Whether a filter that stops the event as it is stops it with all facts, too.
fn stays(name: &str, rule: &Rule, event: &FlowCompletion) -> bool {
    let flow = &event.flow;
    match name {
        // A failure might be wanted; a row that says nothing of its state could be one.
        "notify_hunts" => flow.complete || !rule.error_handling.include_hunts || flow.state != FlowState::Unset,
        // It is cancelled, by the row's own word.
        "error_handling" => true,
        "client_labels_to_alert_on" | "client_labels_to_ignore" => event.client.is_some(),
        "artifact_perm_to_alert_on" => flow.complete && event.artifact_definitions.is_some(),
        _ => flow.complete,
    }
}

/// Whether a filter will not force a mail, whatever the facts say that are not there. The filters that never do, do not.
fn cannot_force(name: &str, rule: &Rule, event: &FlowCompletion) -> bool {
    match name {
        "new_client_artifacts" => is_no_new_client(rule, event),
        "notify_if_results_labels" => has_no_label(&rule.notify_if_results_labels, event, |query| query.result_rows),
        "notify_if_uploads_labels" => has_no_label(&rule.notify_if_uploads_labels, event, |query| query.uploaded_files),
        _ => true,
    }
}

fn is_no_new_client(rule: &Rule, event: &FlowCompletion) -> bool {
    let (pattern, flow) = (&rule.new_client_artifacts, &event.flow);
    if pattern.is_empty() || flow.complete && !pattern.matches_any(flow.artifacts.iter().map(String::as_str)) {
        return true;
    }
    let Some(client) = &event.client else { return false };
    // A row without a start may have one in the record, before the creation that it would be told by.
    let begun = flow.complete || flow.start_time.is_some();
    client.first_seen_at.is_none() || begun && event.client_age().is_none_or(|age| age >= rule.new_client_threshold)
}

fn has_no_label(pattern: &Pattern, event: &FlowCompletion, amount: fn(&QueryStats) -> u64) -> bool {
    let flow = &event.flow;
    // A row leaves a list out that is empty, and one that it never had.
    let counted = flow.complete || !flow.query_stats.is_empty();
    if pattern.is_empty() || counted && flow.query_stats.iter().map(amount).all(|amount| amount == 0) {
        return true;
    }
    let Some(client) = &event.client else { return false };
    if names_a_hunt(event) && event.hunt.is_none() {
        return false;
    }
    let tags = event.hunt.iter().flat_map(|hunt| &hunt.tags);
    pattern.first_match(client.labels.iter().chain(tags).map(String::as_str)).is_none()
}

/// Rows of one source that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// At most so many; `None`: all.
    pub rows: Option<u64>,
    /// Bytes after which no more are read.
    pub bytes: u64,
    /// Whether a plugin reads them.
    pub plugin: bool,
}

impl Want {
    fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows.zip(other.rows).map(|(one, other)| one.max(other)),
            bytes: self.bytes.max(other.bytes),
            plugin: self.plugin || other.plugin,
        }
    }
}

/// What rules want of an event that does not carry it, beside the facts that they decide by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// By source, in the order of the event.
    pub sources: IndexMap<String, Want>,
    /// Uploads, so many of them.
    pub uploads: Option<u64>,
    /// Whether there may be a mail.
    pub mail: bool,
}

impl Wants {
    /// Whether something must be asked for.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.sources.is_empty() || self.uploads.is_some()
    }

    /// What one of the two wants.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (source, want) in other.sources {
            self.sources.entry(source).and_modify(|known| *known = known.and(want)).or_insert(want);
        }
        self.uploads = self.uploads.max(other.uploads);
        self.mail |= other.mail;
        self
    }
}

/// What `rule` wants of an event whose facts are there. Nothing, if it does not mail; `reads_rows` tells of a plugin whether
/// it may look at rows.
#[must_use]
pub fn wants(rule: &Rule, event: &FlowCompletion, reads_rows: &dyn Fn(&str) -> bool) -> Wants {
    let mails = filter(rule, event).decision == Verdict::Notify;
    let always = rule.filters.iter().any(|filter| filter.always);
    if is_of_the_server(event) || !mails && !always {
        return Wants::default();
    }
    let mut asked = rule.filters.iter().filter(|filter| mails || filter.always);
    let filters_read = asked.any(|filter| reads_rows(&filter.plugin));
    let mut wants = Wants { mail: true, ..Wants::default() };
    for source in event.flow.artifacts_with_results.iter().take(SOURCES) {
        let carried = event.results.as_ref().is_some_and(|results| results.contains_key(source));
        if !carried && let Some(want) = of_source(rule, source, filters_read) {
            wants.sources.insert(source.clone(), want);
        }
    }
    if event.uploads.is_none() && event.flow.total_uploaded_files > 0 {
        let plugins = !rule.filters.is_empty() || !rule.renderers.is_empty();
        let shown = rule.include_uploads_table_rows;
        let rows = shown.saturating_add(u64::from(shown > 0)).min(UPLOADS).max(if plugins { UPLOADS } else { 0 });
        wants.uploads = (rows > 0).then_some(rows);
    }
    wants
}

fn of_source(rule: &Rule, source: &str, filters_read: bool) -> Option<Want> {
    let plugin = filters_read || rule.renderers.iter().any(|entry| entry.source.matches(source));
    let plugin = plugin.then_some(Want { rows: None, bytes: READ, plugin: true });
    let table = rule.include_result_table_from.iter().rev().find(|entry| entry.source.matches(source));
    // One more than are shown, to know that there are more.
    let table = table.map(|entry| Want { rows: Some(entry.max_rows.saturating_add(1)), bytes: READ, plugin: false });
    let mut attached = None;
    if rule.attachments_max_mib > 0 {
        attached = rule.include_result_attachment_from.iter().rev().find(|entry| entry.source.matches(source));
    }
    let attached = attached.map(|entry| Want { rows: entry.max_rows, bytes: rule.attachments_limit(), plugin: false });
    [plugin, table, attached].into_iter().flatten().reduce(Want::and)
}

#[cfg(test)]
mod tests;
