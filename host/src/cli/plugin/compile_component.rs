//! `bewit plugin compile-component`: the compiler in a process of its own, started by the daemon.

use anyhow::{Result, anyhow};
use clap::Args;

use crate::cli::Exit;
use crate::plugin::compile::compile_as_child;

/// Compile the component on standard input, within limits
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// For an engine that has few addresses
    #[arg(long)]
    scarce: bool,
}

/// Runs it.
///
/// # Errors
/// When the component is not sound.
pub fn run(args: &CompileArgs) -> Result<Exit> {
    // Nothing may stand before the reason: whoever started this shows it.
    compile_as_child(args.scarce, std::io::stdin().lock(), std::io::stdout().lock()).map_err(|error| anyhow!(error))?;
    Ok(Exit::Done)
}
