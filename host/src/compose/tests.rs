//! From an event to the draft, with rules as people write them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::compose::language::Language;
use crate::compose::view::{Fact, Layout, Outcome};
use crate::event::line::{LineLimits, admit};
use crate::event::parse::parse;
use crate::locale::LocaleConfig;
use crate::plugin::registry::Plugins;
use crate::rule::Verdict;
use crate::rule::decide::decide;

mod plugins;

fn rule(keys: &str) -> Rule {
    let text = format!(
        "[smtp]\nmailbox = \"mail\"\nfrom = \"Bewit <bewit@example.org>\"\n[outbox]\nurl = \"sqlite:b.db\"\n\
         [[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\", \"ola@example.org\"]\n{keys}\n"
    );
    crate::config::load::parse(&text, "bewit.toml", Path::new("/tmp")).unwrap().rules.remove(0)
}

fn event(value: &serde_json::Value) -> FlowCompletion {
    parse(&admit(value.to_string().as_bytes(), &LineLimits::default()).unwrap()).unwrap()
}

/// An event with these fields beside its identity.
fn with(mut fields: serde_json::Value) -> FlowCompletion {
    let base = json!({
        "type": "System.Flow.Completion", "Timestamp": 1_786_500_123, "ClientId": "C.1", "FlowId": "F.1",
    });
    for (name, value) in base.as_object().unwrap() {
        fields.as_object_mut().unwrap().entry(name.clone()).or_insert(value.clone());
    }
    event(&fields)
}

fn results(results: serde_json::Value) -> FlowCompletion {
    with(json!({ "Flow": { "state": "FINISHED", "request": { "artifacts": ["A"] } }, "results": results }))
}

fn now() -> Timestamp {
    Timestamp::from_second(1_786_500_423).unwrap()
}

struct Site {
    templates: Templates,
    dir: tempfile::TempDir,
    plugins: Plugins,
}

impl Site {
    fn new() -> Self {
        Self {
            templates: Templates::load(None, &[]).unwrap(),
            dir: tempfile::tempdir().unwrap(),
            plugins: Plugins::none(),
        }
    }

    fn composer(&self) -> Composer<'_> {
        Composer {
            templates: &self.templates,
            links: Some(links::Root::Base("https://v.example/")),
            plugins: &self.plugins,
            failures: None,
        }
    }

    fn blobs(&self) -> BlobStore {
        BlobStore::open(self.dir.path().join("blobs")).unwrap()
    }

    fn draft(&self, rule: &Rule, event: &FlowCompletion) -> Draft {
        let decision = Decision {
            decision: Verdict::Notify,
            reason: "matches the filters".to_owned(),
            trace: Vec::new(),
            recipients: vec!["ana@example.org".to_owned()],
            notes: Vec::new(),
        };
        let rows = RowReader::new(Some(Arc::from(self.dir.path())));
        self.composer().draft(rule, event, &decision, &rows, &self.blobs(), now()).unwrap()
    }

    fn attachment(&self, draft: &Draft, at: usize) -> String {
        std::fs::read_to_string(self.blobs().path(&draft.attachments[at].blob)).unwrap()
    }

    /// Files left in the blob folder.
    fn stored(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("blobs")).unwrap().count()
    }
}

fn labels(facts: &[Fact]) -> Vec<&str> {
    facts.iter().map(|fact| fact.label.as_str()).collect()
}

fn shown<'a>(facts: &'a [Fact], label: &str) -> Vec<&'a str> {
    let fact = facts.iter().find(|fact| fact.label == label).unwrap_or_else(|| panic!("no {label}"));
    fact.values.iter().map(|value| value.text.as_str()).collect()
}

