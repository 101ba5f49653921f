//! `send_interval`: what is sent now, later, gathered or dropped; pure.
//!
//! A rule's stamp is the time of its last mail, or with `delay` the last slot it has given away, which may lie ahead.

use std::time::Duration;

use jiff::Timestamp;

use super::schedule::later;
use crate::rule::Throttle;

/// What happens to the mails of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// They go out at this time, now or later.
    Send(Timestamp),
    /// They are gathered; the digest is due then.
    Gather(Timestamp),
    /// They are not sent, for this reason.
    Drop(String),
}

/// A rule's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The last slot given away.
    pub last: Option<Timestamp>,
    /// When the open digest is due, if something is gathered already.
    pub open: Option<Timestamp>,
}

/// What happens to the mails of an event at `now`, and the rule's new last slot, if it changes.
///
/// While something is gathered, what follows is gathered too, even after the digest is due: else a mail would overtake
/// the digest and two would go out in one interval.
#[must_use]
pub fn decide(mode: Throttle, interval: Duration, stamp: Stamp, now: Timestamp) -> (Slot, Option<Timestamp>) {
    if interval.is_zero() {
        return (Slot::Send(now), None);
    }
    if mode == Throttle::Digest
        && let Some(due) = stamp.open
    {
        return (Slot::Gather(due), None);
    }
    let Some(last) = stamp.last else {
        return (Slot::Send(now), Some(now));
    };
    // A stamp ahead of the clock is a slot of `delay`; for the others it means that the clock was set back or the mode
    // was changed, and must not silence the rule until then.
    let last = if mode == Throttle::Delay { last } else { last.min(now) };
    let free = later(last, interval);
    if now >= free {
        return (Slot::Send(now), Some(now));
    }
    match mode {
        Throttle::Delay => (Slot::Send(free), Some(free)),
        Throttle::Digest => (Slot::Gather(free), None),
        Throttle::Drop => (
            Slot::Drop(format!(
                "inside `send_interval`: the rule's last mail was at {last}, the next may be at {free}"
            )),
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn stamp(last: Option<i64>, open: Option<i64>) -> Stamp {
        Stamp { last: last.map(at), open: open.map(at) }
    }

    #[test]
    fn table() {
        use Slot::{Gather, Send};
        use Throttle::{Delay, Digest, Drop};
        for (mode, interval, before, now, slot, new) in [
            // Off.
            (Digest, Duration::ZERO, stamp(Some(0), None), 1, Send(at(1)), None),
            (Drop, Duration::ZERO, stamp(Some(0), None), 1, Send(at(1)), None),
            // The first one goes out and stamps.
            (Digest, MINUTE, stamp(None, None), 0, Send(at(0)), Some(at(0))),
            (Delay, MINUTE, stamp(None, None), 0, Send(at(0)), Some(at(0))),
            (Drop, MINUTE, stamp(None, None), 0, Send(at(0)), Some(at(0))),
            // At the end of the interval, and after it.
            (Digest, MINUTE, stamp(Some(0), None), 60, Send(at(60)), Some(at(60))),
            (Delay, MINUTE, stamp(Some(0), None), 60, Send(at(60)), Some(at(60))),
            (Drop, MINUTE, stamp(Some(0), None), 600, Send(at(600)), Some(at(600))),
            // Inside.
            (Digest, MINUTE, stamp(Some(0), None), 59, Gather(at(60)), None),
            (Delay, MINUTE, stamp(Some(0), None), 59, Send(at(60)), Some(at(60))),
            // Slots ahead are kept apart.
            (Delay, MINUTE, stamp(Some(60), None), 59, Send(at(120)), Some(at(120))),
            (Delay, MINUTE, stamp(Some(6000), None), 59, Send(at(6060)), Some(at(6060))),
            // A digest that is open, or due and not closed yet, is joined, not overtaken.
            (Digest, MINUTE, stamp(Some(0), Some(60)), 30, Gather(at(60)), None),
            (Digest, MINUTE, stamp(Some(0), Some(60)), 90, Gather(at(60)), None),
            // The clock was set back by a day.
            (Digest, MINUTE, stamp(Some(86_400), None), 0, Gather(at(60)), None),
        ] {
            assert_eq!(decide(mode, interval, before, at(now)), (slot, new), "{mode:?} {before:?} at {now}");
        }
    }

    #[test]
    fn a_drop_says_why() {
        let (Slot::Drop(reason), None) = decide(Throttle::Drop, MINUTE, stamp(Some(0), None), at(10)) else {
            panic!("not dropped");
        };
        assert!(reason.contains("send_interval") && reason.contains(&at(60).to_string()), "{reason}");
    }
}
