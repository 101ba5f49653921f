//! Intake: where events come from. Each one hands lines to an [`Accept`] and calls them taken only after it says so.
//!
//! [`spool`] reads files that are dropped into a folder, [`http`] answers `POST /v1/events`, [`stdin`] reads standard
//! input; all three cut their bytes with [`lines`]. [`velociraptor`] asks a live server. None of them knows what an
//! event is: that is the business of whoever implements [`Accept`].

pub mod http;
pub mod lines;
pub mod spool;
pub mod stdin;
pub mod velociraptor;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use crate::outbox::{OutboxError, Position};

/// A line of an intake.
#[derive(Debug, Clone)]
pub struct Line {
    /// Byte offset in its source.
    pub offset: u64,
    /// Its bytes without the line end, or why they could not be taken.
    pub content: Result<Vec<u8>, Refused>,
}

/// A line that was refused before it was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Bytes.
    pub length: u64,
    /// SHA-256, hex.
    pub digest: String,
    /// Why.
    pub reason: String,
}

/// Lines that are stored together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// For people: `spool NAME`, `http`, `stdin`, `velociraptor ORG`.
    pub source: String,
    /// Folder in which `{"file": …}` results may lie.
    pub folder: Option<Arc<Path>>,
    /// Lines, blank ones left out.
    pub lines: Vec<Line>,
    /// Where the source stands after them.
    pub position: Option<Position>,
    /// Whether an event's key says all about it, so that one whose body is written otherwise is a repeat, no conflict.
    pub keyed: bool,
}

/// Most lines of one [`Batch`].
pub const BATCH_LINES: usize = 256;

/// Bytes of lines after which a [`Batch`] is handed over; one line may go beyond.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Stored.
    Stored,
    /// Known already, same body.
    Duplicate,
    /// Known already with another body: recorded, not mailed again.
    Conflict,
    /// No event; recorded. The intake sets the bytes aside.
    Rejected(String),
}

/// Lines by fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// [`Fate::Stored`]
    pub accepted: u64,
    /// [`Fate::Duplicate`]
    pub duplicates: u64,
    /// [`Fate::Conflict`]
    pub conflicts: u64,
    /// [`Fate::Rejected`]
    pub rejected: u64,
}

impl Counts {
    /// Counts one line.
    pub fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::Stored => self.accepted += 1,
            Fate::Duplicate => self.duplicates += 1,
            Fate::Conflict => self.conflicts += 1,
            Fate::Rejected(_) => self.rejected += 1,
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.rejected += other.rejected;
    }

    /// Lines that were events, new or not.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.accepted + self.duplicates + self.conflicts
    }
}

/// How long an intake goes on.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Take what is waiting and return; a full outbox is an error.
    Once,
    /// Go on until the value is true (or its sender is gone); a full outbox is waited for.
    Watch(watch::Receiver<bool>),
}

impl Mode {
    /// Whether it is time to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Once => false,
            Self::Watch(stop) => *stop.borrow() || stop.has_changed().is_err(),
        }
    }

    /// Waits until it is time to stop: with [`Mode::Once`], for ever.
    pub async fn stopped(&self) {
        match self {
            Self::Once => std::future::pending().await,
            Self::Watch(stop) => {
                let _ = stop.clone().wait_for(|stop| *stop).await;
            }
        }
    }
}

/// What is done when it is polled, and may be dropped at any point.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, OutboxError>> + Send + 'a>>;

/// A batch that has been judged and is not stored yet.
pub struct Prepared<'a> {
    /// For each line, in order, why it is no event, if it is none. An intake that sets lines aside writes them to disk
    /// before they are stored as rejected, so that a crash between loses nothing.
    pub rejected: Vec<Option<String>>,
    /// Stores the batch, all of it or (on error) nothing; answers after it is on disk, one fate for each line in order.
    /// Nothing is stored before it is polled.
    pub store: Boxed<'a, Vec<Fate>>,
}

/// Takes lines: judges them, then stores them.
///
/// A caller may drop a future at any point: what was on its way to the disk may then be stored or not, as a whole, and
/// its lines are handed in again later.
pub trait Accept: Send + Sync + 'static {
    /// Judges a batch. The next one may be judged while this one is stored; they must be stored in order.
    fn prepare(&self, batch: Batch) -> Boxed<'_, Prepared<'_>>;

    /// Judges a batch and stores it.
    fn accept(&self, batch: Batch) -> Boxed<'_, Vec<Fate>> {
        Box::pin(async move { self.prepare(batch).await?.store.await })
    }

    /// Why a line is no event, if it is none. It may be called where blocking is allowed and from several threads.
    ///
    /// # Errors
    /// The reason.
    fn examine(&self, line: &[u8]) -> Result<(), String>;

    /// Where a source stands; 0 if it is new.
    fn position(&self, source: String) -> Boxed<'_, u64>;

    /// A source is gone for ever.
    fn forget(&self, source: String) -> Boxed<'_, ()>;

    /// Whether there is room for more.
    ///
    /// # Errors
    /// [`OutboxError::Full`].
    fn check_space(&self) -> Result<(), OutboxError>;
}

#[cfg(test)]
pub(crate) mod fake;
