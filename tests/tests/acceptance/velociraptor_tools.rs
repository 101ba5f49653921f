//! `check`, `import --from-server` and `replay` against a server.

use std::time::Duration;

use acceptance::velociraptor::{Beat, Cut, FakeVelociraptor, Flow, Item, Kind, Leaf, Reply, User, flow};
use acceptance::{Site, TestEnv};
use serde_json::{Value, json};

/// Tells Ana of everything at once.
const RULE: &str = "[[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\n";

/// The artifact that keeps the log.
const LOG: &str = "Custom.Server.Bewit.Completions";

fn server() -> FakeVelociraptor {
    FakeVelociraptor::builder().second(Duration::from_millis(20)).beat(Beat::Every(Duration::from_millis(50))).start()
}

fn now() -> i64 {
    flow::micros() / 1_000_000
}

/// A folder with a configuration whose `[velociraptor]` has these keys beside `api_config`, and the server's file.
fn site(server: &FakeVelociraptor, user: User, keys: &str) -> TestEnv {
    let env = TestEnv::new();
    server.api_file(env.path("api.config.yaml"), user);
    let section = format!("\n[velociraptor]\napi_config = \"api.config.yaml\"\n{keys}\n");
    env.config(&Site::mailbox().more(&section).rule(RULE));
    env
}

/// A completion of the past. Its row says neither who collected nor what: the server is asked for that.
fn complete(server: &FakeVelociraptor, org: &str, client: &str, id: &str, at: i64) {
    let mut flow = Flow::new(client, id);
    flow.create_time = (at - 900) * 1_000_000;
    server.world().add_flow(org, flow);
    server.world().complete_at(org, client, id, at);
}

#[test]
fn check_says_what_works() {
    let server = server();
    server.world().add_org("O1AB", "Acme");
    server.world().add_artifact("Generic.Client.Info", &[]);
    let env = site(&server, User::Good, "org = \"*\"");
    let said = env.bewit(["check"]).run().expect(0);
    let out = said.out();
    said.check(out.contains(&format!("velociraptor: connected to {} as bewit\n", server.address())), "connected");
    for org in ["root", "O1AB"] {
        for line in [
            "watch: completions are heard",
            "catch_up: past completions",
            "catch_up_log: Custom.Server.Bewit.Completions is not installed",
            "flow: flows, clients and hunts",
            "artifacts: artifact definitions",
            "uploads: lists of uploads",
            "results: results can be read",
            "links: links",
            "server_monitoring: server event artifacts",
        ] {
            let count = out.matches(&format!("velociraptor: {org}: {line}")).count();
            said.check(count == 1, &format!("{org}: {line}"));
        }
    }
    said.check(out.ends_with("\nok\n"), "ends in ok");
    // Whether the log is there is found out by asking for it.
    let known = |complaint: &String| complaint.contains(&format!("artifact {LOG} not found"));
    assert!(server.complaints().iter().all(known), "{:?}", server.complaints());

    let queries = server.queries().len();
    let offline = env.bewit(["check", "--offline"]).run().expect(0);
    offline
        .check(!offline.out().contains("velociraptor: ") && offline.out().ends_with("ok\n"), "nothing is said of it");
    assert_eq!(server.queries().len(), queries, "--offline asks nothing");
}

#[test]
fn check_says_whether_the_log_is_kept() {
    let server = server();
    let env = site(&server, User::Good, "");
    server.world().add_artifact(LOG, &[]);
    server.world().add_log("root", LOG);
    server.world().event("root", LOG, now() - 900, &json!({"_Beat": now() - 900}));
    let said = env.bewit(["check"]).run().expect(0);
    said.check(said.err().contains("has not written for 180 s"), "a log that is kept no more");
    server.world().event("root", LOG, now() - 30, &json!({"_Beat": now() - 30}));
    let said = env.bewit(["check"]).run().expect(0);
    said.check(said.out().contains("keeps the log") && !said.err().contains("catch_up_log"), "a log that is kept");
}

