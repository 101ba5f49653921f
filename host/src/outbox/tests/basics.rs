//! Taking in, repeats, positions, group commit, the lock, damage.

use std::os::unix::fs::FileExt;

use super::*;

#[tokio::test]
async fn a_mail_goes_from_accept_to_delivered() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let attachment = blob(&outbox, b"rows");
    let mut one = mail("one", &["ana@example.org", "bo@example.org"]);
    one.body = Arc::new(vec![Segment::Bytes(b"text\r\n".to_vec()), Segment::Base64(attachment)]);
    let batch = vec![event(1, vec![outcome("rule", Verdict::Notify, vec![one.clone()])])];
    assert_eq!(accept(&outbox, batch, at(0)).await, [Receipt::Stored]);
    assert_eq!(outbox.next_due().await.unwrap(), Some(at(0)));
    assert!(outbox.claim(10, at(-1)).await.unwrap().is_empty(), "claimed before it is due");
    let jobs = outbox.claim(10, at(1)).await.unwrap();
    assert_eq!(jobs.len(), 1);
    let job = &jobs[0];
    assert_eq!(job.message_id, "one@bewit.test");
    assert_eq!(job.sender, one.sender);
    assert_eq!(job.head, one.head);
    assert_eq!(job.body, one.body);
    assert_eq!(job.size, one.size());
    assert_eq!(job.stored, at(0));
    let addresses: Vec<_> = job.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    assert_eq!(addresses, ["ana@example.org", "bo@example.org"]);
    assert!(outbox.claim(10, at(1)).await.unwrap().is_empty(), "claimed twice");
    assert_eq!(outbox.next_due().await.unwrap(), None);
    deliver(&outbox, job, at(2)).await;
    assert!(!report(&outbox, job, Attempt::Delivered("250".into()), at(3)).await, "reported twice");
    outbox.close().await;
    let outbox = rig.open().await;
    assert!(outbox.claim(10, at(100)).await.unwrap().is_empty(), "sent again");
    outbox.close().await;
}

#[tokio::test]
async fn a_repeat_is_known_and_another_body_is_a_conflict() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let other = || {
        let mut other = simple(1, &["a@example.org"]);
        if let Content::Event { digest, .. } = &mut other.content {
            *digest = "other".into();
        }
        other
    };
    let batch =
        vec![simple(1, &["a@example.org"]), simple(1, &["a@example.org"]), other(), simple(2, &["a@example.org"])];
    assert_eq!(
        accept(&outbox, batch, at(0)).await,
        [Receipt::Stored, Receipt::Duplicate, Receipt::Conflict, Receipt::Stored]
    );
    assert_eq!(
        accept(&outbox, vec![other(), simple(2, &["a@example.org"])], at(1)).await,
        [Receipt::Conflict, Receipt::Duplicate]
    );
    assert_eq!(outbox.claim(10, at(1)).await.unwrap().len(), 2);
    let known = outbox.known(&[key(1), key(2), key(3)]).await.unwrap();
    assert_eq!(known, HashSet::from([key(1), key(2)]));
    assert_eq!(number(&rig, "SELECT count(*) FROM conflict").await, 1);
    assert_eq!(number(&rig, "SELECT conflicts * 10 + duplicates FROM tally").await, 12);
    outbox.close().await;
}

#[tokio::test]
async fn known_takes_keys_exactly() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let many: Vec<_> = (0..450).map(|number| simple(number, &["a@example.org"])).collect();
    accept(&outbox, many, at(0)).await;
    let mut keys: Vec<_> = (0..900).map(key).collect();
    for odd in ["C.1\0", "C.1 ", "c.1", "C.1'"] {
        keys.push(EventKey { client_id: odd.into(), ..key(1) });
    }
    keys.push(EventKey { timestamp: 0, ..key(1) });
    assert_eq!(outbox.known(&keys).await.unwrap(), (0..450).map(key).collect());
    assert!(outbox.known(&[]).await.unwrap().is_empty());
    outbox.close().await;
}

