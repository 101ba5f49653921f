//! Whom Bewit trusts, how it connects, and what it says when it cannot: a Velociraptor server seen through `bewit run`.

use std::process::Command;
use std::time::Duration;

use acceptance::velociraptor::{
    At, Beat, COMPLETIONS, Code, Cut, FakeVelociraptor, Fault, Flow, Kind, Leaf, ROOT, User, When,
};
use acceptance::{Daemon, Site, TestEnv};
use serde_json::json;

/// Everybody is told of everything, by what the live row says alone.
const ALL: &str = r#"
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
send_interval = 0
artifacts_to_alert_on = ".*"
delay_threshold = 0
"#;

/// Asks for facts: who has asked for the flow decides, and the rows are in the mail.
const FACTS: &str = r#"
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
send_interval = 0
artifacts_to_alert_on = ".*"
delay_threshold = 10
include_result_table_from = [{ source = "Pslist" }]
"#;

fn server() -> FakeVelociraptor {
    FakeVelociraptor::builder().second(Duration::from_millis(20)).beat(Beat::Every(Duration::from_millis(100))).start()
}

/// A folder with a configuration that watches the server.
fn site(server: &FakeVelociraptor, user: User, keys: &str, rules: &str) -> TestEnv {
    let env = TestEnv::new();
    server.api_file(env.path("api.config.yaml"), user);
    let section = format!("\n[velociraptor]\napi_config = \"api.config.yaml\"\n{keys}\n");
    env.config(&Site::mailbox().more(&section).rule(rules));
    env
}

/// `bewit run` that says everything it can.
fn daemon_at_trace(env: &TestEnv) -> Daemon<'_> {
    let mut command = Command::new(env.binary());
    command.args(["--log", "trace,notify=info", "run"]);
    env.spawn(command, &[])
}

#[track_caller]
fn wait_for_log(daemon: &mut Daemon<'_>, words: &str) {
    daemon.wait_for(words, 30.0, |daemon| daemon.log().contains(words).then_some(()));
}

#[track_caller]
fn wait_for_watch(daemon: &mut Daemon<'_>, server: &FakeVelociraptor) {
    daemon.wait_for("a watch", 40.0, |daemon| {
        let begun = daemon.log().contains("completions are watched");
        (begun && server.world().watchers(ROOT, COMPLETIONS) == 1).then_some(())
    });
}

/// A flow of each number completes, and each has its mail.
#[track_caller]
fn told(daemon: &mut Daemon<'_>, env: &TestEnv, server: &FakeVelociraptor, first: usize, count: usize) {
    let before = env.mailbox().len();
    for (client, flow) in server.world().add_flows(ROOT, 3, first, count) {
        server.world().complete(ROOT, &client, &flow);
    }
    daemon.wait_for_mails(before + count);
}

#[test]
fn a_server_that_is_not_the_one_is_refused_and_told_of() {
    for (leaf, said) in [
        (Leaf::Name("velo.example.org".to_owned()), "its certificate is not that of `VelociraptorServer`"),
        (Leaf::Stranger, "its certificate is not signed by the authority in the API client file"),
        (Leaf::Expired, "its certificate has expired"),
        (Leaf::NotYet, "its certificate is not valid yet"),
    ] {
        let server = server();
        server.set_leaf(&leaf);
        let env = site(&server, User::Good, "", ALL);
        let mut daemon = env.daemon();
        wait_for_log(&mut daemon, said);
        assert!(daemon.log().contains(&server.address()), "{leaf:?}: it says where");
        assert!(server.queries().is_empty(), "{leaf:?}: nothing was said to it");
        assert!(daemon.running(), "{leaf:?}: it goes on trying");
        assert!(daemon.terminate().success());
    }
}

