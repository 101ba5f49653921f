//! What a transaction stores of events, decisions and mails, gathered first and then written table by table: a statement
//! costs two changes of thread whatever it does, so many rows share one.

use std::collections::{HashMap, HashSet};

use super::accept::{ReadyDecision, json, signed};
use super::command::Effects;
use super::content::{Encoded, ReadyMail};
use super::db::{Conn, Kind, Query, RowOf, query, query_as, with_rows};
use super::document::{DOCUMENT_LIMIT, Document};
use super::sql::{millis, rank, timestamp};
use super::throttle::{self, Slot, Stamp};
use crate::event::EventKey;
use crate::rule::{Priority, Verdict};

/// Rows of one statement: few sizes, so that each is prepared once.
const ROWS: &[usize] = &[32, 8, 1];
/// The same for rows that may be large.
const BODIES: &[usize] = &[8, 1];

/// Rows that wait for [`Batch::write`].
#[derive(Default)]
pub(super) struct Batch<'a> {
    next: Option<Next>,
    rules: HashMap<&'a str, RuleStamp>,
    documents: Vec<(i64, &'a Document, String)>,
    decisions: Vec<Decision<'a>>,
    gathered: Vec<(i64, &'a ReadyDecision, i64)>,
    mails: Vec<Mail<'a>>,
}

/// The ids that are given next. Those of mails are never used again, so that what a person has noted stays true; those of
/// decisions are not while they may still have to be published.
#[derive(sqlx::FromRow)]
struct Next {
    decision: i64,
    mail: i64,
}

/// What `send_interval` knows of a rule, and whether it is to be stored.
struct RuleStamp {
    stamp: Stamp,
    moved: bool,
}

struct Decision<'a> {
    id: i64,
    event: i64,
    ready: &'a ReadyDecision,
    disposition: &'static str,
    note: Option<String>,
    mails: usize,
}

/// What a mail belongs to.
#[derive(Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) rule: &'a str,
    pub(super) decision: Option<i64>,
    pub(super) digest: Option<i64>,
    pub(super) priority: Priority,
}

struct Mail<'a> {
    id: i64,
    ready: &'a ReadyMail,
    link: Link<'a>,
    stored: i64,
    slot: i64,
}

/// An event that may be new.
pub(super) struct NewEvent<'a> {
    pub(super) source: &'a str,
    pub(super) key: &'a EventKey,
    pub(super) digest: &'a str,
    /// Rules that have decided, or will.
    pub(super) rules: usize,
    pub(super) now: i64,
}

/// The statements that insert rows, as few as the sizes allow; `tail` follows the rows.
fn inserts<'q, R>(
    sizes: &[usize],
    (head, tail): (&'static str, &'static str),
    mut rows: &'q [R],
    mut bind: impl FnMut(&mut RowOf<'_, 'q>, &'q R),
) -> Vec<Query<'q, (i64,)>> {
    let mut statements = Vec::new();
    while !rows.is_empty() {
        let size = sizes.iter().copied().find(|size| *size <= rows.len()).unwrap_or(1);
        let (some, rest) = rows.split_at(size.min(rows.len()));
        rows = rest;
        statements.push(with_rows((head, tail), some, &mut bind));
    }
    statements
}

/// Runs them, and gathers the ids that they return, if they do.
async fn run(conn: &mut Conn, statements: Vec<Query<'_, (i64,)>>) -> Result<Vec<i64>, sqlx::Error> {
    let mut returned = Vec::new();
    for statement in statements {
        returned.extend(statement.fetch_all(&mut *conn).await?.into_iter().map(|(id,)| id));
    }
    Ok(returned)
}

