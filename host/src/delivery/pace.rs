//! How many mails a server is given in which time. Time is an argument.
//!
//! What the configuration allows is spread over its time, with a tenth of it at once, so that in no span of that time there
//! is more: who comes in between, waits for one mail and not for a minute. A server that says that it gets too much is left
//! alone for a moment, and then gets half of what it has got in the minute before. From there its share grows by a tenth of
//! where the trouble began with every [`RAISE_AFTER`] mails that it takes; and once it is there without trouble, it doubles
//! every [`DOUBLE`]: it may have been something else. When nothing had to wait for [`FORGET`], it is forgotten.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// After so many mails taken, a little more is tried.
pub(super) const RAISE_AFTER: u32 = 50;
/// The first pause; each that follows before a mail was taken is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// A server that wants a longer one counts as not reachable.
const LONGEST_PAUSE: Duration = Duration::from_secs(32);
/// A pause that is longer ago is no reason for a longer one.
const CALM: Duration = Duration::from_secs(10);
/// A learned rate that has made nobody wait for so long is forgotten.
const FORGET: Duration = Duration::from_secs(600);
/// In which time a share grows to its double that is no trouble any more.
const DOUBLE: Duration = Duration::from_secs(10);
/// What a server must have taken, twenty mails in a minute, for a rate to be learned from it: what it took in a quiet time
/// says little of what it bears, and pauses will do.
const WORTH: f64 = 20.0 / 60.0;
/// The least that is learned.
const LEAST: f64 = WORTH / 2.0;
/// Seconds over which it is measured what a server takes.
const WINDOW: usize = 60;
/// What may go at once of a rate that was learned: timers are no finer.
const GRAIN: Duration = Duration::from_millis(5);

/// What came of the server's word that it gets too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slowed {
    /// A pause, and then half of what it got before.
    Halved,
    /// A longer pause: it has not taken a mail since the last one.
    Longer,
    /// It was under way when the server said so before.
    Already,
    /// It has said so too often without taking a mail.
    Enough,
}

/// The pace of one server.
#[derive(Debug)]
pub(super) struct Pace {
    /// Mails a second and how many at once, as configured.
    most: Option<(f64, f64)>,
    learned: Option<Learned>,
    /// When everything that went would have gone one by one.
    spent: Option<Instant>,
    pause: Option<Pause>,
    /// A mail was taken since the last pause began.
    took: bool,
    taken: Window,
}

#[derive(Debug)]
struct Learned {
    /// Mails a second.
    rate: f64,
    /// Where the trouble began.
    ceiling: f64,
    taken: u32,
    /// Since when the share has been as it is.
    since: Instant,
    /// When a mail had to wait for it.
    waited: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    end: Instant,
    length: Duration,
}

/// Mails taken in each of the latest seconds.
#[derive(Debug)]
struct Window {
    start: Instant,
    /// Whole seconds from `start` to the newest place.
    newest: u64,
    seconds: [u32; WINDOW],
}

