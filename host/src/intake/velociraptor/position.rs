//! Up to where an org was taken; pure.
//!
//! What may be claimed, and when, is argued in [the intake's documentation](super).

/// Seconds that a catch-up begins before the position: what the server wrote a little later than its own clock says,
/// and clients whose `last_seen_at` lags.
pub(super) const MARGIN: i64 = 600;

/// Seconds that two beats of the log may be apart; it has one a minute.
const GAP: i64 = 180;

/// How far the catch-up of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What was missed is not taken yet.
    Behind,
    /// What was before the connection is taken; the moment when it began is to be looked at once more.
    Joined,
    /// What comes live is all there is.
    Live,
}

/// An org's course through one connection. All times are Unix seconds by the server's clock.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// The position on disk; 0: there is none.
    stored: i64,
    /// Nothing before this is of interest: when the org was watched for the first time. 0: now is the first time.
    floor: i64,
    /// The first beat of the connection.
    begun: Option<i64>,
    /// The last one.
    beat: Option<i64>,
    /// Whether no completion came after it.
    quiet: bool,
    /// Up to where the live stream was read.
    reached: i64,
    stage: Stage,
}

impl Course {
    /// A new connection, with what is on disk.
    pub(super) fn new(stored: u64, floor: u64) -> Self {
        let seconds = |offset| i64::try_from(offset).unwrap_or(0);
        let (stored, floor) = (seconds(stored), seconds(floor));
        // A crash between the two: the floor is written first.
        let stored = stored.max(floor);
        Self { stored, floor, begun: None, beat: None, quiet: true, reached: 0, stage: Stage::Behind }
    }

    /// A beat has come. With the first one ever, its time is where the org begins: that is to be stored, floor first.
    pub(super) fn beat(&mut self, at: i64) -> bool {
        // Two beats with nothing between them: a completion that waited for its turn would have had it, since the
        // server sends both fairly. So nothing older than the first of the two waits.
        if let Some(last) = self.beat
            && self.quiet
        {
            self.reached = self.reached.max(last);
        }
        self.quiet = true;
        self.beat = self.beat.max(Some(at));
        if self.begun.is_none() {
            self.begun = Some(at);
            if self.stored == 0 {
                (self.stored, self.floor) = (at, at);
                return true;
            }
        }
        false
    }

    /// Completions of the live stream are handed over, the latest of this time, if one says a time.
    pub(super) fn took(&mut self, latest: Option<i64>) {
        self.quiet = false;
        // The time is the event's own, and whoever may write events may write any: never beyond the server's clock.
        if let (Some(latest), Some(beat)) = (latest, self.beat) {
            self.reached = self.reached.max(latest.min(beat));
        }
    }

    /// The first catch-up has come to its end.
    pub(super) fn joined(&mut self) {
        if self.stage == Stage::Behind {
            self.stage = Stage::Joined;
        }
    }

    /// The second one has.
    pub(super) fn live(&mut self) {
        self.stage = Stage::Live;
    }

    /// Where the position may stand once everything that was told of here is stored; never before [`Self::stored`].
    pub(super) fn position(&self) -> i64 {
        let begun = self.begun.unwrap_or(0);
        match self.stage {
            Stage::Behind => self.stored,
            Stage::Joined => self.stored.max(begun),
            Stage::Live => self.stored.max(begun).max(self.reached),
        }
    }

    /// The position on disk.
    pub(super) fn stored(&self) -> i64 {
        self.stored
    }

    /// It is on disk.
    pub(super) fn store(&mut self, position: i64) {
        self.stored = self.stored.max(position);
    }

    /// The first beat of the connection.
    pub(super) fn begun(&self) -> Option<i64> {
        self.begun
    }

    /// The last beat.
    pub(super) fn now(&self) -> Option<i64> {
        self.beat
    }

    /// From when to catch up, for the first time in the connection: a margin before the position. A server's clock that
    /// was set back counts: what it wrote since then has small times.
    pub(super) fn missed_since(&self) -> i64 {
        let from = self.begun.map_or(self.stored, |begun| begun.min(self.stored));
        self.since(from)
    }

    /// The same for the second time: a margin before the connection began.
    pub(super) fn joined_since(&self) -> i64 {
        self.since(self.begun.unwrap_or(self.stored))
    }

    fn since(&self, from: i64) -> i64 {
        from.saturating_sub(MARGIN).max(self.floor.min(from)).max(0)
    }
}

/// Whether the log's beats leave no gap, told one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beats {
    last: i64,
    any: bool,
    broken: bool,
}

impl Beats {
    /// A log that is to reach back to `since`.
    pub(super) fn new(since: i64) -> Self {
        Self { last: since, any: false, broken: false }
    }

    /// The next beat.
    pub(super) fn beat(&mut self, at: i64) {
        self.any = true;
        self.broken |= at.saturating_sub(self.last) > GAP;
        self.last = self.last.max(at);
    }

