//! From the server's row to the accepted mail: `cargo xtask bench velociraptor`.
//!
//! The release binary watches a fake server (mutual TLS, parts as a real one sends them) and mails to the tests' own mail
//! server, which writes each mail to disk before it takes it. The clock of a completion starts when the server delivers its
//! row, and stops when the mail's final dot has come. The facts are asked for: nothing of a request is in the row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use acceptance::velociraptor::{COMPLETIONS, FakeVelociraptor, ROOT, User};
use acceptance::{Daemon, Site, SmtpSink, TestEnv, wait_until};
use serde_json::{Value, json};

/// How long the server waits before it sends a row that no other one follows: the shortest that a real one can.
const SERVERS_WAIT: Duration = Duration::from_secs(1);

/// Completions, how they come, and how long the server keeps a lonely row back.
struct Load {
    what: &'static str,
    flows: usize,
    clients: usize,
    pause: Duration,
    wait: Duration,
}

const LOADS: &[Load] = &[
    Load { what: "one every 0.4 s", flows: 100, clients: 100, pause: Duration::from_millis(400), wait: SERVERS_WAIT },
    Load {
        what: "the same, a server that does not wait",
        flows: 100,
        clients: 100,
        pause: Duration::from_millis(400),
        wait: Duration::from_millis(1),
    },
    Load { what: "20 a second", flows: 400, clients: 400, pause: Duration::from_millis(50), wait: SERVERS_WAIT },
    Load { what: "1000 at once", flows: 1000, clients: 1000, pause: Duration::ZERO, wait: SERVERS_WAIT },
    Load {
        what: "10 000 at once, of 200 clients",
        flows: 10_000,
        clients: 200,
        pause: Duration::ZERO,
        wait: SERVERS_WAIT,
    },
];

fn main() {
    println!("\n| completions | p50 | p99 | all after | queries | most memory |");
    println!("| --- | ---: | ---: | ---: | --- | ---: |");
    let figures: Vec<Value> = LOADS.iter().map(measure).collect();
    if let Some(path) = std::env::var_os("BEWIT_BENCH_OUT") {
        std::fs::write(path, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
    }
}

fn measure(load: &Load) -> Value {
    let server = FakeVelociraptor::builder().second(load.wait).start();
    let flows = server.world().add_flows(ROOT, load.clients, 0, load.flows);
    let env = TestEnv::new();
    server.api_file(env.path("api.yaml"), User::Good);
    let sink = SmtpSink::decent().start();
    env.config(
        &Site::smtp(sink.port()).smtp_key("connections = 4").more("[velociraptor]\napi_config = \"api.yaml\"\n"),
    );
    let mut daemon = env.daemon_with(&[("BEWIT_LOG", "info")]);
    wait_until("the watch", 60.0, || server.world().watchers(ROOT, COMPLETIONS) == 1);

    let begun = Instant::now();
    let mut sent: HashMap<&str, Instant> = HashMap::new();
    for (client, flow) in &flows {
        sent.insert(flow, Instant::now());
        assert_eq!(server.world().complete(ROOT, client, flow), 1);
        std::thread::sleep(load.pause);
    }
    wait_until("every mail", 600.0, || sink.count() >= load.flows);
    assert!(daemon.running());
    let memory = peak(&daemon);

    let mut took: Vec<Duration> = sink
        .received()
        .iter()
        .map(|mail| {
            let text = String::from_utf8_lossy(&mail.raw);
            let flow = text.split("F.").skip(1).find_map(|rest| {
                let id: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
                sent.get_key_value(format!("F.{id}").as_str())
            });
            mail.at.duration_since(*flow.expect("a mail names its flow").1)
        })
        .collect();
    took.sort();
    let all = sink.received().iter().map(|mail| mail.at).max().unwrap().duration_since(begun);
    let counts: Vec<String> = server.counts().iter().map(|(kind, count)| format!("{count} {kind:?}")).collect();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "| {} | {} | {} | {} | {} | {:.0} MiB |",
        load.what,
        shown(at(0.5)),
        shown(at(0.99)),
        shown(all),
        counts.join(", "),
        memory
    );
    server.assert_clean();
    json!({
        "completions": load.what, "flows": load.flows, "p50_ms": millis(at(0.5)), "p99_ms": millis(at(0.99)),
        "all_ms": millis(all), "queries": counts, "peak_mib": memory,
    })
}

/// The most memory that the daemon has had, in MiB.
fn peak(daemon: &Daemon<'_>) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

fn shown(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
