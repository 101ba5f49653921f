//! From the event to the mail server, as a whole: `cargo xtask bench mail`.
//!
//! The release binary runs once over events in its spool folder and mails them to Postfix's `smtp-sink`; in the same minute
//! `smtp-source -d` says what that server and this machine allow. Every mail is one event, judged by a rule with a plugin
//! filter in Rust, and stored with full sync before it is sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use acceptance::env::free_address;
use acceptance::event::lines;
use acceptance::postfix::Sink;
use acceptance::{Site, TestEnv};
use common::measures::{Bound, Measures, many, turns};
use common::{large, small};
use serde_json::Value;

/// Events of one turn; each becomes one mail.
const EVENTS: usize = 10_000;
/// Small events of one turn that are explained.
const EXPLAINED: usize = 50_000;
/// Sessions to the mail server.
const SESSIONS: usize = 16;

fn main() {
    let guests = PathBuf::from(std::env::var_os("BEWIT_BENCH_PLUGINS").expect("run it by `cargo xtask bench mail`"));
    let count = many(EVENTS);
    let events: Vec<Value> = (0..count).map(large).collect();
    let text = lines(&events);
    let octets = octets_of_a_mail(&events[0], &guests);
    let mut measures = Measures::default();
    for _ in 0..turns() {
        let address = free_address();
        let sink = Sink::start(address).expect("smtp-sink of Postfix");
        let source = sink.source(count, octets, SESSIONS);
        let whole = count as f64 / whole(&text, address.port(), &guests);
        let delivered = count as f64 / queue(&text, &guests).deliver(address.port());
        let explained = explain(&guests);
        let of = "of `smtp-source -d`";
        measures.add(8, format!("event to mail server: {of}"), "x", Bound::AtLeast(0.25), whole / source);
        measures.add(8, format!("delivery of what is queued: {of}"), "x", Bound::AtLeast(0.5), delivered / source);
        measures.add(8, "`explain --json`, decisions a second", "", Bound::AtLeast(100_000.0), explained);
        measures.add(0, "event to mail server, mails a second", "", Bound::None, whole);
        measures.add(0, "delivery of what is queued, mails a second", "", Bound::None, delivered);
        measures.add(0, "`smtp-source -d`, mails a second", "", Bound::None, source);
        measures.add(0, "octets of a mail", "", Bound::None, octets as f64);
    }
    measures.finish();
}

/// A site with one rule, and events in its spool.
fn site(text: &str, port: u16, guests: &std::path::Path) -> TestEnv {
    let env = TestEnv::new();
    let plugin = format!(
        "[plugins.filter]\npath = {:?}\nsettings = {{ reads = \"record\" }}\n",
        guests.join("rust-filter.wasm").display().to_string()
    );
    let rule = "\n[[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\nfilters = [\"filter\"]\n\
        include_result_table_from = [{ source = \"Pslist\", max_rows = 100 }]\n";
    let site = Site::smtp(port).smtp_key(&format!("connections = {SESSIONS}")).more(&plugin).rule(rule);
    env.config(&site);
    env.drop_spool("events.jsonl", text);
    env
}

/// `bewit` with these arguments, and how many seconds it took.
fn bewit(env: &TestEnv, args: &[&str], code: i32) -> f64 {
    let begun = Instant::now();
    let mut command = Command::new(env.binary());
    command.args(args).current_dir(env.root()).env("BEWIT_LOG", "error").stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap();
    assert_eq!(status.code(), Some(code), "bewit {args:?}");
    begun.elapsed().as_secs_f64()
}

/// How large the mail of an event is on the wire.
fn octets_of_a_mail(event: &Value, guests: &std::path::Path) -> usize {
    let env = site("", 1, guests);
    env.write("one.jsonl", format!("{event}\n"));
    let mail = env.bewit(["render", "--format", "eml", "one.jsonl"]).run().expect(0);
    mail.stdout.len()
}

/// Events to mails that the server has taken, in seconds.
fn whole(text: &str, port: u16, guests: &std::path::Path) -> f64 {
    let env = site(text, port, guests);
    bewit(&env, &["run", "--once"], 0)
}

/// An outbox with every mail in it, and none sent.
struct Queued(TestEnv);

fn queue(text: &str, guests: &std::path::Path) -> Queued {
    let env = site(text, free_address().port(), guests);
    // Nobody listens there: what was stored stays queued.
    bewit(&env, &["run", "--once"], 1);
    Queued(env)
}

impl Queued {
    /// Seconds until all of it is delivered.
    fn deliver(self, port: u16) -> f64 {
        let Self(env) = self;
        let config = env.read("bewit.toml");
        let port = format!("port = {port}");
        let lines: Vec<&str> =
            config.lines().map(|line| if line.starts_with("port = ") { port.as_str() } else { line }).collect();
        env.write("bewit.toml", lines.join("\n"));
        let mut took = 0.0;
        // What was tried before waits for its next attempt, which is soon.
        while env.states().iter().any(|state| state != "delivered") {
            let begun = Instant::now();
            let mut command = Command::new(env.binary());
            command.args(["run", "--once"]).current_dir(env.root()).env("BEWIT_LOG", "error");
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            took += begun.elapsed().as_secs_f64();
        }
        took
    }
}

/// Decisions a second, traces and all, into nothing.
fn explain(guests: &std::path::Path) -> f64 {
    let env = site("", 1, guests);
    let config = env.read("bewit.toml").replace("filters = [\"filter\"]\n", "");
    env.write("bewit.toml", config);
    // Small events, as a hunt's end brings them: what is measured is the decision, not the reading of rows.
    let small: Vec<Value> = (0..many(EXPLAINED)).map(small).collect();
    env.write("events.jsonl", lines(&small));
    small.len() as f64 / bewit(&env, &["explain", "--json", "events.jsonl"], 0)
}
