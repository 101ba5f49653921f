//! A live server is watched: every completion becomes one decision, whatever happens to Bewit, to the server, and to the
//! network between them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use acceptance::env::free_address;
use acceptance::http::exchange;
use acceptance::velociraptor::{Beat, COMPLETIONS, Cut, FakeVelociraptor, ROOT, User};
use acceptance::{Daemon, Site, TestEnv};

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
    Site::mailbox()
        .more(&format!("\n[velociraptor]\napi_config = \"api.config.yaml\"\n{keys}\n[web]\nlisten = \"{web}\""))
}

#[test]
fn a_completion_becomes_a_mail() {
    let scene = Scene::new();
    let before = scene.complete(100, 3);
    let mut daemon = scene.start();
    let events = scene.complete(0, 3);
    scene.told_of(&mut daemon, &events);
    assert!(before.is_disjoint(&events), "the past is nobody's business");
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
