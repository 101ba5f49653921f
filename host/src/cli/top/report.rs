//! What is told of a daemon: made of its samples, written as JSON or as a table.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use serde::Serialize;

use super::Look;
use super::figures::{quantile, since, total};
use super::samples::Samples;
use crate::meter::names::{self, Family};
use crate::rule::Priority;

/// All of it. Times are seconds; rates are per second and absent after one look only.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) daemon: String,
    pub(super) version: String,
    pub(super) up_seconds: Option<f64>,
    pub(super) memory_bytes: Option<f64>,
    pub(super) configuration: Option<f64>,
    /// False: the last change of a file was refused.
    pub(super) configuration_good: bool,
    pub(super) rates: IndexMap<&'static str, Option<f64>>,
    pub(super) queue: IndexMap<&'static str, State>,
    /// Those that wait, by priority.
    pub(super) lanes: IndexMap<&'static str, State>,
    pub(super) oldest_seconds: f64,
    pub(super) overdue_seconds: f64,
    pub(super) gathered: f64,
    pub(super) postponed: f64,
    /// From an event received to its mail accepted.
    pub(super) way: Times,
    pub(super) steps: Vec<Named<Times>>,
    pub(super) commits: Vec<Named<Times>>,
    /// Commands in one transaction, on average.
    pub(super) group: Option<f64>,
    pub(super) space: Space,
    pub(super) relays: Vec<Named<Relay>>,
    pub(super) plugins: Vec<Named<Plugin>>,
    pub(super) velociraptor: Vec<Named<Org>>,
    pub(super) queries: Vec<Named<Query>>,
}

/// Something with a name.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Named<T> {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) of: T,
}

/// Recipients in a state.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct State {
    pub(super) recipients: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oldest_seconds: Option<f64>,
}

/// How long something takes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Times {
    pub(super) per_second: Option<f64>,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    /// How many there were since the start.
    pub(super) count: f64,
    /// Whether the percentiles are of all of them, since there was none in the last minute.
    pub(super) since_start: bool,
}

/// Room.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Space {
    pub(super) free_bytes: Option<f64>,
    pub(super) min_free_bytes: Option<f64>,
    pub(super) database_bytes: Option<f64>,
    pub(super) log_bytes: Option<f64>,
}

/// A mail server.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Relay {
    pub(super) up: bool,
    pub(super) trouble: Option<String>,
    pub(super) sessions: f64,
    pub(super) sessions_limit: f64,
    /// Mails a minute that it is given; absent: as many as there are.
    pub(super) rate_limit: Option<f64>,
    /// Times that it said that it gets too much.
    pub(super) slowed: f64,
    pub(super) falls: f64,
}

/// A plugin.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plugin {
    #[serde(flatten)]
    pub(super) calls: Times,
    pub(super) failed: f64,
    pub(super) dropped: f64,
    pub(super) benched: bool,
}

/// An org of a server that is watched.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Org {
    pub(super) live: bool,
    pub(super) phase: String,
    pub(super) rows: f64,
    pub(super) failures: f64,
    pub(super) lag_seconds: Option<f64>,
}

/// A kind of query.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Query {
    pub(super) queries: f64,
    pub(super) failed: f64,
    pub(super) mean_seconds: Option<f64>,
}

/// The last look, the one before, and the first of the last minute.
struct Seen<'a> {
    now: &'a Samples,
    /// With the seconds between.
    before: Option<(&'a Samples, f64)>,
    first: Option<&'a Samples>,
}

