//! The decision: the artifact's filters in its order, as its documentation means them.
//!
//! ```text
//! notify = (artifacts and delay and hunts and not cancelled and labels and permissions)
//!          or new client or results label or uploads label
//! ```
//!
//! Every filter is asked, also after one has said no: who reads the trace wants to know all that stands in the way.

use std::collections::HashSet;

use super::pattern::Pattern;
use super::recipients::{Gathered, gather};
use super::{Decision, Rule, TraceEntry, TraceVerdict, Verdict};
use crate::event::{Flow, FlowCompletion};
use crate::text::{Shown, count};

/// The reason of a mail that no filter stops and none forces.
pub const MATCHES: &str = "matches the filters";

/// Name of the server itself where a client is meant.
const SERVER: &str = "server";

/// Decides whether `rule` mails for `event`, and to whom, by the built-in filters alone.
#[must_use]
pub fn decide(rule: &Rule, event: &FlowCompletion) -> Decision {
    let mut decision = filter(rule, event);
    address(rule, event, &mut decision);
    decision
}

/// Whether it is a flow of the server itself, for which no rule ever mails.
#[must_use]
pub fn is_of_the_server(event: &FlowCompletion) -> bool {
    event.key.client_id == SERVER
}

/// What the built-in filters say; nobody is named yet.
#[must_use]
pub fn filter(rule: &Rule, event: &FlowCompletion) -> Decision {
    if is_of_the_server(event) {
        return of_the_server();
    }
    let findings = findings(rule, event);

    let stopped_by = |(_, finding): &&(&str, Finding)| finding.stops();
    let stop = findings.iter().find(stopped_by);
    let force = findings.iter().find(|(_, finding)| finding.forces());
    let (decision, reason) = match (stop, force) {
        (None, _) => (Verdict::Notify, MATCHES.to_owned()),
        (Some(_), Some((filter, finding))) => (Verdict::Notify, format!("{filter}: {}", finding.detail)),
        (Some((filter, finding)), None) => {
            let others = findings.iter().filter(stopped_by).count() - 1;
            let more =
                if others == 0 { String::new() } else { format!(" (and {})", count(others as u64, "other filter")) };
            (Verdict::Skip, format!("{filter}: {}{more}", finding.detail))
        }
    };

    let mut trace: Vec<TraceEntry> = findings.into_iter().map(|(filter, finding)| finding.entry(filter)).collect();
    trace.extend(event.missing.iter().map(|sentence| TraceEntry {
        filter: "facts".to_owned(),
        verdict: TraceVerdict::Unknown,
        detail: sentence.clone(),
    }));
    Decision { decision, reason, trace, recipients: Vec::new(), notes: Vec::new() }
}

/// What each filter says, in order.
pub(super) fn findings(rule: &Rule, event: &FlowCompletion) -> [(&'static str, Finding); 11] {
    let flow = &event.flow;
    let artifacts_excused = flow.failed() && rule.error_handling.ignore_artifact_filters;
    [
        ("artifacts_to_alert_on", artifacts_to_alert_on(rule, flow, artifacts_excused)),
        ("artifacts_to_ignore", artifacts_to_ignore(rule, flow, artifacts_excused)),
        ("delay_threshold", delay_threshold(rule, event)),
        ("notify_hunts", notify_hunts(rule, event)),
        ("error_handling", cancelled(rule, flow)),
        ("client_labels_to_alert_on", client_labels_to_alert_on(rule, event)),
        ("client_labels_to_ignore", client_labels_to_ignore(rule, event)),
        ("artifact_perm_to_alert_on", artifact_perm_to_alert_on(rule, event)),
        ("new_client_artifacts", new_client_artifacts(rule, event)),
        ("notify_if_results_labels", notify_if_labels(&rule.notify_if_results_labels, event, &ROWS)),
        ("notify_if_uploads_labels", notify_if_labels(&rule.notify_if_uploads_labels, event, &FILES)),
    ]
}

/// Names whom to tell, if a mail is due; that there is nobody is an error. The last step of a decision.
pub fn address(rule: &Rule, event: &FlowCompletion, decision: &mut Decision) {
    if decision.decision != Verdict::Notify {
        return;
    }
    let Gathered { addresses, notes } = gather(rule, event);
    if addresses.is_empty() {
        decision.decision = Verdict::Error;
        decision.reason = nobody(&notes);
    }
    decision.trace.extend(notes);
    decision.recipients = addresses;
}

/// Flows of the server itself are not what the artifact is about.
fn of_the_server() -> Decision {
    let detail = "a flow of the server itself, not of a client".to_owned();
    Decision {
        decision: Verdict::Skip,
        reason: detail.clone(),
        trace: vec![TraceEntry { filter: "client_id".to_owned(), verdict: TraceVerdict::Fail, detail }],
        recipients: Vec::new(),
        notes: Vec::new(),
    }
}

/// Why there is nobody to tell: what the sources of recipients said, but for those that are not set.
fn nobody(notes: &[TraceEntry]) -> String {
    let said: Vec<&str> =
        notes.iter().filter(|note| note.verdict != TraceVerdict::Off).map(|note| note.detail.as_str()).collect();
    let why = if said.is_empty() { "no source of them is set".to_owned() } else { said.join("; ") };
    format!("no recipients: {why}")
}

/// What a filter says, and what it does.
pub(super) struct Finding {
    verdict: TraceVerdict,
    effect: Effect,
    detail: String,
}

/// What a filter does to the decision.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Lets,
    Stops,
    Forces,
}

