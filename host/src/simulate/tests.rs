use super::*;
use crate::config::load::load_offline;
use crate::event;

const EVENT: &str = r#"{"type":"System.Flow.Completion","Timestamp":1786500123,"ClientId":"C.1","FlowId":"F.ONE","OrgId":"root","Flow":{"state":"FINISHED","create_time":1,"request":{"artifacts":["A.One"]},"artifacts_with_results":["A.One"]}}"#;

/// A configuration of some rules: name, recipients, other keys.
fn snapshot(rules: &[(&str, &str, &str)]) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    let mut text =
        "[smtp]\nmailbox = \"mail\"\nfrom = \"Bewit <bewit@example.org>\"\n[outbox]\nurl = \"sqlite:b.db\"\n"
            .to_owned();
    for (name, recipients, keys) in rules {
        text.push_str(&format!(
            "[[rule]]\nname = \"{name}\"\nrecipients = {recipients}\ndelay_threshold = 0\n\
             artifacts_to_alert_on = \"\"\n{keys}\n"
        ));
    }
    let path = dir.path().join("bewit.toml");
    std::fs::write(&path, text).unwrap();
    Snapshot::build(load_offline(&path).unwrap()).unwrap()
}

fn run(old: &Snapshot, new: &Snapshot, bodies: bool, lines: &[&str]) -> (Vec<Difference>, Summary) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = bodies.then(|| BlobStore::open(dir.path().join("blobs")).unwrap());
    let mut simulation = Simulation::new(Side::of(old), Side::of(new), blobs.as_ref());
    let mut found = Vec::new();
    for line in lines {
        let event = event::read(line.as_bytes(), &old.config.limits).unwrap();
        let now = Timestamp::from_second(1_786_600_000).unwrap();
        simulation
            .event(&event, &RowReader::new(None), now, |difference| {
                found.push(difference);
                Ok::<(), std::io::Error>(())
            })
            .unwrap();
    }
    (found, simulation.summary())
}

const ANA: &str = "[\"ana@example.org\"]";

#[test]
fn the_same_is_no_difference() {
    let rules = [("a", ANA, ""), ("b", "[\"x@example.org\", \"y@example.org\"]", "artifacts_to_ignore = \"One\"")];
    let (found, summary) = run(&snapshot(&rules), &snapshot(&rules), true, &[EVENT, EVENT]);
    assert_eq!(found, []);
    assert_eq!((summary.events, summary.new, summary.gone, summary.changed, summary.decision), (2, 0, 0, 0, 0));
    assert_eq!((summary.rules[0].old_mails, summary.rules[0].new_mails), (2, 2));
    assert_eq!((summary.rules[1].old_mails, summary.rules[1].new_mails), (0, 0));
    assert!(!summary.rules[0].any() && summary.rules.iter().all(|counts| counts.only.is_none()));
}

#[test]
fn mails_come_and_go_by_rule() {
    let quiet = "artifacts_to_ignore = \"One\"";
    let old = snapshot(&[("comes", ANA, quiet), ("goes", ANA, ""), ("old", ANA, ""), ("mute", ANA, quiet)]);
    let new = snapshot(&[("new", ANA, ""), ("goes", ANA, quiet), ("comes", ANA, ""), ("silent", ANA, quiet)]);
    let other = EVENT.replace("A.One", "A.Two");
    let (found, summary) = run(&old, &new, false, &[EVENT, &other]);
    let listed: Vec<_> = found
        .iter()
        .map(|difference| {
            (difference.rule.as_str(), difference.change, difference.old.is_some(), difference.new.is_some())
        })
        .collect();
    assert_eq!(
        listed,
        [
            ("comes", Change::New, true, true),
            ("goes", Change::Gone, true, true),
            ("old", Change::Gone, true, false),
            ("new", Change::New, false, true),
            // The other event: both mail what one ignored.
            ("old", Change::Gone, true, false),
            ("mute", Change::Gone, true, false),
            ("new", Change::New, false, true),
            ("silent", Change::New, false, true),
        ]
    );
    assert_eq!(found[0].event, "root/C.1/F.ONE");
    let (was, is) = (found[0].old.as_ref().unwrap(), found[0].new.as_ref().unwrap());
    assert_eq!((was.decision, is.decision), (Verdict::Skip, Verdict::Notify));
    assert!(was.reason.contains("artifacts_to_ignore") && was.subject.is_none() && was.recipients.is_empty());
    assert_eq!(is.recipients, ["ana@example.org"]);
    assert!(is.subject.as_deref().unwrap().contains("A.One"));
    let names: Vec<_> = summary.rules.iter().map(|counts| (counts.rule.as_str(), counts.only)).collect();
    assert_eq!(
        names,
        [
            ("comes", None),
            ("goes", None),
            ("old", Some(Only::Old)),
            ("mute", Some(Only::Old)),
            ("new", Some(Only::New)),
            ("silent", Some(Only::New)),
        ]
    );
    assert_eq!((summary.new, summary.gone, summary.changed), (4, 4, 0));
    assert_eq!((summary.rules[2].old_mails, summary.rules[2].new_mails, summary.rules[2].gone), (2, 0, 2));
}

