//! Taking in: lines made ready outside the writer, then stored in its transaction.

use std::io;
use std::time::Duration;

use super::batch::{self, Batch, NewEvent};
use super::command::Effects;
use super::content::{Encoder, ReadyMail};
use super::db::{Conn, query, query_as};
use super::document::Document;
use super::postponed::{self, ReadyHeld};
use super::sql::kept;
use super::{Accepted, Content, Gathered, Outcome, Position, Receipt};
use crate::blob::BlobRef;
use crate::config::RetryPolicy;
use crate::event::EventKey;
use crate::rule::{Priority, Throttle, Verdict};

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
    pub(super) rule: String,
    pub(super) verdict: Verdict,
    pub(super) reason: String,
    pub(super) trace: String,
    pub(super) recipients: String,
    pub(super) subject: Option<String>,
    pub(super) mails: Vec<ReadyMail>,
    pub(super) throttle: (Throttle, Duration),
    pub(super) priority: Priority,
    pub(super) gathered: ReadyGathered,
}

/// What a digest would need of it.
#[derive(Debug)]
pub(super) struct ReadyGathered {
    pub(super) view: String,
    pub(super) attachments: String,
    pub(super) blobs: Vec<BlobRef>,
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

    /// The event, if it is one.
    fn event(&self, now: i64) -> Option<NewEvent<'_>> {
        match &self.content {
            LineContent::Rejected { .. } => None,
            LineContent::Event { key, digest, decisions, held, .. } => {
                let rules = decisions.len() + held.as_ref().map_or(0, ReadyHeld::rules);
                Some(NewEvent { source: &self.source, key, digest, rules, now })
            }
        }
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
            priority: outcome.priority,
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
            priority: Priority::default(),
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

    pub(super) fn verdict(&self) -> &'static str {
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

/// Lines that came together, and where their source stands after them.
pub(super) struct Taken<'a> {
    pub(super) lines: &'a [Line],
    pub(super) position: Option<&'a Position>,
    pub(super) now: i64,
}

/// Stores lines of one or several intakes, and moves their positions. The receipts are those of each.
pub(super) async fn apply(
    conn: &mut Conn,
    retry: &RetryPolicy,
    taken: &[Taken<'_>],
    effects: &mut Effects,
) -> Result<Vec<Vec<Receipt>>, sqlx::Error> {
    let mut new = Vec::new();
    for Taken { lines, now, .. } in taken {
        new.extend(lines.iter().filter_map(|line| line.event(*now)));
    }
    let mut rows = if new.is_empty() { Vec::new() } else { batch::events(conn, &new).await? }.into_iter();
    let mut batch = Batch::default();
    let mut held_back = Vec::new();
    let mut receipts = Vec::with_capacity(taken.len());
    for Taken { lines, position, now } in taken {
        let mut of_these = Vec::with_capacity(lines.len());
        for line in *lines {
            of_these.push(match &line.content {
                LineContent::Event { key, digest, document, decisions, held } => match rows.next().flatten() {
                    Some(id) => {
                        effects.tally.events += 1;
                        batch.document(id, document)?;
                        for ready in decisions {
                            batch.decision(conn, id, ready, *now).await?;
                        }
                        held_back.extend(held.as_ref().map(|held| (id, held, *now)));
                        Receipt::Stored
                    }
                    None => repeated(conn, &line.source, key, digest, *now, effects).await?,
                },
                LineContent::Rejected { offset, length, digest, reason } => {
                    rejected(conn, &line.source, (*offset, *length, digest, reason), *now).await?;
                    effects.tally.rejected += 1;
                    Receipt::Stored
                }
            });
        }
        receipts.push(of_these);
        if let Some(position) = position {
            moved(conn, position).await?;
        }
    }
    batch.write(conn, effects).await?;
    for (event, held, now) in held_back {
        postponed::store(conn, retry, event, held, now, effects).await?;
    }
    Ok(receipts)
}

/// Records a line that is no event.
async fn rejected(
    conn: &mut Conn,
    source: &str,
    (offset, length, digest, reason): (u64, u64, &str, &str),
    now: i64,
) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO rejected (source, \"offset\", length, digest, reason, received) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(source)
    .bind(signed(offset))
    .bind(signed(length))
    .bind(digest)
    .bind(reason)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Remembers where an intake stands in a source.
async fn moved(conn: &mut Conn, position: &Position) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO position (source, \"offset\") VALUES ($1, $2)
         ON CONFLICT (source) DO UPDATE SET \"offset\" = excluded.\"offset\"",
    )
    .bind(&position.source)
    .bind(signed(position.offset))
    .execute(conn)
    .await?;
    Ok(())
}

/// A key that is known: the same body is a repeat, another one is recorded.
async fn repeated(
    conn: &mut Conn,
    source: &str,
    key: &EventKey,
    digest: &str,
    now: i64,
    effects: &mut Effects,
) -> Result<Receipt, sqlx::Error> {
    let (id, known): (i64, String) = query_as(
        "SELECT id, digest FROM event WHERE org_id = $1 AND client_id = $2 AND flow_id = $3 AND timestamp = $4",
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
    let added = query(
        "INSERT INTO conflict (event, digest, source, seen) VALUES ($1, $2, $3, $4) ON CONFLICT (event, digest) DO NOTHING",
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

/// Stores one decision with all that comes of it.
pub(super) async fn decision(
    conn: &mut Conn,
    event: i64,
    ready: &ReadyDecision,
    now: i64,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let mut batch = Batch::default();
    batch.decision(conn, event, ready, now).await?;
    batch.write(conn, effects).await
}
