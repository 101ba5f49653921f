//! Events as they are kept ([`Document`](crate::outbox::Document)): by name, or all of them in the order of intake, a
//! few at a time.

use jiff::Timestamp;

use super::Reader;
use crate::event::line::LineLimits;
use crate::event::{self, FlowCompletion};
use crate::outbox::OutboxError;
use crate::outbox::db::query_as;
use crate::outbox::sql::{millis, timestamp};

/// Events that are read at a time; each is at most [`DOCUMENT_LIMIT`](crate::outbox::DOCUMENT_LIMIT) bytes.
const AT_A_TIME: i64 = 50;

/// An event that retention has not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Row id.
    pub id: i64,
    /// As `org/client/flow`.
    pub event: String,
    /// When it was taken in.
    pub received: Timestamp,
    /// What is kept of it.
    pub kept: Kept,
}

/// What is kept of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The event without its result rows: the text of a JSON object.
    Whole(String),
    /// Nothing: it was too large. Its bytes.
    TooLarge(u64),
    /// Nothing: it came before events were kept.
    Never,
}

impl Kept {
    /// Why there is nothing, as a sentence; `None`: there is.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        match self {
            Self::Whole(_) => None,
            Self::TooLarge(size) => Some(format!(
                "only its decisions are kept: it has {size} bytes, and of events over {} bytes the outbox keeps no copy",
                crate::outbox::DOCUMENT_LIMIT
            )),
            Self::Never => Some(
                "only its decisions are kept: it was taken in by an earlier version of bewit, which kept no copies"
                    .to_owned(),
            ),
        }
    }
}

/// A place in the order of intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    received: i64,
    id: i64,
}

impl Mark {
    /// Before everything that was taken in at this time or later.
    #[must_use]
    pub fn since(time: Option<Timestamp>) -> Self {
        Self { received: time.map_or(i64::MIN, millis), id: i64::MIN }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    event: String,
    received: i64,
    size: Option<i64>,
    text: Option<String>,
}

impl From<Row> for StoredEvent {
    fn from(row: Row) -> Self {
        let kept = match (row.text, row.size) {
            (Some(text), _) => Kept::Whole(text),
            (None, Some(size)) => Kept::TooLarge(u64::try_from(size).unwrap_or(0)),
            (None, None) => Kept::Never,
        };
        Self { id: row.id, event: row.event, received: timestamp(row.received), kept }
    }
}

/// The head of a query of stored events, whose rows are a [`Row`].
macro_rules! events {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, e.org_id || '/' || e.client_id || '/' || e.flow_id AS event, e.received, d.size, d.text \
             FROM event e LEFT JOIN document d ON d.event = e.id ",
            $rest
        )
    };
}

const AFTER: &str = events!(
    "WHERE e.swept = 0 AND e.received >= $1 AND (e.received > $1 OR e.id > $2) ORDER BY e.received, e.id LIMIT $3"
);

/// By the primary key: the index of what is swept would have to be sorted (hence the `+`).
const BEFORE: &str = events!("WHERE +e.swept = 0 AND e.id < $1 ORDER BY e.id DESC LIMIT $2");

const NAMED: &str = events!(
    "WHERE e.flow_id IN (SELECT atom FROM json_each($2)) AND e.swept = 0
       AND (e.flow_id = $1 OR e.org_id || '/' || e.client_id || '/' || e.flow_id = $1) ORDER BY e.id"
);

const BY_ID: &str = events!("WHERE e.id = $1 AND e.swept = 0");

/// Every query, for the test that none reads a table from end to end.
#[cfg(test)]
pub(in crate::outbox) const QUERIES: &[&str] = &[AFTER, BEFORE, NAMED, BY_ID];

impl Reader {
    /// Some of the events after `mark`, in the order of intake, and the mark after them; none: there are no more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn stored_after(&mut self, mark: Mark) -> Result<(Vec<StoredEvent>, Mark), OutboxError> {
        let rows: Vec<Row> =
            query_as(AFTER).bind(mark.received).bind(mark.id).bind(AT_A_TIME).fetch_all(self.conn()).await?;
        let next = rows.last().map_or(mark, |row| Mark { received: row.received, id: row.id });
        Ok((rows.into_iter().map(Into::into).collect(), next))
    }

    /// Some of the events before this row id, the newest first; none: there are no more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn stored_before(&mut self, before: Option<i64>) -> Result<Vec<StoredEvent>, OutboxError> {
        let before = before.unwrap_or(i64::MAX);
        let rows: Vec<Row> = query_as(BEFORE).bind(before).bind(AT_A_TIME).fetch_all(self.conn()).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Events of this name: a flow id, or `org/client/flow`. Several, if several clients or servers have the flow, or it
    /// completed more than once.
    ///
    /// # Errors
    /// What the database says.
    pub async fn stored_named(&mut self, name: &str) -> Result<Vec<StoredEvent>, OutboxError> {
        let rows: Vec<Row> = query_as(NAMED).bind(name).bind(flow_ids(name)).fetch_all(self.conn()).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// The event of this row id.
    ///
    /// # Errors
    /// What the database says.
    pub async fn stored_event(&mut self, id: i64) -> Result<Option<StoredEvent>, OutboxError> {
        let row: Option<Row> = query_as(BY_ID).bind(id).fetch_optional(self.conn()).await?;
        Ok(row.map(Into::into))
    }
}

/// The flow ids that a name may mean, as JSON: itself, and what is behind each of its slashes. What is in an event's ids
/// is for the event to say, slashes too.
pub(super) fn flow_ids(name: &str) -> String {
    let ends = name.match_indices('/').map(|(at, _)| name.get(at + 1..).unwrap_or_default());
    serde_json::json!(std::iter::once(name).chain(ends).collect::<Vec<_>>()).to_string()
}

impl StoredEvent {
    /// The event as it was judged, read as a line of an intake is.
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    pub fn read(&self, limits: &LineLimits) -> Result<FlowCompletion, String> {
        match &self.kept {
            Kept::Whole(text) => event::read(text.as_bytes(), limits).map_err(|error| error.to_string()),
            other => Err(other.why_not().unwrap_or_default()),
        }
    }
}
