//! From an answer's rows to the pipeline, in batches of what is at hand.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use sha2::{Digest, Sha256};

use super::row::{self, Row};
use super::state::OrgState;
use crate::blob::hex;
use crate::intake::{Accept, BATCH_BYTES, BATCH_LINES, Batch, Counts, Fate, Line, Mode};
use crate::outbox::{OutboxError, Position};
use crate::velociraptor::client::Answer;
use crate::velociraptor::error::ApiError;

/// Between attempts when there is no room.
const PAUSE: Duration = Duration::from_secs(2);

/// Bad lines that are named in the log; the others are only counted.
const NAMED: u64 = 100;

/// Bad lines that are remembered, so that those which come again are not recorded again.
const REMEMBERED: usize = 1000;

/// What an org's rows go through.
pub(super) struct Taker {
    /// Org id.
    pub(super) org: String,
    pub(super) accept: Arc<dyn Accept>,
    pub(super) state: OrgState,
    pub(super) mode: Mode,
    /// Bytes of a line.
    limit: u64,
    rejected: AtomicU64,
    /// SHA-256, hex, of lines that were no events.
    bad: Mutex<HashSet<String>>,
}

/// What was at hand.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Completions.
    pub(super) lines: Vec<Line>,
    /// The latest time that one of them says.
    pub(super) latest: Option<i64>,
    /// What came after them, if it was the end.
    pub(super) end: Option<End>,
}

/// The end of an answer.
#[derive(Debug)]
pub(super) enum End {
    /// The query says that it was its end.
    Said,
    /// The answer ended without a word of it.
    Silent,
    /// It broke off.
    Broken(ApiError),
}

impl Taker {
    pub(super) fn new(org: &str, limit: u64, accept: Arc<dyn Accept>, state: OrgState, mode: Mode) -> Self {
        Self { org: org.to_owned(), accept, state, mode, limit, rejected: AtomicU64::new(0), bad: Mutex::default() }
    }

    /// The name of the org's position.
    pub(super) fn source(&self) -> String {
        format!("velociraptor/{}", self.org)
    }

    /// The name of the position that says when the org was watched first.
    pub(super) fn floor(&self) -> String {
        format!("velociraptor/{}/begun", self.org)
    }

    /// Waits for a row, then takes what has come with it and after it, up to a batch. Everything else is left on the
    /// wire, where the server waits for us. `see` is told each row, in order. Cancel-safe up to the first row.
    pub(super) async fn part(&self, answer: &mut Answer, see: &mut (dyn FnMut(&Row) + Send)) -> Part {
        let mut part = Part::default();
        let mut bytes = 0;
        let mut next = answer.next().await;
        loop {
            let row = match next {
                Ok(Some(row)) => row,
                Ok(None) => {
                    part.end = Some(End::Silent);
                    return part;
                }
                Err(error) => {
                    part.end = Some(End::Broken(error));
                    return part;
                }
            };
            let row = row::read(&row, &self.org, self.limit);
            see(&row);
            match row {
                Row::Beat(_) | Row::Server => {}
                Row::Ended => {
                    part.end = Some(End::Said);
                    return part;
                }
                Row::Completion { line, at } => {
                    bytes += line.content.as_ref().map_or(0, Vec::len);
                    part.latest = part.latest.max(at);
                    part.lines.push(line);
                }
            }
            if part.lines.len() >= BATCH_LINES || bytes >= BATCH_BYTES {
                return part;
            }
            match answer.next().now_or_never() {
                Some(came) => next = came,
                None => return part,
            }
        }
    }

    /// Stores lines, and the position with them; a full disk is waited for unless there is but one pass.
    pub(super) async fn store(
        &self,
        mut lines: Vec<Line>,
        latest: Option<i64>,
        position: Option<i64>,
    ) -> Result<(), OutboxError> {
        let position = position.map(|at| self.at(self.source(), at));
        self.leave_out_bad(&mut lines);
        if lines.is_empty() && position.is_none() {
            return Ok(());
        }
        let (lines, fates) = self.hand_over(lines, position).await?;
        let mut counts = Counts::default();
        for (line, fate) in lines.iter().zip(&fates) {
            counts.count(fate);
            if let Fate::Rejected(reason) = fate {
                let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
                if bad.len() < REMEMBERED {
                    bad.insert(digest(line));
                }
                match self.rejected.fetch_add(1, Ordering::Relaxed) {
                    before if before < NAMED => {
                        tracing::warn!(org = self.org, ?reason, "a row of the server is no event");
                    }
                    NAMED => tracing::warn!(org = self.org, "more rows are no events; they are only counted"),
                    _ => {}
                }
            }
        }
        self.state.stored(counts, latest);
        Ok(())
    }

    /// Leaves out what was refused before: the same rows come with each catch-up.
    fn leave_out_bad(&self, lines: &mut Vec<Line>) {
        let bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if !bad.is_empty() {
            lines.retain(|line| !bad.contains(&digest(line)));
        }
    }

    /// Remembers that an org is watched from then on.
    pub(super) async fn store_floor(&self, at: i64) -> Result<(), OutboxError> {
        self.hand_over(Vec::new(), Some(self.at(self.floor(), at))).await.map(drop)
    }

    fn at(&self, source: String, at: i64) -> Position {
        Position { source, offset: u64::try_from(at).unwrap_or(0) }
    }

    async fn hand_over(
        &self,
        lines: Vec<Line>,
        position: Option<Position>,
    ) -> Result<(Vec<Line>, Vec<Fate>), OutboxError> {
        let batch = Batch { source: format!("velociraptor {}", self.org), folder: None, lines, position, keyed: true };
        let mut told = false;
        loop {
            let error = match self.accept.accept(batch.clone()).await {
                Err(error @ OutboxError::Full { .. }) if matches!(self.mode, Mode::Watch(_)) => error,
                result => return result.map(|fates| (batch.lines, fates)),
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(org = self.org, %error, "completions wait on the server for space");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// SHA-256 of a line, hex.
fn digest(line: &Line) -> String {
    match &line.content {
        Ok(bytes) => hex(&Sha256::digest(bytes)),
        Err(refused) => refused.digest.clone(),
    }
}
