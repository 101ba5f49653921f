//! What a plugin implements.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Answer, Event, Rendered, Source};

/// Has a say in whether a mail is sent. Export it with [`export_filter!`](crate::export_filter).
pub trait Filter {
    /// Asked for each event that the rule's filters so far let through; for every event if the rule says
    /// `when = "always"`. Answer [`abstain`](crate::abstain) for what you do not know.
    ///
    /// # Errors
    /// When there is no answer; the rule goes on by the operator's `on_failure`.
    fn decide(&self, event: &Event) -> Answer;
}

/// Shows a source's rows its own way. Export it with [`export_renderer!`](crate::export_renderer).
pub trait Renderer {
    /// What stands in the mail for this source, whose rows `event.rows(&source.name)` reads.
    ///
    /// # Errors
    /// When there is no answer; the mail has the ordinary table instead.
    fn render(&self, source: &Source, event: &Event) -> Rendered;
}

/// A plugin that has settings or files, or asks to be kept warm. Export it with `export_filter!(Name: Plugin)`.
///
/// ```
/// use bewit_plugin::prelude::*;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     label: String,
/// }
///
/// struct Labelled {
///     label: String,
/// }
///
/// impl Plugin for Labelled {
///     type Settings = Settings;
///     const SETTINGS: &[Setting] = &[Setting::required("label", "The label to look for; a text.")];
///
///     fn new(settings: Settings) -> Result<Self, Problems> {
///         if settings.label.is_empty() {
///             return Err(Problem::new("label", "is empty; give a label").into());
///         }
///         Ok(Self { label: settings.label })
///     }
/// }
///
/// impl Filter for Labelled {
///     fn decide(&self, event: &Event) -> Answer {
///         if event.labels.contains(&self.label) { keep(()) } else { discard("does not have the label") }
///     }
/// }
///
/// export_filter!(Labelled: Plugin);
/// ```
pub trait Plugin: Sized + 'static {
    /// What `[plugins.NAME] settings` must look like.
    type Settings: DeserializeOwned;

    /// The keys of [`Self::Settings`], for the operator; others are refused before the plugin is asked.
    const SETTINGS: &'static [Setting] = &[];

    /// The files that it reads by [`file`](crate::file).
    const FILES: &'static [Setting] = &[];

    /// Asks that instances be kept between calls: when [`Self::new`] takes more than a moment. The value then serves up
    /// to 1 000 calls; keep nothing in it but what follows from the settings.
    const WARM: bool = false;

    /// Makes the plugin, once for each instance; also what `bewit check` finds mistakes with. `?` makes a problem of
    /// any error.
    ///
    /// # Errors
    /// What is wrong with the settings or files.
    fn new(settings: Self::Settings) -> Result<Self, Problems>;
}

/// No settings: any key is a mistake.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// A key of the settings, or the name of a file.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What it is for, its type and its default, in a sentence.
    pub summary: &'static str,
    /// Whether it must be there.
    pub required: bool,
}

impl Setting {
    /// One that must be there.
    #[must_use]
    pub const fn required(key: &'static str, summary: &'static str) -> Self {
        Self { key, summary, required: true }
    }

    /// One that may be there.
    #[must_use]
    pub const fn optional(key: &'static str, summary: &'static str) -> Self {
        Self { key, summary, required: false }
    }
}

/// A mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key that it is about; empty: none in particular.
    pub key: String,
    /// What is wrong with it and what would be right, in a sentence.
    pub message: String,
}

impl Problem {
    /// A mistake, with the key that it is about.
    #[must_use]
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "`{}`: {}", self.key, self.message)
        }
    }
}

/// Mistakes in the settings: all that were found, so that they are mended in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(key, message));
    }

    /// The value, if nothing has been found.
    ///
    /// # Errors
    /// These, if there are any.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            if number > 0 {
                formatter.write_str("; ")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<E: std::error::Error> From<E> for Problems {
    fn from(error: E) -> Self {
        Self(vec![Problem::new("", error.to_string())])
    }
}
