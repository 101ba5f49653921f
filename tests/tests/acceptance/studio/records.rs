//! What the outbox remembers, as pages: mails, decisions, and what other rules would make of the same events.

use std::net::SocketAddr;

use acceptance::env::{Daemon, TOKEN, free_address};
use acceptance::event::{event, many};
use acceptance::http::Answer;
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, wait_until};
use serde_json::{Value, json};

use super::{FORM, ask, csrf, get, preview, sample, start};

/// The same words as a reader sees: tags are gone, references resolved, spaces made one.
pub(super) fn words(page: &str) -> String {
    let mut text = String::new();
    for (index, part) in page.split('<').enumerate() {
        let shown = if index == 0 { part } else { part.split_once('>').map_or("", |(_, shown)| shown) };
        text.push(' ');
        text.push_str(shown);
    }
    for (reference, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/")] {
        text = text.replace(reference, character);
    }
    text.replace("&amp;", "&").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An event of another client and another artifact.
fn netstat(n: usize) -> Value {
    let text = event(n).to_string();
    let text = text.replace("0123456789abcdef", "00000000000000aa").replace("Custom.Windows.Pslist", "Linux.Netstat");
    serde_json::from_str(&text).unwrap()
}

const RULES: &str = r#"
# The first.
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
send_interval = 0

# Another.
[[rule]]
name = "network"
recipients = ["ola@example.org", "kim@example.org"]
send_interval = 0
artifacts_to_alert_on = "Netstat"
"#;

/// Four events, of which the last is of another client; six mails, all written to the folder.
pub(super) fn filled() -> TestEnv {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(RULES));
    let mut events = many(0, 3);
    events.push(netstat(3));
    env.drop_events("a.jsonl", &events);
    env.once().expect(0);
    env
}

/// How many mails or events a list has.
fn entries(page: &Answer) -> usize {
    assert_eq!(page.status, 200, "{page:?}");
    page.body.matches("<p class=\"entry\">").count()
}

#[test]
fn the_mailbox_finds_and_shows_what_was_sent() {
    let env = filled();
    let (mut daemon, address) = preview(&env, &[]);
    assert_eq!(entries(&get(address, "/mailbox")), 6);
    for (query, count) in [
        ("rule=network", 2),
        ("rule=nobody", 0),
        ("to=OLA@example.org", 1),
        ("to=nobody@example.org", 0),
        ("state=delivered", 6),
        ("state=failed", 0),
        ("client=C.00000000000000aa", 3),
        ("flow=F.D000000000001", 1),
        ("flow=root/C.0123456789abcdef/F.D000000000001", 1),
        ("q=Netstat", 3),
        ("q=netstat&to=kim@example.org&rule=network", 1),
        ("q=%25", 0),
        ("q='%3B--", 0),
    ] {
        assert_eq!(entries(&get(address, &format!("/mailbox?{query}"))), count, "{query}");
    }
    assert!(words(&get(address, "/mailbox?rule=nobody").body).contains("No mail is like that"));

    // A mail is what was sent, byte for byte, and its parts are found again.
    let id = env.recipients().iter().find(|one| one.address == "ola@example.org").unwrap().id.clone();
    let id = id.split('/').next().unwrap().to_owned();
    let page = words(&get(address, &format!("/mailbox/mail?id={id}")).body);
    for word in ["ola@example.org", "delivered", "1 attempt", "network mailed", "artifacts_to_alert_on", "written to"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    let file = get(address, &format!("/mailbox/mail.eml?id={id}"));
    assert_eq!(file.header("content-type"), Some("message/rfc822"));
    let sent: Vec<String> = env.mailbox().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(sent.contains(&file.body), "the page gives the mail as it was sent: {}", file.body);
    let text = words(&get(address, &format!("/mailbox/mail?id={id}&view=text")).body);
    assert!(text.contains("ws-17.example.org") && text.contains("Linux.Netstat"), "{text}");
    let headers = words(&get(address, &format!("/mailbox/mail?id={id}&view=headers")).body);
    assert!(headers.contains("message-id") && headers.contains("list-id"), "{headers}");
    let frame = get(address, &format!("/mailbox/frame?id={id}&scheme=dark"));
    assert!(frame.body.contains("ws-17.example.org") && !frame.body.contains("<script"), "{frame:?}");
    assert!(frame.header("content-security-policy").unwrap().contains("sandbox"));
    for gone in ["mail?id=999", "mail.eml?id=999", "attachment?id=1&n=9", "frame?id=999", "mail?id=x", "mail"] {
        assert_eq!(get(address, &format!("/mailbox/{gone}")).status, 404, "{gone}");
    }
    daemon.terminate();
}

#[test]
fn attachments_of_a_sent_mail_can_be_opened() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "\n[[rule]]\nname = \"all\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\n\
         include_result_attachment_from = [{ source = '.' }]\n",
    ));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(0);
    let (mut daemon, address) = preview(&env, &[]);
    let page = get(address, "/mailbox/mail?id=1&view=files").body;
    assert!(words(&page).contains("Custom.Windows.Pslist"), "{page}");
    let file = get(address, "/mailbox/attachment?id=1&n=0");
    assert_eq!(file.header("content-type"), Some("application/octet-stream"));
    assert!(file.header("content-disposition").unwrap().starts_with("attachment;"), "{file:?}");
    assert!(file.body.starts_with('{') && file.body.contains("\"svchost.exe\""), "{file:?}");
    daemon.terminate();
}

