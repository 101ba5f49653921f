//! Where a fact comes from. What an event carries is at hand; result rows are read as a stream, from the event itself
//! or from a file beside it. What it does not carry is asked of a server ([`live`]), if there is one.

mod file;
pub mod live;
mod owned;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::blob::{BlobRef, BlobStore};
use crate::event::FlowCompletion;
use crate::event::rows::{Elements, ResultSet, Row};
use crate::text::Shown;

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
    files: Files,
    /// Where the rows lie that were asked of a server; removed with the last reader.
    asked: Option<Arc<TempDir>>,
}

/// Where files of rows lie.
#[derive(Debug, Clone, Default)]
enum Files {
    /// Nowhere.
    #[default]
    None,
    /// Beside the event.
    Folder(Arc<Path>),
    /// In a store: copies, by the name that the event has.
    Kept(Arc<(BlobStore, HashMap<String, BlobRef>)>),
}

impl Files {
    fn open(&self, name: &str) -> Result<file::FileRows, RowsError> {
        match self {
            Self::None => file::FileRows::open(None, name),
            Self::Folder(folder) => file::FileRows::open(Some(folder), name),
            Self::Kept(kept) => {
                let (blobs, files) = &**kept;
                let cannot = |error| RowsError::Io { name: name.to_owned(), error };
                let gone = || cannot(io::Error::new(io::ErrorKind::NotFound, "could not be read when the event came"));
                let blob = files.get(name).ok_or_else(gone)?;
                Ok(file::FileRows::of(name, blobs.read(blob).map_err(cannot)?))
            }
        }
    }
}

/// A stream of rows.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, RowsError>> + 'a>;

impl RowReader {
    /// A reader for events that came from `folder` (`None`: from no folder).
    #[must_use]
    pub fn new(folder: Option<Arc<Path>>) -> Self {
        Self { files: folder.map_or(Files::None, Files::Folder), asked: None }
    }

    /// A reader for an event whose files were kept with [`RowReader::keep`].
    #[must_use]
    pub fn kept(blobs: BlobStore, files: impl IntoIterator<Item = (String, BlobRef)>) -> Self {
        Self { files: Files::Kept(Arc::new((blobs, files.into_iter().collect()))), asked: None }
    }

    /// The same reader, which also finds the rows that were asked of a server.
    #[must_use]
    pub(crate) fn with_asked(self, folder: Arc<TempDir>) -> Self {
        Self { asked: Some(folder), ..self }
    }

    fn open_asked(&self, name: &str) -> Result<file::FileRows, RowsError> {
        file::FileRows::open(self.asked.as_deref().map(TempDir::path), name)
    }

    /// Copies every file of rows that an event names, so that they can be read when the event's folder is gone. Blocking.
    /// One that cannot be read is left out: it could not be read now either.
    ///
    /// # Errors
    /// When a copy cannot be written.
    pub fn keep(&self, event: &FlowCompletion, blobs: &BlobStore) -> io::Result<Vec<(String, BlobRef)>> {
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        for set in event.results.iter().flat_map(|results| results.values()) {
            let ResultSet::File(name) = set else { continue };
            if !seen.insert(name) {
                continue;
            }
            let Ok(mut rows) = self.files.open(name) else { continue };
            let mut copy = blobs.create()?;
            match rows.copy(&mut copy) {
                Ok(()) => kept.push((name.clone(), copy.finish()?)),
                Err(file::Copy::Write(error)) => return Err(error),
                Err(file::Copy::Read(error)) => {
                    tracing::warn!(event = %event.key, file = %Shown(name), %error, "a file of rows cannot be kept");
                }
            }
        }
        Ok(kept)
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
            ResultSet::File(name) => Ok(Box::new(self.files.open(name)?)),
            ResultSet::Asked(asked) => Ok(Box::new(self.open_asked(&asked.file)?)),
            ResultSet::Unusable(what) => Err(RowsError::Unusable(what.clone())),
        }
    }

    /// How many rows a set has, bad ones included, without parsing any. Of rows that were asked of a server, as many as
    /// are known of.
    ///
    /// # Errors
    /// When the set cannot be opened, or a file not be read to its end.
    pub fn count(&self, set: &ResultSet) -> Result<u64, RowsError> {
        match set {
            ResultSet::Inline(array) => Ok(Elements::of(array.get()).count() as u64),
            ResultSet::File(name) => self.files.open(name)?.count_rest(),
            ResultSet::Asked(asked) => Ok(asked.total),
            ResultSet::Unusable(what) => Err(RowsError::Unusable(what.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
