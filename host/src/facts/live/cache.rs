//! What was asked a moment ago, so that it need not be asked again; and one who asks at a time, so that a burst on one
//! hunt asks once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

/// A value and since when it is known.
type Slot<V> = Arc<tokio::sync::Mutex<Option<(Instant, V)>>>;

/// Values that live for seconds. Never more than `most` of them.
pub(super) struct Cache<K, V> {
    life: Duration,
    most: usize,
    slots: Mutex<HashMap<K, Slot<V>>>,
}

/// What the cache has, or the right to find it out.
pub(super) enum Known<V> {
    /// It is known.
    Value(V),
    /// It is not, and others wait until this is filled or dropped.
    Ask(Asking<V>),
}

/// The right to find a value out.
pub(super) struct Asking<V>(OwnedMutexGuard<Option<(Instant, V)>>);

impl<V> Asking<V> {
    pub(super) fn fill(mut self, value: V) {
        *self.0 = Some((Instant::now(), value));
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(life: Duration, most: usize) -> Self {
        Self { life, most, slots: Mutex::default() }
    }

    /// Looks a value up, and waits for whoever is just finding it out. Who asks for several keys asks in the order that
    /// all others ask in; else two could wait for each other.
    pub(super) async fn get(&self, key: &K) -> Known<V> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.len() >= self.most && !slots.contains_key(key) {
                self.make_room(&mut slots);
            }
            Arc::clone(slots.entry(key.clone()).or_default())
        };
        let held = slot.lock_owned().await;
        match &*held {
            Some((since, value)) if since.elapsed() < self.life => Known::Value(value.clone()),
            _ => Known::Ask(Asking(held)),
        }
    }

    /// Removes what is too old, or, if that is nothing, half of all. Whoever holds a slot keeps it.
    fn make_room(&self, slots: &mut HashMap<K, Slot<V>>) {
        let fresh = |slot: &Slot<V>| match slot.try_lock() {
            Ok(held) => held.as_ref().is_some_and(|(since, _)| since.elapsed() < self.life),
            Err(_) => true,
        };
        slots.retain(|_, slot| fresh(slot));
        if slots.len() >= self.most {
            let mut keep = false;
            slots.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_asks_and_the_others_wait_for_the_answer() {
        let cache = Arc::new(Cache::<u8, &str>::new(Duration::from_secs(60), 4));
        let Known::Ask(asking) = cache.get(&1).await else { panic!() };
        let other = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move { matches!(cache.get(&1).await, Known::Value("hunt")) }
        });
        assert!(matches!(cache.get(&2).await, Known::Ask(_)), "another key does not wait");
        asking.fill("hunt");
        assert!(other.await.unwrap());
        // Who gives up lets the next one ask.
        drop(cache.get(&3).await);
        assert!(matches!(cache.get(&3).await, Known::Ask(_)));
    }

    #[tokio::test]
    async fn values_age_and_their_number_is_bounded() {
        let cache = Cache::<u32, u32>::new(Duration::ZERO, 4);
        let Known::Ask(asking) = cache.get(&1).await else { panic!() };
        asking.fill(1);
        assert!(matches!(cache.get(&1).await, Known::Ask(_)), "too old at once");
        let cache = Cache::<u32, u32>::new(Duration::from_secs(60), 4);
        for key in 0..100 {
            let Known::Ask(asking) = cache.get(&key).await else { panic!() };
            asking.fill(key);
            assert!(cache.slots.lock().unwrap().len() <= 4);
        }
        assert!(matches!(cache.get(&99).await, Known::Value(99)));
    }
}
