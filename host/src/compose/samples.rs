//! What every template must be able to show: made-up views with everything, failed, cancelled, with next to nothing; and
//! the shipped sample events, as a rule that shows all of them.

mod fragment;

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::links::Root;
use super::locale::Locale;
use super::templates::lint::Probe;
use super::view::{AttachedFile, DigestView, Fact, Layout, Named, Outcome, Table, UploadedFile, Uploads, Value, View};
use super::{build, tables};
use crate::event::FlowCompletion;
use crate::event::line::{LineLimits, admit};
use crate::event::parse::parse;
use crate::facts::RowReader;
use crate::locale::LocaleConfig;
use crate::rule::address::Mailbox;
use crate::rule::pattern::Pattern;
use crate::rule::{Delivery, ErrorHandling, MetadataField, Priority, Rule, Throttle, defaults};

const BASE: &str = "https://velociraptor.example.org/";
/// When the shipped samples are looked at, half an hour after the first: Unix seconds.
const SEEN: i64 = 1_786_501_800;
const GUI: &str = "https://velociraptor.example.org/app/index.html?org_id=root#";

/// Views of flow completions; the first one has everything.
pub(crate) fn views() -> Vec<View> {
    vec![full(), failed(), cancelled(), minimal()]
}

/// Views of the shipped sample events.
pub(crate) fn shipped() -> &'static [View] {
    &SHIPPED
}

static SHIPPED: LazyLock<Vec<View>> = LazyLock::new(|| {
    let rule = everything();
    let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(SEEN);
    let rows = RowReader::default();
    let locale = &english();
    crate::event::samples()
        .iter()
        .filter_map(|(_, line)| parse(&admit(line.trim_end().as_bytes(), &LineLimits::default()).ok()?).ok())
        .map(|event| View {
            results: all_tables(&rule, &event, &rows, locale),
            reason: "matches the filters".to_owned(),
            ..build::view(locale, Some(Root::Base(BASE)), &rule, &event, None, now)
        })
        .collect()
});

/// How the samples speak; the templates speak the language that they are proved in.
pub(crate) fn english() -> Locale {
    Locale::new(super::language::english().clone(), &LocaleConfig::default())
}

fn all_tables(rule: &Rule, event: &FlowCompletion, rows: &RowReader, locale: &Locale) -> Vec<Table> {
    let mut reader = tables::Reader::new(rule, rows, locale);
    let wanted = tables::stock_table();
    tables::sources(event).into_iter().filter_map(|(source, set)| reader.table(&wanted, source, set)).collect()
}

/// Views of digests; the first one has everything.
pub(crate) fn digests() -> Vec<DigestView> {
    let digest = |items: Vec<View>| super::digest::view("analyst", items, Vec::new(), Vec::new(), &english());
    let mut full = digest(views());
    full.notes = vec!["Result tables of 2 collections were left out.".to_owned()];
    full.attachments = self::full().attachments;
    vec![full, digest(vec![minimal()])]
}

/// A view whose texts are hostile; links, and what templates compare, stay.
pub(in crate::compose) fn hostile(view: &impl Serialize, probe: Probe) -> serde_json::Value {
    let mut value = serde_json::to_value(view).unwrap_or_default();
    infect(&mut value, probe);
    value
}

fn infect(value: &mut serde_json::Value, probe: Probe) {
    match value {
        serde_json::Value::String(text) => match probe {
            Probe::Appended(_) | Probe::Whole(_) if text.is_empty() => {}
            Probe::Appended(tail) => text.push_str(tail),
            Probe::Whole(whole) => whole.clone_into(text),
        },
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| infect(item, probe)),
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                if !name.ends_with("url")
                    && !["outcome", "layout", "kind", "tone", "language", "key"].contains(&name.as_str())
                {
                    infect(field, probe);
                }
            }
        }
        _ => {}
    }
}

