//! A folder into which finished files of JSON Lines are renamed.
//!
//! **For writers.** Write the file elsewhere on the same file system, or in the spool under another name (`NAME.tmp`,
//! `.NAME`), sync it, and rename it to `NAME.jsonl`. What has another name is left alone, however long. A file of result
//! rows that an event names (`{"file": "rows.jsonl"}`) lies in the spool itself, must be there before the event's file
//! is, and may have any plain name.
//!
//! **The way of a file.** It is claimed by a rename into `claimed/`, under a name that no file will have again; read
//! without following links, regular files only, in batches whose events and position are stored in one transaction; and
//! removed, or moved to `done/` (`keep`), when its last line is stored. After a crash the files in `claimed/` go on where
//! the outbox says they stand. Files are begun in the order of their names; small ones several at a time, so that one
//! commit serves many.
//!
//! **What is no event** goes to `rejected/` with its reason: a line as `NAME.line-N.jsonl`, what is no regular file (or
//! one with several names) as it is. A line is on disk there before its rejection is recorded.
//!
//! **Rows.** A `*.jsonl` file whose lines are JSON objects that do not look like events (see `kind`) may belong to an
//! event to come. It stays until an event has used it, and goes (or is moved to `done/`) with the file of the last such
//! event. If none comes within a minute (with [`Mode::Once`]: in this run) it is judged line by line, or, if it has more
//! than a few lines, set aside as a whole with one reason.
//!
//! **When something fails.** A full outbox, or no room in `rejected/`: everything stays as it is, and the intake tries
//! again every two seconds. A file that cannot be read stays claimed and is tried again. Any other trouble of the outbox
//! ends the intake with its error; nothing is lost.

mod aside;
mod folders;
mod kind;
mod reading;
mod survey;
mod taking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use self::folders::{Claim, Folders};
use self::survey::{Survey, Task, Waiting};
use super::{Accept, Counts, Mode};
use crate::config::SpoolConfig;
use crate::event::line::LineLimits;
use crate::outbox::OutboxError;
use crate::watch::{Hint, Watcher};

/// How long rows wait for an event that refers to them.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before a claimed file that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Files at a time; a large one counts for all.
const WIDTH: usize = 8;

/// Bytes above which a file is large.
const LARGE: u64 = 256 * 1024;

/// What the intake did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files read to their end.
    pub files: u64,
    /// Their lines.
    pub lines: Counts,
    /// Files that were set aside as a whole.
    pub refused: u64,
    /// Files named `*.jsonl` that are still in the spool or claimed: rows, or files that cannot be read.
    pub left: u64,
}