#[test]
fn check_names_the_command_that_grants_what_is_missing() {
    let server = server();
    server.world().add_org("O1AB", "Acme");
    server.world().set_permissions("O1AB", &["ANY_QUERY"]);
    let env = site(&server, User::Good, "org = [\"root\", \"O1AB\", \"O2\"]");
    let said = env.bewit(["check"]).run().expect(2);
    let err = said.err();
    let denied: Vec<&str> = err.lines().filter(|line| line.contains("O1AB: not allowed")).collect();
    said.check(denied.len() == 1, "one line for all that is missing in an org");
    for part in ["watch", "flow", "results", "READ_RESULTS", "acl grant bewit --role api --org O1AB`"] {
        said.check(denied[0].contains(part), part);
    }
    said.check(err.contains("the org `O2` is not known"), "an unknown org");
    said.check(said.out().contains("velociraptor: root: flow"), "the other orgs are told of, too");
    said.check(!said.out().contains("\nok\n"), "it is not ok");

    server.world().set_permissions("root", &[]);
    let said = site(&server, User::Good, "").bewit(["check"]).run().expect(2);
    said.check(said.err().contains("acl grant bewit --role api`"), "the root org needs no --org");
}

#[test]
fn check_tells_a_wrong_server_from_one_that_is_away() {
    let server = server();
    let env = site(&server, User::Good, "");
    server.set_leaf(&Leaf::Name("other.example.org".to_owned()));
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("not that of `VelociraptorServer`"), "another name");
    server.set_leaf(&Leaf::Stranger);
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("not signed by the authority"), "another authority");
    server.set_leaf(&Leaf::Good);
    let said = site(&server, User::Expired, "").bewit(["check"]).run().expect(2);
    said.check(said.err().contains("error: velociraptor: the certificate of bewit ended on"), "its end");
    said.check(said.err().contains("config api_client --name bewit --role api FILE"), "the command");

    server.stop(Cut::Reset);
    let said = env.bewit(["check"]).run().expect(0);
    said.check(said.err().contains("warning: velociraptor: ") && said.err().contains("cannot be reached"), "away");
    said.check(said.out().ends_with("\nok\n"), "the configuration is right");
}

#[test]
fn check_believes_no_stream_that_only_ends_well() {
    let server = server();
    server.script(|asked| {
        let item = match asked.kind {
            Kind::Watch => Item::Row("{\"_Ended\":true}".to_owned()),
            Kind::Links => Item::Log("Symbol link_to not found.".to_owned()),
            // An answer that was cut off, on a stream that ends well.
            Kind::Monitoring => Item::Log("Starting query execution.".to_owned()),
            _ => return None,
        };
        Some(Reply::Items(vec![item]))
    });
    let said = site(&server, User::Good, "").bewit(["check"]).run().expect(2);
    for part in [
        "root: watch: the query `watch` has ended by itself",
        "root: links: the query `links` failed: Symbol link_to not found.",
        "root: catch_up: the query `catch_up` has ended by itself",
    ] {
        said.check(said.err().contains(part), part);
    }
    said.check(said.out().contains("root: flow: flows"), "what works is told of all the same");
}

#[test]
fn check_tries_whether_notifications_can_be_written_back() {
    const ARTIFACT: &str = "Custom.Server.Bewit.Notifications";
    let server = server();
    let env = site(&server, User::Good, &format!("publish = \"{ARTIFACT}\""));
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains(&format!("root: publish: there is no artifact `{ARTIFACT}`")), "not installed");
    server.world().add_artifact(ARTIFACT, &[]);
    let said = env.bewit(["check"]).run().expect(2);
    let command = format!("acl grant bewit --merge '{{\"publish_queues\":[\"{ARTIFACT}\"]}}'`");
    said.check(said.err().contains(&command), "the command");
    server.world().grant_publish("root", ARTIFACT);
    let said = env.bewit(["check"]).run().expect(0);
    said.check(said.out().contains(&format!("root: publish: {ARTIFACT} takes notifications")), "granted");
    assert!(server.pushes().iter().all(|push| push.rows == 0 && push.jsonl.is_empty()), "nothing is written");
}

fn spec(artifact: &str, env: &[(&str, &str)]) -> Value {
    let env: Vec<Value> = env.iter().map(|(key, value)| json!({"key": key, "value": value, "comment": ""})).collect();
    json!({"artifact": artifact, "parameters": {"env": env}})
}

