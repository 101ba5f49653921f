//! What is wrong with a configuration, where, and what to do: file, line, caret, hint.

use std::fmt;

/// One finding.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// File it is about.
    pub file: String,
    /// Byte range in that file's text.
    pub span: Option<std::ops::Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// All findings of one run, with the texts they point into.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    /// In order of place.
    pub findings: Vec<Diagnostic>,
    /// File name and text.
    pub sources: Vec<(String, String)>,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

impl std::error::Error for Diagnostics {}
