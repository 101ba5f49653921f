//! `bewit explain`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::events::Heard;
use super::facts::Server;
use super::progress::Progress;
use super::source::Source;
use super::{ConfigArgs, Exit, UsageError, events, output};
use crate::compose::Composer;
use crate::config::Config;
use crate::config::load::load_offline;
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::facts::live::Standing;
use crate::pipeline::no_record;
use crate::rule::{Decision, PluginNote, Rule, TraceEntry, TraceVerdict, Verdict};
use crate::simulate;
use crate::snapshot::Snapshot;
use crate::text::{Visible, one_line};

/// Show the decision for each event and rule, with the trace
///
/// Each rule says of each event whether it mails and to whom, and each of its filters says why or why not. Nothing is
/// sent or stored. With --stored, --flow or --since the events are those that the outbox keeps, judged by the rules as
/// they are now; what was decided then is shown by `bewit outbox show`. A Velociraptor server that is configured is asked for facts that rules need and events do not carry.
/// Lines that are no events are named on standard error; the exit code is then 1.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the flattened arguments have their own")]
    pub config: ConfigArgs,
    /// One JSON object a line for each event and rule, instead of a text to be read
    #[arg(long)]
    pub json: bool,
    /// Do not ask the Velociraptor server for facts that an event does not carry
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the flattened arguments have their own")]
    pub source: Source,
}

/// Runs it.
///
/// # Errors
/// When the configuration is broken or has no rules, or a file cannot be read: exit code 2.
pub fn run(args: ExplainArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args.config.config)?;
    let snapshot = Snapshot::build(config)?;
    let server = Server::of(&snapshot.config, args.offline)?;
    let progress = Progress::start("events explained", io::stdout().is_terminal());
    let rules: Vec<&Rule> = snapshot.config.rules.iter().collect();
    let mut work = Work::new(&snapshot.config.rules, snapshot.composer(), args.json, output::stdout());
    args.source.note_rows(rules.iter().any(|rule| !rule.filters.is_empty()));
    let (outbox, limits) = (&snapshot.config.outbox.path, &snapshot.config.limits);
    if server.is_none() && !args.source.is_stored() {
        let judge = work.judge;
        let answer = |heard: Heard| match &heard.event {
            Ok(event) => Ok(judge.answer(event, &heard.rows, &[])),
            Err(reason) => Err((heard.place(), reason.to_string())),
        };
        events::answers(&args.source.events, limits, &progress, answer, |answer| match answer {
            Ok(answer) => work.put(&answer).context("standard output"),
            Err((place, reason)) => {
                work.refuse(&place, &reason);
                Ok(())
            }
        })?;
        drop(progress);
        return work.finish();
    }
    args.source.each(outbox, limits, &progress, |met| match met.event {
        Ok(event) => match &server {
            None => work.answer(&event, &met.rows).context("standard output"),
            Some(server) => {
                let facts = server.complete(&snapshot, &rules, &event, &met.rows, false)?;
                let event = facts.event.as_deref().unwrap_or(&event);
                work.answer_with(event, &facts.rows, &facts.standing).context("standard output")
            }
        },
        Err(reason) => {
            work.refuse(&met.place, &reason);
            Ok(())
        }
    })?;
    drop(progress);
    work.finish()
}

/// Loads the configuration, and says what to do when there is none. Secrets are not asked for: nothing is sent.
fn configuration(path: &Path) -> anyhow::Result<Config> {
    if path == Path::new("bewit.toml") && !path.exists() {
        return Err(
            UsageError("there is no bewit.toml in this folder; name a configuration with -c FILE".to_owned()).into()
        );
    }
    let config = load_offline(path)?;
    if config.rules.is_empty() {
        let text = format!("{}: no rules are configured, so nothing is decided; add a [[rule]]", events::name_of(path));
        return Err(UsageError(text).into());
    }
    Ok(config)
}

/// One answer, a line of the JSON contract.
#[derive(Serialize)]
struct Answer<'a> {
    event: &'a str,
    rule: &'a str,
    decision: Verdict,
    reason: &'a str,
    trace: &'a [TraceEntry],
    recipients: &'a [String],
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [PluginNote],
}

/// Judges: what each rule says of an event.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) rules: &'a [Rule],
    composer: Composer<'a>,
    json: bool,
}

