//! What a plugin must not be able to do, whatever it tries. The guests are written in WebAssembly's text format, so that
//! nothing but the sandbox itself is tested.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use acceptance::event::{event, many, token};
use acceptance::guest::{self, ABSTAIN};
use acceptance::wait::budget;
use acceptance::{Site, TestEnv};
use serde_json::Value;

const LOG: &str = r#"(import "bewit:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))"#;

/// Guests that load, and then misbehave in `decide`: name, body, what else the module has, and what is said of it.
const HOSTILE: &[(&str, &str, &str, &str)] = &[
    ("loop", "(loop $l (br $l)) (unreachable)", "", "timed out after 50 ms"),
    ("grow", "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (unreachable)", "", "more than 8 MiB of memory"),
    (
        "table",
        "(loop $l (drop (table.grow $t (ref.null func) (i32.const 30000))) (br $l)) (unreachable)",
        "(table $t 1 funcref)",
        "more than 8 MiB of memory",
    ),
    (
        "deep",
        "(call $deep (i32.const 1))",
        "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))",
        "nested too deeply",
    ),
    (
        "huge",
        "(drop (memory.grow (i32.const 8))) (call $say (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 600000))",
        "",
        "answer is longer than 64 KiB",
    ),
    (
        "garbage",
        "(call $say (i32.const 0) (i32.const 2) (i32.const 1024) (i32.const 4))",
        r#"(data (i32.const 1024) "\ff\fe\fd\fc")"#,
        "utf-8",
    ),
    ("trap", "(unreachable)", "", "gave up"),
    ("outside", "(i32.const 0x7ffffff0)", "", "broke down"),
    ("no-such-case", "(call $say (i32.const 0) (i32.const 99) (i32.const 0) (i32.const 0))", "", "broke down"),
    (
        "flood",
        "(loop $l (call $log (i32.const 2) (i32.const 16) (i32.const 4)) (br $l)) (unreachable)",
        LOG,
        "timed out",
    ),
];

const LIMITS: &str = "limits = { time = \"50 ms\", memory = \"8 MiB\", output = \"64 KiB\" }";

/// A site with a rule for each hostile guest, and one that has nothing to do with them.
fn hostile_site(env: &TestEnv, mut site: Site) {
    let mut rules = acceptance::site::RULE.to_owned();
    for (name, body, more, _) in HOSTILE {
        env.write(format!("{name}.wasm"), guest::filter(body, more));
        site = site.more(&format!("\n[plugins.{name}]\npath = \"{name}.wasm\"\n{LIMITS}"));
        let _ = write!(
            rules,
            "\n[[rule]]\nname = \"with-{name}\"\nrecipients = [\"{name}@example.org\"]\nsend_interval = 0\nfilters = [\"{name}\"]\n"
        );
    }
    env.config(&site.rule(&rules));
}

/// What `explain` says of one filter in one decision.
fn entry<'a>(decision: &'a Value, filter: &str) -> &'a Value {
    let trace = decision["trace"].as_array().unwrap();
    trace.iter().find(|entry| entry["filter"] == filter).unwrap_or_else(|| panic!("{filter}: {decision}"))
}

#[test]
fn every_hostile_guest_is_contained_and_named() {
    let env = TestEnv::new();
    hostile_site(&env, Site::mailbox());
    env.drop_events("1.jsonl", &[event(1)]);
    env.write("event.jsonl", acceptance::event::lines(&[event(1)]));

    let said = env.bewit(["explain", "--json", "event.jsonl"]).run().expect(0);
    let decisions: BTreeMap<String, Value> =
        said.json().into_iter().map(|line| (line["rule"].as_str().unwrap().to_owned(), line)).collect();
    assert_eq!(decisions["analyst"]["decision"], "notify");
    for (name, _, _, what) in HOSTILE {
        let decision = &decisions[&format!("with-{name}")];
        assert_eq!(decision["decision"], "notify", "on_failure = keep: {decision}");
        let entry = entry(decision, name);
        assert_eq!(entry["verdict"], "unknown", "{decision}");
        assert!(entry["detail"].as_str().unwrap().contains(what), "{name}: {entry}");
    }

    env.once().expect(0);
    let mails = env.mails();
    assert_eq!(mails.len(), HOSTILE.len() + 1);
    for (name, _, _, what) in HOSTILE {
        let mail = mails.iter().find(|mail| mail.header("To").contains(&format!("{name}@example.org"))).unwrap();
        let text = mail.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("`{name}` gave no answer")) && text.contains(what), "{name}: {text}");
    }
    env.verify();
}

