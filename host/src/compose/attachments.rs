//! Result attachments: JSONL or CSV, streamed into the blob store, dropped as a whole over the limit.

mod csv;
mod name;

use std::collections::HashSet;
use std::io::{self, Write};

use indexmap::IndexSet;

use super::human;
use super::tables::sources;
use super::view::AttachedFile;
use crate::blob::{BlobStore, BlobWriter};
use crate::event::FlowCompletion;
use crate::event::rows::{ResultSet, Row};
use crate::facts::{RowReader, Rows, RowsError};
use crate::mail::Attachment;
use crate::rule::{AttachmentFormat, ResultAttachment, Rule};
use crate::text;

pub(crate) use self::name::distinct;

/// Files of one mail. Each is open while the mail is written, and an event may name any number of sources.
const FILES: usize = 100;
/// Columns of one file; spreadsheets know no more than 16 384.
const COLUMNS: usize = 16_384;
/// Sources that a note names.
const NAMED: usize = 20;

/// Attachments of a mail, and what became of those that are missing.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) stored: Vec<Attachment>,
    pub(super) listed: Vec<AttachedFile>,
    pub(super) notes: Vec<String>,
}

/// Writes the attachments that a rule asks for. Rows that cannot be read are named in a note.
///
/// # Errors
/// When the blob store cannot be written.
pub(super) fn write(rule: &Rule, event: &FlowCompletion, rows: &RowReader, blobs: &BlobStore) -> io::Result<Attached> {
    let mut out = Attached::default();
    if rule.attachments_max_mib == 0 {
        return Ok(out);
    }
    let limit = rule.attachments_limit();
    let mut files: Vec<(AttachedFile, u64, BlobWriter)> = Vec::new();
    let mut dropped: Vec<String> = Vec::new();
    let mut unnamed = 0_u64;
    let mut total = 0_u64;
    let mut taken = HashSet::new();
    let mut passed_over = 0_u64;
    for (source, set) in sources(event) {
        let Some(wanted) = rule.include_result_attachment_from.iter().rev().find(|entry| entry.source.matches(source))
        else {
            continue;
        };
        if files.len() >= FILES || out.notes.len() >= FILES {
            passed_over += 1;
            continue;
        }
        let mut sink = Sink { blob: None, size: 0, limit: limit.saturating_sub(total) };
        // Over the limit nothing is stored any more, but it is still counted, so that the note can name sizes.
        if total <= limit {
            sink.blob = Some(blobs.create()?);
        }
        let written = match rule.attachment_format {
            AttachmentFormat::Jsonl => jsonl(wanted, set, rows, &mut sink),
            AttachmentFormat::Csv => csv::write(wanted, set, rows, &mut sink),
        };
        let written = match written {
            Ok(written) => written,
            Err(Failure::Rows(error)) => {
                out.notes.push(unreadable(source, &error));
                continue;
            }
            Err(Failure::Io(error)) => return Err(error),
        };
        if let Some(error) = &written.problem {
            out.notes.push(unreadable(source, error));
        }
        if written.columns > COLUMNS {
            out.notes.push(format!(
                "Of the results of {} only the first {COLUMNS} of {} columns were attached.",
                super::build::name(source),
                written.columns
            ));
        }
        if written.rows == 0 {
            continue;
        }
        total = total.saturating_add(sink.size);
        if dropped.len() < NAMED {
            dropped.push(format!("{} ({})", super::build::name(source), human::size(sink.size)));
        } else {
            unnamed += 1;
        }
        if let Some(blob) = sink.blob {
            let listed = AttachedFile {
                name: distinct(source, extension(rule.attachment_format), &mut taken),
                size: human::size(sink.size),
                source: super::build::name(source),
                rows: written.rows,
            };
            files.push((listed, sink.size, blob));
        }
    }
    if passed_over > 0 {
        let them = human::count(passed_over, "more source");
        out.notes.push(format!("The results of {them} were not attached: a mail has at most {FILES} files."));
    }
    if total > limit {
        if unnamed > 0 {
            dropped.push(human::count(unnamed, "more source"));
        }
        out.notes.push(format!(
            "Attachments were left out: together they have {}, more than the limit of {} MiB. They came from {}.",
            human::size(total),
            rule.attachments_max_mib,
            dropped.join(", ")
        ));
        return Ok(out);
    }
    for (listed, _, blob) in files {
        out.stored.push(Attachment {
            name: listed.name.clone(),
            content_type: content_type(rule.attachment_format).to_owned(),
            blob: blob.finish()?,
        });
        out.listed.push(listed);
    }
    Ok(out)
}

