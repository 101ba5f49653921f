//! Judgements that wait, seen and moved from outside.

use futures_util::TryStreamExt;
use jiff::Timestamp;

use super::super::OutboxError;
use super::super::db::{Conn, query, query_as};
use super::super::hand::{Action, Handled};
use super::super::look::{Reader, StoredDecision, invalid};
use super::super::sql::{number, timestamp};
use super::remove;

/// A judgement that waits, or was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postponed {
    /// Row id.
    pub id: i64,
    /// Event, as `org/client/flow`.
    pub event: String,
    /// Rule name.
    pub rule: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is due; `None`: given up.
    pub next: Option<Timestamp>,
    /// Why the last attempt came to nothing.
    pub reason: String,
    /// When the event was taken in.
    pub received: Timestamp,
    /// Its last move.
    pub updated: Timestamp,
}

impl Postponed {
    /// How `list` names it and `retry` takes it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("p{}", self.id)
    }

    /// `postponed` or `failed`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.next.is_some() { "postponed" } else { "failed" }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    event: String,
    rule: String,
    attempts: i64,
    next_at: Option<i64>,
    reason: String,
    received: i64,
    updated: i64,
}

impl From<Row> for Postponed {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            event: row.event,
            rule: row.rule,
            attempts: number(row.attempts),
            next: row.next_at.map(timestamp),
            reason: row.reason,
            received: timestamp(row.received),
            updated: timestamp(row.updated),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Waiting {
    id: i64,
    event: String,
    source: String,
    received: i64,
    rule: String,
    attempts: i64,
    next_at: i64,
    reason: String,
    trace: String,
}

impl TryFrom<Waiting> for StoredDecision {
    type Error = OutboxError;

    fn try_from(row: Waiting) -> Result<Self, OutboxError> {
        let attempts = crate::text::count(number(row.attempts).into(), "attempt");
        Ok(Self {
            event: row.event,
            source: row.source,
            received: timestamp(row.received),
            rule: row.rule,
            outcome: "postponed".to_owned(),
            mails: Vec::new(),
            reason: row.reason,
            note: Some(format!("p{}: {attempts} so far, judged again at {}", row.id, timestamp(row.next_at))),
            trace: serde_json::from_str(&row.trace).map_err(invalid)?,
        })
    }
}

impl Reader {
    /// Lists judgements that wait (`waiting`) and those that were given up (`dead`), in the order in which they were put
    /// off; of one rule, or of all.
    ///
    /// # Errors
    /// What the database says, or `each`.
    pub async fn postponed<E: From<OutboxError>>(
        &mut self,
        (waiting, dead): (bool, bool),
        rule: Option<&str>,
        mut each: impl FnMut(Postponed) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rows = query_as::<Row>(
            "SELECT p.id, e.org_id || '/' || e.client_id || '/' || e.flow_id AS event, p.rule, p.attempts, p.next_at,
               p.reason, e.received, p.updated
             FROM postponed p JOIN event e ON e.id = p.event
             WHERE CASE WHEN p.next_at IS NULL THEN $2 ELSE $1 END AND ($3 IS NULL OR p.rule = $3) ORDER BY p.id",
        )
        .bind(waiting)
        .bind(dead)
        .bind(rule)
        .fetch(self.conn());
        while let Some(row) = rows.try_next().await.map_err(OutboxError::from)? {
            each(row.into())?;
        }
        Ok(())
    }

    /// What a rule made of an event whose judgement was put off; `None` if there is no such judgement.
    ///
    /// # Errors
    /// What the database says.
    pub async fn judgement(&mut self, id: i64) -> Result<Option<StoredDecision>, OutboxError> {
        if let Some(waiting) = self.waiting_where(Some(id), None).await?.pop() {
            return Ok(Some(waiting));
        }
        let given_up: Option<(i64,)> = query_as(
            "SELECT d.id FROM postponed p JOIN decision d ON d.event = p.event AND d.rule = p.rule WHERE p.id = $1",
        )
        .bind(id)
        .fetch_optional(self.conn())
        .await?;
        let Some((decision,)) = given_up else { return Ok(None) };
        Ok(self.decisions(Some(decision), None).await?.pop())
    }

    /// Judgements that wait: this one, or those of an event as [`Reader::event`] names it.
    pub(in super::super) async fn waiting_where(
        &mut self,
        id: Option<i64>,
        event: Option<&str>,
    ) -> Result<Vec<StoredDecision>, OutboxError> {
        let rows: Vec<Waiting> = query_as(
            "SELECT p.id, e.org_id || '/' || e.client_id || '/' || e.flow_id AS event, e.source, e.received, p.rule,
               p.attempts, p.next_at, p.reason, p.trace
             FROM postponed p JOIN event e ON e.id = p.event
             WHERE p.next_at IS NOT NULL
               AND (p.id = $1 OR e.flow_id = $2 OR e.org_id || '/' || e.client_id || '/' || e.flow_id = $2)
             ORDER BY p.id",
        )
        .bind(id)
        .bind(event)
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

/// Does something to a judgement by hand.
pub(in super::super) async fn act(conn: &mut Conn, action: Action, id: i64, now: i64) -> Result<Handled, OutboxError> {
    let row: Option<(i64, String, Option<i64>, String)> = query_as(
        "SELECT p.event, p.rule, p.next_at, e.org_id || '/' || e.client_id || '/' || e.flow_id
         FROM postponed p JOIN event e ON e.id = p.event WHERE p.id = $1",
    )
    .bind(id)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((event, rule, next, name)) = row else {
        return Ok(Handled::Refused(format!("there is no p{id} in the outbox")));
    };
    match (action, next) {
        (Action::Cancel, None) => {
            return Ok(Handled::Refused(format!("p{id}: {name} is given up, and only what waits can be cancelled")));
        }
        (Action::Cancel, Some(_)) => {
            query(
                "INSERT INTO decision (event, rule, verdict, reason, trace, recipients, disposition, mails)
                 SELECT event, rule, 'skip', 'cancelled by hand; ' || reason, trace, '[]', 'skipped', 0
                 FROM postponed WHERE id = $1",
            )
            .bind(id)
            .execute(&mut *conn)
            .await?;
            remove(conn, id, event).await?;
        }
        (Action::Retry, _) => {
            if next.is_none() {
                query("DELETE FROM decision WHERE event = $1 AND rule = $2 AND verdict = 'error'")
                    .bind(event)
                    .bind(&rule)
                    .execute(&mut *conn)
                    .await?;
            }
            query(
                "UPDATE postponed SET next_at = $1, since = $1, updated = $1, attempts = 0, excused = 0 WHERE id = $2",
            )
            .bind(now)
            .bind(id)
            .execute(&mut *conn)
            .await?;
        }
    }
    Ok(Handled::Done(vec![format!("{name}, rule {rule}")]))
}
