//! Events that are kept.

use sqlx::{ConnectOptions, Connection};

use super::*;
use crate::outbox::look::{Kept, Mark, Reader};

async fn all(rig: &Rig, since: Option<Timestamp>) -> Vec<look::StoredEvent> {
    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    let (mut all, mut mark) = (Vec::new(), Mark::since(since));
    loop {
        let (some, next) = reader.stored_after(mark).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
        mark = next;
    }
}

fn skipped(number: u32) -> Accepted {
    event(number, vec![outcome("rule", Verdict::Skip, vec![])])
}

fn with_text(number: u32, length: usize) -> Accepted {
    let mut accepted = skipped(number);
    if let Content::Event { document, .. } = &mut accepted.content {
        // A JSON text of exactly this many bytes.
        document.text = format!("\"{}\"", "x".repeat(length - 2)).into();
    }
    accepted
}

#[tokio::test]
async fn events_are_read_back_in_the_order_of_intake_and_by_name() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    // More than are read at a time, several of one time, in batches that go back in time.
    accept(&outbox, (1..=70).map(skipped).collect(), at(100)).await;
    accept(&outbox, (71..=80).map(skipped).collect(), at(50)).await;
    let found = all(&rig, None).await;
    let wanted: Vec<u32> = (71..=80).chain(1..=70).collect();
    assert_eq!(found.len(), 80);
    for (stored, number) in found.iter().zip(wanted) {
        assert_eq!(stored.event, format!("root/C.{number:x}/F.{number:X}"));
        assert_eq!(stored.kept, Kept::Whole(document(number).text.to_string()));
    }
    assert_eq!(all(&rig, Some(at(100))).await.len(), 70);
    assert_eq!(all(&rig, Some(at(101))).await.len(), 0);

    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    for name in ["F.A", "root/C.a/F.A"] {
        let named = reader.stored_named(name).await.unwrap();
        assert_eq!(named.len(), 1, "{name}");
        assert_eq!(named[0].received, at(100));
        assert_eq!(reader.stored_event(named[0].id).await.unwrap().as_ref(), named.first());
    }
    for name in ["", "F.a", "root/C.b/F.A", "C.a/F.A", "/F.A"] {
        assert_eq!(reader.stored_named(name).await.unwrap(), [], "{name}");
    }
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn what_is_too_large_is_not_kept_and_says_so() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![with_text(1, DOCUMENT_LIMIT), with_text(2, DOCUMENT_LIMIT + 1)], at(0)).await;
    let found = all(&rig, None).await;
    assert!(matches!(&found[0].kept, Kept::Whole(text) if text.len() == DOCUMENT_LIMIT));
    assert_eq!(found[0].kept.why_not(), None);
    assert_eq!(found[1].kept, Kept::TooLarge(DOCUMENT_LIMIT as u64 + 1));
    assert!(found[1].kept.why_not().unwrap().contains("262145 bytes"));
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn a_repeat_keeps_the_first_document() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![skipped(1)], at(0)).await;
    assert_eq!(accept(&outbox, vec![with_text(1, 100)], at(1)).await, [Receipt::Duplicate]);
    assert_eq!(all(&rig, None).await[0].kept, Kept::Whole(document(1).text.to_string()));
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn retention_removes_documents_with_their_events() {
    const DAY: i64 = 86_400;
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, (1..=5).map(skipped).collect(), at(0)).await;
    accept(&outbox, (6..=8).map(skipped).collect(), at(20 * DAY)).await;
    // Five events, and their keys, which are not known for longer either.
    assert_eq!(outbox.sweep(at(31 * DAY)).await.unwrap(), 10);
    assert_eq!(all(&rig, None).await.len(), 3);
    assert_eq!(number(&rig, "SELECT count(*) FROM document").await, 3);
    assert_eq!(number(&rig, "SELECT count(*) FROM artifact").await, 6);
    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    assert_eq!(reader.stored_named("F.1").await.unwrap(), []);
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn an_outbox_of_the_third_schema_is_brought_up_with_what_is_in_it() {
    let rig = Rig::new();
    std::fs::File::create(rig.database()).unwrap();
    // As the program before this one made it.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.database());
    let mut conn = options.page_size(8192).connect().await.unwrap();
    for step in [include_str!("../schema/1.sql"), include_str!("../schema/2.sql"), include_str!("../schema/3.sql")] {
        sqlx::raw_sql(step).execute(&mut conn).await.unwrap();
    }
    sqlx::raw_sql(
        "PRAGMA application_id = 1113945961; PRAGMA user_version = 3;
         INSERT INTO event VALUES (1, 'root', 'C.1', 'F.1', 1753900000, 'digest 1', 'test', 1753900000000, 1, 0);
         INSERT INTO decision VALUES (1, 1, 'rule', 'skip', 'because', '[]', '[]', NULL, 'skipped', NULL, 0);
         UPDATE tally SET events = 1;",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    conn.close().await.unwrap();
    let error = Reader::open(&rig.database()).await.unwrap_err().to_string();
    assert!(error.contains("has schema 3, this program needs 5"), "{error}");
    let outbox = rig.open().await;
    assert_eq!(accept(&outbox, vec![simple(1, &["a@example.org"])], at(1)).await, [Receipt::Duplicate]);
    accept(&outbox, vec![simple(2, &["a@example.org"])], at(1)).await;
    let found = all(&rig, None).await;
    assert_eq!(found[0].kept, Kept::Never);
    assert!(found[0].kept.why_not().unwrap().contains("earlier version"));
    assert_eq!(found[1].kept, Kept::Whole(document(2).text.to_string()));
    assert_eq!(sound(&rig).await.sums.accepted, 2);
    outbox.close().await;
}

#[tokio::test]
async fn a_document_that_was_tampered_with_is_found() {
    for (statement, word) in [
        ("UPDATE document SET text = text || ' '", "event 1: its document is not the one that was stored"),
        ("UPDATE document SET text = replace(text, '{', '[')", "not the one that was stored"),
        ("UPDATE document SET artifacts = '['", "not the one that was stored"),
        ("DELETE FROM artifact", "not found by its artifacts"),
        ("UPDATE artifact SET name = 'x' WHERE name = 'generic.client.info'", "not found by its artifacts"),
        ("DELETE FROM document", "not found by its artifacts"),
        ("UPDATE event SET swept = 1, decisions = 0; DELETE FROM decision", "its document is there"),
    ] {
        let rig = Rig::new();
        let outbox = rig.open().await;
        accept(&outbox, vec![skipped(1)], at(0)).await;
        outbox.close().await;
        sound(&rig).await;
        tamper(&rig, statement).await;
        let report = verify::verify(&rig.database(), false).await.unwrap().unwrap();
        assert!(report.broken.iter().any(|broken| broken.contains(word)), "{statement}: {:?}", report.broken);
    }
}