/// A rule that shows whatever an event has.
fn everything() -> Rule {
    let domain = "velociraptor.example.org";
    Rule {
        name: "analyst".to_owned(),
        recipients: Vec::new(),
        notify_executor: false,
        notify_executor_domains: Vec::new(),
        notify_metadata_email: String::new(),
        sender: Mailbox { name: String::new(), address: format!("bewit@{domain}") },
        html: true,
        artifacts_to_alert_on: Pattern::off(),
        artifacts_to_ignore: Pattern::off(),
        client_labels_to_alert_on: Pattern::off(),
        client_labels_to_ignore: Pattern::off(),
        notify_hunts: true,
        new_client_artifacts: Pattern::off(),
        new_client_threshold: defaults::NEW_CLIENT_THRESHOLD,
        artifact_perm_to_alert_on: Pattern::off(),
        error_handling: ErrorHandling::default(),
        delay_threshold: 0,
        send_interval: Duration::ZERO,
        throttle: Throttle::default(),
        priority: Priority::default(),
        keep_empty_rows: true,
        client_metadata: vec![MetadataField { field: "owner".to_owned(), alias: "Owner".to_owned() }],
        include_uploads_table_rows: defaults::INCLUDE_UPLOADS_TABLE_ROWS,
        include_result_table_from: vec![tables::stock_table()],
        result_table_max_columns: defaults::RESULT_TABLE_MAX_COLUMNS,
        include_result_attachment_from: Vec::new(),
        attachment_format: defaults::ATTACHMENT_FORMAT,
        attachments_max_mib: 0,
        notify_if_results_labels: Pattern::off(),
        notify_if_uploads_labels: Pattern::off(),
        filters: Vec::new(),
        renderers: Vec::new(),
        template: defaults::TEMPLATE.to_owned(),
        language: None,
        delivery: Delivery::default(),
    }
}

fn full() -> View {
    View {
        subject: "ws-17.example.org finished collecting Windows.System.Pslist (+ 1 more)".to_owned(),
        outcome: Outcome::Finished,
        title: "Client collection finished".to_owned(),
        summary: "ana collected Windows.System.Pslist and 1 more from ws-17.example.org: 120 rows, 2 files, 17.3 s."
            .to_owned(),
        host: "ws-17.example.org".to_owned(),
        fqdn: "ws-17.example.org".to_owned(),
        client_id: "C.1f2e000000000004".to_owned(),
        flow_id: "F.CQ1V2O2N7S5M2.H".to_owned(),
        org_id: "root".to_owned(),
        creator: "ana".to_owned(),
        urgent: true,
        new_client: true,
        error: "one query had trouble".to_owned(),
        artifacts: vec![
            named("Windows.System.Pslist", "/artifacts/a"),
            named("Windows.Network.Netstat", "/artifacts/b"),
        ],
        rows: 120,
        files: 2,
        size: "40 MB".to_owned(),
        bytes: 40_000_000,
        duration: "17.3 s".to_owned(),
        duration_ns: Some(17_300_000_000),
        finished: "2026-08-12T02:02:03Z (now)".to_owned(),
        finished_at: Some(1_786_500_123),
        created_at: Some(1_786_500_100),
        started_at: Some(1_786_500_105),
        written_at: 1_786_500_123,
        language: super::language::ENGLISH.to_owned(),
        hunt: Some(named("Processes of the whole fleet", "/hunts/H.CQ1V2O2N7S5M2/overview")),
        client_url: Some(format!("{GUI}/host/C.1f2e000000000004")),
        flow_url: Some(format!("{GUI}/collected/C.1f2e000000000004/F.CQ1V2O2N7S5M2.H/logs")),
        client: vec![
            fact("client", "ID", &["C.1f2e000000000004"]),
            fact("labels", "Labels", &["vip", "finance"]),
            fact("error", "Error", &[]),
        ],
        flow: vec![
            fact("flow", "Flow", &["F.CQ1V2O2N7S5M2.H"]),
            Fact {
                key: "arguments".to_owned(),
                label: "Arguments".to_owned(),
                values: vec![Value {
                    name: "Windows.System.Pslist/Regex".to_owned(),
                    text: "a\nb".to_owned(),
                    url: None,
                }],
            },
        ],
        results: vec![
            table("Windows.System.Pslist", Layout::Narrow, 2),
            table("Windows.Network.Netstat", Layout::Wide, 2),
            table("Linux.Sys.BashShell", Layout::Record, 1),
            Table {
                problem: "rows.jsonl: not found".to_owned(),
                ..table("Generic.Client.Info/Users", Layout::Narrow, 0)
            },
            fragment::everything(),
            fragment::titled(),
        ],
        uploads: Some(Uploads {
            files: vec![
                UploadedFile {
                    name: "C:\\pagefile.sys".to_owned(),
                    size: "40 MB".to_owned(),
                    bytes: 40_000_000,
                    url: Some(GUI.to_owned()),
                },
                UploadedFile { name: "…\\$UsnJrnl:$Max".to_owned(), size: "32 B".to_owned(), bytes: 32, url: None },
            ],
            total: 5,
            showing: "(Showing 2 of 5 rows)".to_owned(),
        }),
        attachments: vec![
            AttachedFile {
                name: "Windows.System.Pslist.jsonl".to_owned(),
                size: "4.1 kB".to_owned(),
                bytes: 4_100,
                source: "Windows.System.Pslist".to_owned(),
                rows: 118,
            },
            AttachedFile {
                name: "process-tree.txt".to_owned(),
                size: "2.0 kB".to_owned(),
                bytes: 2_000,
                source: "Windows.System.Pslist".to_owned(),
                rows: 0,
            },
        ],
        notes: vec!["Results of Generic.Client.Info/Users could not be read.".to_owned()],
        plugin_notes: fragment::notes(),
        rule: "analyst".to_owned(),
        reason: "matches the filters".to_owned(),
    }
}

