//! Where a fact comes from. What an event carries is at hand; result rows are read as a stream, from the event itself
//! or from a file beside it.

use std::path::Path;
use std::sync::Arc;

use crate::event::rows::{ResultSet, Row};

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The name is no plain name, or leads out of the event's folder.
    #[error("`{0}` is not a plain file name in the event's own folder")]
    OutsideFolder(String),
    /// The event did not come from a folder (HTTP, standard input without one).
    #[error("`{0}` names a file, but the event came without a folder")]
    NoFolder(String),
    /// The operating system's word.
    #[error("{name}: {error}")]
    Io {
        /// File name.
        name: String,
        /// Cause.
        error: std::io::Error,
    },
    /// Not a row.
    #[error("row {number}: {reason}")]
    BadRow {
        /// Counted from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The result set is neither an array nor a file.
    #[error("{0}")]
    Unusable(String),
}

/// Reads result rows as a stream; memory does not grow with their number.
#[derive(Debug, Clone, Default)]
pub struct RowReader {
    folder: Option<Arc<Path>>,
}

/// A stream of rows.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, RowsError>> + 'a>;

impl RowReader {
    /// A reader for events that came from `folder` (`None`: from no folder).
    #[must_use]
    pub fn new(folder: Option<Arc<Path>>) -> Self {
        Self { folder }
    }

    /// Opens a result set. Files are opened without following links and must be regular files.
    ///
    /// # Errors
    /// When the set cannot be opened; single bad rows come out of the stream.
    pub fn open<'a>(&self, set: &'a ResultSet) -> Result<Rows<'a>, RowsError> {
        let _ = (set, &self.folder);
        todo!()
    }
}
