//! What another configuration would change, and events that the outbox keeps.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use acceptance::env::memory;
use acceptance::event::{event, many};
use acceptance::{Site, TestEnv};
use serde_json::{Value, json};

/// JSON Lines.
fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// A rule with other keys than the usual ones.
fn rule(name: &str, keys: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nsend_interval = 0\n{keys}\n")
}

/// Two configurations: `bewit.toml` and `new.toml`.
fn two(old: &Site, new: &Site) -> TestEnv {
    let env = TestEnv::new();
    env.config(new);
    let text = env.read("bewit.toml");
    env.write("new.toml", text);
    env.config(old);
    env
}

const ANA: &str = "recipients = [\"ana@example.org\"]";

#[test]
fn differences_are_listed_and_counted() {
    let old = Site::mailbox()
        .rule(&rule("analyst", ANA))
        .rule(&rule("gone", &format!("{ANA}\nartifacts_to_alert_on = \"Pslist\"")))
        .rule(&rule("before", ANA));
    let new = Site::mailbox()
        .rule(&rule("analyst", "recipients = [\"ana@example.org\", \"ola@example.org\"]"))
        .rule(&rule("gone", &format!("{ANA}\nartifacts_to_ignore = \"Pslist\"")))
        .rule(&rule("after", ANA));
    let env = two(&old, &new);
    env.write("events.jsonl", lines(&many(0, 3)));
    let args = ["simulate", "--config", "new.toml", "--against", "bewit.toml", "--json", "events.jsonl"];
    let rows = env.bewit(args).run().expect(0).json();
    let (summary, found) = rows.split_last().unwrap();
    assert_eq!(found.len(), 4 * 3);
    let of = |rule: &str| found.iter().find(|row| row["rule"] == rule).unwrap();
    assert_eq!(of("analyst")["change"], "changed");
    assert_eq!(of("analyst")["parts"], json!(["recipients"]));
    assert_eq!(of("analyst")["old"]["recipients"], json!(["ana@example.org"]));
    assert_eq!(of("analyst")["new"]["recipients"], json!(["ana@example.org", "ola@example.org"]));
    assert_eq!(of("gone")["change"], "gone");
    assert_eq!(of("gone")["new"]["decision"], "skip");
    assert!(of("gone")["new"]["reason"].as_str().unwrap().contains("artifacts_to_ignore"));
    assert_eq!((&of("before")["change"], &of("before")["new"]), (&json!("gone"), &Value::Null));
    assert_eq!((&of("after")["change"], &of("after")["old"]), (&json!("new"), &Value::Null));
    assert!(of("after")["event"].as_str().unwrap().starts_with("root/C.0123456789abcdef/F.D"));
    let summary = &summary["summary"];
    assert_eq!((&summary["events"], &summary["unreadable"]), (&json!(3), &json!(0)));
    assert_eq!((&summary["new"], &summary["gone"], &summary["changed"]), (&json!(3), &json!(6), &json!(3)));
    let rules: Vec<_> =
        summary["rules"].as_array().unwrap().iter().map(|rule| (&rule["rule"], &rule["only"])).collect();
    assert_eq!(
        rules,
        [
            (&json!("analyst"), &Value::Null),
            (&json!("gone"), &Value::Null),
            (&json!("before"), &json!("old")),
            (&json!("after"), &json!("new")),
        ]
    );
    // For people, the same.
    let said =
        env.bewit(["simulate", "--config", "new.toml", "--against", "bewit.toml", "events.jsonl"]).run().expect(0);
    for word in
        ["gone: only the old", "new: only the new", "3 new, 6 gone, 3 changed", "send_interval", "ola@example.org"]
    {
        said.check(said.out().contains(word), word);
    }
    // Nothing was sent, stored or made.
    assert_eq!(env.mails().len(), 0);
    assert!(!env.path("bewit.db").exists());
}

#[test]
fn no_difference_is_said_too_and_bodies_are_compared_when_asked() {
    let site = Site::mailbox().rule(&rule("analyst", ANA));
    let new = Site::mailbox().rule(&rule(
        "analyst",
        &format!("{ANA}\ninclude_result_table_from = [{{ source = \"Pslist\", columns = \"Name\" }}]"),
    ));
    let env = two(&site, &new);
    env.write("events.jsonl", lines(&[event(1)]));
    let args = ["simulate", "--config", "new.toml", "--against", "bewit.toml", "--json", "events.jsonl"];
    assert_eq!(env.bewit(args).run().expect(0).json().len(), 1, "only the summary");
    let args = ["simulate", "--config", "new.toml", "--against", "bewit.toml", "--bodies", "--json", "events.jsonl"];
    let rows = env.bewit(args).run().expect(0).json();
    assert_eq!(rows[0]["change"], "changed");
    assert_eq!(rows[0]["parts"], json!(["text", "html"]));
    assert!(rows[0]["text"]["line"].as_u64().unwrap() > 1, "{}", rows[0]);
    let same = ["simulate", "--config", "bewit.toml", "--against", "bewit.toml", "--bodies", "events.jsonl"];
    let said = env.bewit(same).run().expect(0);
    said.check(said.out().contains("0 new, 0 gone, 0 changed"), "nothing differs");
    said.check(said.out().contains("mails 1 → 1, nothing changes"), "by rule, too");
}

