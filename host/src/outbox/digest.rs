//! Digests: what was gathered, read for composing, and closed with the mails that were made of it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::batch::{Batch, Link, stamp_rule};
use super::command::Effects;
use super::content::{Encoder, ReadyMail};
use super::db::{Conn, On, Pool, query, query_as};
use super::sql::{self, ids};
use super::{DigestItem, DigestJob, Gathered, OutboxError, content};
use crate::mail::{NewMail, Segment};

/// Most events and bytes of one digest. What is left over is due at once, in a digest of its own: memory stays
/// bounded, and no mail lists thousands of events.
const ITEMS: i64 = 500;
const BYTES: i64 = 32 * 1024 * 1024;

/// A digest with its mails made ready.
#[derive(Debug)]
pub(super) struct Closing {
    rule: String,
    items: Vec<i64>,
    mails: Vec<ReadyMail>,
}

impl Closing {
    /// Makes it ready.
    ///
    /// # Errors
    /// When there is nothing to close, or no mail, or a mail without a recipient.
    pub(super) fn ready(rule: &str, items: &[i64], mails: Vec<NewMail>) -> io::Result<Self> {
        if items.is_empty() || mails.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a digest has at least one item and one mail"));
        }
        let mut encoder = Encoder::default();
        Ok(Self {
            rule: rule.to_owned(),
            items: items.to_vec(),
            mails: mails.into_iter().map(|mail| encoder.mail(mail)).collect::<io::Result<_>>()?,
        })
    }

    /// Rows and bytes, about.
    pub(super) fn weight(&self) -> (usize, usize) {
        let bytes = self.mails.iter().map(|mail| mail.mail.head.len() + mail.content.segments.len()).sum();
        (self.items.len() + self.mails.len(), bytes)
    }
}

/// Digests that are due: one for each rule.
pub(super) async fn due(pool: &Pool, now: i64, all: bool) -> Result<Vec<DigestJob>, OutboxError> {
    let mut look = pool.look().await?;
    let rules: Vec<(String,)> = query_as(
        "SELECT rule FROM gathered WHERE digest IS NULL GROUP BY rule HAVING $1 OR min(due) <= $2 ORDER BY min(due), rule",
    )
    .bind(all)
    .bind(now)
    .fetch_all(&mut look)
    .await?;
    let mut jobs = Vec::with_capacity(rules.len());
    for (rule,) in rules {
        let items = items(&mut look, &rule).await?;
        if !items.is_empty() {
            jobs.push(DigestJob { rule, items });
        }
    }
    Ok(jobs)
}

async fn items(conn: &mut Conn, rule: &str) -> Result<Vec<DigestItem>, OutboxError> {
    let rows: Vec<(i64, String, String, String, i64)> = query_as(
        "SELECT g.id, e.org_id || '/' || e.client_id || '/' || e.flow_id, g.view, g.attachments,
           CAST(octet_length(g.view) + (
             SELECT coalesce(sum(octet_length(m.head) + octet_length(c.segments)), 0)
             FROM gathered_mail m JOIN content c ON c.id = m.content WHERE m.gathered = g.id) AS BIGINT)
         FROM gathered g JOIN decision d ON d.id = g.decision JOIN event e ON e.id = d.event
         WHERE g.rule = $1 AND g.digest IS NULL ORDER BY g.id LIMIT $2",
    )
    .bind(rule)
    .bind(ITEMS)
    .fetch_all(&mut *conn)
    .await?;
    let mut items = Vec::with_capacity(rows.len());
    let mut bytes = 0i64;
    for (id, event, view, attachments, size) in rows {
        bytes = bytes.saturating_add(size);
        if bytes > BYTES && !items.is_empty() {
            break;
        }
        let attachments = serde_json::from_str(&attachments).map_err(io::Error::other)?;
        items.push(DigestItem { id, event, mails: Vec::new(), gathered: Gathered { view, attachments } });
    }
    let mut mails = mails(conn, items.iter().map(|item| item.id)).await?;
    for item in &mut items {
        item.mails = mails.remove(&item.id).unwrap_or_default();
    }
    Ok(items)
}

#[derive(sqlx::FromRow)]
struct MailRow {
    gathered: i64,
    message_id: String,
    sender: String,
    recipients: String,
    subject: String,
    head: Vec<u8>,
    content: i64,
}

