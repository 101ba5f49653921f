//! Digests that are due: what `send_interval` gathered becomes one mail for each circle of recipients.

use indexmap::IndexMap;
use jiff::Timestamp;

use crate::compose::digest::digest;
use crate::compose::view::View;
use crate::mail::{Attachment, NewMail};
use crate::outbox::{DigestItem, DigestJob, Outbox, OutboxError};
use crate::rule::Rule;
use crate::snapshot::{Current, Snapshot};

/// Writes and stores every digest that is due (`all`: whatever is gathered). Answers how many.
///
/// # Errors
/// When the outbox fails; on [`OutboxError::Full`] the rest stays gathered.
pub async fn flush(current: &Current, outbox: &Outbox, now: Timestamp, all: bool) -> Result<usize, OutboxError> {
    let mut count = 0;
    loop {
        // A large digest comes in parts: the rest of it is due at once.
        let jobs = outbox.due_digests(now, all).await?;
        if jobs.is_empty() {
            return Ok(count);
        }
        count += jobs.len();
        for job in jobs {
            let snapshot = current.load_full();
            let items: Vec<i64> = job.items.iter().map(|item| item.id).collect();
            let rule = job.rule.clone();
            let mails = tokio::task::spawn_blocking(move || mails(&snapshot, job, now))
                .await
                .map_err(|error| OutboxError::Stopped(error.to_string()))?;
            outbox.close_digest(&rule, &items, mails, now).await?;
        }
    }
}

/// A circle that gathered one event gets that event's own mail; a larger one gets a digest. If the rule is gone or the
/// digest cannot be written, every event's own mail goes out: later than usual, but it goes.
fn mails(snapshot: &Snapshot, job: DigestJob, now: Timestamp) -> Vec<NewMail> {
    let rule = snapshot.config.rules.iter().find(|rule| rule.name == job.rule);
    let mut circles: IndexMap<Vec<String>, Vec<(NewMail, &DigestItem)>> = IndexMap::new();
    for item in &job.items {
        for mail in &item.mails {
            circles.entry(mail.recipients.clone()).or_default().push((mail.clone(), item));
        }
    }
    let mut mails = Vec::new();
    for (recipients, members) in circles {
        let written = match (rule, members.len()) {
            (Some(rule), 2..) => write(snapshot, rule, &recipients, members.iter().map(|(_, item)| *item), now),
            _ => None,
        };
        match written {
            Some(written) => mails.extend(written),
            None => mails.extend(members.into_iter().map(|(mail, _)| mail)),
        }
    }
    mails
}

fn write<'a>(
    snapshot: &Snapshot,
    rule: &Rule,
    recipients: &[String],
    items: impl Iterator<Item = &'a DigestItem>,
    now: Timestamp,
) -> Option<Vec<NewMail>> {
    let mut shown: Vec<(View, Vec<Attachment>)> = Vec::new();
    for item in items {
        match serde_json::from_str(&item.gathered.view) {
            Ok(view) => shown.push((view, item.gathered.attachments.clone())),
            Err(error) => {
                tracing::warn!(event = item.event, %error, "an older version gathered this event; its own mail is sent");
                return None;
            }
        }
    }
    let draft = match digest(&snapshot.composer(), rule, &shown, now) {
        Ok(draft) => draft,
        Err(error) => {
            tracing::error!(rule = rule.name, %error, "a digest could not be written; the single mails are sent");
            return None;
        }
    };
    Some(draft.mails(rule, recipients, None, now))
}
