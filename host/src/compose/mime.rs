//! MIME: a draft and an envelope become bytes, once. Seven-bit, CRLF, no line over 998 octets (target 76).

use std::sync::Arc;

use jiff::Timestamp;

use super::Draft;
use crate::mail::{NewMail, Segment};
use crate::rule::address::{Address, Mailbox};

/// What the mails of one event share in their headers.
#[derive(Debug, Clone)]
pub struct Letterhead<'a> {
    /// From, and envelope sender.
    pub from: &'a Mailbox,
    /// Rule name, for List-Id.
    pub rule: &'a str,
    /// Date of all copies.
    pub date: Timestamp,
    /// Message-ID (without brackets) that this mail continues, for `References` and `In-Reply-To`.
    pub thread: Option<String>,
}

/// The part below the header: built once, shared by every copy. The first element of the answer is the
/// `Content-Type` field (and `MIME-Version`) that belongs in the header.
#[must_use]
pub fn body(draft: &Draft) -> (Vec<u8>, Arc<Vec<Segment>>) {
    let _ = draft;
    todo!()
}

/// One mail to these recipients.
#[must_use]
pub fn mail(head: &Letterhead<'_>, draft: &Draft, content: &(Vec<u8>, Arc<Vec<Segment>>), to: &[Address]) -> NewMail {
    let _ = (head, draft, content, to);
    todo!()
}

/// A fresh Message-ID in the sender's domain: 128 random bits in base32.
#[must_use]
pub fn message_id(domain: &str) -> String {
    let _ = domain;
    todo!()
}

/// The Message-ID under which the mails of one hunt (or of one client, outside hunts) thread together; it belongs to
/// no mail, it only ties them.
#[must_use]
pub fn thread_id(parts: &[&str], domain: &str) -> String {
    let _ = (parts, domain);
    todo!()
}
