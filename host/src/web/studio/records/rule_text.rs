//! A rule as it stands in the configuration file, to be edited in a page, and what the configuration's own reader says of
//! the file with the edited rule in it. Nothing is written.

use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::config::Config;
use crate::config::diagnostic::Diagnostics;
use crate::config::load::{Proof, examine_text};

/// A configuration file with one of its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleText {
    /// The file's name, for findings.
    name: String,
    /// The whole file.
    file: String,
    /// Where the rule stands in it.
    span: Range<usize>,
    /// Which of the file's rules it is.
    number: usize,
    /// How many there are.
    of: usize,
}

/// Why a rule cannot be edited in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoText {
    /// It is written otherwise.
    #[error(
        "This rule is not written as a [[rule]] section of its own, so it cannot be edited here; edit the file itself."
    )]
    Otherwise,
    /// The file has been changed and is not in force.
    #[error("The file does not have this rule; is it the one that is in force?")]
    Gone,
}

/// What is wrong with an edited rule.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It is more, or less, than rules.
    Shape(&'static str),
    /// What the reader found.
    Found(Box<Diagnostics>),
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// Whether the line begins a rule.
fn is_rule(line: &str) -> bool {
    static RULE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\s*\[\[\s*rule\s*\]\]\s*(#.*)?$").ok());
    RULE.as_ref().is_some_and(|rule| rule.is_match(line.trim_end()))
}

/// Whether the line begins a part of a rule.
fn is_part(line: &str) -> bool {
    static PART: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^\s*\[\[?\s*rule\s*\.[A-Za-z0-9_.\s-]+\]\]?\s*(#.*)?$").ok());
    PART.as_ref().is_some_and(|part| part.is_match(line.trim_end()))
}

/// Where the rules stand: each from its header to the last line that says something.
fn sections(text: &str) -> Vec<Range<usize>> {
    let mut sections: Vec<Range<usize>> = Vec::new();
    let (mut at, mut inside) = (0, false);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        let content = line.trim();
        if is_rule(line) {
            sections.push(at..end);
            inside = true;
        // A line of an array may begin with a bracket, too: only what can be a header is one.
        } else if is_header(line) && !is_part(line) && toml::de::DeTable::parse(line).is_ok() {
            inside = false;
        } else if inside
            && !content.is_empty()
            && !content.starts_with('#')
            && let Some(last) = sections.last_mut()
        {
            last.end = end;
        }
        at = end;
    }
    sections
}

impl RuleText {
    /// Finds a rule in a configuration's text.
    pub(super) fn find(name: &str, file: &str, rule: &str) -> Result<Self, NoText> {
        let sections = sections(file);
        let named = |span: &Range<usize>| {
            let text: toml::Table = toml::from_str(file.get(span.clone())?).ok()?;
            let rules = text.get("rule")?.as_array()?;
            let [one] = rules.as_slice() else { return None };
            Some(one.get("name")?.as_str()?.to_owned())
        };
        let names: Option<Vec<String>> = sections.iter().map(named).collect();
        // One that is not understood may be a piece of a text: then nothing is known for sure.
        let names = names.ok_or(NoText::Otherwise)?;
        let whole: toml::Table = toml::from_str(file).map_err(|_| NoText::Otherwise)?;
        let rules = whole.get("rule").and_then(|rules| rules.as_array()).map_or(0, Vec::len);
        if rules != names.len() {
            return Err(NoText::Otherwise);
        }
        let number = names.iter().position(|known| known == rule).ok_or(NoText::Gone)?;
        let span = sections.get(number).cloned().ok_or(NoText::Gone)?;
        Ok(Self { name: name.to_owned(), file: file.to_owned(), span, number, of: names.len() })
    }

    /// The rule as it stands.
    pub(super) fn text(&self) -> &str {
        self.file.get(self.span.clone()).unwrap_or_default()
    }

    /// The configuration with another text in the rule's place, and which of its rules are those of the text. Files that
    /// the text would name are not opened: it may hold rules alone.
    pub(super) fn with(&self, edited: &str, base: &Path) -> Result<(Config, Range<usize>), Wrong> {
        let mut edited = edited.replace("\r\n", "\n");
        if !edited.ends_with('\n') {
            edited.push('\n');
        }
        let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if !edited.lines().find(says).is_some_and(is_rule) {
            return Err(Wrong::Shape("It must begin with [[rule]]."));
        }
        let other =
            |line: &str| is_header(line) && !is_rule(line) && !is_part(line) && toml::de::DeTable::parse(line).is_ok();
        if edited.lines().any(other) {
            return Err(Wrong::Shape(
                "It may hold [[rule]] sections only; other sections stay as they are in the file.",
            ));
        }
        let before = self.file.get(..self.span.start).unwrap_or_default();
        let after = self.file.get(self.span.end..).unwrap_or_default();
        let whole = format!("{before}{edited}{after}");
        let config = examine_text(&whole, &self.name, base, Proof::Text)
            .into_result()
            .map_err(|found| Wrong::Found(Box::new(found)))?;
        let count = (config.rules.len() + 1).saturating_sub(self.of);
        Ok((config, self.number..self.number + count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"[smtp]
mailbox = "mail"
from = "Bewit <bewit@example.org>"
[outbox]
url = "sqlite:b.db"

# Of the first.
[[rule]]
name = "first"
recipients = ["ana@example.org"]
include_result_table_from = [
  { source = "A" },
]

# Of the second.
[[rule]] # here
name = "second"
recipients = ["ola@example.org"]
[[rule.include_result_table_from]]
source = "B"

[web]
listen = "127.0.0.1:0"
"#;

    fn find(rule: &str) -> RuleText {
        RuleText::find("bewit.toml", FILE, rule).unwrap()
    }

    #[test]
    fn rules_are_found_where_they_stand() {
        let first = find("first");
        assert!(first.text().starts_with("[[rule]]\nname = \"first\"") && first.text().ends_with("]\n"));
        assert!(!first.text().contains("second"));
        let second = find("second");
        assert!(
            second.text().contains("[[rule.include_result_table_from]]\nsource = \"B\"\n")
                && !second.text().contains("[web]")
        );
        assert_eq!(RuleText::find("bewit.toml", FILE, "third"), Err(NoText::Gone));
        for other in ["rule = [{ name = \"first\" }]\n", "a = '''\n[[rule]]\nname = \"first\"\n'''\n", "[[rule]\n"] {
            assert!(RuleText::find("bewit.toml", other, "first").is_err(), "{other}");
        }
    }

    #[test]
    fn the_reader_says_what_it_thinks_of_an_edited_rule() {
        let base = tempfile::tempdir().unwrap();
        let first = find("first");
        let (config, rules) = first.with(&first.text().replace("ana@", "kim@"), base.path()).unwrap();
        assert_eq!((rules, config.rules.len()), (0..1, 2));
        assert_eq!(config.rules[0].recipients[0].as_str(), "kim@example.org");
        // More than one, or none.
        let two = format!("{}\n[[rule]]\nname = \"third\"\nrecipients = [\"x@example.org\"]", first.text());
        assert_eq!(first.with(&two, base.path()).unwrap().1, 0..2);

        let Err(Wrong::Found(found)) = first.with("[[rule]]\nname = \"first\"\nrecipient = []\n", base.path()) else {
            panic!("an unknown key");
        };
        let text = found.render(false);
        assert!(text.contains("bewit.toml:10:1") && text.contains("recipient") && text.contains("^^^^^^^^^"), "{text}");
        assert!(matches!(first.with("[[rule]]\nname = ", base.path()), Err(Wrong::Found(_))));
    }

    #[test]
    fn nothing_but_rules_can_be_edited() {
        let base = tempfile::tempdir().unwrap();
        for bad in [
            "",
            "# nothing\n",
            "url = \"sqlite:/etc/x\"\n[[rule]]\nname = \"first\"\n",
            "[[rule]]\nname = \"first\"\n[templates]\npath = \"/etc\"\n",
            "[[rule]]\nname = \"first\"\n  [ templates ]\npath = \"/etc\"\n",
            "[[rule]]\nname = \"first\"\n[\"templates\"]\npath = \"/etc\"\n",
            "[[rule]]\nname = \"first\"\n[plugins.x]\npath = \"/etc/passwd\"\n",
            "[rule.error_handling]\n",
        ] {
            assert!(matches!(find("first").with(bad, base.path()), Err(Wrong::Shape(_))), "{bad}");
        }
    }
}
