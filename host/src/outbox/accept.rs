//! Taking in: lines made ready outside the writer, then stored in its transaction.

use std::io;
use std::time::Duration;

use sqlx::SqliteConnection;

use super::command::Effects;
use super::content::{Encoder, ReadyMail};
use super::document::{self, Document};
use super::mail_row::{Link, store_content, store_mail};
use super::postponed::{self, ReadyHeld};
use super::sql::{kept, millis, timestamp};
use super::throttle::{self, Slot, Stamp};
use super::{Accepted, Content, Gathered, Outcome, Position, Receipt};
use crate::blob::BlobRef;
use crate::config::RetryPolicy;
use crate::event::EventKey;
use crate::rule::{Throttle, Verdict};

/// A line, serialised as far as it can be.
#[derive(Debug)]
pub(super) struct Line {
    source: String,
    content: LineContent,
}

#[derive(Debug)]
enum LineContent {
    Event { key: EventKey, digest: String, document: Document, decisions: Vec<ReadyDecision>, held: Option<ReadyHeld> },
    Rejected { offset: u64, length: u64, digest: String, reason: String },
}

#[derive(Debug)]
pub(super) struct ReadyDecision {
    rule: String,
    verdict: Verdict,
    reason: String,
    trace: String,
    recipients: String,
    subject: Option<String>,
    mails: Vec<ReadyMail>,
    throttle: (Throttle, Duration),
    gathered: ReadyGathered,
}

#[derive(Debug)]
struct ReadyGathered {
    view: String,
    attachments: String,
    blobs: Vec<BlobRef>,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl Line {
    /// Makes a line ready.
    ///
    /// # Errors
    /// When it breaks the contract of [`Outcome`].
    pub(super) fn ready(accepted: Accepted) -> io::Result<Self> {
        let content = match accepted.content {
            Content::Event { key, digest, document, outcomes, held } => LineContent::Event {
                decisions: outcomes.into_iter().map(ReadyDecision::ready).collect::<io::Result<_>>()?,
                held: held.map(|held| ReadyHeld::ready(*held)).transpose()?,
                key,
                digest,
                document,
            },
            Content::Rejected { offset, length, digest, reason } => {
                LineContent::Rejected { offset, length, digest, reason: kept(&reason) }
            }
        };
        Ok(Self { source: accepted.source, content })
    }

    /// Rows and bytes, about.
    pub(super) fn weight(&self) -> (usize, usize) {
        match &self.content {
            LineContent::Rejected { .. } => (1, 256),
            LineContent::Event { document, decisions, held, .. } => {
                let held = held.as_ref().map_or((0, 0), ReadyHeld::weight);
                let document = document.weight();
                decisions
                    .iter()
                    .map(ReadyDecision::weight)
                    .fold((1 + held.0 + document.0, 256 + held.1 + document.1), |sum, next| {
                        (sum.0 + next.0, sum.1 + next.1)
                    })
            }
        }
    }
}

impl ReadyDecision {
    pub(super) fn ready(outcome: Outcome) -> io::Result<Self> {
        let notify = outcome.decision.decision == Verdict::Notify;
        if notify == outcome.mails.is_empty() {
            return Err(invalid(format!(
                "rule {}: a decision to notify has mails, and only such a one; this one is {:?} with {}",
                outcome.rule,
                outcome.decision.decision,
                outcome.mails.len()
            )));
        }
        let Gathered { view, attachments } =
            outcome.gathered.unwrap_or(Gathered { view: String::new(), attachments: Vec::new() });
        let mut encoder = Encoder::default();
        Ok(Self {
            verdict: outcome.decision.decision,
            reason: outcome.decision.reason,
            trace: json(&outcome.decision.trace)?,
            recipients: json(&outcome.decision.recipients)?,
            subject: outcome.subject,
            throttle: outcome.throttle,
            gathered: ReadyGathered {
                view,
                blobs: attachments.iter().map(|attachment| attachment.blob.clone()).collect(),
                attachments: json(&attachments)?,
            },
            mails: outcome.mails.into_iter().map(|mail| encoder.mail(mail)).collect::<io::Result<_>>()?,
            rule: outcome.rule,
        })
    }

    /// A judgement that was given up; the trace is JSON.
    pub(super) fn error(rule: String, reason: String, trace: String) -> Self {
        let gathered = ReadyGathered { view: String::new(), attachments: String::new(), blobs: Vec::new() };
        Self {
            rule,
            verdict: Verdict::Error,
            reason,
            trace,
            recipients: "[]".to_owned(),
            subject: None,
            mails: Vec::new(),
            throttle: (Throttle::default(), Duration::ZERO),
            gathered,
        }
    }

