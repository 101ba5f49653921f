//! `bewit explain`.

use clap::Args;

use super::Exit;

/// Show the decision for each event and rule, with the trace
#[derive(Debug, Args)]
pub struct ExplainArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: ExplainArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
