//! The way it should go: sessions reused, mails whole, one session where one is allowed, clean stops.

use std::sync::Arc;
use std::time::Duration;

use super::super::worker;
use super::super::{Summary, Until};
use super::support::{Act, Memory, Pipes, Server, State, config, retry, say};
use crate::config::{OnAmbiguous, SmtpConfig};

async fn drain(queue: &Memory, config: SmtpConfig, server: &Pipes) -> Summary {
    worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn many_mails_take_few_sessions() {
    for connections in [1, 4] {
        let (queue, server) = (Memory::new(), Server::polite().start());
        queue.add_many(100);
        let summary = drain(&queue, SmtpConfig { connections, ..config() }, &server).await;
        assert_eq!(summary, Summary { delivered: 100, ..Summary::default() });
        assert_eq!((queue.delivered(), server.taken().len()), (100, 100));
        assert!(server.dialled() <= connections, "{} sessions", server.dialled());
        assert_eq!(server.count("QUIT"), server.dialled());
        assert!(queue.states().contains(&State::Delivered("250 2.0.0 queued".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn one_connection_is_one_session_at_a_time() {
    // Each second mail breaks its session; QUIT is slow.
    let server = Server::new(|moment| match moment.taken {
        _ if moment.is("QUIT") => Some(Act::After(Duration::from_secs(3), Box::new(say("221 bye")))),
        taken if taken % 2 == 1 && moment.is("MAIL") && moment.connection <= taken / 2 => Some(Act::Close),
        _ => None,
    })
    .start();
    let queue = Memory::new();
    queue.add_many(30);
    let summary = drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await;
    assert_eq!(summary.delivered, 30);
    assert_eq!(server.0.peak.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn pipelined_and_not_the_mail_is_the_same() {
    let mut seen = Vec::new();
    for offers in [&["PIPELINING", "SIZE"][..], &["SIZE"][..]] {
        let (queue, server) = (Memory::new(), Server::polite().offering(offers).start());
        queue.add_mail(&["ana@example.org", "bob@example.org"], b".dot\r\n..\r\ntext\r\n");
        assert_eq!(drain(&queue, config(), &server).await.delivered, 2);
        seen.push((server.taken(), server.lines()));
    }
    assert_eq!(seen[0], seen[1]);
    let (taken, lines) = &seen[0];
    assert_eq!(taken[0].to, ["ana@example.org", "bob@example.org"]);
    assert!(taken[0].mail.ends_with(b"\r\n\r\n.dot\r\n..\r\ntext\r\n"));
    let expected = [
        "EHLO client.example.org",
        "MAIL FROM:<bewit@example.org> SIZE=",
        "RCPT TO:<ana@",
        "RCPT TO:<bob@",
        "DATA",
        "QUIT",
    ];
    assert!(lines.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{lines:?}");
    assert_eq!(lines.len(), expected.len());
}

#[tokio::test(start_paused = true)]
async fn envelope_and_mail_are_one_write_each() {
    // EHLO, envelope, mail, QUIT, and the end: five looks at the pipe, whatever the number of recipients.
    let (queue, server) = (Memory::new(), Server::polite().start());
    queue.add(&["a@example.org", "b@example.org", "c@example.org"]);
    drain(&queue, config(), &server).await;
    let writes = server.0.writes.load(std::sync::atomic::Ordering::SeqCst);
    assert!(writes <= 5, "{writes}");
}

#[tokio::test]
async fn a_large_mail_is_streamed_whole() {
    let line = b"0123456789 .dots. ..\r\n.leading\r\n";
    let body = line.repeat(6_000);
    let (queue, server) = (Memory::new(), Server::polite().narrow(1024).start());
    queue.add_mail(&["ana@example.org"], &body);
    assert_eq!(drain(&queue, config(), &server).await.delivered, 1);
    assert!(server.taken()[0].mail.ends_with(&body));
}

#[tokio::test(start_paused = true)]
async fn replies_in_pieces_are_replies() {
    let server = Server::new(|moment| {
        let drip = |text: &str| Some(Act::Drip(text.to_owned(), Duration::from_millis(1)));
        match () {
            () if moment.is_greeting() => drip("220-mx\r\n220 ready"),
            () if moment.is("EHLO") => drip("250-mx\r\n250-PIPELINING\r\n250 SIZE"),
            () if moment.is("MAIL") || moment.is("RCPT") => drip("250-2.1.0 this\r\n250 2.1.0 and that"),
            () if moment.is_mail() => drip("250 2.0.0 queued as \u{e4}"),
            () => None,
        }
    })
    .start();
    let queue = Memory::new();
    queue.add_many(5);
    assert_eq!(drain(&queue, config(), &server).await.delivered, 5);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_closed_and_a_new_one_made() {
    let (queue, server) = (Memory::new(), Server::polite().start());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let run =
        tokio::spawn(worker::run(queue.clone(), Arc::new(config()), server.clone(), retry(), Until::Stopped(stopped)));
    queue.add(&["ana@example.org"]);
    queue.until("the first", Duration::from_secs(5), |queue| queue.delivered() == 1).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    queue.add(&["ana@example.org"]);
    queue.until("the second", Duration::from_secs(5), |queue| queue.delivered() == 2).await;
    assert_eq!((server.dialled(), server.count("QUIT")), (1, 0), "kept for less than 30 s");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(server.count("QUIT"), 1);
    queue.add(&["ana@example.org"]);
    queue.until("the third", Duration::from_secs(5), |queue| queue.delivered() == 3).await;
    assert_eq!(server.dialled(), 2);
    stop.send(true).unwrap();
    assert_eq!(run.await.unwrap().unwrap().delivered, 3);
    assert_eq!(server.count("QUIT"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_open_and_gives_the_rest_back() {
    let server = Server::new(|moment| {
        moment.is_mail().then(|| Act::After(Duration::from_secs(10), Box::new(say("250 2.0.0 at last"))))
    })
    .start();
    let queue = Memory::new();
    queue.add_many(20);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let config = SmtpConfig { connections: 2, ..config() };
    let run =
        tokio::spawn(worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Stopped(stopped)));
    queue
        .until("two at the dot", Duration::from_secs(5), |queue| queue.number(|state| *state == State::InData) == 2)
        .await;
    stop.send(true).unwrap();
    assert_eq!(run.await.unwrap().unwrap().delivered, 2);
    assert_eq!((queue.delivered(), queue.number(|state| *state == State::Queued)), (2, 18));
    assert!(queue.rows().iter().all(|row| row.attempts == 0));
    assert_eq!((server.taken().len(), server.count("QUIT")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stop_cuts_off_what_hangs_after_thirty_seconds() {
    for (phase, on_ambiguous) in [
        ("MAIL", OnAmbiguous::Resend),
        ("dot", OnAmbiguous::Resend),
        ("dot", OnAmbiguous::Hold),
        ("greeting", OnAmbiguous::Hold),
    ] {
        let server = Server::new(move |moment| {
            let hangs = match phase {
                "dot" => moment.is_mail(),
                "greeting" => moment.is_greeting(),
                word => moment.is(word),
            };
            hangs.then_some(Act::Hang)
        })
        .start();
        let queue = Memory::new();
        queue.add(&["ana@example.org"]);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let config = SmtpConfig { on_ambiguous, ..config() };
        let run = tokio::spawn(worker::run(
            queue.clone(),
            Arc::new(config),
            server.clone(),
            retry(),
            Until::Stopped(stopped),
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = tokio::time::Instant::now();
        stop.send(true).unwrap();
        run.await.unwrap().unwrap();
        let expected = if phase == "greeting" { 0 } else { 30 };
        assert_eq!(begun.elapsed().as_secs(), expected, "{phase}");
        match (&queue.states()[0], phase, on_ambiguous) {
            (State::Queued, "MAIL" | "greeting", _) => assert_eq!(queue.rows()[0].attempts, 0),
            (State::Deferred(reason), "dot", OnAmbiguous::Resend) => assert!(reason.contains("twice"), "{reason}"),
            (State::Held(_), "dot", OnAmbiguous::Hold) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_overtaken_sends_nothing() {
    let (queue, server) = (Memory::new(), Server::polite().start());
    let first = queue.add(&["ana@example.org"]);
    queue.add(&["bob@example.org"]);
    queue.steal(first);
    let summary = drain(&queue, config(), &server).await;
    assert_eq!(summary.delivered, 1);
    assert_eq!(server.taken().len(), 1);
    assert_eq!(server.taken()[0].to, ["bob@example.org"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_knows_helo_alone_is_served() {
    for (refusal, helo) in [("500 what", true), ("502 5.5.1 no", true), ("550 not you", false), ("504 no", false)] {
        let server = Server::new(move |moment| match () {
            () if moment.is("EHLO") => Some(say(refusal)),
            () if moment.is("HELO") => Some(say("250 mx PIPELINING")),
            () => None,
        })
        .start();
        let queue = Memory::new();
        queue.add(&["ana@example.org"]);
        let summary = drain(&queue, config(), &server).await;
        assert_eq!((summary.delivered, server.count("HELO")), if helo { (1, 1) } else { (0, 0) }, "{refusal}");
    }
}
