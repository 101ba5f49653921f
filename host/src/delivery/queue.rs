//! What delivery asks of the outbox; tests put a queue in memory in its place.

use std::future::Future;
use std::io::Read;

use jiff::Timestamp;

use crate::mail::MailReader;
use crate::meter::Meter;
use crate::outbox::{Attempt, Job, Outbox, OutboxError, Wanted};

/// A queue of mails, as [`Outbox`] describes its own methods.
pub trait Queue: Clone + Send + Sync + 'static {
    /// The time, by which mails are due.
    fn now(&self) -> Timestamp;
    /// Where delivery is measured.
    fn meter(&self) -> &Meter;
    /// See [`Outbox::claim_by`].
    fn claim(&self, wanted: Wanted, now: Timestamp) -> impl Future<Output = Result<Vec<Job>, OutboxError>> + Send;
    /// See [`Outbox::in_data`].
    fn in_data(&self, job: &Job, recipients: &[i64]) -> impl Future<Output = Result<bool, OutboxError>> + Send;
    /// See [`Outbox::report`].
    fn report(
        &self,
        job: &Job,
        outcomes: &[(i64, Attempt)],
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, OutboxError>> + Send;
    /// See [`Outbox::next_due`].
    fn next_due(&self) -> impl Future<Output = Result<Option<Timestamp>, OutboxError>> + Send;
    /// See [`Outbox::changed`].
    fn changed(&self) -> impl Future<Output = ()> + Send;
    /// Gives the mail's bytes to a reader of them. Blocking if the mail has attachments.
    fn read<T>(&self, job: &Job, take: impl FnOnce(&mut dyn Read) -> T) -> T;
}

impl Queue for Outbox {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn meter(&self) -> &Meter {
        Self::meter(self)
    }

    async fn claim(&self, wanted: Wanted, now: Timestamp) -> Result<Vec<Job>, OutboxError> {
        Self::claim_by(self, wanted, now).await
    }

    async fn in_data(&self, job: &Job, recipients: &[i64]) -> Result<bool, OutboxError> {
        Self::in_data(self, job, recipients).await
    }

    async fn report(&self, job: &Job, outcomes: &[(i64, Attempt)], now: Timestamp) -> Result<bool, OutboxError> {
        Self::report(self, job, outcomes, now).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, OutboxError> {
        Self::next_due(self).await
    }

    async fn changed(&self) {
        Self::changed(self).await;
    }

    fn read<T>(&self, job: &Job, take: impl FnOnce(&mut dyn Read) -> T) -> T {
        take(&mut MailReader::new(&job.head, &job.body, self.blobs()))
    }
}
