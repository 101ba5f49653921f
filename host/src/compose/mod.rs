//! Composing: an event and a decision become the finished bytes of a mail.
//!
//! [`view`] is what templates see, [`templates`] the compiled set, [`tables`] and [`attachments`] read result rows,
//! `results` asks plugins, whose answers `blocks` makes fit to be shown, [`mime`] writes the mail. Nothing here sends,
//! decides or remembers.

pub mod attachments;
mod blocks;
mod build;
pub mod digest;
pub mod human;
pub mod language;
pub mod links;
pub mod locale;
pub mod mime;
mod results;
pub(crate) mod samples;
pub mod tables;
pub mod templates;
pub mod view;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use self::attachments::Files;
use self::links::Root;
use self::locale::Locale;
use self::mime::Letterhead;
use self::templates::{STOCK_SET, Seen, Slot, TemplateError, Templates};
use self::view::View;
use crate::blob::BlobStore;
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::mail::{Attachment, NewMail};
use crate::plugin::{Ask, Asked, Trouble};
use crate::rule::address::Address;
use crate::rule::{Decision, Delivery, Rule};
use crate::text;

/// Characters of a subject.
pub const SUBJECT_LIMIT: usize = 200;

/// What composing needs to know beside the event.
#[derive(Clone, Copy)]
pub struct Composer<'a> {
    /// Compiled templates.
    pub templates: &'a Templates,
    /// Where links lead; `None`: there are none.
    pub links: Option<Root<'a>>,
    /// Asked for the sources that `renderers` names.
    pub plugins: &'a dyn Ask,
    /// Hears of each template that fails, for who shows it; `None`: the log alone does.
    pub failures: Option<&'a Mutex<Vec<TemplateError>>>,
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
    /// Those that the HTML part names.
    pub pictures: Vec<Picture>,
    /// What the templates saw; a digest is made of these.
    pub view: View,
}

/// A picture inside a mail.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its Content-ID without brackets; the HTML part has `cid:` and this. ASCII, nothing that a URL escapes.
    pub cid: String,
    /// Its bytes.
    pub file: Attachment,
}

impl Draft {
    /// The mails that the draft becomes: one for each recipient, or one for all (`delivery`). They share the body.
    /// `recipients` are those of the decision.
    #[must_use]
    pub fn mails(&self, rule: &Rule, recipients: &[String], thread: Option<String>, date: Timestamp) -> Vec<NewMail> {
        let head = Letterhead { from: &rule.sender, rule: &rule.name, date, thread };
        let content = mime::body(self);
        let to: Vec<Address> = recipients.iter().filter_map(|address| Address::parse(address).ok()).collect();
        let one = |to: &[Address]| mime::mail(&head, self, &content, to);
        match rule.delivery {
            _ if to.is_empty() => Vec::new(),
            Delivery::Shared => vec![one(&to)],
            Delivery::Individual => to.iter().map(|address| one(std::slice::from_ref(address))).collect(),
        }
    }
}

/// What the mails of one hunt, or of one client outside hunts, have in common: for `References`.
#[must_use]
pub fn thread(rule: &Rule, event: &FlowCompletion) -> String {
    let domain = rule.sender.domain();
    let hunt = if event.is_hunt() { event.hunt_id() } else { None };
    match hunt {
        Some(hunt) => mime::thread_id(&["hunt", &event.key.org_id, &hunt], domain),
        None => mime::thread_id(&["client", &event.key.org_id, &event.key.client_id], domain),
    }
}

