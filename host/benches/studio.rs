//! The studio while mails pass, and over a full outbox: `cargo xtask bench studio`.
//!
//! The release binary takes events by HTTP and mails them to Postfix's `smtp-sink`; meanwhile one visitor asks for one page
//! after the other. The same load without a visitor, in turn, says what the pages cost the mails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use acceptance::env::{TOKEN, free_address};
use acceptance::event::{lines, many};
use acceptance::postfix::Sink;
use acceptance::{Site, TestEnv, http, wait_until};
use serde_json::{Value, json};

/// Events of one turn; each becomes one mail.
const EVENTS: usize = 10_000;
/// Events of one request.
const BATCH: usize = 200;
/// Turns with a visitor, and without.
const TURNS: usize = 3;
/// A visitor reads a page before they ask for the next one.
const READING: Duration = Duration::from_millis(20);

/// What a visitor looks at.
const PAGES: &[(&str, &str)] = &[
    ("Preview", "/?event=sample:finished"),
    ("the mail in its frame", "/preview/frame?event=sample:finished"),
    ("Explain", "/explain?event=sample:finished"),
    ("Mailbox", "/mailbox"),
    ("Mailbox, one state and a word of the subject", "/mailbox?state=queued&q=Pslist"),
    ("Mailbox, one client and flow", "/mailbox?client=C.0123456789abcdef&flow=F.D000000000010"),
    ("a mail", "/mailbox/mail?id=1"),
    ("Decisions", "/decisions"),
    ("Decisions of an artifact", "/decisions?artifact=Custom.Windows.Pslist"),
    ("what was decided of an event", "/decisions/event?id=1"),
];

/// How long each page took, each time.
type Times = Vec<Vec<Duration>>;

fn main() {
    let (mut alone, mut beside): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut passing: Times = vec![Vec::new(); PAGES.len()];
    let mut full: Times = vec![Vec::new(); PAGES.len()];
    for _ in 0..TURNS {
        alone.push(turn(None, None));
        beside.push(turn(Some(&mut passing), Some(&mut full)));
    }
    let rate = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (alone, beside) = (rate(&mut alone), rate(&mut beside));
    println!("\n| page | p50 | p99 | most | over a full outbox, p50 | most |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut figures: Vec<Value> = Vec::new();
    for (((name, _), passing), full) in PAGES.iter().zip(&mut passing).zip(&mut full) {
        let (p50, p99, most) = (at(passing, 0.5), at(passing, 0.99), at(passing, 1.0));
        let (full50, full_most) = (at(full, 0.5), at(full, 1.0));
        println!("| {name} | {p50:.1} ms | {p99:.1} ms | {most:.1} ms | {full50:.1} ms | {full_most:.1} ms |");
        figures.push(json!({ "page": name, "p50_ms": p50, "p99_ms": p99, "most_ms": most,
            "full_p50_ms": full50, "full_most_ms": full_most, "asked": passing.len() }));
    }
    println!(
        "\n{EVENTS} mails a turn: {alone:.0} a second without a visitor, {beside:.0} with one ({:.2}).",
        beside / alone
    );
    if let Some(path) = std::env::var_os("BEWIT_BENCH_OUT") {
        let whole = json!({ "mails_a_second_alone": alone, "mails_a_second_beside": beside, "pages": figures });
        std::fs::write(path, serde_json::to_string_pretty(&whole).unwrap()).unwrap();
    }
}

/// Milliseconds at this part of the sorted times.
fn at(times: &mut [Duration], part: f64) -> f64 {
    times.sort();
    times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
}

/// One load from the first event to the last mail, in mails a second. With `passing` a visitor comes meanwhile, with
/// `full` afterwards.
fn turn(passing: Option<&mut Times>, full: Option<&mut Times>) -> f64 {
    let env = TestEnv::new();
    let (intake, web, relay) = (free_address(), free_address(), free_address());
    let _sink = Sink::start(relay).expect("smtp-sink of Postfix");
    let site = Site::smtp(relay.port()).smtp_key("connections = 16").http(intake);
    env.config(&site.more(&format!("\n[web]\nlisten = \"{web}\"")));
    let mut daemon = env.daemon_with(&[("BEWIT_LOG", "warn")]);
    http::wait_for_listener(web);
    http::wait_for_listener(intake);
    let bodies: Vec<String> = many(0, EVENTS).chunks(BATCH).map(lines).collect();
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            for body in &bodies {
                let answer = http::post(intake, Some(TOKEN), body.as_bytes()).unwrap();
                assert_eq!(answer.status, 202, "{answer:?}");
            }
        });
        if let Some(passing) = passing {
            let over = &over;
            scope.spawn(move || {
                wait_until("the first mail", 60.0, || delivered(web) > 0);
                while !over.load(Ordering::Relaxed) {
                    visit(web, passing);
                }
            });
        }
        while delivered(web) < EVENTS {
            assert!(daemon.running());
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
        begun.elapsed()
    });
    if let Some(full) = full {
        (0..20).for_each(|_| visit(web, full));
    }
    daemon.terminate();
    EVENTS as f64 / took.as_secs_f64()
}

/// Asks for every page.
fn visit(web: SocketAddr, times: &mut Times) {
    for ((_, page), times) in PAGES.iter().zip(times) {
        let begun = Instant::now();
        let answer = get(web, page);
        times.push(begun.elapsed());
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
        std::thread::sleep(READING);
    }
}

fn get(web: SocketAddr, page: &str) -> http::Answer {
    let request = format!("GET {page} HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
    http::exchange(web, request.as_bytes()).unwrap()
}

/// How many mails the server has taken.
fn delivered(web: SocketAddr) -> usize {
    let metrics = get(web, "/metrics").body;
    let line =
        metrics.lines().find(|line| line.contains("{state=\"delivered\"}")).expect("a figure of what is delivered");
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as usize
}
