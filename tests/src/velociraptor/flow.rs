//! Flows as Velociraptor would record them, made up: the row of `flows()`, which has everything, and the `Flow` of a live
//! row, which is rebuilt from what the client says and has less. They are made when they are asked for, so that a hundred
//! thousand of them are cheap.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// A flow. All fields may be changed before it is put into the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Client id.
    pub client: String,
    /// Flow id; `F.….H` makes it one of a hunt.
    pub id: String,
    /// Who asked for it.
    pub creator: String,
    /// Whether it was to overtake others.
    pub urgent: bool,
    /// Artifacts asked for, each with one parameter.
    pub artifacts: Vec<String>,
    /// Sources with results, and their rows.
    pub sources: Vec<(String, u64)>,
    /// Files uploaded, of 2048 bytes each.
    pub files: u64,
    /// Whether it failed.
    pub failed: bool,
    /// The reason, if there is one; `Cancelled by ana` is a cancelled flow's.
    pub status: String,
    /// When it was asked for, in microseconds.
    pub create_time: i64,
    /// When the client began, by its clock, in microseconds.
    pub start_time: i64,
    /// When the client ended, by its clock, in microseconds.
    pub active_time: i64,
    /// The longest query, in nanoseconds.
    pub duration: i64,
    /// Replaces fields of the row of `flows()`, such as a `request` of megabytes.
    pub patch: Map<String, Value>,
}

impl Flow {
    /// A process list that Ana asked for a quarter of an hour ago, and that has just come, with two rows.
    #[must_use]
    pub fn new(client: &str, id: &str) -> Self {
        let now = micros();
        Self {
            client: client.to_owned(),
            id: id.to_owned(),
            creator: "ana@example.org".to_owned(),
            urgent: false,
            artifacts: vec!["Custom.Windows.Pslist".to_owned()],
            sources: vec![("Custom.Windows.Pslist".to_owned(), 2)],
            files: 0,
            failed: false,
            status: String::new(),
            create_time: now - 900_000_000,
            start_time: now - 30_000_000,
            active_time: now - 1_000_000,
            duration: 22_530_865_000,
            patch: Map::new(),
        }
    }

    /// Replaces a field of the row of `flows()`.
    #[must_use]
    pub fn patch(mut self, key: &str, value: Value) -> Self {
        self.patch.insert(key.to_owned(), value);
        self
    }

    /// The row of `flows()`: every field there, enums by name.
    #[must_use]
    pub fn row(&self) -> Value {
        let specs: Vec<Value> = self
            .artifacts
            .iter()
            .map(|artifact| {
                json!({"artifact": artifact,
                       "parameters": {"env": [{"key": "ProcessRegex", "value": "svc.*", "comment": ""}]},
                       "cpu_limit": 0, "max_batch_wait": 0, "max_batch_rows": 0, "max_batch_rows_buffer": 0,
                       "timeout": 0})
            })
            .collect();
        let mut row = json!({
            "client_id": self.client, "session_id": self.id,
            "request": {
                "creator": self.creator, "user_data": "", "client_id": self.client, "flow_id": self.id,
                "urgent": self.urgent, "summary": false, "artifacts": self.artifacts, "specs": specs,
                "cpu_limit": 0, "iops_limit": 0, "progress_timeout": 0, "timeout": 600, "max_rows": 1_000_000,
                "max_logs": 0, "max_upload_bytes": 1_073_741_824, "trace_freq_sec": 0,
                "allow_custom_overrides": false, "log_batch_time": 0, "compiled_collector_args": [],
                "ops_per_second": 0,
            },
            "previous_flows": [], "backtrace": "", "create_time": self.create_time, "start_time": self.start_time,
            "active_time": self.active_time, "inflight_time": 0, "total_uploaded_files": self.files,
            "total_expected_uploaded_bytes": self.files * 2048, "total_uploaded_bytes": self.files * 2048,
            "total_collected_rows": self.rows(), "total_logs": 9, "total_requests": 1, "outstanding_requests": 0,
            "transactions_outstanding": 0, "next_response_id": 0, "execution_duration": self.duration,
            "state": if self.failed { "ERROR" } else { "FINISHED" }, "status": self.status,
            "artifacts_with_results": self.names(), "query_stats": self.stats(false), "uploaded_files": [],
            "user_notified": false, "logs": [], "dirty": false, "total_loads": 0, "AvailableDownloads": {},
        });
        if let Some(fields) = row.as_object_mut() {
            fields.extend(self.patch.clone());
        }
        row
    }

    /// The `Flow` of a live row: neither `request` nor `create_time`, enums as numbers, nothing that is zero or empty.
    #[must_use]
    pub fn live(&self) -> Value {
        let mut flow = json!({
            "client_id": self.client, "session_id": self.id, "start_time": self.start_time,
            "active_time": self.active_time, "total_uploaded_files": self.files,
            "total_expected_uploaded_bytes": self.files * 2048, "total_uploaded_bytes": self.files * 2048,
            "total_collected_rows": self.rows(), "total_logs": 9, "total_requests": 1,
            "execution_duration": self.duration, "state": if self.failed { 3 } else { 2 }, "status": self.status,
            "artifacts_with_results": self.names(), "query_stats": self.stats(true),
        });
        prune(&mut flow);
        flow
    }

