//! Judgements that were put off and that are due: made once more with the configuration in force, and with the facts that
//! the server has now.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::event::{self, FlowCompletion};
use crate::facts::RowReader;
use crate::facts::live::{Gathered as Facts, Live};
use crate::outbox::{Judged, Outbox, OutboxError, PostponedJob, PutOff};
use crate::pipeline::{Ground, gathered, outcome};
use crate::rule::Rule;
use crate::snapshot::{Current, Snapshot};

/// Judgements that are made together.
const GROUP: u32 = 8;
/// Judgements of one flush for which facts could not be had; the rest is left for the next, so that an outage with much
/// that waits is not a busy time.
const IN_VAIN: usize = 50;

/// Judges whatever is due at `now`, the ones that have waited longest first. Answers how many judgements were tried.
///
/// # Errors
/// When the outbox fails; on [`OutboxError::Full`] the rest is still due.
pub async fn flush(
    current: &Current,
    outbox: &Outbox,
    live: Option<&Live>,
    now: Timestamp,
) -> Result<usize, OutboxError> {
    let (mut count, mut in_vain) = (0, 0);
    let group = if live.is_some() { GROUP } else { 1 };
    while in_vain < IN_VAIN {
        let jobs = outbox.due_judgements(now, group).await?;
        if jobs.is_empty() {
            break;
        }
        outbox.check_space()?;
        let jobs: Vec<Arc<PostponedJob>> = jobs.into_iter().map(Arc::new).collect();
        let snapshot = current.load_full();
        let all = join_all(jobs.iter().map(|job| once(&snapshot, outbox, live, job))).await;
        for (job, judged) in jobs.iter().zip(all) {
            let judged = match judged {
                // One that cannot be had must not stand in the way of those behind it: it is due again later, like any
                // other.
                Err(OutboxError::Io(error)) => {
                    let reason =
                        format!("what was kept of the event could not be read, or its mail not be stored: {error}");
                    let rule = job.rule.clone();
                    Judged::PutOff(PutOff { rule, reason, counts: true, again: true, trace: Vec::new() })
                }
                judged => judged?,
            };
            in_vain += usize::from(matches!(&judged, Judged::PutOff(put_off) if !put_off.counts));
            outbox.settle(job, judged, Timestamp::now()).await?;
            count += 1;
        }
    }
    Ok(count)
}

async fn once(
    snapshot: &Arc<Snapshot>,
    outbox: &Outbox,
    live: Option<&Live>,
    job: &Arc<PostponedJob>,
) -> Result<Judged, OutboxError> {
    let rows = RowReader::kept(outbox.blobs().clone(), job.files.iter().cloned());
    // What cannot be read or has no rule any more is told by `again`.
    let facts = match (live, read(snapshot, job)) {
        (Some(live), Ok((rule, event))) => Some(gathered(live, snapshot, &[rule], &event, &rows, true).await?),
        _ => None,
    };
    let (snapshot, blobs, work) = (Arc::clone(snapshot), outbox.blobs().clone(), Arc::clone(job));
    tokio::task::spawn_blocking(move || {
        let ground = Ground::new(&snapshot, &rows, &blobs, Timestamp::now());
        again(&ground, &work, facts.as_ref())
    })
    .await
    .map_err(|error| OutboxError::Stopped(error.to_string()))?
}

/// The rule and the event, as they are now; or why there is one of them no more.
fn read<'a>(snapshot: &'a Snapshot, job: &PostponedJob) -> Result<(&'a Rule, FlowCompletion), String> {
    let config = &snapshot.config;
    let rule = config.rules.iter().find(|rule| rule.name == job.rule);
    let rule = rule.ok_or_else(|| format!("there is no rule `{}` any more to judge it by", job.rule))?;
    let event = event::read(&job.line, &config.limits);
    Ok((rule, event.map_err(|error| format!("the event cannot be read any more: {error}"))?))
}

/// Judges an event by one rule, both as they are now, with what was asked for it.
pub(crate) fn again(ground: &Ground<'_>, job: &PostponedJob, facts: Option<&Facts>) -> Result<Judged, OutboxError> {
    match read(ground.snapshot, job) {
        Ok((rule, event)) => {
            let whole = facts.and_then(|facts| facts.event.as_deref()).unwrap_or(&event);
            let ground = facts.map_or(*ground, |facts| ground.with(facts));
            outcome(&ground, rule, whole, facts.and_then(|facts| facts.standing.first()))
        }
        Err(reason) => {
            let put_off = PutOff { rule: job.rule.clone(), reason, counts: true, again: false, trace: Vec::new() };
            Ok(Judged::PutOff(put_off))
        }
    }
}