/// With TLS 1.3 a client has finished its handshake before the server has looked at its certificate.
#[test]
fn a_certificate_that_the_server_does_not_take_is_told_of() {
    for user in [User::Expired, User::NotYet, User::Stranger] {
        let server = server();
        let env = site(&server, user, "", ALL);
        let mut daemon = env.daemon();
        wait_for_log(&mut daemon, "certificate");
        assert!(daemon.log().contains("completions are not watched"), "{user:?}: {}", daemon.log());
        assert!(server.queries().is_empty() && !server.refused().is_empty(), "{user:?}");
        assert!(daemon.terminate().success());
    }
}

#[test]
fn keys_and_addresses_of_both_kinds() {
    let env = TestEnv::new();
    let socket = FakeVelociraptor::builder().unix(env.path("api.sock"));
    let socket = socket.second(Duration::from_millis(20)).beat(Beat::Every(Duration::from_millis(100))).start();
    for (server, user, form) in [
        (server(), User::Good, "RSA PRIVATE KEY"),
        (server(), User::Pkcs8, "-BEGIN PRIVATE KEY"),
        (socket, User::Good, "unix:///"),
    ] {
        let env = site(&server, user, "", ALL);
        assert!(env.read("api.config.yaml").contains(form));
        let mut daemon = env.daemon();
        wait_for_watch(&mut daemon, &server);
        told(&mut daemon, &env, &server, 0, 2);
        assert!(daemon.terminate().success());
        env.verify();
        server.assert_clean();
    }
}

/// tonic's own limit is 4 MiB; one row with a hunt's request in it may have more.
#[test]
fn rows_of_more_than_four_mebibytes_are_read() {
    let server = server();
    let padded = server.fault(Kind::Watch, When::Always, Fault::Pad(5 << 20));
    server.set_beat(Beat::Every(Duration::from_secs(2)));
    let env = site(&server, User::Good, "", ALL);
    let mut daemon = env.daemon();
    wait_for_watch(&mut daemon, &server);
    told(&mut daemon, &env, &server, 0, 2);
    let watches: Vec<_> = server.queries().into_iter().filter(|one| one.asked.kind == Kind::Watch).collect();
    assert!(watches.len() == 1 && watches[0].largest > 4 << 20 && padded.hits() == 1, "the stream has borne it");
    assert!(daemon.terminate().success());
    env.verify();
}

/// The record of a flow, with everything that a rule wants to know of it.
#[test]
fn facts_of_more_than_four_mebibytes_are_read() {
    let server = server();
    server.fault(Kind::Flows, When::Always, Fault::Pad(5 << 20));
    let env = site(&server, User::Good, "", FACTS);
    let mut daemon = env.daemon();
    wait_for_watch(&mut daemon, &server);
    told(&mut daemon, &env, &server, 0, 2);
    let largest = server.queries().iter().filter(|one| one.asked.kind == Kind::Flows).map(|one| one.largest).max();
    assert!(largest.is_some_and(|bytes| bytes > 4 << 20), "{largest:?}");
    assert!(daemon.terminate().success());
    env.verify();
    server.assert_clean();
}

#[test]
fn an_org_that_is_not_there_is_told_of_and_the_others_are_watched() {
    let server = server();
    let env = site(&server, User::Good, "org = [\"root\", \"O9\"]", ALL);
    let mut daemon = env.daemon();
    wait_for_log(&mut daemon, "the org `O9` is not known to the server, or not to this user");
    assert!(daemon.log().contains("--org ORG") || daemon.log().contains("--org O9"), "the command that helps");
    wait_for_watch(&mut daemon, &server);
    told(&mut daemon, &env, &server, 0, 1);
    assert!(daemon.terminate().success());
}

#[test]
fn what_the_user_may_not_do_is_told_of_with_the_command_that_grants_it() {
    for (permissions, said) in [(&[][..], "permission denied"), (&["ANY_QUERY"][..], "READ_RESULTS")] {
        let server = server();
        server.world().set_permissions(ROOT, permissions);
        let env = site(&server, User::Good, "", ALL);
        let mut daemon = env.daemon();
        wait_for_log(&mut daemon, "completions are not watched");
        let log = daemon.log();
        for part in [said, "acl grant", "--role api"] {
            assert!(log.contains(part), "{permissions:?}: no {part}\n{log}");
        }
        assert_eq!(server.world().watchers(ROOT, COMPLETIONS), 0);
        assert!(daemon.terminate().success());
    }
}