impl Finding {
    /// No mail, unless another forces it.
    pub(super) fn stops(&self) -> bool {
        self.effect == Effect::Stops
    }

    /// A mail, whatever the others say.
    pub(super) fn forces(&self) -> bool {
        self.effect == Effect::Forces
    }

    fn pass(detail: impl Into<String>) -> Self {
        Self { verdict: TraceVerdict::Pass, effect: Effect::Lets, detail: detail.into() }
    }

    fn fail(detail: impl Into<String>) -> Self {
        Self { verdict: TraceVerdict::Fail, effect: Effect::Stops, detail: detail.into() }
    }

    fn force(detail: impl Into<String>) -> Self {
        Self { verdict: TraceVerdict::Force, effect: Effect::Forces, detail: detail.into() }
    }

    fn off(detail: impl Into<String>) -> Self {
        Self { verdict: TraceVerdict::Off, effect: Effect::Lets, detail: detail.into() }
    }

    /// One of the three that can force, and does not: no filter that stopped anything.
    fn idle(detail: impl Into<String>) -> Self {
        Self { verdict: TraceVerdict::Note, effect: Effect::Lets, detail: detail.into() }
    }

    /// The fact is not there; it counts as empty, and that has this effect.
    fn unknown(effect: Effect, detail: impl Into<String>) -> Self {
        Self { verdict: TraceVerdict::Unknown, effect, detail: detail.into() }
    }

    fn entry(self, filter: &str) -> TraceEntry {
        TraceEntry { filter: filter.to_owned(), verdict: self.verdict, detail: self.detail }
    }
}

fn artifacts_to_alert_on(rule: &Rule, flow: &Flow, excused: bool) -> Finding {
    let pattern = &rule.artifacts_to_alert_on;
    if pattern.is_empty() {
        return Finding::off("not set");
    }
    if let Some(artifact) = pattern.first_match(flow.artifacts.iter().map(String::as_str)) {
        return Finding::pass(matched(artifact, pattern));
    }
    if pattern.matches_all() {
        return Finding::pass(format!("{} matches anything", Shown(pattern.source())));
    }
    if excused {
        return Finding::pass(excuse(flow, "IgnoreArtifactFilters"));
    }
    match flow.artifacts.as_slice() {
        [] => Finding::unknown(
            Effect::Stops,
            format!("no requested artifact is known, so none matches {}", Shown(pattern.source())),
        ),
        [only] => Finding::fail(format!("{} does not match {}", Shown(only), Shown(pattern.source()))),
        [first, ..] => Finding::fail(format!(
            "none of {} requested artifacts ({}, …) matches {}",
            flow.artifacts.len(),
            Shown(first),
            Shown(pattern.source())
        )),
    }
}

fn artifacts_to_ignore(rule: &Rule, flow: &Flow, excused: bool) -> Finding {
    let pattern = &rule.artifacts_to_ignore;
    if pattern.is_empty() {
        return Finding::off("not set");
    }
    match flow.artifacts.as_slice() {
        [] => Finding::unknown(Effect::Lets, "no requested artifact is known, so none is ignored"),
        [only] if !pattern.matches(only) => {
            Finding::pass(format!("{} does not match {}", Shown(only), Shown(pattern.source())))
        }
        [_] if excused => Finding::pass(excuse(flow, "IgnoreArtifactFilters")),
        [only] => Finding::fail(matched(only, pattern)),
        several => Finding::pass(format!("{} artifacts were requested; it is asked for single ones", several.len())),
    }
}