fn rich() -> FlowCompletion {
    with(json!({
        "OrgId": "O1",
        "FlowId": "F.X.H",
        "Flow": {
            "state": 2, "create_time": 1_786_499_823_000_000_i64, "start_time": 1_786_500_000_000_000_i64,
            "execution_duration": 17_300_000_000_i64, "total_collected_rows": 1234, "total_uploaded_files": 2,
            "total_uploaded_bytes": 40_000_000, "artifacts_with_results": ["A/One", "B"],
            "request": {
                "creator": "ana", "urgent": true, "artifacts": ["A", "B"],
                "specs": [
                    { "artifact": "A", "parameters": { "env": [{ "key": "x", "value": "gone" }] } },
                    { "artifact": "B", "parameters": { "env": [{ "key": "e", "value": "" }, { "key": "r", "value": "é".repeat(120) }] } },
                    { "artifact": "A", "parameters": { "env": [{ "key": "x", "value": "1\n2" }] } },
                ],
            },
        },
        "client_info": {
            "os_info": { "system": "windows", "hostname": "ws", "release": "11", "machine": "amd64", "fqdn": "ws.example" },
            "first_seen_at": 1_786_499_990, "labels": ["a", "b"],
        },
        "client_metadata": { "owner": "kim", "FQDN": "by hand", "empty": "" },
        "hunt": { "hunt_id": "H.X", "hunt_description": "Fleet <all>" },
        "uploads": (0..5).map(|at| json!({
            "client_path": format!("C:\\{}\\file{at}.txt", "d".repeat(60)), "file_size": 2048,
            "_Components": ["clients", "C.1", "a b.txt"],
        })).collect::<Vec<_>>(),
    }))
}

#[test]
fn facts_stand_in_the_artifacts_order_with_links() {
    let rule = rule(
        "client_metadata = [{ field = \"owner\", alias = \"Owner\" }, { field = \"FQDN\" }, { field = \"empty\" }]",
    );
    let view = Site::new().draft(&rule, &rich()).view;
    assert_eq!(
        labels(&view.client),
        ["Organisation", "ID", "FQDN", "System", "OS", "Architecture", "New client", "Labels", "Owner"]
    );
    assert_eq!(shown(&view.client, "FQDN"), ["by hand"]);
    assert_eq!(
        labels(&view.flow),
        [
            "Flow",
            "Collection created",
            "Collection started",
            "Collection finished",
            "Duration",
            "Creator",
            "Requested",
            "Arguments",
            "With results",
            "Urgent",
            "Hunt",
            "Collected rows",
            "Uploaded files",
            "Uploaded bytes",
        ]
    );
    assert_eq!(shown(&view.flow, "Collection created"), ["2026-08-12T01:57:03Z (10 minutes ago)"]);
    assert_eq!(shown(&view.flow, "Collection finished"), ["2026-08-12T02:02:03Z (5 minutes ago)"]);
    assert_eq!(shown(&view.flow, "Duration"), ["17.3 s"]);
    assert_eq!(shown(&view.flow, "Uploaded bytes"), ["40 MB"]);
    let arguments = &view.flow.iter().find(|fact| fact.label == "Arguments").unwrap().values;
    assert_eq!((arguments[0].name.as_str(), &arguments[0].text), ("B/r", &format!("{}…", "é".repeat(100))));
    assert_eq!((arguments[1].name.as_str(), arguments[1].text.as_str()), ("A/x", "1\n2"));
    assert_eq!(arguments.len(), 2);
    let hunt = view.hunt.unwrap();
    assert_eq!(hunt.name, "Fleet <all>");
    assert_eq!(hunt.url.unwrap(), "https://v.example/app/index.html?org_id=O1#/hunts/H.X/overview");
    assert_eq!(view.flow_url.unwrap(), "https://v.example/app/index.html?org_id=O1#/collected/C.1/F.X.H/logs");
}

#[test]
fn empty_rows_are_dropped_or_kept_and_never_say_null() {
    let event = with(json!({ "Flow": { "state": "RUNNING" } }));
    let view = Site::new().draft(&rule(""), &event).view;
    assert_eq!(labels(&view.client), ["ID"]);
    assert_eq!(labels(&view.flow), ["Flow", "Collection created", "Collection started", "Collection finished"]);
    assert_eq!(shown(&view.flow, "Collection started"), ["(never)"]);
    let draft = Site::new().draft(&rule("keep_empty_rows = true"), &event);
    assert_eq!(labels(&draft.view.client), ["ID", "FQDN", "System", "OS", "Architecture", "Labels"]);
    assert_eq!(shown(&draft.view.flow, "Collected rows"), ["0"]);
    assert_eq!(shown(&draft.view.flow, "Urgent"), ["false"]);
    assert_eq!(shown(&draft.view.flow, "Error"), [""; 0]);
    assert_eq!(draft.view.outcome, Outcome::Failed);
    for part in [&draft.subject, &draft.text, draft.html.as_ref().unwrap()] {
        assert!(
            !part.contains("Null") && !part.contains("()") && !part.contains("None") && !part.contains("null"),
            "{part}"
        );
    }
}

