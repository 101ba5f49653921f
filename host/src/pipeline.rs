//! The way of an event between intake and outbox: examine, decide, compose, commit. One direction, no step back.

use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::blob::{BlobStore, hex};
use crate::compose::mime::{self, Letterhead};
use crate::compose::{ComposeError, Draft};
use crate::event::line::{LineLimits, admit};
use crate::event::{EventKey, FlowCompletion, parse};
use crate::facts::RowReader;
use crate::fault;
use crate::intake::{Accept, Batch, Fate, Line};
use crate::mail::NewMail;
use crate::outbox::{Accepted, Content, Gathered, Outbox, OutboxError, Outcome, Receipt};
use crate::rule::address::Address;
use crate::rule::decide::decide;
use crate::rule::{Delivery, Rule, Throttle, Verdict};
use crate::snapshot::{Current, Snapshot};

/// Hears of each event and what the rules made of it, before it is stored.
pub type Observer = Arc<dyn Fn(&FlowCompletion, &[Outcome]) + Send + Sync>;

/// Takes lines from any intake and calls them taken after the commit.
pub struct Pipeline {
    current: Current,
    outbox: Outbox,
    observer: Option<Observer>,
}

/// A line, examined.
enum Examined {
    Event { event: Box<FlowCompletion>, digest: String },
    Rejected { offset: u64, length: u64, digest: String, reason: String },
}

impl Pipeline {
    /// Connects the snapshot in force to the outbox.
    #[must_use]
    pub fn new(current: Current, outbox: Outbox, observer: Option<Observer>) -> Self {
        Self { current, outbox, observer }
    }

    async fn take(&self, batch: Batch) -> Result<Vec<Fate>, OutboxError> {
        self.outbox.check_space()?;
        let snapshot = self.current.load_full();
        let limits = snapshot.config.limits;
        let Batch { source, folder, lines, position } = batch;

        let examined =
            on_blocking_thread(move || lines.iter().map(|line| examine(line, &limits)).collect::<Vec<_>>()).await?;
        let keys: Vec<EventKey> = examined.iter().filter_map(Examined::key).cloned().collect();
        let known = if keys.is_empty() { HashSet::new() } else { self.outbox.known(&keys).await? };
        let fates: Vec<Option<Fate>> = examined.iter().map(Examined::fate).collect();

        let blobs = self.outbox.blobs().clone();
        let observer = self.observer.clone();
        let now = Timestamp::now();
        let accepted = on_blocking_thread(move || {
            let rows = RowReader::new(folder);
            examined
                .into_iter()
                .map(|line| Accepted {
                    source: source.clone(),
                    content: judge(line, &known, &snapshot, &rows, &blobs, observer.as_ref(), now),
                })
                .collect::<Vec<_>>()
        })
        .await?;

        let receipts = self.outbox.accept(accepted, position, now).await?;
        fault::point("before_ack");
        let mut receipts = receipts.into_iter();
        Ok(fates
            .into_iter()
            .map(|fate| match (receipts.next(), fate) {
                (_, Some(rejected)) => rejected,
                (Some(Receipt::Stored) | None, None) => Fate::Stored,
                (Some(Receipt::Duplicate), None) => Fate::Duplicate,
                (Some(Receipt::Conflict), None) => Fate::Conflict,
            })
            .collect())
    }
}

impl Accept for Pipeline {
    fn accept(&self, batch: Batch) -> Pin<Box<dyn Future<Output = Result<Vec<Fate>, OutboxError>> + Send + '_>> {
        Box::pin(self.take(batch))
    }

    fn examine(&self, line: &[u8]) -> Result<(), String> {
        let text = admit(line, &self.current.load().config.limits).map_err(|error| error.to_string())?;
        parse::parse(&text).map(|_| ()).map_err(|error| error.to_string())
    }

    fn position(&self, source: String) -> Pin<Box<dyn Future<Output = Result<u64, OutboxError>> + Send + '_>> {
        Box::pin(async move { self.outbox.position(&source).await })
    }

    fn forget(&self, source: String) -> Pin<Box<dyn Future<Output = Result<(), OutboxError>> + Send + '_>> {
        Box::pin(async move { self.outbox.forget_position(&source).await })
    }

    fn check_space(&self) -> Result<(), OutboxError> {
        self.outbox.check_space()
    }
}

impl Examined {
    fn key(&self) -> Option<&EventKey> {
        match self {
            Self::Event { event, .. } => Some(&event.key),
            Self::Rejected { .. } => None,
        }
    }

    /// The fate of a rejected line; an event's is the outbox's to tell.
    fn fate(&self) -> Option<Fate> {
        match self {
            Self::Event { .. } => None,
            Self::Rejected { reason, .. } => Some(Fate::Rejected(reason.clone())),
        }
    }
}

