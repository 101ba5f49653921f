//! How much there is of everything, for those who watch.

use std::str::FromStr;

use jiff::Timestamp;

use super::OutboxError;
use super::db::{query_as, query_scalar};
use super::open::beside;
use super::sql::{NEXT_DUE, timestamp};
use super::state::State;
use super::store::Outbox;

/// Counts of one moment. Totals count from the day the outbox was made; states count what is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Events accepted, in all.
    pub events: u64,
    /// Known events heard again with the same body, in all.
    pub duplicates: u64,
    /// Known events heard again with another body, in all.
    pub conflicts: u64,
    /// Lines that were no events, in all.
    pub rejected: u64,
    /// Mails stored, in all.
    pub mails: u64,
    /// Events that wait for a digest.
    pub gathered: u64,
    /// Judgements that a plugin has put off.
    pub postponed: u64,
    /// Judgements that were put off and given up.
    pub unjudged: u64,
    /// Recipients that wait for their first attempt.
    pub queued: u64,
    /// Recipients whose attempt is under way.
    pub sending: u64,
    /// Recipients that wait for another attempt.
    pub deferred: u64,
    /// Recipients that wait for a person.
    pub held: u64,
    /// Recipients that were delivered to.
    pub delivered: u64,
    /// Recipients that never will be.
    pub failed: u64,
    /// Recipients that a person took out.
    pub cancelled: u64,
    /// Since when the oldest have been there.
    pub oldest: Oldest,
    /// Of those that wait, for an attempt or another: by priority, the critical first.
    pub lanes: [Lane; 3],
}

/// Recipients of one priority that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lane {
    /// How many.
    pub waiting: u64,
    /// Since when the oldest has been there, as [`Oldest`] has it.
    pub oldest: Option<Timestamp>,
}

/// Since when the oldest recipient in each state that waits has been in the queue: since its mail was due for the first
/// time, or was retried by hand. `None`: there is none. A mail that is not due yet may have a time to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oldest {
    /// Of those that wait for their first attempt.
    pub queued: Option<Timestamp>,
    /// Of those whose attempt is under way.
    pub sending: Option<Timestamp>,
    /// Of those that wait for another attempt.
    pub deferred: Option<Timestamp>,
    /// Of those that wait for a person.
    pub held: Option<Timestamp>,
    /// When the one that is due next is due.
    pub due: Option<Timestamp>,
}

/// Bytes of the outbox and around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpaceCensus {
    /// Free, where it is.
    pub free: u64,
    /// `min_free`
    pub least: u64,
    /// Its database.
    pub database: u64,
    /// Its write-ahead log.
    pub log: u64,
}

impl Outbox {
    /// Counts everything, in one look.
    ///
    /// # Errors
    /// What the database says.
    pub async fn census(&self) -> Result<Census, OutboxError> {
        let mut look = self.readers().look().await?;
        let (events, duplicates, conflicts, rejected, mails): (i64, i64, i64, i64, i64) = query_as(
            "SELECT CAST(sum(events) AS BIGINT), CAST(sum(duplicates) AS BIGINT), CAST(sum(conflicts) AS BIGINT),
                   CAST(sum(rejected) AS BIGINT), CAST(sum(mails) AS BIGINT)
                 FROM tally",
        )
        .fetch_one(&mut look)
        .await?;
        let gathered: i64 =
            query_scalar("SELECT count(*) FROM gathered WHERE digest IS NULL").fetch_one(&mut look).await?;
        let (postponed, unjudged): (i64, i64) =
            query_as("SELECT count(next_at), count(*) - count(next_at) FROM postponed").fetch_one(&mut look).await?;
        let states: Vec<(String, i64, i64, i64)> = query_as(
            "SELECT state, priority, count(*), min(since) FROM recipient GROUP BY state, priority ORDER BY priority",
        )
        .fetch_all(&mut look)
        .await?;
        let due: Option<i64> = query_scalar(NEXT_DUE).fetch_one(&mut look).await?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let mut census = Census {
            events: count(events),
            duplicates: count(duplicates),
            conflicts: count(conflicts),
            rejected: count(rejected),
            mails: count(mails),
            gathered: count(gathered),
            postponed: count(postponed),
            unjudged: count(unjudged),
            ..Census::default()
        };
        census.oldest.due = due.map(timestamp);
        let oldest = &mut census.oldest;
        for (state, lane, number, since) in states {
            let state = State::from_str(&state);
            if matches!(state, Ok(State::Queued | State::Deferred))
                && let Some(lane) = usize::try_from(lane).ok().and_then(|lane| census.lanes.get_mut(lane))
            {
                lane.waiting += count(number);
                lane.oldest = Some(lane.oldest.map_or(timestamp(since), |first| first.min(timestamp(since))));
            }
            let first = match state {
                Ok(State::Queued) => Some(&mut oldest.queued),
                Ok(State::Sending | State::InData) => Some(&mut oldest.sending),
                Ok(State::Deferred) => Some(&mut oldest.deferred),
                Ok(State::Held) => Some(&mut oldest.held),
                _ => None,
            };
            if let Some(first) = first {
                let since = timestamp(since);
                *first = Some(first.map_or(since, |first| first.min(since)));
            }
            let slot = match state {
                Ok(State::Queued) => &mut census.queued,
                Ok(State::Sending | State::InData) => &mut census.sending,
                Ok(State::Deferred) => &mut census.deferred,
                Ok(State::Held) => &mut census.held,
                Ok(State::Delivered) => &mut census.delivered,
                Ok(State::Failed) => &mut census.failed,
                Ok(State::Cancelled) => &mut census.cancelled,
                Err(_) => continue,
            };
            *slot += count(number);
        }
        Ok(census)
    }

    /// How much room there is. Blocking, for a moment.
    ///
    /// # Errors
    /// What the file system says.
    pub fn space_census(&self) -> std::io::Result<SpaceCensus> {
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let (free, least) = (self.space().free()?, self.space().least());
        Ok(SpaceCensus { free, least, database: size(self.path()), log: size(&beside(self.path(), "-wal")) })
    }
}
