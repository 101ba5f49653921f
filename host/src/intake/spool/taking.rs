//! The way of one file, from the claim to its end.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::folders::{self, Claim};
use super::reading::{self, Opened, Part, Purpose, Reading, Whole};
use super::survey::Task;
use super::{End, Held, Spool, SpoolError, Work, aside, blocking};
use crate::fault;
use crate::intake::{Batch, Boxed, Counts, Fate, Line, Mode, Prepared, Refused};
use crate::outbox::{OutboxError, Position};

/// Between attempts when there is no room.
const PAUSE: Duration = Duration::from_secs(2);

impl Spool {
    /// Does what there is to do with one file.
    pub(super) async fn one(&self, work: Work) -> Result<End, SpoolError> {
        let waiting = match work {
            Work::Spool(waiting) => waiting,
            Work::Resume(claim) => {
                let position = self.accept.position(claim.source()).await?;
                return self.claimed(claim, Purpose::Resume(position)).await;
            }
        };
        // What there is no room for stays in the spool, untouched.
        while let Err(error) = self.check_space().await {
            if let Trouble::Stopped = self.room(error).await? {
                return Ok(End::Nothing);
            }
        }
        let (folders, name) = (Arc::clone(&self.folders), waiting.name.clone());
        let claim = match blocking(move || folders.claim(&name)).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return Ok(End::Nothing),
            Err(error) => return Ok(End::Unmoved(waiting.name, error)),
        };
        fault::point("spool_after_claim");
        match waiting.task {
            Task::Take(node) => self.claimed(claim, Purpose::Events(node)).await,
            Task::Settle => self.claimed(claim, Purpose::Settle).await,
            Task::Refuse(reason) => {
                let whole = Whole { length: waiting.size, digest: reading::blank(), reason };
                self.refuse(claim, whole, 0).await
            }
        }
    }

    /// Reads a claimed file to its end.
    async fn claimed(&self, claim: Claim, purpose: Purpose) -> Result<End, SpoolError> {
        let mut counts = Counts::default();
        let stands = if let Purpose::Resume(offset) = purpose { offset } else { 0 };
        let mut reading = loop {
            let (folders, accept, of, limit) =
                (Arc::clone(&self.folders), Arc::clone(&self.accept), claim.clone(), self.limit);
            let purpose = purpose.clone();
            match blocking(move || Reading::open(&folders, &of, limit, purpose, &*accept)).await {
                Ok(Opened::Lines(reading)) => break reading,
                Ok(Opened::Whole(whole)) => return self.refuse(claim, whole, stands).await,
                Ok(Opened::PutBack | Opened::Gone) => return Ok(End::Nothing),
                Err(error) => match self.trouble(error).await? {
                    Trouble::Over => {}
                    Trouble::Stopped => return Ok(End::Stopped(counts)),
                    Trouble::Lasting(error) => return Ok(End::Stuck(counts, claim, error)),
                },
            }
        };
        // While one part is stored, the next one is read and judged.
        let mut judged: Option<Judged<'_>> = None;
        loop {
            let (stopping, last) = (self.mode.is_stopped(), judged.is_none());
            let ahead =
                async { if stopping { Ok((reading, Ok(None))) } else { self.ahead(&claim, reading, last).await } };
            let (stored, ahead) = tokio::join!(stored(judged.take()), ahead);
            let fates = stored.as_ref().and_then(|(_, fates)| fates.as_ref().ok()).into_iter().flatten();
            fates.for_each(|fate| counts.count(fate));
            let next;
            (reading, next) = match ahead {
                Ok(ahead) => ahead,
                Err(error) => return Ok(End::Stuck(counts, claim, error)),
            };
            let failed = match stored {
                Some((part, Ok(_))) => {
                    reading.stored(&part);
                    None
                }
                Some((_, Err(error))) => Some(Failed::Outbox(error)),
                None => None,
            };
            // What follows on a part that was not stored must not be stored either.
            let failed = match (failed, next) {
                (Some(failed), _) | (None, Err(failed)) => failed,
                (None, Ok(None)) if stopping => return Ok(End::Stopped(counts)),
                (None, Ok(None)) if last => break,
                (None, Ok(next)) => {
                    judged = next;
                    continue;
                }
            };
            let trouble = match failed {
                Failed::Io(error) => self.trouble(error).await?,
                Failed::Outbox(error) => self.room(error).await?,
            };
            match trouble {
                Trouble::Over => reading.rewind(),
                Trouble::Stopped => return Ok(End::Stopped(counts)),
                Trouble::Lasting(error) => return Ok(End::Stuck(counts, claim, error)),
            }
        }
        if counts.rejected > 0 {
            tracing::warn!(file = ?claim.name, lines = counts.rejected, "lines that are no events were set aside");
        }
        tracing::debug!(file = ?claim.name, bytes = reading.offset(), ?counts, "read to its end");
        if !reading.refers_to().is_empty() {
            return Ok(End::Held(counts, Held { refers_to: reading.refers_to().clone(), claim }));
        }
        match self.finish(&claim).await? {
            Ok(()) => Ok(End::Done(counts)),
            Err(error) => Ok(End::Stuck(counts, claim, error)),
        }
    }

    /// Reads and judges the next part; its bad lines are set aside then. `last`: all that was read before is stored.
    async fn ahead(
        &self,
        claim: &Claim,
        reading: Box<Reading>,
        last: bool,
    ) -> io::Result<(Box<Reading>, Result<Option<Judged<'_>>, Failed>)> {
        let accept = Arc::clone(&self.accept);
        let read = lent(reading, move |reading| {
            accept.check_space().map_err(Failed::Outbox)?;
            let part = reading.next_part()?;
            // At its end: unless somebody has gone on writing, all of it is read.
            if part.is_none() && last && reading.has_grown()? {
                return Ok(reading.next_part()?);
            }
            Ok(part)
        });
        let (reading, mut part) = match read.await? {
            (reading, Ok(Some(part))) => (reading, part),
            (reading, Ok(None)) => return Ok((reading, Ok(None))),
            (reading, Err(failed)) => return Ok((reading, Err(failed))),
        };
        let batch = Batch {
            source: source(&claim.name),
            folder: Some(Arc::clone(self.folders.path())),
            lines: std::mem::take(&mut part.lines),
            position: Some(Position { source: claim.source(), offset: part.next }),
            keyed: false,
        };
        let Prepared { rejected, store } = match self.accept.prepare(batch).await {
            Ok(prepared) => prepared,
            Err(error) => return Ok((reading, Err(Failed::Outbox(error)))),
        };
        let folders = Arc::clone(&self.folders);
        let (reading, part) = lent(reading, move |reading| {
            reading.judged(&folders, &mut part, rejected)?;
            Ok(part)
        })
        .await?;
        Ok((reading, part.map(|part| Some(Judged { part, store }))))
    }

    /// Removes a file that is done, or moves it to `done/`; then its position is forgotten.
    pub(super) async fn finish(&self, claim: &Claim) -> Result<io::Result<()>, SpoolError> {
        fault::point("spool_before_done");
        let (folders, of, keep) = (Arc::clone(&self.folders), claim.clone(), self.config.keep);
        let moved = blocking(move || {
            if keep {
                folders.move_to(&folders.claimed, &of.stored, &folders.done, &of.name, &of.tag).map(drop)
            } else {
                folders::remove(&folders.claimed, &of.stored)
            }
        });
        if let Err(error) = moved.await {
            return Ok(Err(error));
        }
        fault::point("spool_after_done");
        self.accept.forget(claim.source()).await?;
        Ok(Ok(()))
    }

    /// Sets a claimed file aside as a whole. `stands`: its position; not 0 if that was recorded before a crash.
    async fn refuse(&self, claim: Claim, whole: Whole, stands: u64) -> Result<End, SpoolError> {
        let Whole { length, digest, reason } = whole;
        tracing::warn!(file = ?claim.name, %reason, "a file of the spool was set aside");
        if stands == 0 {
            loop {
                let refused = Refused { length, digest: digest.clone(), reason: reason.clone() };
                let batch = Batch {
                    source: source(&claim.name),
                    folder: None,
                    lines: vec![Line { offset: 0, content: Err(refused) }],
                    position: Some(Position { source: claim.source(), offset: length.max(1) }),
                    keyed: false,
                };
                match self.accept.accept(batch).await {
                    Ok(_) => break,
                    Err(error) => match self.room(error).await? {
                        Trouble::Over => {}
                        Trouble::Stopped => return Ok(End::Stopped(Counts::default())),
                        Trouble::Lasting(error) => return Ok(End::Stuck(Counts::default(), claim, error)),
                    },
                }
            }
        }
        loop {
            let (folders, of) = (Arc::clone(&self.folders), claim.clone());
            let about = aside::about_whole(&claim, length, &digest, &reason);
            match blocking(move || aside::whole(&folders, &folders.claimed, &of, &about)).await {
                Ok(()) => break,
                Err(error) => match self.trouble(error).await? {
                    Trouble::Over => {}
                    Trouble::Stopped => return Ok(End::Stopped(Counts::default())),
                    Trouble::Lasting(error) => return Ok(End::Stuck(Counts::default(), claim, error)),
                },
            }
        }
        self.accept.forget(claim.source()).await?;
        Ok(End::Refused)
    }

    async fn check_space(&self) -> Result<(), OutboxError> {
        let accept = Arc::clone(&self.accept);
        blocking(move || Ok(accept.check_space())).await?
    }

    /// Waits for space if that is what is missing.
    async fn trouble(&self, error: io::Error) -> Result<Trouble, SpoolError> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.room(OutboxError::Io(error)).await,
            _ => Ok(Trouble::Lasting(error)),
        }
    }

    /// Waits until there is room again; any other trouble of the outbox is an error.
    async fn room(&self, error: OutboxError) -> Result<Trouble, SpoolError> {
        let full = match &error {
            OutboxError::Full { .. } => true,
            OutboxError::Io(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        };
        if !full || matches!(self.mode, Mode::Once) {
            return Err(error.into());
        }
        if !self.paused.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the spool waits for space");
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.mode.stopped() => return Ok(Trouble::Stopped),
            }
            if self.check_space().await.is_ok() {
                if self.paused.swap(false, Ordering::Relaxed) {
                    tracing::info!("the spool goes on");
                }
                return Ok(Trouble::Over);
            }
        }
    }
}

