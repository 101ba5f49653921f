//! Plugins: names, defaults, files that must be there, and the rules that name them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::decode::{Field, Findings, Span, nearest};
use super::load::PlacedPlugin;
use super::raw_plugin::{Filter, LONGEST_NAME, Plugin, PluginLimits, Plugins, Renderer, When, taken_names};
use super::resolve::Resolver;
use super::values::{Entry, FilePath, Json, List, Named, OneOf, Word};
use super::{defaults, values};
use crate::plugin::file::{self, FileError};
use crate::plugin::spec::{Instances, Limits, OnFailure, PluginSpec};
use crate::rule::{FilterUse, RendererUse};

/// The names that rules may use, and where they do so first.
pub(super) struct Names {
    /// `None`: the section cannot be read, so any name may be one.
    known: Option<Vec<Known>>,
}

struct Known {
    name: String,
    span: Span,
    filter: Option<Span>,
    renderer: Option<Span>,
}

impl Resolver<'_> {
    /// `[plugins]`: those in which nothing is wrong, in file order, and the names of all.
    pub(super) fn plugins(&mut self, plugins: Field<Plugins>) -> (Vec<PlacedPlugin>, Names) {
        let entries = match plugins {
            Field::Wrong(_) => return (Vec::new(), Names { known: None }),
            Field::Absent => Vec::new(),
            Field::Given(plugins, _) => plugins.0.entries,
        };
        let known = |entry: &Entry<Plugin>| {
            let (name, span) = (entry.name.clone(), entry.span.clone());
            Known { name, span, filter: None, renderer: None }
        };
        let names = Names { known: Some(entries.iter().map(known).collect()) };
        let taken = if entries.is_empty() { Vec::new() } else { taken_names() };
        let mut placed = Vec::new();
        for Entry { name, span, value } in entries {
            let named = self.plugin_name(&name, &span, &taken);
            let plugin = value.into_value().and_then(|plugin| self.plugin(name, span, plugin));
            placed.extend(plugin.filter(|_| named));
        }
        (placed, names)
    }

    /// Whether a plugin may be called so.
    fn plugin_name(&mut self, name: &str, span: &Span, taken: &[&str]) -> bool {
        let (message, hint) = if taken.contains(&name) {
            let hint = "what is told of a decision would not tell them apart: give the plugin another name";
            (format!("`{name}` is a key of rules and events, not the name of a plugin"), hint.to_owned())
        } else if is_name(name) {
            return true;
        } else {
            let near = name.trim().to_lowercase().replace([' ', '.', '/'], "-");
            let hint = if is_name(&near) {
                format!("write [plugins.{near}]")
            } else {
                format!("at most {LONGEST_NAME} of a-z, 0-9, `-` and `_`, beginning with a letter")
            };
            (format!("`{name}` cannot be the name of a plugin"), hint)
        };
        self.findings.error(Some(span.clone()), message, hint);
        false
    }

    fn plugin(&mut self, name: String, span: Span, plugin: Plugin) -> Option<PlacedPlugin> {
        let (path_span, sha256_span) = (plugin.path.span(), plugin.sha256.span());
        let path = self.component(&plugin.path);
        let granted = plugin.files.get().into_iter().flat_map(|files| &files.entries);
        let granted = granted.map(|file| (file.name.clone(), file.span.clone())).collect();
        let files = self.granted(plugin.files);
        let settings = plugin.settings.unless_wrong(Json::default());
        let sha256 = match plugin.sha256 {
            Field::Wrong(_) => None,
            Field::Absent => Some(None),
            Field::Given(hash, _) => Some(Some(hash.0)),
        };
        let limits = limits(plugin.limits);
        let on_failure = plugin.on_failure.unless_wrong(OneOf(OnFailure::default()));
        let instances = plugin.instances.unless_wrong(OneOf(Instances::default()));
        let settings = settings?;
        let spec = PluginSpec {
            name,
            path: path?,
            sha256: sha256?,
            settings: settings.map,
            files: files?,
            limits: limits?,
            on_failure: on_failure?.0,
            instances: instances?.0,
        };
        Some(PlacedPlugin {
            spec,
            path: path_span.unwrap_or_else(|| span.clone()),
            name: span,
            sha256: sha256_span,
            settings: settings.places,
            files: granted,
            filter: None,
            renderer: None,
        })
    }

    fn component(&mut self, path: &Field<FilePath>) -> Option<PathBuf> {
        let Field::Given(path, span) = path else { return None };
        let path = self.path(path);
        self.file(&path, span, file::component).then_some(path)
    }

    /// The files of a plugin by the names that it uses, if all are there.
    fn granted(&mut self, files: Field<Named<FilePath>>) -> Option<BTreeMap<String, PathBuf>> {
        let mut granted = BTreeMap::new();
        let mut whole = true;
        for Entry { name, span, value } in files.unless_wrong(Named::default())?.entries {
            if name.trim().is_empty() || name.chars().any(char::is_control) {
                let hint = "the name that the plugin uses for the file, for example files = { list = \"list.txt\" }";
                self.findings.error(Some(span), format!("`{name}` cannot be the name of a file"), hint);
                whole = false;
            }
            let Field::Given(path, span) = value else {
                whole = false;
                continue;
            };
            let path = self.path(&path);
            whole &= self.file(&path, &span, file::granted);
            granted.insert(name, path);
        }
        whole.then_some(granted)
    }

    fn file(&mut self, path: &Path, span: &Span, open: fn(&Path) -> Result<std::fs::File, FileError>) -> bool {
        let Err(error) = open(path) else { return true };
        self.findings.error(Some(span.clone()), error.message, error.hint);
        false
    }
}

