//! The process dies: at random, and at every named point. Nothing acknowledged is lost, nothing is stored twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acceptance::env::{TOKEN, free_address};
use acceptance::event::{event, key, many};
use acceptance::http::{post, wait_for_listener};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, tools, wait_until};
use serde_json::json;

/// Every named point, and what it takes to come by it.
const POINTS: &[(&str, Way)] = &[
    ("before_commit", Way::Server),
    ("after_commit", Way::Server),
    ("before_ack", Way::Server),
    ("after_claim", Way::Server),
    ("before_in_data", Way::Server),
    ("after_in_data", Way::Server),
    ("before_dot", Way::Server),
    ("after_dot", Way::Server),
    ("after_reply", Way::Server),
    ("before_report", Way::Server),
    ("after_report", Way::Server),
    ("blob_before_rename", Way::Server),
    ("blob_after_rename", Way::Server),
    ("mailbox_before_rename", Way::Folder),
    ("mailbox_after_rename", Way::Folder),
    ("spool_after_claim", Way::Folder),
    ("spool_before_accept", Way::Folder),
    ("spool_after_accept", Way::Folder),
    ("spool_before_done", Way::Folder),
    ("spool_after_done", Way::Folder),
    ("http_before_answer", Way::Folder),
];

/// Where mails go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Server,
    Folder,
}

const WITH_ATTACHMENT: &str = r#"
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
send_interval = 0
include_result_table_from = [{ source = "Pslist" }]
include_result_attachment_from = [{ source = "Pslist" }]
"#;

/// A site that hears by spool and HTTP.
struct Scene {
    env: TestEnv,
    address: SocketAddr,
    sink: Option<SmtpSink>,
    acknowledged: Mutex<Vec<usize>>,
    spooled: Mutex<Vec<usize>>,
}

impl Scene {
    fn new(env: TestEnv, way: Way, connections: usize) -> Self {
        let address = free_address();
        let sink = (way == Way::Server).then(|| {
            SmtpSink::decent()
                .at(Phase::Dot, Action::Delay(Duration::from_millis(20), Box::new(Action::Normal)))
                .start()
        });
        let site = match &sink {
            Some(sink) => Site::smtp(sink.port()).smtp_key(&format!("connections = {connections}")).retry("50 ms"),
            None => Site::mailbox(),
        };
        env.config(&site.more("poll = \"1 s\"").http(address).rule(WITH_ATTACHMENT));
        Self { env, address, sink, acknowledged: Mutex::default(), spooled: Mutex::default() }
    }

    fn spool(&self, number: usize) {
        let mut sample = event(number);
        // Each its own rows, so that each has an attachment of its own to be stored.
        sample["results"]["Custom.Windows.Pslist"] = json!([{"Name": format!("process-{number}"), "Pid": number}]);
        let text = format!("{sample}\nno event, number {number}\n");
        self.env.drop_spool(&format!("{number:06}.jsonl"), text);
        self.spooled.lock().unwrap().push(number);
    }

    /// Posts one event; whether it was acknowledged.
    fn post(&self, number: usize) -> bool {
        let taken = post(self.address, Some(TOKEN), event(number).to_string().as_bytes())
            .is_ok_and(|answer| answer.status == 202);
        if taken {
            self.acknowledged.lock().unwrap().push(number);
        }
        taken
    }

    /// Restarts, drains, and asserts that the books agree with the world.
    #[track_caller]
    fn settle(&self, kills: usize, connections: usize, what: &str) {
        wait_until(&format!("everything delivered after {what}"), 60.0, || self.env.once().status.success());
        self.env.verify();
        let spool = acceptance::env::files(&self.env.path("spool"), "jsonl");
        assert_eq!(spool, Vec::<std::path::PathBuf>::new(), "{what}: the spool is empty");

        let queued = self.env.recipients();
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for one in &queued {
            assert_eq!(one.state, "delivered", "{what}: {}", one.line);
            *told.entry(one.event.clone()).or_default() += 1;
        }
        let wanted: Vec<usize> =
            [self.acknowledged.lock().unwrap().clone(), self.spooled.lock().unwrap().clone()].concat();
        for number in &wanted {
            assert_eq!(told.get(&key(&event(*number))), Some(&1), "{what}: event {number} has exactly one mail");
        }

        // What the world has: each of these events in it, and no mail twice.
        let mut copies: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        match &self.sink {
            Some(sink) => {
                for mail in sink.received() {
                    copies.entry(mail.message_id()).or_default().push(mail.raw);
                }
                let extra: usize = copies.values().map(|same| same.len() - 1).sum();
                assert!(extra <= kills * connections, "{what}: {extra} copies after {kills} kills");
                for (id, same) in &copies {
                    assert!(same.iter().all(|raw| *raw == same[0]), "{what}: copies of {id} differ");
                }
                sink.assert_clean();
            }
            None => {
                for path in self.env.mailbox() {
                    let raw = std::fs::read(&path).unwrap();
                    let mail = acceptance::sink::Received {
                        session: 0,
                        from: String::new(),
                        to: Vec::new(),
                        raw,
                        parameters: String::new(),
                        at: std::time::Instant::now(),
                    };
                    copies.entry(mail.message_id()).or_default().push(mail.raw);
                }
                assert!(copies.values().all(|same| same.len() == 1), "{what}: a mail is in the folder twice");
            }
        }
        assert_eq!(copies.len(), queued.len(), "{what}: as many mails as the books say");
        let flows = self.flows(&copies);
        for number in &wanted {
            let flow = event(*number)["FlowId"].as_str().unwrap().to_owned();
            assert_eq!(flows.get(&flow), Some(&1), "{what}: {flow} was told of exactly once");
        }
        // Each bad line was set aside, and is there once for each time its file was.
        let rejected = std::fs::read_dir(self.env.path("spool/rejected")).into_iter().flatten().count();
        assert!(rejected > 0 || self.spooled.lock().unwrap().is_empty(), "{what}: bad lines are set aside");
    }