    /// Whether a gap was seen.
    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    /// Whether the log was kept the whole time until `now`. Without any beat there may be no log at all.
    pub(super) fn complete(&self, now: i64) -> bool {
        self.any && !self.broken && now.saturating_sub(self.last) <= GAP
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: i64 = 1_786_500_000;

    #[test]
    fn the_first_beat_ever_is_where_it_begins() {
        let mut course = Course::new(0, 0);
        assert!(course.beat(T));
        assert_eq!((course.stored(), course.position()), (T, T));
        assert_eq!((course.missed_since(), course.joined_since()), (T, T), "nothing of the past is asked for");
        assert!(!course.beat(T + 5));
        // A minute later, after a restart, the margin does not reach behind the beginning either.
        let mut later = Course::new(T as u64 + 60, T as u64);
        assert!(!later.beat(T + 100));
        assert_eq!(later.missed_since(), T);
        // A crash between the two writes.
        assert_eq!(Course::new(0, T as u64).stored(), T);
    }

    #[test]
    fn nothing_moves_before_what_was_missed_is_taken() {
        let mut course = Course::new(T as u64, 1);
        course.beat(T + 1000);
        course.took(Some(T + 1001));
        course.beat(T + 1005);
        course.beat(T + 1010);
        assert_eq!(course.position(), T);
        assert_eq!(course.missed_since(), T - MARGIN);
        course.joined();
        assert_eq!(course.position(), T + 1000, "up to where the connection began, no further");
        assert_eq!(course.joined_since(), T + 1000 - MARGIN);
        course.live();
        assert_eq!(course.position(), T + 1005);
    }

    #[test]
    fn a_beat_counts_when_nothing_came_after_it() {
        let mut course = Course::new(T as u64, 1);
        course.beat(T);
        course.live();
        course.beat(T + 5);
        assert_eq!(course.position(), T, "a completion of before this beat may come after it");
        course.took(Some(T - 3));
        course.beat(T + 10);
        assert_eq!(course.position(), T, "the server has a backlog");
        course.beat(T + 15);
        assert_eq!(course.position(), T + 10);
    }

    #[test]
    fn no_event_moves_it_into_the_future() {
        let mut course = Course::new(T as u64, 1);
        course.beat(T);
        course.live();
        course.took(Some(T * 1_000_000));
        assert_eq!(course.position(), T);
        course.took(None);
        course.took(Some(-5));
        assert_eq!(course.position(), T);
    }

    #[test]
    fn a_clock_that_was_set_back_is_caught_up_from() {
        let mut course = Course::new(T as u64, 1);
        course.beat(T - 5000);
        assert_eq!(course.missed_since(), T - 5000 - MARGIN);
        course.joined();
        assert_eq!(course.position(), T, "it is never moved backwards");
    }

    #[test]
    fn a_log_must_reach_from_the_start_to_now() {
        let of = |since: i64, beats: &[i64], now: i64| {
            let mut all = Beats::new(since);
            beats.iter().for_each(|beat| all.beat(*beat));
            all.complete(now)
        };
        assert!(of(T, &[T + 60, T + 120, T + 300], T + 400));
        assert!(!of(T, &[], T + 400), "there is no log");
        assert!(!of(T, &[], T + 10), "there may be none");
        assert!(of(T, &[T + 5], T + 10));
        assert!(!of(T, &[T + 240, T + 300], T + 310), "it begins too late");
        assert!(!of(T, &[T + 60, T + 300, T + 360], T + 400), "there is a gap");
        assert!(!of(T, &[T + 60, T + 120], T + 400), "it is kept no more");
        assert!(of(T, &[T + 60, T + 30, T + 120], T + 130), "out of order by a little");
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Beat(i64),
        Took(i64),
        Joined,
        Live,
        Store,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_i64..2000).prop_map(|at| Step::Beat(T + at)),
            any::<i64>().prop_map(Step::Took),
            (-2000_i64..4000).prop_map(|at| Step::Took(T + at)),
            Just(Step::Joined),
            Just(Step::Live),
            Just(Step::Store),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Never backwards, never beyond the last beat or what was stored, never before the catch-up is done.
        #[test]
        fn the_position_keeps_its_bounds(stored in prop_oneof![Just(0), T - 3000..T + 3000], steps in steps()) {
            let mut course = Course::new(stored as u64, 0);
            let (mut before, mut joined) = (course.position(), false);
            for step in steps {
                match step {
                    Step::Beat(at) => { course.beat(at); }
                    Step::Took(at) => course.took(Some(at)),
                    Step::Joined => { course.joined(); joined = true; }
                    Step::Live => { course.live(); joined = true; }
                    Step::Store => course.store(course.position()),
                }
                let position = course.position();
                prop_assert!(position >= before);
                prop_assert!(position >= course.stored());
                prop_assert!(position <= course.stored().max(course.now().unwrap_or(0)));
                if !joined {
                    prop_assert_eq!(position, course.stored());
                }
                prop_assert!(course.missed_since() <= position && course.joined_since() >= 0);
                before = position;
            }
        }

        /// What a queue delivers in order, with beats of now between, is never passed over: whatever is still to come
        /// is later than the position.
        #[test]
        fn what_waits_in_the_queue_is_not_passed_over(gaps in prop::collection::vec(0_i64..40, 1..60), slow in 1_usize..5) {
            let mut course = Course::new(T as u64, 1);
            course.beat(T);
            course.live();
            // Completions at these times; every beat lets `slow` of those that wait through, the clock running on.
            let mut times: std::collections::VecDeque<i64> = gaps
                .iter()
                .scan(T, |time, gap| { *time += gap; Some(*time) })
                .collect();
            let mut now = T;
            while !times.is_empty() {
                now += 5;
                course.beat(now);
                for _ in 0..slow {
                    if times.front().is_none_or(|time| *time > now) { break }
                    course.took(times.pop_front());
                }
                let next = times.front().copied().unwrap_or(i64::MAX);
                prop_assert!(course.position() <= next, "{} passes {next}", course.position());
            }
        }
    }
}
