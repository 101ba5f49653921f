//! What a person may do to recipients, and to judgements that were put off: try again, or cancel. Works beside a running daemon: one short transaction of
//! its own, in which every update names the state and the epoch that were read. The daemon notices within 2 s.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use jiff::Timestamp;
use sqlx::ConnectOptions;

use super::claim::log;
use super::db::{Conn, query, query_as};
use super::postponed::outside as postponed;
use super::sql::{Trouble, millis, trouble};
use super::state::{Move, State};
use super::{OutboxError, look, open};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Queue again: what failed, was held, is deferred or put off. Its attempts and its age count anew.
    Retry,
    /// Never send: what is queued, deferred, held or put off.
    Cancel,
}

impl Action {
    fn step(self) -> Move {
        match self {
            Self::Retry => Move::Retry,
            Self::Cancel => Move::Cancel,
        }
    }

    fn outcome(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Cancel => "cancelled",
        }
    }
}

/// What is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A mail, or one of its recipients: `42`, or `42.2` for the second one.
    Mail {
        /// Row id of the mail.
        mail: i64,
        /// Which recipient, from 1; `None`: all of them.
        position: Option<i64>,
    },
    /// A judgement that was put off: `p7`.
    Postponed(i64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail { mail, position: Some(position) } => write!(f, "{mail}.{position}"),
            Self::Mail { mail, position: None } => write!(f, "{mail}"),
            Self::Postponed(id) => write!(f, "p{id}"),
        }
    }
}

/// Something that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no id: name it as `bewit outbox list` does, 42 for a mail, 42.2 for its second recipient, p7 for a \
     judgement that was put off"
)]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|number| digits && *number > 0)
        };
        let target = match (text.strip_prefix('p'), text.split_once('.')) {
            (Some(id), _) => number(id).map(Self::Postponed),
            (None, Some((mail, position))) => {
                number(mail).zip(number(position)).map(|(mail, position)| Self::Mail { mail, position: Some(position) })
            }
            (None, None) => number(text).map(|mail| Self::Mail { mail, position: None }),
        };
        target.ok_or_else(|| UnknownTarget(text.to_owned()))
    }
}

/// What came of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// These addresses were moved; of a judgement, its event and rule.
    Done(Vec<String>),
    /// None was, and why, as a sentence.
    Refused(String),
}

struct Row {
    id: i64,
    address: String,
    state: State,
    epoch: i64,
}

/// Does something to some mails and judgements, all in one transaction. Answers one result for each target; `None`: there is no
/// outbox.
///
/// # Errors
/// [`OutboxError::Unusable`], or what the database says; then nothing was done.
pub async fn act(
    path: &Path,
    action: Action,
    targets: &[Target],
    now: Timestamp,
) -> Result<Option<Vec<Handled>>, OutboxError> {
    if !look::there(path)? {
        return Ok(None);
    }
    let in_flight = match look::daemon(path) {
        Ok(None) => "was left in flight by a daemon that is gone; the next start of `bewit run` takes it up again",
        _ => "is being sent right now; try again in a moment",
    };
    let mut conn = Conn::Sqlite(open::writing(path).connect().await.map_err(|error| open::opening(path, error))?);
    if !look::current(&mut conn, path).await? {
        return Ok(None);
    }
    // Dropped on an error, it ends without a commit.
    conn.begin().await.map_err(busy)?;
    let mut results = Vec::with_capacity(targets.len());
    for target in targets {
        results.push(match *target {
            Target::Mail { mail, position } => one(&mut conn, action, (mail, position), in_flight, millis(now)).await?,
            Target::Postponed(id) => postponed::act(&mut conn, action, id, millis(now)).await?,
        });
    }
    crate::fault::point("hand_before_commit");
    conn.commit().await.map_err(busy)?;
    conn.close().await?;
    Ok(Some(results))
}

fn busy(error: sqlx::Error) -> OutboxError {
    if trouble(&error) == Trouble::Busy {
        OutboxError::Stopped("another process has been writing to it for 5 s; try again".to_owned())
    } else {
        error.into()
    }
}

async fn one(
    conn: &mut Conn,
    action: Action,
    (mail, position): (i64, Option<i64>),
    in_flight: &str,
    now: i64,
) -> Result<Handled, OutboxError> {
    let target = Target::Mail { mail, position };
    let rows: Vec<(i64, String, String, i64)> = query_as(
        "SELECT id, address, state, epoch FROM recipient WHERE mail = $1 AND ($2 IS NULL OR position = $2)
         ORDER BY position",
    )
    .bind(mail)
    .bind(position)
    .fetch_all(&mut *conn)
    .await?;
    let rows: Vec<Row> = rows
        .into_iter()
        .filter_map(|(id, address, state, epoch)| Some(Row { id, address, state: state.parse().ok()?, epoch }))
        .collect();
    let Some(first) = rows.first() else {
        return Ok(Handled::Refused(format!("there is no {target} in the outbox")));
    };
    let refusal = match rows.iter().find(|row| row.state.is_claimed()) {
        Some(row) => format!("{target}: {} {in_flight}", row.address),
        None => format!("{target}: {} is {}, {}", first.address, first.state, allowed(action)),
    };
    let mut moved = Vec::new();
    for row in rows {
        let Ok(state) = row.state.after(action.step()) else { continue };
        let due = state.is_waiting();
        let changed = query(
            "UPDATE recipient SET state = $1, next_at = CASE WHEN $2 THEN $3 END, attempts = CASE WHEN $2 THEN 0 ELSE attempts END,
               since = CASE WHEN $2 THEN $3 ELSE since END, updated = $3
             WHERE id = $4 AND epoch = $5 AND state = $6",
        )
        .bind(state.name())
        .bind(due)
        .bind(now)
        .bind(row.id)
        .bind(row.epoch)
        .bind(row.state.name())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        if changed != 1 {
            return Ok(Handled::Refused(format!("{target}: {} has moved meanwhile", row.address)));
        }
        log(conn, row.id, now, action.outcome(), &format!("by hand; it was {}", row.state)).await?;
        moved.push(row.address);
    }
    Ok(if moved.is_empty() { Handled::Refused(refusal) } else { Handled::Done(moved) })
}

fn allowed(action: Action) -> &'static str {
    match action {
        Action::Retry => "and only what failed, was held or is deferred can be tried again",
        Action::Cancel => "and only what is queued, deferred or held can be cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!("42".parse(), Ok(Target::Mail { mail: 42, position: None }));
        assert_eq!("42.2".parse(), Ok(Target::Mail { mail: 42, position: Some(2) }));
        assert_eq!("p7".parse(), Ok(Target::Postponed(7)));
        for bad in [
            "",
            ".",
            "p",
            "p0",
            "p-1",
            "p1.2",
            "P7",
            "42.",
            ".2",
            "-1",
            "+1",
            "0",
            "42.0",
            "1.2.3",
            "x",
            "99999999999999999999",
            "１",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        for text in ["42", "42.2", "p7"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }
}
