//! The plugins of a snapshot, by the operator's names for them.

use super::spec::OnFailure;
use super::{Ask, Asked, Trouble};
use crate::fragment::{Fragment, Verdict};

/// The plugins of a snapshot.
#[derive(Debug, Default)]
pub struct Plugins;

impl Plugins {
    /// No plugin at all.
    #[must_use]
    pub fn none() -> Self {
        Self
    }
}

impl Ask for Plugins {
    fn decide(&self, plugin: &str, _: &Asked<'_>) -> Result<Verdict, Trouble> {
        Err(unknown(plugin))
    }

    fn render(&self, plugin: &str, _: &Asked<'_>, _: &str) -> Result<Fragment, Trouble> {
        Err(unknown(plugin))
    }
}

fn unknown(plugin: &str) -> Trouble {
    let reason = "there is no such plugin".to_owned();
    Trouble { plugin: plugin.to_owned(), reason, on_failure: OnFailure::Keep, again: false }
}
