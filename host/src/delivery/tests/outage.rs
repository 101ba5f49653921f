//! A server that is away, that refuses everything, that bears few sessions; and its return.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::{Summary, Until, worker};
use super::support::{Act, Memory, Pipes, Server, State, config, retry, say};
use crate::config::{RetryPolicy, SmtpConfig};
use crate::outbox::OutboxError;

type Run = JoinHandle<Result<Summary, OutboxError>>;

pub(super) fn daemon(
    queue: &Memory,
    config: SmtpConfig,
    server: &Pipes,
    retry: RetryPolicy,
) -> (watch::Sender<bool>, Run) {
    let (stop, stopped) = watch::channel(false);
    let run = worker::run(queue.clone(), Arc::new(config), server.clone(), retry, Until::Stopped(stopped));
    (stop, tokio::spawn(run))
}

pub(super) async fn end(stop: watch::Sender<bool>, run: Run) -> Summary {
    stop.send(true).unwrap();
    run.await.unwrap().unwrap()
}

/// A server that is away as long as the switch says so.
fn switched(away: &Arc<AtomicBool>, how: fn() -> Act) -> Pipes {
    let away = Arc::clone(away);
    Server::new(move |moment| (away.load(Ordering::SeqCst) && moment.is_greeting()).then(how)).start()
}