fn examine(line: &Line, limits: &LineLimits) -> Examined {
    let bytes = match &line.content {
        Ok(bytes) => bytes,
        Err(refused) => {
            return Examined::Rejected {
                offset: line.offset,
                length: refused.length,
                digest: refused.digest.clone(),
                reason: refused.reason.clone(),
            };
        }
    };
    let digest = hex(&Sha256::digest(bytes));
    let parsed = admit(bytes, limits)
        .map_err(|error| error.to_string())
        .and_then(|text| parse::parse(&text).map_err(|error| error.to_string()));
    match parsed {
        Ok(event) => Examined::Event { event: Box::new(event), digest },
        Err(reason) => Examined::Rejected { offset: line.offset, length: bytes.len() as u64, digest, reason },
    }
}

fn judge(
    line: Examined,
    known: &HashSet<EventKey>,
    snapshot: &Snapshot,
    rows: &RowReader,
    blobs: &BlobStore,
    observer: Option<&Observer>,
    now: Timestamp,
) -> Content {
    match line {
        Examined::Rejected { offset, length, digest, reason } => Content::Rejected { offset, length, digest, reason },
        // A known key is not composed again: the outbox compares the bodies and answers duplicate or conflict.
        Examined::Event { event, digest } if known.contains(&event.key) => {
            Content::Event { key: event.key, digest, outcomes: Vec::new() }
        }
        Examined::Event { event, digest } => {
            let outcomes: Vec<Outcome> =
                snapshot.config.rules.iter().map(|rule| outcome(snapshot, rule, &event, rows, blobs, now)).collect();
            if let Some(observer) = observer {
                observer(&event, &outcomes);
            }
            Content::Event { key: event.key, digest, outcomes }
        }
    }
}

/// What one rule makes of one event: the decision and, if it is to notify, the finished mails.
pub fn outcome(
    snapshot: &Snapshot,
    rule: &Rule,
    event: &FlowCompletion,
    rows: &RowReader,
    blobs: &BlobStore,
    now: Timestamp,
) -> Outcome {
    let mut decision = decide(rule, event);
    let mut written = None;
    if decision.decision == Verdict::Notify {
        match guarded(|| snapshot.composer().draft(rule, event, &decision, rows, blobs, now)) {
            Ok(draft) => written = Some(draft),
            Err(reason) => {
                tracing::error!(event = %event.key, rule = rule.name, reason, "a mail could not be written");
                decision.decision = Verdict::Error;
                decision.reason = format!("the mail could not be written: {reason}");
            }
        }
    }
    let throttle = (rule.throttle, rule.send_interval);
    match written {
        None => {
            Outcome { rule: rule.name.clone(), decision, subject: None, mails: Vec::new(), throttle, gathered: None }
        }
        Some(draft) => Outcome {
            rule: rule.name.clone(),
            mails: address(rule, event, &draft, &decision.recipients, now),
            gathered: gather(rule, &draft),
            subject: Some(draft.subject),
            decision,
            throttle,
        },
    }
}

/// Runs a step that must not take the daemon down with it, whatever a hostile event finds in it.
fn guarded(step: impl FnOnce() -> Result<Draft, ComposeError>) -> Result<Draft, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("an internal error, which is a bug worth reporting".into()),
    }
}

/// Puts a draft into its envelopes.
fn address(rule: &Rule, event: &FlowCompletion, draft: &Draft, recipients: &[String], now: Timestamp) -> Vec<NewMail> {
    let recipients: Vec<Address> = recipients.iter().filter_map(|text| Address::parse(text).ok()).collect();
    let tie = event.hunt_id().unwrap_or_else(|| event.key.client_id.clone());
    let thread = mime::thread_id(&[&event.key.org_id, &tie], sender_domain(rule));
    let head = Letterhead { from: &rule.sender, rule: &rule.name, date: now, thread: Some(thread) };
    let content = mime::body(draft);
    match rule.delivery {
        Delivery::Shared => vec![mime::mail(&head, draft, &content, &recipients)],
        Delivery::Individual => recipients
            .iter()
            .map(|recipient| mime::mail(&head, draft, &content, std::slice::from_ref(recipient)))
            .collect(),
    }
}

/// The domain in whose name Message-IDs are made.
fn sender_domain(rule: &Rule) -> &str {
    rule.sender.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain)
}

fn gather(rule: &Rule, draft: &Draft) -> Option<Gathered> {
    if rule.send_interval.is_zero() || rule.throttle != Throttle::Digest {
        return None;
    }
    let view = serde_json::to_string(&draft.view).ok()?;
    Some(Gathered { view, attachments: draft.attachments.clone() })
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, OutboxError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| OutboxError::Stopped(error.to_string()))
}
