//! The spool and its subfolders, held open: every step is taken from these descriptors, by plain names, following no
//! link, so that nobody who may write into the spool can lead the daemon elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as at, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

/// How the names of event files end.
pub(super) const SUFFIX: &str = ".jsonl";

/// Longest file name, in bytes.
const NAME_MAX: usize = 255;

const TEMPORARY: &str = ".new-";

/// The four folders.
#[derive(Debug)]
pub(super) struct Folders {
    path: Arc<Path>,
    pub(super) spool: OwnedFd,
    pub(super) claimed: OwnedFd,
    pub(super) rejected: OwnedFd,
    pub(super) done: OwnedFd,
}

/// Which file, and whether it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) size: u64,
    pub(super) links: u64,
    place: (u64, u64),
    modified: (i64, u64),
}

/// What lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    File,
    /// Says what it is.
    Other(&'static str),
}

/// A file that was claimed: it has left the spool under a name that no other file will ever have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// In `claimed/`: tag, `-`, name.
    pub(super) stored: OsString,
    /// 16 hex digits.
    pub(super) tag: String,
    /// As it was in the spool.
    pub(super) name: OsString,
}

impl Folders {
    /// Opens the folders; makes those that are missing (the spool for owner and group, the others for the owner).
    /// What a crash left half written is removed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o770).create(path)?;
        let spool = at::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if Mode::from_raw_mode(at::fstat(&spool)?.st_mode).contains(Mode::WOTH) {
            tracing::warn!(path = ?path, "everybody can write into the spool, and so have mail sent");
        }
        let sub = |name: &str| -> io::Result<OwnedFd> {
            match at::mkdirat(&spool, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at::openat(&spool, name, flags, Mode::empty())
                .map_err(|error| io::Error::other(format!("`{name}` in it is no usable folder: {error}")))
        };
        let (claimed, rejected, done) = (sub("claimed")?, sub("rejected")?, sub("done")?);
        let folders = Self { path: Arc::from(path), spool, claimed, rejected, done };
        for name in list(&folders.rejected)? {
            if name.as_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = at::unlinkat(&folders.rejected, &name, AtFlags::empty());
            }
        }
        Ok(folders)
    }

    /// The spool's path.
    pub(super) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Whether the folders are still those under their names.
    pub(super) fn are_current(&self) -> bool {
        let same = |path: PathBuf, held: &OwnedFd, flags| match (at::statat(CWD, path, flags), at::fstat(held)) {
            (Ok(named), Ok(held)) => (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino),
            _ => false,
        };
        same(self.path.to_path_buf(), &self.spool, AtFlags::empty())
            && [("claimed", &self.claimed), ("rejected", &self.rejected), ("done", &self.done)]
                .into_iter()
                .all(|(name, held)| same(self.path.join(name), held, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// Claims a file of the spool. `None`: it is not there any more.
    pub(super) fn claim(&self, name: &OsStr) -> io::Result<Option<Claim>> {
        let tag = format!("{:016x}", rand::random::<u64>());
        let stored = derive(name, &format!("{tag}-"), "", "");
        match rename(&self.spool, name, &self.claimed, &stored) {
            Ok(()) => Ok(Claim::parse(&stored).map(|claim| Claim { name: name.to_owned(), ..claim })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The files that were claimed and not finished, by name.
    pub(super) fn claims(&self) -> io::Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for stored in list(&self.claimed)? {
            match Claim::parse(&stored) {
                Some(claim) => claims.push(claim),
                None => {
                    tracing::warn!(file = ?stored, "left alone in the spool's `claimed`: bewit did not put it there");
                }
            }
        }
        claims.sort_by(|a, b| (&a.name, &a.tag).cmp(&(&b.name, &b.tag)));
        Ok(claims)
    }

    /// Moves a file to a folder under its name, or under a name with the tag in it if that is taken. The new name.
    pub(super) fn move_to(
        &self,
        from: &OwnedFd,
        stored: &OsStr,
        to: &OwnedFd,
        name: &OsStr,
        tag: &str,
    ) -> io::Result<OsString> {
        let tagged = derive(name, "", &format!(".{tag}"), "");
        for name in [name, &tagged] {
            match rename(from, stored, to, name) {
                Ok(()) => return Ok(name.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Claim {
    fn parse(stored: &OsStr) -> Option<Self> {
        let (tag, name) = stored.as_bytes().split_at_checked(16)?;
        let name = name.strip_prefix(b"-")?;
        let tag = std::str::from_utf8(tag).ok()?;
        if !tag.bytes().all(|byte| byte.is_ascii_hexdigit()) || !is_event_name(OsStr::from_bytes(name)) {
            return None;
        }
        Some(Self { stored: stored.to_owned(), tag: tag.to_owned(), name: OsStr::from_bytes(name).to_owned() })
    }

    /// Names it in the outbox. It has no other claim's tag, so a position that a crash left behind is never another's.
    pub(super) fn source(&self) -> String {
        format!("spool:{}:{}", self.tag, self.name.to_string_lossy())
    }
}

/// Whether a file of this name is taken: `NAME.jsonl`, hidden ones not.
pub(super) fn is_event_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.len() > SUFFIX.len() && name.ends_with(SUFFIX.as_bytes()) && !name.starts_with(b".")
}

/// `prefix`, the name without `.jsonl`, `middle`, and `.jsonl` or another `suffix`; the name is cut if it is too long.
pub(super) fn derive(name: &OsStr, prefix: &str, middle: &str, suffix: &str) -> OsString {
    let stem = name.as_bytes();
    let stem = stem.strip_suffix(SUFFIX.as_bytes()).unwrap_or(stem);
    let suffix = if suffix.is_empty() { SUFFIX } else { suffix };
    let room = NAME_MAX.saturating_sub(prefix.len() + middle.len() + suffix.len());
    let stem = stem.get(..room).unwrap_or(stem);
    OsString::from_vec([prefix.as_bytes(), stem, middle.as_bytes(), suffix.as_bytes()].concat())
}

/// All names in a folder.
pub(super) fn list(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// What lies under a name, links not followed.
pub(super) fn stat(folder: &OwnedFd, name: &OsStr) -> io::Result<Node> {
    Ok(node(&at::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// Opens what lies under a name for reading, if it is a regular file; never waits (for the other end of a pipe).
pub(super) fn open(folder: &OwnedFd, name: &OsStr) -> io::Result<(File, Node)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(at::openat(folder, name, flags, Mode::empty())?);
    let node = node(&at::fstat(&file)?);
    match node.kind {
        NodeKind::File => Ok((file, node)),
        NodeKind::Other(what) => Err(io::Error::new(io::ErrorKind::InvalidInput, what)),
    }
}

/// A new file under a name that nobody looks at, and the name.
pub(super) fn create(folder: &OwnedFd) -> io::Result<(File, OsString)> {
    let name = OsString::from(format!("{TEMPORARY}{:016x}", rand::random::<u64>()));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = at::openat(folder, &name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok((File::from(file), name))
}

/// Renames; an existing file of the new name is an error.
pub(super) fn rename(from: &OwnedFd, old: &OsStr, to: &OwnedFd, new: &OsStr) -> io::Result<()> {
    match at::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        // Some file systems do not know the flag.
        Err(Errno::INVAL | Errno::NOSYS) => match stat(to, new) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(at::renameat(from, old, to, new)?),
        },
        result => Ok(result?),
    }
}

/// Renames inside a folder over whatever has the new name.
pub(super) fn replace(folder: &OwnedFd, old: &OsStr, new: &OsStr) -> io::Result<()> {
    Ok(at::renameat(folder, old, folder, new)?)
}

/// Removes a file; one that is gone is no error.
pub(super) fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match at::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(at::fsync(folder)?)
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the fields' types differ between platforms")]
fn node(stat: &Stat) -> Node {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Other("a folder"),
        FileType::Symlink => NodeKind::Other("a symbolic link"),
        FileType::Fifo => NodeKind::Other("a named pipe"),
        FileType::Socket => NodeKind::Other("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => NodeKind::Other("a device"),
        FileType::Unknown => NodeKind::Other("no regular file"),
    };
    Node {
        kind,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        links: stat.st_nlink as u64,
        place: (stat.st_dev as u64, stat.st_ino as u64),
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_or_left() {
        for name in ["a.jsonl", "a.b.jsonl", " .jsonl", "-.jsonl"] {
            assert!(is_event_name(OsStr::new(name)), "{name}");
        }
        for name in [".jsonl", ".a.jsonl", "a.jsonl.tmp", "a.json", "a.JSONL", "a", "a.jsonl~"] {
            assert!(!is_event_name(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn derived_names_fit() {
        let long = OsString::from_vec([vec![0xff; 249], b".jsonl".to_vec()].concat());
        let name = derive(&long, "0123456789abcdef-", "", "");
        assert_eq!(name.len(), NAME_MAX);
        assert!(is_event_name(&name));
        assert_eq!(derive(OsStr::new("a.jsonl"), "", ".line-3", ".reason.txt"), "a.line-3.reason.txt");
        assert_eq!(derive(OsStr::new("a.jsonl"), "", ".7", ""), "a.7.jsonl");
    }

    #[test]
    fn a_link_in_the_place_of_a_subfolder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join("spool/rejected")).unwrap();
        let error = Folders::open(&dir.path().join("spool")).unwrap_err();
        assert!(error.to_string().contains("rejected"), "{error}");
    }

    #[test]
    fn a_claim_keeps_its_name_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("a-b.jsonl"), "x").unwrap();
        let claim = folders.claim(OsStr::new("a-b.jsonl")).unwrap().unwrap();
        assert_eq!(claim.name, "a-b.jsonl");
        assert_eq!(folders.claims().unwrap(), [claim]);
        assert_eq!(folders.claim(OsStr::new("a-b.jsonl")).unwrap(), None);
    }
}
