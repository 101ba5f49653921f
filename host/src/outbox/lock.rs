//! One daemon for one outbox: a lock file beside the database that ends with the process, however it ends.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::OutboxError;
use super::open::beside;

/// The lock; given back when dropped.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "held for its drop")] File);

/// Takes the lock of a database, or says who has it.
pub(super) fn take(database: &Path) -> Result<Lock, OutboxError> {
    let path = beside(database, ".lock");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            if let Some(pid) = pid_in(&mut file) {
                tracing::error!(pid, lock = %path.display(), "another bewit process has this outbox");
            }
            return Err(OutboxError::Locked(database.to_owned()));
        }
        Err(error) => return Err(io::Error::from(error).into()),
    }
    // For people; the lock itself is the kernel's.
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Lock(file))
}

/// Who has the lock of a database: `None` if nobody, else the process id, as far as it is known.
pub(super) fn holder(database: &Path) -> io::Result<Option<Option<u32>>> {
    let mut file = match File::open(beside(database, ".lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(pid_in(&mut file))),
        Err(error) => Err(error.into()),
    }
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("bewit.db");
        assert_eq!(holder(&database).unwrap(), None);
        let lock = take(&database).unwrap();
        assert!(matches!(take(&database), Err(OutboxError::Locked(path)) if path == database));
        assert_eq!(holder(&database).unwrap(), Some(Some(std::process::id())));
        drop(lock);
        assert_eq!(holder(&database).unwrap(), None);
        let _again = take(&database).unwrap();
    }
}
