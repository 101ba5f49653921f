//! What the operator wants of a plugin (`[plugins.NAME]`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

/// One plugin as it is configured. Paths are absolute or relative to the working directory.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSpec {
    /// The operator's name for it: lower-case letters, digits, `-` and `_`, beginning with a letter.
    pub name: String,
    /// The component.
    pub path: PathBuf,
    /// SHA-256 of the component in lower-case hex, if the operator pins it.
    pub sha256: Option<String>,
    /// What the plugin hears of `settings.all`.
    pub settings: Map<String, Value>,
    /// Files granted to it, by the name that the plugin uses.
    pub files: BTreeMap<String, PathBuf>,
    /// Limits of one call.
    pub limits: Limits,
    /// What happens when it gives no answer.
    pub on_failure: OnFailure,
    /// Whether its instances are kept.
    pub instances: Instances,
}

/// Limits of one call. There is no default and no way to be without: `config` has the stock values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory and tables of an instance together, in bytes.
    pub memory: u64,
    /// Processor time of one call, instantiation included; what the host does for the guest is not counted.
    pub time: Duration,
    /// Answer of one call, in bytes.
    pub output: u64,
}

/// What happens to a rule's event when a plugin gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The plugin has no say, and the mail carries a note.
    #[default]
    Keep,
    /// The event is judged again later, and dead-lettered in the end.
    Hold,
}

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Instances {
    /// As the plugin asks for.
    #[default]
    Auto,
    /// One call each, whatever it asks for.
    Fresh,
    /// Kept between calls, whatever it asks for.
    Warm,
}
