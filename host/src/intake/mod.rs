//! Intake: where events come from. Each one hands lines to an [`Accept`] and calls them taken only after it says so.

pub mod http;
pub mod lines;
pub mod spool;
pub mod stdin;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

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
#[derive(Debug, Clone)]
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
    /// For people: `spool NAME`, `http`, `stdin`.
    pub source: String,
    /// Folder in which `{"file": …}` results may lie.
    pub folder: Option<Arc<Path>>,
    /// Lines, blank ones left out.
    pub lines: Vec<Line>,
    /// Where the source stands after them.
    pub position: Option<Position>,
}

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

/// Takes lines; answers after they are on disk, one fate for each line in order.
pub trait Accept: Send + Sync + 'static {
    /// Takes a batch.
    fn accept(&self, batch: Batch) -> Pin<Box<dyn Future<Output = Result<Vec<Fate>, OutboxError>> + Send + '_>>;

    /// Why a line will be rejected, if it will: the check that [`Accept::accept`] makes first. An intake that sets
    /// lines aside writes them to disk before their rejection is recorded, so that a crash between loses nothing.
    fn examine(&self, line: &[u8]) -> Result<(), String>;

    /// Where a source stands; 0 if it is new.
    fn position(&self, source: String) -> Pin<Box<dyn Future<Output = Result<u64, OutboxError>> + Send + '_>>;

    /// A source is gone for ever.
    fn forget(&self, source: String) -> Pin<Box<dyn Future<Output = Result<(), OutboxError>> + Send + '_>>;

    /// Whether there is room for more.
    fn check_space(&self) -> Result<(), OutboxError>;
}
