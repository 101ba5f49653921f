//! What is too large, too deep or too much is bounded, and said.

use acceptance::env::{TOKEN, free_address};
use acceptance::event::{event, lines, many};
use acceptance::http::{post, wait_for_listener};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, tools, wait_until};
use serde_json::json;

/// Lines that are small as text and large as values.
fn bombs() -> Vec<(&'static str, String)> {
    let head = "{\"type\":\"System.Flow.Completion\",\"ClientId\":\"C.1\",\"FlowId\":\"F.1\",\"x\":";
    vec![
        ("many zeros", format!("{head}[{}0]}}", "0,".repeat(7_000_000))),
        ("many empty objects", format!("{head}[{}{{}}]}}", "{},".repeat(4_000_000))),
        ("deep", format!("{head}{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000))),
        ("deep objects", format!("{head}{}1{}}}", "{\"a\":".repeat(500_000), "}".repeat(500_000))),
        ("one long string", format!("{head}\"{}\"}}", "x".repeat(17_000_000))),
    ]
}

#[test]
fn bombs_do_not_go_off() {
    let env = TestEnv::new();
    let address = free_address();
    env.config(&Site::mailbox().http(address));
    let mut daemon = env.daemon();
    wait_for_listener(address);
    for (n, (what, bomb)) in bombs().into_iter().enumerate() {
        let answer = post(address, Some(TOKEN), bomb.as_bytes());
        assert!(answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status)), "{what} by HTTP");
        env.drop_spool(&format!("{n}.jsonl"), format!("{bomb}\n"));
        let said = env.bewit(["explain", "--json", "-"]).stdin(bomb).run();
        said.check(said.status.code() == Some(1), what);
    }
    env.drop_events("z.jsonl", &[event(1)]);
    daemon.wait_for_mails(1);
    wait_until("an empty spool", 30.0, || acceptance::env::files(&env.path("spool"), "jsonl").is_empty());
    let peak = daemon.peak_memory_kib();
    assert!(peak < 256 * 1024, "{peak} KiB");
    assert!(daemon.running());
    daemon.terminate();
    env.verify();
}

#[test]
fn patterns_that_take_for_ever_are_refused() {
    for pattern in ["(?:[ab]{1000}){20}c", "(a{1000}){1000}", "((((((((((a{100}){100}){100}){100}))))))))"] {
        let env = TestEnv::new();
        env.config(&Site::mailbox().rule(&format!(
            "[[rule]]\nname = \"r\"\nrecipients = [\"ana@example.org\"]\nartifacts_to_alert_on = '{pattern}'\n"
        )));
        let said = env.bewit(["check"]).limit(20.0).run();
        said.check(said.status.code() == Some(2), &format!("{pattern} is refused"));
        said.check(said.err().contains("artifacts_to_alert_on"), "and named");
    }
}

#[test]
fn templates_that_take_for_ever_are_refused() {
    for bomb in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 1000000000 }}",
        "{{ '%1000000000d'|format(1) }}",
    ] {
        let env = TestEnv::new();
        env.config(&Site::mailbox().more("\n[templates]\npath = \"templates\""));
        env.write("templates/flow-completion.txt.j2", format!("begin {bomb} {{{{ subject }}}}"));
        let said = env.bewit(["check"]).limit(20.0).run();
        said.check(said.status.code() == Some(2), &format!("{bomb} is refused"));
    }
}

#[test]
fn long_values_make_no_long_mails() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "[[rule]]\nname = \"r\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\ninclude_result_table_from = [{ source = \".\" }]\n",
    ));
    let long = "🦅é".repeat(9_000);
    let mut event = event(1);
    for place in ["fqdn", "release", "system"] {
        event["client_info"]["os_info"][place] = long.as_str().into();
    }
    event["Flow"]["status"] = long.as_str().into();
    event["Flow"]["request"]["artifacts"] = (0..500).map(|n| format!("Custom.A{n}")).collect();
    event["results"] = json!({"A/B": (0..150).map(|_| json!({"Text": long})).collect::<Vec<_>>()});
    env.drop_events("a.jsonl", &[event]);
    env.once().expect(0);
    let mail = env.mails().remove(0);
    mail.assert_sound();
    assert!(mail.header("Subject").chars().count() <= 200);
    assert!(
        mail.header("Subject").contains('…') || mail.header("Subject").contains("more"),
        "{}",
        mail.header("Subject")
    );
    // 100 rows of 10 000 characters, in two bodies, is what the limits allow; what is beyond them is not there.
    assert!(mail.raw.len() < 64_000_000, "{} bytes", mail.raw.len());
    let counted = regex::Regex::new("[0-9]+ of 150 rows").unwrap();
    assert!(counted.is_match(mail.text()), "the rows that are left out are counted: {:.3000}", mail.text());
}

#[test]
fn more_recipients_than_a_server_takes_at_once_are_all_served() {
    let env = TestEnv::new();
    let in_session = std::sync::Mutex::new(0);
    let sink = SmtpSink::decent()
        .script(move |moment| {
            let mut count = in_session.lock().unwrap();
            match moment.phase {
                Phase::Mail => *count = 0,
                Phase::Rcpt => *count += 1,
                _ => {}
            }
            // RFC 5321 section 4.5.3.1.10: a hundred must be taken; the rest come again.
            if moment.phase == Phase::Rcpt && *count > 100 {
                Action::reply("452 4.5.3 too many recipients")
            } else {
                Action::Normal
            }
        })
        .start();
    let to: Vec<String> = (0..250).map(|n| format!("\"user{n}@example.org\"")).collect();
    env.config(&Site::smtp(sink.port()).smtp_key("connections = 1").rule(&format!(
        "[[rule]]\nname = \"r\"\nrecipients = [{}]\ndelivery = \"shared\"\nsend_interval = 0\n",
        to.join(", ")
    )));
    env.drop_events("a.jsonl", &[event(1)]);
    wait_until("all to be served", 60.0, || env.once().status.success());
    let mut served: Vec<String> = sink.received().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(served.len(), 250);
    served.sort();
    served.dedup();
    assert_eq!(served.len(), 250, "each once");
    env.verify();
    sink.assert_clean();
}

#[test]
fn a_long_queue_takes_little_memory() {
    let count = tools::size(1000, 20_000);
    let env = TestEnv::new();
    env.config(&Site::smtp(free_address().port()).retry("1 h"));
    env.drop_spool("a.jsonl", lines(&many(0, count)));
    let mut daemon = env.daemon();
    daemon.wait_for("all mails in the outbox", 120.0, |_| (env.recipients_so_far().len() == count).then_some(()));
    let peak = daemon.peak_memory_kib();
    assert!(peak < 256 * 1024, "{peak} KiB with {count} mails queued");
    daemon.terminate();
    env.verify();
}
