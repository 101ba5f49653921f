//! Conversations with mail servers that nobody here wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use acceptance::env::free_address;
use acceptance::event::{event, fixture_event, many};
use acceptance::mail::{Mail, read, read_bytes};
use acceptance::sink::tls;
use acceptance::{Site, SmtpSink, TestEnv, http, tools};
use serde_json::Value;

const RULE: &str = r#"
[[rule]]
name = "everything"
recipients = ["ana@example.org", "kim@example.org"]
delivery = "shared"
send_interval = 0
delay_threshold = 0
include_result_table_from = [{ source = "." }]
include_result_attachment_from = [{ source = "." }]
"#;

/// Events plain and hostile.
fn events() -> Vec<Value> {
    let mut all = many(1, 5);
    all.push(fixture_event("hostile"));
    all.push(fixture_event("netstat-disks"));
    all
}

/// What our own strict server gets of the same events: Subject and attachments, in order of Subject.
fn expected() -> Vec<(String, Vec<String>)> {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().start();
    env.config(&Site::smtp(sink.port()).rule(RULE));
    env.drop_events("a.jsonl", &events());
    env.once().expect(0);
    sink.assert_clean();
    summary(&sink.received().iter().map(|mail| read_bytes(&mail.raw)).collect::<Vec<_>>())
}

fn summary(mails: &[Mail]) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = mails
        .iter()
        .map(|mail| {
            assert!(mail.defects.is_empty(), "{:?}", mail.defects);
            (mail.header("Subject").to_owned(), mail.attachments().iter().map(|part| part.sha256.clone()).collect())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn postfix_takes_what_is_sent() {
    let Some(program) = tools::smtp_sink() else { return };
    let expected = expected();
    for options in [&[][..], &["-p"], &["-8"]] {
        // In turn: as it comes; without PIPELINING; without 8BITMIME.
        let env = TestEnv::new();
        let address = free_address();
        fs::create_dir(env.path("dump")).unwrap();
        let mut command = Command::new(&program);
        command.args(options).args(["-c", "-d", "dump/%M."]);
        // As root it wants to become somebody else, who then cannot write here.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "root"]);
        }
        command.arg(address.to_string()).arg("100");
        let mut server = env.spawn(command, &[]);
        http::wait_for_listener(address);
        env.config(&Site::smtp(address.port()).rule(RULE));
        env.drop_events("a.jsonl", &events());
        env.once().expect(0);
        let dumped: Vec<PathBuf> =
            fs::read_dir(env.path("dump")).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(dumped.len(), events().len(), "{options:?}: one dump for one mail");
        let mails: Vec<Mail> = dumped
            .iter()
            .map(|path| {
                // Postfix writes the envelope as header fields of its own before the mail, and bare LF.
                let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
                assert_eq!(text.matches("X-Rcpt-Args:").count(), 2, "{text}");
                let own = text.find("\nFrom: ").or_else(|| text.find("\nDate: ")).map_or(0, |at| at + 1);
                read_bytes(text[own..].replace("\r\n", "\n").replace('\n', "\r\n").as_bytes())
            })
            .collect();
        assert_eq!(summary(&mails), expected, "{options:?}");
        env.verify();
        server.kill();
    }
}

/// `aiosmtpd` that writes each mail's bytes and envelope into a folder; by STARTTLS and with a login if asked.
const AIOSMTPD: &str = r#"
import asyncio, json, pathlib, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

port, folder, secure = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] == "secure"

class Handler:
    taken = 0
    async def handle_DATA(self, server, session, envelope):
        name = folder / f"{Handler.taken}"
        Handler.taken += 1
        name.with_suffix(".eml").write_bytes(envelope.original_content)
        name.with_suffix(".json").write_text(json.dumps(
            [envelope.mail_from, envelope.rcpt_tos, session.ssl is not None, bool(session.authenticated)]))
        return "250 2.0.0 taken"

def login(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"bewit", b"s3cret")
    return AuthResult(success=good)

