//! Reading a claimed file in batches, from where the outbox says it stands. Everything here may block.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::aside::{self, Bad, Content};
use super::folders::{self, Claim, Folders, Node, NodeKind};
use super::kind::{self, Kind};
use crate::intake::lines::{Lines, Start};
use crate::intake::{Accept, BATCH_BYTES, BATCH_LINES, Line, Refused};

/// Bytes of the largest file that is read. A sparse file of any size costs its maker nothing.
const LARGEST: u64 = 4 * 1024 * 1024 * 1024;

/// Lines, none of them an event, up to which each is judged alone; a file of more is set aside as a whole.
const FEW: usize = 32;

/// Somebody else may go on writing to such a file, or it is not for the spool's writer to give.
pub(super) const LINKED: &str = "it has several names (hard links)";

/// A claimed file, open.
#[derive(Debug)]
pub(super) struct Reading {
    claim: Claim,
    file: Arc<File>,
    limit: u64,
    /// Where the lines begin that are not stored yet.
    at: Start,
    lines: Option<Lines<Arc<File>>>,
    /// Result files that its events name.
    refers_to: BTreeSet<String>,
}

/// What is to be done with a claimed file.
#[derive(Debug)]
pub(super) enum Opened {
    /// Read it.
    Lines(Box<Reading>),
    /// Set it aside as a whole.
    Whole(Whole),
    /// It is back in the spool: what was claimed was not the file that had been looked at.
    PutBack,
    /// There is no such file.
    Gone,
}

/// A file that is set aside as a whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) length: u64,
    pub(super) digest: String,
    pub(super) reason: String,
}

/// Lines to hand over.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) lines: Vec<Line>,
    /// Where the file stands after them.
    pub(super) next: u64,
    after: Start,
    places: Vec<Place>,
}

/// What is kept of a line that was handed over.
#[derive(Debug)]
struct Place {
    number: u64,
    offset: u64,
    /// Its length; or what is known of one that is too long to be kept.
    length: Result<usize, Refused>,
    /// Result files that it names.
    names: Vec<String>,
}

/// How a claimed file comes to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It holds events, as a look at this file has shown.
    Events(Node),
    /// Nobody has asked for its rows: see what it is.
    Settle,
    /// It was claimed before a crash or a failure, and stands at this offset.
    Resume(u64),
}

