//! The mail itself: what is in it, and that other people's parsers find nothing to object to.

use std::fs;

use acceptance::env::files;
use acceptance::event::{event, fixture, lines};
use acceptance::mail::{Mail, read};
use acceptance::{Site, TestEnv};
use serde_json::{Value, json};

const FIXTURES: [&str; 6] = ["cancelled", "hostile", "hunt-failed", "live-row", "netstat-disks", "shell"];

/// A rule that tells of everything, with all tables and attachments.
const EVERYTHING: &str = r#"
[[rule]]
name = "everything"
recipients = ["ana@example.org"]
send_interval = 0
artifacts_to_alert_on = ""
delay_threshold = 0
notify_hunts = true
error_handling = ["IncludeHunts", "IgnoreArtifactFilters", "IgnoreDelay"]
include_uploads_table_rows = 10
include_result_table_from = [{ source = "." }]
include_result_attachment_from = [{ source = "." }]
attachment_format = "FORMAT"
"#;

fn everything(format: &str) -> String {
    EVERYTHING.replace("FORMAT", format)
}

/// The mails that events become by a rule, rendered and not sent.
fn rendered(rule: &str, events: &str) -> Vec<Mail> {
    let env = TestEnv::new();
    env.config(&Site::mailbox().more("\n[links]\nbase_url = \"https://velociraptor.example.org/\"\n").rule(rule));
    env.bewit(["render", "--format", "eml", "--out", "out", "-"]).stdin(events).run().expect(0);
    read(&files(&env.path("out"), "eml"))
}

#[test]
fn every_fixture_becomes_a_sound_mail() {
    for format in ["jsonl", "csv"] {
        for name in FIXTURES {
            let mails = rendered(&everything(format), &fixture(name));
            assert_eq!(mails.len(), 1, "{name}");
            mails[0].assert_sound();
            let flow =
                serde_json::from_str::<Value>(fixture(name).trim()).unwrap()["FlowId"].as_str().unwrap().to_owned();
            assert!(mails[0].text().contains(&flow), "{name}: the text names the flow");
            assert!(mails[0].html().unwrap().contains(&flow), "{name}: the HTML names the flow");
            let file = mails[0].path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(file.starts_with(&flow), "{file} begins with the flow id");
        }
    }
}

#[test]
fn the_parts_stand_as_they_should() {
    let with = rendered(&everything("jsonl"), &lines(&[event(1)]));
    assert_eq!(
        with[0].shape,
        json!(["multipart/mixed", ["multipart/alternative", "text/plain", "text/html"], with[0].parts[2].kind])
    );
    let without = rendered(acceptance::site::RULE, &lines(&[event(1)]));
    assert_eq!(without[0].shape, json!(["multipart/alternative", "text/plain", "text/html"]));
    let text = rendered(&format!("{}html = false\n", acceptance::site::RULE), &lines(&[event(1)]));
    assert_eq!(text[0].shape, json!("text/plain"));
    assert!(text[0].html().is_none());
    text[0].assert_sound();
}

#[test]
fn both_bodies_carry_the_same_facts() {
    let mails = rendered(&everything("jsonl"), &fixture("netstat-disks"));
    let mail = &mails[0];
    let netstat: Value = serde_json::from_str(fixture("netstat-disks").trim()).unwrap();
    let rows = netstat["results"]["Custom.Generic.System.DiskSpace"].as_array().unwrap();
    for row in rows {
        for (column, value) in row.as_object().unwrap().iter().take(3) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            for (which, body) in [("text", mail.text()), ("HTML", mail.html().unwrap())] {
                assert!(body.contains(column.as_str()), "{column} in the {which}");
                assert!(body.contains(&value), "{column} = {value} in the {which}");
            }
        }
    }
    // 120 rows, of which a hundred are shown, and it says so.
    for body in [mail.text(), mail.html().unwrap()] {
        assert!(body.contains("100 of 120"), "{body}");
    }
    // One line, one row: a text line of the table holds all its cells.
    let first = rows[0].as_object().unwrap();
    let cells: Vec<String> =
        first.values().take(3).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
    assert!(
        mail.text().lines().any(|line| cells.iter().all(|cell| line.contains(cell.as_str()))),
        "no line with {cells:?} in\n{}",
        mail.text()
    );
}

