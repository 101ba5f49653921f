//! Expressions of VQL, worked out: over a row, the request's variables and the world.

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use super::flow::micros;
use super::vql::{Expr, Program, Select};
use super::world::{ROOT, State};

/// Where names are looked up.
pub(super) struct Scope<'a> {
    pub(super) env: &'a [(String, String)],
    pub(super) program: &'a Program,
    /// Org id.
    pub(super) org: &'a str,
    /// What goes into the log: symbols that are missing.
    pub(super) said: RefCell<Vec<String>>,
}

impl Scope<'_> {
    /// The value of an expression for a row.
    pub(super) fn value(&self, state: &State, row: &Value, expr: &Expr) -> Value {
        match expr {
            Expr::Text(text) => json!(text),
            Expr::Number(number) => json!(number),
            Expr::List(items) => items.iter().map(|item| self.value(state, row, item)).collect(),
            Expr::Query(_) => Value::Null,
            Expr::Path(path) => self.path(state, row, path),
            Expr::Binary(left, operator, right) => {
                let (left, right) = (self.value(state, row, left), self.value(state, row, right));
                binary(&left, operator, &right)
            }
            Expr::Call(name, args) => self.call(state, row, name, args),
        }
    }

    /// A SELECT's columns for a row.
    pub(super) fn project(&self, state: &State, row: &Value, select: &Select) -> Value {
        if select.columns.is_empty() {
            return row.clone();
        }
        let columns = select.columns.iter().map(|(name, expr)| (name.clone(), self.value(state, row, expr)));
        Value::Object(columns.collect())
    }

    /// Whether a row passes a SELECT's WHERE.
    pub(super) fn passes(&self, state: &State, row: &Value, select: &Select) -> bool {
        select.filter.as_ref().is_none_or(|filter| truth(&self.value(state, row, filter)))
    }

    /// An argument, NULL if it is not there.
    pub(super) fn arg(&self, state: &State, row: &Value, select: &Select, name: &str) -> Value {
        select.arg(name).map_or(Value::Null, |expr| self.value(state, row, expr))
    }

    pub(super) fn say(&self, line: String) {
        let mut said = self.said.borrow_mut();
        if !said.contains(&line) {
            said.push(line);
        }
    }

    fn path(&self, state: &State, row: &Value, path: &[String]) -> Value {
        let Some((first, rest)) = path.split_first() else { return Value::Null };
        let found = match first.to_ascii_uppercase().as_str() {
            "TRUE" => return json!(true),
            "FALSE" => return json!(false),
            "NULL" => return Value::Null,
            _ => row.get(first).cloned(),
        };
        let found = found.or_else(|| {
            let set = self.env.iter().find(|(key, _)| key == first);
            set.map(|(_, value)| json!(value))
        });
        let found = found.or_else(|| self.program.lets.get(first).map(|expr| self.value(state, row, expr)));
        let Some(mut value) = found else {
            self.say(format!("Symbol {first} not found"));
            return Value::Null;
        };
        for name in rest {
            value = match &value {
                Value::Array(items) => items.iter().map(|item| item.get(name).cloned().unwrap_or_default()).collect(),
                other => other.get(name).cloned().unwrap_or_default(),
            };
        }
        value
    }

    fn call(&self, state: &State, row: &Value, name: &str, args: &[(String, Expr)]) -> Value {
        let find = |key: &str| args.iter().find(|(own, _)| own == key).map(|(_, expr)| expr);
        let arg = |key: &str| find(key).map_or(Value::Null, |expr| self.value(state, row, expr));
        let text = |key: &str| arg(key).as_str().unwrap_or_default().to_owned();
        let org = state.orgs.get(self.org);
        let readable = || {
            let allowed = org.is_some_and(|org| org.permissions.contains("READ_RESULTS"));
            if !allowed {
                self.say(format!("{name}: PermissionDenied: Permission denied: [READ_RESULTS]"));
            }
            allowed
        };
        match name {
            "dict" => {
                let fields = args.iter().map(|(key, expr)| (key.clone(), self.value(state, row, expr)));
                Value::Object(fields.collect())
            }
            "if" => arg(if truth(&arg("condition")) { "then" } else { "else" }),
            "int" => match arg("int") {
                Value::String(text) => text.trim().parse::<i64>().map_or(Value::Null, |number| json!(number)),
                other => other,
            },
            "now" => json!(micros() / 1_000_000),
            "parse_json" | "parse_json_array" => serde_json::from_str(&text("data")).unwrap_or_else(|error| {
                self.say(format!("{name}: {error}"));
                Value::Null
            }),
            "len" => json!(arg("list").as_array().map_or(0, Vec::len)),
            "client_info" if readable() => org
                .and_then(|org| org.clients.get(&text("client_id")))
                .map_or(Value::Null, |client| client.info.clone()),
            "client_metadata" if readable() => {
                let client = org.and_then(|org| org.clients.get(&text("client_id")));
                client.map_or(Value::Null, |client| client.metadata.clone())
            }
            "hunt_info" if readable() => {
                let id = text("hunt_id");
                // A hunt's flow, F.X.H, names its hunt, H.X.
                let own = id.strip_prefix("F.").and_then(|id| id.strip_suffix(".H")).map(|id| format!("H.{id}"));
                let id = own.unwrap_or(id);
                org.and_then(|org| org.hunts.get(&id)).cloned().unwrap_or_default()
            }
            "client_info" | "client_metadata" | "hunt_info" => Value::Null,
            "get_server_monitoring" if readable() => org.map_or(Value::Null, |org| org.server_monitoring.clone()),
            "get_server_monitoring" => Value::Null,
            "link_to" => {
                let org = match find("org") {
                    Some(_) => text("org"),
                    None => self.org.to_owned(),
                };
                let fields = args.iter().map(|(key, _)| (key.clone(), arg(key)));
                link(&state.public_url, &org, &fields.collect())
            }
            _ => {
                self.say(format!("Symbol {name} not found"));
                Value::Null
            }
        }
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn binary(left: &Value, operator: &str, right: &Value) -> Value {
    let numbers = left.as_i64().zip(right.as_i64());
    match operator {
        "=" => json!(left == right),
        "!=" => json!(left != right),
        "<" => json!(numbers.is_some_and(|(left, right)| left < right)),
        ">" => json!(numbers.is_some_and(|(left, right)| left > right)),
        "<=" => json!(numbers.is_some_and(|(left, right)| left <= right)),
        ">=" => json!(numbers.is_some_and(|(left, right)| left >= right)),
        "*" => numbers.map_or(Value::Null, |(left, right)| json!(left.saturating_mul(right))),
        "+" => numbers.map_or(Value::Null, |(left, right)| json!(left.saturating_add(right))),
        "AND" => json!(truth(left) && truth(right)),
        _ => Value::Null,
    }
}

/// A link as the server builds it, by the public address of its GUI.
fn link(public: &str, org: &str, args: &Map<String, Value>) -> Value {
    let get = |key: &str| args.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let org = if org.is_empty() { ROOT } else { org };
    let public = public.split(['?', '#']).next().unwrap_or_default();
    let page = |segments: &[&str]| {
        let path: String = segments.iter().map(|segment| format!("/{}", escape(segment, "%20"))).collect();
        format!("{public}?org_id={}#{path}", escape(org, "+"))
    };
    let url = match (get("client_id"), get("flow_id"), get("hunt_id"), get("artifact")) {
        (Some(client), Some(flow), ..) => page(&["collected", client, flow, get("tab").unwrap_or("overview")]),
        (Some(client), None, _, Some(artifact)) => page(&["events", client, artifact]),
        (Some(client), ..) => page(&["host", client]),
        (None, _, Some(hunt), _) => page(&["hunts", hunt, "overview"]),
        (None, _, None, Some(artifact)) => page(&["artifacts", artifact]),
        (None, _, None, None) => {
            let Some(components) = args.get("upload").and_then(|upload| upload["Components"].as_array()) else {
                return Value::Null;
            };
            let components: String = components
                .iter()
                .filter_map(Value::as_str)
                .map(|component| format!("fs_components={}&", escape(component, "+")))
                .collect();
            let name = args["upload"]["StoredName"].as_str().unwrap_or_default();
            let host = public.find("://").and_then(|at| public[at + 3..].find('/').map(|slash| at + 3 + slash));
            let base = host.map_or(public, |end| &public[..end]);
            let query = format!("{components}org_id={}&vfs_path={}", escape(org, "+"), escape(name, "+"));
            format!("{base}/api/v1/DownloadVFSFile?{query}")
        }
    };
    if args.get("raw").is_some_and(truth) {
        json!(url)
    } else {
        json!(format!("[{}]({url})", get("text").unwrap_or(&url)))
    }
}

/// A segment of a URL, escaped as Go does.
fn escape(text: &str, space: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte as char),
            b' ' => escaped.push_str(space),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
