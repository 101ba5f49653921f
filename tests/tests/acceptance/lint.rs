//! `bewit render --lint`: mails looked at as their readers' programs will.

use acceptance::event::{event, fixture, lines};
use acceptance::{Site, TestEnv};
use serde_json::Value;

/// A template set of a site that makes mistakes.
const BAD: &str = "<!doctype html><html lang=\"en\"><head><title>x</title></head><body>\n\
    <p style=\"color:#aaaaaa\">{{ host }}</p>\n\
    <a href=\"https://elsewhere.example/\">https://console.example.org/</a>\n\
    <div style=\"display:flex\">{{ flow_id }}</div>\n</body></html>\n";

fn site(env: &TestEnv) {
    let rule = "[[rule]]\nname = \"one\"\nrecipients = [\"ana@example.org\", \"kim@example.org\"]\n";
    env.config(&Site::mailbox().more("\n[links]\nbase_url = \"https://velociraptor.example.org/\"\n").rule(rule));
}

/// The same with a template of its own.
fn bad_site(env: &TestEnv) {
    env.write("templates/mine.html.j2", BAD);
    env.write("templates/mine.subject.j2", "{{ host }} finished\n");
    env.write("templates/mine.txt.j2", "{{ host }} {{ flow_id }} https://elsewhere.example/\n");
    let rule = "[[rule]]\nname = \"one\"\nrecipients = [\"ana@example.org\"]\ntemplate = \"mine\"\n";
    env.config(&Site::mailbox().more("\n[templates]\npath = \"templates\"\n").rule(rule));
}

#[test]
fn stock_mails_have_no_errors_and_no_warnings() {
    let env = TestEnv::new();
    site(&env);
    for name in ["cancelled", "hostile", "hunt-failed", "live-row", "netstat-disks", "shell"] {
        let said = env.bewit(["render", "--lint", "-"]).stdin(fixture(name)).run().expect(0);
        said.check(said.out().is_empty(), "alone, it writes no mail");
        let err = said.err();
        let mailed = !err.contains("no mail");
        said.check(!mailed || err.contains("one: lint: "), &format!("{name}: the rule is named"));
        said.check(!err.contains("  error") && !err.contains("  warning"), &format!("{name}: nothing is wrong"));
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_end_with_1() {
    let env = TestEnv::new();
    bad_site(&env);
    env.bewit(["check"]).run().expect(0);
    let said = env.bewit(["render", "--lint", "-"]).stdin(lines(&[event(1)])).run().expect(1);
    for (id, place) in [("link-other-host", "3:1"), ("css-display-flex", "4:13"), ("contrast", "2:26")] {
        said.check(said.err().contains(&format!("{id}, HTML {place}")), &format!("{id} at {place}"));
    }
    said.check(said.out().is_empty(), "findings go to standard error");
    // With a format the mail is written as without --lint, and the exit code is that of the findings.
    for format in ["html", "text", "eml"] {
        let said = env.bewit(["render", "--lint", "--format", format, "-"]).stdin(lines(&[event(1)])).run().expect(1);
        said.check(said.out().contains("F.D000000000001"), &format!("{format} is written"));
        said.check(said.err().contains("link-other-host"), &format!("{format}: findings are told"));
    }
}

#[test]
fn findings_are_json_lines() {
    let env = TestEnv::new();
    bad_site(&env);
    let said = env.bewit(["render", "--lint", "--json", "-"]).stdin(lines(&[event(1), event(2)])).run().expect(1);
    let rows = said.json();
    let errors: Vec<&Value> = rows.iter().filter(|row| row["severity"] == "error").collect();
    assert_eq!(errors.len(), 2, "one for each event");
    assert_eq!(errors[0]["id"], "link-other-host");
    assert_eq!(errors[0]["rule"], "one");
    assert_eq!(errors[0]["places"][0]["line"], 3);
    assert_ne!(errors[0]["event"], errors[1]["event"]);
    let flex = rows.iter().find(|row| row["id"] == "css-display-flex").unwrap();
    assert!(flex["programs"].as_array().unwrap().contains(&Value::from("outlook-windows")));
    said.check(said.err().is_empty(), "standard error has nothing to say");
    // Mails need a folder beside it, and get one.
    env.bewit(["render", "--lint", "--json", "--format", "html", "-"]).stdin(lines(&[event(1)])).run().expect(2);
    let said = env.bewit(["render", "--lint", "--json", "--out", "out", "-"]).stdin(lines(&[event(1)])).run().expect(1);
    assert!(!said.json().is_empty() && acceptance::env::files(&env.path("out"), "eml").len() == 1);
    env.bewit(["render", "--json", "-"]).stdin(lines(&[event(1)])).run().expect(2);
}

#[test]
fn without_a_mail_there_is_nothing_to_look_at() {
    let env = TestEnv::new();
    site(&env);
    let mut silent = event(3);
    silent["Flow"]["request"]["artifacts"] = serde_json::json!(["Generic.Client.Info"]);
    let said = env.bewit(["render", "--lint", "-"]).stdin(lines(&[silent])).run().expect(0);
    said.check(said.err().contains("F.D000000000003") && said.err().contains("no mail"), "it says so");
    said.check(!said.err().contains("lint:"), "and looks at nothing");
}