impl Window {
    fn advance(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.start).as_secs();
        for passed in self.newest.saturating_add(1)..=second.min(self.newest.saturating_add(WINDOW as u64)) {
            if let Some(place) = self.seconds.get_mut(place(passed)) {
                *place = 0;
            }
        }
        // After a long silence every place was passed; the place of now is among them.
        if second > self.newest.saturating_add(WINDOW as u64) {
            self.seconds = [0; WINDOW];
        }
        self.newest = self.newest.max(second);
        place(self.newest)
    }

    fn add(&mut self, now: Instant) {
        let place = self.advance(now);
        if let Some(place) = self.seconds.get_mut(place) {
            *place = place.saturating_add(1);
        }
    }

    /// Mails a second.
    fn rate(&mut self, now: Instant) -> f64 {
        self.advance(now);
        self.seconds.iter().map(|taken| f64::from(*taken)).sum::<f64>() / WINDOW as f64
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a remainder of a small number")]
fn place(second: u64) -> usize {
    (second % WINDOW as u64) as usize
}

impl Pace {
    pub(super) fn new(most: Option<Rate>, now: Instant) -> Self {
        let most = most.map(|rate| {
            let (count, seconds) = (f64::from(rate.count), rate.per.as_secs_f64());
            let at_once = (count / 10.0).floor().max(1.0);
            // What may go at once comes on top, but for the one that is always there.
            let spread = if at_once > 1.0 { count - at_once } else { count };
            (spread / seconds, at_once)
        });
        let taken = Window { start: now, newest: 0, seconds: [0; WINDOW] };
        Self { most, learned: None, spent: None, pause: None, took: false, taken }
    }

    /// Mails a second that the server is given; `None`: as many as there are.
    pub(super) fn rate(&self) -> Option<f64> {
        let most = self.most.map(|(rate, _)| rate);
        let learned = self.learned.as_ref().map(|learned| learned.rate);
        most.into_iter().chain(learned).reduce(f64::min)
    }

    /// The time of one mail, and how far ahead of it one may be.
    fn step(&self) -> Option<(Duration, Duration)> {
        let step = Duration::from_secs_f64(1.0 / self.rate()?);
        let at_once = self.most.map_or(1.0, |(_, at_once)| at_once);
        let ahead = if self.learned.is_some() { GRAIN } else { step.mul_f64(at_once - 1.0).max(GRAIN) };
        Some((step, ahead))
    }

    /// From when the next mail may go; `None`: now.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let paused = self.pause.map(|pause| pause.end);
        let paced = self.step().and_then(|(_, ahead)| self.spent?.checked_sub(ahead));
        paused.into_iter().chain(paced).max().filter(|next| *next > now)
    }

    /// A mail wants to go. False: not yet.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.next(now).is_some() {
            if let Some(learned) = &mut self.learned {
                learned.waited = now;
            }
            return false;
        }
        if self.learned.as_ref().is_some_and(|learned| now.saturating_duration_since(learned.waited) >= FORGET) {
            self.learned = None;
        }
        if let Some(learned) = &mut self.learned {
            if learned.rate < learned.ceiling {
                learned.since = now;
            } else if now.saturating_duration_since(learned.since) >= DOUBLE {
                learned.rate *= 2.0;
                learned.since = now;
            }
        }
        self.spend(now);
        true
    }

    /// A mail goes, whether it may or not.
    pub(super) fn spend(&mut self, now: Instant) {
        self.spent = self.step().map(|(step, _)| self.spent.map_or(now, |spent| spent.max(now)) + step);
    }

    /// One that was to go did not.
    pub(super) fn give_back(&mut self) {
        if let (Some((step, _)), Some(spent)) = (self.step(), self.spent) {
            self.spent = spent.checked_sub(step);
        }
    }

    /// A mail was taken.
    pub(super) fn taken(&mut self, now: Instant) {
        self.taken.add(now);
        self.took = true;
        self.pause = self.pause.filter(|pause| pause.end > now);
        if let Some(learned) = &mut self.learned {
            learned.taken += 1;
            if learned.taken.is_multiple_of(RAISE_AFTER) && learned.rate < learned.ceiling {
                learned.rate += learned.ceiling / 10.0;
            }
        }
    }

    /// The server has said that it gets too much.
    pub(super) fn slow(&mut self, now: Instant) -> Slowed {
        let length = match self.pause {
            Some(pause) if now < pause.end => return Slowed::Already,
            Some(pause) if now.saturating_duration_since(pause.end) <= pause.length + CALM => pause.length * 2,
            _ => PAUSE,
        };
        if length > LONGEST_PAUSE {
            self.pause = None;
            return Slowed::Enough;
        }
        self.pause = Some(Pause { end: now + length, length });
        // It is the same trouble as before, and half has been taken off for it.
        if length > PAUSE && !std::mem::take(&mut self.took) {
            return Slowed::Longer;
        }
        self.took = false;
        let taken = self.taken.rate(now);
        let had = self.learned.as_ref().map_or(taken, |learned| learned.rate.min(taken.max(LEAST)));
        if self.learned.is_some() || had >= WORTH {
            let rate = (had / 2.0).max(LEAST);
            self.learned = Some(Learned { rate, ceiling: had, taken: 0, since: now, waited: now });
            self.spent = self.spent.filter(|spent| *spent > now);
        }
        Slowed::Halved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn rate(count: u32, per: Duration) -> Option<Rate> {
        Some(Rate { count, per })
    }

    /// When mails go that are always there, for so long.
    fn times(pace: &mut Pace, start: Instant, span: Duration) -> Vec<Duration> {
        let (mut now, mut times) = (start, Vec::new());
        while now < start + span {
            if pace.take(now) {
                times.push(now - start);
            } else {
                now = pace.next(now).unwrap();
            }
        }
        times
    }

    /// The most in any span of that length.
    fn peak(times: &[Duration], span: Duration) -> usize {
        let within = |from: &Duration| times.iter().filter(|at| *at >= from && **at < *from + span).count();
        times.iter().map(within).max().unwrap_or_default()
    }

    #[test]
    fn no_span_has_more_than_its_rate_and_hardly_less() {
        for (count, per) in [(30, 60), (1, 60), (7, 60), (100, 60), (5, 1), (200, 1), (1_000, 86_400)] {
            let per = Duration::from_secs(per);
            let start = Instant::now();
            let times = times(&mut Pace::new(rate(count, per), start), start, per * 3);
            assert!(peak(&times, per) <= count as usize + 1, "{count}: {}", peak(&times, per));
            assert!(times.len() >= count as usize * 26 / 10, "{count}: {}", times.len());
        }
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        assert!((0..100_000).all(|_| pace.take(now)));
        assert_eq!((pace.rate(), pace.next(now)), (None, None));
    }

    #[test]
    fn a_pause_and_then_half() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        (0..120u64).for_each(|mail| pace.taken(start + Duration::from_millis(500 * mail)));
        let now = start + Duration::from_secs(59);
        assert_eq!(pace.slow(now), Slowed::Halved);
        // Others were under way.
        assert_eq!(pace.slow(now + PAUSE / 2), Slowed::Already);
        assert!(!pace.take(now + PAUSE / 2));
        assert_eq!(pace.next(now), Some(now + PAUSE));
        let rate = pace.rate().unwrap();
        assert!((0.95..1.05).contains(&rate), "{rate}");
        assert!(pace.take(now + PAUSE));
        assert!(!pace.take(now + PAUSE), "one by one");
    }

    #[test]
    fn a_quiet_time_teaches_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        (0..10).for_each(|_| pace.taken(start));
        assert_eq!(pace.slow(start), Slowed::Halved);
        assert_eq!((pace.rate(), pace.next(start)), (None, Some(start + PAUSE)));
    }

    #[test]
    fn pauses_grow_until_it_is_an_outage_and_a_mail_taken_ends_that() {
        let mut now = Instant::now();
        let mut pace = Pace::new(None, now);
        for seconds in [1, 2, 4, 8, 16, 32] {
            assert_eq!(pace.slow(now), if seconds == 1 { Slowed::Halved } else { Slowed::Longer });
            assert_eq!(pace.next(now), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds + 1);
        }
        assert_eq!(pace.slow(now), Slowed::Enough);
        assert_eq!(pace.slow(now), Slowed::Halved);
        now += Duration::from_secs(2);
        pace.taken(now);
        assert_eq!(pace.slow(now), Slowed::Halved);
        assert_eq!(pace.next(now), Some(now + PAUSE));
    }

    #[test]
    fn what_was_learned_grows_slowly_and_is_forgotten_when_nobody_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        (0..60).for_each(|_| pace.taken(start));
        assert_eq!(pace.slow(start + PAUSE), Slowed::Halved);
        assert_eq!(pace.rate(), Some(0.5));
        (0..RAISE_AFTER).for_each(|_| pace.taken(start + PAUSE));
        assert_eq!(pace.rate(), Some(0.6));
        // Up to where the trouble was, and from there faster.
        (0..RAISE_AFTER * 10).for_each(|_| pace.taken(start + PAUSE));
        let there = pace.rate().unwrap();
        assert!((1.0..1.2).contains(&there), "{there}");
        let mut now = start + PAUSE + DOUBLE;
        assert!(pace.take(now));
        assert!((pace.rate().unwrap() - 2.0 * there).abs() < 1e-9);
        now += FORGET;
        assert!(pace.take(now));
        assert_eq!(pace.rate(), None);
    }

    #[test]
    fn what_the_configuration_allows_is_never_passed() {
        let start = Instant::now();
        let mut pace = Pace::new(rate(60, MINUTE), start);
        (0..RAISE_AFTER * 100).for_each(|_| pace.taken(start));
        assert_eq!(pace.slow(start), Slowed::Halved);
        (0..RAISE_AFTER * 100).for_each(|_| pace.taken(start));
        assert!(pace.rate().unwrap() < 1.0);
    }

    #[test]
    fn the_window_forgets_after_a_minute() {
        let start = Instant::now();
        let mut window = Window { start, newest: 0, seconds: [0; WINDOW] };
        (0..30).for_each(|_| window.add(start));
        assert!((window.rate(start + Duration::from_secs(59)) - 0.5).abs() < 1e-9);
        assert!(window.rate(start + Duration::from_secs(60)) < 1e-9);
        (0..30).for_each(|_| window.add(start + Duration::from_secs(1_000)));
        assert!((window.rate(start + Duration::from_secs(1_001)) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_did_not_go_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(rate(1, MINUTE), start);
        assert!(pace.take(start) && !pace.take(start));
        pace.give_back();
        assert!(pace.take(start) && !pace.take(start));
    }
}
