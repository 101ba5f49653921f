//! A live server is watched: every completion becomes one decision, whatever happens to Bewit, to the server, and to the
//! network between them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use acceptance::env::free_address;
use acceptance::http::exchange;
use acceptance::velociraptor::{
    At, Beat, COMPLETIONS, Cut, FakeVelociraptor, Fault, Kind, ROOT, Random, User, When, flow,
};
use acceptance::{Daemon, Site, TestEnv, tools, wait_for, wait_until};
use serde_json::{Value, json};

/// The log of the shipped server artifact.
const LOG: &str = "Custom.Server.Bewit.Completions";

/// Everybody is told of everything, by what the live row says alone.
const ALL: &str = r#"
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
send_interval = 0
artifacts_to_alert_on = ".*"
delay_threshold = 0
"#;

/// What notifications are written back to.
const NOTIFICATIONS: &str = "Custom.Server.Bewit.Notifications";

/// A server, and a site that watches it.
pub(crate) struct Scene {
    pub(crate) env: TestEnv,
    pub(crate) server: FakeVelociraptor,
    pub(crate) web: SocketAddr,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with("", ALL)
    }

    /// With more keys in `[velociraptor]`, and other rules.
    pub(crate) fn with(keys: &str, rules: &str) -> Self {
        let (env, web) = (TestEnv::new(), free_address());
        let builder = FakeVelociraptor::builder().second(Duration::from_millis(20));
        let server = builder.beat(Beat::Every(Duration::from_millis(100))).start();
        server.api_file(env.path("api.config.yaml"), User::Good);
        env.config(&site(keys, web).rule(rules));
        Self { env, server, web }
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.web);
        exchange(self.web, request.as_bytes()).ok().map(|answer| (answer.status, answer.body))
    }

    /// Waits until all is well.
    pub(crate) fn ready(&self, daemon: &mut Daemon<'_>) {
        daemon.wait_for("readiness", 40.0, |_| self.get("/readyz").filter(|(status, _)| *status == 200));
    }

    /// Starts Bewit and waits until all is well.
    pub(crate) fn start(&self) -> Daemon<'_> {
        let mut daemon = self.env.daemon();
        self.ready(&mut daemon);
        daemon
    }

    /// A sample of `/metrics`.
    pub(crate) fn metric(&self, sample: &str) -> Option<u64> {
        let (_, text) = self.get("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
    }

    /// New flows of the root org, all complete.
    pub(crate) fn complete(&self, first: usize, count: usize) -> BTreeSet<String> {
        self.complete_in(ROOT, first, count)
    }

    pub(crate) fn complete_in(&self, org: &str, first: usize, count: usize) -> BTreeSet<String> {
        let flows = self.server.world().add_flows(org, 10, first, count);
        for (client, flow) in &flows {
            self.server.world().complete(org, client, flow);
        }
        flows.into_iter().map(|(client, flow)| format!("{org}/{client}/{flow}")).collect()
    }

    /// What was before Bewit: nobody's business.
    fn past(&self) {
        let world = self.server.world();
        for (client, flow) in world.add_flows(ROOT, 3, 1000, 3) {
            world.complete_at(ROOT, &client, &flow, now() - 30);
        }
    }

    /// Waits until these events, and no others, have a mail each.
    #[track_caller]
    pub(crate) fn told_of(&self, daemon: &mut Daemon<'_>, events: &BTreeSet<String>) {
        daemon.wait_for_mails(events.len());
        let told: Vec<String> = self.env.recipients().into_iter().map(|one| one.event).collect();
        assert_eq!(told.len(), events.len(), "nobody is told twice");
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), *events);
    }
}

fn site(keys: &str, web: SocketAddr) -> Site {
    Site::mailbox().more(&section(keys, web))
}

fn section(keys: &str, web: SocketAddr) -> String {
    format!("\n[velociraptor]\napi_config = \"api.config.yaml\"\n{keys}\n[web]\nlisten = \"{web}\"")
}

#[test]
fn a_completion_becomes_a_mail() {
    let scene = Scene::new();
    scene.past();
    let mut daemon = scene.start();
    let events = scene.complete(0, 3);
    scene.told_of(&mut daemon, &events);
    assert_eq!(scene.metric("bewit_velociraptor_live{org=\"root\"}"), Some(1));
    assert_eq!(scene.metric("bewit_velociraptor_rows_total{org=\"root\",row=\"new\"}"), Some(3));
    assert!(daemon.terminate().success());
    scene.env.verify();
    scene.server.assert_clean();
}