/// A daemon with a page behind a token, and a relay that does not want mail yet.
fn waiting(env: &TestEnv) -> (Daemon<'_>, SocketAddr, SmtpSink) {
    let sink = SmtpSink::decent().first(2, Phase::Mail, Action::reply("450 4.1.8 later")).start();
    let address = free_address();
    let web = format!("\n[web]\nlisten = \"{address}\"\ntoken_file = \"token\"");
    env.config(&Site::smtp(sink.port()).retry("1 h").more(&web));
    env.drop_events("a.jsonl", &many(0, 2));
    let mut daemon = start(env, &["run"], address);
    daemon.wait_for("two deferred mails", 30.0, |_| {
        (env.recipients_so_far().iter().filter(|one| one.state == "deferred").count() == 2).then_some(())
    });
    (daemon, address, sink)
}

#[test]
fn only_the_operator_retries_and_cancels() {
    let env = TestEnv::new();
    let (mut daemon, address, sink) = waiting(&env);
    assert_eq!(entries(&get(address, "/mailbox?state=deferred")), 2);
    let page = get(address, "/mailbox/mail?id=1");
    let seen = words(&page.body);
    assert!(seen.contains("450 4.1.8 later") && seen.contains("Log in to try again"), "{seen}");
    assert!(!page.body.contains("/mailbox/act"), "no buttons without the token");
    let queued = env.recipients();
    let target = |n: usize| queued[n].id.clone();
    let origin = format!("{FORM}Origin: http://{address}\r\n");
    let act = |headers: &str, word: &str, action: &str, target: &str| {
        ask(address, "POST", "/mailbox/act", headers, &format!("csrf={word}&action={action}&target={target}")).status
    };
    // Reading is for everyone on this machine; acting is not, whatever word of this session is shown.
    let stranger = csrf(&get(address, "/login"));
    assert_eq!(act(&origin, &stranger, "cancel", &target(0)), 403);
    assert_eq!(env.states(), ["deferred", "deferred"]);

    let body = format!("csrf={stranger}&token={TOKEN}&to=%2Fmailbox");
    let entered = ask(address, "POST", "/login", &origin, &body);
    assert_eq!(entered.status, 303, "{entered:?}");
    let cookie = entered.header("set-cookie").unwrap().split(';').next().unwrap();
    let session = format!("{origin}Cookie: {cookie}\r\n");
    let page = ask(address, "GET", "/mailbox/mail?id=1", &session, "");
    assert!(page.body.contains("Try again now") && page.body.contains("Never send"), "{}", words(&page.body));
    let word = csrf(&page);
    for (headers, word) in [
        (session.replace(&format!("Origin: http://{address}"), "Origin: https://evil.example"), word.as_str()),
        (session.replace(&format!("Origin: http://{address}\r\n"), ""), word.as_str()),
        (session.clone(), stranger.as_str()),
        (session.clone(), ""),
    ] {
        assert_eq!(act(&headers, word, "cancel", &target(0)), 403, "{headers}");
    }
    assert_eq!(
        ask(address, "GET", &format!("/mailbox/act?action=cancel&target={}", target(0)), &session, "").status,
        405
    );
    assert_eq!(act(&session, &word, "delete", &target(0)), 400);
    assert_eq!(act(&session, &word, "cancel", "all"), 400);
    assert_eq!(env.states(), ["deferred", "deferred"], "so far nothing was done");

    assert_eq!(act(&session, &word, "cancel", &target(0)), 303);
    assert_eq!(act(&session, &word, "cancel", &target(0)), 409, "what is at its end cannot be cancelled");
    assert_eq!(act(&session, &word, "retry", &target(1)), 303);
    daemon.wait_for("the retried mail", 30.0, |_| (sink.count() == 1).then_some(()));
    wait_until("its state", 30.0, || env.states().iter().any(|state| state == "delivered"));
    let page = words(&get(address, "/mailbox/mail?id=1").body);
    assert!(page.contains("cancelled") && !page.contains("Log in to try again"), "{page}");
    daemon.terminate();
    assert!(!daemon.log().contains(TOKEN), "the token is in no log");
    env.verify();
}

