//! Mails as rows: a finished mail, its recipients, and a body that several mails may share.

use sqlx::SqliteConnection;

use super::accept::signed;
use super::command::Effects;
use super::content::{Encoded, ReadyMail};

/// What a mail belongs to.
pub(super) struct Link<'a> {
    pub(super) rule: &'a str,
    pub(super) decision: Option<i64>,
    pub(super) digest: Option<i64>,
}

/// Stores a finished mail with its recipients, due at `slot`.
pub(super) async fn store_mail(
    conn: &mut SqliteConnection,
    ReadyMail { mail, content }: &ReadyMail,
    link: &Link<'_>,
    now: i64,
    slot: i64,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let size = mail.head.len() as u64 + 2 + content.size;
    let content = store_content(conn, content).await?;
    let (id,): (i64,) = sqlx::query_as(
        "INSERT INTO mail (message_id, sender, subject, head, content, size, stored, slot, rule, decision, digest,
           recipients)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(&mail.message_id)
    .bind(&mail.sender)
    .bind(&mail.subject)
    .bind(&mail.head)
    .bind(content)
    .bind(signed(size))
    .bind(now)
    .bind(slot)
    .bind(link.rule)
    .bind(link.decision)
    .bind(link.digest)
    .bind(signed(mail.recipients.len() as u64))
    .fetch_one(&mut *conn)
    .await?;
    for (position, address) in (1i64..).zip(&mail.recipients) {
        sqlx::query(
            "INSERT INTO recipient (mail, position, address, since, next_at, updated) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(position)
        .bind(address)
        .bind(slot)
        .bind(slot)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    }
    effects.tally.mails += 1;
    effects.tally.recipients += signed(mail.recipients.len() as u64);
    effects.wakes = true;
    Ok(())
}

/// Stores a body, or finds it.
pub(super) async fn store_content(conn: &mut SqliteConnection, content: &Encoded) -> Result<i64, sqlx::Error> {
    let new: Option<(i64,)> = sqlx::query_as(
        "INSERT INTO content (sha256, size, segments) VALUES (?, ?, ?) ON CONFLICT (sha256) DO NOTHING RETURNING id",
    )
    .bind(&content.sha256)
    .bind(signed(content.size))
    .bind(&content.segments)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((id,)) = new else {
        let (id,): (i64,) = sqlx::query_as("SELECT id FROM content WHERE sha256 = ?")
            .bind(&content.sha256)
            .fetch_one(&mut *conn)
            .await?;
        return Ok(id);
    };
    for blob in &content.blobs {
        sqlx::query("INSERT INTO content_blob (content, sha256, size) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(&blob.sha256)
            .bind(signed(blob.size))
            .execute(&mut *conn)
            .await?;
    }
    Ok(id)
}