#[test]
fn what_happens_while_nobody_looks_is_told_of_later_and_once() {
    let scene = Scene::new();
    let mut daemon = scene.start();
    let mut events = scene.complete(0, 5);
    scene.told_of(&mut daemon, &events);
    // Bewit is stopped, then killed.
    daemon.terminate();
    events.extend(scene.complete(5, 5));
    let mut daemon = scene.start();
    scene.told_of(&mut daemon, &events);
    daemon.kill();
    events.extend(scene.complete(10, 5));
    let mut daemon = scene.start();
    scene.told_of(&mut daemon, &events);
    // The server goes away, and comes back with more.
    scene.server.stop(Cut::Fin);
    daemon.wait_for("that it is noticed", 10.0, |_| scene.get("/readyz").filter(|(status, _)| *status == 503));
    scene.server.start();
    events.extend(scene.complete(15, 5));
    scene.told_of(&mut daemon, &events);
    // The network drops the connection, again and again.
    for round in 0..3 {
        scene.server.cut_all(Cut::Reset);
        events.extend(scene.complete(20 + 5 * round, 5));
        scene.told_of(&mut daemon, &events);
    }
    // The service behind the stream restarts: the heartbeat alone would go on.
    daemon.wait_for("a stream", 20.0, |_| (scene.server.world().watchers(ROOT, COMPLETIONS) == 1).then_some(()));
    scene.server.world().end_watches(ROOT);
    events.extend(scene.complete(40, 5));
    scene.told_of(&mut daemon, &events);
    assert!(daemon.log().contains("has ended by itself"), "{}", daemon.log());
    daemon.terminate();
    scene.env.verify();
    scene.server.assert_clean();
}

/// The server's clock.
fn now() -> i64 {
    flow::micros() / 1_000_000
}

#[test]
fn one_pass_takes_what_was_missed() {
    let scene = Scene::new();
    scene.past();
    scene.env.once().expect(0);
    assert!(scene.env.recipients().is_empty(), "the first pass only says where it begins");
    let events = scene.complete(0, 4);
    scene.env.once().expect(0);
    scene.env.once().expect(0);
    assert_eq!(scene.env.recipients().into_iter().map(|one| one.event).collect::<BTreeSet<_>>(), events);
    assert_eq!(scene.env.mailbox().len(), 4);
    scene.server.stop(Cut::Fin);
    let failed = scene.env.once().expect(1);
    assert!(failed.err().contains("org root: no connection to the Velociraptor API"), "{}", failed.report());
    scene.env.verify();
}

#[test]
fn rows_that_come_twice_and_out_of_order_are_one_decision_each() {
    let scene = Scene::new();
    scene.server.fault(Kind::Watch, When::Always, Fault::Duplicate);
    scene.server.fault(Kind::Watch, When::Always, Fault::Swap);
    let mut daemon = scene.start();
    let events = scene.complete(0, 20);
    scene.told_of(&mut daemon, &events);
    let known = "bewit_velociraptor_rows_total{org=\"root\",row=\"known\"}";
    daemon.wait_for("the repeats", 20.0, |_| scene.metric(known).filter(|known| *known >= 20));
    assert_eq!(scene.metric("bewit_events_repeated_total{body=\"other\"}"), Some(0));
    assert_eq!(scene.metric("bewit_events_total"), Some(20));
}

#[test]
fn rows_that_are_no_events_are_recorded_and_stop_nobody() {
    let (env, web) = (TestEnv::new(), free_address());
    let server =
        FakeVelociraptor::builder().second(Duration::from_millis(20)).beat(Beat::Every(Duration::from_millis(100)));
    let server = server.start();
    server.api_file(env.path("api.config.yaml"), User::Good);
    let limits = "limits = { line = \"64 KiB\" }";
    env.config(&Site::mailbox().more(limits).more(&section("", web)).rule(ALL));
    let scene = Scene { env, server, web };
    let mut daemon = scene.start();
    let complete = "bewit_velociraptor_catch_ups_total{org=\"root\",outcome=\"complete\"}";
    daemon.wait_for("the first catch-up", 30.0, |_| scene.metric(complete).filter(|count| *count > 0));
    let mut events = scene.complete(0, 2);
    let world = scene.server.world();
    // Whoever may write events may write any.
    world.event(ROOT, COMPLETIONS, now(), &json!({"Foo": 1}));
    world.event(ROOT, COMPLETIONS, now(), &json!({"Timestamp": "x", "ClientId": 7, "FlowId": ["F.1"]}));
    world.event(ROOT, COMPLETIONS, now(), &json!({"Timestamp": now(), "ClientId": "C.\u{0}", "FlowId": "F.1"}));
    world.add_client(ROOT, "C.00000000000000aa");
    world.complete_with(ROOT, "C.00000000000000aa", "F.LONG", now(), &json!({"status": "x".repeat(100_000)}));
    events.extend(scene.complete(2, 2));
    scene.told_of(&mut daemon, &events);
    let rejected = "bewit_velociraptor_rows_total{org=\"root\",row=\"rejected\"}";
    daemon.wait_for("the bad rows", 20.0, |_| scene.metric(rejected).filter(|count| *count >= 4));
    assert!(daemon.log().contains("longer than 65536 bytes"), "{}", daemon.log());
    assert_eq!(scene.metric("bewit_velociraptor_live{org=\"root\"}"), Some(1));
    // What is asked for again is not refused again.
    scene.server.cut_all(Cut::Reset);
    daemon.wait_for("another catch-up", 30.0, |_| scene.metric(complete).filter(|count| *count > 1));
    assert_eq!(scene.metric("bewit_lines_rejected_total"), Some(4));
}

