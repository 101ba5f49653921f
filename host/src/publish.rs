//! Notifications written back: each decision to notify becomes a row of an event artifact of the server, so that the
//! audit trail is where the analysts look.
//!
//! It follows the decisions in the outbox and moves its position after the server has taken the rows: a crash in between
//! writes them twice, never not at all. It begins with what is decided after it was switched on.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::intake::velociraptor::{BackOff, State};
use crate::outbox::{Notice, Outbox, OutboxError};
use crate::velociraptor::client::{Client, Push};
use crate::velociraptor::error::ApiError;

/// Rows that are read, and sent, at a time.
const ROWS: usize = 256;

/// Bytes of one call, about: the server takes 4 MiB.
const BYTES: usize = 1024 * 1024;

/// How often decisions are looked for that have woken nobody.
const LOOK: Duration = Duration::from_secs(5);

/// What is decided in this time is sent together.
const GATHER: Duration = Duration::from_millis(200);

/// How often the position is written when nothing was to be sent.
const QUIET: Duration = Duration::from_secs(30);

/// Who writes back.
#[derive(Debug)]
pub struct Publisher {
    /// The API client file.
    pub api_config: PathBuf,
    /// The event artifact.
    pub artifact: String,
    /// Where the decisions are.
    pub outbox: Outbox,
    /// Told how it goes.
    pub state: State,
}

/// Why rows were not written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The server does not take them.
    #[error("notifications are not written back to {artifact} in the org {org}: {error}{}", said(.error.hint()))]
    Api {
        /// The artifact.
        artifact: String,
        /// The org.
        org: String,
        /// Why.
        error: ApiError,
    },
    /// The outbox refuses.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

fn said(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}

impl Publisher {
    /// Writes back until it is time to stop. What the server does not take is tried again, less often each time.
    ///
    /// # Errors
    /// When the outbox refuses.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), OutboxError> {
        tokio::select! {
            result = self.follow() => result,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        }
    }

    async fn follow(&self) -> Result<(), OutboxError> {
        let mut next = self.patiently(|| self.outbox.follow()).await?;
        let (mut stored, mut written) = (next, Instant::now());
        let mut client = Client::new(self.api_config.clone());
        let (mut back_off, mut told) = (BackOff::default(), None);
        loop {
            let (notices, end) = self.outbox.notices(next, ROWS).await?;
            let sent = notices.len() as u64;
            if let Err((org, error)) = self.push(&client, &notices).await {
                self.state.not_published();
                let wait = back_off.next(error.needs_a_person(), &mut rand::rng());
                let artifact = self.artifact.clone();
                let reason = PublishError::Api { artifact, org, error }.to_string();
                if told.as_ref() != Some(&reason) {
                    tracing::error!(reason, "it is tried again");
                    told = Some(reason);
                }
                // One through which nothing comes looks well.
                client = Client::new(self.api_config.clone());
                sleep(wait).await;
                continue;
            }
            if told.take().is_some() {
                tracing::info!(artifact = self.artifact, "notifications are written back again");
            }
            back_off = BackOff::default();
            next = end;
            if next > stored && (sent > 0 || written.elapsed() >= QUIET) {
                self.patiently(|| self.outbox.followed(next)).await?;
                (stored, written) = (next, Instant::now());
            }
            let waiting = self.outbox.next_decision().await?.saturating_sub(next);
            self.state.published(sent, u64::try_from(waiting).unwrap_or(0));
            if waiting == 0 {
                tokio::select! {
                    () = sleep(LOOK) => {}
                    () = self.outbox.changed() => sleep(GATHER).await,
                }
            }
        }
    }

    /// Writes back what waits. Answers how many rows there were.
    ///
    /// # Errors
    /// [`PublishError`]; what was written until then is remembered.
    pub async fn once(&self) -> Result<u64, PublishError> {
        let mut next = self.outbox.follow().await?;
        let client = Client::new(self.api_config.clone());
        let mut rows = 0;
        loop {
            let (notices, end) = self.outbox.notices(next, ROWS).await?;
            let pushed = self.push(&client, &notices).await;
            pushed.map_err(|(org, error)| PublishError::Api { artifact: self.artifact.clone(), org, error })?;
            rows += notices.len() as u64;
            if end == next {
                return Ok(rows);
            }
            self.outbox.followed(end).await?;
            next = end;
        }
    }

    /// Sends rows, those of one org together, in order.
    async fn push(&self, client: &Client, notices: &[Notice]) -> Result<(), (String, ApiError)> {
        for of_org in notices.chunk_by(|one, other| one.org_id == other.org_id) {
            let Some(Notice { org_id: org, .. }) = of_org.first() else { continue };
            let mut waiting = of_org.iter().map(row).peekable();
            while waiting.peek().is_some() {
                let (mut jsonl, mut rows) = (Vec::new(), 0);
                while jsonl.len() < BYTES
                    && let Some(row) = waiting.next()
                {
                    jsonl.extend_from_slice(row.as_bytes());
                    jsonl.push(b'\n');
                    rows += 1;
                }
                let push = Push { artifact: &self.artifact, org, client: "server", flow: "", jsonl, rows };
                match client.push(push).await {
                    Ok(()) => {}
                    // An event that was not of this server, or of an org that is gone: nobody will ever take it.
                    Err(error @ ApiError::Org { .. }) => {
                        tracing::warn!(%error, rows, "notifications of an org that the server does not know");
                    }
                    Err(error) => return Err((org.clone(), error)),
                }
            }
        }
        Ok(())
    }

    /// Waits for space, if there is none.
    async fn patiently<T, F>(&self, work: impl Fn() -> F) -> Result<T, OutboxError>
    where
        F: Future<Output = Result<T, OutboxError>>,
    {
        loop {
            match work().await {
                Err(OutboxError::Full { .. }) => sleep(LOOK).await,
                result => return result,
            }
        }
    }
}

/// A notice as the artifact's row.
fn row(notice: &Notice) -> String {
    let Notice { org_id, client_id, flow_id, timestamp, rule, recipients, subject, reason, disposition, .. } = notice;
    let recipients = serde_json::from_str::<Box<RawValue>>(recipients).ok();
    json!({
        "Timestamp": timestamp,
        "ClientId": client_id,
        "FlowId": flow_id,
        "OrgId": org_id,
        "Rule": rule,
        "Recipients": recipients,
        "Subject": subject,
        "Reason": reason,
        "Disposition": disposition,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_whatever_is_in_it() {
        let notice = Notice {
            id: 7,
            org_id: "root".into(),
            client_id: "C.1".into(),
            flow_id: "F.1".into(),
            timestamp: 1_786_500_123,
            rule: "analyst".into(),
            recipients: r#"["ana@example.org","kim@example.org"]"#.into(),
            subject: Some("ws-17\nfinished \"it\"".into()),
            reason: "matches the filters".into(),
            disposition: "mailed".into(),
        };
        let row = row(&notice);
        assert!(!row.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&row).unwrap();
        assert_eq!(
            value,
            json!({"Timestamp": 1_786_500_123, "ClientId": "C.1", "FlowId": "F.1", "OrgId": "root", "Rule": "analyst",
                   "Recipients": ["ana@example.org", "kim@example.org"], "Subject": "ws-17\nfinished \"it\"",
                   "Reason": "matches the filters", "Disposition": "mailed"})
        );
    }
}
