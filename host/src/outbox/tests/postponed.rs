//! Judgements that a plugin has put off: none is lost, none is made twice.

use super::hand::{Action, Handled, Target, act};
use super::look::Reader;
use super::*;

async fn judgements(rig: &Rig) -> Vec<Postponed> {
    let mut all = Vec::new();
    let mut reader = Reader::open(&rig.database()).await.unwrap().unwrap();
    let each = |line| -> Result<(), OutboxError> {
        all.push(line);
        Ok(())
    };
    reader.postponed((true, true), None, each).await.unwrap();
    all
}

async fn by_hand(rig: &Rig, action: Action, id: i64, now: Timestamp) -> Handled {
    act(&rig.database(), action, &[Target::Postponed(id)], now).await.unwrap().unwrap().remove(0)
}

fn decided(outcome: Outcome) -> Judged {
    Judged::Decided(Box::new(outcome))
}

#[tokio::test]
async fn a_judgement_waits_through_restarts_and_then_does_what_taking_in_does() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let file = ("rows.jsonl".to_owned(), blob(&outbox, b"{\"k\":1}\n"));
    let other = outcome("other", Verdict::Notify, vec![mail("o", &["o@example.org"])]);
    let batch = vec![held(1, vec![other], vec![file.clone()], vec![put_off("rule", true), put_off("third", true)])];
    assert_eq!(accept(&outbox, batch, at(0)).await, [Receipt::Stored]);
    let census = outbox.census().await.unwrap();
    assert_eq!((census.postponed, census.unjudged, census.mails), (2, 0, 1));
    // The same line again is a repeat, whatever became of it.
    let again = held(1, vec![], vec![], vec![put_off("rule", true)]);
    assert_eq!(accept(&outbox, vec![again], at(1)).await, [Receipt::Duplicate]);
    assert!(outbox.due_judgement(at(20)).await.unwrap().is_none(), "the first wait is 30 s, 20 % less at the least");
    sound(&rig).await;
    outbox.close().await;

    let outbox = rig.open().await;
    let job = outbox.due_judgement(at(37)).await.unwrap().unwrap();
    assert_eq!((job.event.as_str(), job.attempts, &job.line[..]), ("root/C.1/F.1", 1, &b"line 1"[..]));
    assert_eq!(job.files, [file]);
    let done = outcome(&job.rule, Verdict::Notify, vec![mail("m", &["a@example.org", "b@example.org"])]);
    assert_eq!(outbox.settle(&job, decided(done.clone()), at(37)).await.unwrap(), Settled::Decided);
    assert_eq!(outbox.settle(&job, decided(done), at(37)).await.unwrap(), Settled::Gone, "once");
    sound(&rig).await;
    let last = outbox.due_judgement(at(37)).await.unwrap().unwrap();
    assert_ne!(last.rule, job.rule);
    let skipped = outcome(&last.rule, Verdict::Skip, vec![]);
    assert_eq!(outbox.settle(&last, decided(skipped), at(38)).await.unwrap(), Settled::Decided);
    assert!(outbox.due_judgement(Timestamp::MAX).await.unwrap().is_none());
    let sums = sound(&rig).await.sums;
    assert_eq!((sums.accepted, sums.grouped, sums.postponed, sums.mails), (1, 1, 0, 2));
    assert_eq!(number(&rig, "SELECT (SELECT count(*) FROM line) + (SELECT count(*) FROM line_blob)").await, 0);
    let jobs = outbox.claim(10, at(38)).await.unwrap();
    assert_eq!(jobs.len(), 2);
    outbox.close().await;
}

#[tokio::test]
async fn send_interval_holds_for_late_judgements_too() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![gathering(1, &["a@example.org"], vec![])], at(0)).await;
    accept(&outbox, vec![held(2, vec![], vec![], vec![put_off("digest", true)])], at(1)).await;
    let job = outbox.due_judgement(at(40)).await.unwrap().unwrap();
    let Content::Event { mut outcomes, .. } = gathering(2, &["a@example.org"], vec![]).content else { panic!() };
    assert_eq!(outbox.settle(&job, decided(outcomes.remove(0)), at(40)).await.unwrap(), Settled::Decided);
    assert_eq!(outbox.due_digests(at(60), false).await.unwrap()[0].items.len(), 1);
    sound(&rig).await;
    outbox.close().await;
}

