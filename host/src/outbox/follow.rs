//! Following the decisions as they are made, by their ids: what is to be told elsewhere, once it is on disk.
//!
//! There is one writer, so ids are committed in order; and [`Batch`](super::batch::Batch) gives none twice that is
//! before the follower's position, even after retention has removed the latest ones.

use jiff::Timestamp;

use super::db::query_as;
use super::{Outbox, OutboxError, Position};

/// The follower's position: the id of the next decision that it has not seen.
const SOURCE: &str = "publish";

/// A decision to notify.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Notice {
    /// Row id of the decision.
    pub id: i64,
    /// Of the event.
    pub org_id: String,
    /// Of the event.
    pub client_id: String,
    /// Of the event.
    pub flow_id: String,
    /// The event's own, Unix seconds; 0: it has none.
    pub timestamp: i64,
    /// The rule.
    pub rule: String,
    /// JSON, a list of addresses.
    pub recipients: String,
    /// Subject of the mail.
    pub subject: Option<String>,
    /// In one sentence.
    pub reason: String,
    /// `mailed`, `gathered`, `digested` or `throttled`.
    pub disposition: String,
}

impl Outbox {
    /// Where the follower stands. The first time, that is after everything that is there, and is stored.
    ///
    /// # Errors
    /// What the database says.
    pub async fn follow(&self) -> Result<i64, OutboxError> {
        match i64::try_from(self.position(SOURCE).await?).unwrap_or(i64::MAX) {
            0 => {
                let next = self.next_decision().await?;
                self.followed(next).await?;
                Ok(next)
            }
            position => Ok(position),
        }
    }

    /// Decisions to notify from `next` on, at most so many, in order; and the first id that was not looked at.
    ///
    /// # Errors
    /// What the database says.
    pub async fn notices(&self, next: i64, limit: usize) -> Result<(Vec<Notice>, i64), OutboxError> {
        // Asked first: what is committed between the two is looked at again.
        let end = self.next_decision().await?.max(next);
        let notices: Vec<Notice> = query_as(
            "SELECT d.id, e.org_id, e.client_id, e.flow_id, e.timestamp, d.rule, d.recipients, d.subject, d.reason,
               d.disposition
             FROM decision d JOIN event e ON e.id = d.event
             WHERE d.id >= $1 AND d.id < $2 AND d.verdict = 'notify' ORDER BY d.id LIMIT $3",
        )
        .bind(next)
        .bind(end)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.readers())
        .await?;
        let end = match notices.last() {
            Some(last) if notices.len() == limit => last.id.saturating_add(1),
            _ => end,
        };
        Ok((notices, end))
    }

    /// Everything before `next` has been told.
    ///
    /// # Errors
    /// What the database says.
    pub async fn followed(&self, next: i64) -> Result<(), OutboxError> {
        let position = Position { source: SOURCE.to_owned(), offset: u64::try_from(next).unwrap_or(0) };
        self.accept(Vec::new(), Some(position), Timestamp::now()).await.map(drop)
    }

    /// The id after the last one that was given.
    pub(crate) async fn next_decision(&self) -> Result<i64, OutboxError> {
        let (last,): (i64,) = query_as("SELECT coalesce(max(id), 0) FROM decision").fetch_one(self.readers()).await?;
        Ok(last.saturating_add(1))
    }
}
