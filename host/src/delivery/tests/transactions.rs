//! One mail at a time: outcomes by recipient, refusals in each place, lost connections, doubt.

use std::sync::Arc;
use std::time::Duration;

use super::super::worker;
use super::super::{Summary, Until};
use super::support::{Act, Memory, Pipes, Server, State, config, retry, say};
use crate::config::{OnAmbiguous, SmtpConfig};

async fn drain(queue: &Memory, config: SmtpConfig, server: &Pipes) -> Summary {
    worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained).await.unwrap()
}

/// One mail to one recipient, against a script.
async fn one(script: impl Fn(&super::support::Moment<'_>) -> Option<Act> + Send + Sync + 'static) -> (State, Pipes) {
    let (queue, server) = (Memory::new(), Server::new(script).start());
    queue.add(&["ana@example.org"]);
    drain(&queue, config(), &server).await;
    (queue.states().remove(0), server)
}

/// The kind of an address and what becomes of it.
fn scripted(line: &str) -> Option<Act> {
    match line.strip_prefix("RCPT TO:<")?.split('-').next()? {
        "later" => Some(say("450 4.2.1 later")),
        "never" => Some(say("550 5.1.1 never")),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn each_recipient_has_an_outcome_of_their_own() {
    // 500 mails with three recipients each, by a fixed random sequence; half of the servers do not pipeline.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for offers in [&["PIPELINING"][..], &["8BITMIME"][..]] {
        let queue = Memory::new();
        let mut addresses = Vec::new();
        for mail in 0..250 {
            let to: Vec<String> = (0..3)
                .map(|at| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    format!("{}-{mail}-{at}@example.org", ["taken", "taken", "later", "never"][(seed % 4) as usize])
                })
                .collect();
            queue.add(&to.iter().map(String::as_str).collect::<Vec<_>>());
            addresses.extend(to);
        }
        let server = Server::new(|moment| match moment.heard {
            super::support::Heard::Line(line) => scripted(line),
            _ => None,
        })
        .offering(offers)
        .start();
        let summary = drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await;
        assert_eq!(summary.delivered + summary.deferred + summary.failed, 750);
        for row in queue.rows() {
            let kind = row.address.split('-').next().unwrap();
            match (&row.state, kind) {
                (State::Delivered(reply), "taken") => assert_eq!(reply, "250 2.0.0 queued"),
                (State::Deferred(reason), "later") => assert_eq!(reason, "RCPT: the server answered 450 4.2.1 later"),
                (State::Failed(reason), "never") => assert_eq!(reason, "RCPT: the server answered 550 5.1.1 never"),
                other => panic!("{}: {other:?}", row.address),
            }
        }
        let mut taken: Vec<String> = server.taken().into_iter().flat_map(|taken| taken.to).collect();
        taken.sort();
        let mut expected: Vec<String> = addresses.into_iter().filter(|to| to.starts_with("taken")).collect();
        expected.sort();
        assert_eq!(taken, expected, "everybody once");
        assert_eq!(server.dialled(), 1, "refusals in order leave the session usable");
    }
}

#[tokio::test(start_paused = true)]
async fn data_for_nobody_is_ended_by_an_empty_mail() {
    // All recipients are refused, and still the server says 354 to the DATA that came along.
    let queue = Memory::new();
    queue.add(&["never-1@example.org", "never-2@example.org"]);
    queue.add(&["ana@example.org"]);
    let server = Server::new(|moment| match moment.heard {
        super::support::Heard::Line(line) => scripted(line),
        super::support::Heard::Mail(mail) if mail.is_empty() => Some(say("554 5.5.1 no valid recipients")),
        _ => None,
    })
    .start();
    let summary = drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await;
    assert_eq!((summary.delivered, summary.failed), (1, 2));
    assert_eq!((server.taken().len(), server.dialled()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_each_place() {
    for offers in [&["PIPELINING"][..], &["8BITMIME"][..]] {
        for (word, reply, delivered, expected) in [
            ("MAIL", "550 5.7.1 not you", false, "MAIL: the server answered 550 5.7.1 not you"),
            ("MAIL", "451 4.3.0 later", false, "MAIL: the server answered 451 4.3.0 later"),
            ("DATA", "554 5.5.1 no", false, "DATA: the server answered 554 5.5.1 no"),
            ("DATA", "451 4.3.0 later", false, "DATA: the server answered 451 4.3.0 later"),
            ("dot", "554 5.6.0 no", false, "the final dot: the server answered 554 5.6.0 no"),
            (
                "dot",
                "552 5.3.4 too big",
                false,
                "the mail is too large: the final dot: the server answered 552 5.3.4 too big",
            ),
            ("MAIL", "552 too big", false, "the mail is too large: MAIL: the server answered 552 too big"),
            ("dot", "452 4.3.1 full", false, "the final dot: the server answered 452 4.3.1 full"),
            ("dot", "299 odd but fine", true, "299 odd but fine"),
        ] {
            // The first mail meets the refusal, the second one shows that the session is still in step.
            let refused = std::sync::atomic::AtomicBool::new(false);
            let server = Server::new(move |moment| {
                let here = if word == "dot" { moment.is_mail() } else { moment.is(word) };
                (here && !refused.swap(true, std::sync::atomic::Ordering::SeqCst)).then(|| say(reply))
            })
            .offering(offers)
            .start();
            let queue = Memory::new();
            queue.add(&["ana@example.org"]);
            queue.add(&["bob@example.org"]);
            drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await;
            let states = queue.states();
            match &states[0] {
                State::Delivered(text) => assert!(delivered && text == expected, "{text}"),
                State::Failed(text) => assert!(!delivered && reply.starts_with('5') && text == expected, "{text}"),
                State::Deferred(text) => assert!(!delivered && reply.starts_with('4') && text == expected, "{text}"),
                other => panic!("{word} {reply}: {other:?}"),
            }
            assert_eq!(states[1], State::Delivered("250 2.0.0 queued".to_owned()), "{word} {reply}");
            assert_eq!(server.dialled(), 1, "{word} {reply}");
            let bob = server.taken().into_iter().find(|taken| taken.to == ["bob@example.org"]).unwrap();
            assert!(bob.mail.starts_with(b"Message-ID: <m2@"), "{word} {reply}: no desync");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_out_of_place_is_no_answer() {
    for (word, reply) in [
        ("MAIL", "354 go"),
        ("RCPT", "354 go"),
        ("DATA", "250 ok"),
        ("DATA", "220 hello"),
        ("MAIL", "what"),
        ("RCPT", "99 bottles"),
        ("DATA", "354-go\r\n250 on"),
    ] {
        let (state, server) = one(move |moment| moment.is(word).then(|| say(reply))).await;
        assert!(matches!(state, State::Deferred(_)), "{word} {reply}: {state:?}");
        assert!(server.taken().is_empty(), "{word} {reply}: no mail was sent");
    }
}

#[tokio::test(start_paused = true)]
async fn doubt_is_resent_or_held() {
    type Doubt = (&'static str, fn() -> Act);
    let doubts: [Doubt; 6] = [
        ("closed", || Act::Close),
        ("silent", || Act::Hang),
        ("354", || say("354 go on")),
        ("garbage", || say("ok")),
        ("endless", || Act::Flood("250-and so on\r\n")),
        ("NUL", || say("250\0ok")),
    ];
    for (what, act) in doubts {
        for on_ambiguous in [OnAmbiguous::Resend, OnAmbiguous::Hold] {
            let server = Server::new(move |moment| moment.is_mail().then(act)).start();
            let queue = Memory::new();
            queue.add(&["ana@example.org"]);
            drain(&queue, SmtpConfig { on_ambiguous, ..config() }, &server).await;
            match (&queue.states()[0], on_ambiguous) {
                (State::Deferred(reason), OnAmbiguous::Resend) => {
                    assert!(reason.contains("may arrive twice"), "{reason}");
                }
                (State::Held(reason), OnAmbiguous::Hold) => assert!(reason.contains("may have arrived"), "{reason}"),
                other => panic!("{what}: {other:?}"),
            }
            assert_eq!(server.dialled(), 1, "{what}: not sent again in the same run");
        }
    }
    // 421 is an answer: the server does not have the mail.
    let queue = Memory::new();
    queue.add(&["ana@example.org"]);
    let server =
        Server::new(|moment| moment.is_mail().then(|| Act::SayAndClose("421 4.3.2 closing".to_owned()))).start();
    drain(&queue, SmtpConfig { on_ambiguous: OnAmbiguous::Hold, ..config() }, &server).await;
    assert_eq!(queue.states()[0], State::Deferred("the final dot: the server answered 421 4.3.2 closing".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_reused_session_that_broke_is_no_attempt() {
    let ways: [fn() -> Act; 3] = [|| Act::Close, || Act::SayAndClose("421 4.4.2 idle".to_owned()), || say("garbage")];
    for word in ["MAIL", "RCPT", "DATA"] {
        for way in ways {
            let server =
                Server::new(move |moment| (moment.connection == 0 && moment.taken == 1 && moment.is(word)).then(way))
                    .start();
            let queue = Memory::new();
            queue.add(&["ana@example.org"]);
            queue.add(&["bob@example.org"]);
            let summary = drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await;
            assert_eq!(summary, Summary { delivered: 2, ..Summary::default() }, "{word}");
            assert_eq!(server.dialled(), 2, "{word}");
            assert!(queue.rows().iter().all(|row| row.attempts == 0));
        }
    }
    // Once: a new session that breaks as well is an attempt.
    let server = Server::new(|moment| (moment.taken == 1 && moment.is("MAIL")).then_some(Act::Close)).start();
    let queue = Memory::new();
    queue.add(&["ana@example.org"]);
    queue.add(&["bob@example.org"]);
    let summary = drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await;
    assert_eq!((summary.delivered, summary.deferred, server.dialled()), (1, 1, 2));
    // And never behind the final dot.
    let server = Server::new(|moment| (moment.taken == 1 && moment.is_mail()).then_some(Act::Close)).start();
    let queue = Memory::new();
    queue.add(&["ana@example.org"]);
    queue.add(&["bob@example.org"]);
    let summary = drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await;
    assert_eq!((summary.delivered, summary.deferred, server.dialled()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closed_a_kept_session_is_noticed() {
    // It says 421 twenty seconds after each mail, while the session is parked.
    let server = Server::new(|moment| {
        moment.is_mail().then(|| Act::Drip("250 ok\r\n421 4.4.2 idle".to_owned(), Duration::from_millis(100)))
    })
    .start();
    let queue = Memory::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let run =
        tokio::spawn(worker::run(queue.clone(), Arc::new(config()), server.clone(), retry(), Until::Stopped(stopped)));
    for turn in 1..=3 {
        queue.add(&["ana@example.org"]);
        queue.until("the mail", Duration::from_secs(20), |queue| queue.delivered() == turn).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!((server.dialled(), server.count("MAIL")), (3, 3), "no MAIL into a session that had ended");
    stop.send(true).unwrap();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_is_not_sent() {
    // SIZE, 8-bit bytes, addresses beyond ASCII, bytes that are no mail.
    let server = Server::polite().offering(&["PIPELINING", "SIZE 200"]).start();
    let queue = Memory::new();
    queue.add_mail(&["ana@example.org"], &b"0123456789\r\n".repeat(20));
    queue.add_mail(&["ana@example.org"], "\u{e4}\r\n".as_bytes());
    queue.add_mail(&["j\u{f6}rg@example.net", "bob@example.org"], b"text\r\n");
    for stain in [&b"a\nb\r\n"[..], b"a\rb\r\n", b"a\0b\r\n", &[b"x".repeat(999), b"\r\n".to_vec()].concat()] {
        queue.add_mail(&["ana@example.org"], stain);
    }
    queue.add_mail(&["x@example.org> NOTIFY=NEVER"], b"text\r\n");
    let summary = drain(&queue, config(), &server).await;
    assert_eq!((summary.delivered, summary.failed, summary.deferred), (1, 8, 0));
    let reasons: Vec<String> = queue
        .states()
        .into_iter()
        .filter_map(|state| match state {
            State::Failed(reason) => Some(reason),
            _ => None,
        })
        .collect();
    for (reason, word) in reasons.iter().zip([
        "SIZE",
        "8BITMIME",
        "SMTPUTF8",
        "LF without CR",
        "CR without LF",
        "NUL",
        "998",
        "cannot stand",
    ]) {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    assert_eq!((server.count("MAIL"), server.count("RCPT")), (1, 1), "{:?}", server.lines());
    assert_eq!(server.taken()[0].to, ["bob@example.org"]);
}

#[tokio::test(start_paused = true)]
async fn extensions_are_used_where_they_are_needed() {
    let server = Server::polite().offering(&["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8"]).start();
    let queue = Memory::new();
    queue.add_mail(&["ana@example.org"], b"text\r\n");
    queue.add_mail(&["ana@example.org"], "\u{e4}\r\n".as_bytes());
    queue.add_mail(&["j\u{f6}rg@example.net"], b"text\r\n");
    assert_eq!(drain(&queue, SmtpConfig { connections: 1, ..config() }, &server).await.delivered, 3);
    let from: Vec<String> = server.taken().into_iter().map(|taken| taken.from).collect();
    assert!(!from[0].contains("BODY") && !from[0].contains("UTF8"), "{from:?}");
    assert!(from[1].contains(" BODY=8BITMIME") && !from[1].contains("UTF8"), "{from:?}");
    assert!(from[2].ends_with(" SMTPUTF8") && !from[2].contains("BODY"), "{from:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_with_recipients_enough_gets_the_others_next() {
    let queue = Memory::new();
    let to: Vec<String> = (0..250).map(|at| format!("r{at}@example.org")).collect();
    queue.add(&to.iter().map(String::as_str).collect::<Vec<_>>());
    // It takes forty at a time, in the words of RFC 5321 or in the old ones.
    let in_turn = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::new(move |moment| {
        use std::sync::atomic::Ordering::SeqCst;
        if moment.is("MAIL") {
            in_turn.store(0, SeqCst);
        }
        (moment.is("RCPT") && in_turn.fetch_add(1, SeqCst) >= 40).then(|| {
            say(if moment.taken % 2 == 0 { "452 4.5.3 too many recipients" } else { "552 too many recipients" })
        })
    })
    .start();
    let summary = drain(&queue, config(), &server).await;
    assert_eq!(summary, Summary { delivered: 250, ..Summary::default() });
    let mut taken: Vec<String> = server.taken().into_iter().flat_map(|taken| taken.to).collect();
    taken.sort();
    taken.dedup();
    assert_eq!((taken.len(), server.taken().len(), server.dialled()), (250, 7, 1));
}

#[tokio::test]
async fn a_server_that_refuses_in_the_middle_is_heard() {
    // It answers and closes while a mail of some megabytes is on its way through a narrow pipe.
    for (reply, failed) in [("552 5.3.4 that is enough", true), ("451 4.3.0 not now", false)] {
        let server =
            Server::new(move |moment| moment.is("DATA").then(|| Act::SayAndClose(format!("354 go\r\n{reply}"))))
                .narrow(512)
                .start();
        let queue = Memory::new();
        queue.add_mail(&["ana@example.org"], &b"0123456789\r\n".repeat(200_000));
        drain(&queue, config(), &server).await;
        match &queue.states()[0] {
            State::Failed(reason) => assert!(failed && reason.contains(reply), "{reason}"),
            State::Deferred(reason) => assert!(!failed && reason.contains(reply), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
