use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::rule::decide::decide;
use crate::rule::parity::{event_of, rules_of};
use crate::rule::{Decision, TraceVerdict};

/// What the live queue delivers.
fn row(more: Value) -> FlowCompletion {
    let mut row = json!({
        "type": "System.Flow.Completion", "Timestamp": 1_786_500_020, "ClientId": "C.1", "FlowId": "F.1",
        "Flow": {"client_id": "C.1", "session_id": "F.1", "start_time": 1_786_500_001_000_000_i64, "state": 2,
            "artifacts_with_results": ["A/One", "B"],
            "query_stats": [{"Artifact": "A/One", "result_rows": 3, "names_with_response": ["A/One"]}]},
    });
    for (key, value) in more.as_object().unwrap() {
        if key == "Flow" {
            row["Flow"].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        } else {
            row[key] = value.clone();
        }
    }
    event_of(&row)
}

fn rule(keys: &str) -> Rule {
    rules_of(&format!("[[rule]]\nname = \"r\"\nrecipients = [\"duty@example.org\"]\n{keys}")).remove(0)
}

/// The fields that are needed, by name.
fn named(keys: &str, event: &FlowCompletion) -> String {
    let Needs { record, client, metadata, hunt, definitions } = needs(&rule(keys), event);
    let all =
        [(record, "record"), (client, "client"), (metadata, "metadata"), (hunt, "hunt"), (definitions, "definitions")];
    all.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_rule_that_may_mail_needs_what_it_decides_by_and_what_it_shows() {
    for (keys, needed) in [
        ("", "record client"),
        ("client_metadata = [{ field = \"owner\" }]", "record client metadata"),
        ("notify_metadata_email = \"owner\"", "record client metadata"),
        ("artifact_perm_to_alert_on = \"EXECVE\"", "record client definitions"),
    ] {
        assert_eq!(named(keys, &row(json!({}))), needed, "{keys}");
    }
    let hunt = row(json!({"FlowId": "F.1.H"}));
    assert_eq!(named("notify_hunts = true", &hunt), "record client hunt");
    let full = row(json!({"Flow": {"request": {"artifacts": ["A"]}}, "client_info": {}, "client_metadata": {}}));
    assert_eq!(named("notify_metadata_email = \"owner\"", &full), "");
    assert_eq!(named("", &row(json!({"Flow": {"request": {}}}))), "client");
}

#[test]
fn a_rule_that_is_sure_to_skip_needs_nothing() {
    let hunt = json!({"FlowId": "F.1.H"});
    let failed = json!({"FlowId": "F.1.H", "Flow": {"state": 3}});
    let unset = json!({"FlowId": "F.1.H", "Flow": {"state": 0}});
    let cancelled = json!({"Flow": {"state": 3, "status": "Cancelled"}});
    let nothing_found = json!({"FlowId": "F.1.H", "Flow": {"query_stats": [{"Artifact": "A/One", "log_rows": 1}]}});
    const QUIET: &str = "notify_if_results_labels = \"\"\nnotify_if_uploads_labels = \"\"\n";
    for (keys, event, sure) in [
        (QUIET, &hunt, true),
        // The stock labels might force it, as there are rows.
        ("", &hunt, false),
        ("", &nothing_found, true),
        (&format!("{QUIET}error_handling = [\"IncludeHunts\"]"), &failed, false),
        (&format!("{QUIET}error_handling = [\"IncludeHunts\"]"), &hunt, true),
        (&format!("{QUIET}error_handling = [\"IncludeHunts\"]"), &unset, false),
        (&format!("{QUIET}error_handling = []"), &failed, true),
        (&format!("{QUIET}error_handling = [\"IgnoreCancelled\"]"), &cancelled, true),
        (&format!("{QUIET}error_handling = []"), &cancelled, false),
        (&format!("{QUIET}new_client_artifacts = \".\""), &hunt, false),
        (QUIET, &json!({"ClientId": "server"}), true),
        (QUIET, &json!({}), false),
    ] {
        assert_eq!(!needs(&rule(keys), &row(event.clone())).any(), sure, "{keys} {event}");
    }
    // The row's own client is not a new one, and has no label.
    let old = json!({"FlowId": "F.1.H", "client_info": {"first_seen_at": 1_700_000_000}, "hunt": {"hunt_id": "H.1"}});
    assert!(!needs(&rule("new_client_artifacts = \".\""), &row(old)).any());
}

#[test]
fn a_filter_that_is_always_asked_has_a_say() {
    let mut rule = rule("notify_if_results_labels = \"\"\nnotify_if_uploads_labels = \"\"");
    let hunt = row(json!({"FlowId": "F.1.H"}));
    assert!(!needs(&rule, &hunt).any());
    rule.filters = vec![crate::rule::FilterUse { plugin: "ioc".to_owned(), always: false }];
    assert!(!needs(&rule, &hunt).any());
    rule.filters[0].always = true;
    assert!(needs(&rule, &hunt).record);
}

#[test]
fn rows_are_wanted_of_sources_that_a_mail_includes() {
    let full = json!({"Flow": {"request": {"artifacts": ["A"]}, "total_uploaded_files": 3}, "client_info": {}});
    let event = row(full);
    let want =
        |keys: &str, event: &FlowCompletion| wants(&rule(&format!("delay_threshold = 0\n{keys}")), event, &|_| true);
    let rows = |wants: &Wants| -> Vec<(String, Option<u64>, u64)> {
        wants.sources.iter().map(|(name, want)| (name.clone(), want.rows, want.bytes >> 20)).collect()
    };
    const TABLE: &str = "include_result_table_from = [{ source = \"^A/\", columns = \".\", max_rows = 20 }]\n";
    const FILE: &str =
        "include_result_attachment_from = [{ source = \".\", columns = \".\" }]\nattachments_max_mib = 3\n";
    assert_eq!(rows(&want(TABLE, &event)), [("A/One".to_owned(), Some(21), 64)]);
    let both = want(&format!("{TABLE}{FILE}"), &event);
    assert_eq!(rows(&both), [("A/One".to_owned(), None, 64), ("B".to_owned(), None, 3)]);
    let none = want(&format!("{FILE}artifacts_to_alert_on = \"nothing\""), &event);
    assert_eq!(none, Wants::default());
    assert_eq!(want("include_uploads_table_rows = 10", &event).uploads, Some(11));
    assert_eq!(want("include_uploads_table_rows = 0", &event).uploads, None);
    // What is there is not asked for.
    let there = row(json!({"Flow": {"request": {"artifacts": ["A"]}}, "client_info": {}, "results": {"A/One": []}}));
    assert!(rows(&want(TABLE, &there)).is_empty());

    let mut plugin = rule("delay_threshold = 0");
    plugin.filters = vec![crate::rule::FilterUse { plugin: "ioc".to_owned(), always: false }];
    assert_eq!(wants(&plugin, &event, &|_| true).sources.len(), 2, "a filter may read any source");
    assert_eq!(wants(&plugin, &event, &|_| false).sources.len(), 0, "this one reads none");
    let merged = both.and(wants(&plugin, &event, &|_| true));
    assert!(merged.sources.values().all(|want| want.rows.is_none() && want.plugin));
}

fn pattern() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(""),
        Just("."),
        Just(".+"),
        Just("^A"),
        Just("B"),
        Just("prod|^notify"),
        Just("EXECVE"),
        Just("never")
    ]
}

