//! Plugins: WebAssembly components that have a say in a decision (filters) or show result rows their own way (renderers).
//!
//! The folder `wit/` is their side of the contract. Everything here is about keeping the promise that a plugin can
//! neither break, read nor leak anything that was not granted.

mod cache;
pub mod compile;
mod engine;
pub mod error;
pub mod file;
mod guest;
mod health;
pub mod host;
pub mod inspect;
pub mod loaded;
pub mod look;
pub mod registry;
mod settings;
pub mod spec;
mod v0_1;

pub use self::v0_1::{Description, Setting};

use jiff::Timestamp;

use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::fragment::{Fragment, Verdict};

/// What a plugin is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Name of the rule that asks.
    pub rule: &'a str,
    /// The event.
    pub event: &'a FlowCompletion,
    /// Reads its rows.
    pub rows: &'a RowReader,
    /// What the plugin hears when it asks for the time.
    pub now: Timestamp,
}

/// Why a plugin has given no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}`: {reason}")]
pub struct Trouble {
    /// The operator's name for it.
    pub plugin: String,
    /// What happened, in a sentence without its name.
    pub reason: String,
    /// What the operator wants: go on without it, or ask again later.
    pub on_failure: spec::OnFailure,
    /// Whether asking again is of any use.
    pub again: bool,
}

/// Asks plugins by the operator's name for them. Blocking.
pub trait Ask: Sync {
    /// What a filter says.
    ///
    /// # Errors
    /// When there is no answer.
    fn decide(&self, plugin: &str, asked: &Asked<'_>) -> Result<Verdict, Trouble>;

    /// What a renderer makes of a source.
    ///
    /// # Errors
    /// When there is no answer.
    fn render(&self, plugin: &str, asked: &Asked<'_>, source: &str) -> Result<Fragment, Trouble>;

    /// Whether a plugin may look at result rows; if not, none need be there for its sake.
    fn reads_rows(&self, plugin: &str) -> bool {
        let _ = plugin;
        true
    }
}

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod tests;