fn delay_threshold(rule: &Rule, event: &FlowCompletion) -> Finding {
    let threshold = rule.delay_threshold;
    if threshold <= 0 {
        return Finding::off("0 or less: not asked");
    }
    let Some(created) = event.flow.create_time else {
        return Finding::unknown(Effect::Lets, "when the flow was created is not known");
    };
    let (done, unknown) = match event.timestamp {
        Some(done) => (done.unix(), false),
        None => (0, true),
    };
    let took = done.saturating_sub(created.unix());
    if took >= threshold {
        return Finding::pass(format!("{took} s from creation to completion, at least {threshold} s"));
    }
    if event.flow.failed() && rule.error_handling.ignore_delay {
        return Finding::pass(excuse(&event.flow, "IgnoreDelay"));
    }
    if unknown {
        return Finding::unknown(
            Effect::Stops,
            format!("when it was done is not known, so {threshold} s are not reached"),
        );
    }
    Finding::fail(format!("{took} s from creation to completion, less than {threshold} s"))
}

fn notify_hunts(rule: &Rule, event: &FlowCompletion) -> Finding {
    if !event.is_hunt() {
        return Finding::pass("not of a hunt");
    }
    let hunt = event.hunt_id().map_or_else(|| "a hunt".to_owned(), |id| format!("hunt {}", Shown(&id)));
    if rule.notify_hunts {
        Finding::pass(format!("of {hunt}, and flows of hunts are wanted"))
    } else if event.flow.failed() && rule.error_handling.include_hunts {
        Finding::pass(format!("of {hunt}, but {}", excuse(&event.flow, "IncludeHunts")))
    } else {
        Finding::fail(format!("of {hunt}, and flows of hunts are not wanted"))
    }
}

fn cancelled(rule: &Rule, flow: &Flow) -> Finding {
    if !rule.error_handling.ignore_cancelled {
        return Finding::off("IgnoreCancelled is not set");
    }
    if flow.cancelled() {
        Finding::fail(format!("cancelled: the status is {}", Shown(&flow.status)))
    } else {
        Finding::pass("not cancelled")
    }
}

fn client_labels_to_alert_on(rule: &Rule, event: &FlowCompletion) -> Finding {
    let pattern = &rule.client_labels_to_alert_on;
    // `.+` is the default and means the same as nothing: no filter.
    if pattern.matches_all() || pattern.source() == ".+" {
        return Finding::off(if pattern.is_empty() { "not set" } else { "matches anything: no filter" });
    }
    let Some(client) = &event.client else {
        return Finding::unknown(
            Effect::Stops,
            format!("the client's labels are not known, so none matches {}", Shown(pattern.source())),
        );
    };
    match pattern.first_match(client.labels.iter().map(String::as_str)) {
        Some(label) => Finding::pass(format!("label {}", matched(label, pattern))),
        None => Finding::fail(match client.labels.as_slice() {
            [] => format!("the client has no label; one must match {}", Shown(pattern.source())),
            [only] => format!("label {} does not match {}", Shown(only), Shown(pattern.source())),
            labels => format!("none of {} labels matches {}", labels.len(), Shown(pattern.source())),
        }),
    }
}

fn client_labels_to_ignore(rule: &Rule, event: &FlowCompletion) -> Finding {
    let pattern = &rule.client_labels_to_ignore;
    if pattern.is_empty() {
        return Finding::off("not set");
    }
    let Some(client) = &event.client else {
        return Finding::unknown(Effect::Lets, "the client's labels are not known, so none matches");
    };
    match pattern.first_match(client.labels.iter().map(String::as_str)) {
        Some(label) => Finding::fail(format!("label {}", matched(label, pattern))),
        None if client.labels.is_empty() => Finding::pass("the client has no label"),
        None => Finding::pass(format!("no label matches {}", Shown(pattern.source()))),
    }
}

