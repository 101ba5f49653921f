//! `bewit schema`.

use std::io::Write;

use clap::{Args, ValueEnum};

use super::{Exit, output};
use crate::config::schema::config_schema;
use crate::event::schema::event_schema;

/// Print the JSON Schema of the configuration or of an event
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// What is described
    #[arg(value_enum)]
    pub what: Described,
}

/// What `bewit schema` can describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Described {
    /// The configuration file, bewit.toml
    Config,
    /// One event, a line of what every intake takes
    Event,
}

/// Runs it.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: SchemaArgs) -> anyhow::Result<Exit> {
    let mut out = output::stdout();
    match args.what {
        Described::Config => {
            serde_json::to_writer_pretty(&mut out, &config_schema()).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Described::Event => out.write_all(event_schema().as_bytes())?,
    }
    out.flush()?;
    Ok(Exit::Done)
}
