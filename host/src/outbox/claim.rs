//! Claims and what becomes of them: the moves of [`state`](super::state) as statements of the writer's transaction.
//!
//! Every claim has an epoch of its own; each later move names it together with the state it starts from, so that a
//! delivery that lost its claim can change nothing.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use sqlx::SqliteConnection;

use super::command::Effects;
use super::schedule::{self, Next};
use super::sql::{ids, kept, millis, timestamp};
use super::state::{Move, State};
use super::{Attempt, JobRecipient};
use crate::config::RetryPolicy;

/// A mail that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) mail: i64,
    pub(super) epoch: i64,
    /// In the mail's order.
    pub(super) recipients: Vec<JobRecipient>,
}

/// Claims up to `limit` mails that are due, the one that has waited longest first, each with all its recipients that
/// are due.
pub(super) async fn claim(conn: &mut SqliteConnection, limit: usize, now: i64) -> Result<Vec<Claim>, sqlx::Error> {
    let mut mails: Vec<i64> = Vec::new();
    if limit > 0 {
        // Read in the order of the index, and no further than needed: cheap however many are queued.
        let mut due =
            sqlx::query_as::<_, (i64,)>("SELECT mail FROM recipient WHERE next_at <= ? ORDER BY next_at, mail")
                .bind(now)
                .fetch(&mut *conn);
        let mut seen = std::collections::HashSet::new();
        while let Some((mail,)) = due.try_next().await? {
            if seen.contains(&mail) {
                continue;
            }
            if mails.len() == limit {
                break;
            }
            seen.insert(mail);
            mails.push(mail);
        }
    }
    if mails.is_empty() {
        return Ok(Vec::new());
    }
    let (epoch,): (i64,) =
        sqlx::query_as("UPDATE tally SET epoch = epoch + 1 RETURNING epoch").fetch_one(&mut *conn).await?;
    let claimed: Vec<(i64, i64, i64, String, u32)> = sqlx::query_as(
        "UPDATE recipient SET state = 'sending', epoch = ?1, next_at = NULL, updated = ?2
         WHERE mail IN (SELECT value FROM json_each(?3)) AND next_at <= ?2 AND state IN ('queued', 'deferred')
         RETURNING mail, position, id, address, attempts",
    )
    .bind(epoch)
    .bind(now)
    .bind(ids(mails.iter().copied()))
    .fetch_all(&mut *conn)
    .await?;
    crate::fault::point("claim_before_commit");
    let mut claims: HashMap<i64, Vec<(i64, JobRecipient)>> = HashMap::with_capacity(mails.len());
    for (mail, position, id, address, attempts) in claimed {
        claims.entry(mail).or_default().push((position, JobRecipient { id, address, attempts }));
    }
    Ok(mails
        .into_iter()
        .filter_map(|mail| {
            let mut recipients = claims.remove(&mail)?;
            recipients.sort_by_key(|(position, _)| *position);
            Some(Claim { mail, epoch, recipients: recipients.into_iter().map(|(_, recipient)| recipient).collect() })
        })
        .collect())
}

/// Where a recipient stands.
struct Row {
    state: State,
    attempts: u32,
    since: i64,
}

/// The rows of a claim, if they are all still its own.
async fn owned(
    conn: &mut SqliteConnection,
    mail: i64,
    epoch: i64,
    recipients: impl IntoIterator<Item = i64> + Clone,
) -> Result<Option<HashMap<i64, Row>>, sqlx::Error> {
    let rows: Vec<(i64, String, u32, i64)> = sqlx::query_as(
        "SELECT id, state, attempts, since FROM recipient
         WHERE id IN (SELECT value FROM json_each(?)) AND mail = ? AND epoch = ?",
    )
    .bind(ids(recipients.clone()))
    .bind(mail)
    .bind(epoch)
    .fetch_all(conn)
    .await?;
    let rows: HashMap<i64, Row> = rows
        .into_iter()
        .filter_map(|(id, state, attempts, since)| Some((id, Row { state: state.parse().ok()?, attempts, since })))
        .collect();
    let all_there = recipients.into_iter().all(|id| rows.get(&id).is_some_and(|row| row.state.is_claimed()));
    Ok(all_there.then_some(rows))
}

/// Marks recipients of a claim: the final dot is about to be sent. False, and nothing changed, if one of them is not
/// this claim's any more.
pub(super) async fn dot(
    conn: &mut SqliteConnection,
    mail: i64,
    epoch: i64,
    recipients: &[i64],
) -> Result<bool, sqlx::Error> {
    let Some(rows) = owned(conn, mail, epoch, recipients.iter().copied()).await? else { return Ok(false) };
    if recipients.iter().any(|id| rows.get(id).is_none_or(|row| row.state.after(Move::Dot).is_err())) {
        return Ok(false);
    }
    let changed = sqlx::query(
        "UPDATE recipient SET state = 'in_data'
         WHERE id IN (SELECT value FROM json_each(?)) AND mail = ? AND epoch = ? AND state = 'sending'",
    )
    .bind(ids(recipients.iter().copied()))
    .bind(mail)
    .bind(epoch)
    .execute(conn)
    .await?
    .rows_affected();
    expect(changed, rows.len())?;
    Ok(true)
}

