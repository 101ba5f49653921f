//! A finished mail: who it is for, and its exact bytes. What composing ends with, what the outbox keeps, what delivery
//! streams. Nothing after composing changes a byte of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::blob::BlobRef;

/// A piece of a mail's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Segment {
    /// These bytes, as they are: CRLF line ends, no line over 998 octets.
    Bytes(Vec<u8>),
    /// The blob in base64 (RFC 2045 section 6.8): lines of 76 characters, each ended by CRLF, the last one too.
    Base64(BlobRef),
}

/// One finished mail: an envelope and its content.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// Without angle brackets; fixed here, the same in every copy and on every retry (RFC 5322 section 3.6.4).
    pub message_id: String,
    /// Envelope sender (reverse-path), `local@domain`.
    pub sender: String,
    /// Envelope recipients, `local@domain`, at least one.
    pub recipients: Vec<String>,
    /// The subject as text, for lists on a terminal.
    pub subject: String,
    /// Header fields, each ended by CRLF, without the blank line that ends the header.
    pub head: Vec<u8>,
    /// What follows the header's blank line; shared by the mails of one event.
    pub body: Arc<Vec<Segment>>,
}

impl Segment {
    /// How many octets it is on the wire, before dot-stuffing.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Base64(blob) => {
                let characters = blob.size.div_ceil(3) * 4;
                characters + characters.div_ceil(76) * 2
            }
        }
    }

    /// Whether it has no octets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl NewMail {
    /// How many octets the whole mail is on the wire, before dot-stuffing: head, blank line, body.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.len() as u64 + 2 + self.body.iter().map(Segment::len).sum::<u64>()
    }
}
