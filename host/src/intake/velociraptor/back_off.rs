//! How long to wait before the next attempt; pure.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The most that is waited after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The most that is ever waited.
const MOST: Duration = Duration::from_secs(60);
/// The least: a server that fails at once is not asked in a loop.
const LEAST: Duration = Duration::from_millis(50);
/// After so long without a failure the next one is the first again.
pub(super) const HEALTHY: Duration = Duration::from_secs(60);

/// Waits that double, each drawn between nothing and its bound, so that many who lost the same server do not come back
/// together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The wait after one more failure. `hopeless`: waiting alone does not help, so the slowest pace will do.
    pub(crate) fn next(&mut self, hopeless: bool, rng: &mut impl Rng) -> Duration {
        let bound = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        if hopeless {
            return MOST.mul_f64(rng.random_range(0.5..=1.0));
        }
        bound.mul_f64(rng.random_range(0.0..=1.0)).max(LEAST)
    }

    /// Things went well for so long.
    pub(super) fn well_for(&mut self, time: Duration) {
        if time >= HEALTHY {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn waits_double_up_to_a_minute(seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut back_off = BackOff::default();
            for failure in 0..100 {
                let bound = Duration::from_secs(1 << failure.min(6)).min(MOST);
                let wait = back_off.next(false, &mut rng);
                prop_assert!((LEAST..=bound).contains(&wait), "{failure}: {wait:?}");
            }
            back_off.well_for(Duration::from_secs(59));
            prop_assert_eq!(back_off.failures, 100);
            back_off.well_for(HEALTHY);
            prop_assert!(back_off.next(false, &mut rng) <= FIRST);
        }

        #[test]
        fn what_needs_a_person_is_asked_slowly_from_the_start(seed: u64) {
            let wait = BackOff::default().next(true, &mut StdRng::seed_from_u64(seed));
            prop_assert!((MOST / 2..=MOST).contains(&wait));
        }
    }

    #[test]
    fn waits_differ() {
        let mut rng = StdRng::seed_from_u64(1);
        let waits: std::collections::BTreeSet<Duration> = (0..20)
            .map(|_| {
                let mut back_off = BackOff { failures: 6 };
                back_off.next(false, &mut rng)
            })
            .collect();
        assert_eq!(waits.len(), 20);
        assert!(waits.first() < Some(&Duration::from_secs(15)) && waits.last() > Some(&Duration::from_secs(45)));
    }
}
