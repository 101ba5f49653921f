//! The studio as others see it: by HTTP, politely and not, and in a real browser.

mod browser;
mod records;

use std::net::SocketAddr;
use std::process::Command;

use acceptance::env::{Daemon, TOKEN, free_address};
use acceptance::http::{Answer, exchange, wait_for_listener};
use acceptance::{Site, TestEnv, tools};

/// A command of the studio that listens.
fn start<'a>(env: &'a TestEnv, args: &[&str], address: SocketAddr) -> Daemon<'a> {
    let mut command = Command::new(env.binary());
    command.args(args);
    let daemon = env.spawn(command, &[]);
    wait_for_listener(address);
    daemon
}

/// `bewit preview` on a free port.
fn preview<'a>(env: &'a TestEnv, more: &[&str]) -> (Daemon<'a>, SocketAddr) {
    let address = free_address();
    let listen = address.to_string();
    let args: Vec<&str> = ["preview", "--listen", &listen].into_iter().chain(more.iter().copied()).collect();
    (start(env, &args, address), address)
}

/// One request, with header lines beside `Host` and `Connection`.
fn ask(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    let head = format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{length}{headers}\r\n");
    exchange(address, format!("{head}{body}").as_bytes()).unwrap()
}

fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target, "", "")
}

/// A shipped sample: one line.
fn sample(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/samples");
    std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap()
}

/// The word that a page's forms hold.
fn csrf(page: &Answer) -> String {
    let (_, after) = page.body.split_once("name=\"csrf\" value=\"").unwrap();
    after.split('"').next().unwrap().to_owned()
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[test]
fn every_answer_is_fenced() {
    let env = TestEnv::new();
    let (mut daemon, address) = preview(&env, &[]);
    let targets = [
        "/",
        "/?event=sample:hostile",
        "/?event=sample:hostile&view=text",
        "/?event=sample:hostile&view=source",
        "/?event=sample:hostile&view=headers",
        "/?event=sample:hostile&view=files",
        "/?event=nothing:here",
        "/login",
        "/nowhere",
        "/healthz",
        "/assets/studio.css",
        "/assets/studio.js",
        "/preview/attachment?event=sample:finished&n=99",
    ];
    for target in targets {
        let answer = get(address, target);
        assert!(answer.status == 200 || answer.status == 404, "{target}: {answer:?}");
        let policy = answer.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none';",
            "script-src 'self';",
            "style-src 'self';",
            "connect-src 'self';",
            "form-action 'self';",
            "base-uri 'none';",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{target}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{target}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{target}");
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"), "{target}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{target}");
        let store = if target.starts_with("/assets/") { "no-cache" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), Some(store), "{target}");
    }
    let frame = get(address, "/preview/frame?event=sample:hostile&scheme=dark");
    let policy = frame.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox") && !policy.contains("allow-scripts"));
    assert!(policy.contains("frame-ancestors 'self'") && !policy.contains("script-src"), "{policy}");
    for view in ["/preview/mail.eml", "/preview/attachment"] {
        let file = get(address, &format!("{view}?event=sample:vip&rule=analyst&n=0"));
        if file.status == 200 {
            assert!(file.header("content-disposition").unwrap().starts_with("attachment; filename="), "{file:?}");
            assert!(file.header("content-security-policy").unwrap().contains("sandbox"), "{file:?}");
        }
    }
    daemon.terminate();
}

