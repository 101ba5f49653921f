//! The server against a client that nobody here wrote: Python's `smtplib`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Action, Certificate, Phase, SmtpSink, tls};
use crate::tools;
use crate::wait::wait_until;

const CLIENT: &str = r#"
import smtplib, ssl, sys
port, mode, ca = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca or None)
client = smtplib.SMTP_SSL("localhost", port, context=context) if mode == "implicit" else smtplib.SMTP("localhost", port)
if mode == "starttls":
    client.starttls(context=context)
if mode != "none":
    client.login("bewit", "s3cret")
refused = client.sendmail("a@example.org", ["b@example.org", "c@example.org"], "Subject: x\r\n\r\n.dot\r\nend\r\n")
client.quit()
print(sorted(refused))
"#;

fn client(sink: &SmtpSink, mode: &str) -> crate::process::Finished {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, tls::root_ca()).unwrap();
    let ca = if mode == "none" { String::new() } else { ca.display().to_string() };
    tools::python().args(["-c", CLIENT, &sink.port().to_string(), mode, &ca]).run()
}

#[test]
fn a_plain_conversation_is_taken_byte_for_byte() {
    let sink = SmtpSink::decent().start();
    client(&sink, "none").expect(0);
    let received = sink.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].raw, b"Subject: x\r\n\r\n.dot\r\nend\r\n");
    assert_eq!(received[0].to, ["b@example.org", "c@example.org"]);
    assert!(String::from_utf8(sink.clear_text()).unwrap().contains("\r\n..dot\r\n"), "dot-stuffed on the wire");
    let journal = std::fs::read(sink.journal()).unwrap();
    assert!(journal.ends_with(b".dot\r\nend\r\n"));
    sink.assert_clean();
}

#[test]
fn tls_and_login_work_and_leave_nothing_in_clear() {
    for mechanisms in [&["PLAIN"][..], &["LOGIN"]] {
        let sink = SmtpSink::decent().starttls(Certificate::Good).login("bewit", "s3cret", mechanisms).start();
        client(&sink, "starttls").expect(0);
        assert_eq!(sink.count(), 1);
        assert_eq!(sink.sessions()[0].user.as_deref(), Some("bewit"));
        let clear = String::from_utf8(sink.clear_text()).unwrap();
        assert!(clear.ends_with("STARTTLS\r\n"), "{clear}");
        sink.assert_clean();
    }
    let sink = SmtpSink::decent().implicit(Certificate::Good).login("bewit", "s3cret", &["PLAIN"]).start();
    client(&sink, "implicit").expect(0);
    assert_eq!(sink.count(), 1);
    assert!(sink.clear_text().is_empty());
    sink.assert_clean();
}

#[test]
fn bad_certificates_are_bad_for_others_too() {
    for bad in [Certificate::WrongName, Certificate::Expired, Certificate::Unknown] {
        let sink = SmtpSink::decent().starttls(bad).login("bewit", "s3cret", &["PLAIN"]).start();
        let said = client(&sink, "starttls").expect(1);
        said.check(said.err().contains("CERTIFICATE_VERIFY_FAILED"), "refused for its certificate");
        assert_eq!(sink.count(), 0);
    }
}

#[test]
fn a_script_answers_in_its_turn() {
    let sink = SmtpSink::decent()
        .script(|moment| match (moment.phase, moment.address) {
            (Phase::Rcpt, "c@example.org") => Action::reply("550 no such user"),
            (Phase::Greeting, _) => Action::Sliced("220 slow".to_owned()),
            (Phase::Dot, _) => Action::Delay(Duration::from_millis(20), Box::new(Action::Normal)),
            _ => Action::Normal,
        })
        .start();
    let said = client(&sink, "none").expect(0);
    assert_eq!(said.out().trim(), "['c@example.org']");
    assert_eq!(sink.received()[0].to, ["b@example.org"]);
    sink.assert_clean();
}

#[test]
fn a_mail_can_be_taken_without_a_word() {
    let sink = SmtpSink::decent().at(Phase::Dot, Action::TakeThen(Box::new(Action::Close))).start();
    client(&sink, "none").expect(1);
    assert_eq!(sink.count(), 1);
}

fn raw(sink: &SmtpSink, text: &[u8]) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", sink.port())).unwrap();
    connection.write_all(text).unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    let _ = connection.read_to_string(&mut said);
    said
}

#[test]
fn what_no_client_may_do_is_noticed() {
    let cases: [(&[u8], &str); 7] = [
        (b"EHLO a\n", "bare LF"),
        (b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", "before its reply"),
        (b"MAIL FROM:<a@b>\r\n", "out of order"),
        (b"EHLO a\r\nMAIL FROM:<a@b> SIZE=10\r\n", "SIZE that was not offered"),
        (b"EHLO a\r\nAUTH PLAIN AGEAYg==\r\n", "AUTH in clear"),
        (b"EHLO a\r\nSTARTTLS\r\n", "STARTTLS that was not offered"),
        (b"HELLO\r\n", "no command"),
    ];
    for (text, what) in cases {
        let sink = SmtpSink::bare().start();
        raw(&sink, text);
        wait_until(what, 10.0, || sink.violations().iter().any(|one| one.contains(what)));
    }
}

#[test]
fn only_the_true_end_ends_a_mail() {
    let spellings: [&[u8]; 6] = [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r"];
    for spelling in spellings {
        let sink = SmtpSink::decent().start();
        let mail =
            [b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx" as &[u8], spelling, b"y\r\n.\r\n"].concat();
        raw(&sink, &mail);
        wait_until("the mail", 10.0, || sink.count() == 1);
        assert!(sink.received()[0].raw.ends_with(b"y\r\n"), "{spelling:?}");
        assert!(!sink.violations().is_empty(), "{spelling:?} is against the rules");
    }
}

#[test]
fn silence_ends_when_the_client_does() {
    let sink = SmtpSink::decent().at(Phase::Greeting, Action::Silence).start();
    for rude in [false, true] {
        let mut connection = TcpStream::connect(("127.0.0.1", sink.port())).unwrap();
        if rude {
            connection.write_all(b"EHLO unread\r\n").unwrap();
        }
        drop(connection);
    }
    wait_until("both ends", 10.0, || {
        let sessions = sink.sessions();
        sessions.len() == 2 && sessions.iter().all(|session| session.closed.is_some())
    });
}
