//! When nobody knows whether the server has the mail, and when everything goes wrong at once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use acceptance::env::Queued;
use acceptance::event::{event, many};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, tools, wait_until};

/// The server takes the mail; its word never comes.
fn ambiguous(setting: &str) -> (TestEnv, SmtpSink) {
    let env = TestEnv::new();
    let sink = SmtpSink::decent().first(1, Phase::Dot, Action::TakeThen(Box::new(Action::Close))).start();
    env.config(&Site::smtp(sink.port()).smtp_key(&format!("on_ambiguous = \"{setting}\"")));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(1);
    assert_eq!(sink.count(), 1);
    (env, sink)
}

#[test]
fn in_doubt_it_is_sent_again_byte_for_byte() {
    let (env, sink) = ambiguous("resend");
    env.until_delivered();
    let received = sink.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].raw, received[1].raw, "a copy is recognisable: same bytes, same Message-ID, same Date");
    env.verify();
}

#[test]
fn in_doubt_it_is_held_if_so_configured() {
    let (env, sink) = ambiguous("hold");
    assert_eq!(env.state(), "held");
    for _ in 0..3 {
        env.once();
    }
    assert_eq!(sink.count(), 1, "no copy without a person's word");
    env.verify();
    let id = env.recipients()[0].id.clone();
    env.bewit(["outbox", "retry", &id]).run().expect(0);
    env.until_delivered();
    let received = sink.received();
    assert_eq!(received[0].raw, received[1].raw);
    env.verify();
}

#[test]
fn a_stop_in_the_middle_waits_for_the_servers_word() {
    for _ in 0..tools::size(3, 20) {
        let env = TestEnv::new();
        let sink = SmtpSink::decent()
            .at(Phase::Dot, Action::Delay(Duration::from_millis(300), Box::new(Action::Normal)))
            .start();
        env.config(&Site::smtp(sink.port()).smtp_key("connections = 2"));
        env.drop_events("a.jsonl", &many(0, 20));
        let mut daemon = env.daemon();
        daemon.wait_for("a dialogue at the dot", 30.0, |_| {
            sink.sessions().iter().any(|session| session.phase == Phase::Dot).then_some(())
        });
        assert!(daemon.terminate().success());
        let states = env.states();
        assert!(!states.iter().any(|state| state == "sending" || state == "in_data"), "{states:?}");
        env.verify();
        // The rest goes out after a restart, and nothing twice.
        wait_until("the rest", 60.0, || env.once().status.success());
        let mut ids: Vec<String> = sink.received().iter().map(acceptance::sink::Received::message_id).collect();
        assert_eq!(ids.len(), 20);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20, "no duplicates");
        sink.assert_clean();
    }
}

#[test]
fn chaos_changes_no_outcome() {
    // A server that slices, delays, breaks off and refuses at random; at the end the books must agree with its journal.
    let mails = tools::size(60, 2000);
    let env = TestEnv::new();
    let random = Mutex::new(0x2545_f491_4f6c_dd1d_u64);
    let sink = SmtpSink::decent()
        .script(move |moment| {
            let mut seed = random.lock().unwrap();
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            match (*seed % 100, moment.phase) {
                (0..3, phase) if phase != Phase::Dot => Action::Close,
                (3..6, Phase::Mail | Phase::Rcpt | Phase::Dot) => Action::reply("451 4.3.0 try again"),
                (6..10, Phase::Mail | Phase::Rcpt) => Action::Sliced("250 2.1.0 ok".to_owned()),
                (10..13, Phase::Mail | Phase::Rcpt | Phase::Data | Phase::Dot) => {
                    Action::Delay(Duration::from_millis(*seed % 7), Box::new(Action::Normal))
                }
                (13..40, Phase::Dot) => Action::reply("554 5.6.0 no"),
                (40..45, Phase::Dot) => Action::TakeThen(Box::new(Action::Close)),
                (45..48, Phase::Dot) => Action::Close,
                _ => Action::Normal,
            }
        })
        .start();
    env.config(&Site::smtp(sink.port()).retry("10 ms"));
    env.drop_events("a.jsonl", &many(0, mails));
    let mut daemon = env.daemon();
    let ends = |one: &Queued| one.state == "delivered" || one.state == "failed";
    daemon.wait_for("all outcomes", 240.0, |_| {
        let all = env.recipients_so_far();
        (all.len() == mails && all.iter().all(ends)).then_some(())
    });
    daemon.terminate();
    env.verify();

    let mut copies: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for received in sink.received() {
        copies.entry(received.message_id()).or_default().push(received.raw);
    }
    for (id, same) in &copies {
        assert!(same.iter().all(|raw| *raw == same[0]), "{id}: copies differ");
    }
    let delivered = env.recipients().iter().filter(|one| one.state == "delivered").count();
    // Taken without a word and then refused: in the journal, and rightly not called delivered.
    let taken = copies.len();
    assert!(delivered <= taken, "{delivered} called delivered, {taken} taken by the server");
    let ids: Vec<String> =
        env.recipients().iter().filter(|one| one.state == "delivered").map(|one| one.event.clone()).collect();
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
    let texts: Vec<String> = acceptance::mail::read(&paths).iter().map(|mail| mail.text().to_owned()).collect();
    for event in ids {
        let flow = event.rsplit('/').next().unwrap();
        assert!(texts.iter().any(|text| text.contains(flow)), "{event} is called delivered, but the server has it not");
    }
    sink.assert_clean();
}
