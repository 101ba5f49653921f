//! `bewit simulate`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use super::facts::Server;
use super::progress::Progress;
use super::source::Source;
use super::{Exit, UsageError, events, output};
use crate::blob::BlobStore;
use crate::config::load::load_offline;
use crate::rule::{Rule, Verdict};
use crate::simulate::{Answer, Change, Difference, Only, Part, RuleCounts, Side, Simulation, Summary};
use crate::snapshot::Snapshot;
use crate::text::{Visible, count};

/// What is left out, in one sentence.
const THROTTLING: &str =
    "`send_interval` is left out: what it would gather, delay or drop is counted as a mail of its own.";

/// Show what another configuration would change: new, gone and changed mails
///
/// Judges each event by both configurations and lists, for each rule, what would differ: a mail that only the new one
/// sends, that only the old one sends, or that both send with other recipients or another subject. Nothing is sent or
/// stored. The exit code is 1 if an event could not be read; differences are no failure.
///
/// With --json each difference is one object a line: `event`, `rule`, `change` (new, gone, changed; or decision: no mail
/// either way, but only one of them because of an error), `parts` (of a changed mail: recipients, subject, text, html,
/// attachments), `old` and `new` (decision, reason, recipients, subject; null: no such rule), and with --bodies `text`
/// (the first line that differs: its number `line`, `old`, `new`). The last line is an object with the one key `summary`:
/// `events`, `unreadable`, `new`, `gone`, `changed`, `decision`, and `rules`, a list of the same sums by `rule`, with
/// `only` (old, new, or null: both have it), `old_mails` and `new_mails`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The new configuration
    #[arg(short, long, value_name = "NEW", default_value = "bewit.toml")]
    pub config: PathBuf,
    /// The old one; stored events are those of its outbox
    #[arg(long, value_name = "OLD")]
    pub against: PathBuf,
    /// Write the mails, too, and compare text, HTML and attachments
    #[arg(long)]
    pub bodies: bool,
    /// Do not ask the new configuration's Velociraptor server for facts that an event does not carry
    #[arg(long)]
    pub offline: bool,
    /// One JSON object a line, and at the end one with the sums
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the flattened arguments have their own")]
    pub source: Source,
}

/// Runs it.
///
/// # Errors
/// When a configuration is broken, or events cannot be read: exit code 2; when the outbox cannot, 1.
pub fn run(args: SimulateArgs) -> anyhow::Result<Exit> {
    run_to(&args, &mut output::stdout())
}

fn run_to(args: &SimulateArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let (old, new) = (snapshot(&args.against)?, snapshot(&args.config)?);
    if old.config.rules.is_empty() && new.config.rules.is_empty() {
        let files = [&args.against, &args.config].map(|path| events::name_of(path)).join(" and ");
        return Err(
            UsageError(format!("{files}: no rules are configured, so nothing is decided; add a [[rule]]")).into()
        );
    }
    let asks = |snapshot: &Snapshot| snapshot.config.rules.iter().any(|rule| !rule.filters.is_empty());
    args.source.note_rows(args.bodies || asks(&old) || asks(&new));
    let mut scratch = Scratch::new(args.bodies)?;
    let blobs = scratch.blobs.clone();
    let server = Server::of(&new.config, args.offline)?;
    let rules: Vec<&Rule> = old.config.rules.iter().chain(&new.config.rules).collect();
    let mut simulation = Simulation::new(Side::of(&old), Side::of(&new), blobs.as_ref());
    let progress = Progress::start("events simulated", io::stdout().is_terminal());
    let mut shown = Shown { json: args.json, out, event: String::new() };
    args.source.each(&old.config.outbox.path, &new.config.limits, &progress, |met| {
        match met.event {
            Ok(event) => {
                let asked = server.as_ref().map(|server| server.complete(&new, &rules, &event, &met.rows, args.bodies));
                let facts = asked.transpose()?;
                let whole = facts.as_ref().and_then(|facts| facts.event.as_deref()).unwrap_or(&event);
                let rows = facts.as_ref().map_or(&met.rows, |facts| &facts.rows);
                simulation.event(whole, rows, Timestamp::now(), |difference| shown.difference(&difference))?;
                scratch.clear()?;
            }
            Err(reason) => {
                simulation.unreadable();
                output::note(format_args!("{}: {}", met.place, Visible(&reason)));
            }
        }
        Ok(())
    })?;
    drop(progress);
    let summary = simulation.summary();
    shown.summary(&summary).and_then(|()| shown.out.flush()).context("standard output")?;
    Ok(if summary.unreadable == 0 { Exit::Done } else { Exit::Incomplete })
}

/// Loads a configuration; secrets are not asked for: nothing is sent.
fn snapshot(path: &Path) -> anyhow::Result<Snapshot> {
    if path == Path::new("bewit.toml") && !path.exists() {
        let text = "there is no bewit.toml in this folder; name the new configuration with --config FILE";
        return Err(UsageError(text.to_owned()).into());
    }
    Ok(Snapshot::build(load_offline(path)?)?)
}

/// Where attachments go while bodies are compared; emptied after each event that had some.
struct Scratch {
    dir: Option<tempfile::TempDir>,
    blobs: Option<BlobStore>,
}

impl Scratch {
    fn new(bodies: bool) -> anyhow::Result<Self> {
        let cannot = "no temporary folder for attachments";
        let dir = bodies.then(tempfile::tempdir).transpose().context(cannot)?;
        let blobs = dir.as_ref().map(|dir| BlobStore::open(dir.path().join("blobs"))).transpose().context(cannot)?;
        Ok(Self { dir, blobs })
    }

