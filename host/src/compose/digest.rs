//! Digests: what fell inside `send_interval`, gathered into one mail.

use std::collections::HashSet;

use jiff::Timestamp;

use super::attachments::distinct;
use super::locale::Locale;
use super::templates::{DIGEST_SET, Seen, Slot};
use super::view::{AttachedFile, Block, DigestView, Outcome, View};
use super::{ComposeError, Composer, Draft, SUBJECT_LIMIT, blocks};
use crate::mail::Attachment;
use crate::rule::Rule;
use crate::text;

/// Octets that the result tables of a digest may take, as an estimate.
const TABLES: usize = 768 * 1024;
/// Collections that are shown with their facts; the others only as a line of the summary table.
const SHOWN: usize = 100;
/// Notes of plugins that a collection keeps whose tables are left out.
const FEW: usize = 3;
/// Lines of the summary table.
const LISTED: usize = 500;

/// One mail of several collections: a table of all of them, then each with its own sections. `now` is when the digest
/// is written; the times of the collections are those of their own mails.
///
/// # Errors
/// When the templates fail, the stock ones too.
pub fn digest(
    composer: &Composer<'_>,
    rule: &Rule,
    items: &[(View, Vec<Attachment>)],
    now: Timestamp,
) -> Result<Draft, ComposeError> {
    let locale = composer.locale(rule);
    let mut notes = Vec::new();
    let views = bounded(items, &mut notes, locale);
    let (attachments, listed) = gathered(rule, items, &mut notes, locale);
    let mut digest = view(&rule.name, views, listed, notes, locale);
    digest.written_at = now.as_second();
    let (collections, span) = (locale.n("collections", items.len() as u64), span(rule.send_interval, locale));
    let time = locale.time(now.as_second()).unwrap_or_default();
    digest.reason = locale.t("digest_reason", &[("collections", &collections), ("span", &span), ("time", &time)]);
    digest.more = digest.items.len().saturating_sub(LISTED) as u64;
    digest.items.truncate(LISTED);
    let (subject, text, html) = match parts(composer, rule, &digest) {
        Ok(parts) => parts,
        // Too large after all: the summary table alone.
        Err(_) => {
            for item in &mut digest.items {
                summary_only(item);
            }
            digest.notes.push(locale.t("note_no_details", &[]));
            parts(composer, rule, &digest)?
        }
    };
    // A digest is not gathered again; the first collection stands for it.
    let view = items.first().map(|(view, _)| view.clone()).unwrap_or_default();
    Ok(Draft { subject, text, html, attachments, pictures: Vec::new(), view })
}

fn parts(
    composer: &Composer<'_>,
    rule: &Rule,
    digest: &DigestView,
) -> Result<(String, String, Option<String>), ComposeError> {
    let seen = Seen::of(digest);
    let render = |slot| composer.render(DIGEST_SET, DIGEST_SET, slot, &seen);
    let subject = text::fit(&render(Slot::Subject)?, SUBJECT_LIMIT).into_owned();
    Ok((subject, render(Slot::Text)?, if rule.html { Some(render(Slot::Html)?) } else { None }))
}

/// Leaves what the summary table shows.
fn summary_only(view: &mut View) {
    view.results.clear();
    view.uploads = None;
    view.client.clear();
    view.flow.clear();
    view.notes.clear();
    view.plugin_notes.clear();
}

/// A digest shows what pictures show in words: their bytes belong to the collections' own mails.
fn without_pictures(view: &mut View) {
    for block in view.results.iter_mut().flat_map(|table| &mut table.blocks) {
        if let Block::Image { url, .. } = block {
            *url = None;
        }
    }
}

/// The digest's view of its collections.
pub(super) fn view(
    rule: &str,
    items: Vec<View>,
    attachments: Vec<AttachedFile>,
    notes: Vec<String>,
    locale: &Locale,
) -> DigestView {
    let number = |outcome| items.iter().filter(|item| item.outcome == outcome).count() as u64;
    let (finished, failed, cancelled) =
        (number(Outcome::Finished), number(Outcome::Failed), number(Outcome::Cancelled));
    let title = locale.n("digest_title", items.len() as u64);
    let parts = [(finished, "digest_finished"), (failed, "digest_failed"), (cancelled, "digest_cancelled")];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, key)| locale.t(key, &[("number", &count.to_string())]))
        .collect();
    let summary = parts.join(", ");
    DigestView {
        subject: locale.t("digest_subject", &[("title", &title), ("summary", &summary)]),
        summary,
        title,
        outcome: match (failed, cancelled) {
            (0, 0) => Outcome::Finished,
            (0, _) => Outcome::Cancelled,
            _ => Outcome::Failed,
        },
        items,
        more: 0,
        finished,
        failed,
        cancelled,
        written_at: 0,
        language: locale.language().name().to_owned(),
        attachments,
        notes,
        rule: super::build::name(rule),
        reason: String::new(),
    }
}

