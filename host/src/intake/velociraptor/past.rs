//! Completions of the past, for who asks for them by hand: from the log that the shipped server artifact keeps, if it was
//! kept all the time, else from the clients, one by one. Reads and tells, and stores nothing.

use std::collections::HashSet;

use super::position::Beats;
use super::row::{self, Row};
use crate::intake::Line;
use crate::velociraptor::client::{Answer, Ask, Client};
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::{CATCH_UP, CATCH_UP_LOG, Query};

/// Bytes of the hash of a completion's identity.
const HASH: usize = 16;

/// From when to when, Unix seconds of the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first second.
    pub since: i64,
    /// The second after the last.
    pub until: i64,
}

/// One org's completions, each once.
#[derive(Debug)]
pub struct Past<'a> {
    client: &'a Client,
    org: &'a str,
    range: Range,
    /// Bytes of a line.
    limit: u64,
    answer: Answer,
    /// The log's beats; `None`: the clients are asked.
    beats: Option<Beats>,
    /// Up to when the log must have been kept.
    now: i64,
    /// What the log told before it turned out to have gaps. Bounded by what the server has kept.
    told: HashSet<[u8; HASH]>,
    ended: bool,
}

impl<'a> Past<'a> {
    /// Begins to read. `limit`: bytes of a line. `now`: Unix seconds.
    ///
    /// # Errors
    /// When the server does not let us.
    pub async fn open(client: &'a Client, org: &'a str, range: Range, limit: u64, now: i64) -> Result<Self, ApiError> {
        let answer = ask(client, &CATCH_UP_LOG, org, range.since).await?;
        let beats = Some(Beats::new(range.since));
        let now = now.min(range.until);
        Ok(Self { client, org, range, limit, answer, beats, now, told: HashSet::new(), ended: false })
    }

    /// The next completion as a line of the intake; one that is no event, or too long, has the reason in its place.
    /// `None`: that was all, and the server says so.
    ///
    /// # Errors
    /// When the answer breaks off.
    pub async fn next(&mut self) -> Result<Option<Line>, ApiError> {
        loop {
            let row = match self.answer.next().await {
                Ok(row) => row,
                // A server without the artifact may say so in one way or the other.
                Err(ApiError::Query { .. } | ApiError::Denied(_)) if self.beats.is_some() => {
                    self.turn_to_clients().await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(row) = row else {
                if self.finished().await? {
                    return Ok(None);
                }
                continue;
            };
            match row::read(&row, self.org, self.limit) {
                Row::Ended => self.ended = true,
                Row::Beat(at) => {
                    if let Some(beats) = &mut self.beats {
                        beats.beat(at);
                    }
                }
                Row::Server => {}
                // One without a time, which somebody has made up, is shown all the same.
                Row::Completion { at: Some(at), .. } if at < self.range.since || at >= self.range.until => {}
                Row::Completion { line, .. } => {
                    if self.is_new(&line) {
                        return Ok(Some(line));
                    }
                }
            }
        }
    }

    /// The answer has ended; true: and that was all.
    async fn finished(&mut self) -> Result<bool, ApiError> {
        if let Some(beats) = &self.beats {
            if self.ended && beats.complete(self.now) {
                return Ok(true);
            }
            self.turn_to_clients().await?;
            return Ok(false);
        }
        if self.ended {
            return Ok(true);
        }
        let log = self.answer.said().map(str::to_owned);
        Err(ApiError::Ended { query: CATCH_UP.name, log })
    }

    async fn turn_to_clients(&mut self) -> Result<(), ApiError> {
        tracing::debug!(org = self.org, "there is no log, or it has gaps: the clients are asked");
        self.answer = ask(self.client, &CATCH_UP, self.org, self.range.since).await?;
        (self.beats, self.ended) = (None, false);
        Ok(())
    }

    /// Whether the log has not told of it already. What the clients tell, they tell once.
    fn is_new(&mut self, line: &Line) -> bool {
        let Ok(line) = &line.content else { return true };
        let identity = identity(line);
        if self.beats.is_some() { self.told.insert(identity) } else { !self.told.contains(&identity) }
    }
}

/// Org, time, client and flow come first in a line, the record last; in a text, its quotes would be escaped.
fn identity(line: &[u8]) -> [u8; HASH] {
    const RECORD: &[u8] = b",\"Flow\":";
    let end = line.windows(RECORD.len()).position(|window| window == RECORD).unwrap_or(line.len());
    let mut hash = [0; HASH];
    blake3::Hasher::new().update(line.get(..end).unwrap_or(line)).finalize_xof().fill(&mut hash);
    hash
}

async fn ask(client: &Client, query: &'static Query, org: &str, since: i64) -> Result<Answer, ApiError> {
    client.ask(Ask::since(query, org, since)).await
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::velociraptor::completion;

    #[test]
    fn one_completion_has_one_identity_however_its_record_is_written() {
        let of =
            |row: &str| identity(&completion::line("root", serde_json::from_str::<&RawValue>(row).unwrap()).unwrap());
        let live = of(r#"{"Timestamp":7,"ClientId":"C.1","FlowId":"F.1","Flow":{"state":2,"Flow":1}}"#);
        assert_eq!(of(r#"{"FlowId":"F.1","ClientId":"C.1","Flow":{"state":"FINISHED"},"Timestamp":7}"#), live);
        for other in [
            r#"{"Timestamp":8,"ClientId":"C.1","FlowId":"F.1","Flow":{"state":2}}"#,
            r#"{"Timestamp":7,"ClientId":"C.1,\"Flow\":","FlowId":"F.1","Flow":{"state":2}}"#,
            r#"{"Timestamp":7,"ClientId":"C.1","FlowId":"F.2","Flow":{"state":2}}"#,
            r#"{"Timestamp":7,"ClientId":"C.1,\"Flow\":","FlowId":"F.2","Flow":{"state":2}}"#,
        ] {
            assert_ne!(of(other), live, "{other}");
        }
    }
}
