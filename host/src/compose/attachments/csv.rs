//! CSV (RFC 4180): every cell quoted, guarded against formulas.

use std::io::Write;

use super::{Failure, Sink, Written, all_columns, wanted_rows};
use crate::compose::tables;
use crate::event::rows::ResultSet;
use crate::facts::RowReader;
use crate::rule::ResultAttachment;

/// Octets of a cell that is not there, with the comma before it or the line end behind the last one.
const ABSENT: u64 = 3;

/// Writes a header and the rows. The source is read twice: the columns are those of all rows. What is only counted takes
/// time for the cells that are there, not for all columns of each row.
pub(super) fn write(
    wanted: &ResultAttachment,
    set: &ResultSet,
    rows: &RowReader,
    out: &mut Sink,
) -> Result<Written, Failure> {
    let (columns, most) = all_columns(wanted, set, rows).map_err(Failure::Rows)?;
    let mut written = Written { columns: most, ..Written::default() };
    let mut line = Vec::new();
    record(&mut line, columns.iter().map(String::as_str));
    out.write_all(&line)?;
    for row in wanted_rows(wanted, rows.open(set).map_err(Failure::Rows)?, &mut written.problem) {
        line.clear();
        written.rows += 1;
        if out.only_counts() {
            let there = row.0.iter().filter(|(name, _)| columns.contains(*name)).map(|(_, value)| tables::cell(value));
            let number = record(&mut line, there) as u64;
            let absent = (columns.len() as u64).saturating_sub(number.max(1)) * ABSENT;
            out.count(line.len() as u64 + absent);
            continue;
        }
        let cells = columns.iter().map(|name| row.0.get(name).map(|value| tables::cell(value)).unwrap_or_default());
        record(&mut line, cells);
        out.write_all(&line)?;
    }
    Ok(written)
}

/// Writes a line. Answers how many cells it has.
fn record(line: &mut Vec<u8>, cells: impl Iterator<Item = impl AsRef<str>>) -> usize {
    let mut number = 0;
    for (at, cell) in cells.enumerate() {
        let cell = cell.as_ref();
        line.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        if is_formula(cell) {
            line.push(b'\'');
        }
        line.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
        line.push(b'"');
        number += 1;
    }
    line.extend_from_slice(b"\r\n");
    number
}

/// Whether a spreadsheet may take a cell for a formula (CWE-1236): it begins, maybe after blanks or quotes, with one
/// of `= + - @`, their full-width or small forms, or it begins with a control. Plain numbers are none.
fn is_formula(cell: &str) -> bool {
    if cell.starts_with(['\t', '\r', '\n', '\0']) {
        return true;
    }
    let start = cell.trim_start_matches(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\u{200b}' | '\u{feff}' | '“' | '”' | '‘' | '’')
    });
    let suspect = [
        '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}', '\u{fe66}', '\u{fe62}', '\u{fe63}',
        '\u{fe6b}',
    ];
    start.starts_with(suspect) && !is_number(cell)
}

fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'))
        && digits.parse::<f64>().is_ok()
}
