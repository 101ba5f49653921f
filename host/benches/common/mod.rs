//! What the benchmarks have in common: events, a configuration in force, and the figure in the middle.

#![allow(dead_code, reason = "each benchmark takes what it needs")]

pub(crate) mod daemon;
pub(crate) mod measures;
pub(crate) mod peer;
pub(crate) mod stored;

use std::path::Path;
use std::time::{Duration, Instant};

use acceptance::event::event;
use bewit::blob::BlobStore;
use bewit::compose::Draft;
use bewit::config::load;
use bewit::event::FlowCompletion;
use bewit::event::line::LineLimits;
use bewit::facts::RowReader;
use bewit::judge::judge;
use bewit::mail::{MailReader, NewMail};
use bewit::rule::{Decision, Rule};
use bewit::snapshot::Snapshot;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Rows of a large event's result table, so that its mail has about 36 KB.
pub(crate) const ROWS: usize = 26;

/// A small event, as a hunt's end brings them: two rows.
pub(crate) fn small(n: usize) -> Value {
    event(n)
}

/// An event with so many rows of four columns.
pub(crate) fn with_rows(n: usize, rows: usize) -> Value {
    let mut event = event(n);
    let rows: Vec<Value> = (0..rows)
        .map(|row| {
            json!({ "Name": format!("svchost-{row}.exe"), "Pid": 800 + row, "Ppid": 4 + row,
                "CommandLine": format!("token-{n} -k netsvcs -p -s Service{row}") })
        })
        .collect();
    event["results"] = json!({ "Custom.Windows.Pslist": rows });
    event
}

/// An event whose mail has about 36 KB.
pub(crate) fn large(n: usize) -> Value {
    with_rows(n, ROWS)
}

/// The rule of the benchmarks: one recipient, HTML and text, the process list as a table.
pub(crate) const RULE: &str = "\n[[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\n\
    include_result_table_from = [{ source = \"Pslist\", max_rows = 100 }]\n";

/// A configuration in force, and a folder for what it stores.
pub(crate) struct Ground {
    pub(crate) snapshot: Snapshot,
    pub(crate) rows: RowReader,
    pub(crate) blobs: BlobStore,
    pub(crate) now: Timestamp,
    pub(crate) folder: tempfile::TempDir,
}

impl Ground {
    /// With [`RULE`].
    pub(crate) fn new() -> Self {
        Self::with("", RULE)
    }

    /// With more sections, and these rules.
    pub(crate) fn with(sections: &str, rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[smtp]\nmailbox = \"mail\"\nfrom = \"Bewit <bewit@example.org>\"\n\n[outbox]\nurl = \"sqlite:bewit.db\"\n\
            \n[intake.spool]\npath = \"spool\"\n{sections}{rules}"
        );
        let config = load::parse(&text, "bench.toml", folder.path()).unwrap_or_else(|found| panic!("{found}"));
        let snapshot = Snapshot::build(config).unwrap_or_else(|found| panic!("{found}"));
        let blobs = BlobStore::open(folder.path().join("blobs")).unwrap();
        let now = Timestamp::from_second(1_786_500_600).unwrap();
        Self { snapshot, rows: RowReader::default(), blobs, now, folder }
    }

    pub(crate) fn rule(&self) -> &Rule {
        &self.snapshot.config.rules[0]
    }

    /// From a line to an event.
    pub(crate) fn read(&self, line: &[u8]) -> FlowCompletion {
        bewit::event::read(line, &self.limits()).unwrap()
    }

    pub(crate) fn limits(&self) -> LineLimits {
        self.snapshot.config.limits
    }

    /// The whole decision, plugin filters and recipients too.
    pub(crate) fn decide(&self, event: &FlowCompletion) -> Decision {
        judge(self.rule(), event, &self.rows, self.now, &*self.snapshot.plugins).unwrap()
    }

    /// View, tables, subject, text and HTML.
    pub(crate) fn draft(&self, event: &FlowCompletion, decision: &Decision) -> Draft {
        self.snapshot.composer().draft(self.rule(), event, decision, &self.rows, &self.blobs, self.now).unwrap()
    }

    /// The finished mails of a draft.
    pub(crate) fn mails(&self, event: &FlowCompletion, decision: &Decision, draft: &Draft) -> Vec<NewMail> {
        let thread = bewit::compose::thread(self.rule(), event);
        draft.mails(self.rule(), &decision.recipients, Some(thread), self.now)
    }

    /// A mail's bytes as they are stored, to be read.
    pub(crate) fn bytes<'a>(&'a self, mail: &'a NewMail) -> MailReader<'a> {
        MailReader::new(&mail.head, &mail.body, &self.blobs)
    }
}

/// The one in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A line of `/proc/PID/status` such as `VmHWM`, in its own unit (kB, or a number).
pub(crate) fn status(pid: u32, key: &str) -> Option<f64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Calls something for a while; the median in microseconds.
pub(crate) fn turn(length: Duration, mut call: impl FnMut()) -> f64 {
    for _ in 0..3 {
        call();
    }
    let (mut times, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < length || times.len() < 10 {
        let call_begun = Instant::now();
        call();
        times.push(call_begun.elapsed().as_secs_f64() * 1e6);
    }
    median(&times)
}