#[test]
fn attachments_are_the_rows_themselves() {
    let netstat: Value = serde_json::from_str(fixture("netstat-disks").trim()).unwrap();
    let rows = netstat["results"]["Windows.Network.Netstat"].as_array().unwrap();

    let mails = rendered(&everything("jsonl"), &fixture("netstat-disks"));
    let attachments = mails[0].attachments();
    assert_eq!(attachments.len(), 2);
    let names: Vec<&str> = attachments.iter().map(|part| part.name.as_deref().unwrap()).collect();
    for name in &names {
        assert!(
            name.len() <= 120 && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            "attachment name {name}"
        );
    }
    assert!(names[0].contains("Netstat") && names[0].ends_with(".jsonl"), "{names:?}");
    let expected: String = rows.iter().map(|row| format!("{row}\n")).collect();
    // Same rows in the same order with the same columns, whatever the spacing.
    let raw = decoded(&mails[0], 0);
    let parsed: Vec<Value> = raw.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed.len(), 120);
    assert_eq!(parsed.iter().map(|row| format!("{row}\n")).collect::<String>(), expected);

    let mails = rendered(&everything("csv"), &fixture("netstat-disks"));
    let csv = decoded(&mails[0], 0);
    let columns: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    let header = csv.lines().next().unwrap().replace('"', "");
    assert_eq!(header.trim_start_matches('\u{feff}').split(',').collect::<Vec<_>>(), columns);
    assert_eq!(csv.lines().count(), 121);
}

/// The whole decoded text of the `n`th attachment, by Python.
fn decoded(mail: &Mail, n: usize) -> String {
    let script = "import email, email.policy, sys\n\
         mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
         sys.stdout.buffer.write(list(mail.iter_attachments())[int(sys.argv[1])].get_payload(decode=True))\n";
    acceptance::tools::python().args(["-c", script, &n.to_string()]).stdin(mail.raw.clone()).run().expect(0).out()
}

#[test]
fn a_formula_is_no_formula() {
    let payloads = [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "=cmd|'/C calc'!A0",
        "'=1",
        "\"=1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        "\u{feff}=1",
        "\n=1",
        "==",
        "=",
        "=HYPERLINK(\"http://evil.example.net\",\"x\")",
    ];
    let mut sample = event(1);
    sample["results"]["Custom.Windows.Pslist"] =
        payloads.iter().map(|text| json!({"A": text, "Plain": "x", "B": text})).collect();
    let mails = rendered(&everything("csv"), &lines(&[sample]));
    // Read by somebody else's reader: no cell begins, after blanks and quotes, with what starts a formula.
    let script = "import csv, io, sys\n\
         rows = list(csv.reader(io.StringIO(sys.stdin.buffer.read().decode('utf-8-sig'), newline='')))\n\
         print(len(rows))\n\
         for row in rows[1:]:\n\
         \x20   for cell in row:\n\
         \x20       if cell and cell.lstrip(' \\ufeff\\u00a0\"')[:1] in '=+-@\\t\\r\\n\\uff1d\\uff0b\\uff0d\\uff20':\n\
         \x20           print('formula', ascii(cell))\n";
    let said = acceptance::tools::python().args(["-c", script]).stdin(decoded(&mails[0], 0)).run().expect(0);
    assert_eq!(said.out(), format!("{}\n", payloads.len() + 1), "all rows, no formula");
}

#[test]
fn attachments_over_the_limit_are_dropped_and_named() {
    let mut big = event(1);
    let row = json!({"Text": "x".repeat(1000)});
    big["results"]["Custom.Windows.Pslist"] = std::iter::repeat_n(row, 1200).collect();
    let rule = format!("{}attachments_max_mib = 1\n", everything("jsonl"));
    let mails = rendered(&rule, &lines(&[big.clone()]));
    assert!(mails[0].attachments().is_empty());
    for body in [mails[0].text(), mails[0].html().unwrap()] {
        assert!(body.contains("Custom.Windows.Pslist") && body.contains("1 MiB"), "it says what is missing: {body}");
    }
    let none = rendered(&format!("{}attachments_max_mib = 0\n", everything("jsonl")), &lines(&[event(1)]));
    assert!(none[0].attachments().is_empty());
    let enough = rendered(&format!("{}attachments_max_mib = 2\n", everything("jsonl")), &lines(&[big]));
    assert_eq!(enough[0].attachments().len(), 1);
    assert!(enough[0].attachments()[0].size > 1_200_000);
}