/// Records how an attempt ended. False, and nothing changed, if one of the recipients is not this claim's any more.
pub(super) async fn report(
    conn: &mut SqliteConnection,
    retry: &RetryPolicy,
    mail: i64,
    epoch: i64,
    outcomes: &[(i64, Attempt)],
    now: i64,
    effects: &mut Effects,
) -> Result<bool, sqlx::Error> {
    let Some(rows) = owned(conn, mail, epoch, outcomes.iter().map(|(id, _)| *id)).await? else { return Ok(false) };
    if rows.len() != outcomes.len() {
        // One recipient cannot have ended twice.
        return Ok(false);
    }
    for (id, attempt) in outcomes {
        let Some(row) = rows.get(id) else { return Ok(false) };
        let ended = ending(attempt, row, retry, now);
        let Ok(state) = row.state.after(ended.step) else { return Ok(false) };
        let changed = sqlx::query(
            "UPDATE recipient SET state = ?, attempts = ?, next_at = ?, reason = coalesce(?, reason), updated = ?
             WHERE id = ? AND epoch = ? AND state = ?",
        )
        .bind(state.name())
        .bind(ended.attempts)
        .bind(ended.next_at)
        .bind(&ended.reason)
        .bind(now)
        .bind(id)
        .bind(epoch)
        .bind(row.state.name())
        .execute(&mut *conn)
        .await?
        .rows_affected();
        expect(changed, 1)?;
        if let Some(reason) = &ended.reason {
            log(conn, *id, now, state.name(), reason).await?;
        }
        effects.wakes |= ended.next_at.is_some();
    }
    Ok(true)
}

/// What an attempt makes of a row.
struct Ending {
    step: Move,
    attempts: u32,
    next_at: Option<i64>,
    /// `None` for what is no attempt: it leaves no entry in the log.
    reason: Option<String>,
}

fn ending(attempt: &Attempt, row: &Row, retry: &RetryPolicy, now: i64) -> Ending {
    let attempts = row.attempts.saturating_add(1);
    let end = |step, reason: &str| Ending { step, attempts, next_at: None, reason: Some(kept(reason)) };
    match attempt {
        Attempt::Delivered(reply) => end(Move::Deliver, reply),
        Attempt::Failed(reason) => end(Move::Fail, reason),
        Attempt::Held(reason) => end(Move::Hold, reason),
        Attempt::Deferred(reason) => {
            let (since, now) = (timestamp(row.since), timestamp(now));
            match schedule::after_failure(retry, attempts, since, now, &mut rand::rng()) {
                Next::At(at) => Ending { next_at: Some(millis(at)), ..end(Move::Defer, reason) },
                Next::GiveUp => {
                    let days = retry.give_up.as_secs_f64() / 86_400.0;
                    end(
                        Move::Fail,
                        &format!("given up after {attempts} attempts in {days:.1} days; the last: {reason}"),
                    )
                }
            }
        }
        Attempt::Released(at) => {
            Ending { step: Move::Release, attempts: row.attempts, next_at: Some(millis(*at)), reason: None }
        }
    }
}

/// Writes into a recipient's log.
pub(super) async fn log(
    conn: &mut SqliteConnection,
    recipient: i64,
    now: i64,
    outcome: &str,
    reply: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO attempt (recipient, at, outcome, reply) VALUES (?, ?, ?, ?)")
        .bind(recipient)
        .bind(now)
        .bind(outcome)
        .bind(reply)
        .execute(conn)
        .await?;
    Ok(())
}

/// Puts claims back that nobody took; they keep their place in the queue.
pub(super) async fn give_back(
    conn: &mut SqliteConnection,
    claims: &[Claim],
    effects: &mut Effects,
) -> Result<u64, sqlx::Error> {
    let mut returned = 0;
    for claim in claims {
        returned += sqlx::query(
            "UPDATE recipient SET state = 'queued', next_at = updated WHERE mail = ? AND epoch = ? AND state = 'sending'",
        )
        .bind(claim.mail)
        .bind(claim.epoch)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    }
    effects.wakes |= returned > 0;
    Ok(returned)
}

/// Puts claims back that are older than `before` and have not come to the final dot.
pub(super) async fn expire(
    conn: &mut SqliteConnection,
    before: i64,
    effects: &mut Effects,
) -> Result<u64, sqlx::Error> {
    let returned =
        sqlx::query("UPDATE recipient SET state = 'queued', next_at = updated WHERE state = 'sending' AND updated < ?")
            .bind(before)
            .execute(conn)
            .await?
            .rows_affected();
    effects.wakes |= returned > 0;
    Ok(returned)
}

/// A statement that hit other rows than were just read in the same transaction: a bug, refused before it is stored.
fn expect(changed: u64, wanted: usize) -> Result<(), sqlx::Error> {
    if changed == wanted as u64 {
        Ok(())
    } else {
        Err(sqlx::Error::Protocol(format!("an update changed {changed} rows instead of {wanted}")))
    }
}
