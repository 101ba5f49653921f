//! Times as Velociraptor writes them: numbers whose size tells their unit.

/// A moment in microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// From a number whose size tells its unit (VQL `timestamp(epoch=)`): above 2e16 nanoseconds, above 2e13
    /// microseconds, above 2e10 milliseconds, else seconds. Zero is no moment.
    #[must_use]
    pub fn from_epoch(number: i64) -> Option<Self> {
        let _ = number;
        todo!()
    }

    /// Whole seconds, floored (VQL `.Unix`).
    #[must_use]
    pub fn unix(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}
