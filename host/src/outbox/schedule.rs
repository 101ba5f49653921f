//! When to try again: the retry list, its jitter, and giving up; pure.
//!
//! RFC 5321 section 4.5.4.1 asks for queueing, a growing interval and giving up after four or five days, all settable.

use std::time::Duration;

use jiff::Timestamp;
use rand::{Rng, RngExt};

use crate::config::RetryPolicy;

/// How far a wait may be off in either direction, so that what failed together does not come back together.
pub const JITTER: f64 = 0.2;

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Timestamp),
    /// It is too old.
    GiveUp,
}

/// What follows the `attempts`th failed attempt (1 is the first), at `now`, of something that has waited since `since`.
///
/// The last wait of the list repeats. Age is looked at after an attempt, so the last one is made within one wait after
/// `give_up`, never earlier.
pub fn after_failure(
    policy: &RetryPolicy,
    attempts: u32,
    since: Timestamp,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Next {
    let age = now.duration_since(since);
    if Duration::try_from(age).is_ok_and(|age| age >= policy.give_up) {
        return Next::GiveUp;
    }
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let factor = rng.random_range(1.0 - JITTER..=1.0 + JITTER);
    Next::At(later(now, policy.wait(index).mul_f64(factor)))
}

/// `at` plus a duration; the end of time instead of an overflow.
#[must_use]
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// `at` minus a duration; the beginning of time instead of an overflow.
#[must_use]
pub fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            waits: [30, 120, 300, 900, 1800, 3600].map(Duration::from_secs).to_vec(),
            give_up: Duration::from_secs(5 * 86_400),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_list_is_walked_and_its_last_wait_repeats() {
        let mut rng = StdRng::seed_from_u64(1);
        let start = at(1_700_000_000);
        for attempts in 1..100u32 {
            let wait = policy().waits[usize::try_from(attempts - 1).unwrap().min(5)].as_secs_f64();
            let Next::At(next) = after_failure(&policy(), attempts, start, start, &mut rng) else {
                panic!("gave up at once");
            };
            let got = next.duration_since(start).as_secs_f64();
            assert!(got >= wait * 0.8 - 1e-6 && got <= wait * 1.2 + 1e-6, "{got} after attempt {attempts}");
        }
    }

    #[test]
    fn jitter_spreads() {
        let mut rng = StdRng::seed_from_u64(2);
        let start = at(0);
        let all: std::collections::HashSet<_> = (0..100)
            .map(|_| match after_failure(&policy(), 6, start, start, &mut rng) {
                Next::At(next) => next.as_second(),
                Next::GiveUp => panic!("gave up at once"),
            })
            .collect();
        assert!(all.len() > 50, "{} distinct waits", all.len());
    }

    #[test]
    fn a_clock_that_went_back_does_not_give_up() {
        let mut rng = StdRng::seed_from_u64(3);
        assert!(matches!(after_failure(&policy(), 1, at(1_000_000), at(0), &mut rng), Next::At(_)));
    }

    proptest! {
        /// From the first failure to giving up, every wait is in bounds, and the end comes inside
        /// [give_up, give_up + one step], whatever the attempts themselves take.
        #[test]
        fn gives_up_in_time(seed in any::<u64>(), lasts in prop::collection::vec(0u64..600, 1..50)) {
            let mut rng = StdRng::seed_from_u64(seed);
            let policy = policy();
            let start = at(1_700_000_000);
            let mut now = start;
            for attempts in 1..10_000u32 {
                now = later(now, Duration::from_secs(lasts[attempts as usize % lasts.len()]));
                match after_failure(&policy, attempts, start, now, &mut rng) {
                    Next::At(next) => {
                        prop_assert!(next > now);
                        now = next;
                    }
                    Next::GiveUp => break,
                }
            }
            let age = Duration::try_from(now.duration_since(start)).unwrap();
            prop_assert!(age >= policy.give_up);
            prop_assert!(age <= policy.give_up + Duration::from_secs(4320 + 600));
        }
    }
}
