//! When a plugin that keeps failing is left alone for a while, and what `/metrics` tells of it. Pure: the time is an
//! argument.

use std::time::{Duration, Instant};

/// Failures in a row that bench a plugin.
const ENOUGH: u32 = 5;
/// They count as a row if no more than this lies between two.
const MEMORY: Duration = Duration::from_secs(600);
/// How long it is benched first; doubled each time that the next call fails too.
const FIRST: Duration = Duration::from_secs(60);
/// And at most.
const MOST: Duration = Duration::from_secs(3600);

/// How a plugin has done of late.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    failures: u32,
    last: Option<(Instant, String)>,
    benched: Option<Bench>,
}

#[derive(Debug, Clone, Copy)]
struct Bench {
    until: Instant,
    length: Duration,
}

/// Why a plugin is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Benched {
    pub(super) left: Duration,
    pub(super) failures: u32,
    pub(super) last: String,
}

impl Health {
    /// Whether it may be asked now. After its time on the bench one call is a trial.
    pub(super) fn check(&self, now: Instant) -> Result<(), Benched> {
        match &self.benched {
            Some(bench) if now < bench.until => Err(Benched {
                left: bench.until.duration_since(now),
                failures: self.failures,
                last: self.last.as_ref().map(|(_, reason)| reason.clone()).unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// It has answered.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It has failed; answers for how long it is benched now, if it is.
    pub(super) fn failed(&mut self, reason: &str, now: Instant) -> Option<Duration> {
        if self.last.as_ref().is_some_and(|(last, _)| now.duration_since(*last) > MEMORY) {
            *self = Self::default();
        }
        self.failures = self.failures.saturating_add(1);
        self.last = Some((now, reason.to_owned()));
        if self.failures < ENOUGH {
            return None;
        }
        let length = match self.benched {
            // Another call that had begun before: it is benched already.
            Some(bench) if now < bench.until => return None,
            Some(bench) => bench.length.saturating_mul(2).min(MOST),
            None => FIRST,
        };
        self.benched = Some(Bench { until: now + length, length });
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_bench_it_longer_each_time() {
        let start = Instant::now();
        let mut health = Health::default();
        for _ in 0..ENOUGH - 1 {
            assert_eq!(health.failed("x", start), None);
            assert!(health.check(start).is_ok());
        }
        assert_eq!(health.failed("timed out", start), Some(FIRST));
        let benched = health.check(start + Duration::from_secs(10)).unwrap_err();
        assert_eq!(benched, Benched { left: Duration::from_secs(50), failures: 5, last: "timed out".into() });
        // A call that had begun before changes nothing.
        assert_eq!(health.failed("y", start + Duration::from_secs(1)), None);

        let mut now = start + FIRST;
        let mut lengths = Vec::new();
        for _ in 0..8 {
            assert!(health.check(now).is_ok(), "a trial");
            let length = health.failed("x", now).unwrap();
            lengths.push(length.as_secs());
            assert!(health.check(now).is_err());
            now += length.min(MEMORY);
            health.benched = health.benched.map(|bench| Bench { until: now, ..bench });
        }
        assert_eq!(lengths, [120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        health.answered();
        assert_eq!(health.failed("x", now), None);
    }

    #[test]
    fn failures_far_apart_are_no_row() {
        let mut now = Instant::now();
        let mut health = Health::default();
        for _ in 0..20 {
            assert_eq!(health.failed("x", now), None);
            now += MEMORY + Duration::from_secs(1);
        }
    }
}