#[test]
fn changed_mails_say_what_changed() {
    let old = snapshot(&[("a", "[\"x@example.org\", \"y@example.org\"]", "")]);
    // The order is none of a recipient's business.
    let (found, _) = run(&old, &snapshot(&[("a", "[\"y@example.org\", \"x@example.org\"]", "")]), true, &[EVENT]);
    assert_eq!(found, []);
    let (found, summary) = run(&old, &snapshot(&[("a", ANA, "")]), false, &[EVENT]);
    assert_eq!((found[0].change, &*found[0].parts), (Change::Changed, &[Part::Recipients][..]));
    assert_eq!(summary.rules[0].changed, 1);

    // What only shows in the bodies is found when they are compared.
    let new = snapshot(&[("a", "[\"x@example.org\", \"y@example.org\"]", "html = false")]);
    assert_eq!(run(&old, &new, false, &[EVENT]).0, []);
    let (found, _) = run(&old, &new, true, &[EVENT]);
    assert_eq!(found[0].parts, [Part::Html]);
    assert_eq!(found[0].text, None);
}

#[test]
fn an_error_that_comes_or_goes_is_told() {
    // Nobody can be told: an error, where a filter would have skipped.
    let old = snapshot(&[("a", "[]", "artifacts_to_ignore = \"One\"\nnotify_executor = true")]);
    let new = snapshot(&[("a", "[]", "notify_executor = true")]);
    let (found, summary) = run(&old, &new, false, &[EVENT]);
    assert_eq!(found[0].change, Change::Decision, "{found:?}");
    assert_eq!(found[0].new.as_ref().unwrap().decision, Verdict::Error);
    assert_eq!((summary.decision, summary.new), (1, 0));
    assert_eq!(run(&new, &new, false, &[EVENT]).0, []);
}

#[test]
fn the_first_line_that_differs() {
    let change = |line, old: Option<&str>, new: Option<&str>| {
        Some(TextChange { line, old: old.map(str::to_owned), new: new.map(str::to_owned) })
    };
    assert_eq!(differing_line("a\nb\n", "a\nb\n"), None);
    assert_eq!(differing_line("", ""), None);
    assert_eq!(differing_line("a\nb\nc", "a\nx\nc"), change(2, Some("b"), Some("x")));
    assert_eq!(differing_line("a\n", "a"), change(2, Some(""), None));
    assert_eq!(differing_line("a", "a\nb"), change(2, None, Some("b")));
}

#[test]
fn what_could_not_be_read_is_counted_and_the_json_is_the_contract() {
    let (old, new) = (snapshot(&[]), snapshot(&[("a", ANA, "")]));
    let mut simulation = Simulation::new(Side::of(&old), Side::of(&new), None);
    simulation.unreadable();
    assert_eq!(simulation.summary().unreadable, 1);
    let (found, summary) = run(&old, &new, false, &[EVENT]);
    let json = serde_json::to_value(&found[0]).unwrap();
    assert_eq!(json["change"], "new");
    assert_eq!(json["old"], serde_json::Value::Null);
    assert_eq!(json["new"]["decision"], "notify");
    assert_eq!(json["parts"], serde_json::json!([]));
    assert!(json.get("text").is_none());
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(
        json["rules"][0],
        serde_json::json!({"rule":"a","only":"new","old_mails":0,"new_mails":1,"new":1,"gone":0,"changed":0,"decision":0})
    );
}
