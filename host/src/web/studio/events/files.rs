//! Events in files: those of the command line, and those that wait in the spool.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Events, Found, LISTED, Listed, label};
use crate::snapshot::Current;
use crate::text::{cut, one_line};

/// Bytes of a file that are looked at.
const READ: u64 = 64 << 20;
/// Files of a spool that are looked at.
const FILES: usize = 50;
/// Files whose labels are remembered.
const REMEMBERED: usize = 200;

/// Inode, length and change time.
type Stamp = (u64, u64, i64, i64);

/// Lines of a file, numbered from 1.
type Lines = Arc<Vec<(usize, String)>>;

/// Labels of what files hold; read again when a file has changed.
#[derive(Debug, Default)]
struct Labels(Mutex<HashMap<PathBuf, (Stamp, Lines)>>);

impl Labels {
    /// Number and label of the first lines that are not blank.
    fn of(&self, path: &Path) -> io::Result<Lines> {
        let found = std::fs::metadata(path)?;
        let stamp = (found.ino(), found.len(), found.ctime(), found.ctime_nsec());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, lines)) = known.get(path)
            && *seen == stamp
        {
            return Ok(Arc::clone(lines));
        }
        let mut lines = Vec::new();
        each_line(path, |number, line| {
            lines.push((number, label(line)));
            lines.len() < LISTED
        })?;
        let lines = Arc::new(lines);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path.to_owned(), (stamp, Arc::clone(&lines)));
        Ok(lines)
    }
}

/// Hands on lines that are not blank, with their numbers, until `take` says no. Only a regular file is read.
fn each_line(path: &Path, mut take: impl FnMut(usize, &[u8]) -> bool) -> io::Result<()> {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut reader = BufReader::with_capacity(256 * 1024, file.take(READ));
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line).trim_ascii();
        if !text.is_empty() && !take(number, text) {
            break;
        }
    }
    Ok(())
}

/// A line of a file.
fn line(path: &Path, wanted: usize) -> io::Result<Option<Found>> {
    let mut found = None;
    each_line(path, |number, line| {
        if number == wanted {
            found = Some(line.to_vec());
        }
        number < wanted
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(found.map(|line| Found { line, folder: Some(Arc::from(folder)) }))
}

/// Files that the command line names.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    labels: Labels,
}

impl Files {
    /// These, in this order.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, labels: Labels::default() }
    }
}

impl Events for Files {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn title(&self) -> &'static str {
        "Files of the command line"
    }

    fn list(&self) -> Result<Vec<Listed>, String> {
        let mut listed = Vec::new();
        for (index, path) in self.paths.iter().enumerate() {
            let lines = self.labels.of(path).map_err(|error| trouble(path, &error))?;
            let entry = |(number, label): &(usize, String)| Listed {
                id: format!("{index}:{number}"),
                label: format!("{}:{number} {label}", name(path)),
            };
            listed.extend(lines.iter().map(entry));
        }
        Ok(listed)
    }

    fn get(&self, id: &str) -> Result<Option<Found>, String> {
        let Some((index, number)) = id.split_once(':') else { return Ok(None) };
        let (Ok(index), Ok(number)) = (index.parse::<usize>(), number.parse()) else { return Ok(None) };
        let Some(path) = self.paths.get(index) else { return Ok(None) };
        line(path, number).map_err(|error| trouble(path, &error))
    }
}

/// Files that wait in the spool of the configuration in force.
pub struct Spool {
    current: Current,
    labels: Labels,
}

impl Spool {
    /// Whichever spool is configured.
    #[must_use]
    pub fn new(current: Current) -> Self {
        Self { current, labels: Labels::default() }
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.current.load().config.spool.as_ref()?.path.clone())
    }
}

impl Events for Spool {
    fn kind(&self) -> &'static str {
        "spool"
    }

    fn title(&self) -> &'static str {
        "Waiting in the spool"
    }

    fn list(&self) -> Result<Vec<Listed>, String> {
        let Some(folder) = self.folder() else { return Ok(Vec::new()) };
        // A spool that is not there yet is made when the daemon starts.
        let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_waiting(name))
            .collect();
        names.sort_unstable();
        let mut listed = Vec::new();
        for name in names.iter().take(FILES) {
            // It may have been taken meanwhile.
            let Ok(lines) = self.labels.of(&folder.join(name)) else { continue };
            let entry = |(number, label): &(usize, String)| Listed {
                id: format!("{number}:{name}"),
                label: format!("{}:{number} {label}", shown(name)),
            };
            listed.extend(lines.iter().map(entry));
            if listed.len() >= LISTED {
                break;
            }
        }
        Ok(listed)
    }

    fn get(&self, id: &str) -> Result<Option<Found>, String> {
        let (Some(folder), Some((number, name))) = (self.folder(), id.split_once(':')) else { return Ok(None) };
        let Ok(number) = number.parse() else { return Ok(None) };
        let path = folder.join(name);
        let is_file = is_waiting(name) && std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if !is_file {
            return Ok(None);
        }
        line(&path, number).map_err(|error| trouble(&path, &error))
    }
}

/// Whether this names a file of events in a folder, and nothing else.
fn is_waiting(name: &str) -> bool {
    let plain = !name.contains('/') && !name.starts_with('.') && name.len() <= 180;
    plain && !name.contains(char::is_control) && Path::new(name).extension() == Some(OsStr::new("jsonl"))
}

fn name(path: &Path) -> String {
    shown(&path.file_name().unwrap_or_default().to_string_lossy())
}

fn shown(name: &str) -> String {
    cut(&one_line(name), 60).into_owned()
}

fn trouble(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", name(path))
}