impl Judge<'_> {
    /// An event with what a server has added to it; `standing` says what each rule can do with that.
    fn answer(&self, event: &FlowCompletion, rows: &RowReader, standing: &[Standing]) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        let key = event.key.to_string();
        // Writing to memory does not fail.
        if !self.json {
            let _ = writeln!(out, "{}", Visible(&key));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let (decision, subject) = self.decide(rule, event, rows, standing.get(at));
            if self.json {
                let answer = Answer {
                    event: &key,
                    rule: &rule.name,
                    decision: decision.decision,
                    reason: &decision.reason,
                    trace: &decision.trace,
                    recipients: &decision.recipients,
                    subject: subject.as_deref(),
                    notes: &decision.notes,
                };
                let _ = serde_json::to_writer(&mut out, &answer);
                out.push(b'\n');
            } else {
                let _ = write_text(&mut out, &rule.name, &decision, subject.as_deref());
            }
        }
        out
    }

    /// The decision, and the subject of the mail that is due.
    pub(super) fn decide(
        &self,
        rule: &Rule,
        event: &FlowCompletion,
        rows: &RowReader,
        standing: Option<&Standing>,
    ) -> (Decision, Option<String>) {
        if standing == Some(&Standing::NoRecord) {
            return (no_record(), None);
        }
        simulate::decide(&self.composer, rule, event, rows, Timestamp::now())
    }
}

/// Judges and answers.
pub(super) struct Work<'a, W> {
    pub(super) judge: Judge<'a>,
    pub(super) out: W,
    events: u64,
    bad: u64,
}

impl<'a, W: Write> Work<'a, W> {
    /// Begins with nothing heard.
    pub(super) fn new(rules: &'a [Rule], composer: Composer<'a>, json: bool, out: W) -> Self {
        Self { judge: Judge { rules, composer, json }, out, events: 0, bad: 0 }
    }

    /// A line that is no event.
    pub(super) fn refuse(&mut self, place: &str, reason: &str) {
        self.bad += 1;
        output::note(format_args!("{place}: {}", Visible(reason)));
    }

    /// An event: what each rule says of it.
    pub(super) fn answer(&mut self, event: &FlowCompletion, rows: &RowReader) -> io::Result<()> {
        self.answer_with(event, rows, &[])
    }

    /// An event with what a server has added to it; `standing` says what each rule can do with that.
    pub(super) fn answer_with(
        &mut self,
        event: &FlowCompletion,
        rows: &RowReader,
        standing: &[Standing],
    ) -> io::Result<()> {
        let answer = self.judge.answer(event, rows, standing);
        self.put(&answer)
    }

    fn put(&mut self, answer: &[u8]) -> io::Result<()> {
        self.events += 1;
        if !self.judge.json && self.events > 1 {
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(answer)
    }

    /// Whether every line was an event.
    pub(super) fn finish(mut self) -> anyhow::Result<Exit> {
        self.out.flush().context("standard output")?;
        if self.bad == 0 {
            return Ok(Exit::Done);
        }
        let lines =
            if self.bad == 1 { "1 line is no event".to_owned() } else { format!("{} lines are no events", self.bad) };
        output::note(format_args!("{lines}; {} explained", self.events));
        Ok(Exit::Incomplete)
    }
}

fn write_text(out: &mut impl Write, rule: &str, decision: &Decision, subject: Option<&str>) -> io::Result<()> {
    let word = match decision.decision {
        Verdict::Notify => "notify",
        Verdict::Skip => "skip",
        Verdict::Error => "error",
    };
    writeln!(out, "  {}: {word}, {}", Visible(rule), decision.reason)?;
    if !decision.recipients.is_empty() {
        writeln!(out, "    to       {}", decision.recipients.join(", "))?;
    }
    if let Some(subject) = subject {
        writeln!(out, "    subject  {}", Visible(subject))?;
    }
    for note in &decision.notes {
        writeln!(out, "    note     {}: {}", note.plugin, one_line(&note.text))?;
    }
    let width = decision.trace.iter().map(|entry| entry.filter.len()).max().unwrap_or_default();
    for entry in &decision.trace {
        let verdict = match entry.verdict {
            TraceVerdict::Pass => "pass",
            TraceVerdict::Fail => "FAIL",
            TraceVerdict::Force => "FORCE",
            TraceVerdict::Off => "off",
            TraceVerdict::Unknown => "unknown",
            TraceVerdict::Note => "note",
        };
        writeln!(out, "    {:width$}  {verdict:7}  {}", entry.filter, entry.detail)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
