//! Template sets: compiled once, proved by a sample render, then immutable.

use std::path::Path;

/// A compiled, proved set of templates.
#[derive(Debug, Clone)]
pub struct Templates {}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{name}: {message}")]
pub struct TemplateError {
    /// Template file name.
    pub name: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Byte range in the template's text.
    pub span: Option<std::ops::Range<usize>>,
    /// The template file's text, for a caret.
    pub text: Option<String>,
    /// What is wrong, with known names; never values.
    pub message: String,
}

impl Templates {
    /// The stock templates, overridden by name from `folder`; every template set in `sets` (the rules' `template`) is
    /// compiled and sample-rendered against the shipped samples.
    ///
    /// # Errors
    /// Every broken template of one run.
    pub fn load(folder: Option<&Path>, sets: &[&str]) -> Result<Self, Vec<TemplateError>> {
        let _ = (folder, sets);
        todo!()
    }
}