#[test]
fn the_log_of_the_server_artifact_is_used_if_it_was_kept_all_the_time() {
    for gap in [false, true] {
        let scene = Scene::new();
        let mut daemon = scene.start();
        daemon.terminate();
        let before = scene.server.count(Kind::Monitoring);
        let world = scene.server.world();
        let mut events = scene.complete(0, 3);
        let stored: Vec<(String, String)> = (0..3).map(|n| (flow::client_id(n), flow::flow_id(n))).collect();
        for (client, flow) in &stored {
            world.event(
                ROOT,
                LOG,
                now(),
                &json!({"Timestamp": now(), "ClientId": client, "FlowId": flow, "Flow": {"state": 2}}),
            );
        }
        // Only the log has it: the import of a client that was not seen.
        world.add_flow(ROOT, flow::Flow::new("C.00000000000000ff", "F.IMPORT"));
        world.event(
            ROOT,
            LOG,
            now(),
            &json!({"Timestamp": now(), "ClientId": "C.00000000000000ff", "FlowId": "F.IMPORT", "Flow": {"state": 2}}),
        );
        events.insert("root/C.00000000000000ff/F.IMPORT".to_owned());
        world.event(ROOT, LOG, now(), &json!({"_Beat": now()}));
        if gap {
            world.event(ROOT, LOG, now(), &json!({"_Beat": now() + 200}));
            // In the gap, so the log has it not.
            events.extend(scene.complete(3, 1));
        }
        let mut daemon = scene.start();
        scene.told_of(&mut daemon, &events);
        daemon.wait_for("the end of the catch-up", 20.0, |daemon| {
            daemon
                .log()
                .contains(if gap { "caught up from the clients" } else { "caught up from the log" })
                .then_some(())
        });
        assert_eq!(scene.server.count(Kind::Monitoring) > before, gap);
        scene.server.assert_clean();
    }
}

#[test]
fn an_answer_that_is_cut_off_is_asked_for_again_while_rows_come_live() {
    let scene = Scene::new();
    let mut daemon = scene.start();
    daemon.terminate();
    let mut events = scene.complete(0, 10);
    let ends = scene.server.fault(Kind::Monitoring, When::Next(1), Fault::End(At::Rows(3..=3)));
    let fails = scene.server.fault(
        Kind::Monitoring,
        When::Next(2),
        Fault::Log(At::Rows(5..=5), "ERROR:monitoring: disk".into()),
    );
    let mut daemon = scene.env.daemon();
    daemon.wait_for("a stream", 20.0, |_| (scene.server.world().watchers(ROOT, COMPLETIONS) == 1).then_some(()));
    events.extend(scene.complete(10, 5));
    scene.told_of(&mut daemon, &events);
    assert_eq!((ends.hits(), fails.hits() > 0), (1, true));
    daemon.wait_for("the catch-up", 20.0, |_| {
        let complete = scene.metric("bewit_velociraptor_catch_ups_total{org=\"root\",outcome=\"complete\"}");
        complete.filter(|count| *count > 0)
    });
    assert!(scene.metric("bewit_velociraptor_catch_ups_total{org=\"root\",outcome=\"failed\"}") > Some(0));
}