/// A part that was judged.
struct Judged<'a> {
    part: Part,
    store: Boxed<'a, Vec<Fate>>,
}

/// Stores a part, if there is one.
async fn stored(judged: Option<Judged<'_>>) -> Option<(Part, Result<Vec<Fate>, OutboxError>)> {
    let Judged { part, store } = judged?;
    fault::point("spool_before_accept");
    let fates = store.await;
    if fates.is_ok() {
        fault::point("spool_after_accept");
    }
    Some((part, fates))
}

/// What became of a failure.
#[derive(Debug)]
enum Trouble {
    /// Try again now.
    Over,
    Stopped,
    Lasting(io::Error),
}

/// What failed.
#[derive(Debug)]
enum Failed {
    Io(io::Error),
    Outbox(OutboxError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// For people.
fn source(name: &OsStr) -> String {
    format!("spool {}", name.to_string_lossy())
}

/// Runs what may block on a file that is lent for the time.
async fn lent<T: Send + 'static>(
    mut reading: Box<Reading>,
    work: impl FnOnce(&mut Reading) -> Result<T, Failed> + Send + 'static,
) -> io::Result<(Box<Reading>, Result<T, Failed>)> {
    blocking(move || {
        let result = work(&mut reading);
        Ok((reading, result))
    })
    .await
}
