//! A configuration in force: rules and templates, built aside, proved, and never changed after. First start and reload
//! are the same code.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::compose::Composer;
use crate::compose::links::Root;
use crate::compose::templates::{TemplateError, Templates};
use crate::config::Config;
use crate::config::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::config::load::{self, PlacedPlugin, Proof};
use crate::findings::{Places, misused};
use crate::locale::LANGUAGES;
use crate::plugin::host::HostOptions;
use crate::plugin::registry::Plugins;

/// One generation of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counted from 1 at start.
    pub generation: u64,
    /// When reading it began: what has changed since may not be in it.
    pub read: SystemTime,
    /// Resolved configuration.
    pub config: Config,
    /// How much beyond the configuration's text was looked at; a reload looks at as much.
    pub proof: Proof,
    /// Compiled templates, proved against the shipped samples.
    pub templates: Templates,
    /// Plugins, loaded and asked who they are.
    pub plugins: Arc<Plugins>,
}

/// The snapshot in force; the one place that swaps it.
pub type Current = Arc<ArcSwap<Snapshot>>;

impl Snapshot {
    /// Reads the configuration file and everything it names.
    ///
    /// # Errors
    /// Every finding of one run, of the configuration and of the templates.
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        Self::read(path, Proof::Files, None)
    }

    /// The same without opening secrets: for who decides and composes, and sends nothing.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub fn load_offline(path: &Path) -> Result<Self, Diagnostics> {
        Self::read(path, Proof::Text, None)
    }

    /// What stands in for a file that is refused, until it is mended, for who only looks: its own rules with the stock
    /// templates if that is to be had, else the stock configuration. `scratch` is where the latter's folders would be.
    ///
    /// # Errors
    /// When not even the stock configuration can be had, which is a bug.
    pub fn stand_in(path: &Path, scratch: &Path) -> Result<Self, Diagnostics> {
        let begun = SystemTime::now();
        let own = load::load_offline(path).ok().and_then(|config| {
            let templates = config.templates.clone();
            let mut made = Self::build(Config { templates: None, ..config }).ok()?;
            // The folder is looked at all the same: the mended file may be in there.
            made.config.templates = templates;
            Some(made)
        });
        let made = match own {
            Some(made) => made,
            None => Self::stock(scratch)?,
        };
        Ok(Self { proof: Proof::Text, read: begun, ..made })
    }

    /// The stock configuration; its relative folders are in `base`.
    ///
    /// # Errors
    /// None, unless the shipped file is broken.
    pub fn stock(base: &Path) -> Result<Self, Diagnostics> {
        Self::build(load::parse(load::STOCK, "bewit.toml", base)?)
    }

    /// The next generation, from the same file. What has not changed of the plugins is taken over.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub fn reload(path: &Path, before: &Self) -> Result<Self, Diagnostics> {
        Self::read(path, before.proof, Some(before))
    }

    fn read(path: &Path, proof: Proof, before: Option<&Self>) -> Result<Self, Diagnostics> {
        let begun = SystemTime::now();
        let mut examined = load::examine(path, proof);
        let placed = std::mem::take(&mut examined.plugins);
        let sources = examined.diagnostics.sources.clone();
        let config = examined.into_result()?;
        let made = Self::make(config, Some((path, &placed, begun)), before).map_err(|mut found| {
            found.merge(Diagnostics { findings: Vec::new(), sources });
            found
        })?;
        Ok(Self { proof, ..made })
    }

    /// Builds a snapshot from a resolved configuration.
    ///
    /// # Errors
    /// Every broken template and plugin.
    pub fn build(config: Config) -> Result<Self, Diagnostics> {
        Self::make(config, None, None)
    }

    fn make(
        config: Config,
        file: Option<(&Path, &[PlacedPlugin], SystemTime)>,
        before: Option<&Self>,
    ) -> Result<Self, Diagnostics> {
        let sets = template_sets(&config);
        let read = file.map_or_else(SystemTime::now, |(_, _, begun)| begun);
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let languages = languages(&config);
        let templates = Templates::localized(config.templates.as_deref(), &sets, &config.locale, &languages)
            .map_err(Diagnostics::from);
        let name = file.map(|(path, ..)| path.display().to_string()).unwrap_or_default();
        let places = Places { file: &name, plugins: file.map(|(_, placed, _)| placed).unwrap_or_default() };
        let before_plugins = before.map(|before| &*before.plugins);
        let plugins = Plugins::load(&config.plugins, &HostOptions::usual(), before_plugins)
            .map_err(|errors| places.errors(&errors))
            .and_then(|plugins| match misused(&plugins, &config.rules) {
                misuses if misuses.is_empty() => Ok(plugins),
                misuses => Err(places.misuses(&misuses)),
            });
        match (templates, plugins) {
            (Ok(templates), Ok(plugins)) => {
                let generation = before.map_or(1, |before| before.generation + 1);
                Ok(Self { generation, read, config, proof: Proof::Files, templates, plugins: Arc::new(plugins) })
            }
            (Err(mut found), Err(more)) => {
                found.merge(more);
                Err(found)
            }
            (Err(found), Ok(_)) | (Ok(_), Err(found)) => Err(found),
        }
    }

    /// What composes with this snapshot's templates.
    #[must_use]
    pub fn composer(&self) -> Composer<'_> {
        Composer {
            templates: &self.templates,
            links: self.config.base_url.as_deref().map(Root::Base),
            plugins: &*self.plugins,
            failures: None,
        }
    }

    /// Folders whose files the snapshot was read from: the configuration's, the templates' and the plugins'.
    #[must_use]
    pub fn folders(&self, config_file: &Path) -> Vec<PathBuf> {
        let parent = config_file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut folders = vec![parent.to_owned()];
        if let Some(templates) = &self.config.templates {
            folders.extend([templates.clone(), templates.join(LANGUAGES)]);
        }
        for spec in &self.config.plugins {
            let files = [&spec.path].into_iter().chain(spec.files.values());
            folders.extend(files.filter_map(|file| Some(file.parent()?.to_owned())));
        }
        folders.sort();
        folders.dedup();
        folders
    }
}