/// Required permissions of the requested artifacts: not implied ones, not those of artifacts that they depend on. When
/// no requested artifact is known, all definitions that the event carries count (VQL `artifact_definitions(names=[])`).
fn artifact_perm_to_alert_on(rule: &Rule, event: &FlowCompletion) -> Finding {
    let pattern = &rule.artifact_perm_to_alert_on;
    if pattern.is_empty() {
        return Finding::off("not set");
    }
    let mut unknown: HashSet<&str> = event.flow.artifacts.iter().map(String::as_str).collect();
    let requested = unknown.clone();
    let definitions = event.artifact_definitions.as_deref().unwrap_or_default();
    let asked = |name: &str| requested.is_empty() || requested.contains(name);
    for definition in definitions.iter().filter(|definition| asked(&definition.name)) {
        unknown.remove(definition.name.as_str());
        let permissions = definition.required_permissions.iter().map(String::as_str);
        if let Some(permission) = pattern.first_match(permissions) {
            let name = Shown(&definition.name);
            let pattern = Shown(pattern.source());
            return Finding::pass(format!("{name} needs {}, which matches {pattern}", Shown(permission)));
        }
        if pattern.matches_all() {
            return Finding::pass(format!("{} is known", Shown(&definition.name)));
        }
    }
    if definitions.is_empty() || !unknown.is_empty() {
        let what = if unknown.len() == requested.len() { "the permissions" } else { "all permissions" };
        return Finding::unknown(
            Effect::Stops,
            format!("{what} of what was requested are not known, so none matches {}", Shown(pattern.source())),
        );
    }
    Finding::fail(format!("no requested artifact needs a permission that matches {}", Shown(pattern.source())))
}

/// A new client's flow: what is collected matches, and the client had enrolled less than the threshold before its start
/// (by the client's clock; by the server's if it never started).
fn new_client_artifacts(rule: &Rule, event: &FlowCompletion) -> Finding {
    let pattern = &rule.new_client_artifacts;
    if pattern.is_empty() {
        return Finding::off("not set");
    }
    if !pattern.matches_any(event.flow.artifacts.iter().map(String::as_str)) {
        return Finding::idle(format!("no requested artifact matches {}", Shown(pattern.source())));
    }
    let Some(age) = event.client_age() else {
        let seen = event.client.as_ref().is_some_and(|client| client.first_seen_at.is_some());
        return Finding::unknown(
            Effect::Lets,
            if seen {
                "when the flow started is not known, so the client is not new"
            } else {
                "when the client was first seen is not known, so it is not new"
            },
        );
    };
    let threshold = rule.new_client_threshold;
    if age < threshold {
        Finding::force(format!("a new client, first seen {age} s before the start, less than {threshold} s"))
    } else {
        Finding::idle(format!("not a new client: first seen {age} s before the start, not less than {threshold} s"))
    }
}

/// What a query must have brought for [`notify_if_labels`].
struct Brought {
    noun: &'static str,
    amount: fn(&crate::event::QueryStats) -> u64,
}

const ROWS: Brought = Brought { noun: "row", amount: |query| query.result_rows };
const FILES: Brought = Brought { noun: "file", amount: |query| query.uploaded_files };

/// A label of the client or a tag of the hunt matches, and a query has brought something.
fn notify_if_labels(pattern: &Pattern, event: &FlowCompletion, brought: &Brought) -> Finding {
    if pattern.is_empty() {
        return Finding::off("not set");
    }
    let amount: u64 = event.flow.query_stats.iter().map(brought.amount).fold(0, u64::saturating_add);
    if amount == 0 {
        return Finding::idle(format!("no query brought a {}", brought.noun));
    }
    let labels = event.client.as_ref().map(|client| client.labels.as_slice()).unwrap_or_default();
    let brought = count(amount, brought.noun);
    if let Some(label) = pattern.first_match(labels.iter().map(String::as_str)) {
        return Finding::force(format!("label {}, and there are {brought}", matched(label, pattern)));
    }
    let tags = event.hunt.as_ref().map(|hunt| hunt.tags.as_slice()).unwrap_or_default();
    if let Some(tag) = pattern.first_match(tags.iter().map(String::as_str)) {
        return Finding::force(format!("hunt tag {}, and there are {brought}", matched(tag, pattern)));
    }
    match (&event.client, event.is_hunt(), &event.hunt) {
        (None, ..) => Finding::unknown(Effect::Lets, "the client's labels are not known, so none matches"),
        (_, true, None) => Finding::unknown(Effect::Lets, "the hunt's tags are not known, so none matches"),
        (_, true, _) => Finding::idle(format!("no label and no hunt tag matches {}", Shown(pattern.source()))),
        (_, false, _) => Finding::idle(format!("no label matches {}", Shown(pattern.source()))),
    }
}

fn matched(value: &str, pattern: &Pattern) -> String {
    format!("{} matches {}", Shown(value), Shown(pattern.source()))
}

/// Why a failure may pass.
fn excuse(flow: &Flow, switch: &str) -> String {
    format!("it failed (state {}) and {switch} is set", flow.state.name())
}

#[cfg(test)]
mod tests;
