//! What a filter answers with, and how a call fails.

use std::fmt;

use crate::bindings::imports::bewit::plugin::types as wit;
use crate::{Note, Tone, Verdict};

/// What a filter says, or why it has nothing to say.
pub type Answer = Result<Verdict, Failure>;

/// Why there is no answer. `?` makes a [`Failure::Reject`] of any error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may work later: the host asks again if the operator has said `on_failure = "hold"`.
    Retry(String),
    /// It will not work: asking again is of no use.
    Reject(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(reason) => write!(formatter, "{reason} (it may work later)"),
            Self::Reject(reason) => formatter.write_str(reason),
        }
    }
}

// Not an `Error` itself, or this would be two ways from `Failure` to `Failure`.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Reject(text)
    }
}

impl Failure {
    /// As the WIT has it.
    pub(crate) fn into_wit(self) -> wit::Failure {
        match self {
            Self::Retry(reason) => wit::Failure::Retry(reason),
            Self::Reject(reason) => wit::Failure::Reject(reason),
        }
    }
}

/// Has nothing to say: as if the filter had not been asked.
///
/// # Errors
/// None.
pub fn abstain() -> Answer {
    Ok(Verdict::Abstain)
}

/// Lets the event through; the mail shows the notes: a text, a [`Note`], or several of them.
///
/// # Errors
/// None.
pub fn keep(notes: impl IntoNotes) -> Answer {
    Ok(Verdict::Keep(notes.into_notes()))
}

/// No mail, because of this; the reason is recorded. (`drop` is a word of Rust's own prelude.)
///
/// # Errors
/// None.
pub fn discard(reason: impl Into<String>) -> Answer {
    Ok(Verdict::Drop(reason.into()))
}

/// A mail, whatever the built-in filters say. Counts only if the rule asks with `when = "always"`.
///
/// # Errors
/// None.
pub fn force(reason: impl Into<String>) -> Answer {
    Ok(Verdict::Force(reason.into()))
}

/// Gives up on this call: asking again may help.
///
/// # Errors
/// Always: that is what it is for.
pub fn retry<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Retry(reason.into()))
}

/// Gives up on this call: asking again is of no use.
///
/// # Errors
/// Always: that is what it is for.
pub fn reject<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Reject(reason.into()))
}

impl Note {
    /// A remark in a tone.
    #[must_use]
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }

    /// A remark without colour.
    #[must_use]
    pub fn neutral(text: impl Into<String>) -> Self {
        Self::new(Tone::Neutral, text)
    }

    /// Good news.
    #[must_use]
    pub fn good(text: impl Into<String>) -> Self {
        Self::new(Tone::Good, text)
    }

    /// Something to be looked at.
    #[must_use]
    pub fn warning(text: impl Into<String>) -> Self {
        Self::new(Tone::Warning, text)
    }

    /// Bad news.
    #[must_use]
    pub fn danger(text: impl Into<String>) -> Self {
        Self::new(Tone::Danger, text)
    }
}

/// What [`keep`] takes.
pub trait IntoNotes {
    /// The notes, in order.
    fn into_notes(self) -> Vec<Note>;
}

impl IntoNotes for &str {
    fn into_notes(self) -> Vec<Note> {
        vec![Note::neutral(self)]
    }
}

impl IntoNotes for String {
    fn into_notes(self) -> Vec<Note> {
        vec![Note::neutral(self)]
    }
}

impl IntoNotes for Note {
    fn into_notes(self) -> Vec<Note> {
        vec![self]
    }
}

impl IntoNotes for Vec<Note> {
    fn into_notes(self) -> Vec<Note> {
        self
    }
}

/// No note: the event goes on without a word.
impl IntoNotes for () {
    fn into_notes(self) -> Vec<Note> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_rejects_with_all_causes() {
        fn parse(text: &str) -> Answer {
            let number: u32 = text.parse()?;
            keep(number.to_string())
        }
        assert_eq!(parse("7"), Ok(Verdict::Keep(vec![Note::neutral("7")])));
        assert_eq!(parse("x"), Err(Failure::Reject("invalid digit found in string".to_owned())));
        assert_eq!(retry::<()>("later").unwrap_err().to_string(), "later (it may work later)");
    }
}
