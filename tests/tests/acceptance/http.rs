//! Events by HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use acceptance::env::{Daemon, TOKEN, free_address};
use acceptance::event::{event, lines, many};
use acceptance::http::{exchange, post, wait_for_listener};
use acceptance::{Site, TestEnv, budget, tools};

fn site(extra: &str) -> (TestEnv, SocketAddr) {
    let env = TestEnv::new();
    let address = free_address();
    env.config(&Site::mailbox().http(address).more(extra));
    (env, address)
}

fn start(env: &TestEnv, address: SocketAddr) -> Daemon<'_> {
    let daemon = env.daemon();
    wait_for_listener(address);
    daemon
}

#[test]
fn events_are_taken_one_or_many() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    let one = post(address, Some(TOKEN), event(1).to_string().as_bytes()).unwrap();
    assert_eq!(one.status, 202, "{one:?}");
    let many = post(address, Some(TOKEN), lines(&many(2, 9)).as_bytes()).unwrap();
    assert_eq!(many.status, 202, "{many:?}");
    daemon.wait_for_mails(10);
    // A repeat is as welcome as the first time, and makes no mail.
    let again = post(address, Some(TOKEN), event(1).to_string().as_bytes()).unwrap();
    assert_eq!(again.status, 202, "{again:?}");
    daemon.terminate();
    assert_eq!(env.mailbox().len(), 10);
    env.verify();
}

#[test]
fn what_is_acknowledged_survives_a_kill() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    let answer = post(address, Some(TOKEN), lines(&many(0, 20)).as_bytes()).unwrap();
    daemon.kill();
    assert_eq!(answer.status, 202);
    env.once().expect(0);
    assert_eq!(env.mailbox().len(), 20);
    env.verify();
}

#[test]
fn nobody_is_served_without_the_token() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    let body = event(1).to_string();
    let long = "x".repeat(100_000);
    for token in
        [None, Some("wrong"), Some(""), Some("t0ken-of-test"), Some("t0ken-of-testsx"), Some(" "), Some(long.as_str())]
    {
        let answer = post(address, token, body.as_bytes()).unwrap();
        let refused = [401, 431, 400].contains(&answer.status);
        assert!(refused, "{token:.20?}: {answer:?}");
    }
    let basic = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {TOKEN}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(exchange(address, basic.as_bytes()).unwrap().status, 401);
    let none = exchange(address, b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!([401, 404].contains(&none.status), "{none:?}");
    let get = exchange(address, b"GET /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!([401, 405].contains(&get.status), "{get:?}");
    assert_eq!(post(address, Some(TOKEN), body.as_bytes()).unwrap().status, 202);
    daemon.wait_for_mails(1);
    assert!(!daemon.log().contains(TOKEN), "the token is in no log");
}

#[test]
fn a_new_token_is_taken_without_a_restart() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    env.write_secret("token", "another-token\n");
    daemon.wait_for("the new token", 30.0, |_| {
        (post(address, Some("another-token"), event(1).to_string().as_bytes()).unwrap().status == 202).then_some(())
    });
    assert_eq!(post(address, Some(TOKEN), b"{}").unwrap().status, 401, "the old one is worth nothing now");
}

#[test]
fn bodies_have_a_limit() {
    let (env, address) = site("max_body = \"64 KiB\"");
    let mut daemon = start(&env, address);
    let big = [event(1).to_string(), " ".repeat(100_000)].concat();
    assert_eq!(post(address, Some(TOKEN), big.as_bytes()).unwrap().status, 413);
    // The length that was announced is a promise, not a fact: chunks are counted too.
    let mut chunked = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..20 {
        chunked.extend_from_slice(format!("2000\r\n{}\r\n", " ".repeat(0x2000)).as_bytes());
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(exchange(address, &chunked).unwrap().status, 413);
    assert_eq!(post(address, Some(TOKEN), event(2).to_string().as_bytes()).unwrap().status, 202);
    daemon.wait_for_mails(1);
    daemon.terminate();
    assert_eq!(env.mailbox().len(), 1);
}

#[test]
fn bad_lines_are_counted_and_good_ones_stored() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    let body = format!("{}no event\n\n{}{{\"also\": \"none\"}}\n", lines(&[event(1)]), lines(&[event(2)]));
    let answer = post(address, Some(TOKEN), body.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let said = answer.json();
    let counts: Vec<u64> = said.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).collect();
    assert!(counts.contains(&2), "two stored, two rejected: {said}");
    assert!(said.to_string().contains("reject"), "{said}");
    let none = post(address, Some(TOKEN), b"no event\n").unwrap();
    assert!((400..500).contains(&none.status), "{none:?}");
    let empty = post(address, Some(TOKEN), b"").unwrap();
    assert!((400..500).contains(&empty.status) || empty.status == 202, "{empty:?}");
    daemon.wait_for_mails(2);
    daemon.terminate();
    env.verify();
}

