use serde_json::{Value, json};

use super::*;
use crate::rule::parity::{event_of, rules_of};

/// A flow that passes the defaults: finished, no hunt, took 20 s, of a client that enrolled long before.
fn event() -> Value {
    json!({
        "type": "System.Flow.Completion", "Timestamp": 1_786_500_020, "ClientId": "C.1f2e", "FlowId": "F.C0FFEE",
        "Flow": {
            "create_time": 1_786_500_000_900_000_i64, "start_time": 1_786_500_001_000_000_i64, "state": "FINISHED",
            "request": {"creator": "ana@example.org", "artifacts": ["Windows.System.Pslist"]},
            "query_stats": [{"result_rows": 3, "uploaded_files": 1}],
        },
        "client_info": {"labels": ["prod", "Lab"], "first_seen_at": 1_700_000_000},
        "client_metadata": {"owner": "bob@example.org"},
        "artifact_definitions": [{"name": "Windows.System.Pslist", "required_permissions": ["EXECVE"]}],
    })
}

fn rule(keys: &str) -> Rule {
    rules_of(&format!("[[rule]]\nname = \"r\"\nrecipients = [\"duty@example.org\"]\n{keys}")).remove(0)
}

fn patched(patches: &[(&str, Value)]) -> FlowCompletion {
    let mut event = event();
    for (pointer, value) in patches {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { &mut event } else { event.pointer_mut(parent).unwrap() };
        if value == &json!("(absent)") {
            parent.as_object_mut().unwrap().remove(name);
        } else {
            parent[name] = value.clone();
        }
    }
    event_of(&event)
}

/// Decides, and answers the outcome with what `filter` said.
#[track_caller]
fn check(keys: &str, patches: &[(&str, Value)], filter: &str, said: TraceVerdict, outcome: Verdict) -> Decision {
    let decision = decide(&rule(keys), &patched(patches));
    let entry = decision.trace.iter().find(|entry| entry.filter == filter);
    assert_eq!(entry.map(|entry| entry.verdict), Some(said), "{keys} {patches:?}: {decision:#?}");
    assert_eq!(decision.decision, outcome, "{keys} {patches:?}: {decision:#?}");
    decision
}

use TraceVerdict::{Fail, Force, Note, Off, Pass, Unknown};
use Verdict::{Error, Notify, Skip};

fn absent() -> Value {
    json!("(absent)")
}

#[test]
fn the_defaults_notify() {
    let decision = decide(&rule(""), &patched(&[]));
    assert_eq!((decision.decision, decision.reason.as_str()), (Notify, "matches the filters"));
    assert_eq!(decision.recipients, ["duty@example.org"]);
    let order: Vec<&str> = decision.trace.iter().map(|entry| entry.filter.as_str()).collect();
    assert_eq!(
        order,
        [
            "artifacts_to_alert_on",
            "artifacts_to_ignore",
            "delay_threshold",
            "notify_hunts",
            "error_handling",
            "client_labels_to_alert_on",
            "client_labels_to_ignore",
            "artifact_perm_to_alert_on",
            "new_client_artifacts",
            "notify_if_results_labels",
            "notify_if_uploads_labels",
            "recipients",
            "notify_executor",
            "notify_metadata_email",
        ]
    );
}

#[test]
fn flows_of_the_server_are_skipped_whatever_else() {
    let keys = "new_client_artifacts = '.*'\nnew_client_threshold = 9999999999";
    check(keys, &[("/ClientId", json!("server"))], "client_id", Fail, Skip);
    check(keys, &[("/ClientId", json!("Server"))], "new_client_artifacts", Force, Notify);
}

#[test]
fn artifacts() {
    let artifacts = |names: Value| ("/Flow/request/artifacts", names);
    let on = "artifacts_to_alert_on";
    check("artifacts_to_alert_on = 'pslist'", &[], on, Pass, Notify);
    check("artifacts_to_alert_on = '^pslist'", &[], on, Fail, Skip);
    check("artifacts_to_alert_on = ''", &[artifacts(json!([]))], on, Off, Notify);
    check("artifacts_to_alert_on = '.*'", &[artifacts(json!([]))], on, Pass, Notify);
    check("artifacts_to_alert_on = '.'", &[("/Flow/request", absent())], on, Pass, Notify);
    check("", &[artifacts(json!([]))], on, Unknown, Skip);
    check("artifacts_to_alert_on = 'b$'", &[artifacts(json!(["a", "B"]))], on, Pass, Notify);

    let off = "artifacts_to_ignore";
    check("", &[artifacts(json!(["Custom.generic.client.info"]))], off, Fail, Skip);
    check("artifacts_to_ignore = ''", &[artifacts(json!(["Generic.Client.Info"]))], off, Off, Notify);
    check("artifacts_to_ignore = '.'", &[artifacts(json!(["a", "b"]))], off, Pass, Notify);
    check("artifacts_to_ignore = '.'", &[], off, Fail, Skip);
}

