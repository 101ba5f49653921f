//! From a file to a [`Config`].

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::Config;
use super::decode::{Findings, Span, section};
use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::{raw, resolve, secret, syntax};
use crate::plugin::spec::PluginSpec;

/// The stock configuration, as shipped beside the program.
pub const STOCK: &str = include_str!("../../../bewit.toml");

/// Bytes that a configuration file has at most.
const LARGEST: u64 = 4 << 20;

/// How much beyond the text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Folders and files named must be there, but secrets and roots are not opened: for commands that only decide and
    /// compose, and may be run by people who must not see them.
    Text,
    /// Secrets in files and variables, and the roots of `root_ca`, are read.
    Files,
    /// Commands that print secrets are run, too.
    Everything,
}

/// What a look at a configuration found, good or bad.
#[derive(Debug)]
pub struct Examined {
    /// The configuration, if there is no error.
    pub config: Option<Config>,
    /// Errors and warnings, in order of place.
    pub diagnostics: Diagnostics,
    /// Folder of the site's own templates, if it is there.
    pub templates: Option<PathBuf>,
    /// Template sets that rules name, each once, with the byte range in the file where the first rule names it.
    pub sets: Vec<(String, Option<Span>)>,
    /// Plugins in which nothing is wrong so far, in file order: their files are there, but have not been read.
    pub plugins: Vec<PlacedPlugin>,
}

/// A plugin and where its parts stand in the file, as byte ranges: for findings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedPlugin {
    /// What is wanted of it.
    pub spec: PluginSpec,
    /// NAME in `[plugins.NAME]`.
    pub name: Span,
    /// The value of `path`.
    pub path: Span,
    /// The value of `sha256`, if there is one.
    pub sha256: Option<Span>,
    /// The keys of `settings`.
    pub settings: Vec<(String, Span)>,
    /// The names in `files`.
    pub files: Vec<(String, Span)>,
    /// Where a rule first names it in `filters`.
    pub filter: Option<Span>,
    /// Where a rule first names it in `renderers`.
    pub renderer: Option<Span>,
}

impl PlacedPlugin {
    /// Where a key of `settings` stands, or else a name in `files`, or else the plugin's own name.
    #[must_use]
    pub fn place(&self, key: &str) -> Span {
        let mut named = self.settings.iter().chain(&self.files);
        named.find(|(name, _)| name == key).map_or_else(|| self.name.clone(), |(_, span)| span.clone())
    }
}

/// Reads and resolves a configuration file. Relative paths start at its folder. Secrets and roots are proved to be
/// readable ([`Proof::Files`]); warnings are left out.
///
/// # Errors
/// Every error of one run.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    examine(path, Proof::Files).into_result()
}

/// Like [`load`], but secrets and roots are not opened ([`Proof::Text`]).
///
/// # Errors
/// Every error of one run.
pub fn load_offline(path: &Path) -> Result<Config, Diagnostics> {
    examine(path, Proof::Text).into_result()
}

/// Resolves a configuration text as if it lay in `base` under the name `name`; otherwise like [`load`].
///
/// # Errors
/// Every error of one run.
pub fn parse(text: &str, name: &str, base: &Path) -> Result<Config, Diagnostics> {
    examine_text(text, name, base, Proof::Files).into_result()
}

/// Reads and resolves a configuration file and keeps what can be known of it even if it has errors.
#[must_use]
pub fn examine(path: &Path, proof: Proof) -> Examined {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => {
            let base = path.parent().unwrap_or_else(|| Path::new(""));
            examine_text(&text, &name, base, proof)
        }
        Err((message, hint)) => {
            let hint = Some(hint).filter(|hint| !hint.is_empty());
            let finding = Diagnostic { severity: Severity::Error, file: name, span: None, message, hint };
            Examined {
                config: None,
                diagnostics: Diagnostics { findings: vec![finding], sources: Vec::new() },
                templates: None,
                sets: Vec::new(),
                plugins: Vec::new(),
            }
        }
    }
}

/// [`examine`] for a text.
#[must_use]
pub fn examine_text(text: &str, name: &str, base: &Path, proof: Proof) -> Examined {
    let mut findings = Findings::new(name);
    let repaired = syntax::repair(text, &mut findings);
    let (table, errors) = DeTable::parse_recoverable(&repaired);
    syntax::report_all(&errors, &repaired, &mut findings);
    if !errors.is_empty() {
        findings.tear();
    }
    let file: raw::File = section(table.get_ref(), None, &mut findings);
    // A path that is absolute already stays as it is; links are not resolved, for they may be turned later.
    let base = std::path::absolute(if base.as_os_str().is_empty() { Path::new(".") } else { base })
        .unwrap_or_else(|_| base.to_owned());
    let resolved = resolve::resolve(file, text, &base, proof, &mut findings);
    let good = findings.errors() == 0;
    let diagnostics =
        Diagnostics { findings: findings.into_list(), sources: vec![(name.to_owned(), secret::blot(text))] };
    Examined {
        config: resolved.config.filter(|_| good),
        diagnostics,
        templates: resolved.templates,
        sets: resolved.sets,
        plugins: resolved.plugins,
    }
}

impl Examined {
    /// The configuration, or the errors without the warnings.
    ///
    /// # Errors
    /// When there is an error.
    pub fn into_result(self) -> Result<Config, Diagnostics> {
        self.config.ok_or_else(|| self.diagnostics.only_errors())
    }
}

/// The file's text, or what is wrong with the file and what to do.
fn read(path: &Path) -> Result<String, (String, String)> {
    let failed = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "-c FILE names another; `bewit demo` needs none".to_owned(),
            _ => String::new(),
        };
        (format!("the configuration cannot be read: {error}"), hint)
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(("this is a folder, not a configuration file".to_owned(), String::new()));
    }
    if metadata.len() > LARGEST {
        return Err((format!("the configuration is larger than {LARGEST} bytes"), String::new()));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("line {line} is not UTF-8"), "save the file as UTF-8".to_owned())
    })
}
