//! Times as Velociraptor writes them: numbers whose size tells their unit. And as people read them: RFC 3339, "2 hours
//! ago", "1.2 MB", "4.1 s", in the words of Velociraptor's `humanize()`.

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

    /// RFC 3339 in UTC, whole seconds (VQL `.String`): `2026-08-12T02:02:03Z`. Years before 1 and after 9999 are shown
    /// as the nearest year that has four digits.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let seconds = self.unix().clamp(GO_ZERO, LAST);
        Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
    }
}

/// `0001-01-01T00:00:00Z`, the zero time of Go.
const GO_ZERO: i64 = -62_135_596_800;
/// `9999-12-30T22:00:00Z`, the last hour that jiff holds in every time zone.
const LAST: i64 = 253_402_207_200;

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self(time.as_microsecond())
    }
}

/// How long ago, or from now (VQL `humanize(time=)`): `now`, `1 minute ago`, `3 weeks from now`. Months have 30 days,
/// years twelve of those.
#[must_use]
pub fn humanize_time(moment: Moment, now: Moment) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const WEEK: u64 = 7 * DAY;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 12 * MONTH;

    let seconds = moment.0.abs_diff(now.0) / SECOND.unsigned_abs();
    let many = |unit: u64, name: &str| format!("{} {name}", seconds / unit);
    let span = match seconds {
        0 => return "now".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => many(1, "seconds"),
        MINUTE..120 => "1 minute".to_owned(),
        120..HOUR => many(MINUTE, "minutes"),
        HOUR..7_200 => "1 hour".to_owned(),
        7_200..DAY => many(HOUR, "hours"),
        _ if seconds < 2 * DAY => "1 day".to_owned(),
        _ if seconds < WEEK => many(DAY, "days"),
        _ if seconds < 2 * WEEK => "1 week".to_owned(),
        _ if seconds < MONTH => many(WEEK, "weeks"),
        _ if seconds < 2 * MONTH => "1 month".to_owned(),
        _ if seconds < YEAR => many(MONTH, "months"),
        _ if seconds < 18 * MONTH => "1 year".to_owned(),
        _ if seconds < 2 * YEAR => "2 years".to_owned(),
        _ if seconds < 37 * YEAR => many(YEAR, "years"),
        _ => "a long while".to_owned(),
    };
    if moment <= now { format!("{span} ago") } else { format!("{span} from now") }
}

/// A size in SI units (VQL `humanize(bytes=)`): `9 B`, `1.2 kB`, `83 MB`. One decimal below ten, none above, halves
/// rounded up at the first decimal, so that `1000 kB` can appear just below a megabyte.
#[must_use]
pub fn humanize_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let (mut unit, mut size) = (0, 1_u64);
    while bytes / size >= 1000 {
        size *= 1000;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or("EB");
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    let value = (bytes as f64 / size as f64 * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A duration in nanoseconds as `4.1 s`, as the artifact writes it (`%.1f s`).
#[must_use]
pub fn duration_text(nanoseconds: i64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one decimal of a second is shown")]
    let seconds = nanoseconds as f64 / 1e9;
    format!("{seconds:.1} s")
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
        assert_eq!(Moment::from_text("2026-08-12").map(Moment::rfc3339).as_deref(), Some("2026-08-12T00:00:00Z"));
        for nothing in ["", "0", "0.0", "soon", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "inf", "nan", "-", "e"]
        {
            assert_eq!(Moment::from_text(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn strings_have_whole_seconds() {
        assert_eq!(THEN.rfc3339(), "2026-08-12T02:02:03Z");
        assert_eq!(Moment(1_786_500_123_999_999).rfc3339(), "2026-08-12T02:02:03Z");
        assert_eq!(Moment(-1).rfc3339(), "1969-12-31T23:59:59Z");
        assert_eq!(Moment(i64::MAX).rfc3339(), "9999-12-30T22:00:00Z");
        assert_eq!(Moment(i64::MIN).rfc3339(), "0001-01-01T00:00:00Z");
        assert_eq!(Moment(-1).unix(), -1);
    }

    #[test]
    fn relative_times_use_velociraptors_words() {
        let day = 86_400;
        for (seconds, words) in [
            (0, "now"),
            (1, "1 second ago"),
            (2, "2 seconds ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (119, "1 minute ago"),
            (120, "2 minutes ago"),
            (3_599, "59 minutes ago"),
            (3_600, "1 hour ago"),
            (7_199, "1 hour ago"),
            (7_200, "2 hours ago"),
            (day - 1, "23 hours ago"),
            (day, "1 day ago"),
            (2 * day, "2 days ago"),
            (7 * day - 1, "6 days ago"),
            (7 * day, "1 week ago"),
            (14 * day, "2 weeks ago"),
            (30 * day - 1, "4 weeks ago"),
            (30 * day, "1 month ago"),
            (60 * day, "2 months ago"),
            (360 * day - 1, "11 months ago"),
            (360 * day, "1 year ago"),
            (540 * day - 1, "1 year ago"),
            (540 * day, "2 years ago"),
            (720 * day, "2 years ago"),
            (1_080 * day, "3 years ago"),
            (37 * 360 * day - 1, "36 years ago"),
            (37 * 360 * day, "a long while ago"),
            (-1, "1 second from now"),
            (-3 * 7 * day, "3 weeks from now"),
        ] {
            assert_eq!(humanize_time(Moment(THEN.0 - seconds * SECOND), THEN), words);
        }
        // Less than a second either way.
        assert_eq!(humanize_time(Moment(THEN.0 + 999_999), THEN), "now");
    }

    #[test]
    fn sizes_use_si_units() {
        for (bytes, words) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_234, "1.2 kB"),
            (1_250, "1.3 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (12_345, "12 kB"),
            (999_960, "1000 kB"),
            (1_000_000, "1.0 MB"),
            (82_854_982, "83 MB"),
            (1_000_000_000, "1.0 GB"),
            (1_000_000_000_000, "1.0 TB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(humanize_bytes(bytes), words);
        }
    }

    #[test]
    fn durations_have_one_decimal() {
        for (nanoseconds, words) in [
            (22_530_865_000, "22.5 s"),
            (0, "0.0 s"),
            (250_000_000, "0.2 s"),
            (350_000_000, "0.3 s"),
            (750_000_000, "0.8 s"),
            (600_000_000_000, "600.0 s"),
        ] {
            assert_eq!(duration_text(nanoseconds), words);
        }
    }

    proptest! {
        #[test]
        fn no_number_is_too_wild(number in any::<i64>(), other in any::<i64>(), float in any::<f64>()) {
            for moment in [Moment::from_epoch(number), Moment::from_float(float), Some(Moment(number))].into_iter().flatten() {
                prop_assert_eq!(moment.rfc3339().len(), 20);
                prop_assert!(!humanize_time(moment, Moment(other)).is_empty());
                let _ = moment.unix();
            }
            let _ = (humanize_bytes(number.unsigned_abs()), duration_text(number));
        }

        #[test]
        fn any_text_is_survived(text in any::<String>(), digits in "[-+0-9eE.:TZ ]{0,30}") {
            let _ = (Moment::from_text(&text), Moment::from_text(&digits));
        }
    }
}
