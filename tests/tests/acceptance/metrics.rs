//! `/metrics`: read strictly, and compared with what has happened.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use acceptance::env::{Daemon, TOKEN, free_address};
use acceptance::event::{event, lines, many};
use acceptance::exposition::{Exposition, scrape};
use acceptance::guest::{self, ABSTAIN};
use acceptance::http::{post, wait_for_listener};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv};
use serde_json::Value;

/// A rule's name, as TOML, that would write lines of its own if it could; and the same as it is meant.
const HOSTILE: &str = r#"no\"} 1 \\n bewit_events_total{x=\"y\\"#;
const MEANT: &str = r#"no"} 1 \n bewit_events_total{x="y\"#;

/// A rule that tells Ana, and one with a hostile name that tells nobody.
fn rules() -> String {
    format!(
        "{}\n[[rule]]\nname = \"{HOSTILE}\"\nrecipients = [\"kim@example.org\"]\nsend_interval = 0\n\
         artifacts_to_alert_on = \"^Nothing$\"\n",
        acceptance::site::RULE
    )
}

/// A daemon with a page at `web`.
fn start<'a>(env: &'a TestEnv, site: Site, web: SocketAddr) -> Daemon<'a> {
    env.config(&site.more(&format!("\n[web]\nlisten = \"{web}\"")));
    let daemon = env.daemon();
    wait_for_listener(web);
    daemon
}

/// A histogram's count.
fn count(seen: &Exposition, name: &str, labels: &[(&str, &str)]) -> f64 {
    seen.get(&format!("{name}_count"), labels).unwrap_or_else(|| panic!("{name} {labels:?}"))
}

#[test]
fn the_counts_are_what_happened() {
    let env = TestEnv::new();
    let (web, intake) = (free_address(), free_address());
    // Two recipients are put off once.
    let sink = SmtpSink::decent().first(2, Phase::Rcpt, Action::reply("451 4.3.0 later")).start();
    let mut daemon = start(&env, Site::smtp(sink.port()).http(intake).rule(&rules()), web);
    wait_for_listener(intake);

    let before = scrape(web);
    for family in ["bewit_step_seconds", "bewit_commit_seconds", "bewit_event_to_accepted_seconds"] {
        assert_eq!(before.families[family].kind, "histogram");
    }
    assert_eq!(before.sum("bewit_decisions_total"), 0.0);
    assert_eq!(before.get("bewit_relay_up", &[("relay", &format!("127.0.0.1:{}", sink.port()))]), Some(1.0));

    for at in 0..4 {
        let body = format!("{}no event\n", lines(&many(at * 5, 5)));
        assert_eq!(post(intake, Some(TOKEN), body.as_bytes()).unwrap().status, 202);
    }
    // One of them again.
    assert_eq!(post(intake, Some(TOKEN), event(3).to_string().as_bytes()).unwrap().status, 202);
    let step = |seen: &Exposition, step: &str| count(seen, "bewit_step_seconds", &[("step", step)]);
    let seen = daemon.wait_for("twenty mails to be delivered, and the writer to rest", 60.0, |_| {
        let seen = scrape(web);
        let delivered = seen.get("bewit_attempts_total", &[("outcome", "delivered")]) == Some(20.0);
        // What a transaction made is answered in the next moment.
        let rests = seen.get("bewit_transaction_commands_sum", &[]) == Some(seen.sum("bewit_commit_seconds_count"));
        (delivered && rests).then_some(seen)
    });

    assert_eq!(seen.get("bewit_events_total", &[]), Some(20.0));
    assert_eq!(seen.get("bewit_lines_rejected_total", &[]), Some(4.0));
    assert_eq!(seen.get("bewit_events_repeated_total", &[("body", "same")]), Some(1.0));
    assert_eq!(seen.get("bewit_decisions_total", &[("rule", "analyst"), ("decision", "notify")]), Some(20.0));
    assert_eq!(seen.get("bewit_decisions_total", &[("rule", MEANT), ("decision", "skip")]), Some(20.0));
    assert_eq!(seen.sum("bewit_decisions_total"), 40.0);
    assert_eq!(seen.get("bewit_mails_total", &[]), Some(20.0));
    assert_eq!(seen.get("bewit_recipients", &[("state", "delivered")]), Some(20.0));
    assert_eq!(seen.get("bewit_attempts_total", &[("outcome", "deferred")]), Some(2.0));
    assert_eq!(seen.get("bewit_attempts_total", &[("outcome", "failed")]), Some(0.0));

    // Lines read, the repeated one and those that were no events too; rules asked; mails written; transactions by SMTP.
    assert_eq!(step(&seen, "parse"), 25.0);
    assert_eq!(step(&seen, "judge"), 40.0);
    assert_eq!(step(&seen, "compose"), 20.0);
    assert_eq!(step(&seen, "deliver"), 22.0);
    assert_eq!(step(&seen, "gather"), 0.0);
    assert_eq!(step(&seen, "connect"), sink.sessions().len() as f64);
    assert_eq!(count(&seen, "bewit_event_to_accepted_seconds", &[]), 20.0);
    assert_eq!(count(&seen, "bewit_commit_seconds", &[("work", "accept")]), 5.0);
    assert_eq!(count(&seen, "bewit_commit_seconds", &[("work", "dot")]), 20.0);
    assert_eq!(count(&seen, "bewit_commit_seconds", &[("work", "report")]), 22.0);
    let transactions = count(&seen, "bewit_transaction_commands", &[]);
    assert_eq!(transactions, count(&seen, "bewit_transaction_seconds", &[]));
    assert!(transactions >= 1.0 && transactions <= seen.sum("bewit_commit_seconds_count"));
    for (name, labels) in [
        ("bewit_step_seconds_sum", &[("step", "compose")][..]),
        ("bewit_commit_seconds_sum", &[("work", "accept")]),
        ("bewit_transaction_seconds_sum", &[]),
        ("process_resident_memory_bytes", &[]),
        ("bewit_outbox_free_bytes", &[]),
        ("bewit_outbox_size_bytes", &[("part", "database")]),
    ] {
        assert!(seen.get(name, labels).unwrap() > 0.0, "{name}");
    }
    // No part of the way took longer than all of it, and none was delivered before it came.
    let way = seen.get("bewit_event_to_accepted_seconds_sum", &[]).unwrap();
    assert!(way > 0.0 && way < 20.0 * acceptance::budget(60.0).as_secs_f64(), "{way}");
    assert_eq!(seen.get("bewit_queue_oldest_seconds", &[]), Some(0.0));
    assert!(daemon.terminate().success());
    sink.assert_clean();
}

