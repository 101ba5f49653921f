use serde_json::{Value, json};

use super::*;
use crate::rule::parity::{event_of, rules_of};

fn event(creator: Value, metadata: Value) -> FlowCompletion {
    event_of(&json!({
        "type": "System.Flow.Completion", "ClientId": "C.1", "FlowId": "F.1",
        "Flow": {"request": {"creator": creator}}, "client_metadata": metadata,
    }))
}

fn rule(keys: &str) -> Rule {
    rules_of(&format!("[[rule]]\nname = \"r\"\n{keys}")).remove(0)
}

#[track_caller]
fn addresses(keys: &str, creator: Value, metadata: Value, expected: &[&str]) -> Vec<TraceEntry> {
    let gathered = gather(&rule(keys), &event(creator, metadata));
    assert_eq!(gathered.addresses, expected, "{:#?}", gathered.notes);
    gathered.notes
}

fn noted(notes: &[TraceEntry], filter: &str, part: &str) -> bool {
    notes.iter().any(|note| note.filter == filter && note.verdict == TraceVerdict::Note && note.detail.contains(part))
}

const TABLE: &str = "notify_executor = true
notify_executor_domains = [
    { username_regex = '^a', domain = \"example.org\" },
    { username_regex = '.+', domain = \"EXAMPLE.net\" },
    { username_regex = '', domain = \"example.net\" },
]
";

#[test]
fn order_and_repetition() {
    let keys = "recipients = [\"SOC@example.org\", \"soc@example.org\", \"ana@example.org\"]
notify_executor = true
notify_metadata_email = \"owner\"";
    addresses(
        keys,
        json!("ana@EXAMPLE.org"),
        json!({"owner": " bob@example.org "}),
        &["SOC@example.org", "soc@example.org", "ana@example.org", "bob@example.org"],
    );
    let notes = addresses(
        keys,
        json!("eve@example.org"),
        json!({"owner": "eve@EXAMPLE.ORG"}),
        &["SOC@example.org", "soc@example.org", "ana@example.org", "eve@example.org"],
    );
    assert!(notes.iter().any(|note| note.detail.ends_with("told already")), "{notes:#?}");
}

#[test]
fn the_executor() {
    addresses(TABLE, json!("ana@corp.example"), json!({}), &["ana@corp.example"]);
    addresses(TABLE, json!("Alice"), json!({}), &["Alice@example.org", "Alice@EXAMPLE.net"]);
    addresses(TABLE, json!("jörg"), json!({}), &["jörg@EXAMPLE.net"]);
    for creator in ["a@b@c", "x@", "@foo", "ana@ex ample.org"] {
        let notes = addresses(TABLE, json!(creator), json!({}), &[]);
        assert!(noted(&notes, "notify_executor", "is not an e-mail address"), "{notes:#?}");
    }
    let notes = addresses(TABLE, json!("Ana Maria"), json!({}), &[]);
    assert!(noted(&notes, "notify_executor_domains", "`Ana Maria@example.org`"), "{notes:#?}");
    let notes = addresses(TABLE, json!("InterrogationService"), json!({}), &[]);
    assert!(noted(&notes, "notify_executor", "InterrogationService"), "{notes:#?}");
    for creator in [json!(""), Value::Null] {
        let notes = addresses(TABLE, creator, json!({}), &[]);
        assert!(notes.iter().any(|note| note.verdict == TraceVerdict::Unknown), "{notes:#?}");
    }
    let table = TABLE.replace("= true", "= false");
    addresses(&table, json!("alice"), json!({}), &[]);
    addresses(&table, json!("ana@corp.example"), json!({}), &[]);
    let notes = addresses("notify_executor = true", json!("alice"), json!({}), &[]);
    assert!(noted(&notes, "notify_executor", "no table"), "{notes:#?}");
}

#[test]
fn metadata() {
    let keys = "notify_metadata_email = \"owner\"";
    addresses(keys, json!("x"), json!({"owner": "x@localhost"}), &["x@localhost"]);
    for value in ["nobody", "Ana <ana@example.org>", "a@b.example, c@d.example", "a@b\r\nBcc: eve@x.example"] {
        let notes = addresses(keys, json!("x"), json!({"owner": value}), &[]);
        assert!(noted(&notes, "notify_metadata_email", "dropped"), "{notes:#?}");
        assert!(notes.iter().all(|note| !note.detail.contains('\n')), "{notes:#?}");
    }
    let notes = addresses(keys, json!("x"), json!({"Owner": "x@localhost"}), &[]);
    assert!(noted(&notes, "notify_metadata_email", "no metadata field"), "{notes:#?}");
    let notes = addresses(keys, json!("x"), json!({"owner": "  "}), &[]);
    assert!(noted(&notes, "notify_metadata_email", "is empty"), "{notes:#?}");
    let notes = addresses(keys, json!("x"), Value::Null, &[]);
    assert!(notes.iter().any(|note| note.verdict == TraceVerdict::Unknown), "{notes:#?}");
}
