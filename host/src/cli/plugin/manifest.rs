//! `bewit-plugin.toml`: what the tools have to know of a plugin's project.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use serde::Deserialize;

use crate::cli::UsageError;

/// Its name in a project's folder.
pub const FILE: &str = "bewit-plugin.toml";

/// What is known of a project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's name, and its component's.
    pub name: String,
    /// Whose tool makes the component.
    pub language: Language,
    /// What `plugin test` asks it.
    pub kind: Kind,
    /// The world that it is made for; a renderer's or a filter's own unless said.
    world: Option<String>,
    /// Folder of the WIT package, relative to the project.
    #[serde(default = "default_wit")]
    pub wit: PathBuf,
}

fn default_wit() -> PathBuf {
    "wit".into()
}

impl Manifest {
    /// Reads it from a project's folder.
    ///
    /// # Errors
    /// A [`UsageError`] that says what is wrong with it.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).map_err(|error| {
            UsageError(format!("{}: {error}; `bewit plugin new` makes a project, DIR says where it is", path.display()))
        })?;
        Ok(Self::parse(&text).map_err(|error| UsageError(format!("{}: {error}", path.display())))?)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        check_name(&manifest.name)?;
        Ok(manifest)
    }

    /// The world that it is made for.
    #[must_use]
    pub fn world(&self) -> &str {
        self.world.as_deref().unwrap_or(self.kind.world())
    }
}

/// Languages that projects are made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Smallest and fastest: needs cargo
    Rust,
    /// JavaScript: needs Node.js and npm
    Js,
    /// Needs Python 3
    Python,
}

/// What a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Has a say in whether a mail is sent, and may add notes
    Filter,
    /// Shows result rows its own way
    Renderer,
}

impl Kind {
    /// Its name in the WIT package.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Renderer => "renderer",
        }
    }

    /// The world of plugins that do nothing else.
    #[must_use]
    pub fn world(self) -> &'static str {
        match self {
            Self::Filter => "filter-plugin",
            Self::Renderer => "renderer-plugin",
        }
    }
}

/// Whether a name is fit for a project, a package of any language and a configuration's table.
///
/// # Errors
/// A sentence that says what is wrong and what would be right.
pub fn check_name(name: &str) -> Result<(), String> {
    let letters = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-')
        && !name.ends_with('-')
        && !name.contains("--");
    if !letters || name.len() > 40 {
        return Err(format!(
            "{name:?} is no name for a plugin: lower-case letters, digits and single hyphens between them, a letter first, \
             at most 40 characters, such as vip-machines"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "vip", "process-tree", "x2", &"a".repeat(40)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "2x", "Vip", "a_b", "a b", "../x", "ä", &"a".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_manifest_says_what_is_wrong() {
        let read = |text: &str| Manifest::parse(text);
        let full = "name = 'x'\nlanguage = 'js'\nkind = 'renderer'\n";
        let manifest = read(full).unwrap();
        assert_eq!((manifest.world(), manifest.wit.as_path()), ("renderer-plugin", Path::new("wit")));
        assert_eq!(read(&format!("{full}world = 'own'\n")).unwrap().world(), "own");
        assert!(read(&format!("{full}kinds = 1\n")).unwrap_err().contains("kinds"));
        assert!(read(&full.replace("js", "perl")).unwrap_err().contains("perl"));
        assert!(read(&full.replace("'x'", "'../x'")).unwrap_err().contains("no name"));
        assert!(read("name = 'x'").unwrap_err().contains("language"));
    }
}