impl Seen<'_> {
    fn number(&self, family: &Family, labels: &[(&str, &str)]) -> f64 {
        self.now.sum(family, labels).unwrap_or_default()
    }

    /// A difference between the last two looks, per second.
    fn rate(&self, of: impl Fn(&Samples) -> Option<f64>) -> Option<f64> {
        let (before, seconds) = self.before.filter(|(_, seconds)| *seconds > 0.0)?;
        // What was not there before has begun at nothing.
        Some((of(self.now)? - of(before).unwrap_or_default()).max(0.0) / seconds)
    }

    fn times(&self, family: &Family, labels: &[(&str, &str)]) -> Times {
        let all = self.now.buckets(family, labels);
        let recent = self.first.map(|first| since(&all, &first.buckets(family, labels)));
        let recent = recent.filter(|recent| total(recent) > 0.0);
        let of = recent.as_ref().unwrap_or(&all);
        Times {
            per_second: self.rate(|samples| samples.count(family, labels)),
            p50: quantile(of, 0.5),
            p99: quantile(of, 0.99),
            count: total(&all),
            since_start: recent.is_none(),
        }
    }

    fn by<T>(&self, family: &'static Family, label: &str, of: impl Fn(&str) -> T) -> Vec<Named<T>> {
        let names = self.now.values(family, label).into_iter();
        names.map(|name| Named { name: name.to_owned(), of: of(name) }).collect()
    }
}

