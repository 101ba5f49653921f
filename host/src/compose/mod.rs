//! Composing: an event and a decision become the finished bytes of a mail.
//!
//! [`view`] is what templates see, [`templates`] the compiled set, [`tables`] and [`attachments`] read result rows,
//! [`mime`] writes the mail. Nothing here sends, decides or remembers.

pub mod attachments;
pub mod digest;
pub mod human;
pub mod links;
pub mod mime;
pub mod tables;
pub mod templates;
pub mod text;
pub mod view;

use jiff::Timestamp;

use self::attachments::Attachment;
use self::templates::{TemplateError, Templates};
use self::view::View;
use crate::blob::BlobStore;
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::rule::{Decision, Rule};

/// What composing needs to know beside the event.
#[derive(Debug, Clone, Copy)]
pub struct Composer<'a> {
    /// Compiled templates.
    pub templates: &'a Templates,
    /// `[links] base_url`, ending in `/`.
    pub base_url: Option<&'a str>,
}

/// A mail's content before it has an envelope: what the mails of one event share.
#[derive(Debug, Clone)]
pub struct Draft {
    /// One line of raw text, at most 200 characters.
    pub subject: String,
    /// Plain text, LF line ends.
    pub text: String,
    /// HTML, if the rule wants it.
    pub html: Option<String>,
    /// In order.
    pub attachments: Vec<Attachment>,
    /// What the templates saw; a digest is made of these.
    pub view: View,
}

/// Why a mail could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// An attachment could not be stored.
    #[error("attachments could not be stored: {0}")]
    Io(#[from] std::io::Error),
}

impl Composer<'_> {
    /// The subject alone, as `explain` shows it.
    ///
    /// # Errors
    /// When the subject template fails.
    pub fn subject(&self, rule: &Rule, event: &FlowCompletion) -> Result<String, ComposeError> {
        let _ = (rule, event);
        todo!()
    }

    /// The whole draft. Result rows that cannot be read are named in the mail, not an error. Blocking.
    ///
    /// # Errors
    /// When a template fails or the disk does.
    pub fn draft(
        &self,
        rule: &Rule,
        event: &FlowCompletion,
        decision: &Decision,
        rows: &RowReader,
        blobs: &BlobStore,
        now: Timestamp,
    ) -> Result<Draft, ComposeError> {
        let _ = (rule, event, decision, rows, blobs, now);
        todo!()
    }
}