fn any_rule() -> impl Strategy<Value = String> {
    let patterns = prop::collection::vec(pattern(), 8);
    let switches = prop::sample::subsequence(
        vec!["IncludeHunts", "IgnoreCancelled", "IgnoreArtifactFilters", "IgnoreDelay"],
        0..=4,
    );
    let numbers = (prop_oneof![Just(0_i64), Just(10), Just(300)], prop_oneof![Just(0_i64), Just(300), Just(90_000)]);
    (patterns, switches, numbers, any::<(bool, bool, bool)>()).prop_map(
        |(patterns, switches, (delay, new), (hunts, executor, metadata))| {
            let keys = [
                "artifacts_to_alert_on",
                "artifacts_to_ignore",
                "client_labels_to_alert_on",
                "client_labels_to_ignore",
                "artifact_perm_to_alert_on",
                "new_client_artifacts",
                "notify_if_results_labels",
                "notify_if_uploads_labels",
            ];
            let mut text: String =
                keys.iter().zip(patterns).map(|(key, pattern)| format!("{key} = '{pattern}'\n")).collect();
            text += &format!(
                "error_handling = {switches:?}\ndelay_threshold = {delay}\nnew_client_threshold = {new}\n\
                 notify_hunts = {hunts}\nnotify_executor = {executor}\nnotify_metadata_email = '{}'\n",
                if metadata { "owner" } else { "" }
            );
            text
        },
    )
}

fn names(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(of, 0..=of.len())
}