#[test]
fn import_reads_what_runs_on_the_server() {
    let server = server();
    server.world().add_org("O1AB", "Acme");
    let mine = spec(
        "Server.Monitor.FlowCompletion",
        &[("Recipients", "Address\nana@example.org\n"), ("DelayThreshold", "60")],
    );
    let copy = spec("Custom.Server.Monitor.FlowCompletion", &[("DelayThreshold", "7")]);
    let other = spec("Server.Monitor.Health", &[]);
    let names = ["Server.Monitor.Health", "Server.Monitor.FlowCompletion", "Custom.Server.Monitor.FlowCompletion"];
    server
        .world()
        .set_server_monitoring("root", json!({"artifacts": names, "specs": [other.clone(), mine, copy.clone()]}));
    server.world().set_server_monitoring("O1AB", json!({"artifacts": [names[2]], "specs": [copy]}));
    let env = site(&server, User::Good, "org = [\"root\", \"O1AB\"]");

    let said = env.bewit(["import", "--from-server"]).run().expect(0);
    said.check(said.err().contains("org root: `Server.Monitor.Health` is another artifact"), "what is passed over");
    let rules = said.out();
    for name in ["flow-completion", "flow-completion-2", "flow-completion-O1AB"] {
        said.check(rules.matches(&format!("\nname = \"{name}\"\n")).count() == 1, name);
    }
    said.check(rules.contains("ana@example.org") && rules.contains("delay_threshold = 60"), "the parameters");
    // What is written is a configuration.
    env.write("imported.toml", Site::mailbox().text() + &rules);
    env.bewit(["check", "--offline", "-c", "imported.toml"]).run().expect(0);

    // Without a configuration, one org.
    let said = env
        .bewit(["import", "--from-server", "--api-config", "api.config.yaml", "--org", "O1AB", "-c", "none.toml"])
        .run()
        .expect(0);
    said.check(said.out().matches("[[rule]]").count() == 1, "one rule");
    server.assert_clean();
}

#[test]
fn import_says_what_runs_instead() {
    let server = server();
    let env = site(&server, User::Good, "");
    let said = env.bewit(["import", "--from-server"]).run().expect(1);
    said.check(said.err().contains("org root: no server event artifact runs there"), "nothing runs");
    server.world().set_server_monitoring("root", json!({"artifacts": ["Server.Monitor.Health"], "specs": []}));
    let said = env.bewit(["import", "--from-server"]).run().expect(1);
    said.check(said.err().contains("what runs: `Server.Monitor.Health`"), "another runs");
    said.check(!said.out().contains("[[rule]]"), "no rule");
    server.world().set_permissions("root", &["ANY_QUERY"]);
    let said = env.bewit(["import", "--from-server"]).run().expect(1);
    said.check(said.err().contains("permission denied") && said.err().contains("--role api"), "what is missing");
    env.bewit(["import", "--from-server", "rule.json"]).run().expect(2);
    env.bewit(["import"]).run().expect(2);
}

#[test]
fn replay_shows_what_would_have_been_sent() {
    let server = server();
    server.world().add_org("O1AB", "Acme");
    let now = now();
    complete(&server, "root", "C.0000000000000001", "F.LATER", now - 3600);
    complete(&server, "root", "C.0000000000000002", "F.FIRST", now - 7200);
    complete(&server, "root", "C.0000000000000001", "F.TOO0LD", now - 9 * 86_400);
    complete(&server, "root", "C.0000000000000001", "F.HUNT.H", now - 3000);
    complete(&server, "O1AB", "C.0000000000000003", "F.ACME", now - 5000);
    let env = site(&server, User::Good, "org = \"*\"");

    let said = env.bewit(["replay", "--since", "7d", "--dry-run"]).run().expect(0);
    let out = said.out();
    let at = |flow: &str| out.lines().position(|line| line.contains(flow));
    said.check(
        at("F.FIRST").is_some() && at("F.FIRST") < at("F.ACME") && at("F.ACME") < at("F.LATER"),
        "in order of time",
    );
    said.check(
        at("F.TOO0LD").is_none() && at("F.HUNT.H").is_none(),
        "neither what is too old nor what nobody is told of",
    );
    let first = out.lines().nth(at("F.FIRST").unwrap()).unwrap();
    for part in ["root", "C.0000000000000002", "analyst", "notify", "ana@example.org", "finished collecting"] {
        said.check(first.contains(part), part);
    }
    said.check(out.contains("4 completions: 3 mails by rule, before `send_interval`; nobody is told of 1"), "the sums");
    assert!(!env.path("bewit.db").exists() && env.mailbox().is_empty(), "nothing is stored or sent");

    let json = env.bewit(["replay", "--since", "7d", "--dry-run", "--json", "--org", "root"]).run().expect(0).json();
    let decisions: Vec<(&str, &str)> =
        json.iter().map(|line| (line["event"].as_str().unwrap(), line["decision"].as_str().unwrap())).collect();
    assert_eq!(decisions.len(), 3, "{decisions:?}");
    assert!(decisions.contains(&("root/C.0000000000000001/F.HUNT.H", "skip")), "{decisions:?}");

    let until =
        env.bewit(["replay", "--since", "7d", "--until", "90 min", "--dry-run", "--org", "root"]).run().expect(0);
    until.check(until.out().contains("F.FIRST") && !until.out().contains("F.LATER"), "--until");
    server.assert_clean();
}

