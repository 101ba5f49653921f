//! Result attachments: JSONL or CSV, streamed into the blob store, dropped as a whole over the limit.

use serde::{Deserialize, Serialize};

use crate::blob::BlobRef;

/// A file of the mail, stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// File name, `[A-Za-z0-9._-]`, at most 120 characters, distinct within the mail.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Its bytes.
    pub blob: BlobRef,
}
