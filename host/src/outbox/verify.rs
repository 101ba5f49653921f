//! The conservation law, checked without changing anything.
//!
//! For each event that was accepted: exactly one of filtered, grouped into a mail, quarantined, postponed; and for each
//! rule that it was judged by, a decision or a judgement that waits. For each recipient of
//! each mail: exactly one of queued, leased, held, sent, dead, cancelled. Nothing else exists, and nothing is missing:
//! what is there, with what retention removed, is what was ever stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::db::{Conn, query_as, query_scalar};
use super::look::Reader;
use super::{OutboxError, content};
use crate::blob::{BlobRef, BlobStore, hex, sha256_of};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

/// Is called once for each thing that was checked, from any thread.
pub type Told = Arc<dyn Fn() + Send + Sync>;

/// Findings of one kind that are named; the others are counted.
const NAMED: usize = 10;

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Sums {
    /// Events accepted and not removed by retention.
    pub accepted: i64,
    /// Of these: no rule mails them, or `throttle = "drop"` did not.
    pub filtered: i64,
    /// Of these: a mail was stored, or a digest has them or will.
    pub grouped: i64,
    /// Of these: a mail is due but could not be written, or nobody could be told, and no other rule mails them.
    pub quarantined: i64,
    /// Of these: a rule is to judge them again, and no other rule mails them.
    pub postponed: i64,
    /// Mails.
    pub mails: i64,
    /// Recipients of all mails.
    pub recipients: i64,
    /// Of these: queued or deferred.
    pub queued: i64,
    /// Of these: claimed, before or after the final dot.
    pub leased: i64,
    /// Of these: held for a person.
    pub held: i64,
    /// Of these: taken by a server.
    pub sent: i64,
    /// Of these: dead-lettered.
    pub dead: i64,
    /// Of these: cancelled by hand.
    pub cancelled: i64,
    /// Events that wait for a digest.
    pub gathered: i64,
    /// Keys kept of events that retention removed.
    pub keys: i64,
    /// Lines that were no events.
    pub rejected: i64,
    /// Repeats, ever.
    pub duplicates: i64,
    /// Repeats with another body, ever.
    pub conflicts: i64,
    /// Attachments on disk that mails name.
    pub blobs: i64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What there is.
    pub sums: Sums,
    /// What is broken, one sentence each; empty: nothing.
    pub broken: Vec<String>,
}

