//! Files of a mail. Result attachments (JSONL or CSV, streamed into the blob store) and files that plugins wrote are dropped
//! as a whole over the limit; pictures inside the mail count as well.

mod csv;
mod name;

use std::collections::HashSet;
use std::io::{self, Write};

use indexmap::IndexSet;

use super::Picture;
use super::locale::Locale;
use super::tables::sources;
use super::view::{AttachedFile, Block};
use crate::blob::{BlobStore, BlobWriter};
use crate::event::FlowCompletion;
use crate::event::rows::{ResultSet, Row};
use crate::facts::{RowReader, Rows, RowsError};
use crate::fragment::{File, Image};
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

/// Files of a mail, and what became of those that are missing.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) stored: Vec<Attachment>,
    /// The same, as the mail lists them.
    pub(super) listed: Vec<AttachedFile>,
    /// Pictures that the HTML part shows.
    pub(super) pictures: Vec<Picture>,
    pub(super) notes: Vec<String>,
}

/// Gathers the files of a mail within the rule's limit: pictures as they come, as long as they fit, and attachments, which
/// are dropped as a whole.
pub(super) struct Files<'a> {
    rule: &'a Rule,
    blobs: &'a BlobStore,
    locale: &'a Locale,
    pictures: Vec<Picture>,
    /// Octets of the pictures.
    pictured: u64,
    /// Octets of the attachments.
    total: u64,
    results: Vec<Waiting>,
    /// Files that plugins wrote.
    written: Vec<Waiting>,
    /// Where they all came from.
    origins: Vec<String>,
    /// Origins beyond those that are named.
    unnamed: u64,
    /// Files of plugins beyond those that a mail may have.
    unwanted: u64,
    /// Whether of a source not all rows that were to be attached are at hand: they were too many to be read.
    partial: bool,
    notes: Vec<String>,
}

/// A file that is attached if all of them fit.
struct Waiting {
    /// Without its name, which depends on the others.
    listed: AttachedFile,
    stem: String,
    extension: String,
    content_type: String,
    blob: BlobWriter,
}

impl<'a> Files<'a> {
    pub(super) fn new(rule: &'a Rule, blobs: &'a BlobStore, locale: &'a Locale) -> Self {
        Self {
            rule,
            blobs,
            locale,
            pictures: Vec::new(),
            pictured: 0,
            total: 0,
            results: Vec::new(),
            written: Vec::new(),
            origins: Vec::new(),
            unnamed: 0,
            unwanted: 0,
            partial: false,
            notes: Vec::new(),
        }
    }

    /// Stores a picture and puts its address into its block; if it does not fit, a note takes the block's place. A mail
    /// without HTML shows none.
    ///
    /// # Errors
    /// When the blob store cannot be written.
    pub(super) fn picture(&mut self, image: &Image, block: &mut Block) -> io::Result<()> {
        let Block::Image { url, alternative, .. } = block else { return Ok(()) };
        if !self.rule.html {
            return Ok(());
        }
        let size = image.data.len() as u64;
        if self.pictured.saturating_add(size) > self.rule.attachments_limit() {
            let limit = self.rule.attachments_max_mib.to_string();
            let key = if self.pictured == 0 { "note_picture_too_large" } else { "note_pictures_too_large" };
            let size = self.locale.size(size);
            let values = [("size", size.as_str()), ("limit", &limit), ("alternative", alternative)];
            *block = super::blocks::left_out(self.locale.t(key, &values));
            return Ok(());
        }
        let mut blob = self.blobs.create()?;
        blob.write_all(&image.data)?;
        let blob = blob.finish()?;
        self.pictured += size;
        let number = self.pictures.len() + 1;
        // The same in every mail that shows it there, and unlike the others in this mail.
        let cid = format!("{number}.{}@bewit.invalid", blob.sha256.get(..32).unwrap_or_default());
        *url = Some(format!("cid:{cid}"));
        let name = format!("picture-{number}.{}", image.kind.extension());
        let content_type = image.kind.media_type().to_owned();
        self.pictures.push(Picture { cid, file: Attachment { name, content_type, blob } });
        Ok(())
    }

