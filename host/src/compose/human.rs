//! Numbers as people read them: durations, sizes, counts. With the decimal point; [`super::locale`] puts another mark in
//! its place.

/// `17.3 s`, from nanoseconds.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn duration(nanoseconds: i64) -> String {
    format!("{:.1} s", nanoseconds as f64 / 1e9)
}

/// `17.3 s` below a minute, else the two largest units: `10 min`, `2 h 5 min`, `3 d 4 h`. From nanoseconds, rounded down
/// to the smaller unit.
#[must_use]
pub fn span(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    // What would be written as sixty seconds is a minute.
    let tenths = nanoseconds.unsigned_abs().saturating_add(50_000_000) / 100_000_000;
    if tenths < 600 {
        return duration(nanoseconds);
    }
    let seconds = tenths / 10;
    let (first, second) = match seconds {
        _ if seconds < 3_600 => ((seconds / 60, "min"), (seconds % 60, "s")),
        _ if seconds < 86_400 => ((seconds / 3_600, "h"), (seconds % 3_600 / 60, "min")),
        _ => ((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    };
    match second.0 {
        0 => format!("{sign}{} {}", first.0, first.1),
        rest => format!("{sign}{} {} {rest} {}", first.0, first.1, second.1),
    }
}

/// `9 B`, `1.2 kB`, `83 MB`: SI units, as VQL `humanize(bytes=)` writes them.
#[must_use]
pub fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `9 B`, `1.2 KiB`, `79 MiB`: powers of 1024, otherwise as [`size`].
#[must_use]
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn scaled(bytes: u64, base: f64, units: &[&str]) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < base {
            break;
        }
        value /= base;
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
        _ => format!("{} {one}s", grouped(number, ",")),
    }
}

/// `1,234,567`, with a mark between thousands.
#[must_use]
pub fn grouped(number: u64, mark: &str) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push_str(mark);
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn binary_sizes_use_powers_of_1024() {
        for (bytes, words) in
            [(9, "9 B"), (1_000, "1000 B"), (1_024, "1.0 KiB"), (82_854_982, "79 MiB"), (u64::MAX, "16 EiB")]
        {
            assert_eq!(binary_size(bytes), words);
        }
    }

    #[test]
    fn spans_have_the_two_largest_units() {
        let second = 1_000_000_000;
        for (nanoseconds, words) in [
            (0, "0.0 s"),
            (17 * second + 340_000_000, "17.3 s"),
            (59 * second + 940_000_000, "59.9 s"),
            (59 * second + 950_000_000, "1 min"),
            (600 * second, "10 min"),
            (3_599 * second, "59 min 59 s"),
            (3_600 * second, "1 h"),
            (7_500 * second, "2 h 5 min"),
            (86_399 * second, "23 h 59 min"),
            (100 * 3_600 * second, "4 d 4 h"),
            (-7_500 * second, "-2 h 5 min"),
            (i64::MIN, "-106751 d 23 h"),
        ] {
            assert_eq!(span(nanoseconds), words);
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
    fn counts_are_words_and_grouped_digits() {
        assert_eq!(count(0, "row"), "no rows");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(1_234_567, "row"), "1,234,567 rows");
    }
}