#[tokio::test]
async fn it_is_given_up_after_eight_attempts_and_can_be_retried_by_hand() {
    let mut rig = Rig::new();
    rig.retry.give_up = Duration::from_secs(86_400);
    let outbox = rig.open().await;
    accept(&outbox, vec![held(1, vec![], vec![], vec![put_off("rule", true)])], at(0)).await;
    let mut now = at(0);
    for attempt in 1..ATTEMPTS {
        let [waiting] = &judgements(&rig).await[..] else { panic!() };
        assert_eq!((waiting.attempts, waiting.state()), (attempt, "postponed"));
        let next = waiting.next.unwrap();
        let wait = next.duration_since(now).as_secs_f64();
        let wanted = if attempt == 1 { 30.0 } else { 120.0 };
        assert!(wait > wanted * 0.79 && wait < wanted * 1.21, "{wait} after attempt {attempt}");
        now = next;
        let job = outbox.due_judgement(now).await.unwrap().unwrap();
        let settled = outbox.settle(&job, Judged::PutOff(put_off("rule", true)), now).await.unwrap();
        assert_eq!(settled, if attempt + 1 == ATTEMPTS { Settled::GivenUp } else { Settled::Waits });
    }
    assert!(outbox.due_judgement(Timestamp::MAX).await.unwrap().is_none());
    let sums = sound(&rig).await.sums;
    assert_eq!((sums.accepted, sums.quarantined, sums.postponed), (1, 1, 0));
    let [dead] = &judgements(&rig).await[..] else { panic!() };
    assert_eq!((dead.id(), dead.state(), dead.next, dead.attempts), ("p1".to_owned(), "failed", None, 8));
    let decision = Reader::open(&rig.database()).await.unwrap().unwrap().judgement(1).await.unwrap().unwrap();
    assert_eq!(decision.outcome, "error");
    let reason = "given up after 8 attempts; the last: the filter `ioc` gave no answer: timed out";
    assert_eq!((decision.reason.as_str(), decision.trace.len()), (reason, 1));

    assert!(matches!(by_hand(&rig, Action::Cancel, 1, now).await, Handled::Refused(_)), "it has ended");
    let handled = by_hand(&rig, Action::Retry, 1, now).await;
    assert_eq!(handled, Handled::Done(vec!["root/C.1/F.1, rule rule".to_owned()]));
    let sums = sound(&rig).await.sums;
    assert_eq!((sums.quarantined, sums.postponed), (0, 1));
    let job = outbox.due_judgement(now).await.unwrap().unwrap();
    assert_eq!((job.attempts, &job.line[..]), (0, &b"line 1"[..]));
    let done = outcome("rule", Verdict::Notify, vec![mail("m", &["a@example.org"])]);
    assert_eq!(outbox.settle(&job, decided(done), now).await.unwrap(), Settled::Decided);
    assert!(matches!(by_hand(&rig, Action::Retry, 1, now).await, Handled::Refused(_)), "it is decided");
    assert_eq!(sound(&rig).await.sums.grouped, 1);
    outbox.close().await;
}

#[tokio::test]
async fn age_and_a_rejection_give_it_up_sooner() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let rules = vec![put_off("rule", true), put_off("never", false)];
    accept(&outbox, vec![held(1, vec![], vec![], rules)], at(0)).await;
    let states: Vec<_> = judgements(&rig).await.iter().map(|line| (line.rule.clone(), line.state())).collect();
    assert_eq!(states, [("rule".to_owned(), "postponed"), ("never".to_owned(), "failed")]);
    let sums = sound(&rig).await.sums;
    assert_eq!((sums.quarantined, sums.postponed), (0, 1), "one rule may still mail it");
    let job = outbox.due_judgement(at(3600)).await.unwrap().unwrap();
    let settled = outbox.settle(&job, Judged::PutOff(put_off("rule", true)), at(3600)).await.unwrap();
    assert_eq!(settled, Settled::GivenUp, "`give_up` is an hour");
    let census = outbox.census().await.unwrap();
    assert_eq!((census.postponed, census.unjudged), (0, 2));
    assert_eq!(sound(&rig).await.sums.quarantined, 1);
    outbox.close().await;
}

