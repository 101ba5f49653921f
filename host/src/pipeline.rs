//! The way of an event between intake and outbox: examine, gather, judge, compose, commit. One direction, no step back.

mod ground;

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

pub(crate) use self::ground::Ground;
use crate::blob::{BlobStore, hex};
use crate::compose::{self, ComposeError, Composer, Draft};
use crate::event::line::LineLimits;
use crate::event::{self, EventKey, FlowCompletion};
use crate::facts::RowReader;
use crate::facts::live::{Gathered as Facts, Lack, Live, Request, Standing};
use crate::fault;
use crate::intake::{Accept, Batch, Boxed, Fate, Line, Prepared};
use crate::judge::{self, Postponed};
use crate::meter::Step;
use crate::outbox::{
    Accepted, Content, Document, Gathered, Held, Judged, LINE_LIMIT, Outbox, OutboxError, Outcome, PutOff, Receipt,
};
use crate::plugin::Ask;
use crate::rule::{Decision, Rule, Throttle, TraceEntry, TraceVerdict, Verdict};
use crate::snapshot::{Current, Snapshot};
use crate::text::one_line;

/// Hears of each event and what the rules made of it, before it is stored.
pub type Observer = Arc<dyn Fn(&FlowCompletion, &[Outcome]) + Send + Sync>;

/// Takes lines from any intake and calls them taken after the commit.
pub struct Pipeline {
    current: Current,
    outbox: Outbox,
    observer: Option<Observer>,
    live: Option<Live>,
}

/// Lines that are judged together where a server is asked for facts: so many flows' rows lie on the disk at most.
const GROUP: usize = 16;

/// A line, examined.
enum Examined {
    Event {
        event: Box<FlowCompletion>,
        digest: String,
        /// As it came, if the event may be put off; else empty.
        line: Vec<u8>,
    },
    Rejected {
        offset: u64,
        length: u64,
        digest: String,
        reason: String,
    },
}

impl Pipeline {
    /// Connects the snapshot in force to the outbox.
    #[must_use]
    pub fn new(current: Current, outbox: Outbox, observer: Option<Observer>) -> Self {
        Self { current, outbox, observer, live: None }
    }

    /// The same, with a server that is asked for what events do not carry.
    #[must_use]
    pub fn with_live(self, live: Option<Live>) -> Self {
        Self { live, ..self }
    }

    async fn judged(&self, batch: Batch) -> Result<Prepared<'_>, OutboxError> {
        self.outbox.check_space()?;
        let (now, meter) = (Timestamp::now(), self.outbox.meter());
        let snapshot = self.current.load_full();
        let limits = snapshot.config.limits;
        let Batch { source, folder, lines, position, keyed } = batch;

        let plugins = snapshot.config.rules.iter().any(|rule| !rule.filters.is_empty() || !rule.renderers.is_empty());
        let keep = plugins || self.live.is_some();
        let measured = Arc::clone(meter);
        let examined = on_blocking_thread(move || {
            let examine = |line| {
                let begun = Instant::now();
                let examined = examine(line, &limits, keep, keyed);
                measured.step(Step::Parse, begun.elapsed());
                examined
            };
            lines.into_iter().map(examine).collect::<Vec<_>>()
        })
        .await?;
        let keys: Vec<EventKey> = examined.iter().filter_map(Examined::key).cloned().collect();
        let known = if keys.is_empty() { HashSet::new() } else { self.outbox.known(&keys).await? };
        let rejected: Vec<Option<String>> = examined.iter().map(Examined::reason).collect();

        let known = Arc::new(known);
        let rows = RowReader::new(folder);
        let mut accepted = Vec::with_capacity(examined.len());
        let mut left = examined.into_iter();
        loop {
            let size = if self.live.is_some() { GROUP } else { usize::MAX };
            let group: Vec<Examined> = left.by_ref().take(size).collect();
            if group.is_empty() {
                break;
            }
            let facts = match &self.live {
                Some(live) => self.gather(live, &snapshot, &group, &known, &rows).await?,
                None => Vec::new(),
            };
            let (snapshot, known, rows) = (Arc::clone(&snapshot), Arc::clone(&known), rows.clone());
            let (blobs, observer, meter) = (self.outbox.blobs().clone(), self.observer.clone(), Arc::clone(meter));
            let judged = on_blocking_thread(move || {
                let ground = Ground { meter: Some(&meter), ..Ground::new(&snapshot, &rows, &blobs, now) };
                let facts = facts.into_iter().chain(std::iter::repeat_with(|| None));
                let judge = |(line, facts)| judge(line, facts, &known, &ground, observer.as_ref());
                group.into_iter().zip(facts).map(judge).collect::<Result<Vec<_>, OutboxError>>()
            })
            .await??;
            accepted.extend(judged.into_iter().map(|content| Accepted { source: source.clone(), content }));
        }

