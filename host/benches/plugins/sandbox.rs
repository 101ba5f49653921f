//! What a hostile guest costs before it is stopped.

use std::fs;

use acceptance::guest;
use bewit::plugin::error::ErrorKind;
use bewit::plugin::spec::{Limits, PluginSpec};

use super::common::measures::{Bound, Measures};
use super::load::line;
use super::{Bench, LIMITS, loaded, median, micros};

/// The limit on time of a guest that never ends: milliseconds.
const TIME: u64 = 50;
/// A plugin is benched after five failures in a row: so many calls of each load, and so many loads.
const CALLS: (usize, usize) = (4, 5);

/// An endless loop, and a guest that takes all the memory it can get.
pub(super) fn measure(bench: &Bench, measures: &mut Measures) {
    let mut times = Vec::new();
    let path = bench.written("endless", &guest::filter("(loop $l (br $l)) (unreachable)", ""));
    let limits = Limits { time: std::time::Duration::from_millis(TIME), ..LIMITS };
    let spec = PluginSpec { limits, ..bench.spec_of("endless", path) };
    for _ in 0..CALLS.1 {
        let plugins = loaded(std::slice::from_ref(&spec), &bench.options(), None);
        let plugin = plugins.get("endless").unwrap();
        for _ in 0..CALLS.0 {
            times.push(micros(|| {
                let error = plugin.decide(&bench.asked()).unwrap_err();
                assert_eq!(error.kind, ErrorKind::TimedOut(limits.time));
            }));
        }
    }
    let runs = times.len();
    let (least, most) =
        times.iter().fold((f64::MAX, 0.0_f64), |(least, most), time| (least.min(*time), most.max(*time)));
    let ended = format!("endless loop under a limit of {TIME} ms: ended after, {{}} of {runs}");
    for (which, micros) in [("least", least), ("median", median(times)), ("most", most)] {
        measures.add(0, ended.replace("{}", which), "ms", Bound::None, micros / 1e3);
    }

    // A page at a time, each written to.
    let grow = "(loop $l
        (memory.fill (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)) (i32.const 1) (i32.const 65536))
        (br $l))
      (unreachable)";
    let path = bench.written("growing", &guest::filter(grow, ""));
    let limits = Limits { time: std::time::Duration::from_secs(5), ..LIMITS };
    let plugins = loaded(&[PluginSpec { limits, ..bench.spec_of("growing", path) }], &bench.options(), None);
    let resident = || line("/proc/self/status", "VmRSS");
    // The peak begins anew (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = resident();
    let error = plugins.get("growing").unwrap().decide(&bench.asked()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfMemory(LIMITS.memory));
    let (peak, after) = (line("/proc/self/status", "VmHWM"), resident());
    let mebibytes = |kibibytes: f64| kibibytes / 1024.0;
    let grown = "guest that grows, under a limit of 64 MiB: process at its peak above before";
    measures.add(0, grown, "MiB", Bound::None, mebibytes(peak - before));
    measures.add(0, "the same, left after it was ended", "MiB", Bound::None, mebibytes((after - before).max(0.0)));
}
