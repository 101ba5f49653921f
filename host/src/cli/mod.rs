//! The command line: one file for each subcommand.

pub mod output;
pub mod table;

pub mod check;
pub mod completions;
pub mod demo;
mod events;
pub mod explain;
mod facts;
pub mod import;
pub mod outbox;
pub mod plugin;
pub mod preview;
mod probe;
mod progress;
pub mod render;
pub mod replay;
pub mod run;
pub mod schema;
pub mod send_test;
mod server;
pub mod simulate;
pub mod source;
pub mod template;
pub mod top;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Tells people by e-mail that a Velociraptor flow has completed, by rules, and loses none of it.
#[derive(Debug, Parser)]
#[command(name = "bewit", version, arg_required_else_help = true, max_term_width = 100)]
#[allow(missing_docs, reason = "clap would show it in the help")]
pub struct Cli {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// How logs are written; they go to standard error.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace) or a filter such as `bewit::delivery=debug,info`;
    /// without it `run` logs at info, everything else at warn
    #[arg(long, global = true, value_name = "FILTER", env = "BEWIT_LOG")]
    pub log: Option<String>,
    /// JSON logs, one object a line
    #[arg(long, global = true)]
    pub log_json: bool,
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = "bewit.toml")]
    pub config: PathBuf,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "clap shows the arguments' own documentation")]
pub enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Render(render::RenderArgs),
    Simulate(simulate::SimulateArgs),
    Preview(preview::PreviewArgs),
    Import(import::ImportArgs),
    Replay(replay::ReplayArgs),
    Outbox(outbox::OutboxArgs),
    Top(top::TopArgs),
    Plugin(plugin::PluginArgs),
    SendTest(send_test::SendTestArgs),
    Template(template::TemplateArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

/// How a subcommand ended. 0 done, 1 something was not delivered or not decided, 2 usage or configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1
    Incomplete,
    /// 2
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Incomplete => Self::from(1),
            Exit::Usage => Self::from(2),
        }
    }
}

/// A mistake in usage or configuration, already worded for people: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Parses the arguments, runs the subcommand, reports its error, answers the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let level = if matches!(cli.command, Command::Run(_)) { "info" } else { "warn" };
    output::init_logs(&cli.log, level);
    let result = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Render(args) => render::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Preview(args) => preview::run(args),
        Command::Import(args) => import::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Outbox(args) => outbox::run(args),
        Command::Top(args) => top::run(args),
        Command::Plugin(args) => plugin::run(args),
        Command::SendTest(args) => send_test::run(args),
        Command::Template(args) => template::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => completions::man(args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            // A reader that went away (`bewit explain … | head`) is no failure of ours.
            if output::is_broken_pipe(&error) {
                return ExitCode::from(0);
            }
            output::error(&error);
            let usage = error.is::<UsageError>() || error.is::<crate::config::diagnostic::Diagnostics>();
            if usage { Exit::Usage } else { Exit::Incomplete }.into()
        }
    }
}
