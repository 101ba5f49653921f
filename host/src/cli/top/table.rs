//! A report as lines of text.

use super::figures::{bytes, digits, seconds};
use super::report::{Named, Report, Times};
use crate::cli::table::Table;
use crate::text::one_line;

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// A heading.
    Head,
    /// Something that somebody should look at.
    Bad,
    /// Any other.
    Plain,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }
}

/// All lines, what is wrong first.
pub(super) fn lines(report: &Report) -> Vec<Line> {
    let mut lines = vec![Line::new(Tone::Head, head(report))];
    lines.extend(troubles(report).into_iter().map(|trouble| Line::new(Tone::Bad, format!("! {trouble}"))));
    lines.push(Line::new(Tone::Plain, ""));
    let mut table = Table::new(&["A SECOND", "", "RECIPIENTS", "", "OLDEST"]);
    let mut states = report.queue.iter();
    let mut rates = report.rates.iter();
    loop {
        let (rate, state) = (rates.next(), states.next());
        if rate.is_none() && state.is_none() {
            break;
        }
        let (name, rate) = rate.map_or(("", String::new()), |(name, rate)| (*name, number(*rate)));
        let (state, count, oldest) = state.map_or(("", String::new(), String::new()), |(state, of)| {
            let oldest = of.oldest_seconds.filter(|_| of.recipients > 0.0).map(seconds).unwrap_or_default();
            (*state, digits(of.recipients), oldest)
        });
        table.row(&[name, &rate, state, &count, &oldest]);
    }
    push(&mut lines, &table);
    let space = &report.space;
    let size = |size: Option<f64>| size.map_or_else(|| "?".to_owned(), bytes);
    lines.push(Line::new(
        Tone::Plain,
        format!(
            "oldest that waits {}, overdue {}; {} gathered, {} put off; disk {} free, outbox {} + {}",
            seconds(report.oldest_seconds),
            seconds(report.overdue_seconds),
            digits(report.gathered),
            digits(report.postponed),
            size(space.free_bytes),
            size(space.database_bytes),
            size(space.log_bytes)
        ),
    ));
    if report.lanes.iter().any(|(lane, of)| *lane != "normal" && of.recipients > 0.0) {
        let lanes = report.lanes.iter().map(|(lane, of)| {
            let oldest = of.oldest_seconds.filter(|_| of.recipients > 0.0);
            let oldest = oldest.map(|oldest| format!(" (oldest {})", seconds(oldest))).unwrap_or_default();
            format!("{} {lane}{oldest}", digits(of.recipients))
        });
        lines.push(Line::new(Tone::Plain, format!("wait by priority: {}", lanes.collect::<Vec<_>>().join(", "))));
    }
    lines.push(Line::new(Tone::Plain, ""));
    times(&mut lines, report);
    others(&mut lines, report);
    lines
}

fn head(report: &Report) -> String {
    let mut text = format!("bewit {} at {}", one_line(&report.version), report.daemon);
    for (what, value) in [("up", report.up_seconds.map(seconds)), ("memory", report.memory_bytes.map(bytes))] {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {value}"));
        }
    }
    if let Some(generation) = report.configuration {
        text.push_str(&format!(", configuration {}", digits(generation)));
    }
    text
}

/// What somebody should look at, a sentence each.
fn troubles(report: &Report) -> Vec<String> {
    let mut troubles = Vec::new();
    if !report.configuration_good {
        troubles.push("the last change of a file was refused: `bewit check` says why".to_owned());
    }
    for Named { name, of: relay } in report.relays.iter().filter(|relay| !relay.of.up) {
        let what = match relay.trouble.as_deref() {
            Some("unreachable") => "cannot be reached",
            Some("refuses") => "does not want us",
            Some("burst") => "refuses most of what it gets",
            _ => "is down",
        };
        troubles.push(format!("mail server {} {what}: mails wait, it is probed", one_line(name)));
    }
    if let (Some(free), Some(least)) = (report.space.free_bytes, report.space.min_free_bytes)
        && free < least
    {
        troubles.push(format!("{} free, fewer than min_free: nothing new is taken in", bytes(free)));
    }
    for plugin in report.plugins.iter().filter(|plugin| plugin.of.benched) {
        troubles.push(format!("plugin {} keeps failing and is not asked for a while", one_line(&plugin.name)));
    }
    for org in report.velociraptor.iter().filter(|org| !org.of.live) {
        troubles.push(format!("Velociraptor org {}: {}", one_line(&org.name), one_line(&org.of.phase)));
    }
    for (state, what) in [("held", "wait for a person"), ("failed", "will never get their mail")] {
        let count = report.queue.get(state).map_or(0.0, |state| state.recipients);
        if count > 0.0 {
            troubles.push(format!("{} recipients {what}: bewit outbox list --state {state}", digits(count)));
        }
    }
    troubles
}

