//! What Velociraptor makes of a parameter's text.

use std::borrow::Cow;

use serde_json::Value;

/// A `bool` parameter: `Y`, `TRUE`, `YES` and `OK` in any case are true, all else is false.
pub(super) fn is_true(text: &str) -> bool {
    ["Y", "TRUE", "YES", "OK"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// An `int` parameter (Go `strconv.ParseInt` with base 0): a sign, a prefix `0x`, `0o`, `0b` or `0`, digits with single
/// underscores between them if there is a prefix to tell the base. `None` for what Velociraptor takes for 0.
pub(super) fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = |letter: char| {
        digits.strip_prefix('0').and_then(|rest| rest.strip_prefix([letter, letter.to_ascii_uppercase()]))
    };
    let (radix, body) = if let Some(body) = prefixed('x') {
        (16, body)
    } else if let Some(body) = prefixed('o') {
        (8, body)
    } else if let Some(body) = prefixed('b') {
        (2, body)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, digits.strip_prefix('0').unwrap_or_default())
    } else {
        (10, digits)
    };
    // With a prefix an underscore may follow it; it never ends a number, stands twice, or leads one.
    let bare = if radix == 10 { body } else { body.strip_prefix('_').unwrap_or(body) };
    if bare.split('_').any(str::is_empty) || !bare.chars().all(|digit| digit == '_' || digit.is_digit(radix)) {
        return None;
    }
    let bare: String = bare.chars().filter(|digit| *digit != '_').collect();
    let number = i128::from_str_radix(&bare, radix).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}

/// A value as Velociraptor would keep it; `None` for null, which is a parameter that nobody has set.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// A number that may be typed already.
pub(super) fn number(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and nobody sets a threshold near the ends")]
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        Value::String(text) => integer(text),
        _ => None,
    }
}

/// A `json_array` of texts: blank, malformed or no array is the empty list.
pub(super) fn list(value: &Value) -> Vec<String> {
    let parsed;
    let items = match value {
        Value::Array(items) => items,
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => {
                parsed = items;
                &parsed
            }
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    items.iter().filter_map(text).map(Cow::into_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn truth() {
        for text in ["Y", "y", "yes", "TRUE", "True", "ok", "OK"] {
            assert!(is_true(text), "{text}");
        }
        for text in ["", "N", "false", "1", "on", " true", "yes!", "T"] {
            assert!(!is_true(text), "{text}");
        }
    }

    #[test]
    fn integers() {
        for (text, number) in [
            ("0", 0),
            ("10", 10),
            ("-100", -100),
            ("+5", 5),
            ("0x10", 16),
            ("-0X1f", -31),
            ("010", 8),
            ("0o17", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_1", 1),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in [
            "",
            " 10",
            "10 ",
            "1.5",
            "ten",
            "0x",
            "08",
            "--1",
            "-",
            "1__0",
            "_1",
            "1_",
            "9223372036854775808",
            "0x-1",
            "٣",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(list(&json!("[\"a\", \"b\"]")), ["a", "b"]);
        assert_eq!(list(&json!(["a"])), ["a"]);
        for blank in [json!(""), json!("[\"a\""), json!("{}"), json!("a"), json!(1), json!(null)] {
            assert!(list(&blank).is_empty(), "{blank}");
        }
    }
}
