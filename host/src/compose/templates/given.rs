//! What a template hands to a filter of ours, as the data that the filter lays out. Read from the values themselves: a
//! table has hundreds of cells, and a general deserializer costs more than the laying out.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::filters::{refuse, shown};
use super::plain::Rows;
use crate::compose::view::{self, Fact, Layout};

/// A result table, or a table of a plugin.
pub(super) fn rows(table: &Value, filter: &str) -> Result<Rows, Error> {
    let (columns, rows) = (attribute(table, "columns", filter)?, attribute(table, "rows", filter)?);
    let right = match table.get_attr("right")? {
        right if right.is_undefined() || right.is_none() => None,
        right => Some(right.try_iter()?.map(|right| right.is_true()).collect()),
    };
    let layout = match table.get_attr("layout")?.as_str() {
        Some("wide") => Layout::Wide,
        Some("record") => Layout::Record,
        _ => Layout::Narrow,
    };
    Ok(Rows {
        columns: texts(&columns, filter)?,
        right,
        rows: list(&rows, filter)?.map(|row| texts(&row, filter)).collect::<Result<_, _>>()?,
        hidden_columns: u64::try_from(table.get_attr("hidden_columns")?).unwrap_or_default(),
        layout,
    })
}

/// A list of facts.
pub(super) fn facts(given: &Value, filter: &str) -> Result<Vec<Fact>, Error> {
    let fact = |fact: Value| {
        let values = attribute(&fact, "values", filter)?;
        let value = |value: Value| {
            let url = value.get_attr("url")?;
            Ok(view::Value {
                name: text(&value.get_attr("name")?),
                text: text(&attribute(&value, "text", filter)?),
                url: url.as_str().map(str::to_owned),
            })
        };
        Ok(Fact {
            key: String::new(),
            label: text(&attribute(&fact, "label", filter)?),
            values: list(&values, filter)?.map(value).collect::<Result<_, Error>>()?,
        })
    };
    list(given, filter)?.map(fact).collect()
}

pub(super) fn attribute(value: &Value, name: &str, filter: &str) -> Result<Value, Error> {
    match value.get_attr(name) {
        Ok(value) if !value.is_undefined() => Ok(value),
        _ => Err(refuse(&format!("`{filter}` is for what has `{name}`"))),
    }
}

pub(super) fn list(value: &Value, filter: &str) -> Result<impl Iterator<Item = Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter(),
        _ => Err(refuse(&format!("`{filter}` is for a list"))),
    }
}

pub(super) fn texts(value: &Value, filter: &str) -> Result<Vec<String>, Error> {
    Ok(list(value, filter)?.map(|value| text(&value)).collect())
}

fn text(value: &Value) -> String {
    if value.is_undefined() { String::new() } else { shown(value).into_owned() }
}
