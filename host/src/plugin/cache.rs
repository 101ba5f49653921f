//! Machine code on disk, so that a component is compiled once. It is run without any further check, so nothing is taken
//! from there that this user has not written: the folder must be ours alone, and every file carries a keyed hash.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;

/// Bytes of a key, and of a keyed hash (BLAKE3).
const HASH: usize = 32;
/// How long code is kept that is not used.
const UNUSED: Duration = Duration::from_secs(90 * 24 * 3600);
/// Bytes that are hashed at a time.
const PIECE: usize = 256 * 1024;
/// Name of the key's file.
const KEY: &str = "key";

/// A folder of machine code.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    key: [u8; HASH],
}

impl Cache {
    /// Where machine code is kept unless told otherwise: `$CACHE_DIRECTORY` (as systemd sets it), `$XDG_CACHE_HOME/bewit`,
    /// `$HOME/.cache/bewit`; in each the folder `plugins`.
    pub(super) fn usual_place() -> Option<PathBuf> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("CACHE_DIRECTORY")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("bewit")))
            .or_else(|| Some(set("HOME")?.join(".cache/bewit")))?;
        base.is_absolute().then(|| base.join("plugins"))
    }

    /// Opens or makes the folder.
    ///
    /// # Errors
    /// When it cannot be made, or others could write to it.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = folder.symlink_metadata()?;
        if !found.is_dir() || !is_ours_alone(&found) {
            return Err(refused(folder, "others can write to it; it must belong to this user alone (chmod 700)"));
        }
        let path = folder.join(KEY);
        let key = match read_ours(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_aside(&path, &rand::random::<[u8; HASH]>())?;
                // Another process may have been first; what is there counts.
                read_ours(&path)?
            }
            Err(error) => return Err(error),
        };
        let key = key.try_into().map_err(|_| refused(&path, "it is no key; remove it"))?;
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// The file with the code of `name`, if it is there and nobody has touched it.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        let (code, seal) = self.paths(name);
        let found = open_ours(&code).and_then(|file| Ok((self.seal(name, file)?, read_ours(&seal)?)));
        match found {
            Ok((found, sealed)) => {
                // The comparison of these hashes takes the same time wherever they differ.
                if <[u8; HASH]>::try_from(sealed).is_ok_and(|sealed| found == sealed) {
                    // For `prune`: it is still used. Where that cannot be noted, it is compiled again one day.
                    let _ =
                        File::options().append(true).open(&code).and_then(|file| file.set_modified(SystemTime::now()));
                    return Some(code);
                }
                tracing::warn!(file = %code.display(), "cached machine code was changed or torn, and is not used");
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %code.display(), %error, "cached machine code is not used");
                None
            }
        }
    }

    /// Keeps code.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(&self, name: &str, code: &[u8]) -> io::Result<PathBuf> {
        self.prune(SystemTime::now());
        let (path, seal) = self.paths(name);
        write_aside(&path, code)?;
        write_aside(&seal, self.seal(name, code)?.as_bytes())?;
        Ok(path)
    }

    /// Removes what nobody has used for long: older versions of plugins, and of the engine.
    fn prune(&self, now: SystemTime) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_code = path.extension().is_some_and(|extension| extension == "cwasm");
            let used = entry.metadata().and_then(|found| found.modified());
            if is_code && used.is_ok_and(|used| now.duration_since(used).is_ok_and(|unused| unused > UNUSED)) {
                let _ = std::fs::remove_file(path.with_extension("seal"));
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.folder.join(format!("{name}.cwasm")), self.folder.join(format!("{name}.seal")))
    }

    /// In pieces that stay in the processor's cache: code may be 40 MB.
    fn seal(&self, name: &str, mut code: impl Read) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes()).update(&[0]);
        let mut piece = vec![0; PIECE];
        loop {
            match code.read(&mut piece)? {
                0 => return Ok(hasher.finalize()),
                length => hasher.update(piece.get(..length).unwrap_or_default()),
            };
        }
    }
}

/// A regular file with one name that only this user can write.
fn open_ours(path: &Path) -> io::Result<File> {
    let no_links = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(no_links).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 || !is_ours_alone(&found) {
        return Err(refused(path, "others could have written it"));
    }
    Ok(file)
}

fn read_ours(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_ours(path)?.take(1024).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_ours_alone(found: &std::fs::Metadata) -> bool {
    found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0
}

/// Writes beside, then renames: a reader sees all or nothing.
fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut aside = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    aside.write_all(bytes)?;
    let file: &File = aside.as_file();
    file.sync_data()?;
    aside.persist(path).map(|_| ()).map_err(|error| error.error)
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_kept_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/plugins");
        let path = Cache::open(&folder).unwrap().keep("x", b"code").unwrap();
        let again = Cache::open(&folder).unwrap();
        assert_eq!(again.find("x"), Some(path));
        assert_eq!(again.find("y"), None);
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_single_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("plugins");
        let cache = Cache::open(&folder).unwrap();
        let code: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let path = cache.keep("x", &code).unwrap();
        for bit in (0..code.len() * 8).step_by(7) {
            let mut flipped = code.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            assert_eq!(cache.find("x"), None, "bit {bit}");
        }
        fs::write(&path, &code).unwrap();
        assert_eq!(cache.find("x"), Some(path.clone()));

        // The code of one component under the name of another.
        let other = cache.keep("y", b"other").unwrap();
        fs::copy(&other, &path).unwrap();
        fs::copy(folder.join("y.seal"), folder.join("x.seal")).unwrap();
        assert_eq!(cache.find("x"), None);
    }

    #[test]
    fn what_nobody_has_used_for_long_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("plugins")).unwrap();
        let old = SystemTime::now() - UNUSED - Duration::from_secs(60);
        for name in ["old", "used"] {
            let path = cache.keep(name, b"code").unwrap();
            File::options().append(true).open(path).unwrap().set_modified(old).unwrap();
        }
        assert!(cache.find("used").is_some());
        cache.keep("new", b"code").unwrap();
        assert_eq!((cache.find("old"), cache.find("used").is_some()), (None, true));
        assert!(cache.find("new").is_some() && Cache::open(&dir.path().join("plugins")).is_ok());
    }

    #[test]
    fn files_that_others_could_have_written_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("plugins");
        let cache = Cache::open(&folder).unwrap();
        let path = cache.keep("x", b"code").unwrap();

        fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert_eq!(cache.find("x"), None);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(cache.find("x").is_some());

        fs::hard_link(&path, dir.path().join("second")).unwrap();
        assert_eq!(cache.find("x"), None, "a second name");
        fs::rename(dir.path().join("second"), dir.path().join("third")).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("third"), &path).unwrap();
        assert_eq!(cache.find("x"), None, "a link");

        fs::set_permissions(&folder, Permissions::from_mode(0o770)).unwrap();
        let error = Cache::open(&folder).unwrap_err().to_string();
        assert!(error.contains("others can write"), "{error}");
    }
}
