//! Result tables: limits, cells, and the line that says how much is shown.

use std::borrow::Cow;

use indexmap::IndexSet;
use serde_json::value::RawValue;

use super::locale::Locale;
use super::view::{Layout, Table};
use crate::event::FlowCompletion;
use crate::event::rows::{AskedRows, Cell, ResultSet, Row};
use crate::facts::{RowReader, RowsError};
use crate::rule::pattern::Pattern;
use crate::rule::{ResultTable, Rule, defaults};
use crate::text;

/// Characters of a column's name.
const HEADER: usize = 30;
/// Characters of a cell above which a row reads better as a record.
const LONG_CELL: usize = 160;
/// Characters of a row that fit the width of a phone.
const PHONE: usize = 56;
/// Octets of HTML that all results of a mail may take, as an estimate: cells escaped, and their markup.
const BUDGET: usize = 1024 * 1024;
/// Octets of markup around one cell.
const MARKUP: usize = 160;
/// Octets of markup around one table, its name and its numbers.
const TABLE: usize = 1_024;

/// The sources of an event that a rule may name, with their rows if it carries them: `artifacts_with_results` first,
/// then what else there are results of.
pub(super) fn sources(event: &FlowCompletion) -> Vec<(&str, &ResultSet)> {
    let Some(results) = &event.results else { return Vec::new() };
    let names: IndexSet<&str> = event
        .flow
        .artifacts_with_results
        .iter()
        .map(String::as_str)
        .chain(results.keys().map(String::as_str))
        .collect();
    names.into_iter().filter_map(|name| Some((name, results.get(name)?))).collect()
}

/// An entry of `include_result_table_from` that sets nothing: all rows and columns that a table may have.
pub(super) fn stock_table() -> ResultTable {
    ResultTable {
        source: Pattern::off(),
        columns: Pattern::off(),
        max_rows: defaults::TABLE_MAX_ROWS,
        cell_limit: defaults::TABLE_CELL_LIMIT,
    }
}

/// Reads the tables of a mail, and sees to it that all results together do not make it too large.
pub(super) struct Reader<'a> {
    rule: &'a Rule,
    rows: &'a RowReader,
    locale: &'a Locale,
    budget: usize,
    /// Whether rows were left out because the mail would have become too large.
    pub(super) cut: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rule: &'a Rule, rows: &'a RowReader, locale: &'a Locale) -> Self {
        Self { rule, rows, locale, budget: BUDGET, cut: false }
    }

    /// Whether there is no room for anything; remembered.
    pub(super) fn is_full(&mut self) -> bool {
        self.cut |= self.budget < TABLE;
        self.budget < TABLE
    }

    /// Takes the room for something else than a table. False, and nothing taken: there is not enough.
    pub(super) fn pay(&mut self, octets: usize) -> bool {
        let cost = octets.saturating_add(TABLE);
        let fits = cost <= self.budget;
        if fits {
            self.budget -= cost;
        }
        fits
    }

    /// The table of a source; none if it has no rows and no trouble.
    pub(super) fn table(&mut self, wanted: &ResultTable, source: &str, set: &ResultSet) -> Option<Table> {
        if self.is_full() {
            return None;
        }
        let mut reading = Reading::new(wanted, self.rule.result_table_max_columns, self.budget - TABLE);
        match self.rows.open(set) {
            Ok(stream) => {
                stream.for_each(|row| reading.take(row));
                reading.part = set.part();
            }
            Err(error) => reading.problem = error.to_string(),
        }
        self.cut |= reading.over;
        let left = reading.budget;
        let table = reading.finish(source, self.locale);
        if table.total == 0 && table.problem.is_empty() {
            return None;
        }
        self.budget = left;
        Some(table)
    }
}

/// A table in the making.
struct Reading<'a> {
    wanted: &'a ResultTable,
    max_columns: usize,
    columns: IndexSet<String>,
    rows: Vec<Vec<(usize, String)>>,
    total: u64,
    bad: u64,
    problem: String,
    /// Where not all rows are at hand.
    part: Option<&'a AskedRows>,
    budget: usize,
    over: bool,
}

