//! Claims, outcomes, crashes, waking up.

use super::*;

#[tokio::test]
async fn oldest_first_and_no_more_than_asked_for() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    for (number, second) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
        accept(&outbox, vec![simple(number, &["a@example.org", "b@example.org"])], at(second)).await;
    }
    assert!(outbox.claim(0, at(100)).await.unwrap().is_empty());
    let names = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.message_id).collect::<Vec<_>>();
    assert_eq!(names(outbox.claim(3, at(100)).await.unwrap()), ["m2@bewit.test", "m4@bewit.test", "m3@bewit.test"]);
    assert_eq!(names(outbox.claim(3, at(100)).await.unwrap()), ["m1@bewit.test"]);
    outbox.close().await;
}

#[tokio::test]
async fn each_recipient_has_an_outcome_of_its_own() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let all = ["a@example.org", "b@example.org", "c@example.org", "d@example.org"];
    accept(&outbox, vec![simple(1, &all)], at(0)).await;
    let job = outbox.claim(1, at(0)).await.unwrap().remove(0);
    let ids: Vec<_> = job.recipients.iter().map(|recipient| recipient.id).collect();
    // One is refused at RCPT, the others go on to the final dot.
    assert!(outbox.report(&job, &[(ids[0], Attempt::Failed("550 5.1.1 no such user".into()))], at(1)).await.unwrap());
    assert!(outbox.in_data(&job, &ids[1..]).await.unwrap());
    assert!(!outbox.in_data(&job, &ids).await.unwrap(), "the first is done");
    let outcomes = [
        (ids[1], Attempt::Delivered("250 ok".into())),
        (ids[2], Attempt::Deferred("451 later".into())),
        (ids[3], Attempt::Held("connection lost".into())),
    ];
    assert!(outbox.report(&job, &outcomes, at(2)).await.unwrap());
    let due = outbox.next_due().await.unwrap().unwrap();
    assert!(due >= at(2 + 24) && due <= at(2 + 36), "{due}");
    let again = outbox.claim(1, at(60)).await.unwrap().remove(0);
    assert_eq!(again.recipients.len(), 1);
    assert_eq!(again.recipients[0].address, "c@example.org");
    assert_eq!(again.recipients[0].attempts, 1);
    assert!(again.epoch > job.epoch);
    assert_eq!(again.message_id, job.message_id, "the Message-ID never changes");
    assert_eq!(again.head, job.head);
    // The old claim has no say over the new one.
    assert!(!outbox.in_data(&job, &[ids[2]]).await.unwrap());
    assert!(!outbox.report(&job, &[(ids[2], Attempt::Delivered("250".into()))], at(61)).await.unwrap());
    deliver(&outbox, &again, at(62)).await;
    outbox.close().await;
    assert_eq!(number(&rig, "SELECT count(*) FROM attempt").await, 5);
    assert_eq!(number(&rig, "SELECT count(*) FROM recipient WHERE state = 'delivered'").await, 2);
}

#[tokio::test]
async fn nothing_changes_if_one_of_several_is_not_ours() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org", "b@example.org"]), simple(2, &["c@example.org"])], at(0)).await;
    let jobs = outbox.claim(2, at(0)).await.unwrap();
    let delivered = || Attempt::Delivered("250".into());
    let (own, other) = (jobs[0].recipients[0].id, jobs[1].recipients[0].id);
    for outcomes in [
        vec![(own, delivered()), (other, delivered())],
        vec![(own, delivered()), (own, Attempt::Failed("550".into()))],
        vec![(own, delivered()), (4711, delivered())],
    ] {
        assert!(!outbox.report(&jobs[0], &outcomes, at(1)).await.unwrap(), "{outcomes:?}");
    }
    assert_eq!(number(&rig, "SELECT count(*) FROM recipient WHERE state = 'sending'").await, 3);
    assert_eq!(number(&rig, "SELECT count(*) FROM attempt").await, 0);
    outbox.close().await;
}

