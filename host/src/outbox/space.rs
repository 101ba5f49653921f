//! Free space: the guard before anything new is taken in, and a ballast for when the disk is full all the same.
//!
//! On a full disk SQLite can neither store the outcome of an attempt nor delete anything. The ballast is a
//! file that is given up then, so that what is in flight can end; it is laid in again once there is room.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statfs, statvfs};

use super::OutboxError;
use super::open::beside;

/// Size of the ballast if `min_free` is large enough; else a quarter of `min_free`.
const BALLAST: u64 = 16 * 1024 * 1024;

/// Watches the free space of a folder.
#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    min_free: u64,
    low: AtomicBool,
}

impl Space {
    pub(super) fn new(folder: PathBuf, min_free: u64) -> Self {
        Self { folder, min_free, low: AtomicBool::new(false) }
    }

    /// Bytes that this process may still use.
    pub(super) fn free(&self) -> io::Result<u64> {
        let stat = statvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// `min_free`
    pub(super) fn least(&self) -> u64 {
        self.min_free
    }

    /// Refuses below `min_free`; says so once, and once when it is over.
    pub(super) fn check(&self) -> Result<(), OutboxError> {
        let free = self.free()?;
        let low = free < self.min_free;
        if self.low.swap(low, Ordering::Relaxed) != low {
            if low {
                tracing::error!(free, min_free = self.min_free, folder = %self.folder.display(),
                    "the disk of the outbox is nearly full: nothing new is taken in until there is space");
            } else {
                tracing::info!(free, "the disk of the outbox has space again");
            }
        }
        if low { Err(self.refusal(free)) } else { Ok(()) }
    }

    /// The error for a disk that was full when it was written to.
    pub(super) fn full(&self) -> OutboxError {
        self.refusal(self.free().unwrap_or(0))
    }

    fn refusal(&self, free: u64) -> OutboxError {
        OutboxError::Full { path: self.folder.clone(), free, min_free: self.min_free }
    }
}

/// The file that is given up on a full disk.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    size: u64,
}

impl Ballast {
    pub(super) fn new(database: &Path, min_free: u64) -> Self {
        Self { path: beside(database, ".ballast"), size: BALLAST.min(min_free / 4) }
    }

    /// Lays it in, if it is not there and the disk has room for it beside `min_free`. Blocking.
    pub(super) fn lay_in(&self, space: &Space) -> io::Result<()> {
        if self.size == 0 || fs::metadata(&self.path).is_ok_and(|meta| meta.len() >= self.size) {
            return Ok(());
        }
        if space.free()? < space.min_free.saturating_add(self.size) {
            return Ok(());
        }
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        let written = match fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill(file, self.size),
            other => other.map_err(io::Error::from),
        };
        if written.is_err() {
            self.give_up();
        }
        written
    }

    /// Gives it up. False: there was none.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// For file systems that cannot allocate without writing.
fn fill(mut file: File, size: u64) -> io::Result<()> {
    let block = vec![0x42u8; 64 * 1024];
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(block.get(..part).unwrap_or_default())?;
        left -= part as u64;
    }
    file.sync_data()
}

/// Names of file systems on which SQLite's locks and its shared WAL index do not hold.
///
/// FUSE, 9p, virtiofs and overlay are let pass: containers and virtual machines put local disks behind them. Whoever
/// mounts a distant machine through FUSE (sshfs) must not put an outbox there; the kernel does not tell them apart.
const NETWORK: [(u32, &str); 10] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB 2"),
    (0x564c, "NCP"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
];

/// The network file system that a folder lies on, if it does.
pub(super) fn network_file_system(folder: &Path) -> io::Result<Option<&'static str>> {
    let kind = statfs(folder)?.f_type;
    // The kernel's numbers are 32 bits wide, whatever the width and sign of the field.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are the number")]
    let kind = kind as u32;
    Ok(NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_refuses_below_min_free() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Space::new(dir.path().into(), 0).check().is_ok());
        let tight = Space::new(dir.path().into(), u64::MAX);
        let Err(OutboxError::Full { free, min_free, .. }) = tight.check() else { panic!("accepted") };
        assert!(free > 0 && min_free == u64::MAX);
    }

    #[test]
    fn the_ballast_takes_space_and_gives_it_back() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("bewit.db");
        let space = Space::new(dir.path().into(), 4 << 20);
        let ballast = Ballast::new(&database, 4 << 20);
        ballast.lay_in(&space).unwrap();
        let meta = fs::metadata(dir.path().join("bewit.db.ballast")).unwrap();
        assert_eq!(meta.len(), 1 << 20);
        assert!(meta.blocks() * 512 >= 1 << 20, "a hole is no ballast");
        assert!(ballast.give_up());
        assert!(!ballast.give_up());
        assert!(!Ballast::new(&database, 0).give_up());
    }

    #[test]
    fn the_ballast_is_not_laid_in_where_there_is_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(&dir.path().join("bewit.db"), u64::MAX);
        ballast.lay_in(&Space::new(dir.path().into(), u64::MAX)).unwrap();
        assert!(!dir.path().join("bewit.db.ballast").exists());
    }

    #[test]
    fn a_temporary_folder_is_no_network() {
        assert_eq!(network_file_system(&std::env::temp_dir()).unwrap(), None);
    }
}