        let reasons = rejected.clone();
        let store = Box::pin(async move {
            let receipts = self.outbox.accept(accepted, position, now).await?;
            fault::point("before_ack");
            let mut receipts = receipts.into_iter();
            Ok(reasons
                .into_iter()
                .map(|rejected| match (receipts.next(), rejected) {
                    (_, Some(reason)) => Fate::Rejected(reason),
                    (Some(Receipt::Stored) | None, None) => Fate::Stored,
                    (Some(Receipt::Duplicate), None) => Fate::Duplicate,
                    (Some(Receipt::Conflict), None) => Fate::Conflict,
                })
                .collect())
        });
        Ok(Prepared { rejected, store })
    }

    /// What each event of a group lacks, a few of them at a time.
    async fn gather(
        &self,
        live: &Live,
        snapshot: &Snapshot,
        group: &[Examined],
        known: &HashSet<EventKey>,
        rows: &RowReader,
    ) -> Result<Vec<Option<Facts>>, OutboxError> {
        let rules: Vec<&Rule> = snapshot.config.rules.iter().collect();
        let each = group.iter().map(|line| async {
            match line {
                Examined::Event { event, .. } if !known.contains(&event.key) => {
                    let begun = Instant::now();
                    let facts = gathered(live, snapshot, &rules, event, rows, true).await;
                    self.outbox.meter().step(Step::Gather, begun.elapsed());
                    facts.map(Some)
                }
                _ => Ok(None),
            }
        });
        let all = futures_util::future::join_all(each).await;
        let refused = |error| refused(error, self.outbox.blobs(), snapshot.config.outbox.min_free);
        all.into_iter().map(|one| one.map_err(refused)).collect()
    }
}

/// Asks a server for what these rules need of an event and it does not carry; also for what their mails show, if they are
/// to be written.
pub(crate) async fn gathered(
    live: &Live,
    snapshot: &Snapshot,
    rules: &[&Rule],
    event: &FlowCompletion,
    rows: &RowReader,
    mail: bool,
) -> io::Result<Facts> {
    let reads_rows = |plugin: &str| snapshot.plugins.reads_rows(plugin);
    let config = &snapshot.config;
    let (limits, reads_rows) = (&config.limits, &reads_rows);
    let links = mail && config.base_url.is_none();
    live.gather(&Request { rules, event, rows, limits, reads_rows, mail, links }).await
}

impl Accept for Pipeline {
    fn prepare(&self, batch: Batch) -> Boxed<'_, Prepared<'_>> {
        Box::pin(self.judged(batch))
    }

    fn examine(&self, line: &[u8]) -> Result<(), String> {
        event::read(line, &self.current.load().config.limits).map(|_| ()).map_err(|error| error.to_string())
    }

    fn position(&self, source: String) -> Boxed<'_, u64> {
        Box::pin(async move { self.outbox.position(&source).await })
    }

    fn forget(&self, source: String) -> Boxed<'_, ()> {
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

    /// Why a rejected line is no event.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Event { .. } => None,
            Self::Rejected { reason, .. } => Some(reason.clone()),
        }
    }
}

fn examine(line: Line, limits: &LineLimits, keep: bool, keyed: bool) -> Examined {
    let bytes = match line.content {
        Ok(bytes) => bytes,
        Err(refused) => {
            return Examined::Rejected {
                offset: line.offset,
                length: refused.length,
                digest: refused.digest,
                reason: refused.reason,
            };
        }
    };
    let digest = hex(&Sha256::digest(&bytes));
    match event::read(&bytes, limits) {
        Ok(event) => {
            let digest = if keyed { of_key(&event.key) } else { digest };
            Examined::Event { event: Box::new(event), digest, line: if keep { bytes } else { Vec::new() } }
        }
        Err(error) => {
            let reason = error.to_string();
            Examined::Rejected { offset: line.offset, length: bytes.len() as u64, digest, reason }
        }
    }
}

