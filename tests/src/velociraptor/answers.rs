//! What the server answers: by the plugin that a query reads from, with the values from its variables.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::eval::Scope;
use super::flow;
use super::vql::{Expr, Program, Select};
use super::world::{Event, State, World};

/// What a query is for, by the plugin or the function that it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `watch_monitoring()`
    Watch,
    /// `monitoring()`: what is stored, client by client.
    Monitoring,
    /// `source()`: the log of a server event artifact.
    Source,
    /// `orgs()`
    Orgs,
    /// `flow_results()`
    Results,
    /// `uploads()`
    Uploads,
    /// `flows()`
    Flows,
    /// `artifact_definitions()`
    Artifacts,
    /// `clients()`
    Clients,
    /// `hunts()`
    Hunts,
    /// `link_to()`
    Links,
    /// `get_server_monitoring()`
    ServerMonitoring,
    /// Any other that could be answered: functions alone.
    Functions,
    /// What this server does not know.
    Unknown,
}

/// In the order in which they decide: the first that a text uses.
const PLUGINS: &[(&str, Kind)] = &[
    ("watch_monitoring", Kind::Watch),
    ("monitoring", Kind::Monitoring),
    ("source", Kind::Source),
    ("orgs", Kind::Orgs),
    ("flow_results", Kind::Results),
    ("uploads", Kind::Uploads),
    ("flows", Kind::Flows),
    ("artifact_definitions", Kind::Artifacts),
    ("clients", Kind::Clients),
    ("hunts", Kind::Hunts),
];

/// Something on its way to the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// The JSON of a row.
    Row(String),
    /// A line of the query's log.
    Log(String),
}

/// What comes of a query.
pub(super) enum Answer {
    /// These, then the end.
    Items(Box<dyn Iterator<Item = Item> + Send + Sync>),
    /// Rows as they come.
    Watch(Watch),
}

/// A query that stays: events, and a beat.
pub(super) struct Watch {
    /// None: `watch_monitoring()` has ended.
    pub(super) events: Option<UnboundedReceiver<Arc<Event>>>,
    /// Log lines and rows that are due.
    pub(super) first: Vec<Item>,
    /// Columns that are selected of an event; none: all.
    pub(super) columns: Vec<String>,
    pub(super) artifact: String,
    /// Whether the WHERE leaves the server's own flows out.
    pub(super) clients_only: bool,
    /// The row that follows when the events end, if the query goes on then.
    pub(super) ended: Option<String>,
    /// The columns of a beat, and its period.
    pub(super) beat: Option<(Vec<String>, Duration)>,
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Name of the query.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Org id, `root` for the root org.
    pub org: String,
    /// What it is for.
    pub kind: Kind,
}

/// What a text is for.
pub(super) fn kind(text: &str) -> Kind {
    let Ok(program) = Program::parse(text) else { return Kind::Unknown };
    if let Some((_, kind)) = PLUGINS.iter().find(|(plugin, _)| program.from(plugin).is_some()) {
        return *kind;
    }
    if program.from("scope").is_none() {
        return Kind::Unknown;
    }
    if text.contains("link_to(") {
        Kind::Links
    } else if text.contains("get_server_monitoring(") {
        Kind::ServerMonitoring
    } else {
        Kind::Functions
    }
}

/// Answers a query. The error is a line of the log, after which the query ends.
pub(super) fn answer(world: &World, asked: &Asked) -> Result<Answer, String> {
    let program = Program::parse(&asked.text).map_err(|error| format!("VQL Error: {error}"))?;
    let scope = Scope { env: &asked.env, program: &program, org: &asked.org, said: RefCell::default() };
    let plugin = PLUGINS.iter().find(|(_, kind)| *kind == asked.kind).map(|(plugin, _)| *plugin);
    let Some(plugin) = plugin else {
        if asked.kind == Kind::Unknown {
            let plugin = program.selects.last().map_or("", |select| select.plugin.as_str());
            return Err(format!("VQL Error: Plugin {plugin} not found"));
        }
        let state = world.state();
        let select = program.from("scope").ok_or("VQL Error: Plugin not found")?;
        let row = scope.project(&state, &json!({}), select).to_string();
        drop(state);
        return Ok(items(&scope, &program, vec![row]));
    };
    let select = program.from(plugin).ok_or("VQL Error: Plugin not found")?;
    if asked.kind == Kind::Watch {
        return Ok(Answer::Watch(watch(world, &scope, &program, select)));
    }
    let state = world.state();
    let allowed = state.orgs.get(&asked.org).is_some_and(|org| org.permissions.contains("READ_RESULTS"));
    let mut rows = if allowed || asked.kind == Kind::Orgs {
        read(&state, &scope, &program, select, asked.kind)
    } else {
        scope.say(format!("{plugin}: PermissionDenied: Permission denied: [READ_RESULTS]"));
        Vec::new()
    };
    // chain(a={…}, b={ SELECT … FROM scope() })
    if let Some(after) = program.from("scope") {
        rows.push(scope.project(&state, &json!({}), after).to_string());
    }
    drop(state);
    Ok(items(&scope, &program, rows))
}

