//! What is known of the mail server as a whole: whether it can be reached, whether it wants us, how many sessions it
//! bears. Time is an argument.
//!
//! While it is down, one mail at a time goes as a probe. A server that refuses us (5yz before any mail, a bad
//! certificate, no login offered) or refuses most of what it gets is probed by the `retry` list. One that cannot be
//! reached is probed by the same list, but at least once a minute: nobody has to do anything for it to come back, and
//! then the queue should move at once.
//!
//! A server that is up and says that it gets too much of us gets half: of sessions here, of mails in [`pace`](super::pace).
//! Sessions come back one by one, and later after each time that one more was too many.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pace::{Pace, RAISE_AFTER, Slowed};
use crate::config::{Rate, RetryPolicy};
use crate::meter::RelayNow;
use crate::outbox::schedule::JITTER;

/// The longest wait between two looks at a server that cannot be reached.
pub(super) const PROBE_CAP: Duration = Duration::from_secs(60);
/// 5yz replies to mails in a burst before the server is suspended: one that refuses everything buries so many mails.
const BURST: usize = 20;
/// How long a burst may take.
const BURST_WINDOW: Duration = Duration::from_secs(600);
/// Outcomes that are remembered.
const BURST_MEMORY: usize = 4_096;
/// Dialogues in a row that end in a lost connection before the server counts as not reachable.
const BROKEN_IN_A_ROW: u32 = 3;
/// After so long, all sessions are tried again.
const RAISE_TIME: Duration = Duration::from_secs(300);
/// How often the waits for one session more are doubled.
const MOST_STRAIN: u32 = 5;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Network, time-outs, 4yz before any mail: it will pass.
    Unreachable,
    /// It does not want us, whatever the mail: somebody must look.
    Refuses,
    /// It refused most of a burst of mails.
    Burst,
}

/// A server that is down.
#[derive(Debug, Clone)]
pub(super) struct Down {
    pub(super) trouble: Trouble,
    pub(super) reason: String,
    /// When the next mail may go as a probe.
    pub(super) next: Instant,
    failed_probes: usize,
}