#[tokio::test]
async fn every_decision_and_rejection_is_kept_with_its_reason() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let rejected = Accepted {
        source: "spool x.jsonl".into(),
        content: Content::Rejected { offset: 7, length: 3, digest: "00".into(), reason: "no JSON\0\n".into() },
    };
    let several = event(
        1,
        vec![
            outcome("one", Verdict::Skip, vec![]),
            outcome("two", Verdict::Error, vec![]),
            outcome("three", Verdict::Notify, vec![mail("a", &["a@example.org"]), mail("b", &["b@example.org"])]),
        ],
    );
    let position = Position { source: "spool x.jsonl 42".into(), offset: 99 };
    let receipts = outbox.accept(vec![rejected, several], Some(position), at(0)).await.unwrap();
    assert_eq!(receipts, [Receipt::Stored, Receipt::Stored]);
    assert_eq!(outbox.position("spool x.jsonl 42").await.unwrap(), 99);
    assert_eq!(outbox.position("new").await.unwrap(), 0);
    outbox.forget_position("spool x.jsonl 42").await.unwrap();
    assert_eq!(outbox.position("spool x.jsonl 42").await.unwrap(), 0);
    outbox.close().await;
    assert_eq!(
        number(&rig, "SELECT count(*) FROM decision WHERE disposition IN ('skipped', 'error', 'mailed')").await,
        3
    );
    assert_eq!(number(&rig, "SELECT count(*) FROM rejected WHERE reason = 'no JSON␀' AND offset = 7").await, 1);
}

#[tokio::test]
async fn an_outcome_that_breaks_the_contract_is_refused_whole() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    for bad in [
        outcome("rule", Verdict::Notify, vec![]),
        outcome("rule", Verdict::Skip, vec![mail("x", &["a@example.org"])]),
        outcome("rule", Verdict::Notify, vec![mail("x", &[])]),
    ] {
        let batch = vec![simple(1, &["a@example.org"]), event(2, vec![bad])];
        assert!(matches!(outbox.accept(batch, None, at(0)).await, Err(OutboxError::Io(_))));
    }
    assert!(outbox.known(&[key(1), key(2)]).await.unwrap().is_empty());
    outbox.close().await;
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all_and_its_neighbours_do_not_suffer() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    // The second event's mail has the Message-ID of a stored one.
    let twin = event(11, vec![outcome("rule", Verdict::Notify, vec![mail("m1", &["a@example.org"])])]);
    let bad = outbox.accept(
        vec![simple(10, &["a@example.org"]), twin],
        Some(Position { source: "s".into(), offset: 5 }),
        at(1),
    );
    let good = outbox.accept(vec![simple(20, &["a@example.org"])], None, at(1));
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(OutboxError::Database(_))), "{bad:?}");
    assert_eq!(good.unwrap(), [Receipt::Stored]);
    assert_eq!(outbox.position("s").await.unwrap(), 0);
    assert_eq!(outbox.known(&[key(1), key(10), key(11), key(20)]).await.unwrap(), HashSet::from([key(1), key(20)]));
    outbox.close().await;
}

#[tokio::test]
async fn commands_that_wait_share_commits() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let before = log_frames(&rig);
    let tasks: Vec<_> = (0..256)
        .map(|number| {
            let outbox = outbox.clone();
            tokio::spawn(async move { accept(&outbox, vec![simple(number, &["a@example.org"])], at(0)).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), [Receipt::Stored]);
    }
    let grouped = log_frames(&rig) - before;
    outbox.close().await;

    let rig = Rig::new();
    let outbox = rig.open().await;
    let before = log_frames(&rig);
    for number in 0..256 {
        accept(&outbox, vec![simple(number, &["a@example.org"])], at(0)).await;
    }
    let single = log_frames(&rig) - before;
    outbox.close().await;
    // Each commit writes its pages anew: one by one, 256 commits write the same few pages 256 times.
    assert!(grouped * 5 < single, "{grouped} bytes of log in groups, {single} one by one");
}

/// Bytes of the write-ahead log; it only grows between checkpoints.
fn log_frames(rig: &Rig) -> u64 {
    std::fs::metadata(rig.dir.path().join("bewit.db-wal")).map_or(0, |meta| meta.len())
}

#[tokio::test]
async fn what_was_answered_is_in_the_synced_files() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    // What a power cut leaves: the files as they are now, without the process's memory and its WAL index.
    let copy = Rig::new();
    for name in ["bewit.db", "bewit.db-wal"] {
        std::fs::copy(rig.dir.path().join(name), copy.dir.path().join(name)).unwrap();
    }
    let after = copy.open().await;
    assert_eq!(after.claim(10, at(1)).await.unwrap().len(), 1);
    after.close().await;
    outbox.close().await;
}

#[tokio::test]
async fn one_daemon_at_a_time() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    assert!(matches!(rig.try_open().await, Err(OutboxError::Locked(path)) if path == rig.database()));
    let other = outbox.clone();
    outbox.close().await;
    assert!(matches!(other.accept(vec![], None, at(0)).await, Err(OutboxError::Stopped(_))));
    rig.open().await.close().await;
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    let mode = |name: &str| std::fs::metadata(rig.dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    for (name, wanted) in [
        ("bewit.db", 0o600),
        ("bewit.db-wal", 0o600),
        ("bewit.db-shm", 0o600),
        ("bewit.db.lock", 0o600),
        ("bewit.db.blobs", 0o700),
    ] {
        assert_eq!(mode(name), wanted, "{name}");
    }
    outbox.close().await;
    std::fs::set_permissions(rig.database(), std::fs::Permissions::from_mode(0o644)).unwrap();
    rig.open().await.close().await;
    assert_eq!(mode("bewit.db"), 0o600);
}