/// Each finds rows that must not be: the sentence, and a query for what to put in the place of `{}`.
const RULES: &[(&str, &str)] = &[
    ("{}: a row names one that is not there", "SELECT DISTINCT \"table\" || ' → ' || parent FROM pragma_foreign_key_check"),
    (
        "event {}: not as many decisions as were made",
        "SELECT e.id FROM event e WHERE e.decisions <> (SELECT count(*) FROM decision d WHERE d.event = e.id)
           + (SELECT count(*) FROM postponed p WHERE p.event = e.id AND p.next_at IS NOT NULL)",
    ),
    (
        "judgement p{}: it waits, and there is a decision; or it was given up, and there is no error",
        "SELECT p.id FROM postponed p LEFT JOIN decision d ON d.event = p.event AND d.rule = p.rule
         WHERE CASE WHEN p.next_at IS NULL THEN d.verdict IS DISTINCT FROM 'error' ELSE d.id IS NOT NULL END",
    ),
    ("judgement p{}: its trace is no JSON", "SELECT id FROM postponed WHERE NOT json_valid(trace)"),
    (
        "event {}: its line is kept, but no rule is to judge it",
        "SELECT event FROM line l WHERE NOT EXISTS (SELECT 1 FROM postponed p WHERE p.event = l.event)",
    ),
    (
        "event {}: removed by retention, but its document is there",
        "SELECT e.id FROM event e JOIN document d ON d.event = e.id WHERE e.swept = 1",
    ),
    (
        "event {}: its document is not the one that was stored",
        "SELECT event FROM document WHERE octet_length(text) <> size OR NOT json_valid(coalesce(text, 'null'))
           OR NOT json_valid(artifacts)",
    ),
    (
        "event {}: it is not found by its artifacts, or by others",
        "SELECT d.event FROM document d WHERE CASE WHEN json_valid(d.artifacts) THEN
           EXISTS (SELECT 1 FROM json_each(d.artifacts) j
                   WHERE NOT EXISTS (SELECT 1 FROM artifact a WHERE a.name = j.atom AND a.event = d.event)) END
         UNION ALL
         SELECT a.event FROM artifact a WHERE NOT EXISTS (
           SELECT 1 FROM document d, json_each(CASE WHEN json_valid(d.artifacts) THEN d.artifacts ELSE '[]' END) j
           WHERE d.event = a.event AND j.atom = a.name)",
    ),
    ("event {}: removed by retention, but has decisions", "SELECT id FROM event WHERE swept = 1 AND decisions <> 0"),
    (
        "decision {}: in no disposition that there is",
        "SELECT id FROM decision
         WHERE disposition NOT IN ('skipped', 'error', 'mailed', 'gathered', 'digested', 'throttled')
           OR (verdict = 'skip') <> (disposition = 'skipped') OR (verdict = 'error') <> (disposition = 'error')",
    ),
    (
        "decision {}: not as many mails as were stored",
        "SELECT d.id FROM decision d LEFT JOIN mail m ON m.decision = d.id
         GROUP BY d.id HAVING count(m.id) <> d.mails OR (count(m.id) > 0) <> (d.disposition = 'mailed')",
    ),
    (
        "decision {}: gathered, but in no digest and waiting for none, or the other way round",
        "SELECT d.id FROM decision d LEFT JOIN gathered g ON g.decision = d.id
         WHERE (d.disposition IN ('gathered', 'digested')) <> (g.id IS NOT NULL)
           OR (g.id IS NOT NULL AND (d.disposition = 'digested') <> (g.digest IS NOT NULL))",
    ),
    (
        "gathered item {}: waits for a digest without the mails it would have been",
        "SELECT id FROM gathered WHERE digest IS NULL
           AND NOT EXISTS (SELECT 1 FROM gathered_mail m WHERE m.gathered = gathered.id)",
    ),
    (
        "digest {}: not as many mails as were stored, or no events",
        "SELECT d.id FROM digest d WHERE (SELECT count(*) FROM mail m WHERE m.digest = d.id) <> d.mails
           OR (SELECT count(*) FROM gathered g WHERE g.digest = d.id) NOT BETWEEN 1 AND d.items",
    ),
    (
        "mail {}: not as many recipients as it was stored with",
        "SELECT m.id FROM mail m LEFT JOIN recipient r ON r.mail = m.id
         GROUP BY m.id HAVING count(r.id) <> m.recipients OR count(r.id) = 0 OR max(r.position) <> m.recipients",
    ),
    ("mail {}: of no decision and no digest, or of both", "SELECT id FROM mail WHERE (decision IS NULL) = (digest IS NULL)"),
    (
        "mail {}: its size is not that of its head and body",
        "SELECT m.id FROM mail m LEFT JOIN content c ON c.id = m.content
         WHERE c.id IS NULL OR m.size <> octet_length(m.head) + 2 + c.size",
    ),
    (
        "mail {}: its header does not carry its Message-ID, or not its sender",
        "SELECT id FROM mail WHERE instr(head, CAST('Message-ID: <' || message_id || '>' AS BLOB)) = 0
           OR instr(head, CAST('<' || sender || '>' AS BLOB)) = 0",
    ),
    (
        "recipient {}: the header of its mail does not name it",
        "SELECT r.id FROM recipient r JOIN mail m ON m.id = r.mail WHERE instr(m.head, CAST(r.address AS BLOB)) = 0",
    ),
    (
        "decision {}: its mails are not for whom it was made",
        "SELECT d.id FROM decision d WHERE d.disposition = 'mailed' AND CASE WHEN json_valid(d.recipients) THEN
           EXISTS (SELECT r.address FROM mail m JOIN recipient r ON r.mail = m.id WHERE m.decision = d.id
                   EXCEPT SELECT atom FROM json_each(d.recipients))
           OR EXISTS (SELECT atom FROM json_each(d.recipients)
                      EXCEPT SELECT r.address FROM mail m JOIN recipient r ON r.mail = m.id WHERE m.decision = d.id)
           ELSE TRUE END",
    ),
    (
        "decision {}: its trace or its recipients are no JSON",
        "SELECT id FROM decision WHERE NOT json_valid(trace) OR NOT json_valid(recipients)",
    ),
    (
        "recipient {}: its last attempt ended otherwise",
        "SELECT r.id FROM recipient r WHERE r.state IN ('delivered', 'failed', 'held') AND (
           SELECT a.outcome FROM attempt a WHERE a.recipient = r.id ORDER BY a.id DESC LIMIT 1) <> r.state",
    ),
    ("recipient {}: of a later claim than there ever was", "SELECT id FROM recipient WHERE epoch > (SELECT epoch FROM tally)"),
    ("Message-ID {}: of more than one mail", "SELECT message_id FROM mail GROUP BY message_id HAVING count(*) > 1"),
    (
        "recipient {}: in no state that there is, or without the time that its state needs",
        "SELECT id FROM recipient
         WHERE state NOT IN ('queued', 'sending', 'in_data', 'delivered', 'deferred', 'failed', 'held', 'cancelled')
           OR (state IN ('queued', 'deferred')) <> (next_at IS NOT NULL)",
    ),
    (
        "recipient {}: ended without a reply or reason on record",
        "SELECT id FROM recipient WHERE state IN ('delivered', 'failed', 'held')
           AND (reason IS NULL OR NOT EXISTS (
             SELECT 1 FROM attempt a WHERE a.recipient = recipient.id AND a.outcome = recipient.state))",
    ),
    (
        "recipient {}: delivered, and then something else happened",
        "SELECT r.id FROM recipient r JOIN attempt a ON a.recipient = r.id AND a.outcome = 'delivered'
         WHERE r.state <> 'delivered' OR EXISTS (SELECT 1 FROM attempt b WHERE b.recipient = r.id AND b.id > a.id)",
    ),
    (
        "body {}: stored, but no mail has it",
        "SELECT id FROM content c WHERE NOT EXISTS (SELECT 1 FROM mail m WHERE m.content = c.id)
           AND NOT EXISTS (SELECT 1 FROM gathered_mail m WHERE m.content = c.id)",
    ),
    (
        "events: {}",
        "SELECT events || ' were stored, but ' || there || ' are there and ' || events_removed || ' were removed'
         FROM (SELECT CAST(sum(events) AS BIGINT) AS events, CAST(sum(events_removed) AS BIGINT) AS events_removed,
                 (SELECT count(*) FROM event) AS there FROM tally) AS each
         WHERE events <> there + events_removed",
    ),
    (
        "mails: {}",
        "SELECT mails || ' were stored, but ' || there || ' are there and ' || mails_removed || ' were removed'
         FROM (SELECT CAST(sum(mails) AS BIGINT) AS mails, CAST(sum(mails_removed) AS BIGINT) AS mails_removed,
                 (SELECT count(*) FROM mail) AS there FROM tally) AS each
         WHERE mails <> there + mails_removed",
    ),
    (
        "recipients: {}",
        "SELECT recipients || ' were stored, but ' || there || ' are there and ' || recipients_removed || ' were removed'
         FROM (SELECT CAST(sum(recipients) AS BIGINT) AS recipients, CAST(sum(recipients_removed) AS BIGINT) AS recipients_removed,
                 (SELECT count(*) FROM recipient) AS there FROM tally) AS each
         WHERE recipients <> there + recipients_removed",
    ),
    (
        "rejected lines: {}",
        "SELECT rejected || ' were stored, but ' || there || ' are there and ' || rejected_removed || ' were removed'
         FROM (SELECT CAST(sum(rejected) AS BIGINT) AS rejected, CAST(sum(rejected_removed) AS BIGINT) AS rejected_removed,
                 (SELECT count(*) FROM rejected) AS there FROM tally) AS each
         WHERE rejected <> there + rejected_removed",
    ),
    ("totals: {} rows instead of one", "SELECT count(*) FROM tally HAVING count(*) <> 1"),
];