#[test]
fn other_sites_are_refused() {
    let env = TestEnv::new();
    let (mut daemon, address) = preview(&env, &[]);
    let port = address.port();
    // DNS rebinding: their name, our address.
    for host in ["evil.example", &format!("evil.example:{port}"), "192.0.2.1", "localhost.evil.example", ""] {
        let answer = ask(address, "GET", "/", &format!("Host: {host}\r\n"), "");
        assert!([400, 421].contains(&answer.status), "{host}: {answer:?}");
        assert!(!answer.body.contains("example.org"), "{host}");
    }
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "[::1]:9000".to_owned()] {
        assert_eq!(ask(address, "GET", "/", &format!("Host: {host}\r\n"), "").status, 200, "{host}");
    }
    assert_eq!(ask(address, "GET", "http://evil.example/", "", "").status, 421);
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
        let answer = ask(address, method, "/", "", "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST")), "{method}");
    }
    // What another page makes a browser load.
    let embedded = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n";
    assert_eq!(ask(address, "GET", "/", embedded, "").status, 403);
    let framed = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n";
    assert_eq!(ask(address, "GET", "/", framed, "").status, 403);
    let followed = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    assert_eq!(ask(address, "GET", "/", followed, "").status, 200);

    let page = get(address, "/");
    let event =
        "%7B%22type%22%3A%22System.Flow.Completion%22%2C%22ClientId%22%3A%22C.9%22%2C%22FlowId%22%3A%22F.9%22%7D";
    let body = format!("csrf={}&event={event}", csrf(&page));
    let origin = format!("Origin: http://{address}\r\n");
    let paste = |headers: &str, body: &str| ask(address, "POST", "/paste", headers, body).status;
    assert_eq!(paste(&format!("{FORM}{origin}"), &body), 303);
    for foreign in [
        String::new(),
        "Origin: null\r\n".to_owned(),
        "Origin: https://evil.example\r\n".to_owned(),
        format!("Origin: http://127.0.0.1:{}\r\n", port ^ 1),
        format!("{origin}Sec-Fetch-Site: cross-site\r\n"),
        format!("{origin}Sec-Fetch-Site: same-site\r\n"),
    ] {
        assert_eq!(paste(&format!("{FORM}{foreign}"), &body), 403, "{foreign}");
    }
    assert_eq!(paste(&format!("{FORM}{origin}"), &format!("event={event}")), 403);
    assert_eq!(paste(&format!("{FORM}{origin}"), &format!("csrf={}&event={event}", "0".repeat(64))), 403);
    assert_eq!(paste(&format!("Content-Type: text/plain\r\n{origin}"), &body), 415);
    assert_eq!(paste(&format!("{FORM}{origin}"), &format!("{body}&x={}", "x".repeat(4 << 20))), 413);
    assert_eq!(get(address, &format!("/?{}", "x".repeat(9000))).status, 414);
    daemon.terminate();
}

#[test]
fn elsewhere_the_token_is_needed() {
    let env = TestEnv::new();
    let refused = env.bewit(["preview", "--listen", "0.0.0.0:0"]).run().expect(2);
    refused.check(refused.err().contains("token"), "it says what is missing");
    let port = free_address().port();
    env.config(&Site::mailbox().more(&format!("\n[web]\nlisten = \"0.0.0.0:{port}\"")));
    let refused = env.once().expect(2);
    refused.check(refused.err().contains("[web] can be reached from elsewhere and has no token"), "so does the daemon");

    env.config(&Site::mailbox().more(&format!("\n[web]\nlisten = \"0.0.0.0:{port}\"\ntoken_file = \"token\"")));
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let mut daemon = start(&env, &["run"], address);
    for target in ["/", "/metrics", "/events", "/preview/frame?event=sample:finished", "/preview/mail.eml"] {
        let answer = get(address, target);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{target}");
        assert!(!answer.body.contains("example.org"), "{target}");
        let person = ask(address, "GET", target, "Accept: text/html\r\n", "");
        assert_eq!(person.status, 303, "{target}");
        assert!(person.header("location").unwrap().starts_with("/login?to=%2F"), "{target}");
    }
    // Among them the numbers, which are open on loopback alone.
    for target in ["/healthz", "/readyz"] {
        assert_eq!(ask(address, "GET", target, "Host: anything.example\r\n", "").status, 200, "{target}");
    }
    let bearer = |token: &str| ask(address, "GET", "/metrics", &format!("Authorization: Bearer {token}\r\n"), "");
    assert!(bearer(TOKEN).body.contains("bewit_events_total 0"));
    for token in ["wrong", &format!("{TOKEN}x"), &TOKEN[1..], ""] {
        assert_eq!(bearer(token).status, 401, "{token:?}");
    }

    let form = ask(address, "GET", "/login?to=%2F%2Fevil.example", "Accept: text/html\r\n", "");
    let origin = format!("{FORM}Origin: http://{address}\r\n");
    let log_in = |token: &str, to: &str| {
        let body = format!("csrf={}&token={token}&to={to}", csrf(&form));
        ask(address, "POST", "/login", &origin, &body)
    };
    let wrong = log_in("wrong", "/");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None));
    let right = log_in(TOKEN, "%2F%2Fevil.example%2F");
    assert_eq!((right.status, right.header("location")), (303, Some("/")));
    let cookie = right.header("set-cookie").unwrap();
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict") && !cookie.contains(TOKEN),
        "{cookie}"
    );
    let session = format!("Cookie: other=1; {}\r\n", cookie.split(';').next().unwrap());
    let page = ask(address, "GET", "/", &session, "");
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(TOKEN));
    assert_ne!(csrf(&page), csrf(&form), "each session has a word of its own");
    let stolen = ask(address, "POST", "/logout", &format!("{origin}{session}"), &format!("csrf={}", csrf(&form)));
    assert_eq!(stolen.status, 403);
    // Another token ends what the old one has opened.
    env.write_secret("token", "another-token\n");
    assert_eq!(ask(address, "GET", "/", &session, "").status, 401);
    env.write_secret("token", &format!("{TOKEN}\n"));
    let out = ask(address, "POST", "/logout", &format!("{origin}{session}"), &format!("csrf={}", csrf(&page)));
    assert_eq!(out.status, 303);
    assert_eq!(ask(address, "GET", "/", &session, "").status, 401);
    daemon.terminate();
    assert!(!daemon.log().contains(TOKEN), "the token is in no log");
}

