//! A server that enforces limits, limits of ours, and who goes first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Summary, Until, worker};
use super::outage::{daemon, end};
use super::support::{Act, Heard, Memory, Pipes, Server, State, config, retry, say};
use crate::config::{Limits, Rate, SmtpConfig};
use crate::rule::Priority;

const MINUTE: Duration = Duration::from_secs(60);

/// What a strict server has seen: sessions open, and mails of the last minute, by when; what it refused, by when.
#[derive(Default)]
struct Seen {
    open: Vec<usize>,
    mails: VecDeque<Instant>,
    asked: Vec<Instant>,
    refused: Vec<Instant>,
}

/// Three sessions, and thirty mails in any minute; what is more is answered like this.
fn strict(seen: &Arc<Mutex<Seen>>, answer: &'static str) -> Pipes {
    let seen = Arc::clone(seen);
    Server::new(move |moment| {
        let (mut seen, now) = (seen.lock().unwrap(), Instant::now());
        while seen.mails.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
            seen.mails.pop_front();
        }
        if moment.is_greeting() && !seen.open.contains(&moment.connection) {
            if seen.open.len() == 3 {
                seen.refused.push(now);
                seen.asked.push(now);
                return Some(Act::SayAndClose("421 4.7.0 too many connections".to_owned()));
            }
            // Asked for again when the dialogue begins.
            seen.open.push(moment.connection);
            return None;
        }
        if moment.is("QUIT") {
            seen.open.retain(|open| *open != moment.connection);
        }
        if moment.is("MAIL") {
            seen.asked.push(now);
            if seen.mails.len() >= 30 {
                seen.refused.push(now);
                if answer.starts_with("421") {
                    seen.open.retain(|open| *open != moment.connection);
                    return Some(Act::SayAndClose(answer.to_owned()));
                }
                return Some(say(answer));
            }
            seen.mails.push_back(now);
        }
        None
    })
    .start()
}

