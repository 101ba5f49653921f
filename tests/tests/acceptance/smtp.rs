//! Conversations with mail servers of all tempers, in clear: what each answer, or none, does to a mail.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acceptance::env::Queued;
use acceptance::event::{event, many};
use acceptance::sink::Certificate;
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, budget, wait_until};
use serde_json::json;

/// Runs jobs on a few threads: most of their time is waiting.
fn side_by_side<T: Sync>(jobs: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(job)));
                    if let Err(panic) = done {
                        let text = panic.downcast_ref::<String>().cloned();
                        failures.lock().unwrap().push(text.unwrap_or_else(|| "a panic".to_owned()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), jobs.len(), failures.join("\n=====\n"));
}

/// What may become of a mail after an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// The server has it.
    Delivered,
    /// It is tried again, and then delivered.
    Again,
    /// Dead-lettered with the server's words.
    Dead,
}

#[test]
fn every_answer_has_its_class() {
    use Fate::{Again, Dead, Delivered};
    let table: &[(Phase, &[&str], Fate)] = &[
        (
            Phase::Greeting,
            &["421 4.3.2 not now", "450 later", "521 no mail here", "550 go away", "554 no SMTP service"],
            Again,
        ),
        (Phase::Greeting, &["HTTP/1.1 400 Bad Request", "hello", "250 hello", "999 what"], Again),
        (Phase::Greeting, &["220-several\r\n220 lines"], Delivered),
        (
            Phase::Ehlo,
            &["421 busy", "451 later", "500 what", "501 syntax", "502 no", "504 no", "550 you are not wanted"],
            Again,
        ),
        (Phase::Mail, &["421 4.3.2 closing", "450 4.1.8 later", "451 4.3.0 local error", "452 4.3.1 no room"], Again),
        (Phase::Mail, &["530 5.7.0 authentication required", "354 go on", "220 what"], Again),
        (Phase::Mail, &["550 5.7.1 sender refused", "553 5.1.7 bad sender", "501 5.1.7 syntax", "554 5.7.1 no"], Dead),
        (Phase::Rcpt, &["421 closing", "450 4.2.1 mailbox busy", "451 4.7.1 greylisted", "452 4.5.3 too many"], Again),
        (
            Phase::Rcpt,
            &["550 5.1.1 no such user", "551 5.1.6 moved", "553 5.1.3 no address", "554 5.7.1 refused"],
            Dead,
        ),
        (Phase::Rcpt, &["251 will forward", "252 cannot verify"], Delivered),
        (Phase::Data, &["421 closing", "451 4.3.0 later", "450 no", "250 ok?"], Again),
        (Phase::Data, &["550 5.7.1 no", "554 5.5.1 transaction failed"], Dead),
        (Phase::Dot, &["421 closing", "450 4.2.0 later", "451 4.3.0 later", "452 4.3.1 no room"], Again),
        (
            Phase::Dot,
            &["550 5.7.1 content refused", "554 5.6.0 refused", "552 5.3.4 too big", "571 5.7.1 blocked"],
            Dead,
        ),
        (Phase::Dot, &["354 go on?", "what?", "2", "25", "250\u{0}ok"], Again),
        (Phase::Dot, &["250-several\r\n250-lines\r\n250 in all", "250 ", "299 unknown success"], Delivered),
    ];
    let jobs: Vec<(Phase, &str, Fate)> =
        table.iter().flat_map(|(phase, answers, fate)| answers.iter().map(|answer| (*phase, *answer, *fate))).collect();
    side_by_side(&jobs, |&(phase, answer, fate)| {
        let env = TestEnv::new();
        let sink = SmtpSink::decent().first(1, phase, Action::reply(answer)).start();
        env.config(&Site::smtp(sink.port()).timeouts("5 s"));
        env.drop_events("a.jsonl", &[event(1)]);
        let said = env.once();
        let shown = format!("{phase:?} {answer:?}: {}\n{}\n{}", env.state(), sink.dialogues(), said.report());
        match fate {
            Fate::Delivered => {
                assert_eq!(said.status.code(), Some(0), "{shown}");
                assert_eq!((env.state().as_str(), sink.count()), ("delivered", 1), "{shown}");
            }
            Fate::Again => {
                // It may already have been tried again, but it is not dead.
                assert!(["queued", "deferred", "delivered"].contains(&env.state().as_str()), "{shown}");
                env.until_delivered();
            }
            Fate::Dead => {
                assert_eq!(said.status.code(), Some(1), "{shown}");
                assert_eq!((env.state().as_str(), sink.count()), ("failed", 0), "{shown}");
                let id = env.recipients()[0].id.clone();
                let record = env.bewit(["outbox", "show", &id]).run().expect(0);
                record.check(record.out().contains(answer.get(4..).unwrap()), "the server's words are kept");
                // A dead letter stays dead.
                env.once();
                assert_eq!((env.state().as_str(), sink.count()), ("failed", 0), "{shown}");
            }
        }
        env.verify();
        sink.assert_clean();
    });
}

