//! The outbox commands, without a configuration.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::config::{OutboxConfig, RetryPolicy};
use crate::event::EventKey;
use crate::mail::NewMail;
use crate::outbox::state::State;
use crate::outbox::{Accepted, Attempt, Content, Document, Held, Outbox, Outcome, PutOff};
use crate::rule::{Decision, Priority, Throttle, TraceEntry, TraceVerdict, Verdict};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: OutboxArgs,
}

fn parse(words: &str) -> Result<OutboxArgs, clap::Error> {
    Cli::try_parse_from(std::iter::once("outbox").chain(words.split_whitespace())).map(|cli| cli.args)
}

#[test]
fn the_configuration_is_named_before_or_after() {
    for words in ["-c x.toml list", "list -c x.toml", "verify --deep --config x.toml", "--config=x.toml retry 1 2.1"] {
        assert_eq!(parse(words).unwrap().config, Path::new("x.toml"), "{words}");
    }
    assert_eq!(parse("list").unwrap().config, Path::new("bewit.toml"));
    assert!(matches!(parse("list --state failed,held --state queued").unwrap().command,
        Command::List { state, .. } if state == [State::Failed, State::Held, State::Queued].map(Listed::Recipient)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for words in [
        "",
        "retry",
        "cancel",
        "retry x",
        "show 0",
        "show 1.2.3",
        "retry 1 --state failed",
        "list --state sent",
        "show",
        "show 1 --raw --json",
    ] {
        assert!(parse(words).is_err(), "{words}");
    }
    let error = parse("list --state sent").unwrap_err().to_string();
    assert!(error.contains("in_data") && error.contains("failed"), "{error}");
}

/// An outbox with a failed, a deferred, a delivered and a queued recipient; the first in hostile words.
fn furnished(dir: &Path) -> PathBuf {
    let path = dir.join("bewit.db");
    let mail = |name: &str, recipients: &[&str]| NewMail {
        message_id: format!("{name}@bewit.test"),
        sender: "bewit@example.org".into(),
        recipients: recipients.iter().map(ToString::to_string).collect(),
        subject: "done\u{1b}[2J".into(),
        head: format!(
            "Subject: {name}\r\nFrom: <bewit@example.org>\r\nTo: {}\r\nMessage-ID: <{name}@bewit.test>\r\n",
            recipients.join(", ")
        )
        .into_bytes(),
        body: Arc::new(vec![Segment::Bytes(b"text\r\n".to_vec())]),
    };
    let event = |number: u32, mail: NewMail| Accepted {
        source: "spool a.jsonl".into(),
        content: Content::Event {
            document: Document::default(),
            held: None,
            key: EventKey {
                org_id: "root".into(),
                client_id: format!("C.{number}"),
                flow_id: format!("F.{number}\u{1b}"),
                timestamp: 0,
            },
            digest: String::new(),
            outcomes: vec![Outcome {
                rule: "analyst".into(),
                decision: Decision {
                    decision: Verdict::Notify,
                    reason: "matches the filters".into(),
                    trace: vec![TraceEntry {
                        filter: "delay_threshold".into(),
                        verdict: TraceVerdict::Off,
                        detail: "not set".into(),
                    }],
                    recipients: mail.recipients.clone(),
                    notes: Vec::new(),
                },
                subject: Some(mail.subject.clone()),
                mails: vec![mail],
                throttle: (Throttle::Digest, Duration::ZERO),
                priority: Priority::Critical,
                gathered: None,
            }],
        },
    };
    block_on(async {
        let config = OutboxConfig { path: path.clone(), retention: Duration::from_secs(86_400), min_free: 0 };
        let retry = RetryPolicy { waits: vec![Duration::from_secs(3600)], give_up: Duration::from_secs(86_400) };
        let outbox = Outbox::open(&config, retry, false).await.unwrap();
        let now = Timestamp::now();
        let batch = vec![event(1, mail("one", &["a@example.org", "b@example.org", "c@example.org"]))];
        outbox.accept(batch, None, now).await.unwrap();
        let job = outbox.claim(1, now).await.unwrap().remove(0);
        let outcomes = [
            (job.recipients[0].id, Attempt::Failed("550 \u{1b}]0;no".into())),
            (job.recipients[1].id, Attempt::Deferred("451 later".into())),
            (job.recipients[2].id, Attempt::Delivered("250 ok".into())),
        ];
        assert!(outbox.report(&job, &outcomes, now).await.unwrap());
        outbox.accept(vec![event(2, mail("two", &["d@example.org"]))], None, now).await.unwrap();
        outbox.close().await;
    });
    path
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn run_words(path: &Path, words: &str) -> (anyhow::Result<Exit>, String) {
    let mut out = Vec::new();
    let exit = run_in(path, &parse(words).unwrap().command, &mut out);
    (exit, String::from_utf8(out).unwrap())
}

fn done(path: &Path, words: &str) -> String {
    let (exit, out) = run_words(path, words);
    assert_eq!(exit.unwrap(), Exit::Done, "{words}: {out}");
    out
}

#[test]
fn without_an_outbox_everything_says_so_and_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bewit.db");
    for words in ["list", "show 1", "retry 1", "cancel 1", "retry --state failed", "verify"] {
        let (exit, out) = run_words(&path, words);
        let error = exit.unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("bewit run"), "{words}: {error}");
        assert!(out.is_empty());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn list_has_a_line_for_each_recipient() {
    let dir = tempfile::tempdir().unwrap();
    let path = furnished(dir.path());
    let out = done(&path, "list");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    for (line, words) in lines.iter().zip([
        ["1.1 ", "failed ", "a@example.org ", "analyst ", "root/C.1/F.1", "1 attempt: 550 ␛]0;no"],
        ["1.2 ", "deferred ", "b@example.org ", "analyst ", "root/C.1/F.1", "due in"],
        ["1.3 ", "delivered ", "c@example.org ", "analyst ", "root/C.1/F.1", "250 ok"],
        ["2 ", "queued ", "d@example.org ", "analyst ", "root/C.2/F.2", "not tried, due now"],
    ]) {
        for word in words {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
    }
    assert!(!out.contains('\u{1b}'), "a stranger's control character reached the terminal");
    assert_eq!(done(&path, "list --state failed").lines().count(), 1);
    assert_eq!(done(&path, "list --rule other"), "");
    let out = done(&path, "list --json --state deferred");
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["id"], "1.2");
    assert_eq!(value["state"], "deferred");
    assert_eq!(value["event"], "root/C.1/F.1\u{1b}");
    assert!(value["next_attempt"].is_string());
}

#[test]
fn show_tells_everything_and_gives_the_exact_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = furnished(dir.path());
    let out = done(&path, "show 1.2");
    for word in
        ["mail 1: done␛[2J", "matches the filters", "off     delay_threshold: not set", "451 later", "Subject: one"]
    {
        assert!(out.contains(word), "{word:?} is not in {out}");
    }
    assert!(!out.contains('\u{1b}'));
    let raw = done(&path, "show 1 --raw");
    assert!(raw.starts_with("Subject: one\r\n") && raw.ends_with("@bewit.test>\r\n\r\ntext\r\n"), "{raw}");
    let value: serde_json::Value = serde_json::from_str(&done(&path, "show 1 --json")).unwrap();
    assert_eq!(value["recipients"][0]["log"][0]["outcome"], "failed");
    assert_eq!(value["decisions"][0]["trace"][0]["verdict"], "off");
    assert!(run_words(&path, "show 9").0.unwrap_err().to_string().contains("no 9"));
}

#[test]
fn show_tells_what_became_of_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let path = furnished(dir.path());
    let out = done(&path, "show root/C.2/F.2\u{1b}");
    let expected = ["event root/C.2/F.2␛: matches the filters", "rule analyst: mailed, mail 2", "off     delay_"];
    assert!(expected.iter().all(|word| out.contains(word)), "{out}");
    assert_eq!(done(&path, "show F.2\u{1b}"), out);
    assert!(!out.contains("F.1"));
    let value: serde_json::Value = serde_json::from_str(&done(&path, "show F.1\u{1b} --json")).unwrap();
    assert_eq!(value["decisions"][0]["outcome"], "mailed");
    assert_eq!(value["decisions"][0]["mails"], json!(["1"]));
    assert!(run_words(&path, "show F.9").0.unwrap_err().to_string().contains("no event F.9"));
    assert!(run_words(&path, "show F.1\u{1b} --raw").0.unwrap_err().is::<UsageError>());
}

#[test]
fn retry_and_cancel_do_what_can_be_done_and_say_what_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let path = furnished(dir.path());
    let (exit, out) = run_words(&path, "retry 1.1 1.3 9");
    assert_eq!(exit.unwrap(), Exit::Incomplete);
    assert_eq!(out, "1.1: queued again: a@example.org\n");
    assert_eq!(done(&path, "retry --state deferred"), "1.2: queued again: b@example.org\n");
    assert_eq!(done(&path, "cancel 1 2"), "1: cancelled: a@example.org, b@example.org\n2: cancelled: d@example.org\n");
    assert_eq!(done(&path, "retry --state held"), "");
    let out = done(&path, "verify");
    assert!(out.contains("4 = 0 queued + 0 leased + 0 held + 1 sent + 0 dead + 3 cancelled"), "{out}");
}

