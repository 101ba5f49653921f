//! Loading: compiled for the first time, and from the cache. And what a kept instance holds.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use acceptance::guest::{self, ABSTAIN};
use bewit::plugin::registry::Plugins;
use bewit::plugin::spec::Instances;
use sha2::{Digest as _, Sha256};

use super::common::measures::{Bound, Measures};
use super::{Bench, loaded, median, micros, size};

/// Loads from the cache, in turns.
const LOADS: usize = 9;
/// Instances whose memory is looked at.
const KEPT: u16 = 20;

/// A guest, and what its load may take and its instance hold.
struct Subject {
    language: &'static str,
    file: &'static str,
    reads: Option<&'static str>,
    /// Milliseconds.
    load: f64,
    /// Thousandths of the time to compile.
    of_compiling: Option<f64>,
    /// KiB.
    private: f64,
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        language: "Rust",
        file: "rust-filter",
        reads: Some("document"),
        load: 1.0,
        of_compiling: None,
        private: 64.0,
    },
    Subject {
        language: "JavaScript",
        file: "js-filter",
        reads: None,
        load: 5.0,
        of_compiling: Some(1.0),
        private: 1_536.0,
    },
    Subject {
        language: "Python",
        file: "python-filter",
        reads: None,
        load: 5.0,
        of_compiling: Some(1.0),
        private: 1_536.0,
    },
];

/// How long loading takes, as when a running daemon is given one more plugin.
pub(super) fn measure(bench: &Bench, measures: &mut Measures) {
    let options = bench.options();
    let path = bench.written("before", &guest::filter(ABSTAIN, ""));
    let before = loaded(&[bench.spec_of("before", path)], &options, None);
    let load = |subject: &Subject| {
        let spec = bench.spec("subject", subject.file, subject.reads, Instances::Auto);
        micros(|| {
            black_box::<Plugins>(loaded(&[spec], &options, Some(&before)));
        })
    };

    let cache = options.cache.as_deref().unwrap();
    let mut known: Vec<_> = files(cache);
    let mut compiled = Vec::new();
    let mut codes = Vec::new();
    for subject in &SUBJECTS {
        compiled.push(load(subject));
        let now = files(cache);
        codes.extend(now.iter().find(|path| !known.contains(path)).cloned());
        known = now;
    }
    assert_eq!(codes.len(), SUBJECTS.len(), "each was compiled, and kept");

    let mut loads = vec![Vec::new(); SUBJECTS.len()];
    for _ in 0..LOADS {
        for (subject, loads) in SUBJECTS.iter().zip(&mut loads) {
            loads.push(load(subject));
        }
    }
    for (((subject, compiled), loads), code) in SUBJECTS.iter().zip(compiled).zip(loads).zip(codes) {
        let (language, taken) = (subject.language, median(loads));
        let component = bench.guests.join(format!("{}.wasm", subject.file));
        let sizes = format!("{} component, {} machine code", mebibytes(&component), mebibytes(&code));
        measures.add(0, format!("{language}: compile and load ({sizes})"), "ms", Bound::None, compiled / 1e3);
        let what = format!("{language}: load from the cache");
        measures.add(3, what, "ms", Bound::AtMost(subject.load), taken / 1e3);
        let parts = parts(&component, &code);
        for (what, micros) in [("SHA-256 of the component", parts.0), ("keyed hash of the machine code", parts.1)] {
            measures.add(0, format!("{language}: of it, reading and {what}"), "ms", Bound::None, micros / 1e3);
        }
        if let Some(most) = subject.of_compiling {
            let thousandths = taken / compiled * 1e3;
            let what = format!("{language}: load, in thousandths of compiling");
            measures.add(3, what, "‰", Bound::AtMost(most), thousandths);
        }
    }
}

/// The two steps that the length of a file counts in, done here alone: microseconds.
fn parts(component: &Path, code: &Path) -> (f64, f64) {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        times.0.push(micros(|| {
            black_box(Sha256::digest(fs::read(component).unwrap()));
        }));
        times.1.push(micros(|| {
            let mut hasher = blake3::Hasher::new_keyed(&[7; 32]);
            hasher.update(&fs::read(code).unwrap());
            black_box(hasher.finalize());
        }));
    }
    (median(times.0), median(times.1))
}

/// The machine code in a cache.
fn files(cache: &Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

fn mebibytes(path: &Path) -> String {
    format!("{:.1} MiB", size(path) as f64 / f64::from(1 << 20))
}

/// What a kept instance holds that nobody else has: the difference that [`KEPT`] of them make.
pub(super) fn memory(bench: &Bench, measures: &mut Measures) {
    for subject in &SUBJECTS {
        let specs: Vec<_> = (0..KEPT)
            .map(|number| bench.spec(&format!("kept-{number}"), subject.file, subject.reads, Instances::Warm))
            .collect();
        let plugins = loaded(&specs, &bench.options(), None);
        let [dirty, resident] = ["Private_Dirty", "Rss"].map(|name| move || kibibytes(name));
        let before = (dirty(), resident());
        for _ in 0..10 {
            for plugin in plugins.iter() {
                bench.decide(plugin);
            }
        }
        let kept: u64 = plugins.census().iter().map(|census| census.kept).sum();
        assert_eq!(kept, u64::from(KEPT), "one instance of each waits");
        let each = |before: f64, after: f64| (after - before) / f64::from(KEPT);
        let language = subject.language;
        let (dirty, resident) = (each(before.0, dirty()), each(before.1, resident()));
        let what = format!("{language}: private memory of a kept instance");
        measures.add(3, what, "KiB", Bound::AtMost(subject.private), dirty);
        measures.add(0, format!("{language}: with its part of what is shared"), "KiB", Bound::None, resident);
    }
}

/// A line of this process's memory, in KiB.
pub(super) fn kibibytes(name: &str) -> f64 {
    line("/proc/self/smaps_rollup", name)
}

/// The number in a line `NAME: 123 kB`.
pub(super) fn line(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap();
    let lines: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    lines.get(name).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}