fn failed() -> View {
    View {
        subject: "lap-22.example.org FAILED to collect Windows.Forensics.Prefetch".to_owned(),
        outcome: Outcome::Failed,
        title: "Client collection FAILED".to_owned(),
        summary: "Windows.Forensics.Prefetch could not be collected from lap-22.example.org.".to_owned(),
        error: "Query timed out after 600 seconds".to_owned(),
        rows: 0,
        files: 0,
        results: Vec::new(),
        uploads: None,
        attachments: Vec::new(),
        notes: Vec::new(),
        plugin_notes: Vec::new(),
        urgent: false,
        ..full()
    }
}

fn cancelled() -> View {
    View {
        outcome: Outcome::Cancelled,
        title: "Client collection was cancelled".to_owned(),
        error: "Cancelled by ola".to_owned(),
        hunt: None,
        new_client: false,
        ..failed()
    }
}

/// A row of the live queue, no links.
fn minimal() -> View {
    View {
        subject: "Client finished collecting an unnamed artifact".to_owned(),
        outcome: Outcome::Finished,
        title: "Client collection finished".to_owned(),
        summary: "an unnamed artifact was collected from C.1: no rows, no files.".to_owned(),
        host: "C.1".to_owned(),
        client_id: "C.1".to_owned(),
        flow_id: "F.1".to_owned(),
        org_id: "root".to_owned(),
        finished: "(never)".to_owned(),
        rule: "analyst".to_owned(),
        written_at: 1_786_500_123,
        language: super::language::ENGLISH.to_owned(),
        ..View::default()
    }
}

fn named(name: &str, page: &str) -> Named {
    Named { name: name.to_owned(), url: Some(format!("{GUI}{page}")) }
}

fn fact(key: &str, label: &str, values: &[&str]) -> Fact {
    let values = values.iter().map(|text| Value { text: (*text).to_owned(), ..Value::default() });
    Fact { key: key.to_owned(), label: label.to_owned(), values: values.collect() }
}

fn table(source: &str, layout: Layout, rows: usize) -> Table {
    let row = vec!["lsass.exe".to_owned(), "Filesystem  Size\n/dev/sda1  240 GB".to_owned(), "…".to_owned()];
    Table {
        source: source.to_owned(),
        columns: vec!["Name".to_owned(), "CommandLine".to_owned(), "…".to_owned()],
        rows: vec![row; rows],
        hidden_columns: 2,
        total: 120,
        showing: if rows > 0 { format!("(Showing {rows} of 120 rows)") } else { String::new() },
        layout,
        ..Table::default()
    }
}