#[test]
fn slow_clients_are_shown_the_door() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    let body = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1000\r\n\r\n{{"
    );
    let cases: [(&str, &[u8], f64); 3] = [
        ("no header", b"", 15.0),
        ("half a header", b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-", 15.0),
        ("half a body", body.as_bytes(), 60.0),
    ];
    std::thread::scope(|scope| {
        for (what, bytes, seconds) in cases {
            if seconds > 30.0 && !tools::full() {
                continue;
            }
            scope.spawn(move || {
                let mut connection = TcpStream::connect(address).unwrap();
                connection.write_all(bytes).unwrap();
                connection.set_read_timeout(Some(budget(seconds + 30.0))).unwrap();
                let start = Instant::now();
                let mut said = Vec::new();
                // Closed with a word or without, but closed.
                connection.read_to_end(&mut said).unwrap_or_else(|error| panic!("{what}: not closed: {error}"));
                assert!(
                    start.elapsed() > Duration::from_secs(5),
                    "{what}: closed at once: {}",
                    String::from_utf8_lossy(&said)
                );
            });
        }
        // Others are served meanwhile.
        assert_eq!(post(address, Some(TOKEN), event(1).to_string().as_bytes()).unwrap().status, 202);
    });
    daemon.wait_for_mails(1);
}

#[test]
fn many_clients_at_once_are_all_served() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    let (clients, each) = (8, tools::size(10, 100));
    std::thread::scope(|scope| {
        for client in 0..clients {
            scope.spawn(move || {
                for n in 0..each {
                    let answer = post(address, Some(TOKEN), event(client * 1000 + n).to_string().as_bytes()).unwrap();
                    assert_eq!(answer.status, 202);
                }
            });
        }
    });
    daemon.wait_for_mails(clients * each);
    daemon.terminate();
    assert_eq!(env.mailbox().len(), clients * each);
    env.verify();
}

#[test]
fn rude_requests_do_no_harm() {
    let (env, address) = site("");
    let mut daemon = start(&env, address);
    let auth = format!("Authorization: Bearer {TOKEN}\r\n");
    for request in [
        "\r\n\r\n\r\n".to_owned(),
        "GARBAGE\r\n\r\n".to_owned(),
        format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: -1\r\n\r\n"),
        format!("POST /v1/events HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: x\r\n{auth}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzzzz\r\n"
        ),
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: x\r\n{auth}Content-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\n\x1f\x1b\x08"
        ),
        format!("POST /v1/events HTTP/1.1\r\n{}\r\n\r\n", "X-Y: z\r\n".repeat(5000)),
        format!("POST /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\n{auth}Connection: close\r\n\r\n"),
    ] {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(budget(30.0))).unwrap();
        let _ = connection.write_all(request.as_bytes());
        let _ = connection.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = connection.read_to_string(&mut said);
        assert!(!said.starts_with("HTTP/1.1 2"), "{request:.60?}: {said}");
    }
    assert_eq!(post(address, Some(TOKEN), event(1).to_string().as_bytes()).unwrap().status, 202);
    daemon.wait_for_mails(1);
    assert!(daemon.running());
    env.verify();
}

#[test]
fn the_daemon_tells_how_it_is() {
    let env = TestEnv::new();
    let (web, relay) = (free_address(), free_address());
    env.config(&Site::smtp(relay.port()).retry("1 h").more(&format!("\n[web]\nlisten = \"{web}\"")));
    let mut daemon = start(&env, web);
    let get = |path: &str| {
        exchange(web, format!("GET {path} HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap()
    };
    assert_eq!(get("/healthz").status, 200);
    assert_eq!(get("/readyz").status, 200);
    env.drop_spool("a.jsonl", format!("{}no event\n", lines(&many(0, 3))));
    let figure = |name: &str| -> Option<f64> {
        get("/metrics").body.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    daemon.wait_for("the events to be counted", 30.0, |_| (figure("bewit_events_total") == Some(3.0)).then_some(()));
    assert_eq!(figure("bewit_lines_rejected_total"), Some(1.0));
    assert_eq!(figure("bewit_mails_total"), Some(3.0));
    // The figures come from the books: they say what `outbox list` says.
    // The mails may be on their way from one state to the next.
    daemon.wait_for("figures that are those of the books", 30.0, |_| {
        let states: Vec<String> = env.states();
        let agrees = |state: &str| {
            let listed = states.iter().filter(|own| *own == state).count();
            figure(&format!("bewit_recipients{{state=\"{state}\"}}")) == Some(listed as f64)
        };
        ["queued", "deferred", "delivered", "failed"].into_iter().all(agrees).then_some(())
    });
    // Who listens on the web may look, and not do anything.
    let post = format!("POST /metrics HTTP/1.1\r\nHost: {web}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(web, post.as_bytes()).unwrap().status, 405);
    assert!(daemon.terminate().success());
}
