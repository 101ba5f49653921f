//! `bewit replay`: past completions, read from the server, through today's rules.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::explain::Work;
use super::facts::complete;
use super::progress::Progress;
use super::table::Table;
use super::{ConfigArgs, Exit, UsageError, output, server};
use crate::app::App;
use crate::config::load::load_offline;
use crate::config::units;
use crate::event::{self, FlowCompletion};
use crate::facts::RowReader;
use crate::facts::live::{Gathered, Live};
use crate::intake::velociraptor::past::{Past, Range};
use crate::intake::{BATCH_BYTES, BATCH_LINES, Batch, Counts, Line};
use crate::outbox::OutboxError;
use crate::rule::{Rule, Verdict};
use crate::snapshot::Snapshot;
use crate::text::{Visible, count};
use crate::velociraptor::client::Client;
use crate::velociraptor::credentials::Credentials;

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
    let snapshot = if args.dry_run { Snapshot::build(load_offline(path)?)? } else { Snapshot::load(path)? };
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
        let limit = snapshot.config.limits.line;
        let reading = Reading { client, orgs, range, limit, now: now.as_second() };
        if args.dry_run { reading.look(&snapshot, args.json).await } else { reading.take(snapshot, path).await }
    })
}

/// Completions whose facts are asked for together.
const GROUP: usize = 16;

/// What is read, and from where.
struct Reading {
    client: Client,
    orgs: Vec<String>,
    range: Range,
    /// Bytes of a line.
    limit: u64,
    /// Unix seconds.
    now: i64,
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

impl Reading {
    /// Hands over the completions of an org in batches. What the server does not answer is reported, and the other orgs
    /// go on.
    async fn each(
        &self,
        org: &str,
        seen: &mut Seen,
        mut take: impl AsyncFnMut(Vec<Line>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let name = format!("org {}", Visible(org));
        let mut past = match Past::open(&self.client, org, self.range, self.limit, self.now).await {
            Ok(past) => past,
            Err(error) => {
                seen.broken = true;
                server::report(&name, &error);
                return Ok(());
            }
        };
        let (mut lines, mut bytes, mut ended) = (Vec::new(), 0, false);
        while !ended {
            match past.next().await {
                Ok(Some(line)) => {
                    match &line.content {
                        Ok(line) => {
                            seen.events += 1;
                            bytes += line.len();
                        }
                        Err(refused) => {
                            seen.bad += 1;
                            output::note(format_args!("{name}: {}", Visible(&refused.reason)));
                        }
                    }
                    lines.push(line);
                }
                Ok(None) => ended = true,
                Err(error) => {
                    (seen.broken, ended) = (true, true);
                    server::report(&name, &error);
                }
            }
            if lines.len() >= BATCH_LINES || bytes >= BATCH_BYTES || (ended && !lines.is_empty()) {
                take(std::mem::take(&mut lines)).await?;
                bytes = 0;
            }
        }
        Ok(())
    }

    /// Judges, and shows what came of it.
    async fn look(&self, snapshot: &Snapshot, json: bool) -> anyhow::Result<Exit> {
        let progress = Progress::start("completions read", json && io::stdout().is_terminal());
        let done = progress.counter();
        let rows = RowReader::new(None);
        let folder = tempfile::tempdir().context("no temporary folder for rows")?;
        let live = Live::new(self.client.clone(), folder.path().to_owned());
        let rules: Vec<&Rule> = snapshot.config.rules.iter().collect();
        let mut work = Work::new(&snapshot.config.rules, snapshot.composer(), json, output::stdout());
        let (mut told, mut seen) = (Told::default(), Seen::default());
        for org in &self.orgs {
            let judge = async |lines: Vec<Line>| {
                let mut events = Vec::new();
                for line in lines.into_iter().filter_map(|line| line.content.ok()) {
                    match event::read(&line, &snapshot.config.limits) {
                        Err(error) => work.refuse(&format!("org {}", Visible(org)), &error.to_string()),
                        Ok(event) => events.push(event),
                    }
                }
                for group in events.chunks(GROUP) {
                    let asked = group.iter().map(|event| complete(&live, snapshot, &rules, event, &rows, false));
                    for (event, facts) in group.iter().zip(join_all(asked).await) {
                        done();
                        let facts = facts.context("rows could not be stored")?;
                        let event = facts.event.as_deref().unwrap_or(event);
                        if json {
                            work.answer_with(event, &facts.rows, &facts.standing).context("standard output")?;
                        } else {
                            told.judge(&work, event, &facts);
                        }
                    }
                }
                Ok(())
            };
            self.each(org, &mut seen, judge).await?;
        }
        drop(progress);
        if !json {
            told.show(&mut work.out, &seen, self.orgs.len() > 1).context("standard output")?;
        }
        let exit = work.finish()?;
        Ok(if seen.broken || seen.bad > 0 { Exit::Incomplete } else { exit })
    }

    /// Takes in, sends, ends.
    async fn take(&self, snapshot: Snapshot, path: &Path) -> anyhow::Result<Exit> {
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
        for org in &self.orgs {
            let take = async |lines: Vec<Line>| {
                let source = format!("replay {org}");
                let batch = Batch { source, folder: None, lines, position: None, keyed: true };
                for fate in accept.accept(batch).await? {
                    counts.count(&fate);
                    done();
                }
                Ok(())
            };
            self.each(org, &mut seen, take).await?;
        }
        let once = app.drain(counts).await?;
        drop(progress);
        let (lines, sent) = (once.taken.lines, once.sent);
        output::note(format_args!(
            "{}: {} taken, {} known before and not mailed again, {} rejected; {} delivered, {} deferred, {} failed, \
             {} held",
            count(seen.events + seen.bad, "completion"),
            lines.accepted,
            lines.duplicates + lines.conflicts,
            lines.rejected,
            sent.delivered,
            sent.deferred,
            sent.failed,
            sent.held
        ));
        Ok(if seen.broken || once.incomplete() { Exit::Incomplete } else { Exit::Done })
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
    fn judge<W: Write>(&mut self, work: &Work<'_, W>, event: &FlowCompletion, facts: &Gathered) {
        let mut mailed = false;
        for (rule, standing) in work.judge.rules.iter().zip(&facts.standing) {
            let (decision, subject) = work.judge.decide(rule, event, &facts.rows, Some(standing));
            let (word, what) = match decision.decision {
                Verdict::Skip => continue,
                Verdict::Notify => ("notify", subject.unwrap_or_default()),
                Verdict::Error => ("error", decision.reason),
            };
            mailed = true;
            self.mails += u64::from(word == "notify");
            let key = &event.key;
            let cells =
                [&key.org_id, &key.client_id, &key.flow_id, &rule.name, word, &decision.recipients.join("\n"), &what];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let ago = |text: &str| when(text).map(|when| when.seconds("2026-08-08T00:00:00Z".parse().unwrap()));
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        assert_eq!(ago("7d"), Ok(at("2026-08-01T00:00:00Z")));
        assert_eq!(ago("1 h 30 min"), Ok(at("2026-08-07T22:30:00Z")));
        assert_eq!(ago("2026-08-01T12:00:00+02:00"), Ok(at("2026-08-01T10:00:00Z")));
        assert_eq!(ago("100 w"), Ok(at("2024-09-07T00:00:00Z")));
        for wrong in ["", "0 s", "yesterday", "7", "2026-08-01", "2026-08-01T12:00:00"] {
            assert!(when(wrong).is_err(), "{wrong}");
        }
    }
}
