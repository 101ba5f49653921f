//! Attachments as content-addressed files: written once under the SHA-256 of their bytes, never changed after.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

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

/// A folder of content-addressed files.
#[derive(Debug, Clone)]
pub struct BlobStore {
    dir: PathBuf,
}

impl BlobStore {
    /// Opens (and makes, mode 0700) the folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = dir.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir })
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
        let file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.dir)?;
        Ok(BlobWriter {
            out: BufWriter::with_capacity(64 * 1024, file),
            hash: Sha256::new(),
            size: 0,
            dir: self.dir.clone(),
        })
    }

    /// Opens a stored file for reading.
    ///
    /// # Errors
    /// When it is not there, or is not as long as its reference says.
    pub fn read(&self, blob: &BlobRef) -> io::Result<File> {
        let file = File::open(self.path(blob))?;
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
}

/// A blob that is being written.
#[derive(Debug)]
pub struct BlobWriter {
    out: BufWriter<tempfile::NamedTempFile>,
    hash: Sha256,
    size: u64,
    dir: PathBuf,
}

impl BlobWriter {
    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the file durable under its hash: synced, renamed, and the folder synced.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> io::Result<BlobRef> {
        let blob = BlobRef { sha256: hex(&self.hash.finalize()), size: self.size };
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(self.dir.join(&blob.sha256)).map_err(|error| error.error)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(blob)
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