    /// Rows and bytes, about.
    pub(super) fn weight(&self) -> (usize, usize) {
        let copies = self.mails.len().max(1);
        let mails: usize =
            self.mails.iter().map(|mail| mail.mail.head.len() + mail.content.segments.len() / copies).sum();
        (1 + self.mails.len(), self.trace.len() + mails)
    }

    fn verdict(&self) -> &'static str {
        match self.verdict {
            Verdict::Notify => "notify",
            Verdict::Skip => "skip",
            Verdict::Error => "error",
        }
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> io::Result<String> {
    serde_json::to_string(value).map_err(io::Error::other)
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Stores lines and moves a position.
pub(super) async fn apply(
    conn: &mut SqliteConnection,
    retry: &RetryPolicy,
    lines: &[Line],
    position: Option<&Position>,
    now: i64,
    effects: &mut Effects,
) -> Result<Vec<Receipt>, sqlx::Error> {
    let mut receipts = Vec::with_capacity(lines.len());
    for line in lines {
        receipts.push(match &line.content {
            LineContent::Event { key, digest, document, decisions, held } => {
                let rules = decisions.len() + held.as_ref().map_or(0, ReadyHeld::rules);
                match event(conn, &line.source, key, digest, rules, now, effects).await? {
                    Ok(id) => {
                        document::store(conn, id, document).await?;
                        for ready in decisions {
                            decision(conn, id, ready, now, effects).await?;
                        }
                        if let Some(held) = held {
                            postponed::store(conn, retry, id, held, now, effects).await?;
                        }
                        Receipt::Stored
                    }
                    Err(known) => known,
                }
            }
            LineContent::Rejected { offset, length, digest, reason } => {
                sqlx::query(
                    "INSERT INTO rejected (source, offset, length, digest, reason, received) VALUES (?, ?, ?, ?, ?, ?)",
                )
                .bind(&line.source)
                .bind(signed(*offset))
                .bind(signed(*length))
                .bind(digest)
                .bind(reason)
                .bind(now)
                .execute(&mut *conn)
                .await?;
                effects.tally.rejected += 1;
                Receipt::Stored
            }
        });
    }
    if let Some(position) = position {
        sqlx::query(
            "INSERT INTO position (source, offset) VALUES (?, ?) ON CONFLICT DO UPDATE SET offset = excluded.offset",
        )
        .bind(&position.source)
        .bind(signed(position.offset))
        .execute(&mut *conn)
        .await?;
    }
    Ok(receipts)
}

/// A new event's row id; of one that is known, what it was.
async fn event(
    conn: &mut SqliteConnection,
    source: &str,
    key: &EventKey,
    digest: &str,
    rules: usize,
    now: i64,
    effects: &mut Effects,
) -> Result<Result<i64, Receipt>, sqlx::Error> {
    let new: Option<(i64,)> = sqlx::query_as(
        "INSERT INTO event (org_id, client_id, flow_id, timestamp, digest, source, received, decisions)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org_id, client_id, flow_id, timestamp) DO NOTHING RETURNING id",
    )
    .bind(&key.org_id)
    .bind(&key.client_id)
    .bind(&key.flow_id)
    .bind(key.timestamp)
    .bind(digest)
    .bind(source)
    .bind(now)
    .bind(signed(rules as u64))
    .fetch_optional(&mut *conn)
    .await?;
    let Some((id,)) = new else {
        return repeated(conn, source, key, digest, now, effects).await.map(Err);
    };
    effects.tally.events += 1;
    Ok(Ok(id))
}

/// A key that is known: the same body is a repeat, another one is recorded.
async fn repeated(
    conn: &mut SqliteConnection,
    source: &str,
    key: &EventKey,
    digest: &str,
    now: i64,
    effects: &mut Effects,
) -> Result<Receipt, sqlx::Error> {
    let (id, known): (i64, String) = sqlx::query_as(
        "SELECT id, digest FROM event WHERE org_id = ? AND client_id = ? AND flow_id = ? AND timestamp = ?",
    )
    .bind(&key.org_id)
    .bind(&key.client_id)
    .bind(&key.flow_id)
    .bind(key.timestamp)
    .fetch_one(&mut *conn)
    .await?;
    if known == digest {
        effects.tally.duplicates += 1;
        return Ok(Receipt::Duplicate);
    }
    let added = sqlx::query(
        "INSERT INTO conflict (event, digest, source, seen) VALUES (?, ?, ?, ?) ON CONFLICT (event, digest) DO NOTHING",
    )
    .bind(id)
    .bind(digest)
    .bind(source)
    .bind(now)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if added > 0 {
        tracing::warn!(event = %key, source, "an event came again with another body: recorded, not mailed");
    }
    effects.tally.conflicts += signed(added);
    Ok(Receipt::Conflict)
}

/// Stores a decision with all that comes of it.
pub(super) async fn decision(
    conn: &mut SqliteConnection,
    event: i64,
    ready: &ReadyDecision,
    now: i64,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let slot = match ready.verdict {
        Verdict::Notify => Some(slot(conn, ready, now).await?),
        Verdict::Skip | Verdict::Error => None,
    };
    let (disposition, note, mails) = match &slot {
        Some(Slot::Send(at)) => {
            let waits = millis(*at) > now;
            let note = waits.then(|| format!("inside `send_interval`: its slot is {at}"));
            ("mailed", note, ready.mails.len())
        }
        Some(Slot::Gather(due)) => ("gathered", Some(format!("inside `send_interval`: the digest is due {due}")), 0),
        Some(Slot::Drop(reason)) => ("throttled", Some(reason.clone()), 0),
        None if ready.verdict == Verdict::Error => ("error", None, 0),
        None => ("skipped", None, 0),
    };
    let (id,): (i64,) = sqlx::query_as(
        "INSERT INTO decision (event, rule, verdict, reason, trace, recipients, subject, disposition, note, mails, id)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, max(coalesce((SELECT max(id) FROM decision), 0) + 1,
           coalesce((SELECT offset FROM position WHERE source = 'publish'), 0))) RETURNING id",
    )
    .bind(event)
    .bind(&ready.rule)
    .bind(ready.verdict())
    .bind(&ready.reason)
    .bind(&ready.trace)
    .bind(&ready.recipients)
    .bind(&ready.subject)
    .bind(disposition)
    .bind(note)
    .bind(signed(mails as u64))
    .fetch_one(&mut *conn)
    .await?;
    match slot {
        Some(Slot::Send(at)) => {
            for mail in &ready.mails {
                let link = Link { rule: &ready.rule, decision: Some(id), digest: None };
                store_mail(conn, mail, &link, now, millis(at), effects).await?;
            }
        }
        Some(Slot::Gather(due)) => gather(conn, id, ready, millis(due), effects).await?,
        Some(Slot::Drop(_)) | None => {}
    }
    Ok(())
}

/// What `send_interval` makes of this event, with the rule's stamp moved.
async fn slot(conn: &mut SqliteConnection, ready: &ReadyDecision, now: i64) -> Result<Slot, sqlx::Error> {
    let (mode, interval) = ready.throttle;
    let mut stamp = Stamp::default();
    if !interval.is_zero() {
        let (last, open): (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT last FROM throttle WHERE rule = ?1),
                    (SELECT min(due) FROM gathered WHERE rule = ?1 AND digest IS NULL)",
        )
        .bind(&ready.rule)
        .fetch_one(&mut *conn)
        .await?;
        stamp = Stamp { last: last.map(timestamp), open: open.map(timestamp) };
    }
    let (slot, last) = throttle::decide(mode, interval, stamp, timestamp(now));
    if let Some(last) = last {
        stamp_rule(conn, &ready.rule, millis(last)).await?;
    }
    Ok(slot)
}

