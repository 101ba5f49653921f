//! What other processes see and do: verify, look, by hand.

use super::hand::{Action, Handled, Target, act};
use super::look::{Filter, Line, Reader};
use super::state::State;
use super::*;

/// An outbox with something in every state and disposition.
async fn furnished(rig: &Rig) -> Outbox {
    let outbox = rig.open().await;
    let rows = Attachment {
        name: "rows.jsonl".into(),
        content_type: "application/jsonl".into(),
        blob: blob(&outbox, b"rows of a gathered event"),
    };
    let mut own = mail("m1", &["a@example.org", "b@example.org", "c@example.org"]);
    own.body = Arc::new(vec![Segment::Bytes(b"x\r\n".to_vec()), Segment::Base64(blob(&outbox, b"attached"))]);
    let batch = vec![
        event(1, vec![outcome("rule", Verdict::Notify, vec![own]), outcome("other", Verdict::Skip, vec![])]),
        simple(2, &["d@example.org"]),
        simple(3, &["e@example.org"]),
        simple(4, &["f@example.org"]),
        event(5, vec![outcome("rule", Verdict::Error, vec![])]),
        event(6, vec![outcome("rule", Verdict::Skip, vec![])]),
        gathering(7, &["g@example.org"], vec![]),
        gathering(8, &["g@example.org"], vec![rows]),
        Accepted {
            source: "test".into(),
            content: Content::Rejected { offset: 0, length: 1, digest: "00".into(), reason: "bad".into() },
        },
    ];
    accept(&outbox, batch, at(0)).await;
    let job = outbox.due_digests(at(0), true).await.unwrap().remove(0);
    outbox.close_digest("digest", &[job.items[0].id], vec![mail("d", &["g@example.org"])], at(1)).await.unwrap();
    accept(&outbox, vec![gathering(9, &["g@example.org"], vec![])], at(2)).await;
    let jobs = outbox.claim(4, at(3)).await.unwrap();
    let ids: Vec<_> = jobs[0].recipients.iter().map(|recipient| recipient.id).collect();
    let outcomes = [
        (ids[0], Attempt::Delivered("250 ok".into())),
        (ids[1], Attempt::Failed("550 no".into())),
        (ids[2], Attempt::Deferred("451 later".into())),
    ];
    assert!(outbox.report(&jobs[0], &outcomes, at(3)).await.unwrap());
    assert!(report(&outbox, &jobs[1], Attempt::Held("lost".into()), at(3)).await);
    assert!(outbox.in_data(&jobs[2], &[jobs[2].recipients[0].id]).await.unwrap());
    outbox
}

#[tokio::test]
async fn the_sums_add_up_beside_a_running_daemon() {
    let rig = Rig::new();
    assert!(verify::verify(&rig.database(), false).await.unwrap().is_none());
    assert!(!rig.database().exists(), "a look made a file");
    let outbox = furnished(&rig).await;
    let sums = sound(&rig).await.sums;
    assert_eq!((sums.accepted, sums.filtered, sums.grouped, sums.quarantined), (9, 1, 7, 1));
    assert_eq!((sums.recipients, sums.queued, sums.leased, sums.held, sums.sent, sums.dead), (8, 3, 2, 1, 1, 1));
    assert_eq!((sums.mails, sums.gathered, sums.rejected, sums.blobs), (6, 1, 1, 1));
    outbox.close().await;
    sound(&rig).await;
}