#[tokio::test]
async fn what_is_no_sound_outbox_is_refused_with_what_to_do() {
    // Long enough that pages beyond the first are in use.
    let sound = Rig::new();
    let outbox = sound.open().await;
    accept(&outbox, (0..300).map(|number| simple(number, &["a@example.org"])).collect(), at(0)).await;
    outbox.close().await;
    let bytes = std::fs::read(sound.database()).unwrap();
    assert!(bytes.len() > 100_000);
    let mut garbage = bytes.clone();
    garbage[8192..].fill(0x5a);
    let mut header = bytes.clone();
    header[..16].fill(0);
    for (name, damaged) in [
        ("truncated", bytes[..bytes.len() / 2].to_vec()),
        ("truncated to half a header", bytes[..50].to_vec()),
        ("garbage", garbage),
        ("no header", header),
        (
            "text",
            b"this is no database, but a text that is longer than the header of one; surely, a hundred bytes".repeat(3),
        ),
    ] {
        let rig = Rig::new();
        std::fs::write(rig.database(), &damaged).unwrap();
        let Err(OutboxError::Unusable { path, reason }) = rig.try_open().await else { panic!("{name} was opened") };
        assert_eq!(path, rig.database());
        assert!(reason.contains("damaged") && reason.contains("backup"), "{name}: {reason}");
        assert_eq!(std::fs::read(rig.database()).unwrap(), damaged, "{name} was changed");
    }
}

#[tokio::test]
async fn newer_schemas_and_other_programs_are_refused() {
    let rig = Rig::new();
    rig.open().await.close().await;
    tamper(&rig, "PRAGMA user_version = 99").await;
    let error = rig.try_open().await.unwrap_err();
    assert!(matches!(&error, OutboxError::Unusable { reason, .. } if reason.contains("newer")), "{error}");
    let rig = Rig::new();
    std::fs::File::create(rig.database()).unwrap();
    tamper(&rig, "CREATE TABLE theirs (x)").await;
    let error = rig.try_open().await.unwrap_err();
    assert!(matches!(&error, OutboxError::Unusable { reason, .. } if reason.contains("another program")), "{error}");
    let rig = Rig::new();
    std::fs::create_dir(rig.database()).unwrap();
    assert!(matches!(rig.try_open().await, Err(OutboxError::Unusable { .. })));
}

#[tokio::test]
async fn below_min_free_nothing_new_is_taken_but_what_is_there_goes_on() {
    let mut rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    outbox.close().await;
    rig.config.min_free = u64::MAX;
    let outbox = rig.open().await;
    assert!(matches!(outbox.check_space(), Err(OutboxError::Full { .. })));
    let refused = outbox.accept(vec![simple(2, &["a@example.org"])], None, at(0)).await;
    assert!(matches!(refused, Err(OutboxError::Full { .. })));
    let jobs = outbox.claim(10, at(1)).await.unwrap();
    deliver(&outbox, &jobs[0], at(2)).await;
    outbox.close().await;
}

#[tokio::test]
async fn a_storage_failure_stops_the_outbox_for_good() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    let waiter = outbox.clone();
    waiter.changed().await;
    // The pages on disk are made worthless under the running process, which must read them again since another one
    // has written.
    tamper(&rig, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let database = std::fs::File::options().write(true).open(rig.database()).unwrap();
    for page in 1..database.metadata().unwrap().len() / 8192 {
        database.write_all_at(&[0xff; 8192], page * 8192).unwrap();
    }
    tamper(&rig, "PRAGMA user_version = 1").await;
    let first = outbox.accept(vec![simple(2, &["a@example.org"])], None, at(0)).await;
    assert!(matches!(first, Err(OutboxError::Stopped(_))), "{first:?}");
    let second = outbox.accept(vec![simple(900, &["a@example.org"])], None, at(0)).await;
    assert!(matches!(second, Err(OutboxError::Stopped(_))), "tried again: {second:?}");
    assert!(matches!(outbox.claim(1, at(0)).await, Err(OutboxError::Stopped(_))));
    waiter.changed().await;
    // Its lock is kept as long as somebody may still be delivering.
    assert!(matches!(rig.try_open().await, Err(OutboxError::Locked(_))));
}