/// An event with all its facts. Only a flow whose id says so is of a hunt, as there is no other to be asked for.
fn any_event() -> impl Strategy<Value = Value> {
    let flow = (
        0..7_u8,
        prop_oneof![Just(""), Just("Cancelled"), Just("cancelled by ana"), Just("boom")],
        names(&["A", "B", "Custom.A"]),
        (0..3_u64, 0..3_u64),
        (prop::option::of(0..1_000_i64), prop::option::of(0..1_000_i64)),
    );
    let client = (names(&["prod", "notify_results", "notify_uploads"]), prop::option::of(-100_000..1_000_i64));
    let more = (any::<bool>(), any::<bool>(), names(&["notify_results", "prod"]), any::<bool>(), any::<bool>());
    (flow, client, more).prop_map(
        |((state, status, artifacts, (rows, files), (created, started)), (labels, seen), (hunt, server, tags, creator, owner))| {
            let at = |second: i64| 1_786_500_000 + second;
            let mut flow = json!({
                "state": state, "status": status,
                "request": {"creator": if creator { "ana@example.org" } else { "" }, "artifacts": artifacts},
                "query_stats": if rows + files > 0 { json!([{"result_rows": rows, "uploaded_files": files}]) } else { json!([]) },
            });
            if let Some(created) = created {
                flow["create_time"] = json!(at(created) * 1_000_000);
            }
            if let Some(started) = started {
                flow["start_time"] = json!(at(started) * 1_000_000);
            }
            let mut event = json!({
                "type": "System.Flow.Completion", "Timestamp": at(400),
                "ClientId": if server { "server" } else { "C.1" },
                "FlowId": if hunt { "F.1.H" } else { "F.1" },
                "Flow": flow,
                "client_info": {"labels": labels},
                "client_metadata": if owner { json!({"owner": "bob@example.org"}) } else { json!({}) },
                "artifact_definitions": [
                    {"name": "A", "required_permissions": ["EXECVE"]}, {"name": "B"}, {"name": "Custom.A"}
                ],
            });
            if let Some(seen) = seen {
                event["client_info"]["first_seen_at"] = json!(at(seen));
            }
            if hunt {
                event["hunt"] = json!({"hunt_id": "H.1", "tags": tags});
            }
            event
        },
    )
}

const FACTS: [&str; 4] = ["client_info", "client_metadata", "hunt", "artifact_definitions"];

/// The event as the live queue has it, with some facts left in.
fn stripped(full: &Value, left: &[bool]) -> Value {
    let mut row = full.clone();
    for (fact, left) in FACTS.iter().zip(left) {
        if !left {
            row.as_object_mut().unwrap().remove(*fact);
        }
    }
    if !left[4] {
        let flow = row["Flow"].as_object_mut().unwrap();
        flow.remove("request");
        flow.remove("create_time");
        // Encoding A leaves out what is zero.
        flow.retain(|_, value| {
            !matches!(value, Value::Array(list) if list.is_empty()) && *value != json!("") && *value != json!(0)
        });
    }
    row
}

/// The event with those facts put back that are needed.
fn completed(row: &Value, full: &Value, needs: Needs) -> Value {
    let mut row = row.clone();
    let object: &mut Map<String, Value> = row.as_object_mut().unwrap();
    let mut put = |name: &str, needed: bool| {
        if let (true, Some(fact)) = (needed, full.get(name)) {
            object.insert(name.to_owned(), fact.clone());
        }
    };
    put("Flow", needs.record);
    put("client_info", needs.client);
    put("client_metadata", needs.metadata);
    put("hunt", needs.hunt);
    put("artifact_definitions", needs.definitions);
    row
}

/// What a decision says, but for how.
fn said(decision: &Decision) -> (Verdict, &[String], Vec<(&str, TraceVerdict)>) {
    let trace = decision.trace.iter().map(|entry| (entry.filter.as_str(), entry.verdict)).collect();
    (decision.decision, &decision.recipients, trace)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn asking_by_need_decides_as_with_all_facts(
        keys in any_rule(),
        events in prop::collection::vec((any_event(), prop::collection::vec(prop::bool::weighted(0.2), 5)), 20),
    ) {
        let rule = rule(&keys);
        for (full, left) in events {
            let row = stripped(&full, &left);
            let needed = needs(&rule, &event_of(&row));
            let with_all = decide(&rule, &event_of(&full));
            if needed.any() {
                let asked = decide(&rule, &event_of(&completed(&row, &full, needed)));
                prop_assert_eq!(said(&asked), said(&with_all), "{} {}", keys, row);
            } else {
                let unasked = decide(&rule, &event_of(&row));
                prop_assert_eq!(unasked.decision, with_all.decision, "{} {}", keys, row);
            }
        }
    }
}
