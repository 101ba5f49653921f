//! Delivery: takes due mails from the outbox and hands them to a mail server, or to a mailbox folder. The only place
//! that speaks SMTP.

use std::sync::Arc;

use crate::config::{RetryPolicy, Transport};
use crate::outbox::{Outbox, OutboxError};

/// What a delivery run left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Recipients delivered to.
    pub delivered: u64,
    /// Recipients to be tried again later.
    pub deferred: u64,
    /// Recipients that never will be.
    pub failed: u64,
    /// Recipients held for a person.
    pub held: u64,
}

/// How a delivery run ends.
#[derive(Debug, Clone)]
pub enum Until {
    /// Nothing more is due now: `run --once`. Retries are not waited for.
    Drained,
    /// The watch says true: then open dialogues are finished (at most 30 s) and nothing new is begun.
    Stopped(tokio::sync::watch::Receiver<bool>),
}

/// Runs delivery.
///
/// # Errors
/// When the outbox fails; a mail server's troubles are outcomes, not errors.
pub async fn run(
    outbox: Outbox,
    transport: Arc<Transport>,
    retry: RetryPolicy,
    until: Until,
) -> Result<Summary, OutboxError> {
    let _ = (outbox, transport, retry, until);
    todo!()
}
