//! Judgements that were put off, by a plugin or because facts could not be asked for: the event's line is kept with the
//! files of rows that it names, judged again by the retry list, and given up as a decision of its own. In one transaction each time, so that an event and a rule have
//! either a decision or a judgement that waits, whatever happens in between.

pub(super) mod outside;

use std::io;

use jiff::Timestamp;

use super::accept::{ReadyDecision, decision, json};
use super::command::{Effects, Work};
use super::db::{Conn, query, query_as};
use super::schedule::{self, Next};
use super::sql::{kept, millis, number, timestamp};
use super::store::Outbox;
use super::{OutboxError, Outcome};
use crate::blob::BlobRef;
use crate::config::RetryPolicy;
use crate::fault;
use crate::rule::TraceEntry;

/// Attempts after which a judgement is given up, the first one counted; those for a reason that does not count are not
/// among them. `give_up` may end it sooner.
pub const ATTEMPTS: u32 = 8;

/// Most bytes of a line that is kept; of a longer one, what is put off is given up at once.
pub const LINE_LIMIT: usize = super::content::LIMIT;

/// What is kept of an event that some rules are to judge again.
#[derive(Debug, Clone)]
pub struct Held {
    /// The line as it came, at most [`LINE_LIMIT`] bytes.
    pub line: Vec<u8>,
    /// The files of rows that it names, by that name.
    pub files: Vec<(String, BlobRef)>,
    /// One for each rule that has no outcome; not empty.
    pub rules: Vec<PutOff>,
}

/// A rule's judgement that came to nothing, because a plugin gave no answer or a fact could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOff {
    /// Rule name.
    pub rule: String,
    /// Who was asked, as what, and why there is no answer; a sentence.
    pub reason: String,
    /// Whether it counts towards [`ATTEMPTS`]. Not, if it has nothing to do with the event: then only `give_up` ends it.
    pub counts: bool,
    /// Whether asking again is of any use; if not, it is dead-lettered at once.
    pub again: bool,
    /// What was said so far.
    pub trace: Vec<TraceEntry>,
}

/// A judgement that is due.
#[derive(Debug, Clone)]
pub struct PostponedJob {
    /// Row id.
    pub id: i64,
    /// Attempts so far; an answer to another number of them is refused.
    pub attempts: u32,
    /// Event, as `org/client/flow`.
    pub event: String,
    /// Rule name.
    pub rule: String,
    /// The line as it came.
    pub line: Vec<u8>,
    /// The files of rows that it names, by that name.
    pub files: Vec<(String, BlobRef)>,
}

/// What came of a judgement that was due.
#[derive(Debug, Clone)]
pub enum Judged {
    /// It is done.
    Decided(Box<Outcome>),
    /// It is put off once more, or for good.
    PutOff(PutOff),
}

/// What the outbox made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// There is a decision.
    Decided,
    /// It waits for another attempt.
    Waits,
    /// It is dead-lettered.
    GivenUp,
    /// A person was faster; nothing was stored.
    Gone,
}

/// [`Held`], serialised.
#[derive(Debug)]
pub(super) struct ReadyHeld {
    line: Vec<u8>,
    files: Vec<(String, BlobRef)>,
    rules: Vec<ReadyPutOff>,
}

#[derive(Debug)]
pub(super) struct ReadyPutOff {
    rule: String,
    reason: String,
    counts: bool,
    again: bool,
    trace: String,
}

/// [`Judged`], serialised.
#[derive(Debug)]
pub(super) enum ReadyJudged {
    Decided(Box<ReadyDecision>),
    PutOff(ReadyPutOff),
}

impl ReadyHeld {
    pub(super) fn ready(held: Held) -> io::Result<Self> {
        if held.rules.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a line is kept, but no rule is to judge it"));
        }
        let rules = held.rules.into_iter().map(ReadyPutOff::ready).collect::<io::Result<_>>()?;
        Ok(Self { line: held.line, files: held.files, rules })
    }

    /// Rows and bytes, about.
    pub(super) fn weight(&self) -> (usize, usize) {
        (1 + self.files.len() + self.rules.len(), self.line.len())
    }

    /// How many rules are to judge it.
    pub(super) fn rules(&self) -> usize {
        self.rules.len()
    }
}