/// Errors as they come from a real server: a line of the log, or a status, on a connection that stays.
#[test]
fn a_query_that_fails_is_asked_again() {
    let server = server();
    let env = site(&server, User::Good, "", ALL);
    let mut daemon = env.daemon();
    wait_for_watch(&mut daemon, &server);
    for (fault, said) in [
        (Fault::Log(At::Rows(1..=1), "ERROR:watch_monitoring: gone".to_owned()), "watch_monitoring: gone"),
        (Fault::End(At::Rows(1..=1)), "has ended by itself"),
        (Fault::Status(At::Start, Code::Unknown, "Panic in query".to_owned()), "Panic in query"),
    ] {
        let fault = server.fault(Kind::Watch, When::Next(1), fault);
        server.cut_all(Cut::Fin);
        daemon.wait_for("the fault", 60.0, |_| (fault.hits() == 1).then_some(()));
        wait_for_log(&mut daemon, said);
    }
    daemon.wait_for("a watch", 40.0, |_| (server.world().watchers(ROOT, COMPLETIONS) == 1).then_some(()));
    told(&mut daemon, &env, &server, 0, 2);
    assert!(daemon.terminate().success());
}

/// A whole life at the level that says most: connections good and bad, facts, rows, mails, and the end.
#[test]
fn no_secret_is_in_a_log_at_any_level() {
    let server = server();
    server.world().add_client_with(ROOT, "C.1", acceptance::velociraptor::flow::client_info("C.1"), json!({"a": "b"}));
    let env = site(&server, User::Good, "", FACTS);
    let file = server.api_file(env.path("api.config.yaml"), User::Good);
    let mut daemon = daemon_at_trace(&env);
    wait_for_watch(&mut daemon, &server);
    told(&mut daemon, &env, &server, 0, 2);
    for n in 0..3 {
        server.cut_all(if n % 2 == 0 { Cut::Reset } else { Cut::Fin });
        daemon.wait_for("another watch", 40.0, |_| (server.count(Kind::Watch) >= n + 2).then_some(()));
    }
    server.world().add_flow(ROOT, Flow::new("C.1", "F.LAST"));
    wait_for_watch(&mut daemon, &server);
    server.world().complete(ROOT, "C.1", "F.LAST");
    daemon.wait_for_mails(3);
    // Who is refused may be talkative: about the server's certificate, and about ours.
    server.set_leaf(&Leaf::Stranger);
    server.cut_all(Cut::Reset);
    wait_for_log(&mut daemon, "not signed by the authority");
    assert!(daemon.terminate().success());
    let log = daemon.log();
    assert!(log.contains("TRACE") && log.contains("rustls"), "this is the log of a run at trace level");
    assert_eq!(file.secrets_in(&log), Vec::<String>::new());

    // A file that is of no use is not repeated either.
    let check = |level: &str| {
        let said = env.bewit(["--log", level, "check"]).run();
        format!("{}{}", said.out(), said.err())
    };
    assert_eq!(file.secrets_in(&check("trace")), Vec::<String>::new());
    let text = env.read("api.config.yaml");
    for (from, to) in
        [("-----BEGIN RSA", "-----BEGIN"), ("client_cert: |", "client_cert: [\n"), ("name: bewit", "name: [")]
    {
        env.write_secret("api.config.yaml", &text.replace(from, to));
        let said = check("trace");
        assert!(said.contains("api.config.yaml"), "{from}: {said}");
        assert_eq!(file.secrets_in(&said), Vec::<String>::new(), "{from}");
    }
}