#[test]
fn failures_may_pass_the_artifact_filters_and_the_delay() {
    let failed = ("/Flow/state", json!("ERROR"));
    let keys = "error_handling = [\"IgnoreArtifactFilters\"]\nartifacts_to_alert_on = 'x'\nartifacts_to_ignore = '.'";
    check(keys, std::slice::from_ref(&failed), "artifacts_to_alert_on", Pass, Notify);
    check(keys, std::slice::from_ref(&failed), "artifacts_to_ignore", Pass, Notify);
    check(keys, &[], "artifacts_to_alert_on", Fail, Skip);
    let keys = "error_handling = [\"IgnoreDelay\"]\ndelay_threshold = 100";
    check(keys, std::slice::from_ref(&failed), "delay_threshold", Pass, Notify);
    check(keys, &[], "delay_threshold", Fail, Skip);
    // What is neither finished nor known has failed; labels and permissions make no exception.
    for state in [json!("RUNNING"), json!(0), absent(), Value::Null] {
        check(keys, &[("/Flow/state", state)], "delay_threshold", Pass, Notify);
    }
    let keys = "error_handling = [\"IgnoreArtifactFilters\", \"IgnoreDelay\"]\nclient_labels_to_ignore = 'prod'";
    check(keys, &[failed], "client_labels_to_ignore", Fail, Skip);
}

#[test]
fn delay() {
    let filter = "delay_threshold";
    // 20 s after a creation that is floored to whole seconds.
    check("delay_threshold = 20", &[], filter, Pass, Notify);
    check("delay_threshold = 21", &[], filter, Fail, Skip);
    check("delay_threshold = 0", &[("/Timestamp", json!(5))], filter, Off, Notify);
    check("delay_threshold = -7", &[("/Timestamp", absent())], filter, Off, Notify);
    check("delay_threshold = 1", &[("/Timestamp", absent())], filter, Unknown, Skip);
    check("delay_threshold = 9999", &[("/Flow/create_time", json!(0))], filter, Unknown, Notify);
    check("delay_threshold = 9999", &[("/Flow/create_time", absent())], filter, Unknown, Notify);
}

#[test]
fn hunts() {
    let filter = "notify_hunts";
    let id = |id: &str| ("/FlowId", json!(id));
    check("", &[id("F.C0FFEE.H")], filter, Fail, Skip);
    for other in ["F.C0FFEE.h", "F.C0FFEEH", "F.C0FFEE-H", "F.C0FFEE.HH"] {
        check("", &[id(other)], filter, Pass, Notify);
    }
    check("", &[("/hunt", json!({"hunt_id": "H.1"}))], filter, Fail, Skip);
    check("", &[("/hunt", Value::Null)], filter, Pass, Notify);
    check("notify_hunts = true", &[id("F.C0FFEE.H")], filter, Pass, Notify);
    let keys = "error_handling = [\"IncludeHunts\"]";
    check(keys, &[id("F.C0FFEE.H")], filter, Fail, Skip);
    check(keys, &[id("F.C0FFEE.H"), ("/Flow/state", json!(3))], filter, Pass, Notify);
}

#[test]
fn cancelled_flows() {
    let status = |text: &str| ("/Flow/status", json!(text));
    for text in ["Cancelled", "cancelled by eve", "CANCELLED by VQL query"] {
        check("", &[status(text)], "error_handling", Fail, Skip);
        check("error_handling = []", &[status(text)], "error_handling", Off, Notify);
    }
    for text in ["", "Was Cancelled", " Cancelled", "trouble\nCancelled by eve", "Cancelle", "Cancelleđ"] {
        check("", &[status(text)], "error_handling", Pass, Notify);
    }
}