/// Stores those events that are new, and says which row each of them is; `None`: its key is known.
pub(super) async fn events(conn: &mut Conn, events: &[NewEvent<'_>]) -> Result<Vec<Option<i64>>, sqlx::Error> {
    let (first,): (i64,) = query_as("SELECT coalesce(max(id), 0) + 1 FROM event").fetch_one(&mut *conn).await?;
    let numbered: Vec<(i64, &NewEvent<'_>)> = (first..).zip(events).collect();
    let head = "INSERT INTO event (id, org_id, client_id, flow_id, timestamp, digest, source, received, decisions) ";
    let tail = " ON CONFLICT (org_id, client_id, flow_id, timestamp) DO NOTHING RETURNING id";
    let stored = inserts(ROWS, (head, tail), &numbered, |values, (id, event)| {
        values
            .push_bind(*id)
            .push_bind(&event.key.org_id)
            .push_bind(&event.key.client_id)
            .push_bind(&event.key.flow_id)
            .push_bind(event.key.timestamp)
            .push_bind(event.digest)
            .push_bind(event.source)
            .push_bind(event.now)
            .push_bind(signed(event.rules as u64));
    });
    let stored: HashSet<i64> = run(conn, stored).await?.into_iter().collect();
    Ok(numbered.into_iter().map(|(id, _)| stored.contains(&id).then_some(id)).collect())
}

impl<'a> Batch<'a> {
    async fn next(&mut self, conn: &mut Conn) -> Result<&mut Next, sqlx::Error> {
        if self.next.is_none() {
            let next = conn.kind().pick(
                "SELECT max(coalesce((SELECT max(id) FROM decision), 0) + 1,
                   coalesce((SELECT \"offset\" FROM position WHERE source = 'publish'), 0)) AS decision,
                 coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'mail'), 0) + 1 AS mail",
                "SELECT greatest(coalesce((SELECT max(id) FROM decision), 0) + 1,
                   coalesce((SELECT \"offset\" FROM position WHERE source = 'publish'), 0)) AS decision,
                 (SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM mail_id_seq) AS mail",
            );
            self.next = Some(query_as(next).fetch_one(conn).await?);
        }
        self.next.as_mut().ok_or(sqlx::Error::RowNotFound)
    }

    /// An event's document.
    pub(super) fn document(&mut self, event: i64, document: &'a Document) -> Result<(), sqlx::Error> {
        if !document.text.is_empty() {
            self.documents.push((event, document, json(&document.artifacts)?));
        }
        Ok(())
    }

    /// A decision with all that comes of it.
    pub(super) async fn decision(
        &mut self,
        conn: &mut Conn,
        event: i64,
        ready: &'a ReadyDecision,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let slot = match ready.verdict {
            Verdict::Notify => Some(self.slot(conn, ready, now).await?),
            Verdict::Skip | Verdict::Error => None,
        };
        let (disposition, note, mails) = match &slot {
            Some(Slot::Send(at)) => {
                let waits = millis(*at) > now;
                let note = waits.then(|| format!("inside `send_interval`: its slot is {at}"));
                ("mailed", note, ready.mails.len())
            }
            Some(Slot::Gather(due)) => {
                ("gathered", Some(format!("inside `send_interval`: the digest is due {due}")), 0)
            }
            Some(Slot::Drop(reason)) => ("throttled", Some(reason.clone()), 0),
            None if ready.verdict == Verdict::Error => ("error", None, 0),
            None => ("skipped", None, 0),
        };
        let next = self.next(conn).await?;
        let id = next.decision;
        next.decision += 1;
        self.decisions.push(Decision { id, event, ready, disposition, note, mails });
        match slot {
            Some(Slot::Send(at)) => {
                let link = Link { rule: &ready.rule, decision: Some(id), digest: None, priority: ready.priority };
                for mail in &ready.mails {
                    self.mail(conn, mail, link, now, millis(at)).await?;
                }
            }
            Some(Slot::Gather(due)) => self.gathered.push((id, ready, millis(due))),
            Some(Slot::Drop(_)) | None => {}
        }
        Ok(())
    }

    /// What `send_interval` makes of this event, with the rule's stamp moved.
    async fn slot(&mut self, conn: &mut Conn, ready: &'a ReadyDecision, now: i64) -> Result<Slot, sqlx::Error> {
        let (mode, interval) = ready.throttle;
        if interval.is_zero() {
            return Ok(throttle::decide(mode, interval, Stamp::default(), timestamp(now)).0);
        }
        if !self.rules.contains_key(&*ready.rule) {
            let (last, open): (Option<i64>, Option<i64>) = query_as(
                "SELECT (SELECT last FROM throttle WHERE rule = $1),
                        (SELECT min(due) FROM gathered WHERE rule = $1 AND digest IS NULL)",
            )
            .bind(&ready.rule)
            .fetch_one(conn)
            .await?;
            let stamp = Stamp { last: last.map(timestamp), open: open.map(timestamp) };
            self.rules.insert(&ready.rule, RuleStamp { stamp, moved: false });
        }
        let known = self.rules.get_mut(&*ready.rule).ok_or(sqlx::Error::RowNotFound)?;
        let (slot, last) = throttle::decide(mode, interval, known.stamp, timestamp(now));
        if last.is_some() {
            known.stamp.last = last;
            known.moved = true;
        }
        if let Slot::Gather(due) = slot {
            known.stamp.open = Some(known.stamp.open.map_or(due, |open| open.min(due)));
        }
        Ok(slot)
    }

    /// A finished mail with its recipients, due at `slot`.
    pub(super) async fn mail(
        &mut self,
        conn: &mut Conn,
        ready: &'a ReadyMail,
        link: Link<'a>,
        stored: i64,
        slot: i64,
    ) -> Result<(), sqlx::Error> {
        let next = self.next(conn).await?;
        let id = next.mail;
        next.mail += 1;
        self.mails.push(Mail { id, ready, link, stored, slot });
        Ok(())
    }

    /// Writes everything.
    pub(super) async fn write(self, conn: &mut Conn, effects: &mut Effects) -> Result<(), sqlx::Error> {
        documents(conn, &self.documents).await?;
        decisions(conn, &self.decisions).await?;
        mails(conn, &self.mails, effects).await?;
        for (decision, ready, due) in self.gathered {
            gather(conn, decision, ready, due, effects).await?;
        }
        for (rule, RuleStamp { stamp, moved }) in self.rules {
            if let (true, Some(last)) = (moved, stamp.last) {
                stamp_rule(conn, rule, millis(last)).await?;
            }
        }
        Ok(())
    }
}

/// Remembers the last slot that a rule has given away.
pub(super) async fn stamp_rule(conn: &mut Conn, rule: &str, last: i64) -> Result<(), sqlx::Error> {
    query("INSERT INTO throttle (rule, last) VALUES ($1, $2) ON CONFLICT (rule) DO UPDATE SET last = excluded.last")
        .bind(rule)
        .bind(last)
        .execute(conn)
        .await?;
    Ok(())
}

async fn documents(conn: &mut Conn, documents: &[(i64, &Document, String)]) -> Result<(), sqlx::Error> {
    let head = "INSERT INTO document (event, size, artifacts, text) ";
    let statements = inserts(ROWS, (head, ""), documents, |values, (event, Document { text, .. }, names)| {
        values
            .push_bind(*event)
            .push_bind(signed(text.len() as u64))
            .push_bind(names)
            .push_bind((text.len() <= DOCUMENT_LIMIT).then_some(&**text));
    });
    run(conn, statements).await?;
    let names: Vec<(&str, i64)> = documents
        .iter()
        .flat_map(|(event, document, _)| document.artifacts.iter().map(|name| (name.as_str(), *event)))
        .collect();
    let head = "INSERT INTO artifact (name, event) ";
    let statements = inserts(ROWS, (head, " ON CONFLICT DO NOTHING"), &names, |values, (name, event)| {
        values.push_bind(*name).push_bind(*event);
    });
    run(conn, statements).await?;
    Ok(())
}

async fn decisions(conn: &mut Conn, decisions: &[Decision<'_>]) -> Result<(), sqlx::Error> {
    let head = "INSERT INTO decision
        (id, event, rule, verdict, reason, trace, recipients, subject, disposition, note, mails) ";
    let statements = inserts(ROWS, (head, ""), decisions, |values, decision| {
        let ready = decision.ready;
        values
            .push_bind(decision.id)
            .push_bind(decision.event)
            .push_bind(&ready.rule)
            .push_bind(ready.verdict())
            .push_bind(&ready.reason)
            .push_bind(&ready.trace)
            .push_bind(&ready.recipients)
            .push_bind(&ready.subject)
            .push_bind(decision.disposition)
            .push_bind(&decision.note)
            .push_bind(signed(decision.mails as u64));
    });
    run(conn, statements).await?;
    Ok(())
}

async fn mails(conn: &mut Conn, mails: &[Mail<'_>], effects: &mut Effects) -> Result<(), sqlx::Error> {
    if mails.is_empty() {
        return Ok(());
    }
    let contents = contents(conn, &mails.iter().map(|mail| &*mail.ready.content).collect::<Vec<_>>()).await?;
    let head = "INSERT INTO mail (id, message_id, sender, subject, head, content, size, stored, slot, rule, decision,
        digest, recipients) ";
    let statements = inserts(
        ROWS,
        (head, ""),
        mails,
        |values, Mail { id, ready: ReadyMail { mail, content }, link, stored, slot }| {
            values
                .push_bind(*id)
                .push_bind(&mail.message_id)
                .push_bind(&mail.sender)
                .push_bind(&mail.subject)
                .push_bind(&mail.head)
                .push_bind(contents.get(content.sha256.as_str()).copied())
                .push_bind(signed(mail.head.len() as u64 + 2 + content.size))
                .push_bind(*stored)
                .push_bind(*slot)
                .push_bind(link.rule)
                .push_bind(link.decision)
                .push_bind(link.digest)
                .push_bind(signed(mail.recipients.len() as u64));
        },
    );
    run(conn, statements).await?;
    if let (Kind::Postgres, Some(last)) = (conn.kind(), mails.last()) {
        query_as::<(i64,)>("SELECT setval('mail_id_seq', $1)").bind(last.id).fetch_one(&mut *conn).await?;
    }
    let recipients: Vec<(&Mail<'_>, i64, &String)> = mails
        .iter()
        .flat_map(|mail| (1i64..).zip(&mail.ready.mail.recipients).map(move |(position, to)| (mail, position, to)))
        .collect();
    let head = "INSERT INTO recipient (mail, position, address, since, next_at, updated, priority) ";
    let statements = inserts(ROWS, (head, ""), &recipients, |values, (mail, position, address)| {
        values
            .push_bind(mail.id)
            .push_bind(*position)
            .push_bind(*address)
            .push_bind(mail.slot)
            .push_bind(mail.slot)
            .push_bind(mail.stored)
            .push_bind(rank(mail.link.priority));
    });
    run(conn, statements).await?;
    effects.tally.mails += signed(mails.len() as u64);
    effects.tally.recipients += signed(recipients.len() as u64);
    effects.wakes = true;
    Ok(())
}

/// Stores bodies that are new, and says which row each of them is.
async fn contents<'a>(conn: &mut Conn, all: &[&'a Encoded]) -> Result<HashMap<&'a str, i64>, sqlx::Error> {
    let (first,): (i64,) = query_as("SELECT coalesce(max(id), 0) + 1 FROM content").fetch_one(&mut *conn).await?;
    let mut rows: HashMap<&str, i64> = HashMap::new();
    let mut numbered: Vec<(i64, &Encoded)> = Vec::new();
    for content in all.iter().copied() {
        if !rows.contains_key(content.sha256.as_str()) {
            let id = first + signed(numbered.len() as u64);
            rows.insert(&content.sha256, id);
            numbered.push((id, content));
        }
    }
    let head = "INSERT INTO content (id, sha256, size, segments) ";
    let tail = " ON CONFLICT (sha256) DO NOTHING RETURNING id";
    let stored = inserts(BODIES, (head, tail), &numbered, |values, (id, content)| {
        values
            .push_bind(*id)
            .push_bind(&content.sha256)
            .push_bind(signed(content.size))
            .push_bind(content.segments.as_slice());
    });
    let stored: HashSet<i64> = run(conn, stored).await?.into_iter().collect();
    let mut blobs: Vec<(i64, &crate::blob::BlobRef)> = Vec::new();
    for (id, content) in numbered {
        if stored.contains(&id) {
            blobs.extend(content.blobs.iter().map(|blob| (id, blob)));
        } else {
            let (known,): (i64,) = query_as("SELECT id FROM content WHERE sha256 = $1")
                .bind(&content.sha256)
                .fetch_one(&mut *conn)
                .await?;
            rows.insert(&content.sha256, known);
        }
    }
    let head = "INSERT INTO content_blob (content, sha256, size) ";
    let statements = inserts(ROWS, (head, " ON CONFLICT DO NOTHING"), &blobs, |values, (content, blob)| {
        values.push_bind(*content).push_bind(&blob.sha256).push_bind(signed(blob.size));
    });
    run(conn, statements).await?;
    Ok(rows)
}

/// Keeps a decision's mails and what a digest needs of them.
async fn gather(
    conn: &mut Conn,
    decision: i64,
    ready: &ReadyDecision,
    due: i64,
    effects: &mut Effects,
) -> Result<(), sqlx::Error> {
    let (id,): (i64,) = query_as(
        "INSERT INTO gathered (decision, rule, due, view, attachments, priority) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id",
    )
    .bind(decision)
    .bind(&ready.rule)
    .bind(due)
    .bind(&ready.gathered.view)
    .bind(&ready.gathered.attachments)
    .bind(rank(ready.priority))
    .fetch_one(&mut *conn)
    .await?;
    let head = "INSERT INTO gathered_blob (gathered, sha256, size) ";
    let statements = inserts(ROWS, (head, " ON CONFLICT DO NOTHING"), &ready.gathered.blobs, |values, blob| {
        values.push_bind(id).push_bind(&blob.sha256).push_bind(signed(blob.size));
    });
    run(conn, statements).await?;
    let contents = contents(conn, &ready.mails.iter().map(|mail| &*mail.content).collect::<Vec<_>>()).await?;
    for ReadyMail { mail, content } in &ready.mails {
        query(
            "INSERT INTO gathered_mail (gathered, message_id, sender, recipients, subject, head, content)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(&mail.message_id)
        .bind(&mail.sender)
        .bind(json(&mail.recipients)?)
        .bind(&mail.subject)
        .bind(&mail.head)
        .bind(contents.get(content.sha256.as_str()).copied())
        .execute(&mut *conn)
        .await?;
    }
    effects.wakes = true;
    Ok(())
}