/// The mails that gathered events would have been.
async fn mails(conn: &mut Conn, items: impl Iterator<Item = i64>) -> Result<HashMap<i64, Vec<NewMail>>, OutboxError> {
    let rows: Vec<MailRow> = query_as(
        "SELECT gathered, message_id, sender, recipients, subject, head, content FROM gathered_mail
         WHERE gathered IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) ORDER BY id",
    )
    .bind(ids(items))
    .fetch_all(&mut *conn)
    .await?;
    let bodies = bodies(conn, rows.iter().map(|row| row.content)).await?;
    let mut mails: HashMap<i64, Vec<NewMail>> = HashMap::new();
    for row in rows {
        let body = match bodies.get(&row.content) {
            Some(Ok(body)) => Arc::clone(body),
            Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string()).into()),
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, "a stored mail body is missing").into()),
        };
        mails.entry(row.gathered).or_default().push(NewMail {
            message_id: row.message_id,
            sender: row.sender,
            recipients: serde_json::from_str(&row.recipients).map_err(io::Error::other)?,
            subject: row.subject,
            head: row.head,
            body,
        });
    }
    Ok(mails)
}

/// Stored bodies by row id, each read and decoded once.
pub(super) async fn bodies(
    on: impl Into<On<'_>>,
    contents: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, io::Result<Arc<Vec<Segment>>>>, OutboxError> {
    let rows: Vec<(i64, Vec<u8>)> =
        query_as("SELECT id, segments FROM content WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))")
            .bind(ids(contents))
            .fetch_all(on)
            .await?;
    Ok(rows.into_iter().map(|(id, segments)| (id, content::decode(&segments))).collect())
}

/// Stores a digest's mails and closes its items. False, and nothing stored, when the items are closed already: a crash
/// between this commit and its answer must not make a second digest.
pub(super) async fn close(
    conn: &mut Conn,
    closing: &Closing,
    now: i64,
    effects: &mut Effects,
) -> Result<bool, sqlx::Error> {
    let items = ids(closing.items.iter().copied());
    let (open,): (i64,) = query_as(
        "SELECT count(*) FROM gathered
         WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) AND rule = $2 AND digest IS NULL",
    )
    .bind(&items)
    .bind(&closing.rule)
    .fetch_one(&mut *conn)
    .await?;
    if open == 0 {
        return Ok(false);
    }
    if usize::try_from(open) != Ok(closing.items.len()) {
        return Err(sqlx::Error::Protocol(format!(
            "a digest of rule {} has {} items, of which {open} are open",
            closing.rule,
            closing.items.len()
        )));
    }
    let (id,): (i64,) =
        query_as("INSERT INTO digest (rule, closed, items, mails) VALUES ($1, $2, $3, $4) RETURNING id")
            .bind(&closing.rule)
            .bind(now)
            .bind(open)
            .bind(i64::try_from(closing.mails.len()).unwrap_or(i64::MAX))
            .fetch_one(&mut *conn)
            .await?;
    let (urgent,): (i64,) = query_as(
        "SELECT coalesce(min(priority), 1) FROM gathered WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))",
    )
    .bind(&items)
    .fetch_one(&mut *conn)
    .await?;
    let mut batch = Batch::default();
    for mail in &closing.mails {
        let link = Link { rule: &closing.rule, decision: None, digest: Some(id), priority: sql::priority(urgent) };
        batch.mail(conn, mail, link, now, now).await?;
    }
    batch.write(conn, effects).await?;
    query(
        "UPDATE decision SET disposition = 'digested'
         WHERE id IN (SELECT decision FROM gathered WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)))",
    )
    .bind(&items)
    .execute(&mut *conn)
    .await?;
    // What was gathered is in the digest now; only the fact that it was remains.
    let contents: Vec<(i64,)> = query_as(
        "DELETE FROM gathered_mail WHERE gathered IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) RETURNING content",
    )
    .bind(&items)
    .fetch_all(&mut *conn)
    .await?;
    super::sweep::drop_contents(conn, contents.into_iter().map(|(content,)| content)).await?;
    query("DELETE FROM gathered_blob WHERE gathered IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))")
        .bind(&items)
        .execute(&mut *conn)
        .await?;
    query(
        "UPDATE gathered SET digest = $1, view = '', attachments = '[]' WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($2))",
    )
    .bind(id)
    .bind(&items)
    .execute(&mut *conn)
    .await?;
    stamp_rule(conn, &closing.rule, now).await?;
    crate::fault::point("digest_before_commit");
    Ok(true)
}
