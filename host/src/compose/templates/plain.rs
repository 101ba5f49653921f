//! Tables and facts of the text part. No value begins a line of its own: rows are indented, further lines of a value
//! have a bar before them.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use crate::compose::blocks::is_tree;
use crate::compose::view::{Fact, Layout};
use crate::text;

/// Columns of a line.
pub(super) const WIDTH: usize = 78;
/// Before each row of a table.
const INDENT: &str = "  ";
/// Before each further line of a value.
const BAR: &str = "    | ";

/// What a result table and a plugin's table have in common.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    /// Columns that stand on the right; not known of a result table, whose numbers do.
    pub(super) right: Option<Vec<bool>>,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) hidden_columns: u64,
    pub(super) layout: Layout,
}

/// A table with aligned columns if it fits `width`, else one value below the other.
pub(super) fn table(table: &Rows, width: usize) -> String {
    if table.columns.is_empty() {
        return String::new();
    }
    let cells: Vec<Vec<Cow<'_, str>>> =
        table.rows.iter().map(|row| row.iter().map(|cell| with_branch(cell)).collect()).collect();
    let widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let longest = cells.iter().filter_map(|row| row.get(at)).map(|cell| columns(cell)).max();
            columns(name).max(longest.unwrap_or_default())
        })
        .collect();
    let total = INDENT.len() + widths.iter().map(|width| width + 2).sum::<usize>();
    if total.saturating_sub(2) > width || (table.layout == Layout::Record && table.rows.len() == 1) || has_lines(table)
    {
        return if is_tree(&table.rows) { outline(table, width) } else { records(table, width) };
    }
    let numbers: Vec<bool> = (0..widths.len())
        .map(|at| {
            if let Some(right) = &table.right {
                return right.get(at).copied().unwrap_or_default();
            }
            let mut column = cells.iter().filter_map(|row| row.get(at)).filter(|cell| !cell.is_empty()).peekable();
            column.peek().is_some() && column.all(|cell| cell.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect();
    let mut out = String::new();
    let mut push = |row: &mut dyn Iterator<Item = &str>| {
        out.push_str(INDENT);
        for ((cell, width), number) in row.zip(&widths).zip(&numbers) {
            let blanks = width.saturating_sub(columns(cell));
            let (before, after) = if *number { (blanks, 0) } else { (0, blanks) };
            out.extend(std::iter::repeat_n(' ', before));
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', after + 2));
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    };
    push(&mut table.columns.iter().map(String::as_str));
    push(&mut widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().iter().map(String::as_str));
    cells.iter().for_each(|row| push(&mut row.iter().map(AsRef::as_ref)));
    out
}

/// Columns that a text takes on a terminal.
fn columns(text: &str) -> usize {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) { text.len() } else { text.width() }
}

/// One line, blanks at its beginning kept.
fn with_branch(cell: &str) -> Cow<'_, str> {
    if !cell.ends_with(' ') && cell.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(cell);
    }
    let words = cell.trim_start_matches(' ');
    let line = text::one_line(words);
    Cow::Owned(if line.is_empty() { line } else { format!("{}{line}", " ".repeat(cell.len() - words.len())) })
}

/// A tree that is too wide for a table: each row's first cell with its branch, and what else there is of it below,
/// further in.
fn outline(table: &Rows, width: usize) -> String {
    let mut out = String::new();
    for row in &table.rows {
        let mut cells = table.columns.iter().zip(row).take(known(table));
        let Some((_, first)) = cells.next() else { continue };
        let first = with_branch(first);
        // Branches are drawn with blanks and lines; what is below stands under the name that they lead to.
        let branch = first.chars().take_while(|c| matches!(c, ' ' | '\u{2500}'..='\u{257f}')).count();
        out.push_str(format!("{INDENT}{first}").trim_end());
        out.push('\n');
        // However deep the tree, half of the line is for the values; they are not wrapped, a branch is no place for it.
        let indent = " ".repeat(INDENT.len() + 4 + branch.min(width / 2));
        for (name, cell) in cells.filter(|(_, cell)| !cell.trim().is_empty()) {
            let value = text::clean(cell.trim_end()).replace('\n', &format!("\n{indent}  | "));
            out.push_str(&format!("{indent}{name}: {value}\n"));
        }
    }
    out
}

