use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::line::{LineLimits, admit};
use crate::event::rows::Row;

const SECOND: i64 = 1_000_000;

fn event(fields: serde_json::Value) -> FlowCompletion {
    let mut event = json!({"type": FLOW_COMPLETION, "ClientId": "C.1", "FlowId": "F.1"});
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    parse(&event.to_string()).unwrap()
}

/// One flow in the four encodings of one protobuf.
const ENCODINGS: [&str; 4] = [
    // A: the live row. Enums are numbers, zeros are left out.
    r#"{"client_id":"C.1","session_id":"F.1","start_time":1786500100123456,"active_time":1786500122654321,
        "create_time":1786499000000000,"total_uploaded_files":1,"total_uploaded_bytes":2048,"total_collected_rows":42,
        "execution_duration":22530865000,"state":2,"artifacts_with_results":["Windows.System.Pslist"],
        "request":{"creator":"alice","urgent":true,"artifacts":["Windows.System.Pslist"],
          "specs":[{"artifact":"Windows.System.Pslist","parameters":{"env":[{"key":"ProcessRegex","value":"."}]}}]},
        "query_stats":[{"names_with_response":["Windows.System.Pslist"],"Artifact":"Windows.System.Pslist",
          "uploaded_files":1,"result_rows":41}]}"#,
    // B: VQL rows. Enums are names, zeros are there.
    r#"{"client_id":"C.1","session_id":"F.1","start_time":1786500100123456,"active_time":1786500122654321,
        "create_time":1786499000000000,"total_uploaded_files":1,"total_uploaded_bytes":2048,"total_collected_rows":42,
        "execution_duration":22530865000,"state":"FINISHED","status":"","artifacts_with_results":["Windows.System.Pslist"],
        "request":{"creator":"alice","user_data":"","urgent":true,"artifacts":["Windows.System.Pslist"],
          "specs":[{"artifact":"Windows.System.Pslist","parameters":{"env":[{"key":"ProcessRegex","value":".","comment":""}]},
            "cpu_limit":0,"timeout":0}],"compiled_collector_args":[]},
        "query_stats":[{"status":"OK","error_message":"","names_with_response":["Windows.System.Pslist"],
          "Artifact":"Windows.System.Pslist","uploaded_files":1,"result_rows":41}],"AvailableDownloads":{}}"#,
    // C: 64-bit numbers are texts.
    r#"{"client_id":"C.1","session_id":"F.1","start_time":"1786500100123456","active_time":"1786500122654321",
        "create_time":"1786499000000000","total_uploaded_files":"1","total_uploaded_bytes":"2048",
        "total_collected_rows":"42","execution_duration":"22530865000","state":"FINISHED",
        "artifacts_with_results":["Windows.System.Pslist"],
        "request":{"creator":"alice","urgent":true,"artifacts":["Windows.System.Pslist"],
          "specs":[{"artifact":"Windows.System.Pslist","parameters":{"env":[{"key":"ProcessRegex","value":"."}]}}]},
        "query_stats":[{"names_with_response":["Windows.System.Pslist"],"Artifact":"Windows.System.Pslist",
          "uploaded_files":"1","result_rows":"41"}]}"#,
    // D: names in camelCase.
    r#"{"clientId":"C.1","sessionId":"F.1","startTime":"1786500100123456","activeTime":"1786500122654321",
        "createTime":"1786499000000000","totalUploadedFiles":"1","totalUploadedBytes":"2048",
        "totalCollectedRows":"42","executionDuration":"22530865000","state":"FINISHED",
        "artifactsWithResults":["Windows.System.Pslist"],
        "request":{"creator":"alice","urgent":true,"artifacts":["Windows.System.Pslist"],
          "specs":[{"artifact":"Windows.System.Pslist","parameters":{"env":[{"key":"ProcessRegex","value":"."}]}}]},
        "queryStats":[{"namesWithResponse":["Windows.System.Pslist"],"Artifact":"Windows.System.Pslist",
          "uploadedFiles":"1","resultRows":"41"}]}"#,
];

