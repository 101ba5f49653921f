//! Limits of the mail server and of ours, and who goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acceptance::event::{event, many};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, budget};

const INCIDENT: &str = r#"
[[rule]]
name = "incident"
priority = "critical"
recipients = ["on-call@example.org"]
client_labels_to_alert_on = "^incident$"
send_interval = 0
"#;

const NOISE: &str = r#"
[[rule]]
name = "noise"
recipients = ["all@example.org"]
client_labels_to_ignore = "^incident$"
send_interval = 0
"#;

/// A server that takes thirty mails in any two seconds, and three sessions.
#[test]
fn a_server_with_limits_is_given_what_it_takes() {
    const MAILS: usize = 150;
    let span = Duration::from_secs(2);
    let times: Arc<Mutex<(VecDeque<Instant>, usize)>> = Arc::default();
    let script = Arc::clone(&times);
    let sink = SmtpSink::decent()
        .script(move |moment| {
            if moment.phase != Phase::Mail {
                return Action::Normal;
            }
            let mut times = script.lock().unwrap();
            let (taken, refused) = &mut *times;
            // Its clock is not ours: what it measures is a little shorter.
            while taken.front().is_some_and(|at| at.elapsed() >= span - Duration::from_millis(50)) {
                taken.pop_front();
            }
            if taken.len() >= 30 {
                *refused += 1;
                return Action::reply("450 4.7.1 too much mail from you");
            }
            taken.push_back(Instant::now());
            Action::Normal
        })
        .start();
    let env = TestEnv::new();
    env.config(&Site::smtp(sink.port()).smtp_key("connections = 3").smtp_key("rate = \"30/2 s\""));
    env.drop_events("a.jsonl", &many(0, MAILS));
    let begun = Instant::now();
    let mut daemon = env.daemon();
    daemon.wait_for("all mails", 60.0, |_| (sink.count() == MAILS).then_some(()));
    assert!(begun.elapsed() > Duration::from_secs(8), "{:?}: the rate was not kept", begun.elapsed());
    daemon.terminate();
    let refused = times.lock().unwrap().1;
    assert!(refused * 50 <= MAILS, "{refused} of {MAILS} were refused");
    assert!(sink.most_open() <= 3, "{} sessions", sink.most_open());
    assert!(env.states().iter().all(|state| state == "delivered"), "{:?}", env.states());
    sink.assert_clean();
}

/// One that says nothing of its limits beforehand: nothing is lost, and nothing counts as an attempt.
#[test]
fn a_server_that_wants_less_gets_less() {
    let sink = SmtpSink::decent()
        .script(|moment| match moment.phase {
            Phase::Mail if moment.count == 10 => Action::ReplyThenClose("421 4.7.28 too much mail".to_owned()),
            Phase::Mail if moment.count == 5 => Action::reply("432 4.3.2 concurrent connections limit exceeded"),
            _ => Action::Normal,
        })
        .start();
    let env = TestEnv::new();
    env.config(&Site::smtp(sink.port()));
    env.drop_events("a.jsonl", &many(0, 15));
    let said = env.once().expect(0);
    said.check(said.err().contains("gets too much"), "it is told");
    assert_eq!(sink.count(), 15);
    for line in env.recipients() {
        assert!(line.line.contains("\"attempts\":1,"), "{}", line.line);
    }
    sink.assert_clean();
}

#[test]
fn a_recipient_over_the_limit_waits_and_says_so() {
    let sink = SmtpSink::decent().start();
    let env = TestEnv::new();
    let rules = r#"
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
send_interval = 0
[[rule]]
name = "owner"
recipients = ["bob@example.com"]
send_interval = 0
"#;
    env.config(
        &Site::smtp(sink.port())
            .smtp_key("limits = { recipient = \"40/h\", domains = { \"example.org\" = \"5/h\" } }")
            .rule(rules),
    );
    env.drop_events("a.jsonl", &many(0, 20));
    let to = |address: &str| sink.received().iter().filter(|mail| mail.to == [address]).count();
    let mut daemon = env.daemon();
    let held = |line: &acceptance::env::Queued| line.state == "queued" && line.line.contains("waits for its turn");
    daemon.wait_for("everybody else's mails", 30.0, |_| {
        (to("bob@example.com") == 20 && env.recipients_so_far().iter().filter(|line| held(line)).count() == 15)
            .then_some(())
    });
    assert_eq!(to("ana@example.org"), 5);
    daemon.terminate();
    let waiting: Vec<_> = env.recipients().into_iter().filter(|line| line.state == "queued").collect();
    assert_eq!(waiting.len(), 15);
    for line in &waiting {
        assert!(
            line.line.contains("example.org gets 5/h at most") && line.line.contains("\"attempts\":0,"),
            "{}",
            line.line
        );
    }
    let list = env.bewit(["outbox", "list"]).run().expect(0);
    list.check(list.out().contains("waits for its turn: example.org gets 5/h at most"), "the list says why");
    env.verify().expect(0);
}

/// Mails that take long, on few sessions: those that are critical pass the queue. Answers how long they took.
fn passing(noisy: usize) -> Duration {
    let sink =
        SmtpSink::decent().at(Phase::Dot, Action::Delay(Duration::from_millis(200), Box::new(Action::Normal))).start();
    let env = TestEnv::new();
    env.config(&Site::smtp(sink.port()).smtp_key("connections = 3").rule(INCIDENT).rule(NOISE));
    env.drop_events("noise.jsonl", &many(0, noisy));
    let mut daemon = env.daemon();
    // The last of the noise is stored.
    let spool = env.path("spool");
    daemon.wait_for("the noise", 600.0, |_| {
        std::fs::read_dir(&spool)
            .is_ok_and(|mut files| {
                files.all(|file| file.is_ok_and(|file| !file.file_name().to_string_lossy().contains("noise")))
            })
            .then_some(())
    });
    let mut urgent: Vec<_> = (0..10).map(|number| event(1_000_000 + number)).collect();
    for event in &mut urgent {
        event["client_info"]["labels"] = serde_json::json!(["incident"]);
    }
    let begun = Instant::now();
    env.drop_events("incident.jsonl", &urgent);
    let critical = |sink: &SmtpSink| sink.received().iter().filter(|mail| mail.to == ["on-call@example.org"]).count();
    daemon.wait_for("the critical mails", 60.0, |_| (critical(&sink) == 10).then_some(()));
    let took = begun.elapsed();
    assert!(sink.count() < noisy, "the noise was gone: nothing had to be passed");
    daemon.kill();
    took
}

#[test]
fn critical_mails_pass_the_queue() {
    let took = passing(400);
    assert!(took < budget(5.0), "{took:?}");
}

/// The same for a figure: `cargo test -p acceptance --test acceptance -- --ignored --nocapture twenty_thousand`.
#[test]
#[ignore = "takes minutes"]
fn critical_mails_pass_twenty_thousand() {
    let took = passing(20_000);
    println!("ten critical mails behind 20 000: {took:?}");
    assert!(took < budget(5.0), "{took:?}");
}
