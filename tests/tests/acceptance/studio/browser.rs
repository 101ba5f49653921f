//! In Debian's Chromium, driven by playwright-core: `tests/browser/studio.mjs`.

use std::fs;
use std::path::Path;

use acceptance::process::Finished;
use acceptance::{Site, TestEnv, budget, tools};
use serde_json::{Value, json};

use super::{SocketAddr, TOKEN, free_address, preview, sample, start};

/// Runs one task of the script; `None` if there is no browser.
fn browse(env: &TestEnv, task: &str, address: SocketAddr, more: &Value) -> Option<Finished> {
    let browser = tools::browser()?;
    let mut given = json!({
        "base": format!("http://{address}"),
        "modules": browser.modules,
        "browser": browser.program,
        "patience": u64::try_from(budget(20.0).as_millis()).unwrap(),
    });
    for (name, value) in more.as_object().unwrap() {
        given[name] = value.clone();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/studio.mjs");
    let node = acceptance::process::Program::new("node", env.root());
    let args = [script.into_os_string(), task.into(), given.to_string().into()];
    Some(node.args(args).limit(240.0).run().expect(0))
}

/// A site with the stock templates in a folder of its own, and an event.
fn studio() -> TestEnv {
    let env = TestEnv::new();
    let stock = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("templates");
    for entry in fs::read_dir(stock).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_file()) {
        env.write(Path::new("templates").join(entry.file_name()), fs::read(entry.path()).unwrap());
    }
    env.config(&Site::mailbox().more("\n[templates]\npath = \"templates\""));
    env.write("events.jsonl", sample("finished"));
    env
}

#[test]
fn a_saved_template_changes_the_page() {
    let env = studio();
    let (mut daemon, address) = preview(&env, &["events.jsonl"]);
    let more = json!({ "template": env.path("templates/flow-completion.html.j2"), "config": env.path("bewit.toml") });
    if let Some(said) = browse(&env, "live", address, &more) {
        let took: Vec<u64> = said.json()[0]["took"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap()).collect();
        eprintln!("milliseconds from save to seen: {took:?}");
        let fastest = *took.iter().min().unwrap();
        assert!(u128::from(fastest) < budget(0.5).as_millis(), "half a second is the promise; it took {took:?}");
    }
    daemon.terminate();
}

#[test]
fn every_page_is_calm_with_a_hostile_event() {
    let env = studio();
    // Two of them in the outbox, so that every page has something to show.
    env.drop_spool("hostile.jsonl", sample("hostile"));
    env.drop_spool("more.jsonl", acceptance::event::fixture("hostile"));
    env.once();
    let (mut daemon, address) = preview(&env, &[]);
    let start =
        ["/?event=sample%3Ahostile&rule=analyst", "/explain?event=stored%3A1", "/mailbox", "/decisions", "/login"];
    let start = start.map(|path| format!("http://{address}{path}"));
    if let Some(said) = browse(&env, "walk", address, &json!({ "start": start, "frame": start[0] })) {
        let visited = said.json()[0]["visited"].as_u64().unwrap();
        said.check(visited >= 60, "it is a walk");
    }
    daemon.terminate();
}

#[test]
fn every_page_is_accessible() {
    let env = studio();
    env.drop_spool("hostile.jsonl", sample("hostile") + &sample("finished"));
    env.once();
    let (mut daemon, address) = preview(&env, &["events.jsonl"]);
    let mut pages: Vec<String> = ["html", "text", "source", "headers", "files", "lint"]
        .iter()
        .flat_map(|view| ["file%3A0%3A1", "sample%3Ahostile"].map(|event| format!("/?event={event}&view={view}")))
        .collect();
    pages.extend(["html", "text", "source", "headers", "files"].map(|view| format!("/mailbox/mail?id=1&view={view}")));
    pages.extend(
        [
            "/explain?event=stored%3A1",
            "/explain?event=nothing%3Ahere",
            "/mailbox",
            "/mailbox?q=nothing&state=failed",
            "/mailbox/mail?id=99",
            "/decisions",
            "/decisions?since=yesterday",
            "/decisions/event?id=1",
        ]
        .map(str::to_owned),
    );
    pages.extend(
        ["/login", "/nowhere", "/?event=nothing%3Ahere", "/?event=sample%3Ahunt&rule=analyst"].map(str::to_owned),
    );
    browse(&env, "axe", address, &json!({ "pages": pages }));
    // With something wrong on it, too.
    env.write("templates/flow-completion.txt.j2", "{{ no_such_fact }}\n");
    acceptance::wait_until("the problem on the page", 30.0, || super::get(address, "/").body.contains("no_such_fact"));
    browse(&env, "axe", address, &json!({ "pages": ["/", "/?view=text"] }));
    daemon.terminate();
}

#[test]
fn what_an_edited_rule_would_change_is_seen_while_writing() {
    let env = super::records::filled();
    let config = env.read("bewit.toml");
    let (mut daemon, address) = preview(&env, &[]);
    let kept = env.path("bewit.toml");
    browse(&env, "whatif", address, &json!({ "config": kept }));
    let text = env.read("bewit.toml").replace("Net.tat", "Netstat");
    assert_eq!(text, config, "the page writes nothing into the configuration");
    daemon.terminate();
}

#[test]
fn pages_are_usable_by_keyboard_and_without_a_script() {
    let env = studio();
    let (mut daemon, address) = preview(&env, &[]);
    browse(&env, "keyboard", address, &json!({}));
    browse(&env, "bare", address, &json!({}));
    daemon.terminate();
}

#[test]
fn a_browser_logs_in() {
    let env = studio();
    let port = free_address().port();
    let web = format!("\n[web]\nlisten = \"0.0.0.0:{port}\"\ntoken_file = \"token\"");
    env.config(&Site::mailbox().more(&web));
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let mut daemon = start(&env, &["run"], address);
    browse(&env, "login", address, &json!({ "token": TOKEN }));
    daemon.terminate();
}
