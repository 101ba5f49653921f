//! Whether the text part says what the HTML part says: words of table cells, and words with digits anywhere. Wrapping,
//! line prefixes and elision are allowed for.

use std::collections::HashSet;

use super::html::{Kind, is_block};
use super::report::Report;
use super::{Page, Part, Rendered};
use crate::text::{ELLIPSIS, Shown};

/// Missing words that are told of.
const TOLD: usize = 5;
/// Words that are looked for the long way.
const SEARCHED: usize = 2_000;
/// Missing words after which nobody looks on.
const MISSING: usize = 200;
/// Elided places of the text that are looked at.
const ELIDED: usize = 500;
/// Letters beside an ellipsis that tell what was elided.
const CONTEXT: usize = 20;
/// Letters of HTML below which a short text is no wonder.
const LONG: usize = 500;

pub(super) fn check(page: &Page, mail: &Rendered<'_>, report: &mut Report) {
    let units = units(page);
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let (of_html, of_text) = (units.iter().map(|unit| letters(&unit.text)).sum::<usize>(), letters(mail.text));
    if mail.text.trim().is_empty() {
        return;
    }
    if of_html > LONG && of_text * 4 < of_html {
        let what = format!("the text part has {of_text} letters, the HTML part shows {of_html}");
        report.add("text-much-shorter", Part::Text, None, what);
    }
    let missing = missing(&units, &Known::new(mail.text));
    if missing.is_empty() {
        return;
    }
    let mut what = format!("the text part lacks {}", Shown(missing.first().map_or("", |(word, _)| word)));
    for (word, _) in missing.iter().skip(1).take(TOLD - 1) {
        what.push_str(&format!(", {}", Shown(word)));
    }
    if missing.len() > TOLD {
        what.push_str(&format!(" and {} more", missing.len() - TOLD));
    }
    for (_, at) in &missing {
        report.add("text-lacks-facts", Part::Html, Some(*at), what.clone());
    }
}

/// Text that stands together.
struct Unit {
    text: String,
    at: usize,
    /// Whether it is in a cell of a table that shows data.
    cell: bool,
}

/// What the HTML part shows, in pieces.
fn units(page: &Page) -> Vec<Unit> {
    let document = &page.document;
    let mut units: Vec<Unit> = Vec::new();
    // Where the block around the text before ended.
    let mut last: Option<usize> = None;
    let mut apart = true;
    for (at, node) in document.nodes.iter().enumerate() {
        match &node.kind {
            Kind::Element(element) if is_block(&element.name) => apart = true,
            Kind::Element(element) if element.name == "br" => {
                if let Some(unit) = units.last_mut() {
                    unit.text.push('\n');
                }
            }
            Kind::Element(_) => {}
            Kind::Text(text) => {
                if page.is_hidden(at) {
                    continue;
                }
                let block = document.around(at).find(|(_, element)| is_block(&element.name)).map(|(at, _)| at);
                if !apart
                    && block == last
                    && let Some(unit) = units.last_mut()
                {
                    unit.text.push_str(text);
                    continue;
                }
                (apart, last) = (false, block);
                let mut around = document.around(at);
                // What columns and rows are called is no fact: a text may lay them out without names.
                let cell = around.find(|(_, element)| ["td", "th"].contains(&element.name.as_str()));
                let table = around.find(|(_, element)| element.name == "table");
                let cell = cell.is_some_and(|(_, cell)| cell.name == "td")
                    && table.is_some_and(|(_, table)| !table.is_presentation());
                let shift = text.len() - text.trim_start().len();
                units.push(Unit { text: text.clone(), at: node.at + shift, cell });
            }
        }
    }
    units.retain(|unit| !unit.text.trim().is_empty());
    units
}

/// The text part, made ready for looking things up.
struct Known {
    words: HashSet<String>,
    /// Without blanks and line prefixes, in small letters.
    squeezed: String,
    /// Beginnings and ends of words that were cut.
    heads: Vec<String>,
    tails: Vec<String>,
    /// What stands before and behind an ellipsis.
    contexts: Vec<String>,
}