#[test]
fn verify_says_ok_or_what_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let path = furnished(dir.path());
    let out = done(&path, "verify --deep");
    assert!(out.contains("2 accepted = 0 filtered + 2 grouped + 0 quarantined") && out.ends_with("\nok\n"), "{out}");
    let value: serde_json::Value = serde_json::from_str(&done(&path, "verify --json")).unwrap();
    assert_eq!((value["ok"].as_bool(), value["sums"]["recipients"].as_i64()), (Some(true), Some(4)));
    block_on(async {
        use sqlx::{ConnectOptions, Connection};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).foreign_keys(false);
        let mut conn = options.connect().await.unwrap();
        sqlx::raw_sql("DELETE FROM recipient WHERE id = 4").execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    });
    let (exit, out) = run_words(&path, "verify");
    assert_eq!(exit.unwrap(), Exit::Incomplete);
    assert!(out.contains("broken: mail 2") && !out.contains("\nok\n"), "{out}");
    std::fs::write(&path, b"garbage").unwrap();
    assert!(run_words(&path, "list").0.unwrap_err().to_string().contains("damaged"));
}

#[test]
fn judgements_that_were_put_off_are_listed_shown_and_moved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bewit.db");
    block_on(async {
        let config = OutboxConfig { path: path.clone(), retention: Duration::from_secs(86_400), min_free: 0 };
        let retry = RetryPolicy { waits: vec![Duration::from_secs(3600)], give_up: Duration::from_secs(86_400) };
        let outbox = Outbox::open(&config, retry, false).await.unwrap();
        let put_off = |rule: &str, again| PutOff {
            rule: rule.to_owned(),
            reason: "the filter `ioc` gave no answer: \u{1b}timed out".to_owned(),
            counts: true,
            again,
            trace: vec![TraceEntry {
                filter: "ioc".to_owned(),
                verdict: TraceVerdict::Unknown,
                detail: "gave no answer: timed out".to_owned(),
            }],
        };
        let line = b"the line".to_vec();
        let digest = crate::blob::sha256_of(&line[..]).unwrap();
        let rules = vec![put_off("waits", true), put_off("dead", false)];
        let held = Some(Box::new(Held { line, files: Vec::new(), rules }));
        let key = EventKey { org_id: "root".into(), client_id: "C.1".into(), flow_id: "F.1".into(), timestamp: 0 };
        let content = Content::Event { key, digest, document: Document::default(), outcomes: Vec::new(), held };
        outbox
            .accept(vec![Accepted { source: "spool a.jsonl".into(), content }], None, Timestamp::now())
            .await
            .unwrap();
        outbox.close().await;
    });
    let out = done(&path, "list");
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].starts_with("p1       postponed -  ") && lines[0].contains("root/C.1/F.1"), "{out}");
    assert!(lines[0].contains(", 1 attempt, due in ") && lines[0].ends_with("gave no answer: ␛timed out"), "{out}");
    assert!(lines[1].starts_with("p2       failed    -  ") && !lines[1].contains("due"), "{out}");
    assert_eq!(done(&path, "list --state postponed").lines().count(), 1);
    assert!(done(&path, "list --state failed --json").contains(r#""id":"p2""#));
    assert!(done(&path, "list --state queued").is_empty() && done(&path, "list --rule other").is_empty());
    let json: serde_json::Value = serde_json::from_str(&done(&path, "list --json --rule waits")).unwrap();
    assert_eq!((&json["state"], &json["attempts"]), (&json!("postponed"), &json!(1)));
    assert!(json["next_attempt"].is_string() && json["address"].is_null() && json["message_id"].is_null(), "{json}");

    let out = done(&path, "show p1");
    assert!(out.contains("rule waits: put off by a plugin\n  p1: 1 attempt so far, judged again at "), "{out}");
    assert!(out.contains("unknown ioc: gave no answer"), "{out}");
    assert!(done(&path, "show p2 --json").contains(r#""outcome":"error""#));
    let both = done(&path, "show F.1");
    assert!(both.contains("rule dead: error") && both.contains("rule waits: put off"), "{both}");
    for words in ["show p1 --raw", "show p9"] {
        assert!(run_words(&path, words).0.is_err(), "{words}");
    }

    assert!(done(&path, "verify").contains("1 accepted = 0 filtered + 0 grouped + 0 quarantined + 1 postponed"));
    assert_eq!(done(&path, "retry --state failed"), "p2: queued again: root/C.1/F.1, rule dead\n");
    assert_eq!(done(&path, "list --state postponed").lines().count(), 2);
    assert_eq!(done(&path, "cancel p1"), "p1: cancelled: root/C.1/F.1, rule waits\n");
    assert_eq!(run_words(&path, "cancel p1").0.unwrap(), Exit::Incomplete);
    assert!(done(&path, "verify").ends_with("ok\n"));
}
