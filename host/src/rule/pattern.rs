//! Patterns with the meaning of VQL's `=~`: case-insensitive, unanchored, ASCII classes.

mod translate;

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use self::translate::{Fault, to_rust};
use crate::text::Visible;

/// Bytes that a compiled pattern may take. What needs more would be slow on long texts: the search is linear in the
/// text, but multiplied by the pattern.
const COMPILED_LIMIT: usize = 256 * 1024;

/// Bytes of scratch space of one search; the engine falls back to a slower way above it.
const CACHE_LIMIT: usize = 1024 * 1024;

/// Levels of groups.
const NEST_LIMIT: u32 = 250;

/// Bytes of a text that are searched; the rest is not looked at.
const TEXT_LIMIT: usize = 16 * 1024;

/// A compiled pattern. An empty one is off.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: Arc<str>,
    /// `None` for the patterns that VQL never compiles: they match whatever there is, and nothing as well.
    regex: Option<Regex>,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// What kind of trouble.
    pub fault: PatternFault,
    /// The first line says what, the rest points at it.
    pub reason: String,
}

/// Kinds of [`PatternError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternFault {
    /// No pattern: Velociraptor does not compile it either, it never matches there.
    Invalid,
    /// A pattern, but too large to be matched safely.
    TooLarge,
}

impl Pattern {
    /// Compiles a pattern written for Go's RE2 (`regexp/syntax`, flags `Perl`), as VQL compiles it.
    ///
    /// # Errors
    /// When it is no pattern, or takes more than 256 KiB compiled.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        if matches!(source, "" | "." | ".*") {
            return Ok(Self { source: source.into(), regex: None });
        }
        let translated = to_rust(source).map_err(|fault| invalid(source, &fault))?;
        let regex = RegexBuilder::new(&translated)
            .case_insensitive(true)
            .size_limit(COMPILED_LIMIT)
            .dfa_size_limit(CACHE_LIMIT)
            .nest_limit(NEST_LIMIT)
            .build()
            .map_err(|error| refused(&error))?;
        Ok(Self { source: source.into(), regex: Some(regex) })
    }

    /// The pattern that is off.
    #[must_use]
    pub fn off() -> Self {
        Self { source: "".into(), regex: None }
    }

    /// The pattern as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// Whether it is one of `""`, `.` and `.*`, which match every text and the absence of any (VQL `=~`, rule 1).
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.regex.is_none()
    }

    /// Searches one text (VQL: `text =~ pattern`); `""`, `.` and `.*` match every text. Only the first 16 KiB of the
    /// text are looked at.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(head(text)))
    }

    /// Whether any of the texts matches; `""`, `.` and `.*` match even none.
    pub fn matches_any<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        self.matches_all() || self.first_match(texts).is_some()
    }

    /// The first of the texts that matches.
    pub fn first_match<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        texts.into_iter().find(|text| self.matches(text))
    }
}

/// The part of a text that is searched.
fn head(text: &str) -> &str {
    if text.len() <= TEXT_LIMIT { text } else { text.get(..text.floor_char_boundary(TEXT_LIMIT)).unwrap_or_default() }
}

fn invalid(source: &str, fault: &Fault) -> PatternError {
    let before = source.get(..fault.at).unwrap_or_default();
    let shown = Visible(source).to_string();
    let reason = if shown.len() <= 120 {
        let indent = unicode_width::UnicodeWidthStr::width(Visible(before).to_string().as_str());
        format!("{}\n    {shown}\n    {:indent$}^", fault.what, "")
    } else {
        format!("{} at character {}", fault.what, before.chars().count() + 1)
    };
    PatternError { fault: PatternFault::Invalid, reason }
}

fn refused(error: &regex::Error) -> PatternError {
    match error {
        regex::Error::CompiledTooBig(limit) => PatternError {
            fault: PatternFault::TooLarge,
            reason: format!("too large to be matched safely: compiled it takes more than {} KiB", limit / 1024),
        },
        other => {
            // What is left after the translation is an unknown Unicode class or too many levels; the last line says it.
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            PatternError {
                fault: PatternFault::Invalid,
                reason: last.strip_prefix("error: ").unwrap_or(last).to_owned(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
