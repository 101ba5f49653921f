//! Prometheus' text format, version 0.0.4.

use std::fmt::{self, Write};

use super::histogram::Histogram;
use super::names::{Family, Kind};

/// What the answer's `Content-Type` says.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text in the making, family by family.
#[derive(Debug, Default)]
pub struct Text(String);

/// The samples of one family.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut String,
    family: &'static Family,
}

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A whole number.
    Number(u64),
    /// Any other.
    Float(f64),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for Value {
    fn from(holds: bool) -> Self {
        Self::Number(holds.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Float(number) if number.is_nan() => f.write_str("NaN"),
            Self::Float(number) if number.is_infinite() => f.write_str(if *number > 0.0 { "+Inf" } else { "-Inf" }),
            Self::Float(number) => number.fmt(f),
        }
    }
}

impl Text {
    /// Begins a family: its help and its type, also if no sample follows. Each family once.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}\n", Escaped(help, false));
        Samples { text: &mut self.0, family }
    }

    /// A family of one sample without labels.
    pub fn one(&mut self, family: &'static Family, value: impl Into<Value>) {
        self.family(family).add(&[], value);
    }

    /// All of it.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    /// A sample; the labels' values in the order of the family's labels.
    pub fn add(&mut self, labels: &[&str], value: impl Into<Value>) {
        self.line("", labels, None, value.into());
    }

    /// A histogram's samples.
    pub fn histogram(&mut self, labels: &[&str], histogram: &Histogram) {
        let read = histogram.read();
        for (bound, count) in &read.cumulative {
            self.line("_bucket", labels, Some(Value::Float(*bound)), Value::Number(*count));
        }
        self.line("_bucket", labels, Some(Value::Float(f64::INFINITY)), Value::Number(read.count));
        self.line("_sum", labels, None, Value::Float(read.sum));
        self.line("_count", labels, None, Value::Number(read.count));
    }

    fn line(&mut self, part: &str, labels: &[&str], bound: Option<Value>, value: Value) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let _ = write!(self.text, "{}{part}", self.family.name);
        let mut before = '{';
        for (name, value) in self.family.labels.iter().zip(labels) {
            let _ = write!(self.text, "{before}{name}=\"{}\"", Escaped(value, true));
            before = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(self.text, "{before}le=\"{bound}\"");
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// A text as it stands in a help or, with quotation marks escaped too, in a label's value.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