#[test]
fn the_four_encodings_say_the_same() {
    for encoding in ENCODINGS {
        let flow = event(json!({"Flow": serde_json::from_str::<serde_json::Value>(encoding).unwrap()})).flow;
        assert_eq!(flow.create_time, Some(Moment(1_786_499_000_000_000)));
        assert_eq!(flow.start_time, Some(Moment(1_786_500_100_123_456)));
        assert_eq!(flow.active_time, Some(Moment(1_786_500_122_654_321)));
        assert_eq!(flow.execution_duration, Some(22_530_865_000));
        assert_eq!(flow.state, FlowState::Finished);
        assert!(!flow.failed());
        assert_eq!(flow.status, "");
        assert_eq!(flow.creator, "alice");
        assert!(flow.urgent);
        assert_eq!(flow.artifacts, ["Windows.System.Pslist"]);
        assert_eq!(flow.specs[0].artifact, "Windows.System.Pslist");
        assert_eq!(flow.specs[0].parameters, [("ProcessRegex".to_owned(), ".".to_owned())]);
        assert_eq!(flow.artifacts_with_results, ["Windows.System.Pslist"]);
        assert_eq!(flow.query_stats[0].artifact, "Windows.System.Pslist");
        assert_eq!(flow.query_stats[0].names_with_response, ["Windows.System.Pslist"]);
        assert_eq!((flow.query_stats[0].result_rows, flow.query_stats[0].uploaded_files), (41, 1));
        assert_eq!((flow.total_collected_rows, flow.total_uploaded_files, flow.total_uploaded_bytes), (42, 1, 2048));
    }
}

#[test]
fn states_are_numbers_or_names() {
    use FlowState::{Error, Finished, InProgress, Running, Unresponsive, Unset, Waiting};
    for (number, name, state) in [
        (0, "UNSET", Unset),
        (1, "RUNNING", Running),
        (2, "FINISHED", Finished),
        (3, "ERROR", Error),
        (4, "IN_PROGRESS", InProgress),
        (5, "UNRESPONSIVE", Unresponsive),
        (6, "WAITING", Waiting),
    ] {
        for written in [json!(number), json!(name), json!(number.to_string()), json!(f64::from(number))] {
            assert_eq!(event(json!({"Flow": {"state": written}})).flow.state, state);
        }
    }
    for unknown in [json!(7), json!(-1), json!("PAUSED"), json!(null), json!([2]), json!(1e30)] {
        assert_eq!(event(json!({"Flow": {"state": unknown}})).flow.state, Unset);
    }
}

#[test]
fn a_minimal_event_has_no_facts() {
    let event = event(json!({}));
    assert_eq!(event.key.to_string(), "root/C.1/F.1");
    assert_eq!(event.key.timestamp, 0);
    assert!(event.timestamp.is_none() && event.client.is_none() && event.metadata.is_none() && event.hunt.is_none());
    assert!(event.artifact_definitions.is_none() && event.uploads.is_none() && event.results.is_none());
    assert!(event.flow.failed(), "a state that nobody knows counts as failed");
}

#[test]
fn a_live_row_needs_no_type() {
    let row = r#"{"Timestamp":1786500123,"Flow":{"state":2,"query_stats":[{"Artifact":"A","result_rows":41}]},
        "FlowId":"F.D2K1M3N5P7Q9S","ClientId":"C.0123456789abcdef","_ts":1786500123,"_Source":"System.Flow.Completion"}"#;
    let event = parse(row).unwrap();
    assert_eq!(event.key.timestamp, 1_786_500_123);
    assert!(!event.flow.failed());
    assert!(event.flow.artifacts.is_empty() && event.flow.creator.is_empty(), "a live row carries no request");
}

