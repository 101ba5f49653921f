//! Reading Velociraptor's JSON whatever its encoding: a field is looked up under its snake_case and its camelCase name,
//! numbers may be texts, texts may be absent, and what has the wrong type counts as empty.
//!
//! Everything works on [`RawValue`]s, so what nobody asks for is skipped and never built.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::time::Moment;

/// What can go wrong: an escape that no text can hold, deep inside. Everything else was checked when the line was read.
pub(super) type Result<T> = std::result::Result<T, serde_json::Error>;

/// What a JSON text is, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    /// The kind of a text that is known to be JSON.
    pub(super) fn of(text: &str) -> Self {
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// Its name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }
}

/// A text or key that is copied only if it holds escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Calls `each` for every field of a JSON object, in order; the last of two equal keys comes last, and so wins.
///
/// # Errors
/// When the text is not one whole JSON object.
pub(super) fn parse_fields<'a>(text: &'a str, each: impl FnMut(&str, &'a RawValue) -> Result<()>) -> Result<()> {
    struct Fields<F>(F);
    impl<'de, F: FnMut(&str, &'de RawValue) -> Result<()>> Visitor<'de> for Fields<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> std::result::Result<(), A::Error> {
            while let Some((Text(key), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                (self.0)(&key, value).map_err(A::Error::custom)?;
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    (&mut deserializer).deserialize_map(Fields(each))?;
    deserializer.end()
}

/// The fields of a value under their snake_case names; none if it is no object. Answers whether there was any.
pub(super) fn fields<'a>(value: &'a RawValue, mut each: impl FnMut(&str, &'a RawValue) -> Result<()>) -> Result<bool> {
    let mut any = false;
    if Kind::of(value.get()) == Kind::Object {
        parse_fields(value.get(), |key, value| {
            any = true;
            each(&snake_case(key), value)
        })?;
    }
    Ok(any)
}

/// Calls `each` for every element of a list; none if it is no list.
pub(super) fn elements<'a>(value: &'a RawValue, each: impl FnMut(&'a RawValue) -> Result<()>) -> Result<()> {
    struct Elements<F>(F);
    impl<'de, F: FnMut(&'de RawValue) -> Result<()>> Visitor<'de> for Elements<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> std::result::Result<(), A::Error> {
            while let Some(value) = list.next_element::<&'de RawValue>()? {
                (self.0)(value).map_err(A::Error::custom)?;
            }
            Ok(())
        }
    }
    if Kind::of(value.get()) == Kind::Array {
        serde_json::Deserializer::from_str(value.get()).deserialize_seq(Elements(each))?;
    }
    Ok(())
}

/// The rows of a list. VQL reduces a subselect with exactly one row to the bare row, so an object that is not empty is
/// a list of one.
pub(super) fn rows<'a>(value: &'a RawValue, mut each: impl FnMut(&'a RawValue) -> Result<()>) -> Result<()> {
    if Kind::of(value.get()) == Kind::Object {
        return if fields(value, |_, _| Ok(()))? { each(value) } else { Ok(()) };
    }
    elements(value, each)
}

/// `sessionId` and `SessionId` as `session_id`; a name without capitals as it is.
fn snake_case(key: &str) -> Cow<'_, str> {
    if !key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(key);
    }
    let mut name = String::with_capacity(key.len() + 4);
    for character in key.chars() {
        if character.is_ascii_uppercase() && !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    Cow::Owned(name)
}

/// A string's text; `None` for anything else.
pub(super) fn text(value: &RawValue) -> Result<Option<Cow<'_, str>>> {
    if Kind::of(value.get()) != Kind::String {
        return Ok(None);
    }
    // Most texts have no escapes, and stand in the line as they are.
    let inside = value.get().trim_ascii().strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if let Some(inside) = inside.filter(|text| memchr::memchr(b'\\', text.as_bytes()).is_none()) {
        return Ok(Some(Cow::Borrowed(inside)));
    }
    serde_json::from_str::<Text<'_>>(value.get()).map(|Text(text)| Some(text))
}

/// A string's text; empty for anything else.
pub(super) fn string(value: &RawValue) -> Result<String> {
    text(value).map(|text| text.unwrap_or_default().into_owned())
}

/// Any value as text, as Velociraptor stores metadata: strings as they are, null as nothing, all else as its JSON text.
pub(super) fn stringified(value: &RawValue) -> Result<String> {
    match Kind::of(value.get()) {
        Kind::String => string(value),
        Kind::Null => Ok(String::new()),
        _ => Ok(value.get().to_owned()),
    }
}

/// The texts of a list; elements that are no texts are left out.
pub(super) fn strings(value: &RawValue) -> Result<Vec<String>> {
    let mut list = Vec::new();
    elements(value, |element| {
        list.extend(text(element)?.map(Cow::into_owned));
        Ok(())
    })?;
    Ok(list)
}

/// The digits of a number, written as a number or as text.
fn digits(value: &RawValue) -> Result<Option<Cow<'_, str>>> {
    Ok(match Kind::of(value.get()) {
        Kind::Number => Some(Cow::Borrowed(value.get())),
        // Rust reads `inf` as a number, JSON does not.
        Kind::String => text(value)?.filter(|text| text.trim().bytes().all(in_number)),
        _ => None,
    })
}

/// Whether a byte can be part of a JSON number.
pub(super) fn in_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')
}

