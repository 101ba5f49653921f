//! Looks at a finished mail as its readers' programs will: what they do not support, cut off, hide or distrust, and what
//! a reader cannot see or hear. Pure: no files, no network, no time.
//!
//! [`lint`] takes a [`Rendered`] mail and answers findings, each with its place and what to do about it. What mail
//! programs support is data ([`support`]); each kind of finding has its words in one table ([`RULES`]). Any HTML may come
//! in: time and memory are bounded, and what cannot be told is no finding.
//!
//! It runs where mails are looked at (`bewit render --lint`, the preview), never where they are sent.

mod colour;
mod contrast;
mod css;
mod facts;
mod head;
mod html;
mod images;
mod links;
mod report;
mod rules;
mod size;
mod structure;
mod style;
pub mod support;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use self::report::has_errors;
pub use self::rules::{RULES, Rule};

use self::css::Sheet;
use self::html::Document;
use self::report::Report;
use self::style::{Scheme, Style};
use crate::compose::Draft;
use crate::compose::links::Root;
use crate::mail::NewMail;

/// A finished mail, as far as it is looked at.
#[derive(Debug, Clone, Default)]
pub struct Rendered<'a> {
    /// As text, on one line.
    pub subject: &'a str,
    /// The HTML part, if there is one.
    pub html: Option<&'a str>,
    /// The text part.
    pub text: &'a str,
    /// Attached files and pictures.
    pub files: Vec<File<'a>>,
    /// Header fields, each ended by CRLF; `None`: not known, nothing is said about them.
    pub head: Option<&'a [u8]>,
    /// Octets of the whole mail on the wire; 0: not known.
    pub size: u64,
    /// Beginnings of the addresses that are known to be ours, such as `[links] base_url`.
    pub ours: Vec<&'a str>,
}

/// A file inside a mail.
#[derive(Debug, Clone)]
pub struct File<'a> {
    /// File name.
    pub name: &'a str,
    /// MIME type.
    pub content_type: &'a str,
    /// Octets, before base64.
    pub size: u64,
    /// Content-ID without brackets, for a picture that the HTML names.
    pub cid: Option<&'a str>,
}

impl<'a> Rendered<'a> {
    /// A draft, one of the mails that it became, and where its links lead ([`Composer::links`](crate::compose::Composer)).
    #[must_use]
    pub fn new(draft: &'a Draft, mail: Option<&'a NewMail>, links: Option<Root<'a>>) -> Self {
        let attached = draft.attachments.iter().map(|file| (file, None));
        let pictures = draft.pictures.iter().map(|picture| (&picture.file, Some(picture.cid.as_str())));
        let files = attached.chain(pictures).map(|(file, cid)| File {
            name: &file.name,
            content_type: &file.content_type,
            size: file.blob.size,
            cid,
        });
        Self {
            subject: &draft.subject,
            html: draft.html.as_deref(),
            text: &draft.text,
            files: files.collect(),
            head: mail.map(|mail| mail.head.as_slice()),
            size: mail.map_or(0, NewMail::size),
            ours: match links {
                Some(Root::Base(base)) => vec![base],
                Some(Root::Server { page, download }) => vec![page, download],
                None => Vec::new(),
            },
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Readers miss something, or have reason to distrust the mail.
    Error,
    /// Some readers see it badly.
    Warning,
    /// Good to know.
    Hint,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        })
    }
}

/// Part of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The subject.
    Subject,
    /// The header.
    Header,
    /// The HTML part.
    Html,
    /// The text part.
    Text,
    /// An attached file.
    Attachment,
    /// All of it.
    Mail,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subject => "subject",
            Self::Header => "header",
            Self::Html => "HTML",
            Self::Text => "text",
            Self::Attachment => "attachment",
            Self::Mail => "mail",
        })
    }
}

/// A place in the source of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind; does not change between versions.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub part: Part,
    /// The header field it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<&'static str>,
    /// The first places, three at most; none if it is about the whole part.
    pub places: Vec<Place>,
    /// Places in all.
    pub count: usize,
    /// What was found, on one line, clean.
    pub what: String,
    /// Why it matters, and in which programs.
    pub why: String,
    /// What to do.
    pub advice: String,
    /// Mail programs that do not support it, for findings about support.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<&'static str>,
    /// Findings of this kind that are like this one and were left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Looks at a mail. Findings come by severity, then in the order of their places.
#[must_use]
pub fn lint(mail: &Rendered<'_>) -> Vec<Finding> {
    let mut report = Report::default();
    size::check(mail, &mut report);
    head::check(mail, &mut report);
    if let Some(html) = mail.html {
        let page = Page::new(html);
        structure::check(&page, &mut report);
        images::check(&page, mail, &mut report);
        links::check(&page, mail, &mut report);
        support::check(&page, mail, &mut report);
        contrast::check(&page, &mut report);
        facts::check(&page, mail, &mut report);
    }
    report.finish(mail)
}

/// The HTML part, taken apart once.
struct Page {
    document: Document,
    /// Styles of `<style>` elements, in order.
    sheets: Vec<Sheet>,
    /// How each node looks in the light scheme, if that can be told.
    light: Option<Vec<Style>>,
}

impl Page {
    fn new(html: &str) -> Self {
        let document = Document::parse(html);
        let mut sheets = Vec::new();
        for (at, _, _) in document.elements().filter(|(_, _, element)| element.name == "style") {
            for (_, node) in document.inside(at) {
                if let html::Kind::Text(text) = &node.kind {
                    sheets.push(css::sheet(text, node.at));
                }
            }
        }
        let light = style::of(&document, &sheets, Scheme::Light);
        Self { document, sheets, light }
    }

    /// Whether a node is not shown.
    fn is_hidden(&self, at: usize) -> bool {
        match &self.light {
            Some(styles) => styles.get(at).is_some_and(|style| style.hidden),
            None => self
                .document
                .around(at)
                .any(|(_, element)| ["head", "style", "script", "title", "template"].contains(&element.name.as_str())),
        }
    }
}
