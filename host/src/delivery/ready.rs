//! Mails that were claimed and wait for a session, by priority.
//!
//! The more urgent goes first, but for one turn in [`NORMAL`] and one in [`BULK`], so that nothing waits for ever. And
//! where critical mails are to be expected, one session is kept free of everything else, so that they find it at once.

use std::collections::VecDeque;

use crate::outbox::Job;
use crate::rule::Priority;

/// Each so manieth turn is a normal mail's, if there is one.
const NORMAL: u32 = 8;
/// Each so manieth turn is a bulk mail's, if there is one.
const BULK: u32 = 16;

/// The mails.
#[derive(Debug, Default)]
pub(super) struct Ready {
    critical: VecDeque<Job>,
    normal: VecDeque<Job>,
    bulk: VecDeque<Job>,
    turns: u32,
    /// Sessions that have a mail in hand that is not critical.
    busy: usize,
}

impl Ready {
    fn queue(&mut self, priority: Priority) -> &mut VecDeque<Job> {
        match priority {
            Priority::Critical => &mut self.critical,
            Priority::Normal => &mut self.normal,
            Priority::Bulk => &mut self.bulk,
        }
    }

    /// How many of one priority.
    pub(super) fn count(&self, priority: Priority) -> usize {
        match priority {
            Priority::Critical => self.critical.len(),
            Priority::Normal => self.normal.len(),
            Priority::Bulk => self.bulk.len(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.critical.len() + self.normal.len() + self.bulk.len()
    }

    /// Behind the others of its priority.
    pub(super) fn push(&mut self, job: Job) {
        self.queue(job.priority).push_back(job);
    }

    /// Before them.
    pub(super) fn push_front(&mut self, job: Job) {
        self.queue(job.priority).push_front(job);
    }

    /// Whether a mail may go, if so many sessions may have one in hand that is not critical.
    pub(super) fn has_some(&self, sessions: usize) -> bool {
        !self.critical.is_empty() || (self.len() > 0 && self.busy < sessions)
    }

    /// The mail whose turn it is. Unless it is critical, [`Ready::done`] must be called after it.
    pub(super) fn pop(&mut self, sessions: usize) -> Option<Job> {
        use Priority::{Bulk, Critical, Normal};
        let order = match self.turns.wrapping_add(1) {
            turn if turn.is_multiple_of(BULK) => [Bulk, Normal, Critical],
            turn if turn.is_multiple_of(NORMAL) => [Normal, Critical, Bulk],
            _ => [Critical, Normal, Bulk],
        };
        let free = self.busy < sessions;
        let allowed = order.into_iter().filter(|priority| free || *priority == Critical);
        let job = allowed.filter_map(|priority| self.queue(priority).pop_front()).next()?;
        self.turns = self.turns.wrapping_add(1);
        self.busy += usize::from(job.priority != Critical);
        Some(job)
    }

    /// A mail of this priority is out of the session's hand.
    pub(super) fn done(&mut self, priority: Priority) {
        self.busy = self.busy.saturating_sub(usize::from(priority != Priority::Critical));
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<Job> {
        let Self { critical, normal, bulk, .. } = self;
        critical.drain(..).chain(normal.drain(..)).chain(bulk.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use Priority::{Bulk, Critical, Normal};

    fn job(mail: i64, priority: Priority) -> Job {
        Job {
            mail,
            epoch: 1,
            message_id: String::new(),
            sender: String::new(),
            recipients: Vec::new(),
            head: Vec::new(),
            body: std::sync::Arc::default(),
            size: 0,
            stored: Timestamp::UNIX_EPOCH,
            priority,
        }
    }

    fn full(each: i64) -> Ready {
        let mut ready = Ready::default();
        for mail in 0..each {
            [Bulk, Normal, Critical].into_iter().for_each(|priority| ready.push(job(mail, priority)));
        }
        ready
    }

    #[test]
    fn the_urgent_go_first_and_nobody_starves() {
        let mut ready = full(1000);
        let mut counts = [0; 3];
        let first: Vec<Priority> = (0..7).map(|_| ready.pop(9000).unwrap().priority).collect();
        assert!(first.iter().all(|priority| *priority == Critical), "{first:?}");
        for _ in 0..160 {
            counts[ready.pop(9000).unwrap().priority as usize] += 1;
        }
        assert_eq!(counts, [140, 10, 10]);
        // Without critical ones, the same of the others.
        ready.critical.clear();
        let bulk = (0..160).filter(|_| ready.pop(9000).unwrap().priority == Bulk).count();
        assert_eq!(bulk, 10);
    }

    #[test]
    fn within_a_priority_in_order() {
        let mut ready = full(3);
        ready.push_front(job(9, Critical));
        let mut mails = Vec::new();
        while let Some(job) = ready.pop(9000) {
            mails.push((job.priority, job.mail));
        }
        for (priority, order) in [(Critical, &[9, 0, 1, 2][..]), (Normal, &[0, 1, 2]), (Bulk, &[0, 1, 2])] {
            let of: Vec<i64> = mails.iter().filter(|(own, _)| *own == priority).map(|(_, mail)| *mail).collect();
            assert_eq!(of, order);
        }
    }

    #[test]
    fn a_session_is_kept_for_the_urgent() {
        let mut ready = full(50);
        ready.critical.clear();
        assert_eq!((ready.pop(2).unwrap().priority, ready.pop(2).unwrap().priority), (Normal, Normal));
        assert!(!ready.has_some(2) && ready.pop(2).is_none());
        ready.push(job(1, Critical));
        assert!(ready.has_some(2));
        assert_eq!(ready.pop(2).unwrap().priority, Critical);
        ready.done(Critical);
        assert!(ready.pop(2).is_none());
        ready.done(Normal);
        assert!(ready.pop(2).is_some());
        assert_eq!(ready.take().len(), ready.len() + 97);
    }
}
