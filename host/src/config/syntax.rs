//! When a file is not TOML: one error for each bad statement, and the rest of the file as if they were not there.
//!
//! The parser's own recovery reports one mistake many times over or stops at it. So each statement is tried alone;
//! those that cannot be read are blanked, and what is left is read as usual.

use std::sync::LazyLock;

use regex::Regex;
use toml::de::{DeTable, Error};

use super::decode::{Findings, Span};

/// Lines that one statement may span when it is looked for.
const TALLEST: usize = 400;
/// Bad statements after which the rest is not looked at.
const MOST: usize = 50;

/// The text with every unreadable statement blanked, byte for byte; those have been reported.
pub(super) fn repair(text: &str, findings: &mut Findings) -> String {
    if DeTable::parse_recoverable(text).1.is_empty() {
        return text.to_owned();
    }
    let mut at = usize::from(text.starts_with('\u{feff}')) * '\u{feff}'.len_utf8();
    let mut lines = Vec::new();
    for line in text.get(at..).unwrap_or_default().split_inclusive('\n') {
        lines.push(at..at + line.len());
        at += line.len();
    }
    let mut bytes = text.as_bytes().to_vec();
    let mut mode = Mode::Reading;
    let mut bad = 0;
    let mut index = 0;
    while let Some(line) = lines.get(index) {
        let content = slice(text, line);
        let blank = content.trim().is_empty() || content.trim_start().starts_with('#');
        let skipped = match mode {
            Mode::Reading => false,
            // What follows a bad statement belongs to it until something begins that looks like another one.
            Mode::Statement => !begins(content) && !is_torn_header(content),
            // Without its header, nothing is known of a table's keys.
            Mode::Table => !is_header(content),
        };
        if blank || skipped || bad == MOST {
            if !blank {
                blot(&mut bytes, line);
            }
            index += 1;
            continue;
        }
        mode = Mode::Reading;
        if let Some(taken) = statement(text, lines.get(index..).unwrap_or_default()) {
            index += taken;
            continue;
        }
        let errors = DeTable::parse_recoverable(content).1;
        if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
            report(error, content, line.start, findings);
        }
        findings.tear();
        blot(&mut bytes, line);
        bad += 1;
        mode = if content.trim_start().starts_with('[') { Mode::Table } else { Mode::Statement };
        index += 1;
    }
    // Only whole lines were blanked.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Reports what the parser says of a whole text.
pub(super) fn report_all(errors: &[Error], text: &str, findings: &mut Findings) {
    for error in errors {
        report(error, text, 0, findings);
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Reading,
    Statement,
    Table,
}

/// How many lines the statement takes that begins with the first of these.
fn statement(text: &str, lines: &[Span]) -> Option<usize> {
    let first = lines.first()?;
    let opens =
        slice(text, first).contains(['[', '{']) || ["\"\"\"", "'''"].iter().any(|q| slice(text, first).contains(q));
    let most = if opens { TALLEST } else { 1 };
    lines
        .iter()
        .take(most)
        .enumerate()
        .find_map(|(index, last)| DeTable::parse(slice(text, &(first.start..last.end))).is_ok().then_some(index + 1))
}

fn begins(line: &str) -> bool {
    static KEY: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"^\s*[A-Za-z0-9_"'-]+(\s*\.\s*[A-Za-z0-9_"'-]+)*\s*="#).ok());
    is_header(line) || KEY.as_ref().is_some_and(|key| key.is_match(line))
}

fn is_header(line: &str) -> bool {
    static HEADER: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"^\s*\[\[?[\sA-Za-z0-9_."'-]+\]\]?\s*(#.*)?$"#).ok());
    HEADER.as_ref().is_some_and(|header| header.is_match(line))
}

/// A header without its end.
fn is_torn_header(line: &str) -> bool {
    static TORN: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"^\s*\[\[?\s*[A-Za-z_][A-Za-z0-9_."'-]*\s*\]?\s*(#.*)?$"#).ok());
    TORN.as_ref().is_some_and(|torn| torn.is_match(line))
}

fn slice<'t>(text: &'t str, span: &Span) -> &'t str {
    text.get(span.clone()).unwrap_or_default()
}

fn blot(bytes: &mut [u8], span: &Span) {
    for byte in bytes.iter_mut().take(span.end).skip(span.start) {
        if !matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// Says it in the terms of this file rather than of the grammar.
fn report(error: &Error, text: &str, offset: usize, findings: &mut Findings) {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    let empty = slice(text, &span).is_empty();
    let before = slice(text, &(0..span.start)).trim_end_matches([' ', '\t']);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let (message, hint) = if message.contains("duplicate key") {
        // The span is the second one's.
        (format!("`{}` is set twice", slice(text, &span).trim_matches(['"', '\''])), "keep one of them")
    } else if before.ends_with('=') && empty {
        ("a value is missing after `=`".to_owned(), "")
    } else if message.starts_with("string values must be quoted") {
        // The text itself may be a secret.
        ("a text must be in quotes".to_owned(), "numbers, true and false stand without them")
    } else if message.contains("escape") {
        let hint = "a backslash begins an escape; write paths and regular expressions in single quotes: '…'";
        ("a backslash that begins no escape".to_owned(), hint)
    } else if message.starts_with("invalid basic string") && line.contains('"') && empty {
        ("the closing quote is missing".to_owned(), "")
    } else if message.contains("key with no value") {
        ("a key with no value".to_owned(), "write key = value")
    } else if message.contains("unclosed") && message.contains("array") {
        ("the list is not closed".to_owned(), "it ends with `]`")
    } else if message.contains("unclosed table") || message.contains("unclosed array of tables") {
        ("the section's name is not closed".to_owned(), "it ends with `]`, or `]]` for [[rule]]")
    } else {
        (message.to_owned(), "")
    };
    findings.error(Some(span.start + offset..span.end + offset), message, hint);
}
