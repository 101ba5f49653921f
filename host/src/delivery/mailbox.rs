//! The mailbox folder: finished mails as `.eml` files, with the very bytes that a mail server would get.
//!
//! A file's name comes from the mail's time and Message-ID, and it appears under it only when it is complete and synced.
//! So a mail that is delivered again after a crash replaces its own file, and no mail is there twice.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::queue::Queue;
use super::wire::{BLOCK, Encoder, WireError};
use super::{Summary, Until, measure};
use crate::blob::{hex, sync_folder};
use crate::fault;
use crate::meter::Step;
use crate::outbox::{Attempt, Job, OutboxError, Wanted};

/// Mails of each priority that are written before the folder is synced and the outcomes are stored.
const BATCH: usize = 32;
/// The slow look at the queue beside its word.
const LOOK: Duration = Duration::from_secs(60);
/// The wait when something is due that is no mail of ours.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes due mails into the folder.
pub(super) async fn run<Q: Queue>(queue: Q, folder: PathBuf, until: Until) -> Result<Summary, OutboxError> {
    let mut summary = Summary::default();
    let (mut stopped, drain) = match until {
        Until::Drained => (None, Some(queue.now())),
        Until::Stopped(stopped) => (Some(stopped), None),
    };
    loop {
        if stopped.as_ref().is_some_and(|stopped| *stopped.borrow()) {
            return Ok(summary);
        }
        let mut changed = std::pin::pin!(queue.changed());
        let news = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::future::Future::poll(changed.as_mut(), cx).is_ready())
        })
        .await;
        let jobs = queue.claim(Wanted::each(BATCH), drain.unwrap_or_else(|| queue.now())).await?;
        if !jobs.is_empty() {
            write_batch(&queue, &folder, jobs, &mut summary).await?;
            continue;
        }
        let Some(stopped) = &mut stopped else { return Ok(summary) };
        if news {
            continue;
        }
        let now = queue.now();
        let wait = match queue.next_due().await? {
            Some(due) if due > now => Duration::try_from(due.duration_since(now)).unwrap_or(PAUSE).min(LOOK),
            Some(_) => PAUSE,
            None => LOOK,
        };
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(summary),
            () = changed => {}
            () = tokio::time::sleep_until(Instant::now() + wait) => {}
        }
    }
}

async fn write_batch<Q: Queue>(
    queue: &Q,
    folder: &Path,
    jobs: Vec<Job>,
    summary: &mut Summary,
) -> Result<(), OutboxError> {
    let jobs = Arc::new(jobs);
    let written = {
        let (queue, folder, jobs) = (queue.clone(), folder.to_owned(), Arc::clone(&jobs));
        tokio::task::spawn_blocking(move || write_all(&queue, &folder, &jobs)).await
    };
    let written = written.unwrap_or_else(|error| jobs.iter().map(|_| Attempt::Deferred(error.to_string())).collect());
    let now = queue.now();
    let reports: Vec<_> = jobs
        .iter()
        .zip(&written)
        .map(|(job, outcome)| async move {
            let outcomes: Vec<_> = job.recipients.iter().map(|to| (to.id, outcome.clone())).collect();
            queue.report(job, &outcomes, now).await
        })
        .collect();
    // All at once: the outbox stores them in few transactions.
    let stored = futures_util::future::join_all(reports).await;
    for ((job, outcome), stored) in jobs.iter().zip(&written).zip(stored) {
        if !stored? {
            tracing::warn!(
                message_id = job.message_id,
                "another claim has overtaken this one; its outcome is not counted"
            );
            continue;
        }
        for to in &job.recipients {
            measure(queue.meter(), job, outcome, now);
            summary.record(&job.message_id, &to.address, outcome);
        }
    }
    Ok(())
}

/// An outcome for each job. Files first, then the folder, so that what is reported is on the disk with its name.
fn write_all<Q: Queue>(queue: &Q, folder: &Path, jobs: &[Job]) -> Vec<Attempt> {
    let mut outcomes: Vec<Attempt> = jobs
        .iter()
        .map(|job| {
            let (name, begun) = (file_name(job.stored, &job.message_id), std::time::Instant::now());
            let written = queue.read(job, |mail| write_mail(folder, &name, mail));
            queue.meter().step(Step::Deliver, begun.elapsed());
            match written {
                Ok(()) => Attempt::Delivered(format!("written to {name}")),
                Err(WireError::Io(error)) => Attempt::Deferred(format!("{}: {error}", folder.join(&name).display())),
                Err(error) => Attempt::Failed(format!("not written: {error}")),
            }
        })
        .collect();
    if let Err(error) = sync_folder(folder) {
        for outcome in &mut outcomes {
            if matches!(outcome, Attempt::Delivered(_)) {
                *outcome = Attempt::Deferred(format!("{}: {error}", folder.display()));
            }
        }
    }
    outcomes
}

/// Writes one mail under its name: complete and synced, or not at all. The caller syncs the folder.
///
/// # Errors
/// When the mail is no clean mail, or the disk refuses.
pub(super) fn write_mail(folder: &Path, name: &str, mail: impl io::Read) -> Result<(), WireError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // One name for all attempts: what a crash leaves behind is overwritten by the next one.
    let unfinished = folder.join(format!(".{name}.new"));
    let written = write_file(&unfinished, mail);
    if let Err(error) = written {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    fault::point("mailbox_before_rename");
    fs::rename(&unfinished, folder.join(name))?;
    fault::point("mailbox_after_rename");
    Ok(())
}

fn write_file(path: &Path, mail: impl io::Read) -> Result<(), WireError> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut encoder = Encoder::for_file(mail);
    let mut block = Vec::new();
    loop {
        let ended = encoder.fill(&mut block, BLOCK)?;
        file.write_all(&block)?;
        block.clear();
        if ended {
            file.sync_all()?;
            return Ok(());
        }
    }
}

/// A mail's file name: sorts by time, differs by Message-ID, and is the same whenever it is asked.
#[must_use]
pub fn file_name(stored: Timestamp, message_id: &str) -> String {
    let local = message_id.split('@').next().unwrap_or_default();
    let plain = (8..=64).contains(&local.len()) && local.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = if plain { local.to_owned() } else { hex(&Sha256::digest(message_id)).chars().take(32).collect() };
    format!("{}-{id}.eml", stored.strftime("%Y%m%dT%H%M%S.%6fZ"))
}
