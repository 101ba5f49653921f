//! `bewit completions`.

use clap::Args;

use super::Exit;

/// Print completions for a shell
#[derive(Debug, Args)]
pub struct CompletionsArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: CompletionsArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}

/// Print the manual page
#[derive(Debug, Args)]
pub struct ManArgs {}

/// Prints the manual page.
///
/// # Errors
/// When standard output is gone.
pub fn man(args: ManArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