#[test]
fn decisions_are_found_and_explained() {
    let env = filled();
    let (mut daemon, address) = preview(&env, &[]);
    assert_eq!(entries(&get(address, "/decisions")), 4);
    for (query, count) in [
        ("flow=F.D000000000001", 1),
        ("flow=F.none", 0),
        ("client=C.00000000000000aa", 1),
        ("artifact=Linux.Netstat", 1),
        ("artifact=linux.netstat", 1),
        ("rule=network&decision=notify", 1),
        ("rule=network&decision=skip", 3),
        ("rule=analyst&decision=skip", 0),
        ("decision=error", 0),
        ("since=2020-01-01T00:00", 4),
        ("until=2020-01-01T00:00", 0),
        ("since=2020-01-01T00:00&until=2099-01-01T00:00&client=C.0123456789abcdef", 3),
    ] {
        assert_eq!(entries(&get(address, &format!("/decisions?{query}"))), count, "{query}");
    }
    assert!(words(&get(address, "/decisions?since=yesterday").body).contains("`yesterday` is no time"));
    let list = words(&get(address, "/decisions?flow=F.D000000000001").body);
    assert!(
        list.contains("skipped network : artifacts_to_alert_on: `Custom.Windows.Pslist` does not match `Netstat`"),
        "{list}"
    );
    let one = get(address, "/decisions/event?id=4");
    let seen = words(&one.body);
    for word in ["root/C.00000000000000aa/F.D000000000003", "network mailed", "analyst mailed", "from spool a.jsonl"] {
        assert!(seen.contains(word), "{word}: {seen}");
    }
    assert!(!seen.contains("svchost.exe"), "result rows are not kept: {seen}");
    assert!(one.body.contains("event=stored%3A4"), "the event can be explained and seen: {}", one.body);
    assert_eq!(get(address, "/decisions/event?id=99").status, 404);
    let explained = words(&get(address, "/explain?event=stored:4&rule=network").body);
    assert!(explained.contains("`Linux.Netstat` matches `Netstat`") && explained.contains("kim@example.org"));
    let mail = words(&get(address, "/?event=stored:4&rule=network&view=text").body);
    assert!(mail.contains("ws-17.example.org"), "{mail}");
    daemon.terminate();
}