/// The languages that the rules name, each once.
#[must_use]
pub fn languages(config: &Config) -> Vec<&str> {
    let mut languages: Vec<&str> = config.rules.iter().filter_map(|rule| rule.language.as_deref()).collect();
    languages.sort_unstable();
    languages.dedup();
    languages
}

/// The template sets that the rules name, each once.
#[must_use]
pub fn template_sets(config: &Config) -> Vec<String> {
    let mut sets: Vec<String> = config.rules.iter().map(|rule| rule.template.clone()).collect();
    sets.sort();
    sets.dedup();
    sets
}

impl From<Vec<TemplateError>> for Diagnostics {
    fn from(errors: Vec<TemplateError>) -> Self {
        let mut all = Self::default();
        for error in errors {
            let span = error.text.as_deref().and_then(|text| {
                error.span.clone().or_else(|| error.line.and_then(|line| line_span(text, line.saturating_sub(1))))
            });
            let (message, hint) = match error.message.split_once('\n') {
                Some((first, rest)) if !rest.trim().is_empty() => (first.to_owned(), Some(rest.trim().to_owned())),
                _ => (error.message.trim().to_owned(), None),
            };
            let message = match error.line {
                Some(line) if span.is_none() => format!("line {line}: {message}"),
                _ => message,
            };
            let sources = error.text.map(|text| (error.name.clone(), text)).into_iter().collect();
            let findings = vec![Diagnostic { severity: Severity::Error, file: error.name, span, message, hint }];
            all.merge(Self { findings, sources });
        }
        all
    }
}

/// The byte range of a line, counted from 0, without its line end.
fn line_span(text: &str, line: usize) -> Option<Range<usize>> {
    let mut start = 0;
    for (index, content) in text.split('\n').enumerate() {
        if index == line {
            let trimmed = content.trim_start();
            let indent = content.len() - trimmed.len();
            return Some(start + indent..start + indent + trimmed.trim_end().len());
        }
        start += content.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_errors_point_into_their_text() {
        let error = TemplateError {
            name: "flow-completion.txt.j2".to_owned(),
            line: Some(2),
            span: None,
            text: Some("a\n  {{ no }}\n".to_owned()),
            message: "unknown variable\nknown: yes".to_owned(),
        };
        insta::assert_snapshot!(Diagnostics::from(vec![error]), @r"
        error: unknown variable
         --> flow-completion.txt.j2:2:3
          |
        2 |   {{ no }}
          |   ^^^^^^^^
          = hint: known: yes
        ");
    }
}
