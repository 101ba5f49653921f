//! `bewit run`: the daemon.

use anyhow::Context;
use clap::Args;

use super::progress::Progress;
use super::{ConfigArgs, Exit, output};
use crate::app::App;
use crate::pipeline::Observer;
use crate::snapshot::Snapshot;

/// Run the daemon: take events in, decide, write, deliver
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Take what is waiting, send what is due, then end; exit code 1 if a line was rejected or a recipient is deferred, failed or held
    #[arg(long)]
    once: bool,
    /// Take events from standard input, too, one JSON object a line
    #[arg(value_name = "-", value_parser = ["-"])]
    stdin: Option<String>,
}

/// Runs it.
///
/// # Errors
/// A wrong configuration, or an outbox that cannot be used.
pub fn run(args: RunArgs) -> anyhow::Result<Exit> {
    let snapshot = Snapshot::load(&args.config.config)?;
    allow_files();
    if snapshot.config.rules.is_empty() {
        tracing::warn!("no [[rule]]: events are taken in, and nobody is told");
    }
    let watched = snapshot.config.velociraptor.as_ref().is_some_and(|velociraptor| velociraptor.watch);
    if snapshot.config.spool.is_none() && snapshot.config.http.is_none() && args.stdin.is_none() && !watched {
        tracing::warn!("neither [intake.spool] nor [intake.http] nor [velociraptor] nor `-`: nothing is taken in");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    runtime.block_on(async {
        let stdin = args.stdin.is_some();
        if !args.once {
            App::build(snapshot, Some(args.config.config), None).await?.with_stdin(stdin).daemon().await?;
            return Ok(Exit::Done);
        }
        let progress = Progress::start("events taken", false);
        let taken = progress.counter();
        let observer: Observer = std::sync::Arc::new(move |_, _| taken());
        let app = App::build(snapshot, Some(args.config.config), Some(observer)).await?.with_stdin(stdin);
        let once = app.once().await?;
        drop(progress);
        let (lines, sent) = (once.taken.lines, once.sent);
        let refused = match once.taken.refused {
            0 => String::new(),
            files => format!(", {files} files set aside"),
        };
        output::note(format_args!(
            "{} events taken, {} repeated, {} lines rejected{refused}; {} delivered, {} deferred, {} failed, {} held",
            lines.accepted,
            lines.duplicates + lines.conflicts,
            lines.rejected,
            sent.delivered,
            sent.deferred,
            sent.failed,
            sent.held
        ));
        if once.waiting > sent.deferred + sent.held {
            output::note(format_args!("{} recipients wait, deferred or held: bewit outbox list", once.waiting));
        }
        Ok(if once.incomplete() { Exit::Incomplete } else { Exit::Done })
    })
}

/// Lifts the soft limit on open files to the hard one: many requests at once, each with many attachments, need more
/// than the usual 1024.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}