#[test]
fn subjects_are_the_artifacts_words() {
    let site = Site::new();
    let subject = |fields| site.composer().subject(&rule(""), &with(fields)).unwrap();
    let flow = |state: &str, artifacts: &[&str]| json!({ "state": state, "request": { "artifacts": artifacts } });
    let info = |fqdn: &str| json!({ "os_info": { "fqdn": fqdn, "hostname": "WS01" } });
    assert_eq!(
        subject(json!({ "Flow": flow("FINISHED", &["A", "B", "C"]), "client_info": info("ws-{{7*7}}.example") })),
        "ws-{{7*7}}.example finished collecting A (+ 2 more)"
    );
    assert_eq!(
        subject(json!({ "Flow": flow("ERROR", &["A"]), "client_info": info("  ") })),
        "Client FAILED to collect A"
    );
    assert_eq!(subject(json!({ "Flow": flow("FINISHED", &["A"]) })), "Client finished collecting A");
    assert_eq!(
        subject(json!({ "Flow": flow("FINISHED", &["A"]), "client_info": info("ws\r\nBcc: x@y") })),
        "ws⏎Bcc: x@y finished collecting A"
    );
    let long = subject(json!({ "Flow": flow("FINISHED", &["A"]), "client_info": info(&"é".repeat(500)) }));
    assert_eq!((long.chars().count(), long.ends_with('…')), (200, true));
}

#[test]
fn uploads_are_limited_and_linked() {
    let site = Site::new();
    let draft = site.draft(&rule("include_uploads_table_rows = 2"), &rich());
    let uploads = draft.view.uploads.unwrap();
    assert_eq!((uploads.files.len(), uploads.showing.as_str()), (2, "(Showing 2 of 5 rows)"));
    assert!(uploads.files[0].name.starts_with("…ddd") && uploads.files[0].name.ends_with("\\file0.txt"));
    assert_eq!(uploads.files[0].name.chars().count(), 51);
    assert!(uploads.files[0].url.as_ref().unwrap().starts_with(
        "https://v.example/api/v1/DownloadVFSFile?fs_components=clients&fs_components=C.1&fs_components=a+b.txt&org_id=O1&vfs_path=C%3A%5C"
    ));
    for part in [&draft.text, draft.html.as_ref().unwrap()] {
        assert!(part.contains("(Showing 2 of 5 rows)"));
    }
    assert_eq!(site.draft(&rule("include_uploads_table_rows = 0"), &rich()).view.uploads, None);
}

#[test]
fn tables_keep_order_limits_and_exact_values() {
    let rows: Vec<_> =
        (0..150).map(|at| json!({ "z": at, "a": "x".repeat(50), "N": 1, "c": 2, "d": 3, "e": 4 })).collect();
    let event = results(
        json!({ "A/One": rows, "B": [{ "v": 9_007_199_254_740_993_u64, "n": null, "o": { "k": [1, 2.50] } }] }),
    );
    let rule = rule(
        "include_result_table_from = [{ source = \"one\", columns = \"^[zaNcde]$\", max_rows = 20, cell_limit = 10 }, { source = \"B\", columns = \"\" }]",
    );
    let view = Site::new().draft(&rule, &event).view;
    let table = &view.results[0];
    assert_eq!(table.columns, ["z", "a", "N", "c", "…"]);
    assert_eq!(table.rows[7], ["7", "xxxxxxxxxx…", "1", "2", "…"]);
    assert_eq!((table.rows.len(), table.total, table.hidden_columns), (20, 150, 2));
    assert_eq!(table.showing, "(Showing 20 of 150 rows)");
    let table = &view.results[1];
    assert_eq!(table.rows, [["9007199254740993", "", "{\"k\":[1,2.5]}"]]);
    assert_eq!((table.layout, table.showing.as_str()), (Layout::Record, ""));
}