#[test]
fn a_hostile_event_is_text() {
    let env = TestEnv::new();
    env.write("hostile.jsonl", sample("hostile"));
    env.write("tame.jsonl", sample("finished"));
    let (mut daemon, address) = preview(&env, &["hostile.jsonl", "tame.jsonl"]);
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/dom.py");
    for view in ["html", "text", "source", "headers", "files", "lint"] {
        let page = get(address, &format!("/?event=file:0:1&view={view}"));
        assert_eq!(page.status, 200);
        let path = env.write(format!("{view}.html"), &page.body);
        let dom = &tools::python().args([script.as_os_str(), path.as_os_str()]).run().expect(0).json()[0];
        let tags = dom["tags"].as_array().unwrap();
        let named = |name: &str| tags.iter().filter(|tag| tag[0] == name).count();
        assert_eq!((named("script"), named("h1"), named("svg"), named("i")), (1, 1, 0, 0), "{view}");
        for tag in tags {
            for attribute in tag[1].as_array().into_iter().flatten() {
                let name = attribute[0].as_str().unwrap();
                assert!(!name.starts_with("on") && name != "style", "{view}: {tag}");
            }
        }
        for link in dom["links"].as_array().unwrap() {
            assert!(link.as_str().unwrap().starts_with(['/', '#']), "{view}: {link}");
        }
        let text = dom["text"].as_str().unwrap();
        assert!(text.contains("<h1>Hello</h1>"), "{view}: what the event says can be read");
        assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{0}', '\u{1b}']), "{view}");
    }
    daemon.terminate();
}

#[test]
fn a_mail_is_shown_as_it_would_be_sent() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "\n[[rule]]\nname = \"all\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\ndelay_threshold = 0\n\
         include_result_attachment_from = [{ source = '.' }]\n",
    ));
    env.write("events.jsonl", sample("finished"));
    let (mut daemon, address) = preview(&env, &["events.jsonl"]);
    let page = get(address, "/?event=file:0:1&view=files").body;
    assert!(page.contains("Windows.Network.ListeningPorts"), "{page}");
    let (_, after) = page.split_once("href=\"&#x2f;preview&#x2f;attachment").unwrap();
    let query = after.split('"').next().unwrap().replace("&amp;", "&");
    let file = get(address, &format!("/preview/attachment{query}"));
    assert_eq!(file.header("content-type"), Some("application/octet-stream"));
    assert!(file.body.starts_with('{') && file.body.contains("svchost.exe"), "{file:?}");
    let mail = get(address, "/preview/mail.eml?event=file:0:1");
    assert_eq!(mail.header("content-type"), Some("message/rfc822"));
    assert!(mail.body.contains("To: ana@example.org\r\n") && mail.body.contains("Message-ID: <"), "{}", mail.body);
    let sent = env.bewit(["render", "--format", "html", "events.jsonl"]).run().expect(0).out();
    let frame = get(address, "/preview/frame?event=file:0:1").body;
    let tail = |html: &str| html.split("</style>").nth(1).unwrap().replace(char::is_numeric, "0");
    assert_eq!(tail(&frame), tail(&sent), "the frame holds the mail");
    let none = get(address, "/?event=sample:quick").body;
    assert!(!none.contains("role=\"alert\""), "{none}");
    assert!(!env.path("bewit.db").exists() && !env.path("mail").exists(), "nothing is stored or sent");
    daemon.terminate();
}

#[test]
fn a_digest_is_shown_with_its_neighbours() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "\n[[rule]]\nname = \"all\"\nrecipients = [\"ana@example.org\"]\ndelay_threshold = 0\n\
         artifacts_to_alert_on = 'Generic|Windows'\n",
    ));
    let (mut daemon, address) = preview(&env, &[]);
    let single = get(address, "/?event=sample:finished").body;
    assert!(single.contains("mail=digest"), "{single}");
    let page = get(address, "/?event=sample:finished&mail=digest").body;
    assert!(page.contains("client collections: ") && page.contains("Gathered with its neighbours"), "{page}");
    let frame = get(address, "/preview/frame?event=sample:finished&mail=digest").body;
    let flow = |line: &str| {
        let (_, rest) = line.split_once("\"F.").unwrap();
        format!("F.{}", rest.split('"').next().unwrap())
    };
    for name in ["finished", "vip"] {
        assert!(frame.contains(&flow(&sample(name))), "{name}: {frame}");
    }
    let mail = get(address, "/preview/mail.eml?event=sample:finished&mail=digest").body;
    assert!(mail.contains("\r\nSubject: ") && mail.contains("client collections"), "{mail}");
    daemon.terminate();
}

