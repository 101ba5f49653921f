//! What another configuration would make of events: the same event judged by two sets of rules, and what differs. Knows
//! one event at a time and keeps only counts, so that any number of events can pass. Blocking.
//!
//! Throttling is left out: what `send_interval` would gather, delay or drop counts as a mail of its own.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::blob::BlobStore;
use crate::compose::{ComposeError, Composer, Draft};
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::judge::{Postponed, judge};
use crate::rule::{Decision, Rule, Verdict};
use crate::snapshot::Snapshot;
use crate::text::Visible;

/// One of the two configurations.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Its rules, in order.
    pub rules: &'a [Rule],
    /// Writes its mails and knows its plugins.
    pub composer: Composer<'a>,
}

impl<'a> Side<'a> {
    /// A configuration with all its rules.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot) -> Self {
        Self { rules: &snapshot.config.rules, composer: snapshot.composer() }
    }
}

/// The decision of one rule, and the subject of the mail that is due: what can be told without writing the mail.
#[must_use]
pub fn decide(
    composer: &Composer<'_>,
    rule: &Rule,
    event: &FlowCompletion,
    rows: &RowReader,
    now: Timestamp,
) -> (Decision, Option<String>) {
    let mut decision = judge(rule, event, rows, now, composer.plugins).unwrap_or_else(Postponed::into_decision);
    if decision.decision != Verdict::Notify {
        return (decision, None);
    }
    match composer.subject(rule, event) {
        Ok(subject) => (decision, Some(subject)),
        Err(error) => {
            failed(&mut decision, format!("the subject could not be written: {}", Visible(&error.to_string())));
            (decision, None)
        }
    }
}

fn failed(decision: &mut Decision, reason: String) {
    decision.decision = Verdict::Error;
    decision.reason = reason;
    decision.recipients.clear();
    decision.notes.clear();
}

/// What a rule of one configuration makes of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether it mails.
    pub decision: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// To whom.
    pub recipients: Vec<String>,
    /// Subject of the mail.
    pub subject: Option<String>,
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the new configuration mails.
    New,
    /// Only the old one does.
    Gone,
    /// Both do, but not the same.
    Changed,
    /// Neither does, but one of them because of an error.
    Decision,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Changed => "changed",
            Self::Decision => "decision",
        })
    }
}

/// What differs between two mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// To whom.
    Recipients,
    /// The subject.
    Subject,
    /// The text part.
    Text,
    /// The HTML part.
    Html,
    /// Names, sizes or bytes of attachments.
    Attachments,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recipients => "recipients",
            Self::Subject => "subject",
            Self::Text => "text",
            Self::Html => "html",
            Self::Attachments => "attachments",
        })
    }
}

/// Where two texts part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TextChange {
    /// The first line that differs, from 1.
    pub line: usize,
    /// What it was; `None`: the old text ends before it.
    pub old: Option<String>,
    /// What it would be; `None`: the new text ends before it.
    pub new: Option<String>,
}

/// What one rule would make otherwise of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Event, as `org/client/flow`.
    pub event: String,
    /// Rule name.
    pub rule: String,
    /// What became of the mail.
    pub change: Change,
    /// What differs between the mails, if both are sent.
    pub parts: Vec<Part>,
    /// `None`: the old configuration has no such rule.
    pub old: Option<Answer>,
    /// `None`: the new configuration has no such rule.
    pub new: Option<Answer>,
    /// Where the text parts differ, if they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextChange>,
}

/// Which of the two configurations has a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Only the old one.
    Old,
    /// Only the new one.
    New,
}

/// The sums of a rule. A mail is counted once for each event, however many recipients have a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleCounts {
    /// Rule name.
    pub rule: String,
    /// Which configuration has it, if not both.
    pub only: Option<Only>,
    /// Events that the old configuration mails.
    pub old_mails: u64,
    /// Events that the new configuration mails.
    pub new_mails: u64,
    /// [`Change::New`].
    pub new: u64,
    /// [`Change::Gone`].
    pub gone: u64,
    /// [`Change::Changed`].
    pub changed: u64,
    /// [`Change::Decision`].
    pub decision: u64,
}

