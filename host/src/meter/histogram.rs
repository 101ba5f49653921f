//! A histogram with fixed bounds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of what a computer does: 10 µs to a minute.
const TIMES: [u64; 20] = [
    10 * MICRO,
    25 * MICRO,
    50 * MICRO,
    100 * MICRO,
    250 * MICRO,
    500 * MICRO,
    MILLI,
    2_500 * MICRO,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2_500 * MILLI,
    5 * SECOND,
    15 * SECOND,
    60 * SECOND,
];

/// Nanoseconds of what waits for others: 10 ms to five days.
const WAITS: [u64; 16] = [
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2_500 * MILLI,
    5 * SECOND,
    15 * SECOND,
    60 * SECOND,
    300 * SECOND,
    1_800 * SECOND,
    7_200 * SECOND,
    86_400 * SECOND,
    432_000 * SECOND,
];

/// Numbers of things.
const SIZES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Which bounds a histogram has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// 10 µs to a minute.
    #[default]
    Times,
    /// 10 ms to five days.
    Waits,
    /// 1 to 256.
    Sizes,
}

impl Scale {
    fn bounds(self) -> &'static [u64] {
        match self {
            Self::Times => &TIMES,
            Self::Waits => &WAITS,
            Self::Sizes => &SIZES,
        }
    }

    /// A value as it is shown: seconds, or a number.
    #[allow(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
    fn shown(self, value: u64) -> f64 {
        match self {
            // Whole microseconds: the digits behind them would only be an artefact of the division.
            Self::Times | Self::Waits => (value / MICRO) as f64 / 1e6,
            Self::Sizes => value as f64,
        }
    }
}

/// Counts values by size. Any thread may record at any time; nobody waits.
#[derive(Debug, Default)]
pub struct Histogram {
    scale: Scale,
    /// Values up to each bound and above the one before; the last of the scale's is followed by one for what is above all.
    buckets: [AtomicU64; TIMES.len() + 1],
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Each bound with how many values were at most as large, ascending; without the last, infinite one.
    pub cumulative: Vec<(f64, u64)>,
    /// All values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        Self { scale, ..Self::default() }
    }

    /// Records a duration.
    pub fn time(&self, took: Duration) {
        self.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records a number; of a scale of time, nanoseconds.
    pub fn record(&self, value: u64) {
        let place = self.scale.bounds().partition_point(|bound| *bound < value);
        // The sum first: whoever reads a count reads a sum that has it.
        self.sum.fetch_add(value, Ordering::Relaxed);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Release);
        }
    }

    /// What was recorded. The count is the sum of the buckets, so that the two agree whoever records meanwhile.
    #[must_use]
    pub fn read(&self) -> Read {
        let bounds = self.scale.bounds();
        let mut count = 0;
        let mut cumulative = Vec::with_capacity(bounds.len());
        for (place, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Acquire);
            if let Some(bound) = bounds.get(place) {
                cumulative.push((self.scale.shown(*bound), count));
            }
        }
        Read { cumulative, count, sum: self.scale.shown(self.sum.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_fit() {
        for scale in [Scale::Times, Scale::Waits, Scale::Sizes] {
            let bounds = scale.bounds();
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{scale:?}");
            assert!(bounds.len() < Histogram::default().buckets.len());
        }
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_all_is_counted() {
        let sizes = Histogram::new(Scale::Sizes);
        [0, 1, 2, 3, 4, 256, 257, 1000].into_iter().for_each(|value| sizes.record(value));
        let read = sizes.read();
        let at = |bound: f64| read.cumulative.iter().find(|(own, _)| *own == bound).unwrap().1;
        assert_eq!((at(1.0), at(2.0), at(4.0), at(128.0), at(256.0)), (2, 3, 5, 5, 6));
        assert_eq!((read.count, read.sum), (8, 1523.0));

        let times = Histogram::new(Scale::Times);
        times.time(Duration::from_micros(10));
        times.time(Duration::from_nanos(10_001));
        times.time(Duration::from_secs(3600));
        let read = times.read();
        assert_eq!(read.cumulative[..2], [(0.00001, 1), (0.000025, 2)]);
        assert_eq!((read.cumulative.last(), read.count, read.sum), (Some(&(60.0, 2)), 3, 3600.00002));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let histogram = Histogram::new(Scale::Times);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let histogram = &histogram;
                scope.spawn(move || (0..10_000).for_each(|at| histogram.record(at * 1000 * (thread + 1))));
            }
        });
        let read = histogram.read();
        assert_eq!(read.count, 40_000);
        let sum: u64 = (1..=4).map(|factor| (0..10_000).sum::<u64>() * factor).sum();
        assert!((read.sum - Scale::Times.shown(sum * 1000)).abs() < 1e-6, "{}", read.sum);
    }
}
