//! Looking into an outbox from outside, while a daemon has it or not: nothing is made, moved or repaired.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use sqlx::ConnectOptions;

use super::db::{Conn, query_as};
use super::sql::{self, number, timestamp};
use super::state::State;
use super::{OutboxError, content, lock, open};
use crate::blob::BlobStore;
use crate::mail::Segment;
use crate::rule::{Priority, TraceEntry};

/// The head of a query of decisions, whose rows are a [`DecisionRow`].
macro_rules! decisions {
    () => {
        "SELECT e.org_id || '/' || e.client_id || '/' || e.flow_id AS event, e.source, e.received, d.rule, \
         d.disposition, d.reason, d.note, d.trace, \
         (SELECT json_group_array(m.id) FROM mail m WHERE m.decision = d.id \
          OR m.digest = (SELECT g.digest FROM gathered g WHERE g.decision = d.id)) AS mails \
         FROM decision d JOIN event e ON e.id = d.event "
    };
}

pub(super) mod decisions;
pub(super) mod mailbox;
mod page;
pub(super) mod stored;

pub use self::decisions::{EventFilter, JudgedEvent, RuleOutcome};
pub use self::mailbox::{MailEntry, MailFilter};
pub use self::page::{LOOKED_AT, PAGE, Page};
pub use self::stored::{Kept, Mark, StoredEvent};

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    conn: Conn,
}

/// Which recipients are listed; empty or `None`: all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of mails of this rule.
    pub rule: Option<String>,
    /// Of this mail.
    pub mail: Option<i64>,
}

/// One recipient of one mail.
#[derive(Debug, Clone)]
pub struct Line {
    /// Row id of the recipient.
    pub recipient: i64,
    /// Row id of the mail.
    pub mail: i64,
    /// Which of the mail's recipients, from 1.
    pub position: i64,
    /// How many recipients the mail has.
    pub of: i64,
    /// Address.
    pub address: String,
    /// Where it stands.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is due, if it waits.
    pub next: Option<Timestamp>,
    /// The server's reply, or why.
    pub reason: Option<String>,
    /// Its last move.
    pub updated: Timestamp,
    /// Rule of the mail.
    pub rule: String,
    /// Event, as `org/client/flow`; of a digest, the first one.
    pub event: String,
    /// How many events the mail is about: more than one only in a digest.
    pub events: i64,
    /// Subject of the mail.
    pub subject: String,
    /// Who goes first.
    pub priority: Priority,
    /// Without brackets.
    pub message_id: String,
    /// When the mail was stored.
    pub stored: Timestamp,
}

impl Line {
    /// How `list` names it and `retry` takes it: the mail's number, with `.N` for one of several recipients.
    #[must_use]
    pub fn id(&self) -> String {
        if self.of > 1 { format!("{}.{}", self.mail, self.position) } else { self.mail.to_string() }
    }
}

/// An entry of a recipient's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub at: Timestamp,
    /// `delivered`, `deferred`, `failed`, `held`, `interrupted` (by a crash), `retried` or `cancelled` (by hand).
    pub outcome: String,
    /// The server's reply, or why.
    pub reply: String,
}

/// What a rule made of an event.
#[derive(Debug, Clone)]
pub struct StoredDecision {
    /// Event, as `org/client/flow`.
    pub event: String,
    /// Intake and file.
    pub source: String,
    /// When it was taken in.
    pub received: Timestamp,
    /// The rule.
    pub rule: String,
    /// `skipped`, `error`, `mailed`, `gathered` (waits for a digest), `digested`, `throttled` (not sent) or `postponed`
    /// (a plugin has put the judgement off).
    pub outcome: String,
    /// Row ids of the mails that came of it.
    pub mails: Vec<i64>,
    /// In one sentence.
    pub reason: String,
    /// What `send_interval` did, if it did something; of a judgement that waits, its id and when it is due.
    pub note: Option<String>,
    /// What each filter said.
    pub trace: Vec<TraceEntry>,
}

/// A row of `decisions!`.
#[derive(Debug, sqlx::FromRow)]
struct DecisionRow {
    event: String,
    source: String,
    received: i64,
    rule: String,
    disposition: String,
    reason: String,
    note: Option<String>,
    trace: String,
    mails: String,
}

impl TryFrom<DecisionRow> for StoredDecision {
    type Error = OutboxError;

    fn try_from(row: DecisionRow) -> Result<Self, OutboxError> {
        Ok(Self {
            event: row.event,
            source: row.source,
            received: timestamp(row.received),
            rule: row.rule,
            outcome: row.disposition,
            mails: serde_json::from_str(&row.mails).map_err(invalid)?,
            reason: row.reason,
            note: row.note,
            trace: serde_json::from_str(&row.trace).map_err(invalid)?,
        })
    }
}