    /// How many mails name a flow in their subject-independent text.
    fn flows(&self, copies: &BTreeMap<String, Vec<Vec<u8>>>) -> BTreeMap<String, usize> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<std::path::PathBuf> = copies
            .values()
            .enumerate()
            .map(|(n, same)| {
                let path = folder.path().join(format!("{n}.eml"));
                std::fs::write(&path, &same[0]).unwrap();
                path
            })
            .collect();
        let pattern = regex::Regex::new(r"F\.D[0-9A-F]{12}").unwrap();
        let mut found = BTreeMap::new();
        for mail in acceptance::mail::read(&paths) {
            mail.assert_sound();
            if let Some(flow) = pattern.find(mail.text()) {
                *found.entry(flow.as_str().to_owned()).or_default() += 1;
            }
        }
        found
    }
}

#[test]
fn every_named_point_survives_a_death() {
    let binary = std::fs::read(acceptance::env::faulty()).unwrap();
    let times = if tools::full() { 5 } else { 1 };
    for (point, way) in POINTS {
        assert!(
            binary.windows(point.len()).any(|window| window == point.as_bytes()),
            "the binary has no point {point}"
        );
        for nth in 1..=times {
            let what = format!("death at {point}:{nth}");
            let scene = Scene::new(TestEnv::with_faults(), *way, 2);
            // Some points are passed once for each file.
            for number in 0..times + 3 {
                scene.spool(number);
            }
            let fault = format!("{point}:{nth}");
            let mut daemon = scene.env.daemon_with(&[("BEWIT_FAULT", &fault)]);
            // Posts until the daemon is gone; it may be gone before it listens.
            let mut number = 100;
            let died = wait_dead(&mut daemon, || {
                if scene.post(number) {
                    number += 1;
                }
            });
            let status = died.unwrap_or_else(|| panic!("{what}: the point was never reached\n{}", daemon.log()));
            assert_eq!(status.signal(), Some(6), "{what}: it died of something else\n{}", daemon.log());
            drop(daemon);
            scene.settle(1, 2, &what);
        }
    }
}

/// Feeds until the daemon ends; `None` if it does not.
fn wait_dead(daemon: &mut acceptance::Daemon<'_>, mut feed: impl FnMut()) -> Option<std::process::ExitStatus> {
    let start = std::time::Instant::now();
    while start.elapsed() < acceptance::budget(15.0) {
        if !daemon.running() {
            return Some(daemon.wait_for_end(1.0));
        }
        feed();
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Kills at random moments under load.
fn kill_at_random(way: Way, kills: usize) {
    let connections = 4;
    let scene = Scene::new(TestEnv::new(), way, connections);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let next = Mutex::new(1000);
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut daemon = scene.env.daemon();
        wait_for_listener(scene.address);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let number = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        *next
                    };
                    // A number is used once: what was not acknowledged may be there or not.
                    scene.post(number);
                }
            });
            scene.spool(round);
            // A moment of no meaning, which is the point.
            std::thread::sleep(acceptance::budget(0.005 + (random % 295) as f64 / 1000.0));
            daemon.kill();
            stop.store(true, Ordering::SeqCst);
        });
        // Every state a kill can leave behind is legal.
        scene.env.verify();
        for one in scene.env.recipients() {
            *states.entry(one.state).or_default() += 1;
        }
    }
    let acknowledged = scene.acknowledged.lock().unwrap().len();
    assert!(acknowledged > kills, "only {acknowledged} events were acknowledged: the kills hit nothing");
    if way == Way::Server {
        // Calibration: kills that never meet a dialogue prove little.
        let in_flight =
            states.get("in_data").copied().unwrap_or_default() + states.get("sending").copied().unwrap_or_default();
        assert!(in_flight >= kills / 4, "the kills met only {in_flight} mails on their way: {states:?}");
    }
    scene.settle(kills, connections, &format!("{kills} kills"));
}

