//! The outbox: what it shows, what a person may do to it, and that it notices when its books are wrong.

use acceptance::env::{Queued, free_address};
use acceptance::event::{event, many};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, http, tools, wait_until};

fn refused() -> (TestEnv, SmtpSink) {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().first(2, Phase::Rcpt, Action::reply("550 5.1.1 no such user")).start();
    env.config(&Site::smtp(sink.port()));
    env.drop_events("a.jsonl", &many(0, 2));
    env.once().expect(1);
    (env, sink)
}

#[test]
fn a_dead_letter_is_listed_shown_and_revived() {
    let (env, sink) = refused();
    let all: Vec<Queued> = env.recipients();
    assert_eq!(all.len(), 2);
    for one in &all {
        assert_eq!(
            (one.state.as_str(), one.address.as_str(), one.rule.as_str()),
            ("failed", "ana@example.org", "analyst")
        );
        assert!(one.event.starts_with("root/C.0123456789abcdef/F.D"), "{}", one.event);
    }
    let list = env.bewit(["outbox", "list"]).run().expect(0);
    for word in ["failed", "ana@example.org", "analyst", "root/C.0123456789abcdef/F.D000000000000"] {
        list.check(list.out().contains(word), &format!("the list for people names {word}"));
    }
    let shown = env.bewit(["outbox", "show", &all[0].id]).run().expect(0);
    for word in ["550", "no such user", "ana@example.org", "analyst", "finished collecting"] {
        shown.check(shown.out().contains(word), &format!("`show` names {word}"));
    }

    env.bewit(["outbox", "retry", &all[0].id]).run().expect(0);
    wait_until("the revived mail", 30.0, || {
        env.once();
        sink.count() == 1
    });
    let states: Vec<String> = env.recipients().into_iter().map(|one| one.state).collect();
    assert_eq!(states.iter().filter(|state| *state == "delivered").count(), 1);
    assert_eq!(states.iter().filter(|state| *state == "failed").count(), 1, "the other one stays dead");
    env.verify();
}

#[test]
fn a_cancelled_mail_is_never_sent() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().first(1, Phase::Mail, Action::reply("451 later")).start();
    env.config(&Site::smtp(sink.port()));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(1);
    let one = env.recipients().remove(0);
    env.bewit(["outbox", "cancel", &one.id]).run().expect(0);
    assert_eq!(env.recipients()[0].state, "cancelled");
    env.once();
    env.once();
    assert_eq!(sink.count(), 0);
    env.verify();
    let again = env.bewit(["outbox", "cancel", &one.id]).run();
    again.check(again.status.code() == Some(1), "what is at its end cannot be cancelled");
}

#[test]
fn what_is_not_there_is_said_so() {
    let (env, _sink) = refused();
    for action in ["show", "retry", "cancel"] {
        let said = env.bewit(["outbox", action, "999999"]).run().expect(1);
        said.check(said.err().contains("999999"), "the message names what was asked for");
        let said = env.bewit(["outbox", action, "x'; DROP TABLE mail; --"]).run();
        said.check(matches!(said.status.code(), Some(1 | 2)), "no id, no action");
    }
    assert_eq!(env.recipients().len(), 2);
    env.verify();
}

#[test]
fn the_outbox_can_be_looked_into_while_the_daemon_runs() {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().at(Phase::Mail, Action::reply("451 later")).start();
    env.config(&Site::smtp(sink.port()).retry("1 h"));
    env.drop_events("a.jsonl", &many(0, 3));
    let mut daemon = env.daemon();
    daemon.wait_for("three deferred mails", 30.0, |_| {
        (env.recipients_so_far().iter().filter(|one| one.state == "deferred").count() == 3).then_some(())
    });
    env.verify();
    // What a person does to the queue reaches the running daemon.
    let one = env.recipients().remove(0);
    env.bewit(["outbox", "cancel", &one.id]).run().expect(0);
    assert_eq!(env.states().iter().filter(|state| *state == "cancelled").count(), 1);
    assert!(daemon.running());
    env.verify();
}

#[test]
fn one_outbox_one_daemon() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    env.drop_events("a.jsonl", &[event(1)]);
    let mut daemon = env.daemon();
    daemon.wait_for_mails(1);
    let said = env.once().expect(1);
    said.check(said.err().contains("in use"), "it says why");
    daemon.kill();
    // A killed daemon leaves no lock behind.
    env.once().expect(0);
}

/// Runs a script of Python's on the database of a daemon that does not run, on a copy of a copy's worth.
fn tamper(env: &TestEnv, statement: &str) {
    let script = "import sqlite3, sys\n\
         db = sqlite3.connect('bewit.db')\n\
         db.execute('PRAGMA foreign_keys = OFF')\n\
         done = db.execute(sys.argv[1])\n\
         assert done.rowcount > 0, 'nothing was changed'\n\
         db.commit()\n";
    acceptance::process::Program::new("python3", env.root()).args(["-I", "-c", script, statement]).run().expect(0);
}

