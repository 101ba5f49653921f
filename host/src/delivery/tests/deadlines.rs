//! No hang, ever: each phase against a server that is silent, drips, or never ends, under a paused clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Until;
use super::super::classify::Phase;
use super::super::worker;
use super::login::{credentials, secret};
use super::support::{Act, Certificate, Memory, Moment, Server, State, config, retry, say};
use crate::config::{Mechanism, SmtpConfig, Timeouts, TlsMode};

/// Deadlines that tell which one it was.
fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(11),
        greeting: Duration::from_secs(23),
        command: Duration::from_secs(37),
        data: Duration::from_secs(53),
        final_: Duration::from_secs(71),
    }
}

fn is_here(moment: &Moment<'_>, phase: Phase) -> bool {
    match phase {
        Phase::Greeting => moment.is_greeting(),
        Phase::Ehlo => moment.is("EHLO"),
        Phase::StartTls => moment.is("STARTTLS"),
        Phase::Auth => moment.is("AUTH"),
        Phase::Mail => moment.is("MAIL"),
        Phase::Rcpt => moment.is("RCPT"),
        Phase::Data => moment.is("DATA"),
        Phase::Final => moment.is_mail(),
        Phase::Reset => moment.is("RSET"),
        Phase::Quit => moment.is("QUIT"),
        _ => false,
    }
}

fn limit(phase: Phase) -> u64 {
    match phase {
        Phase::Greeting => 23,
        Phase::Final => 71,
        Phase::Quit => 5,
        _ => 37,
    }
}

#[tokio::test(start_paused = true)]
async fn every_phase_ends_by_its_own_deadline() {
    type Way = (&'static str, fn(Phase) -> Act, bool);
    let ways: [Way; 4] = [
        ("silent", |_| Act::Hang, true),
        ("one byte a second", |_| Act::Drip("2".repeat(900), Duration::from_secs(1)), true),
        ("an endless line", |_| Act::Flood("250 and on and on "), false),
        ("an endless reply", |_| Act::Flood("250-again\r\n"), false),
    ];
    let phases = [
        Phase::Greeting,
        Phase::Ehlo,
        Phase::StartTls,
        Phase::Auth,
        Phase::Mail,
        Phase::Rcpt,
        Phase::Data,
        Phase::Final,
        Phase::Reset,
        Phase::Quit,
    ];
    let certificate = Certificate::new("mx.example.org");
    let password = secret("pass");
    for phase in phases {
        for (what, act, timed) in ways {
            let with_tls = matches!(phase, Phase::StartTls | Phase::Auth);
            let mut server = Server::new(move |moment| match () {
                () if is_here(moment, phase) => Some(act(phase)),
                () if moment.is("AUTH") => Some(say("235 ok")),
                // A refused recipient is what RSET is for.
                () if phase == Phase::Reset && moment.is("RCPT") => Some(say("550 no")),
                () => None,
            })
            .offering(if phase == Phase::Reset { &["8BITMIME"] } else { &["PIPELINING"] });
            let mut config = SmtpConfig { timeouts: timeouts(), connections: 1, ..config() };
            if with_tls {
                server = server.tls(false, &certificate).offering(&["STARTTLS", "AUTH PLAIN"]);
                config.tls = TlsMode::StartTls;
                config.root_ca = Some(certificate.ca.path().to_owned());
                config.credentials = Some(credentials(Mechanism::Plain, &password));
            }
            let server = server.start();
            let queue = Memory::new();
            queue.add(&["ana@example.org"]);
            let begun = Instant::now();
            worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained).await.unwrap();
            let took = begun.elapsed();
            if timed {
                assert_eq!(took.as_secs(), limit(phase), "{phase}, {what}");
            } else {
                assert!(took < Duration::from_secs(6), "{phase}, {what}: {took:?}");
            }
            match (phase, &queue.states()[0]) {
                (Phase::Quit, State::Delivered(_)) | (Phase::Reset, State::Failed(_)) => {}
                (Phase::Quit | Phase::Reset, other) => panic!("{phase}, {what}: {other:?}"),
                // A login that hangs is the login's trouble: the mail waits, and no attempt is counted.
                (Phase::Auth, state) => assert_eq!(*state, State::Queued, "{what}"),
                (_, State::Deferred(reason)) => assert!(!reason.is_empty()),
                (_, other) => panic!("{phase}, {what}: {other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_ends_by_the_connect_deadline() {
    for tls in [TlsMode::Implicit, TlsMode::StartTls] {
        // It promises TLS and then says nothing; or is no TLS server at all.
        let server = Server::new(move |moment| match () {
            () if tls == TlsMode::Implicit => Some(Act::Hang),
            () if moment.is("STARTTLS") => Some(Act::Drip("220 go\r\n".to_owned() + &"\0".repeat(9), Duration::ZERO)),
            () if moment.is_greeting() || moment.is("EHLO") => None,
            () => Some(Act::Hang),
        })
        .offering(&["STARTTLS"])
        .start();
        let certificate = Certificate::new("mx.example.org");
        let config =
            SmtpConfig { timeouts: timeouts(), tls, root_ca: Some(certificate.ca.path().to_owned()), ..config() };
        let queue = Memory::new();
        queue.add(&["ana@example.org"]);
        let begun = Instant::now();
        worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained).await.unwrap();
        assert!(begun.elapsed() <= Duration::from_secs(12), "{tls:?} {:?}", begun.elapsed());
        assert!(server.taken().is_empty());
        assert!(matches!(queue.states()[0], State::Deferred(_) | State::Queued));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_reading_is_left() {
    // The pipe is full and stays so: the mail's block is not taken within `data`.
    let server = Server::new(|moment| {
        moment.is("DATA").then(|| {
            Act::After(
                Duration::ZERO,
                Box::new(Act::Drip("354 go\r\n".to_owned() + &"2".repeat(600), Duration::from_secs(1))),
            )
        })
    })
    .narrow(64)
    .offering(&["8BITMIME"])
    .start();
    let queue = Memory::new();
    queue.add_mail(&["ana@example.org"], &b"0123456789\r\n".repeat(2_000));
    let config = SmtpConfig { timeouts: timeouts(), ..config() };
    let begun = Instant::now();
    worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained).await.unwrap();
    let took = begun.elapsed().as_secs();
    assert!((53..=53 + 20).contains(&took), "{took}");
    assert!(matches!(queue.states()[0], State::Deferred(_)));
}
