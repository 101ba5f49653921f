//! `bewit demo`.

use clap::Args;

use super::Exit;

/// The two-minute tour: shipped sample events become mails in a local folder
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    let _ = args;
    todo!()
}
