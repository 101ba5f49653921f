//! Decisions, seen from outside. Agreement with the original is the parity check's matter; here is what surrounds it.

use std::collections::BTreeMap;

use acceptance::event::{event, fixture, key, lines, many};
use acceptance::{Site, TestEnv, tools, wait_until};
use serde_json::Value;

fn explain(env: &TestEnv, events: &str) -> Vec<Value> {
    let said = env.bewit(["explain", "--json", "-"]).stdin(events).run();
    said.check(matches!(said.status.code(), Some(0 | 1)), "explain ends with 0 or 1");
    said.json()
}

#[test]
fn a_decision_is_explained() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    let rows = explain(&env, &lines(&[event(1)]));
    let row = &rows[0];
    let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["event", "rule", "decision", "reason", "trace", "recipients", "subject"], "the contract's order");
    assert_eq!(row["event"], key(&event(1)).as_str());
    assert_eq!(row["rule"], "analyst");
    assert_eq!(row["decision"], "notify");
    assert_eq!(row["recipients"], serde_json::json!(["ana@example.org"]));
    assert_eq!(row["subject"], "ws-17.example.org finished collecting Custom.Windows.Pslist");
    assert!(!row["reason"].as_str().unwrap().is_empty());
    let trace = row["trace"].as_array().unwrap();
    assert!(trace.len() >= 5, "{trace:?}");
    for entry in trace {
        let verdict = entry["verdict"].as_str().unwrap();
        assert!(["pass", "fail", "force", "off", "unknown", "note"].contains(&verdict), "{entry}");
        assert!(entry["filter"].is_string() && entry["detail"].is_string(), "{entry}");
    }
}

#[test]
fn every_event_meets_every_rule_in_order() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        r#"
[[rule]]
name = "all"
recipients = ["ana@example.org"]
send_interval = 0

[[rule]]
name = "windows-shell"
recipients = ["kim@example.org"]
artifacts_to_alert_on = "PowerShell"
send_interval = 0

[[rule]]
name = "nobody"
send_interval = 0
"#,
    ));
    let rows = explain(&env, &lines(&many(0, 2)));
    let told: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["rule"].as_str().unwrap(), row["decision"].as_str().unwrap())).collect();
    let each = [("all", "notify"), ("windows-shell", "skip"), ("nobody", "error")];
    assert_eq!(told, [each, each].concat());
    assert!(rows[2]["reason"].as_str().unwrap().contains("recipient"), "{}", rows[2]);
    assert!(
        rows[1]["trace"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["verdict"] == "fail" && entry["filter"] == "artifacts_to_alert_on")
    );

    // The daemon decides the same, and records it all.
    env.drop_events("a.jsonl", &many(0, 2));
    env.once();
    assert_eq!(env.mailbox().len(), 2);
    env.verify();
}

#[test]
fn missing_facts_are_unknown_and_no_error() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "[[rule]]\nname = \"labelled\"\nrecipients = [\"ana@example.org\"]\nclient_labels_to_alert_on = \"server\"\n",
    ));
    let rows = explain(&env, "{\"type\":\"System.Flow.Completion\",\"ClientId\":\"C.1\",\"FlowId\":\"F.1\"}\n");
    assert_eq!(rows[0]["decision"], "skip");
    assert!(rows[0]["trace"].as_array().unwrap().iter().any(|entry| entry["verdict"] == "unknown"), "{}", rows[0]);
    // A row exactly as the live queue has it, which names no type.
    let rows = explain(&env, &fixture("live-row"));
    assert_eq!(rows.len(), 1);
}

#[test]
fn camel_case_names_are_taken_too() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "[[rule]]\nname = \"old\"\nRecipients = [\"ana@example.org\"]\nNotifyExecutor = true\nDelayThreshold = 100000\n",
    ));
    let rows = explain(&env, &lines(&[event(1)]));
    assert_eq!(rows[0]["decision"], "skip", "{}", rows[0]);
}

