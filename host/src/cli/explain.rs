//! `bewit explain`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::progress::Progress;
use super::{ConfigArgs, Exit, UsageError, output};
use crate::compose::Composer;
use crate::compose::templates::Templates;
use crate::config::Config;
use crate::config::diagnostic::Diagnostics;
use crate::config::load::load_offline;
use crate::event::FlowCompletion;
use crate::event::line::{LineLimits, admit};
use crate::event::parse::parse;
use crate::rule::decide::decide;
use crate::rule::show::Visible;
use crate::rule::{Decision, Rule, TraceEntry, TraceVerdict, Verdict};

/// Show the decision for each event and rule, with the trace
///
/// Each rule says of each event whether it mails and to whom, and each of its filters says why or why not. Nothing is
/// sent or stored. Lines that are no events are named on standard error; the exit code is then 1.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the flattened arguments have their own")]
    pub config: ConfigArgs,
    /// One JSON object a line for each event and rule, instead of a text to be read
    #[arg(long)]
    pub json: bool,
    /// Files of events, one JSON object a line; `-` is standard input
    #[arg(required = true, value_name = "EVENTS")]
    pub events: Vec<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When the configuration is broken or has no rules, or a file cannot be read: exit code 2.
pub fn run(args: ExplainArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args.config.config)?;
    for path in args.events.iter().filter(|path| !is_stdin(path)) {
        let usable = path
            .metadata()
            .and_then(|found| if found.is_dir() { Err(io::Error::from(io::ErrorKind::IsADirectory)) } else { Ok(()) });
        usable.map_err(|error| UsageError(format!("{}: {error}", name_of(path))))?;
    }
    let sets: Vec<&str> = config.rules.iter().map(|rule| rule.template.as_str()).collect();
    let templates = Templates::load(config.templates.as_deref(), &sets).map_err(Diagnostics::from)?;
    let composer = Composer { templates: &templates, base_url: config.base_url.as_deref() };

    let progress = Progress::start("events explained", io::stdout().is_terminal());
    let mut work = Work {
        rules: &config.rules,
        composer,
        limits: config.limits,
        json: args.json,
        out: output::stdout(),
        explained: Box::new(progress.counter()),
        events: 0,
        bad: 0,
    };
    for path in &args.events {
        if is_stdin(path) {
            work.read(&name_of(path), io::stdin().lock())?;
        } else {
            let file = File::open(path).map_err(|error| UsageError(format!("{}: {error}", name_of(path))))?;
            work.read(&name_of(path), BufReader::with_capacity(256 * 1024, file))?;
        }
    }
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
        let text = format!("{}: no rules are configured, so nothing is decided; add a [[rule]]", name_of(path));
        return Err(UsageError(text).into());
    }
    Ok(config)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn name_of(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { Visible(&path.display().to_string()).to_string() }
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
}

struct Work<'a, W> {
    rules: &'a [Rule],
    composer: Composer<'a>,
    limits: LineLimits,
    json: bool,
    out: W,
    /// Shows that one more event is done.
    explained: Box<dyn Fn()>,
    events: u64,
    bad: u64,
}

impl<W: Write> Work<'_, W> {
    /// Answers for each line of a reader. At most one line is held at a time.
    fn read(&mut self, name: &str, mut reader: impl BufRead) -> anyhow::Result<()> {
        let mut line = Vec::new();
        let mut number = 0_u64;
        loop {
            let got = next_line(&mut reader, &mut line, self.limits.line);
            if !got.map_err(|error| UsageError(format!("{name}: {error}")))? {
                return Ok(());
            }
            number += 1;
            let bytes = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let event = admit(bytes, &self.limits).map_err(|error| error.to_string());
            match event.and_then(|line| parse(&line).map_err(|error| error.to_string())) {
                Ok(event) => self.answer(&event).context("standard output")?,
                Err(reason) => {
                    self.bad += 1;
                    output::note(format_args!("{name}:{number}: {}", Visible(&reason)));
                }
            }
        }
    }

    fn answer(&mut self, event: &FlowCompletion) -> io::Result<()> {
        self.events += 1;
        (self.explained)();
        let key = event.key.to_string();
        if !self.json {
            let gap = if self.events == 1 { "" } else { "\n" };
            writeln!(self.out, "{gap}{}", Visible(&key))?;
        }
        for rule in self.rules {
            let (decision, subject) = self.decide(rule, event);
            if self.json {
                let answer = Answer {
                    event: &key,
                    rule: &rule.name,
                    decision: decision.decision,
                    reason: &decision.reason,
                    trace: &decision.trace,
                    recipients: &decision.recipients,
                    subject: subject.as_deref(),
                };
                serde_json::to_writer(&mut self.out, &answer)?;
                self.out.write_all(b"\n")?;
            } else {
                write_text(&mut self.out, &rule.name, &decision, subject.as_deref())?;
            }
        }
        Ok(())
    }

    /// The decision, and the subject of the mail that is due.
    fn decide(&self, rule: &Rule, event: &FlowCompletion) -> (Decision, Option<String>) {
        let mut decision = decide(rule, event);
        if decision.decision != Verdict::Notify {
            return (decision, None);
        }
        match self.composer.subject(rule, event) {
            Ok(subject) => (decision, Some(subject)),
            Err(error) => {
                decision.decision = Verdict::Error;
                decision.reason = format!("the subject could not be written: {}", Visible(&error.to_string()));
                decision.recipients.clear();
                (decision, None)
            }
        }
    }

    fn finish(mut self) -> anyhow::Result<Exit> {
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

/// Reads a line into `line`, without its end; `false` at the end of the input. Of an over-long line only so much is
/// kept that it can be told to be one.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>, limit: u64) -> io::Result<bool> {
    line.clear();
    // One byte over the limit, and a CRLF that does not count.
    let most = limit.saturating_add(3);
    let read = reader.by_ref().take(most).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(false);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if read as u64 == most {
        reader.skip_until(b'\n')?;
    }
    Ok(true)
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
