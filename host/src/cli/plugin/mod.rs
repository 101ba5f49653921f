//! `bewit plugin`: what plugin authors need. One file for each subcommand.

pub mod build;
pub mod check;
pub mod compile_component;
pub mod inspect;
mod load;
pub mod manifest;
pub mod new;
mod scaffold;
pub mod test;
mod tools;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Exit;

/// Make plugins and look at them: new, build, test, check, inspect
#[derive(Debug, Args)]
pub struct PluginArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::NewArgs),
    Build(build::BuildArgs),
    Check(check::CheckArgs),
    Inspect(inspect::InspectArgs),
    Test(test::TestArgs),
    #[command(hide = true)]
    CompileComponent(compile_component::CompileArgs),
}

/// Runs it.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: PluginArgs) -> Result<Exit> {
    match args.command {
        Command::New(args) => new::run(args),
        Command::Build(args) => build::run(&args),
        Command::Check(args) => check::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Test(args) => test::run(&args),
        Command::CompileComponent(args) => compile_component::run(&args),
    }
}