#[tokio::test(start_paused = true)]
async fn an_hour_away_costs_few_looks_and_the_queue_moves_at_once_after() {
    let ways: [fn() -> Act; 3] = [|| Act::Refuse, || Act::SayAndClose("421 4.3.2 later".to_owned()), || Act::Close];
    for (way, mails) in ways.into_iter().zip([10_000, 300, 3]) {
        let away = Arc::new(AtomicBool::new(true));
        let (queue, server) = (Memory::new(), switched(&away, way));
        queue.add_many(mails);
        let (stop, run) = daemon(&queue, config(), &server, retry());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let looks = server.dialled();
        assert!((40..=70).contains(&looks), "{looks} looks in an hour");
        assert_eq!(queue.number(|state| !matches!(state, State::Queued | State::Deferred(_))), 0);
        away.store(false, Ordering::SeqCst);
        let back = Instant::now();
        queue.until("the queue", Duration::from_secs(300), |queue| queue.delivered() == mails).await;
        assert!(back.elapsed() < Duration::from_secs(120), "{:?}", back.elapsed());
        assert_eq!(server.taken().len(), mails);
        end(stop, run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_failure_counts_and_says_why() {
    let server = Server::new(|_| Some(Act::Refuse)).start();
    let queue = Memory::new();
    queue.add_many(3);
    let run = worker::run(queue.clone(), Arc::new(config()), server.clone(), retry(), Until::Drained);
    assert_eq!(run.await.unwrap(), Summary { deferred: 3, ..Summary::default() });
    let rows = queue.rows();
    assert_eq!(rows[0].attempts, 1);
    assert!(matches!(&rows[0].state, State::Deferred(reason) if reason.contains("connection refused")), "{rows:?}");
    // The others were not tried.
    assert!(rows.iter().skip(1).all(|row| row.attempts == 0 && row.state == State::Queued), "{rows:?}");
    assert_eq!(server.dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_leaves_what_a_server_that_is_away_cannot_take() {
    let server = Server::new(|_| Some(Act::Refuse)).start();
    let queue = Memory::new();
    queue.add_many(500);
    let run = worker::run(queue.clone(), Arc::new(config()), server.clone(), retry(), Until::Drained);
    assert_eq!(run.await.unwrap(), Summary { deferred: 500, ..Summary::default() });
    assert_eq!(server.dialled(), 1);
    assert_eq!(queue.number(|state| matches!(state, State::Queued | State::Deferred(_))), 500);
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_give_up_ends_in_dead_letters() {
    for way in [|| Act::Refuse, || say("554 5.7.1 go away")] {
        let server = Server::new(move |moment| moment.is_greeting().then(way)).start();
        let retry = RetryPolicy { give_up: Duration::from_secs(7200), ..retry() };
        let queue = Memory::new().with_retry(retry.clone());
        queue.add_many(200);
        let (stop, run) = daemon(&queue, config(), &server, retry);
        tokio::time::sleep(Duration::from_secs(7000)).await;
        assert_eq!(queue.number(|state| matches!(state, State::Failed(_))), 0);
        // At most one more wait of the list, and its jitter.
        tokio::time::sleep(Duration::from_secs(200 + 2 * 4320)).await;
        assert_eq!(queue.number(|state| matches!(state, State::Failed(_))), 200);
        end(stop, run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_everything_buries_twenty() {
    for (word, connections) in [("RCPT", 1), ("RCPT", 4), ("MAIL", 4), ("DATA", 4), ("dot", 4)] {
        let server = Server::new(move |moment| {
            let here = if word == "dot" { moment.is_mail() } else { moment.is(word) };
            here.then(|| say("550 5.7.1 nothing from you"))
        })
        .start();
        let queue = Memory::new();
        queue.add_many(500);
        let (stop, run) = daemon(&queue, SmtpConfig { connections, ..config() }, &server, retry());
        tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
        end(stop, run).await;
        let dead = queue.number(|state| matches!(state, State::Failed(_)));
        assert!((1..=20).contains(&dead), "{word}: {dead} dead");
        assert_eq!(queue.number(|state| *state == State::Queued), 500 - dead, "{word}");
        assert!(server.count("MAIL") < 60, "{word}: {} mails tried", server.count("MAIL"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_to_its_senses_gets_the_rest() {
    let mad = Arc::new(AtomicBool::new(true));
    let script = Arc::clone(&mad);
    let server =
        Server::new(move |moment| (script.load(Ordering::SeqCst) && moment.is("RCPT")).then(|| say("550 no"))).start();
    let queue = Memory::new();
    queue.add_many(100);
    let (stop, run) = daemon(&queue, config(), &server, retry());
    tokio::time::sleep(Duration::from_secs(10)).await;
    mad.store(false, Ordering::SeqCst);
    queue.until("the rest", Duration::from_secs(200), |queue| queue.delivered() == 80).await;
    end(stop, run).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_bears_few_sessions_gets_few() {
    let open = Arc::new(AtomicUsize::new(0));
    let script = Arc::clone(&open);
    // The third session at a time is turned away.
    let server = Server::new(move |moment| match () {
        () if moment.is_greeting() && moment.connection >= 2 => {
            Some(Act::SayAndClose("421 4.7.0 too many connections".to_owned()))
        }
        () if moment.is_mail() => {
            script.fetch_add(1, Ordering::SeqCst);
            Some(Act::After(Duration::from_millis(200), Box::new(say("250 ok"))))
        }
        () => None,
    })
    .start();
    let queue = Memory::new();
    queue.add_many(120);
    let config = SmtpConfig { connections: 8, ..config() };
    let run = worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained);
    assert_eq!(run.await.unwrap(), Summary { delivered: 120, ..Summary::default() });
    assert!(queue.rows().iter().all(|row| row.attempts == 0), "nobody was put off");
    assert!(server.dialled() <= 8, "{} sessions asked for", server.dialled());
    assert_eq!(open.load(Ordering::SeqCst), 120);
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_breaks_connections_holds_up_nobody() {
    let server = Server::new(|moment| {
        matches!(moment.heard, super::support::Heard::Line(line) if line.contains("poison")).then_some(Act::Close)
    })
    .start();
    let queue = Memory::new();
    for mail in 0..100 {
        queue.add(&[if mail % 10 == 0 { "poison@example.org" } else { "ana@example.org" }]);
    }
    let run = worker::run(queue.clone(), Arc::new(config()), server.clone(), retry(), Until::Drained);
    let summary = run.await.unwrap();
    assert_eq!((summary.delivered, summary.deferred), (90, 10));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_every_dialogue_is_not_hammered() {
    for word in ["MAIL", "dot"] {
        let server = Server::new(move |moment| {
            let here = if word == "dot" { moment.is_mail() } else { moment.is(word) };
            here.then_some(Act::Close)
        })
        .start();
        let queue = Memory::new();
        queue.add_many(1000);
        let (stop, run) = daemon(&queue, config(), &server, retry());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(server.dialled() <= 75, "{word}: {} sessions in an hour", server.dialled());
        end(stop, run).await;
    }
}
