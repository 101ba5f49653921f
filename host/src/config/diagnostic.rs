//! What is wrong with a configuration, where, and what to do: file, line, caret, hint.
//!
//! Written by hand: texts that the configuration quotes may hold controls, and a line may hold a secret, so every
//! character that reaches the terminal passes through here.

use std::fmt::{self, Write as _};
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use crate::text::{Visible, count, is_invisible};

/// Columns of source that an excerpt shows at most.
const EXCERPT: usize = 120;
/// Columns of a longer line that are shown before the place.
const BEFORE: usize = 40;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// File it is about.
    pub file: String,
    /// Byte range in that file's text.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// All findings of one run, with the texts they point into.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    /// In order of place.
    pub findings: Vec<Diagnostic>,
    /// File name and text, secrets blotted out byte for byte.
    pub sources: Vec<(String, String)>,
}

impl Diagnostics {
    /// How many findings are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// How many findings are warnings.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.findings.len() - self.errors()
    }

    /// Adds the findings and texts of another file.
    pub fn merge(&mut self, other: Self) {
        self.findings.extend(other.findings);
        for (name, text) in other.sources {
            if !self.sources.iter().any(|(known, _)| *known == name) {
                self.sources.push((name, text));
            }
        }
    }

    /// The same without warnings.
    #[must_use]
    pub fn only_errors(mut self) -> Self {
        self.findings.retain(|finding| finding.severity == Severity::Error);
        self
    }

    /// Every finding with its excerpt, then their number if there are several; without a line end at the end.
    /// `colour` writes ANSI colours: for a terminal only.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        let paint = Paint { colour };
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                out.push_str("\n\n");
            }
            let text = self.sources.iter().find(|(name, _)| *name == finding.file).map(|(_, text)| text.as_str());
            finding.write(&mut out, text, paint);
        }
        if self.findings.len() > 1 {
            let (errors, warnings) = (self.errors(), self.warnings());
            let mut counts = Vec::new();
            if errors > 0 {
                counts.push(count(errors as u64, "error"));
            }
            if warnings > 0 {
                counts.push(count(warnings as u64, "warning"));
            }
            let _ = write!(out, "\n\n{}", counts.join(", "));
        }
        out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A finding's place with the lines around it, for a page; every character can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Lines with their numbers, long ones cut; the finding's own is among them.
    pub lines: Vec<(usize, String)>,
    /// Columns before the carets below the finding's line.
    pub indent: usize,
    /// Carets, at least one.
    pub carets: usize,
}

impl Diagnostic {
    /// The place in the text that the finding is about, with so many lines before and after; `None` without a place.
    #[must_use]
    pub fn excerpt(&self, text: &str, around: usize) -> Option<Excerpt> {
        let Place { line, column, excerpt, indent, width } = Place::find(text, self.span.as_ref()?);
        let first = line.saturating_sub(around).max(1);
        let shown = |(number, content): (usize, &str)| {
            if number == line {
                return (number, excerpt.clone());
            }
            let mut cut: String = content.trim_end_matches('\r').chars().take(EXCERPT).map(|c| show(c).0).collect();
            if content.chars().count() > EXCERPT {
                cut.push('…');
            }
            (number, cut)
        };
        // A last line end is not the beginning of one more line.
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut lines: Vec<(usize, String)> =
            (1..).zip(text.split('\n')).skip(first - 1).take(line + around + 1 - first).map(shown).collect();
        if !lines.iter().any(|(number, _)| *number == line) {
            lines.push((line, excerpt.clone()));
        }
        Some(Excerpt { line, column, lines, indent, carets: width })
    }

