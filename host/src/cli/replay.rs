//! `bewit replay`: past completions, read from the server, through today's rules.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use super::explain::Work;
use super::progress::Progress;
use super::table::Table;
use super::{ConfigArgs, Exit, UsageError, output, server};
use crate::app::App;
use crate::config::VelociraptorConfig;
use crate::config::load::load_offline;
use crate::config::units;
use crate::event::{self, FlowCompletion};
use crate::facts::RowReader;
use crate::intake::{Accept, BATCH_BYTES, BATCH_LINES, Batch, Counts, Line};
use crate::outbox::OutboxError;
use crate::rule::Verdict;
use crate::snapshot::Snapshot;
use crate::text::{Visible, count};
use crate::velociraptor::client::Client;
use crate::velociraptor::credentials::Credentials;
use crate::velociraptor::past::{Past, Range};

/// Take past completions from the server through today's rules
///
/// With --dry-run nothing is stored or sent: a table shows who would have been told of what, also of completions that
/// are known. Without it the completions are taken in as the daemon would have taken them: what is known is not mailed
/// again, the rest is stored and sent, then the command ends. The outbox belongs to one process, so stop the daemon first.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the flattened arguments have their own")]
    pub config: ConfigArgs,
    /// From when on: how long ago (`7d`, `12 h`, `1 h 30 min`), or a time (`2026-08-01T00:00:00Z`)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: When,
    /// Up to when; without it: up to now
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub until: Option<When>,
    /// Only this org (an id, `root`, or `*` for every one); may be given several times. Without it: those of the
    /// configuration
    #[arg(long, value_name = "ORG")]
    pub org: Vec<String>,
    /// Show what would be sent; store and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Every decision as `explain --json` writes it, one JSON object a line
    #[arg(long, requires = "dry_run")]
    pub json: bool,
}

/// A moment, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl When {
    /// In Unix seconds.
    fn seconds(self, now: Timestamp) -> i64 {
        match self {
            Self::Ago(ago) => now.as_second().saturating_sub(i64::try_from(ago.as_secs()).unwrap_or(i64::MAX)).max(0),
            Self::At(time) => time.as_second().max(0),
        }
    }
}

fn when(text: &str) -> Result<When, String> {
    if text.contains('T') || text.matches('-').count() > 1 {
        return text
            .parse()
            .map(When::At)
            .map_err(|_| "a time is written as 2026-08-01T00:00:00Z, with its distance from UTC or `Z`".to_owned());
    }
    match units::duration(text) {
        Ok(Duration::ZERO) => Err("that is now: nothing has passed since".to_owned()),
        Ok(ago) => Ok(When::Ago(ago)),
        Err(error) => Err(format!("{}; {}", error.message, error.hint)),
    }
}

