//! `bewit run`.

use clap::Args;

use super::Exit;

/// Run the daemon: take events in, decide, write, deliver
#[derive(Debug, Args)]
pub struct RunArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