/// `POST /explain` with another text for a rule.
fn what_if(address: SocketAddr, event: &str, rule: &str, toml: &str) -> Answer {
    let page = get(address, &format!("/explain?event={event}&rule={rule}"));
    let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    let body = format!("csrf={}&event={}&rule={}&toml={}", csrf(&page), encode(event), encode(rule), encode(toml));
    ask(address, "POST", "/explain", &format!("{FORM}Origin: http://{address}\r\n"), &body)
}

#[test]
fn an_edited_rule_says_what_would_change() {
    let env = filled();
    let config = env.read("bewit.toml");
    let (mut daemon, address) = preview(&env, &[]);
    let page = get(address, "/explain?event=stored:4&rule=network");
    let (_, area) = page.body.split_once("<textarea").unwrap();
    let area = words(&format!("<{}", area.split("</textarea>").next().unwrap()));
    assert!(area.starts_with("[[rule]] name = \"network\"") && !area.contains("analyst"), "{area}");

    let network = |keys: &str| format!("[[rule]]\nname = \"network\"\nsend_interval = 0\n{keys}\n");
    let both = "recipients = [\"ola@example.org\", \"kim@example.org\"]";
    let said = |toml: &str| words(&what_if(address, "stored:4", "network", toml).body);
    let same = said(&network(&format!("{both}\nartifacts_to_alert_on = \"Netstat\"")));
    assert!(same.contains("Over 4 events at hand: 0 new, 0 gone, 0 changed"), "{same}");
    let wider = said(&network(&format!("{both}\nartifacts_to_alert_on = \"Netstat|Pslist\"")));
    assert!(wider.contains("3 new, 0 gone, 0 changed") && wider.contains("network : 1 → 4 mails"), "{wider}");
    assert!(wider.contains("new root/C.0123456789abcdef/F.D000000000000"), "{wider}");
    let other = said(&network("recipients = [\"ola@example.org\"]\nartifacts_to_alert_on = \"Netstat\""));
    assert!(other.contains("0 new, 0 gone, 1 changed") && other.contains(": recipients"), "{other}");
    let none = said(&network(&format!("{both}\nartifacts_to_alert_on = \"Nothing\"")));
    assert!(none.contains("0 new, 1 gone, 0 changed") && none.contains("does not match `Nothing`"), "{none}");

    // What the reader refuses, where and why; and what is no rule.
    let wrong = said(&network(&format!("{both}\nartifact_to_alert_on = \"x\"")));
    for word in ["reader refuses it", "artifact_to_alert_on", "^^^", "bewit.toml:"] {
        assert!(wrong.contains(word), "{word}: {wrong}");
    }
    assert!(!wrong.contains("What would change"), "{wrong}");
    let plugin = said("[plugins.x]\npath = \"/etc/passwd\"\n");
    assert!(plugin.contains("It must begin with [[rule]]"), "{plugin}");
    let more = said(&format!("{}[templates]\npath = \"/etc\"\n", network(both)));
    assert!(more.contains("[[rule]] sections only"), "{more}");
    // Nothing is written, and nothing without our own form.
    assert_eq!(env.read("bewit.toml"), config);
    let body = "csrf=&event=stored%3A4&rule=network&toml=x";
    assert_eq!(ask(address, "POST", "/explain", &format!("{FORM}Origin: http://{address}\r\n"), body).status, 403);
    daemon.terminate();
}