/// Makes it. Without any look, everything is empty.
pub(super) fn report(daemon: &str, looks: &VecDeque<Look>) -> Report {
    let nothing = Samples::default();
    let last = looks.back();
    let before = looks.len().checked_sub(2).and_then(|at| looks.get(at));
    let seen = Seen {
        now: last.map_or(&nothing, |look| &look.samples),
        before: last.zip(before).map(|(last, before)| (&before.samples, (last.at - before.at).as_secs_f64())),
        first: looks.front().filter(|_| looks.len() > 1).map(|look| &look.samples),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let get = |family: &Family| seen.now.get(family, &[]);
    let part = |part| seen.now.get(&names::SPACE_USED, &[("part", part)]);
    Report {
        daemon: daemon.to_owned(),
        version: seen.now.values(&names::BUILD, "version").first().copied().unwrap_or_default().to_owned(),
        up_seconds: get(&names::STARTED).map(|at| (now - at).max(0.0)),
        memory_bytes: get(&names::MEMORY),
        configuration: get(&names::GENERATION),
        configuration_good: get(&names::RELOAD) != Some(0.0),
        rates: rates(&seen),
        queue: queue(&seen),
        lanes: Priority::ALL.into_iter().map(|priority| (priority.name(), lane(&seen, priority.name()))).collect(),
        oldest_seconds: seen.number(&names::AGE, &[]),
        overdue_seconds: seen.number(&names::OVERDUE, &[]),
        gathered: seen.number(&names::GATHERED, &[]),
        postponed: seen.number(&names::JUDGEMENTS, &[("state", "postponed")]),
        way: seen.times(&names::WAY, &[]),
        steps: of_histogram(&seen, &names::STEP, "step"),
        commits: of_histogram(&seen, &names::COMMIT, "work"),
        group: mean(&seen, &names::GROUP),
        space: Space {
            free_bytes: get(&names::SPACE_FREE),
            min_free_bytes: get(&names::SPACE_LEAST),
            database_bytes: part("database"),
            log_bytes: part("log"),
        },
        relays: seen.by(&names::RELAY_UP, "relay", |relay| Relay {
            up: seen.now.get(&names::RELAY_UP, &[("relay", relay)]) == Some(1.0),
            trouble: trouble(&seen, relay),
            sessions: seen.number(&names::RELAY_SESSIONS, &[("relay", relay)]),
            sessions_limit: seen.number(&names::RELAY_LIMIT, &[("relay", relay)]),
            rate_limit: seen.now.get(&names::RELAY_RATE, &[("relay", relay)]),
            slowed: seen.number(&names::RELAY_SLOWED, &[("relay", relay)]),
            falls: seen.number(&names::RELAY_FALLS, &[("relay", relay)]),
        }),
        plugins: seen.by(&names::PLUGIN_BENCHED, "plugin", |plugin| Plugin {
            calls: seen.times(&names::PLUGIN_CALL, &[("plugin", plugin)]),
            failed: seen.number(&names::PLUGIN_CALLS, &[("plugin", plugin), ("outcome", "failed")]),
            dropped: seen.number(&names::PLUGIN_VERDICTS, &[("plugin", plugin), ("verdict", "drop")]),
            benched: seen.number(&names::PLUGIN_BENCHED, &[("plugin", plugin)]) > 0.0,
        }),
        velociraptor: seen.by(&names::V_LIVE, "org", |org| Org {
            live: seen.number(&names::V_LIVE, &[("org", org)]) > 0.0,
            phase: phase(&seen, org),
            rows: seen.number(&names::V_ROWS, &[("org", org)]),
            failures: seen.number(&names::V_FAILURES, &[("org", org)]),
            lag_seconds: seen.now.get(&names::V_LAG, &[("org", org)]),
        }),
        queries: seen.by(&names::V_QUERIES, "query", |query| {
            let queries = seen.number(&names::V_QUERIES, &[("query", query)]);
            let time = seen.number(&names::V_QUERY_TIME, &[("query", query)]);
            let failed = seen.number(&names::V_QUERY_FAILURES, &[("query", query)]);
            Query { queries, failed, mean_seconds: (queries > 0.0).then(|| time / queries) }
        }),
    }
}

fn rates(seen: &Seen<'_>) -> IndexMap<&'static str, Option<f64>> {
    let of =
        |family: &'static Family, labels: &'static [(&str, &str)]| seen.rate(|samples| samples.sum(family, labels));
    IndexMap::from([
        ("events", of(&names::EVENTS, &[])),
        ("rejected", of(&names::REJECTED, &[])),
        ("decisions", seen.rate(|samples| Some(samples.sum(&names::DECISIONS, &[]).unwrap_or_default()))),
        ("mails", of(&names::MAILS, &[])),
        ("delivered", of(&names::ATTEMPTS, &[("outcome", "delivered")])),
        ("deferred", of(&names::ATTEMPTS, &[("outcome", "deferred")])),
        ("failed", of(&names::ATTEMPTS, &[("outcome", "failed")])),
        ("transactions", seen.rate(|samples| samples.count(&names::TRANSACTION, &[]))),
    ])
}

fn queue(seen: &Seen<'_>) -> IndexMap<&'static str, State> {
    let states = ["queued", "sending", "deferred", "held", "failed", "cancelled", "delivered"];
    let of = |state| State {
        recipients: seen.number(&names::RECIPIENTS, &[("state", state)]),
        oldest_seconds: seen.now.get(&names::OLDEST, &[("state", state)]),
    };
    states.into_iter().map(|state| (state, of(state))).collect()
}

fn lane(seen: &Seen<'_>, lane: &str) -> State {
    State {
        recipients: seen.number(&names::LANE, &[("lane", lane)]),
        oldest_seconds: seen.now.get(&names::LANE_OLDEST, &[("lane", lane)]),
    }
}

fn of_histogram(seen: &Seen<'_>, family: &'static Family, label: &str) -> Vec<Named<Times>> {
    // The order of the text is that of an event's way.
    let names = seen.now.labels_in_order(family, label).into_iter();
    names.map(|name| Named { name: name.to_owned(), of: seen.times(family, &[(label, name)]) }).collect()
}

fn mean(seen: &Seen<'_>, family: &'static Family) -> Option<f64> {
    let all = seen.now.buckets(family, &[]);
    let recent = seen.first.map(|first| since(&all, &first.buckets(family, &[])));
    let of = recent.filter(|recent| total(recent) > 0.0).unwrap_or(all);
    (total(&of) > 0.0).then(|| of.sum / total(&of))
}

fn trouble(seen: &Seen<'_>, relay: &str) -> Option<String> {
    let troubles = seen.now.values(&names::RELAY_TROUBLE, "trouble");
    let is =
        |trouble: &&str| seen.now.get(&names::RELAY_TROUBLE, &[("relay", relay), ("trouble", trouble)]) == Some(1.0);
    troubles.into_iter().find(is).map(str::to_owned)
}

fn phase(seen: &Seen<'_>, org: &str) -> String {
    let phases = seen.now.values(&names::V_PHASE, "phase");
    let is = |phase: &&str| seen.now.get(&names::V_PHASE, &[("org", org), ("phase", phase)]).is_some();
    phases.into_iter().find(is).unwrap_or_default().to_owned()
}
