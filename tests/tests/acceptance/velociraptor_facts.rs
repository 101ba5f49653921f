//! What an event does not carry is asked of a Velociraptor server: what for, how often, and what happens when it cannot be.

use std::time::{Duration, Instant};

use acceptance::env::{TOKEN, free_address};
use acceptance::event::{event, lines};
use acceptance::http::{post, wait_for_listener};
use acceptance::velociraptor::{At, Cut, FakeVelociraptor, Fault, Flow, Item, Kind, Reply, User, When, flow};
use acceptance::{Site, TestEnv, wait_until};
use serde_json::{Value, json};

/// Tells Ana, with the process list, the uploads and the owner in the mail.
const RULE: &str = "[[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\n\
                    include_result_table_from = [{ source = \"Pslist\", max_rows = 20 }]\n\
                    client_metadata = [{ field = \"owner\" }]\n";

const CLIENT: &str = "C.00000000000000a1";

fn server() -> FakeVelociraptor {
    FakeVelociraptor::builder().second(Duration::from_millis(20)).start()
}

/// A configuration that asks this server, and watches nothing.
fn site(server: &FakeVelociraptor, site: Site, rule: &str) -> TestEnv {
    let env = TestEnv::new();
    server.api_file(env.path("api.config.yaml"), User::Good);
    let section = "\n[velociraptor]\napi_config = \"api.config.yaml\"\nwatch = false\n";
    env.config(&site.retry("100 ms").more(section).rule(rule));
    env
}

/// A flow of the world with its owner, three rows and two uploads.
fn add(server: &FakeVelociraptor, id: &str) -> Flow {
    let mut flow = Flow::new(CLIENT, id);
    flow.sources[0].1 = 3;
    flow.files = 2;
    let world = server.world();
    world.add_client_with("root", CLIENT, flow::client_info(CLIENT), json!({"owner": "kim@example.org"}));
    world.add_flow("root", flow.clone());
    let uploads = ["memory.raw", "ntuser.dat"].map(|name| flow::upload(CLIENT, id, name, 2048));
    world.set_uploads("root", CLIENT, id, uploads.into());
    flow
}

/// The row of the live queue, as a line.
fn live(flow: &Flow) -> Value {
    json!({
        "type": "System.Flow.Completion", "OrgId": "root", "Timestamp": flow::micros() / 1_000_000,
        "ClientId": flow.client, "FlowId": flow.id, "Flow": flow.live(),
    })
}

fn listed(env: &TestEnv) -> String {
    env.bewit(["outbox", "list", "--json"]).run().out()
}

#[test]
fn a_live_row_becomes_the_whole_mail() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let flow = add(&server, "F.D00000000SP00L");
    env.drop_events("one.jsonl", &[live(&flow)]);
    env.once().expect(0);
    let mails = env.mails();
    assert_eq!(mails.len(), 1);
    mails[0].assert_sound();
    assert_eq!(mails[0].header("Subject"), "ws-a1.example.org finished collecting Custom.Windows.Pslist");
    let (text, html) = (mails[0].text(), mails[0].html().unwrap());
    for fact in ["ana@example.org", "kim@example.org", "token-F.D00000000SP00L-2", "memory.raw", "svc.*"] {
        assert!(text.contains(fact) && html.contains(fact), "{fact}: {text}");
    }
    let page = format!("https://velo.example.org:8889/app/index.html?org_id=root#/collected/{CLIENT}/{}/logs", flow.id);
    assert!(html.contains(&page), "the server's own links: {html}");
    assert!(html.contains("/api/v1/DownloadVFSFile?fs_components=clients&amp;"), "{html}");
    for kind in [Kind::Flows, Kind::Results, Kind::Uploads, Kind::Links] {
        assert_eq!(server.count(kind), 1, "{:?}", server.counts());
    }
    server.assert_clean();
    env.verify();
    assert!(!env.path("bewit.db.asked").read_dir().unwrap().any(|_| true), "rows are removed with their event");
}

#[test]
fn events_by_http_are_completed_too_and_whole_ones_ask_nothing_but_the_links() {
    let server = server();
    let address = free_address();
    let env = site(&server, Site::mailbox().http(address), RULE);
    let flow = add(&server, "F.D0000000000H77P");
    let mut daemon = env.daemon();
    wait_for_listener(address);
    let both = lines(&[live(&flow), event(1)]);
    assert_eq!(post(address, Some(TOKEN), both.as_bytes()).unwrap().status, 202);
    daemon.wait_for_mails(2);
    daemon.terminate();
    let texts: Vec<String> = env.mails().iter().map(|mail| mail.text().to_owned()).collect();
    assert!(texts.iter().any(|text| text.contains("token-F.D0000000000H77P-2")), "{texts:?}");
    assert_eq!((server.count(Kind::Flows), server.count(Kind::Results), server.count(Kind::Links)), (1, 1, 1));
    server.assert_clean();
}

