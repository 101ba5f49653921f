//! Tables whose keys are the operator's choice.

use serde_json::{Map, Number, Value, json};
use toml::de::{DeTable, DeValue};

use crate::config::decode::{Decode, Field, Findings, Span, Spot};

/// Levels of nesting of a table that is handed on as JSON: readers of JSON give up at 128.
const DEEPEST: usize = 64;

/// A value for each name, in file order.
#[derive(Debug, Clone)]
pub(in crate::config) struct Named<T> {
    /// Those that are wrong, too: who refers to one need not hear that it is not there.
    pub(in crate::config) entries: Vec<Entry<T>>,
}

/// A name with its value.
#[derive(Debug, Clone)]
pub(in crate::config) struct Entry<T> {
    /// As written, without quotes.
    pub(in crate::config) name: String,
    /// Of the name.
    pub(in crate::config) span: Span,
    /// Never absent.
    pub(in crate::config) value: Field<T>,
}

/// A table of any values, as JSON.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct Json {
    /// In file order.
    pub(in crate::config) map: Map<String, Value>,
    /// Where the keys of the first level stand.
    pub(in crate::config) places: Vec<(String, Span)>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T: Decode> Named<T> {
    /// Reads every entry of a table.
    pub(in crate::config) fn of(table: &DeTable<'_>, findings: &mut Findings) -> Self {
        let entries = table.iter().map(|(name, value)| {
            let at = Spot { key: name.get_ref(), span: value.span() };
            let read = T::decode(&at, value.get_ref(), findings);
            let value = read.map_or_else(|| Field::Wrong(at.span.clone()), |read| Field::Given(read, at.span.clone()));
            Entry { name: at.key.to_owned(), span: name.span(), value }
        });
        Self { entries: entries.collect() }
    }
}

impl<T: Decode> Decode for Named<T> {
    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let DeValue::Table(table) = value else {
            let hint = format!("write {} = {{ NAME = … }}", at.key);
            findings.mistyped(at, "a table", value, hint);
            return None;
        };
        Some(Self::of(table, findings))
    }
}

impl Decode for Json {
    fn schema() -> Value {
        json!({ "type": "object" })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let DeValue::Table(table) = value else {
            findings.mistyped(at, "a table", value, format!("write {} = {{ KEY = … }}", at.key));
            return None;
        };
        let map = json_table(table, 1, findings)?;
        let places = table.iter().map(|(name, _)| (name.get_ref().to_string(), name.span())).collect();
        Some(Self { map, places })
    }
}

/// A table as JSON. Every mistake in it is reported.
fn json_table(table: &DeTable<'_>, depth: usize, findings: &mut Findings) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    let mut whole = true;
    for (name, value) in table.iter() {
        let at = Spot { key: name.get_ref(), span: value.span() };
        match json_value(&at, value.get_ref(), depth + 1, findings) {
            Some(value) => drop(map.insert(at.key.to_owned(), value)),
            None => whole = false,
        }
    }
    whole.then_some(map)
}

fn json_value(at: &Spot<'_>, value: &DeValue<'_>, depth: usize, findings: &mut Findings) -> Option<Value> {
    let (problem, hint) = match value {
        DeValue::String(text) => return Some(Value::String(text.to_string())),
        DeValue::Boolean(value) => return Some(Value::Bool(*value)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => return Some(Value::from(number)),
            Err(_) => ("is out of range", "it is a number of 64 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => return Some(Value::Number(number)),
            None => ("is not a finite number", "JSON has neither inf nor nan"),
        },
        DeValue::Datetime(moment) => {
            let mut moment = *moment;
            // RFC 3339 has always seconds; TOML may do without.
            if let Some(time) = &mut moment.time {
                time.second.get_or_insert(0);
            }
            return Some(Value::String(moment.to_string()));
        }
        DeValue::Array(_) | DeValue::Table(_) if depth > DEEPEST => ("is nested too deeply", "64 levels are read"),
        DeValue::Table(table) => return json_table(table, depth, findings).map(Value::Object),
        DeValue::Array(items) => {
            let mut list = Vec::new();
            for item in items.iter() {
                let at = Spot { key: at.key, span: item.span() };
                list.push(json_value(&at, item.get_ref(), depth + 1, findings));
            }
            return list.into_iter().collect::<Option<Vec<_>>>().map(Value::Array);
        }
    };
    findings.error(Some(at.span.clone()), format!("`{}` {problem}", at.key), hint);
    None
}