/// Why a mail could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Composing broke down.
    #[error("an internal error, which is a bug worth reporting")]
    Bug,
    /// A plugin gave no answer, and the event is to be judged again later.
    #[error(transparent)]
    Postponed(#[from] Trouble),
    /// An attachment could not be stored.
    #[error("attachments could not be stored: {0}")]
    Io(#[from] std::io::Error),
}

impl Composer<'_> {
    /// How the mails of a rule speak.
    #[must_use]
    pub fn locale(&self, rule: &Rule) -> &Locale {
        self.templates.locale(rule.language.as_deref())
    }

    /// The subject alone, as `explain` shows it.
    ///
    /// # Errors
    /// When the subject template fails, the stock one too.
    pub fn subject(&self, rule: &Rule, event: &FlowCompletion) -> Result<String, ComposeError> {
        // What is relative in a subject is relative to the event: explaining it again gives the same.
        let now = event.timestamp.and_then(|time| Timestamp::from_microsecond(time.0).ok()).unwrap_or_default();
        let known = self.templates.names_only(&rule.template, STOCK_SET, Slot::Subject, build::HEAD);
        let view = if known {
            build::head(self.locale(rule), self.links, rule, event, now)
        } else {
            build::view(self.locale(rule), self.links, rule, event, None, now)
        };
        self.subject_of(rule, &Seen::of(&view))
    }

    /// The whole draft. Result rows that cannot be read are named in the mail, not an error. Blocking.
    ///
    /// # Errors
    /// When a plugin with `on_failure = "hold"` has no answer, when the stock templates fail too, or the disk does.
    pub fn draft(
        &self,
        rule: &Rule,
        event: &FlowCompletion,
        decision: &Decision,
        rows: &RowReader,
        blobs: &BlobStore,
        now: Timestamp,
    ) -> Result<Draft, ComposeError> {
        let locale = self.locale(rule);
        let mut view = build::view(locale, self.links, rule, event, Some(decision), now);
        let mut files = Files::new(rule, blobs, locale);
        let asked = Asked { rule: &rule.name, event, rows, now };
        let results = results::read(rule, self.plugins, &asked, &view.plugin_notes, &mut files, locale)?;
        view.results = results.tables;
        view.notes.extend(results.notes);
        files.results(event, rows)?;
        let attached = files.finish()?;
        view.attachments = attached.listed;
        view.notes.extend(attached.notes);

        let mut seen = Seen::of(&view);
        let subject = self.subject_of(rule, &seen)?;
        let text = self.part(rule, Slot::Text, &mut view, &mut seen)?;
        let html = if rule.html { Some(self.part(rule, Slot::Html, &mut view, &mut seen)?) } else { None };
        // A template may leave out what it does not know; nobody would see such a picture, but as an odd attachment.
        let named = |picture: &Picture| html.as_ref().is_some_and(|html| html.contains(&picture.cid));
        let pictures = attached.pictures.into_iter().filter(named).collect();
        Ok(Draft { subject, text, html, attachments: attached.stored, pictures, view })
    }

    fn subject_of(&self, rule: &Rule, view: &Seen) -> Result<String, ComposeError> {
        let subject = self.render(&rule.template, STOCK_SET, Slot::Subject, view)?;
        Ok(text::fit(&subject, SUBJECT_LIMIT).into_owned())
    }

    /// A short mail that names the event, for one whose own mail cannot be written: nothing that an endpoint sends may keep
    /// a mail from being sent.
    ///
    /// # Errors
    /// When even that fails.
    pub fn last_resort(
        &self,
        rule: &Rule,
        event: &FlowCompletion,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<Draft, ComposeError> {
        let view = build::bare(self.locale(rule), self.links, rule, event, decision, now);
        let seen = Seen::of(&view);
        let render = |slot| self.templates.render_stock(STOCK_SET, slot, &seen);
        let (subject, text) = (text::fit(&view.subject, SUBJECT_LIMIT).into_owned(), render(Slot::Text)?);
        let html = if rule.html { Some(render(Slot::Html)?) } else { None };
        Ok(Draft { subject, text, html, attachments: Vec::new(), pictures: Vec::new(), view })
    }

    /// One part of the mail; without result tables if it would become too large with them, and, if that is not enough,
    /// with its first facts only.
    fn part(&self, rule: &Rule, slot: Slot, view: &mut View, seen: &mut Seen) -> Result<String, ComposeError> {
        let mut done = self.render(&rule.template, STOCK_SET, slot, seen);
        if done.is_err() && !view.results.is_empty() {
            view.results.clear();
            view.notes.push(self.locale(rule).t("note_no_tables", &[]));
            *seen = Seen::of(view);
            done = self.render(&rule.template, STOCK_SET, slot, seen);
        }
        if done.is_err() {
            build::shorten(view);
            view.notes.push(self.locale(rule).t("note_no_details", &[]));
            *seen = Seen::of(view);
            done = self.render(&rule.template, STOCK_SET, slot, seen);
        }
        done
    }

    /// Renders by the site's templates or, when they fail on this view, by the stock ones: an event must not be lost
    /// because of a layout.
    fn render(&self, set: &str, stock: &str, slot: Slot, view: &Seen) -> Result<String, ComposeError> {
        self.templates.render(set, slot, view).or_else(|error| {
            match self.failures {
                Some(failures) => failures.lock().unwrap_or_else(PoisonError::into_inner).push(error),
                None => {
                    tracing::warn!(template = %error.name, line = error.line, %error, "template failed, using the stock one");
                }
            }
            self.templates.render_stock(stock, slot, view).map_err(ComposeError::from)
        })
    }
}
