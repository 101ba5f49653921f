//! A queue in memory that keeps the outbox's rules.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::queue::Queue;
use crate::config::RetryPolicy;
use crate::mail::Segment;
use crate::meter::Meter;
use crate::outbox::{Attempt, Job, JobRecipient, OutboxError, Wanted};
use crate::rule::Priority;

pub(super) fn retry() -> RetryPolicy {
    let waits = [30, 120, 300, 900, 1800, 3600].map(Duration::from_secs).to_vec();
    RetryPolicy { waits, give_up: Duration::from_secs(5 * 24 * 3600) }
}

/// Where a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Sending,
    InData,
    Delivered(String),
    Deferred(String),
    Failed(String),
    Held(String),
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: i64,
    mail: i64,
    pub(super) address: String,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) reason: Option<String>,
    due: Timestamp,
}

#[derive(Debug, Clone)]
struct Mail {
    head: Vec<u8>,
    body: Arc<Vec<Segment>>,
    stored: Timestamp,
    epoch: i64,
    priority: Priority,
}

#[derive(Default)]
struct Tables {
    mails: BTreeMap<i64, Mail>,
    rows: Vec<Row>,
    /// When, and the row's index.
    waiting: BTreeSet<(Timestamp, usize)>,
    /// Row indices by mail.
    index: HashMap<i64, Vec<usize>>,
    /// Claims of these mails are lost before the final dot.
    stolen: Vec<i64>,
    /// Mails claimed so far, each time counted.
    claims: usize,
}