#[tokio::test]
async fn a_release_is_no_attempt() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    for round in 0..3 {
        let job = outbox.claim(1, at(round * 100)).await.unwrap().remove(0);
        assert_eq!(job.recipients[0].attempts, 0);
        assert!(report(&outbox, &job, Attempt::Released(at(round * 100 + 50)), at(round * 100)).await);
        assert_eq!(outbox.next_due().await.unwrap(), Some(at(round * 100 + 50)));
        assert!(outbox.claim(1, at(round * 100 + 49)).await.unwrap().is_empty());
    }
    // However long the relay is suspended, the mail stays.
    let job = outbox.claim(1, at(100_000)).await.unwrap().remove(0);
    assert!(report(&outbox, &job, Attempt::Released(at(100_001)), at(100_000)).await);
    assert_eq!(outbox.claim(1, at(100_001)).await.unwrap().len(), 1);
    outbox.close().await;
}

#[tokio::test]
async fn it_gives_up_by_age_and_keeps_the_last_reason() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    let mut now = at(0);
    let mut attempts = 0;
    while let Some(job) = outbox.claim(1, now).await.unwrap().pop() {
        assert_eq!(job.recipients[0].attempts, attempts);
        attempts += 1;
        assert!(report(&outbox, &job, Attempt::Deferred(format!("451 attempt {attempts}\r\n")), now).await);
        match outbox.next_due().await.unwrap() {
            Some(due) => now = due,
            None => break,
        }
    }
    let age = now.duration_since(at(0)).as_secs();
    assert!((3600..=3600 + 144).contains(&age), "gave up after {age} s");
    outbox.close().await;
    let lost = number(
        &rig,
        "SELECT count(*) FROM recipient WHERE state = 'failed' AND reason LIKE 'given up after %the last: 451 attempt %'",
    );
    assert_eq!(lost.await, 1);
    assert_eq!(number(&rig, "SELECT count(*) FROM attempt").await, i64::from(attempts));
}

#[tokio::test]
async fn after_a_crash_what_was_in_flight_is_sent_again_or_held() {
    for hold in [false, true] {
        let mut rig = Rig::new();
        rig.hold = hold;
        let outbox = rig.open().await;
        accept(&outbox, (1..=4).map(|number| simple(number, &["a@example.org"])).collect(), at(0)).await;
        let jobs = outbox.claim(3, at(1)).await.unwrap();
        let ids = |job: &Job| job.recipients.iter().map(|recipient| recipient.id).collect::<Vec<_>>();
        assert!(outbox.in_data(&jobs[1], &ids(&jobs[1])).await.unwrap());
        deliver(&outbox, &jobs[2], at(2)).await;
        outbox.close().await;

        let outbox = rig.open().await;
        // Before the final dot it is queued again in any case; what was never claimed, too.
        let again = outbox.claim(10, at(3)).await.unwrap();
        let names: HashSet<_> = again.iter().map(|job| job.message_id.as_str()).collect();
        let mut wanted = HashSet::from(["m1@bewit.test", "m4@bewit.test"]);
        if !hold {
            wanted.insert("m2@bewit.test");
        }
        assert_eq!(names, wanted, "hold: {hold}");
        assert!(!report(&outbox, &jobs[1], Attempt::Delivered("250".into()), at(3)).await, "a ghost reported");
        outbox.close().await;
        let held =
            number(&rig, "SELECT count(*) FROM recipient WHERE state = 'held' AND reason LIKE '%final dot%'").await;
        assert_eq!(held, i64::from(hold));
        let logged = number(&rig, "SELECT count(*) FROM attempt WHERE outcome IN ('held', 'interrupted')").await;
        assert_eq!(logged, 1);
    }
}

#[tokio::test]
async fn a_claim_that_nobody_took_goes_back() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    // Dropped after 0, 1, 2, … polls: whatever point it had reached, the mail is due again in the end.
    for polls in 0..40 {
        let mut polled = 0;
        let mut claim = Box::pin(outbox.claim(1, at(1)));
        let taken = std::future::poll_fn(|context| {
            if polled == polls {
                return std::task::Poll::Ready(None);
            }
            polled += 1;
            claim.as_mut().poll(context).map(Some)
        })
        .await;
        drop(claim);
        if let Some(jobs) = taken {
            let jobs = jobs.unwrap();
            assert_eq!(jobs.len(), 1, "lost after {polls} polls");
            assert!(report(&outbox, &jobs[0], Attempt::Released(at(0)), at(1)).await);
            continue;
        }
        let waiter = outbox.clone();
        while outbox.next_due().await.unwrap().is_none() {
            waiter.changed().await;
        }
    }
    outbox.close().await;
}

