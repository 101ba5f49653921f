//! Delivery: takes due mails from the outbox and hands them to a mail server, or to a mailbox folder. The only place
//! that speaks SMTP.

mod books;
pub mod classify;
pub mod connect;
mod deliver;
mod dispatch;
mod mailbox;
mod now;
mod pace;
mod queue;
mod quota;
mod ready;
mod relay;
pub mod reply;
pub mod sasl;
pub mod session;
pub mod tls;
pub mod wire;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use self::mailbox::file_name as mailbox_file_name;
pub use self::now::{NowError, send_now};
pub use self::queue::Queue;
pub use self::relay::Trouble;
use crate::config::{RetryPolicy, SmtpConfig, Transport};
use crate::meter::{Fate, Meter};
use crate::outbox::{Attempt, Job, Outbox, OutboxError};
use crate::text::Visible;

/// What a delivery run left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Recipients delivered to.
    pub delivered: u64,
    /// Recipients to be tried again later, each time that it was so.
    pub deferred: u64,
    /// Recipients that never will be.
    pub failed: u64,
    /// Recipients held for a person.
    pub held: u64,
}

impl Summary {
    /// Adds another run's.
    pub fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.failed += other.failed;
        self.held += other.held;
    }

    /// Counts what became of a recipient, and logs it in one line. A released one has met no server: nothing to tell.
    fn record(&mut self, message_id: &str, recipient: &str, outcome: &Attempt) {
        let (message_id, recipient) = (Visible(message_id).to_string(), Visible(recipient).to_string());
        match outcome {
            Attempt::Delivered(reply) => {
                self.delivered += 1;
                tracing::info!(message_id, recipient, reply, "delivered");
            }
            Attempt::Deferred(reply) => {
                self.deferred += 1;
                tracing::warn!(message_id, recipient, reply, "deferred");
            }
            Attempt::Failed(reply) => {
                self.failed += 1;
                tracing::error!(message_id, recipient, reply, "failed");
            }
            Attempt::Held(reply) => {
                self.held += 1;
                tracing::error!(message_id, recipient, reply, "held");
            }
            Attempt::Released(_) | Attempt::Waits(..) => {}
        }
    }
}

/// Measures what became of a mail's recipient, after it was stored.
fn measure(meter: &Meter, job: &Job, outcome: &Attempt, now: Timestamp) {
    meter.fate(match outcome {
        Attempt::Delivered(_) => Fate::Delivered,
        Attempt::Deferred(_) => Fate::Deferred,
        Attempt::Failed(_) => Fate::Failed,
        Attempt::Held(_) => Fate::Held,
        Attempt::Released(_) | Attempt::Waits(..) => Fate::Released,
    });
    if matches!(outcome, Attempt::Delivered(_)) {
        // A clock that was set back says nothing of the way.
        meter.way(Duration::try_from(now.duration_since(job.stored)).unwrap_or_default());
    }
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
    match &*transport {
        Transport::Smtp(config) => {
            worker::run(outbox, Arc::new(config.as_ref().clone()), connect::Tcp, retry, until).await
        }
        Transport::Mailbox(folder) => mailbox::run(outbox, folder.clone(), until).await,
    }
}

/// Runs delivery to a mail server from any [`Queue`]: [`run`] without the outbox, for who measures or tests the dialogue
/// alone.
///
/// # Errors
/// When the queue fails; a mail server's troubles are outcomes, not errors.
pub async fn run_from(
    queue: impl Queue,
    config: Arc<SmtpConfig>,
    retry: RetryPolicy,
    until: Until,
) -> Result<Summary, OutboxError> {
    worker::run(queue, config, connect::Tcp, retry, until).await
}
