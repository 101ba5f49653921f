//! `bewit schema`.

use clap::Args;

use super::Exit;

/// Print the JSON Schema of the configuration or of an event
#[derive(Debug, Args)]
pub struct SchemaArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: SchemaArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
