//! A host for unit tests, so that a plugin's tests run where they are written, without WebAssembly.
//!
//! ```
//! use bewit_plugin::prelude::*;
//! use bewit_plugin::testing::Host;
//! use serde_json::json;
//!
//! struct Many;
//!
//! impl Filter for Many {
//!     fn decide(&self, event: &Event) -> Answer {
//!         let rows = event.rows("Generic.Client.Info/Users")?.count();
//!         if rows > 1 { keep(format!("{rows} users")) } else { abstain() }
//!     }
//! }
//!
//! Host::new().rows("Generic.Client.Info/Users", json!([{"Name": "a"}, {"Name": "b"}])).install();
//! assert_eq!(Many.decide(&Event::default()), keep("2 users"));
//! ```
//!
//! On WebAssembly it is not there: the real host is.
#![cfg(not(target_arch = "wasm32"))]

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::log::Level;
use crate::{Instance, Plugin, Problems};

thread_local!(static HOST: RefCell<Host> = RefCell::new(Host::new()));

/// What a call finds when it looks around. Each thread, and so each test, has its own.
#[derive(Debug, Clone)]
pub struct Host {
    rule: String,
    now: i64,
    settings: Value,
    files: Vec<(String, String)>,
    sources: Vec<(String, Vec<Value>)>,
    logged: Vec<(Level, String)>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host with no settings, files or rows; its clock says 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rule: "test".to_owned(),
            now: 0,
            settings: Value::Object(Map::new()),
            files: Vec::new(),
            sources: Vec::new(),
            logged: Vec::new(),
        }
    }

    /// Sets the rule's name.
    #[must_use]
    pub fn rule(mut self, name: &str) -> Self {
        name.clone_into(&mut self.rule);
        self
    }

    /// Sets the clock, in milliseconds since 1970.
    #[must_use]
    pub fn now(mut self, milliseconds: i64) -> Self {
        self.now = milliseconds;
        self
    }

    /// Sets the settings: a JSON object.
    #[must_use]
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// Grants a file.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Adds a source and its rows: a JSON array of objects. What is no array is one row.
    #[must_use]
    pub fn rows(mut self, source: &str, rows: Value) -> Self {
        let rows = match rows {
            Value::Array(rows) => rows,
            one => vec![one],
        };
        self.sources.push((source.to_owned(), rows));
        self
    }

    /// Is this thread's host from now on.
    pub fn install(self) {
        HOST.with(|host| *host.borrow_mut() = self);
    }

    /// Installs it and makes a plugin from its settings, as the real host does.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn plugin<P: Plugin>(self) -> Result<P, Problems> {
        self.install();
        Instance::<P>::make()
    }
}

/// What this thread has logged since its host was installed.
#[must_use]
pub fn logged() -> Vec<(Level, String)> {
    HOST.with(|host| host.borrow().logged.clone())
}

fn look<T>(at: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with(|host| at(&mut host.borrow_mut()))
}

pub(crate) fn rule() -> String {
    look(|host| host.rule.clone())
}

pub(crate) fn now() -> i64 {
    look(|host| host.now)
}

pub(crate) fn settings() -> String {
    look(|host| host.settings.to_string())
}

pub(crate) fn file(name: &str) -> Option<String> {
    look(|host| host.files.iter().find(|(own, _)| own == name).map(|(_, text)| text.clone()))
}

pub(crate) fn sources() -> Vec<String> {
    look(|host| host.sources.iter().map(|(name, _)| name.clone()).collect())
}

pub(crate) fn log(level: Level, message: &str) {
    look(|host| host.logged.push((level, message.to_owned())));
}

#[derive(Debug)]
pub(crate) struct Cursor {
    rows: Vec<Value>,
    passed: usize,
}

impl Cursor {
    pub(crate) fn open(source: &str) -> Result<Self, String> {
        let rows = look(|host| host.sources.iter().find(|(name, _)| name == source).map(|(_, rows)| rows.clone()));
        match rows {
            Some(rows) => Ok(Self { rows, passed: 0 }),
            None => Err("the event carries no such source".to_owned()),
        }
    }

    pub(crate) fn columns(&self) -> Vec<String> {
        let first = self.rows.first().and_then(Value::as_object);
        first.map(|row| row.keys().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn next(&mut self, limit: u32) -> Result<Option<String>, String> {
        let limit = usize::try_from(limit).map_err(|error| error.to_string())?;
        let rows: Vec<Value> = self
            .rows
            .iter()
            .skip(self.passed)
            .take(limit)
            .map(|row| if row.is_object() { row.clone() } else { serde_json::json!({"_value": row}) })
            .collect();
        self.passed += rows.len();
        Ok((!rows.is_empty()).then(|| Value::Array(rows).to_string()))
    }

    pub(crate) fn total(&self) -> Result<u64, String> {
        u64::try_from(self.rows.len()).map_err(|error| error.to_string())
    }

    #[expect(clippy::unused_self, reason = "as the real one")]
    pub(crate) fn skipped(&self) -> u64 {
        0
    }
}