#[test]
fn a_thousand_flows_ask_for_little() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let ids = server.world().add_flows("root", 50, 0, 1000);
    let rows: Vec<Value> = ids.iter().map(|(client, id)| live(&Flow::new(client, id))).collect();
    env.drop_events("many.jsonl", &rows);
    let begun = Instant::now();
    env.bewit(["run", "--once"]).limit(300.0).run().expect(0);
    let took = begun.elapsed();
    assert_eq!(env.mailbox().len(), 1000);
    let counts = server.counts();
    println!("1000 flows of 50 clients: {counts:?} in {took:.1?}");
    assert_eq!((counts[&Kind::Flows], counts[&Kind::Results], counts[&Kind::Links]), (1000, 1000, 1));
    assert_eq!(counts.get(&Kind::Uploads), None, "the record says that there are none");
    // A client's facts live for half a minute, so they are asked for once in each.
    let asked = server.queries().iter().filter(|query| wants(&query.asked.env, "WantClient")).count() as u64;
    assert!((50..=50 * (took.as_secs() / 30 + 1)).contains(&asked), "{asked} in {took:?}");
    server.assert_clean();
    env.verify();
}

fn wants(env: &[(String, String)], name: &str) -> bool {
    env.iter().any(|(own, value)| own == name && value == "Y")
}

#[test]
fn flows_of_a_hunt_that_nobody_wants_ask_nothing() {
    let server = server();
    let quiet = format!("{RULE}notify_if_results_labels = \"\"\nnotify_if_uploads_labels = \"\"\n");
    let env = site(&server, Site::mailbox(), &quiet);
    let hunted: Vec<Value> = (0..500).map(|n| live(&Flow::new(&flow::client_id(n), "F.D0000000HVNT0.H"))).collect();
    env.drop_events("hunt.jsonl", &hunted);
    env.once().expect(0);
    assert!(env.mailbox().is_empty() && server.queries().is_empty(), "{:?}", server.counts());
    env.verify();
}

#[test]
fn a_hunt_is_asked_for_once() {
    let server = server();
    let env = site(&server, Site::mailbox(), &format!("{RULE}notify_hunts = true\n"));
    server.world().add_hunt("root", flow::hunt("H.D0000000HVNT0", "Look for the beacon", &["urgent"]));
    let flows: Vec<Flow> = (0..100).map(|n| Flow::new(&flow::client_id(n), "F.D0000000HVNT0.H")).collect();
    flows.iter().for_each(|flow| server.world().add_flow("root", flow.clone()));
    env.drop_events("hunt.jsonl", &flows.iter().map(live).collect::<Vec<_>>());
    env.once().expect(0);
    let mails = env.mails();
    assert_eq!(mails.len(), 100);
    assert!(mails.iter().all(|mail| mail.text().contains("Look for the beacon")));
    let asked = server.queries().iter().filter(|query| wants(&query.asked.env, "WantHunt")).count();
    assert!(asked <= 3, "{asked} times for one hunt, which is known for half a minute");
    server.assert_clean();
}

/// Answers for any source with rows of about 100 bytes: as many as the query's LIMIT lets through, of so many.
fn rows_of_their_own(server: &FakeVelociraptor, all: usize) {
    server.script(move |asked| {
        let limit = asked.text.rsplit_once("LIMIT ").map_or(all, |(_, limit)| limit.trim().parse().unwrap());
        let row = |n: usize| Item::Row(json!({"n": n, "text": "x".repeat(90)}).to_string());
        (asked.kind == Kind::Results).then(|| Reply::Items((0..all.min(limit)).map(row).collect()))
    });
}

#[test]
fn of_a_million_rows_a_table_reads_what_it_shows() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let mut flow = add(&server, "F.D000000M1LL10N");
    flow.sources[0].1 = 1_000_000;
    server.world().add_flow("root", flow.clone());
    rows_of_their_own(&server, 1_000_000);
    env.drop_events("one.jsonl", &[live(&flow)]);
    env.once().expect(0);
    let read: Vec<u64> =
        server.queries().iter().filter(|query| query.asked.kind == Kind::Results).map(|query| query.rows).collect();
    assert_eq!(read, [21]);
    assert!(env.mails()[0].text().contains("(Showing 20 of 1000000 rows)"), "{}", env.mails()[0].text());
    server.assert_clean();
}

#[test]
fn what_is_too_large_to_be_attached_is_read_no_further() {
    let server = server();
    let rule = format!("{RULE}include_result_attachment_from = [{{ source = \".\" }}]\nattachments_max_mib = 1\n");
    let env = site(&server, Site::mailbox(), &rule);
    let mut flow = add(&server, "F.D0000000000F47");
    flow.sources[0].1 = 200_000;
    server.world().add_flow("root", flow.clone());
    rows_of_their_own(&server, 200_000);
    env.drop_events("one.jsonl", &[live(&flow)]);
    env.once().expect(0);
    let mail = env.mails().remove(0);
    assert!(mail.attachments().is_empty());
    let text = mail.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("Attachments were left out") && text.contains("Custom.Windows.Pslist"), "{text}");
    assert!(text.contains("(Showing 20 of 200000 rows)"), "{text}");
}

