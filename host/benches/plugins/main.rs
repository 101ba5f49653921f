//! What a call of a plugin costs, beside a native closure that does the same: `cargo xtask bench plugins`.
//!
//! Everything is measured at the library's own door, copying the event and setting the limits included. The contenders
//! take turns, so that what disturbs the machine disturbs them all: trust the ratios, not the microseconds.
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
mod load;
mod sandbox;

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bewit::event::FlowCompletion;
use bewit::event::parse::parse;
use bewit::facts::RowReader;
use bewit::fragment::{Note, Tone, Verdict};
use bewit::plugin::Asked;
use bewit::plugin::compile::Compiler;
use bewit::plugin::host::HostOptions;
use bewit::plugin::loaded::Plugin;
use bewit::plugin::registry::Plugins;
use bewit::plugin::spec::{Instances, Limits, OnFailure, PluginSpec};
use jiff::Timestamp;
use serde_json::{Value, json};

use common::measures::{Bound, Measures, quick};
use common::peer::Peer;

/// The event: a collection's completion as Velociraptor tells of it, without result rows.
const EVENT: &str = include_str!("event.jsonl");
/// Turns of each contender.
const ROUNDS: usize = 7;
/// How long a turn lasts, and calls that it has at least.
const TURN: (Duration, usize) = (Duration::from_millis(120), 30);
/// The limits that a plugin has unless the operator says otherwise.
const LIMITS: Limits = Limits { memory: 64 << 20, time: Duration::from_millis(250), output: 1 << 20 };

/// What is measured, and where.
pub(crate) struct Bench {
    guests: PathBuf,
    scratch: tempfile::TempDir,
    event: FlowCompletion,
    rows: RowReader,
}

/// Something that answers for the event.
struct Contender<'a> {
    what: &'static str,
    call: Box<dyn FnMut() -> Verdict + 'a>,
}

fn main() {
    let guests = std::env::var_os("BEWIT_BENCH_PLUGINS").expect("run it by `cargo xtask bench plugins`");
    let bench = Bench {
        guests: guests.into(),
        scratch: tempfile::tempdir().unwrap(),
        event: parse(EVENT.trim_end()).unwrap(),
        rows: RowReader::default(),
    };
    let mut measures = Measures::default();
    load::measure(&bench, &mut measures);
    load::memory(&bench, &mut measures);
    calls(&bench, &mut measures);
    sandbox::measure(&bench, &mut measures);
    println!("\nA call about a document of {} bytes", bench.event.document.len());
    measures.finish();
}

impl Bench {
    /// Compiled here, kept in a folder that ends with the benchmark.
    pub(crate) fn options(&self) -> HostOptions {
        HostOptions { compiler: Compiler::Here, cache: Some(self.scratch.path().join("cache")) }
    }

    /// A guest as the operator would have it.
    pub(crate) fn spec(&self, name: &str, guest: &str, reads: Option<&str>, instances: Instances) -> PluginSpec {
        let path = self.guests.join(format!("{guest}.wasm"));
        let settings = reads.map(|reads| ("reads".to_owned(), json!(reads))).into_iter().collect();
        PluginSpec { settings, instances, ..self.spec_of(name, path) }
    }

    /// A component that is somewhere else.
    pub(crate) fn spec_of(&self, name: &str, path: PathBuf) -> PluginSpec {
        PluginSpec {
            name: name.to_owned(),
            path,
            sha256: None,
            settings: serde_json::Map::new(),
            files: BTreeMap::new(),
            limits: LIMITS,
            on_failure: OnFailure::Keep,
            instances: Instances::Auto,
        }
    }

    /// A component in the text format, made by the tests' own builder.
    pub(crate) fn written(&self, name: &str, component: &[u8]) -> PathBuf {
        let path = self.scratch.path().join(format!("{name}.wasm"));
        std::fs::write(&path, component).unwrap();
        path
    }

    /// The contender that `cargo xtask bench` has built, and its guest.
    fn extism(&self) -> Peer {
        let built = std::env::var_os("BEWIT_BENCH_EXTISM").expect("run it by `cargo xtask bench plugins`");
        let event = self.scratch.path().join("event.json");
        std::fs::write(&event, &*self.event.document).unwrap();
        let built = PathBuf::from(built);
        let guest = built.join("wasm32-unknown-unknown/release/extism_guest.wasm");
        let mut peer = Command::new(built.join("release/extism-peer"));
        Peer::start(peer.arg(guest).arg(event).arg(TURN.0.as_millis().to_string()))
    }

    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { rule: "analyst", event: &self.event, rows: &self.rows, now: Timestamp::UNIX_EPOCH }
    }

    pub(crate) fn decide(&self, plugin: &Plugin) -> Verdict {
        plugin.decide(&self.asked()).unwrap()
    }
}