#[test]
fn each_recipient_has_an_outcome_of_their_own() {
    // All 27 ways of three recipients being taken, put off or refused, in one conversation each.
    let kinds = ["taken", "later", "never"];
    let mut rules = String::new();
    for n in 0..27 {
        let to: Vec<String> = [n / 9, n / 3 % 3, n % 3]
            .iter()
            .enumerate()
            .map(|(at, kind)| format!("\"{}-{n}-{at}@example.org\"", kinds[*kind as usize]))
            .collect();
        rules.push_str(&format!(
            "\n[[rule]]\nname = \"r{n}\"\nrecipients = [{}]\ndelivery = \"shared\"\nsend_interval = 0\n",
            to.join(", ")
        ));
    }
    let env = TestEnv::new();
    let seen: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let sink = SmtpSink::decent()
        .script(move |moment| {
            if moment.phase != Phase::Rcpt {
                return Action::Normal;
            }
            let mut seen = seen.lock().unwrap();
            let times = seen.entry(moment.address.to_owned()).or_default();
            *times += 1;
            match moment.address.split('-').next() {
                Some("later") if *times == 1 => Action::reply("450 4.2.0 later"),
                Some("never") => Action::reply("550 5.1.1 never"),
                _ => Action::Normal,
            }
        })
        .start();
    // Long enough a wait that one run is one attempt.
    env.config(&Site::smtp(sink.port()).retry("1500 ms").rule(&rules));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(1);
    let after = |wanted: &dyn Fn(&str) -> &'static str| {
        let all: Vec<Queued> = env.recipients();
        assert_eq!(all.len(), 81);
        for one in all {
            let kind = one.address.split('-').next().unwrap().to_owned();
            assert_eq!(one.state, wanted(&kind), "{}", one.line);
        }
    };
    after(&|kind| match kind {
        "taken" => "delivered",
        "later" => "deferred",
        _ => "failed",
    });
    wait_until("the put off to be delivered", 30.0, || {
        env.once();
        sink.received().iter().flat_map(|mail| mail.to.clone()).filter(|to| to.starts_with("later")).count() == 27
    });
    after(&|kind| if kind == "never" { "failed" } else { "delivered" });
    let mut taken: Vec<String> = sink.received().into_iter().flat_map(|mail| mail.to).collect();
    taken.sort();
    let all = taken.len();
    taken.dedup();
    assert_eq!((taken.len(), all), (54, 54), "nobody twice, nobody forgotten");
    env.verify();
    sink.assert_clean();
}

#[test]
fn bytes_in_pieces_are_a_conversation_too() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent()
        .script(|moment| match moment.phase {
            Phase::Greeting => Action::Sliced("220-slow\r\n220 server".to_owned()),
            Phase::Ehlo => Action::Sliced("250-sink.test\r\n250-PIPELINING\r\n250 SIZE 0".to_owned()),
            Phase::Mail | Phase::Rcpt | Phase::Dot => Action::Sliced("250 2.0.0 ok".to_owned()),
            Phase::Data => Action::Sliced("354 go on".to_owned()),
            _ => Action::Normal,
        })
        .start();
    env.config(&Site::smtp(sink.port()));
    env.drop_events("a.jsonl", &many(0, 5));
    env.once().expect(0);
    assert_eq!(sink.count(), 5);
    sink.assert_clean();
}

#[test]
fn what_is_not_offered_is_not_used() {
    for builder in
        [SmtpSink::bare(), SmtpSink::bare().offering(&["PIPELINING"]), SmtpSink::bare().size(0), SmtpSink::decent()]
    {
        let env = TestEnv::new();
        let sink = builder.start();
        env.config(&Site::smtp(sink.port()));
        env.drop_events("a.jsonl", &many(0, 5));
        env.once().expect(0);
        assert_eq!(sink.count(), 5);
        // The server notices whatever it did not offer: SIZE=, BODY=, SMTPUTF8, commands sent together.
        sink.assert_clean();
    }
}

