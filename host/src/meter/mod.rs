//! What is measured while the daemon runs: how long each step takes, how much goes into a transaction, what became of
//! mails, what rules decided. Counters of flow, since the start; how much there *is* of everything, the outbox counts.
//!
//! Measuring costs two or three atomic additions: no lock, no allocation. `names` has every metric's name, `text` writes
//! Prometheus' format.

mod histogram;
pub mod names;
mod scrape;
pub mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

pub use self::histogram::{Histogram, Scale};
use self::text::Text;

/// A step on the way of an event. The discriminants are places in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A line is read and becomes an event, or is rejected.
    Parse,
    /// A server is asked for what an event lacks.
    Gather,
    /// A rule decides on an event, its plugin filters included.
    Judge,
    /// A mail is written, renderers included.
    Compose,
    /// A session with a mail server is opened, or is not.
    Connect,
    /// A mail is handed over in one transaction with a mail server, or written into the mailbox folder.
    Deliver,
}

impl Step {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Parse, "parse"),
        (Self::Gather, "gather"),
        (Self::Judge, "judge"),
        (Self::Compose, "compose"),
        (Self::Connect, "connect"),
        (Self::Deliver, "deliver"),
    ];
}

/// What is asked of the outbox's writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Events with their decisions and mails.
    Accept,
    /// Mails that are due are taken by delivery.
    Claim,
    /// The final dot is about to be sent.
    Dot,
    /// What became of a mail.
    Report,
    /// Digests, judgements that were put off, retention.
    Other,
}

impl Commit {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Accept, "accept"),
        (Self::Claim, "claim"),
        (Self::Dot, "dot"),
        (Self::Report, "report"),
        (Self::Other, "other"),
    ];
}

/// What became of a recipient in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The mail was accepted.
    Delivered,
    /// It is tried again later.
    Deferred,
    /// It never will be.
    Failed,
    /// A person decides.
    Held,
    /// It was not tried, and no attempt counts.
    Released,
}

impl Fate {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Delivered, "delivered"),
        (Self::Deferred, "deferred"),
        (Self::Failed, "failed"),
        (Self::Held, "held"),
        (Self::Released, "released"),
    ];
}

/// What a rule made of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// Somebody is told.
    Notify,
    /// Nobody is told.
    Skip,
    /// Somebody should be told, and no mail could be written.
    Error,
    /// It is judged again later.
    PutOff,
}

impl Decided {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Notify, "notify"), (Self::Skip, "skip"), (Self::Error, "error"), (Self::PutOff, "put_off")];
}

/// How a mail server does, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayNow {
    /// `host:port`.
    pub name: String,
    /// What is wrong, in one word; `None`: nothing.
    pub trouble: Option<&'static str>,
    /// Sessions that are open.
    pub sessions: usize,
    /// Sessions that may be open.
    pub limit: usize,
    /// Mails a second that it is given; `None`: as many as there are.
    pub rate: Option<f64>,
    /// Times that it went down since delivery began.
    pub falls: u64,
    /// Times that it said that it gets too much.
    pub slowed: u64,
}

/// Who knows how a mail server does.
pub trait Relays: Send + Sync {
    /// It, now.
    fn now(&self) -> RelayNow;
}

type Counts<const N: usize> = [AtomicU64; N];

/// Everything that is measured. Shared by all who measure.
#[derive(Default)]
pub struct Meter {
    steps: [Histogram; Step::ALL.len()],
    commits: [Histogram; Commit::ALL.len()],
    transactions: Histogram,
    groups: Histogram,
    ways: Histogram,
    fates: Counts<{ Fate::ALL.len() }>,
    /// By rule, each rule that has judged something since the start.
    rules: ArcSwap<BTreeMap<String, Arc<Counts<{ Decided::ALL.len() }>>>>,
    relays: Mutex<Vec<Weak<dyn Relays>>>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    /// Nothing measured yet.
    #[must_use]
    pub fn new() -> Self {
        Self { groups: Histogram::new(Scale::Sizes), ways: Histogram::new(Scale::Waits), ..Self::default() }
    }

    /// A step took so long.
    pub fn step(&self, step: Step, took: Duration) {
        if let Some(histogram) = self.steps.get(step as usize) {
            histogram.time(took);
        }
    }

    /// The outbox's writer was asked, and what it was asked for is on disk so long after.
    pub fn commit(&self, commit: Commit, took: Duration) {
        if let Some(histogram) = self.commits.get(commit as usize) {
            histogram.time(took);
        }
    }

    /// A transaction of the outbox's writer has committed so many commands.
    pub fn transaction(&self, commands: usize, took: Duration) {
        self.transactions.time(took);
        self.groups.record(commands as u64);
    }

    /// What became of one recipient.
    pub fn fate(&self, fate: Fate) {
        if let Some(count) = self.fates.get(fate as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A recipient's mail was accepted so long after it was due for the first time: after its event was received, unless
    /// `send_interval` has made it wait.
    pub fn way(&self, took: Duration) {
        self.ways.time(took);
    }

    /// A rule has judged an event.
    pub fn decided(&self, rule: &str, decided: Decided) {
        let count = |rules: &BTreeMap<String, Arc<Counts<{ Decided::ALL.len() }>>>| {
            let count = rules.get(rule).and_then(|counts| counts.get(decided as usize));
            count.map(|count| count.fetch_add(1, Ordering::Relaxed)).is_some()
        };
        if count(&self.rules.load()) {
            return;
        }
        // The first of its rule.
        self.rules.rcu(|rules| {
            let mut rules = BTreeMap::clone(rules);
            rules.entry(rule.to_owned()).or_default();
            rules
        });
        count(&self.rules.load());
    }

    /// Another mail server is delivered to from now on; it is shown as long as it lives.
    pub fn watch_relay(&self, relay: Weak<dyn Relays>) {
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        relays.retain(|relay| relay.strong_count() > 0);
        relays.push(relay);
    }

    /// How each mail server does.
    #[must_use]
    pub fn relays(&self) -> Vec<RelayNow> {
        let relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner).clone();
        relays.iter().filter_map(Weak::upgrade).map(|relay| relay.now()).collect()
    }

    /// Writes it all in Prometheus' format.
    pub fn write(&self, text: &mut Text) {
        scrape::write(self, text);
    }
}

#[cfg(test)]
mod tests;