impl Reading {
    /// Opens a claimed file and decides what to do with it; the decision depends on its bytes alone, so that it is the
    /// same after a crash.
    pub(super) fn open(
        folders: &Folders,
        claim: &Claim,
        limit: u64,
        purpose: Purpose,
        accept: &dyn Accept,
    ) -> io::Result<Opened> {
        let node = match folders::stat(&folders.claimed, &claim.stored) {
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Gone),
            Err(error) => return Err(error),
        };
        let linked = || (node.links > 1).then(|| LINKED.to_owned());
        if let Some(reason) = refusal(&node).or_else(linked) {
            return Ok(Opened::Whole(Whole { length: node.size, digest: blank(), reason }));
        }
        let (file, _) = folders::open(&folders.claimed, &claim.stored)?;
        let file = Arc::new(file);
        let known = matches!(&purpose, Purpose::Events(seen) if *seen == node);
        if !known && kind::look(start(&file)?, limit)?.kind == Kind::Rows {
            if let Purpose::Events(_) = purpose {
                // Between the look and the claim another file has taken the name.
                match folders::rename(&folders.claimed, &claim.stored, &folders.spool, &claim.name) {
                    Ok(()) => return Ok(Opened::PutBack),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            if kind::is_bulk(start(&file)?, limit, FEW)? {
                let (length, digest) = aside::measure(start(&file)?)?;
                let reason =
                    "no line looks like an event, and no event refers to it as a file of result rows".to_owned();
                return Ok(Opened::Whole(Whole { length, digest, reason }));
            }
        }
        let mut reading =
            Self { claim: claim.clone(), file, limit, at: Start::default(), lines: None, refers_to: BTreeSet::new() };
        if let Purpose::Resume(offset) = purpose {
            reading.skip_to(offset, accept)?;
        }
        Ok(Opened::Lines(Box::new(reading)))
    }

    /// Reads over what is done: for the number of its lines, and for the files that its events named.
    fn skip_to(&mut self, offset: u64, accept: &dyn Accept) -> io::Result<()> {
        if offset == 0 {
            return Ok(());
        }
        start(&self.file)?;
        let mut lines = Lines::new(Arc::clone(&self.file), self.limit, Start::default());
        while let Some(found) = lines.next_line()?.filter(|found| found.next <= offset) {
            self.at.lines = found.number;
            if let Ok(line) = &found.line.content {
                self.note(line, accept);
            }
        }
        self.at.offset = offset;
        Ok(())
    }

    fn note(&mut self, line: &[u8], accept: &dyn Accept) {
        let names = kind::refers_to(line);
        if !names.is_empty() && accept.examine(line).is_ok() {
            self.refers_to.extend(names);
        }
    }

    /// The next lines. `None`: there are no more.
    pub(super) fn next_part(&mut self) -> io::Result<Option<Part>> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            lines => {
                (&*self.file).seek(SeekFrom::Start(self.at.offset))?;
                lines.insert(Lines::new(Arc::clone(&self.file), self.limit, self.at))
            }
        };
        let mut part = Part { lines: Vec::new(), next: 0, after: self.at, places: Vec::new() };
        let mut bytes = 0;
        while part.lines.len() < BATCH_LINES && bytes < BATCH_BYTES {
            let Some(found) = lines.next_line()? else { break };
            let (length, names) = match &found.line.content {
                Ok(line) => {
                    bytes += line.len();
                    (Ok(line.len()), kind::refers_to(line))
                }
                Err(refused) => (Err(refused.clone()), Vec::new()),
            };
            part.places.push(Place { number: found.number, offset: found.line.offset, length, names });
            part.after = Start { offset: found.next, lines: found.number };
            part.lines.push(found.line);
        }
        part.next = part.after.offset;
        Ok(Some(part).filter(|part| !part.lines.is_empty()))
    }

    /// The part was judged and is to be stored: its bad lines are set aside, the files that the good ones name are
    /// remembered.
    pub(super) fn judged(
        &mut self,
        folders: &Folders,
        part: &mut Part,
        rejected: Vec<Option<String>>,
    ) -> io::Result<()> {
        let mut bad = Vec::new();
        for (place, rejected) in part.places.iter_mut().zip(rejected) {
            let Some(reason) = rejected else {
                self.refers_to.extend(std::mem::take(&mut place.names));
                continue;
            };
            let content = match &place.length {
                Ok(length) => {
                    let mut line = vec![0; *length];
                    self.file.read_exact_at(&mut line, place.offset)?;
                    Content::Kept(line)
                }
                Err(refused) => Content::InFile(refused.length, refused.digest.clone()),
            };
            bad.push(Bad { number: place.number, offset: place.offset, content, reason });
        }
        aside::lines(folders, &self.claim, &self.file, &bad)
    }

    /// The part is stored: go on after it.
    pub(super) fn stored(&mut self, done: &Part) {
        self.at = done.after;
    }

    /// A part was not stored: the next one is that part again.
    pub(super) fn rewind(&mut self) {
        self.lines = None;
    }

    /// Whether there is more than was read: somebody still writes to the file.
    pub(super) fn has_grown(&mut self) -> io::Result<bool> {
        let mut lines = Lines::new(Arc::clone(&self.file), self.limit, self.at);
        (&*self.file).seek(SeekFrom::Start(self.at.offset))?;
        let grown = lines.next_line()?.is_some();
        self.lines = None;
        Ok(grown)
    }

    /// Where it stands.
    pub(super) fn offset(&self) -> u64 {
        self.at.offset
    }

    /// The result files that its events named so far.
    pub(super) fn refers_to(&self) -> &BTreeSet<String> {
        &self.refers_to
    }
}

/// Why a file of the spool is not read at all, if so.
pub(super) fn refusal(node: &Node) -> Option<String> {
    match node.kind {
        NodeKind::Other(what) => Some(format!("{what}, not a regular file")),
        NodeKind::File if node.size > LARGEST => Some(format!("the file is longer than {LARGEST} bytes")),
        NodeKind::File => None,
    }
}

/// The digest of nothing, for what is not read.
pub(super) fn blank() -> String {
    crate::blob::sha256_of(io::empty()).unwrap_or_default()
}

fn start(mut file: &File) -> io::Result<&File> {
    file.rewind()?;
    Ok(file)
}
