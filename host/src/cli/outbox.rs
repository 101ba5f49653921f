//! `bewit outbox`.

mod listing;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use self::listing::{Entry, Listed, Selection, attempts};
use super::output::{note, stdout};
use super::progress::Progress;
use super::{Exit, UsageError};
use crate::blob::BlobStore;
use crate::mail::Segment;
use crate::outbox::hand::{self, Action, Handled, Target, UnknownTarget};
use crate::outbox::look::{Reader, StoredDecision, StoredMail};
use crate::outbox::verify::{self, Report};
use crate::outbox::write_mail;
use crate::text::{clean, count, one_line};

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
    /// A line for each recipient of each mail: id, state, address, rule, event, age, attempts, next attempt, reason; and
    /// for each judgement that a plugin has put off, with - for the address
    List {
        /// Only these states; `failed` is also a judgement that was given up
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<Listed>,
        /// Only what is of this rule
        #[arg(long)]
        rule: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Everything about one mail: its decision with the trace, every attempt, its header fields; or what every rule made of an event
    Show {
        /// A mail or a judgement as `list` names it, or an event: ORG/CLIENT/FLOW, or its flow id alone
        #[arg(value_name = "ID|EVENT")]
        id: Shown,
        /// The exact bytes of the mail, as a server gets them
        #[arg(long, conflicts_with = "json")]
        raw: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Queue again what failed, was held, is deferred or put off; its attempts and its age count anew
    Retry(Chosen),
    /// Never send what is queued, deferred, held or put off
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

/// What is shown.
#[derive(Debug, Clone)]
enum Shown {
    Mail(i64),
    Judgement(i64),
    Event(String),
}

impl FromStr for Shown {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        match text.parse() {
            Ok(Target::Mail { mail, .. }) => Ok(Self::Mail(mail)),
            Ok(Target::Postponed(id)) => Ok(Self::Judgement(id)),
            Err(unknown) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(unknown),
            Err(_) => Ok(Self::Event(text.to_owned())),
        }
    }
}

/// Which mails or recipients.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// As `list` names them: 42 is a mail with all its recipients, 42.2 its second recipient, p7 a judgement
    #[arg(value_name = "ID")]
    ids: Vec<Target>,
    /// Whatever is in one of these states
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<Listed>,
}

/// Runs it.
///
/// # Errors
/// Worded for people.
pub fn run(args: OutboxArgs) -> anyhow::Result<Exit> {
    // Nothing is sent: who looks after the outbox need not see the secrets, which may be there for the daemon alone.
    let config = crate::config::load::load_offline(&args.config)?;
    run_in(&config.outbox.path, &args.command, &mut stdout())
}

