//! What guests of this line can call.

use std::sync::Arc;

use indexmap::IndexMap;
use wasmtime::component::Resource;
use wasmtime::{Error, Result};

use super::generated::imported::bewit::plugin::{context, logging, results, settings, types};
use crate::event::rows::ResultSet;
use crate::facts::{OwnedRows, RowsError};
use crate::plugin::guest::Guest;

/// Cursors that are open at the same time.
const CURSORS: usize = 64;
/// Bytes that all cursors of a call hold back together: rows that were looked at, and names of columns.
const HELD: usize = 64 << 20;
/// Bytes of a batch after which no further row is added.
const BATCH: usize = 256 * 1024;

/// A place in a source.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code exports it again")]
pub struct Cursor {
    results: Arc<IndexMap<String, ResultSet>>,
    source: String,
    rows: OwnedRows,
    /// A row that was looked at for its columns, and not handed out yet.
    peeked: Option<String>,
    columns: Option<Vec<String>>,
    skipped: u64,
}

impl Cursor {
    /// The text of the next row that is JSON; the others are counted.
    fn next_row(&mut self) -> Result<Option<String>, String> {
        loop {
            return match self.rows.next_text() {
                None => Ok(None),
                Some(Ok(row)) => Ok(Some(row)),
                Some(Err(RowsError::BadRow { .. })) => {
                    self.skipped += 1;
                    continue;
                }
                Some(Err(error)) => Err(error.to_string()),
            };
        }
    }

    fn batch(&mut self, limit: u32) -> Result<Option<String>, String> {
        let mut batch = String::new();
        for _ in 0..limit.max(1) {
            let row = match self.peeked.take() {
                Some(row) => row,
                None => match self.next_row()? {
                    Some(row) => row,
                    None => break,
                },
            };
            if !batch.is_empty() && batch.len() + row.len() > BATCH {
                self.peeked = Some(row);
                break;
            }
            batch.push(if batch.is_empty() { '[' } else { ',' });
            batch.push_str(&row);
        }
        if batch.is_empty() {
            return Ok(None);
        }
        batch.push(']');
        Ok(Some(batch))
    }

    /// Bytes that are kept in memory for it, about.
    fn held(&self) -> usize {
        let columns = self.columns.iter().flatten().map(|name| name.len() + 2 * size_of::<String>()).sum::<usize>();
        columns + self.peeked.as_ref().map_or(0, String::len)
    }

    fn columns(&mut self) -> Vec<String> {
        if let Some(columns) = &self.columns {
            return columns.clone();
        }
        if self.peeked.is_none() {
            // Why a source cannot be read is the business of `next`.
            self.peeked = self.next_row().ok().flatten();
        }
        let first = self.peeked.as_deref().map(crate::event::rows::Row::parse);
        let columns: Vec<String> =
            first.and_then(std::result::Result::ok).map(|row| row.0.into_keys().collect()).unwrap_or_default();
        self.columns = Some(columns.clone());
        columns
    }
}

impl types::Host for Guest {}

impl context::Host for Guest {
    fn rule(&mut self) -> Result<String> {
        Ok(self.question.rule.clone())
    }

    fn now(&mut self) -> Result<i64> {
        Ok(self.question.now)
    }
}

impl settings::Host for Guest {
    fn all(&mut self) -> Result<String> {
        Ok(self.granted.settings.clone())
    }

    fn file(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.granted.files.get(&name).cloned())
    }
}

impl logging::Host for Guest {
    fn log(&mut self, level: logging::Level, message: String) -> Result<()> {
        let level = match level {
            logging::Level::Trace => tracing::Level::TRACE,
            logging::Level::Debug => tracing::Level::DEBUG,
            logging::Level::Info => tracing::Level::INFO,
            logging::Level::Warn => tracing::Level::WARN,
            logging::Level::Error => tracing::Level::ERROR,
        };
        self.log(level, &message);
        Ok(())
    }
}

impl results::Host for Guest {
    fn sources(&mut self) -> Result<Vec<results::Source>> {
        let names = self.question.results.iter().flat_map(|results| results.keys());
        Ok(names.map(|name| super::convert::source(name)).collect())
    }

    fn open(&mut self, name: String) -> Result<Result<Resource<Cursor>, String>> {
        if self.cursors.iter_mut().take(CURSORS).count() == CURSORS {
            return Err(Error::msg(format!("it holds more than {CURSORS} cursors")));
        }
        let Some(results) = self.question.results.clone() else { return Ok(Err(no_such_source(&name))) };
        let Some(set) = results.get(&name) else { return Ok(Err(no_such_source(&name))) };
        let rows = match self.on_our_time(|guest| guest.question.reader.open_owned(&results, &name, set))? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let cursor = Cursor { rows, results, source: name, peeked: None, columns: None, skipped: 0 };
        Ok(Ok(self.cursors.push(cursor)?))
    }
}

impl Guest {
    /// Reads with a cursor, on the host's time and in the host's memory.
    fn reading<T>(&mut self, cursor: &Resource<Cursor>, read: impl FnOnce(&mut Cursor) -> T) -> Result<T> {
        self.on_our_time(|guest| {
            let cursor = guest.cursors.get_mut(cursor)?;
            let before = cursor.held();
            let done = read(cursor);
            let after = cursor.held();
            guest.held = guest.held.saturating_sub(before).saturating_add(after);
            if guest.held > HELD {
                return Err(Error::msg(format!("its cursors hold more than {} MiB", HELD >> 20)));
            }
            Ok(done)
        })?
    }
}

fn no_such_source(name: &str) -> String {
    format!("the event carries no rows of {}", crate::text::Shown(name))
}

impl results::HostCursor for Guest {
    fn columns(&mut self, cursor: Resource<Cursor>) -> Result<Vec<String>> {
        self.reading(&cursor, Cursor::columns)
    }

    fn next(&mut self, cursor: Resource<Cursor>, limit: u32) -> Result<Result<Option<String>, String>> {
        self.reading(&cursor, |cursor| cursor.batch(limit))
    }

    fn total(&mut self, cursor: Resource<Cursor>) -> Result<Result<u64, String>> {
        self.on_our_time(|guest| {
            let cursor = guest.cursors.get(&cursor)?;
            let Some(set) = cursor.results.get(&cursor.source) else { return Ok(Err(no_such_source(&cursor.source))) };
            // A large file is counted once, however often a guest asks.
            if let Some(total) = guest.totals.get(&cursor.source) {
                return Ok(total.clone());
            }
            let total = guest.question.reader.count(set).map_err(|error| error.to_string());
            guest.totals.insert(cursor.source.clone(), total.clone());
            Ok(total)
        })?
    }

    fn skipped(&mut self, cursor: Resource<Cursor>) -> Result<u64> {
        Ok(self.cursors.get(&cursor)?.skipped)
    }

    fn drop(&mut self, cursor: Resource<Cursor>) -> Result<()> {
        let cursor = self.cursors.delete(cursor)?;
        self.held = self.held.saturating_sub(cursor.held());
        Ok(())
    }
}