/// A whole number, written as a number or as text; a fraction is cut off, a number out of range saturates, anything
/// else is 0.
pub(super) fn integer(value: &RawValue) -> Result<i64> {
    let digits = digits(value)?.unwrap_or_default();
    let digits = digits.trim();
    #[allow(clippy::cast_possible_truncation, reason = "saturates")]
    Ok(digits.parse().unwrap_or_else(|_| digits.parse::<f64>().map_or(0, |number| number as i64)))
}

/// A count: like [`integer`], but up to `u64::MAX`, and nothing below 0.
pub(super) fn count(value: &RawValue) -> Result<u64> {
    let digits = digits(value)?.unwrap_or_default();
    let digits = digits.trim();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at both ends")]
    Ok(digits.parse().unwrap_or_else(|_| digits.parse::<f64>().map_or(0, |number| number as u64)))
}

/// A truth value, in the words that Velociraptor's own parameters take; anything else is false.
pub(super) fn boolean(value: &RawValue) -> Result<bool> {
    match Kind::of(value.get()) {
        Kind::Boolean => Ok(value.get().trim_ascii() == "true"),
        Kind::Number => Ok(integer(value)? > 0),
        Kind::String => {
            let text = text(value)?.unwrap_or_default();
            Ok(["true", "y", "yes", "ok", "1"].iter().any(|word| text.trim().eq_ignore_ascii_case(word)))
        }
        _ => Ok(false),
    }
}

/// A moment: a number whose size tells its unit, as number or text, or ISO 8601.
pub(super) fn moment(value: &RawValue) -> Result<Option<Moment>> {
    match Kind::of(value.get()) {
        // Digits of a number read the same with quotes around them.
        Kind::Number => Ok(Moment::from_text(value.get())),
        Kind::String => Ok(text(value)?.and_then(|text| Moment::from_text(&text))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn names_are_folded_to_snake_case() {
        for (written, name) in [
            ("session_id", "session_id"),
            ("sessionId", "session_id"),
            ("artifactsWithResults", "artifacts_with_results"),
            ("Artifact", "artifact"),
            ("StoredSize", "stored_size"),
            ("_Components", "_components"),
            ("É", "É"),
            ("", ""),
        ] {
            assert_eq!(snake_case(written), name);
        }
    }

    #[test]
    fn integers_come_in_every_shape() {
        for (written, number) in [
            ("42", 42),
            ("\"42\"", 42),
            ("\" 42 \"", 42),
            ("42.9", 42),
            ("4.2e1", 42),
            ("\"4.2e1\"", 42),
            ("-7", -7),
            ("-0", 0),
            ("9223372036854775807", i64::MAX),
            ("9223372036854775808", i64::MAX),
            ("-99999999999999999999999999", i64::MIN),
            ("1e999", i64::MAX),
            ("\"NaN\"", 0),
            ("\"inf\"", 0),
            ("\"\"", 0),
            ("\"x\"", 0),
            ("null", 0),
            ("true", 0),
            ("[1]", 0),
            ("{}", 0),
        ] {
            assert_eq!(integer(&raw(written)).unwrap(), number, "{written}");
        }
        assert_eq!(count(&raw("18446744073709551615")).unwrap(), u64::MAX);
        assert_eq!(count(&raw("\"18446744073709551615\"")).unwrap(), u64::MAX);
        assert_eq!(count(&raw("1e30")).unwrap(), u64::MAX);
        assert_eq!(count(&raw("-3")).unwrap(), 0);
    }

    #[test]
    fn wrong_types_are_empty() {
        for wrong in ["7", "true", "null", "[1]", "{\"a\":1}"] {
            assert_eq!(string(&raw(wrong)).unwrap(), "", "{wrong}");
        }
        for wrong in ["7", "true", "null", "\"text\"", "{\"a\":1}", "[1,null,[\"x\"]]"] {
            assert!(strings(&raw(wrong)).unwrap().is_empty(), "{wrong}");
        }
        assert_eq!(strings(&raw("[\"a\", 1, \"b\"]")).unwrap(), ["a", "b"]);
        assert_eq!(moment(&raw("[1]")).unwrap(), None);
        assert_eq!(moment(&raw("1e999")).unwrap(), Some(Moment::from_epoch(i64::MAX).unwrap()));
        assert!(!fields(&raw("[]"), |_, _| unreachable!()).unwrap());
        elements(&raw("{}"), |_| unreachable!()).unwrap();
        rows(&raw("{}"), |_| unreachable!()).unwrap();
    }

    #[test]
    fn truth_has_many_words() {
        for yes in ["true", "1", "\"Y\"", "\"yes\"", "\"TRUE\"", "\"ok\""] {
            assert!(boolean(&raw(yes)).unwrap(), "{yes}");
        }
        for no in ["false", "0", "-1", "\"\"", "\"no\"", "\"false\"", "null", "[true]"] {
            assert!(!boolean(&raw(no)).unwrap(), "{no}");
        }
    }

    #[test]
    fn metadata_values_become_text() {
        for (written, text) in
            [("\"a\\n\"", "a\n"), ("7", "7"), ("1.50", "1.50"), ("true", "true"), ("null", ""), ("[1, 2]", "[1, 2]")]
        {
            assert_eq!(stringified(&raw(written)).unwrap(), text);
        }
    }
}