    fn write(&self, out: &mut String, text: Option<&str>, paint: Paint) {
        let (label, style) = match self.severity {
            Severity::Error => ("error", Style::Error),
            Severity::Warning => ("warning", Style::Warning),
        };
        let mut lines = self.message.lines();
        let first = Visible(lines.next().unwrap_or_default());
        let _ = write!(out, "{}{}", paint.on(style, label), paint.on(Style::Strong, &format!(": {first}")));
        for line in lines {
            let _ = write!(out, "\n       {}", Visible(line));
        }
        let mut margin = 1;
        match (text, self.span.as_ref().filter(|_| text.is_some())) {
            (Some(text), Some(span)) => {
                let place = Place::find(text, span);
                let number = place.line.to_string();
                margin = number.len();
                let bar = paint.on(Style::Frame, "|");
                let _ = write!(
                    out,
                    "\n{:margin$}{} {}:{}:{}\n{:margin$} {bar}\n{} {bar} {}\n{:margin$} {bar} {}{}",
                    "",
                    paint.on(Style::Frame, "-->"),
                    Visible(&self.file),
                    place.line,
                    place.column,
                    "",
                    paint.on(Style::Frame, &number),
                    place.excerpt,
                    "",
                    " ".repeat(place.indent),
                    paint.on(style, &"^".repeat(place.width)),
                );
            }
            _ => {
                let _ = write!(out, "\n {} {}", paint.on(Style::Frame, "-->"), Visible(&self.file));
            }
        }
        if let Some(hint) = &self.hint {
            let mut lines = hint.lines();
            let first = Visible(lines.next().unwrap_or_default());
            let _ = write!(out, "\n{:margin$} {} hint: {first}", "", paint.on(Style::Frame, "="));
            for line in lines {
                let _ = write!(out, "\n{:margin$}         {}", "", Visible(line));
            }
        }
    }
}

/// Where a span is, and how its first line is shown.
struct Place {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    /// The line, made visible and cut to [`EXCERPT`].
    excerpt: String,
    /// Columns before the carets.
    indent: usize,
    /// Carets, at least one.
    width: usize,
}

impl Place {
    fn find(text: &str, span: &Range<usize>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(span.start));
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let rest = text.get(line_start..).unwrap_or_default();
        let source = rest.split('\n').next().unwrap_or_default();
        let source = source.strip_suffix('\r').unwrap_or(source);
        let column = text.get(line_start..start).unwrap_or_default().chars().count() + 1;

        // Each character as it is shown, with the column where it begins.
        let mut cells = Vec::new();
        let (mut at, mut from, mut to) = (0, None, None);
        for (offset, character) in source.char_indices() {
            if line_start + offset >= start && from.is_none() {
                from = Some(at);
            }
            if line_start + offset >= end && to.is_none() {
                to = Some(at);
            }
            let (shown, width) = show(character);
            cells.push((at, shown));
            at += width;
        }
        let from = from.unwrap_or(at);
        let to = to.unwrap_or(at);
        let width = to.saturating_sub(from).max(1);

        let first = if at > EXCERPT { from.saturating_sub(BEFORE) } else { 0 };
        let last = first + EXCERPT;
        let mut excerpt = String::new();
        let mut indent = from - first;
        if first > 0 {
            excerpt.push('…');
            indent += 1;
        }
        for (column, shown) in &cells {
            if *column >= first && *column < last {
                excerpt.push_str(shown);
            }
        }
        if at > last {
            excerpt.push('…');
        }
        Self { line, column, excerpt, indent, width: width.min(EXCERPT) }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A character of an excerpt and the columns it takes.
fn show(character: char) -> (String, usize) {
    match character {
        '\t' => (" ".repeat(4), 4),
        _ if is_invisible(character) => {
            let shown: String = character.escape_unicode().collect();
            let width = shown.len();
            (shown, width)
        }
        _ => (character.to_string(), character.width().unwrap_or(1)),
    }
}

#[derive(Clone, Copy)]
enum Style {
    Error,
    Warning,
    Strong,
    Frame,
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn on(self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Error => "1;31",
            Style::Warning => "1;33",
            Style::Strong => "1",
            Style::Frame => "1;34",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, span: Range<usize>) -> String {
        let finding = Diagnostic {
            severity: Severity::Error,
            file: "bewit.toml".to_owned(),
            span: Some(span),
            message: "no".to_owned(),
            hint: Some("do".to_owned()),
        };
        Diagnostics { findings: vec![finding], sources: vec![("bewit.toml".to_owned(), text.to_owned())] }.to_string()
    }