/// What stands for the body of an event whose key says all about it.
fn of_key(key: &EventKey) -> String {
    let EventKey { org_id, client_id, flow_id, timestamp } = key;
    hex(&Sha256::digest(format!("key {org_id:?} {client_id:?} {flow_id:?} {timestamp}")))
}

fn judge(
    line: Examined,
    facts: Option<Facts>,
    known: &HashSet<EventKey>,
    ground: &Ground<'_>,
    observer: Option<&Observer>,
) -> Result<Content, OutboxError> {
    Ok(match line {
        Examined::Rejected { offset, length, digest, reason } => Content::Rejected { offset, length, digest, reason },
        // A known key is not composed again: the outbox compares the bodies and answers duplicate or conflict.
        Examined::Event { event, digest, .. } if known.contains(&event.key) => {
            let document = Document::of(&event);
            Content::Event { key: event.key, digest, document, outcomes: Vec::new(), held: None }
        }
        Examined::Event { event, digest, line } => {
            let (mut outcomes, mut rules) = (Vec::new(), Vec::new());
            let whole = facts.as_ref().and_then(|facts| facts.event.as_deref()).unwrap_or(&event);
            let ground = facts.as_ref().map_or(*ground, |facts| ground.with(facts));
            for (at, rule) in ground.snapshot.config.rules.iter().enumerate() {
                let standing = facts.as_ref().and_then(|facts| facts.standing.get(at));
                match outcome(&ground, rule, whole, standing)? {
                    Judged::Decided(outcome) => outcomes.push(*outcome),
                    Judged::PutOff(put_off) if line.len() > LINE_LIMIT => {
                        let reason = format!("{}; the event is too large to be kept and judged again", put_off.reason);
                        outcomes.push(finished(rule, &event, error(reason, put_off.trace), None, ground.now));
                    }
                    Judged::PutOff(put_off) => rules.push(put_off),
                }
            }
            if let Some(observer) = observer {
                observer(whole, &outcomes);
            }
            let held = if rules.is_empty() {
                None
            } else {
                let files = ground.rows.keep(&event, ground.blobs).map_err(|error| ground.refused(error))?;
                Some(Box::new(Held { line, files, rules }))
            };
            // With the facts that were asked for.
            let document = Document::of(whole);
            Content::Event { key: event.key, digest, document, outcomes, held }
        }
    })
}

/// What one rule makes of one event, as far as it can be judged: the decision and, if it is to notify, the finished mails;
/// or it is put off, by a plugin or because facts cannot be had now.
///
/// A mail that cannot be written is a decision of its own, recorded with the reason, and so is whatever breaks down on
/// the way; a disk that refuses is not: the line is not taken, and comes again.
pub(crate) fn outcome(
    ground: &Ground<'_>,
    rule: &Rule,
    event: &FlowCompletion,
    standing: Option<&Standing>,
) -> Result<Judged, OutboxError> {
    let judged = made(ground, rule, event, standing)?;
    ground.count(rule, &judged);
    Ok(judged)
}

fn made(
    ground: &Ground<'_>,
    rule: &Rule,
    event: &FlowCompletion,
    standing: Option<&Standing>,
) -> Result<Judged, OutboxError> {
    match standing {
        None | Some(Standing::Ready) => {}
        Some(Standing::Waits(lack)) => {
            let reason = one_line(&lack.reason);
            tracing::info!(event = %event.key, rule = rule.name, reason, "the judgement is put off");
            return Ok(Judged::PutOff(lacking(rule, lack)));
        }
        Some(Standing::NoRecord) => {
            return Ok(Judged::Decided(Box::new(finished(rule, event, no_record(), None, ground.now))));
        }
    }
    let judged = catch_unwind(AssertUnwindSafe(|| judged(ground, rule, event)));
    let judged = judged.unwrap_or_else(|_| {
        let decision = error(ComposeError::Bug.to_string(), Vec::new());
        Ok(Judged::Decided(Box::new(finished(rule, event, decision, None, ground.now))))
    })?;
    let key = &event.key;
    match &judged {
        Judged::Decided(outcome) if outcome.decision.decision == Verdict::Error => {
            let reason = one_line(&outcome.decision.reason);
            tracing::error!(event = %key, rule = rule.name, reason, "nobody is told");
        }
        Judged::Decided(_) => {}
        Judged::PutOff(PutOff { reason, .. }) => {
            tracing::warn!(event = %key, rule = rule.name, reason, "a plugin has put the judgement off");
        }
    }
    Ok(judged)
}

