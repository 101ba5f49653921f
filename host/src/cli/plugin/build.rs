//! `bewit plugin build`: a project's component, made by its language's own tool.

mod js;
mod python;
mod rust;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use wit_component::DecodedWasm;

use super::manifest::{Language, Manifest};
use super::tools::Tools;
use crate::cli::output::{note, stdout};
use crate::cli::{Exit, UsageError};

/// Whatever stands before the name of an interface that the host offers.
const OFFERED: &str = "bewit:plugin/";

/// Make a plugin's component: needs cargo, or Node.js, or Python 3, as its language has it
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The plugin's project
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Where the component goes; without it NAME.wasm in the project
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show what the tools say
    #[arg(short, long)]
    verbose: bool,
}

/// Runs it.
///
/// # Errors
/// When the project is none, when a tool is missing or fails, or when what it made is no plugin.
pub fn run(args: &BuildArgs) -> Result<Exit> {
    let manifest = Manifest::read(&args.folder)?;
    let folder = fs::canonicalize(&args.folder).with_context(|| args.folder.display().to_string())?;
    let shown = match &args.output {
        Some(path) => path.clone(),
        None => args.folder.join(format!("{}.wasm", manifest.name)),
    };
    let output = absolute(&shown)?;
    let Some(beside) = output.parent().filter(|folder| folder.is_dir() && !output.is_dir()) else {
        return Err(UsageError(format!(
            "{}: cannot be written: its folder is not there, or it is one",
            shown.display()
        ))
        .into());
    };
    let wit = folder.join(&manifest.wit);
    if manifest.language != Language::Rust && !wit.is_dir() {
        let message = format!(
            "{}: there is no such folder; `wit` in bewit-plugin.toml says where the WIT package is",
            wit.display()
        );
        return Err(UsageError(message).into());
    }
    // In the folder where it will be, so that it can be renamed: whoever watches never sees half a file.
    let aside = tempfile::Builder::new()
        .prefix(".bewit-plugin-")
        .suffix(".wasm")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(beside)
        .with_context(|| beside.display().to_string())?;
    let job = Job {
        tools: Tools { folder: &folder, verbose: args.verbose },
        world: manifest.world(),
        wit: &wit,
        output: aside.path(),
    };
    match manifest.language {
        Language::Rust => rust::build(&job),
        Language::Js => js::build(&job),
        Language::Python => python::build(&job),
    }?;
    let bytes = fs::read(aside.path()).context("the tool has made no file")?;
    let faces = Faces::of(&bytes)?;
    faces.check()?;
    aside.persist(&output).with_context(|| shown.display().to_string())?;

    let mut out = stdout();
    writeln!(out, "{}", shown.display())?;
    writeln!(out, "  size     {} bytes", grouped(bytes.len()))?;
    writeln!(out, "  world    bewit:plugin/{}", manifest.world())?;
    writeln!(out, "  exports  {}", faces.exports.join(", "))?;
    writeln!(out, "  imports  {}", if faces.imports.is_empty() { "nothing".into() } else { faces.imports.join(", ") })?;
    out.flush()?;
    for name in faces.imports.iter().filter(|name| !name.starts_with(OFFERED)) {
        note(format_args!("warning: it imports {name}, which the host does not offer: it will not be loaded"));
    }
    Ok(Exit::Done)
}

/// What a language's builder has to know.
struct Job<'a> {
    /// Runs programs in the project's folder.
    tools: Tools<'a>,
    /// World that the component is made for.
    world: &'a str,
    /// Folder of the WIT package.
    wit: &'a Path,
    /// Where the component goes: a file that exists and is empty.
    output: &'a Path,
}

/// What a component shows of itself.
#[derive(Debug, PartialEq, Eq)]
struct Faces {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Faces {
    fn of(component: &[u8]) -> Result<Self> {
        // A core module would be decoded, too, as if it showed nothing.
        if !component.starts_with(b"\0asm\x0d\0\x01\0") {
            bail!("the tool's file is no component");
        }
        let DecodedWasm::Component(resolve, world) =
            wit_component::decode(component).context("the tool's file is a damaged component")?
        else {
            bail!("the tool has made a WIT package, not a component");
        };
        let world = resolve.worlds.get(world).context("a component without a world")?;
        Ok(Self {
            imports: world.imports.keys().map(|key| resolve.name_world_key(key)).collect(),
            // componentize-py exports something of its own beside the interfaces.
            exports: world
                .exports
                .keys()
                .map(|key| resolve.name_world_key(key))
                .filter(|name| name.contains(':'))
                .collect(),
        })
    }

    fn check(&self) -> Result<()> {
        let has = |name: &str| self.exports.iter().any(|export| export.starts_with(&format!("{OFFERED}{name}@")));
        if has("about") && (has("filter") || has("renderer")) {
            return Ok(());
        }
        bail!(
            "no plugin: it must export bewit:plugin/about and either bewit:plugin/filter or bewit:plugin/renderer; it exports {}",
            if self.exports.is_empty() { "nothing".into() } else { self.exports.join(", ") }
        )
    }
}

/// A number in groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
