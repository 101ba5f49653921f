//! Retention: what is finished and old is removed; what is not finished never is.
//!
//! An event goes as a whole: only when each of its judgements, its mails, and the digests it went into, has ended, and
//! the last end is older than the retention. Its key stays longer ([`KNOWN`]), so that a late repeat is not mailed again.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::OutboxError;
use super::command::Effects;
use super::db::{Conn, Pool, query, query_as};
use super::document;
use super::sql::ids;
use crate::blob::BlobStore;

/// How long a key is known at least.
pub(super) const KNOWN: Duration = Duration::from_secs(30 * 86_400);

/// A blob without a reference is left alone for this long: it is written before the mail that names it is stored.
pub(super) const FRESH: Duration = Duration::from_secs(3600);

/// Events removed in one transaction, so that others are not kept waiting.
const EVENTS: i64 = 500;

/// Pages given back in one transaction.
const PAGES: i64 = 1000;

/// Removes a part of what ended before `cutoff`, and of keys older than `known`. Answers how many rows of events,
/// keys and rejected lines went; 0: nothing is left to do.
pub(super) async fn apply(conn: &mut Conn, cutoff: i64, known: i64, effects: &mut Effects) -> Result<u64, sqlx::Error> {
    // `NOT IN` the ends, rather than in the others: a state that nobody knows is not removed.
    let events: Vec<(i64,)> = query_as(
        "SELECT e.id FROM event e WHERE e.swept = 0 AND e.received < $1
           AND NOT EXISTS (
             SELECT 1 FROM decision d JOIN mail m ON m.decision = d.id JOIN recipient r ON r.mail = m.id
             WHERE d.event = e.id AND (r.state NOT IN ('delivered', 'failed', 'cancelled') OR r.updated >= $1))
           AND NOT EXISTS (
             SELECT 1 FROM decision d JOIN gathered g ON g.decision = d.id
             WHERE d.event = e.id AND (g.digest IS NULL OR EXISTS (
               SELECT 1 FROM mail m JOIN recipient r ON r.mail = m.id
               WHERE m.digest = g.digest AND (r.state NOT IN ('delivered', 'failed', 'cancelled') OR r.updated >= $1))))
           AND NOT EXISTS (
             SELECT 1 FROM postponed p WHERE p.event = e.id AND (p.next_at IS NOT NULL OR p.updated >= $1))
         ORDER BY e.received LIMIT $2",
    )
    .bind(cutoff)
    .bind(EVENTS)
    .fetch_all(&mut *conn)
    .await?;
    crate::fault::point("before_sweep");
    let mut removed = events.len() as u64;
    if !events.is_empty() {
        remove_events(conn, events.into_iter().map(|(event,)| event), effects).await?;
    }
    let keys = query("DELETE FROM event WHERE id IN (SELECT id FROM event WHERE swept = 1 AND received < $1 LIMIT $2)")
        .bind(known)
        .bind(EVENTS)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    effects.tally.events_removed += signed(keys);
    let rejected = query("DELETE FROM rejected WHERE id IN (SELECT id FROM rejected WHERE received < $1 LIMIT $2)")
        .bind(cutoff)
        .bind(EVENTS)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    effects.tally.rejected_removed += signed(rejected);
    removed += keys + rejected;
    Ok(removed)
}

