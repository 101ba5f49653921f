//! What becomes of mails, written down: outcomes, and mails that go back to the queue.
//!
//! What becomes of the mail in hand when no session can be had (`set_back`): its first such attempt counts and is
//! deferred by the retry list with the reason. After that, a mail that serves as a probe of a server that is away is
//! deferred only if its next wait is no longer than the wait between probes; else it stays queued and the attempt does
//! not count. So an outage pushes no mail far into the future, and the queue moves as soon as the server is back. A server
//! that refuses us counts no attempts at all, and neither does a mail that was claimed and not tried. Whatever happens, a
//! mail past `give_up` is given up.
//!
//! Nor is it an attempt of a mail that the server says it gets too much of us (`limited`), but for a mail of which it says so
//! again and again: that may be the mail's own trouble.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::connect::Dial;
use super::measure;
use super::queue::Queue;
use super::relay::{Down, PROBE_CAP, Trouble};
use super::worker::{Shared, lock};
use crate::outbox::{Attempt, Job, JobRecipient, OutboxError};
use crate::text::Visible;

/// How often the server may say of one recipient of a mail that it gets too much, before that is an attempt.
const PATIENCE: u32 = 4;
/// Recipients of whom that is remembered.
const MEMORY: usize = 10_000;

impl<Q: Queue, D: Dial> Shared<Q, D> {
    fn now_and_later(&self) -> (Timestamp, Timestamp) {
        let now = self.queue.now();
        // In a drain, what is given back must not be due in the same drain again.
        let later = self.drain.map_or(now, |drain| now.max(drain + Duration::from_millis(10)));
        (now, later)
    }

    /// Gives a mail back, no attempt counted.
    pub(super) async fn release(&self, job: &Job, reason: &str) -> Result<(), OutboxError> {
        let (_, later) = self.now_and_later();
        let outcomes = job.recipients.iter().map(|to| (to.id, Attempt::Released(later))).collect();
        self.report(job, outcomes, reason).await
    }

    /// What becomes of recipients when there is no session; see the head of this file.
    pub(super) async fn set_back(
        &self,
        job: &Job,
        to: &[JobRecipient],
        down: &Down,
        tried: bool,
    ) -> Result<(), OutboxError> {
        let outcomes = to.iter().map(|to| (to.id, self.set_back_one(job, to, down, tried))).collect();
        self.report(job, outcomes, &down.reason).await
    }

    pub(super) fn set_back_one(&self, job: &Job, to: &JobRecipient, down: &Down, tried: bool) -> Attempt {
        let (now, later) = self.now_and_later();
        let attempts = usize::try_from(to.attempts).unwrap_or(usize::MAX);
        let wait = self.retry.wait(attempts);
        if self.is_past(job, now) {
            self.aged.store(true, Ordering::Release);
            return Attempt::Deferred(down.reason.clone());
        }
        match down.trouble {
            Trouble::Unreachable if tried && (attempts == 0 || wait <= PROBE_CAP) => {
                Attempt::Deferred(down.reason.clone())
            }
            _ if self.drain.is_some() => Attempt::Released(later),
            _ => Attempt::Released(now + down.next.saturating_duration_since(Instant::now())),
        }
    }

    /// What becomes of a recipient when the server says that it gets too much: it keeps its place in the queue, which stands
    /// still for a moment.
    pub(super) fn limited(&self, job: &Job, to: &JobRecipient, reason: &str) -> Attempt {
        self.relay.slow(Instant::now(), self.live.load(Ordering::Acquire), reason);
        if let Some(down) = self.relay.down() {
            return self.set_back_one(job, to, &down, false);
        }
        let mut limited = lock(&self.limited);
        if limited.len() >= MEMORY {
            limited.clear();
        }
        let times = limited.entry(to.id).or_default();
        *times += 1;
        if *times > PATIENCE {
            return Attempt::Deferred(reason.to_owned());
        }
        Attempt::Released(job.stored.min(self.queue.now()))
    }

    fn is_past(&self, job: &Job, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(job.stored)).unwrap_or_default() >= self.retry.give_up
    }

    /// Stores outcomes, counts them, and logs one line for each recipient.
    pub(super) async fn report(&self, job: &Job, outcomes: Vec<(i64, Attempt)>, why: &str) -> Result<(), OutboxError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let now = self.queue.now();
        if !self.queue.report(job, &outcomes, now).await? {
            tracing::warn!(
                message_id = job.message_id,
                "another claim has overtaken this one; its outcome is not counted"
            );
            return Ok(());
        }
        let mut summary = lock(&self.summary);
        for (id, outcome) in &outcomes {
            if matches!(outcome, Attempt::Delivered(_) | Attempt::Failed(_) | Attempt::Held(_)) {
                lock(&self.limited).remove(id);
            }
            if let Some(quotas) = &self.quotas
                && !matches!(outcome, Attempt::Waits(..))
            {
                lock(quotas).ended(*id, matches!(outcome, Attempt::Delivered(_)), Instant::now());
            }
            measure(self.queue.meter(), job, outcome, now);
            let address = job.recipients.iter().find(|to| to.id == *id).map_or("", |to| to.address.as_str());
            if let Attempt::Released(at) | Attempt::Waits(at, _) = outcome {
                // What keeps its place comes again at once, or in the same drain.
                summary.deferred += u64::from(*at > self.drain.unwrap_or(now));
                let (message_id, recipient) = (Visible(&job.message_id).to_string(), Visible(address).to_string());
                tracing::debug!(message_id, recipient, reason = why, "stays queued");
            } else {
                summary.record(&job.message_id, address, outcome);
            }
        }
        Ok(())
    }
}