#[test]
fn each_recipient_gets_a_mail_of_their_own_unless_shared() {
    for (delivery, expected) in [
        ("individual", vec!["lee@example.org", "pat@example.org"]),
        ("shared", vec!["lee@example.org, pat@example.org"]),
    ] {
        let env = TestEnv::new();
        env.config(&Site::mailbox().rule(&format!(
            "[[rule]]\nname = \"r\"\nrecipients = [\"lee@example.org\", \"pat@example.org\"]\ndelivery = \"{delivery}\"\nsend_interval = 0\n"
        )));
        env.drop_events("a.jsonl", &[event(1)]);
        env.once().expect(0);
        let mails = env.mails();
        let mut to: Vec<&str> = mails.iter().map(|mail| mail.header("To")).collect();
        to.sort_unstable();
        assert_eq!(to, expected);
        assert_eq!(env.recipients().len(), 2);
        for mail in &mails {
            mail.assert_sound();
            if delivery == "individual" {
                let whole = String::from_utf8_lossy(&mail.raw).into_owned();
                let names = ["lee@example.org", "pat@example.org"].iter().filter(|name| whole.contains(**name)).count();
                assert_eq!(names, 1, "each learns nothing of the other");
            }
        }
    }
}

/// Three events at once under an interval, by each way of throttling.
fn throttled(how: &str) -> (TestEnv, Vec<acceptance::mail::Mail>) {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(&format!(
        "[[rule]]\nname = \"r\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 2\nthrottle = \"{how}\"\n"
    )));
    env.drop_events("a.jsonl", &many(1, 3));
    let expected = match how {
        "digest" => 2,
        "delay" => 3,
        _ => 1,
    };
    // `--once` waits for no interval: what is due later is taken by a later run.
    wait_until(&format!("{expected} mails by {how}"), 60.0, || {
        let _ = env.once();
        env.mailbox().len() >= expected
    });
    let mails = env.mails();
    assert_eq!(mails.len(), expected, "{how}");
    for mail in &mails {
        mail.assert_sound();
    }
    env.verify();
    (env, mails)
}

#[test]
fn a_digest_tells_of_all_that_was_gathered() {
    let (_env, mails) = throttled("digest");
    let bodies: Vec<&str> = mails.iter().map(acceptance::mail::Mail::text).collect();
    for n in 1..=3 {
        let flow = format!("F.D{n:012X}");
        assert_eq!(
            bodies.iter().filter(|body| body.contains(&flow)).count(),
            1,
            "{flow} in exactly one of {bodies:#?}"
        );
    }
}

#[test]
fn delayed_mails_come_one_by_one() {
    let (_env, mails) = throttled("delay");
    let mut told = BTreeMap::new();
    for mail in &mails {
        for n in 1..=3 {
            if mail.text().contains(&format!("F.D{n:012X}")) {
                *told.entry(n).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(told, BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
}

#[test]
fn dropped_mails_are_dropped_and_recorded() {
    let (env, mails) = throttled("drop");
    assert!(mails[0].text().contains("F.D000000000001"));
    // Nothing more comes of them, however often it is asked.
    env.once();
    assert_eq!(env.mailbox().len(), 1);
}

#[test]
fn ten_thousand_events_are_explained_in_seconds_and_in_constant_memory() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    let peak = |count: usize| {
        // `/usr/bin/time` is not everywhere; Python says what a child took at most.
        let script = "import resource, subprocess, sys, time\n\
             start = time.time()\n\
             done = subprocess.run(sys.argv[1:], stdin=open('events.jsonl'), stdout=open('decisions', 'w'))\n\
             print(done.returncode, time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n";
        env.write("events.jsonl", lines(&many(0, count)));
        let said = acceptance::process::Program::new("python3", env.root())
            .args(["-I", "-c", script])
            .args([env.binary().as_os_str()])
            .args(["explain", "--json", "-"])
            .limit(120.0)
            .run()
            .expect(0);
        let out = said.out();
        let mut words = out.split_whitespace();
        assert_eq!(words.next(), Some("0"), "{}", said.report());
        let seconds: f64 = words.next().unwrap().parse().unwrap();
        let kib: u64 = words.next().unwrap().parse().unwrap();
        assert_eq!(env.read("decisions").lines().count(), count);
        (seconds, kib)
    };
    let (_, small) = peak(100);
    let (seconds, large) = peak(tools::size(10_000, 50_000));
    let limit = acceptance::budget(20.0).as_secs_f64();
    assert!(seconds < limit, "{seconds} s, more than {limit}");
    assert!(large < small + 16 * 1024, "{small} KiB for few events, {large} KiB for many");
}
