//! The decision: the artifact's filters in its order, as its documentation means them.

use super::{Decision, Rule};
use crate::event::FlowCompletion;

/// Decides whether `rule` mails for `event`, and to whom.
#[must_use]
pub fn decide(rule: &Rule, event: &FlowCompletion) -> Decision {
    let _ = (rule, event);
    todo!()
}