impl ReadyPutOff {
    fn ready(put_off: PutOff) -> io::Result<Self> {
        let PutOff { rule, reason, counts, again, trace } = put_off;
        Ok(Self { rule, reason: kept(&reason), counts, again, trace: json(&trace)? })
    }
}

impl ReadyJudged {
    pub(super) fn ready(judged: Judged) -> io::Result<Self> {
        Ok(match judged {
            Judged::Decided(outcome) => Self::Decided(Box::new(ReadyDecision::ready(*outcome)?)),
            Judged::PutOff(put_off) => Self::PutOff(ReadyPutOff::ready(put_off)?),
        })
    }

    /// Rows and bytes, about.
    pub(super) fn weight(&self) -> (usize, usize) {
        match self {
            Self::Decided(decision) => decision.weight(),
            Self::PutOff(put_off) => (1, put_off.trace.len()),
        }
    }
}

/// Stores the line of a new event, and what its rules have put off.
pub(super) async fn store(
    conn: &mut Conn,
    retry: &RetryPolicy,
    event: i64,
    held: &ReadyHeld,
    now: i64,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    query("INSERT INTO line (event, line) VALUES ($1, $2)").bind(event).bind(&held.line).execute(&mut *conn).await?;
    for (name, blob) in &held.files {
        query("INSERT INTO line_blob (event, name, sha256, size) VALUES ($1, $2, $3, $4)")
            .bind(event)
            .bind(name)
            .bind(&blob.sha256)
            .bind(i64::try_from(blob.size).unwrap_or(i64::MAX))
            .execute(&mut *conn)
            .await?;
    }
    for put_off in &held.rules {
        let (id,): (i64,) = query_as(
            "INSERT INTO postponed (event, rule, attempts, since, next_at, reason, trace, updated)
             VALUES ($1, $2, 0, $3, $3, '', '[]', $3) RETURNING id",
        )
        .bind(event)
        .bind(&put_off.rule)
        .bind(now)
        .fetch_one(&mut *conn)
        .await?;
        let row = Row { id, event, rule: put_off.rule.clone(), attempts: 0, excused: 0, since: now };
        failed(conn, retry, &row, put_off, now, effects).await?;
    }
    Ok(())
}

/// A judgement that waits.
struct Row {
    id: i64,
    event: i64,
    rule: String,
    attempts: u32,
    /// Of these, those that do not count.
    excused: u32,
    since: i64,
}

/// An attempt came to nothing: it waits for the next one, or is given up.
async fn failed(
    conn: &mut Conn,
    retry: &RetryPolicy,
    row: &Row,
    put_off: &ReadyPutOff,
    now: i64,
    effects: &mut Effects,
) -> Result<Settled, sqlx::Error> {
    let attempts = row.attempts.saturating_add(1);
    let excused = row.excused.saturating_add(u32::from(!put_off.counts));
    let counted = attempts.saturating_sub(excused);
    let next = match schedule::after_failure(retry, attempts, timestamp(row.since), timestamp(now), &mut rand::rng()) {
        Next::At(at) if put_off.again && counted < ATTEMPTS => Some(millis(at)),
        Next::At(_) | Next::GiveUp => None,
    };
    query(
        "UPDATE postponed SET attempts = $1, excused = $2, next_at = $3, reason = $4, trace = $5, updated = $6 WHERE id = $7",
    )
    .bind(attempts)
    .bind(excused)
    .bind(next)
    .bind(&put_off.reason)
    .bind(&put_off.trace)
    .bind(now)
    .bind(row.id)
    .execute(&mut *conn)
    .await?;
    if next.is_some() {
        return Ok(Settled::Waits);
    }
    let reason = if put_off.again {
        format!("given up after {attempts} attempts; the last: {}", put_off.reason)
    } else {
        put_off.reason.clone()
    };
    tracing::error!(rule = row.rule, reason, "a judgement is dead-lettered: `bewit outbox list --state failed` has it");
    let dead = ReadyDecision::error(row.rule.clone(), reason, put_off.trace.clone());
    decision(conn, row.event, &dead, now, effects).await?;
    Ok(Settled::GivenUp)
}

