//! What the server knows. A test fills it and changes it while the server runs; it outlives a restart.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::flow::{self, Flow};

/// The org that is always there.
pub const ROOT: &str = "root";
/// Where completions go.
pub const COMPLETIONS: &str = "System.Flow.Completion";

/// Handle of a world; clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    up: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) up: bool,
    pub(super) orgs: BTreeMap<String, Org>,
    /// Definitions, by name.
    pub(super) artifacts: BTreeMap<String, Value>,
    /// `GUI.public_url`.
    pub(super) public_url: String,
    /// Ids of clients, flows and hunts, which no query's text may contain.
    pub(super) ids: HashSet<String>,
}

pub(super) struct Org {
    pub(super) name: String,
    pub(super) permissions: BTreeSet<String>,
    pub(super) publish: BTreeSet<String>,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) flows: BTreeMap<(String, String), Record>,
    pub(super) hunts: BTreeMap<String, Value>,
    /// Rows of server event artifacts, by name, in the order of time.
    pub(super) logs: BTreeMap<String, Vec<Arc<Event>>>,
    pub(super) server_monitoring: Value,
    watchers: Vec<(String, UnboundedSender<Arc<Event>>)>,
}

pub(super) struct Client {
    pub(super) info: Value,
    pub(super) metadata: Value,
    /// What monitoring() reads back.
    pub(super) completions: Vec<Arc<Event>>,
}

pub(super) struct Record {
    pub(super) flow: Flow,
    /// Rows by full source name; sources of the flow that are not in it have rows of their own accord.
    pub(super) results: BTreeMap<String, Arc<Vec<String>>>,
    pub(super) uploads: Vec<Value>,
}

/// A row of an event artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When the server took it, Unix seconds.
    pub time: i64,
    /// Columns and their JSON, without `_ts` and `_Source`.
    pub columns: Vec<(String, String)>,
}

impl Event {
    /// The JSON of a column.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.columns.iter().find(|(own, _)| own == name).map(|(_, json)| json.as_str())
    }
}

