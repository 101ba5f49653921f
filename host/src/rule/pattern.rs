//! Patterns with the meaning of VQL's `=~`: case-insensitive, unanchored, ASCII classes.

use regex::Regex;

/// A compiled pattern. An empty one is off.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Option<Regex>,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    /// The first line says what, the rest points at it.
    pub reason: String,
}

impl Pattern {
    /// Compiles a pattern written for Go's RE2.
    ///
    /// # Errors
    /// When it is no pattern, or too large to be matched safely.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let _ = source;
        todo!()
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

    /// Searches one text (VQL: `text =~ pattern`); `""`, `.` and `.*` match every text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let _ = (text, &self.regex);
        todo!()
    }

    /// Whether any of the texts matches; `""`, `.` and `.*` match even none.
    pub fn matches_any<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        let _ = texts.into_iter();
        todo!()
    }
}