#[test]
fn while_the_server_is_away_judgements_wait() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let flow = add(&server, "F.D0000000D0WN00");
    server.stop(Cut::Fin);
    let mut daemon = env.daemon();
    env.drop_events("one.jsonl", &[live(&flow)]);
    wait_until("a judgement that waits", 30.0, || listed(&env).contains("postponed"));
    let waiting = listed(&env);
    assert!(waiting.contains("Velociraptor could not be asked for facts"), "{waiting}");
    assert!(env.mailbox().is_empty());
    // A restart changes nothing.
    daemon.terminate();
    env.verify();
    let mut daemon = env.daemon();
    server.start();
    daemon.wait_for_mails(1);
    daemon.terminate();
    assert!(env.mails()[0].text().contains("token-F.D0000000D0WN00-2"));
    env.verify();
    server.assert_clean();
}

#[test]
fn a_missing_permission_is_named_where_judgements_wait() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let flow = add(&server, "F.D0000000DEN1ED");
    server.world().set_permissions("root", &["ANY_QUERY"]);
    env.drop_events("one.jsonl", &[live(&flow)]);
    env.once().expect(1);
    let waiting = listed(&env);
    assert!(waiting.contains("READ_RESULTS") && waiting.contains("velociraptor acl grant"), "{waiting}");
    assert!(env.mailbox().is_empty());
    server.world().set_permissions("root", &["ANY_QUERY", "READ_RESULTS"]);
    wait_until("the mail", 30.0, || env.once().status.success());
    assert_eq!(env.mailbox().len(), 1);
    env.verify();
}

#[test]
fn a_flow_that_the_server_does_not_know_is_skipped() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let gone = Flow::new(CLIENT, "F.D0000000000NE");
    env.drop_events("one.jsonl", &[live(&gone)]);
    env.once().expect(0);
    assert!(env.mailbox().is_empty());
    env.write("one.jsonl", lines(&[live(&gone)]));
    let said = env.bewit(["explain", "--json", "one.jsonl"]).run().expect(0).json().remove(0);
    assert_eq!(said["decision"], "skip");
    assert_eq!(said["reason"], "the server has no record of the flow");
    env.verify();
}

#[test]
fn rows_that_cannot_be_read_are_named_in_the_mail() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let flow = add(&server, "F.D00000000BR0KEN");
    let fault = Fault::Log(At::Rows(1..=1), "ERROR: the result set is broken".to_owned());
    server.fault(Kind::Results, When::Always, fault);
    env.drop_events("one.jsonl", &[live(&flow)]);
    env.once().expect(0);
    let text = env.mails()[0].text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("result rows could not be read") && text.contains("the result set is broken"), "{text}");
    assert_eq!(server.count(Kind::Results), 2, "tried twice");
    // The first failure alone is not seen.
    server.lift_faults();
    server.fault(Kind::Results, When::Next(1), Fault::Log(At::Start, "ERROR: once".to_owned()));
    let again = add(&server, "F.D000000000NCE0");
    env.drop_events("two.jsonl", &[live(&again)]);
    env.once().expect(0);
    assert!(env.mails().iter().any(|mail| mail.text().contains("token-F.D000000000NCE0-2")));
}

#[test]
fn explain_and_render_ask_unless_they_are_told_not_to() {
    let server = server();
    let env = site(&server, Site::mailbox(), RULE);
    let flow = add(&server, "F.D000000EXP1A1N");
    env.write("one.jsonl", lines(&[live(&flow)]));
    let explain = |more: &str| {
        let mut args = vec!["explain", "--json"];
        args.extend(more.split_whitespace());
        args.push("one.jsonl");
        let said = env.bewit([""; 0]).args(args).run().expect(0);
        (said.json().remove(0), said.err())
    };
    let (asked, err) = explain("");
    assert_eq!(asked["decision"], "notify", "{asked}");
    assert_eq!(asked["subject"], "ws-a1.example.org finished collecting Custom.Windows.Pslist");
    assert!(err.is_empty(), "{err}");
    assert_eq!(server.counts().keys().copied().collect::<Vec<_>>(), [Kind::Flows], "no rows for who shows none");
    let (offline, _) = explain("--offline");
    assert!(offline["trace"].to_string().contains("unknown"), "{offline}");
    assert_eq!(server.count(Kind::Flows), 1);

    env.bewit(["render", "--format", "text", "--out", "out", "one.jsonl"]).run().expect(0);
    let text = env.read("out/F.D000000EXP1A1N_analyst.txt");
    assert!(text.contains("token-F.D000000EXP1A1N-2") && text.contains("memory.raw"), "{text}");

    server.stop(Cut::Fin);
    let (without, err) = explain("");
    assert_eq!(without["trace"], offline["trace"]);
    assert!(err.contains("Velociraptor could not be asked for facts") && err.contains("judged without them"), "{err}");
    server.assert_clean();
}