#[test]
fn the_later_row_wins_and_columns_are_those_of_all_shown_rows() {
    let event = results(json!({ "A": [{ "x": 1 }, { "y": 2 }, { "x": 3, "z": 4 }] }));
    let rule = rule(
        "include_result_table_from = [{ source = \".\", columns = \"x\", max_rows = 1 }, { source = \"A\", columns = \".\" }]",
    );
    let view = Site::new().draft(&rule, &event).view;
    assert_eq!(view.results.len(), 1);
    assert_eq!(view.results[0].columns, ["x", "y", "z"]);
    assert_eq!(view.results[0].rows, [["1", "", ""], ["", "2", ""], ["3", "", "4"]]);
}

#[test]
fn rows_that_cannot_be_read_are_named() {
    let site = Site::new();
    std::fs::write(site.dir.path().join("rows.jsonl"), "{\"a\":1}\n{broken\n{\"a\":2}\n").unwrap();
    let event = results(
        json!({ "Good": { "file": "rows.jsonl" }, "Out": { "file": "../x.jsonl" }, "Gone": { "file": "no.jsonl" } }),
    );
    let keys = "include_result_table_from = [{ source = \".\", columns = \".\" }]\n\
                include_result_attachment_from = [{ source = \".\", columns = \".\" }]";
    let draft = site.draft(&rule(keys), &event);
    let problems: Vec<bool> = draft.view.results.iter().map(|table| !table.problem.is_empty()).collect();
    assert_eq!(problems, [true, true, true]);
    assert_eq!((draft.view.results[0].rows.len(), draft.view.results[0].total), (2, 3));
    assert_eq!(draft.view.notes.len(), 3);
    for name in ["Good", "Out", "Gone"] {
        assert!(draft.text.contains(name) && draft.html.as_ref().unwrap().contains(name));
    }
    assert_eq!(draft.attachments.len(), 1);
    assert_eq!(site.attachment(&draft, 0), "{\"a\":1}\n{\"a\":2}\n");
}

#[test]
fn jsonl_keeps_the_text_of_each_value() {
    let raw = r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","results":{"A/b c":[{"n":1.50, "s":"=\u0041", "big":123456789012345678901234567890, "o":{"k" : [ 1 ]}},{"n":2}]}}"#;
    let event = parse(&admit(raw.as_bytes(), &LineLimits::default()).unwrap()).unwrap();
    let site = Site::new();
    let draft = site.draft(&rule("include_result_attachment_from = [{ source = \".\", columns = \".\" }]"), &event);
    assert_eq!(draft.attachments[0].name, "A_b_c.jsonl");
    assert_eq!(
        site.attachment(&draft, 0),
        "{\"n\":1.50,\"s\":\"=\\u0041\",\"big\":123456789012345678901234567890,\"o\":{\"k\" : [ 1 ]}}\n{\"n\":2}\n"
    );
    let keys = "include_result_attachment_from = [{ source = \".\", columns = \"^(n|big)$\", max_rows = 1 }]";
    let draft = site.draft(&rule(keys), &event);
    assert_eq!(site.attachment(&draft, 0), "{\"n\":1.50,\"big\":123456789012345678901234567890}\n");
    assert_eq!(draft.view.attachments[0].rows, 1);
}

#[test]
fn csv_is_quoted_and_guarded() {
    let cells = [
        "=cmd|'/C calc'!A0",
        " =1",
        "\"=1",
        "'=1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\0=1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        "\u{a0}=1",
        "\u{feff}=1",
        "-",
        "+49 170",
    ];
    let mut rows: Vec<_> = cells.iter().map(|cell| json!({ "=h": cell })).collect();
    rows.push(json!({ "=h": "-1", "n": -1, "x": null }));
    rows.push(json!({ "=h": "a\"b\r\nc", "y": [1, { "k": "=1" }], "n": -1.5e-3 }));
    let site = Site::new();
    let keys = "attachment_format = \"csv\"\ninclude_result_attachment_from = [{ source = \".\", columns = \".\" }]";
    let draft = site.draft(&rule(keys), &results(json!({ "A": rows })));
    assert_eq!(draft.attachments[0].name, "A.csv");
    let mut reader =
        csv::Reader::from_reader(std::fs::File::open(site.blobs().path(&draft.attachments[0].blob)).unwrap());
    assert_eq!(reader.headers().unwrap(), vec!["'=h", "n", "x", "y"]);
    let read: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    for (record, cell) in read.iter().zip(cells) {
        assert_eq!(record[0], format!("'{cell}"));
    }
    assert_eq!(read[cells.len()], vec!["-1", "-1", "", ""]);
    assert_eq!(read[cells.len() + 1], vec!["a\"b\r\nc", "-0.0015", "", "[1,{\"k\":\"=1\"}]"]);
    let text = site.attachment(&draft, 0);
    assert!(text.starts_with("\"'=h\",\"n\",\"x\",\"y\"\r\n") && text.ends_with("\"\r\n"));
}