#[test]
fn a_connection_through_which_nothing_comes_is_given_up() {
    let scene = Scene::new();
    let mut daemon = scene.start();
    scene.server.black_hole(true);
    let said =
        daemon.wait_for("that it is noticed", 60.0, |_| scene.get("/readyz").filter(|(status, _)| *status == 503));
    assert!(said.1.contains("velociraptor org root: nothing was heard from the server for 30 s"), "{said:?}");
    let events = scene.complete(0, 5);
    scene.server.black_hole(false);
    scene.told_of(&mut daemon, &events);
    scene.ready(&mut daemon);
    assert!(scene.metric("bewit_velociraptor_connections_total{org=\"root\"}") > Some(1));
}

#[test]
fn who_may_not_watch_is_told_what_to_do() {
    let scene = Scene::new();
    scene.server.world().set_permissions(ROOT, &["ANY_QUERY"]);
    let mut daemon = scene.env.daemon();
    let said = daemon.wait_for("a reason", 40.0, |_| {
        scene.get("/readyz").filter(|(status, said)| *status == 503 && said.contains("permission denied"))
    });
    assert!(said.1.contains("velociraptor acl grant"), "{said:?}");
    assert_eq!(scene.get("/healthz").map(|(status, _)| status), Some(200));
    assert_eq!(daemon.log().matches("until somebody helps").count(), 1, "{}", daemon.log());
    assert_eq!(scene.metric("bewit_velociraptor_live{org=\"root\"}"), Some(0));
    assert!(daemon.terminate().success());
}

#[test]
fn every_org_is_watched_also_one_that_is_made_later() {
    let scene = Scene::with("org = \"*\"", ALL);
    scene.server.world().add_org("O1", "One");
    let mut daemon = scene.start();
    let world = scene.server.world();
    let watched = |org: &str| world.watchers(org, COMPLETIONS) == 1;
    daemon.wait_for("two orgs", 20.0, |_| (watched(ROOT) && watched("O1")).then_some(()));
    scene.ready(&mut daemon);
    // The same client and flow in two orgs are two completions.
    let mut events = scene.complete(0, 3);
    events.extend(scene.complete_in("O1", 0, 3));
    scene.told_of(&mut daemon, &events);
    world.add_org("O2", "Two");
    daemon.wait_for("the new org", 90.0, |_| watched("O2").then_some(()));
    scene.ready(&mut daemon);
    events.extend(scene.complete_in("O2", 0, 3));
    scene.told_of(&mut daemon, &events);
    for org in [ROOT, "O1", "O2"] {
        let new = format!("bewit_velociraptor_rows_total{{org=\"{org}\",row=\"new\"}}");
        assert_eq!(scene.metric(&new), Some(3), "{org}");
    }
    scene.server.assert_clean();
}

/// The rows that were written back, in order.
fn published(scene: &Scene) -> Vec<Value> {
    let pushes = scene.server.pushes();
    assert!(pushes.iter().all(|push| push.artifact == NOTIFICATIONS && push.write));
    let rows: Vec<Value> = pushes
        .iter()
        .flat_map(|push| {
            let text = String::from_utf8(push.jsonl.clone()).unwrap();
            let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(i64::try_from(rows.len()).unwrap(), push.rows);
            rows
        })
        .collect();
    rows
}