/// The log first, since it is written while the rows are read.
fn items(scope: &Scope<'_>, program: &Program, rows: Vec<String>) -> Answer {
    let said = scope.said.take().into_iter().map(Item::Log);
    let rows = rows.into_iter().map(Item::Row).take(program.limit.unwrap_or(usize::MAX));
    Answer::Items(Box::new(said.chain(rows)))
}

fn watch(world: &World, scope: &Scope<'_>, program: &Program, select: &Select) -> Watch {
    let allowed = {
        let state = world.state();
        state.orgs.get(scope.org).is_some_and(|org| org.permissions.contains("READ_RESULTS"))
    };
    let artifact = scope.arg(&world.state(), &json!({}), select, "artifact").as_str().unwrap_or_default().to_owned();
    let events = allowed.then(|| world.watch(scope.org, &artifact));
    if !allowed {
        scope.say("watch_monitoring: PermissionDenied: Permission denied: [READ_RESULTS]".to_owned());
    }
    let state = world.state();
    let row = |select: &Select| scope.project(&state, &json!({}), select).to_string();
    let beat = program.from("clock").map(|clock| {
        let period = scope.arg(&state, &json!({}), clock, "period").as_u64().unwrap_or(1);
        (names(clock), Duration::from_secs(period))
    });
    let server = json!({"ClientId": "server"});
    Watch {
        events,
        columns: names(select),
        clients_only: select.filter.is_some() && !scope.passes(&state, &server, select),
        ended: program.from("scope").map(row),
        beat,
        artifact,
        first: scope.said.take().into_iter().map(Item::Log).collect(),
    }
}

fn names(select: &Select) -> Vec<String> {
    select.columns.iter().map(|(name, _)| name.clone()).collect()
}

/// A row of an event artifact as a text, without being read: they are many.
pub(super) fn event_row(event: &Event, columns: &[String], ts: i64, source: &str) -> String {
    let (ts, source) = (ts.to_string(), json!(source).to_string());
    let get = |name: &str| match name {
        "_ts" => Some(ts.as_str()),
        "_Source" => Some(source.as_str()),
        name => event.get(name),
    };
    let all: Vec<&str>;
    let names: Vec<&str> = if columns.is_empty() {
        all = event.columns.iter().map(|(name, _)| name.as_str()).chain(["_ts", "_Source"]).collect();
        all
    } else {
        columns.iter().map(String::as_str).collect()
    };
    let mut row = String::from("{");
    for name in names {
        if row.len() > 1 {
            row.push(',');
        }
        row.push_str(&format!("{}:", Value::from(name)));
        row.push_str(get(name).unwrap_or("null"));
    }
    row.push('}');
    row
}