#[test]
fn links_lead_into_the_configured_gui_and_nowhere_else() {
    let mails = rendered(&everything("jsonl"), &lines(&[event(1)]));
    let html = mails[0].html().unwrap();
    assert!(html.contains("https://velociraptor.example.org/app/index.html"), "links into the GUI: {html}");
    for part in html.split("href=\"").skip(1) {
        let link = part.split('"').next().unwrap();
        assert!(
            link.starts_with("https://velociraptor.example.org/")
                || link.starts_with("https:&#x2f;&#x2f;velociraptor.example.org"),
            "{link}"
        );
    }
    // Nothing is fetched when the mail is opened.
    for word in ["<script", "<img", "<link", "<iframe", "@import", "url("] {
        assert!(!html.to_lowercase().contains(word), "{word}");
    }
}

#[test]
fn mails_thread_and_are_listed_by_rule() {
    let mut first = event(1);
    let mut second = event(2);
    for (event, id) in [(&mut first, "F.AAAA.H"), (&mut second, "F.BBBB.H")] {
        event["FlowId"] = id.into();
        event["hunt"] = json!({"hunt_id": "H.1234", "hunt_description": "all hosts", "tags": []});
    }
    let mails = rendered(&everything("jsonl"), &lines(&[first, second, event(3)]));
    assert_eq!(mails.len(), 3);
    let ids: Vec<&str> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    let of = |flow: &str| mails.iter().find(|mail| mail.text().contains(flow)).unwrap();
    let (hunt1, hunt2, alone) = (of("F.AAAA.H"), of("F.BBBB.H"), of("F.D000000000003"));
    assert_eq!(hunt1.header("References"), hunt2.header("References"), "one hunt, one thread");
    assert_ne!(hunt1.header("References"), alone.header("References"));
    for mail in &mails {
        assert!(mail.header("List-Id").contains("everything"), "{}", mail.header("List-Id"));
        assert!(mail.header("Message-ID").ends_with("@example.org>"), "{}", mail.header("Message-ID"));
    }
}

#[test]
fn a_failure_looks_like_one() {
    let mails = rendered(&everything("jsonl"), &fixture("hunt-failed"));
    assert!(mails[0].header("Subject").contains("FAILED to collect"), "{}", mails[0].header("Subject"));
    let mut event = event(1);
    event["client_info"] = Value::Null;
    event["Flow"]["execution_duration"] = 0.into();
    let mails = rendered(&everything("jsonl"), &lines(&[event]));
    // Of the HTML what a reader sees: no styles, no tags.
    let html = mails[0].html().unwrap();
    let shown = regex::Regex::new("(?s)<style.*?</style>|<[^>]*>").unwrap().replace_all(html, " ").into_owned();
    for body in [mails[0].text(), shown.as_str(), mails[0].header("Subject")] {
        for word in ["Null", "null", "()", "undefined", "none", "NaN"] {
            assert!(!body.contains(word), "{word:?} in {body}");
        }
    }
}

#[test]
fn unreadable_results_are_named_in_the_mail() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(&everything("jsonl")));
    for (name, file) in [("gone", "gone.rows"), ("outside", "../bewit.toml"), ("absolute", "/etc/hostname")] {
        let mut sample = event(1);
        sample["results"]["Custom.Windows.Pslist"] = json!({"file": file});
        let out = format!("out-{name}");
        env.write("events/e.jsonl", lines(&[sample]));
        env.bewit(["render", "--format", "eml", "--out", &out, "events/e.jsonl"]).run().expect(0);
        let mails = read(&files(&env.path(&out), "eml"));
        mails[0].assert_sound();
        let whole = String::from_utf8_lossy(&fs::read(&mails[0].path).unwrap()).into_owned();
        assert!(!whole.contains("mailbox = "), "no file of ours gets into a mail");
        assert!(mails[0].attachments().is_empty());
        assert!(mails[0].text().contains("Custom.Windows.Pslist"), "{name}: {}", mails[0].text());
    }
}

#[test]
fn a_result_file_beside_the_event_is_read() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(&everything("jsonl")));
    let mut sample = event(1);
    sample["results"]["Custom.Windows.Pslist"] = json!({"file": "big.rows"});
    env.write("events/e.jsonl", lines(&[sample]));
    env.write("events/big.rows", "{\"Name\":\"from-the-file\",\"Pid\":1}\n{\"Name\":\"second\",\"Pid\":2}\n");
    env.bewit(["render", "--format", "eml", "--out", "out", "events/e.jsonl"]).run().expect(0);
    let mails = read(&files(&env.path("out"), "eml"));
    assert!(mails[0].text().contains("from-the-file"));
    assert_eq!(decoded(&mails[0], 0).lines().count(), 2);
}