/// Loads, or says why not.
pub(crate) fn loaded(specs: &[PluginSpec], options: &HostOptions, before: Option<&Plugins>) -> Plugins {
    Plugins::load(specs, options, before).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// What the guests do, as a closure of the host's would.
fn native(document: &str) -> Verdict {
    let document: Value = serde_json::from_str(document).unwrap();
    let (flow, client) = (&document["Flow"], &document["client_info"]);
    let rows = flow["total_collected_rows"].as_u64().unwrap_or_default();
    let mut labels = client["labels"].as_array().into_iter().flatten();
    let mut artifacts = flow["request"]["artifacts"].as_array().into_iter().flatten();
    let found = flow["state"] == "FINISHED"
        && labels.any(|label| label == "vip")
        && rows >= 100
        && artifacts.any(|name| name.as_str().is_some_and(|name| name.starts_with("Windows.EventLogs.")));
    if !found {
        return Verdict::Abstain;
    }
    let host = client["os_info"]["fqdn"].as_str().unwrap_or_default();
    Verdict::Keep(vec![Note { tone: Tone::Warning, text: format!("{host}: {rows} rows") }])
}

/// What it is called, the guest, what it reads, and how long its instances live.
type Entry = (&'static str, &'static str, Option<&'static str>, Instances);

const NATIVE: &str = "native closure, JSON";
const RECORD: &str = "Rust, record, kept";
const JSON: &str = "Rust, JSON, kept";
const FRESH: &str = "Rust, JSON, fresh";

/// Goals in microseconds, where there are some: the number of the goal too.
const MICROS: [(&str, u8, f64); 8] = [
    (RECORD, 1, 8.0),
    (JSON, 1, 20.0),
    ("JavaScript, JSON, kept", 2, 45.0),
    ("Python, JSON, kept", 2, 65.0),
    ("Rust, record, fresh", 2, 50.0),
    (FRESH, 2, 50.0),
    ("JavaScript, JSON, fresh", 2, 600.0),
    ("Python, JSON, fresh", 2, 1_400.0),
];

/// The calls, in turns.
fn calls(bench: &Bench, measures: &mut Measures) {
    let guests: [Entry; 10] = {
        use Instances::{Fresh, Warm};
        let (doc, record, nothing) = (Some("document"), Some("record"), Some("nothing"));
        [
            ("Rust, nothing, kept", "rust-filter", nothing, Warm),
            (RECORD, "rust-filter", record, Warm),
            (JSON, "rust-filter", doc, Warm),
            ("JavaScript, JSON, kept", "js-filter", None, Warm),
            ("Python, JSON, kept", "python-filter", None, Warm),
            ("Rust, nothing, fresh", "rust-filter", nothing, Fresh),
            ("Rust, record, fresh", "rust-filter", record, Fresh),
            (FRESH, "rust-filter", doc, Fresh),
            ("JavaScript, JSON, fresh", "js-filter", None, Fresh),
            ("Python, JSON, fresh", "python-filter", None, Fresh),
        ]
    };
    let name = |number: usize| format!("guest-{number}");
    let specs: Vec<PluginSpec> = (0..)
        .zip(&guests)
        .map(|(number, (_, guest, reads, instances))| bench.spec(&name(number), guest, *reads, *instances))
        .collect();
    let plugins = loaded(&specs, &bench.options(), None);
    let expected = native(&bench.event.document);
    assert!(matches!(expected, Verdict::Keep(_)), "{expected:?}");

    let mut contenders: Vec<Contender<'_>> =
        vec![Contender { what: NATIVE, call: Box::new(|| native(black_box(&bench.event.document))) }];
    for (number, (what, _, reads, _)) in guests.into_iter().enumerate() {
        let plugin = plugins.get(&name(number)).unwrap();
        let wanted = if reads == Some("nothing") { &Verdict::Abstain } else { &expected };
        assert_eq!(bench.decide(plugin), *wanted, "{what} does the same as the native closure");
        contenders.push(Contender { what, call: Box::new(|| bench.decide(plugin)) });
    }
    let mut extism = bench.extism();
    for _ in 0..if quick() { 1 } else { ROUNDS } {
        let mut micros: HashMap<&str, f64> =
            contenders.iter_mut().map(|contender| (contender.what, turn(&mut contender.call))).collect();
        micros.extend([("extism, JSON, kept", extism.turn("reused")), ("extism, JSON, fresh", extism.turn("fresh"))]);
        micros.insert("extism, nothing, kept", extism.turn("reused, nothing"));
        let ratio = |own: &str, other: &str| micros[own] / micros[other];
        let ratios = [
            (1, JSON, NATIVE, 1.5),
            (1, JSON, "extism, JSON, kept", 0.6),
            (1, RECORD, "extism, JSON, kept", 0.25),
            (2, FRESH, "extism, JSON, fresh", 0.15),
        ];
        for (goal, own, other, most) in ratios {
            measures.add(goal, format!("{own}: of {other}"), "x", Bound::AtMost(most), ratio(own, other));
        }
        for (what, goal, most) in MICROS {
            measures.add(goal, what, "µs", Bound::AtMost(most), micros[what]);
        }
        let mut told: Vec<_> = micros.iter().filter(|(what, _)| MICROS.iter().all(|(own, ..)| own != *what)).collect();
        told.sort_by_key(|(what, _)| **what);
        for (what, micros) in told {
            measures.add(0, *what, "µs", Bound::None, *micros);
        }
    }
}

/// Calls for a while; the median in microseconds.
fn turn(call: &mut dyn FnMut() -> Verdict) -> f64 {
    let (length, least) = TURN;
    for _ in 0..least / 10 {
        black_box(call());
    }
    let mut times = Vec::new();
    let turn = Instant::now();
    while turn.elapsed() < length || times.len() < least {
        times.push(micros(|| {
            black_box(call());
        }));
    }
    median(times)
}

/// How long it took.
pub(crate) fn micros(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e6
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    *values.get(values.len() / 2).expect("at least one value")
}

/// Size of a file.
pub(crate) fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}