#[test]
fn a_server_that_is_away_is_told_with_the_age_of_what_waits() {
    let env = TestEnv::new();
    let (web, relay) = (free_address(), free_address());
    let mut daemon = start(&env, Site::smtp(relay.port()).retry("1 s"), web);
    env.drop_events("a.jsonl", &many(0, 3));
    let name = relay.to_string();
    let seen = daemon.wait_for("mails that have waited for a second", 60.0, |_| {
        let seen = scrape(web);
        let waited = seen.get("bewit_queue_oldest_seconds", &[]).unwrap() >= 1.0;
        (waited && seen.get("bewit_relay_up", &[("relay", &name)]) == Some(0.0)).then_some(seen)
    });
    let trouble = |trouble| seen.get("bewit_relay_trouble", &[("relay", name.as_str()), ("trouble", trouble)]);
    assert_eq!((trouble("unreachable"), trouble("refuses"), trouble("burst")), (Some(1.0), Some(0.0), Some(0.0)));
    assert_eq!(seen.get("bewit_relay_falls_total", &[("relay", &name)]), Some(1.0));
    assert_eq!(seen.get("bewit_relay_sessions", &[("relay", &name)]), Some(0.0));
    let by_state = |state| seen.get("bewit_recipients_oldest_seconds", &[("state", state)]).unwrap();
    let oldest = by_state("queued").max(by_state("deferred")).max(by_state("sending"));
    assert_eq!(seen.get("bewit_queue_oldest_seconds", &[]), Some(oldest));
    assert_eq!(by_state("held"), 0.0);
    // It comes back.
    let sink = SmtpSink::decent().port(relay.port()).start();
    let back = daemon.wait_for("the server to be delivered to again", 120.0, |_| {
        let seen = scrape(web);
        (seen.get("bewit_attempts_total", &[("outcome", "delivered")]) == Some(3.0)).then_some(seen)
    });
    assert_eq!(back.get("bewit_relay_up", &[("relay", &name)]), Some(1.0));
    assert_eq!(back.get("bewit_relay_falls_total", &[("relay", &name)]), Some(1.0));
    drop(sink);
}

