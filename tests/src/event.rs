//! Events as Velociraptor would hand them over, made up.

use serde_json::{Value, json};

/// A finished collection on a workstation, urgent enough for any rule: it was asked for by a person, took long, and is
/// of no hunt. Each `n` is another flow.
#[must_use]
pub fn event(n: usize) -> Value {
    let flow = format!("F.D{n:012X}");
    json!({
        "type": "System.Flow.Completion",
        "Timestamp": 1_786_500_123_i64 + n as i64,
        "ClientId": "C.0123456789abcdef",
        "FlowId": flow,
        "OrgId": "root",
        "Flow": {
            "client_id": "C.0123456789abcdef",
            "session_id": flow,
            "request": {
                "creator": "ana@example.org",
                "artifacts": ["Custom.Windows.Pslist"],
                "specs": [{"artifact": "Custom.Windows.Pslist",
                           "parameters": {"env": [{"key": "ProcessRegex", "value": "svc.*"}]}}],
            },
            "create_time": 1_786_499_000_000_000_i64,
            "start_time": 1_786_499_990_000_000_i64,
            "active_time": 1_786_500_110_000_000_i64,
            "execution_duration": 22_530_865_000_i64,
            "state": "FINISHED",
            "status": "",
            "total_collected_rows": 2,
            "artifacts_with_results": ["Custom.Windows.Pslist"],
            "query_stats": [{"status": "OK", "Artifact": "Custom.Windows.Pslist", "result_rows": 2,
                             "names_with_response": ["Custom.Windows.Pslist"]}],
        },
        "client_info": {
            "client_id": "C.0123456789abcdef",
            "os_info": {"system": "windows", "hostname": "ws-17", "fqdn": "ws-17.example.org",
                        "release": "Windows 11", "machine": "amd64"},
            "first_seen_at": 1_780_000_000,
            "labels": ["workstation"],
        },
        "client_metadata": {"owner": "kim@example.org", "site": "Tromsø"},
        "artifact_definitions": [{"name": "Custom.Windows.Pslist", "required_permissions": []}],
        "uploads": [],
        "results": {"Custom.Windows.Pslist": [
            {"Name": "svchost.exe", "Pid": 812, "CommandLine": format!("token-{n} -k netsvcs")},
            {"Name": "smss.exe", "Pid": 388, "CommandLine": ""},
        ]},
    })
}

/// What only the mail of [`event`] `n` has in it: in its result rows.
#[must_use]
pub fn token(n: usize) -> String {
    format!("token-{n} ")
}

/// The event's name in outputs: `org/client/flow`.
#[must_use]
pub fn key(event: &Value) -> String {
    format!(
        "{}/{}/{}",
        event["OrgId"].as_str().unwrap_or("root"),
        event["ClientId"].as_str().unwrap(),
        event["FlowId"].as_str().unwrap()
    )
}

/// Events as JSON Lines.
#[must_use]
pub fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// `count` different events, numbered from `first`.
#[must_use]
pub fn many(first: usize, count: usize) -> Vec<Value> {
    (first..first + count).map(event).collect()
}

/// A fixture's text, such as `hostile`.
#[must_use]
pub fn fixture(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/events/{name}.jsonl"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fixture's only event.
#[must_use]
pub fn fixture_event(name: &str) -> Value {
    serde_json::from_str(fixture(name).trim()).unwrap()
}
