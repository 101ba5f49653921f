//! Asking for what was missed: from the log that the shipped server artifact keeps, if it was kept all the time, else
//! from the clients, one by one.

use std::time::Duration;

use tokio::time::sleep;

use super::Trouble;
use super::back_off::BackOff;
use super::position::Beats;
use super::row::Row;
use super::taking::{End, Part};
use super::watch::{Link, Org};
use crate::velociraptor::client::{Answer, Ask, Client};
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::{CATCH_UP, CATCH_UP_LOG, Query};

/// After the stream has begun, when its beginning is looked at once more.
pub(super) const SECOND: Duration = Duration::from_secs(60);

/// Rows of a part: about a batch.
const PART: u64 = 256;

impl Org {
    /// Takes everything since `since`. What fails is tried again, less often each time; with but one pass it is an error.
    pub(super) async fn catch_up(&self, client: &Client, link: &Link, since: i64, once: bool) -> Result<(), Trouble> {
        let mut back_off = BackOff::default();
        let (mut part, mut told) = (PART, None);
        loop {
            let attempt = async {
                // A few orgs at a time: each makes the server read a file for each of its clients.
                let _slot = self.slots.acquire().await;
                self.attempt(client, link, since, part).await
            };
            let error = match attempt.await {
                Ok(()) => {
                    self.taker.state.caught_up(true);
                    return Ok(());
                }
                Err(Trouble::Api(error)) => error,
                Err(error) => return Err(error),
            };
            self.taker.state.caught_up(false);
            if once {
                return Err(Trouble::Api(error));
            }
            // A part that is too large: smaller ones, down to single rows.
            let too_large = matches!(error, ApiError::Answer { .. });
            let hopeless = error.needs_a_person() || too_large && part == 1;
            if too_large {
                part = (part / 16).max(1);
            }
            let reason = error.to_string();
            if told.as_ref() != Some(&reason) {
                let (org, hint) = (&self.taker.org, error.hint());
                tracing::warn!(org, reason, hint, "what was missed cannot be asked for; it is tried again");
                told = Some(reason);
            }
            let wait = back_off.next(hopeless, &mut rand::rng());
            sleep(wait).await;
        }
    }

    async fn attempt(&self, client: &Client, link: &Link, since: i64, part: u64) -> Result<(), Trouble> {
        let org = &self.taker.org;
        match self.by_log(client, link, since, part).await {
            Ok(true) => {
                tracing::debug!(org, since, "caught up from the log");
                return Ok(());
            }
            Ok(false) => tracing::debug!(org, since, "there is no log, or it has gaps: the clients are asked"),
            // A server without the artifact may say so in one way or the other.
            Err(Trouble::Api(error @ (ApiError::Query { .. } | ApiError::Denied(_)))) => {
                tracing::debug!(org, %error, "the log cannot be read: the clients are asked");
            }
            Err(error) => return Err(error),
        }
        self.by_clients(client, since, part).await?;
        tracing::debug!(org, since, "caught up from the clients");
        Ok(())
    }

    /// False: the log was not kept all the time. What was in it is taken all the same.
    async fn by_log(&self, client: &Client, link: &Link, since: i64, part: u64) -> Result<bool, Trouble> {
        let mut answer = ask(client, &CATCH_UP_LOG, &self.taker.org, since, part).await?;
        let mut beats = Beats::new(since);
        loop {
            let ended = self
                .take(&mut answer, &CATCH_UP_LOG, &mut |row| {
                    if let Row::Beat(at) = row {
                        beats.beat(*at);
                    }
                })
                .await?;
            if beats.broken() {
                return Ok(false);
            }
            if ended {
                let now = link.course().now().unwrap_or(i64::MAX);
                return Ok(beats.complete(now));
            }
        }
    }

    async fn by_clients(&self, client: &Client, since: i64, part: u64) -> Result<(), Trouble> {
        let mut answer = ask(client, &CATCH_UP, &self.taker.org, since, part).await?;
        while !self.take(&mut answer, &CATCH_UP, &mut |_| {}).await? {}
        Ok(())
    }

    /// Takes what is at hand; true: that was all.
    async fn take(
        &self,
        answer: &mut Answer,
        query: &'static Query,
        see: &mut (dyn FnMut(&Row) + Send),
    ) -> Result<bool, Trouble> {
        let Part { lines, latest, end } = self.taker.part(answer, see).await;
        if !lines.is_empty() {
            self.taker.store(lines, latest, None).await?;
        }
        match end {
            None => Ok(false),
            Some(End::Said) => Ok(true),
            Some(End::Silent) => {
                Err(ApiError::Ended { query: query.name, log: answer.said().map(str::to_owned) }.into())
            }
            Some(End::Broken(error)) => Err(error.into()),
        }
    }
}

async fn ask(client: &Client, query: &'static Query, org: &str, since: i64, part: u64) -> Result<Answer, ApiError> {
    client.ask(Ask::since(query, org, since).part(part)).await
}
