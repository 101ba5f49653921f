//! `bewit plugin`: what plugin authors need. One file for each subcommand.

pub mod build;
pub mod compile_component;
pub mod manifest;
pub mod new;
mod scaffold;
mod tools;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Exit;

/// Make plugins: a new project, its component
#[derive(Debug, Args)]
pub struct PluginArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::NewArgs),
    Build(build::BuildArgs),
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
        Command::CompileComponent(args) => compile_component::run(&args),
    }
}
