//! Judgements that a plugin has put off and that are due: made once more with the configuration in force.

use std::sync::Arc;

use jiff::Timestamp;

use crate::event;
use crate::facts::RowReader;
use crate::outbox::{Judged, Outbox, OutboxError, PostponedJob, PutOff};
use crate::pipeline::{Ground, outcome};
use crate::snapshot::{Current, Snapshot};

/// Judges whatever is due at `now`, the one that has waited longest first. Answers how many judgements were tried.
///
/// # Errors
/// When the outbox fails; on [`OutboxError::Full`] the rest is still due.
pub async fn flush(current: &Current, outbox: &Outbox, now: Timestamp) -> Result<usize, OutboxError> {
    let mut count = 0;
    while let Some(job) = outbox.due_judgement(now).await? {
        outbox.check_space()?;
        let (snapshot, blobs) = (current.load_full(), outbox.blobs().clone());
        let job = Arc::new(job);
        let work = Arc::clone(&job);
        let judged = tokio::task::spawn_blocking(move || {
            let rows = RowReader::kept(blobs.clone(), work.files.iter().cloned());
            let (snapshot, now) = (&*snapshot, Timestamp::now());
            let ground = Ground { snapshot, plugins: &*snapshot.plugins, rows: &rows, blobs: &blobs, now };
            again(&ground, &work)
        })
        .await
        .map_err(|error| OutboxError::Stopped(error.to_string()))?;
        let judged = match judged {
            // One that cannot be had must not stand in the way of those behind it: it is due again later, like any other.
            Err(OutboxError::Io(error)) => {
                let reason =
                    format!("what was kept of the event could not be read, or its mail not be stored: {error}");
                Judged::PutOff(PutOff { rule: job.rule.clone(), reason, again: true, trace: Vec::new() })
            }
            judged => judged?,
        };
        outbox.settle(&job, judged, Timestamp::now()).await?;
        count += 1;
    }
    Ok(count)
}

/// Judges an event by one rule, both as they are now.
pub(crate) fn again(ground: &Ground<'_>, job: &PostponedJob) -> Result<Judged, OutboxError> {
    let Snapshot { config, .. } = ground.snapshot;
    let cannot =
        |reason| Ok(Judged::PutOff(PutOff { rule: job.rule.clone(), reason, again: false, trace: Vec::new() }));
    let Some(rule) = config.rules.iter().find(|rule| rule.name == job.rule) else {
        return cannot(format!("there is no rule `{}` any more to judge it by", job.rule));
    };
    match event::read(&job.line, &config.limits) {
        Ok(event) => outcome(ground, rule, &event),
        Err(error) => cannot(format!("the event cannot be read any more: {error}")),
    }
}
