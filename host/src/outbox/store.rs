//! SQLite: schema, the writer, and the questions others ask.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{Accepted, Attempt, DigestJob, Job, OutboxError, Position, Receipt};
use crate::blob::BlobStore;
use crate::config::{OutboxConfig, RetryPolicy};
use crate::event::EventKey;
use crate::mail::NewMail;

/// A handle to the outbox; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {}

impl Outbox {
    /// Opens the outbox for a daemon: makes it if there is none, takes the lock, checks version and integrity, puts
    /// back what a crash left claimed (`sending` before the final dot is queued again; after it, by `hold_ambiguous`).
    ///
    /// # Errors
    /// [`OutboxError::Locked`], [`OutboxError::Unusable`], or what the disk says.
    pub async fn open(config: &OutboxConfig, retry: RetryPolicy, hold_ambiguous: bool) -> Result<Self, OutboxError> {
        let _ = (config, retry, hold_ambiguous);
        todo!()
    }

    /// Where attachments are written.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        todo!()
    }

    /// Which of these keys are known already, so that nothing is composed in vain.
    ///
    /// # Errors
    /// What the database says.
    pub async fn known(&self, keys: &[EventKey]) -> Result<HashSet<EventKey>, OutboxError> {
        let _ = keys;
        todo!()
    }

    /// Where an intake stands in a source; 0 if it is new.
    ///
    /// # Errors
    /// What the database says.
    pub async fn position(&self, source: &str) -> Result<u64, OutboxError> {
        let _ = source;
        todo!()
    }

    /// Refuses when less than `min_free` is left.
    ///
    /// # Errors
    /// [`OutboxError::Full`].
    pub fn check_space(&self) -> Result<(), OutboxError> {
        todo!()
    }

    /// Stores a batch and moves the position, all in one transaction; answers after the commit is on disk.
    ///
    /// # Errors
    /// [`OutboxError::Full`] before anything is written; [`OutboxError::Stopped`] when a sync failed.
    pub async fn accept(
        &self,
        batch: Vec<Accepted>,
        position: Option<Position>,
        now: Timestamp,
    ) -> Result<Vec<Receipt>, OutboxError> {
        let _ = (batch, position, now);
        todo!()
    }

    /// Forgets a position whose source is gone for ever.
    ///
    /// # Errors
    /// What the database says.
    pub async fn forget_position(&self, source: &str) -> Result<(), OutboxError> {
        let _ = source;
        todo!()
    }

    /// Claims up to `limit` mails that are due, oldest first: state `sending`, new epoch.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim(&self, limit: usize, now: Timestamp) -> Result<Vec<Job>, OutboxError> {
        let _ = (limit, now);
        todo!()
    }

    /// Records that the final dot is about to be sent for these recipients of a job; answers after the commit.
    /// False: the claim is not ours any more, do not send.
    ///
    /// # Errors
    /// What the database says.
    pub async fn in_data(&self, job: &Job, recipients: &[i64]) -> Result<bool, OutboxError> {
        let _ = (job, recipients);
        todo!()
    }

    /// Records how the attempt ended, by recipient row id. False: the claim was not ours any more, nothing changed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn report(&self, job: &Job, outcomes: &[(i64, Attempt)], now: Timestamp) -> Result<bool, OutboxError> {
        let _ = (job, outcomes, now);
        todo!()
    }

    /// When the next mail or digest is due, if any waits.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, OutboxError> {
        todo!()
    }

    /// Waits until something was stored or moved that may be due sooner.
    pub async fn changed(&self) {
        todo!()
    }

    /// Digests whose interval has ended (`all`: whatever is gathered, for `--once`).
    ///
    /// # Errors
    /// What the database says.
    pub async fn due_digests(&self, now: Timestamp, all: bool) -> Result<Vec<DigestJob>, OutboxError> {
        let _ = (now, all);
        todo!()
    }

    /// Stores a digest's mails and closes its items, in one transaction. A group of one item sends its own mail: pass
    /// it through unchanged.
    ///
    /// # Errors
    /// What the database says.
    pub async fn close_digest(
        &self,
        rule: &str,
        items: &[i64],
        mails: Vec<NewMail>,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let _ = (rule, items, mails, now);
        todo!()
    }

    /// Removes finished mails, decisions and unused blobs older than `retention`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, OutboxError> {
        let _ = now;
        todo!()
    }

    /// Ends the writer after what waits is stored, checkpoints, gives the lock back.
    pub async fn close(self) {
        todo!()
    }
}