/// `[a-z][a-z0-9_-]*`
fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

fn limits(limits: Field<PluginLimits>) -> Option<Limits> {
    let none = PluginLimits { memory: Field::Absent, time: Field::Absent, output: Field::Absent };
    let limits = limits.unless_wrong(none)?;
    Some(Limits {
        memory: limits.memory.unless_wrong(values::SizeIn(defaults::PLUGIN_MEMORY))?.0,
        time: limits.time.unless_wrong(values::WaitIn(defaults::PLUGIN_TIME))?.0,
        output: limits.output.unless_wrong(values::SizeIn(defaults::PLUGIN_OUTPUT))?.0,
    })
}

impl Names {
    /// The plugin that a rule names; one that is not there is reported.
    fn find(&mut self, name: &str, span: &Span, findings: &mut Findings) -> Option<&mut Known> {
        let known = self.known.as_mut()?;
        if let Some(index) = known.iter().position(|plugin| plugin.name == name) {
            return known.get_mut(index);
        }
        let near = nearest(name, known.iter().map(|plugin| plugin.name.as_str()));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if is_name(name) => format!("there is no [plugins.{name}]: write one, with its `path`"),
            None => "rules name plugins by the NAME of [plugins.NAME]".to_owned(),
        };
        findings.missing(Some(span.clone()), format!("there is no plugin `{name}`"), hint);
        None
    }

    /// A rule's `filters`.
    pub(super) fn filters(&mut self, filters: Field<List<Filter>>, findings: &mut Findings) -> Vec<FilterUse> {
        let mut uses: Vec<FilterUse> = Vec::new();
        for filter in filters.or(List::default()).into_values() {
            let Field::Given(Word(plugin), span) = filter.plugin else { continue };
            if uses.iter().any(|other| other.plugin == plugin) {
                let hint = "a plugin is asked once for each event and rule: keep one of them";
                findings.error(Some(span), format!("`{plugin}` is named twice in `filters`"), hint);
                continue;
            }
            let Some(known) = self.find(&plugin, &span, findings) else { continue };
            known.filter.get_or_insert(span);
            let always = filter.when.get().is_some_and(|when| when.0 == When::Always);
            uses.push(FilterUse { plugin, always });
        }
        uses
    }

    /// A rule's `renderers`.
    pub(super) fn renderers(&mut self, renderers: Field<List<Renderer>>, findings: &mut Findings) -> Vec<RendererUse> {
        let mut uses = Vec::new();
        for renderer in renderers.or(List::default()).into_values() {
            let Field::Given(Word(plugin), span) = renderer.plugin else { continue };
            let Some(known) = self.find(&plugin, &span, findings) else { continue };
            known.renderer.get_or_insert(span);
            if let Some(source) = renderer.source.into_value() {
                uses.push(RendererUse { source, plugin });
            }
        }
        uses
    }

    /// Tells the plugins where rules name them, and remarks on those that no rule names.
    pub(super) fn place(self, plugins: &mut [PlacedPlugin], findings: &mut Findings) {
        for known in self.known.into_iter().flatten() {
            if known.filter.is_none() && known.renderer.is_none() {
                let hint = "name it in a rule's `filters` or `renderers`";
                findings.remark(Some(known.span), format!("no rule names the plugin `{}`", known.name), hint);
            } else if let Some(plugin) = plugins.iter_mut().find(|plugin| plugin.spec.name == known.name) {
                plugin.filter = known.filter;
                plugin.renderer = known.renderer;
            }
        }
    }
}