/// A mail with everything about it.
#[derive(Debug, Clone)]
pub struct StoredMail {
    /// Its recipients, with their logs.
    pub recipients: Vec<(Line, Vec<LogEntry>)>,
    /// Envelope sender.
    pub sender: String,
    /// Octets.
    pub size: u64,
    /// Header bytes, without the blank line.
    pub head: Vec<u8>,
    /// Body.
    pub body: Arc<Vec<Segment>>,
    /// One, or those of a digest.
    pub decisions: Vec<StoredDecision>,
}

/// What waits for a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Rule name.
    pub rule: String,
    /// Events.
    pub events: i64,
    /// When the digest is due.
    pub due: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    mail: i64,
    position: i64,
    total: i64,
    address: String,
    state: String,
    attempts: i64,
    next_at: Option<i64>,
    reason: Option<String>,
    updated: i64,
    rule: String,
    event: Option<String>,
    events: i64,
    subject: String,
    priority: i64,
    message_id: String,
    stored: i64,
}

impl TryFrom<Row> for Line {
    type Error = OutboxError;

    fn try_from(row: Row) -> Result<Self, OutboxError> {
        Ok(Self {
            recipient: row.id,
            mail: row.mail,
            position: row.position,
            of: row.total,
            address: row.address,
            state: row.state.parse().map_err(invalid)?,
            attempts: number(row.attempts),
            next: row.next_at.map(timestamp),
            reason: row.reason,
            updated: timestamp(row.updated),
            rule: row.rule,
            event: row.event.unwrap_or_default(),
            events: row.events,
            subject: row.subject,
            priority: sql::priority(row.priority),
            message_id: row.message_id,
            stored: timestamp(row.stored),
        })
    }
}

pub(super) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> OutboxError {
    io::Error::new(io::ErrorKind::InvalidData, error).into()
}

impl Reader {
    /// Opens an outbox for reading; `None` if there is none.
    ///
    /// # Errors
    /// [`OutboxError::Unusable`] if it is damaged, no outbox, or has another schema.
    pub async fn open(path: &Path) -> Result<Option<Self>, OutboxError> {
        if !there(path)? {
            return Ok(None);
        }
        let mut conn = Conn::Sqlite(open::reading(path).connect().await.map_err(|error| open::opening(path, error))?);
        if !current(&mut conn, path).await? {
            return Ok(None);
        }
        Ok(Some(Self { path: path.to_owned(), conn }))
    }

    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// The blobs beside it.
    #[must_use]
    pub fn blobs(&self) -> BlobStore {
        BlobStore::at(open::blob_folder(&self.path))
    }

    /// Lists recipients in the order in which their mails were stored.
    ///
    /// # Errors
    /// What the database says, or `each`.
    pub async fn list<E: From<OutboxError>>(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(Line) -> Result<(), E>,
    ) -> Result<(), E> {
        let states = if filter.states.is_empty() { State::ALL.to_vec() } else { filter.states.clone() };
        let states = serde_json::json!(states.iter().map(|state| state.name()).collect::<Vec<_>>()).to_string();
        let mut rows = query_as::<Row>(
            "SELECT r.id, r.mail, r.position, m.recipients AS total, r.address, r.state, r.attempts, r.next_at,
               r.reason, r.updated, r.priority, m.rule, m.subject, m.message_id, m.stored,
               CASE WHEN m.digest IS NULL THEN e.org_id || '/' || e.client_id || '/' || e.flow_id
                 ELSE (SELECT ge.org_id || '/' || ge.client_id || '/' || ge.flow_id
                       FROM gathered g JOIN decision gd ON gd.id = g.decision JOIN event ge ON ge.id = gd.event
                       WHERE g.digest = m.digest ORDER BY g.id LIMIT 1) END AS event,
               CASE WHEN m.digest IS NULL THEN 1
                 ELSE (SELECT count(*) FROM gathered g WHERE g.digest = m.digest) END AS events
             FROM recipient r JOIN mail m ON m.id = r.mail
               LEFT JOIN decision d ON d.id = m.decision LEFT JOIN event e ON e.id = d.event
             WHERE r.state IN (SELECT atom FROM json_each($1)) AND ($2 IS NULL OR m.rule = $2)
               AND ($3 IS NULL OR m.id = $3)
             ORDER BY r.mail, r.position",
        )
        .bind(states)
        .bind(&filter.rule)
        .bind(filter.mail)
        .fetch(self.conn());
        while let Some(row) = rows.try_next().await.map_err(OutboxError::from)? {
            each(row.try_into()?)?;
        }
        Ok(())
    }

    /// What waits for a digest, by rule.
    ///
    /// # Errors
    /// What the database says.
    pub async fn waiting(&mut self) -> Result<Vec<Waiting>, OutboxError> {
        let rows: Vec<(String, i64, i64)> =
            query_as("SELECT rule, count(*), min(due) FROM gathered WHERE digest IS NULL GROUP BY rule ORDER BY rule")
                .fetch_all(self.conn())
                .await?;
        Ok(rows.into_iter().map(|(rule, events, due)| Waiting { rule, events, due: timestamp(due) }).collect())
    }

