//! Events from files and standard input, one line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::UsageError;
use crate::event::FlowCompletion;
use crate::event::line::{LineLimits, admit};
use crate::event::parse::parse;
use crate::facts::RowReader;
use crate::rule::show::Visible;

/// What became of one line.
pub(super) struct Heard {
    /// File and line, for people.
    pub(super) place: String,
    /// The event, or why the line is none.
    pub(super) event: Result<FlowCompletion, String>,
    /// Reads its rows: a `{"file"}` lies beside the file of events.
    pub(super) rows: RowReader,
}

/// Reads events and hands them on; `-` is standard input. Blank lines are no events.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub(super) fn each(
    paths: &[PathBuf],
    limits: &LineLimits,
    mut take: impl FnMut(Heard) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for path in paths {
        let name = name_of(path);
        if path.as_os_str() == "-" {
            lines(io::stdin().lock(), &name, limits, &RowReader::new(None), &mut take)?;
            continue;
        }
        let unusable = |error: io::Error| UsageError(format!("{name}: {error}"));
        if path.metadata().map_err(unusable)?.is_dir() {
            return Err(unusable(io::ErrorKind::IsADirectory.into()).into());
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let reader = BufReader::with_capacity(256 * 1024, File::open(path).map_err(unusable)?);
        lines(reader, &name, limits, &RowReader::new(Some(Arc::from(folder))), &mut take)?;
    }
    Ok(())
}

fn lines(
    mut reader: impl BufRead,
    name: &str,
    limits: &LineLimits,
    rows: &RowReader,
    take: &mut impl FnMut(Heard) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    let mut number = 0_u64;
    while next(&mut reader, &mut line, limits.line).map_err(|error| UsageError(format!("{name}: {error}")))? {
        number += 1;
        let bytes = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let event = admit(bytes, limits)
            .map_err(|error| error.to_string())
            .and_then(|line| parse(&line).map_err(|error| error.to_string()));
        take(Heard { place: format!("{name}:{number}"), event, rows: rows.clone() })?;
    }
    Ok(())
}

/// Reads a line without its end; `false` at the end of the input. Of an over-long line only so much is kept that it
/// can be told to be one.
fn next(reader: &mut impl BufRead, line: &mut Vec<u8>, limit: u64) -> io::Result<bool> {
    line.clear();
    // One byte over the limit, and a CRLF that does not count.
    let most = limit.saturating_add(3);
    let read = reader.by_ref().take(most).read_until(b'\n', line)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if read as u64 == most {
        reader.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

/// A path as it can be shown.
pub(super) fn name_of(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { Visible(&path.display().to_string()).to_string() }
}
