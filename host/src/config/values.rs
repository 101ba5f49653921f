//! The types of the values: how each is read from TOML, and how a JSON Schema describes it.

mod bounds;
mod tables;
mod terms;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

pub(super) use self::bounds::{Sha256Hex, SizeIn, WaitIn};
pub(super) use self::tables::{Entry, Json, Named};
use super::decode::{Decode, Findings, Span, Spot, nearest};
use super::units;
use crate::rule::address::Mailbox;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Int<const MIN: i64, const MAX: i64>(pub(super) i64);

/// A whole number of any size.
pub(super) type AnyInt = Int<{ i64::MIN }, { i64::MAX }>;

impl AnyInt {
    /// For a default.
    pub(super) const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub(super) const fn get(self) -> i64 {
        self.0
    }
}

/// A duration that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Duration);

/// A duration or a number of seconds; zero: off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval(pub(super) Duration);

/// A number of bytes, not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A text on one line, not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word(pub(super) String);

/// A path, not empty, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argv(pub(super) Vec<String>);

/// A sender; `None` when the text is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender(pub(super) Option<Mailbox>);

/// One of a few names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OneOf<T>(pub(super) T);

/// What [`OneOf`] chooses from.
pub(super) trait Choice: Copy + 'static {
    /// Names and meanings; `None`: a later version's.
    const NAMES: &'static [(&'static str, Option<Self>)];
}

/// A list, without the elements that were no good.
#[derive(Debug, Clone)]
pub(super) struct List<T> {
    /// Elements and their places.
    pub(super) items: Vec<(T, Span)>,
    /// Whether every element was good.
    pub(super) whole: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), whole: true }
    }
}

impl<T> List<T> {
    /// The elements without their places.
    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        self.items.into_iter().map(|(value, _)| value)
    }

    /// Whether it is empty in the file, too.
    pub(super) fn is_empty(&self) -> bool {
        self.whole && self.items.is_empty()
    }
}

impl Decode for bool {
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        match value {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(text) => {
                let lower = text.to_lowercase();
                let hint = match lower.as_str() {
                    "y" | "yes" | "true" | "on" | "ok" => "write true, without quotes",
                    "n" | "no" | "false" | "off" | "" => "write false, without quotes",
                    _ => "",
                };
                findings.mistyped(at, "true or false", value, hint);
                None
            }
            _ => {
                findings.mistyped(at, "true or false", value, "");
                None
            }
        }
    }
}

impl<const MIN: i64, const MAX: i64> Decode for Int<MIN, MAX> {
    fn schema() -> Value {
        match (MIN, MAX) {
            (i64::MIN, i64::MAX) => json!({ "type": "integer" }),
            _ => json!({ "type": "integer", "minimum": MIN, "maximum": MAX }),
        }
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let number = match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) => {
                let seconds = units::duration(text).ok().filter(|wait| wait.subsec_millis() == 0);
                let hint = match (text.trim().parse::<i64>(), seconds) {
                    (Ok(number), _) => format!("write {number}, without quotes"),
                    (_, Some(wait)) if at.key.to_lowercase().ends_with("threshold") => {
                        format!("it counts seconds: write {}", wait.as_secs())
                    }
                    _ => String::new(),
                };
                findings.mistyped(at, "a whole number", value, hint);
                return None;
            }
            _ => {
                findings.mistyped(at, "a whole number", value, "");
                return None;
            }
        };
        match number {
            Some(number) if (MIN..=MAX).contains(&number) => Some(Self(number)),
            _ => {
                let range = match (MIN, MAX) {
                    (i64::MIN, i64::MAX) => "a number of 64 bits".to_owned(),
                    _ => format!("from {MIN} to {MAX}"),
                };
                findings.error(
                    Some(at.span.clone()),
                    format!("`{}` is out of range", at.key),
                    format!("it is {range}"),
                );
                None
            }
        }
    }
}

const DURATION: &str = r"^\s*(\d+ *(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?) *)+$";

impl Decode for Wait {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": DURATION, "examples": ["250 ms", "30 s", "1 h 30 min", "5 d"] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Integer(number) => {
                findings.mistyped(at, "a duration", value, format!("write \"{} s\"", number.as_str()));
                return None;
            }
            _ => {
                findings.mistyped(at, "a duration", value, "for example \"30 s\"");
                return None;
            }
        };
        match units::duration(text) {
            Ok(Duration::ZERO) => {
                findings.error(Some(at.span.clone()), format!("`{}` cannot be zero", at.key), "for example \"30 s\"");
                None
            }
            Ok(wait) => Some(Self(wait)),
            Err(error) => {
                findings.error(Some(at.span.clone()), error.message, error.hint);
                None
            }
        }
    }
}