fn extension(format: AttachmentFormat) -> &'static str {
    match format {
        AttachmentFormat::Jsonl => ".jsonl",
        AttachmentFormat::Csv => ".csv",
    }
}

fn content_type(format: AttachmentFormat) -> &'static str {
    match format {
        AttachmentFormat::Jsonl => "application/x-ndjson; charset=utf-8",
        AttachmentFormat::Csv => "text/csv; charset=utf-8",
    }
}

fn unreadable(source: &str, error: &RowsError) -> String {
    let reason = text::one_line(&text::cut(&error.to_string(), 300));
    format!("Results of {} could not all be attached: {reason}", super::build::name(source))
}

/// Where an attachment's bytes go: into a blob, or, past the limit, nowhere.
struct Sink {
    blob: Option<BlobWriter>,
    size: u64,
    limit: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count(bytes.len() as u64);
        if let Some(blob) = &mut self.blob {
            blob.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    /// Counts octets that are written, or would be.
    fn count(&mut self, bytes: u64) {
        self.size = self.size.saturating_add(bytes);
        if self.size > self.limit {
            // Dropping the writer removes its file.
            self.blob = None;
        }
    }

    /// Whether what is written is only counted.
    fn only_counts(&self) -> bool {
        self.blob.is_none()
    }
}

/// What was written.
#[derive(Default)]
struct Written {
    rows: u64,
    /// Columns that there are; of a CSV file, at most [`COLUMNS`] are written.
    columns: usize,
    /// The first row that could not be read.
    problem: Option<RowsError>,
}

/// Why nothing was.
enum Failure {
    Rows(RowsError),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The rows that an entry asks for; unreadable ones are left out and remembered.
fn wanted_rows<'a>(
    wanted: &'a ResultAttachment,
    stream: Rows<'a>,
    problem: &'a mut Option<RowsError>,
) -> impl Iterator<Item = Row> + 'a {
    let limit = usize::try_from(wanted.max_rows.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let readable = stream.filter_map(move |row| match row {
        Ok(row) => Some(row),
        Err(error) => {
            problem.get_or_insert(error);
            None
        }
    });
    readable.take(limit)
}

/// JSON Lines: each value is the text it came in.
fn jsonl(
    wanted: &ResultAttachment,
    set: &ResultSet,
    rows: &RowReader,
    out: &mut impl Write,
) -> Result<Written, Failure> {
    let mut written = Written::default();
    let mut line = Vec::new();
    for row in wanted_rows(wanted, rows.open(set).map_err(Failure::Rows)?, &mut written.problem) {
        line.clear();
        line.push(b'{');
        for (name, value) in row.0.iter().filter(|(name, _)| wanted.columns.matches(name)) {
            if line.len() > 1 {
                line.push(b',');
            }
            serde_json::to_writer(&mut line, name).map_err(io::Error::from)?;
            line.push(b':');
            // A row of JSON Lines has no line breaks; they can only be blanks between tokens.
            if value.get().contains(['\n', '\r']) {
                line.extend_from_slice(super::tables::compact(value.get()).as_bytes());
            } else {
                line.extend_from_slice(value.get().as_bytes());
            }
        }
        line.extend_from_slice(b"}\n");
        out.write_all(&line)?;
        written.rows += 1;
    }
    Ok(written)
}

/// Columns of all rows that are wanted, in order of first appearance: the first [`COLUMNS`], and a lower bound of how
/// many there are.
fn all_columns(
    wanted: &ResultAttachment,
    set: &ResultSet,
    rows: &RowReader,
) -> Result<(IndexSet<String>, usize), RowsError> {
    let mut columns = IndexSet::new();
    let mut most = 0;
    let mut problem = None;
    for row in wanted_rows(wanted, rows.open(set)?, &mut problem) {
        let mut others = 0;
        for name in row.0.into_keys() {
            if columns.contains(&name) || !wanted.columns.matches(&name) {
                continue;
            }
            if columns.len() < COLUMNS {
                columns.insert(name);
            } else {
                others += 1;
            }
        }
        most = most.max(columns.len() + others);
    }
    Ok((columns, most))
}