    fn rows(&self) -> u64 {
        self.sources.iter().map(|(_, rows)| rows).sum()
    }

    fn names(&self) -> Vec<&str> {
        self.sources.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn stats(&self, live: bool) -> Value {
        let one = |(n, artifact): (usize, &String)| {
            let sources: Vec<_> =
                self.sources.iter().filter(|(name, _)| name.split('/').next() == Some(artifact.as_str())).collect();
            let names: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
            let rows: u64 = sources.iter().map(|(_, rows)| rows).sum();
            let bad = self.failed && n == 0;
            let status = match (live, bad) {
                (true, _) => json!(if bad { 10 } else { 0 }),
                (false, _) => json!(if bad { "GENERIC_ERROR" } else { "OK" }),
            };
            let files = if n == 0 { self.files } else { 0 };
            json!({
                "status": status, "error_message": if bad { self.status.as_str() } else { "" }, "backtrace": "",
                "duration": self.duration, "last_active": self.active_time, "first_active": self.start_time,
                "names_with_response": names, "Artifact": artifact, "log_rows": 5, "uploaded_files": files,
                "uploaded_bytes": files * 2048, "expected_uploaded_bytes": files * 2048, "result_rows": rows,
                "query_id": n + 1, "total_queries": self.artifacts.len(), "transactions_outstanding": 0,
            })
        };
        self.artifacts.iter().enumerate().map(one).collect()
    }
}

/// Takes out what is zero or empty, as Go's encoder does where it is told to.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| match value {
                Value::Null | Value::Bool(false) => false,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(_) | Value::Bool(true) => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The row of `client_info()` of a workstation.
#[must_use]
pub fn client_info(id: &str) -> Value {
    let host = format!("ws-{}", id.trim_start_matches("C.").trim_start_matches('0'));
    let now = micros();
    json!({
        "client_id": id,
        "agent_information": {"version": "0.77.2", "name": "velociraptor", "build_time": "2026-08-01T00:00:00Z",
                              "build_url": ""},
        "os_info": {"system": "windows", "hostname": host, "release": "Microsoft Windows 11 Pro 10.0.22631",
                    "machine": "amd64", "fqdn": format!("{host}.example.org"), "mac_addresses": ["00:11:22:33:44:55"]},
        "first_seen_at": now / 1_000_000 - 5_000_000, "last_seen_at": now, "last_ip": "192.0.2.7:51234",
        "last_interrogate_flow_id": "F.D2K1M3N5P7Q9A", "last_interrogate_artifact_name": "Generic.Client.Info",
        "labels": ["workstation"], "last_hunt_timestamp": 0, "last_event_table_version": 0,
        "last_label_timestamp": 0, "in_flight_flows": {},
    })
}

/// The row of `hunts()`.
#[must_use]
pub fn hunt(id: &str, description: &str, tags: &[&str]) -> Value {
    let now = micros();
    json!({
        "hunt_id": id, "version": 1, "create_time": now - 900_000_000, "creator": "ana@example.org",
        "start_time": now - 890_000_000, "expires": now + 86_400_000_000_i64, "hunt_description": description,
        "tags": tags, "start_request": {"creator": "ana@example.org", "artifacts": ["Custom.Windows.Pslist"]},
        "condition": {"excluded_labels": {"label": []}, "labels": {"label": []}, "os": {"os": "ALL"}},
        "client_limit": 0, "stats": {"stopped": false, "total_clients_scheduled": 1}, "artifacts":
        ["Custom.Windows.Pslist"], "artifact_sources": ["Custom.Windows.Pslist"], "state": "RUNNING", "org_ids": [],
    })
}

/// The row of `uploads()`.
#[must_use]
pub fn upload(client: &str, flow: &str, name: &str, size: u64) -> Value {
    let components = json!(["clients", client, "collections", flow, "uploads", "auto", "C:", "Temp", name]);
    json!({
        "Timestamp": micros() / 1_000_000, "started": "2026-08-12 02:02:00.1 +0000 UTC",
        "vfs_path": format!("fs:/clients/{client}/collections/{flow}/uploads/auto/C%3A/Temp/{name}"),
        "Type": "", "_Components": components, "file_size": size, "_accessor": "auto",
        "_client_components": ["C:", "Temp", name], "uploaded_size": size,
        "client_path": format!("C:\\Temp\\{name}"),
        "Upload": {"Path": format!("C:\\Temp\\{name}"), "Size": size, "StoredSize": size,
                   "Components": components, "Accessor": "auto", "UploadId": 0},
    })
}

/// Rows of a process list, numbered so that each can be told from the others.
#[must_use]
pub fn processes(flow: &str, rows: u64) -> Vec<Value> {
    (0..rows)
        .map(|n| json!({"Name": "svchost.exe", "Pid": 800 + n, "CommandLine": format!("token-{flow}-{n} -k netsvcs")}))
        .collect()
}

/// Microseconds of Unix time.
#[must_use]
pub fn micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as i64)
}

/// The id of the client with a number.
#[must_use]
pub fn client_id(n: usize) -> String {
    format!("C.{:016x}", n + 1)
}

/// The id of the flow with a number.
#[must_use]
pub fn flow_id(n: usize) -> String {
    format!("F.D{n:012}")
}
