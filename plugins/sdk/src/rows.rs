//! Result rows, as a stream.

use std::marker::PhantomData;
use std::{error, fmt, vec};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::host::Cursor;

/// Rows asked for at a time: few calls across the border, little memory.
const BATCH: u32 = 256;

/// One row: its cells by column name.
pub type Row = Map<String, Value>;

/// Why rows cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsError {
    source: String,
    reason: String,
}

impl fmt::Display for RowsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rows of {}: {}", self.source, self.reason)
    }
}

impl error::Error for RowsError {}

/// The rows of one source. Ends after the first error.
#[derive(Debug)]
pub struct Rows {
    source: String,
    cursor: Cursor,
    batch: vec::IntoIter<Row>,
    ended: bool,
}

impl Rows {
    /// Begins at the first row.
    pub(crate) fn open(source: &str) -> Result<Self, RowsError> {
        match Cursor::open(source) {
            Ok(cursor) => Ok(Self { source: source.to_owned(), cursor, batch: Vec::new().into_iter(), ended: false }),
            Err(reason) => Err(RowsError { source: source.to_owned(), reason }),
        }
    }

    /// Column names of the first row, in their order; empty if there is none.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.cursor.columns()
    }

    /// How many rows there are in all. The host counts them, without showing them.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub fn total(&self) -> Result<u64, RowsError> {
        self.cursor.total().map_err(|reason| self.error(reason))
    }

    /// How many rows so far were left out because they were no JSON.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.cursor.skipped()
    }

    /// The rows as a type of yours.
    #[must_use]
    pub fn typed<T: DeserializeOwned>(self) -> Typed<T> {
        Typed { rows: self, row: PhantomData }
    }

    fn error(&self, reason: impl Into<String>) -> RowsError {
        RowsError { source: self.source.clone(), reason: reason.into() }
    }

    fn fill(&mut self) -> Result<bool, RowsError> {
        let Some(text) = self.cursor.next(BATCH).map_err(|reason| self.error(reason))? else { return Ok(false) };
        let rows: Vec<Row> = serde_json::from_str(&text).map_err(|error| self.error(error.to_string()))?;
        self.batch = rows.into_iter();
        Ok(true)
    }
}

impl Iterator for Rows {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.batch.next() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The rows of one source, as a type. A row that is not of the type is an error; the rows after it still come.
#[derive(Debug)]
pub struct Typed<T> {
    rows: Rows,
    row: PhantomData<T>,
}

impl<T: DeserializeOwned> Iterator for Typed<T> {
    type Item = Result<T, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.and_then(|row| {
            serde_json::from_value(Value::Object(row)).map_err(|error| self.rows.error(error.to_string()))
        }))
    }
}
