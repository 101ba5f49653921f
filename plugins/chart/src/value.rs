//! Numbers as people and programs write them.

use serde_json::Value;

/// What kind of number a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Without a unit.
    Number,
    /// With a unit of bytes.
    Size,
    /// With a percent sign.
    Percent,
}

/// Units, the greater of two that begin alike first: a letter alone and `iB` count 1 024, `B` after it 1 000.
const POWERS: &str = "kmgtpe";

/// The number in a cell, not below 0.
pub(crate) fn number(cell: &Value) -> Option<(f64, Kind)> {
    let (number, kind) = match cell {
        Value::Number(number) => (number.as_f64()?, Kind::Number),
        Value::String(text) => parse(text)?,
        _ => return None,
    };
    (number.is_finite() && number >= 0.0).then_some((number, kind))
}

/// The number in a text such as `40G`, `1.5 GB`, `87%`, `1,234`.
fn parse(text: &str) -> Option<(f64, Kind)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ','))).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let number: f64 = plain(digits)?.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    if unit.is_empty() {
        return Some((number, Kind::Number));
    }
    if unit == "%" {
        return Some((number, Kind::Percent));
    }
    if matches!(unit.as_str(), "b" | "byte" | "bytes") {
        return Some((number, Kind::Size));
    }
    let power = POWERS.find(unit.chars().next()?)?;
    let step: f64 = match unit.get(1..)? {
        "" | "ib" => 1_024.0,
        "b" => 1_000.0,
        _ => return None,
    };
    Some((number * step.powi(i32::try_from(power).ok()? + 1), Kind::Size))
}

/// Digits with a point at most: commas in front of groups of three are left out, a single other one is a point.
fn plain(digits: &str) -> Option<String> {
    if !digits.contains(',') {
        return Some(digits.to_owned());
    }
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let mut groups = whole.split(',');
    let first = groups.next()?;
    if (1..=3).contains(&first.len()) && groups.clone().all(|group| group.len() == 3) {
        let whole = whole.replace(',', "");
        return Some(fraction.map_or(whole.clone(), |fraction| format!("{whole}.{fraction}")));
    }
    (fraction.is_none() && digits.matches(',').count() == 1).then(|| digits.replace(',', "."))
}

/// A number as it is to be read.
pub(crate) fn show(number: f64, kind: Kind) -> String {
    match kind {
        Kind::Percent => format!("{}%", short(number)),
        Kind::Number => short(number),
        Kind::Size => {
            let (mut left, mut unit) = (number, "B");
            for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
                if left < 1_024.0 {
                    break;
                }
                (left, unit) = (left / 1_024.0, next);
            }
            format!("{} {unit}", short(left))
        }
    }
}

/// With one digit after the point, if it says anything.
fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (cell, wanted) in [
            (json!("40G"), Some((40.0 * 1_073_741_824.0, Kind::Size))),
            (json!("1.5 GB"), Some((1.5e9, Kind::Size))),
            (json!("1,5 GiB"), Some((1.5 * 1_073_741_824.0, Kind::Size))),
            (json!("12 bytes"), Some((12.0, Kind::Size))),
            (json!(" 87% "), Some((87.0, Kind::Percent))),
            (json!("87.5 %"), Some((87.5, Kind::Percent))),
            (json!("1,234,567"), Some((1_234_567.0, Kind::Number))),
            (json!("1,234.5"), Some((1_234.5, Kind::Number))),
            (json!(12.5), Some((12.5, Kind::Number))),
            (json!("0"), Some((0.0, Kind::Number))),
            (json!(-1), None),
            (json!("-"), None),
            (json!(""), None),
            (json!("4 Gäste"), None),
            (json!("1.2.3"), None),
            (json!("12 apples"), None),
            (json!("1,2,3"), None),
            (json!(null), None),
            (json!(["1"]), None),
        ] {
            assert_eq!(number(&cell), wanted, "{cell}");
        }
    }

    #[test]
    fn numbers_are_shown_short() {
        assert_eq!(show(40.0 * 1_073_741_824.0, Kind::Size), "40 GiB");
        assert_eq!(show(1_536.0, Kind::Size), "1.5 KiB");
        assert_eq!(show(12.0, Kind::Size), "12 B");
        assert_eq!(show(33.333, Kind::Percent), "33.3%");
        assert_eq!(show(7.0, Kind::Number), "7");
    }
}