/// The health of one server.
#[derive(Debug)]
pub(super) struct Relay {
    name: String,
    retry: RetryPolicy,
    connections: usize,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Health {
    down: Option<Down>,
    broken: u32,
    /// When, and whether it was a failure.
    outcomes: VecDeque<(Instant, bool)>,
    limit: usize,
    limited: Option<Instant>,
    taken: u32,
    /// More sessions are being tried than it bore before.
    trying: bool,
    /// How often that was too many.
    strain: u32,
    pace: Pace,
    /// Times that it went down.
    falls: u64,
    /// Times that it said that it gets too much.
    slowed: u64,
}

impl Health {
    /// So many sessions, and no more for a while: for longer, if more had just been tried.
    fn fewer(&mut self, now: Instant, limit: usize) {
        if std::mem::take(&mut self.trying) {
            self.strain = MOST_STRAIN.min(self.strain + 1);
        }
        self.limit = limit;
        self.limited = Some(now);
        self.taken = 0;
    }
}

impl Relay {
    pub(super) fn new(name: String, connections: usize, rate: Option<Rate>, retry: RetryPolicy) -> Self {
        let connections = connections.max(1);
        let health = Health {
            down: None,
            broken: 0,
            outcomes: VecDeque::new(),
            limit: connections,
            limited: None,
            taken: 0,
            trying: false,
            strain: 0,
            pace: Pace::new(rate, Instant::now()),
            falls: 0,
            slowed: 0,
        };
        Self { name, retry, connections, health: Mutex::new(health) }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong, if anything.
    pub(super) fn down(&self) -> Option<Down> {
        self.health().down.clone()
    }

    /// For those who watch; so many sessions are open.
    pub(super) fn now(&self, now: Instant, sessions: usize) -> RelayNow {
        let limit = self.limit(now);
        let health = self.health();
        let trouble = health.down.as_ref().map(|down| match down.trouble {
            Trouble::Unreachable => "unreachable",
            Trouble::Refuses => "refuses",
            Trouble::Burst => "burst",
        });
        let (name, rate) = (self.name.clone(), health.pace.rate());
        RelayNow { name, trouble, sessions, limit, rate, falls: health.falls, slowed: health.slowed }
    }

    /// Sessions that may be open now.
    pub(super) fn limit(&self, now: Instant) -> usize {
        let mut health = self.health();
        let wait = RAISE_TIME * (1 << health.strain);
        if health.limited.is_some_and(|since| now.saturating_duration_since(since) >= wait) {
            health.limit = self.connections;
            health.limited = None;
            health.taken = 0;
            health.trying = true;
        }
        health.limit
    }

    /// A session was refused while others are open: so many are enough.
    pub(super) fn crowded(&self, now: Instant, open: usize) {
        let mut health = self.health();
        health.fewer(now, open.clamp(1, self.connections));
        tracing::info!(server = %self.name, sessions = health.limit, "the mail server bears no more sessions for now");
    }

    /// The server takes mails, but says that it gets too much, while so many sessions are open: it is left alone for a moment
    /// and then gets half. If it goes on like that, it counts as not reachable.
    pub(super) fn slow(&self, now: Instant, open: usize, reason: &str) {
        let mut health = self.health();
        if health.down.is_some() {
            drop(health);
            self.fell(now, Trouble::Unreachable, reason);
            return;
        }
        match health.pace.slow(now) {
            Slowed::Already => {}
            Slowed::Longer => health.slowed += 1,
            Slowed::Halved => {
                let half = health.limit.min(open.max(1)) / 2;
                health.fewer(now, half.max(1));
                health.slowed += 1;
                let (sessions, a_minute) = (health.limit, health.pace.rate().map(|rate| (rate * 60.0).round()));
                drop(health);
                tracing::warn!(server = %self.name, reason, sessions, a_minute, "the mail server gets too much: slower now");
            }
            Slowed::Enough => {
                drop(health);
                self.fell(now, Trouble::Unreachable, reason);
            }
        }
    }

    /// A mail wants to go. False: not yet.
    pub(super) fn take(&self, now: Instant) -> bool {
        self.health().pace.take(now)
    }

    /// A mail goes once more.
    pub(super) fn spend(&self, now: Instant) {
        self.health().pace.spend(now);
    }

    /// One that was to go did not.
    pub(super) fn give_back(&self) {
        self.health().pace.give_back();
    }

    /// From when the next mail may go; `None`: now.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.health().pace.next(now)
    }

    /// Mails that may go within a time, about; `None`: as many as there are.
    pub(super) fn within(&self, time: Duration) -> Option<usize> {
        let rate = self.health().pace.rate()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number, saturated")]
        Some((rate * time.as_secs_f64()).ceil() as usize)
    }

    /// Something went wrong that is no mail's fault. Several sessions that fall together fall once.
    pub(super) fn fell(&self, now: Instant, trouble: Trouble, reason: &str) -> Down {
        let mut health = self.health();
        if let Some(down) = health.down.as_ref().filter(|down| now < down.next) {
            return down.clone();
        }
        let failed_probes = health.down.as_ref().map_or(0, |down| down.failed_probes + 1);
        let next = now + self.wait(trouble, failed_probes);
        let down = Down { trouble, reason: reason.to_owned(), next, failed_probes };
        health.falls += u64::from(health.down.replace(down.clone()).is_none());
        health.broken = 0;
        drop(health);
        let seconds = next.saturating_duration_since(now).as_secs_f64().round();
        match (trouble, failed_probes) {
            (Trouble::Unreachable, 0) => {
                tracing::warn!(server = %self.name, reason, "mail server not reachable; mails wait, next look in {seconds} s");
            }
            (_, 0) => {
                tracing::error!(server = %self.name, reason, "mail server suspended; mails wait, next look in {seconds} s");
            }
            _ => tracing::warn!(server = %self.name, reason, "mail server still down, next look in {seconds} s"),
        }
        down
    }

    /// The wait after so many failed probes, by the retry list with its jitter.
    fn wait(&self, trouble: Trouble, failed_probes: usize) -> Duration {
        let listed = self.retry.wait(failed_probes);
        let wait = if trouble == Trouble::Unreachable { listed.min(PROBE_CAP) } else { listed };
        wait.mul_f64(rand::random_range(1.0 - JITTER..=1.0 + JITTER))
    }