#[tokio::test]
async fn tampering_is_found() {
    for (statement, word) in [
        ("DELETE FROM recipient WHERE id = 2", "mail 1"),
        ("DELETE FROM recipient WHERE mail = 2", "recipients:"),
        ("UPDATE mail SET recipients = 2 WHERE id = 1; DELETE FROM recipient WHERE id = 3", "recipients:"),
        ("DELETE FROM mail WHERE id = 2", "not as many mails"),
        ("DELETE FROM recipient WHERE mail = 3; DELETE FROM mail WHERE id = 3", "mails:"),
        ("DELETE FROM event WHERE id = 6", "one that is not there"),
        ("DELETE FROM decision WHERE event = 6", "event 6"),
        ("DELETE FROM decision WHERE event = 6; DELETE FROM event WHERE id = 6", "events:"),
        ("DELETE FROM gathered WHERE digest IS NULL", "gathered, but in no digest"),
        ("DELETE FROM gathered_mail", "without the mails"),
        ("DELETE FROM digest", "one that is not there"),
        ("DELETE FROM rejected", "rejected lines:"),
        ("UPDATE decision SET disposition = 'throttled', mails = 0 WHERE event = 2", "decision"),
        ("UPDATE recipient SET state = 'delivered', next_at = NULL WHERE state = 'queued'", "without a reply"),
        ("UPDATE recipient SET state = 'queued', next_at = 0 WHERE state = 'delivered'", "something else happened"),
        (
            "PRAGMA ignore_check_constraints = 1; UPDATE recipient SET state = 'sent' WHERE id = 1",
            "no state that there is",
        ),
        ("UPDATE content SET segments = CAST(segments || x'00' AS BLOB) WHERE id = 1", "not those that were stored"),
        ("UPDATE content SET size = size + 1 WHERE id = 1", "its size"),
        ("UPDATE mail SET head = x'00' WHERE id = 1", "its size"),
        ("UPDATE mail SET head = zeroblob(length(head)) WHERE id = 1", "its header"),
        ("UPDATE mail SET message_id = 'other@bewit.test' WHERE id = 1", "its header"),
        ("UPDATE mail SET sender = 'eve@example.net' WHERE id = 1", "its header"),
        ("UPDATE recipient SET address = 'eve@example.net' WHERE id = 1", "does not name it"),
        ("UPDATE recipient SET address = 'b@example.org' WHERE id = 1", "not for whom it was made"),
        ("UPDATE decision SET recipients = '[\"eve@example.net\"]' WHERE event = 2", "not for whom it was made"),
        ("UPDATE decision SET trace = '[' WHERE event = 6", "no JSON"),
        ("UPDATE attempt SET outcome = 'deferred' WHERE outcome = 'failed'", "without a reply"),
        ("UPDATE recipient SET epoch = 1000 WHERE id = 1", "later claim"),
        ("DELETE FROM content WHERE id = 1", "its size"),
        ("DELETE FROM content_blob", "attachments are not those"),
        ("DELETE FROM tally", "totals"),
        (
            "DROP INDEX mail_decision; CREATE INDEX mail_decision ON mail (decision) WHERE decision < 0; \
          PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = 'CREATE INDEX mail_decision ON mail (decision)' \
          WHERE name = 'mail_decision'",
            "database:",
        ),
    ] {
        let rig = Rig::new();
        furnished(&rig).await.close().await;
        tamper(&rig, statement).await;
        let report = verify::verify(&rig.database(), true).await.unwrap().unwrap();
        assert!(report.broken.iter().any(|broken| broken.contains(word)), "{statement}: {:?}", report.broken);
    }
}

#[tokio::test]
async fn missing_and_changed_attachments_are_found() {
    type Harm = fn(&std::path::Path);
    let harms: [(Harm, bool, &str); 3] = [
        (|path| std::fs::remove_file(path).unwrap(), false, "missing"),
        (|path| std::fs::write(path, b"short").unwrap(), false, "not 8 bytes long"),
        (|path| std::fs::write(path, b"ATTACHED").unwrap(), true, "not those that were stored"),
    ];
    for (harm, deep, word) in harms {
        let rig = Rig::new();
        let outbox = furnished(&rig).await;
        let path = outbox.blobs().path(&blob(&outbox, b"attached"));
        outbox.close().await;
        harm(&path);
        let report = verify::verify(&rig.database(), deep).await.unwrap().unwrap();
        assert_eq!(report.broken.len(), 1, "{:?}", report.broken);
        assert!(report.broken[0].contains(word), "{:?}", report.broken);
        if deep {
            let quick = verify::verify(&rig.database(), false).await.unwrap().unwrap();
            assert!(quick.broken.is_empty(), "only a deep look reads them");
        }
    }
}

async fn lines(rig: &Rig, filter: Filter) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    let each = |line| -> Result<(), OutboxError> {
        lines.push(line);
        Ok(())
    };
    reader.list(&filter, each).await.unwrap();
    lines
}

#[tokio::test]
async fn a_look_sees_every_recipient() {
    let rig = Rig::new();
    let outbox = furnished(&rig).await;
    let all: Vec<_> = lines(&rig, Filter::default())
        .await
        .iter()
        .map(|line| {
            format!("{} {} {} {} {} {}", line.id(), line.state, line.address, line.rule, line.event, line.attempts)
        })
        .collect();
    assert_eq!(
        all,
        [
            "1.1 delivered a@example.org rule root/C.1/F.1 1",
            "1.2 failed b@example.org rule root/C.1/F.1 1",
            "1.3 deferred c@example.org rule root/C.1/F.1 1",
            "2 held d@example.org rule root/C.2/F.2 1",
            "3 in_data e@example.org rule root/C.3/F.3 0",
            "4 sending f@example.org rule root/C.4/F.4 0",
            "5 queued g@example.org digest root/C.7/F.7 0",
            "6 queued g@example.org digest root/C.8/F.8 0",
        ]
    );
    let filter = Filter { states: vec![State::Held, State::Queued], rule: Some("digest".into()), mail: None };
    assert_eq!(lines(&rig, filter).await.len(), 2);

    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    assert!(reader.mail(4711).await.unwrap().is_none());
    let mail = reader.mail(1).await.unwrap().unwrap();
    assert_eq!(mail.decisions.len(), 1);
    assert_eq!(mail.decisions[0].trace[0].filter, "artifacts_to_alert_on");
    assert_eq!(mail.recipients.len(), 3);
    assert_eq!(mail.recipients[1].1[0].reply, "550 no");
    let mut bytes = Vec::new();
    write_mail(&mail.head, &mail.body, &reader.blobs(), &mut bytes).unwrap();
    assert!(bytes.ends_with(b"Message-ID: <m1@bewit.test>\r\n\r\nx\r\nYXR0YWNoZWQ=\r\n"));
    assert_eq!(bytes.len() as u64, mail.size);
    let digest = reader.mail(6).await.unwrap().unwrap();
    assert_eq!(digest.decisions[0].event, "root/C.8/F.8");
    let waiting = reader.waiting().await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].events, waiting[0].due), (1, at(61)));
    outbox.close().await;
}