#[test]
fn attachments_over_the_limit_are_dropped_together() {
    let site = Site::new();
    let mut file = String::new();
    for at in 0..30_000 {
        writeln!(file, "{{\"n\":{at},\"text\":\"{}\"}}", "x".repeat(40)).unwrap();
    }
    std::fs::write(site.dir.path().join("big.jsonl"), &file).unwrap();
    let event = results(json!({ "Small": [{ "a": 1 }], "Big": { "file": "big.jsonl" }, "Later": [{ "a": 1 }] }));
    let keys = "include_result_attachment_from = [{ source = \".\", columns = \".\" }]\nattachments_max_mib = ";
    let draft = site.draft(&rule(&format!("{keys}1")), &event);
    assert!(draft.attachments.is_empty() && draft.view.attachments.is_empty());
    assert_eq!(site.stored(), 0, "nothing stays behind");
    let size = human::size(file.len() as u64);
    for part in [&draft.text, draft.html.as_ref().unwrap()] {
        let flat = part.replace("\n      ", " ");
        assert!(flat.contains(&format!("together they have {size}, more than the limit of 1 MiB")), "{flat}");
        assert!(flat.contains(&format!("Small (8 B), Big ({size}), Later (8 B)")), "{flat}");
    }
    let draft = site.draft(&rule(&format!("{keys}2")), &event);
    assert_eq!(draft.attachments.len(), 3);
    assert_eq!(site.attachment(&draft, 1), file);
    assert!(site.draft(&rule(&format!("{keys}0")), &event).attachments.is_empty());
}

#[test]
fn a_huge_result_gives_a_mail_all_the_same() {
    let cell = "<&\"'".repeat(2_500);
    let rows: Vec<_> = (0..100).map(|at| json!({ "a": cell, "b": cell, "c": cell, "d": at })).collect();
    let event = results(json!({ "A": rows, "B": rows, "C": rows }));
    let draft = Site::new().draft(&rule("include_result_table_from = [{ source = \".\", columns = \".\" }]"), &event);
    assert!(draft.html.as_ref().unwrap().len() < 2 * 1024 * 1024);
    assert!(draft.view.notes.iter().any(|note| note.contains("too large")));
    assert!(!draft.view.results.is_empty());
    assert!(draft.view.results[0].showing.contains("of 100 rows"));
}

#[test]
fn a_template_that_fails_on_real_data_does_not_cost_the_mail() {
    let dir = tempfile::tempdir().unwrap();
    let text = "{% if host == 'ws.example' %}{{ nothing }}{% endif %}own layout";
    std::fs::write(dir.path().join("flow-completion.txt.j2"), text).unwrap();
    let site = Site { templates: Templates::load(Some(dir.path()), &[]).unwrap(), ..Site::new() };
    assert!(site.draft(&rule(""), &rich()).text.contains("Client collection finished"));
    assert_eq!(site.draft(&rule(""), &results(json!({}))).text, "own layout\n");
}

#[test]
fn delivery_decides_how_many_mails_there_are() {
    let site = Site::new();
    let recipients = ["ana@example.org".to_owned(), "ola@example.org".to_owned()];
    let event = rich();
    let one = rule("delivery = \"shared\"");
    let draft = site.draft(&one, &event);
    let mails = draft.mails(&one, &recipients, Some(thread(&one, &event)), now());
    assert_eq!((mails.len(), mails[0].recipients.len()), (1, 2));
    let each = rule("");
    let mails = draft.mails(&each, &recipients, Some(thread(&each, &event)), now());
    assert_eq!(mails.len(), 2);
    assert_ne!(mails[0].message_id, mails[1].message_id);
    assert!(Arc::ptr_eq(&mails[0].body, &mails[1].body));
    for (mail, other) in [(0, "ola@"), (1, "ana@")] {
        assert!(!String::from_utf8_lossy(&mails[mail].head).contains(other));
    }
    assert!(draft.mails(&each, &[], None, now()).is_empty());
}