#[test]
fn sessions_are_reused_and_never_more_than_allowed() {
    for connections in [1, 3] {
        let env = TestEnv::new();
        let sink = SmtpSink::decent()
            .at(Phase::Dot, Action::Delay(Duration::from_millis(10), Box::new(Action::Normal)))
            .start();
        env.config(&Site::smtp(sink.port()).smtp_key(&format!("connections = {connections}")));
        env.drop_events("a.jsonl", &many(0, 30));
        env.once().expect(0);
        assert_eq!(sink.count(), 30);
        assert!(sink.most_open() <= connections, "{} sessions at a time", sink.most_open());
        assert!(sink.sessions().len() <= 2 * connections, "{} sessions for 30 mails", sink.sessions().len());
        sink.assert_clean();
    }
}

#[test]
fn a_reused_connection_that_broke_is_no_attempt() {
    for trouble in [Action::ReplyThenClose("421 4.4.2 idle for too long".to_owned()), Action::Close] {
        let env = TestEnv::new();
        // The first session takes one mail and is gone when the second one comes.
        let sink = SmtpSink::decent()
            .script(move |moment| match moment.phase {
                Phase::Mail if moment.session == 0 && moment.accepted == 1 => trouble.clone(),
                _ => Action::Normal,
            })
            .start();
        // A counted attempt would be tried again an hour from now.
        env.config(&Site::smtp(sink.port()).retry("1 h").smtp_key("connections = 1"));
        env.drop_events("a.jsonl", &many(0, 2));
        env.once().expect(0);
        assert_eq!(sink.count(), 2);
        assert_eq!(sink.sessions().len(), 2);
        env.verify();
    }
}

#[test]
fn size_is_asked_before_it_is_sent() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().size(20_000).start();
    let mut big = event(1);
    big["results"]["Custom.Windows.Pslist"] = (0..200).map(|n| json!({"Name": "x".repeat(400), "Pid": n})).collect();
    env.config(&Site::smtp(sink.port()));
    env.drop_events("a.jsonl", &[big, event(2)]);
    env.once().expect(1);
    assert_eq!(sink.count(), 1, "the small one is delivered");
    let all = env.recipients();
    assert!(all.iter().any(|one| one.state == "failed"), "{all:?}");
    // The server would have noticed a mail over its SIZE.
    sink.assert_clean();
    let id = all.iter().find(|one| one.state == "failed").unwrap().id.clone();
    let record = env.bewit(["outbox", "show", &id]).run().expect(0);
    record.check(record.out().contains("20000"), "the reason names the server's limit");

    // Where SIZE is only offered, or not at all, the server's word decides.
    for builder in [SmtpSink::decent(), SmtpSink::bare()] {
        let env = TestEnv::new();
        let sink = builder.at(Phase::Dot, Action::reply("552 5.3.4 message too big")).start();
        env.config(&Site::smtp(sink.port()));
        env.drop_events("a.jsonl", &[event(1)]);
        env.once().expect(1);
        assert_eq!(env.state(), "failed");
        sink.assert_clean();
    }
}

#[test]
fn addresses_beyond_ascii_need_a_server_that_takes_them() {
    let rule = "[[rule]]\nname = \"r\"\nrecipients = [\"jörg@example.net\", \"ana@example.org\"]\nsend_interval = 0\n";
    let env = TestEnv::new();
    let sink = SmtpSink::decent().offering(&["SMTPUTF8"]).start();
    env.config(&Site::smtp(sink.port()).rule(rule));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(0);
    assert_eq!(sink.count(), 2);
    sink.assert_clean();
    for mail in sink.received() {
        let utf8 = mail.parameters.to_ascii_uppercase().contains("SMTPUTF8");
        assert_eq!(utf8, mail.to[0].contains('ö'), "SMTPUTF8 only for addresses that need it");
    }

    let env = TestEnv::new();
    let sink = SmtpSink::decent().start();
    env.config(&Site::smtp(sink.port()).rule(rule));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(1);
    assert_eq!(sink.count(), 1);
    assert!(env.recipients().iter().any(|one| one.address.contains('ö') && one.state == "failed"));
    sink.assert_clean();
}

