//! Waiting on conditions, with a budget that grows on a slow machine. No test sleeps for a fixed time and hopes.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How much slower than an idle machine this one is thought to be: `BEWIT_TEST_SLOW`, else from the load average.
#[must_use]
pub fn slowness() -> f64 {
    static FACTOR: OnceLock<f64> = OnceLock::new();
    *FACTOR.get_or_init(|| {
        if let Some(set) = std::env::var("BEWIT_TEST_SLOW").ok().and_then(|text| text.parse().ok()) {
            return set;
        }
        let load = std::fs::read_to_string("/proc/loadavg")
            .ok()
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
            .unwrap_or(0.0);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        (1.0 + load / cpus).clamp(1.0, 8.0)
    })
}

/// `seconds` of an idle machine, in time of this one.
#[must_use]
pub fn budget(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds * slowness())
}

/// Polls until `probe` answers something, for at most `seconds` of an idle machine.
///
/// # Panics
/// When the time is up; the message names what was waited for.
pub fn wait_for<T>(what: &str, seconds: f64, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let limit = budget(seconds);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {:.1} s in vain for {what}", start.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// [`wait_for`] on a yes-or-no question.
///
/// # Panics
/// When the time is up.
pub fn wait_until(what: &str, seconds: f64, mut probe: impl FnMut() -> bool) {
    wait_for(what, seconds, || probe().then_some(()));
}
