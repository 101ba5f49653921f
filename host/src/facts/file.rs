//! Rows from a JSON Lines file: opened so that nothing but a plain file of the event's own folder can be read, and
//! read so that one row is in memory at a time.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::de::IgnoredAny;

use super::RowsError;
use crate::event::line::{LineLimits, admit};
use crate::event::rows::Row;

/// Bytes read at a time, and kept of the line buffer after an unusually long row.
const BLOCK: usize = 64 * 1024;

/// The rows of one file, in order. Blank lines are none. A last line without a line end is a row if it parses.
#[derive(Debug)]
pub(super) struct FileRows {
    name: String,
    limits: LineLimits,
    input: BufReader<File>,
    /// The row that was read last.
    line: Vec<u8>,
    /// Its number, from 1.
    number: u64,
    /// Nothing more comes: the end, or the disk failed.
    done: bool,
}

/// Which side of a copy has failed.
#[derive(Debug)]
pub(super) enum Copy {
    /// The file of rows.
    Read(io::Error),
    /// The copy.
    Write(io::Error),
}

/// How the next row was read.
enum Next {
    /// It is in the line buffer.
    Row,
    /// It was longer than the limit, and passed over.
    TooLong,
    /// There is none.
    End,
}

impl FileRows {
    /// Opens `name` in `folder`.
    pub(super) fn open(folder: Option<&Path>, name: &str) -> Result<Self, RowsError> {
        let folder = folder.ok_or_else(|| RowsError::NoFolder(name.to_owned()))?;
        if !is_plain(name) {
            return Err(RowsError::OutsideFolder(name.to_owned()));
        }
        let file = open_in(folder, name).map_err(|error| RowsError::Io { name: name.to_owned(), error })?;
        Ok(Self::of(name, file))
    }

    /// The rows of a file that is open already.
    pub(super) fn of(name: &str, file: File) -> Self {
        Self {
            name: name.to_owned(),
            limits: LineLimits::default(),
            input: BufReader::with_capacity(BLOCK, file),
            line: Vec::new(),
            number: 0,
            done: false,
        }
    }

    /// Copies what is left of the file, as it is.
    pub(super) fn copy(&mut self, out: &mut impl Write) -> Result<(), Copy> {
        loop {
            let block = self.input.fill_buf().map_err(Copy::Read)?;
            if block.is_empty() {
                return Ok(());
            }
            let length = block.len();
            out.write_all(block).map_err(Copy::Write)?;
            self.input.consume(length);
        }
    }

    /// Counts what is left, parsing nothing.
    pub(super) fn count_rest(mut self) -> Result<u64, RowsError> {
        loop {
            match self.read_row() {
                Ok(Next::End) => return Ok(self.number),
                Ok(Next::Row | Next::TooLong) => {}
                Err(error) => return Err(RowsError::Io { name: self.name, error }),
            }
        }
    }

    /// Reads up to the next line that is not blank.
    fn read_row(&mut self) -> io::Result<Next> {
        loop {
            self.line.clear();
            self.line.shrink_to(BLOCK);
            // Room for the line end, CR LF at the most.
            let most = self.limits.line.saturating_add(2);
            self.input.by_ref().take(most).read_until(b'\n', &mut self.line)?;
            if self.line.is_empty() {
                return Ok(Next::End);
            }
            if !self.line.ends_with(b"\n") && self.line.len() as u64 == most {
                self.input.skip_until(b'\n')?;
                self.number += 1;
                return Ok(Next::TooLong);
            }
            if !self.line.trim_ascii().is_empty() {
                self.number += 1;
                return Ok(Next::Row);
            }
        }
    }

    /// The line buffer as admitted text.
    fn text(&self) -> Result<Cow<'_, str>, String> {
        let mut line = self.line.trim_ascii();
        if self.number == 1 {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        admit(line, &self.limits).map_err(|error| error.to_string())
    }

    /// The next row as its text, which is JSON.
    pub(super) fn next_text(&mut self) -> Option<Result<String, RowsError>> {
        self.next_by(|text| serde_json::from_str::<IgnoredAny>(text).map(|_| text.to_owned()))
    }

    fn next_by<T>(&mut self, read: impl FnOnce(&str) -> Result<T, serde_json::Error>) -> Option<Result<T, RowsError>> {
        if self.done {
            return None;
        }
        let row = match self.read_row() {
            Ok(Next::End) => {
                self.done = true;
                return None;
            }
            Ok(Next::Row) => self.text().and_then(|text| read(&text).map_err(|error| error.to_string())),
            Ok(Next::TooLong) => Err(format!("the line is longer than {} bytes", self.limits.line)),
            Err(error) => {
                self.done = true;
                return Some(Err(RowsError::Io { name: self.name.clone(), error }));
            }
        };
        Some(row.map_err(|reason| RowsError::BadRow { number: self.number, reason }))
    }
}

impl Iterator for FileRows {
    type Item = Result<Row, RowsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_by(Row::parse)
    }
}

/// Whether a name is one path component and nothing else: no separator, no `.` or `..`, no NUL.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    // `x/` and `x/.` have one component too, but it is not the whole name.
    matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none()
        && !name.contains('\0')
}

/// Opens a plain name in a folder: no link is followed, no FIFO is waited for, and a file that has a second name
/// elsewhere, which could be anybody's, is refused like everything else that is no regular file.
fn open_in(folder: &Path, name: &str) -> io::Result<File> {
    let folder = openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP => io::Error::other("a symbolic link, not a regular file"),
        error => error.into(),
    })?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.nlink() > 1 {
        return Err(io::Error::other("has a second name (a hard link), so it may be another's file"));
    }
    Ok(file)
}
