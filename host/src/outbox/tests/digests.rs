//! Gathering and closing.

use super::*;

fn attachment(outbox: &Outbox, text: &str) -> Attachment {
    Attachment {
        name: "rows.jsonl".into(),
        content_type: "application/jsonl".into(),
        blob: blob(outbox, text.as_bytes()),
    }
}

#[tokio::test]
async fn what_falls_inside_the_interval_is_gathered_and_closed_once() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let rows = attachment(&outbox, "rows of the second");
    let batch = vec![
        gathering(1, &["a@example.org"], vec![]),
        gathering(2, &["a@example.org"], vec![rows.clone()]),
        gathering(3, &["b@example.org"], vec![]),
    ];
    accept(&outbox, batch, at(0)).await;
    let first = outbox.claim(10, at(0)).await.unwrap();
    assert_eq!(first.len(), 1, "the first one goes out at once");
    deliver(&outbox, &first[0], at(0)).await;
    assert_eq!(outbox.next_due().await.unwrap(), Some(at(60)));
    assert!(outbox.due_digests(at(59), false).await.unwrap().is_empty());
    assert_eq!(outbox.due_digests(at(59), true).await.unwrap().len(), 1, "all: whatever is gathered");
    sound(&rig).await;

    // Gathered things outlive a restart.
    outbox.close().await;
    let outbox = rig.open().await;
    let jobs = outbox.due_digests(at(60), false).await.unwrap();
    assert_eq!(jobs.len(), 1);
    let job = &jobs[0];
    assert_eq!(job.rule, "digest");
    let events: Vec<_> = job.items.iter().map(|item| item.event.as_str()).collect();
    assert_eq!(events, ["root/C.2/F.2", "root/C.3/F.3"]);
    let item = &job.items[0];
    assert_eq!(item.gathered.view, "{\"number\":2}");
    assert_eq!(item.gathered.attachments, std::slice::from_ref(&rows));
    assert_eq!(item.mails.len(), 1);
    assert_eq!(item.mails[0].message_id, "m2@bewit.test");
    assert_eq!(item.mails[0].recipients, ["a@example.org"]);
    assert_eq!(item.mails[0].body.len(), 2);

    // Due, but not closed yet: what comes now joins it instead of overtaking it.
    accept(&outbox, vec![gathering(4, &["a@example.org"], vec![])], at(61)).await;
    assert!(outbox.claim(10, at(61)).await.unwrap().is_empty());
    let jobs = outbox.due_digests(at(61), false).await.unwrap();
    let items: Vec<_> = jobs[0].items.iter().map(|item| item.id).collect();
    assert_eq!(items.len(), 3);

    let mut digest = mail("d1", &["a@example.org", "b@example.org"]);
    digest.body = Arc::new(vec![Segment::Base64(rows.blob.clone())]);
    outbox.close_digest("digest", &items, vec![digest.clone()], at(61)).await.unwrap();
    // After a crash between the commit and its answer it is closed again, in vain.
    digest.message_id = "d2@bewit.test".into();
    outbox.close_digest("digest", &items, vec![digest], at(62)).await.unwrap();
    assert!(outbox.due_digests(at(1000), true).await.unwrap().is_empty());
    let jobs = outbox.claim(10, at(62)).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].message_id, "d1@bewit.test");
    assert_eq!(jobs[0].recipients.len(), 2);
    deliver(&outbox, &jobs[0], at(62)).await;
    let report = sound(&rig).await;
    assert_eq!((report.sums.grouped, report.sums.gathered, report.sums.mails), (4, 0, 2));

    // The digest was a mail of the rule: the interval begins anew.
    accept(&outbox, vec![gathering(5, &["a@example.org"], vec![])], at(100)).await;
    assert_eq!(outbox.next_due().await.unwrap(), Some(at(121)));
    outbox.close().await;
}

#[tokio::test]
async fn a_digest_of_one_sends_its_own_mail_unchanged() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![gathering(1, &["a@example.org"], vec![]), gathering(2, &["a@example.org"], vec![])], at(0))
        .await;
    let mut jobs = outbox.due_digests(at(60), false).await.unwrap();
    let item = jobs[0].items.remove(0);
    let own = item.mails[0].clone();
    outbox.close_digest("digest", &[item.id], item.mails, at(60)).await.unwrap();
    let jobs = outbox.claim(10, at(60)).await.unwrap();
    let sent = jobs.iter().find(|job| job.message_id == own.message_id).unwrap();
    assert_eq!((&sent.head, &sent.body, sent.size), (&own.head, &own.body, own.size()));
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn a_digest_is_closed_whole_or_not_at_all() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, (1..=4).map(|number| gathering(number, &["a@example.org"], vec![])).collect(), at(0)).await;
    let job = outbox.due_digests(at(60), false).await.unwrap().remove(0);
    let items: Vec<_> = job.items.iter().map(|item| item.id).collect();
    for (rule, items, mails) in [
        ("digest", vec![], vec![mail("x", &["a@example.org"])]),
        ("digest", items.clone(), vec![]),
        ("digest", items.clone(), vec![mail("x", &[])]),
        // A Message-ID that is taken.
        ("digest", items.clone(), vec![mail("m1", &["a@example.org"])]),
        ("digest", [items.clone(), vec![4711]].concat(), vec![mail("x", &["a@example.org"])]),
    ] {
        assert!(outbox.close_digest(rule, &items, mails, at(60)).await.is_err(), "{rule} {items:?}");
    }
    outbox.close_digest("another", &items, vec![mail("x", &["a@example.org"])], at(60)).await.unwrap();
    assert_eq!(outbox.due_digests(at(60), false).await.unwrap()[0].items.len(), 3);
    outbox.close_digest("digest", &items[..2], vec![mail("d1", &["a@example.org"])], at(60)).await.unwrap();
    let split = outbox.close_digest("digest", &items[1..], vec![mail("d2", &["a@example.org"])], at(60)).await;
    assert!(split.is_err(), "an item went into two digests");
    outbox.close_digest("digest", &items[2..], vec![mail("d2", &["a@example.org"])], at(60)).await.unwrap();
    let report = sound(&rig).await;
    assert_eq!(report.sums.mails, 3);
    outbox.close().await;
}

#[tokio::test]
async fn a_flood_becomes_several_digests_of_bounded_size() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, (0..1201).map(|number| gathering(number, &["a@example.org"], vec![])).collect(), at(0)).await;
    let mut sizes = Vec::new();
    while let Some(job) = outbox.due_digests(at(60), false).await.unwrap().pop() {
        let items: Vec<_> = job.items.iter().map(|item| item.id).collect();
        sizes.push(items.len());
        let name = format!("d{}", sizes.len());
        outbox.close_digest("digest", &items, vec![mail(&name, &["a@example.org"])], at(60)).await.unwrap();
    }
    assert_eq!(sizes, [500, 500, 200]);
    sound(&rig).await;
    outbox.close().await;
}