/// Checks an outbox; `None` if there is none. `deep` reads every attachment and every index, too.
///
/// # Errors
/// When it cannot be read at all; what is wrong in it is in the report.
pub async fn verify(path: &Path, deep: bool) -> Result<Option<Report>, OutboxError> {
    verify_told(path, deep, Arc::new(|| {})).await
}

/// [`verify`], which tells of each thing that it has checked: each law, body and attachment.
///
/// # Errors
/// As [`verify`].
pub async fn verify_told(path: &Path, deep: bool, told: Told) -> Result<Option<Report>, OutboxError> {
    let Some(mut reader) = Reader::open(path).await? else { return Ok(None) };
    let blobs = reader.blobs();
    let conn = reader.conn();
    // One snapshot for everything: a daemon may go on meanwhile.
    conn.raw("BEGIN").await?;
    let mut report = Report::default();
    let check = if deep { "PRAGMA integrity_check" } else { "PRAGMA quick_check" };
    let found: Vec<(String,)> = query_as(check).fetch_all(&mut *conn).await?;
    broken(&mut report, "database: {}", found.into_iter().map(|(text,)| text).filter(|text| text != "ok"));
    for (sentence, query) in RULES {
        let query = format!("WITH found (what) AS ({query}) SELECT CAST(what AS TEXT) FROM found");
        let found: Vec<String> = query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&mut *conn).await?;
        broken(&mut report, sentence, found.into_iter());
        told();
    }
    report.sums = sums(conn).await?;
    add_up(&mut report);
    let named = contents(conn, &mut report, &*told).await?;
    conn.commit().await?;
    report.sums.blobs = i64::try_from(named.len()).unwrap_or(i64::MAX);
    check_blobs(conn, named, blobs, deep, told, &mut report).await?;
    Ok(Some(report))
}