impl Known {
    fn new(text: &str) -> Self {
        let mut known = Self {
            words: HashSet::new(),
            squeezed: String::new(),
            heads: Vec::new(),
            tails: Vec::new(),
            contexts: Vec::new(),
        };
        for line in text.lines() {
            let line = line.trim_start();
            let line = line.strip_prefix("| ").unwrap_or(line).to_lowercase();
            known.squeezed.extend(line.chars().filter(|c| !c.is_whitespace()));
            for token in line.split_whitespace() {
                known.words.insert(bare(token).to_owned());
                known.words.extend(token.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
                if let Some((head, tail)) = token.split_once(ELLIPSIS).filter(|_| known.heads.len() < ELIDED) {
                    known.heads.extend(Some(head.to_owned()).filter(|head| head.chars().count() >= 3));
                    known.tails.extend(Some(tail.to_owned()).filter(|tail| tail.chars().count() >= 3));
                }
            }
        }
        for (at, _) in known.squeezed.match_indices(ELLIPSIS).take(ELIDED) {
            let before = known.squeezed.get(..at).unwrap_or_default();
            let start = before.char_indices().rev().nth(CONTEXT - 1).map_or(0, |(at, _)| at);
            let behind = known.squeezed.get(at + ELLIPSIS.len_utf8()..).unwrap_or_default();
            let end = behind.char_indices().nth(CONTEXT).map_or(behind.len(), |(at, _)| at);
            for context in [before.get(start..), behind.get(..end)].into_iter().flatten() {
                if context.chars().count() >= CONTEXT / 2 {
                    known.contexts.push(context.to_owned());
                }
            }
        }
        known
    }

    /// Whether a word is in the text, perhaps wrapped or cut.
    fn has(&self, word: &str) -> bool {
        // `0 rows` are `no rows` in a sentence.
        (word == "0" && self.words.contains("no"))
            || (word.chars().count() > 2 && self.squeezed.contains(word))
            || self.heads.iter().any(|head| word.starts_with(head))
            || self.tails.iter().any(|tail| word.ends_with(tail))
            || self.in_pieces(word)
    }

    /// Whether it is made of words of the text: columns wrap long words.
    fn in_pieces(&self, word: &str) -> bool {
        if word.len() > 120 {
            return false;
        }
        let mut reached = vec![false; word.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        let ends: Vec<usize> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
        for (number, end) in ends.iter().enumerate().skip(1) {
            let possible = ends.iter().take(number).any(|start| {
                // Pieces of one or two letters would fit anything.
                end - start >= 3
                    && reached.get(*start).copied().unwrap_or_default()
                    && word.get(*start..*end).is_some_and(|piece| self.words.contains(piece))
            });
            if let Some(place) = reached.get_mut(*end) {
                *place = possible;
            }
        }
        reached.last().copied().unwrap_or_default()
    }

    /// Whether part of a unit was left out of the text for its length.
    fn elided(&self, unit: &str) -> bool {
        let squeezed: String = unit.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
        self.contexts.iter().any(|context| squeezed.contains(context.as_str()))
    }
}

/// A word without what stands around it.
fn bare(token: &str) -> &str {
    token.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Facts of the HTML that the text lacks, each once, with their places.
fn missing(units: &[Unit], known: &Known) -> Vec<(String, usize)> {
    let mut missing: Vec<(String, usize)> = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut searched = 0;
    for unit in units {
        let mut elided = None;
        for token in unit.text.split_whitespace() {
            let word = bare(token).to_lowercase();
            // A figure that is zero is often left out of a text.
            let fact = unit.cell || (word != "0" && word.contains(|c: char| c.is_numeric()));
            if word.is_empty() || !fact || known.words.contains(&word) || !seen.insert(word.clone()) {
                continue;
            }
            searched += 1;
            if searched > SEARCHED || missing.len() >= MISSING {
                return missing;
            }
            if !known.has(&word) && !*elided.get_or_insert_with(|| known.elided(&unit.text)) {
                missing.push((bare(token).to_owned(), unit.at));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(html: &str, text: &str) -> Vec<String> {
        let page = Page::new(html);
        missing(&units(&page), &Known::new(text)).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn facts_are_words_of_cells_and_words_with_digits() {
        let html = "<p>Open the 17 flows</p><table><tr><th>Name</th><td>lsass.exe</td></tr></table>\
                    <table role=presentation><tr><td>Welcome, 42</td></tr></table>";
        assert_eq!(lacking(html, "nothing"), ["17", "lsass.exe", "42"]);
        assert_eq!(lacking("<b>0</b> rows", "-"), Vec::<String>::new());
        assert_eq!(lacking(html, "NAME: lsass.exe (17), 42."), Vec::<String>::new());
    }

    #[test]
    fn wrapping_prefixes_and_elision_are_no_lack() {
        let cell = |text: &str| format!("<table><tr><td>{text}</td></tr></table>");
        for (html, text) in [
            ("C:\\Windows\\<wbr>System32\\lsass.exe", "C:\\Windows\\Sys\n  | tem32\\lsass.exe"),
            ("<b>ab</b>cdef", "abcdef"),
            ("averylongvaluethatwraps", "averylong  other\nvaluethat  column\nwraps"),
            ("Windows.System.Pslist", "Windows.Sys…"),
            ("/very/long/path/of.txt", "…/path/of.txt"),
            ("the quick brown fox jumps over the lazy dog", "the quick brown fox ju…"),
            ("value…", "value and more"),
            ("✓ &ndash; ·", "-"),
            ("0", "no rows"),
            ("<span style='display:none'>hidden</span>", "-"),
        ] {
            assert_eq!(lacking(&cell(html), text), Vec::<String>::new(), "{html}");
        }
    }
}