impl Decode for Interval {
    fn schema() -> Value {
        json!({ "anyOf": [{ "type": "string", "pattern": DURATION }, { "type": "integer" }], "examples": ["10 s", 0] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        match value {
            DeValue::String(text) => match units::duration(text) {
                Ok(wait) => Some(Self(wait)),
                Err(error) => {
                    findings.error(Some(at.span.clone()), error.message, error.hint);
                    None
                }
            },
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                let wait = number.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
                let Some(wait) = wait.filter(|wait| *wait <= units::LONGEST) else {
                    findings.error(Some(at.span.clone()), format!("`{}` is out of range", at.key), "it counts seconds");
                    return None;
                };
                Some(Self(wait))
            }
            _ => {
                findings.mistyped(
                    at,
                    "a duration or a number of seconds",
                    value,
                    "for example \"10 s\"; 0 turns it off",
                );
                None
            }
        }
    }
}

impl Decode for Size {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"^\s*(\d+ *(B|kB|KiB|MB|MiB|GB|GiB) *)+$", "examples": ["64 MiB"] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Integer(number) => {
                findings.mistyped(at, "a size", value, format!("write \"{} B\"", number.as_str()));
                return None;
            }
            _ => {
                findings.mistyped(at, "a size", value, "for example \"16 MiB\"");
                return None;
            }
        };
        match units::size(text) {
            Ok(0) => {
                findings.error(Some(at.span.clone()), format!("`{}` cannot be zero", at.key), "for example \"16 MiB\"");
                None
            }
            Ok(size) => Some(Self(size)),
            Err(error) => {
                findings.error(Some(at.span.clone()), error.message, error.hint);
                None
            }
        }
    }
}

impl Decode for String {
    fn schema() -> Value {
        json!({ "type": "string" })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = text(at, value, findings)?;
        if text.chars().any(char::is_control) {
            findings.error(Some(at.span.clone()), format!("`{}` holds control characters", at.key), "");
            return None;
        }
        Some(text.to_owned())
    }
}

impl Decode for Word {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"\S" })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = String::decode(at, value, findings)?;
        let text = text.trim();
        if text.is_empty() {
            findings.error(Some(at.span.clone()), format!("`{}` is empty", at.key), "");
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

impl Decode for FilePath {
    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = text(at, value, findings)?;
        if text.is_empty() || text.contains('\0') {
            findings.error(Some(at.span.clone()), format!("`{}` is not a path", at.key), "");
            return None;
        }
        Some(Self(PathBuf::from(text)))
    }
}

impl Decode for Argv {
    fn schema() -> Value {
        json!({ "anyOf": [{ "type": "string", "pattern": r"\S" },
                          { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let words: Vec<String> = match value {
            DeValue::String(text) => text.split_whitespace().map(str::to_owned).collect(),
            DeValue::Array(items) => {
                let mut words = Vec::new();
                for item in items.iter() {
                    let spot = Spot { key: at.key, span: item.span() };
                    words.push(text(&spot, item.get_ref(), findings)?.to_owned());
                }
                words
            }
            _ => {
                findings.mistyped(at, "a command", value, "for example [\"oauth-token\", \"--smtp\"]");
                return None;
            }
        };
        if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
            let hint = "a program and its arguments, for example [\"oauth-token\", \"--smtp\"]";
            findings.error(Some(at.span.clone()), format!("`{}` names no program", at.key), hint);
            return None;
        }
        Some(Self(words))
    }
}

impl<T: Choice> Decode for OneOf<T> {
    fn schema() -> Value {
        let names: Vec<_> = T::NAMES.iter().filter(|(_, meaning)| meaning.is_some()).map(|(name, _)| name).collect();
        json!({ "enum": names })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = text(at, value, findings)?;
        match T::NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, Some(meaning))) => Some(Self(*meaning)),
            Some((_, None)) => {
                let message = format!("`{} = \"{text}\"` is not supported by this version of Bewit", at.key);
                findings.error(Some(at.span.clone()), message, "take it out, or use a version that has it");
                None
            }
            None => {
                let names = T::NAMES.iter().filter(|(_, meaning)| meaning.is_some()).map(|(name, _)| *name);
                let hint = nearest(text, names.clone()).map_or_else(
                    || format!("one of {}", names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean \"{near}\"?"),
                );
                findings.error(Some(at.span.clone()), format!("`{}` cannot be \"{text}\"", at.key), hint);
                None
            }
        }
    }
}

impl<T: Decode> Decode for List<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let DeValue::Array(items) = value else {
            let hint = match value {
                DeValue::String(text) if !text.contains(['"', '\\', '\n']) => {
                    format!("write {} = [\"{text}\"]", at.key)
                }
                DeValue::Table(_) if at.key == "rule" => {
                    "every rule begins with [[rule]], in double brackets".to_owned()
                }
                DeValue::Table(_) => format!("put it in brackets: {} = [{{ … }}]", at.key),
                _ => String::new(),
            };
            findings.mistyped(at, "a list", value, hint);
            return None;
        };
        let mut list = Self::default();
        for item in items.iter() {
            let spot = Spot { key: at.key, span: item.span() };
            match T::decode(&spot, item.get_ref(), findings) {
                Some(decoded) => list.items.push((decoded, spot.span)),
                None => list.whole = false,
            }
        }
        Some(list)
    }
}

/// The text of a value that must be one.
fn text<'v>(at: &Spot<'_>, value: &'v DeValue<'_>, findings: &mut Findings) -> Option<&'v str> {
    match value {
        DeValue::String(text) => Some(text),
        DeValue::Integer(number) => {
            findings.mistyped(at, "a text", value, format!("write \"{}\"", number.as_str()));
            None
        }
        DeValue::Array(items) if items.len() == 1 => {
            findings.mistyped(at, "a text", value, "take the brackets away");
            None
        }
        _ => {
            findings.mistyped(at, "a text", value, "");
            None
        }
    }
}
