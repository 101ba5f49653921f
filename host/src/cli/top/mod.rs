//! `bewit top`: how a running daemon does, as its `/metrics` tells, live in a terminal or once for a script.

mod ask;
mod figures;
mod report;
mod samples;
mod screen;
mod table;

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;

use self::ask::{AskError, Daemon};
use self::report::Report;
use self::samples::Samples;
use super::output::stdout;
use super::{ConfigArgs, Exit, UsageError};

/// How far back percentiles look.
const WINDOW: Duration = Duration::from_secs(60);

/// Watch a running daemon: rates, queue, time in steps, mail servers, plugins
///
/// Reads /metrics at the address in `[web]` of the configuration, with its token. Live in a terminal (q or Ctrl-C ends it);
/// one table after two looks where standard output is none.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Another address than that of `[web]`, such as a forwarded port
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Two looks, one plain table, the end; also without a terminal
    #[arg(long)]
    once: bool,
    /// Two looks, one JSON object, the end
    #[arg(long)]
    json: bool,
}

/// A number of seconds that makes sense: a tenth to an hour.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("between 0.1 and 3600".to_owned())
    }
}

/// Runs it.
///
/// # Errors
/// A configuration without `[web]`; for one table, a daemon that does not answer.
pub fn run(args: TopArgs) -> anyhow::Result<Exit> {
    let config = crate::config::load::load_offline(&args.config.config)?;
    let Some(web) = config.web else {
        let file = args.config.config.display();
        return Err(UsageError(format!(
            "there is no [web] in {file}, so the daemon can be asked nowhere; add, and restart it:\n\n    [web]\n    \
             listen = \"127.0.0.1:8026\""
        ))
        .into());
    };
    let daemon = Daemon::new(args.address.unwrap_or(web.listen), web.token)?;
    let live = !args.once && !args.json && std::io::stdout().is_terminal();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if live {
            screen::run(Watch::new(daemon), args.interval).await?;
            return Ok(Exit::Done);
        }
        let mut watch = Watch::new(daemon);
        watch.look().await?;
        tokio::time::sleep(args.interval).await;
        watch.look().await?;
        let report = watch.report();
        let mut out = stdout();
        if args.json {
            serde_json::to_writer(&mut out, &report)?;
            writeln!(out)?;
        } else {
            for line in table::lines(&report) {
                writeln!(out, "{}", line.text)?;
            }
        }
        out.flush()?;
        Ok(Exit::Done)
    })
}

/// What one look has seen.
#[derive(Debug)]
struct Look {
    at: Instant,
    samples: Samples,
}

/// A daemon and the looks of the last minute.
#[derive(Debug)]
struct Watch {
    daemon: Daemon,
    /// The oldest first; never of two lives of the daemon.
    looks: VecDeque<Look>,
}

impl Watch {
    fn new(daemon: Daemon) -> Self {
        Self { daemon, looks: VecDeque::new() }
    }

    /// Looks once more.
    async fn look(&mut self) -> Result<(), AskError> {
        let text = self.daemon.metrics().await?;
        let samples = Samples::read(&text).map_err(AskError::Nonsense)?;
        if self.looks.back().is_some_and(|last| samples.begins_anew(&last.samples)) {
            self.looks.clear();
        }
        let at = Instant::now();
        // One that is as old as the window stays, so that the window is whole.
        while self.looks.get(1).is_some_and(|second| at.saturating_duration_since(second.at) >= WINDOW) {
            self.looks.pop_front();
        }
        self.looks.push_back(Look { at, samples });
        Ok(())
    }

    /// What is known.
    fn report(&self) -> Report {
        report::report(&self.daemon.name(), &self.looks)
    }
}

#[cfg(test)]
mod tests;
