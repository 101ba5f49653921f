//! `bewit import`.

use clap::Args;

use super::Exit;

/// Turn a parameter set of Server.Monitor.FlowCompletion into a rule
#[derive(Debug, Args)]
pub struct ImportArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: ImportArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