#[test]
fn every_sample_becomes_a_mail_whose_tags_are_ours() {
    let site = Site::new();
    let rule = rule(
        "include_result_table_from = [{ source = \".\", columns = \".\" }]\ninclude_uploads_table_rows = 10\n\
         include_result_attachment_from = [{ source = \".\", columns = \".\" }]\nnotify_hunts = true",
    );
    for (name, line) in crate::event::samples() {
        let event = parse(&admit(line.trim_end().as_bytes(), &LineLimits::default()).unwrap()).unwrap();
        let draft = site.draft(&rule, &event);
        let html = draft.html.unwrap();
        for tag in ["<script", "<img", "<iframe", "<b on", "<h1>owned"] {
            assert!(!html.contains(tag), "{name}: {tag}");
        }
        for part in [&draft.subject, &draft.text, &html] {
            assert!(part.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()), "{name}");
            assert!(!part.contains(['\u{202e}', '\u{feff}', '\u{200b}']), "{name}");
        }
        let _ = decide(&rule, &event);
    }
}

#[test]
fn a_digest_lists_all_and_shows_each() {
    let site = Site::new();
    let rule = rule(
        "send_interval = 300\nattachments_max_mib = 1\ninclude_result_attachment_from = [{ source = \".\", columns = \".\" }]\n\
                     include_result_table_from = [{ source = \".\", columns = \".\" }]",
    );
    let failed = with(json!({ "ClientId": "C.2", "Flow": { "state": "ERROR", "status": "it <broke>" } }));
    let fine = results(json!({ "A": [{ "k": "v1" }] }));
    let items: Vec<_> =
        [site.draft(&rule, &rich()), site.draft(&rule, &failed), site.draft(&rule, &fine), site.draft(&rule, &fine)]
            .map(|draft| (draft.view, draft.attachments))
            .to_vec();
    let digest = digest::digest(&site.composer(), &rule, &items, now()).unwrap();
    assert_eq!(digest.subject, "4 client collections: 3 finished, 1 FAILED");
    let html = digest.html.unwrap();
    for host in ["ws.example", "C.1", "C.2"] {
        assert!(digest.text.contains(host) && html.contains(host), "{host}");
    }
    assert!(html.contains("it &lt;broke&gt;") && html.contains("v1") && digest.text.contains("v1"));
    let names: Vec<&str> = digest.attachments.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["C.1_A.jsonl", "C.1_A-2.jsonl"]);

    // Too many and too much: bounded, and said.
    let long = results(json!({ "A": (0..100).map(|_| json!({ "k": "x".repeat(500) })).collect::<Vec<_>>() }));
    let draft = site.draft(&rule, &long);
    let many = vec![(draft.view, draft.attachments); 1_000];
    let digest = digest::digest(&site.composer(), &rule, &many, now()).unwrap();
    assert!(digest.html.unwrap().len() < 2 * 1024 * 1024);
    assert!(digest.attachments.is_empty());
    assert!(digest.text.contains("and 500 more collections"), "{}", digest.text);
    assert!(digest.text.contains("Tables of") && digest.text.contains("1,000 attachments left out"));
}

#[test]
fn any_number_of_sources_gives_a_mail() {
    let many: serde_json::Map<String, serde_json::Value> =
        (0..3_000).map(|at| (format!("Custom.{at}"), json!([{ "a": at }]))).collect();
    for format in ["jsonl", "csv"] {
        let site = Site::new();
        let rule = rule(&format!(
            "attachment_format = \"{format}\"\ninclude_result_attachment_from = [{{ source = \".\" }}]\n\
             include_result_table_from = [{{ source = \".\" }}]"
        ));
        let draft = site.draft(&rule, &results(many.clone().into()));
        assert_eq!((draft.attachments.len(), site.stored()), (100, 100));
        let notes = draft.view.notes.join("\n");
        assert!(notes.contains("2,900 more sources"), "{notes}");
        assert!(notes.contains("Some result rows were left out"), "{notes}");
    }
}

