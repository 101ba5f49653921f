//! What a compromised endpoint may send: it must stay text, in its cell, its header, its file and its conversation.

use std::collections::BTreeSet;

use acceptance::env::files;
use acceptance::event::{event, fixture, fixture_event, lines};
use acceptance::mail::{Mail, read, read_bytes};
use acceptance::{Site, SmtpSink, TestEnv, tools};
use serde_json::{Value, json};

const RULE: &str = r#"
[[rule]]
name = "everything"
recipients = ["ana@example.org"]
send_interval = 0
delay_threshold = 0
client_metadata = [{ field = "owner" }, { field = "note", alias = "Note" }]
include_uploads_table_rows = 10
include_result_table_from = [{ source = "." }]
include_result_attachment_from = [{ source = "." }]
attachment_format = "csv"
"#;

/// Texts that somebody somewhere takes for more than text.
const NAUGHTY: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</td></tr></table><h1>owned</h1>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "</title><meta http-equiv=refresh content=0;url=//evil.example.net>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "&#60;b&#62;",
    "{{ 7*7 }}",
    "{% include '/etc/passwd' %}",
    "{# comment #}",
    "${7*7}",
    "\r\nBcc: evil@example.net",
    "\nBcc: evil@example.net",
    "\rBcc: evil@example.net",
    "x\r\n\r\n<html>",
    "\u{2028}Bcc: evil@example.net",
    "\u{85}Bcc: evil@example.net",
    "\u{b}Bcc: evil@example.net",
    "=?utf-8?q?=0ABcc:_evil?=",
    "\r\n.\r\nMAIL FROM:<evil@example.net>",
    "\u{202e}gnp.exe",
    "\u{2066}x\u{2069}",
    "\u{200b}\u{feff}",
    "nul\0byte",
    "\u{1b}[31mred\u{1b}[0m",
    "\u{9b}31m",
    "--boundary--",
    "%s%n%x",
    "../../../etc/passwd",
    "C:\\con\\nul",
    "https://velociraptor.example.org@evil.example.net/",
    "//evil.example.net/x.png",
    "\" onmouseover=\"alert(1)",
    "' onmouseover='alert(1)",
    "` onmouseover=alert(1)",
    "<style>*{display:none}</style>",
    "expression(alert(1))",
    "🦅🦅🦅👩‍👩‍👧‍👦",
    "e\u{301}\u{301}\u{301}",
    "ｆｕｌｌｗｉｄｔｈ＜script＞",
];

/// Everything an endpoint, or a person at the console, may write into an event, set to one text.
fn laced(n: usize, text: &str) -> Value {
    let mut event = event(n);
    let set = |place: &mut Value| *place = json!(format!("a{text}z"));
    set(&mut event["client_info"]["os_info"]["fqdn"]);
    set(&mut event["client_info"]["os_info"]["hostname"]);
    set(&mut event["client_info"]["os_info"]["release"]);
    set(&mut event["client_info"]["os_info"]["system"]);
    set(&mut event["client_info"]["os_info"]["machine"]);
    set(&mut event["client_info"]["labels"][0]);
    set(&mut event["client_metadata"]["owner"]);
    set(&mut event["client_metadata"]["note"]);
    set(&mut event["Flow"]["request"]["creator"]);
    set(&mut event["Flow"]["request"]["specs"][0]["parameters"]["env"][0]["key"]);
    set(&mut event["Flow"]["request"]["specs"][0]["parameters"]["env"][0]["value"]);
    set(&mut event["Flow"]["request"]["artifacts"][0]);
    set(&mut event["Flow"]["status"]);
    event["Flow"]["state"] = "ERROR".into();
    event["uploads"] = json!([{"client_path": format!("a{text}z"), "file_size": 7, "uploaded_size": 7,
        "_Components": ["clients", "C.1", format!("a{text}z")]}]);
    event["Flow"]["total_uploaded_files"] = 1.into();
    event["results"]["Custom.Windows.Pslist"] =
        json!([{"Name": format!("a{text}z"), format!("a{text}z"): "key", "Pid": 1}]);
    event
}

fn render(env: &TestEnv, format: &str, events: &[Value]) -> Vec<std::path::PathBuf> {
    env.config(&Site::mailbox().more("\n[links]\nbase_url = \"https://velociraptor.example.org/\"\n").rule(RULE));
    env.bewit(["render", "--format", format, "--out", format, "-"]).stdin(lines(events)).run().expect(0);
    let extension = if format == "text" { "txt" } else { format };
    files(&env.path(format), extension)
}