#[test]
fn random_kills_lose_nothing_on_the_way_to_a_server() {
    kill_at_random(Way::Server, tools::size(20, 200));
}

#[test]
fn random_kills_store_nothing_twice_in_the_folder() {
    kill_at_random(Way::Folder, tools::size(20, 200));
}

#[test]
fn held_mails_are_held_over_a_death_in_doubt() {
    let env = TestEnv::with_faults();
    let sink = SmtpSink::decent().start();
    env.config(&Site::smtp(sink.port()).smtp_key("on_ambiguous = \"hold\"").smtp_key("connections = 1"));
    env.drop_events("a.jsonl", &many(0, 1));
    let mut daemon = env.daemon_with(&[("BEWIT_FAULT", "after_dot")]);
    let status = daemon.wait_for_end(30.0);
    assert_eq!(status.signal(), Some(6), "{}", daemon.log());
    drop(daemon);
    for _ in 0..3 {
        env.once();
    }
    assert_eq!(env.recipients()[0].state, "held");
    assert!(sink.count() <= 1, "no copy without a person's word");
    env.verify();
}

/// What a trace says: each acknowledgement, and whether a sync of the write-ahead log was complete before it.
fn acknowledgements(trace: &str) -> Vec<bool> {
    let mut written = false;
    let mut synced = false;
    let mut pending: BTreeMap<&str, bool> = BTreeMap::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let log = call.contains("-wal>");
        let sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if call.starts_with("pwrite64(") && log {
            written = true;
            synced = false;
        } else if sync && call.contains("<unfinished") {
            pending.insert(thread, log);
        } else if (call.starts_with("<... fdatasync resumed") || call.starts_with("<... fsync resumed"))
            && call.ends_with("= 0")
        {
            synced |= written && pending.remove(thread).unwrap_or(false);
        } else if sync && log && call.ends_with("= 0") {
            synced |= written;
        } else if call.contains("HTTP/1.1 202") && !call.contains("resumed") {
            found.push(synced);
            written = false;
            synced = false;
        }
    }
    found
}

#[test]
fn a_trace_without_a_sync_is_noticed() {
    let good = "7 pwrite64(9</x/bewit.db-wal>, \"\"..., 4096, 0) = 4096\n\
         7 fdatasync(9</x/bewit.db-wal>) = 0\n\
         8 sendto(12<socket:[1]>, \"HTTP/1.1 202 Accepted\"..., 90, 0, NULL, 0) = 90\n\
         7 pwrite64(9</x/bewit.db-wal>, \"\"..., 4096, 0) = 4096\n\
         7 fdatasync(9</x/bewit.db-wal> <unfinished ...>\n\
         7 <... fdatasync resumed>) = 0\n\
         8 sendto(12<socket:[1]>, \"HTTP/1.1 202 Accepted\"..., 90, 0, NULL, 0) = 90\n";
    assert_eq!(acknowledgements(good), [true, true]);
    let without: String = good.lines().filter(|line| !line.contains("sync")).map(|line| format!("{line}\n")).collect();
    assert_eq!(acknowledgements(&without), [false, false]);
    let failed = good.replace("= 0\n", "= -1 EIO (Input/output error)\n");
    assert_eq!(acknowledgements(&failed), [false, false]);
    let late = "8 sendto(12<socket:[1]>, \"HTTP/1.1 202 Accepted\"..., 90, 0, NULL, 0) = 90\n\
         7 pwrite64(9</x/bewit.db-wal>, \"\"..., 4096, 0) = 4096\n7 fdatasync(9</x/bewit.db-wal>) = 0\n";
    assert_eq!(acknowledgements(late), [false]);
}

#[test]
fn every_acknowledgement_follows_its_sync() {
    let Some(strace) = tools::strace() else { return };
    let count = tools::size(50, 200);
    let env = TestEnv::new();
    let address = free_address();
    // Nobody is told, so that what is written is what was taken in.
    env.config(&Site::mailbox().http(address).rule(
        "[[rule]]\nname = \"r\"\nrecipients = [\"ana@example.org\"]\nartifacts_to_alert_on = \"^Rare$\"\nsend_interval = 0\n",
    ));
    let mut command = std::process::Command::new(strace);
    command
        .args(["-f", "-y", "-qq", "-s", "24", "-o", "trace"])
        .args(["-e", "trace=fdatasync,fsync,pwrite64,sendto,sendmsg,write,writev,rename"])
        .arg(env.binary())
        .arg("run");
    let mut daemon = env.spawn(command, &[]);
    wait_for_listener(address);
    for n in 0..count {
        assert_eq!(post(address, Some(TOKEN), event(n).to_string().as_bytes()).unwrap().status, 202);
    }
    daemon.terminate();
    let found = acknowledgements(&env.read("trace"));
    assert_eq!(found.len(), count, "each acknowledgement is in the trace");
    let early: Vec<usize> = (0..count).filter(|n| !found[*n]).collect();
    assert_eq!(early, Vec::<usize>::new(), "acknowledged before the sync");
}