async def main():
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("server.pem", "server.key")
    loop = asyncio.get_running_loop()
    factory = lambda: SMTP(Handler(), tls_context=context, require_starttls=secure, auth_required=secure,
                           authenticator=login if secure else None, data_size_limit=33554432, enable_SMTPUTF8=True)
    server = await loop.create_server(factory, "127.0.0.1", port)
    await server.serve_forever()

asyncio.run(main())
"#;

#[test]
fn aiosmtpd_takes_what_is_sent() {
    let Some(python) = tools::peers_python() else { return };
    for secure in [false, true] {
        let env = TestEnv::new();
        let address = free_address();
        fs::create_dir(env.path("taken")).unwrap();
        env.write("server.py", AIOSMTPD);
        let (certificate, key) = tls::certificate_files();
        env.write("server.pem", certificate);
        env.write("server.key", key);
        let mut command = Command::new(&python);
        let mode = if secure { "secure" } else { "clear" };
        command.args(["-I", "server.py", &address.port().to_string(), "taken", mode]);
        let mut server = env.spawn(command, &[]);
        http::wait_for_listener(address);
        let site =
            if secure { Site::tls(address.port(), "starttls").login("bewit") } else { Site::smtp(address.port()) };
        env.config(&site.rule(RULE));
        env.drop_events("a.jsonl", &events());
        env.once().expect(0);
        let mails = read(&acceptance::env::files(&env.path("taken"), "eml"));
        for mail in &mails {
            mail.assert_sound();
            let envelope: Value = serde_json::from_slice(&fs::read(mail.path.with_extension("json")).unwrap()).unwrap();
            assert_eq!(
                envelope,
                serde_json::json!(["bewit@example.org", ["ana@example.org", "kim@example.org"], secure, secure])
            );
        }
        assert_eq!(summary(&mails), expected());
        env.verify();
        server.kill();
    }
}

#[test]
fn mailpit_shows_what_is_sent() {
    let Some(program) = tools::mailpit() else { return };
    let env = TestEnv::new();
    let (smtp, web) = (free_address(), free_address());
    let mut command = Command::new(program);
    command.args(["--smtp", &smtp.to_string(), "--listen", &web.to_string(), "--disable-version-check"]);
    let mut server = env.spawn(command, &[]);
    http::wait_for_listener(smtp);
    http::wait_for_listener(web);
    env.config(&Site::smtp(smtp.port()).rule(RULE));
    env.drop_events("a.jsonl", &events());
    env.once().expect(0);

    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.0\r\nHost: {web}\r\nConnection: close\r\n\r\n");
        let answer = http::exchange(web, request.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    let list = get("/api/v1/messages?limit=100").json();
    let messages = list["messages"].as_array().unwrap();
    assert_eq!(messages.len(), events().len());
    let mut mails = Vec::new();
    for message in messages {
        let id = message["ID"].as_str().unwrap();
        // How other people's clients render it: nothing that many of them do not support.
        let check = get(&format!("/api/v1/message/{id}/html-check")).json();
        let supported = check["Total"]["Supported"].as_f64().unwrap() + check["Total"]["Partial"].as_f64().unwrap();
        assert!(supported > 90.0, "{supported} % of clients render all of it: {}", check["Warnings"]);
        let raw = http::exchange(
            web,
            format!("GET /api/v1/message/{id}/raw HTTP/1.0\r\nHost: {web}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
        mails.push(read_bytes(raw.body.replace("\r\n", "\n").replace('\n', "\r\n").as_bytes()));
    }
    assert_eq!(summary(&mails), expected());
    server.kill();
}

#[test]
fn the_peers_are_known() {
    // A peer that is missing where it is needed fails here, with the command that installs it.
    for found in [tools::smtp_sink(), tools::peers_python(), tools::strace(), tools::mailpit()] {
        assert!(found.is_none_or(|path| Path::new(&path).is_file()));
    }
    drop(event(1));
}
