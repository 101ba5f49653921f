//! How the watching goes, for `/metrics` and `/readyz`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::intake::Counts;
use crate::velociraptor::error::ApiError;

/// The state of every org that is watched. Cheap to clone: all clones show the same.
#[derive(Debug, Clone, Default)]
pub struct State(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    orgs: BTreeMap<String, Org>,
    /// With `org = "*"`: why the list of orgs is not known; `None`: it is, or is not needed.
    unlisted: Option<String>,
    published: Option<Published>,
}

/// How far an org's connection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was heard yet.
    Connecting,
    /// What comes is taken; what was missed is being asked for.
    CatchingUp,
    /// What comes is taken, and nothing was missed.
    Live,
    /// There is no connection; it is tried again.
    Failed {
        /// Why.
        reason: String,
        /// What to do; empty when there is nothing but to wait.
        hint: &'static str,
    },
}

impl Phase {
    /// Whether what comes is taken.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live | Self::CatchingUp)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
            Self::Failed { .. } => "failed",
        }
    }
}

/// One org.
#[derive(Debug, Clone)]
struct Org {
    phase: Phase,
    since: Instant,
    lines: Counts,
    /// Times that the stream was lost or could not be opened.
    failures: u64,
    /// Times that it was opened.
    connections: u64,
    /// Catch-ups that came to their end, and those that did not.
    caught_up: (u64, u64),
    /// The last row's own time, Unix seconds.
    row: Option<i64>,
    /// The last beat, the server's Unix seconds, and when it came.
    beat: Option<(i64, Instant)>,
    /// Up to where everything was taken, Unix seconds.
    covered: i64,
}

/// What is written back.
#[derive(Debug, Clone, Copy, Default)]
struct Published {
    rows: u64,
    failures: u64,
    /// Decisions that are not written back yet.
    waiting: u64,
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One org's part, from now on there.
    pub(super) fn org(&self, org: &str) -> OrgState {
        let new = Org {
            phase: Phase::Connecting,
            since: Instant::now(),
            lines: Counts::default(),
            failures: 0,
            connections: 0,
            caught_up: (0, 0),
            row: None,
            beat: None,
            covered: 0,
        };
        self.seen().orgs.entry(org.to_owned()).or_insert(new);
        OrgState { state: self.clone(), org: org.to_owned() }
    }

    /// An org is watched no more.
    pub(super) fn forget(&self, org: &str) {
        self.seen().orgs.remove(org);
    }

    /// Whether it is known which orgs there are.
    pub(super) fn listed(&self, trouble: Option<String>) {
        self.seen().unlisted = trouble;
    }

    /// Notifications are written back from now on, or more of them were.
    pub(crate) fn published(&self, rows: u64, waiting: u64) {
        let mut seen = self.seen();
        let published = seen.published.get_or_insert_default();
        published.rows += rows;
        published.waiting = waiting;
    }

    /// Writing back has failed.
    pub(crate) fn not_published(&self) {
        self.seen().published.get_or_insert_default().failures += 1;
    }

    /// Why completions may be missed at the moment, a sentence for each org that is not live. Empty: all is well.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let seen = self.seen();
        let mut troubles: Vec<String> =
            seen.unlisted.iter().map(|reason| format!("velociraptor: the orgs are not known: {reason}")).collect();
        for (name, org) in &seen.orgs {
            match &org.phase {
                Phase::Live | Phase::CatchingUp => {}
                Phase::Connecting => troubles.push(format!("velociraptor org {name}: not connected yet")),
                Phase::Failed { reason, hint: "" } => troubles.push(format!("velociraptor org {name}: {reason}")),
                Phase::Failed { reason, hint } => troubles.push(format!("velociraptor org {name}: {reason} ({hint})")),
            }
        }
        troubles
    }

    /// How an org stands, if it is watched.
    #[must_use]
    pub fn phase(&self, org: &str) -> Option<Phase> {
        self.seen().orgs.get(org).map(|org| org.phase.clone())
    }

    /// The families `bewit_velociraptor_*` in Prometheus' text format; empty when nothing is watched or written back.
    #[must_use]
    pub fn exposition(&self) -> String {
        let seen = self.seen();
        let mut text = String::new();
        if !seen.orgs.is_empty() {
            of_orgs(&mut text, &seen.orgs);
        }
        if let Some(Published { rows, failures, waiting }) = seen.published {
            for (name, kind, help, value) in [
                ("published_total", "counter", "Notifications written back to the server.", rows),
                ("publish_failures_total", "counter", "Times that the server did not take them.", failures),
                ("publish_waiting", "gauge", "Decisions that are not looked at for writing back yet.", waiting),
            ] {
                let name = format!("bewit_velociraptor_{name}");
                let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
            }
        }
        text
    }
}

