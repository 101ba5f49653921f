//! What lies in the spool: which files are to be taken, which are rows of events still to come, which are refused.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::{Duration, Instant};

use super::folders::{self, Folders, Node, NodeKind};
use super::kind::{self, Kind, Look};
use super::reading;

/// What is known of the files that wait. It is kept from one look to the next, so that a file is read once only.
#[derive(Debug, Default)]
pub(super) struct Survey {
    files: BTreeMap<OsString, Seen>,
}

#[derive(Debug)]
struct Seen {
    node: Node,
    since: Instant,
    found: Found,
    /// It was complained of.
    told: bool,
}

#[derive(Debug)]
enum Found {
    Lines(Look),
    /// It has another name as well; its writer may be about to remove that.
    Linked,
    Refused(String),
    Unreadable,
}

/// A file that something is to be done with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) name: OsString,
    pub(super) size: u64,
    pub(super) task: Task,
}

/// What is to be done with a file of the spool.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Claim it, read its events.
    Take(Node),
    /// Nobody has asked for its rows: claim it, see what it is.
    Settle,
    /// Set it aside unread.
    Refuse(String),
}

impl Survey {
    /// Looks at the spool. Files that were seen before and have not changed are not read again.
    pub(super) fn look(&mut self, folders: &Folders, limit: u64, now: Instant) -> io::Result<()> {
        let mut before = std::mem::take(&mut self.files);
        for name in folders::list(&folders.spool)? {
            if !folders::is_event_name(&name) {
                continue;
            }
            let node = match folders::stat(&folders.spool, &name) {
                Ok(node) => node,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let seen = match before.remove(&name) {
                Some(seen) if seen.node == node && !matches!(seen.found, Found::Unreadable) => seen,
                old => {
                    let told = old.is_some_and(|old| old.told && old.node == node);
                    match Seen::at(folders, &name, node, limit, now, told) {
                        Ok(seen) => seen,
                        // Renamed or removed between the list and the look.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(error),
                    }
                }
            };
            self.files.insert(name, seen);
        }
        Ok(())
    }

    /// What is to be done, in the order of names. `asked`: row files that events already claimed refer to. `patience`:
    /// how long rows wait for an event that refers to them, and a linked file for its writer.
    pub(super) fn tasks(&self, asked: &HashSet<String>, patience: Duration, now: Instant) -> Vec<Waiting> {
        let waiting = self.asked();
        let is_asked = |name: &OsStr| name.to_str().is_some_and(|name| asked.contains(name) || waiting.contains(name));
        let mut tasks = Vec::new();
        for (name, seen) in &self.files {
            let is_over = now.saturating_duration_since(seen.since) >= patience;
            let task = match &seen.found {
                Found::Lines(look) => match look.kind {
                    Kind::Events => Task::Take(seen.node.clone()),
                    Kind::Perhaps if is_over || !is_asked(name) => Task::Take(seen.node.clone()),
                    Kind::Rows if is_over && !is_asked(name) => Task::Settle,
                    Kind::Perhaps | Kind::Rows => continue,
                },
                Found::Linked if is_over => Task::Refuse(reading::LINKED.to_owned()),
                Found::Refused(reason) => Task::Refuse(reason.clone()),
                Found::Linked | Found::Unreadable => continue,
            };
            tasks.push(Waiting { name: name.clone(), size: seen.node.size, task });
        }
        tasks
    }

    /// The row files that waiting events refer to.
    pub(super) fn asked(&self) -> HashSet<String> {
        let mut asked = HashSet::new();
        for (name, seen) in &self.files {
            if let Found::Lines(look) = &seen.found {
                asked.extend(look.refers_to.iter().filter(|file| name != file.as_str()).cloned());
            }
        }
        asked
    }

    /// Whether a file that events referred to may go: not one of events itself.
    pub(super) fn is_rows(&self, name: &str) -> bool {
        match self.files.get(OsStr::new(name)) {
            Some(seen) => matches!(&seen.found, Found::Lines(look) if look.kind < Kind::Events),
            // Not `*.jsonl`, so it was never looked at.
            None => !folders::is_event_name(OsStr::new(name)),
        }
    }

    /// Files named `*.jsonl` that are there.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// A file could not be moved: whether that is to be told, once for each file.
    pub(super) fn complain(&mut self, name: &OsStr) -> bool {
        self.files.get_mut(name).is_some_and(|seen| !std::mem::replace(&mut seen.told, true))
    }
}

impl Seen {
    fn at(folders: &Folders, name: &OsStr, node: Node, limit: u64, now: Instant, mut told: bool) -> io::Result<Self> {
        let found = match reading::refusal(&node) {
            Some(reason) => Found::Refused(reason),
            None if node.links > 1 => Found::Linked,
            None => match folders::open(&folders.spool, name).and_then(|(file, _)| kind::look(file, limit)) {
                Ok(look) => Found::Lines(look),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(file = ?name, %error, "a file of the spool cannot be read; it stays there");
                    }
                    Found::Unreadable
                }
            },
        };
        debug_assert!(matches!(node.kind, NodeKind::File) || matches!(found, Found::Refused(_)));
        Ok(Self { node, since: now, found, told })
    }
}