#[test]
fn notifications_are_written_back_if_they_are_to_be() {
    let scene = Scene::with(&format!("publish = \"{NOTIFICATIONS}\""), ALL);
    let mut daemon = scene.start();
    // Nobody may write there yet: mails go out all the same.
    let mut events = scene.complete(0, 3);
    scene.told_of(&mut daemon, &events);
    daemon.wait_for("the refusal", 20.0, |_| {
        scene.metric("bewit_velociraptor_publish_failures_total").filter(|n| *n > 0)
    });
    assert!(daemon.log().contains("PUBLISH"), "{}", daemon.log());
    assert_eq!(published(&scene), Vec::<Value>::new());
    daemon.kill();
    scene.server.world().grant_publish(ROOT, NOTIFICATIONS);
    let mut daemon = scene.start();
    events.extend(scene.complete(3, 300));
    wait_until("all rows", 60.0, || published(&scene).len() >= 303);
    let rows = published(&scene);
    assert_eq!(rows.len(), 303, "nobody crashed, so nothing is there twice");
    let told: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{}/{}/{}",
                row["OrgId"].as_str().unwrap(),
                row["ClientId"].as_str().unwrap(),
                row["FlowId"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(told, events);
    assert_eq!((&rows[0]["Rule"], &rows[0]["Disposition"]), (&json!("analyst"), &json!("mailed")));
    assert_eq!(rows[0]["Recipients"], json!(["ana@example.org"]));
    assert!(rows[0]["Subject"].as_str().unwrap().contains("finished collecting"), "{}", rows[0]);
    wait_for("the count", 20.0, || scene.metric("bewit_velociraptor_published_total").filter(|count| *count == 303));
    assert!(scene.server.pushes().len() < 303, "rows go out together");
    assert!(daemon.terminate().success());
}

/// A hunt ends, and everything goes wrong: exactly one decision for each of its flows, and one mail for each flow that
/// was none of the hunt's.
#[test]
fn ten_thousand_completions_through_disconnects_restarts_and_duplicates() {
    const ROUNDS: usize = 6;
    let count = tools::size(10_000, 60_000);
    let scene = Scene::new();
    let world = scene.server.world();
    for n in 0..50 {
        world.add_client(ROOT, &flow::client_id(n));
    }
    let mut random = Random(4);
    let mut daemon = scene.start();
    scene.server.fault(Kind::Watch, When::Chance(0.5, 7), Fault::Duplicate);
    scene.server.fault(Kind::Monitoring, When::Chance(0.3, 8), Fault::Duplicate);
    scene.server.fault(Kind::Watch, When::Chance(0.3, 9), Fault::Swap);
    let mut mailed = BTreeSet::new();
    for round in 0..ROUNDS {
        let range = count * round / ROUNDS..count * (round + 1) / ROUNDS;
        mailed.extend(
            range
                .clone()
                .filter(|n| n % 10 == 0)
                .map(|n| format!("root/{}/{}", flow::client_id(n % 50), flow::flow_id(n))),
        );
        let from = random.among(&(0..=300));
        scene.server.fault(Kind::Watch, When::Next(1), Fault::Disconnect(At::InRow(from..=from + 200), Cut::Reset));
        scene.server.fault(Kind::Monitoring, When::Next(1), Fault::Disconnect(At::Rows(0..=2000), Cut::Fin));
        scene.server.fault(Kind::Monitoring, When::Next(1), Fault::End(At::Rows(0..=2000)));
        let producer = {
            let world = world.clone();
            std::thread::spawn(move || {
                for n in range {
                    let (client, id) = (flow::client_id(n % 50), flow::flow_id(n));
                    // One in ten was asked for by hand.
                    let id = if n % 10 == 0 { id } else { format!("{id}.H") };
                    let one = flow::Flow::new(&client, &id);
                    if n % 10 == 0 {
                        world.add_flow(ROOT, one.clone());
                    }
                    world.complete_with(ROOT, &client, &id, now(), &one.live());
                }
            })
        };
        // Something happens while they come in, at a moment of its own.
        let stored = scene.metric("bewit_events_total").unwrap_or(0);
        let mark = stored + random.among(&(1..=(count / ROUNDS / 2) as u64));
        let reached = |_: &Daemon<'_>| scene.metric("bewit_events_total").filter(|events| *events >= mark);
        daemon.wait_for("some of them", 120.0, reached);
        match round % 3 {
            0 => daemon.kill(),
            1 => {
                scene.server.stop(if round == 1 { Cut::Reset } else { Cut::Fin });
                scene.server.start();
                daemon.kill();
            }
            _ => {
                scene.server.cut_all(Cut::Reset);
                assert!(daemon.terminate().success());
            }
        }
        producer.join().unwrap();
        daemon = scene.env.daemon();
        daemon.wait_for("the web", 60.0, |_| scene.metric("bewit_events_total"));
    }
    let total = count as u64;
    daemon.wait_for("all of them", 240.0, |_| scene.metric("bewit_events_total").filter(|events| *events >= total));
    let mails = mailed.len() as u64;
    daemon.wait_for("all mails", 120.0, |_| {
        scene.metric("bewit_recipients{state=\"delivered\"}").filter(|delivered| *delivered >= mails)
    });
    scene.ready(&mut daemon);
    // Whatever may still come is known already.
    assert_eq!(scene.metric("bewit_events_total"), Some(total), "each is one event");
    assert_eq!(scene.metric("bewit_events_repeated_total{body=\"other\"}"), Some(0));
    assert!(scene.metric("bewit_events_repeated_total{body=\"same\"}") > Some(0), "some came twice");
    assert_eq!(scene.metric("bewit_lines_rejected_total"), Some(0));
    let told: Vec<String> = scene.env.recipients().into_iter().map(|one| one.event).collect();
    assert_eq!(told.len(), mailed.len());
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), mailed);
    assert!(daemon.terminate().success());
    // Each event has a decision of each rule: the law says so.
    scene.env.verify();
    scene.server.assert_clean();
}