/// Why the intake ended.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool or a folder in it cannot be used.
    #[error("spool {}: {error}", .path.display())]
    Folder {
        /// The spool.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The outbox refuses; with [`Mode::Once`] also for want of space.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// Takes in what is in the spool, and (with [`Mode::Watch`]) what comes.
///
/// # Errors
/// [`SpoolError`].
pub async fn run(
    config: &SpoolConfig,
    limits: &LineLimits,
    accept: Arc<dyn Accept>,
    mode: Mode,
) -> Result<Summary, SpoolError> {
    let mut spool = Spool::open(config, limits, accept, mode).await?;
    spool.run(PATIENCE).await?;
    Ok(spool.summary)
}

/// The intake.
struct Spool {
    config: SpoolConfig,
    limit: u64,
    accept: Arc<dyn Accept>,
    mode: Mode,
    folders: Arc<Folders>,
    survey: Survey,
    /// Read to the end, but their result files may still be asked for.
    held: Vec<Held>,
    /// Claimed, could not be read; tried again.
    stuck: HashMap<OsString, (Claim, Instant)>,
    /// Waiting for space, and has said so.
    paused: AtomicBool,
    summary: Summary,
}

/// A claimed file that is done but for the result files it named.
#[derive(Debug)]
struct Held {
    claim: Claim,
    refers_to: BTreeSet<String>,
}

/// Something to do with one file.
enum Work {
    Spool(Waiting),
    Resume(Claim),
}

/// How that ended.
#[derive(Debug)]
enum End {
    Done(Counts),
    Held(Counts, Held),
    Refused,
    /// It was not there any more, or is not to be touched yet.
    Nothing,
    /// Stays where it is, in the spool.
    Unmoved(OsString, io::Error),
    /// Stays where it is, claimed.
    Stuck(Counts, Claim, io::Error),
    /// Time to stop.
    Stopped(Counts),
}

impl Spool {
    async fn open(
        config: &SpoolConfig,
        limits: &LineLimits,
        accept: Arc<dyn Accept>,
        mode: Mode,
    ) -> Result<Self, SpoolError> {
        let path = config.path.clone();
        let folders = blocking(move || Folders::open(&path))
            .await
            .map_err(|error| SpoolError::Folder { path: config.path.clone(), error })?;
        Ok(Self {
            config: config.clone(),
            limit: limits.line,
            accept,
            mode,
            folders: Arc::new(folders),
            survey: Survey::default(),
            held: Vec::new(),
            stuck: HashMap::new(),
            paused: AtomicBool::new(false),
            summary: Summary::default(),
        })
    }

    async fn run(&mut self, patience: Duration) -> Result<(), SpoolError> {
        // Before the first look, so that nothing that comes after it is missed.
        let mut watcher = match self.mode {
            Mode::Once => None,
            Mode::Watch(_) => Some(Watcher::new([self.config.path.clone()], self.config.poll).await),
        };
        self.resume().await?;
        let Some(watcher) = &mut watcher else {
            // Rows are judged when there is nothing else left to do.
            while self.pass(patience).await? || self.pass(Duration::ZERO).await? {}
            self.summary.left = (self.survey.len() + self.held.len() + self.stuck.len()) as u64;
            return Ok(());
        };
        let mut complained = false;
        while !self.mode.is_stopped() {
            match self.pass(patience).await {
                Ok(true) => continue,
                Ok(false) => complained = false,
                // The folder is gone or cannot be read: it may come back.
                Err(SpoolError::Folder { path, error }) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::error!(path = ?path, %error, "the spool cannot be read; trying again");
                    }
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                hint = watcher.changed() => tracing::trace!(event = hint == Hint::Event, "looking into the spool"),
                () = self.mode.stopped() => {}
            }
        }
        self.summary.left = (self.survey.len() + self.held.len() + self.stuck.len()) as u64;
        Ok(())
    }

    /// Goes on with the files that an earlier run had claimed.
    async fn resume(&mut self) -> Result<(), SpoolError> {
        let folders = Arc::clone(&self.folders);
        let claims = blocking(move || folders.claims()).await.map_err(|error| self.folder(error))?;
        if !claims.is_empty() {
            tracing::info!(files = claims.len(), "going on with the files that were claimed before");
        }
        self.work(claims.into_iter().map(|claim| (0, Work::Resume(claim))).collect()).await?;
        Ok(())
    }

    /// One look at the spool, and everything there is to do. Whether anything was done.
    async fn pass(&mut self, patience: Duration) -> Result<bool, SpoolError> {
        self.look().await?;
        let now = Instant::now();
        let mut work = Vec::new();
        for (_, (claim, _)) in self.stuck.extract_if(|_, (_, next)| *next <= now) {
            work.push((LARGE + 1, Work::Resume(claim)));
        }
        // What a stuck file refers to is not known, so nothing may be judged to be useless.
        let asked: HashSet<String> = self.held.iter().flat_map(|held| held.refers_to.iter().cloned()).collect();
        let unknown = !self.stuck.is_empty() || !work.is_empty();
        let tasks = self.survey.tasks(&asked, patience, now);
        let tasks = tasks.into_iter().filter(|waiting| !(unknown && waiting.task == Task::Settle));
        work.extend(tasks.map(|waiting| (waiting.size, Work::Spool(waiting))));
        let worked = self.work(work).await?;
        let released = self.release().await?;
        Ok(worked || released)
    }

    async fn look(&mut self) -> Result<(), SpoolError> {
        let folders = Arc::clone(&self.folders);
        let (path, limit) = (self.config.path.clone(), self.limit);
        let mut survey = std::mem::take(&mut self.survey);
        let looked = blocking(move || {
            let folders = if folders.are_current() { folders } else { Arc::new(Folders::open(&path)?) };
            survey.look(&folders, limit, Instant::now())?;
            Ok((folders, survey))
        });
        let (folders, survey) = looked.await.map_err(|error| self.folder(error))?;
        if !Arc::ptr_eq(&self.folders, &folders) {
            tracing::warn!(path = ?self.config.path, "the spool was replaced by another folder");
        }
        (self.folders, self.survey) = (folders, survey);
        Ok(())
    }

    /// Works on files, begun in order. Whether anything was done.
    async fn work(&mut self, work: Vec<(u64, Work)>) -> Result<bool, SpoolError> {
        let mut ends = Vec::new();
        {
            let mut running = FuturesUnordered::new();
            let mut used = 0;
            for (size, work) in work {
                if self.mode.is_stopped() {
                    break;
                }
                let weight = if size > LARGE { WIDTH } else { 1 };
                while used + weight > WIDTH {
                    let Some((weight, end)) = running.next().await else { break };
                    used -= weight;
                    ends.push(end?);
                }
                used += weight;
                let this = &*self;
                running.push(async move { (weight, this.one(work).await) });
            }
            while let Some((_, end)) = running.next().await {
                ends.push(end?);
            }
        }
        let mut worked = false;
        for end in ends {
            worked |= self.note(end);
        }
        Ok(worked)
    }

    fn note(&mut self, end: End) -> bool {
        match end {
            End::Done(counts) => {
                self.summary.files += 1;
                self.summary.lines.add(counts);
            }
            End::Held(counts, held) => {
                self.summary.lines.add(counts);
                self.held.push(held);
            }
            End::Refused => self.summary.refused += 1,
            End::Nothing => return false,
            End::Stopped(counts) => {
                self.summary.lines.add(counts);
                return false;
            }
            End::Unmoved(name, error) => {
                if self.survey.complain(&name) {
                    tracing::warn!(file = ?name, %error, "a file of the spool cannot be moved; it stays there");
                }
                return false;
            }
            End::Stuck(counts, claim, error) => {
                self.summary.lines.add(counts);
                tracing::error!(file = ?claim.name, %error, "a claimed file cannot be read; trying again");
                self.stuck.insert(claim.stored.clone(), (claim, Instant::now() + AGAIN));
                return counts != Counts::default();
            }
        }
        true
    }

    /// Finishes the files whose result files nobody else asks for. Whether there were any.
    async fn release(&mut self) -> Result<bool, SpoolError> {
        if self.held.is_empty() || !self.stuck.is_empty() || self.mode.is_stopped() {
            return Ok(false);
        }
        // Events may have come meanwhile that refer to the same files.
        self.look().await?;
        let asked = self.survey.asked();
        let mut released = false;
        for held in std::mem::take(&mut self.held) {
            let names: Vec<String> = held
                .refers_to
                .iter()
                .filter(|name| !asked.contains(*name) && self.survey.is_rows(name))
                .cloned()
                .collect();
            let (folders, keep, tag) = (Arc::clone(&self.folders), self.config.keep, held.claim.tag.clone());
            let gone = blocking(move || names.iter().try_for_each(|name| dismiss(&folders, name, keep, &tag))).await;
            let finished = match gone {
                Ok(()) => self.finish(&held.claim).await?,
                Err(error) => Err(error),
            };
            match finished {
                Ok(()) => {
                    self.summary.files += 1;
                    released = true;
                }
                Err(error) => {
                    self.note(End::Stuck(Counts::default(), held.claim, error));
                }
            }
        }
        Ok(released)
    }

    fn folder(&self, error: io::Error) -> SpoolError {
        SpoolError::Folder { path: self.config.path.clone(), error }
    }
}

/// Removes a result file that has served, or moves it to `done/`. What is no regular file, or has several names, stays.
fn dismiss(folders: &Folders, name: &str, keep: bool, tag: &str) -> io::Result<()> {
    let name = OsStr::new(name);
    match folders::stat(&folders.spool, name) {
        Ok(node) if reading::refusal(&node).is_none() && node.links == 1 => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    if keep {
        folders.move_to(&folders.spool, name, &folders.done, name, tag).map(drop)
    } else {
        folders::remove(&folders.spool, name)
    }
}

/// Runs what may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
