//! An author's own data as the tables and facts that the stock macros lay out.

use indexmap::IndexSet;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::filters::{refuse, shown};
use crate::compose::tables::layout;
use crate::compose::view::{self, Fact, Grid, Layout};
use crate::text;

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("as_table", |state: &State<'_, '_>, rows: Value, options: Kwargs| {
        let columns: Option<Vec<Value>> = options.get("columns")?;
        let right: Option<Vec<Value>> = options.get("right")?;
        options.assert_all_used()?;
        let names = |list: Vec<Value>| -> Vec<String> { list.iter().map(line).collect() };
        Ok(Value::from(Serde(table(state, &rows, columns.map(names), right.map(names).as_deref())?)))
    });
    environment
        .add_filter("as_facts", |state: &State<'_, '_>, list: Value| Ok(Value::from(Serde(facts(state, &list)?))));
}

/// Rows, each a list of cells or a mapping of cells by column.
fn table(
    state: &State<'_, '_>,
    given: &Value,
    columns: Option<Vec<String>>,
    right: Option<&[String]>,
) -> Result<Grid, Error> {
    let all = items(given, "as_table")?;
    let mut names: IndexSet<String> = columns.clone().unwrap_or_default().into_iter().collect();
    if columns.is_none() {
        for row in all.iter().filter(|row| row.kind() == ValueKind::Map) {
            names.extend(row.try_iter()?.map(|key| line(&key)));
        }
    }
    if names.is_empty() && !all.is_empty() {
        return Err(refuse("`as_table` needs the names of the columns: rows|as_table(columns=[\"Name\", \"Size\"])"));
    }
    let mut rows = Vec::new();
    for row in &all {
        state.consume_fuel(names.len() as u64)?;
        let mut cells = match row.kind() {
            ValueKind::Map => {
                let mut cells = Vec::new();
                for name in &names {
                    cells.push(cell(&row.get_item(&Value::from(name.as_str()))?));
                }
                cells
            }
            _ => items(row, "as_table")?.iter().map(cell).collect(),
        };
        cells.resize(names.len(), String::new());
        rows.push(cells);
    }
    let columns: Vec<String> = names.into_iter().collect();
    let is_number = |cell: &String| cell.is_empty() || cell.bytes().all(|byte| byte.is_ascii_digit());
    let is_right = |at: usize, name: &String| match right {
        Some(right) => right.contains(name),
        None => !rows.is_empty() && rows.iter().filter_map(|row: &Vec<String>| row.get(at)).all(is_number),
    };
    let right = columns.iter().enumerate().map(|(at, name)| is_right(at, name)).collect();
    let layout = match layout(&columns, &rows) {
        // Whoever wants a table of one row has one; lines of a cell still need a record.
        Layout::Record if !rows.iter().flatten().any(|cell| cell.contains('\n')) => Layout::Wide,
        other => other,
    };
    Ok(Grid { right, total: rows.len() as u64, layout, columns, rows, ..Grid::default() })
}

/// Labels with a value, with several, or with none: a mapping, or a list of `[label, value]` and `[label, value, url]`.
fn facts(state: &State<'_, '_>, given: &Value) -> Result<Vec<Fact>, Error> {
    let mut facts = Vec::new();
    let is_map = given.kind() == ValueKind::Map;
    for item in items(given, "as_facts")? {
        state.consume_fuel(1)?;
        let parts = if is_map { vec![item.clone(), given.get_item(&item)?] } else { items(&item, "as_facts")? };
        let [label, value, rest @ ..] = parts.as_slice() else {
            return Err(refuse("`as_facts` is for a mapping, or a list of [label, value] or [label, value, url]"));
        };
        let url = rest.first().and_then(Value::as_str).map(str::to_owned);
        let texts: Vec<String> = match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.map(|value| cell(&value)).collect(),
            _ => vec![cell(value)],
        };
        let texts = texts.into_iter().filter(|text| !text.trim().is_empty());
        let values = texts.map(|text| view::Value { text, url: url.clone(), ..view::Value::default() }).collect();
        facts.push(Fact { label: line(label), values, ..Fact::default() });
    }
    Ok(facts)
}

fn items(value: &Value, filter: &str) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.try_iter()?.collect()),
        _ => Err(refuse(&format!("`{filter}` is for a list"))),
    }
}

fn cell(value: &Value) -> String {
    if value.is_undefined() { String::new() } else { text::clean(&shown(value)).into_owned() }
}

fn line(value: &Value) -> String {
    text::one_line(&shown(value))
}
