//! Telling an event file from a row file by a look at its lines.
//!
//! Both are JSON Lines, and both may be named `*.jsonl`. A line of an event says so in its first level: it has a `type`
//! or `_Source`, or names a client and a flow. Rows usually do none of this; when they do (a column may have any name),
//! the events that refer to the file decide.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};
use std::sync::LazyLock;

use indexmap::IndexMap;
use memchr::memmem;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::intake::lines::{Lines, Start};

/// Lines that are looked at to tell the kind of a file.
const LOOK_LINES: u64 = 64;

/// Bytes after which no further line is looked at.
const LOOK_BYTES: u64 = 1024 * 1024;

/// What a file seems to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// JSON objects, none of which looks like an event.
    Rows,
    /// Nothing that could be rows, or something that could be an event.
    Perhaps,
    /// At least one line says that it is a `System.…` event.
    Events,
}

/// A look at a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) kind: Kind,
    /// Result files that its lines name; empty for rows.
    pub(super) refers_to: BTreeSet<String>,
}

/// Looks at a file. Rows are known by their beginning; anything else is read to its end for the files it refers to.
pub(super) fn look(reader: impl Read, limit: u64) -> io::Result<Look> {
    let mut lines = Lines::new(reader, limit, Start::default());
    let mut look = Look { kind: Kind::Rows, refers_to: BTreeSet::new() };
    let mut looked = 0;
    while let Some(found) = lines.next_line()? {
        let looking = looked < LOOK_LINES && (looked == 0 || found.line.offset < LOOK_BYTES);
        if !looking && look.kind == Kind::Rows {
            break;
        }
        let Ok(line) = found.line.content else {
            look.kind = look.kind.max(if looked == 0 { Kind::Perhaps } else { Kind::Rows });
            looked += 1;
            continue;
        };
        if looking || names_a_file(&line) {
            let glance = Glance::at(&line);
            if looking {
                // What comes first counts most: a torn last row makes no events.
                let kind = if !glance.object && looked > 0 { Kind::Rows } else { glance.kind() };
                look.kind = look.kind.max(kind);
                looked += 1;
            }
            look.refers_to.extend(glance.refers_to);
        }
    }
    if looked == 0 {
        look.kind = Kind::Perhaps;
    }
    Ok(look)
}

/// The result files that a line of an event names.
pub(super) fn refers_to(line: &[u8]) -> Vec<String> {
    if names_a_file(line) { Glance::at(line).refers_to } else { Vec::new() }
}

/// Whether a file holds more than `few` lines, none of which looks like an event.
pub(super) fn is_bulk(reader: impl Read, limit: u64, few: usize) -> io::Result<bool> {
    let mut lines = Lines::new(reader, limit, Start::default());
    let mut count = 0;
    while let Some(found) = lines.next_line()? {
        count += 1;
        if let Ok(line) = found.line.content {
            let glance = Glance::at(&line);
            if glance.object && glance.kind() > Kind::Rows {
                return Ok(false);
            }
        }
    }
    Ok(count > few)
}

/// A quick no before the line is parsed.
fn names_a_file(line: &[u8]) -> bool {
    static KEY: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"file\""));
    KEY.find(line).is_some()
}

/// The first level of a line's object; as far as it goes, if the line is torn.
#[derive(Debug, Default)]
struct Glance {
    object: bool,
    system: bool,
    typed: bool,
    client: bool,
    flow: bool,
    refers_to: Vec<String>,
}

impl Glance {
    fn at(line: &[u8]) -> Self {
        let mut glance = Self::default();
        // An error ends the look; what was seen until then counts.
        let _ = (&mut glance).deserialize(&mut serde_json::Deserializer::from_slice(line));
        glance
    }

