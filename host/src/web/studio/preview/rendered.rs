//! An event as a rule sees it: the decision, and the mail as it would be sent.

use std::io::Read;
use std::time::Instant;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::frame::Picture;
use crate::blob::BlobStore;
use crate::compose::templates::{Slot, TemplateError};
use crate::compose::{ComposeError, Draft, thread};
use crate::config::diagnostic::Diagnostics;
use crate::event::{self, FlowCompletion};
use crate::facts::RowReader;
use crate::judge::{Postponed, judge};
use crate::lint;
use crate::mail::{Attachment, MailReader, NewMail};
use crate::rule::{Decision, Rule, Verdict};
use crate::snapshot::Snapshot;
use crate::text::{cut, one_line};
use crate::web::studio::Found;

/// To whom a mail goes that the rule would not send.
const NOBODY: &str = "nobody@example.invalid";
/// Bytes of a picture that a frame holds.
const PICTURE: u64 = 8 << 20;

/// What makes two of them the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    generation: u64,
    event: [u8; 32],
    rule: String,
}

impl Key {
    pub(super) fn new(snapshot: &Snapshot, found: &Found, rule: &str) -> Self {
        let event = Sha256::new()
            .chain_update(&found.line)
            .chain_update([0])
            .chain_update(found.folder.as_ref().map_or(&b""[..], |folder| folder.as_os_str().as_encoded_bytes()))
            .finalize();
        Self { generation: snapshot.generation, event: event.into(), rule: rule.to_owned() }
    }
}

/// What a rule makes of the event, for the choice of rules.
#[derive(Debug, Clone)]
pub(super) struct Opinion {
    pub(super) rule: String,
    pub(super) verdict: Verdict,
}

/// All that the preview shows.
#[derive(Debug)]
pub(super) struct Rendered {
    /// `org/client/flow`, one line.
    pub(super) key: String,
    /// Host, or the client's id.
    pub(super) host: String,
    /// Every rule, in the order of the file.
    pub(super) opinions: Vec<Opinion>,
    /// The one that is looked at.
    pub(super) rule: String,
    /// Its decision.
    pub(super) decision: Decision,
    /// The mail, or why there is none.
    pub(super) mail: Result<Mail, String>,
    /// Templates that fail on this event: the stock ones stand in for them.
    pub(super) broken: Diagnostics,
    /// What its readers' programs make of the mail.
    pub(super) lint: Vec<lint::Finding>,
    /// How long composing took, in milliseconds.
    pub(super) took: u128,
}

/// A mail that is not sent.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) draft: Draft,
    /// As they would go out, at least one.
    pub(super) mails: Vec<NewMail>,
    blobs: BlobStore,
    _folder: TempDir,
}

impl Rendered {
    /// Judges by all rules and composes by one: that of the name, else the first that mails, else the first. Blocking.
    pub(super) fn new(snapshot: &Snapshot, found: &Found, rule: Option<&str>) -> Result<Self, String> {
        let event = event::read(&found.line, &snapshot.config.limits).map_err(|error| {
            format!("This is no event: {}.", one_line(&cut(error.to_string().trim_end_matches('.'), 500)))
        })?;
        let rules = &snapshot.config.rules;
        if rules.is_empty() {
            return Err("The configuration has no [[rule]], so there is no mail.".to_owned());
        }
        let rows = RowReader::new(found.folder.clone());
        let now = Timestamp::now();
        let mut judged: Vec<(&Rule, Decision)> = rules
            .iter()
            .map(|rule| {
                let decision = judge(rule, &event, &rows, now, &*snapshot.plugins);
                (rule, decision.unwrap_or_else(Postponed::into_decision))
            })
            .collect();
        let opinion =
            |(rule, decision): &(&Rule, Decision)| Opinion { rule: rule.name.clone(), verdict: decision.decision };
        let opinions = judged.iter().map(opinion).collect();
        let named = rule.and_then(|name| judged.iter().position(|(rule, _)| rule.name == name));
        let mails = || judged.iter().position(|(_, decision)| decision.decision == Verdict::Notify);
        let chosen = named.or_else(mails).unwrap_or(0);
        let (rule, decision) = judged.swap_remove(chosen.min(judged.len() - 1));

        let begun = Instant::now();
        let mut broken = Vec::new();
        let mail = Mail::new(snapshot, rule, &event, &decision, &rows, now, &mut broken);
        Ok(Self {
            key: one_line(&event.key.to_string()),
            host: host(&event),
            opinions,
            rule: rule.name.clone(),
            decision,
            took: begun.elapsed().as_millis(),
            lint: mail.as_ref().map_or_else(|_| Vec::new(), |mail| mail.lint(snapshot)),
            mail: mail.map_err(|error| error.to_string()),
            broken: Diagnostics::from(broken),
        })
    }
}

impl Rendered {
    /// How many files are attached.
    pub(super) fn files(&self) -> usize {
        self.mail.as_ref().map_or(0, |mail| mail.draft.attachments.len())
    }
}

fn host(event: &FlowCompletion) -> String {
    let fqdn = event.client.as_ref().map(|client| one_line(&client.fqdn)).filter(|host| !host.is_empty());
    fqdn.unwrap_or_else(|| one_line(&event.key.client_id))
}

impl Mail {
    fn new(
        snapshot: &Snapshot,
        rule: &Rule,
        event: &FlowCompletion,
        decision: &Decision,
        rows: &RowReader,
        now: Timestamp,
        broken: &mut Vec<TemplateError>,
    ) -> Result<Self, ComposeError> {
        let folder = tempfile::tempdir()?;
        let blobs = BlobStore::open(folder.path())?;
        let composer = snapshot.composer();
        let draft = match composer.draft(rule, event, decision, rows, &blobs, now) {
            Err(ComposeError::Template(_)) => composer.last_resort(rule, event, decision, now)?,
            draft => draft?,
        };
        for slot in Slot::ALL.into_iter().filter(|slot| rule.html || *slot != Slot::Html) {
            // What composing has only written to the log.
            broken.extend(snapshot.templates.render(&rule.template, slot, &draft.view).err());
        }
        let nobody = [NOBODY.to_owned()];
        let to = if decision.recipients.is_empty() { &nobody[..] } else { &decision.recipients };
        let mails = draft.mails(rule, to, Some(thread(rule, event)), now);
        Ok(Self { draft, mails, blobs, _folder: folder })
    }

    fn lint(&self, snapshot: &Snapshot) -> Vec<lint::Finding> {
        lint::lint(&lint::Rendered::new(&self.draft, self.mails.first(), snapshot.composer().links))
    }

    /// Pictures that the HTML shows. Blocking.
    pub(super) fn pictures(&self) -> Vec<Picture> {
        let picture = |picture: &crate::compose::Picture| {
            let bytes = self.attachment(&picture.file).ok()?;
            Some(Picture { cid: picture.cid.clone(), kind: picture.file.content_type.clone(), bytes })
        };
        let small = self.draft.pictures.iter().filter(|picture| picture.file.blob.size <= PICTURE);
        small.filter_map(picture).collect()
    }

    /// An attachment's content. Blocking.
    pub(super) fn attachment(&self, file: &Attachment) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.blobs.read(&file.blob)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The first bytes of a mail as it goes over the wire, at most so many. Blocking.
    pub(super) fn source(&self, mail: &NewMail, most: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        MailReader::new(&mail.head, &mail.body, &self.blobs).take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