#[test]
fn a_daemon_serves_its_other_rules_and_benches_what_keeps_failing() {
    let env = TestEnv::new();
    let web = acceptance::env::free_address();
    hostile_site(&env, Site::mailbox().more(&format!("\n[web]\nlisten = \"{web}\"")));
    let mut daemon = env.daemon();
    let count = 8;
    env.drop_events("many.jsonl", &many(1, count));
    daemon.wait_for_mails(count * (HOSTILE.len() + 1));
    let mails = env.mails();
    for n in 1..=count {
        let plain =
            mails.iter().filter(|mail| mail.header("To").contains("ana@") && mail.text().contains(&token(n))).count();
        assert_eq!(plain, 1, "event {n}");
    }
    let metrics =
        acceptance::http::exchange(web, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap().body;
    for (name, ..) in HOSTILE {
        assert!(metrics.contains(&format!("bewit_plugin_benched{{plugin=\"{name}\"}} 1")), "{name}: {metrics}");
        assert!(
            metrics.contains(&format!("bewit_plugin_calls_total{{plugin=\"{name}\",outcome=\"failed\"}} 5")),
            "{name}"
        );
    }
    let log = daemon.log();
    assert_eq!(log.matches("keeps failing and is not asked").count(), HOSTILE.len());
    let flood = log.lines().filter(|line| line.contains("bewit::guest") && line.contains("plugin=\"flood\"")).count();
    assert!(flood < 5 * 1100, "{flood} lines of one guest");
    assert!(daemon.terminate().success(), "{}", daemon.log());
    env.verify();
}

#[test]
fn what_must_not_be_loaded_is_refused_with_its_reason() {
    let granted = "package a:b; world w { import wasi:filesystem/types@0.2.0; export bewit:plugin/filter@0.1.0; }
        package wasi:filesystem@0.2.0 { interface types { f: func(); } }
        package bewit:plugin@0.1.0 { interface filter { decide: func(); } }";
    let not_granted = guest::component_of(
        granted,
        "w",
        r#"(module (import "wasi:filesystem/types@0.2.0" "f" (func $f))
            (func (export "bewit:plugin/filter@0.1.0#decide") (call $f)))"#,
    );
    let exports = |package: &str, version: &str| {
        let wit = format!(
            "package a:b; world w {{ export {package}/filter@{version}; }}
             package {package}@{version} {{ interface filter {{ decide: func(); }} }}"
        );
        let module = format!(r#"(module (func (export "{package}/filter@{version}#decide")))"#);
        guest::component_of(&wit, "w", &module)
    };
    let start = r"(func $start (loop $l (br $l))) (start $start)";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("not-granted", not_granted, "imports wasi:filesystem/types@0.2.0, which plugins are not given"),
        ("wrong-world", exports("other:thing", "0.1.0"), "exports other:thing/filter@0.1.0, but neither"),
        (
            "older",
            exports("bewit:plugin", "0.0.9"),
            "exports bewit:plugin/filter@0.0.9; this version of Bewit speaks 0.1",
        ),
        ("newer", exports("bewit:plugin", "0.2.0"), "this version of Bewit speaks 0.1"),
        ("start", guest::filter(ABSTAIN, start), "timed out after 5000 ms"),
        ("module", b"\0asm\x01\0\0\0".to_vec(), "core WebAssembly module, not yet a component"),
        ("empty", Vec::new(), "the file is empty"),
        ("text", b"(component)".to_vec(), "text format"),
        ("noise", b"\0asm\x0d\0\x01\0\xff\xff\xff\xff".to_vec(), "compile"),
    ];
    let env = TestEnv::new();
    let mut site = Site::mailbox();
    let mut names = Vec::new();
    for (name, bytes, _) in &cases {
        env.write(format!("{name}.wasm"), bytes);
        site = site.more(&format!("\n[plugins.{name}]\npath = \"{name}.wasm\""));
        names.push(format!("\"{name}\""));
    }
    env.config(&site.rule(&format!("{}filters = [{}]\n", acceptance::site::RULE, names.join(", "))));
    let said = env.bewit(["check"]).run().expect(2);
    let errors = said.err();
    for (name, _, what) in &cases {
        let part = errors.split("error: ").find(|part| part.starts_with(&format!("plugin `{name}`")));
        let part = part.unwrap_or_else(|| panic!("{name} is not named in\n{errors}"));
        assert!(part.contains(what), "{name}: {part}");
        assert!(part.contains("bewit.toml:"), "{name} has a place: {part}");
    }
    // A daemon does not start with them.
    env.bewit(["run", "--once"]).run().expect(2);
}

