//! A recipient's states and the moves between them; pure.
//!
//! ```text
//!            claim             dot
//! queued ───────────▶ sending ─────▶ in_data ──▶ delivered
//!   ▲  ▲    ┌────────────┘  │           │  └───▶ held
//!   │  └────┘ release       └─────┬─────┘
//!   │                             ├──▶ deferred ──(claim)──▶ sending
//!   └── retry (by hand) ──────────┴──▶ failed
//! ```
//!
//! `delivered`, `failed` and `cancelled` are ends; `held` waits for a person. A move that the table below does not
//! know is refused: the writer asks [`State::after`] before each update, and the update itself names the old state
//! and the epoch of the claim.

use std::fmt;
use std::str::FromStr;

/// Where a recipient of a mail stands. Every recipient is in exactly one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Waits for its first attempt, or to be taken up again at no attempt's cost.
    Queued,
    /// Claimed; the final dot has not been sent.
    Sending,
    /// Claimed; the final dot may have been sent (RFC 1047: from here on a copy is possible).
    InData,
    /// The server has taken it; its reply is kept. An end.
    Delivered,
    /// An attempt failed for now; waits for the next one.
    Deferred,
    /// Dead-lettered with its reason. An end, unless a person retries it.
    Failed,
    /// Nobody knows whether the server took it, and the configuration says not to send a copy.
    Held,
    /// A person said no. An end.
    Cancelled,
}

impl State {
    /// All of them, in the order in which people read them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sending,
        Self::InData,
        Self::Deferred,
        Self::Held,
        Self::Delivered,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As it is stored, listed and asked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::InData => "in_data",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen of itself, so that retention may remove it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Cancelled)
    }

    /// Whether it has a time at which it is due.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Queued | Self::Deferred)
    }

    /// Whether a delivery holds it.
    #[must_use]
    pub const fn is_claimed(self) -> bool {
        matches!(self, Self::Sending | Self::InData)
    }

    /// The state after a move.
    ///
    /// # Errors
    /// [`Illegal`] when the move does not start here.
    pub fn after(self, step: Move) -> Result<Self, Illegal> {
        if step.from().contains(&self) { Ok(step.to()) } else { Err(Illegal { state: self, step }) }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| UnknownState(name.to_owned()))
    }
}

/// A name that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state of a recipient")]
pub struct UnknownState(pub String);

/// What can happen to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// A delivery takes it up.
    Claim,
    /// The final dot is about to be sent.
    Dot,
    /// The server took it. Legal before [`Move::Dot`] too: a transport without a window between handing over and
    /// knowing (a mailbox folder) need not announce it.
    Deliver,
    /// Not now.
    Defer,
    /// Never.
    Fail,
    /// Nobody knows.
    Hold,
    /// Back to the queue: not its own fault.
    Release,
    /// A person wants it tried again.
    Retry,
    /// A person does not want it sent.
    Cancel,
}

impl Move {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Claim,
        Self::Dot,
        Self::Deliver,
        Self::Defer,
        Self::Fail,
        Self::Hold,
        Self::Release,
        Self::Retry,
        Self::Cancel,
    ];

    /// Where it may start.
    #[must_use]
    pub const fn from(self) -> &'static [State] {
        match self {
            Self::Claim => &[State::Queued, State::Deferred],
            Self::Dot => &[State::Sending],
            Self::Deliver | Self::Defer | Self::Fail | Self::Hold | Self::Release => &[State::Sending, State::InData],
            Self::Retry => &[State::Deferred, State::Failed, State::Held],
            Self::Cancel => &[State::Queued, State::Deferred, State::Held],
        }
    }

    /// Where it ends.
    #[must_use]
    pub const fn to(self) -> State {
        match self {
            Self::Claim => State::Sending,
            Self::Dot => State::InData,
            Self::Deliver => State::Delivered,
            Self::Defer => State::Deferred,
            Self::Fail => State::Failed,
            Self::Hold => State::Held,
            Self::Release | Self::Retry => State::Queued,
            Self::Cancel => State::Cancelled,
        }
    }
}

/// A move that does not start in the state it was asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no {step:?} from {state}")]
pub struct Illegal {
    /// Where it stands.
    pub state: State,
    /// What was asked.
    pub step: Move,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(state.name().parse::<State>(), Ok(state));
        }
        assert!("sent".parse::<State>().is_err());
    }

    #[test]
    fn ends_are_left_by_a_person_only() {
        for state in State::ALL.into_iter().filter(|state| state.is_end() || *state == State::Held) {
            for step in Move::ALL {
                if state.after(step).is_ok() {
                    assert!(matches!(step, Move::Retry | Move::Cancel), "{step:?} leaves {state}");
                }
            }
        }
        assert!(State::Delivered.after(Move::Retry).is_err(), "what was delivered is never sent again");
        assert!(State::Delivered.after(Move::Cancel).is_err());
        assert!(State::Cancelled.after(Move::Retry).is_err());
    }

    #[test]
    fn what_is_in_flight_is_out_of_a_persons_reach() {
        for state in [State::Sending, State::InData] {
            assert!(state.after(Move::Retry).is_err());
            assert!(state.after(Move::Cancel).is_err());
            assert!(state.after(Move::Claim).is_err(), "claimed twice");
        }
    }

    #[test]
    fn every_state_is_reached_and_only_waiting_ones_are_claimed() {
        for state in State::ALL {
            assert!(Move::ALL.into_iter().any(|step| step.to() == state), "{state} is never reached");
            assert_eq!(state.after(Move::Claim).is_ok(), state.is_waiting());
        }
    }
}