#[test]
fn mistakes_have_their_exit_codes() {
    let env = two(&Site::mailbox().rule(&rule("a", ANA)), &Site::mailbox().rule(&rule("a", ANA)));
    env.write("events.jsonl", format!("no event\n{}", lines(&[event(1)])));
    let args = ["simulate", "--config", "new.toml", "--against", "bewit.toml", "--json", "events.jsonl"];
    let said = env.bewit(args).run().expect(1);
    said.check(said.err().contains("events.jsonl:1"), "the bad line is named");
    assert_eq!(said.json()[0]["summary"]["unreadable"], 1);
    assert_eq!(said.json()[0]["summary"]["events"], 1);
    env.write("broken.toml", "[smtp\n");
    env.bewit(["simulate", "--config", "broken.toml", "--against", "bewit.toml", "events.jsonl"]).run().expect(2);
    env.bewit(["simulate", "--config", "new.toml", "--against", "nowhere.toml", "events.jsonl"]).run().expect(2);
    env.bewit(["simulate", "--config", "new.toml", "--against", "bewit.toml"]).run().expect(2);
    env.bewit(["simulate", "--config", "new.toml", "events.jsonl"]).run().expect(2);
    env.bewit(["simulate", "--config", "new.toml", "--against", "bewit.toml", "--stored", "events.jsonl"])
        .run()
        .expect(2);
    let said = env.bewit(["simulate", "--config", "new.toml", "--against", "bewit.toml", "--stored"]).run().expect(2);
    said.check(said.err().contains("there is no outbox"), "it says what is missing");
}

#[test]
fn stored_events_are_explained_and_simulated() {
    let old = Site::mailbox().rule(&rule("analyst", &format!("{ANA}\nartifacts_to_ignore = \"Pslist\"")));
    let env = two(&old, &Site::mailbox().rule(&rule("analyst", ANA)));
    let mut large = event(7);
    large["client_metadata"]["notes"] = json!("x".repeat(300 * 1024));
    env.drop_events("a.jsonl", &[event(1), event(2), large]);
    env.once().expect(0);
    assert_eq!(env.mails().len(), 0, "it is ignored");
    env.verify();

    // By today's rules, from what was kept.
    let said = env.bewit(["explain", "--json", "--flow", "F.D000000000001"]).run().expect(0);
    let then = said.json();
    assert_eq!((then.len(), &then[0]["decision"]), (1, &json!("skip")));
    let now = env.bewit(["explain", "-c", "new.toml", "--json", "--flow", "F.D000000000001"]).run().expect(0).json();
    assert_eq!((&now[0]["decision"], &now[0]["recipients"]), (&json!("notify"), &json!(["ana@example.org"])));
    assert_eq!(now[0]["subject"], "ws-17.example.org finished collecting Custom.Windows.Pslist");
    // From a file it is the same.
    env.write("event.jsonl", lines(&[event(1)]));
    let file = env.bewit(["explain", "-c", "new.toml", "--json", "event.jsonl"]).run().expect(0).json();
    assert_eq!(file, now);

    // All of them; the one that was too large says so.
    let all = env.bewit(["explain", "--json", "--stored"]).run().expect(1);
    assert_eq!(all.json().len(), 2);
    all.check(all.err().contains("F.D000000000007") && all.err().contains("only its decisions are kept"), "says why");
    let recent = env.bewit(["explain", "--json", "--since", "1 h"]).run().expect(1);
    assert_eq!(recent.json().len(), 2);
    env.bewit(["explain", "--json", "--since", "soon"]).run().expect(2);
    let none = env.bewit(["explain", "--flow", "F.NONE"]).run().expect(1);
    none.check(none.err().contains("there is no event F.NONE in the outbox"), "it says so");

    let args = ["simulate", "--config", "new.toml", "--against", "bewit.toml", "--stored", "--json"];
    let rows = env.bewit(args).run().expect(1).json();
    let (summary, found) = rows.split_last().unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|row| row["change"] == "new"));
    assert_eq!((&summary["summary"]["events"], &summary["summary"]["unreadable"]), (&json!(2), &json!(1)));
    env.verify();
}

#[test]
fn ten_thousand_events_pass_in_constant_memory() {
    let env = two(&Site::mailbox().rule(&rule("a", ANA)), &Site::mailbox().rule(&rule("b", ANA)));
    let peak = |count: usize| {
        let path = env.write("many.jsonl", lines(&many(0, count)));
        let mut child = Command::new(env.binary())
            .args(["simulate", "--config", "new.toml", "--against", "bewit.toml", "--json"])
            .arg(path)
            .current_dir(env.root())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut rows, mut peak) = (String::new(), 0, 0);
        while out.read_line(&mut line).unwrap() > 0 {
            rows += 1;
            if rows % 500 == 0 && rows < 2 * count {
                peak = memory(child.id(), "VmHWM").max(peak);
            }
            if !line.starts_with("{\"summary\"") {
                line.clear();
            }
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(rows, 2 * count + 1);
        let summary: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&summary["summary"]["new"], &summary["summary"]["gone"]), (&json!(count), &json!(count)));
        peak
    };
    let (small, large) = (peak(500), peak(10_000));
    assert!(large < small + 24 * 1024, "{small} KiB for 500 events, {large} KiB for 10 000");
}