#[test]
fn what_makes_an_event_is_strict() {
    let error = |text: &str| parse(text).unwrap_err();
    assert!(matches!(error(""), EventError::NotJson(_)));
    assert!(matches!(error("{"), EventError::NotJson(_)));
    assert!(matches!(error("{} {}"), EventError::NotJson(_)));
    assert!(matches!(error("[1"), EventError::NotJson(_)));
    assert!(matches!(error(r#"{"results":{"A":[1,]}}"#), EventError::NotJson(_)));
    for (text, kind) in [("[]", "array"), ("null", "null"), ("\"x\"", "string"), (" 7", "number"), ("true", "boolean")]
    {
        assert_eq!(error(text), EventError::NotAnObject(kind));
    }
    assert_eq!(error("{}"), EventError::NoType);
    assert_eq!(error(r#"{"type":null,"_Source":7}"#), EventError::NoType);
    assert_eq!(error(r#"{"type":"Server.Internal.Alerts"}"#), EventError::UnknownType("Server.Internal.Alerts".into()));
    let EventError::UnknownType(quoted) = error(&json!({"type": "\u{1b}[31m".repeat(99)}).to_string()) else {
        panic!()
    };
    assert!(!quoted.contains('\u{1b}') && quoted.len() < 600);
    let typed = |rest: &str| error(&format!(r#"{{"type":"{FLOW_COMPLETION}"{rest}}}"#));
    assert_eq!(typed(""), EventError::Missing("ClientId"));
    assert_eq!(typed(r#","ClientId":"C.1""#), EventError::Missing("FlowId"));
    for bad in [
        json!(""),
        json!(" "),
        json!(7),
        json!(null),
        json!(["C.1"]),
        json!("C.\u{0}"),
        json!("C.1\r\n"),
        json!("x".repeat(257)),
    ] {
        assert_eq!(typed(&format!(r#","ClientId":{bad},"FlowId":"F.1""#)), EventError::Missing("ClientId"));
        assert_eq!(typed(&format!(r#","ClientId":"C.1","FlowId":{bad}"#)), EventError::Missing("FlowId"));
    }
    for good in ["server", "C.1", "my client/7", &"é".repeat(256)] {
        assert!(parse(&json!({"type": FLOW_COMPLETION, "ClientId": good, "FlowId": "F"}).to_string()).is_ok());
    }
}

#[test]
fn no_org_is_the_root_but_a_bad_org_is_not() {
    for none in [json!({}), json!({"OrgId": null}), json!({"OrgId": ""}), json!({"OrgId": 5}), json!({"OrgId": "root"})]
    {
        assert_eq!(event(none).key.org_id, "root");
    }
    assert_eq!(event(json!({"OrgId": "O123"})).key.org_id, "O123");
    let bad = json!({"type": FLOW_COMPLETION, "ClientId": "C.1", "FlowId": "F.1", "OrgId": "O\n"}).to_string();
    assert_eq!(parse(&bad).unwrap_err(), EventError::Missing("OrgId"));
}

#[test]
fn timestamps_come_in_every_unit() {
    let expected = Some(Moment(1_786_500_123 * SECOND));
    for written in [
        json!(1_786_500_123),
        json!("1786500123"),
        json!(1_786_500_123.0),
        json!(1_786_500_123_000_i64),
        json!(1_786_500_123_000_000_i64),
        json!("1786500123000000000"),
        json!("2026-08-12T02:02:03Z"),
        json!("2026-08-12T04:02:03+02:00"),
    ] {
        let event = event(json!({"Timestamp": written}));
        assert_eq!((event.timestamp, event.key.timestamp), (expected, 1_786_500_123), "{written}");
    }
    for none in [json!(null), json!(0), json!(""), json!("yesterday"), json!({})] {
        let event = event(json!({"Timestamp": none}));
        assert_eq!((event.timestamp, event.key.timestamp), (None, 0));
    }
}

#[test]
fn the_last_of_two_keys_counts() {
    let event = parse(
        r#"{"type":"x","type":"System.Flow.Completion","ClientId":"C.1","ClientId":"C.2","FlowId":"F.1",
            "Flow":{"status":"a","status":"b","request":{"creator":"ana","urgent":true},"request":{"creator":"ola"}},
            "client_metadata":{"k":"1","k":"2"},"results":{"A":[1],"B":[],"A":{"file":"a.jsonl"}},
            "hunt":{"hunt_id":"H.1"},"hunt":null}"#,
    )
    .unwrap();
    assert_eq!(event.key.client_id, "C.2");
    assert_eq!((event.flow.status.as_str(), event.flow.creator.as_str(), event.flow.urgent), ("b", "ola", false));
    assert_eq!(event.metadata.unwrap()["k"], "2");
    assert!(event.hunt.is_none());
    let results = event.results.unwrap();
    assert_eq!(results.keys().collect::<Vec<_>>(), ["A", "B"]);
    assert!(matches!(&results["A"], ResultSet::File(name) if name == "a.jsonl"));
}

#[test]
fn clients_are_read_in_both_spellings() {
    for client in [
        json!({"os_info": {"system": "windows", "hostname": "ws-17", "release": "11", "machine": "amd64", "fqdn": "ws-17.x"},
               "first_seen_at": 1_780_000_000, "last_seen_at": 1_786_500_123_000_000_i64, "labels": ["vip", 7, "eu"]}),
        json!({"firstSeenAt": "1780000000", "labels": ["vip", "eu"],
               "osInfo": {"system": "windows", "hostname": "ws-17", "release": "11", "machine": "amd64", "fqdn": "ws-17.x"}}),
    ] {
        let client = event(json!({"client_info": client})).client.unwrap();
        assert_eq!(
            [&client.system, &client.hostname, &client.release, &client.machine, &client.fqdn],
            ["windows", "ws-17", "11", "amd64", "ws-17.x"]
        );
        assert_eq!(client.labels, ["vip", "eu"]);
        assert_eq!(client.first_seen_at, Some(Moment(1_780_000_000 * SECOND)));
    }
    assert_eq!(event(json!({"client_info": {"first_seen_at": 0, "labels": null}})).client.unwrap().first_seen_at, None);
    assert!(event(json!({"client_info": null})).client.is_none());
}

#[test]
fn metadata_is_text_in_stored_order() {
    let metadata =
        event(json!({"client_metadata": {"zone": "b", "rack": 7, "vip": true, "n": null, "camelCase": "x"}})).metadata;
    let pairs: Vec<_> = metadata.unwrap().into_iter().collect();
    let expected = [("zone", "b"), ("rack", "7"), ("vip", "true"), ("n", ""), ("camelCase", "x")];
    assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn hunts_may_be_absent_in_many_ways() {
    for none in [json!(null), json!({}), json!([]), json!("H.1"), json!(false)] {
        assert!(event(json!({"hunt": none})).hunt.is_none(), "{none}");
    }
    for hunt in [
        json!({"hunt_id": "H.1", "hunt_description": "d", "tags": ["t"]}),
        json!({"huntId": "H.1", "huntDescription": "d", "tags": ["t"]}),
    ] {
        let hunt = event(json!({"hunt": hunt})).hunt.unwrap();
        assert_eq!((hunt.id.as_str(), hunt.description.as_str()), ("H.1", "d"));
        assert_eq!(hunt.tags, ["t"]);
    }
    assert!(event(json!({"hunt": {"tags": null}})).is_hunt(), "a hunt without an id is one");
}

#[test]
fn definitions_may_be_one_bare_row() {
    let expected = |event: FlowCompletion| {
        let definitions = event.artifact_definitions.unwrap();
        assert_eq!(definitions.len(), 1);
        assert_eq!(definitions[0].name, "A");
        assert_eq!(definitions[0].required_permissions, ["EXECVE"]);
    };
    let row = json!({"name": "A", "required_permissions": ["EXECVE"]});
    expected(event(json!({"artifact_definitions": [row, {"name": ""}, 7, null]})));
    expected(event(json!({"artifact_definitions": row})));
    expected(event(json!({"artifact_definitions": [{"name": "A", "requiredPermissions": ["EXECVE"]}]})));
    assert!(event(json!({"artifact_definitions": []})).artifact_definitions.unwrap().is_empty());
}

#[test]
fn uploads_of_every_age_are_kept() {
    let uploads = event(json!({"uploads": [
        {"Timestamp": 1, "vfs_path": "fs:/clients/C.1/x/a.txt", "Type": "", "_Components": ["clients", "C.1", "a.txt"],
         "file_size": 2048, "_accessor": "auto", "_client_components": ["C:", "a.txt"], "uploaded_size": "1024",
         "client_path": "C:\\a.txt", "Upload": {"Path": "other", "Size": 9, "StoredSize": 9, "Components": ["x"]}},
        {"client_path": "C:\\a.txt.idx", "Type": "idx", "file_size": 158, "_Components": ["clients", "C.1", "a.txt"]},
        {"vfs_path": "/old/b.txt", "file_size": 3.0, "uploaded_size": 3},
        {"Upload": {"Path": "C:\\c.txt", "Size": 5, "StoredSize": 4, "Components": ["clients", "c.txt"]}},
        {"_client_components": ["C:", "d.txt"]},
        {},
        "no row",
    ]}))
    .uploads
    .unwrap();
    let facts: Vec<_> = uploads
        .iter()
        .map(|upload| {
            let components = upload.components.as_ref().map(Vec::len);
            (upload.path.as_str(), upload.size, upload.uploaded_size, upload.kind.as_str(), components)
        })
        .collect();
    assert_eq!(
        facts,
        [
            ("C:\\a.txt", 2048, 1024, "", Some(3)),
            ("C:\\a.txt.idx", 158, 0, "idx", Some(3)),
            ("/old/b.txt", 3, 3, "", None),
            ("C:\\c.txt", 5, 4, "", Some(2)),
            ("C:/d.txt", 0, 0, "", None),
            ("", 0, 0, "", None),
        ]
    );
    assert_eq!(event(json!({"uploads": {"client_path": "x"}})).uploads.unwrap().len(), 1, "one bare row");
    assert!(event(json!({"uploads": {}})).uploads.unwrap().is_empty());
}

#[test]
fn results_keep_their_text() {
    let line = r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","results":{
        "B/Source":[{"z": 9007199254740993,"a":1.50}],"A":{"file":"rows.jsonl"},"N":null,"S":"rows","O":{"File":"x"},"E":{"file":""}}}"#;
    let results = parse(line).unwrap().results.unwrap();
    assert_eq!(results.keys().collect::<Vec<_>>(), ["B/Source", "A", "N", "S", "O", "E"]);
    let ResultSet::Inline(rows) = &results["B/Source"] else { panic!() };
    assert_eq!(rows.get(), r#"[{"z": 9007199254740993,"a":1.50}]"#);
    assert!(matches!(&results["A"], ResultSet::File(name) if name == "rows.jsonl"));
    assert!(matches!(&results["N"], ResultSet::Inline(rows) if rows.get() == "[]"), "null is empty");
    for unusable in ["S", "O", "E"] {
        assert!(matches!(&results[unusable], ResultSet::Unusable(_)), "{unusable}");
    }
}

#[test]
fn wrong_types_are_empty_not_errors() {
    for wrong in [json!(null), json!(7), json!("x"), json!(true), json!([]), json!([[[1]]]), json!({"x": 1})] {
        let mut fields = serde_json::Map::new();
        for name in [
            "Timestamp",
            "Flow",
            "client_info",
            "client_metadata",
            "hunt",
            "artifact_definitions",
            "uploads",
            "results",
        ] {
            fields.insert(name.to_owned(), wrong.clone());
        }
        let mut flow = serde_json::Map::new();
        for name in
            ["create_time", "state", "status", "request", "query_stats", "artifacts_with_results", "execution_duration"]
        {
            flow.insert(name.to_owned(), wrong.clone());
        }
        event(fields.into());
        event(json!({"Flow": flow, "client_info": {"os_info": wrong, "labels": wrong, "first_seen_at": wrong}}));
        event(json!({"Flow": {"request": {"creator": wrong, "urgent": wrong, "artifacts": wrong, "specs": [wrong,
            {"artifact": wrong, "parameters": wrong}, {"artifact": "A", "parameters": {"env": wrong}},
            {"artifact": "A", "parameters": {"env": [wrong, {"key": wrong, "value": wrong}]}}]}}}));
    }
    let line = format!(
        r#"{{"type":"{FLOW_COMPLETION}","ClientId":"C.1","FlowId":"F.1","Flow":1e999,"x":{}}}"#,
        "[".repeat(300) + &"]".repeat(300)
    );
    assert!(parse(&line).is_ok(), "numbers out of range and deep unknown fields are nobody's business");
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let line = format!("\u{feff}{}", json!({"type": FLOW_COMPLETION, "ClientId": "C.1", "FlowId": "F.1"}));
    assert!(parse(&line).is_ok());
}

#[test]
fn lone_surrogates_are_replaced_by_admission() {
    let line = br#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1",
        "client_info":{"os_info":{"hostname":"a\ud800b"}},"results":{"A":[{"x":"\udfff"}]}}"#;
    assert!(matches!(parse(std::str::from_utf8(line).unwrap()), Err(EventError::NotJson(_))));
    let line = admit(line, &LineLimits::default()).unwrap();
    let event = parse(&line).unwrap();
    assert_eq!(event.client.unwrap().hostname, "a\u{fffd}b");
    let ResultSet::Inline(rows) = &event.results.unwrap()["A"] else { panic!() };
    let row = Row::parse(rows.get().trim_matches(['[', ']'])).unwrap();
    assert_eq!(row.cell("x").unwrap().as_text(), Some("\u{fffd}"));
}

/// Any value, made of the names that events have, so that every reader meets every type.
fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        prop::sample::select(vec!["FINISHED", "1786500123", "2026-08-12T02:02:03Z", "root", ""]).prop_map(Into::into),
    ];
    let name = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "Flow",
            "client_info",
            "client_metadata",
            "hunt",
            "uploads",
            "results",
            "request",
            "specs",
            "parameters",
            "env",
            "key",
            "value",
            "query_stats",
            "queryStats",
            "state",
            "labels",
            "os_info",
            "Upload",
            "Components",
            "Timestamp",
            "create_time",
            "artifacts",
            "file",
            "artifact_definitions",
            "tags",
            "OrgId",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_with_an_identity_is_an_event(value in any_value(), fields in prop::collection::vec(any_value(), 5)) {
        let mut line = if value.is_object() { value } else { json!({"Flow": value}) };
        let object = line.as_object_mut().unwrap();
        for (name, value) in ["Flow", "client_info", "uploads", "results", "Timestamp"].iter().zip(fields) {
            object.insert((*name).to_owned(), value);
        }
        object.insert("type".to_owned(), json!(FLOW_COMPLETION));
        object.insert("ClientId".to_owned(), json!("C.1"));
        object.insert("FlowId".to_owned(), json!("F.1"));
        object.remove("OrgId");
        let text = line.to_string();
        let event = parse(&admit(text.as_bytes(), &LineLimits::default()).unwrap());
        prop_assert!(event.is_ok(), "{:?} {}", event, text);
    }

    #[test]
    fn any_text_is_survived(text in any::<String>(), like in "[\\[\\]{},\"\\\\:a1 é]{0,40}") {
        let _ = (parse(&text), parse(&like));
    }
}
