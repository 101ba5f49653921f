//! One component, loaded as a daemon would load it, for `check`, `inspect` and `test`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value};

use super::manifest;
use crate::cli::UsageError;
use crate::config::defaults;
use crate::plugin::error::PluginError;
use crate::plugin::host::HostOptions;
use crate::plugin::registry::Plugins;
use crate::plugin::spec::{Instances, Limits, OnFailure, PluginSpec};

/// The name under which a component is loaded that no configuration names.
pub(super) const NAME: &str = "plugin";

/// A component given by its file, or by the project that it was built in.
///
/// # Errors
/// When a project has none yet.
pub(super) fn component(given: &Path) -> Result<PathBuf> {
    if !given.is_dir() {
        return Ok(given.to_owned());
    }
    let manifest = manifest::Manifest::read(given)?;
    let path = given.join(format!("{}.wasm", manifest.name));
    if path.is_file() {
        return Ok(path);
    }
    Err(UsageError(format!("{}: not built yet; `bewit plugin build {}`", path.display(), given.display())).into())
}

/// What a configuration would say of a component at the least.
#[must_use]
pub(super) fn spec(path: &Path, settings: Map<String, Value>, files: BTreeMap<String, PathBuf>) -> PluginSpec {
    PluginSpec {
        name: NAME.to_owned(),
        path: path.to_owned(),
        sha256: None,
        settings,
        files,
        limits: Limits {
            memory: defaults::PLUGIN_MEMORY,
            time: defaults::PLUGIN_TIME,
            output: defaults::PLUGIN_OUTPUT,
        },
        on_failure: OnFailure::Keep,
        instances: Instances::Auto,
    }
}

/// Loads it; `before` saves compiling the same bytes again.
///
/// # Errors
/// What is wrong with it.
pub(super) fn load(spec: PluginSpec, before: Option<&Plugins>) -> Result<Plugins, PluginError> {
    let one = spec.clone();
    Plugins::load(&[spec], &HostOptions::usual(), before).map_err(|errors| match errors.into_iter().next() {
        Some(error) => error,
        None => PluginError {
            plugin: one.name,
            phase: crate::plugin::error::Phase::Read,
            kind: crate::plugin::error::ErrorKind::Unreadable("nothing was loaded".to_owned()),
        },
    })
}

/// A TOML table as the JSON object that a plugin sees; dates become texts.
#[must_use]
pub(super) fn json(table: toml::Table) -> Map<String, Value> {
    fn value(from: toml::Value) -> Value {
        match from {
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) => number.into(),
            toml::Value::Boolean(yes) => yes.into(),
            toml::Value::Datetime(date) => date.to_string().into(),
            toml::Value::Array(values) => values.into_iter().map(value).collect(),
            toml::Value::Table(table) => Value::Object(json(table)),
        }
    }
    table.into_iter().map(|(key, from)| (key, value(from))).collect()
}

/// `KEY=VALUE` as a setting: VALUE in TOML or, if it is none, a text as it stands.
///
/// # Errors
/// When there is no `=`.
pub(super) fn setting(argument: &str) -> Result<(String, toml::Value), String> {
    let (key, value) = argument.split_once('=').ok_or_else(|| "write KEY=VALUE".to_owned())?;
    let table: Result<toml::Table, _> = format!("x = {value}").parse();
    let parsed = table.ok().and_then(|mut table| table.remove("x"));
    Ok((key.trim().to_owned(), parsed.unwrap_or_else(|| value.into())))
}

/// `NAME=FILE`, a granted file.
///
/// # Errors
/// When there is no `=`.
pub(super) fn grant(argument: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = argument.split_once('=').ok_or_else(|| "write NAME=FILE".to_owned())?;
    Ok((name.trim().to_owned(), file.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_toml_or_text() {
        let read = |argument: &str| {
            let (key, value) = setting(argument).unwrap();
            serde_json::to_string(&json(toml::Table::from_iter([(key, value)]))).unwrap()
        };
        assert_eq!(read("list=['a', 'b']"), r#"{"list":["a","b"]}"#);
        assert_eq!(read("max = 3"), r#"{"max":3}"#);
        assert_eq!(read("label=vip"), r#"{"label":"vip"}"#);
        assert_eq!(read("t={ a = 1.5, b = 2026-01-02 }"), r#"{"t":{"a":1.5,"b":"2026-01-02"}}"#);
        assert_eq!(read("empty="), r#"{"empty":""}"#);
        assert!(setting("label").is_err());
        assert_eq!(grant("list=a/b=c").unwrap(), ("list".to_owned(), PathBuf::from("a/b=c")));
    }
}