fn of_orgs(text: &mut String, orgs: &BTreeMap<String, Org>) {
    let mut family = |name: &str, kind: &str, help: &str, samples: &dyn Fn(&Org) -> Vec<(String, u64)>| {
        let _ = write!(text, "# HELP bewit_velociraptor_{name} {help}\n# TYPE bewit_velociraptor_{name} {kind}\n");
        for (org, of) in orgs {
            for (labels, value) in samples(of) {
                let _ = writeln!(text, "bewit_velociraptor_{name}{{org=\"{}\"{labels}}} {value}", label(org));
            }
        }
    };
    let plain = |value: u64| vec![(String::new(), value)];
    let time =
        |at: Option<i64>| at.and_then(|at| u64::try_from(at).ok()).into_iter().map(|at| (String::new(), at)).collect();
    family("live", "gauge", "1 while the completions of an org are taken as they come.", &|org| {
        plain(org.phase.is_live().into())
    });
    family("phase_seconds", "gauge", "How long an org has been in its phase.", &|org| {
        vec![(format!(",phase=\"{}\"", org.phase.name()), org.since.elapsed().as_secs())]
    });
    family("rows_total", "counter", "Rows of an org that were taken, by what they were.", &|org| {
        let Counts { accepted, duplicates, conflicts, rejected } = org.lines;
        let all = [("new", accepted), ("known", duplicates), ("changed", conflicts), ("rejected", rejected)];
        all.map(|(kind, count)| (format!(",row=\"{kind}\""), count)).into()
    });
    family("connections_total", "counter", "Times that an org's stream has begun.", &|org| plain(org.connections));
    family("failures_total", "counter", "Times that an org's stream was lost or did not begin.", &|org| {
        plain(org.failures)
    });
    family("catch_ups_total", "counter", "Times that an org was asked for what was missed, by outcome.", &|org| {
        let (done, failed) = org.caught_up;
        vec![(",outcome=\"complete\"".to_owned(), done), (",outcome=\"failed\"".to_owned(), failed)]
    });
    family("last_row_seconds", "gauge", "When the last completion of an org was, Unix seconds.", &|org| time(org.row));
    family(
        "last_beat_seconds",
        "gauge",
        "When an org's server was last heard, Unix seconds of its own clock.",
        &|org| time(org.beat.map(|(at, _)| at)),
    );
    family("lag_seconds", "gauge", "Time up to the server's now that a restart would have to catch up.", &|org| {
        org.lag().map(plain).unwrap_or_default()
    });
}

/// A label's value: org ids are the server's word.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Org {
    /// Seconds between the server's clock and what was taken; `None` before anything was.
    fn lag(&self) -> Option<u64> {
        let now = match self.beat {
            Some((at, came)) => at.saturating_add(i64::try_from(came.elapsed().as_secs()).unwrap_or(i64::MAX)),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
            }
        };
        (self.covered > 0).then(|| u64::try_from(now.saturating_sub(self.covered)).unwrap_or(0))
    }
}

/// One org's part of the state.
#[derive(Debug, Clone)]
pub(super) struct OrgState {
    state: State,
    org: String,
}

