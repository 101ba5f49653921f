//! What the meter itself tells.

use std::sync::atomic::Ordering;

use super::text::Text;
use super::{Commit, Decided, Fate, Meter, Step, names};

/// Everything that can be wrong with a mail server.
const TROUBLES: [&str; 3] = ["unreachable", "refuses", "burst"];

pub(super) fn write(meter: &Meter, text: &mut Text) {
    let mut decisions = text.family(&names::DECISIONS);
    for (rule, counts) in &**meter.rules.load() {
        for ((_, decision), count) in Decided::ALL.iter().zip(counts.iter()) {
            decisions.add(&[rule, decision], count.load(Ordering::Relaxed));
        }
    }
    let mut attempts = text.family(&names::ATTEMPTS);
    for ((_, outcome), count) in Fate::ALL.iter().zip(&meter.fates) {
        attempts.add(&[outcome], count.load(Ordering::Relaxed));
    }
    text.family(&names::WAY).histogram(&[], &meter.ways);
    let mut steps = text.family(&names::STEP);
    for ((_, step), histogram) in Step::ALL.iter().zip(&meter.steps) {
        steps.histogram(&[step], histogram);
    }
    let mut commits = text.family(&names::COMMIT);
    for ((_, work), histogram) in Commit::ALL.iter().zip(&meter.commits) {
        commits.histogram(&[work], histogram);
    }
    text.family(&names::TRANSACTION).histogram(&[], &meter.transactions);
    text.family(&names::GROUP).histogram(&[], &meter.groups);

    let relays = meter.relays();
    let mut up = text.family(&names::RELAY_UP);
    relays.iter().for_each(|relay| up.add(&[&relay.name], relay.trouble.is_none()));
    let mut troubles = text.family(&names::RELAY_TROUBLE);
    for relay in &relays {
        TROUBLES.iter().for_each(|trouble| troubles.add(&[&relay.name, trouble], relay.trouble == Some(*trouble)));
    }
    let mut sessions = text.family(&names::RELAY_SESSIONS);
    relays.iter().for_each(|relay| sessions.add(&[&relay.name], relay.sessions));
    let mut limits = text.family(&names::RELAY_LIMIT);
    relays.iter().for_each(|relay| limits.add(&[&relay.name], relay.limit));
    let mut falls = text.family(&names::RELAY_FALLS);
    relays.iter().for_each(|relay| falls.add(&[&relay.name], relay.falls));
    let mut rates = text.family(&names::RELAY_RATE);
    for relay in &relays {
        relay.rate.iter().for_each(|rate| rates.add(&[&relay.name], rate * 60.0));
    }
    let mut slowed = text.family(&names::RELAY_SLOWED);
    relays.iter().for_each(|relay| slowed.add(&[&relay.name], relay.slowed));
}
