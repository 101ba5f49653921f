//! `bewit render`.

use clap::Args;

use super::Exit;

/// Write the mails that events would become, without sending
#[derive(Debug, Args)]
pub struct RenderArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: RenderArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