#[test]
fn what_a_plugin_cannot_do_without_is_held_and_judged_again() {
    let env = TestEnv::new();
    env.write("p.wasm", guest::filter("(unreachable)", ""));
    let site = Site::mailbox()
        .retry("100 ms")
        .more("\n[plugins.p]\npath = \"p.wasm\"\non_failure = \"hold\"")
        .rule(&format!("{}filters = [\"p\"]\n", acceptance::site::RULE));
    env.config(&site);
    env.drop_events("1.jsonl", &[event(1)]);
    env.once().expect(1);
    assert!(env.mailbox().is_empty());
    let list = env.bewit(["outbox", "list"]).run().expect(0).out();
    assert!(list.contains("postponed") && list.contains("gave up"), "{list}");
    env.verify();

    env.write(
        "p.wasm",
        guest::filter("(call $note (i32.const 1024) (i32.const 6))", r#"(data (i32.const 1024) "mended")"#),
    );
    acceptance::wait_until("the mail", 30.0, || env.once().status.success());
    let mails = env.mails();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].text().contains("mended") && mails[0].text().contains(&token(1)), "{}", mails[0].text());
    env.verify();
}

#[test]
fn a_death_while_judging_again_loses_nothing_and_repeats_nothing() {
    use std::os::unix::process::ExitStatusExt;
    for point in ["before_judged", "judged_before_commit", "after_judged"] {
        let env = TestEnv::with_faults();
        env.write("p.wasm", guest::filter("(unreachable)", ""));
        let site = Site::mailbox()
            .retry("100 ms")
            .more("\n[plugins.p]\npath = \"p.wasm\"\non_failure = \"hold\"")
            .rule(&format!("{}filters = [\"p\"]\n", acceptance::site::RULE));
        env.config(&site);
        env.drop_events("1.jsonl", &many(1, 3));
        env.once().expect(1);
        assert!(env.mailbox().is_empty());

        env.write("p.wasm", guest::filter(ABSTAIN, ""));
        let mut died = false;
        acceptance::wait_until(&format!("a death at {point}"), 30.0, || {
            let run = env.bewit(["run", "--once"]).env("BEWIT_FAULT", format!("{point}:1")).run();
            died = run.status.signal() == Some(6);
            died || env.mailbox().len() == 3
        });
        assert!(died, "{point} was never passed");
        acceptance::wait_until("the mails", 30.0, || env.once().status.success());
        let mails = env.mails();
        assert_eq!(mails.len(), 3, "{point}");
        for n in 1..=3 {
            let told = mails.iter().filter(|mail| mail.text().contains(&token(n))).count();
            assert_eq!(told, 1, "{point}: event {n}");
        }
        env.verify();
    }
}