/// Removes everything of some events but their keys.
async fn remove_events(
    conn: &mut Conn,
    events: impl Iterator<Item = i64>,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let events: Vec<i64> = events.collect();
    document::remove(conn, events.iter().copied()).await?;
    let events = ids(events);
    let mails: Vec<(i64,)> = query_as(
        "SELECT m.id FROM mail m JOIN decision d ON d.id = m.decision
         WHERE d.event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))",
    )
    .bind(&events)
    .fetch_all(&mut *conn)
    .await?;
    let digests: Vec<(i64,)> = query_as(
        "DELETE FROM gathered WHERE decision IN (
           SELECT id FROM decision WHERE event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))) RETURNING digest",
    )
    .bind(&events)
    .fetch_all(&mut *conn)
    .await?;
    remove_mails(conn, mails.into_iter().map(|(mail,)| mail), effects).await?;
    for statement in [
        "DELETE FROM postponed WHERE event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))",
        "DELETE FROM line WHERE event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))",
    ] {
        query(statement).bind(&events).execute(&mut *conn).await?;
    }
    query("DELETE FROM decision WHERE event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))")
        .bind(&events)
        .execute(&mut *conn)
        .await?;
    query("UPDATE event SET swept = 1, decisions = 0 WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))")
        .bind(&events)
        .execute(&mut *conn)
        .await?;
    // A digest goes with the last of its events.
    let digests: HashSet<i64> = digests.into_iter().map(|(digest,)| digest).collect();
    if !digests.is_empty() {
        let empty: Vec<(i64,)> = query_as(
            "SELECT d.id FROM digest d WHERE d.id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))
               AND NOT EXISTS (SELECT 1 FROM gathered g WHERE g.digest = d.id)",
        )
        .bind(ids(digests))
        .fetch_all(&mut *conn)
        .await?;
        let empty = ids(empty.into_iter().map(|(digest,)| digest));
        let mails: Vec<(i64,)> =
            query_as("SELECT id FROM mail WHERE digest IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))")
                .bind(&empty)
                .fetch_all(&mut *conn)
                .await?;
        remove_mails(conn, mails.into_iter().map(|(mail,)| mail), effects).await?;
        query("DELETE FROM digest WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))")
            .bind(&empty)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

async fn remove_mails(
    conn: &mut Conn,
    mails: impl Iterator<Item = i64>,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let mails = ids(mails);
    let recipients = query("DELETE FROM recipient WHERE mail IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))")
        .bind(&mails)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    let contents: Vec<(i64,)> =
        query_as("DELETE FROM mail WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) RETURNING content")
            .bind(&mails)
            .fetch_all(&mut *conn)
            .await?;
    effects.tally.recipients_removed += signed(recipients);
    effects.tally.mails_removed += signed(contents.len() as u64);
    drop_contents(conn, contents.into_iter().map(|(content,)| content)).await
}

/// Removes those of some bodies that nothing names any more.
pub(super) async fn drop_contents(conn: &mut Conn, contents: impl Iterator<Item = i64>) -> Result<(), sqlx::Error> {
    query(
        "DELETE FROM content WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))
           AND NOT EXISTS (SELECT 1 FROM mail m WHERE m.content = content.id)
           AND NOT EXISTS (SELECT 1 FROM gathered_mail m WHERE m.content = content.id)",
    )
    .bind(ids(contents))
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives some free pages back to the file system: `min_free` looks at the disk, not into the database. Answers how
/// many are still to be given back.
pub(super) async fn vacuum(conn: &mut Conn) -> Result<u64, sqlx::Error> {
    const STATEMENT: &str = "PRAGMA incremental_vacuum(1000)";
    let (free,): (i64,) = query_as("PRAGMA freelist_count").fetch_one(&mut *conn).await?;
    // A few are kept: the next mails need them.
    if free <= PAGES {
        return Ok(0);
    }
    // One row for each page, of no interest.
    query(STATEMENT).execute(&mut *conn).await?;
    let (left,): (i64,) = query_as("PRAGMA freelist_count").fetch_one(conn).await?;
    // Nothing went: a database that was copied without `auto_vacuum` keeps its pages.
    Ok(if left < free { u64::try_from(left - PAGES).unwrap_or(0) } else { 0 })
}

/// Removes blobs that nothing names and that are not fresh, and what an interrupted writer left.
pub(super) async fn blobs(pool: &Pool, blobs: &BlobStore) -> Result<u64, OutboxError> {
    let store = blobs.clone();
    let old = tokio::task::spawn_blocking(move || store.older_than(stale())).await.map_err(std::io::Error::other)??;
    let mut removed = 0;
    for group in old.chunks(200) {
        let names = serde_json::to_string(group).map_err(std::io::Error::other)?;
        let used: Vec<(String,)> = query_as(
            "SELECT atom FROM json_each($1) WHERE atom IN (SELECT sha256 FROM content_blob)
               OR value IN (SELECT sha256 FROM gathered_blob) OR value IN (SELECT sha256 FROM line_blob)",
        )
        .bind(names)
        .fetch_all(pool)
        .await?;
        let used: HashSet<String> = used.into_iter().map(|(name,)| name).collect();
        let unused: Vec<String> = group.iter().filter(|name| !used.contains(*name)).cloned().collect();
        let store = blobs.clone();
        removed += tokio::task::spawn_blocking(move || {
            let mut removed = 0;
            for name in unused {
                crate::fault::point("before_blob_removed");
                removed += u64::from(store.remove_older_than(&name, stale())?);
            }
            Ok::<_, std::io::Error>(removed)
        })
        .await
        .map_err(std::io::Error::other)??;
    }
    Ok(removed)
}

/// What was written before this is not fresh.
fn stale() -> SystemTime {
    SystemTime::now().checked_sub(FRESH).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
