//! `bewit plugin check`: whether a daemon would load a component, with these settings.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::load;
use crate::cli::Exit;
use crate::cli::output::{note, stdout};
use crate::plugin::error::ErrorKind;

/// Load a component as the daemon does, and let it check its settings
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The component, or the project that it was built in
    #[arg(value_name = "FILE", default_value = ".")]
    component: PathBuf,
    /// A setting, in TOML; may be given several times
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = load::setting)]
    settings: Vec<(String, toml::Value)>,
    /// A file granted to it; may be given several times
    #[arg(short, long, value_name = "NAME=FILE", value_parser = load::grant)]
    files: Vec<(String, PathBuf)>,
}

/// Runs it.
///
/// # Errors
/// When there is no component.
pub fn run(args: CheckArgs) -> Result<Exit> {
    let path = load::component(&args.component)?;
    let settings = load::json(args.settings.into_iter().collect());
    let files: BTreeMap<String, PathBuf> = args.files.into_iter().collect();
    let plugins = match load::load(load::spec(&path, settings, files), None) {
        Ok(plugins) => plugins,
        Err(error) => {
            match &error.kind {
                ErrorKind::Settings(problems) => {
                    for problem in problems {
                        note(format_args!("{}: {problem}", path.display()));
                    }
                }
                kind => note(format_args!("{}: {}: {kind}", path.display(), error.phase.name())),
            }
            if let Some(hint) = error.kind.hint() {
                note(format_args!("  hint: {hint}"));
            }
            return Ok(Exit::Usage);
        }
    };
    let mut out = stdout();
    for plugin in plugins.iter() {
        let shape = plugin.shape();
        let described = plugin.description();
        writeln!(out, "{} {}: {}", described.name, described.version, described.summary)?;
        for world in shape.worlds() {
            writeln!(out, "fits bewit:plugin/{world}@{}", crate::plugin::inspect::LINE)?;
        }
        for import in &shape.imports {
            writeln!(out, "imports {import}: granted")?;
        }
        writeln!(out, "check-settings: ok")?;
    }
    writeln!(out, "ok")?;
    out.flush()?;
    Ok(Exit::Done)
}
