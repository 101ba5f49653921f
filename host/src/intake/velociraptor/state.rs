//! How the watching goes, for `/metrics` and `/readyz`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::intake::Counts;
use crate::meter::names::{self, Family};
use crate::meter::text::Text;
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

    /// Writes the families of what is watched and of what is written back.
    pub fn write(&self, text: &mut Text) {
        let seen = self.seen();
        of_orgs(text, &seen.orgs);
        let published = seen.published.map(|Published { rows, failures, waiting }| [rows, failures, waiting]);
        let families = [&names::V_PUBLISHED, &names::V_NOT_PUBLISHED, &names::V_UNPUBLISHED];
        for (at, family) in families.into_iter().enumerate() {
            let mut samples = text.family(family);
            if let Some(value) = published.as_ref().and_then(|published| published.get(at)) {
                samples.add(&[], *value);
            }
        }
    }
}

fn of_orgs(text: &mut Text, orgs: &BTreeMap<String, Org>) {
    let mut family = |family: &'static Family, samples: &dyn Fn(&Org) -> Vec<(&'static str, u64)>| {
        let mut written = text.family(family);
        for (org, of) in orgs {
            for (label, value) in samples(of) {
                let labels = [org.as_str(), label];
                written.add(labels.get(..family.labels.len()).unwrap_or_default(), value);
            }
        }
    };
    let plain = |value: u64| vec![("", value)];
    let time = |at: Option<i64>| at.and_then(|at| u64::try_from(at).ok()).into_iter().map(|at| ("", at)).collect();
    family(&names::V_LIVE, &|org| plain(org.phase.is_live().into()));
    family(&names::V_PHASE, &|org| vec![(org.phase.name(), org.since.elapsed().as_secs())]);
    family(&names::V_ROWS, &|org| {
        let Counts { accepted, duplicates, conflicts, rejected } = org.lines;
        [("new", accepted), ("known", duplicates), ("changed", conflicts), ("rejected", rejected)].into()
    });
    family(&names::V_CONNECTIONS, &|org| plain(org.connections));
    family(&names::V_FAILURES, &|org| plain(org.failures));
    family(&names::V_CATCH_UPS, &|org| vec![("complete", org.caught_up.0), ("failed", org.caught_up.1)]);
    family(&names::V_LAST_ROW, &|org| time(org.row));
    family(&names::V_LAST_BEAT, &|org| time(org.beat.map(|(at, _)| at)));
    family(&names::V_LAG, &|org| org.lag().map(plain).unwrap_or_default());
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
        let told = |state: &State| {
            let mut text = Text::default();
            state.write(&mut text);
            text.finish()
        };
        let state = State::default();
        assert!(told(&state).lines().all(|line| line.starts_with('#')));
        let org = state.org("O\"1");
        org.begun();
        org.beat(1_786_500_000);
        org.covered(1_786_499_990);
        org.stored(Counts { accepted: 3, duplicates: 2, ..Counts::default() }, Some(1_786_499_999));
        org.failed(&ApiError::Silent(30));
        state.published(4, 1);
        state.not_published();
        let text = told(&state);
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
