//! Expressions: compiled once, asked about many events.

use std::collections::HashMap;
use std::sync::Arc;

use bewit_plugin::{Event, now, rule};
use cel::{Context, ExecutionError, Program, Value};
use serde_json::Value as Json;

/// What an expression may name.
pub(crate) const VARIABLES: &[&str] = &["flow", "client", "hunt", "org", "type", "now", "rule", "document"];

/// Brackets inside brackets. The parser goes down one level of its own stack, and more, for each.
const DEEPEST: usize = 12;

/// An expression that has been compiled.
pub(crate) struct Expression {
    program: Program,
    /// Whether it looks at the whole event, which costs time.
    wants_document: bool,
}

impl Expression {
    /// Compiles it.
    ///
    /// # Errors
    /// Says what is wrong with it, and where.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if depth(text) > DEEPEST {
            return Err(format!("has more than {DEEPEST} brackets inside each other"));
        }
        let program = Program::compile(text).map_err(|errors| {
            let errors = errors.errors.iter();
            let places = errors.map(|error| format!("line {}, column {}: {}", error.pos.0, error.pos.1, error.msg));
            places.collect::<Vec<_>>().join("; ")
        })?;
        let references = program.references();
        // The variables of `exists(label, …)` and its like stand behind a bracket and before a comma.
        let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let is_bound = |name: &str| name.starts_with(['@', '_']) || dense.contains(&format!("({name},"));
        let mut unknown: Vec<&str> = references
            .variables()
            .into_iter()
            .filter(|name| !VARIABLES.contains(name) && !is_type(name) && !is_bound(name))
            .collect();
        unknown.sort_unstable();
        if !unknown.is_empty() {
            return Err(format!("there is no `{}`; there are {}", unknown.join("`, `"), VARIABLES.join(", ")));
        }
        let wants_document = references.has_variable("document");
        drop(references);
        Ok(Self { program, wants_document })
    }

    pub(crate) fn wants_document(&self) -> bool {
        self.wants_document
    }

    /// Whether it is true of an event.
    ///
    /// # Errors
    /// When it cannot be worked out, or is no yes or no.
    pub(crate) fn is_true(&self, context: &Context<'_, '_>) -> Result<bool, String> {
        match self.program.execute(context) {
            Ok(Value::Bool(value)) => Ok(value),
            Ok(other) => Err(format!("gives a value of the type {}, not true or false", other.type_of())),
            Err(error) => Err(explain(&error)),
        }
    }

    /// The text that it gives for an event; numbers and the like as they are written.
    ///
    /// # Errors
    /// When it cannot be worked out, or is no text.
    pub(crate) fn text(&self, context: &Context<'_, '_>) -> Result<String, String> {
        match self.program.execute(context) {
            Ok(Value::String(text)) => Ok(text.to_string()),
            Ok(other) => Err(format!("gives a value of the type {}, not a text: use string(…)", other.type_of())),
            Err(error) => Err(explain(&error)),
        }
    }

    /// What is wrong with it on a made-up event, if it is wrong on every event.
    pub(crate) fn mistake(&self, context: &Context<'_, '_>) -> Option<String> {
        match self.program.execute(context) {
            Err(error @ ExecutionError::UndeclaredReference(_)) => Some(explain(&error)),
            _ => None,
        }
    }
}

/// How deep brackets lie inside each other, those in texts included.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Names of types are values, too.
fn is_type(name: &str) -> bool {
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type"].contains(&name)
}

fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}`; ask with has(…) first for what may be absent"),
        other => {
            // Values of an event may be long.
            let text = other.to_string();
            text.chars().take(300).collect()
        }
    }
}

/// What expressions see of an event.
///
/// # Errors
/// When its document is no JSON object.
pub(crate) fn context(event: &Event, with_document: bool) -> Result<Context<'static, 'static>, serde_json::Error> {
    let document: Document = event.json()?;
    let mut context = Context::default();
    let hunt = document.hunt;
    context.add_variable_from_value(
        "flow",
        map([
            ("id", event.flow_id.clone().into()),
            ("rows", whole(event.total_rows)),
            ("files", whole(event.total_files)),
            ("bytes", whole(event.total_bytes)),
            ("state", event.state.clone().into()),
            ("failed", event.failed().into()),
            ("status", event.status.clone().into()),
            ("creator", event.creator.clone().into()),
            ("artifacts", event.artifacts.clone().into()),
            ("created", seconds(event.created)),
            ("started", seconds(event.started)),
            ("completed", seconds(event.completed)),
        ]),
    );
    context.add_variable_from_value(
        "client",
        map([
            ("id", event.client_id.clone().into()),
            ("host", event.host.clone().into()),
            ("labels", event.labels.clone().into()),
            ("os", document.client_info.os_info.system.unwrap_or_default().to_lowercase().into()),
            ("metadata", value(&Json::Object(document.client_metadata))),
        ]),
    );
    context.add_variable_from_value(
        "hunt",
        map([
            ("id", event.hunt_id.clone().unwrap_or_default().into()),
            ("description", hunt.hunt_description.unwrap_or_default().into()),
            ("tags", hunt.tags.unwrap_or_default().into()),
        ]),
    );
    context.add_variable_from_value("org", event.org_id.clone());
    context.add_variable_from_value("type", event.kind.clone());
    context.add_variable_from_value("now", seconds(Some(now())));
    context.add_variable_from_value("rule", rule());
    if with_document {
        context.add_variable_from_value("document", value(&event.json()?));
    }
    Ok(context)
}

/// What the typed part of an event lacks. What is of another type than it ought to be is an error of the event.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Document {
    client_info: ClientInfo,
    client_metadata: serde_json::Map<String, Json>,
    hunt: Hunt,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct ClientInfo {
    os_info: OsInfo,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct OsInfo {
    system: Option<String>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Hunt {
    hunt_description: Option<String>,
    tags: Option<Vec<String>>,
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<HashMap<String, Value>>().into()
}

/// Every whole number is an `int`: CEL does not mix its two kinds in sums.
fn whole(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// Seconds since 1970; 0 if the moment is not known.
fn seconds(moment: Option<i64>) -> Value {
    moment.unwrap_or_default().div_euclid(1_000).into()
}

/// A value of JSON as one of CEL.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::MAX).into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(values) => Value::List(Arc::new(values.iter().map(value).collect())),
        Json::Object(entries) => {
            entries.iter().map(|(key, entry)| (key.clone(), value(entry))).collect::<HashMap<String, Value>>().into()
        }
    }
}