impl Org {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            permissions: ["ANY_QUERY", "READ_RESULTS"].map(str::to_owned).into(),
            publish: BTreeSet::new(),
            clients: BTreeMap::new(),
            flows: BTreeMap::new(),
            hunts: BTreeMap::new(),
            logs: BTreeMap::new(),
            server_monitoring: json!({"artifacts": [], "specs": []}),
            watchers: Vec::new(),
        }
    }

    /// Hands a row to everybody who watches, and returns how many those are.
    fn deliver(&mut self, artifact: &str, event: &Arc<Event>) -> usize {
        self.watchers.retain(|(_, watcher)| !watcher.is_closed());
        let live = self.watchers.iter().filter(|(own, _)| own == artifact);
        live.filter(|(_, watcher)| watcher.send(Arc::clone(event)).is_ok()).count()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world with an empty root org and the usual rights of the role `api`.
    #[must_use]
    pub fn new() -> Self {
        let world = Self(Arc::new(Inner { state: Mutex::default(), up: Condvar::new() }));
        "https://velo.example.org:8889/app/index.html".clone_into(&mut world.state().public_url);
        world.add_org(ROOT, "<root>");
        world
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(super) fn set_up(&self, up: bool) {
        let mut state = self.state();
        state.up = up;
        if !up {
            state.orgs.values_mut().for_each(|org| org.watchers.clear());
        }
        self.0.up.notify_all();
    }

    fn org<T>(&self, org: &str, act: impl FnOnce(&mut Org) -> T) -> T {
        act(self.state().orgs.get_mut(org).unwrap_or_else(|| panic!("the world has no org {org}")))
    }

    fn know(&self, ids: &[&str]) {
        let mut state = self.state();
        for &id in ids {
            // `server` is a name, which queries may say.
            if id != "server" && !state.ids.contains(id) {
                state.ids.insert(id.to_owned());
            }
        }
    }

    /// A new org, empty.
    pub fn add_org(&self, id: &str, name: &str) {
        self.state().orgs.insert(id.to_owned(), Org::new(name));
    }

    /// Takes an org away; its watches end.
    pub fn remove_org(&self, id: &str) {
        self.state().orgs.remove(id);
    }

    /// A workstation without metadata.
    pub fn add_client(&self, org: &str, id: &str) {
        self.add_client_with(org, id, flow::client_info(id), json!({}));
    }

    /// A client, or new facts on one.
    pub fn add_client_with(&self, org: &str, id: &str, info: Value, metadata: Value) {
        self.know(&[id]);
        self.org(org, |org| {
            let completions = org.clients.remove(id).map(|old| old.completions).unwrap_or_default();
            org.clients.insert(id.to_owned(), Client { info, metadata, completions });
        });
    }

    /// A flow, or a newer record of it; its client is added if it is not there. Results are made up unless they are set.
    pub fn add_flow(&self, org: &str, flow: Flow) {
        self.know(&[&flow.client, &flow.id]);
        let known = self.org(org, |org| org.clients.contains_key(&flow.client));
        if !known {
            self.add_client(org, &flow.client);
        }
        self.org(org, |org| {
            let key = (flow.client.clone(), flow.id.clone());
            let record = Record { flow, results: BTreeMap::new(), uploads: Vec::new() };
            org.flows.insert(key, record);
        });
    }

    /// A flow is deleted.
    pub fn remove_flow(&self, org: &str, client: &str, flow: &str) {
        self.org(org, |org| org.flows.remove(&(client.to_owned(), flow.to_owned())));
    }

    /// `flows` flows, spread over `clients` clients, numbered from `first`. Returns client and flow of each.
    pub fn add_flows(&self, org: &str, clients: usize, first: usize, flows: usize) -> Vec<(String, String)> {
        let ids: Vec<_> =
            (first..first + flows).map(|n| (flow::client_id(n % clients.max(1)), flow::flow_id(n))).collect();
        for (client, id) in &ids {
            self.add_flow(org, Flow::new(client, id));
        }
        ids
    }

    /// A hunt's record (`flow::hunt` makes one).
    pub fn add_hunt(&self, org: &str, hunt: Value) {
        let id = hunt["hunt_id"].as_str().unwrap_or_default().to_owned();
        self.know(&[&id]);
        self.org(org, |org| org.hunts.insert(id, hunt));
    }

    /// The rows of one source of a flow.
    pub fn set_results(&self, org: &str, client: &str, flow: &str, source: &str, rows: &[Value]) {
        let rows = Arc::new(rows.iter().map(Value::to_string).collect());
        self.record(org, client, flow, |record| record.results.insert(source.to_owned(), rows));
    }

    /// The rows of uploads() of a flow.
    pub fn set_uploads(&self, org: &str, client: &str, flow: &str, rows: Vec<Value>) {
        self.record(org, client, flow, |record| record.uploads = rows);
    }

    fn record<T>(&self, org: &str, client: &str, flow: &str, act: impl FnOnce(&mut Record) -> T) -> T {
        let key = (client.to_owned(), flow.to_owned());
        self.org(org, |org| act(org.flows.get_mut(&key).unwrap_or_else(|| panic!("the world has no flow {flow}"))))
    }

    /// An artifact's definition, with the permissions that collecting it needs.
    pub fn add_artifact(&self, name: &str, required_permissions: &[&str]) {
        let definition = json!({"name": name, "description": "", "type": "CLIENT",
                                "required_permissions": required_permissions, "implied_permissions": [],
                                "parameters": [], "sources": [], "built_in": false});
        self.state().artifacts.insert(name.to_owned(), definition);
    }

    /// What get_server_monitoring() says.
    pub fn set_server_monitoring(&self, org: &str, value: Value) {
        self.org(org, |org| org.server_monitoring = value);
    }

    /// `GUI.public_url`.
    pub fn set_public_url(&self, url: &str) {
        url.clone_into(&mut self.state().public_url);
    }

    /// The user's permissions in an org, in place of `ANY_QUERY` and `READ_RESULTS`.
    pub fn set_permissions(&self, org: &str, permissions: &[&str]) {
        self.org(org, |org| org.permissions = permissions.iter().map(|&name| name.to_owned()).collect());
    }

    /// Lets the user push events to an artifact.
    pub fn grant_publish(&self, org: &str, artifact: &str) {
        self.org(org, |org| org.publish.insert(artifact.to_owned()));
    }

    /// A flow of the world is complete now: it is stored, and delivered to everybody who watches. Waits for the server if
    /// it is down, since without it nothing completes. Returns how many watched.
    pub fn complete(&self, org: &str, client: &str, flow: &str) -> usize {
        self.complete_at(org, client, flow, flow::micros() / 1_000_000)
    }

    /// [`World::complete`] at a moment of the server's clock, in Unix seconds.
    ///
    /// # Panics
    /// When the server stays down for a minute, or the world has no such flow.
    pub fn complete_at(&self, org: &str, client: &str, flow: &str, timestamp: i64) -> usize {
        let live = self.record(org, client, flow, |record| record.flow.live());
        self.complete_with(org, client, flow, timestamp, &live)
    }

    /// [`World::complete_at`] with any `Flow` of the live row; the world need not have the flow, nor the client.
    ///
    /// # Panics
    /// When the server stays down for a minute.
    pub fn complete_with(&self, org: &str, client: &str, flow: &str, timestamp: i64, live: &Value) -> usize {
        let columns = [
            ("Timestamp", json!(timestamp).to_string()),
            ("Flow", live.to_string()),
            ("FlowId", json!(flow).to_string()),
            ("ClientId", json!(client).to_string()),
        ];
        let columns = columns.map(|(name, json)| (name.to_owned(), json)).into();
        let event = Arc::new(Event { time: timestamp, columns });
        self.know(&[client, flow]);
        let state = self.state();
        let (mut state, late) =
            self.0.up.wait_timeout_while(state, Duration::from_secs(60), |state| !state.up).unwrap();
        assert!(!late.timed_out(), "a flow cannot complete: the server has been down for a minute");
        let org = state.orgs.get_mut(org).unwrap_or_else(|| panic!("the world has no org {org}"));
        if let Some(client) = org.clients.get_mut(client) {
            client.completions.push(Arc::clone(&event));
            let seen = timestamp.saturating_mul(1_000_000);
            if client.info["last_seen_at"].as_i64().is_none_or(|last| last < seen) {
                client.info["last_seen_at"] = json!(seen);
            }
        }
        org.deliver(COMPLETIONS, &event)
    }

    /// A row of an event artifact other than completions: kept in its log, and delivered.
    pub fn event(&self, org: &str, artifact: &str, time: i64, row: &Value) -> usize {
        let fields = row.as_object().into_iter().flatten();
        let columns = fields.map(|(name, value)| (name.clone(), value.to_string())).collect();
        let event = Arc::new(Event { time, columns });
        self.org(org, |org| {
            org.logs.entry(artifact.to_owned()).or_default().push(Arc::clone(&event));
            org.deliver(artifact, &event)
        })
    }

    /// A server event artifact is there; its log is empty.
    pub fn add_log(&self, org: &str, artifact: &str) {
        self.org(org, |org| {
            org.logs.entry(artifact.to_owned()).or_default();
        });
    }

    /// How many watch an artifact.
    #[must_use]
    pub fn watchers(&self, org: &str, artifact: &str) -> usize {
        self.org(org, |org| {
            org.watchers.retain(|(_, watcher)| !watcher.is_closed());
            org.watchers.iter().filter(|(own, _)| own == artifact).count()
        })
    }

    /// Every `watch_monitoring()` of an org ends, without a word, as when the service behind it restarts. Returns how many.
    pub fn end_watches(&self, org: &str) -> usize {
        self.org(org, |org| std::mem::take(&mut org.watchers).len())
    }

    pub(super) fn watch(&self, org: &str, artifact: &str) -> UnboundedReceiver<Arc<Event>> {
        let (sender, receiver) = unbounded_channel();
        if let Some(org) = self.state().orgs.get_mut(org) {
            org.watchers.push((artifact.to_owned(), sender));
        }
        receiver
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("orgs", &self.state().orgs.keys()).finish_non_exhaustive()
    }
}
