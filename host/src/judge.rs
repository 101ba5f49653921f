//! Judging: the built-in filters' decision, then the rule's plugin filters in order, then whom to tell. Blocking.
//!
//! | a filter says | what it does |
//! |---|---|
//! | abstain | nothing |
//! | keep | nothing; its notes are shown in the mail |
//! | drop | no mail; filters after it are asked only if they say `when = "always"` |
//! | force | a mail, whatever any other filter says, also one after it; only with `when = "always"`, else it is a keep |
//!
//! What a plugin has forced stays: a later drop is in the trace and changes nothing. What a built-in filter has forced can
//! be dropped. A filter that gives no answer has no say
//! (`on_failure = "keep"`), and the mail says so; or the event is judged again later (`"hold"`).

use jiff::Timestamp;

use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::fragment::{self, Note, Tone};
use crate::plugin::spec::OnFailure;
use crate::plugin::{Ask, Asked, Trouble};
use crate::rule::decide::{address, filter, is_of_the_server};
use crate::rule::{Decision, FilterUse, PluginNote, Rule, TraceEntry, TraceVerdict, Verdict};
use crate::text::{clean, cut, one_line};

/// Characters of a reason or a note.
const TEXT_LIMIT: usize = 2_000;

/// Notes of one filter.
const NOTES: usize = 20;

/// Characters of a note in the trace.
const TRACED: usize = 200;

/// A plugin gave no answer, and its operator wants the event to be judged again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{trouble}")]
pub struct Postponed {
    /// What happened.
    pub trouble: Trouble,
    /// `filter` or `renderer`: what was asked.
    pub phase: &'static str,
    /// What was said before, and of the plugin.
    pub trace: Vec<TraceEntry>,
}

impl Postponed {
    /// In one sentence, clean: which plugin, asked as what, and why there is no answer.
    #[must_use]
    pub fn reason(&self) -> String {
        let Trouble { plugin, reason, .. } = &self.trouble;
        format!("the {} `{}` gave no answer: {}", self.phase, one_line(plugin), said(reason, "it did not say why"))
    }

    /// The decision for who only looks, and cannot ask again later.
    #[must_use]
    pub fn into_decision(self) -> Decision {
        let later = if self.trouble.again { "would be judged again later" } else { "would be dead-lettered" };
        let reason = format!("{}; with `on_failure = \"hold\"` the event {later}", self.reason());
        Decision { decision: Verdict::Error, reason, trace: self.trace, recipients: Vec::new(), notes: Vec::new() }
    }
}

/// Decides whether `rule` mails for `event`, and to whom.
///
/// # Errors
/// When the event is to be judged again.
pub fn judge(
    rule: &Rule,
    event: &FlowCompletion,
    rows: &RowReader,
    now: Timestamp,
    plugins: &dyn Ask,
) -> Result<Decision, Postponed> {
    let mut decision = filter(rule, event);
    if !is_of_the_server(event) {
        let asked = Asked { rule: &rule.name, event, rows, now };
        let mut forced = false;
        for filter in &rule.filters {
            if let Err(trouble) = one(filter, &asked, plugins, &mut decision, &mut forced) {
                return Err(Postponed { trouble, phase: "filter", trace: decision.trace });
            }
        }
    }
    address(rule, event, &mut decision);
    if decision.decision != Verdict::Notify {
        // There is no mail to show them; the trace has them.
        decision.notes.clear();
    }
    Ok(decision)
}

/// Asks one filter.
fn one(
    filter: &FilterUse,
    asked: &Asked<'_>,
    plugins: &dyn Ask,
    decision: &mut Decision,
    forced: &mut bool,
) -> Result<(), Trouble> {
    let name = &filter.plugin;
    let (verdict, detail) = if decision.decision != Verdict::Notify && !filter.always {
        (TraceVerdict::Off, "not asked".to_owned())
    } else {
        match plugins.decide(name, asked) {
            Ok(fragment::Verdict::Abstain) => (TraceVerdict::Off, "has no opinion".to_owned()),
            Ok(fragment::Verdict::Keep(notes)) => (TraceVerdict::Pass, keep(name, notes, decision)),
            Ok(fragment::Verdict::Drop(reason)) => {
                let reason = said(&reason, "gives no reason");
                if *forced {
                    (TraceVerdict::Fail, format!("{reason}; a filter before it has forced the mail"))
                } else {
                    if decision.decision == Verdict::Notify {
                        decision.decision = Verdict::Skip;
                        decision.reason = format!("{name}: {reason}");
                    }
                    (TraceVerdict::Fail, reason)
                }
            }
            Ok(fragment::Verdict::Force(reason)) if filter.always => {
                let reason = said(&reason, "gives no reason");
                if !std::mem::replace(forced, true) {
                    decision.decision = Verdict::Notify;
                    decision.reason = format!("{name}: {reason}");
                }
                (TraceVerdict::Force, reason)
            }
            Ok(fragment::Verdict::Force(reason)) => {
                let reason = said(&reason, "gives no reason");
                (TraceVerdict::Pass, format!("keeps it; to force the mail it needs `when = \"always\"`: {reason}"))
            }
            Err(trouble) => {
                let reason = said(&trouble.reason, "it did not say why");
                let entry = |detail| TraceEntry { filter: name.clone(), verdict: TraceVerdict::Unknown, detail };
                if trouble.on_failure == OnFailure::Hold {
                    decision.trace.push(entry(format!("gave no answer: {reason}")));
                    return Err(trouble);
                }
                let text = format!("The filter `{name}` gave no answer ({reason}), so it had no say.");
                decision.notes.push(PluginNote { plugin: name.clone(), tone: Tone::Warning, text });
                (TraceVerdict::Unknown, format!("gave no answer, so it has no say: {reason}"))
            }
        }
    };
    decision.trace.push(TraceEntry { filter: name.clone(), verdict, detail });
    Ok(())
}

/// Takes a filter's notes. Answers what the trace says of them.
fn keep(name: &str, notes: Vec<Note>, decision: &mut Decision) -> String {
    let written = |note: &Note| !note.text.trim().is_empty();
    let left_out = notes.iter().filter(|note| written(note)).count().saturating_sub(NOTES);
    let mut traced = Vec::new();
    for note in notes.into_iter().filter(written).take(NOTES) {
        // Cut first: what nobody will see need not be cleaned.
        let text = cut(&clean(cut(note.text.trim(), TEXT_LIMIT).as_ref()), TEXT_LIMIT).into_owned();
        traced.push(cut(&one_line(&text), TRACED).into_owned());
        decision.notes.push(PluginNote { plugin: name.to_owned(), tone: note.tone, text });
    }
    if left_out > 0 {
        traced.push(format!("{left_out} more left out"));
    }
    if traced.is_empty() { "keeps it".to_owned() } else { traced.join("; ") }
}

/// A plugin's sentence on one line.
fn said(text: &str, otherwise: &str) -> String {
    let line = one_line(&cut(text.trim(), TEXT_LIMIT));
    if line.is_empty() { otherwise.to_owned() } else { cut(&line, TEXT_LIMIT).into_owned() }
}

#[cfg(test)]
mod tests;
