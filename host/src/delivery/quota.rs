//! `[smtp.limits]`: what single recipients and domains get in a time. Time is an argument.
//!
//! Exact: in no span of a limit's time are there more mails than it says. Who comes when a span is full gets the place in
//! time at which there is room again, and waits for it in the outbox; so each mail is looked at twice, however many wait.
//! Critical mails do not wait, and count. Bulk mails wait behind all others, and give their places up to them.
//!
//! Only what was delivered counts, and what is under way. All this is forgotten at a restart.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Limits, Rate};
use crate::outbox::{Job, JobRecipient};
use crate::rule::Priority;

/// Mails whose places are remembered. Those beyond wait as long, and then queue up again.
const PLACES: usize = 200_000;
/// How often what is over is cleared away.
const CLEAR: Duration = Duration::from_secs(60);

/// Who has got what.
#[derive(Debug)]
pub(super) struct Quotas {
    limits: Limits,
    spans: HashMap<Key, Span>,
    places: HashMap<i64, Place>,
    cleared: Instant,
}

/// A recipient, or a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Recipient(String),
    Domain(String),
}

/// When mails went, or are to go.
#[derive(Debug)]
struct Span {
    rate: Rate,
    /// All of them, in order.
    all: VecDeque<Instant>,
    /// Those that nobody can take a place from, in order: bulk that waits is not among them.
    firm: VecDeque<Instant>,
}

/// A mail's place in time.
#[derive(Debug)]
struct Place {
    at: Instant,
    bulk: bool,
    keys: Vec<Key>,
}

/// Why a mail waits, and until when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) until: Instant,
    pub(super) reason: String,
}

impl Span {
    /// The next time at which there is room, behind so many that have their places.
    fn behind(&self, times: &VecDeque<Instant>, places: usize, now: Instant) -> Instant {
        let before = usize::try_from(self.rate.count).ok().and_then(|count| places.checked_sub(count));
        before.and_then(|at| times.get(at)).map_or(now, |at| (*at + self.rate.per).max(now))
    }

    /// The next time at which there is room. Who has waited need not stand behind those whose times are to come.
    fn room(&self, bulk: bool, waited: bool, now: Instant) -> Instant {
        let times = if bulk { &self.all } else { &self.firm };
        if waited && self.behind(times, times.partition_point(|at| *at <= now), now) == now {
            return now;
        }
        self.behind(times, times.len(), now)
    }

    fn add(&mut self, at: Instant, bulk: bool) {
        for times in std::iter::once(&mut self.all).chain((!bulk).then_some(&mut self.firm)) {
            times.insert(times.partition_point(|own| *own <= at), at);
        }
    }

    fn remove(&mut self, at: Instant, bulk: bool) {
        for times in std::iter::once(&mut self.all).chain((!bulk).then_some(&mut self.firm)) {
            if let Ok(place) = times.binary_search(&at) {
                times.remove(place);
            }
        }
    }

    /// Forgets what is over.
    fn forget(&mut self, now: Instant) {
        for times in [&mut self.all, &mut self.firm] {
            while times.front().is_some_and(|at| *at + self.rate.per <= now) {
                times.pop_front();
            }
        }
    }
}

impl Quotas {
    /// `None` without a limit.
    pub(super) fn new(limits: &Limits, now: Instant) -> Option<Self> {
        (*limits != Limits::default()).then(|| Self {
            limits: limits.clone(),
            spans: HashMap::new(),
            places: HashMap::new(),
            cleared: now,
        })
    }

    /// Whether each recipient of a mail may get it now. Those that may must be [ended](Self::ended); so must those that wait,
    /// unless they are asked for again.
    pub(super) fn admit(&mut self, job: &Job, now: Instant) -> Vec<Result<(), Full>> {
        self.clear(now);
        let mut domains: Vec<String> = Vec::new();
        job.recipients.iter().map(|to| self.admit_one(to, job.priority, &mut domains, now)).collect()
    }

