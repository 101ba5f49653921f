//! An event as a rule sees it: the decision, and the mail as it would be sent.

use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::frame::Picture;
use crate::blob::BlobStore;
use crate::compose::digest::digest;
use crate::compose::templates::TemplateError;
use crate::compose::{ComposeError, Composer, Draft, thread};
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
    events: [u8; 32],
    digest: bool,
    rule: String,
}

impl Key {
    pub(super) fn new(snapshot: &Snapshot, letter: &Letter, rule: &str) -> Self {
        let mut events = Sha256::new();
        let (first, others) = match letter {
            Letter::Single(found) => (found, &[][..]),
            Letter::Digest(found, others) => (found, &others[..]),
        };
        for found in std::iter::once(first).chain(others) {
            let folder = found.folder.as_ref().map_or(&b""[..], |folder| folder.as_os_str().as_encoded_bytes());
            events.update(&found.line);
            events.update([0]);
            events.update(folder);
            events.update([0]);
        }
        let digest = matches!(letter, Letter::Digest(..));
        Self { generation: snapshot.generation, events: events.finalize().into(), digest, rule: rule.to_owned() }
    }
}

/// Which mail is looked at.
#[derive(Debug, Clone)]
pub(super) enum Letter {
    /// The event's own.
    Single(Found),
    /// The one that the rule would gather it into, with these others.
    Digest(Found, Vec<Found>),
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
    /// Events that it tells of.
    pub(super) events: usize,
    blobs: BlobStore,
    _folder: TempDir,
}

impl Rendered {
    /// Judges by all rules and composes by one: that of the name, else the first that mails, else the first. Blocking.
    pub(super) fn new(snapshot: &Snapshot, letter: &Letter, rule: Option<&str>) -> Result<Self, String> {
        let (Letter::Single(found) | Letter::Digest(found, _)) = letter;
        let event = event::read(&found.line, &snapshot.config.limits).map_err(|error| {
            format!("This is no event: {}.", one_line(&cut(error.to_string().trim_end_matches('.'), 500)))
        })?;
        let rules = &snapshot.config.rules;
        if rules.is_empty() {
            return Err("The configuration has no [[rule]], so there is no mail.".to_owned());
        }
        let desk = Desk { snapshot, now: Timestamp::now() };
        let rows = RowReader::new(found.folder.clone());
        let mut judged: Vec<(&Rule, Decision)> =
            rules.iter().map(|rule| (rule, desk.judge(rule, &event, &rows))).collect();
        let opinion =
            |(rule, decision): &(&Rule, Decision)| Opinion { rule: rule.name.clone(), verdict: decision.decision };
        let opinions = judged.iter().map(opinion).collect();
        let named = rule.and_then(|name| judged.iter().position(|(rule, _)| rule.name == name));
        let mails = || judged.iter().position(|(_, decision)| decision.decision == Verdict::Notify);
        let chosen = named.or_else(mails).unwrap_or(0);
        let (rule, decision) = judged.swap_remove(chosen.min(judged.len() - 1));

        let begun = Instant::now();
        let broken = Mutex::new(Vec::new());
        let composed = match letter {
            Letter::Single(_) => desk.single(rule, &event, &decision, &rows, &broken),
            Letter::Digest(_, others) => desk.digest(rule, (&event, &decision, rows), others, &broken),
        };
        let took = begun.elapsed().as_millis();
        let mail = composed.map(|composed| Mail::new(composed, rule, &decision, desk.now));
        Ok(Self {
            key: one_line(&event.key.to_string()),
            host: host(&event),
            opinions,
            rule: rule.name.clone(),
            decision,
            took,
            lint: mail.as_ref().map_or_else(|_| Vec::new(), |mail| mail.lint(snapshot)),
            mail: mail.map_err(|error| error.to_string()),
            broken: Diagnostics::from(broken.into_inner().unwrap_or_else(PoisonError::into_inner)),
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

/// Where mails are written that are not sent.
struct Desk<'a> {
    snapshot: &'a Snapshot,
    now: Timestamp,
}

/// A mail's content, what it answers to, and where its attachments lie.
struct Composed {
    draft: Draft,
    thread: Option<String>,
    /// Events in it.
    events: usize,
    blobs: BlobStore,
    folder: TempDir,
}

impl Desk<'_> {
    fn judge(&self, rule: &Rule, event: &FlowCompletion, rows: &RowReader) -> Decision {
        let decision = judge(rule, event, rows, self.now, &*self.snapshot.plugins);
        decision.unwrap_or_else(Postponed::into_decision)
    }

    fn draft(
        &self,
        composer: &Composer<'_>,
        rule: &Rule,
        event: &FlowCompletion,
        decision: &Decision,
        rows: &RowReader,
        blobs: &BlobStore,
    ) -> Result<Draft, ComposeError> {
        match composer.draft(rule, event, decision, rows, blobs, self.now) {
            Err(ComposeError::Template(_)) => composer.last_resort(rule, event, decision, self.now),
            draft => draft,
        }
    }

    /// The event's own mail. `broken` takes the templates that failed on it.
    fn single(
        &self,
        rule: &Rule,
        event: &FlowCompletion,
        decision: &Decision,
        rows: &RowReader,
        broken: &Mutex<Vec<TemplateError>>,
    ) -> Result<Composed, ComposeError> {
        let folder = tempfile::tempdir()?;
        let blobs = BlobStore::open(folder.path())?;
        let composer = Composer { failures: Some(broken), ..self.snapshot.composer() };
        let draft = self.draft(&composer, rule, event, decision, rows, &blobs)?;
        Ok(Composed { draft, thread: Some(thread(rule, event)), events: 1, blobs, folder })
    }

    /// The digest of the event and of those others that the rule tells of as well; of all, if it tells of none.
    fn digest(
        &self,
        rule: &Rule,
        chosen: (&FlowCompletion, &Decision, RowReader),
        others: &[Found],
        broken: &Mutex<Vec<TemplateError>>,
    ) -> Result<Composed, ComposeError> {
        let (event, decision, rows) = chosen;
        let limits = &self.snapshot.config.limits;
        let judged = others.iter().filter_map(|found| {
            let event = event::read(&found.line, limits).ok()?;
            let rows = RowReader::new(found.folder.clone());
            let decision = self.judge(rule, &event, &rows);
            Some((event, decision, rows))
        });
        let mut members: Vec<_> = judged.collect();
        if members.iter().any(|(_, decision, _)| decision.decision == Verdict::Notify) {
            members.retain(|(_, decision, _)| decision.decision == Verdict::Notify);
        }
        members.insert(0, (event.clone(), decision.clone(), rows));

        let folder = tempfile::tempdir()?;
        let blobs = BlobStore::open(folder.path())?;
        let composer = self.snapshot.composer();
        let mut items = Vec::with_capacity(members.len());
        for (event, decision, rows) in &members {
            let draft = self.draft(&composer, rule, event, decision, rows, &blobs)?;
            items.push((draft.view, draft.attachments));
        }
        let draft = digest(&Composer { failures: Some(broken), ..composer }, rule, &items, self.now)?;
        Ok(Composed { draft, thread: None, events: members.len(), blobs, folder })
    }
}

impl Mail {
    fn new(composed: Composed, rule: &Rule, decision: &Decision, now: Timestamp) -> Self {
        let Composed { draft, thread, events, blobs, folder } = composed;
        let nobody = [NOBODY.to_owned()];
        let to = if decision.recipients.is_empty() { &nobody[..] } else { &decision.recipients };
        let mails = draft.mails(rule, to, thread, now);
        Self { draft, mails, events, blobs, _folder: folder }
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