#[test]
fn replay_takes_in_what_is_not_known_and_ends() {
    let server = server();
    let now = now();
    for n in 1..=20 {
        complete(&server, "root", "C.0000000000000001", &format!("F.{n}"), now - 5000 + n);
    }
    let env = site(&server, User::Good, "watch = false");
    let said = env.bewit(["replay", "--since", "1h 25 min", "--until", "80 min"]).run().expect(0);
    said.check(said.err().contains("20 completions: 20 taken, 0 known before"), "all are new");
    said.check(said.err().contains("20 delivered"), "and sent");
    assert_eq!(env.mailbox().len(), 20);

    complete(&server, "root", "C.0000000000000001", "F.21", now - 4950);
    let said = env.bewit(["replay", "--since", "7d"]).run().expect(0);
    said.check(said.err().contains("21 completions: 1 taken, 20 known before and not mailed again"), "one is new");
    assert_eq!(env.mailbox().len(), 21);
    env.verify();

    // The daemon has the outbox.
    let mut daemon = env.daemon();
    daemon.wait_for("start", 30.0, |daemon| daemon.log().contains("bewit is running").then_some(()));
    let said = env.bewit(["replay", "--since", "7d"]).run().expect(1);
    said.check(said.err().contains("stop the daemon") && said.err().contains("--dry-run"), "what to do");
    env.bewit(["replay", "--since", "7d", "--dry-run"]).run().expect(0);
}

#[test]
fn replay_reads_the_log_when_it_is_whole() {
    let server = server();
    let now = now();
    complete(&server, "root", "C.0000000000000001", "F.1", now - 500);
    complete(&server, "root", "C.0000000000000001", "F.2", now - 400);
    let env = site(&server, User::Good, "");
    let row = |id: &str, at: i64| json!({"Timestamp": at, "ClientId": "C.0000000000000001", "FlowId": id, "Flow": {"state": 2}, "_Beat": null});
    server.world().add_log("root", LOG);
    server.world().event("root", LOG, now - 500, &row("F.1", now - 500));
    for minute in 1..10 {
        let at = now - 600 + minute * 60;
        server.world().event(
            "root",
            LOG,
            at,
            &json!({"Timestamp": null, "ClientId": null, "FlowId": null, "Flow": null, "_Beat": at}),
        );
    }
    let replay = || env.bewit(["replay", "--since", "10 min", "--dry-run", "--json"]).run().expect(0).json().len();
    assert_eq!(replay(), 1, "the log is whole, so it is believed");
    assert_eq!(server.count(Kind::Monitoring), 0, "no client is asked");
    // A longer time than the log was kept: the clients tell the rest, and nothing is told twice.
    assert_eq!(env.bewit(["replay", "--since", "1 h", "--dry-run", "--json"]).run().expect(0).json().len(), 2);
    assert_eq!(server.count(Kind::Monitoring), 1);
    server.assert_clean();
}

#[test]
fn replay_says_what_is_wrong_with_its_arguments() {
    let server = server();
    let env = site(&server, User::Good, "");
    for (args, said) in [
        (["--since", "soon", "--dry-run"], "soon"),
        (["--since", "2026-08-01", "--dry-run"], "a time is written as 2026-08-01T00:00:00Z"),
        (["--since", "2999-01-01T00:00:00Z", "--dry-run"], "--since must lie before"),
        (["--since", "1 d", "--until=2 d"], "--since must lie before"),
        (["--since", "1 d", "--json"], "--dry-run"),
    ] {
        let finished = env.bewit(["replay", args[0], args[1], args[2]]).run().expect(2);
        finished.check(finished.err().contains(said), said);
    }
    env.config(&Site::mailbox().rule(RULE));
    let finished = env.bewit(["replay", "--since", "1 d"]).run().expect(2);
    finished.check(finished.err().contains("there is no [velociraptor]"), "no section");
}
