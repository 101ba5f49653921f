//! `bewit outbox`.

use clap::Args;

use super::Exit;

/// Look into the outbox: list, show, retry, cancel, verify
#[derive(Debug, Args)]
pub struct OutboxArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: OutboxArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