impl RuleCounts {
    /// Whether anything differs.
    #[must_use]
    pub fn any(&self) -> bool {
        self.new + self.gone + self.changed + self.decision > 0
    }
}

/// The sums of a simulation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Events that were judged.
    pub events: u64,
    /// Events that could not be read.
    pub unreadable: u64,
    /// Sums of all rules.
    pub new: u64,
    /// As above.
    pub gone: u64,
    /// As above.
    pub changed: u64,
    /// As above.
    pub decision: u64,
    /// The old rules in order, then those that are only in the new configuration.
    pub rules: Vec<RuleCounts>,
}

/// Two configurations and what was counted so far.
pub struct Simulation<'a> {
    old: Composer<'a>,
    new: Composer<'a>,
    bodies: Option<&'a BlobStore>,
    pairs: Vec<Pair<'a>>,
    events: u64,
    unreadable: u64,
}

struct Pair<'a> {
    old: Option<&'a Rule>,
    new: Option<&'a Rule>,
    counts: RuleCounts,
}

/// What a side says, with the mail if bodies are compared.
struct Said {
    answer: Answer,
    draft: Option<Draft>,
}

impl Said {
    fn mails(&self) -> bool {
        self.answer.decision == Verdict::Notify
    }
}

impl<'a> Simulation<'a> {
    /// Compares by rule name. With `bodies` the mails are written and compared, too; their attachments go there.
    #[must_use]
    pub fn new(old: Side<'a>, new: Side<'a>, bodies: Option<&'a BlobStore>) -> Self {
        let pair = |old: Option<&'a Rule>, new: Option<&'a Rule>| {
            let only = match (old, new) {
                (Some(_), None) => Some(Only::Old),
                (None, Some(_)) => Some(Only::New),
                _ => None,
            };
            let rule = old.or(new).map(|rule| rule.name.clone()).unwrap_or_default();
            let counts =
                RuleCounts { rule, only, old_mails: 0, new_mails: 0, new: 0, gone: 0, changed: 0, decision: 0 };
            Pair { old, new, counts }
        };
        let named = |rules: &'a [Rule], name: &str| rules.iter().find(|rule| rule.name == name);
        let mut pairs: Vec<Pair<'a>> =
            old.rules.iter().map(|rule| pair(Some(rule), named(new.rules, &rule.name))).collect();
        let added = new.rules.iter().filter(|rule| named(old.rules, &rule.name).is_none());
        pairs.extend(added.map(|rule| pair(None, Some(rule))));
        Self { old: old.composer, new: new.composer, bodies, pairs, events: 0, unreadable: 0 }
    }

    /// Judges an event by both, and hands each difference on.
    ///
    /// # Errors
    /// What `each` says, or the disk when attachments are written.
    pub fn event<E: From<std::io::Error>>(
        &mut self,
        event: &FlowCompletion,
        rows: &RowReader,
        now: Timestamp,
        mut each: impl FnMut(Difference) -> Result<(), E>,
    ) -> Result<(), E> {
        self.events += 1;
        for pair in &mut self.pairs {
            let say = |composer: &Composer<'_>, rule: Option<&Rule>| {
                rule.map(|rule| say(composer, rule, event, rows, self.bodies, now)).transpose()
            };
            let (old, new) = (say(&self.old, pair.old)?, say(&self.new, pair.new)?);
            let counts = &mut pair.counts;
            counts.old_mails += u64::from(old.as_ref().is_some_and(Said::mails));
            counts.new_mails += u64::from(new.as_ref().is_some_and(Said::mails));
            let Some((change, parts, text)) = compare(old.as_ref(), new.as_ref()) else { continue };
            *match change {
                Change::New => &mut counts.new,
                Change::Gone => &mut counts.gone,
                Change::Changed => &mut counts.changed,
                Change::Decision => &mut counts.decision,
            } += 1;
            each(Difference {
                event: event.key.to_string(),
                rule: counts.rule.clone(),
                change,
                parts,
                old: old.map(|said| said.answer),
                new: new.map(|said| said.answer),
                text,
            })?;
        }
        Ok(())
    }

    /// Counts an event that could not be read.
    pub fn unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// The sums so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let rules: Vec<RuleCounts> = self.pairs.iter().map(|pair| pair.counts.clone()).collect();
        let sum = |of: fn(&RuleCounts) -> u64| rules.iter().map(of).sum();
        Summary {
            events: self.events,
            unreadable: self.unreadable,
            new: sum(|counts| counts.new),
            gone: sum(|counts| counts.gone),
            changed: sum(|counts| counts.changed),
            decision: sum(|counts| counts.decision),
            rules,
        }
    }
}