    /// A dialogue was completed in order: the server is there and wants us.
    pub(super) fn answered(&self) {
        let mut health = self.health();
        health.broken = 0;
        if health.down.as_ref().is_some_and(|down| down.trouble != Trouble::Burst) {
            health.down = None;
            tracing::info!(server = %self.name, "mail server is back");
        }
    }

    /// A dialogue ended in a lost connection. One mail may be to blame; several in a row are not.
    pub(super) fn broke(&self, now: Instant, reason: &str) {
        let mut health = self.health();
        health.broken += 1;
        let fallen = health.down.is_some() || health.broken >= BROKEN_IN_A_ROW;
        drop(health);
        if fallen {
            self.fell(now, Trouble::Unreachable, reason);
        }
    }

    /// A mail was taken.
    pub(super) fn delivered(&self, now: Instant) {
        let mut health = self.health();
        remember(&mut health.outcomes, now, false);
        if health.down.take_if(|down| down.trouble == Trouble::Burst).is_some() {
            health.outcomes.clear();
            tracing::info!(server = %self.name, "mail server takes mails again");
        }
        health.pace.taken(now);
        health.taken = health.taken.saturating_add(1);
        if health.taken >= RAISE_AFTER << health.strain {
            // It bears what it has.
            if health.trying {
                health.strain = health.strain.saturating_sub(1);
            }
            health.trying = health.limit < self.connections;
            health.limit = self.connections.min(health.limit + 1);
            health.taken = 0;
        }
    }

    /// A recipient was refused for good. False: the server refuses so much that the refusal does not count; hold the mail
    /// back.
    pub(super) fn refused(&self, now: Instant, reason: &str) -> bool {
        let mut health = self.health();
        if health.down.as_ref().is_some_and(|down| down.trouble == Trouble::Burst) {
            drop(health);
            self.fell(now, Trouble::Burst, reason);
            return false;
        }
        remember(&mut health.outcomes, now, true);
        let failures = health.outcomes.iter().filter(|(_, failed)| *failed).count();
        let most = failures * 2 > health.outcomes.len();
        drop(health);
        if failures >= BURST && most {
            let reason = format!("{failures} of its latest replies were refusals for good, at last: {reason}");
            self.fell(now, Trouble::Burst, &reason);
        }
        true
    }
}

fn remember(outcomes: &mut VecDeque<(Instant, bool)>, now: Instant, failed: bool) {
    while outcomes.len() >= BURST_MEMORY
        || outcomes.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > BURST_WINDOW)
    {
        outcomes.pop_front();
    }
    outcomes.push_back((now, failed));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(waits: &[u64]) -> Relay {
        let waits = waits.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
        Relay::new("mx".to_owned(), 4, None, RetryPolicy { waits, give_up: Duration::from_secs(432_000) })
    }

    fn stock() -> Relay {
        relay(&[30, 120, 300, 900, 1800, 3600])
    }

    /// Probes that fail within a time, each as soon as it may.
    fn probes(relay: &Relay, trouble: Trouble, span: Duration) -> usize {
        let start = Instant::now();
        let mut now = start;
        let mut probes = 0;
        while now < start + span {
            now = relay.fell(now, trouble, "down").next;
            probes += 1;
        }
        probes
    }

    #[test]
    fn an_hour_without_a_server_takes_about_sixty_looks() {
        let looks = probes(&stock(), Trouble::Unreachable, Duration::from_secs(3600));
        assert!((50..=70).contains(&looks), "{looks}");
    }

    #[test]
    fn a_server_that_refuses_us_is_looked_at_by_the_retry_list() {
        // 30 s, 2.5, 7.5, 22.5, 52.5 min, then hourly: 5 to 7 with jitter.
        let looks = probes(&stock(), Trouble::Refuses, Duration::from_secs(3600));
        assert!((5..=7).contains(&looks), "{looks}");
    }

    #[test]
    fn waits_keep_within_their_jitter() {
        let relay = stock();
        for (probe, listed) in [30.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 3600.0, 3600.0].into_iter().enumerate() {
            for _ in 0..200 {
                let wait = relay.wait(Trouble::Refuses, probe).as_secs_f64();
                assert!((listed * 0.8..=listed * 1.2).contains(&wait), "{probe}: {wait}");
            }
        }
    }