    /// Takes a file that a plugin wrote for a source.
    ///
    /// # Errors
    /// When the blob store cannot be written.
    pub(super) fn file(&mut self, source: &str, file: File) -> io::Result<()> {
        if self.written.len() >= FILES {
            self.unwanted += 1;
            return Ok(());
        }
        let mut sink = self.sink()?;
        sink.write_all(&file.data)?;
        self.count(source, sink.size);
        if let Some(blob) = sink.blob {
            let (stem, extension) = passive(&file.name);
            self.written.push(Waiting {
                listed: AttachedFile {
                    name: String::new(),
                    size: self.locale.size(sink.size),
                    bytes: sink.size,
                    source: super::build::name(source),
                    rows: 0,
                },
                stem,
                extension,
                content_type: harmless(&file.media_type),
                blob,
            });
        }
        Ok(())
    }

    /// Writes the results that a rule attaches. Rows that cannot be read are named in a note.
    ///
    /// # Errors
    /// When the blob store cannot be written.
    pub(super) fn results(&mut self, event: &FlowCompletion, rows: &RowReader) -> io::Result<()> {
        if self.rule.attachments_max_mib == 0 {
            return Ok(());
        }
        let mut passed_over = 0_u64;
        for (source, set) in sources(event) {
            let entries = &self.rule.include_result_attachment_from;
            let Some(wanted) = entries.iter().rev().find(|entry| entry.source.matches(source)) else { continue };
            if self.results.len() + self.written.len() >= FILES || self.notes.len() >= FILES {
                passed_over += 1;
                continue;
            }
            self.result(wanted, source, set, rows)?;
        }
        if passed_over > 0 {
            let them = self.locale.n("more_sources", passed_over);
            let values = [("sources", them.as_str()), ("limit", &FILES.to_string())];
            self.notes.push(self.locale.t("note_results_not_attached", &values));
        }
        Ok(())
    }

    fn result(&mut self, wanted: &ResultAttachment, source: &str, set: &ResultSet, rows: &RowReader) -> io::Result<()> {
        let format = self.rule.attachment_format;
        let mut sink = self.sink()?;
        let written = match format {
            AttachmentFormat::Jsonl => jsonl(wanted, set, rows, &mut sink),
            AttachmentFormat::Csv => csv::write(wanted, set, rows, &mut sink),
        };
        let written = match written {
            Ok(written) => written,
            Err(Failure::Rows(error)) => {
                self.notes.push(unreadable(source, &error, self.locale));
                return Ok(());
            }
            Err(Failure::Io(error)) => return Err(error),
        };
        if let Some(error) = &written.problem {
            self.notes.push(unreadable(source, error, self.locale));
        }
        if written.columns > COLUMNS {
            let (source, limit, columns) =
                (super::build::name(source), COLUMNS.to_string(), written.columns.to_string());
            let values = [("source", source.as_str()), ("limit", &limit), ("columns", &columns)];
            self.notes.push(self.locale.t("note_columns_not_attached", &values));
        }
        if written.rows == 0 {
            return Ok(());
        }
        self.partial |= set.part().is_some_and(|part| part.rows < wanted.max_rows.unwrap_or(u64::MAX).min(part.total));
        self.count(source, sink.size);
        if let Some(blob) = sink.blob {
            self.results.push(Waiting {
                listed: AttachedFile {
                    name: String::new(),
                    size: self.locale.size(sink.size),
                    bytes: sink.size,
                    source: super::build::name(source),
                    rows: written.rows,
                },
                stem: source.to_owned(),
                extension: extension(format).to_owned(),
                content_type: content_type(format).to_owned(),
                blob,
            });
        }
        Ok(())
    }

    /// Room for one more file. Over the limit nothing is stored any more, but it is still counted, so that the note can
    /// name sizes.
    fn sink(&self) -> io::Result<Sink> {
        let limit = self.rule.attachments_limit().saturating_sub(self.pictured.saturating_add(self.total));
        let blob = if self.is_over() { None } else { Some(self.blobs.create()?) };
        Ok(Sink { blob, size: 0, limit })
    }

    fn is_over(&self) -> bool {
        self.partial
            || self.rule.attachments_max_mib == 0
            || self.pictured.saturating_add(self.total) > self.rule.attachments_limit()
    }

