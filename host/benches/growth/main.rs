//! Memory and time for 1, 10, 100 and 1000 times the events, and a picture of them: `cargo xtask bench growth`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

#[path = "../common/mod.rs"]
mod common;
mod plot;

use std::fs;
use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use acceptance::env::free_address;
use acceptance::postfix::Sink;
use acceptance::{Site, TestEnv};
use common::measures::quick;
use common::{large, small, status};
use plot::{Line, Plot};
use serde_json::{Value, json};

/// How many events.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// Events of one file in the spool.
const FILE: usize = 10_000;
/// How often memory is looked at; the kernel keeps the peak.
const LOOK: Duration = Duration::from_millis(10);

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    events: usize,
    seconds: f64,
    /// MiB at its peak.
    memory: f64,
}

/// What is run, and its name.
type Kind = (&'static str, fn(usize) -> Run);

fn main() {
    let kinds: [Kind; 2] = [("bewit run --once", once), ("bewit explain --json", explain)];
    let sizes = if quick() { &SIZES[..3] } else { &SIZES[..] };
    let mut all: Vec<(&str, Vec<Run>)> = Vec::new();
    println!("\n| command | events | time | a second | most memory |\n| --- | ---: | ---: | ---: | ---: |");
    for (name, kind) in kinds {
        let mut runs = Vec::new();
        for events in sizes {
            let run = kind(*events);
            let (seconds, rate) = (run.seconds, *events as f64 / run.seconds);
            println!("| `{name}` | {events} | {seconds:.2} s | {rate:.0} | {:.0} MiB |", run.memory);
            runs.push(run);
        }
        all.push((name, runs));
    }
    let line = |name: &str, runs: &[Run], figure: fn(&Run) -> f64| Line {
        name: name.to_owned(),
        points: runs.iter().map(|run| (run.events as f64, figure(run))).collect(),
    };
    let lines = |figure: fn(&Run) -> f64| all.iter().map(|(name, runs)| line(name, runs, figure)).collect();
    let plots = [
        Plot { title: "Time, seconds".to_owned(), lines: lines(|run| run.seconds) },
        Plot { title: "Most memory, MiB".to_owned(), lines: lines(|run| run.memory) },
    ];
    if let Some(path) = std::env::var_os("BEWIT_BENCH_PLOT") {
        fs::write(path, plot::svg("Events", &plots)).unwrap();
    }
    if let Some(path) = std::env::var_os("BEWIT_BENCH_OUT") {
        let whole: Value = all
            .iter()
            .flat_map(|(name, runs)| runs.iter().map(move |run| (name, run)))
            .map(|(name, run)| {
                json!({ "command": name, "events": run.events, "seconds": run.seconds, "memory_mib": run.memory })
            })
            .collect();
        fs::write(path, format!("{whole:#}\n")).unwrap();
    }
}

/// From the spool to a mail server, everything stored with full sync: mails of 36 KB.
fn once(events: usize) -> Run {
    let address = free_address();
    let _sink = Sink::start(address).expect("smtp-sink of Postfix");
    let env = TestEnv::new();
    env.config(&Site::smtp(address.port()).smtp_key("connections = 16").rule(common::RULE));
    fs::create_dir_all(env.path("spool")).unwrap();
    for (number, first) in (0..events).step_by(FILE).enumerate() {
        write(&env, &format!("spool/{number:04}.jsonl"), (first..events.min(first + FILE)).map(large));
    }
    measured(&env, events, &["run", "--once"])
}

/// Decisions with their traces, into nothing.
fn explain(events: usize) -> Run {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(common::RULE));
    write(&env, "events.jsonl", (0..events).map(small));
    measured(&env, events, &["explain", "--json", "events.jsonl"])
}

fn write(env: &TestEnv, name: &str, events: impl Iterator<Item = Value>) {
    let mut out = BufWriter::new(fs::File::create(env.path(name)).unwrap());
    for event in events {
        writeln!(out, "{event}").unwrap();
    }
    out.flush().unwrap();
}

fn measured(env: &TestEnv, events: usize, args: &[&str]) -> Run {
    let begun = Instant::now();
    let mut command = Command::new(env.binary());
    command.args(args).current_dir(env.root()).env("BEWIT_LOG", "error");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut memory = 0.0;
    let ended = loop {
        if let Some(kibibytes) = status(child.id(), "VmHWM") {
            memory = kibibytes / 1024.0;
        }
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(LOOK);
    };
    let seconds = begun.elapsed().as_secs_f64();
    assert!(ended.success(), "bewit {args:?}: {ended}");
    Run { events, seconds, memory }
}
