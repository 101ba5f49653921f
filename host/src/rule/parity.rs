//! The recorded cases of `tests/parity`, decided through the importer's own text: parameters become TOML, TOML becomes
//! a rule. `check.py` does the same with the whole binary; this looks at decision and recipients, in a second.

use std::process::Command;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::address::{Address, Mailbox};
use super::decide::decide;
use super::import::{convert, read};
use super::pattern::Pattern;
use super::{Decision, Rule, TraceVerdict, Verdict, defaults};
use crate::event::time::Moment;
use crate::event::{ArtifactDefinition, Client, EventKey, Flow, FlowCompletion, FlowState, Hunt, QueryStats};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parity/visible.jsonl.gz");

/// What an imported rule means, read without the configuration's own loader.
pub(super) fn rule_of(toml: &str) -> Rule {
    let file: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
    let rule = file["rule"][0].as_table().unwrap();
    let text = |key: &str, default: &str| rule.get(key).map_or(default, |value| value.as_str().unwrap()).to_owned();
    let pattern = |key: &str, default: &str| Pattern::new(&text(key, default)).unwrap();
    let flag = |key: &str, default: bool| rule.get(key).map_or(default, |value| value.as_bool().unwrap());
    let number = |key: &str, default: i64| rule.get(key).map_or(default, |value| value.as_integer().unwrap());
    let list = |key: &str| rule.get(key).map_or(&[][..], |value| value.as_array().unwrap());
    let handling: Vec<&str> = match rule.get("error_handling") {
        None => defaults::ERROR_HANDLING.to_vec(),
        Some(list) => list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect(),
    };
    let seconds = text("send_interval", "10 s").strip_suffix(" s").unwrap().parse().unwrap();
    Rule {
        name: text("name", ""),
        recipients: list("recipients").iter().map(|text| Address::parse(text.as_str().unwrap()).unwrap()).collect(),
        notify_executor: flag("notify_executor", false),
        notify_executor_domains: list("notify_executor_domains")
            .iter()
            .map(|row| super::ExecutorDomain {
                username_regex: Pattern::new(row["username_regex"].as_str().unwrap()).unwrap(),
                domain: row["domain"].as_str().unwrap().to_owned(),
            })
            .collect(),
        notify_metadata_email: text("notify_metadata_email", ""),
        sender: Mailbox::parse(&text("sender", "bewit@example.org")).unwrap(),
        html: flag("html", defaults::HTML),
        artifacts_to_alert_on: pattern("artifacts_to_alert_on", defaults::ARTIFACTS_TO_ALERT_ON),
        artifacts_to_ignore: pattern("artifacts_to_ignore", defaults::ARTIFACTS_TO_IGNORE),
        client_labels_to_alert_on: pattern("client_labels_to_alert_on", defaults::CLIENT_LABELS_TO_ALERT_ON),
        client_labels_to_ignore: pattern("client_labels_to_ignore", ""),
        notify_hunts: flag("notify_hunts", false),
        new_client_artifacts: pattern("new_client_artifacts", ""),
        new_client_threshold: number("new_client_threshold", defaults::NEW_CLIENT_THRESHOLD),
        artifact_perm_to_alert_on: pattern("artifact_perm_to_alert_on", ""),
        error_handling: super::ErrorHandling {
            include_hunts: handling.contains(&"IncludeHunts"),
            ignore_cancelled: handling.contains(&"IgnoreCancelled"),
            ignore_artifact_filters: handling.contains(&"IgnoreArtifactFilters"),
            ignore_delay: handling.contains(&"IgnoreDelay"),
        },
        delay_threshold: number("delay_threshold", defaults::DELAY_THRESHOLD),
        send_interval: Duration::from_secs(seconds),
        throttle: super::Throttle::Digest,
        keep_empty_rows: flag("keep_empty_rows", false),
        client_metadata: Vec::new(),
        include_uploads_table_rows: 0,
        include_result_table_from: Vec::new(),
        result_table_max_columns: 0,
        include_result_attachment_from: Vec::new(),
        attachment_format: defaults::ATTACHMENT_FORMAT,
        attachments_max_mib: defaults::ATTACHMENTS_MAX_MIB,
        notify_if_results_labels: pattern("notify_if_results_labels", defaults::NOTIFY_IF_RESULTS_LABELS),
        notify_if_uploads_labels: pattern("notify_if_uploads_labels", defaults::NOTIFY_IF_UPLOADS_LABELS),
        template: defaults::TEMPLATE.to_owned(),
        delivery: super::Delivery::Individual,
    }
}

