//! What `list` lists and `retry --state` means: recipients of mails, and judgements that a plugin has put off.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use jiff::Timestamp;
use serde_json::json;

use crate::outbox::Postponed;
use crate::outbox::look::{Filter, Line, Reader};
use crate::outbox::state::State;
use crate::rule::Priority;
use crate::text::{count, one_line};

/// A state that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// Of a recipient; `failed` is also that of a judgement.
    Recipient(State),
    /// Of a judgement that waits.
    Postponed,
}

const ALL: [Listed; 9] = [
    Listed::Recipient(State::Queued),
    Listed::Recipient(State::Sending),
    Listed::Recipient(State::InData),
    Listed::Recipient(State::Deferred),
    Listed::Recipient(State::Held),
    Listed::Recipient(State::Delivered),
    Listed::Recipient(State::Failed),
    Listed::Recipient(State::Cancelled),
    Listed::Postponed,
];

impl ValueEnum for Listed {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Recipient(state) => state.name(),
            Self::Postponed => "postponed",
        }))
    }
}

/// One line of the list.
pub(super) enum Entry {
    Recipient(Line),
    Judgement(Postponed),
}

/// What is listed.
pub(super) struct Selection {
    /// `None`: no recipient.
    recipients: Option<Filter>,
    /// Judgements that wait, and those that were given up.
    judgements: (bool, bool),
    rule: Option<String>,
}

impl Selection {
    /// In one of these states, if any is named; of this rule.
    pub(super) fn new(states: &[Listed], rule: Option<&str>) -> Self {
        let of_recipients: Vec<State> = states
            .iter()
            .filter_map(|listed| match listed {
                Listed::Recipient(state) => Some(*state),
                Listed::Postponed => None,
            })
            .collect();
        let judgements = if states.is_empty() {
            (true, true)
        } else {
            (states.contains(&Listed::Postponed), of_recipients.contains(&State::Failed))
        };
        let rule = rule.map(str::to_owned);
        let recipients = (states.is_empty() || !of_recipients.is_empty()).then(|| Filter {
            states: of_recipients,
            rule: rule.clone(),
            mail: None,
        });
        Self { recipients, judgements, rule }
    }

    /// Hands on each, recipients first.
    pub(super) async fn each(
        &self,
        reader: &mut Reader,
        mut each: impl FnMut(Entry) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if let Some(filter) = &self.recipients {
            reader.list(filter, |line| each(Entry::Recipient(line))).await?;
        }
        reader.postponed(self.judgements, self.rule.as_deref(), |line| each(Entry::Judgement(line))).await
    }
}

impl Entry {
    pub(super) fn as_text(&self, now: Timestamp) -> String {
        match self {
            Self::Recipient(line) => as_text(line, now),
            Self::Judgement(line) => judgement_as_text(line, now),
        }
    }

    pub(super) fn as_json(&self) -> serde_json::Value {
        match self {
            Self::Recipient(line) => as_json(line),
            Self::Judgement(line) => judgement_as_json(line),
        }
    }
}

fn as_text(line: &Line, now: Timestamp) -> String {
    let mut event = one_line(&line.event);
    if line.events > 1 {
        event.push_str(&format!(" and {} more", line.events - 1));
    }
    if line.priority != Priority::Normal {
        event.push_str(&format!(", {}", line.priority.name()));
    }
    Columns {
        id: line.id(),
        state: line.state.name(),
        address: &line.address,
        rule: &line.rule,
        event,
        stored: line.stored,
        attempts: line.attempts,
        next: line.next,
        reason: line.reason.as_deref(),
    }
    .text(now)
}

/// What every line of the list has.
struct Columns<'a> {
    id: String,
    state: &'a str,
    address: &'a str,
    rule: &'a str,
    event: String,
    stored: Timestamp,
    attempts: u32,
    next: Option<Timestamp>,
    reason: Option<&'a str>,
}

impl Columns<'_> {
    fn text(&self, now: Timestamp) -> String {
        let mut text = format!(
            "{:<8} {:<9} {:<32} {:<20} {}, {} old, {}",
            self.id,
            self.state,
            one_line(self.address),
            one_line(self.rule),
            self.event,
            span(self.stored, now),
            attempts(self.attempts)
        );
        if let Some(next) = self.next {
            let due = if next <= now { "due now".to_owned() } else { format!("due in {}", span(now, next)) };
            text.push_str(&format!(", {due}"));
        }
        if let Some(reason) = self.reason {
            text.push_str(&format!(": {reason}"));
        }
        text
    }
}

pub(super) fn attempts(number: u32) -> String {
    match number {
        0 => "not tried".to_owned(),
        _ => count(number.into(), "attempt"),
    }
}

/// The time between two moments in its largest unit.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(super) fn as_json(line: &Line) -> serde_json::Value {
    json!({
        "id": line.id(),
        "state": line.state.name(),
        "address": line.address,
        "rule": line.rule,
        "event": line.event,
        "events": line.events,
        "subject": line.subject,
        "priority": line.priority.name(),
        "message_id": line.message_id,
        "stored": line.stored.to_string(),
        "updated": line.updated.to_string(),
        "attempts": line.attempts,
        "next_attempt": line.next.map(|next| next.to_string()),
        "reason": line.reason,
    })
}

fn judgement_as_text(line: &Postponed, now: Timestamp) -> String {
    Columns {
        id: line.id(),
        state: line.state(),
        address: "-",
        rule: &line.rule,
        event: one_line(&line.event),
        stored: line.received,
        attempts: line.attempts,
        next: line.next,
        reason: Some(&line.reason),
    }
    .text(now)
}

/// The keys of a recipient's line; what there is not yet is null.
fn judgement_as_json(line: &Postponed) -> serde_json::Value {
    json!({
        "id": line.id(),
        "state": line.state(),
        "address": null,
        "rule": line.rule,
        "event": line.event,
        "events": 1,
        "subject": null,
        "priority": null,
        "message_id": null,
        "stored": line.received.to_string(),
        "updated": line.updated.to_string(),
        "attempts": line.attempts,
        "next_attempt": line.next.map(|next| next.to_string()),
        "reason": line.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_asked_for() {
        let all: Vec<_> = State::ALL.into_iter().map(Listed::Recipient).chain([Listed::Postponed]).collect();
        assert_eq!(ALL[..], all[..]);
    }
}