/// Remembers the last slot that a rule has given away.
pub(super) async fn stamp_rule(conn: &mut SqliteConnection, rule: &str, last: i64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO throttle (rule, last) VALUES (?, ?) ON CONFLICT DO UPDATE SET last = excluded.last")
        .bind(rule)
        .bind(last)
        .execute(conn)
        .await?;
    Ok(())
}

async fn gather(
    conn: &mut SqliteConnection,
    decision: i64,
    ready: &ReadyDecision,
    due: i64,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let (id,): (i64,) = sqlx::query_as(
        "INSERT INTO gathered (decision, rule, due, view, attachments) VALUES (?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(decision)
    .bind(&ready.rule)
    .bind(due)
    .bind(&ready.gathered.view)
    .bind(&ready.gathered.attachments)
    .fetch_one(&mut *conn)
    .await?;
    for blob in &ready.gathered.blobs {
        sqlx::query("INSERT INTO gathered_blob (gathered, sha256, size) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(&blob.sha256)
            .bind(signed(blob.size))
            .execute(&mut *conn)
            .await?;
    }
    for ReadyMail { mail, content } in &ready.mails {
        let content = store_content(conn, content).await?;
        sqlx::query(
            "INSERT INTO gathered_mail (gathered, message_id, sender, recipients, subject, head, content)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(&mail.message_id)
        .bind(&mail.sender)
        .bind(json(&mail.recipients)?)
        .bind(&mail.subject)
        .bind(&mail.head)
        .bind(content)
        .execute(&mut *conn)
        .await?;
    }
    effects.wakes = true;
    Ok(())
}