#[tokio::test]
async fn what_is_cancelled_or_retried_meanwhile_is_not_judged_twice() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let batch = (1..=2).map(|number| held(number, vec![], vec![], vec![put_off("rule", true)])).collect();
    accept(&outbox, batch, at(0)).await;
    let done = || decided(outcome("rule", Verdict::Notify, vec![mail("m", &["a@example.org"])]));
    let job = outbox.due_judgement(at(60)).await.unwrap().unwrap();
    assert!(matches!(by_hand(&rig, Action::Cancel, job.id, at(60)).await, Handled::Done(_)));
    assert_eq!(outbox.settle(&job, done(), at(60)).await.unwrap(), Settled::Gone);
    let event = Reader::open(&rig.database()).await.unwrap().unwrap().event(&job.event).await.unwrap();
    assert_eq!(event[0].outcome, "skipped");
    assert!(event[0].reason.starts_with("cancelled by hand; the filter `ioc`"), "{}", event[0].reason);
    let job = outbox.due_judgement(at(60)).await.unwrap().unwrap();
    assert!(matches!(by_hand(&rig, Action::Retry, job.id, at(61)).await, Handled::Done(_)));
    assert_eq!(outbox.settle(&job, done(), at(61)).await.unwrap(), Settled::Gone);
    let job = outbox.due_judgement(at(61)).await.unwrap().unwrap();
    assert_eq!(job.attempts, 0);
    assert_eq!(outbox.settle(&job, done(), at(61)).await.unwrap(), Settled::Decided);
    assert!(matches!(by_hand(&rig, Action::Retry, 99, at(61)).await, Handled::Refused(_)));
    let sums = sound(&rig).await.sums;
    assert_eq!((sums.accepted, sums.filtered, sums.grouped), (2, 1, 1));
    outbox.close().await;
}

#[tokio::test]
async fn retention_removes_what_was_given_up_and_never_what_waits() {
    const DAY: i64 = 86_400;
    let mut rig = Rig::new();
    rig.config.retention = Duration::from_secs(86_400);
    let outbox = rig.open().await;
    let files = |bytes: &[u8]| vec![("rows.jsonl".to_owned(), blob(&outbox, bytes))];
    let batch = vec![
        held(1, vec![], files(b"one"), vec![put_off("rule", true)]),
        held(2, vec![], files(b"two"), vec![put_off("rule", false)]),
    ];
    accept(&outbox, batch, at(0)).await;
    let past = std::time::SystemTime::now() - Duration::from_secs(4000);
    for entry in std::fs::read_dir(outbox.blobs().dir()).unwrap() {
        std::fs::File::open(entry.unwrap().path()).unwrap().set_modified(past).unwrap();
    }
    assert_eq!(outbox.sweep(at(DAY - 1)).await.unwrap(), 0);
    assert_eq!(sound(&rig).await.sums.blobs, 2);
    assert_eq!(outbox.sweep(at(20 * DAY)).await.unwrap(), 2, "an event and its file");
    let sums = sound(&rig).await.sums;
    assert_eq!((sums.accepted, sums.postponed, sums.blobs, sums.keys), (1, 1, 1, 1));
    let job = outbox.due_judgement(at(20 * DAY)).await.unwrap().unwrap();
    assert_eq!(std::io::read_to_string(outbox.blobs().read(&job.files[0].1).unwrap()).unwrap(), "one");
    outbox.close().await;
}

#[tokio::test]
async fn tampering_is_found() {
    for (statement, word) in [
        ("DELETE FROM postponed WHERE id = 1", "not as many decisions"),
        ("DELETE FROM postponed", "no rule is to judge it"),
        ("UPDATE postponed SET next_at = NULL WHERE id = 1", "it was given up, and there is no error"),
        ("UPDATE postponed SET next_at = 1 WHERE id = 2", "it waits, and there is a decision"),
        ("UPDATE postponed SET trace = '['", "judgement p1: its trace is no JSON"),
        ("DELETE FROM line", "one that is not there"),
        ("UPDATE line SET line = x'00'", "not the one that came"),
        ("UPDATE line_blob SET size = 4", "of the line of event 1"),
        ("DELETE FROM decision", "not as many decisions"),
    ] {
        let rig = Rig::new();
        let outbox = rig.open().await;
        let file = ("rows.jsonl".to_owned(), blob(&outbox, b"one"));
        let rules = vec![put_off("rule", true), put_off("never", false)];
        accept(&outbox, vec![held(1, vec![], vec![file], rules)], at(0)).await;
        outbox.close().await;
        sound(&rig).await;
        tamper(&rig, statement).await;
        let report = verify::verify(&rig.database(), true).await.unwrap().unwrap();
        assert!(report.broken.iter().any(|broken| broken.contains(word)), "{statement}: {:?}", report.broken);
    }
}