    /// `domains`: those that get this mail already.
    fn admit_one(
        &mut self,
        to: &JobRecipient,
        priority: Priority,
        domains: &mut Vec<String>,
        now: Instant,
    ) -> Result<(), Full> {
        let waited = self.places.get(&to.id).is_some_and(|place| place.at <= now);
        self.ended(to.id, false, now);
        let (bulk, address) = (priority == Priority::Bulk, to.address.to_lowercase());
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned();
        let domain_rate = self.limits.domains.get(&domain).or(self.limits.domain.as_ref()).copied();
        let mut keys: Vec<(Key, Rate)> = Vec::with_capacity(2);
        keys.extend(self.limits.recipient.map(|rate| (Key::Recipient(address.clone()), rate)));
        // One mail to several recipients of a domain is one mail.
        let with_others = domains.contains(&domain);
        keys.extend(domain_rate.filter(|_| !with_others).map(|rate| (Key::Domain(domain.clone()), rate)));
        let (mut at, mut full) = (now, None);
        for (key, rate) in &keys {
            let span = self.spans.entry(key.clone()).or_insert_with(|| Span {
                rate: *rate,
                all: VecDeque::new(),
                firm: VecDeque::new(),
            });
            span.forget(now);
            let room = span.room(bulk, waited, now);
            if room > at && priority != Priority::Critical {
                (at, full) = (room, Some((key, rate)));
            }
        }
        let full = full.map(|(key, rate)| Full {
            until: at,
            reason: match key {
                Key::Recipient(address) => {
                    format!("waits for its turn: {address} gets {rate} at most (`recipient` in [smtp.limits])")
                }
                Key::Domain(domain) => {
                    format!("waits for its turn: {domain} gets {rate} at most (`domain` in [smtp.limits])")
                }
            },
        });
        if full.is_none() && !with_others {
            domains.push(domain);
        }
        // What goes now is on its way.
        let bulk = bulk && full.is_some();
        if !keys.is_empty() && (full.is_none() || self.places.len() < PLACES) {
            let keys: Vec<Key> = keys.into_iter().map(|(key, _)| key).collect();
            for key in &keys {
                if let Some(span) = self.spans.get_mut(key) {
                    span.add(at, bulk);
                }
            }
            self.places.insert(to.id, Place { at, bulk, keys });
        }
        full.map_or(Ok(()), Err)
    }

    /// A recipient's mail has ended in this way or that. If it was not delivered, its place is free.
    pub(super) fn ended(&mut self, recipient: i64, delivered: bool, now: Instant) {
        let Some(place) = self.places.remove(&recipient) else { return };
        for key in &place.keys {
            if let Some(span) = self.spans.get_mut(key) {
                span.remove(place.at, place.bulk);
                if delivered {
                    // Now, not when it was taken up.
                    span.add(now, false);
                }
            }
        }
    }