#[test]
fn labels() {
    let none = ("/client_info/labels", json!([]));
    let filter = "client_labels_to_alert_on";
    for pattern in ["", ".", ".*", ".+"] {
        check(&format!("{filter} = '{pattern}'"), std::slice::from_ref(&none), filter, Off, Notify);
    }
    check(&format!("{filter} = '^lab$'"), &[], filter, Pass, Notify);
    check(&format!("{filter} = '^.*$'"), std::slice::from_ref(&none), filter, Fail, Skip);
    check(&format!("{filter} = 'x'"), &[], filter, Fail, Skip);
    check(&format!("{filter} = 'lab'"), &[("/client_info", absent())], filter, Unknown, Skip);

    let filter = "client_labels_to_ignore";
    for pattern in [".", ".*", ".+", "^lab$"] {
        check(&format!("{filter} = '{pattern}'"), &[], filter, Fail, Skip);
        check(&format!("{filter} = '{pattern}'"), std::slice::from_ref(&none), filter, Pass, Notify);
        check(&format!("{filter} = '{pattern}'"), &[("/client_info", Value::Null)], filter, Unknown, Notify);
    }
    check(&format!("{filter} = ''"), &[], filter, Off, Notify);
}

#[test]
fn permissions() {
    let filter = "artifact_perm_to_alert_on";
    let definitions = |value: Value| ("/artifact_definitions", value);
    let of = |name: &str, permissions: Value| json!([{"name": name, "required_permissions": permissions}]);
    check(&format!("{filter} = 'execve'"), &[], filter, Pass, Notify);
    check(&format!("{filter} = 'NETWORK'"), &[], filter, Fail, Skip);
    // Definitions of other artifacts, in whatever case, do not count.
    for name in ["windows.system.pslist", "Other"] {
        check(&format!("{filter} = '.'"), &[definitions(of(name, json!(["EXECVE"])))], filter, Unknown, Skip);
    }
    for (pattern, said, outcome) in [(".", Pass, Notify), (".*", Pass, Notify), (".+", Fail, Skip)] {
        let known = definitions(of("Windows.System.Pslist", json!([])));
        check(&format!("{filter} = '{pattern}'"), &[known], filter, said, outcome);
    }
    check(&format!("{filter} = '.*'"), &[definitions(absent())], filter, Unknown, Skip);
    let nothing_requested = ("/Flow/request/artifacts", json!([]));
    let keys = format!("{filter} = 'EXECVE'\nartifacts_to_alert_on = ''");
    check(&keys, std::slice::from_ref(&nothing_requested), filter, Pass, Notify);
    check(&keys, &[nothing_requested, definitions(json!([]))], filter, Unknown, Skip);
}

#[test]
fn new_clients() {
    let filter = "new_client_artifacts";
    let seen = |seconds: i64| ("/client_info/first_seen_at", json!(seconds));
    let keys = "new_client_artifacts = 'pslist'\nclient_labels_to_ignore = '.'";
    // The start is at …001.
    check(keys, &[seen(1_786_499_702)], filter, Force, Notify);
    check(keys, &[seen(1_786_499_701)], filter, Note, Skip);
    check(keys, &[seen(1_786_600_000)], filter, Force, Notify);
    check(keys, &[seen(0)], filter, Unknown, Skip);
    let started = |value: Value| ("/Flow/start_time", value);
    check(keys, &[seen(1_786_499_702), started(json!(0))], filter, Force, Notify);
    let created = ("/Flow/create_time", absent());
    check(keys, &[seen(1_786_499_702), started(absent()), created], filter, Unknown, Skip);
    check("client_labels_to_ignore = '.'", &[seen(1_786_500_000)], filter, Off, Skip);
    check("new_client_artifacts = 'x'\nclient_labels_to_ignore = '.'", &[seen(1_786_500_000)], filter, Note, Skip);
    let keys = "new_client_artifacts = '.'\nnew_client_threshold = 0\nclient_labels_to_ignore = '.'";
    check(keys, &[seen(1_786_500_001)], filter, Note, Skip);
    check(keys, &[seen(1_786_500_002)], filter, Force, Notify);
    check(keys, &[seen(1_786_500_002), ("/Flow/request/artifacts", json!([]))], filter, Force, Notify);
}

