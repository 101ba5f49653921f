//! A daemon that has nothing to do: what it holds, and how often it wakes: `cargo xtask bench idle`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

mod common;

use std::time::{Duration, Instant};

use acceptance::env::free_address;
use acceptance::{Site, TestEnv};
use common::daemon::Watched;
use common::measures::{Bound, Measures, quick, turns};

/// How long it is watched.
const WATCH: Duration = Duration::from_secs(10);
/// How long it may settle before.
const SETTLE: Duration = Duration::from_secs(5);

fn main() {
    let mut measures = Measures::default();
    for _ in 0..turns() {
        let env = TestEnv::new();
        // Both intakes, and the studio.
        let web = free_address();
        let site = Site::smtp(free_address().port()).http(free_address());
        env.config(&site.more(&format!("\n[web]\nlisten = \"{web}\"")));
        let daemon = Watched::start(&env, web);
        std::thread::sleep(if quick() { SETTLE / 5 } else { SETTLE });
        let (before, begun) = (daemon.switches(), Instant::now());
        std::thread::sleep(if quick() { WATCH / 5 } else { WATCH });
        let switches = (daemon.switches() - before) / begun.elapsed().as_secs_f64();
        measures.add(9, "idle: resident memory", "MiB", Bound::AtMost(30.0), daemon.memory("VmRSS"));
        measures.add(9, "idle: wake-ups a second, all threads", "", Bound::AtMost(2.0), switches);
        measures.add(0, "idle: start until ready", "ms", Bound::None, daemon.ready.as_secs_f64() * 1e3);
    }
    measures.finish();
}
