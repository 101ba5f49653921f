//! Numbers as people read them: times, durations, sizes, counts.

use jiff::Timestamp;

use crate::event::time::Moment;

/// `2026-08-12T02:02:03Z (5 minutes ago)`, or `(never)`. Whole seconds, UTC.
#[must_use]
pub fn moment(moment: Option<Moment>, now: Timestamp) -> String {
    let Some(moment) = moment else { return "(never)".to_owned() };
    match rfc3339(moment.unix()) {
        Some(text) => format!("{text} ({})", relative(moment.unix(), now.as_second())),
        // Beyond the year 9999, or before -9999: a forged number, shown as it came.
        None => format!("{} s since 1970", moment.unix()),
    }
}

/// RFC 3339, whole seconds, UTC; `None` outside the years -9999 to 9999.
#[must_use]
pub fn rfc3339(unix: i64) -> Option<String> {
    Timestamp::from_second(unix).ok().map(|time| time.to_string())
}

/// How long ago, as VQL `humanize(time=)` says it: whole units, rounded down.
#[must_use]
pub fn relative(then: i64, now: i64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const WEEK: u64 = 7 * DAY;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 12 * MONTH;
    let ending = if then > now { "from now" } else { "ago" };
    let seconds = now.abs_diff(then);
    let unit = |size: u64, name: &str| match seconds / size {
        1 => format!("1 {name} {ending}"),
        count => format!("{count} {name}s {ending}"),
    };
    match seconds {
        0 => "now".to_owned(),
        _ if seconds < MINUTE => unit(1, "second"),
        _ if seconds < HOUR => unit(MINUTE, "minute"),
        _ if seconds < DAY => unit(HOUR, "hour"),
        _ if seconds < WEEK => unit(DAY, "day"),
        _ if seconds < MONTH => unit(WEEK, "week"),
        _ if seconds < YEAR => unit(MONTH, "month"),
        _ if seconds < YEAR + YEAR / 2 => format!("1 year {ending}"),
        _ if seconds < 2 * YEAR => format!("2 years {ending}"),
        _ if seconds < 37 * YEAR => unit(YEAR, "year"),
        _ => format!("a long while {ending}"),
    }
}

/// `17.3 s`, from nanoseconds.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn duration(nanoseconds: i64) -> String {
    format!("{:.1} s", nanoseconds as f64 / 1e9)
}

/// `9 B`, `1.2 kB`, `83 MB`: SI units, as VQL `humanize(bytes=)` writes them.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
pub fn size(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let rounded = (value * 10.0 + 0.5).floor() / 10.0;
    if rounded < 10.0 { format!("{rounded:.1} {unit}") } else { format!("{rounded:.0} {unit}") }
}

/// `no rows`, `1 row`, `1,234 rows`.
#[must_use]
pub fn count(number: u64, one: &str) -> String {
    match number {
        0 => format!("no {one}s"),
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", grouped(number)),
    }
}

/// `1,234,567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: i64 = 1_786_500_123;

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
            assert_eq!(relative(THEN - seconds, THEN), words);
        }
        assert_eq!(relative(i64::MIN, i64::MAX), "a long while ago");
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
            assert_eq!(size(bytes), words);
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
            assert_eq!(duration(nanoseconds), words);
        }
    }

    #[test]
    fn moments_never_fail() {
        let now = Timestamp::from_second(1_786_500_423).unwrap();
        assert_eq!(moment(Some(Moment(1_786_500_123_900_000)), now), "2026-08-12T02:02:03Z (5 minutes ago)");
        assert_eq!(moment(None, now), "(never)");
        assert_eq!(moment(Some(Moment(i64::MAX)), now), "9223372036854 s since 1970");
    }

    #[test]
    fn counts_are_words_and_grouped_digits() {
        assert_eq!(count(0, "row"), "no rows");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(1_234_567, "row"), "1,234,567 rows");
    }
}