/// Views whose tables together stay within the bound; a note says whose do not.
fn bounded(items: &[(View, Vec<Attachment>)], notes: &mut Vec<String>, locale: &Locale) -> Vec<View> {
    let mut left = TABLES;
    let mut without = 0_u64;
    let mut views = Vec::with_capacity(items.len());
    for (at, (view, _)) in items.iter().enumerate() {
        let mut view = view.clone();
        // They are listed for the whole mail.
        view.attachments.clear();
        without_pictures(&mut view);
        let cost = cost(&view);
        if at >= SHOWN || cost > left {
            without += u64::from(!view.results.is_empty() || view.uploads.is_some());
            view.results.clear();
            view.uploads = None;
            view.plugin_notes.truncate(FEW);
            if at >= SHOWN {
                summary_only(&mut view);
            }
        } else {
            left -= cost;
        }
        views.push(view);
    }
    if without > 0 {
        let whose = locale.n("collections", without);
        notes.push(locale.t("note_digest_tables", &[("collections", &whose)]));
    }
    views
}

fn cost(view: &View) -> usize {
    let cells = view.results.iter().flat_map(|table| table.rows.iter().flatten()).map(|cell| 200 + 2 * cell.len());
    let blocks = view.results.iter().flat_map(|table| &table.blocks).map(blocks::cost);
    let notes = view.plugin_notes.iter().map(|note| 600 + blocks::octets(&note.text));
    let files = view.uploads.iter().flat_map(|uploads| &uploads.files).map(|file| 600 + 2 * file.name.len());
    cells.chain(blocks).chain(notes).chain(files).sum()
}

/// Attachments of all collections under distinct names, or a note if they are too large together.
fn gathered(
    rule: &Rule,
    items: &[(View, Vec<Attachment>)],
    notes: &mut Vec<String>,
    locale: &Locale,
) -> (Vec<Attachment>, Vec<AttachedFile>) {
    let total: u64 = items.iter().flat_map(|(_, attachments)| attachments).map(|file| file.blob.size).sum();
    let number = items.iter().map(|(_, attachments)| attachments.len() as u64).sum();
    if total > rule.attachments_limit() {
        let hosts: Vec<&str> =
            items.iter().filter(|(_, files)| !files.is_empty()).map(|(view, _)| view.host.as_str()).take(20).collect();
        let (number, size) = (locale.n("attachments", number), locale.size(total));
        let (limit, hosts) = (rule.attachments_max_mib.to_string(), hosts.join(", "));
        let values = [("attachments", number.as_str()), ("size", &size), ("limit", &limit), ("hosts", &hosts)];
        notes.push(locale.t("note_digest_attachments", &values));
        return (Vec::new(), Vec::new());
    }
    let mut taken = HashSet::new();
    let mut attachments = Vec::new();
    let mut listed = Vec::new();
    for (view, files) in items {
        for (at, file) in files.iter().enumerate() {
            let (stem, extension) = file.name.rsplit_once('.').unwrap_or((&file.name, "bin"));
            let name = distinct(&format!("{}_{stem}", view.host), &format!(".{extension}"), &mut taken);
            let known = view.attachments.get(at);
            listed.push(AttachedFile {
                name: name.clone(),
                size: locale.size(file.blob.size),
                bytes: file.blob.size,
                source: known
                    .map(|known| locale.t("source_on_host", &[("source", &known.source), ("host", &view.host)]))
                    .unwrap_or_default(),
                rows: known.map(|known| known.rows).unwrap_or_default(),
            });
            attachments.push(Attachment { name, ..file.clone() });
        }
    }
    (attachments, listed)
}

/// `5 minutes`, in the largest whole unit.
fn span(duration: std::time::Duration, locale: &Locale) -> String {
    let seconds = duration.as_secs();
    let (count, key) = match seconds {
        _ if seconds.is_multiple_of(3600) && seconds > 0 => (seconds / 3600, "hours"),
        _ if seconds.is_multiple_of(60) && seconds > 0 => (seconds / 60, "minutes"),
        _ => (seconds, "seconds"),
    };
    locale.n(key, count)
}
