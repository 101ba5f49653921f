//! `bewit outbox`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::output::{note, stdout};
use super::{Exit, UsageError};
use crate::blob::BlobStore;
use crate::mail::Segment;
use crate::outbox::hand::{self, Action, Handled, Target};
use crate::outbox::look::{Filter, Line, Reader, StoredMail};
use crate::outbox::state::State;
use crate::outbox::verify::{self, Report};
use crate::outbox::{visible, write_mail};

/// Look into the outbox: list, show, retry, cancel, verify
///
/// All of these work while `bewit run` has the outbox.
#[derive(Debug, Args)]
pub struct OutboxArgs {
    /// Configuration file
    #[arg(short, long, global = true, value_name = "FILE", default_value = "bewit.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// A line for each recipient of each mail: id, state, address, rule, event, age, attempts, next attempt, reason
    List {
        /// Only these states
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<State>,
        /// Only mails of this rule
        #[arg(long)]
        rule: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Everything about one mail: its decision with the trace, every attempt, its header fields
    Show {
        /// As `list` names it
        id: Target,
        /// The exact bytes of the mail, as a server gets them
        #[arg(long, conflicts_with = "json")]
        raw: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Queue again what failed, was held or is deferred; its attempts and its age count anew
    Retry(Chosen),
    /// Never send what is queued, deferred or held
    Cancel(Chosen),
    /// Check that nothing was lost; exit code 1 if something was
    Verify {
        /// Read every attachment and index, too
        #[arg(long)]
        deep: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Which mails or recipients.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// As `list` names them: 42 is a mail with all its recipients, 42.2 its second recipient
    #[arg(value_name = "ID")]
    ids: Vec<Target>,
    /// Whatever is in one of these states
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<State>,
}

impl ValueEnum for State {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: OutboxArgs) -> anyhow::Result<Exit> {
    let config = crate::config::load::load(&args.config)?;
    run_in(&config.outbox.path, &args.command, &mut stdout())
}

/// Runs it on an outbox, writing to `out`.
fn run_in(path: &Path, command: &Command, out: &mut impl Write) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(async {
        match command {
            Command::List { state, rule, json } => {
                let filter = Filter { states: state.clone(), rule: rule.clone(), mail: None };
                list(path, &filter, *json, out).await
            }
            Command::Show { id, raw, json } => show(path, *id, *raw, *json, out).await,
            Command::Retry(chosen) => act(path, Action::Retry, chosen, out).await,
            Command::Cancel(chosen) => act(path, Action::Cancel, chosen, out).await,
            Command::Verify { deep, json } => verify(path, *deep, *json, out).await,
        }
    })?;
    out.flush()?;
    Ok(exit)
}

fn none(path: &Path) -> anyhow::Error {
    UsageError(format!("there is no outbox at {} yet: `bewit run` makes it", path.display())).into()
}

async fn reader(path: &Path) -> anyhow::Result<Reader> {
    Reader::open(path).await?.ok_or_else(|| none(path))
}

async fn list(path: &Path, filter: &Filter, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut reader = reader(path).await?;
    let now = Timestamp::now();
    let mut count = 0u64;
    if !json && std::io::stdout().is_terminal() {
        let columns = ("ID", "STATE", "ADDRESS", "RULE");
        writeln!(
            out,
            "{:<8} {:<9} {:<32} {:<20} EVENT, age, attempts, next, reason",
            columns.0, columns.1, columns.2, columns.3
        )?;
    }
    reader
        .list(filter, |line| -> anyhow::Result<()> {
            count += 1;
            if json {
                writeln!(out, "{}", as_json(&line))?
            } else {
                writeln!(out, "{}", as_text(&line, now))?
            }
            Ok(())
        })
        .await?;
    if !json {
        if count == 0 {
            note("nothing to list");
        }
        for waiting in reader.waiting().await? {
            note(format_args!(
                "rule {}: {} gathered for the digest that is due {}",
                visible(&waiting.rule),
                events(waiting.events),
                waiting.due
            ));
        }
    }
    Ok(Exit::Done)
}

fn events(count: i64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

fn as_text(line: &Line, now: Timestamp) -> String {
    let mut text = format!(
        "{:<8} {:<9} {:<32} {:<20} {}",
        line.id(),
        line.state,
        visible(&line.address),
        visible(&line.rule),
        visible(&line.event)
    );
    if line.events > 1 {
        text.push_str(&format!(" and {} more", line.events - 1));
    }
    text.push_str(&format!(", {} old, {}", span(line.stored, now), attempts(line.attempts)));
    if let Some(next) = line.next {
        let due = if next <= now { "due now".to_owned() } else { format!("due in {}", span(now, next)) };
        text.push_str(&format!(", {due}"));
    }
    if let Some(reason) = &line.reason {
        text.push_str(&format!(": {reason}"));
    }
    text
}

fn attempts(count: u32) -> String {
    match count {
        0 => "not tried".to_owned(),
        1 => "1 attempt".to_owned(),
        _ => format!("{count} attempts"),
    }
}

/// The time between two moments in its largest unit.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn as_json(line: &Line) -> serde_json::Value {
    json!({
        "id": line.id(),
        "state": line.state.name(),
        "address": line.address,
        "rule": line.rule,
        "event": line.event,
        "events": line.events,
        "subject": line.subject,
        "message_id": line.message_id,
        "stored": line.stored.to_string(),
        "updated": line.updated.to_string(),
        "attempts": line.attempts,
        "next_attempt": line.next.map(|next| next.to_string()),
        "reason": line.reason,
    })
}

async fn show(path: &Path, id: Target, raw: bool, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut reader = reader(path).await?;
    let Some(mail) = reader.mail(id.mail).await? else {
        anyhow::bail!("there is no {id} in the outbox");
    };
    if raw {
        write_mail(&mail.head, &mail.body, &reader.blobs(), out)?;
    } else if json {
        writeln!(out, "{}", mail_as_json(&mail))?;
    } else {
        mail_as_text(&mail, &reader.blobs(), out)?;
    }
    Ok(Exit::Done)
}

fn mail_as_json(mail: &StoredMail) -> serde_json::Value {
    let recipients: Vec<_> = mail
        .recipients
        .iter()
        .map(|(line, log)| {
            let mut value = as_json(line);
            let log = log
                .iter()
                .map(|entry| json!({"at": entry.at.to_string(), "outcome": entry.outcome, "reply": entry.reply}));
            if let Some(object) = value.as_object_mut() {
                object.insert("log".to_owned(), log.collect());
            }
            value
        })
        .collect();
    let decisions: Vec<_> = mail
        .decisions
        .iter()
        .map(|decision| {
            json!({
                "event": decision.event,
                "source": decision.source,
                "received": decision.received.to_string(),
                "reason": decision.reason,
                "note": decision.note,
                "trace": decision.trace,
            })
        })
        .collect();
    let attachments: Vec<_> =
        attachments(mail).map(|(sha256, size)| json!({"sha256": sha256, "bytes": size})).collect();
    json!({
        "sender": mail.sender,
        "bytes": mail.size,
        "head": String::from_utf8_lossy(&mail.head),
        "attachments": attachments,
        "decisions": decisions,
        "recipients": recipients,
    })
}

fn attachments(mail: &StoredMail) -> impl Iterator<Item = (&str, u64)> {
    mail.body.iter().filter_map(|segment| match segment {
        Segment::Base64(blob) => Some((blob.sha256.as_str(), blob.size)),
        Segment::Bytes(_) => None,
    })
}

fn mail_as_text(mail: &StoredMail, blobs: &BlobStore, out: &mut impl Write) -> anyhow::Result<()> {
    let Some((first, _)) = mail.recipients.first() else {
        anyhow::bail!("the mail has no recipients: `bewit outbox verify` has more");
    };
    writeln!(out, "mail {}: {}", first.mail, visible(&first.subject))?;
    writeln!(out, "  rule {}, {} bytes, stored {}", visible(&first.rule), mail.size, first.stored)?;
    writeln!(out, "  <{}> from {}", visible(&first.message_id), visible(&mail.sender))?;
    for (line, log) in &mail.recipients {
        write!(out, "\n{} {}: {}, {}", line.id(), visible(&line.address), line.state, attempts(line.attempts))?;
        if let Some(next) = line.next {
            write!(out, ", due {next}")?;
        }
        writeln!(out)?;
        for entry in log {
            writeln!(out, "  {} {:<11} {}", entry.at, entry.outcome, entry.reply)?;
        }
    }
    for decision in &mail.decisions {
        writeln!(out, "\nevent {}: {}", visible(&decision.event), visible(&decision.reason))?;
        writeln!(out, "  from {}, {}", visible(&decision.source), decision.received)?;
        if let Some(note) = &decision.note {
            writeln!(out, "  {}", visible(note))?;
        }
        for entry in &decision.trace {
            let verdict = json!(entry.verdict);
            let verdict = verdict.as_str().unwrap_or_default();
            writeln!(out, "  {:<7} {}: {}", verdict, visible(&entry.filter), visible(&entry.detail))?;
        }
    }
    writeln!(out)?;
    for line in String::from_utf8_lossy(&mail.head).lines() {
        writeln!(out, "{}", visible(line))?;
    }
    for (sha256, size) in attachments(mail) {
        writeln!(out, "\nattachment of {size} bytes: {}", blobs.dir().join(sha256).display())?;
    }
    Ok(())
}

async fn act(path: &Path, action: Action, chosen: &Chosen, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut targets = chosen.ids.clone();
    if targets.is_empty() {
        let filter = Filter { states: chosen.state.clone(), ..Filter::default() };
        reader(path)
            .await?
            .list(&filter, |line| -> anyhow::Result<()> {
                targets.push(Target { mail: line.mail, position: Some(line.position) });
                Ok(())
            })
            .await?;
    }
    let results = hand::act(path, action, &targets, Timestamp::now()).await?.ok_or_else(|| none(path))?;
    let done = match action {
        Action::Retry => "queued again",
        Action::Cancel => "cancelled",
    };
    let mut exit = Exit::Done;
    for (target, result) in targets.iter().zip(results) {
        match result {
            Handled::Done(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(|address| visible(address)).collect();
                writeln!(out, "{target}: {done}: {}", addresses.join(", "))?;
            }
            Handled::Refused(sentence) => {
                note(visible(&sentence));
                exit = Exit::Incomplete;
            }
        }
    }
    Ok(exit)
}

async fn verify(path: &Path, deep: bool, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let Some(report) = verify::verify(path, deep).await? else { return Err(none(path)) };
    let ok = report.broken.is_empty();
    if json {
        writeln!(out, "{}", json!({"ok": ok, "sums": report.sums, "broken": report.broken}))?;
    } else {
        verify_as_text(&report, out)?;
    }
    Ok(if ok { Exit::Done } else { Exit::Incomplete })
}

fn verify_as_text(report: &Report, out: &mut impl Write) -> anyhow::Result<()> {
    let sums = &report.sums;
    writeln!(
        out,
        "events:     {} accepted = {} filtered + {} grouped + {} quarantined",
        sums.accepted, sums.filtered, sums.grouped, sums.quarantined
    )?;
    writeln!(
        out,
        "recipients: {} = {} queued + {} leased + {} held + {} sent + {} dead + {} cancelled",
        sums.recipients, sums.queued, sums.leased, sums.held, sums.sent, sums.dead, sums.cancelled
    )?;
    writeln!(
        out,
        "also:       {} mails, {} attachments, {} gathered for a digest, {} rejected lines, {} repeats, {} conflicts, \
         {} keys of removed events",
        sums.mails, sums.blobs, sums.gathered, sums.rejected, sums.duplicates, sums.conflicts, sums.keys
    )?;
    for broken in &report.broken {
        writeln!(out, "broken: {}", visible(broken))?;
    }
    if report.broken.is_empty() {
        writeln!(out, "ok")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::config::{OutboxConfig, RetryPolicy};
    use crate::event::EventKey;
    use crate::mail::NewMail;
    use crate::outbox::{Accepted, Attempt, Content, Outbox, Outcome};
    use crate::rule::{Decision, Throttle, TraceEntry, TraceVerdict, Verdict};

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
        for words in
            ["-c x.toml list", "list -c x.toml", "verify --deep --config x.toml", "--config=x.toml retry 1 2.1"]
        {
            assert_eq!(parse(words).unwrap().config, Path::new("x.toml"), "{words}");
        }
        assert_eq!(parse("list").unwrap().config, Path::new("bewit.toml"));
        assert!(matches!(parse("list --state failed,held --state queued").unwrap().command,
            Command::List { state, .. } if state == [State::Failed, State::Held, State::Queued]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "",
            "retry",
            "cancel",
            "retry x",
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
                    },
                    subject: Some(mail.subject.clone()),
                    mails: vec![mail],
                    throttle: (Throttle::Digest, Duration::ZERO),
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
    fn retry_and_cancel_do_what_can_be_done_and_say_what_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let path = furnished(dir.path());
        let (exit, out) = run_words(&path, "retry 1.1 1.3 9");
        assert_eq!(exit.unwrap(), Exit::Incomplete);
        assert_eq!(out, "1.1: queued again: a@example.org\n");
        assert_eq!(done(&path, "retry --state deferred"), "1.2: queued again: b@example.org\n");
        assert_eq!(
            done(&path, "cancel 1 2"),
            "1: cancelled: a@example.org, b@example.org\n2: cancelled: d@example.org\n"
        );
        assert_eq!(done(&path, "retry --state held"), "");
        let out = done(&path, "verify");
        assert!(out.contains("4 = 0 queued + 0 leased + 0 held + 1 sent + 0 dead + 3 cancelled"), "{out}");
    }

    #[test]
    fn verify_says_ok_or_what_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = furnished(dir.path());
        let out = done(&path, "verify --deep");
        assert!(
            out.contains("2 accepted = 0 filtered + 2 grouped + 0 quarantined") && out.ends_with("\nok\n"),
            "{out}"
        );
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
}