/// Runs it.
///
/// # Errors
/// A wrong configuration or argument (exit code 2), or an outbox that cannot be used.
pub fn run(args: ReplayArgs) -> anyhow::Result<Exit> {
    let now = Timestamp::now();
    let range =
        Range { since: args.since.seconds(now), until: args.until.map_or(i64::MAX, |until| until.seconds(now)) };
    if range.since >= range.until.min(now.as_second()) {
        return Err(UsageError("--since must lie before --until, and before now".to_owned()).into());
    }
    let path = &args.config.config;
    let snapshot =
        if args.dry_run { Snapshot::build(load_offline(path)?)? } else { Snapshot::load(path)? };
    if snapshot.config.rules.is_empty() {
        let path = path.display().to_string();
        return Err(UsageError(format!("{}: there is no [[rule]], so nobody is told", Visible(&path))).into());
    }
    let section = server::section(snapshot.config.velociraptor.as_ref(), path)?.clone();
    Credentials::read(&section.api_config).map_err(|error| UsageError(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    runtime.block_on(async {
        let client = Client::new(section.api_config.clone());
        let orgs = match server::ids(&client, &server::wanted(&args.org, &section.orgs)).await {
            Ok(orgs) => orgs,
            Err(error) => return Ok(server::report("orgs", &error)),
        };
        if args.dry_run {
            look(&client, &orgs, range, &snapshot, args.json).await
        } else {
            take(&client, &orgs, range, snapshot, path).await
        }
    })
}

/// What a pass over the past came to.
#[derive(Default)]
struct Seen {
    /// Completions.
    events: u64,
    /// Rows that are none.
    bad: u64,
    /// An org could not be read to its end.
    broken: bool,
}

/// Judges, and shows what came of it.
async fn look(
    client: &Client,
    orgs: &[String],
    range: Range,
    snapshot: &Snapshot,
    json: bool,
) -> anyhow::Result<Exit> {
    let progress = Progress::start("completions read", json && io::stdout().is_terminal());
    let done = progress.counter();
    let rows = RowReader::new(None);
    let mut work = Work::new(&snapshot.config.rules, snapshot.composer(), json, output::stdout());
    let mut told = Told::default();
    let mut seen = Seen::default();
    for org in orgs {
        let read = each(client, org, range, &mut seen, |line| {
            done();
            match event::read(&line, &snapshot.config.limits) {
                Err(error) => work.refuse(&format!("org {}", Visible(org)), &error),
                Ok(event) if json => work.answer(&event, &rows).context("standard output")?,
                Ok(event) => told.judge(&mut work, &event, &rows),
            }
            Ok(())
        });
        read.await?;
    }
    drop(progress);
    if !json {
        told.show(&mut output::stdout(), &seen, orgs.len() > 1).context("standard output")?;
    }
    let exit = work.finish()?;
    Ok(if seen.broken || seen.bad > 0 { Exit::Incomplete } else { exit })
}

/// Hands over one org's completions. What the server does not answer is reported, and the other orgs go on.
async fn each(
    client: &Client,
    org: &str,
    range: Range,
    seen: &mut Seen,
    mut take: impl FnMut(Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = format!("org {org}");
    let mut past = match Past::open(client, org, range).await {
        Ok(past) => past,
        Err(error) => {
            seen.broken = true;
            server::report(&name, &error);
            return Ok(());
        }
    };
    loop {
        match past.next().await {
            Ok(Some(Ok(line))) => {
                seen.events += 1;
                take(line)?;
            }
            Ok(Some(Err(reason))) => {
                seen.bad += 1;
                output::note(format_args!("{}: {}", Visible(&name), Visible(&reason)));
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                seen.broken = true;
                server::report(&name, &error);
                return Ok(());
            }
        }
    }
}

/// Who would have been told of what.
#[derive(Default)]
struct Told {
    rows: Vec<(i64, Vec<String>)>,
    mails: u64,
    skipped: u64,
}

impl Told {
    fn judge<W: Write>(&mut self, work: &mut Work<'_, W>, event: &FlowCompletion, rows: &RowReader) {
        let mut mailed = false;
        for rule in work.rules {
            let (decision, subject) = work.decide(rule, event, rows);
            let (word, what) = match decision.decision {
                Verdict::Skip => continue,
                Verdict::Notify => ("notify", subject.unwrap_or_default()),
                Verdict::Error => ("error", decision.reason),
            };
            mailed = true;
            self.mails += u64::from(word == "notify");
            let key = &event.key;
            let cells = [&key.org_id, &key.client_id, &key.flow_id, &rule.name, word, &decision.recipients.join("\n"), &what];
            self.rows.push((key.timestamp, cells.map(ToString::to_string).into()));
        }
        self.skipped += u64::from(!mailed);
    }

    fn show(mut self, out: &mut impl Write, seen: &Seen, orgs: bool) -> io::Result<()> {
        if !self.rows.is_empty() {
            self.rows.sort();
            let header = ["TIME", "ORG", "CLIENT", "FLOW", "RULE", "DECISION", "RECIPIENTS", "SUBJECT"];
            let shown = |cells: &[&str]| -> Vec<String> {
                let wanted = cells.iter().enumerate().filter(|(column, _)| orgs || *column != 1);
                wanted.map(|(_, cell)| (*cell).to_owned()).collect()
            };
            let header = shown(&header);
            let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
            for (at, cells) in &self.rows {
                let time = Timestamp::from_second(*at).map_or_else(|_| "-".to_owned(), |time| time.to_string());
                let time = if *at == 0 { "-" } else { &time };
                let cells = shown(&[&[time], cells.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
                table.row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
            }
            write!(out, "{table}")?;
        }
        writeln!(
            out,
            "{}: {} by rule, before `send_interval`; nobody is told of {}",
            count(seen.events, "completion"),
            count(self.mails, "mail"),
            self.skipped
        )?;
        out.flush()
    }
}

/// Takes in, sends, ends.
async fn take(
    client: &Client,
    orgs: &[String],
    range: Range,
    snapshot: Snapshot,
    path: &Path,
) -> anyhow::Result<Exit> {
    let app = match App::build(snapshot, Some(path.to_owned()), None).await {
        Err(error @ OutboxError::Locked(_)) => {
            let hint = "stop the daemon for the time being, or look with --dry-run, which needs no outbox";
            anyhow::bail!("{error}: {hint}");
        }
        app => app?,
    };
    let progress = Progress::start("completions taken", false);
    let (accept, done) = (app.pipeline(), progress.counter());
    let (mut seen, mut counts) = (Seen::default(), Counts::default());
    for org in orgs {
        org_in(client, org, range, &accept, &mut seen, &mut counts, &done).await?;
    }
    let once = app.drain(counts).await?;
    drop(progress);
    let (lines, sent) = (once.taken.lines, once.sent);
    output::note(format_args!(
        "{}: {} taken, {} known before and not mailed again, {} rejected; {} delivered, {} deferred, {} failed, {} held",
        count(seen.events, "completion"),
        lines.accepted,
        lines.duplicates + lines.conflicts,
        lines.rejected + seen.bad,
        sent.delivered,
        sent.deferred,
        sent.failed,
        sent.held
    ));
    Ok(if seen.broken || seen.bad > 0 || once.incomplete() { Exit::Incomplete } else { Exit::Done })
}
