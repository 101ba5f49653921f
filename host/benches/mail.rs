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

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use acceptance::env::free_address;
use acceptance::event::{event, lines};
use acceptance::postfix::Sink;
use acceptance::{Site, TestEnv};
use serde_json::{Value, json};

/// Events of one turn; each becomes one mail.
const EVENTS: usize = 10_000;
/// Rows of an event's result table, so that a mail has about 36 KB.
const ROWS: usize = 26;
/// Sessions to the mail server.
const SESSIONS: usize = 16;
/// Turns; the medians are shown.
const TURNS: usize = 3;

/// One thing that is measured, in events or mails a second.
struct Measure {
    what: &'static str,
    goal: Goal,
    turns: Vec<f64>,
}

/// What is to be reached.
enum Goal {
    /// That part of what `smtp-source -d` does in the same turn.
    OfSource(f64),
    /// So many a second.
    Rate(f64),
}

fn main() {
    let guests = PathBuf::from(std::env::var_os("BEWIT_BENCH_PLUGINS").expect("run it by `cargo xtask bench mail`"));
    let events: Vec<Value> = (0..EVENTS).map(large).collect();
    let text = lines(&events);
    let mut source = Vec::new();
    let mut measures = [
        ("event to mail server, full sync", Goal::OfSource(0.25)),
        ("delivery of what is queued", Goal::OfSource(0.5)),
        ("decision alone (`explain --json`)", Goal::Rate(100_000.0)),
    ]
    .map(|(what, goal)| Measure { what, goal, turns: Vec::new() });
    let mut octets = 0;
    for turn in 0..TURNS {
        let address = free_address();
        let sink = Sink::start(address).expect("smtp-sink of Postfix");
        octets = if turn == 0 { octets_of_a_mail(&events[0], &guests) } else { octets };
        source.push(sink.source(EVENTS, octets, SESSIONS));
        measures[0].turns.push(whole(&text, address.port(), &guests));
        let queued = queue(&text, &guests);
        measures[1].turns.push(queued.deliver(address.port()));
        measures[2].turns.push(explain(&guests));
    }
    let rows: Vec<Value> = measures.iter().map(|measure| row(measure, &source)).collect();
    println!("\n`smtp-source -d`: {:.0} mails of {octets} octets a second in {SESSIONS} sessions.", median(&source));
    if let Some(path) = std::env::var_os("BEWIT_BENCH_OUT") {
        let whole = json!({ "source": source, "octets": octets, "measures": rows });
        std::fs::write(path, serde_json::to_string_pretty(&whole).unwrap()).unwrap();
    }
}

/// Prints a line of the table, under its head if it is the first.
fn row(measure: &Measure, source: &[f64]) -> Value {
    if matches!(measure.goal, Goal::OfSource(part) if part == 0.25) {
        println!("\n| what | a second | of `smtp-source -d` | goal | |\n| --- | ---: | ---: | --- | --- |");
    }
    let rate = median(&measure.turns);
    let ratios: Vec<f64> = measure.turns.iter().zip(source).map(|(rate, source)| rate / source).collect();
    let (ratio, goal, met) = match measure.goal {
        Goal::OfSource(part) => (format!("{:.2}", median(&ratios)), format!("≥ {part}"), median(&ratios) >= part),
        Goal::Rate(least) => (String::new(), format!("≥ {least} a second"), rate >= least),
    };
    let verdict = if met { "met" } else { "missed" };
    println!("| {} | {rate:.0} | {ratio} | {goal} | {verdict} |", measure.what);
    json!({ "what": measure.what, "a_second": measure.turns, "goal": goal, "met": met })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// An event with so many rows of four columns.
fn large(n: usize) -> Value {
    let mut event = event(n);
    let rows: Vec<Value> = (0..ROWS)
        .map(|row| {
            json!({ "Name": format!("svchost-{row}.exe"), "Pid": 800 + row, "Ppid": 4 + row,
                "CommandLine": format!("token-{n} -k netsvcs -p -s Service{row}") })
        })
        .collect();
    event["results"] = json!({ "Custom.Windows.Pslist": rows });
    event
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

/// Events to mails that the server has taken, in mails a second.
fn whole(text: &str, port: u16, guests: &std::path::Path) -> f64 {
    let env = site(text, port, guests);
    EVENTS as f64 / bewit(&env, &["run", "--once"], 0)
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
        EVENTS as f64 / took
    }
}

/// Decisions a second, traces and all, into nothing.
fn explain(guests: &std::path::Path) -> f64 {
    let env = site("", 1, guests);
    let config = env.read("bewit.toml").replace("filters = [\"filter\"]\n", "");
    env.write("bewit.toml", config);
    // Small events, as a hunt's end brings them: what is measured is the decision, not the reading of rows.
    let small: Vec<Value> = (0..EVENTS * 5).map(event).collect();
    env.write("events.jsonl", lines(&small));
    (EVENTS * 5) as f64 / bewit(&env, &["explain", "--json", "events.jsonl"], 0)
}
