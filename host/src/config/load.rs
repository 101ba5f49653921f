//! From a file to a [`Config`](super::Config).

use std::path::Path;

use super::Config;
use super::diagnostic::Diagnostics;

/// The stock configuration, as shipped beside the program.
pub const STOCK: &str = include_str!("../../../bewit.toml");

/// Reads and resolves a configuration file. Relative paths start at its folder.
///
/// # Errors
/// Every finding of one run.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    let _ = path;
    todo!()
}

/// Resolves a configuration text as if it lay in `base` under the name `name`.
///
/// # Errors
/// Every finding of one run.
pub fn parse(text: &str, name: &str, base: &Path) -> Result<Config, Diagnostics> {
    let _ = (text, name, base);
    todo!()
}
