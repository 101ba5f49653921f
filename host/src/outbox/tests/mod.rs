//! The outbox as its callers see it.

mod basics;
mod digests;
mod documents;
mod model;
mod moves;
mod outside;
mod pages;
mod postponed;
mod priorities;
mod retention;

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::blob::BlobRef;
use crate::config::{OutboxConfig, RetryPolicy};
use crate::rule::{Priority, TraceEntry, TraceVerdict, Verdict};

/// A folder for one outbox, which can be opened again and again.
struct Rig {
    dir: tempfile::TempDir,
    config: OutboxConfig,
    retry: RetryPolicy,
    hold: bool,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = OutboxConfig {
            path: dir.path().join("bewit.db"),
            retention: Duration::from_secs(30 * 86_400),
            min_free: 0,
        };
        let retry = RetryPolicy {
            waits: vec![Duration::from_secs(30), Duration::from_secs(120)],
            give_up: Duration::from_secs(3600),
        };
        Self { dir, config, retry, hold: false }
    }

    fn database(&self) -> PathBuf {
        self.config.path.clone()
    }

    async fn open(&self) -> Outbox {
        self.try_open().await.unwrap()
    }

    async fn try_open(&self) -> Result<Outbox, OutboxError> {
        Outbox::open(&self.config, self.retry.clone(), self.hold).await
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_753_900_000 + second).unwrap()
}

fn key(number: u32) -> EventKey {
    EventKey {
        org_id: "root".into(),
        client_id: format!("C.{number:x}"),
        flow_id: format!("F.{number:X}"),
        timestamp: 1_753_900_000,
    }
}

fn mail(name: &str, recipients: &[&str]) -> NewMail {
    NewMail {
        message_id: format!("{name}@bewit.test"),
        sender: "bewit@example.org".into(),
        recipients: recipients.iter().map(ToString::to_string).collect(),
        subject: format!("subject of {name}"),
        head: format!(
            "From: <bewit@example.org>\r\nTo: {}\r\nMessage-ID: <{name}@bewit.test>\r\n",
            recipients.join(",\r\n ")
        )
        .into_bytes(),
        body: Arc::new(vec![Segment::Bytes(format!("body of {name}\r\n").into_bytes())]),
    }
}

fn outcome(rule: &str, verdict: Verdict, mails: Vec<NewMail>) -> Outcome {
    Outcome {
        rule: rule.into(),
        decision: Decision {
            decision: verdict,
            reason: "because".into(),
            trace: vec![TraceEntry {
                filter: "artifacts_to_alert_on".into(),
                verdict: TraceVerdict::Pass,
                detail: "matches".into(),
            }],
            recipients: mails.iter().flat_map(|mail| mail.recipients.clone()).collect(),
            notes: Vec::new(),
        },
        subject: mails.first().map(|mail| mail.subject.clone()),
        mails,
        throttle: (Throttle::Digest, Duration::ZERO),
        priority: Priority::Normal,
        gathered: None,
    }
}

fn event(number: u32, outcomes: Vec<Outcome>) -> Accepted {
    Accepted {
        source: "test".into(),
        content: Content::Event {
            key: key(number),
            digest: format!("digest {number}"),
            document: document(number),
            outcomes,
            held: None,
        },
    }
}

/// What is kept of an event: it has collected an artifact that all have, and one that each third has.
fn document(number: u32) -> Document {
    let text = serde_json::json!({
        "type": "System.Flow.Completion", "Timestamp": 1_753_900_000, "OrgId": "root",
        "ClientId": format!("C.{number:x}"), "FlowId": format!("F.{number:X}"),
    });
    let artifacts = vec!["Generic.Client.Info".into(), format!("Custom.Number{}", number % 3)];
    Document { text: text.to_string().into(), artifacts }
}

/// An event of one rule with one mail to these recipients.
fn simple(number: u32, recipients: &[&str]) -> Accepted {
    event(number, vec![outcome("rule", Verdict::Notify, vec![mail(&format!("m{number}"), recipients)])])
}

fn blob(outbox: &Outbox, bytes: &[u8]) -> BlobRef {
    let mut writer = outbox.blobs().create().unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

async fn accept(outbox: &Outbox, batch: Vec<Accepted>, now: Timestamp) -> Vec<Receipt> {
    outbox.accept(batch, None, now).await.unwrap()
}

/// Reports the same outcome for all recipients of a job.
async fn report(outbox: &Outbox, job: &Job, attempt: Attempt, now: Timestamp) -> bool {
    let outcomes: Vec<_> = job.recipients.iter().map(|recipient| (recipient.id, attempt.clone())).collect();
    outbox.report(job, &outcomes, now).await.unwrap()
}

/// Announces the final dot and reports that it was taken.
async fn deliver(outbox: &Outbox, job: &Job, now: Timestamp) {
    let recipients: Vec<_> = job.recipients.iter().map(|recipient| recipient.id).collect();
    assert!(outbox.in_data(job, &recipients).await.unwrap());
    assert!(report(outbox, job, Attempt::Delivered("250 2.0.0 Ok".into()), now).await);
}

/// A judgement of a rule that a filter has put off.
fn put_off(rule: &str, again: bool) -> PutOff {
    PutOff {
        rule: rule.into(),
        reason: "the filter `ioc` gave no answer: timed out".into(),
        counts: true,
        again,
        trace: vec![TraceEntry { filter: "ioc".into(), verdict: TraceVerdict::Unknown, detail: "timed out".into() }],
    }
}

/// An event of which these rules have put their judgement off.
fn held(number: u32, outcomes: Vec<Outcome>, files: Vec<(String, BlobRef)>, rules: Vec<PutOff>) -> Accepted {
    let line = format!("line {number}").into_bytes();
    let digest = crate::blob::sha256_of(&line[..]).unwrap();
    let held = Some(Box::new(Held { line, files, rules }));
    Accepted {
        source: "test".into(),
        content: Content::Event { key: key(number), digest, document: document(number), outcomes, held },
    }
}

/// A question to the database itself, over a connection of its own.
async fn number(rig: &Rig, statement: &'static str) -> i64 {
    use sqlx::{ConnectOptions, Connection};
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.database()).connect().await.unwrap();
    let (number,): (i64,) = sqlx::query_as(statement).fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    number
}

/// Changes the database behind the outbox's back.
async fn tamper(rig: &Rig, statement: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.database()).foreign_keys(false);
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// The outbox is sound, and says so.
async fn sound(rig: &Rig) -> verify::Report {
    let report = verify::verify(&rig.database(), true).await.unwrap().unwrap();
    assert_eq!(report.broken, Vec::<String>::new());
    report
}

/// An event of the rule `digest`, which mails once a minute and gathers the rest.
fn gathering(number: u32, recipients: &[&str], attachments: Vec<Attachment>) -> Accepted {
    let mut mail = mail(&format!("m{number}"), recipients);
    let mut body = vec![Segment::Bytes(format!("body {number}\r\n").into_bytes())];
    body.extend(attachments.iter().map(|attachment| Segment::Base64(attachment.blob.clone())));
    mail.body = Arc::new(body);
    let mut outcome = outcome("digest", Verdict::Notify, vec![mail]);
    outcome.throttle = (Throttle::Digest, Duration::from_secs(60));
    outcome.gathered = Some(Gathered { view: format!("{{\"number\":{number}}}"), attachments });
    event(number, vec![outcome])
}

/// The priority of each rule of the model.
fn urgency(rule: &str) -> Priority {
    match rule {
        "rare" | "digest" => Priority::Critical,
        "slow" => Priority::Bulk,
        _ => Priority::Normal,
    }
}
