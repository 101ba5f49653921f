//! Durations and sizes as they are written: numbers with a unit; pure.

use std::time::Duration;

/// The longest duration: a hundred years, so that adding one to the time of day always gives a time.
pub(crate) const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("sec", 1_000),
    ("second", 1_000),
    ("seconds", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("minute", 60_000),
    ("minutes", 60_000),
    ("h", 3_600_000),
    ("hour", 3_600_000),
    ("hours", 3_600_000),
    ("d", 86_400_000),
    ("day", 86_400_000),
    ("days", 86_400_000),
    ("w", 604_800_000),
    ("week", 604_800_000),
    ("weeks", 604_800_000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Why a text is no duration or size, and what would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitError {
    /// What is wrong, beginning with the text.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: String,
}

/// Reads a duration: `250 ms`, `30 s`, `2 min`, `1 h 30 min`, `5 d`, `1 w`.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let milliseconds = parts(text, DURATION_UNITS, "a duration", "30 s", "ms, s, min, h, d or w")?;
    let duration = Duration::from_millis(milliseconds);
    if duration > LONGEST { Err(too_large(text, "36500 d")) } else { Ok(duration) }
}

/// Reads a size: `512 B`, `64 kB`, `16 MiB`, `1 GB`.
pub(crate) fn size(text: &str) -> Result<u64, UnitError> {
    parts(text, SIZE_UNITS, "a size", "16 MiB", "B, kB, KiB, MB, MiB, GB or GiB")
}

fn parts(text: &str, units: &[(&str, u64)], what: &str, example: &str, names: &str) -> Result<u64, UnitError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError {
            message: format!("an empty text is not {what}"),
            hint: format!("for example `{example}`"),
        });
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (digits, after) = split(rest, |character| character.is_ascii_digit());
        if digits.is_empty() {
            return Err(UnitError {
                message: format!("`{text}` is not {what}"),
                hint: format!("a whole number and a unit, for example `{example}`"),
            });
        }
        let (unit, after) = split(after.trim_start(), |character| !character.is_ascii_digit() && character != ' ');
        if unit.is_empty() {
            let hint = match example.split_once(' ') {
                Some((_, unit)) => format!("the unit is missing: `{digits} {unit}`?"),
                None => format!("the unit is missing: {names}"),
            };
            return Err(UnitError { message: format!("`{text}` is not {what}"), hint });
        }
        if unit.starts_with(['.', ',']) {
            return Err(UnitError {
                message: format!("`{text}` is not {what}"),
                hint: "only whole numbers: write it in the next smaller unit".to_owned(),
            });
        }
        let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
            let near = units
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| name.eq_ignore_ascii_case(unit) || unit.len() > 3)
                .min_by_key(|name| strsim::damerau_levenshtein(&name.to_lowercase(), &unit.to_lowercase()))
                .filter(|name| strsim::damerau_levenshtein(&name.to_lowercase(), &unit.to_lowercase()) < 2);
            return Err(UnitError {
                message: format!("`{text}` is not {what}: there is no unit `{unit}`"),
                hint: near.map_or_else(|| format!("units are {names}"), |name| format!("did you mean `{name}`?")),
            });
        };
        let value = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        total = value.and_then(|value| total.checked_add(value)).ok_or_else(|| too_large(text, example))?;
        rest = after.trim_start();
    }
    Ok(total)
}

fn too_large(text: &str, example: &str) -> UnitError {
    UnitError { message: format!("`{text}` is too large"), hint: format!("for example `{example}`") }
}

fn split(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|character| !wanted(character)).unwrap_or(text.len());
    text.split_at(end)
}

/// A duration in the same notation: `1 h 30 min`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = Vec::new();
    for (name, factor) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)] {
        let count = rest / factor;
        if count > 0 {
            out.push(format!("{count} {name}"));
            rest %= factor;
        }
    }
    if out.is_empty() { "0 s".to_owned() } else { out.join(" ") }
}

/// A number of bytes in the same notation, in one binary unit: `64 MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes} B"), |(name, factor)| format!("{} {name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_every_unit() {
        for (text, milliseconds) in [
            ("250 ms", 250),
            ("30 s", 30_000),
            ("30s", 30_000),
            (" 1 sec ", 1_000),
            ("1 second", 1_000),
            ("2 seconds", 2_000),
            ("2 m", 120_000),
            ("2 min", 120_000),
            ("1 minute", 60_000),
            ("3 minutes", 180_000),
            ("1 h", 3_600_000),
            ("1 hour", 3_600_000),
            ("2 hours", 7_200_000),
            ("5 d", 432_000_000),
            ("1 day", 86_400_000),
            ("2 days", 172_800_000),
            ("1 w", 604_800_000),
            ("1 h 30 min", 5_400_000),
            ("1h30m", 5_400_000),
            ("0 s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn sizes_in_every_unit() {
        for (text, bytes) in [
            ("512 B", 512),
            ("64 kB", 64_000),
            ("64KiB", 65_536),
            ("1 MB", 1_000_000),
            ("16 MiB", 16 << 20),
            ("1 GB", 1_000_000_000),
            ("2 GiB", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let hint = |text| duration(text).unwrap_err().hint;
        assert_eq!(hint("30"), "the unit is missing: `30 s`?");
        assert_eq!(hint("1.5 h"), "only whole numbers: write it in the next smaller unit");
        assert_eq!(hint("30 S"), "did you mean `s`?");
        assert_eq!(hint("2 minuts"), "did you mean `minute`?");
        assert_eq!(hint("2 x"), "units are ms, s, min, h, d or w");
        assert_eq!(hint("30 fortnights"), "units are ms, s, min, h, d or w");
        assert_eq!(hint("soon"), "a whole number and a unit, for example `30 s`");
        assert_eq!(hint("-5 s"), "a whole number and a unit, for example `30 s`");
        assert_eq!(hint(""), "for example `30 s`");
        assert!(duration("99999999999999999999 s").unwrap_err().message.contains("too large"));
        assert!(duration("36501 d").unwrap_err().message.contains("too large"));
        assert!(size("99999999999999 GiB").unwrap_err().message.contains("too large"));
        assert_eq!(size("16 mib").unwrap_err().hint, "did you mean `MiB`?");
        assert_eq!(size("16").unwrap_err().hint, "the unit is missing: `16 MiB`?");
    }

    #[test]
    fn shown_as_written() {
        for text in ["250 ms", "30 s", "1 h 30 min", "5 d", "0 s", "1 d 1 h 1 min 1 s 1 ms"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["0 B", "1000 B", "1 KiB", "1025 B", "64 MiB", "1500 MiB", "1 GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }
}
