//! Attachments as content-addressed files: written once under the SHA-256 of their bytes, never changed after.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The address of a stored file: its SHA-256 in lower-case hex, and its length in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// SHA-256 of the bytes, 64 hex digits.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
}

/// How the files begin that are still being written.
const UNFINISHED: &str = ".new-";

/// A folder of content-addressed files, readable by their owner alone. Clones share it.
#[derive(Debug, Clone)]
pub struct BlobStore {
    dir: PathBuf,
    /// Held while a finished file takes its name, and while an old one is removed: a file that is written once more at
    /// the moment it is swept stays.
    names: Arc<Mutex<()>>,
}

impl BlobStore {
    /// Opens (and makes, mode 0700) the folder.
    ///
    /// # Errors
    /// When the folder cannot be made, or cannot be closed to others.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        if fs::metadata(&dir)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        }
        // The folder's own name must outlive a power cut as well.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(Self::at(dir))
    }

    /// A folder that is only read; nothing is made.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), names: Arc::default() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a new file. Dropped without [`BlobWriter::finish`], it leaves nothing behind.
    ///
    /// # Errors
    /// When no temporary file can be made in the folder.
    pub fn create(&self) -> io::Result<BlobWriter> {
        // Mode 0600, whatever the umask.
        let file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.dir)?;
        Ok(BlobWriter {
            out: BufWriter::with_capacity(64 * 1024, file),
            hash: Sha256::new(),
            size: 0,
            store: self.clone(),
        })
    }

    /// Opens a stored file for reading.
    ///
    /// # Errors
    /// When it is not there, or is not as long as its reference says.
    pub fn read(&self, blob: &BlobRef) -> io::Result<File> {
        let file = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(self.path(blob))
            .map_err(|error| io::Error::new(error.kind(), format!("blob {}: {error}", blob.sha256)))?;
        if file.metadata()?.len() != blob.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("blob {} is not {} bytes long", blob.sha256, blob.size),
            ));
        }
        Ok(file)
    }

    /// Where a blob lies.
    #[must_use]
    pub fn path(&self, blob: &BlobRef) -> PathBuf {
        self.dir.join(&blob.sha256)
    }

    /// Names of blobs, and of files that were never finished, that were last written before a time.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn older_than(&self, time: SystemTime) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.starts_with(UNFINISHED) && !is_sha256(&name) {
                continue;
            }
            match entry.metadata() {
                Ok(meta) if meta.is_file() && meta.modified()? < time => names.push(name),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// Removes a file of this folder if it was last written before a time. False: it was written again, or is gone.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_older_than(&self, name: &str, time: SystemTime) -> io::Result<bool> {
        let path = self.dir.join(name);
        let _names = self.names();
        match fs::symlink_metadata(&path).and_then(|meta| meta.modified()) {
            Ok(modified) if modified < time => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn names(&self) -> MutexGuard<'_, ()> {
        // Nothing is ever left half done under it.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a name is one that [`BlobWriter::finish`] gives.
fn is_sha256(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A blob that is being written.
#[derive(Debug)]
pub struct BlobWriter {
    out: BufWriter<tempfile::NamedTempFile>,
    hash: Sha256,
    size: u64,
    store: BlobStore,
}

impl BlobWriter {
    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the file durable under its hash: synced, renamed, and the folder synced, in that order, so that a name
    /// never stands for bytes that are not on disk. What is there already is kept, and counts as written now.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> io::Result<BlobRef> {
        let blob = BlobRef { sha256: hex(&self.hash.finalize()), size: self.size };
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        if !self.store.touch(&blob)? {
            file.as_file().sync_all()?;
            crate::fault::point("blob_before_rename");
            let names = self.store.names();
            file.persist(self.store.path(&blob)).map_err(|error| error.error)?;
            drop(names);
            crate::fault::point("blob_after_rename");
        }
        // Even for one that is there: whoever renamed it may not have come this far.
        sync_folder(&self.store.dir)?;
        Ok(blob)
    }
}

impl BlobStore {
    /// Counts a stored file as written now. False: it is not there, or damaged.
    fn touch(&self, blob: &BlobRef) -> io::Result<bool> {
        let _names = self.names();
        let file = match self.read(blob) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        file.set_modified(SystemTime::now())?;
        Ok(true)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Makes the names in a folder durable: a file that is renamed into it is there after a power cut only then.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The SHA-256 of a reader's bytes, in hex.
///
/// # Errors
/// When reading fails.
pub fn sha256_of(mut reader: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = reader.read(&mut block)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(block.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn store() -> (tempfile::TempDir, BlobStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path().join("blobs")).unwrap();
        (dir, store)
    }

    fn write(store: &BlobStore, bytes: &[u8]) -> BlobRef {
        let mut writer = store.create().unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn names(store: &BlobStore) -> Vec<String> {
        fs::read_dir(store.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_blob_lies_under_its_hash_for_its_owner_alone() {
        let (_dir, store) = store();
        let blob = write(&store, b"hello");
        assert_eq!(blob.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(blob.size, 5);
        assert_eq!(sha256_of(store.read(&blob).unwrap()).unwrap(), blob.sha256);
        assert_eq!(fs::metadata(store.dir()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(store.path(&blob)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_open_folder_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blobs");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        BlobStore::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let (_dir, store) = store();
        let mut writer = store.create().unwrap();
        writer.write_all(b"half").unwrap();
        writer.flush().unwrap();
        assert_eq!(writer.size(), 4);
        drop(writer);
        assert!(names(&store).is_empty());
    }

    #[test]
    fn the_same_bytes_are_one_file_and_count_as_new() {
        let (_dir, store) = store();
        let blob = write(&store, b"hello");
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::open(store.path(&blob)).unwrap().set_modified(hour_ago - Duration::from_secs(1)).unwrap();
        assert_eq!(store.older_than(hour_ago).unwrap(), std::slice::from_ref(&blob.sha256));
        assert_eq!(write(&store, b"hello"), blob);
        assert_eq!(names(&store), std::slice::from_ref(&blob.sha256));
        assert!(store.older_than(hour_ago).unwrap().is_empty());
        assert!(!store.remove_older_than(&blob.sha256, hour_ago).unwrap());
        assert!(store.read(&blob).is_ok());
    }

    #[test]
    fn a_torn_blob_is_refused_and_written_anew() {
        let (_dir, store) = store();
        let blob = write(&store, b"hello");
        File::options().write(true).open(store.path(&blob)).unwrap().set_len(3).unwrap();
        assert_eq!(store.read(&blob).unwrap_err().kind(), io::ErrorKind::InvalidData);
        write(&store, b"hello");
        assert_eq!(io::read_to_string(store.read(&blob).unwrap()).unwrap(), "hello");
    }

    #[test]
    fn only_old_files_of_ours_are_removed() {
        let (_dir, store) = store();
        let blob = write(&store, b"hello");
        fs::write(store.dir().join(".new-left"), b"x").unwrap();
        fs::write(store.dir().join("README"), b"x").unwrap();
        let past = SystemTime::now() - Duration::from_secs(10);
        for name in names(&store) {
            File::open(store.dir().join(name)).unwrap().set_modified(past).unwrap();
        }
        let mut old = store.older_than(SystemTime::now()).unwrap();
        old.sort();
        assert_eq!(old, [".new-left".to_owned(), blob.sha256.clone()]);
        for name in old {
            assert!(store.remove_older_than(&name, SystemTime::now()).unwrap());
            assert!(!store.remove_older_than(&name, SystemTime::now()).unwrap());
        }
        assert_eq!(names(&store), ["README"]);
    }
}
