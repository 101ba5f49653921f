//! Durations and sizes within bounds, and hashes.

use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

use super::{Size, Wait, text};
use crate::config::decode::{Decode, Findings, Spot};
use crate::config::units;

/// A number of bytes from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct SizeIn<const MIN: u64, const MAX: u64>(pub(in crate::config) u64);

/// A duration from `MIN` to `MAX` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct WaitIn<const MIN: u64, const MAX: u64>(pub(in crate::config) Duration);

/// A SHA-256 in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Sha256Hex(pub(in crate::config) String);

impl<const MIN: u64, const MAX: u64> Decode for SizeIn<MIN, MAX> {
    fn schema() -> Value {
        Size::schema()
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let size = Size::decode(at, value, findings)?.0;
        if (MIN..=MAX).contains(&size) {
            return Some(Self(size));
        }
        out_of_range(at, &units::show_size(MIN), &units::show_size(MAX), findings);
        None
    }
}

impl<const MIN: u64, const MAX: u64> Decode for WaitIn<MIN, MAX> {
    fn schema() -> Value {
        Wait::schema()
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let wait = Wait::decode(at, value, findings)?.0;
        let (least, most) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        if (least..=most).contains(&wait) {
            return Some(Self(wait));
        }
        out_of_range(at, &units::show_duration(least), &units::show_duration(most), findings);
        None
    }
}

fn out_of_range(at: &Spot<'_>, least: &str, most: &str, findings: &mut Findings) {
    let message = format!("`{}` is out of range", at.key);
    findings.error(Some(at.span.clone()), message, format!("it is from {least} to {most}"));
}

impl Decode for Sha256Hex {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = text(at, value, findings)?;
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(Self(text.to_ascii_lowercase()));
        }
        let hint = "64 hexadecimal digits, as `sha256sum FILE` prints them";
        findings.error(Some(at.span.clone()), format!("`{}` is not a SHA-256", at.key), hint);
        None
    }
}