#[tokio::test]
async fn a_crashed_outbox_can_be_looked_at() {
    let rig = Rig::new();
    let outbox = furnished(&rig).await;
    let copy = Rig::new();
    for name in ["bewit.db", "bewit.db-wal"] {
        std::fs::copy(rig.dir.path().join(name), copy.dir.path().join(name)).unwrap();
    }
    assert_eq!(lines(&copy, Filter::default()).await.len(), 8);
    let states = |lines: Vec<Line>| lines.into_iter().map(|line| line.state).collect::<Vec<_>>();
    assert!(states(lines(&copy, Filter::default()).await).contains(&State::InData), "a look has repaired something");
    outbox.close().await;
}

#[tokio::test]
async fn a_person_can_retry_and_cancel_beside_a_running_daemon() {
    let rig = Rig::new();
    let targets = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect::<Vec<Target>>();
    assert_eq!(act(&rig.database(), Action::Retry, &targets(&["1"]), at(9)).await.unwrap(), None);
    assert!(!rig.database().exists());
    let outbox = furnished(&rig).await;
    let retried = act(&rig.database(), Action::Retry, &targets(&["1", "2", "3", "5", "1.1", "99"]), at(9)).await;
    let retried = retried.unwrap().unwrap();
    assert_eq!(retried[0], Handled::Done(vec!["b@example.org".into(), "c@example.org".into()]));
    assert_eq!(retried[1], Handled::Done(vec!["d@example.org".into()]));
    let sentences: Vec<_> = retried[2..]
        .iter()
        .map(|handled| match handled {
            Handled::Refused(sentence) => sentence.as_str(),
            Handled::Done(addresses) => panic!("{addresses:?}"),
        })
        .collect();
    assert!(sentences[0].starts_with("3: e@example.org is being sent right now"), "{sentences:?}");
    assert!(sentences[1].starts_with("5: g@example.org is queued, and only"), "{sentences:?}");
    assert!(sentences[2].starts_with("1.1: a@example.org is delivered, and only"), "{sentences:?}");
    assert!(sentences[3].contains("no 99"), "{sentences:?}");
    let cancelled = act(&rig.database(), Action::Cancel, &targets(&["2", "4", "6"]), at(9)).await.unwrap().unwrap();
    assert_eq!(cancelled[0], Handled::Done(vec!["d@example.org".into()]));
    assert!(matches!(&cancelled[1], Handled::Refused(sentence) if sentence.contains("being sent")));
    assert_eq!(cancelled[2], Handled::Done(vec!["g@example.org".into()]));
    let report = sound(&rig).await;
    assert_eq!(report.sums.cancelled, 2);

    // What was retried starts anew, in attempts and in age.
    let jobs = outbox.claim(10, at(100_000)).await.unwrap();
    let again = jobs.iter().find(|job| job.message_id == "m1@bewit.test").unwrap();
    assert_eq!(again.recipients.len(), 2);
    assert!(again.recipients.iter().all(|recipient| recipient.attempts == 0));
    assert!(jobs.iter().all(|job| job.message_id != "m2@bewit.test"), "a cancelled mail was claimed");
    outbox.close().await;
    // Without a daemon what it left in flight is not "being sent".
    let refused = act(&rig.database(), Action::Retry, &targets(&["3"]), at(9)).await.unwrap().unwrap();
    assert!(matches!(&refused[0], Handled::Refused(sentence) if sentence.contains("left in flight")), "{refused:?}");
}

#[tokio::test]
async fn a_person_waits_for_a_long_transaction_and_then_gives_up_with_a_sentence() {
    use sqlx::{ConnectOptions, Connection};
    let rig = Rig::new();
    furnished(&rig).await.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.database());
    let mut other = options.connect().await.unwrap();
    let tx = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let target = Target::Mail { mail: 2, position: None };
    let error = act(&rig.database(), Action::Retry, &[target], at(9)).await.unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    tx.rollback().await.unwrap();
    assert!(matches!(
        act(&rig.database(), Action::Retry, &[target], at(9)).await.unwrap().unwrap()[0],
        Handled::Done(_)
    ));
}