    #[test]
    fn shows_file_line_column_caret_and_hint() {
        let text = "[smtp]\n  prot = 587\r\n";
        insta::assert_snapshot!(one(text, 9..13), @r"
        error: no
         --> bewit.toml:2:3
          |
        2 |   prot = 587
          |   ^^^^
          = hint: do
        ");
    }

    #[test]
    fn counts_columns_in_characters_and_carets_in_cells() {
        let text = "\"日本\" = 1";
        let shown = one(text, text.find('1').unwrap()..text.len());
        assert!(shown.contains("bewit.toml:1:8"), "{shown}");
        assert!(shown.contains("\n1 | \"日本\" = 1\n  |          ^\n"), "{shown}");
    }

    #[test]
    fn makes_controls_visible_and_keeps_the_caret_in_place() {
        let shown = one("\ta = '\u{1b}[31m\u{202e}x'", 1..2);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
        assert!(shown.contains("\n1 |     a = '\\u{1b}[31m\\u{202e}x'\n  |     ^\n"), "{shown}");
    }

    #[test]
    fn cuts_long_lines_around_the_place() {
        let text = format!("a = \"{}\" # {}", "x".repeat(500), "y".repeat(500));
        let at = text.find('#').unwrap();
        let shown = one(&text, at..at + 1);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 140), "{shown}");
        let (source, carets) = (lines[3], lines[4]);
        let column = carets.chars().position(|character| character == '^').unwrap();
        assert_eq!(source.chars().nth(column), Some('#'), "{shown}");
    }

    #[test]
    fn survives_any_span() {
        let text = "é\nab";
        for start in 0..8 {
            for end in 0..8 {
                let shown = one(text, start..end);
                assert!(shown.contains('^'), "{shown}");
            }
        }
        assert!(one("", 0..0).contains("bewit.toml:1:1"));
    }

    #[test]
    fn an_excerpt_has_the_lines_around() {
        let finding = |span| Diagnostic {
            severity: Severity::Error,
            file: "a".to_owned(),
            span: Some(span),
            message: "m".to_owned(),
            hint: None,
        };
        let text = "one\r\n\u{202e}two\nthree {{ x }}\nfour\n";
        let at = text.find("{{").unwrap();
        let excerpt = finding(at..at + 7).excerpt(text, 1).unwrap();
        let lines = [(2, "\\u{202e}two".to_owned()), (3, "three {{ x }}".to_owned()), (4, "four".to_owned())];
        assert_eq!(excerpt.lines, lines);
        assert_eq!((excerpt.line, excerpt.column, excerpt.indent, excerpt.carets), (3, 7, 6, 7));
        for start in 0..=text.len() {
            let excerpt = finding(start..start).excerpt(text, 2).unwrap();
            assert!(excerpt.lines.iter().any(|(number, _)| *number == excerpt.line), "{start}");
        }
        assert_eq!(finding(0..0).excerpt("", 3).unwrap().lines, [(1, String::new())]);
    }

    #[test]
    fn colours_only_when_asked() {
        let finding = Diagnostic {
            severity: Severity::Warning,
            file: "a".to_owned(),
            span: None,
            message: "m".to_owned(),
            hint: None,
        };
        let all = Diagnostics { findings: vec![finding.clone(), finding], sources: Vec::new() };
        assert_eq!(all.render(false), "warning: m\n --> a\n\nwarning: m\n --> a\n\n2 warnings");
        assert!(all.render(true).starts_with("\u{1b}[1;33mwarning\u{1b}[0m"));
    }
}
