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

    #[test]
    fn sizes_are_written_as_velociraptor_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (1_234, "1.2 kB"),
            (12_345, "12 kB"),
            (1_200_000, "1.2 MB"),
            (82_854_982, "83 MB"),
            (1_000_000_000, "1.0 GB"),
            (999_960, "1000 kB"),
            (13_771_763_704, "14 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn relative_times_round_down() {
        let day = 86_400;
        for (ago, text) in [
            (0, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_199, "1 hour ago"),
            (2 * day, "2 days ago"),
            (13 * day, "1 week ago"),
            (29 * day, "4 weeks ago"),
            (59 * day, "1 month ago"),
            (359 * day, "11 months ago"),
            (539 * day, "1 year ago"),
            (719 * day, "2 years ago"),
            (1_100 * day, "3 years ago"),
            (40 * 360 * day, "a long while ago"),
            (-60, "1 minute from now"),
        ] {
            assert_eq!(relative(1_786_500_123 - ago, 1_786_500_123), text);
        }
        assert_eq!(relative(i64::MIN, i64::MAX), "a long while ago");
    }

    #[test]
    fn moments_never_fail() {
        let now = Timestamp::from_second(1_786_500_423).unwrap();
        assert_eq!(moment(Some(Moment(1_786_500_123_900_000)), now), "2026-08-12T02:02:03Z (5 minutes ago)");
        assert_eq!(moment(None, now), "(never)");
        assert_eq!(moment(Some(Moment(i64::MAX)), now), "9223372036854 s since 1970");
    }

    #[test]
    fn counts_and_durations() {
        assert_eq!(count(0, "row"), "no rows");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(1_234_567, "row"), "1,234,567 rows");
        assert_eq!(duration(17_300_000_000), "17.3 s");
        assert_eq!(duration(0), "0.0 s");
    }
}
