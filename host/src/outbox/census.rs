//! How much there is of everything, for those who watch.

use std::str::FromStr;

use super::OutboxError;
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
}

impl Outbox {
    /// Counts everything, in one look.
    ///
    /// # Errors
    /// What the database says.
    pub async fn census(&self) -> Result<Census, OutboxError> {
        let mut look = self.readers().begin().await?;
        let (events, duplicates, conflicts, rejected, mails): (i64, i64, i64, i64, i64) =
            sqlx::query_as("SELECT events, duplicates, conflicts, rejected, mails FROM tally")
                .fetch_one(&mut *look)
                .await?;
        let gathered: i64 =
            sqlx::query_scalar("SELECT count(*) FROM gathered WHERE digest IS NULL").fetch_one(&mut *look).await?;
        let (postponed, unjudged): (i64, i64) =
            sqlx::query_as("SELECT count(next_at), count(*) - count(next_at) FROM postponed")
                .fetch_one(&mut *look)
                .await?;
        let states: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM recipient GROUP BY state").fetch_all(&mut *look).await?;
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
        for (state, number) in states {
            let slot = match State::from_str(&state) {
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
}