/// Runs it on an outbox, writing to `out`.
fn run_in(path: &Path, command: &Command, out: &mut impl Write) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(async {
        match command {
            Command::List { state, rule, json } => {
                list(path, &Selection::new(state, rule.as_deref()), *json, out).await
            }
            Command::Show { id: Shown::Mail(id), raw, json } => show(path, *id, *raw, *json, out).await,
            Command::Show { id: Shown::Event(_) | Shown::Judgement(_), raw: true, .. } => {
                Err(UsageError("an event has no bytes to show; --raw takes a mail's id".to_owned()).into())
            }
            Command::Show { id: Shown::Event(event), json, .. } => show_event(path, event, *json, out).await,
            Command::Show { id: Shown::Judgement(id), json, .. } => show_judgement(path, *id, *json, out).await,
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

async fn list(path: &Path, selection: &Selection, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut reader = reader(path).await?;
    let now = Timestamp::now();
    let mut listed = 0_u64;
    if !json && std::io::stdout().is_terminal() {
        let columns = ("ID", "STATE", "ADDRESS", "RULE");
        writeln!(
            out,
            "{:<8} {:<9} {:<32} {:<20} EVENT, age, attempts, next, reason",
            columns.0, columns.1, columns.2, columns.3
        )?;
    }
    selection
        .each(&mut reader, |entry| {
            listed += 1;
            if json {
                writeln!(out, "{}", entry.as_json())?;
            } else {
                writeln!(out, "{}", entry.as_text(now))?;
            }
            Ok(())
        })
        .await?;
    if !json {
        if listed == 0 {
            note("nothing to list");
        }
        for waiting in reader.waiting().await? {
            note(format_args!(
                "rule {}: {} gathered for the digest that is due {}",
                one_line(&waiting.rule),
                count(waiting.events.unsigned_abs(), "event"),
                waiting.due
            ));
        }
    }
    Ok(Exit::Done)
}

async fn show(path: &Path, id: i64, raw: bool, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut reader = reader(path).await?;
    let Some(mail) = reader.mail(id).await? else {
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

/// What every rule made of an event; of several if only the flow is named and other clients or servers have it, too.
async fn show_event(path: &Path, event: &str, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let decisions = reader(path).await?.event(event).await?;
    if decisions.is_empty() {
        let event = one_line(event);
        anyhow::bail!("there is no event {event} in the outbox: it never came, or is older than `retention`");
    }
    write_decisions(&decisions, json, out)
}

async fn show_judgement(path: &Path, id: i64, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let Some(decision) = reader(path).await?.judgement(id).await? else {
        anyhow::bail!("there is no p{id} in the outbox: it never was, or is decided");
    };
    write_decisions(&[decision], json, out)
}

fn write_decisions(decisions: &[StoredDecision], json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    if json {
        let decisions: Vec<_> = decisions.iter().map(decision_as_json).collect();
        writeln!(out, "{}", json!({"decisions": decisions}))?;
        return Ok(Exit::Done);
    }
    for (at, decision) in decisions.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        decision_as_text(decision, out)?;
    }
    Ok(Exit::Done)
}

fn decision_as_json(decision: &StoredDecision) -> serde_json::Value {
    let mails: Vec<_> = decision.mails.iter().map(ToString::to_string).collect();
    json!({
        "event": decision.event,
        "rule": decision.rule,
        "outcome": decision.outcome,
        "mails": mails,
        "source": decision.source,
        "received": decision.received.to_string(),
        "reason": decision.reason,
        "note": decision.note,
        "trace": decision.trace,
    })
}

fn decision_as_text(decision: &StoredDecision, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "event {}: {}", one_line(&decision.event), one_line(&decision.reason))?;
    writeln!(out, "  from {}, {}", one_line(&decision.source), decision.received)?;
    let outcome = match decision.outcome.as_str() {
        "gathered" => "waits for a digest",
        "digested" => "went into a digest",
        "throttled" => "not sent: `throttle`",
        "postponed" => "put off by a plugin",
        outcome => outcome,
    };
    write!(out, "  rule {}: {outcome}", one_line(&decision.rule))?;
    if !decision.mails.is_empty() {
        let mails: Vec<_> = decision.mails.iter().map(ToString::to_string).collect();
        write!(out, ", mail {}", mails.join(", "))?;
    }
    writeln!(out)?;
    if let Some(note) = &decision.note {
        writeln!(out, "  {}", one_line(note))?;
    }
    for entry in &decision.trace {
        let verdict = json!(entry.verdict);
        let verdict = verdict.as_str().unwrap_or_default();
        writeln!(out, "  {:<7} {}: {}", verdict, one_line(&entry.filter), one_line(&entry.detail))?;
    }
    Ok(())
}

fn mail_as_json(mail: &StoredMail) -> serde_json::Value {
    let recipients: Vec<_> = mail
        .recipients
        .iter()
        .map(|(line, log)| {
            let mut value = listing::as_json(line);
            let log = log
                .iter()
                .map(|entry| json!({"at": entry.at.to_string(), "outcome": entry.outcome, "reply": entry.reply}));
            if let Some(object) = value.as_object_mut() {
                object.insert("log".to_owned(), log.collect());
            }
            value
        })
        .collect();
    let decisions: Vec<_> = mail.decisions.iter().map(decision_as_json).collect();
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
    writeln!(out, "mail {}: {}", first.mail, one_line(&first.subject))?;
    writeln!(out, "  rule {}, {} bytes, stored {}", one_line(&first.rule), mail.size, first.stored)?;
    writeln!(out, "  <{}> from {}", one_line(&first.message_id), one_line(&mail.sender))?;
    for (line, log) in &mail.recipients {
        write!(out, "\n{} {}: {}, {}", line.id(), one_line(&line.address), line.state, attempts(line.attempts))?;
        if let Some(next) = line.next {
            write!(out, ", due {next}")?;
        }
        writeln!(out)?;
        for entry in log {
            writeln!(out, "  {} {:<11} {}", entry.at, entry.outcome, entry.reply)?;
        }
    }
    for decision in &mail.decisions {
        writeln!(out)?;
        decision_as_text(decision, out)?;
    }
    writeln!(out)?;
    for line in String::from_utf8_lossy(&mail.head).lines() {
        writeln!(out, "{}", clean(line))?;
    }
    for (sha256, size) in attachments(mail) {
        writeln!(out, "\nattachment of {size} bytes: {}", blobs.dir().join(sha256).display())?;
    }
    Ok(())
}

async fn act(path: &Path, action: Action, chosen: &Chosen, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut targets = chosen.ids.clone();
    if targets.is_empty() {
        Selection::new(&chosen.state, None)
            .each(&mut reader(path).await?, |entry| {
                targets.push(match entry {
                    Entry::Recipient(line) => Target::Mail { mail: line.mail, position: Some(line.position) },
                    Entry::Judgement(line) => Target::Postponed(line.id),
                });
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
                let addresses: Vec<_> = addresses.iter().map(|address| one_line(address)).collect();
                writeln!(out, "{target}: {done}: {}", addresses.join(", "))?;
            }
            Handled::Refused(sentence) => {
                note(one_line(&sentence));
                exit = Exit::Incomplete;
            }
        }
    }
    Ok(exit)
}

async fn verify(path: &Path, deep: bool, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let progress = Progress::start("things checked", false);
    let found = verify::verify_told(path, deep, Arc::new(progress.counter())).await?;
    drop(progress);
    let Some(report) = found else { return Err(none(path)) };
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
        "events:     {} accepted = {} filtered + {} grouped + {} quarantined + {} postponed",
        sums.accepted, sums.filtered, sums.grouped, sums.quarantined, sums.postponed
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
        writeln!(out, "broken: {}", one_line(broken))?;
    }
    if report.broken.is_empty() {
        writeln!(out, "ok")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