    fn clear(&mut self, now: Instant) {
        if now.saturating_duration_since(self.cleared) < CLEAR {
            return;
        }
        self.cleared = now;
        // Mails that were taken out by hand never come back for their places.
        self.places.retain(|_, place| {
            let span = place.keys.iter().filter_map(|key| self.spans.get(key)).map(|span| span.rate.per).max();
            place.at + span.unwrap_or_default() + CLEAR > now
        });
        self.spans.retain(|_, span| {
            span.forget(now);
            !span.all.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use Priority::{Bulk, Critical, Normal};

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits(recipient: u32, domain: u32) -> Limits {
        let rate = |count: u32| (count > 0).then_some(Rate { count, per: MINUTE });
        Limits { recipient: rate(recipient), domain: rate(domain), ..Limits::default() }
    }

    fn job(id: i64, priority: Priority, to: &[&str]) -> Job {
        let recipients = (0..).zip(to).map(|(position, to)| JobRecipient {
            id: id * 10 + position,
            address: (*to).to_owned(),
            attempts: 0,
        });
        Job {
            mail: id,
            epoch: 1,
            message_id: String::new(),
            sender: String::new(),
            recipients: recipients.collect(),
            head: Vec::new(),
            body: std::sync::Arc::default(),
            size: 0,
            stored: Timestamp::UNIX_EPOCH,
            priority,
        }
    }

    /// Seconds that the only recipient waits.
    fn waits(quotas: &mut Quotas, id: i64, priority: Priority, to: &str, now: Instant) -> u64 {
        match quotas.admit(&job(id, priority, &[to]), now).remove(0) {
            Ok(()) => 0,
            Err(full) => (full.until - now).as_secs(),
        }
    }

    #[test]
    fn nobody_gets_more_and_each_mail_is_asked_for_twice() {
        let start = Instant::now();
        let mut quotas = Quotas::new(&limits(3, 0), start).unwrap();
        let mut queue: Vec<(Duration, i64)> = (0..100).map(|mail| (Duration::ZERO, mail)).collect();
        let (mut asked, mut went) = (0, Vec::new());
        while !queue.is_empty() {
            queue.sort();
            let (at, mail) = queue.remove(0);
            asked += 1;
            match quotas.admit(&job(mail, Normal, &["ana@example.org"]), start + at).remove(0) {
                Ok(()) => {
                    quotas.ended(mail * 10, true, start + at);
                    went.push((at, mail));
                }
                Err(full) => queue.push((full.until - start, mail)),
            }
        }
        assert_eq!((asked, went.len()), (197, 100));
        assert!(went.iter().map(|(_, mail)| *mail).eq(0..100), "in their order");
        let at_once = |from: Duration| went.iter().filter(|(at, _)| *at >= from && *at < from + MINUTE).count();
        assert!(went.iter().all(|(at, _)| at_once(*at) <= 3));
        assert_eq!(went.last().unwrap().0, MINUTE * 33);
    }

    #[test]
    fn one_who_waits_keeps_nobody_else_waiting() {
        let now = Instant::now();
        let mut quotas = Quotas::new(&limits(1, 0), now).unwrap();
        assert_eq!(waits(&mut quotas, 1, Normal, "ana@example.org", now), 0);
        assert_eq!(waits(&mut quotas, 2, Normal, "Ana@Example.org", now), 60);
        assert_eq!(waits(&mut quotas, 3, Normal, "bob@example.org", now), 0);
        let shared = quotas.admit(&job(4, Normal, &["ana@example.org", "eve@example.org"]), now);
        assert!(shared[0].as_ref().unwrap_err().reason.contains("ana@example.org gets 1/min at most"));
        assert_eq!(shared[1], Ok(()));
    }

    #[test]
    fn a_domain_gets_a_mail_to_several_once() {
        let now = Instant::now();
        let mut quotas = Quotas::new(&limits(0, 2), now).unwrap();
        let three = ["a@example.org", "b@example.org", "c@example.org"];
        assert!(quotas.admit(&job(1, Normal, &three), now).iter().all(Result::is_ok));
        assert!(quotas.admit(&job(2, Normal, &three), now).iter().all(Result::is_ok));
        assert!(quotas.admit(&job(3, Normal, &three), now).iter().all(Result::is_err));
        assert_eq!(waits(&mut quotas, 4, Normal, "a@example.com", now), 0);
    }

    #[test]
    fn a_domain_may_have_a_limit_of_its_own() {
        let now = Instant::now();
        let mut own = limits(0, 100);
        own.domains.insert("slow.example".to_owned(), Rate { count: 1, per: MINUTE });
        let mut quotas = Quotas::new(&own, now).unwrap();
        assert_eq!(waits(&mut quotas, 1, Normal, "a@slow.example", now), 0);
        assert_eq!(waits(&mut quotas, 2, Normal, "b@slow.example", now), 60);
        assert_eq!(waits(&mut quotas, 3, Normal, "b@sub.slow.example", now), 0);
    }

    #[test]
    fn critical_mails_do_not_wait_and_bulk_waits_behind_all() {
        let now = Instant::now();
        let mut quotas = Quotas::new(&limits(2, 0), now).unwrap();
        let to = "ana@example.org";
        for (mail, wait) in [(1, 0), (2, 0), (3, 60), (4, 60), (5, 120)] {
            assert_eq!(waits(&mut quotas, mail, Bulk, to, now), wait, "{mail}");
        }
        assert_eq!(waits(&mut quotas, 6, Critical, to, now), 0);
        // What has gone counts, what waits does not.
        assert_eq!(waits(&mut quotas, 7, Normal, to, now), 60);
        assert_eq!(waits(&mut quotas, 8, Normal, to, now), 60);
        assert_eq!(waits(&mut quotas, 9, Normal, to, now), 120);
        [1, 2, 6].into_iter().for_each(|mail| quotas.ended(mail * 10, true, now));
        let later = now + MINUTE;
        assert_eq!(waits(&mut quotas, 3, Bulk, to, later), 120);
        assert_eq!((waits(&mut quotas, 7, Normal, to, later), waits(&mut quotas, 8, Normal, to, later)), (0, 0));
        assert!(waits(&mut quotas, 4, Bulk, to, later) > 0);
    }

    #[test]
    fn what_was_not_delivered_does_not_count() {
        let now = Instant::now();
        let mut quotas = Quotas::new(&limits(1, 1), now).unwrap();
        assert_eq!(waits(&mut quotas, 1, Normal, "ana@example.org", now), 0);
        quotas.ended(10, false, now);
        assert_eq!(waits(&mut quotas, 2, Normal, "ana@example.org", now), 0);
        quotas.ended(20, true, now);
        assert_eq!(waits(&mut quotas, 3, Normal, "ana@example.org", now), 60);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let now = Instant::now();
        let mut quotas = Quotas::new(&limits(1, 1), now).unwrap();
        (0..100).for_each(|mail| {
            waits(&mut quotas, mail, Normal, &format!("{mail}@example.org"), now);
        });
        assert_eq!(quotas.places.len(), 100);
        waits(&mut quotas, 1_000, Normal, "ana@example.com", now + MINUTE * 200);
        assert_eq!((quotas.places.len(), quotas.spans.len()), (1, 2));
        assert!(Quotas::new(&Limits::default(), now).is_none());
    }
}