impl OrgState {
    fn with<T>(&self, change: impl FnOnce(&mut Org) -> T) -> Option<T> {
        self.state.seen().orgs.get_mut(&self.org).map(change)
    }

    fn phase(&self, phase: Phase) {
        self.with(|org| {
            if org.phase != phase {
                (org.phase, org.since) = (phase, Instant::now());
            }
        });
    }

    /// The stream has begun.
    pub(super) fn begun(&self) {
        self.with(|org| org.connections += 1);
        self.phase(Phase::CatchingUp);
    }

    /// What was missed is taken.
    pub(super) fn live(&self) {
        self.phase(Phase::Live);
    }

    /// The stream is lost, or did not begin.
    pub(super) fn failed(&self, error: &ApiError) {
        self.with(|org| org.failures += 1);
        self.phase(Phase::Failed { reason: error.to_string(), hint: error.hint() });
    }

    /// A catch-up has ended, well or not.
    pub(super) fn caught_up(&self, well: bool) {
        self.with(|org| if well { org.caught_up.0 += 1 } else { org.caught_up.1 += 1 });
    }

    /// A beat.
    pub(super) fn beat(&self, at: i64) {
        self.with(|org| org.beat = Some((at, Instant::now())));
    }

    /// Lines were stored.
    pub(super) fn stored(&self, counts: Counts, latest: Option<i64>) {
        self.with(|org| {
            org.lines.add(counts);
            org.row = org.row.max(latest);
        });
    }

    /// Everything up to here was taken.
    pub(super) fn covered(&self, at: i64) {
        self.with(|org| org.covered = org.covered.max(at));
    }

    /// All its lines so far.
    pub(super) fn counts(&self) -> Counts {
        self.with(|org| org.lines).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_that_is_not_live_is_named_with_its_reason() {
        let state = State::default();
        assert_eq!(state.troubles(), Vec::<String>::new());
        let (root, other) = (state.org("root"), state.org("O1"));
        assert_eq!(state.troubles().len(), 2);
        root.begun();
        assert_eq!(state.troubles(), ["velociraptor org O1: not connected yet"]);
        other.failed(&ApiError::Denied("no".into()));
        let trouble = state.troubles().remove(0);
        assert!(
            trouble.starts_with("velociraptor org O1: permission denied: no (`velociraptor acl grant"),
            "{trouble}"
        );
        state.forget("O1");
        other.begun();
        root.live();
        assert_eq!(state.troubles(), Vec::<String>::new());
        assert_eq!((state.phase("root"), state.phase("O1")), (Some(Phase::Live), None));
        state.listed(Some("nobody answers".into()));
        assert_eq!(state.troubles(), ["velociraptor: the orgs are not known: nobody answers"]);
    }

    #[test]
    fn every_sample_has_help_and_type() {
        let state = State::default();
        assert_eq!(state.exposition(), "");
        let org = state.org("O\"1");
        org.begun();
        org.beat(1_786_500_000);
        org.covered(1_786_499_990);
        org.stored(Counts { accepted: 3, duplicates: 2, ..Counts::default() }, Some(1_786_499_999));
        org.failed(&ApiError::Silent(30));
        state.published(4, 1);
        state.not_published();
        let text = state.exposition();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")) && text.contains(&format!("# HELP {name} ")), "{name}");
        }
        for sample in [
            "live{org=\"O\\\"1\"} 0",
            "rows_total{org=\"O\\\"1\",row=\"new\"} 3",
            "rows_total{org=\"O\\\"1\",row=\"known\"} 2",
            "failures_total{org=\"O\\\"1\"} 1",
            "last_row_seconds{org=\"O\\\"1\"} 1786499999",
            "last_beat_seconds{org=\"O\\\"1\"} 1786500000",
            "lag_seconds{org=\"O\\\"1\"} 10",
            "published_total 4",
            "publish_failures_total 1",
            "publish_waiting 1",
        ] {
            assert!(text.contains(&format!("bewit_velociraptor_{sample}\n")), "{sample}\n{text}");
        }
    }
}