/// Columns without the one that stands for those left out, which says nothing below one another.
fn known(table: &Rows) -> usize {
    table.columns.len() - usize::from(table.hidden_columns > 0 && !table.columns.is_empty())
}

fn has_lines(table: &Rows) -> bool {
    table.rows.iter().flatten().any(|cell| cell.contains('\n'))
}

/// One value below the other, rows numbered if there are several.
fn records(table: &Rows, width: usize) -> String {
    let mut out = String::new();
    for (number, row) in table.rows.iter().enumerate() {
        if table.rows.len() > 1 {
            out.push_str(&format!("{INDENT}#{}\n", number + 1));
        }
        let cells = table.columns.iter().zip(row).take(known(table));
        for (name, cell) in cells.filter(|(_, cell)| !cell.trim().is_empty()) {
            labelled(&mut out, INDENT, name, cell, width);
        }
    }
    out
}

/// `Label: value`, lists below their label.
pub(super) fn facts(facts: &[Fact], width: usize) -> String {
    let mut out = String::new();
    for fact in facts {
        let label = text::one_line(&fact.label);
        let linked = |value: &crate::compose::view::Value| match &value.url {
            Some(url) => format!("{} ({url})", text::one_line(&value.text)),
            None => value.text.clone(),
        };
        match fact.values.as_slice() {
            [] => out.push_str(&format!("{label}: -\n")),
            [value] if value.name.is_empty() => labelled(&mut out, "", &label, &linked(value), width),
            values => {
                out.push_str(&format!("{label}:\n"));
                for value in values {
                    let name = if value.name.is_empty() { String::from("-") } else { format!("- {}", value.name) };
                    item(&mut out, &name, value.name.is_empty(), &linked(value), width);
                }
            }
        }
    }
    out
}

fn item(out: &mut String, name: &str, bare: bool, value: &str, width: usize) {
    if bare {
        out.push_str(&format!("{INDENT}{name} {}\n", wrap_lines(value, width.saturating_sub(4))));
    } else {
        labelled(out, INDENT, name, value, width);
    }
}

/// `label: value`; a value with line breaks stands below, behind bars.
fn labelled(out: &mut String, indent: &str, label: &str, value: &str, width: usize) {
    let value = text::clean(value.trim_end());
    if value.contains('\n') {
        out.push_str(&format!("{indent}{label}:\n"));
        for line in value.split('\n') {
            out.push_str(format!("{BAR}{line}").trim_end());
            out.push('\n');
        }
    } else {
        let room = width.saturating_sub(indent.len() + label.width() + 2);
        out.push_str(&format!("{indent}{label}: {}\n", wrap_lines(&value, room)));
    }
}

/// One value, wrapped; its further lines behind bars.
fn wrap_lines(value: &str, first: usize) -> String {
    let value = text::clean(value);
    if value.width() <= first || value.contains("://") {
        return value.replace('\n', &format!("\n{BAR}"));
    }
    fill(&value, first, WIDTH - BAR.len()).replace('\n', &format!("\n{BAR}"))
}

/// Wraps at blanks to `width` columns; each further line begins with `indent`. Words that are longer stay whole.
pub(super) fn wrap(value: &str, width: usize, indent: &str) -> String {
    let clean = text::clean(value);
    let lines: Vec<String> =
        clean.split('\n').map(|line| fill(line, width, width.saturating_sub(indent.width()))).collect();
    lines.join("\n").replace('\n', &format!("\n{indent}"))
}

