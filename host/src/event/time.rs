//! Times as Velociraptor writes them: numbers whose size tells their unit, and ISO 8601.

use jiff::Timestamp;

/// A moment in microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

impl Moment {
    /// From a number whose size tells its unit (VQL `timestamp(epoch=)`): above 2e16 nanoseconds, above 2e13
    /// microseconds, above 2e10 milliseconds, else seconds. Zero is no moment. Far-off numbers saturate.
    #[must_use]
    pub fn from_epoch(number: i64) -> Option<Self> {
        let micros = match number {
            0 => return None,
            20_000_000_000_000_001.. => number / 1_000,
            20_000_000_000_001.. => number,
            20_000_000_001.. => number.saturating_mul(1_000),
            _ => number.saturating_mul(SECOND),
        };
        Some(Self(micros))
    }

    /// From a number that is written with a fraction: seconds if it is as small as seconds are, else as
    /// [`Moment::from_epoch`]. What is no number at all is no moment.
    #[must_use]
    pub fn from_float(number: f64) -> Option<Self> {
        if number.is_nan() || number == 0.0 {
            return None;
        }
        // `as` saturates, which is what is wanted of hostile numbers.
        #[allow(clippy::cast_possible_truncation, reason = "saturates")]
        if number <= 2e10 { Some(Self((number * 1e6).round() as i64)) } else { Self::from_epoch(number as i64) }
    }

    /// From text: a number in digits, or ISO 8601 (RFC 3339, or without an offset, which then is UTC; or a date alone).
    /// Go's zero time, `0001-01-01T00:00:00Z`, is no moment, like every other zero.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Self::from_epoch(number);
        }
        if text.bytes().all(super::lenient::in_number)
            && let Ok(number) = text.parse::<f64>()
        {
            return Self::from_float(number);
        }
        let time = text.parse::<Timestamp>().ok().or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            jiff::tz::Offset::UTC.to_timestamp(civil).ok()
        })?;
        Some(Self::from(time)).filter(|moment| moment.0 != 0 && moment.unix() != GO_ZERO)
    }

    /// Whole seconds, floored (VQL `.Unix`).
    #[must_use]
    pub fn unix(self) -> i64 {
        self.0.div_euclid(SECOND)
    }
}

/// `0001-01-01T00:00:00Z`, the zero time of Go.
const GO_ZERO: i64 = -62_135_596_800;

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self(time.as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THEN: Moment = Moment(1_786_500_123_000_000);

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        for number in [1_786_500_123, 1_786_500_123_000, 1_786_500_123_000_000, 1_786_500_123_000_000_000] {
            assert_eq!(Moment::from_epoch(number), Some(THEN));
            assert_eq!(Moment::from_text(&number.to_string()), Some(THEN));
        }
        assert_eq!(Moment::from_epoch(0), None);
        // The bounds themselves belong to the smaller unit.
        assert_eq!(Moment::from_epoch(20_000_000_000), Some(Moment(20_000_000_000_000_000)));
        assert_eq!(Moment::from_epoch(20_000_000_001), Some(Moment(20_000_000_001_000)));
        assert_eq!(Moment::from_epoch(20_000_000_000_000), Some(Moment(20_000_000_000_000_000)));
        assert_eq!(Moment::from_epoch(20_000_000_000_001), Some(Moment(20_000_000_000_001)));
        assert_eq!(Moment::from_epoch(20_000_000_000_000_001), Some(Moment(20_000_000_000_000)));
        assert_eq!(Moment::from_epoch(-1), Some(Moment(-1_000_000)));
    }

    #[test]
    fn fractions_are_seconds() {
        assert_eq!(Moment::from_float(1_786_500_123.5), Some(Moment(1_786_500_123_500_000)));
        assert_eq!(Moment::from_float(1.786_500_123e15), Some(THEN));
        assert_eq!(Moment::from_text("1786500123.25"), Some(Moment(1_786_500_123_250_000)));
        for nothing in [0.0, -0.0, f64::NAN] {
            assert_eq!(Moment::from_float(nothing), None);
        }
    }

    #[test]
    fn iso_8601_is_read() {
        for text in [
            "2026-08-12T02:02:03Z",
            "2026-08-12T04:02:03+02:00",
            "2026-08-12 02:02:03",
            " 2026-08-12T02:02:03.000000Z ",
        ] {
            assert_eq!(Moment::from_text(text), Some(THEN), "{text}");
        }
        assert_eq!(Moment::from_text("2026-08-12"), Some(Moment(1_786_492_800_000_000)));
        for nothing in ["", "0", "0.0", "soon", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "inf", "nan", "-", "e"]
        {
            assert_eq!(Moment::from_text(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn seconds_are_floored() {
        assert_eq!(Moment(1_786_500_123_999_999).unix(), 1_786_500_123);
        assert_eq!(Moment(-1).unix(), -1);
    }

    proptest! {
        #[test]
        fn no_number_is_too_wild(number in any::<i64>(), float in any::<f64>()) {
            for moment in [Moment::from_epoch(number), Moment::from_float(float), Some(Moment(number))].into_iter().flatten() {
                let _ = moment.unix();
            }
        }

        #[test]
        fn any_text_is_survived(text in any::<String>(), digits in "[-+0-9eE.:TZ ]{0,30}") {
            let _ = (Moment::from_text(&text), Moment::from_text(&digits));
        }
    }
}