    fn count(&mut self, source: &str, size: u64) {
        self.total = self.total.saturating_add(size);
        if self.origins.len() < NAMED {
            self.origins.push(format!("{} ({})", super::build::name(source), self.locale.size(size)));
        } else {
            self.unnamed += 1;
        }
    }

    /// Stores them, if they are within the limit.
    ///
    /// # Errors
    /// When the blob store cannot be written.
    pub(super) fn finish(mut self) -> io::Result<Attached> {
        if self.unwanted > 0 {
            let (limit, them) = (FILES.to_string(), self.locale.n("more_files", self.unwanted));
            self.notes.push(self.locale.t("note_files_left_out", &[("limit", &limit), ("files", &them)]));
        }
        let over = self.is_over() && !self.origins.is_empty();
        let mut out = Attached { pictures: self.pictures, notes: self.notes, ..Attached::default() };
        if over {
            if self.unnamed > 0 {
                self.origins.push(self.locale.n("more_sources", self.unnamed));
            }
            if self.pictured > 0 {
                let size = self.locale.size(self.pictured);
                self.origins.push(self.locale.t("note_pictures_stay", &[("size", &size)]));
            }
            let size = self.locale.size(self.total.saturating_add(self.pictured));
            let (limit, origins) = (self.rule.attachments_max_mib.to_string(), self.origins.join(", "));
            let values = [("size", size.as_str()), ("limit", &limit), ("origins", &origins)];
            let why = if self.partial { "note_attachments_unread" } else { "note_attachments_too_large" };
            out.notes.push(self.locale.t(why, &values));
            return Ok(out);
        }
        let mut taken = HashSet::new();
        for mut file in self.results.into_iter().chain(self.written) {
            file.listed.name = distinct(&file.stem, &file.extension, &mut taken);
            out.stored.push(Attachment {
                name: file.listed.name.clone(),
                content_type: file.content_type,
                blob: file.blob.finish()?,
            });
            out.listed.push(file.listed);
        }
        Ok(out)
    }
}

/// Extensions of files that do something when they are opened, or that a browser shows as a page of its own.
const ACTIVE: [&str; 40] = [
    "app", "bat", "chm", "cmd", "com", "cpl", "dll", "docm", "dotm", "exe", "hta", "htm", "html", "img", "iso", "jar",
    "js", "jse", "lnk", "mht", "mhtml", "msi", "pif", "pptm", "ps1", "reg", "scf", "scr", "sh", "svg", "url", "vbe",
    "vbs", "vhd", "wsf", "wsh", "xht", "xhtml", "xlsm", "xml",
];

/// A proposed name as a stem and an extension that opens nothing: what a plugin makes of an endpoint's data is to be
/// read, not run.
fn passive(proposed: &str) -> (String, String) {
    let (stem, extension) = name::split(proposed);
    let bare = extension.trim_start_matches('.').to_ascii_lowercase();
    if bare.is_empty() || ACTIVE.contains(&bare.as_str()) {
        (proposed.to_owned(), ".txt".to_owned())
    } else {
        (stem.to_owned(), extension.to_owned())
    }
}

/// A plugin's media type, unless a mail program would show such a file as if it were part of the mail.
fn harmless(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    let shown = ["text/html", "application/xhtml+xml", "image/svg+xml"].contains(&lower.as_str());
    if shown || lower.starts_with("multipart/") || lower.starts_with("message/") {
        "application/octet-stream".to_owned()
    } else {
        kind.to_owned()
    }
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

fn unreadable(source: &str, error: &RowsError, locale: &Locale) -> String {
    let reason = text::one_line(&text::cut(&error.to_string(), 300));
    locale.t("note_results_unreadable", &[("source", &super::build::name(source)), ("reason", &reason)])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_file_opens_nothing() {
        for (proposed, stem, extension) in [
            ("tree.csv", "tree", ".csv"),
            ("page.HTML", "page.HTML", ".txt"),
            ("run.ps1", "run.ps1", ".txt"),
            ("x.html.", "x.html.", ".txt"),
            ("x.html ", "x.html ", ".txt"),
            ("Stdout", "Stdout", ".txt"),
        ] {
            assert_eq!(passive(proposed), (stem.to_owned(), extension.to_owned()), "{proposed}");
        }
    }
}