#[tokio::test(start_paused = true)]
async fn a_server_with_limits_takes_everything_and_hardly_refuses() {
    let rate = Rate { count: 30, per: MINUTE };
    for (config, answer, within) in [
        // Told of its limits.
        (SmtpConfig { connections: 3, rate: Some(rate), ..config() }, "450 4.7.1 too much mail", 23),
        // Not told.
        (config(), "450 4.7.1 too much mail from you", 45),
        (config(), "432 4.3.2 concurrent connections limit exceeded", 45),
        (config(), "421 4.7.28 unusual rate", 45),
    ] {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (told, server) = (config.rate.is_some(), strict(&seen, answer));
        let queue = Memory::new();
        queue.add_many(600);
        let start = Instant::now();
        let (stop, run) = daemon(&queue, config, &server, retry());
        queue.until("all", MINUTE * within, |queue| queue.delivered() == 600).await;
        end(stop, run).await;
        let seen = seen.lock().unwrap();
        let late = |times: &[Instant]| times.iter().filter(|at| at.duration_since(start) > MINUTE).count();
        let (asked, refused) = (late(&seen.asked), late(&seen.refused));
        assert!(refused * 50 <= asked, "{answer}: {refused} of {asked} refused");
        assert!(!told || seen.refused.is_empty(), "{answer}: {} refused", seen.refused.len());
        assert!(queue.rows().iter().all(|row| row.attempts == 0), "an attempt was counted");
        assert_eq!(server.taken().len(), 600);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_pace_and_leaves_nothing() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    for (rate, answer) in [(Some(Rate { count: 60, per: MINUTE }), "450 4.7.1"), (None, "450 4.7.1 too much")] {
        let queue = Memory::new();
        queue.add_many(100);
        let config = SmtpConfig { rate, ..config() };
        let server = if rate.is_some() { Server::polite().start() } else { strict(&seen, answer) };
        let begun = Instant::now();
        let run = worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained);
        assert_eq!(run.await.unwrap(), Summary { delivered: 100, ..Summary::default() });
        assert!(begun.elapsed() > Duration::from_secs(90), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_alone_is_said_to_be_too_much_is_put_off_and_holds_up_nobody() {
    let server = Server::new(|moment| {
        matches!(moment.heard, Heard::Line(line) if line.contains("greedy")).then(|| say("450 4.7.28 too much"))
    })
    .start();
    let queue = Memory::new();
    queue.add(&["greedy@example.org"]);
    queue.add_many(100);
    let (stop, run) = daemon(&queue, config(), &server, retry());
    queue.until("the others", MINUTE * 30, |queue| queue.delivered() == 100).await;
    let put_off = |queue: &Memory| {
        let greedy = &queue.rows()[0];
        greedy.attempts > 0 && matches!(&greedy.state, State::Deferred(reason) if reason.contains("too much"))
    };
    queue.until("the greedy", MINUTE * 5, put_off).await;
    end(stop, run).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_only_ever_wants_less_is_probed() {
    let server = Server::new(|moment| moment.is("MAIL").then(|| say("451 4.3.2 not now"))).start();
    let queue = Memory::new();
    queue.add_many(1_000);
    let (stop, run) = daemon(&queue, config(), &server, retry());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(server.count("MAIL") <= 90, "{} mails tried in an hour", server.count("MAIL"));
    assert_eq!(queue.number(|state| !matches!(state, State::Queued | State::Deferred(_))), 0);
    end(stop, run).await;
}

#[tokio::test(start_paused = true)]
async fn a_recipient_over_the_limit_waits_and_others_do_not() {
    let (queue, server) = (Memory::new(), Server::polite().start());
    for _ in 0..1_000 {
        queue.add(&["ana@example.org"]);
    }
    for mail in 0..50 {
        queue.add(&[&format!("{mail}@example.org")]);
    }
    let limits = Limits { recipient: Some(Rate { count: 20, per: MINUTE }), ..Limits::default() };
    let (stop, run) = daemon(&queue, SmtpConfig { limits, ..config() }, &server, retry());
    queue.until("the others", Duration::from_secs(5), |queue| queue.delivered() == 70).await;
    let waiting =
        queue.rows().iter().filter(|row| row.reason.as_ref().is_some_and(|why| why.contains("20/min"))).count();
    assert_eq!(waiting, 980);
    let claims = queue.claims();
    queue.until("the rest", MINUTE * 51, |queue| queue.delivered() == 1_050).await;
    assert!(queue.claims() - claims < 2_000, "{} claims", queue.claims() - claims);
    // In their order, and never more than twenty in a minute.
    let to_ana: Vec<Vec<u8>> =
        server.taken().into_iter().filter(|mail| mail.to == ["ana@example.org"]).map(|mail| mail.mail).collect();
    assert_eq!(to_ana.len(), 1_000);
    end(stop, run).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_leaves_what_is_over_a_limit() {
    let (queue, server) = (Memory::new(), Server::polite().start());
    queue.add_many(100);
    let limits = Limits { domain: Some(Rate { count: 30, per: MINUTE * 60 }), ..Limits::default() };
    let config = SmtpConfig { limits, ..config() };
    let run = worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained);
    assert_eq!(run.await.unwrap(), Summary { delivered: 30, deferred: 70, ..Summary::default() });
    assert!(queue.rows().iter().all(|row| row.attempts == 0));
}

#[tokio::test(start_paused = true)]
async fn an_outage_uses_up_no_limit() {
    let away = Arc::new(AtomicBool::new(true));
    let script = Arc::clone(&away);
    let server =
        Server::new(move |moment| (script.load(Ordering::SeqCst) && moment.is_greeting()).then_some(Act::Refuse))
            .start();
    let queue = Memory::new();
    queue.add_many(10);
    let limits = Limits { recipient: Some(Rate { count: 10, per: MINUTE * 600 }), ..Limits::default() };
    let (stop, run) = daemon(&queue, SmtpConfig { limits, ..config() }, &server, retry());
    tokio::time::sleep(Duration::from_secs(1800)).await;
    away.store(false, Ordering::SeqCst);
    queue.until("all", MINUTE * 3, |queue| queue.delivered() == 10).await;
    end(stop, run).await;
}

/// A server on which every mail takes so long.
fn slow(takes: Duration) -> Pipes {
    Server::new(move |moment| moment.is_mail().then(|| Act::After(takes, Box::new(say("250 ok"))))).start()
}

#[tokio::test(start_paused = true)]
async fn critical_mails_pass_the_queue_and_find_a_session() {
    let queue = Memory::new();
    queue.add_many(2_000);
    for _ in 0..2_000 {
        queue.add_urgent(Priority::Bulk, &["all@example.org"], b"text\r\n");
    }
    let server = slow(Duration::from_secs(3));
    let (stop, run) = daemon(&queue, SmtpConfig { reserve: true, ..config() }, &server, retry());
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(7_300)).await;
        let before = queue.rows().len();
        queue.add_urgent(Priority::Critical, &["on-call@example.org"], b"text\r\n");
        let begun = Instant::now();
        let sent = |queue: &Memory| matches!(queue.rows()[before].state, State::Delivered(_));
        queue.until("the critical one", Duration::from_secs(5), sent).await;
        // Its own three seconds, and a glance at the queue.
        assert!(begun.elapsed() < Duration::from_millis(3_300), "{:?}", begun.elapsed());
    }
    // Meanwhile bulk has its small share.
    let bulk = server.taken().iter().filter(|mail| mail.to == ["all@example.org"]).count();
    assert!(bulk > 0);
    end(stop, run).await;
}

#[tokio::test(start_paused = true)]
async fn critical_mails_pass_where_there_is_one_session_or_a_slow_pace() {
    let second = Rate { count: 60, per: MINUTE };
    for config in [
        SmtpConfig { connections: 1, reserve: true, ..config() },
        SmtpConfig { rate: Some(second), reserve: true, ..config() },
    ] {
        let queue = Memory::new();
        queue.add_many(20_000);
        let server = slow(Duration::from_millis(50));
        let (stop, run) = daemon(&queue, config, &server, retry());
        tokio::time::sleep(Duration::from_secs(20)).await;
        for _ in 0..3 {
            let before = queue.rows().len();
            queue.add_urgent(Priority::Critical, &["on-call@example.org"], b"text\r\n");
            let sent = |queue: &Memory| matches!(queue.rows()[before].state, State::Delivered(_));
            queue.until("the critical one", Duration::from_secs(3), sent).await;
        }
        assert!(queue.delivered() < 5_000, "noise was still there");
        end(stop, run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bulk_does_not_starve() {
    let queue = Memory::new();
    let server = slow(Duration::from_millis(100));
    let stored = Arc::new(AtomicUsize::new(0));
    queue.add_urgent(Priority::Bulk, &["all@example.org"], b"text\r\n");
    let (stop, run) = daemon(&queue, SmtpConfig { connections: 1, reserve: true, ..config() }, &server, retry());
    // Always more of the others than can go.
    let feeder = {
        let (queue, stored) = (queue.clone(), Arc::clone(&stored));
        tokio::spawn(async move {
            loop {
                queue.add_many(2);
                queue.add_urgent(Priority::Critical, &["on-call@example.org"], b"text\r\n");
                stored.fetch_add(3, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        })
    };
    let bulk = |queue: &Memory| matches!(queue.rows()[0].state, State::Delivered(_));
    queue.until("the bulk mail", Duration::from_secs(10), bulk).await;
    assert!(stored.load(Ordering::SeqCst) > queue.delivered() - 1, "there was more than could go");
    feeder.abort();
    end(stop, run).await;
}