#[test]
fn a_plugins_calls_are_timed_and_its_verdicts_counted() {
    let env = TestEnv::new();
    let web = free_address();
    env.write("calm.wasm", guest::filter(ABSTAIN, ""));
    env.write("trap.wasm", guest::filter("(unreachable)", ""));
    let site = Site::mailbox()
        .more("\n[plugins.calm]\npath = \"calm.wasm\"\n[plugins.trap]\npath = \"trap.wasm\"")
        .rule("\n[[rule]]\nname = \"r\"\nrecipients = [\"a@example.org\"]\nsend_interval = 0\nfilters = [\"calm\", \"trap\"]\n");
    let mut daemon = start(&env, site, web);
    env.drop_events("a.jsonl", &many(0, 3));
    daemon.wait_for_mails(3);
    let seen = scrape(web);
    assert_eq!(count(&seen, "bewit_plugin_call_seconds", &[("plugin", "calm")]), 3.0);
    assert_eq!(count(&seen, "bewit_plugin_call_seconds", &[("plugin", "trap")]), 3.0);
    assert!(seen.get("bewit_plugin_call_seconds_sum", &[("plugin", "calm")]).unwrap() > 0.0);
    assert_eq!(seen.get("bewit_plugin_verdicts_total", &[("plugin", "calm"), ("verdict", "abstain")]), Some(3.0));
    assert_eq!(seen.get("bewit_plugin_verdicts_total", &[("plugin", "calm"), ("verdict", "drop")]), Some(0.0));
    assert_eq!(seen.get("bewit_plugin_verdicts_total", &[("plugin", "trap"), ("verdict", "abstain")]), Some(0.0));
    assert_eq!(seen.get("bewit_plugin_calls_total", &[("plugin", "trap"), ("outcome", "failed")]), Some(3.0));
    // A mail in a folder is delivered, too.
    assert_eq!(count(&seen, "bewit_step_seconds", &[("step", "deliver")]), 3.0);
    assert!(seen.families["bewit_relay_up"].samples.is_empty());
}

#[test]
fn a_refused_configuration_is_told() {
    let env = TestEnv::new();
    let web = free_address();
    let mut daemon = start(&env, Site::mailbox(), web);
    assert_eq!(scrape(web).get("bewit_reload_last_successful", &[]), Some(1.0));
    let good = env.read("bewit.toml");
    env.write("bewit.toml", format!("{good}\n[nonsense]\n"));
    daemon.wait_for("the refusal", 60.0, |_| {
        (scrape(web).get("bewit_reload_last_successful", &[]) == Some(0.0)).then_some(())
    });
    env.write("bewit.toml", good);
    daemon.wait_for("the mended file", 60.0, |_| {
        (scrape(web).get("bewit_reload_last_successful", &[]) == Some(1.0)).then_some(())
    });
}

/// Words of a text that look like metrics.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metric = |word: &&str| word.starts_with("bewit_") || word.starts_with("process_");
    words.filter(metric).map(str::to_owned).collect()
}

#[test]
fn documents_and_the_dashboard_name_what_there_is() {
    let env = TestEnv::new();
    let web = free_address();
    let mut daemon = start(&env, Site::mailbox(), web);
    let seen = scrape(web);
    daemon.terminate();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let table = named(&read("docs/monitoring.md"));
    for family in seen.families.keys() {
        assert!(table.contains(family), "docs/monitoring.md does not say what {family} is");
    }
    let dashboard = read("packaging/grafana-dashboard.json");
    assert!(named(&dashboard).len() > 20, "a dashboard of nearly nothing");
    // Crates and folders with an underscore are no metrics.
    let others = ["bewit_plugin", "process_tree"];
    for document in ["docs/monitoring.md", "docs/velociraptor.md", "docs/plugins.md", "README.md", "ARCHITECTURE.md"] {
        for name in named(&read(document)).iter().filter(|name| !others.contains(&name.as_str())) {
            let family = name.trim_end_matches('_');
            // `bewit_velociraptor_` stands for all that begin so.
            let begins = name.ends_with('_') && seen.families.keys().any(|own| own.starts_with(name.as_str()));
            assert!(seen.knows(family) || begins, "{document} names {name}, which /metrics does not have");
        }
    }
    for name in named(&dashboard) {
        assert!(seen.knows(&name), "the dashboard names {name}, which /metrics does not have");
    }

    // Each panel asks something, has a title and a place of its own.
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let place = &panel["gridPos"];
        let at = |key: &str| place[key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && places.insert((x, y)), "{title}: lies over another or outside");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        for target in panel["targets"].as_array().unwrap() {
            let asks = target["expr"].as_str().unwrap();
            assert!(!named(asks).is_empty(), "{title}: {asks}");
            // A counter alone says nothing; a histogram's buckets keep their bounds.
            for name in named(asks) {
                let counts = ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
                assert!(!counts || asks.contains("rate(") || asks.contains("increase("), "{title}: {asks}");
                assert!(!name.ends_with("_bucket") || asks.contains("le"), "{title}: {asks}");
            }
            assert!(asks.matches('(').count() == asks.matches(')').count(), "{title}: {asks}");
        }
    }
}