#[test]
fn mails_are_shown_in_their_language() {
    let env = TestEnv::new();
    let rule = |name: &str, more: &str| {
        format!(
            "\n[[rule]]\nname = \"{name}\"\nrecipients = [\"ana@example.org\"]\ndelay_threshold = 0\n\
             artifacts_to_alert_on = 'Generic|Windows'\n{more}"
        )
    };
    let locale =
        "\n[locale]\ntime_zone = \"Europe/Berlin\"\ndate_format = \"%-d. %B %Y, %H:%M %Z\"\nlanguage = \"de\"\n";
    env.config(&Site::mailbox().rule(&(rule("kim", "") + &rule("ana", "language = \"en\"\n"))).more(locale));
    let (mut daemon, address) = preview(&env, &[]);
    let shown = |query: &str| {
        let page = get(address, &format!("/?event=sample:finished&view=text&{query}")).body;
        let frame = get(address, &format!("/preview/frame?event=sample:finished&{query}")).body;
        (page, frame)
    };
    let (page, frame) = shown("rule=kim");
    for part in [&page, &frame] {
        assert!(part.contains("12. August 2026, 04:") && part.to_lowercase().contains("angaben zum flow"), "{part}");
    }
    assert!(frame.contains("<html lang=\"de\""), "{frame}");
    let (page, frame) = shown("rule=ana");
    for part in [&page, &frame] {
        assert!(part.contains("12. August 2026, 04:") && part.to_lowercase().contains("flow details"), "{part}");
    }
    let (page, frame) = shown("rule=kim&mail=digest");
    for part in [&page, &frame] {
        assert!(part.contains("Sammlungen") && !part.contains("client collections"), "{part}");
    }
    daemon.terminate();
}

#[test]
fn the_preview_begins_with_what_is_broken() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().more("\n[templates]\npath = \"templates\""));
    env.write("templates/flow-completion.txt.j2", "first\n{{ no_such_fact }}\n");
    let (mut daemon, address) = preview(&env, &[]);
    let page = get(address, "/?event=sample:finished&view=text").body;
    assert!(page.contains("not in force") && page.contains("no_such_fact") && page.contains("^^^"), "{page}");
    assert!(page.contains("Flow details") || page.contains("finished"), "a mail is below it: {page}");
    env.write("templates/flow-completion.txt.j2", "It is mended: {{ subject }}\n");
    acceptance::wait_until("the mended text", 30.0, || {
        let page = get(address, "/?event=sample:finished&view=text").body;
        page.contains("It is mended: ") && !page.contains("no_such_fact")
    });
    // A configuration that is no configuration: the stock one stands in.
    let whole = std::fs::read_to_string(env.path("bewit.toml")).unwrap();
    daemon.terminate();
    env.write("bewit.toml", "[smtp]\nserver = 5\n");
    let (mut daemon, address) = preview(&env, &[]);
    let page = get(address, "/").body;
    assert!(page.contains("not in force") && page.contains("server = 5"), "{page}");
    env.write("bewit.toml", &whole);
    acceptance::wait_until("the mended configuration", 30.0, || {
        get(address, "/?view=text").body.contains("It is mended: ")
    });
    daemon.terminate();
    // One that is not there is a mistake in the command line.
    let said = env.bewit(["preview", "-c", "elsewhere.toml"]).run().expect(2);
    said.check(said.err().contains("elsewhere.toml"), "the file is named");
}

#[test]
fn the_demo_ends_with_the_studio() {
    let env = TestEnv::new();
    let mut command = Command::new(env.binary());
    command.arg("demo");
    let mut daemon = env.spawn(command, &[]);
    let address = daemon.wait_for("the studio", 30.0, |daemon| {
        let log = daemon.log();
        let line = log.lines().find_map(|line| line.strip_prefix("http://"))?;
        line.trim_end_matches('/').parse::<SocketAddr>().ok()
    });
    assert!(daemon.log().contains("mails are in"), "the summary comes first");
    assert_eq!(get(address, "/?event=sample:hunt").status, 200);
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_client_that_is_slow_is_closed() {
    use std::io::{Read, Write};
    let env = TestEnv::new();
    let (mut daemon, address) = preview(&env, &[]);
    let mut slow = std::net::TcpStream::connect(address).unwrap();
    slow.set_read_timeout(Some(acceptance::budget(60.0))).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let mut said = Vec::new();
    slow.read_to_end(&mut said).unwrap();
    assert!(!said.starts_with(b"HTTP/1.1 200"));
    // One that listens does not keep the program from ending.
    let mut listener = std::net::TcpStream::connect(address).unwrap();
    listener.write_all(format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut first = [0; 12];
    listener.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(daemon.terminate().code(), Some(0));
}