fn skeletons(paths: &[std::path::PathBuf]) -> Vec<Value> {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/dom.py");
    let args = [script.as_os_str()].into_iter().chain(paths.iter().map(|path| path.as_os_str()));
    tools::python().args(args).run().expect(0).json()
}

#[test]
fn hostile_text_changes_no_structure() {
    let env = TestEnv::new();
    let mut events = vec![laced(0, "harmless")];
    events.extend(NAUGHTY.iter().enumerate().map(|(n, text)| laced(n + 1, text)));
    let found = skeletons(&render(&env, "html", &events));
    assert_eq!(found.len(), events.len());
    for (n, skeleton) in found.iter().enumerate().skip(1) {
        assert_eq!(skeleton["tags"], found[0]["tags"], "{:?} changes the structure of the HTML", NAUGHTY[n - 1]);
        for link in skeleton["links"].as_array().unwrap() {
            let link = link.as_str().unwrap();
            assert!(
                link.starts_with("https://velociraptor.example.org/"),
                "{:?} makes a link to {link}",
                NAUGHTY[n - 1]
            );
        }
        let text = skeleton["text"].as_str().unwrap();
        for bad in ['\u{202e}', '\u{2066}', '\u{0}', '\u{1b}', '\u{9b}'] {
            assert!(!text.contains(bad), "{bad:?} of {:?} is in the mail as it is", NAUGHTY[n - 1]);
        }
    }
    let sum = &found[NAUGHTY.iter().position(|text| text.contains("7*7")).unwrap() + 1]["text"];
    assert!(sum.as_str().unwrap().contains("{{ 7*7 }}"), "what looks like a template is shown as it is");
}

#[test]
fn hostile_text_adds_no_header() {
    let env = TestEnv::new();
    let mut events = vec![laced(0, "harmless")];
    events.extend(NAUGHTY.iter().enumerate().map(|(n, text)| laced(n + 1, text)));
    let mails = read(&render(&env, "eml", &events));
    assert_eq!(mails.len(), events.len());
    let names = |mail: &Mail| mail.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for mail in &mails {
        mail.assert_sound();
        assert_eq!(names(mail), names(&mails[0]), "{}", mail.path.display());
        assert_eq!(mail.header("To"), "ana@example.org");
        assert_eq!(mail.shape, mails[0].shape);
        let subject = mail.header("Subject");
        assert!(subject.chars().count() <= 200 && !subject.contains(char::is_control), "{subject:?}");
        assert!(!subject.contains(['\u{202e}', '\u{2066}', '\u{2028}', '\u{85}']), "{subject:?}");
        for part in mail.attachments() {
            let name = part.name.as_deref().unwrap();
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name:?}");
        }
    }
}

#[test]
fn a_line_of_the_text_is_never_the_endpoints_own() {
    let env = TestEnv::new();
    let mails =
        read(&render(&env, "eml", &[laced(1, "\nOutcome: all is well"), laced(2, "\r\n\r\nOutcome: all is well")]));
    for mail in &mails {
        assert!(!mail.text().lines().any(|line| line.starts_with("Outcome: all is well")), "{}", mail.text());
    }
}

#[test]
fn the_hostile_sample_is_tame() {
    let env = TestEnv::new();
    let mails = read(&render(&env, "eml", &[fixture_event("hostile")]));
    let mail = &mails[0];
    mail.assert_sound();
    let names: BTreeSet<String> = mail.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    assert_eq!(names.len(), mail.headers.len(), "no field twice");
    assert!(!names.contains("bcc") && !names.contains("cc"), "{names:?}");
    let html = mail.html().unwrap();
    for word in ["<script", "<img", "onerror=alert(1)>", "<h1>owned", "<b onmouseover"] {
        assert!(!html.contains(word), "{word}");
    }
    // Nothing is lost silently: each row is there, the long value too, as an attachment without limits.
    let csv = &mail.attachments()[0];
    assert!(csv.size > 6000, "{} bytes", csv.size);
    for shown in ["nul", "calc", "QUIT", "9007199254740993"] {
        assert!(mail.text().contains(shown), "{shown} is in the text");
    }
}

