//! Where a fact comes from. What an event carries is at hand; result rows are read as a stream, from the event itself
//! or from a file beside it.

mod file;
mod owned;

use std::path::Path;
use std::sync::Arc;

use crate::event::rows::{Elements, ResultSet, Row};

pub use self::owned::OwnedRows;

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

    /// Opens a result set. Files are opened without following links, and must be regular files with no second name.
    ///
    /// # Errors
    /// When the set cannot be opened; single bad rows come out of the stream, which goes on after them.
    pub fn open<'a>(&self, set: &'a ResultSet) -> Result<Rows<'a>, RowsError> {
        match set {
            ResultSet::Inline(array) => Ok(Box::new(Elements::of(array.get()).zip(1..).map(|(text, number)| {
                Row::parse(text).map_err(|error| RowsError::BadRow { number, reason: error.to_string() })
            }))),
            ResultSet::File(name) => Ok(Box::new(file::FileRows::open(self.folder.as_deref(), name)?)),
            ResultSet::Unusable(what) => Err(RowsError::Unusable(what.clone())),
        }
    }

    /// How many rows a set has, bad ones included, without parsing any.
    ///
    /// # Errors
    /// When the set cannot be opened, or a file not be read to its end.
    pub fn count(&self, set: &ResultSet) -> Result<u64, RowsError> {
        match set {
            ResultSet::Inline(array) => Ok(Elements::of(array.get()).count() as u64),
            ResultSet::File(name) => file::FileRows::open(self.folder.as_deref(), name)?.count_rest(),
            ResultSet::Unusable(what) => Err(RowsError::Unusable(what.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
