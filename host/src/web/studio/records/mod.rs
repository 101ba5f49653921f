//! What the outbox remembers, as pages: events and what was decided of them, mails as they were sent; and what today's
//! rules, or edited ones, make of those events.

mod decisions;
mod explain;
mod mail;
mod mailbox;
mod parts;
mod rule_text;
mod stored;
mod what_if;

use std::sync::Arc;

use axum::Router;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use minijinja::{Value, context};
use tokio::runtime::Handle;

pub use self::stored::Stored;
use super::Studio;
use crate::outbox::OutboxError;
use crate::outbox::look::Reader;
use crate::snapshot::Current;
use crate::text::{clean, cut};

/// Characters of a text in a list.
const SHORT: usize = 300;

/// The routes.
pub(super) fn router() -> Router<Arc<Studio>> {
    Router::new().merge(explain::router()).merge(mailbox::router()).merge(mail::router()).merge(decisions::router())
}

/// The outbox of the configuration in force, opened for reading, and what waits for its answers. For blocking threads.
struct Records {
    reader: Reader,
    handle: Handle,
}

impl Records {
    /// `None`: there is no outbox yet.
    fn open(current: &Current) -> Result<Option<Self>, OutboxError> {
        let Ok(handle) = Handle::try_current() else { return Ok(None) };
        let path = current.load().config.outbox.path.clone();
        let reader = handle.block_on(Reader::open(&path))?;
        Ok(reader.map(|reader| Self { reader, handle }))
    }

    /// Waits for an answer.
    fn ask<'r, T, F: Future<Output = T>>(&'r mut self, ask: impl FnOnce(&'r mut Reader) -> F) -> T {
        self.handle.block_on(ask(&mut self.reader))
    }
}

/// Why nothing is shown, in a sentence.
fn trouble(error: &OutboxError) -> String {
    clean(&error.to_string()).into_owned()
}

/// What stands for an outbox that is not there.
const NONE: &str = "There is no outbox yet; `bewit run` makes it when it starts.";

/// A time for people.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// What a form says of a time: a date and time in UTC, or one with its distance from UTC.
fn a_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })
}

/// A stranger's text for a list.
fn short(text: &str) -> String {
    clean(&cut(text, SHORT)).into_owned()
}

/// The rules that can be chosen in a filter: those in force, and the one that is asked for.
fn rules(studio: &Studio, chosen: Option<&str>) -> Vec<Value> {
    let snapshot = studio.current.load();
    let mut names: Vec<&str> = snapshot.config.rules.iter().map(|rule| rule.name.as_str()).collect();
    names.extend(chosen.filter(|name| !names.contains(name)));
    names.into_iter().map(|name| context! { name, chosen => Some(name) == chosen }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        for text in ["2026-08-01T10:00", "2026-08-01 10:00:00", "2026-08-01T12:00:00+02:00", " 2026-08-01T10:00:00Z "] {
            assert_eq!(a_time(text).map(time).as_deref(), Some("2026-08-01 10:00:00"), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01T10:00", "2026-08-01T"] {
            assert_eq!(a_time(text), None, "{text}");
        }
    }
}