impl<'a> Reading<'a> {
    fn new(wanted: &'a ResultTable, max_columns: u64, budget: usize) -> Self {
        Self {
            wanted,
            max_columns: usize::try_from(max_columns).unwrap_or(usize::MAX).max(1),
            columns: IndexSet::new(),
            rows: Vec::new(),
            total: 0,
            bad: 0,
            problem: String::new(),
            part: None,
            budget,
            over: false,
        }
    }

    fn take(&mut self, row: Result<Row, RowsError>) {
        self.total += 1;
        match row {
            Ok(row) if self.rows.len() as u64 >= self.wanted.max_rows || self.over => drop(row),
            Ok(row) => self.show(&row),
            Err(error) => {
                self.bad += 1;
                if self.problem.is_empty() {
                    self.problem = error.to_string();
                }
            }
        }
    }

    fn show(&mut self, row: &Row) {
        let limit = usize::try_from(self.wanted.cell_limit).unwrap_or(usize::MAX);
        let mut cells = Vec::new();
        let mut cost = 0;
        for (name, value) in &row.0 {
            if !self.wanted.columns.matches(name) {
                continue;
            }
            let column = match self.columns.get_index_of(name) {
                Some(column) => column,
                None => self.columns.insert_full(name.clone()).0,
            };
            if column < self.max_columns {
                let cell = text::clean(&text::cut(&cell(value), limit)).into_owned();
                cost += MARKUP + cell.len() + cell.bytes().filter(|byte| b"<>&\"'\n\\/".contains(byte)).count() * 6;
                cells.push((column, cell));
            }
        }
        if cost > self.budget {
            self.over = true;
            return;
        }
        self.budget -= cost;
        self.rows.push(cells);
    }

    fn finish(self, source: &str, locale: &Locale) -> Table {
        let shown = self.rows.len() as u64;
        let hidden = self.columns.len().saturating_sub(self.max_columns);
        let ellipsis = text::ELLIPSIS.to_string();
        let mut columns: Vec<String> =
            self.columns.iter().take(self.max_columns).map(|name| text::one_line(&text::cut(name, HEADER))).collect();
        let width = columns.len();
        if hidden > 0 {
            columns.push(ellipsis.clone());
        }
        let rows = self.rows.into_iter().map(|cells| {
            let mut row = vec![String::new(); width];
            for (column, cell) in cells {
                if let Some(place) = row.get_mut(column) {
                    *place = cell;
                }
            }
            if hidden > 0 {
                row.push(ellipsis.clone());
            }
            row
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let problem = match (self.problem.is_empty(), self.bad) {
            (true, _) => String::new(),
            (false, 0 | 1) => text::one_line(&text::cut(&self.problem, 300)),
            (false, bad) => format!("{bad} rows; the first: {}", text::one_line(&text::cut(&self.problem, 300))),
        };
        let total = self.part.map_or(self.total, |part| part.total.max(self.total));
        let showing = match self.part {
            Some(part) if !part.exact => locale.showing("showing_rows_at_least", shown, total),
            _ => locale.showing("showing_rows", shown, total),
        };
        Table {
            source: super::build::name(source),
            layout: layout(&columns, &rows),
            columns,
            rows,
            hidden_columns: hidden as u64,
            total,
            showing,
            problem,
            ..Table::default()
        }
    }
}

pub(in crate::compose) fn layout(columns: &[String], rows: &[Vec<String>]) -> Layout {
    let long = |cell: &String| cell.contains('\n') || cell.chars().nth(LONG_CELL).is_some();
    if rows.len() == 1 || rows.iter().flatten().any(long) {
        return Layout::Record;
    }
    let mut width = 0;
    for (at, name) in columns.iter().enumerate() {
        let longest = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        width += longest.unwrap_or_default().max(name.chars().count()) + 2;
    }
    if width <= PHONE { Layout::Narrow } else { Layout::Wide }
}

/// A value as text: strings as they are, null as nothing, all else as compact JSON with its numbers untouched.
pub(super) fn cell(value: &RawValue) -> Cow<'_, str> {
    match Cell::of(value) {
        Cell::Null => Cow::Borrowed(""),
        Cell::Text(text) => text,
        Cell::Json(json) if json.starts_with(['{', '[']) => Cow::Owned(compact(json)),
        Cell::Json(json) => Cow::Borrowed(json),
    }
}

/// JSON without the blanks between its tokens.
pub(super) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_string {
            in_string = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
        } else if c == '"' {
            in_string = true;
        } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        out.push(c);
    }
    out
}