#[test]
fn verify_notices_what_is_missing_or_too_much() {
    for statement in [
        "DELETE FROM recipient WHERE id = (SELECT min(id) FROM recipient)",
        "DELETE FROM mail WHERE id = (SELECT min(id) FROM mail)",
        "DELETE FROM decision WHERE id = (SELECT min(id) FROM decision)",
        "DELETE FROM event WHERE id = (SELECT min(id) FROM event)",
        "UPDATE tally SET recipients = recipients + 1",
    ] {
        let env = TestEnv::new();
        env.config(&Site::mailbox());
        env.drop_events("a.jsonl", &many(0, 3));
        env.once().expect(0);
        let sums = env.verify();
        sums.check(sums.out().chars().any(|c| c.is_ascii_digit()), "it prints the sums");
        tamper(&env, statement);
        let said = env.bewit(["outbox", "verify"]).run();
        said.check(said.status.code() == Some(1), statement);
    }
}

#[test]
fn a_damaged_database_is_refused_with_a_reason() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    env.drop_events("a.jsonl", &many(0, 3));
    env.once().expect(0);
    let path = env.path("bewit.db");
    let good = std::fs::read(&path).unwrap();
    for (what, bad) in [
        ("another file", b"this is no database, and never was".repeat(100)),
        ("a torn header", [vec![0; 100], good[100..].to_vec()].concat()),
        ("half a file", good[..good.len() / 2].to_vec()),
        ("a page of noise", {
            // The second page is the root of a table; one in the middle may hold a part of a mail, whose damage is
            // found by `verify`.
            let mut bad = good.clone();
            bad.iter_mut().skip(8192).take(8192).for_each(|byte| *byte = 0xa5);
            bad
        }),
    ] {
        std::fs::write(&path, &bad).unwrap();
        for aside in ["bewit.db-wal", "bewit.db-shm"] {
            let _ = std::fs::remove_file(env.path(aside));
        }
        env.drop_events("b.jsonl", &[event(9)]);
        let said = env.once();
        said.check(said.status.code() == Some(1), what);
        said.check(said.err().contains("bewit.db"), "it names the file");
        assert!(env.path("spool/b.jsonl").exists(), "{what}: what cannot be stored is left where it is");
    }
}

#[test]
fn nothing_is_taken_in_without_room() {
    let env = TestEnv::new();
    let address = free_address();
    env.config(&Site::mailbox().outbox_key("min_free = \"900000 GiB\"").http(address));
    env.drop_events("a.jsonl", &[event(1)]);
    let mut daemon = env.daemon();
    http::wait_for_listener(address);
    let answer = http::post(address, Some(acceptance::env::TOKEN), event(2).to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    daemon.wait_for("a word about it", 30.0, |daemon| daemon.log().contains("min_free").then_some(()));
    assert!(env.path("spool/a.jsonl").exists(), "the spool is left alone");
    assert!(daemon.running());
    daemon.terminate();
    assert!(env.mailbox().is_empty());
    // With room again, what waited is taken.
    env.config(&Site::mailbox());
    env.once().expect(0);
    assert_eq!(env.mailbox().len(), 1);
    env.verify();
}

#[test]
fn finished_mails_go_after_their_time_and_repeats_stay_known() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().outbox_key("retention = \"1 s\""));
    env.drop_events("a.jsonl", &many(0, 3));
    env.once().expect(0);
    assert_eq!(env.mailbox().len(), 3);
    wait_until("the finished mails to go", 60.0, || {
        env.once().expect(0);
        env.recipients().is_empty()
    });
    env.verify();
    // Heard again after that, an event is still a repeat.
    env.drop_events("b.jsonl", &many(0, 3));
    env.once().expect(0);
    assert_eq!(env.mailbox().len(), 3);
    env.verify();
}

#[test]
fn a_disk_that_fails_ends_the_daemon_and_loses_nothing() {
    let Some(strace) = tools::strace() else { return };
    // The nth sync fails; nothing may be acknowledged after it.
    for nth in (3..=tools::size(15, 120)).step_by(tools::size(4, 1)) {
        let env = TestEnv::new();
        let address = free_address();
        env.config(&Site::mailbox().http(address));
        let mut command = std::process::Command::new(&strace);
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"])
            .args(["-e", &format!("inject=fdatasync,fsync:error=EIO:when={nth}+")])
            .arg(env.binary())
            .arg("run");
        let mut daemon = env.spawn(command, &[]);
        let mut acknowledged = Vec::new();
        let started = std::time::Instant::now();
        for n in 0.. {
            if !daemon.running() || n > 500 || started.elapsed() > acceptance::budget(20.0) {
                break;
            }
            match http::post(address, Some(acceptance::env::TOKEN), event(n).to_string().as_bytes()) {
                Ok(answer) if answer.status == 202 => acknowledged.push(n),
                Ok(_) => break,
                Err(_) if acknowledged.is_empty() => std::thread::sleep(std::time::Duration::from_millis(20)),
                Err(_) => break,
            }
        }
        let status = daemon.wait_for_end(20.0);
        assert!(!status.success(), "a daemon whose disk fails does not end well");
        wait_until("the restart", 30.0, || env.once().status.success());
        env.verify();
        let events: Vec<String> = env.recipients().into_iter().map(|one| one.event).collect();
        for n in acknowledged {
            let name = acceptance::event::key(&event(n));
            assert_eq!(
                events.iter().filter(|event| **event == name).count(),
                1,
                "{name} was acknowledged (sync {nth})"
            );
        }
    }
}