    /// Everything about a mail; `None` if there is no such mail.
    ///
    /// # Errors
    /// What the database says, or that its body is damaged.
    pub async fn mail(&mut self, id: i64) -> Result<Option<StoredMail>, OutboxError> {
        #[derive(sqlx::FromRow)]
        struct MailRow {
            sender: String,
            size: i64,
            head: Vec<u8>,
            segments: Vec<u8>,
            decision: Option<i64>,
            digest: Option<i64>,
        }
        let row: Option<MailRow> = query_as(
            "SELECT m.sender, m.size, m.head, c.segments, m.decision, m.digest
             FROM mail m JOIN content c ON c.id = m.content WHERE m.id = $1",
        )
        .bind(id)
        .fetch_optional(self.conn())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut lines = Vec::new();
        let filter = Filter { mail: Some(id), ..Filter::default() };
        self.list(&filter, |line| {
            lines.push(line);
            Ok::<(), OutboxError>(())
        })
        .await?;
        let mut recipients = Vec::with_capacity(lines.len());
        for line in lines {
            let log = self.log(line.recipient).await?;
            recipients.push((line, log));
        }
        Ok(Some(StoredMail {
            recipients,
            sender: row.sender,
            size: u64::try_from(row.size).unwrap_or(0),
            head: row.head,
            body: content::decode(&row.segments)?,
            decisions: self.decisions(row.decision, row.digest).await?,
        }))
    }

    async fn log(&mut self, recipient: i64) -> Result<Vec<LogEntry>, OutboxError> {
        let rows: Vec<(i64, String, String)> =
            query_as("SELECT at, outcome, reply FROM attempt WHERE recipient = $1 ORDER BY id")
                .bind(recipient)
                .fetch_all(self.conn())
                .await?;
        Ok(rows.into_iter().map(|(at, outcome, reply)| LogEntry { at: timestamp(at), outcome, reply }).collect())
    }

    pub(super) async fn decisions(
        &mut self,
        decision: Option<i64>,
        digest: Option<i64>,
    ) -> Result<Vec<StoredDecision>, OutboxError> {
        let rows: Vec<DecisionRow> = query_as(concat!(
            decisions!(),
            "WHERE d.id = $1 OR d.id IN (SELECT decision FROM gathered WHERE digest = $2) ORDER BY d.id"
        ))
        .bind(decision)
        .bind(digest)
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// What every rule made of an event: `org/client/flow` as [`Line::event`] has it, or a flow id. In the order of
    /// intake, and then what waits to be judged again; empty if there is no such event, or retention has removed it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn event(&mut self, name: &str) -> Result<Vec<StoredDecision>, OutboxError> {
        let rows: Vec<DecisionRow> = query_as(concat!(
            decisions!(),
            "WHERE e.flow_id IN (SELECT atom FROM json_each($2)) AND (e.flow_id = $1 \
             OR e.org_id || '/' || e.client_id || '/' || e.flow_id = $1) ORDER BY d.id"
        ))
        .bind(name)
        .bind(stored::flow_ids(name))
        .fetch_all(self.conn())
        .await?;
        let mut all: Vec<StoredDecision> = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        all.extend(self.waiting_where(None, Some(name)).await?);
        Ok(all)
    }
}

/// Whether there is a file that may be an outbox.
///
/// # Errors
/// [`OutboxError::Unusable`] when it is something else.
pub(super) fn there(path: &Path) -> Result<bool, OutboxError> {
    match std::fs::metadata(path) {
        // Empty: its maker has not come further.
        Ok(meta) if meta.len() == 0 && !open::beside(path, "-wal").exists() => Ok(false),
        Ok(meta) if !meta.is_file() => Err(open::unusable(path, "is no file")),
        Ok(_) => open::look_at_header(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(open::unusable(path, format!("cannot be opened: {error}"))),
    }
}

/// Whether an open database has the schema that this program reads and writes; false: it has none yet.
pub(super) async fn current(conn: &mut Conn, path: &Path) -> Result<bool, OutboxError> {
    match open::schema_version(conn, path).await? {
        0 => Ok(false),
        open::SCHEMA => Ok(true),
        older => Err(open::unusable(
            path,
            format!(
                "has schema {older}, this program needs {}: the next start of `bewit run` brings it up",
                open::SCHEMA
            ),
        )),
    }
}

/// Whether a daemon has this outbox: `None` if not, else its process id as far as it is known.
///
/// # Errors
/// When its lock file cannot be read.
pub fn daemon(path: &Path) -> io::Result<Option<Option<u32>>> {
    lock::holder(path)
}
