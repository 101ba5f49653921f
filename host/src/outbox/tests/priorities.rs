//! Who goes first, and what that costs.

use super::*;
use crate::outbox::claim::DUE;
use crate::outbox::look::{Filter, Reader};
use crate::outbox::sql::NEXT_DUE;

fn urgent(number: u32, priority: Priority) -> Accepted {
    let mut outcome = outcome("rule", Verdict::Notify, vec![mail(&format!("m{number}"), &["a@example.org"])]);
    outcome.priority = priority;
    event(number, vec![outcome])
}

fn names(jobs: &[Job]) -> Vec<(&str, Priority)> {
    jobs.iter().map(|job| (job.message_id.split('@').next().unwrap(), job.priority)).collect()
}

async fn listed(rig: &Rig) -> Vec<Priority> {
    let (mut found, all) = (Vec::new(), Filter::default());
    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    let each = |line: look::Line| {
        found.push(line.priority);
        Ok::<_, OutboxError>(())
    };
    reader.list(&all, each).await.unwrap();
    found
}

#[tokio::test]
async fn the_urgent_are_claimed_first_and_each_by_its_number() {
    use Priority::{Bulk, Critical, Normal};
    let rig = Rig::new();
    let outbox = rig.open().await;
    for (number, priority) in (1..).zip([Bulk, Normal, Critical, Bulk, Normal, Critical, Normal]) {
        accept(&outbox, vec![urgent(number, priority)], at(number.into())).await;
    }
    assert_eq!(listed(&rig).await, [Bulk, Normal, Critical, Bulk, Normal, Critical, Normal]);
    assert_eq!(outbox.next_due().await.unwrap(), Some(at(1)));
    let lanes = outbox.census().await.unwrap().lanes;
    let lane = |waiting, oldest| Lane { waiting, oldest: Some(at(oldest)) };
    assert_eq!(lanes, [lane(2, 3), lane(3, 2), lane(2, 1)]);

    let jobs = outbox.claim_by(Wanted { critical: 8, normal: 2, bulk: 1 }, at(10)).await.unwrap();
    assert_eq!(names(&jobs), [("m3", Critical), ("m6", Critical), ("m2", Normal), ("m5", Normal), ("m1", Bulk)]);
    assert_eq!(outbox.next_due().await.unwrap(), Some(at(4)));
    // What comes back has its place and its priority.
    report(&outbox, &jobs[4], Attempt::Released(at(2)), at(11)).await;
    let jobs = outbox.claim_by(Wanted::each(1), at(12)).await.unwrap();
    assert_eq!(names(&jobs), [("m7", Normal), ("m1", Bulk)]);
    assert!(outbox.claim_by(Wanted { critical: 5, normal: 0, bulk: 0 }, at(12)).await.unwrap().is_empty());
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn a_mail_that_waits_for_a_limit_says_why_and_has_no_attempt() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    let job = outbox.claim(1, at(0)).await.unwrap().remove(0);
    assert!(report(&outbox, &job, Attempt::Waits(at(60), "its turn comes".into()), at(1)).await);
    assert!(outbox.claim(1, at(59)).await.unwrap().is_empty());
    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    let (line, log) = reader.mail(1).await.unwrap().unwrap().recipients.remove(0);
    assert_eq!((line.state, line.attempts, line.reason.as_deref()), (state::State::Queued, 0, Some("its turn comes")));
    assert_eq!(log, []);
    let job = outbox.claim(1, at(60)).await.unwrap().remove(0);
    deliver(&outbox, &job, at(61)).await;
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn a_digest_is_as_urgent_as_the_most_urgent_in_it() {
    for (of_second, of_third, of_digest) in [
        (Priority::Bulk, Priority::Bulk, Priority::Bulk),
        (Priority::Bulk, Priority::Critical, Priority::Critical),
        (Priority::Normal, Priority::Bulk, Priority::Normal),
    ] {
        let rig = Rig::new();
        let outbox = rig.open().await;
        let with = |number, priority| {
            let mut event = gathering(number, &["a@example.org"], vec![]);
            let Content::Event { outcomes, .. } = &mut event.content else { panic!("no event") };
            outcomes[0].priority = priority;
            event
        };
        let batch = vec![with(1, Priority::Normal), with(2, of_second), with(3, of_third)];
        accept(&outbox, batch, at(0)).await;
        let items: Vec<_> =
            outbox.due_digests(at(60), false).await.unwrap()[0].items.iter().map(|item| item.id).collect();
        outbox.close_digest("digest", &items, vec![mail("d", &["a@example.org"])], at(60)).await.unwrap();
        let jobs = outbox.claim(10, at(60)).await.unwrap();
        let digest = jobs.iter().find(|job| job.message_id.starts_with("d@")).unwrap();
        assert_eq!(digest.priority, of_digest);
        sound(&rig).await;
        outbox.close().await;
    }
}

#[tokio::test]
async fn an_outbox_of_the_fourth_schema_is_brought_up_with_what_is_queued() {
    use sqlx::{ConnectOptions, Connection};
    let rig = Rig::new();
    std::fs::File::create(rig.database()).unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.database());
    let mut conn = options.page_size(8192).connect().await.unwrap();
    for step in [
        include_str!("../schema/1.sql"),
        include_str!("../schema/2.sql"),
        include_str!("../schema/3.sql"),
        include_str!("../schema/4.sql"),
    ] {
        sqlx::raw_sql(step).execute(&mut conn).await.unwrap();
    }
    sqlx::raw_sql("PRAGMA application_id = 1113945961; PRAGMA user_version = 4").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    // Mails of the program before this one: made by this one, and taken back to its tables.
    let now = {
        let rig = Rig::new();
        let outbox = rig.open().await;
        accept(&outbox, vec![simple(1, &["a@example.org"]), simple(2, &["b@example.org"])], at(0)).await;
        outbox.close().await;
        rig
    };
    tamper(
        &now,
        "DROP INDEX recipient_due; ALTER TABLE recipient DROP COLUMN priority;
         ALTER TABLE gathered DROP COLUMN priority;
         CREATE INDEX recipient_due ON recipient (next_at, mail) WHERE next_at IS NOT NULL; PRAGMA user_version = 4",
    )
    .await;
    for (rig, mails) in [(rig, 0), (now, 2)] {
        let error = Reader::open(&rig.database()).await.unwrap_err().to_string();
        assert!(error.contains("has schema 4, this program needs 5"), "{error}");
        let outbox = rig.open().await;
        let jobs = outbox.claim(10, at(1)).await.unwrap();
        assert_eq!(jobs.len(), mails);
        assert!(jobs.iter().all(|job| job.priority == Priority::Normal));
        accept(&outbox, vec![urgent(3, Priority::Critical)], at(2)).await;
        assert_eq!(names(&outbox.claim(10, at(3)).await.unwrap()), [("m3", Priority::Critical)]);
        sound(&rig).await;
        outbox.close().await;
    }
}

#[tokio::test]
async fn what_delivery_asks_again_and_again_needs_the_index_alone() {
    use sqlx::{ConnectOptions, Row};
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, (0..200).map(|number| simple(number, &["a@example.org"])).collect(), at(0)).await;
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.database()).connect().await.unwrap();
    for (asked, looks) in [(DUE, 1), (NEXT_DUE, 3)] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {asked}"));
        let rows = sqlx::query(explain).fetch_all(&mut conn).await.unwrap();
        let plan: String = rows.iter().map(|row| row.get::<String, _>(3) + "\n").collect();
        let found = plan.matches("SEARCH recipient USING COVERING INDEX recipient_due (priority=?").count();
        assert_eq!(found, looks, "{asked}:\n{plan}");
        assert!(!plan.contains("SCAN recipient") && !plan.contains("TEMP B-TREE"), "{asked}:\n{plan}");
    }
    outbox.close().await;
}