/// The outbox's part, by its rules, on the paused clock.
#[derive(Clone)]
pub(super) struct Memory {
    tables: Arc<Mutex<Tables>>,
    changed: Arc<Notify>,
    meter: Arc<Meter>,
    retry: RetryPolicy,
    start: (Timestamp, Instant),
    dots: bool,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            tables: Arc::default(),
            changed: Arc::default(),
            meter: Arc::new(Meter::new()),
            retry: retry(),
            start: ("2026-08-21T00:00:00Z".parse().unwrap(), Instant::now()),
            dots: true,
        }
    }

    pub(super) fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// For a mailbox folder, where no final dot is written down.
    pub(super) fn without_dots(mut self) -> Self {
        self.dots = false;
        self
    }

    pub(super) fn add_mail(&self, to: &[&str], body: &[u8]) -> i64 {
        self.add_urgent(Priority::Normal, to, body)
    }

    pub(super) fn add_urgent(&self, priority: Priority, to: &[&str], body: &[u8]) -> i64 {
        let now = self.now();
        let mut tables = self.tables.lock().unwrap();
        let id = i64::try_from(tables.mails.len()).unwrap() + 1;
        let head = format!("Message-ID: <m{id}@example.org>\r\nSubject: {id}\r\n").into_bytes();
        let body = Arc::new(vec![Segment::Bytes(body.to_vec())]);
        tables.mails.insert(id, Mail { head, body, stored: now, epoch: 0, priority });
        for address in to {
            let row = i64::try_from(tables.rows.len()).unwrap() + 1;
            let at = tables.rows.len();
            tables.index.entry(id).or_default().push(at);
            tables.waiting.insert((now, at));
            tables.rows.push(Row {
                id: row,
                mail: id,
                address: (*address).to_owned(),
                state: State::Queued,
                attempts: 0,
                reason: None,
                due: now,
            });
        }
        drop(tables);
        self.changed.notify_waiters();
        id
    }

    /// So many mails to one address.
    pub(super) fn add_many(&self, mails: usize) {
        for _ in 0..mails {
            self.add(&["ana@example.org"]);
        }
    }

    pub(super) fn add(&self, to: &[&str]) -> i64 {
        self.add_mail(to, b"text\r\n")
    }

    pub(super) fn steal(&self, mail: i64) {
        self.tables.lock().unwrap().stolen.push(mail);
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.tables.lock().unwrap().rows.clone()
    }

    pub(super) fn states(&self) -> Vec<State> {
        self.rows().into_iter().map(|row| row.state).collect()
    }

    pub(super) fn number(&self, wanted: impl Fn(&State) -> bool) -> usize {
        self.tables.lock().unwrap().rows.iter().filter(|row| wanted(&row.state)).count()
    }

    /// Mails claimed so far, each time counted.
    pub(super) fn claims(&self) -> usize {
        self.tables.lock().unwrap().claims
    }

    pub(super) fn delivered(&self) -> usize {
        self.number(|state| matches!(state, State::Delivered(_)))
    }

    /// Waits on the clock until something is so.
    pub(super) async fn until(&self, what: &str, limit: Duration, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + limit;
        while !so(self) {
            assert!(Instant::now() < end, "{what}: not within {limit:?}: {:?}", self.states());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Queue for Memory {
    fn now(&self) -> Timestamp {
        self.start.0 + self.start.1.elapsed()
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn claim(&self, wanted: Wanted, now: Timestamp) -> Result<Vec<Job>, OutboxError> {
        let mut tables = self.tables.lock().unwrap();
        let tables = &mut *tables;
        let due: Vec<i64> =
            tables.waiting.iter().take_while(|(due, _)| *due <= now).map(|(_, row)| tables.rows[*row].mail).collect();
        let mut left = Priority::ALL.map(|priority| wanted.of(priority));
        let mut jobs: Vec<Job> = Vec::new();
        for id in due {
            if left == [0; 3] {
                break;
            }
            let left = &mut left[tables.mails[&id].priority as usize];
            if *left == 0 {
                continue;
            }
            let mut recipients = Vec::new();
            for at in &tables.index[&id] {
                let row = &mut tables.rows[*at];
                if matches!(row.state, State::Queued | State::Deferred(_)) && row.due <= now {
                    row.state = State::Sending;
                    tables.waiting.remove(&(row.due, *at));
                    recipients.push(JobRecipient { id: row.id, address: row.address.clone(), attempts: row.attempts });
                }
            }
            if recipients.is_empty() {
                continue;
            }
            *left -= 1;
            tables.claims += 1;
            let mail = tables.mails.get_mut(&id).unwrap();
            mail.epoch += 1;
            let size = mail.head.len() as u64 + 2 + mail.body.iter().map(Segment::len).sum::<u64>();
            jobs.push(Job {
                mail: id,
                epoch: mail.epoch,
                message_id: format!("m{id}@example.org"),
                sender: "bewit@example.org".to_owned(),
                recipients,
                head: mail.head.clone(),
                body: Arc::clone(&mail.body),
                size,
                stored: mail.stored,
                priority: mail.priority,
            });
        }
        Ok(jobs)
    }

    async fn in_data(&self, job: &Job, recipients: &[i64]) -> Result<bool, OutboxError> {
        let mut tables = self.tables.lock().unwrap();
        if tables.stolen.contains(&job.mail) {
            return Ok(false);
        }
        for id in recipients {
            let row = &mut tables.rows[usize::try_from(*id).unwrap() - 1];
            assert_eq!(row.state, State::Sending, "{row:?}");
            row.state = State::InData;
        }
        Ok(true)
    }

    async fn report(&self, job: &Job, outcomes: &[(i64, Attempt)], now: Timestamp) -> Result<bool, OutboxError> {
        let mut tables = self.tables.lock().unwrap();
        let tables = &mut *tables;
        if tables.mails[&job.mail].epoch != job.epoch || tables.stolen.contains(&job.mail) {
            return Ok(false);
        }
        for (id, outcome) in outcomes {
            let at = usize::try_from(*id).unwrap() - 1;
            let row = &mut tables.rows[at];
            assert!(matches!(row.state, State::Sending | State::InData), "reported twice: {row:?} {outcome:?}");
            row.state = match outcome.clone() {
                Attempt::Delivered(reply) => {
                    assert!(!self.dots || row.state == State::InData, "the final dot was not written down");
                    State::Delivered(reply)
                }
                Attempt::Failed(reason) => State::Failed(reason),
                Attempt::Held(reason) => State::Held(reason),
                Attempt::Released(due) => {
                    row.due = due;
                    State::Queued
                }
                Attempt::Waits(due, reason) => {
                    row.due = due;
                    row.reason = Some(reason);
                    State::Queued
                }
                Attempt::Deferred(reason) => {
                    let at = usize::try_from(row.attempts).unwrap().min(self.retry.waits.len() - 1);
                    row.attempts += 1;
                    row.due = now + self.retry.waits[at];
                    let age =
                        Duration::try_from(now.duration_since(tables.mails[&job.mail].stored)).unwrap_or_default();
                    if age >= self.retry.give_up { State::Failed(reason) } else { State::Deferred(reason) }
                }
            };
            if matches!(row.state, State::Queued | State::Deferred(_)) {
                tables.waiting.insert((row.due, at));
            }
        }
        self.changed.notify_waiters();
        Ok(true)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, OutboxError> {
        let tables = self.tables.lock().unwrap();
        Ok(tables.waiting.first().map(|(due, _)| *due))
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn read<T>(&self, job: &Job, take: impl FnOnce(&mut dyn Read) -> T) -> T {
        let mut bytes = [job.head.as_slice(), b"\r\n"].concat();
        for segment in job.body.iter() {
            let Segment::Bytes(part) = segment else { unreachable!() };
            bytes.extend_from_slice(part);
        }
        take(&mut bytes.as_slice())
    }
}
