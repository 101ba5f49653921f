//! `bewit import`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::{Exit, UsageError, output};
use crate::rule::import::{convert, read};
use crate::text::{Shown, Visible};

/// Bytes of a file that is read; a parameter set has a few thousand.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// Turn a parameter set of Server.Monitor.FlowCompletion into a rule
///
/// The rule goes to standard output as TOML, ready to be appended to a configuration file. Comments in it say where a
/// parameter does something else here than it does in Velociraptor.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// JSON: an object of parameters, or Velociraptor's own {"artifact": …, "parameters": {"env": […]}}, or a list of
    /// those; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Runs it.
///
/// # Errors
/// When the file cannot be read or holds no parameters: exit code 2. What of it could not be taken over is a warning.
pub fn run(args: ImportArgs) -> anyhow::Result<Exit> {
    let is_stdin = args.file.as_os_str() == "-";
    let path = args.file.display().to_string();
    let name = if is_stdin { "standard input".to_owned() } else { Visible(&path).to_string() };
    let usage = |reason: &dyn std::fmt::Display| UsageError(format!("{name}: {reason}"));

    let mut bytes = Vec::new();
    let read_whole = |mut reader: Box<dyn Read>| reader.by_ref().take(FILE_LIMIT + 1).read_to_end(&mut bytes);
    let source: io::Result<Box<dyn Read>> =
        if is_stdin { Ok(Box::new(io::stdin())) } else { File::open(&args.file).map(|file| Box::new(file) as _) };
    source.and_then(read_whole).map_err(|error| usage(&error))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(usage(&"longer than 16 MiB, this is no parameter set").into());
    }
    let text = String::from_utf8(bytes).map_err(|error| usage(&error.utf8_error()))?;
    let found = read(&text).map_err(|error| usage(&error))?;

    let mut out = output::stdout();
    let write = |out: &mut dyn Write| -> io::Result<()> {
        writeln!(out, "# Parameters of Server.Monitor.FlowCompletion, from {name}.")?;
        for (number, set) in found.sets.iter().enumerate() {
            let rule = convert(set);
            for warning in &rule.warnings {
                output::note(format_args!("{name}: warning: {warning}"));
            }
            let suffix = if number == 0 { String::new() } else { format!("-{}", number + 1) };
            write!(out, "\n{}", rule.to_toml(&format!("flow-completion{suffix}")))?;
        }
        out.flush()
    };
    for artifact in &found.passed_over {
        output::note(format_args!("{name}: {} is another artifact, passed over", Shown(artifact)));
    }
    write(&mut out).context("standard output")?;
    Ok(Exit::Done)
}