    #[test]
    fn twenty_refusals_suspend_and_the_rest_is_held() {
        let (relay, now) = (stock(), Instant::now());
        let dead = (0..500).filter(|_| relay.refused(now, "550 no")).count();
        assert_eq!(dead, BURST);
        assert_eq!(relay.down().unwrap().trouble, Trouble::Burst);
        // A dialogue alone does not lift it, a mail taken does.
        relay.answered();
        assert!(relay.down().is_some());
        relay.delivered(now);
        assert!(relay.down().is_none());
        assert!(relay.refused(now, "550 no"));
    }

    #[test]
    fn refusals_among_successes_or_over_time_suspend_nothing() {
        let (relay, now) = (stock(), Instant::now());
        for _ in 0..500 {
            relay.delivered(now);
            assert!(relay.refused(now, "550 no"));
        }
        let relay = stock();
        for turn in 0..500 {
            assert!(relay.refused(now + Duration::from_secs(40 * turn), "550 no"));
        }
        assert!(relay.down().is_none());
    }

    #[test]
    fn a_probe_that_is_refused_waits_longer() {
        let (relay, now) = (stock(), Instant::now());
        (0..BURST).for_each(|_| assert!(relay.refused(now, "550 no")));
        let first = relay.down().unwrap();
        assert!(!relay.refused(first.next, "550 no"));
        let second = relay.down().unwrap();
        assert!(second.next - first.next >= Duration::from_secs(96), "{second:?}");
    }

    #[test]
    fn one_lost_connection_is_no_outage_and_three_in_a_row_are() {
        let (relay, now) = (stock(), Instant::now());
        relay.broke(now, "closed");
        relay.broke(now, "closed");
        relay.answered();
        relay.broke(now, "closed");
        relay.broke(now, "closed");
        assert!(relay.down().is_none());
        relay.broke(now, "closed");
        assert_eq!(relay.down().unwrap().trouble, Trouble::Unreachable);
        relay.answered();
        assert!(relay.down().is_none());
    }

    #[test]
    fn a_crowded_server_gets_fewer_sessions_for_a_while() {
        let (relay, now) = (stock(), Instant::now());
        relay.crowded(now, 2);
        assert_eq!(relay.limit(now), 2);
        (0..RAISE_AFTER).for_each(|_| relay.delivered(now));
        assert_eq!(relay.limit(now), 3);
        assert_eq!(relay.limit(now + RAISE_TIME), 4);
    }

    #[test]
    fn what_was_too_many_is_tried_again_later_each_time() {
        let (relay, mut now) = (stock(), Instant::now());
        relay.crowded(now, 3);
        let mut waits = Vec::new();
        for _ in 0..4 {
            let mut mails = 0;
            while relay.limit(now) == 3 {
                relay.delivered(now);
                mails += 1;
            }
            waits.push(mails);
            relay.crowded(now, 3);
        }
        assert_eq!(waits, [50, 100, 200, 400]);
        // Time does it, too, and what is borne makes the next wait shorter.
        now += RAISE_TIME * 16;
        assert_eq!(relay.limit(now), 4);
        (0..RAISE_AFTER * 16).for_each(|_| relay.delivered(now));
        relay.crowded(now, 3);
        assert_eq!((relay.limit(now + RAISE_TIME * 7), relay.limit(now + RAISE_TIME * 8)), (3, 4));
    }

    #[test]
    fn a_server_that_gets_too_much_gets_half_and_then_none() {
        let (relay, mut now) = (stock(), Instant::now());
        relay.slow(now, 4, "450 4.7.1 slow down");
        relay.slow(now, 4, "450 4.7.1 slow down");
        assert_eq!(relay.limit(now), 2);
        assert!(!relay.take(now) && relay.down().is_none());
        for _ in 0..6 {
            now = relay.next(now).unwrap() + Duration::from_secs(1);
            relay.slow(now, 1, "450 4.7.1 slow down");
            if let Some(down) = relay.down() {
                // Halved once: it was the same trouble all the time.
                assert_eq!((down.trouble, relay.limit(now)), (Trouble::Unreachable, 2));
                return;
            }
        }
        panic!("never down");
    }
}