/// An event as the cases write it.
pub(super) fn event_of(event: &Value) -> FlowCompletion {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let moment = |value: &Value| {
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok()).filter(|number| *number != 0)?;
        Some(Moment(match number {
            n if n > 20_000_000_000_000_000 => n / 1000,
            n if n > 20_000_000_000_000 => n,
            n if n > 20_000_000_000 => n * 1000,
            n => n * 1_000_000,
        }))
    };
    let present = |name: &str| event.get(name).filter(|value| !value.is_null());
    let flow = &event["Flow"];
    let request = &flow["request"];
    let state = match &flow["state"] {
        Value::String(name) => ["UNSET", "RUNNING", "FINISHED", "ERROR", "IN_PROGRESS", "UNRESPONSIVE", "WAITING"]
            .iter()
            .position(|known| known == name)
            .unwrap(),
        value => usize::try_from(number(value)).unwrap(),
    };
    use FlowState::{Error, Finished, InProgress, Running, Unresponsive, Unset, Waiting};
    FlowCompletion {
        key: EventKey {
            org_id: event["OrgId"].as_str().filter(|id| !id.is_empty()).unwrap_or("root").to_owned(),
            client_id: text(&event["ClientId"]),
            flow_id: text(&event["FlowId"]),
            timestamp: event["Timestamp"].as_i64().unwrap_or_default(),
        },
        timestamp: moment(&event["Timestamp"]),
        flow: Flow {
            create_time: moment(&flow["create_time"]),
            start_time: moment(&flow["start_time"]),
            state: [Unset, Running, Finished, Error, InProgress, Unresponsive, Waiting][state],
            status: text(&flow["status"]),
            creator: text(&request["creator"]),
            artifacts: texts(&request["artifacts"]),
            query_stats: flow["query_stats"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|query| QueryStats {
                    result_rows: number(&query["result_rows"]),
                    uploaded_files: number(&query["uploaded_files"]),
                    ..QueryStats::default()
                })
                .collect(),
            ..Flow::default()
        },
        client: present("client_info").map(|client| Client {
            labels: texts(&client["labels"]),
            first_seen_at: moment(&client["first_seen_at"]),
            ..Client::default()
        }),
        metadata: present("client_metadata").map(|metadata| {
            metadata
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect::<IndexMap<_, _>>()
        }),
        hunt: present("hunt").map(|hunt| Hunt {
            id: text(&hunt["hunt_id"]),
            tags: texts(&hunt["tags"]),
            ..Hunt::default()
        }),
        artifact_definitions: present("artifact_definitions").map(|definitions| {
            let definition = |value: &Value| ArtifactDefinition {
                name: text(&value["name"]),
                required_permissions: texts(&value["required_permissions"]),
            };
            definitions.as_array().unwrap().iter().map(definition).collect()
        }),
        uploads: None,
        results: None,
    }
}

/// The rule that a parameter set becomes.
pub(super) fn imported(parameters: &Value) -> Rule {
    let sets = read(&parameters.to_string()).unwrap().sets;
    rule_of(&convert(&sets[0]).to_toml("parity"))
}

/// A trace must say what the decision says.
fn consistent(decision: &Decision) -> Result<(), String> {
    let stops = decision.trace.iter().any(|entry| entry.verdict == TraceVerdict::Fail);
    let forces = decision.trace.iter().any(|entry| entry.verdict == TraceVerdict::Force);
    let unknown = decision.trace.iter().any(|entry| entry.verdict == TraceVerdict::Unknown);
    match decision.decision {
        Verdict::Skip if forces || !(stops || unknown) => Err("skipped without a stop".to_owned()),
        Verdict::Notify | Verdict::Error if stops && !forces => Err("stopped, but not skipped".to_owned()),
        Verdict::Notify if decision.recipients.is_empty() => Err("nobody".to_owned()),
        Verdict::Skip | Verdict::Error if !decision.recipients.is_empty() => Err("recipients of no mail".to_owned()),
        _ if decision.reason.is_empty() || decision.reason.contains('\n') => Err("no sentence".to_owned()),
        _ => Ok(()),
    }
}

#[test]
fn all_recorded_cases() {
    let unpacked = Command::new("gzip").args(["-dc", CASES]).output().unwrap();
    assert!(unpacked.status.success());
    let mut rules: IndexMap<String, Rule> = IndexMap::new();
    let (mut total, mut wrong) = (0, Vec::new());
    for line in String::from_utf8(unpacked.stdout).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let set = case["params_id"].as_str().unwrap();
        if case.get("event").is_none() {
            rules.insert(set.to_owned(), imported(&case["params"]));
            continue;
        }
        total += 1;
        let decision = decide(&rules[set], &event_of(&case["event"]));
        let expect = &case["expect"];
        let mut agrees = json!(decision.decision) == expect["decision"];
        if decision.decision == Verdict::Notify {
            agrees &= json!(decision.recipients) == expect["recipients"];
        }
        if decision.decision == Verdict::Error {
            agrees &= decision.reason.contains("recipient");
        }
        if let Err(why) = consistent(&decision) {
            wrong.push(format!("{}: {why}: {}", case["id"], json!(decision)));
        }
        if !agrees {
            wrong.push(format!("{} {}: expected {expect}, got {}", case["id"], case["deviates"], json!(decision)));
        }
    }
    assert!(wrong.is_empty(), "{} of {total} differ\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(total, 420);
}
