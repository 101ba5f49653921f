//! `bewit send-test`.

use clap::Args;

use super::Exit;

/// Send one test mail through the configured transport
#[derive(Debug, Args)]
pub struct SendTestArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: SendTestArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