fn judged(ground: &Ground<'_>, rule: &Rule, event: &FlowCompletion) -> Result<Judged, OutboxError> {
    let &Ground { snapshot, plugins, rows, blobs, links, now, .. } = ground;
    let mut decision = match ground.step(Step::Judge, || judge::judge(rule, event, rows, now, plugins)) {
        Ok(decision) => decision,
        Err(postponed) => return Ok(Judged::PutOff(put_off(rule, postponed))),
    };
    if decision.decision != Verdict::Notify {
        return Ok(Judged::Decided(Box::new(finished(rule, event, decision, None, now))));
    }
    let composer = snapshot.composer();
    let composer = Composer { plugins, links: composer.links.or(links), ..composer };
    let draft = ground.step(Step::Compose, || {
        guarded(|| composer.draft(rule, event, &decision, rows, blobs, now)).or_else(|error| match error {
            error @ (ComposeError::Io(_) | ComposeError::Postponed(_)) => Err(error),
            error => {
                tracing::error!(event = %event.key, rule = rule.name, %error, "a short mail is written instead");
                guarded(|| composer.last_resort(rule, event, &decision, now))
            }
        })
    });
    let draft = match draft {
        Ok(draft) => Some(draft),
        Err(ComposeError::Io(error)) => return Err(ground.refused(error)),
        Err(ComposeError::Postponed(trouble)) => {
            let postponed = Postponed { trouble, phase: "renderer", trace: decision.trace };
            return Ok(Judged::PutOff(put_off(rule, postponed)));
        }
        Err(error) => {
            decision.decision = Verdict::Error;
            decision.reason = format!("the mail could not be written: {error}");
            None
        }
    };
    Ok(Judged::Decided(Box::new(finished(rule, event, decision, draft, now))))
}

fn error(reason: String, trace: Vec<TraceEntry>) -> Decision {
    Decision { decision: Verdict::Error, reason, trace, recipients: Vec::new(), notes: Vec::new() }
}

fn put_off(rule: &Rule, postponed: Postponed) -> PutOff {
    let reason = postponed.reason();
    PutOff { rule: rule.name.clone(), reason, counts: true, again: postponed.trouble.again, trace: postponed.trace }
}

/// Facts that cannot be had now; asking again is of use.
pub(crate) fn lacking(rule: &Rule, lack: &Lack) -> PutOff {
    let detail = lack.reason.clone();
    let trace = vec![TraceEntry { filter: "facts".to_owned(), verdict: TraceVerdict::Unknown, detail }];
    PutOff { rule: rule.name.clone(), reason: lack.reason.clone(), counts: lack.counts, again: true, trace }
}

/// What is decided on a flow that the server does not know.
pub(crate) fn no_record() -> Decision {
    let reason = "the server has no record of the flow".to_owned();
    let detail = reason.clone();
    let trace = vec![TraceEntry { filter: "facts".to_owned(), verdict: TraceVerdict::Fail, detail }];
    Decision { decision: Verdict::Skip, reason, trace, recipients: Vec::new(), notes: Vec::new() }
}

/// A decision with the mails that a draft becomes.
fn finished(rule: &Rule, event: &FlowCompletion, decision: Decision, draft: Option<Draft>, now: Timestamp) -> Outcome {
    let (subject, mails, gathered) = match draft {
        None => (None, Vec::new(), None),
        Some(draft) => {
            let mails = draft.mails(rule, &decision.recipients, Some(compose::thread(rule, event)), now);
            let gathered = gather(rule, &draft);
            (Some(draft.subject), mails, gathered)
        }
    };
    let throttle = (rule.throttle, rule.send_interval);
    Outcome { rule: rule.name.clone(), decision, subject, mails, throttle, priority: rule.priority, gathered }
}

/// Runs a step after whose breakdown there is something else to try.
fn guarded(step: impl FnOnce() -> Result<Draft, ComposeError>) -> Result<Draft, ComposeError> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or(Err(ComposeError::Bug))
}

fn refused(error: io::Error, blobs: &BlobStore, min_free: u64) -> OutboxError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            OutboxError::Full { path: blobs.dir().to_owned(), free: 0, min_free }
        }
        // After a failed sync nobody knows what is on disk, and the next sync would not tell (PostgreSQL learnt it so).
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            OutboxError::Stopped(format!("its storage failed: {}: {error}", blobs.dir().display()))
        }
        _ => OutboxError::Io(error),
    }
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

#[cfg(test)]
mod tests;
