//! The plugins of a snapshot, by the operator's names for them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::error::{ErrorKind, Phase, PluginError};
use super::file::{self, FileError};
use super::guest::Granted;
use super::host::{Bytes, Host, HostOptions};
use super::inspect::Shape;
use super::loaded::{Plugin, PluginCensus};
use super::spec::{OnFailure, PluginSpec};
use super::v0_1::Linked;
use super::{Ask, Asked, Trouble, inspect};
use crate::fragment::{Fragment, Verdict};

/// The plugins of a snapshot. Never changed; the next snapshot takes over what is the same.
#[derive(Debug, Default)]
pub struct Plugins {
    host: Option<Arc<Host>>,
    plugins: BTreeMap<String, Arc<Plugin>>,
}

impl Plugins {
    /// No plugin at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads, compiles, links and starts every plugin once. Blocking; a component that was never compiled before takes
    /// seconds. What `before` has of the same bytes is taken over, also its instances and its health if nothing else
    /// has changed.
    ///
    /// # Errors
    /// What is wrong with each.
    pub fn load(specs: &[PluginSpec], options: &HostOptions, before: Option<&Self>) -> Result<Self, Vec<PluginError>> {
        let Some(first) = specs.first() else {
            // The engine stays for the next reload: what one has made does not run in another.
            return Ok(Self { host: before.and_then(|before| before.host.clone()), plugins: BTreeMap::new() });
        };
        let host = match before.and_then(|before| before.host.clone()) {
            Some(host) => host,
            None => match Host::new(options.clone()) {
                Ok(host) => Arc::new(host),
                Err(reason) => return Err(vec![error(first, Phase::Instantiate, ErrorKind::NotCompiled(reason))]),
            },
        };
        let mut plugins = BTreeMap::new();
        let mut errors = Vec::new();
        for spec in specs {
            match load(spec, &host, before) {
                Ok(plugin) => {
                    plugins.insert(spec.name.clone(), plugin);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { host: Some(host), plugins }) } else { Err(errors) }
    }

    /// A plugin by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.plugins.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins.values()
    }

    /// How each does.
    #[must_use]
    pub fn census(&self) -> Vec<PluginCensus> {
        self.iter().map(|plugin| plugin.census()).collect()
    }

    fn find(&self, name: &str) -> Result<&Plugin, Trouble> {
        self.get(name).map(Arc::as_ref).ok_or_else(|| Trouble {
            plugin: name.to_owned(),
            reason: "there is no such plugin".to_owned(),
            on_failure: OnFailure::Keep,
            again: false,
        })
    }
}

impl Ask for Plugins {
    fn decide(&self, plugin: &str, asked: &Asked<'_>) -> Result<Verdict, Trouble> {
        let plugin = self.find(plugin)?;
        plugin.decide(asked).map_err(|error| trouble(plugin, error))
    }

    fn render(&self, plugin: &str, asked: &Asked<'_>, source: &str) -> Result<Fragment, Trouble> {
        let plugin = self.find(plugin)?;
        plugin.render(asked, source).map_err(|error| trouble(plugin, error))
    }

    fn reads_rows(&self, plugin: &str) -> bool {
        let imports = |plugin: &Arc<Plugin>| plugin.shape().imports.iter().any(|import| inspect::is_results(import));
        self.get(plugin).is_some_and(imports)
    }
}

fn trouble(plugin: &Plugin, error: PluginError) -> Trouble {
    let on_failure = plugin.spec().on_failure;
    Trouble { plugin: error.plugin, reason: error.kind.to_string(), on_failure, again: error.kind.again() }
}

fn load(spec: &PluginSpec, host: &Arc<Host>, before: Option<&Plugins>) -> Result<Arc<Plugin>, PluginError> {
    let (bytes, granted) = (component(spec)?, granted(spec)?);
    if let Some(plugin) = before.and_then(|before| before.get(&spec.name))
        && plugin.is(spec, &bytes.sha256, &granted)
    {
        return Ok(Arc::clone(plugin));
    }
    let same = before.and_then(|before| before.iter().find(|plugin| plugin.sha256() == bytes.sha256));
    let (shape, linked) = match same {
        Some(plugin) => plugin.linked(),
        None => link(spec, &bytes, host)?,
    };
    let plugin = Plugin::start(spec.clone(), bytes.sha256, granted, shape, linked, host)?;
    plugin.check_settings()?;
    Ok(Arc::new(plugin))
}

/// A plugin whose settings have not been looked at.
pub(super) fn start(spec: &PluginSpec, host: &Arc<Host>) -> Result<Plugin, PluginError> {
    let bytes = component(spec)?;
    let (shape, linked) = link(spec, &bytes, host)?;
    Plugin::start(spec.clone(), bytes.sha256, granted(spec)?, shape, linked, host)
}

/// The component's bytes, read once: what is hashed is what is compiled.
fn component(spec: &PluginSpec) -> Result<Bytes, PluginError> {
    let bytes = read(&spec.path, file::component(&spec.path), file::LARGEST_COMPONENT);
    let bytes = Bytes::new(bytes.map_err(|kind| error(spec, Phase::Read, kind))?);
    match &spec.sha256 {
        Some(wanted) if *wanted != bytes.sha256 => {
            let kind = ErrorKind::OtherBytes { found: bytes.sha256, wanted: wanted.clone() };
            Err(error(spec, Phase::Read, kind))
        }
        _ => Ok(bytes),
    }
}

fn link(spec: &PluginSpec, bytes: &Bytes, host: &Host) -> Result<(Shape, Linked), PluginError> {
    let component = host.component(bytes, &spec.name).map_err(|kind| error(spec, Phase::Compile, kind))?;
    let shape = inspect::shape(&component).map_err(|kind| error(spec, Phase::Link, kind))?;
    let linked = Linked::new(&host.linker, &component, shape.filter, shape.renderer).map_err(|problem| {
        let problem = crate::text::one_line(&format!("{problem:#}"));
        let kind = ErrorKind::Incompatible(format!("an interface has another shape: {problem}"));
        error(spec, Phase::Link, kind)
    })?;
    Ok((shape, linked))
}

fn granted(spec: &PluginSpec) -> Result<Granted, PluginError> {
    let settings = serde_json::to_string(&spec.settings)
        .map_err(|problem| error(spec, Phase::Read, ErrorKind::Settings(vec![problem.to_string()])))?;
    let mut files = BTreeMap::new();
    for (name, path) in &spec.files {
        let bytes = read(path, file::granted(path), file::LARGEST_GRANTED);
        let bytes = bytes.map_err(|kind| error(spec, Phase::Read, kind))?;
        let text = String::from_utf8(bytes).map_err(|problem| {
            let reason = format!("{} is not UTF-8 text: {}", path.display(), problem.utf8_error());
            error(spec, Phase::Read, ErrorKind::Unreadable(reason))
        })?;
        files.insert(name.clone(), text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text));
    }
    Ok(Granted { settings, files })
}

/// Reads an opened file, which may grow meanwhile.
pub(super) fn read(path: &Path, opened: Result<File, FileError>, most: u64) -> Result<Vec<u8>, ErrorKind> {
    let unreadable = |reason: String| ErrorKind::Unreadable(format!("{} {reason}", path.display()));
    let file = opened.map_err(|FileError { message, hint }| {
        ErrorKind::Unreadable(if hint.is_empty() { message } else { format!("{message}; {hint}") })
    })?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(unreadable(format!("is larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

fn error(spec: &PluginSpec, phase: Phase, kind: ErrorKind) -> PluginError {
    PluginError { plugin: spec.name.clone(), phase, kind }
}