#[test]
fn stock_rules_can_be_tried_without_a_configuration() {
    let env = TestEnv::new();
    let (mut daemon, address) = preview(&env, &[]);
    let page = words(&get(address, "/explain?event=sample:finished").body);
    assert!(page.contains("Decision of analyst") && page.contains("What if the rule were another?"), "{page}");
    let toml =
        "[[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\"]\nartifacts_to_ignore = \"Listening\"\n";
    let said = words(&what_if(address, "sample:finished", "analyst", toml).body);
    assert!(said.contains("shipped samples, since there are no other events"), "{said}");
    assert!(words(&get(address, "/mailbox").body).contains("There is no outbox yet"));
    assert!(words(&get(address, "/decisions").body).contains("There is no outbox yet"));
    assert!(!env.path("bewit.db").exists(), "looking makes no outbox");
    daemon.terminate();
}

#[test]
fn what_strangers_say_stays_text_in_the_records() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "\n[[rule]]\nname = \"all\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\ndelay_threshold = 0\n",
    ));
    let odd = json!({ "type": "System.Flow.Completion", "ClientId": "C.<script>alert(1)</script>",
        "FlowId": "F.\"><img src=x onerror=alert(1)>", "Flow": { "request": { "artifacts": ["<i>x</i>"] },
        "state": "FINISHED" } });
    env.drop_spool("hostile.jsonl", format!("{}{odd}\n", sample("hostile")));
    env.once();
    let (mut daemon, address) = preview(&env, &[]);
    let mut targets = vec!["/mailbox".to_owned(), "/decisions".to_owned()];
    for event in 1..=2 {
        targets.push(format!("/decisions/event?id={event}"));
        targets.push(format!("/explain?event=stored:{event}"));
        targets.extend(
            ["html", "text", "source", "headers", "files"].map(|view| format!("/mailbox/mail?id={event}&view={view}")),
        );
    }
    for target in targets {
        let page = get(address, &target);
        assert_eq!(page.status, 200, "{target}: {page:?}");
        let tags = ["<img src=x", "<h1>Hello", "<i>x", "<script>"];
        assert!(!tags.iter().any(|tag| page.body.contains(tag)), "{target}: {}", page.body);
        assert_eq!(page.body.matches("<script").count(), 1, "{target}");
        assert!(!page.body.contains(['\u{202e}', '\u{2066}', '\u{0}', '\u{1b}']), "{target}");
    }
    daemon.terminate();
}

#[test]
fn pages_are_answered_while_mails_pass() {
    let env = TestEnv::new();
    let (intake, address) = (free_address(), free_address());
    let sink = SmtpSink::decent().start();
    let web = format!("\n[web]\nlisten = \"{address}\"");
    env.config(&Site::smtp(sink.port()).smtp_key("connections = 4").http(intake).more(&web));
    let mut daemon = start(&env, &["run"], address);
    acceptance::http::wait_for_listener(intake);
    let events = many(0, acceptance::tools::size(1000, 20_000));
    let pages = [
        "/?event=sample:finished",
        "/preview/frame?event=sample:hostile",
        "/explain?event=sample:finished",
        "/mailbox",
        "/mailbox?state=queued&q=Pslist",
        "/mailbox/mail?id=1",
        "/decisions?artifact=Custom.Windows.Pslist",
        "/decisions/event?id=1",
    ];
    let (rounds, first) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in events.chunks(100) {
                let body = acceptance::event::lines(batch);
                let answer = acceptance::http::post(intake, Some(TOKEN), body.as_bytes()).unwrap();
                assert_eq!(answer.status, 202, "{answer:?}");
            }
        });
        wait_until("the first mail", 60.0, || sink.count() > 0);
        let (mut rounds, first) = (0, sink.count());
        while sink.count() < events.len() {
            for page in pages {
                let answer = get(address, page);
                assert_eq!(answer.status, 200, "{page} after {} mails: {answer:?}", sink.count());
            }
            rounds += 1;
        }
        (rounds, first)
    });
    assert!(rounds > 1 && first < events.len(), "{rounds} rounds while mails passed");
    wait_until("every mail in its place", 60.0, || {
        get(address, "/metrics").body.contains(&format!("{{state=\"delivered\"}} {}\n", events.len()))
    });
    assert!(daemon.running());
    daemon.terminate();
    env.verify();
}
