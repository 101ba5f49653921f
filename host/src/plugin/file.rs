//! The files of a plugin: its component, and what is granted to it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes that a component has at most.
pub const LARGEST_COMPONENT: u64 = 64 << 20;
/// Bytes that a granted file has at most.
pub const LARGEST_GRANTED: u64 = 16 << 20;

/// Why a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FileError {
    /// What is wrong, beginning with the path.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// Opens a component: a regular file of at most [`LARGEST_COMPONENT`] bytes that nobody but its owner can change.
/// What is read should be bounded again, for the file may grow.
///
/// # Errors
/// When it is not there or not like that.
pub fn component(path: &Path) -> Result<File, FileError> {
    let hint = "`path` names the plugin's WebAssembly component; relative paths start at the configuration's folder";
    let (file, mode) = open(path, LARGEST_COMPONENT, hint)?;
    if mode & 0o022 != 0 {
        // Who writes it decides whether and what is mailed.
        let shown = path.display();
        let message = format!("{shown} can be changed by others (mode {mode:04o})");
        return Err(FileError { message, hint: format!("chmod go-w {shown}") });
    }
    Ok(file)
}

/// Opens a file that is granted to a plugin: a regular one of at most [`LARGEST_GRANTED`] bytes. What is read should be
/// bounded again, for the file may grow.
///
/// # Errors
/// When it is not there or not like that.
pub fn granted(path: &Path) -> Result<File, FileError> {
    let hint = "`files` names the plugin's files; relative paths start at the configuration's folder";
    open(path, LARGEST_GRANTED, hint).map(|(file, _)| file)
}

/// The file and its mode.
fn open(path: &Path, largest: u64, hint: &str) -> Result<(File, u32), FileError> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound { hint } else { "" };
        FileError { message: format!("{shown} cannot be read: {error}"), hint: hint.to_owned() }
    };
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError { message: format!("{shown} is not a regular file"), hint: hint.to_owned() });
    }
    if metadata.len() > largest {
        let message = format!("{shown} is larger than {} MiB", largest >> 20);
        return Err(FileError { message, hint: String::new() });
    }
    Ok((file, metadata.mode() & 0o7777))
}
