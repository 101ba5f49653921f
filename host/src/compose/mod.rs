//! Composing: an event and a decision become the finished bytes of a mail.
//!
//! [`view`] is what templates see, [`templates`] the compiled set, [`tables`] and [`attachments`] read result rows,
//! [`mime`] writes the mail. Nothing here sends, decides or remembers.

pub mod attachments;
mod build;
pub mod digest;
pub mod human;
pub mod links;
pub mod mime;
mod samples;
pub mod tables;
pub mod templates;
pub mod text;
pub mod view;

use jiff::Timestamp;
use serde::Serialize;

use self::attachments::Attachment;
use self::templates::{STOCK_SET, Slot, TemplateError, Templates};
use self::view::View;
use crate::blob::BlobStore;
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::rule::{Decision, Rule};

/// Characters of a subject.
pub const SUBJECT_LIMIT: usize = 200;

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
    /// When the subject template fails, the stock one too.
    pub fn subject(&self, rule: &Rule, event: &FlowCompletion) -> Result<String, ComposeError> {
        // What is relative in a subject is relative to the event: explaining it again gives the same.
        let now = event.timestamp.and_then(|time| Timestamp::from_microsecond(time.0).ok()).unwrap_or_default();
        let view = build::view(self.base_url, rule, event, None, now);
        self.subject_of(rule, &view)
    }

    /// The whole draft. Result rows that cannot be read are named in the mail, not an error. Blocking.
    ///
    /// # Errors
    /// When the stock templates fail too, or the disk does.
    pub fn draft(
        &self,
        rule: &Rule,
        event: &FlowCompletion,
        decision: &Decision,
        rows: &RowReader,
        blobs: &BlobStore,
        now: Timestamp,
    ) -> Result<Draft, ComposeError> {
        let mut view = build::view(self.base_url, rule, event, Some(decision), now);
        let tables = tables::read(rule, event, rows);
        view.results = tables.tables;
        if tables.cut {
            view.notes.push("Some result rows were left out: the mail would have become too large.".to_owned());
        }
        let attached = attachments::write(rule, event, rows, blobs)?;
        view.attachments = attached.listed;
        view.notes.extend(attached.notes);

        let subject = self.subject_of(rule, &view)?;
        let text = self.part(rule, Slot::Text, &mut view)?;
        let html = if rule.html { Some(self.part(rule, Slot::Html, &mut view)?) } else { None };
        Ok(Draft { subject, text, html, attachments: attached.stored, view })
    }

    fn subject_of(&self, rule: &Rule, view: &View) -> Result<String, ComposeError> {
        let subject = self.render(&rule.template, STOCK_SET, Slot::Subject, view)?;
        Ok(text::fit(&subject, SUBJECT_LIMIT).into_owned())
    }

    /// One part of the mail; without result tables if it would become too large with them.
    fn part(&self, rule: &Rule, slot: Slot, view: &mut View) -> Result<String, ComposeError> {
        match self.render(&rule.template, STOCK_SET, slot, view) {
            Err(_) if !view.results.is_empty() => {
                view.results.clear();
                view.notes.push("Result tables were left out: the mail would have become too large.".to_owned());
                self.render(&rule.template, STOCK_SET, slot, view)
            }
            done => done,
        }
    }

    /// Renders by the site's templates or, when they fail on this view, by the stock ones: an event must not be lost
    /// because of a layout.
    fn render(&self, set: &str, stock: &str, slot: Slot, view: &impl Serialize) -> Result<String, ComposeError> {
        self.templates.render(set, slot, view).or_else(|error| {
            tracing::warn!(template = %error.name, line = error.line, %error, "template failed, using the stock one");
            self.templates.render_stock(stock, slot, view).map_err(ComposeError::from)
        })
    }
}
