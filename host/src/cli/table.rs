//! A table for a terminal: columns as wide as they need to be, long cells wrapped, controls made visible.

use std::fmt;

use unicode_width::UnicodeWidthStr;

use crate::text::one_line;

/// Widest a column gets before its cells are wrapped.
const WIDEST: usize = 44;

/// Rows of texts under a header.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<Vec<String>>>,
}

impl Table {
    /// A table with these column names.
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(header);
        table
    }

    /// Adds a row; a line break in a cell begins a line of the cell.
    pub fn row(&mut self, cells: &[&str]) {
        self.rows
            .push(cells.iter().map(|cell| cell.split('\n').flat_map(|line| wrap(&one_line(line))).collect()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).flatten();
                cells.map(|line| line.width()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            for line in 0..row.iter().map(Vec::len).max().unwrap_or(0) {
                let mut text = String::new();
                for (column, width) in widths.iter().enumerate() {
                    let cell = row.get(column).and_then(|cell| cell.get(line)).map_or("", String::as_str);
                    text.push_str(cell);
                    text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
                }
                writeln!(f, "{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Breaks a text at blanks so that no line is wider than [`WIDEST`]; a longer word stays whole.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(last) = lines.last_mut()
            && (last.is_empty() || last.width() + 1 + word.width() <= WIDEST)
        {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_wrapped_and_clean() {
        let mut table = Table::new(&["A", "B"]);
        table.row(&["x\u{1b}[31m", "one two three four five six seven eight nine ten"]);
        let text = table.to_string();
        assert!(!text.contains('\u{1b}'));
        assert_eq!(text.lines().count(), 3, "{text}");
        let column =
            |line: usize, word| text.lines().nth(line)?.split_once(word).map(|(before, _)| before.chars().count());
        assert_eq!(column(1, "one"), Some(8), "{text}");
        assert_eq!(column(1, "one"), column(2, "ten"), "{text}");
    }
}