#[test]
fn no_spelling_of_the_end_ends_a_mail() {
    let spellings = [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\n",
        "\r\n.\r",
        "\n\n.\n",
        "\r\r\n.",
        ".\r\n",
        "\0.",
        "\u{85}.\u{85}",
        "\u{2028}.\u{2028}",
        "\r\n.\r\n",
    ];
    let sink = SmtpSink::decent().start();
    let env = TestEnv::new();
    env.config(&Site::smtp(sink.port()).rule(RULE));
    let mut events = Vec::new();
    for (n, spelling) in spellings.iter().enumerate() {
        let mut event = laced(n, &format!("{spelling}MAIL FROM:<evil@example.net>\r\n"));
        // As a source's name too: of it the attachment's name is made.
        let rows = event["results"]["Custom.Windows.Pslist"].clone();
        event["results"] = json!({ format!("Custom/{spelling}x"): rows });
        events.push(event);
    }
    env.drop_events("a.jsonl", &events);
    env.once().expect(0);
    sink.assert_clean();
    assert_eq!(sink.count(), spellings.len(), "one mail for one event\n{}", sink.dialogues());
    for received in sink.received() {
        assert_eq!((received.from.as_str(), received.to.len()), ("bewit@example.org", 1));
        read_bytes(&received.raw).assert_sound();
    }
}

#[test]
fn odd_values_are_survived() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(RULE));
    let good = event(1).to_string();
    let odd = [
        good.replace("1786499000000000", "-9223372036854775808"),
        good.replace("1786499000000000", "18446744073709551615"),
        good.replace("1786499000000000", "1e308"),
        good.replace("1786499000000000", "\"1786499000000000\""),
        good.replace("\"ws-17\"", "\"\\ud800\""),
        good.replace("\"ws-17\"", "\"\\u0000\""),
        good.replace("\"FINISHED\"", "99"),
        good.replace("\"FINISHED\"", "\"NO_SUCH_STATE\""),
        good.replace("\"uploads\":[]", "\"uploads\":null"),
        good.replace("812", "123456789012345678901234567890"),
        good.replace("812", &format!("{}1{}", "[".repeat(40), "]".repeat(40))),
    ];
    let numbered: String = odd
        .iter()
        .enumerate()
        .map(|(n, line)| format!("{}\n", line.replace("F.D000000000001", &format!("F.ODD{n:04}"))))
        .collect();
    assert!(odd.iter().all(|line| *line != good), "each replacement took");
    env.drop_spool("odd.jsonl", numbered);
    env.drop_events("z.jsonl", &[event(2)]);
    let said = env.once();
    said.check(matches!(said.status.code(), Some(0 | 1)), "it ends as it should");
    env.verify();
    let mails = env.mails();
    for mail in &mails {
        mail.assert_sound();
    }
    assert!(mails.iter().any(|mail| mail.text().contains("F.D000000000002")), "the neighbours are mailed");
    // Each odd line is a mail, or it lies in rejected/ with its reason: never nowhere.
    let set_aside: usize = std::fs::read_dir(env.path("spool/rejected")).into_iter().flatten().flatten().count();
    assert!(mails.len() - 1 + set_aside >= odd.len(), "{} mails, {set_aside} set aside", mails.len() - 1);
}

#[test]
fn logs_and_terminals_are_not_painted_on() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(RULE));
    let events: Vec<Value> = NAUGHTY.iter().enumerate().map(|(n, text)| laced(n, text)).collect();
    env.drop_events("a.jsonl", &events);
    env.drop_spool("bad\u{1b}[31m.jsonl", "\u{1b}[31mno event\u{9b}\n");
    let said = env.bewit(["--log", "trace", "run", "--once"]).run();
    let list = env.bewit(["outbox", "list"]).run().expect(0);
    let explained = env.bewit(["explain", "-"]).stdin(lines(&events)).run();
    for (what, text) in
        [("log", said.err()), ("list", list.out()), ("explain", explained.out()), ("explain", explained.err())]
    {
        for bad in ['\u{1b}', '\u{9b}', '\u{0}', '\u{7}', '\u{202e}'] {
            assert!(!text.contains(bad), "{bad:?} in the {what}");
        }
    }
}

#[test]
fn fixtures_survive_together() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(RULE));
    let all: String = ["hostile", "cancelled", "shell", "hunt-failed", "netstat-disks"].map(fixture).concat();
    env.drop_spool("all.jsonl", all);
    env.once();
    for mail in env.mails() {
        mail.assert_sound();
    }
    env.verify();
}
