//! `bewit check`.

use clap::Args;

use super::Exit;

/// Prove configuration, templates and secrets; report every error in one run
#[derive(Debug, Args)]
pub struct CheckArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: CheckArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