/// Stores what came of a judgement that was due.
pub(super) async fn settle(
    conn: &mut Conn,
    retry: &RetryPolicy,
    id: i64,
    attempts: u32,
    judged: &ReadyJudged,
    now: i64,
    effects: &mut Effects,
) -> Result<Settled, sqlx::Error> {
    let row: Option<(i64, String, i64, i64)> = query_as(
        "SELECT event, rule, excused, since FROM postponed WHERE id = $1 AND attempts = $2 AND next_at IS NOT NULL",
    )
    .bind(id)
    .bind(attempts)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((event, rule, excused, since)) = row else { return Ok(Settled::Gone) };
    let settled = match judged {
        ReadyJudged::PutOff(put_off) => {
            let row = Row { id, event, rule, attempts, excused: number(excused), since };
            failed(conn, retry, &row, put_off, now, effects).await?
        }
        ReadyJudged::Decided(ready) => {
            decision(conn, event, ready, now, effects).await?;
            remove(conn, id, event).await?;
            Settled::Decided
        }
    };
    fault::point("judged_before_commit");
    Ok(settled)
}

/// Removes a judgement, and the line with the last one of its event.
async fn remove(conn: &mut Conn, id: i64, event: i64) -> Result<(), sqlx::Error> {
    query("DELETE FROM postponed WHERE id = $1").bind(id).execute(&mut *conn).await?;
    query("DELETE FROM line WHERE event = $1 AND NOT EXISTS (SELECT 1 FROM postponed WHERE event = $1)")
        .bind(event)
        .execute(conn)
        .await?;
    Ok(())
}

impl Outbox {
    /// The judgement that has been due longest, if one is. Nothing is claimed: one task alone asks.
    ///
    /// # Errors
    /// What the database says.
    pub async fn due_judgement(&self, now: Timestamp) -> Result<Option<PostponedJob>, OutboxError> {
        Ok(self.due_judgements(now, 1).await?.pop())
    }

    /// The judgements that have been due longest, at most so many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn due_judgements(&self, now: Timestamp, most: u32) -> Result<Vec<PostponedJob>, OutboxError> {
        #[derive(sqlx::FromRow)]
        struct Due {
            id: i64,
            attempts: i64,
            event: i64,
            name: String,
            rule: String,
            line: Vec<u8>,
        }
        let mut look = self.readers().look().await?;
        let all: Vec<Due> = query_as(
            "SELECT p.id, p.attempts, p.event, e.org_id || '/' || e.client_id || '/' || e.flow_id AS name, p.rule, l.line
             FROM postponed p JOIN line l ON l.event = p.event JOIN event e ON e.id = p.event
             WHERE p.next_at <= $1 ORDER BY p.next_at, p.id LIMIT $2",
        )
        .bind(millis(now))
        .bind(most)
        .fetch_all(&mut look)
        .await?;
        let mut jobs = Vec::with_capacity(all.len());
        for due in all {
            let files: Vec<(String, String, i64)> =
                query_as("SELECT name, sha256, size FROM line_blob WHERE event = $1 ORDER BY name")
                    .bind(due.event)
                    .fetch_all(&mut look)
                    .await?;
            let blob = |sha256, size| BlobRef { sha256, size: u64::try_from(size).unwrap_or(0) };
            jobs.push(PostponedJob {
                id: due.id,
                attempts: number(due.attempts),
                event: due.name,
                rule: due.rule,
                line: due.line,
                files: files.into_iter().map(|(name, sha256, size)| (name, blob(sha256, size))).collect(),
            });
        }
        Ok(jobs)
    }

    /// Stores what came of a judgement that was due: its decision, with the mails and all that taking in would have
    /// stored, takes its place in the same transaction. Answers after the commit.
    ///
    /// # Errors
    /// What the database says; [`OutboxError::Full`], and it is still due; [`OutboxError::Io`] when the outcome breaks
    /// the contract of [`Outcome`].
    pub async fn settle(&self, job: &PostponedJob, judged: Judged, now: Timestamp) -> Result<Settled, OutboxError> {
        let judged = ReadyJudged::ready(judged)?;
        fault::point("before_judged");
        let settled =
            self.judged(Work::Settle { id: job.id, attempts: job.attempts, judged, now: millis(now) }).await?;
        fault::point("after_judged");
        Ok(settled)
    }
}