    fn kind(&self) -> Kind {
        if self.system {
            Kind::Events
        } else if !self.object || self.typed || (self.client && self.flow) {
            Kind::Perhaps
        } else {
            Kind::Rows
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Glance {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Glance {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.object = true;
        while let Some(key) = map.next_key::<String>()? {
            let value: &RawValue = map.next_value()?;
            match key.as_str() {
                "type" | "_Source" => {
                    let text = text(value);
                    self.typed |= text.is_some();
                    self.system |= text.is_some_and(|text| text.starts_with("System."));
                }
                "ClientId" => self.client = true,
                "FlowId" => self.flow = true,
                "results" => {
                    let names = object(value).into_values().filter_map(|set| text(object(set).get("file")?));
                    self.refers_to.extend(names.filter(|name| is_plain(name)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The value, if it is a string.
fn text(value: &RawValue) -> Option<String> {
    if value.get().starts_with('"') { serde_json::from_str(value.get()).ok() } else { None }
}

/// The members, if it is an object.
fn object(value: &RawValue) -> IndexMap<String, &RawValue> {
    if value.get().starts_with('{') { serde_json::from_str(value.get()).unwrap_or_default() } else { IndexMap::new() }
}

/// A plain name of a finished, visible file.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
        && !name.to_ascii_lowercase().ends_with(".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        look(text.as_bytes(), 1000).unwrap().kind
    }

    #[test]
    fn events_rows_and_the_doubtful() {
        let event = r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1"}"#;
        assert_eq!(kind(event), Kind::Events);
        assert_eq!(kind(r#"{"Flow":{},"_Source":"System.Flow.Completion"}"#), Kind::Events);
        assert_eq!(kind(&format!("{{\"a\":1}}\n{event}")), Kind::Events);
        assert_eq!(kind(r#"{"type":"System.Flow.Completion","Clie"#), Kind::Events);
        assert_eq!(kind(r#"{"ClientId":"C.1","Flow":1,"FlowId":null}"#), Kind::Perhaps);
        assert_eq!(kind(r#"{"Name":"a","type":"file"}"#), Kind::Perhaps);
        assert_eq!(kind(r#"{"_Source":"Windows.System.Pslist"}"#), Kind::Perhaps);
        assert_eq!(kind("no JSON"), Kind::Perhaps);
        assert_eq!(kind(r#"["type"]"#), Kind::Perhaps);
        assert_eq!(kind(""), Kind::Perhaps);
        assert_eq!(kind(&"x".repeat(2000)), Kind::Perhaps);
        assert_eq!(kind("{}"), Kind::Rows);
        assert_eq!(kind("\n\n{\"Name\":\"a\",\"Type\":\"b\"}\n{\"Na"), Kind::Rows);
        assert_eq!(kind(r#"{"ClientId":"C.1"}"#), Kind::Rows);
        assert_eq!(kind(r#"{"a":{"type":"System.x"}}"#), Kind::Rows);
        assert_eq!(kind(r#"{"type":7}"#), Kind::Rows);
    }

    #[test]
    fn the_files_that_events_name_are_found_to_the_end() {
        let line = |name: &str| {
            format!(r#"{{"type":"System.x","results":{{"A":[{{"file":"no"}}],"B":{{"file":"{name}"}}}}}}"#)
        };
        let mut text = line("first.jsonl");
        for number in 0..200 {
            text.push_str(&format!("\n{{\"type\":\"System.x\",\"n\":{number}}}"));
        }
        text.push('\n');
        text.push_str(&line("last.json"));
        let look = look(text.as_bytes(), 1000).unwrap();
        assert_eq!(look.refers_to.into_iter().collect::<Vec<_>>(), ["first.jsonl", "last.json"]);
        for name in ["../a", "a/b", ".", "..", ".hidden", "", "a.tmp", "a.TMP", "a\\u0000"] {
            assert!(refers_to(line(name).as_bytes()).is_empty(), "{name}");
        }
        assert!(refers_to(br#"{"results":{"A":{"file":7}},"B":{"file":"a"}}"#).is_empty());
        assert!(refers_to(br#"{"results":"{\"file\":\"a\"}"}"#).is_empty());
        assert_eq!(refers_to(br#"{"results":{"\u0041":{"n":1,"file":"\u0061"}},"x":1}"#), ["a"]);
    }

    #[test]
    fn rows_in_bulk_are_told_from_a_few_lines() {
        let rows = "{\"a\":1}\n".repeat(40);
        assert!(is_bulk(rows.as_bytes(), 100, 39).unwrap());
        assert!(!is_bulk(rows.as_bytes(), 100, 40).unwrap());
        let event = format!("{rows}{{\"type\":\"x\"}}");
        assert!(!is_bulk(event.as_bytes(), 100, 3).unwrap());
    }

    #[test]
    fn nesting_does_not_matter() {
        let deep = format!(r#"{{"a":{}1{},"type":"System.x"}}"#, "[".repeat(400), "]".repeat(400));
        assert_eq!(kind(&deep), Kind::Events);
    }
}
