//! Whom to tell: listed recipients, then the executor, then the address in the client's metadata.

use std::borrow::Cow;

use indexmap::IndexSet;

use super::address::Address;
use super::{Rule, TraceEntry, TraceVerdict};
use crate::event::FlowCompletion;
use crate::text::{Shown, count};

/// The user that Velociraptor enrols clients with; nobody reads its mail.
pub(super) const INTERROGATION: &str = "InterrogationService";

/// Recipients, and what each source of them said.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// In order, distinct: a repeated address keeps its first place.
    pub addresses: Vec<String>,
    /// For the trace.
    pub notes: Vec<TraceEntry>,
}

/// Gathers the recipients of an event for which a mail is due.
#[must_use]
pub fn gather(rule: &Rule, event: &FlowCompletion) -> Gathered {
    let mut found = Found { addresses: rule.recipients.iter().map(Cow::Borrowed).collect(), notes: Vec::new() };
    if rule.recipients.is_empty() {
        found.say("recipients", TraceVerdict::Off, "not set");
    } else {
        found.say(
            "recipients",
            TraceVerdict::Pass,
            format!("{} listed", count(rule.recipients.len() as u64, "recipient")),
        );
    }
    executor(rule, event, &mut found);
    metadata(rule, event, &mut found);
    Gathered {
        addresses: found.addresses.iter().map(|address| address.as_str().to_owned()).collect(),
        notes: found.notes,
    }
}

struct Found<'a> {
    addresses: IndexSet<Cow<'a, Address>>,
    notes: Vec<TraceEntry>,
}

impl Found<'_> {
    fn say(&mut self, filter: &str, verdict: TraceVerdict, detail: impl Into<String>) {
        self.notes.push(TraceEntry { filter: filter.to_owned(), verdict, detail: detail.into() });
    }

    /// Takes what `text` names, or says why it is nobody.
    fn take(&mut self, filter: &str, what: &str, text: &str) {
        match Address::parse(text) {
            Ok(address) => {
                let shown = Shown(address.as_str()).to_string();
                let known = self.addresses.contains(&Cow::Borrowed(&address));
                self.say(
                    filter,
                    TraceVerdict::Pass,
                    format!("{what}{shown}{}", if known { ", told already" } else { "" }),
                );
                self.addresses.insert(Cow::Owned(address));
            }
            Err(error) => self.say(filter, TraceVerdict::Note, format!("{what}{error}; dropped")),
        }
    }
}

/// Whoever started the collection: an address as it is, else a user name that the table makes an address of. Every row
/// that matches adds one.
fn executor(rule: &Rule, event: &FlowCompletion, found: &mut Found<'_>) {
    const FILTER: &str = "notify_executor";
    if !rule.notify_executor {
        return found.say(FILTER, TraceVerdict::Off, "not set");
    }
    let creator = event.flow.creator.trim();
    if creator.is_empty() {
        return found.say(FILTER, TraceVerdict::Unknown, "who started the flow is not known");
    }
    if creator == INTERROGATION {
        return found.say(FILTER, TraceVerdict::Note, format!("{} is nobody who reads mail", Shown(creator)));
    }
    if creator.contains('@') {
        return found.take(FILTER, "started by ", creator);
    }
    let mut mapped = false;
    for row in rule.notify_executor_domains.iter().filter(|row| row.username_regex.matches(&event.flow.creator)) {
        mapped = true;
        let what = format!("user name {} by {}: ", Shown(creator), Shown(row.username_regex.source()));
        found.take("notify_executor_domains", &what, &format!("{creator}@{}", row.domain.trim()));
    }
    if !mapped {
        let why =
            if rule.notify_executor_domains.is_empty() { "there is no table of domains" } else { "no row matches it" };
        found.say(FILTER, TraceVerdict::Note, format!("{} is no address, and {why}", Shown(creator)));
    }
}

/// The address in a field of the client's metadata.
fn metadata(rule: &Rule, event: &FlowCompletion, found: &mut Found<'_>) {
    const FILTER: &str = "notify_metadata_email";
    let field = rule.notify_metadata_email.as_str();
    if field.is_empty() {
        return found.say(FILTER, TraceVerdict::Off, "not set");
    }
    let Some(metadata) = &event.metadata else {
        return found.say(FILTER, TraceVerdict::Unknown, "the client's metadata are not known");
    };
    match metadata.get(field).map(|value| value.trim()) {
        None => found.say(FILTER, TraceVerdict::Note, format!("the client has no metadata field {}", Shown(field))),
        Some("") => found.say(FILTER, TraceVerdict::Note, format!("metadata field {} is empty", Shown(field))),
        Some(value) => found.take(FILTER, &format!("metadata field {}: ", Shown(field)), value),
    }
}

#[cfg(test)]
mod tests;
