//! Writing a rule down: TOML (1.0) with comments, one key a line, lists broken when they are long.

use std::fmt::Write as _;

use super::ImportedRule;
use crate::text::{Visible, is_invisible};

/// Columns that a line may take before a list is broken.
const WIDTH: usize = 100;

/// A value of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A string.
    Text(String),
    /// A pattern: in single quotes where that is possible, so that it reads as it was written.
    Pattern(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// An array.
    List(Vec<Item>),
    /// An inline table.
    Table(Vec<(&'static str, Item)>),
}

/// One key of a rule, with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The configuration's name for it.
    pub key: &'static str,
    /// What it is set to; `None`: nothing, there is only something to say.
    pub value: Option<Item>,
    /// Written as a comment: the parameter was not set, so its default holds.
    pub is_default: bool,
    /// Remarks.
    pub notes: Vec<String>,
}

impl ImportedRule {
    /// The rule as a `[[rule]]` of the configuration file, named `name`.
    #[must_use]
    pub fn to_toml(&self, name: &str) -> String {
        let mut out = String::new();
        for note in &self.notes {
            remark(&mut out, note);
        }
        let _ = writeln!(out, "[[rule]]\nname = {}\non = \"flow-completion\"", quoted(name));
        for line in &self.lines {
            if !line.notes.is_empty() && !out.ends_with("\n\n") {
                out.push('\n');
            }
            for note in &line.notes {
                remark(&mut out, &format!("note: {note}"));
            }
            if line.value.is_none() {
                out.push('\n');
            }
            if let Some(value) = &line.value {
                let text = format!("{} = {}", line.key, written(value, line.key.len() + 3));
                if line.is_default {
                    comment(&mut out, &text);
                } else {
                    let _ = writeln!(out, "{text}");
                }
            }
        }
        out
    }
}

/// Text that is commented out, line by line.
fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "# {}", Visible(line));
    }
}

/// A sentence as a comment, broken between words.
fn remark(out: &mut String, text: &str) {
    let text = Visible(text).to_string();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

/// A value as TOML; `before` columns are taken already.
fn written(item: &Item, before: usize) -> String {
    match item {
        Item::Text(text) => quoted(text),
        Item::Pattern(text) if text.contains('\'') || text.chars().any(is_invisible) => quoted(text),
        Item::Pattern(text) => format!("'{text}'"),
        Item::Bool(value) => value.to_string(),
        Item::Integer(value) => value.to_string(),
        Item::Table(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{key} = {}", written(value, 0))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Item::List(items) => {
            let items: Vec<String> = items.iter().map(|item| written(item, 0)).collect();
            let line = format!("[{}]", items.join(", "));
            if before + line.chars().count() <= WIDTH {
                return line;
            }
            let mut out = String::from("[\n");
            for item in &items {
                let _ = writeln!(out, "    {item},");
            }
            out.push(']');
            out
        }
    }
}

/// A basic string. What a reader would not see is escaped, though TOML would allow some of it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_invisible(character) => {
                let _ = write!(out, "\\U{:08X}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive() {
        for text in
            ["", "a", "it's", "\"\\\"", "\\d'", "a\tb\r\nc", "\u{0}\u{7f}\u{202e}\u{feff}", "größe", "'''", "^\\w+$"]
        {
            for item in [Item::Text(text.to_owned()), Item::Pattern(text.to_owned())] {
                let file = format!("x = {}", written(&item, 0));
                let table: ::toml::Table = file.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
                assert_eq!(table.get("x").and_then(::toml::Value::as_str), Some(text), "{file}");
            }
        }
        assert_eq!(written(&Item::Pattern(r"^\w+$".to_owned()), 0), r"'^\w+$'");
    }

    #[test]
    fn long_lists_are_broken() {
        let item = |text: &str| Item::Text(text.to_owned());
        assert_eq!(written(&Item::List(vec![item("a"), item("b")]), 10), r#"["a", "b"]"#);
        let long = written(&Item::List(vec![item(&"a".repeat(60)), item(&"b".repeat(60))]), 10);
        assert_eq!(long.lines().count(), 4, "{long}");
        let rule = ImportedRule {
            lines: vec![Line {
                key: "recipients",
                value: Some(Item::List(vec![item(&"a".repeat(60)), item(&"b".repeat(60))])),
                is_default: true,
                notes: vec!["two\nlines\u{1b}".to_owned()],
            }],
            ..ImportedRule::default()
        };
        let text = rule.to_toml("x");
        assert!(text.contains("# note: two\\nlines\\u{1b}\n# recipients = [\n#     \"aaa"), "{text}");
        assert!(text.parse::<::toml::Table>().is_ok(), "{text}");
    }
}
