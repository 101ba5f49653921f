//! The outbox: the one place that remembers. Events with their decisions and finished mails in one transaction; then
//! each recipient's way to an end.
//!
//! [`Outbox`] is a handle to one writer that groups what waits into one transaction (WAL, full sync) and answers after
//! the commit. States and their moves are in [`state`]; waits in [`schedule`]; `send_interval` in [`throttle`].

mod accept;
mod batch;
mod census;
mod claim;
mod command;
mod content;
#[allow(dead_code, reason = "nothing opens an outbox on PostgreSQL yet")]
mod db;
mod digest;
mod document;
mod follow;
pub mod hand;
mod known;
mod lock;
pub mod look;
mod open;
mod postponed;
pub mod schedule;
mod space;
mod sql;
pub mod state;
pub mod store;
mod sweep;
pub mod throttle;
pub mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::event::EventKey;
use crate::mail::{Attachment, NewMail, Segment};
use crate::rule::{Decision, Priority, Throttle};

/// Why the outbox did not do it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Less free space than `min_free`.
    #[error("{} has {free} bytes free, fewer than `min_free` ({min_free})", .path.display())]
    Full {
        /// Folder of the outbox.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Setting.
        min_free: u64,
    },
    /// Another daemon has it.
    #[error("{} is in use by another bewit process", .0.display())]
    Locked(PathBuf),
    /// Damaged, of a newer version, or no outbox at all.
    #[error("{}: {reason}", .path.display())]
    Unusable {
        /// Database file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// SQLite's word.
    #[error("outbox: {0}")]
    Database(#[from] sqlx::Error),
    /// The file system's word.
    #[error("outbox: {0}")]
    Io(#[from] std::io::Error),
    /// The writer has stopped after a storage failure; the process must end.
    #[error("the outbox has stopped: {0}")]
    Stopped(String),
}

/// One line of an intake, ready to be remembered.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Which intake and file, for people.
    pub source: String,
    /// What became of the line.
    pub content: Content,
}

/// What became of a line.
#[derive(Debug, Clone)]
pub enum Content {
    /// An event with the outcome of every rule.
    Event {
        /// Its key.
        key: EventKey,
        /// SHA-256 of the admitted line (or of the key, if that says all), hex: the same key with another is a conflict.
        digest: String,
        /// What is kept of it.
        document: Document,
        /// One for each rule that has judged it, in rule order.
        outcomes: Vec<Outcome>,
        /// What the other rules need to judge it again.
        held: Option<Box<Held>>,
    },
    /// A line that is no event: set aside.
    Rejected {
        /// Byte offset in its source.
        offset: u64,
        /// Bytes.
        length: u64,
        /// SHA-256, hex.
        digest: String,
        /// Why.
        reason: String,
    },
}

/// What a rule made of an event.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Rule name.
    pub rule: String,
    /// With the trace.
    pub decision: Decision,
    /// Subject, if there is a mail.
    pub subject: Option<String>,
    /// Finished mails; not empty exactly if the decision is `notify`.
    pub mails: Vec<NewMail>,
    /// `send_interval` and what happens inside it; zero: off.
    pub throttle: (Throttle, Duration),
    /// Who goes first.
    pub priority: Priority,
    /// What a digest needs if the mails are gathered.
    pub gathered: Option<Gathered>,
}

/// What a digest needs of one gathered event.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The view (`compose::view::View`) as JSON.
    pub view: String,
    /// Attachments of the mail.
    pub attachments: Vec<Attachment>,
}

/// Where an intake stands in a source: moves in the same transaction as what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Names the source for ever (spool: claimed file name with its inode).
    pub source: String,
    /// Bytes done; Velociraptor: Unix seconds.
    pub offset: u64,
}

/// What the outbox did with one accepted line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// New, stored.
    Stored,
    /// Known, same body: nothing to do.
    Duplicate,
    /// Known, other body: recorded, not mailed again.
    Conflict,
}

/// One recipient's part of a [`Job`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecipient {
    /// Row id.
    pub id: i64,
    /// Address.
    pub address: String,
    /// Attempts so far, this one not counted.
    pub attempts: u32,
}

/// A mail that is due: claimed for one attempt.
#[derive(Debug, Clone)]
pub struct Job {
    /// Mail row id.
    pub mail: i64,
    /// Of this claim; every later move names it, and a move of an older epoch does nothing.
    pub epoch: i64,
    /// Message-ID without brackets.
    pub message_id: String,
    /// Envelope sender.
    pub sender: String,
    /// Those that are due; the others of the mail are done or wait.
    pub recipients: Vec<JobRecipient>,
    /// Header bytes, without the blank line.
    pub head: Vec<u8>,
    /// Body.
    pub body: std::sync::Arc<Vec<Segment>>,
    /// Octets of the whole mail.
    pub size: u64,
    /// When it was stored, or its slot if `throttle = "delay"` put it off.
    pub stored: Timestamp,
    /// Its rule's, when it was stored.
    pub priority: Priority,
}

/// How many mails of each priority are claimed, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Critical ones.
    pub critical: usize,
    /// Normal ones.
    pub normal: usize,
    /// Bulk.
    pub bulk: usize,
}

impl Wanted {
    /// So many of each.
    #[must_use]
    pub const fn each(number: usize) -> Self {
        Self { critical: number, normal: number, bulk: number }
    }

    /// How many of one priority.
    #[must_use]
    pub const fn of(self, priority: Priority) -> usize {
        match priority {
            Priority::Critical => self.critical,
            Priority::Normal => self.normal,
            Priority::Bulk => self.bulk,
        }
    }

    /// How many in all.
    #[must_use]
    pub const fn total(self) -> usize {
        self.critical.saturating_add(self.normal).saturating_add(self.bulk)
    }
}

/// How an attempt ended for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The server took it: its reply.
    Delivered(String),
    /// Try again by the schedule: reason.
    Deferred(String),
    /// Never: reason. Dead-lettered.
    Failed(String),
    /// The reply to the final dot never came, and `on_ambiguous = "hold"`.
    Held(String),
    /// Not its own fault (relay suspended, connection broken before MAIL, shutdown): back to the queue at once, no
    /// attempt counted; due again at the given time.
    Released(Timestamp),
    /// Not tried, since a limit of ours says so: back to the queue with the reason, no attempt counted; due again at the
    /// given time.
    Waits(Timestamp, String),
}

/// A digest that is due: everything gathered for one rule.
#[derive(Debug, Clone)]
pub struct DigestJob {
    /// Rule name.
    pub rule: String,
    /// In order of arrival.
    pub items: Vec<DigestItem>,
}

/// One gathered event.
#[derive(Debug, Clone)]
pub struct DigestItem {
    /// Row id.
    pub id: i64,
    /// Event, as `org/client/flow`.
    pub event: String,
    /// The mails that it would have been.
    pub mails: Vec<NewMail>,
    /// What the digest shows.
    pub gathered: Gathered,
}

pub use self::census::{Census, Lane, Oldest, SpaceCensus};
pub use self::content::write_mail;
pub use self::document::{DOCUMENT_LIMIT, Document};
pub use self::follow::Notice;
pub use self::open::blob_folder;
pub use self::postponed::outside::Postponed;
pub use self::postponed::{ATTEMPTS, Held, Judged, LINE_LIMIT, PostponedJob, PutOff, Settled};
pub use self::store::Outbox;
