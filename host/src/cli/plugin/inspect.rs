//! `bewit plugin inspect`: what a component is and says of itself.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, json};

use super::load;
use crate::cli::output::{note, stdout};
use crate::cli::{Exit, UsageError};
use crate::plugin::host::HostOptions;
use crate::plugin::look::{Looked, describe, look};
use crate::plugin::{Description, Setting};

/// Show what a component is, what it imports, and what it says of itself
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The component, or the project that it was built in
    #[arg(value_name = "FILE", default_value = ".")]
    component: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// When there is no such file, or it is no component.
pub fn run(args: &InspectArgs) -> Result<Exit> {
    let path = load::component(&args.component)?;
    let looked = look(&path, HostOptions::usual()).map_err(|kind| match kind.hint() {
        Some(hint) => UsageError(format!("{}: {kind}; {hint}", path.display())),
        None => UsageError(format!("{}: {kind}", path.display())),
    })?;
    // Settings may be required; who it is can be known without them.
    let described = describe(&load::spec(&path, Map::new(), BTreeMap::new()), HostOptions::usual());
    let (description, trouble) = match described {
        Ok(description) => (Some(description), None),
        Err(error) => (None, Some(error)),
    };
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", as_json(&path, &looked, description.as_ref()))?;
    } else {
        write!(out, "{}", as_text(&path, &looked, description.as_ref()))?;
    }
    out.flush()?;
    Ok(match trouble {
        Some(error) => {
            let hint = error.kind.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            note(format_args!("{}: {}: {}{hint}", path.display(), error.phase.name(), error.kind));
            Exit::Usage
        }
        None => Exit::Done,
    })
}

fn as_text(path: &std::path::Path, looked: &Looked, description: Option<&Description>) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text.push_str(&format!("{label:<10}{value}\n"));
    if let Some(described) = description {
        line("plugin", &format!("{} {}", described.name, described.version));
        line("summary", &described.summary);
    }
    line("file", &path.display().to_string());
    line("bytes", &looked.bytes.to_string());
    line("sha256", &looked.sha256);
    let shape = &looked.shape;
    for world in shape.worlds() {
        line("world", &format!("bewit:plugin/{world}@{}", crate::plugin::inspect::LINE));
    }
    for export in &shape.exports {
        line("exports", export);
    }
    for import in &shape.imports {
        let granted = if crate::plugin::inspect::is_granted(import) { "" } else { "  (not granted)" };
        line("imports", &format!("{import}{granted}"));
    }
    if let Some(described) = description {
        line("instances", if described.warm { "asks for kept ones" } else { "fresh for each call" });
        for (label, settings) in [("setting", &described.settings), ("reads file", &described.files)] {
            for Setting { key, summary, required } in settings {
                let needed = if *required { " (required)" } else { "" };
                line(label, &format!(" {key}{needed}: {summary}"));
            }
        }
    }
    text
}

fn as_json(path: &std::path::Path, looked: &Looked, description: Option<&Description>) -> serde_json::Value {
    let settings = |settings: &[Setting]| -> Vec<serde_json::Value> {
        let one =
            |setting: &Setting| json!({"key": setting.key, "summary": setting.summary, "required": setting.required});
        settings.iter().map(one).collect()
    };
    let described = description.map(|described| {
        json!({
            "name": described.name, "version": described.version, "summary": described.summary, "warm": described.warm,
            "settings": settings(&described.settings), "files": settings(&described.files),
        })
    });
    let shape = &looked.shape;
    let refused: Vec<&String> =
        shape.imports.iter().filter(|import| !crate::plugin::inspect::is_granted(import)).collect();
    json!({
        "file": path, "bytes": looked.bytes, "sha256": looked.sha256, "line": crate::plugin::inspect::LINE,
        "worlds": shape.worlds(), "exports": shape.exports, "imports": shape.imports, "not_granted": refused,
        "description": described,
    })
}
