//! Tables and facts of the text part. No value begins a line of its own: rows are indented, further lines of a value
//! have a bar before them.

use unicode_width::UnicodeWidthStr;

use crate::compose::view::{Fact, Layout, Table};
use crate::text;

/// Columns of a line.
pub(super) const WIDTH: usize = 78;
/// Before each row of a table.
const INDENT: &str = "  ";
/// Before each further line of a value.
const BAR: &str = "    | ";

/// A table with aligned columns if it fits `width`, else one value below the other.
pub(super) fn table(table: &Table, width: usize) -> String {
    let cells: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(|cell| text::one_line(cell)).collect()).collect();
    let widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let longest = cells.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
            name.width().max(longest.unwrap_or_default())
        })
        .collect();
    let total = INDENT.len() + widths.iter().map(|width| width + 2).sum::<usize>();
    if total.saturating_sub(2) > width || (table.layout == Layout::Record && table.rows.len() == 1) || has_lines(table)
    {
        return records(table, width);
    }
    let numbers: Vec<bool> = (0..widths.len())
        .map(|at| {
            let mut column = cells.iter().filter_map(|row| row.get(at)).filter(|cell| !cell.is_empty()).peekable();
            column.peek().is_some() && column.all(|cell| cell.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect();
    let mut out = String::new();
    let mut push = |row: &[String]| {
        let mut line = String::from(INDENT);
        for ((cell, width), number) in row.iter().zip(&widths).zip(&numbers) {
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            let (before, after) = if *number { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            line.push_str(before);
            line.push_str(cell);
            line.push_str(after);
            line.push_str("  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    push(&table.columns);
    push(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    cells.iter().for_each(|row| push(row));
    out
}

fn has_lines(table: &Table) -> bool {
    table.rows.iter().flatten().any(|cell| cell.contains('\n'))
}

/// One value below the other, rows numbered if there are several.
fn records(table: &Table, width: usize) -> String {
    let mut out = String::new();
    for (number, row) in table.rows.iter().enumerate() {
        if table.rows.len() > 1 {
            out.push_str(&format!("{INDENT}#{}\n", number + 1));
        }
        // The column that stands for those left out says nothing here.
        let known = table.columns.len() - usize::from(table.hidden_columns > 0 && !table.columns.is_empty());
        let cells = table.columns.iter().zip(row).take(known);
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
    let mut column = 0;
    let mut room = first;
    for word in line.split(' ') {
        let size = word.width();
        if column > 0 && column + 1 + size > room {
            out.push('\n');
            column = 0;
            room = width;
        } else if !out.is_empty() {
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

    fn sample(columns: &[&str], rows: &[&[&str]]) -> Table {
        Table {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect(),
            ..Table::default()
        }
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
                    Fact { label: "A".into(), values: vec![Value { text: forged.into(), ..Value::default() }] },
                    Fact {
                        label: "B".into(),
                        values: vec![
                            Value { name: "p".into(), text: forged.into(), url: None },
                            Value { text: forged.into(), ..Value::default() },
                        ],
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
            Fact { label: "ID".into(), values: vec![value("C.1", Some("https://v/"))] },
            Fact { label: "Labels".into(), values: vec![value("a", None), value("b", None)] },
            Fact { label: "Error".into(), values: vec![] },
        ];
        assert_eq!(facts(&list, 78), "ID: C.1 (https://v/)\nLabels:\n  - a\n  - b\nError: -\n");
    }

    #[test]
    fn words_wrap_at_blanks() {
        assert_eq!(wrap("aa bb cc dd", 5, "  "), "aa bb\n  cc\n  dd");
        assert_eq!(wrap("aa\nbb", 5, "> "), "aa\n> bb");
    }
}
