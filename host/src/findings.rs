//! What is wrong with templates and plugins, as findings of the configuration that names them.

use std::ops::Range;

use crate::config::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::config::load::PlacedPlugin;
use crate::plugin::error::{ErrorKind, PluginError};
use crate::plugin::registry::Plugins;
use crate::rule::Rule;

/// Plugins that rules use as what they are not.
#[must_use]
pub fn misused(plugins: &Plugins, rules: &[Rule]) -> Vec<Misuse> {
    let mut found = Vec::new();
    for rule in rules {
        for used in &rule.filters {
            if plugins.get(&used.plugin).is_some_and(|plugin| !plugin.shape().filter) {
                found.push(Misuse {
                    plugin: used.plugin.clone(),
                    rule: rule.name.clone(),
                    key: "filters",
                    kind: "filter",
                });
            }
        }
        for used in &rule.renderers {
            if plugins.get(&used.plugin).is_some_and(|plugin| !plugin.shape().renderer) {
                let (key, kind) = ("renderers", "renderer");
                found.push(Misuse { plugin: used.plugin.clone(), rule: rule.name.clone(), key, kind });
            }
        }
    }
    found
}

/// A plugin that a rule uses as what it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misuse {
    plugin: String,
    rule: String,
    key: &'static str,
    kind: &'static str,
}

/// Where plugins stand in a configuration file. Without one (a command that was given none), findings have no place.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Plugins and their parts.
    pub plugins: &'a [PlacedPlugin],
}

impl Places<'_> {
    /// Errors of plugins, each where it can be mended.
    #[must_use]
    pub fn errors(&self, errors: &[PluginError]) -> Diagnostics {
        let mut found = Diagnostics::default();
        for error in errors {
            let placed = self.plugins.iter().find(|placed| placed.spec.name == error.plugin);
            match &error.kind {
                ErrorKind::Settings(problems) => {
                    for problem in problems {
                        let key =
                            problem.split_once(": ").and_then(|(place, _)| place.split_once('.')).map(|(_, key)| key);
                        let span = placed.map(|placed| placed.place(key.unwrap_or_default()));
                        self.add(&mut found, span, format!("plugin `{}`: {problem}", error.plugin), None);
                    }
                }
                kind => {
                    let pinned = matches!(kind, ErrorKind::OtherBytes { .. });
                    let span = placed.map(|placed| match &placed.sha256 {
                        Some(sha256) if pinned => sha256.clone(),
                        _ => placed.path.clone(),
                    });
                    self.add(&mut found, span, error.to_string(), kind.hint());
                }
            }
        }
        found
    }

    /// Wrong uses, each at the rule that makes it.
    #[must_use]
    pub fn misuses(&self, misuses: &[Misuse]) -> Diagnostics {
        let mut found = Diagnostics::default();
        for Misuse { plugin, rule, key, kind } in misuses {
            let placed = self.plugins.iter().find(|placed| placed.spec.name == *plugin);
            let span = placed.and_then(|placed| match *key {
                "filters" => placed.filter.clone(),
                _ => placed.renderer.clone(),
            });
            let message = format!("plugin `{plugin}` is no {kind}, but rule `{rule}` names it in `{key}`");
            let hint = "`bewit plugin inspect FILE` says what a component is".to_owned();
            self.add(&mut found, span, message, Some(hint));
        }
        found
    }

    fn add(&self, found: &mut Diagnostics, span: Option<Range<usize>>, message: String, hint: Option<String>) {
        let file = self.file.to_owned();
        found.findings.push(Diagnostic { severity: Severity::Error, file, span, message, hint });
    }
}
