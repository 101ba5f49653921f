//! What is removed, what never is.

use std::time::SystemTime;

use super::*;

const DAY: i64 = 86_400;

/// Makes every blob look older than an hour.
fn age_blobs(outbox: &Outbox) {
    let past = SystemTime::now() - Duration::from_secs(4000);
    for entry in std::fs::read_dir(outbox.blobs().dir()).unwrap() {
        std::fs::File::open(entry.unwrap().path()).unwrap().set_modified(past).unwrap();
    }
}

fn blob_count(outbox: &Outbox) -> usize {
    std::fs::read_dir(outbox.blobs().dir()).unwrap().count()
}

fn with_blob(outbox: &Outbox, number: u32) -> Accepted {
    let attachment = blob(outbox, format!("rows {number}").as_bytes());
    let mut mail = mail(&format!("m{number}"), &["a@example.org"]);
    mail.body = Arc::new(vec![Segment::Base64(attachment)]);
    event(number, vec![outcome("rule", Verdict::Notify, vec![mail])])
}

#[tokio::test]
async fn what_is_finished_and_old_goes_and_the_rest_stays() {
    let mut rig = Rig::new();
    rig.config.retention = Duration::from_secs(7 * 86_400);
    let outbox = rig.open().await;
    // One mail of each end, one of each state that is none, one event without a mail, one rejected line.
    let mut batch: Vec<_> = (1..=6).map(|number| with_blob(&outbox, number)).collect();
    batch.push(event(7, vec![outcome("rule", Verdict::Skip, vec![])]));
    batch.push(Accepted {
        source: "test".into(),
        content: Content::Rejected { offset: 0, length: 1, digest: "00".into(), reason: "bad".into() },
    });
    accept(&outbox, batch, at(0)).await;
    let jobs = outbox.claim(5, at(1)).await.unwrap();
    deliver(&outbox, &jobs[0], at(1)).await;
    assert!(report(&outbox, &jobs[1], Attempt::Failed("550".into()), at(1)).await);
    assert!(report(&outbox, &jobs[2], Attempt::Held("lost".into()), at(1)).await);
    assert!(report(&outbox, &jobs[3], Attempt::Deferred("451".into()), at(1)).await);
    // jobs[4] is in flight, the sixth mail is queued.
    blob(&outbox, b"of a mail that was never stored");
    age_blobs(&outbox);
    blob(&outbox, b"of a mail that is being composed");
    assert_eq!(blob_count(&outbox), 8);

    assert_eq!(outbox.sweep(at(6 * DAY)).await.unwrap(), 1, "only the blob that nothing names");
    assert_eq!(blob_count(&outbox), 7);
    sound(&rig).await;
    let removed = outbox.sweep(at(8 * DAY)).await.unwrap();
    // Three events, one rejected line, two blobs.
    assert_eq!(removed, 6);
    let report = sound(&rig).await;
    assert_eq!(report.sums.accepted, 4);
    assert_eq!((report.sums.queued, report.sums.leased, report.sums.held), (2, 1, 1));
    assert_eq!((report.sums.keys, report.sums.rejected, report.sums.blobs), (3, 0, 4));
    assert_eq!(blob_count(&outbox), 5);

    // The keys are known for 30 days all the same.
    assert_eq!(accept(&outbox, vec![with_blob(&outbox, 1)], at(9 * DAY)).await, [Receipt::Duplicate]);
    assert_eq!(outbox.sweep(at(29 * DAY)).await.unwrap(), 0);
    assert_eq!(outbox.known(&[key(1), key(7)]).await.unwrap().len(), 2);
    assert_eq!(outbox.sweep(at(31 * DAY)).await.unwrap(), 3);
    assert!(outbox.known(&[key(1), key(7)]).await.unwrap().is_empty());
    assert_eq!(outbox.known(&[key(3), key(4), key(5), key(6)]).await.unwrap().len(), 4);
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn retention_counts_from_the_end_not_from_the_event() {
    let mut rig = Rig::new();
    rig.config.retention = Duration::from_secs(86_400);
    let outbox = rig.open().await;
    accept(&outbox, vec![with_blob(&outbox, 1)], at(0)).await;
    let job = outbox.claim(1, at(5 * DAY)).await.unwrap().remove(0);
    deliver(&outbox, &job, at(5 * DAY)).await;
    assert_eq!(outbox.sweep(at(6 * DAY - 1)).await.unwrap(), 0);
    assert_eq!(outbox.sweep(at(6 * DAY + 1)).await.unwrap(), 1);
    outbox.close().await;
}

#[tokio::test]
async fn an_event_goes_when_all_its_mails_and_digests_have_ended() {
    let mut rig = Rig::new();
    rig.config.retention = Duration::from_secs(86_400);
    let outbox = rig.open().await;
    // Event 2 is gathered by one rule and mailed by another; the digest takes event 3 as well.
    let mut both = gathering(2, &["a@example.org"], vec![]);
    if let Content::Event { outcomes, .. } = &mut both.content {
        outcomes.push(outcome("other", Verdict::Notify, vec![mail("other", &["b@example.org"])]));
    }
    let batch = vec![gathering(1, &["a@example.org"], vec![]), both, gathering(3, &["a@example.org"], vec![])];
    accept(&outbox, batch, at(0)).await;
    assert_eq!(outbox.sweep(at(100 * DAY)).await.unwrap(), 0, "gathered or queued");
    let job = outbox.due_digests(at(60), false).await.unwrap().remove(0);
    let items: Vec<_> = job.items.iter().map(|item| item.id).collect();
    outbox.close_digest("digest", &items, vec![mail("d", &["a@example.org"])], at(60)).await.unwrap();
    let mut jobs = outbox.claim(10, at(60)).await.unwrap();
    let last = jobs.remove(jobs.iter().position(|job| job.message_id == "other@bewit.test").unwrap());
    for job in &jobs {
        deliver(&outbox, job, at(60)).await;
    }
    assert_eq!(outbox.sweep(at(2 * DAY)).await.unwrap(), 2, "events 1 and 3; 2 still has a mail in flight");
    sound(&rig).await;
    deliver(&outbox, &last, at(2 * DAY)).await;
    outbox.sweep(at(4 * DAY)).await.unwrap();
    let report = sound(&rig).await;
    assert_eq!((report.sums.accepted, report.sums.mails, report.sums.recipients), (0, 0, 0));
    outbox.close().await;
    assert_eq!(number(&rig, "SELECT count(*) FROM digest").await, 0);
    assert_eq!(number(&rig, "SELECT count(*) FROM content").await, 0);
}

#[tokio::test]
async fn space_goes_back_to_the_file_system() {
    let mut rig = Rig::new();
    rig.config.retention = Duration::from_secs(86_400);
    let outbox = rig.open().await;
    for round in 0..4u32 {
        let batch = (0..100)
            .map(|number| {
                let number = round * 100 + number;
                let mut mail = mail(&format!("m{number}"), &["a@example.org"]);
                mail.body =
                    Arc::new(vec![Segment::Bytes(vec![b'x'; 60_000]), Segment::Bytes(vec![0; number as usize])]);
                event(number, vec![outcome("rule", Verdict::Notify, vec![mail])])
            })
            .collect();
        accept(&outbox, batch, at(0)).await;
    }
    for job in outbox.claim(400, at(1)).await.unwrap() {
        assert!(report(&outbox, &job, Attempt::Delivered("250".into()), at(1)).await);
    }
    outbox.close().await;
    let before = std::fs::metadata(rig.database()).unwrap().len();
    let outbox = rig.open().await;
    outbox.sweep(at(2 * DAY)).await.unwrap();
    outbox.close().await;
    let after = std::fs::metadata(rig.database()).unwrap().len();
    assert!(before > 24_000_000 && after < 10_000_000, "{before} bytes before, {after} after");
    sound(&rig).await;
}

#[tokio::test]
async fn ids_of_what_was_removed_are_never_used_again() {
    let mut rig = Rig::new();
    rig.config.retention = Duration::from_secs(86_400);
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    let old = outbox.claim(1, at(0)).await.unwrap().remove(0);
    deliver(&outbox, &old, at(0)).await;
    assert_eq!(outbox.sweep(at(2 * DAY)).await.unwrap(), 1);
    accept(&outbox, vec![simple(2, &["a@example.org"])], at(2 * DAY)).await;
    let new = outbox.claim(1, at(2 * DAY)).await.unwrap().remove(0);
    assert_ne!(new.mail, old.mail);
    assert_ne!(new.recipients[0].id, old.recipients[0].id);
    outbox.close().await;
}
