//! Setting aside what is no event: its bytes as they came, and beside them why, durable before anybody is told.
//!
//! `NAME.line-3.jsonl` and `NAME.line-3.reason.txt`; many bad lines close together share `NAME.lines-3-90.jsonl`. The
//! names follow from the file and the line, so doing it again after a crash changes nothing; if another file of the
//! same name has left something else there, the name gets the claim's tag.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use super::folders::{self, Claim, Folders};
use crate::blob;
use crate::text::Visible;

/// Bad lines of one batch, up to which each gets files of its own.
const ALONE: usize = 32;

const BLOCK: usize = 64 * 1024;

/// A line that is no event.
#[derive(Debug)]
pub(super) struct Bad {
    /// Counted from 1.
    pub(super) number: u64,
    /// Byte offset.
    pub(super) offset: u64,
    /// Its bytes, or how many there are in the file.
    pub(super) content: Content,
    /// Why.
    pub(super) reason: String,
}

/// Where a bad line's bytes are.
#[derive(Debug)]
pub(super) enum Content {
    Kept(Vec<u8>),
    /// Length and SHA-256: too long to keep.
    InFile(u64, String),
}

/// Writes the bad lines of a batch to `rejected/`.
pub(super) fn lines(folders: &Folders, claim: &Claim, file: &File, bad: &[Bad]) -> io::Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    let kept = bad.iter().filter(|bad| matches!(bad.content, Content::Kept(_))).count();
    let mut together = Vec::new();
    for bad in bad {
        match &bad.content {
            Content::Kept(_) if kept > ALONE => together.push(bad),
            Content::Kept(bytes) => {
                put(folders, claim, &format!(".line-{}", bad.number), &about(claim, bad), |out| out.write_all(bytes))?;
            }
            Content::InFile(length, _) => {
                put(folders, claim, &format!(".line-{}", bad.number), &about(claim, bad), |out| {
                    copy(file, bad.offset, *length, out)
                })?;
            }
        }
    }
    if let (Some(first), Some(last)) = (together.first(), together.last()) {
        let middle = format!(".lines-{}-{}", first.number, last.number);
        let reasons: Vec<String> = together.iter().map(|bad| about(claim, bad)).collect();
        put(folders, claim, &middle, &reasons.join("\n"), |out| {
            let mut out = io::BufWriter::new(out);
            for bad in &together {
                if let Content::Kept(bytes) = &bad.content {
                    out.write_all(bytes)?;
                    out.write_all(b"\n")?;
                }
            }
            out.flush()
        })?;
    }
    folders::sync(&folders.rejected)
}

/// Moves a whole file to `rejected/`, its reason first.
pub(super) fn whole(folders: &Folders, from: &OwnedFd, claim: &Claim, about: &str) -> io::Result<()> {
    // Which name it gets is known after the move only; until then the reason has the tagged one.
    let temporary = folders::derive(&claim.name, "", &format!(".{}", claim.tag), ".reason.txt");
    reason(folders, &temporary, about)?;
    folders::sync(&folders.rejected)?;
    let moved = match folders.move_to(from, &claim.stored, &folders.rejected, &claim.name, &claim.tag) {
        Ok(moved) => moved,
        Err(error) => {
            let _ = folders::remove(&folders.rejected, &temporary);
            return Err(error);
        }
    };
    let name = folders::derive(&moved, "", "", ".reason.txt");
    if name != temporary {
        folders::replace(&folders.rejected, &temporary, &name)?;
    }
    folders::sync(&folders.rejected)
}

/// A reason file's text for a whole file.
pub(super) fn about_whole(claim: &Claim, length: u64, digest: &str, why: &str) -> String {
    let mut text = String::new();
    let name = claim.name.to_string_lossy();
    let _ = writeln!(text, "file: {}\nbytes: {length}\nsha256: {digest}\nreason: {}", Visible(&name), Visible(why));
    text
}

fn about(claim: &Claim, bad: &Bad) -> String {
    let (length, digest) = match &bad.content {
        Content::Kept(bytes) => (bytes.len() as u64, blob::sha256_of(bytes.as_slice()).unwrap_or_default()),
        Content::InFile(length, digest) => (*length, digest.clone()),
    };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "file: {}\nline: {}\noffset: {}\nbytes: {length}\nsha256: {digest}\nreason: {}",
        Visible(&claim.name.to_string_lossy()),
        bad.number,
        bad.offset,
        Visible(&bad.reason)
    );
    text
}

/// Writes one file and its reason under the line's name.
fn put(
    folders: &Folders,
    claim: &Claim,
    middle: &str,
    about: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let (mut file, temporary) = folders::create(&folders.rejected)?;
    let name = write(&mut file).and_then(|()| {
        file.sync_all()?;
        let plain = folders::derive(&claim.name, "", middle, "");
        let tagged = folders::derive(&claim.name, "", &format!(".{}{middle}", claim.tag), "");
        match folders::rename(&folders.rejected, &temporary, &folders.rejected, &plain) {
            Ok(()) => Ok(plain),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // Our own, from before a crash.
            Err(_) if same(folders, &plain, &mut file)? => {
                folders::remove(&folders.rejected, &temporary)?;
                Ok(plain)
            }
            Err(_) => folders::replace(&folders.rejected, &temporary, &tagged).map(|()| tagged),
        }
    });
    let name = match name {
        Ok(name) => name,
        Err(error) => {
            let _ = folders::remove(&folders.rejected, &temporary);
            return Err(error);
        }
    };
    reason(folders, &folders::derive(&name, "", "", ".reason.txt"), about)
}

fn reason(folders: &Folders, name: &OsString, about: &str) -> io::Result<()> {
    let (mut file, temporary) = folders::create(&folders.rejected)?;
    let written = file
        .write_all(about.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| folders::replace(&folders.rejected, &temporary, name));
    if written.is_err() {
        let _ = folders::remove(&folders.rejected, &temporary);
    }
    written
}

/// Whether the file of that name has the same bytes.
fn same(folders: &Folders, name: &OsString, file: &mut File) -> io::Result<bool> {
    let Ok((there, node)) = folders::open(&folders.rejected, name) else { return Ok(false) };
    if node.size != file.metadata()?.len() {
        return Ok(false);
    }
    file.rewind()?;
    Ok(blob::sha256_of(there)? == blob::sha256_of(file)?)
}

/// Copies a range of a file.
fn copy(file: &File, mut offset: u64, length: u64, out: &mut File) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let read = file.read_at(block.get_mut(..want).unwrap_or_default(), offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.write_all(block.get(..read).unwrap_or_default())?;
        offset += read as u64;
        left -= read as u64;
    }
    Ok(())
}

/// The length and SHA-256 of a reader's bytes.
pub(super) fn measure(reader: impl Read) -> io::Result<(u64, String)> {
    struct Counting<R>(R, u64);
    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(out)?;
            self.1 += read as u64;
            Ok(read)
        }
    }
    let mut reader = Counting(reader, 0);
    let digest = blob::sha256_of(&mut reader)?;
    Ok((reader.1, digest))
}