fn say(
    composer: &Composer<'_>,
    rule: &Rule,
    event: &FlowCompletion,
    rows: &RowReader,
    bodies: Option<&BlobStore>,
    now: Timestamp,
) -> Result<Said, std::io::Error> {
    let (mut decision, mut subject) = decide(composer, rule, event, rows, now);
    let mut draft = None;
    if let (Verdict::Notify, Some(blobs)) = (decision.decision, bodies) {
        match composer.draft(rule, event, &decision, rows, blobs, now) {
            Ok(written) => draft = Some(written),
            Err(ComposeError::Io(error)) => return Err(error),
            Err(ComposeError::Postponed(trouble)) => {
                decision = Postponed { trouble, phase: "renderer", trace: decision.trace }.into_decision();
                subject = None;
            }
            // As a daemon does.
            Err(error) => match composer.last_resort(rule, event, &decision, now) {
                Ok(short) => {
                    subject = Some(short.subject.clone());
                    draft = Some(short);
                }
                Err(_) => {
                    failed(&mut decision, format!("the mail could not be written: {}", Visible(&error.to_string())));
                    subject = None;
                }
            },
        }
    }
    let Decision { decision, reason, recipients, .. } = decision;
    Ok(Said { answer: Answer { decision, reason, recipients, subject }, draft })
}

fn compare(old: Option<&Said>, new: Option<&Said>) -> Option<(Change, Vec<Part>, Option<TextChange>)> {
    let mails = |said: Option<&Said>| said.is_some_and(Said::mails);
    let plain = |change| Some((change, Vec::new(), None));
    match (mails(old), mails(new)) {
        (false, true) => return plain(Change::New),
        (true, false) => return plain(Change::Gone),
        (false, false) => {
            let error = |said: Option<&Said>| said.is_some_and(|said| said.answer.decision == Verdict::Error);
            return if error(old) == error(new) { None } else { plain(Change::Decision) };
        }
        (true, true) => {}
    }
    let (old, new) = (old?, new?);
    let mut parts = Vec::new();
    let mut note = |part, differs| {
        if differs {
            parts.push(part);
        }
    };
    note(Part::Recipients, sorted(&old.answer.recipients) != sorted(&new.answer.recipients));
    note(Part::Subject, old.answer.subject != new.answer.subject);
    let mut text = None;
    if let (Some(old), Some(new)) = (&old.draft, &new.draft) {
        text = differing_line(&old.text, &new.text);
        note(Part::Text, text.is_some());
        note(Part::Html, old.html != new.html);
        note(Part::Attachments, old.attachments != new.attachments);
    }
    if parts.is_empty() { None } else { Some((Change::Changed, parts, text)) }
}

/// The order of recipients changes no mail's receiver.
fn sorted(recipients: &[String]) -> Vec<&str> {
    let mut sorted: Vec<&str> = recipients.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted
}

fn differing_line(old: &str, new: &str) -> Option<TextChange> {
    let (mut olds, mut news) = (old.split('\n'), new.split('\n'));
    for line in 1.. {
        match (olds.next(), news.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                return Some(TextChange { line, old: old.map(str::to_owned), new: new.map(str::to_owned) });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