#[test]
fn labels_that_force() {
    for (filter, field) in [("notify_if_results_labels", "result_rows"), ("notify_if_uploads_labels", "uploaded_files")]
    {
        let keys = |pattern: &str| format!("{filter} = '{pattern}'\nartifacts_to_alert_on = 'x'");
        let labels = |labels: Value| ("/client_info/labels", labels);
        check(&keys("^lab$"), &[], filter, Force, Notify);
        check(&keys("^la$"), &[], filter, Note, Skip);
        check(&keys(""), &[], filter, Off, Skip);
        check(&keys("^lab$"), &[("/client_info", absent())], filter, Unknown, Skip);
        for pattern in [".", ".*", ".+"] {
            check(&keys(pattern), &[], filter, Force, Notify);
            check(&keys(pattern), &[labels(json!([]))], filter, Note, Skip);
        }
        // The totals do not count, the queries do.
        let nothing = [("/Flow/query_stats", json!([{"other": 1}])), ("/Flow/total_collected_rows", json!(5))];
        check(&keys("^lab$"), &nothing, filter, Note, Skip);
        let several = ("/Flow/query_stats", json!([{}, {field: 1}]));
        check(&keys("^lab$"), &[several], filter, Force, Notify);
        let hunt = |tags: Value| [("/FlowId", json!("F.1.H")), ("/hunt", json!({"tags": tags})), labels(json!([]))];
        check(&keys("^tag$"), &hunt(json!(["x", "TAG"])), filter, Force, Notify);
        check(&keys("^tag$"), &hunt(json!([])), filter, Note, Skip);
        check(&keys("^tag$"), &[("/FlowId", json!("F.1.H"))], filter, Unknown, Skip);
    }
}

#[test]
fn what_forces_beats_what_stops_and_the_reason_says_which() {
    let decision =
        check("notify_if_results_labels = '^lab$'\ndelay_threshold = 99", &[], "delay_threshold", Fail, Notify);
    assert_eq!(decision.reason, "notify_if_results_labels: label `Lab` matches `^lab$`, and there are 3 rows");
    let keys = "client_labels_to_ignore = '^lab$'\ndelay_threshold = 99\nartifact_perm_to_alert_on = 'zzz'";
    let decision = check(keys, &[], "delay_threshold", Fail, Skip);
    assert_eq!(
        decision.reason,
        "delay_threshold: 20 s from creation to completion, less than 99 s (and 2 other filters)"
    );
    let decision = check("client_labels_to_ignore = '^lab$'", &[], "client_labels_to_ignore", Fail, Skip);
    assert_eq!(decision.reason, "client_labels_to_ignore: label `Lab` matches `^lab$`");
    assert!(decision.recipients.is_empty());
}

#[test]
fn nobody_to_tell_is_an_error_only_when_a_mail_is_due() {
    let rule = rules_of("[[rule]]\nname = \"r\"\nnotify_executor = true\nnotify_metadata_email = \"Owner\"").remove(0);
    let nobody = [("/Flow/request/creator", json!("bob"))];
    let decision = decide(&rule, &patched(&nobody));
    assert_eq!(decision.decision, Error);
    assert_eq!(
        decision.reason,
        "no recipients: `bob` is no address, and there is no table of domains; the client has no metadata field `Owner`"
    );
    assert!(decision.recipients.is_empty());
    let skipped = [("/Flow/request/creator", json!("bob")), ("/FlowId", json!("F.1.H"))];
    assert_eq!(decide(&rule, &patched(&skipped)).decision, Skip);
    let rule = rules_of("[[rule]]\nname = \"r\"").remove(0);
    assert_eq!(decide(&rule, &patched(&[])).reason, "no recipients: no source of them is set");
}

#[test]
fn hostile_values_are_shown_harmless() {
    let name = format!("\u{1b}[2J\u{202e}{}", "x".repeat(500));
    let decision = check("", &[("/Flow/request/artifacts", json!([name]))], "artifacts_to_alert_on", Pass, Notify);
    let text = serde_json::to_string(&decision).unwrap();
    assert!(!text.contains('\u{202e}') && !text.contains("\\u001b") && text.len() < 4000, "{text}");
    assert!(decision.trace[0].detail.starts_with(r"`\u{1b}[2J\u{202e}xxx"), "{:?}", decision.trace[0]);
}
