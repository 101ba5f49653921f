//! The main job: an event becomes a mail, out of the box.

use std::path::Path;

use acceptance::event::{event, many};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, tools, wait_until};

/// Ten lines are a whole site.
const TEN_LINES: &str = r#"[smtp]
mailbox = "mail"
from = "Bewit <bewit@example.org>"
[outbox]
url = "sqlite:bewit.db"
[intake.spool]
path = "spool"
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
"#;

#[test]
fn ten_lines_and_a_spool_file_make_a_mail() {
    let env = TestEnv::new();
    env.write("bewit.toml", TEN_LINES);
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(0);

    let mails = env.mails();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    mail.assert_sound();
    assert_eq!(mail.header("To"), "ana@example.org");
    assert_eq!(mail.header("From"), "Bewit <bewit@example.org>");
    assert_eq!(mail.header("Subject"), "ws-17.example.org finished collecting Custom.Windows.Pslist");
    for body in [mail.text(), mail.html().unwrap()] {
        assert!(body.contains("F.D000000000001"), "{body}");
        assert!(body.contains("ws-17.example.org"), "{body}");
    }
    assert!(!env.path("spool/a.jsonl").exists(), "a spool file is gone once it is done");
    let recipients = env.recipients();
    assert_eq!(recipients.len(), 1);
    assert_eq!(
        (recipients[0].state.as_str(), recipients[0].address.as_str(), recipients[0].event.as_str()),
        ("delivered", "ana@example.org", "root/C.0123456789abcdef/F.D000000000001")
    );
    env.verify();
}

#[test]
fn what_was_heard_once_is_not_mailed_twice() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    for round in 0..3 {
        env.drop_events(&format!("{round}.jsonl"), &many(0, 5));
        env.once().expect(0);
        assert_eq!(env.mailbox().len(), 5, "round {round}");
    }
    env.verify();
}

#[test]
fn the_same_key_with_another_body_is_not_mailed_again() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(0);
    let mut other = event(1);
    other["Flow"]["status"] = "another story".into();
    env.drop_events("b.jsonl", &[other]);
    let said = env.once();
    assert_eq!(env.mailbox().len(), 1);
    said.check(said.err().contains("F.D000000000001"), "the log names the event that came with two bodies");
    env.verify();
}

#[test]
fn the_server_and_the_folder_get_the_same_bytes() {
    let env = TestEnv::new();
    // The server takes the mail and says nothing: so it is due again, and the folder gets the second copy.
    let sink = SmtpSink::decent().at(Phase::Dot, Action::TakeThen(Box::new(Action::Close))).start();
    env.config(&Site::smtp(sink.port()));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(1);
    assert_eq!(sink.count(), 1);
    env.config(&Site::mailbox());
    wait_until("the mail in the folder", 20.0, || {
        let _ = env.once();
        !env.mailbox().is_empty()
    });
    assert_eq!(std::fs::read(&env.mailbox()[0]).unwrap(), sink.received()[0].raw);
    sink.assert_clean();
}

#[test]
fn a_running_daemon_takes_what_is_dropped() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().start();
    env.config(&Site::smtp(sink.port()));
    let mut daemon = env.daemon();
    for n in 0..3 {
        env.drop_events(&format!("{n}.jsonl"), &[event(n)]);
        daemon.wait_for("the mail", 30.0, |_| (sink.count() == n + 1).then_some(()));
    }
    assert!(daemon.terminate().success(), "a daemon that is asked to stop ends well");
    assert_eq!(env.recipients().iter().filter(|one| one.state == "delivered").count(), 3);
    sink.assert_clean();
    env.verify();
}

fn all_mails(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all_mails(&path, found);
        } else if path.extension().is_some_and(|own| own == "eml") {
            found.push(path);
        }
    }
}

#[test]
fn the_demo_needs_nothing() {
    let env = TestEnv::new();
    let said = env.bewit(["demo", "--once"]).run().expect(0);
    let mut found = Vec::new();
    all_mails(env.root(), &mut found);
    said.check(found.len() >= 2, "the demo leaves mails in a folder");
    let mails = acceptance::mail::read(&found);
    for mail in &mails {
        mail.assert_sound();
        // Who was told what: each recipient of each mail stands in the summary.
        let told = mail.header("To").to_owned();
        said.check(said.out().contains(told.trim()), &format!("the summary names {told}"));
    }
    // And why not: at least one sample is not mailed, with a reason.
    said.check(said.out().lines().count() > mails.len(), "the summary says who was told what, and why not");
}

#[test]
fn the_demo_speaks_to_nobody() {
    let Some(strace) = tools::strace() else { return };
    let env = TestEnv::new();
    let trace = env.path("trace");
    acceptance::process::Program::new(strace, env.root())
        .args(["-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o"])
        .args([trace.as_os_str(), env.binary().as_os_str()])
        .args(["demo", "--once"])
        .run()
        .expect(0);
    let network: Vec<String> =
        env.read("trace").lines().filter(|line| line.contains("AF_INET")).map(str::to_owned).collect();
    assert_eq!(network, Vec::<String>::new());
}

#[test]
fn the_demo_sends_to_a_server_if_asked() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().start();
    env.bewit(["demo", "--once", "--smtp", &format!("smtp://127.0.0.1:{}", sink.port())]).run().expect(0);
    assert!(sink.count() >= 2, "{}", sink.dialogues());
    sink.assert_clean();
}

#[test]
fn a_test_mail_can_be_sent() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().start();
    env.config(&Site::smtp(sink.port()));
    env.bewit(["send-test", "ana@example.org"]).run().expect(0);
    assert_eq!(sink.received()[0].to, ["ana@example.org"]);
    acceptance::mail::read_bytes(&sink.received()[0].raw).assert_sound();

    let refusing = SmtpSink::decent().at(Phase::Rcpt, Action::reply("550 5.1.1 no such user")).start();
    env.config(&Site::smtp(refusing.port()));
    let said = env.bewit(["send-test", "ana@example.org"]).run().expect(1);
    said.check(said.err().contains("no such user"), "the server's own words are shown");
}