fn broken(report: &mut Report, sentence: &str, mut found: impl Iterator<Item = String>) {
    for what in found.by_ref().take(NAMED) {
        report.broken.push(sentence.replace("{}", &what.replace('\n', "; ")));
    }
    let more = found.count();
    if more > 0 {
        report.broken.push(sentence.replace("{}", &format!("and {more} more")));
    }
}

async fn sums(conn: &mut Conn) -> Result<Sums, OutboxError> {
    let mut sums = Sums::default();
    let classes: Vec<(i64, i64)> = query_as(
        "SELECT CAST(class AS BIGINT), count(*) FROM (
           SELECT e.id, CASE WHEN count(CASE WHEN d.disposition IN ('mailed', 'gathered', 'digested') THEN 1 END) > 0 THEN 2
                             WHEN EXISTS (SELECT 1 FROM postponed p WHERE p.event = e.id AND p.next_at IS NOT NULL) THEN 4
                             WHEN count(CASE WHEN d.disposition = 'error' THEN 1 END) > 0 THEN 3 ELSE 1 END AS class
           FROM event e LEFT JOIN decision d ON d.event = e.id WHERE e.swept = 0 GROUP BY e.id)
         AS each GROUP BY class",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (class, count) in classes {
        match class {
            1 => sums.filtered = count,
            2 => sums.grouped = count,
            4 => sums.postponed = count,
            _ => sums.quarantined = count,
        }
    }
    let states: Vec<(String, i64)> =
        query_as("SELECT state, count(*) FROM recipient GROUP BY state").fetch_all(&mut *conn).await?;
    for (state, count) in states {
        match state.as_str() {
            "queued" | "deferred" => sums.queued += count,
            "sending" | "in_data" => sums.leased += count,
            "held" => sums.held += count,
            "delivered" => sums.sent += count,
            "failed" => sums.dead += count,
            "cancelled" => sums.cancelled += count,
            // In no state: missing from the sum below.
            _ => {}
        }
    }
    #[derive(sqlx::FromRow)]
    struct Counts {
        accepted: i64,
        there: i64,
        recipients: i64,
        gathered: i64,
        swept: i64,
        rejected: i64,
        duplicates: i64,
        conflicts: i64,
    }
    let counts: Option<Counts> = query_as(
        "SELECT (SELECT count(*) FROM event WHERE swept = 0) AS accepted, (SELECT count(*) FROM mail) AS there,
           (SELECT count(*) FROM recipient) AS recipients,
           (SELECT count(*) FROM gathered WHERE digest IS NULL) AS gathered,
           (SELECT count(*) FROM event WHERE swept = 1) AS swept, (SELECT count(*) FROM rejected) AS rejected,
           CAST(coalesce(sum(duplicates), 0) AS BIGINT) AS duplicates,
           CAST(coalesce(sum(conflicts), 0) AS BIGINT) AS conflicts
         FROM tally",
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(counts) = counts {
        sums.accepted = counts.accepted;
        sums.mails = counts.there;
        sums.recipients = counts.recipients;
        sums.gathered = counts.gathered;
        sums.keys = counts.swept;
        sums.rejected = counts.rejected;
        sums.duplicates = counts.duplicates;
        sums.conflicts = counts.conflicts;
    }
    Ok(sums)
}

fn add_up(report: &mut Report) {
    let sums = report.sums;
    if sums.accepted != sums.filtered + sums.grouped + sums.quarantined + sums.postponed {
        report.broken.push("events: accepted is not filtered + grouped + quarantined + postponed".to_owned());
    }
    if sums.recipients != sums.queued + sums.leased + sums.held + sums.sent + sums.dead + sums.cancelled {
        report.broken.push("recipients: not the sum of queued, leased, held, sent, dead and cancelled".to_owned());
    }
}