#[test]
fn a_plugin_exchanged_under_load_decides_whole_events_only() {
    let env = TestEnv::new();
    let version = |word: &str| {
        let say = format!("(call $say (i32.const 0) (i32.const 2) (i32.const 1024) (i32.const {}))", word.len());
        guest::warm_filter(&say, &format!("(data (i32.const 1024) \"{word}\")"))
    };
    let (one, two) = (version("version one"), version("version two"));
    env.write("p.wasm", &one);
    env.config(
        &Site::mailbox()
            .more("\n[plugins.p]\npath = \"p.wasm\"")
            .rule(&format!("{}filters = [\"p\"]\n", acceptance::site::RULE)),
    );
    let mut daemon = env.daemon();
    daemon.wait_for("its start", 30.0, |daemon| daemon.log().contains("bewit is running").then_some(()));
    let files = 50;
    let each = 200;
    let mut reloads = 0;
    for file in 0..files {
        env.drop_events(&format!("{file:03}.jsonl"), &many(file * each + 1, each));
        match file % 10 {
            3 => {
                exchange(&env, &two);
                reloads += 1;
                daemon.wait_for("the new file", 30.0, |daemon| (reloaded(daemon) == reloads).then_some(()));
            }
            // Half a file, as a careless copy leaves it: the old one goes on serving.
            6 => exchange(&env, &two[..two.len() / 2]),
            8 => {
                exchange(&env, &one);
                reloads += 1;
                daemon.wait_for("the new file", 30.0, |daemon| (reloaded(daemon) == reloads).then_some(()));
            }
            _ => {}
        }
    }
    daemon.wait_for("all events", 120.0, |_| {
        let left = acceptance::env::files(&env.path("spool"), "jsonl").len();
        (left == 0).then_some(())
    });
    assert!(daemon.terminate().success(), "{}", daemon.log());
    env.verify();

    let script = "import json, sqlite3\n\
         db = sqlite3.connect('bewit.db')\n\
         rows = db.execute('SELECT reason, count(*) FROM decision GROUP BY reason').fetchall()\n\
         print(json.dumps(dict(rows)))";
    let said = acceptance::process::Program::new("python3", env.root()).args(["-c", script]).run().expect(0);
    let reasons: BTreeMap<String, u64> = serde_json::from_str(&said.out()).unwrap();
    assert_eq!(reasons.values().sum::<u64>(), (files * each) as u64, "{reasons:?}");
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["p: version one", "p: version two"], "{reasons:?}");
}

/// How often the daemon has taken a new configuration, templates or plugins.
fn reloaded(daemon: &acceptance::Daemon<'_>) -> usize {
    daemon.log().matches("configuration, templates and plugins reloaded").count()
}

/// In place, as an editor or a careless `cp` writes.
fn exchange(env: &TestEnv, bytes: &[u8]) {
    env.write("p.wasm", bytes);
}

#[test]
fn a_file_that_others_can_change_is_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let env = TestEnv::new();
    let path = env.write("p.wasm", guest::filter(ABSTAIN, ""));
    env.config(
        &Site::mailbox()
            .more("\n[plugins.p]\npath = \"p.wasm\"")
            .rule(&format!("{}filters = [\"p\"]\n", acceptance::site::RULE)),
    );
    env.bewit(["check"]).run().expect(0);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let said = env.bewit(["check"]).run().expect(2).err();
    assert!(said.contains("chmod go-w"), "{said}");
}

#[test]
fn a_loop_is_stopped_soon() {
    let env = TestEnv::new();
    env.write("p.wasm", guest::filter("(loop $l (br $l)) (unreachable)", ""));
    env.config(
        &Site::mailbox()
            .more(&format!("\n[plugins.p]\npath = \"p.wasm\"\n{LIMITS}"))
            .rule(&format!("{}filters = [\"p\"]\n", acceptance::site::RULE)),
    );
    env.write("events.jsonl", acceptance::event::lines(&many(1, 4)));
    // Four calls of 50 ms each; starting and compiling are in it, too.
    let said = env.bewit(["explain", "events.jsonl"]).run().expect(0);
    assert!(said.took < budget(10.0), "{:?}", said.took);
}