/// Fills lines with words: the first one up to `first` columns, the others up to `width`.
fn fill(line: &str, first: usize, width: usize) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let words = line.trim_start_matches(' ');
    let mut column = line.len() - words.len();
    out.push_str(if words.is_empty() { "" } else { line.get(..column).unwrap_or_default() });
    let mut room = first;
    for (at, word) in words.split(' ').enumerate() {
        let size = word.width();
        if at > 0 && column > 0 && column + 1 + size > room {
            out.push('\n');
            column = 0;
            room = width;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += size;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::view::Value;

    fn sample(columns: &[&str], rows: &[&[&str]]) -> Rows {
        Rows {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect(),
            ..Rows::default()
        }
    }

    #[test]
    fn trees_keep_their_shape_however_wide_they_are() {
        let long = "x".repeat(60);
        let rows: &[&[&str]] = &[&["init", "1"], &["  sshd", "4"], &["  └─ bash", "12"]];
        let text = table(&sample(&["Name", "Pid"], rows), 78);
        assert_eq!(text, "  Name       Pid\n  ---------  ---\n  init         1\n    sshd       4\n    └─ bash   12\n");
        let rows: &[&[&str]] = &[&["init", &long, ""], &["  └─ bash", &long, "a\nb"]];
        let text = table(&sample(&["Name", "Path", "Out"], rows), 78);
        assert_eq!(
            text,
            format!(
                "  init\n      Path: {long}\n    └─ bash\n           Path: {long}\n           Out: a\n             | b\n"
            )
        );
    }

    #[test]
    fn a_plugin_says_which_columns_stand_on_the_right() {
        let mut rows = sample(&["A", "B"], &[&["1", "x"], &["22", "yy"]]);
        rows.right = Some(vec![false, true]);
        assert_eq!(table(&rows, 78), "  A    B\n  --  --\n  1    x\n  22  yy\n");
        assert_eq!(table(&Rows::default(), 78), "");
    }

    #[test]
    fn blanks_at_the_beginning_of_a_line_stay() {
        assert_eq!(wrap("a\n    b c d", 8, ""), "a\n    b c\nd");
        assert_eq!(wrap("   ", 8, ""), "");
    }

    #[test]
    fn columns_are_aligned_by_display_width_and_numbers_to_the_right() {
        let table_text = table(&sample(&["Name", "Pid"], &[&["日本", "4"], &["a", "1234"]]), 78);
        assert_eq!(table_text, "  Name   Pid\n  ----  ----\n  日本     4\n  a     1234\n");
    }

    #[test]
    fn what_does_not_fit_becomes_records() {
        let long = "x".repeat(80);
        let text = table(&sample(&["Name", "Path"], &[&["a", &long], &["b", ""]]), 78);
        assert_eq!(text, format!("  #1\n  Name: a\n  Path: {long}\n  #2\n  Name: b\n"));
    }

    #[test]
    fn a_value_never_begins_a_line() {
        let forged = "ok\nSubject: forged\r\n.\r\nQUIT";
        let texts = [
            table(&sample(&["Out", "B"], &[&[forged, "x"], &["y", forged]]), 78),
            facts(
                &[
                    Fact {
                        label: "A".into(),
                        values: vec![Value { text: forged.into(), ..Value::default() }],
                        ..Fact::default()
                    },
                    Fact {
                        label: "B".into(),
                        values: vec![
                            Value { name: "p".into(), text: forged.into(), url: None },
                            Value { text: forged.into(), ..Value::default() },
                        ],
                        ..Fact::default()
                    },
                ],
                78,
            ),
            format!("x{}", wrap(forged, 20, "  ")),
        ];
        for text in texts {
            for line in text.lines() {
                for start in ["Subject", ".", "QUIT", "ok", "forged"] {
                    assert!(!line.starts_with(start), "{text}");
                }
            }
        }
    }

    #[test]
    fn facts_are_label_and_value() {
        let value = |text: &str, url: Option<&str>| Value {
            text: text.into(),
            url: url.map(str::to_owned),
            ..Value::default()
        };
        let list = [
            Fact { label: "ID".into(), values: vec![value("C.1", Some("https://v/"))], ..Fact::default() },
            Fact { label: "Labels".into(), values: vec![value("a", None), value("b", None)], ..Fact::default() },
            Fact { label: "Error".into(), values: vec![], ..Fact::default() },
        ];
        assert_eq!(facts(&list, 78), "ID: C.1 (https://v/)\nLabels:\n  - a\n  - b\nError: -\n");
    }

    #[test]
    fn words_wrap_at_blanks() {
        assert_eq!(wrap("aa bb cc dd", 5, "  "), "aa bb\n  cc\n  dd");
        assert_eq!(wrap("aa\nbb", 5, "> "), "aa\n> bb");
    }
}