#[test]
fn a_relay_that_refuses_everything_is_suspended_not_obeyed() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().at(Phase::Rcpt, Action::reply("550 5.7.1 nothing from you")).start();
    env.config(&Site::smtp(sink.port()).smtp_key("connections = 2"));
    env.drop_events("a.jsonl", &many(0, 100));
    env.once().expect(1);
    let states = env.states();
    let dead = states.iter().filter(|state| *state == "failed").count();
    assert!((1..=20).contains(&dead), "{dead} of 100 dead-lettered");
    assert!(states.iter().all(|state| ["failed", "queued", "deferred"].contains(&state.as_str())), "{states:?}");
    env.verify();
}

/// Where a server can leave a client waiting.
const HANGS: [Phase; 12] = [
    Phase::Greeting,
    Phase::Ehlo,
    Phase::StartTls,
    Phase::Handshake,
    Phase::EhloTls,
    Phase::Auth,
    Phase::AuthStep,
    Phase::Mail,
    Phase::Rcpt,
    Phase::Data,
    Phase::Block,
    Phase::Dot,
];

#[test]
fn nothing_waits_for_ever() {
    let mut jobs = Vec::new();
    for phase in HANGS {
        jobs.push((phase, Action::Silence));
        if phase != Phase::Block {
            jobs.push((phase, Action::Drip(Duration::from_millis(300))));
            jobs.push((phase, Action::EndlessLine));
            jobs.push((phase, Action::EndlessReply("250".to_owned())));
        }
    }
    side_by_side(&jobs, |(phase, action)| {
        let with_tls =
            [Phase::StartTls, Phase::Handshake, Phase::EhloTls, Phase::Auth, Phase::AuthStep].contains(phase);
        let env = TestEnv::new();
        let mut builder = SmtpSink::decent();
        if with_tls {
            builder = builder.starttls(Certificate::Good).login("bewit", "s3cret", &["LOGIN"]);
        }
        let sink = builder.at(*phase, action.clone()).start();
        let site = if with_tls {
            Site::tls(sink.port(), "starttls").login("bewit").smtp_key("auth = \"login\"")
        } else {
            Site::smtp(sink.port())
        };
        let mut rule = acceptance::site::RULE.to_owned();
        if *phase == Phase::Block {
            rule.push_str("include_result_attachment_from = [{ source = \".\" }]\n");
        }
        env.config(&site.timeouts("1 s").retry("1 h").smtp_key("connections = 1").rule(&rule));
        let mut event = event(1);
        if *phase == Phase::Block {
            // More than two sockets' buffers hold.
            let row = json!({"Text": "x".repeat(100_000)});
            event["results"]["Custom.Windows.Pslist"] = std::iter::repeat_n(row, 150).collect();
        }
        env.drop_events("a.jsonl", &[event]);
        let start = Instant::now();
        let said = env.once();
        let took = start.elapsed();
        let shown = format!("{phase:?} {action:?}: {took:?}\n{}\n{}", sink.dialogues(), said.report());
        assert_eq!(said.status.code(), Some(1), "{shown}");
        assert!(took < budget(12.0), "{shown}");
        assert!(["queued", "deferred"].contains(&env.state().as_str()), "{}\n{shown}", env.state());
        assert_eq!(sink.count(), 0, "{shown}");
        // With a window that is shut, the end of the connection stays behind what was never read.
        if *phase != Phase::Block {
            wait_until(&format!("the client to hang up: {shown}"), 10.0, || {
                sink.sessions().iter().all(|session| session.closed.is_some())
            });
        }
        env.verify();
    });
}

#[test]
fn a_server_that_never_says_goodbye_delays_nobody() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().at(Phase::Quit, Action::Silence).start();
    env.config(&Site::smtp(sink.port()).timeouts("60 s"));
    env.drop_events("a.jsonl", &[event(1)]);
    let start = Instant::now();
    env.once().expect(0);
    assert!(start.elapsed() < budget(15.0), "{:?}", start.elapsed());
    assert_eq!(sink.count(), 1);
}

#[test]
fn an_unreachable_server_keeps_the_mail() {
    let env = TestEnv::new();
    let port = acceptance::env::free_address().port();
    env.config(&Site::smtp(port));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(1);
    assert!(["queued", "deferred"].contains(&env.state().as_str()));
    let sink = SmtpSink::decent().port(port).start();
    env.until_delivered();
    assert_eq!(sink.count(), 1);
    env.verify();
}