/// Reads every stored body once. Answers the blobs that are named, with one of the bodies that name each.
async fn contents(
    conn: &mut Conn,
    report: &mut Report,
    told: &(dyn Fn() + Send + Sync),
) -> Result<BTreeMap<(String, u64), String>, OutboxError> {
    let listed: Vec<(i64, String, i64)> =
        query_as("SELECT content, sha256, size FROM content_blob").fetch_all(&mut *conn).await?;
    let mut listed_of: BTreeMap<i64, BTreeSet<(String, u64)>> = BTreeMap::new();
    for (content, sha256, size) in listed {
        listed_of.entry(content).or_default().insert((sha256, unsigned(size)));
    }
    let mut named = BTreeMap::new();
    let mut wrong = Vec::new();
    {
        let mut rows =
            query_as::<(i64, String, i64, Vec<u8>)>("SELECT id, sha256, size, segments FROM content").fetch(&mut *conn);
        while let Some((id, sha256, size, segments)) = rows.try_next().await? {
            told();
            let listed = listed_of.remove(&id).unwrap_or_default();
            if hex(&Sha256::digest(&segments)) != sha256 {
                wrong.push(format!("{id}: its bytes are not those that were stored"));
                continue;
            }
            match content::decode(&segments).and_then(|body| content::encode(&body)) {
                Ok(body) if body.size != unsigned(size) => wrong.push(format!("{id}: it is not as long as it says")),
                Ok(body) => {
                    let used: BTreeSet<_> = body.blobs.into_iter().map(|blob| (blob.sha256, blob.size)).collect();
                    if used != listed {
                        wrong.push(format!("{id}: its attachments are not those that are listed"));
                    }
                    named.extend(used.into_iter().map(|blob| (blob, format!("body {id}"))));
                }
                Err(error) => wrong.push(format!("{id}: {error}")),
            }
        }
    }
    broken(report, "body {}", wrong.into_iter());
    let mut changed = Vec::new();
    {
        let mut lines = query_as::<(i64, String, Vec<u8>)>(
            "SELECT e.id, e.digest, l.line FROM line l JOIN event e ON e.id = l.event",
        )
        .fetch(&mut *conn);
        while let Some((event, digest, line)) = lines.try_next().await? {
            if hex(&Sha256::digest(&line)) != digest {
                changed.push(event.to_string());
            }
        }
    }
    broken(report, "event {}: the line that is kept of it is not the one that came", changed.into_iter());
    let gathered: Vec<(i64, String, i64)> =
        query_as("SELECT gathered, sha256, size FROM gathered_blob").fetch_all(&mut *conn).await?;
    named.extend(
        gathered.into_iter().map(|(id, sha256, size)| ((sha256, unsigned(size)), format!("gathered item {id}"))),
    );
    let lines: Vec<(i64, String, i64)> =
        query_as("SELECT event, sha256, size FROM line_blob").fetch_all(&mut *conn).await?;
    named.extend(
        lines.into_iter().map(|(id, sha256, size)| ((sha256, unsigned(size)), format!("the line of event {id}"))),
    );
    Ok(named)
}

/// Looks at every file that is named. One that is missing is asked for again, since retention may have removed it
/// together with what named it.
async fn check_blobs(
    conn: &mut Conn,
    named: BTreeMap<(String, u64), String>,
    blobs: BlobStore,
    deep: bool,
    told: Told,
    report: &mut Report,
) -> Result<(), OutboxError> {
    let missing = tokio::task::spawn_blocking(move || {
        let look = |((sha256, size), by)| {
            told();
            let blob = BlobRef { sha256, size };
            let found = blobs.read(&blob).and_then(|file| if deep { sha256_of(file).map(Some) } else { Ok(None) });
            let wrong = match found {
                Ok(None) => return None,
                Ok(Some(hash)) if hash == blob.sha256 => return None,
                Ok(Some(_)) => "its bytes are not those that were stored".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
                Err(error) => error.to_string(),
            };
            Some((format!("attachment {} of {by}: {wrong}", blob.sha256), blob.sha256))
        };
        named.into_iter().filter_map(look).collect::<Vec<_>>()
    })
    .await
    .map_err(io::Error::other)?;
    let mut wrong = Vec::new();
    for (sentence, sha256) in missing {
        let (still,): (bool,) = query_as(
            "SELECT EXISTS (SELECT 1 FROM content_blob WHERE sha256 = $1)
               OR EXISTS (SELECT 1 FROM gathered_blob WHERE sha256 = $1)
               OR EXISTS (SELECT 1 FROM line_blob WHERE sha256 = $1)",
        )
        .bind(sha256)
        .fetch_one(&mut *conn)
        .await?;
        if still {
            wrong.push(sentence);
        }
    }
    broken(report, "{}", wrong.into_iter());
    Ok(())
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