#[tokio::test]
async fn old_claims_can_be_taken_back() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"]), simple(2, &["a@example.org"])], at(0)).await;
    let jobs = outbox.claim(2, at(10)).await.unwrap();
    let recipient = jobs[1].recipients[0].id;
    assert!(outbox.in_data(&jobs[1], &[recipient]).await.unwrap());
    assert_eq!(outbox.expire_claims(at(10)).await.unwrap(), 0);
    assert_eq!(outbox.expire_claims(at(11)).await.unwrap(), 1, "after the final dot it is not taken back");
    let again = outbox.claim(2, at(12)).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(!report(&outbox, &jobs[0], Attempt::Delivered("250".into()), at(13)).await);
    deliver(&outbox, &again[0], at(14)).await;
    outbox.close().await;
}

#[tokio::test]
async fn no_change_is_missed_between_asking_and_waiting() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let waiter = outbox.clone();
    waiter.changed().await; // a new handle's first one
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    accept(&outbox, vec![simple(2, &["a@example.org"])], at(0)).await;
    waiter.changed().await;
    let idle = tokio::time::timeout(Duration::from_millis(50), waiter.changed()).await;
    assert!(idle.is_err(), "woken by nothing");
    let sleeping = tokio::spawn({
        let waiter = waiter.clone();
        async move { waiter.changed().await }
    });
    let job = outbox.claim(1, at(1)).await.unwrap().remove(0);
    assert!(report(&outbox, &job, Attempt::Deferred("451".into()), at(1)).await);
    sleeping.await.unwrap();
    outbox.close().await;
}

#[tokio::test]
async fn what_another_process_changes_is_noticed() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    let waiter = outbox.clone();
    waiter.changed().await;
    // The writer must have looked once before: its first look is at once, the next after 2 s.
    let noticed = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            tamper(&rig, "UPDATE recipient SET next_at = next_at - 1").await;
            if tokio::time::timeout(Duration::from_secs(3), waiter.changed()).await.is_ok() {
                break;
            }
        }
    });
    noticed.await.expect("never noticed");
    outbox.close().await;
}

#[tokio::test]
async fn delayed_mails_have_slots_of_their_own() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let delayed = |number: u32| {
        let mails =
            vec![mail(&format!("a{number}"), &["a@example.org"]), mail(&format!("b{number}"), &["b@example.org"])];
        let mut outcome = outcome("slow", Verdict::Notify, mails);
        outcome.throttle = (Throttle::Delay, Duration::from_secs(60));
        event(number, vec![outcome])
    };
    accept(&outbox, vec![delayed(1), delayed(2), delayed(3)], at(0)).await;
    for (now, wanted) in [(0, 2), (59, 0), (60, 2), (119, 0), (120, 2), (10_000, 0)] {
        let jobs = outbox.claim(10, at(now)).await.unwrap();
        assert_eq!(jobs.len(), wanted, "at {now}");
        for job in &jobs {
            assert_eq!(job.stored, at(now), "giving up counts from the slot");
            deliver(&outbox, job, at(now)).await;
        }
    }
    accept(&outbox, vec![delayed(4)], at(10_000)).await;
    assert_eq!(outbox.claim(10, at(10_000)).await.unwrap().len(), 2);
    outbox.close().await;
}

#[tokio::test]
async fn what_is_dropped_is_recorded() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let limited = |number: u32| {
        let mut outcome = outcome("rare", Verdict::Notify, vec![mail(&format!("m{number}"), &["a@example.org"])]);
        outcome.throttle = (Throttle::Drop, Duration::from_secs(60));
        event(number, vec![outcome])
    };
    accept(&outbox, vec![limited(1), limited(2)], at(0)).await;
    accept(&outbox, vec![limited(3)], at(60)).await;
    assert_eq!(outbox.claim(10, at(60)).await.unwrap().len(), 2);
    let recorded =
        number(&rig, "SELECT count(*) FROM decision WHERE disposition = 'throttled' AND note LIKE '%send_interval%'");
    assert_eq!(recorded.await, 1);
    outbox.close().await;
}

#[tokio::test]
async fn a_stored_mail_that_is_damaged_does_not_block_the_others() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"]), simple(2, &["a@example.org"])], at(0)).await;
    tamper(&rig, "UPDATE content SET segments = x'09' WHERE id = 1").await;
    let jobs = outbox.claim(10, at(1)).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        number(&rig, "SELECT count(*) FROM recipient WHERE state = 'failed' AND reason LIKE '%damaged%'").await,
        1
    );
    outbox.close().await;
}