#[tokio::test]
async fn an_outbox_of_the_first_schema_is_brought_up_with_what_is_in_it() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    accept(&outbox, vec![simple(1, &["a@example.org"])], at(0)).await;
    outbox.close().await;
    tamper(
        &rig,
        "DROP TABLE postponed; DROP TABLE line_blob; DROP TABLE line; DROP TABLE document; DROP TABLE artifact;
         DROP INDEX event_client; DROP INDEX event_flow; DROP INDEX decision_rule; DROP INDEX decision_verdict;
         DROP INDEX mail_rule; DROP INDEX recipient_address; DROP INDEX recipient_state; DROP INDEX recipient_due;
         ALTER TABLE recipient DROP COLUMN priority; ALTER TABLE gathered DROP COLUMN priority;
         CREATE INDEX recipient_due ON recipient (next_at, mail) WHERE next_at IS NOT NULL; PRAGMA user_version = 1",
    )
    .await;
    let error = Reader::open(&rig.database()).await.unwrap_err().to_string();
    assert!(error.contains("has schema 1, this program needs 5"), "{error}");
    let outbox = rig.open().await;
    accept(&outbox, vec![held(2, vec![], vec![], vec![put_off("rule", true)])], at(1)).await;
    assert_eq!(outbox.claim(10, at(1)).await.unwrap().len(), 1);
    assert_eq!(sound(&rig).await.sums.accepted, 2);
    outbox.close().await;
}

#[tokio::test]
async fn a_line_without_a_judgement_is_refused() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let error = outbox.accept(vec![held(1, vec![], vec![], vec![])], None, at(0)).await.unwrap_err();
    assert!(matches!(error, OutboxError::Io(_)), "{error}");
    outbox.close().await;
}

#[tokio::test]
async fn attempts_that_do_not_count_end_only_with_give_up() {
    let mut rig = Rig::new();
    rig.retry.give_up = Duration::from_secs(86_400);
    let outbox = rig.open().await;
    let uncounted = || PutOff { counts: false, ..put_off("rule", true) };
    accept(&outbox, vec![held(1, vec![], vec![], vec![uncounted()])], at(0)).await;
    let mut now = at(0);
    let settle = async |put_off: PutOff, now: &mut Timestamp| {
        *now = judgements(&rig).await[0].next.unwrap();
        let job = outbox.due_judgements(*now, 8).await.unwrap().remove(0);
        outbox.settle(&job, Judged::PutOff(put_off), *now).await.unwrap()
    };
    for _ in 0..20 {
        assert_eq!(settle(uncounted(), &mut now).await, Settled::Waits);
    }
    assert_eq!(judgements(&rig).await[0].attempts, 21);
    // Of those that count there are as many as ever.
    for attempt in 1..=ATTEMPTS {
        let settled = settle(put_off("rule", true), &mut now).await;
        assert_eq!(settled, if attempt == ATTEMPTS { Settled::GivenUp } else { Settled::Waits }, "{attempt}");
    }
    // By hand it begins anew, and age ends it.
    by_hand(&rig, Action::Retry, 1, now).await;
    assert_eq!(settle(uncounted(), &mut now).await, Settled::Waits);
    let job = outbox.due_judgement(Timestamp::MAX).await.unwrap().unwrap();
    let late = now.checked_add(Duration::from_secs(90_000)).unwrap();
    assert_eq!(outbox.settle(&job, Judged::PutOff(uncounted()), late).await.unwrap(), Settled::GivenUp);
    sound(&rig).await;
    outbox.close().await;
}
