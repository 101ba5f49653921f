//! A configuration in force: rules and templates, built aside, proved, and never changed after. First start and reload
//! are the same code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::compose::Composer;
use crate::compose::templates::Templates;
use crate::config::Config;
use crate::config::diagnostic::Diagnostics;
use crate::config::load;

/// One generation of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counted from 1 at start.
    pub generation: u64,
    /// Resolved configuration.
    pub config: Config,
    /// Compiled templates, proved against the shipped samples.
    pub templates: Templates,
}

/// The snapshot in force; the one place that swaps it.
pub type Current = Arc<ArcSwap<Snapshot>>;

impl Snapshot {
    /// Reads the configuration file and everything it names.
    ///
    /// # Errors
    /// Every finding of one run, of the configuration and of the templates.
    pub fn load(path: &Path, generation: u64) -> Result<Self, Diagnostics> {
        Self::build(load::load(path)?, generation)
    }

    /// Builds a snapshot from a resolved configuration.
    ///
    /// # Errors
    /// Every broken template.
    pub fn build(config: Config, generation: u64) -> Result<Self, Diagnostics> {
        let sets = template_sets(&config);
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let templates = Templates::load(config.templates.as_deref(), &sets).map_err(Diagnostics::from)?;
        Ok(Self { generation, config, templates })
    }

    /// What composes with this snapshot's templates.
    #[must_use]
    pub fn composer(&self) -> Composer<'_> {
        Composer { templates: &self.templates, base_url: self.config.base_url.as_deref() }
    }

    /// Folders whose files the snapshot was read from: the configuration's, and the templates'.
    #[must_use]
    pub fn folders(&self, config_file: &Path) -> Vec<PathBuf> {
        let parent = config_file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut folders = vec![parent.to_owned()];
        folders.extend(self.config.templates.clone());
        folders
    }
}

/// The template sets that the rules name, each once.
#[must_use]
pub fn template_sets(config: &Config) -> Vec<String> {
    let mut sets: Vec<String> = config.rules.iter().map(|rule| rule.template.clone()).collect();
    sets.sort();
    sets.dedup();
    sets
}