    fn clear(&mut self) -> anyhow::Result<()> {
        let (Some(_), Some(blobs)) = (&self.dir, &self.blobs) else { return Ok(()) };
        for entry in std::fs::read_dir(blobs.dir()).context("temporary folder")? {
            let entry = entry.context("temporary folder")?;
            if entry.file_type().context("temporary folder")?.is_file() {
                std::fs::remove_file(entry.path()).context("temporary folder")?;
            }
        }
        Ok(())
    }
}

/// What is written of it.
struct Shown<'a, W> {
    json: bool,
    out: &'a mut W,
    /// The event whose differences are listed.
    event: String,
}

impl<W: Write> Shown<'_, W> {
    fn difference(&mut self, difference: &Difference) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *self.out, difference)?;
            return self.out.write_all(b"\n");
        }
        if self.event != difference.event {
            self.event.clone_from(&difference.event);
            writeln!(self.out, "{}", Visible(&difference.event))?;
        }
        let Difference { rule, change, parts, old, new, text, .. } = difference;
        let rule = Visible(rule);
        match change {
            Change::Changed => {
                let parts: Vec<_> = parts.iter().map(Part::to_string).collect();
                writeln!(self.out, "  {rule}: changed: {}", parts.join(", "))?;
                self.changed(parts_of(old, new), difference)?;
            }
            _ => {
                writeln!(self.out, "  {rule}: {}", word(*change))?;
                self.side("old", old.as_ref())?;
                self.side("new", new.as_ref())?;
            }
        }
        if let Some(text) = text {
            writeln!(self.out, "    text, line {}", text.line)?;
            let line = |text: &Option<String>| text.clone().unwrap_or_else(|| "(no such line)".to_owned());
            writeln!(self.out, "      old  {}", Visible(&line(&text.old)))?;
            writeln!(self.out, "      new  {}", Visible(&line(&text.new)))?;
        }
        Ok(())
    }

    fn side(&mut self, name: &str, answer: Option<&Answer>) -> io::Result<()> {
        let Some(answer) = answer else { return writeln!(self.out, "    {name}  has no such rule") };
        let verdict = match answer.decision {
            Verdict::Notify => "notify",
            Verdict::Skip => "skip",
            Verdict::Error => "error",
        };
        writeln!(self.out, "    {name}  {verdict}, {}", Visible(&answer.reason))?;
        if answer.decision == Verdict::Notify {
            writeln!(self.out, "         to       {}", Visible(&answer.recipients.join(", ")))?;
            writeln!(self.out, "         subject  {}", Visible(answer.subject.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }

    fn changed(&mut self, sides: Option<(&Answer, &Answer)>, difference: &Difference) -> io::Result<()> {
        let Some((old, new)) = sides else { return Ok(()) };
        if difference.parts.contains(&Part::Recipients) {
            writeln!(self.out, "    old  to       {}", Visible(&old.recipients.join(", ")))?;
            writeln!(self.out, "    new  to       {}", Visible(&new.recipients.join(", ")))?;
        }
        if difference.parts.contains(&Part::Subject) {
            writeln!(self.out, "    old  subject  {}", Visible(old.subject.as_deref().unwrap_or_default()))?;
            writeln!(self.out, "    new  subject  {}", Visible(new.subject.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *self.out, &serde_json::json!({ "summary": summary }))?;
            return self.out.write_all(b"\n");
        }
        if !self.event.is_empty() {
            writeln!(self.out)?;
        }
        write!(self.out, "{}", count(summary.events, "event"))?;
        if summary.unreadable > 0 {
            write!(self.out, ", {} that could not be read", summary.unreadable)?;
        }
        writeln!(self.out, ": {} new, {} gone, {} changed", summary.new, summary.gone, summary.changed)?;
        let width = summary.rules.iter().map(|counts| Visible(&counts.rule).to_string().chars().count()).max();
        for counts in &summary.rules {
            writeln!(self.out, "  {}", sums(counts, width.unwrap_or_default()))?;
        }
        writeln!(self.out, "{THROTTLING}")
    }
}

fn parts_of<'a>(old: &'a Option<Answer>, new: &'a Option<Answer>) -> Option<(&'a Answer, &'a Answer)> {
    old.as_ref().zip(new.as_ref())
}

fn word(change: Change) -> &'static str {
    match change {
        Change::New => "new: only the new configuration mails",
        Change::Gone => "gone: only the old configuration mails",
        Change::Changed => "changed",
        Change::Decision => "no mail either way, but one of them because of an error",
    }
}

fn sums(counts: &RuleCounts, width: usize) -> String {
    let name = Visible(&counts.rule).to_string();
    let mut text = format!("{name:width$}  mails {} → {}", counts.old_mails, counts.new_mails);
    for (number, word) in [(counts.new, "new"), (counts.gone, "gone"), (counts.changed, "changed")] {
        if number > 0 {
            text.push_str(&format!(", {number} {word}"));
        }
    }
    if counts.decision > 0 {
        text.push_str(&format!(", {} with an error in one of them", counts.decision));
    }
    if !counts.any() {
        text.push_str(", nothing changes");
    }
    match counts.only {
        Some(Only::Old) => text.push_str("; the rule is only in the old configuration"),
        Some(Only::New) => text.push_str("; the rule is only in the new configuration"),
        None => {}
    }
    text
}