fn read(state: &State, scope: &Scope<'_>, program: &Program, select: &Select, kind: Kind) -> Vec<String> {
    let Some(org) = state.orgs.get(scope.org) else { return Vec::new() };
    let none = json!({});
    let arg = |name: &str| scope.arg(state, &none, select, name);
    let text = |name: &str| arg(name).as_str().unwrap_or_default().to_owned();
    let since = |row: &Value| seconds(&scope.arg(state, row, select, "start_time"));
    let record = || org.flows.get(&(text("client_id"), text("flow_id")));
    let chosen = |rows: &mut dyn Iterator<Item = Value>| -> Vec<String> {
        rows.filter(|row| scope.passes(state, row, select))
            .map(|row| scope.project(state, &row, select).to_string())
            .collect()
    };
    match kind {
        Kind::Monitoring => {
            let known =
                scope.env.iter().any(|(key, _)| Some(&Expr::Path(vec![key.clone()])) == select.arg("client_id"));
            let ids: Vec<&String> = match program.from("clients") {
                Some(clients) if !known => {
                    let passing = org.clients.iter().filter(|(_, client)| scope.passes(state, &client.info, clients));
                    passing.map(|(id, _)| id).collect()
                }
                _ => org.clients.keys().filter(|id| **id == text("client_id")).collect(),
            };
            let columns = names(select);
            let since = since(&none);
            let events = ids.iter().flat_map(|id| &org.clients[*id].completions).filter(|event| event.time >= since);
            events.map(|event| event_row(event, &columns, event.time * 1000, "server")).collect()
        }
        Kind::Source => {
            let artifact = text("artifact");
            let Some(log) = org.logs.get(&artifact) else {
                // Completions are an event of clients: without a client_id there is nothing to read.
                scope.say(format!("source: Artifact {artifact} not known"));
                return Vec::new();
            };
            let (since, columns) = (since(&none), names(select));
            let events = log.iter().filter(|event| event.time >= since);
            events.map(|event| event_row(event, &columns, event.time * 1000, "server")).collect()
        }
        Kind::Orgs => {
            let mut rows = state.orgs.iter().map(|(id, org)| json!({"Name": org.name, "OrgId": id}));
            chosen(&mut rows)
        }
        Kind::Results => {
            let Some(record) = record() else { return Vec::new() };
            let source = match text("source").as_str() {
                "" => text("artifact"),
                source => format!("{}/{source}", text("artifact")),
            };
            let made = record.flow.sources.iter().find(|(name, _)| *name == source);
            match (record.results.get(&source), made) {
                (Some(rows), _) if select.columns.is_empty() => rows.to_vec(),
                (Some(rows), _) => chosen(&mut rows.iter().filter_map(|row| serde_json::from_str(row).ok())),
                (None, Some((_, rows))) => chosen(&mut flow::processes(&record.flow.id, *rows).into_iter()),
                (None, None) => {
                    scope.say(format!("source: {source} not found"));
                    Vec::new()
                }
            }
        }
        Kind::Uploads => chosen(&mut record().into_iter().flat_map(|record| record.uploads.clone())),
        Kind::Flows => {
            let client = text("client_id");
            let flows: Vec<_> = match select.arg("flow_id") {
                Some(_) => record().into_iter().collect(),
                None => org.flows.values().filter(|record| record.flow.client == client).collect(),
            };
            chosen(&mut flows.into_iter().map(|record| record.flow.row()))
        }
        Kind::Artifacts => {
            let names = arg("names");
            let wanted: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for name in wanted.iter().filter(|name| !state.artifacts.contains_key(**name)) {
                scope.say(format!("artifact_definitions: artifact {name} not found"));
            }
            let found = state.artifacts.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(&name.as_str()));
            chosen(&mut found.map(|(_, definition)| definition.clone()))
        }
        Kind::Clients => chosen(&mut org.clients.values().map(|client| client.info.clone())),
        Kind::Hunts => chosen(&mut org.hunts.values().cloned()),
        _ => Vec::new(),
    }
}

/// A time in Unix seconds, whatever its unit: it is told by its size.
fn seconds(value: &Value) -> i64 {
    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap_or(0);
    match number {
        20_000_000_000_000_001.. => number / 1_000_000_000,
        20_000_000_000_001.. => number / 1_000_000,
        20_000_000_001.. => number / 1000,
        _ => number,
    }
}

impl Watch {
    /// The row of an event, if it is wanted.
    pub(super) fn row(&self, event: &Event) -> Option<String> {
        if self.clients_only && event.get("ClientId") == Some("\"server\"") {
            return None;
        }
        // Live, the artifact is the source, and `_ts` counts seconds.
        Some(event_row(event, &self.columns, event.time, &self.artifact))
    }

    /// The row of a beat: whatever its columns are called, the server's clock.
    pub(super) fn beat_row(&self) -> String {
        let columns = self.beat.iter().flat_map(|(columns, _)| columns);
        Value::Object(columns.map(|name| (name.clone(), json!(flow::micros() / 1_000_000))).collect()).to_string()
    }

    /// Whether anything can come yet.
    pub(super) fn over(&self) -> bool {
        self.events.is_none() && self.ended.is_none() && self.beat.is_none()
    }
}