#[test]
fn a_file_has_as_many_columns_as_a_spreadsheet_shows() {
    let site = Site::new();
    let rule = rule(
        "attachment_format = \"csv\"\nattachments_max_mib = 1\n\
         include_result_attachment_from = [{ source = \".\" }]",
    );
    let row = |from: usize| (from..from + 100).map(|at| (format!("c{at}"), json!(at))).collect();
    let rows: Vec<serde_json::Value> = (0..200).map(|at| serde_json::Value::Object(row(at * 100))).collect();
    let draft = site.draft(&rule, &results(json!({ "A": rows })));
    let notes = draft.view.notes.join("\n");
    assert!(draft.attachments.is_empty() && site.stored() == 0, "{notes}");
    assert!(notes.contains("only the first 16384 of"), "{notes}");
    // 200 rows of 16384 cells, of which nearly all are empty.
    assert!(notes.contains("together they have 10 MB"), "{notes}");
}

#[test]
fn what_an_endpoint_names_never_makes_a_mail_too_large_to_be_written() {
    let site = Site::new();
    let rule = rule("include_uploads_table_rows = 30");
    let long = "日".repeat(20_000);
    let uploads: Vec<serde_json::Value> = (0..30)
        .map(|at| json!({ "client_path": format!("C:\\{long}{at}"), "_Components": ["uploads", long] }))
        .collect();
    let artifacts: Vec<String> = (0..1_500).map(|at| format!("{}{at}", "A".repeat(3_000))).collect();
    let specs: Vec<serde_json::Value> = (0..20_000)
        .map(|at| json!({ "artifact": format!("{at}"), "parameters": { "env": [{ "key": "k", "value": "v" }] } }))
        .collect();
    let event = with(json!({
        "uploads": uploads, "Flow": { "request": { "artifacts": artifacts, "specs": specs } },
    }));
    let draft = site.draft(&rule, &event);
    assert!(draft.subject.contains("AAA"), "{}", draft.subject);
    assert!(draft.view.summary.contains("and 1499 more"), "{}", draft.view.summary);
    assert_eq!(draft.view.uploads.as_ref().unwrap().files.len(), 30);
    assert!(!draft.view.notes.iter().any(|note| note.contains("left out")), "{:?}", draft.view.notes);
    assert_eq!(shown(&draft.view.flow, "Requested").len(), 101);
    assert_eq!(shown(&draft.view.flow, "Arguments").len(), 101);
}

#[test]
fn a_mail_that_cannot_be_written_becomes_a_short_one() {
    let site = Site::new();
    let rule = rule("");
    let decision = Decision {
        decision: Verdict::Notify,
        reason: "matches the filters".to_owned(),
        trace: Vec::new(),
        recipients: vec!["ana@example.org".to_owned()],
        notes: Vec::new(),
    };
    let draft = site.composer().last_resort(&rule, &rich(), &decision, now()).unwrap();
    assert!(draft.text.contains("F.X.H") && draft.text.contains("could not be written as usual"), "{}", draft.text);
    assert!(draft.html.unwrap().contains("ws.example"));
    assert_eq!(draft.subject, "ws.example finished collecting A (+ 1 more)");
}

/// A subject that names only these is written without the rest of the view, so they must be what the whole view has.
#[test]
fn the_head_of_a_view_is_that_of_the_whole() {
    let (rule, locale) = (rule(""), Locale::new(Language::clone(language::english()), &LocaleConfig::default()));
    let mut tried = 0;
    for (_, text) in crate::event::samples() {
        for line in text.lines() {
            let event = crate::event::read(line.as_bytes(), &LineLimits::default()).unwrap();
            let decision = decide(&rule, &event);
            let head = serde_json::to_value(build::head(&locale, None, &rule, &event, now())).unwrap();
            let whole =
                serde_json::to_value(build::view(&locale, None, &rule, &event, Some(&decision), now())).unwrap();
            for field in build::HEAD {
                assert_eq!(head[field], whole[field], "{field}");
                assert!(whole.get(field).is_some(), "there is no field {field}");
            }
            tried += 1;
        }
    }
    assert!(tried > 3);
}