fn times(lines: &mut Vec<Line>, report: &Report) {
    let mut table = Table::new(&["TIME", "A SECOND", "P50", "P99", "SINCE THE START"]);
    let mut old = false;
    let mut row = |name: &str, times: &Times| {
        old |= times.since_start && times.count > 0.0;
        let mark = if times.since_start && times.count > 0.0 { " *" } else { "" };
        let of = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{}{mark}", seconds(value)));
        table.row(&[name, &number(times.per_second), &of(times.p50), &of(times.p99), &digits(times.count)]);
    };
    report.steps.iter().for_each(|step| row(&step.name, &step.of));
    report.commits.iter().for_each(|commit| row(&format!("commit: {}", commit.name), &commit.of));
    report.plugins.iter().for_each(|plugin| row(&format!("plugin: {}", plugin.name), &plugin.of.calls));
    row("event to mail", &report.way);
    push(lines, &table);
    let mut notes = Vec::new();
    if old {
        notes.push("* of all since the start: there was none in the last minute".to_owned());
    }
    if let Some(group) = report.group {
        notes.push(format!("{} commands in one transaction", digits(group)));
    }
    if !notes.is_empty() {
        lines.push(Line::new(Tone::Plain, notes.join("; ")));
    }
}

fn others(lines: &mut Vec<Line>, report: &Report) {
    if !report.relays.is_empty() {
        let mut table = Table::new(&["MAIL SERVER", "STATE", "SESSIONS", "A MINUTE", "SLOWED", "WENT DOWN"]);
        for Named { name, of } in &report.relays {
            let state = if of.up { "up" } else { of.trouble.as_deref().unwrap_or("down") };
            let sessions = format!("{} of {}", digits(of.sessions), digits(of.sessions_limit));
            let rate = of.rate_limit.map_or_else(|| "no limit".to_owned(), digits);
            table.row(&[name, state, &sessions, &rate, &digits(of.slowed), &digits(of.falls)]);
        }
        lines.push(Line::new(Tone::Plain, ""));
        push(lines, &table);
    }
    if !report.plugins.is_empty() {
        let mut table = Table::new(&["PLUGIN", "STATE", "FAILED", "DROPPED"]);
        for Named { name, of } in &report.plugins {
            let state = if of.benched { "benched" } else { "asked" };
            table.row(&[name, state, &digits(of.failed), &digits(of.dropped)]);
        }
        lines.push(Line::new(Tone::Plain, ""));
        push(lines, &table);
    }
    if !report.velociraptor.is_empty() {
        let mut table = Table::new(&["ORG", "PHASE", "ROWS", "FAILURES", "LAG"]);
        for Named { name, of } in &report.velociraptor {
            let lag = of.lag_seconds.map(seconds).unwrap_or_default();
            table.row(&[name, &of.phase, &digits(of.rows), &digits(of.failures), &lag]);
        }
        lines.push(Line::new(Tone::Plain, ""));
        push(lines, &table);
    }
    if !report.queries.is_empty() {
        let mut table = Table::new(&["QUERY", "ASKED", "FAILED", "MEAN"]);
        for Named { name, of } in &report.queries {
            let mean = of.mean_seconds.map(seconds).unwrap_or_default();
            table.row(&[name, &digits(of.queries), &digits(of.failed), &mean]);
        }
        lines.push(Line::new(Tone::Plain, ""));
        push(lines, &table);
    }
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), digits)
}

/// The first line of a table is its heading.
fn push(lines: &mut Vec<Line>, table: &Table) {
    for (at, line) in table.to_string().lines().enumerate() {
        lines.push(Line::new(if at == 0 { Tone::Head } else { Tone::Plain }, line));
    }
}
