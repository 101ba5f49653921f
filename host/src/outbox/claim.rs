//! Claims and what becomes of them: the moves of [`state`](super::state) as statements of the writer's transaction.
//!
//! Every claim has an epoch of its own; each later move names it together with the state it starts from, so that a
//! delivery that lost its claim can change nothing.

use std::collections::HashMap;

use futures_util::TryStreamExt;

use super::accept::json;
use super::command::Effects;
use super::db::{Conn, query, query_as};
use super::schedule::{self, Next};
use super::sql::{ids, kept, millis, number, rank, timestamp};
use super::state::{Move, State};
use super::{Attempt, JobRecipient, Wanted};
use crate::config::RetryPolicy;
use crate::rule::Priority;

/// A mail that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) mail: i64,
    pub(super) epoch: i64,
    pub(super) priority: Priority,
    /// In the mail's order.
    pub(super) recipients: Vec<JobRecipient>,
}

/// The mails of one priority that are due, in the order in which they have waited.
pub(super) const DUE: &str = "SELECT mail FROM recipient WHERE priority = $1 AND next_at <= $2 ORDER BY next_at, mail";

/// Claims mails that are due, so many of each priority at most, the one that has waited longest first, each with all its
/// recipients that are due.
pub(super) async fn claim(conn: &mut Conn, wanted: Wanted, now: i64) -> Result<Vec<Claim>, sqlx::Error> {
    let mut mails: Vec<(i64, Priority)> = Vec::new();
    for priority in Priority::ALL {
        let limit = wanted.of(priority);
        if limit == 0 {
            continue;
        }
        // Read in the order of the index, and no further than needed: cheap however many are queued.
        let mut due = query_as::<(i64,)>(DUE).bind(rank(priority)).bind(now).fetch(&mut *conn);
        let mut seen = std::collections::HashSet::new();
        while let Some((mail,)) = due.try_next().await? {
            if seen.contains(&mail) {
                continue;
            }
            if seen.len() == limit {
                break;
            }
            seen.insert(mail);
            mails.push((mail, priority));
        }
    }
    if mails.is_empty() {
        return Ok(Vec::new());
    }
    let (epoch,): (i64,) = query_as("UPDATE tally SET epoch = epoch + 1 RETURNING epoch").fetch_one(&mut *conn).await?;
    let claimed: Vec<(i64, i64, i64, String, i64)> = query_as(
        "UPDATE recipient SET state = 'sending', epoch = $1, next_at = NULL, updated = $2
         WHERE mail IN (SELECT CAST(atom AS BIGINT) FROM json_each($3)) AND next_at <= $2 AND state IN ('queued', 'deferred')
         RETURNING mail, position, id, address, attempts",
    )
    .bind(epoch)
    .bind(now)
    .bind(ids(mails.iter().map(|(mail, _)| *mail)))
    .fetch_all(&mut *conn)
    .await?;
    crate::fault::point("claim_before_commit");
    let mut claims: HashMap<i64, Vec<(i64, JobRecipient)>> = HashMap::with_capacity(mails.len());
    for (mail, position, id, address, attempts) in claimed {
        claims.entry(mail).or_default().push((position, JobRecipient { id, address, attempts: number(attempts) }));
    }
    Ok(mails
        .into_iter()
        .filter_map(|(mail, priority)| {
            let mut recipients = claims.remove(&mail)?;
            recipients.sort_by_key(|(position, _)| *position);
            let recipients = recipients.into_iter().map(|(_, recipient)| recipient).collect();
            Some(Claim { mail, epoch, priority, recipients })
        })
        .collect())
}

/// Where a recipient stands.
struct Row {
    mail: i64,
    epoch: i64,
    state: State,
    attempts: u32,
    since: i64,
}

/// The rows of some recipients: a list of their ids as JSON.
async fn rows(conn: &mut Conn, recipients: String) -> Result<HashMap<i64, Row>, sqlx::Error> {
    let rows: Vec<(i64, i64, i64, String, i64, i64)> = query_as(
        "SELECT id, mail, epoch, state, attempts, since FROM recipient WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))",
    )
    .bind(recipients)
    .fetch_all(conn)
    .await?;
    let row = |(id, mail, epoch, state, attempts, since): (i64, i64, i64, String, i64, i64)| {
        Some((id, Row { mail, epoch, state: state.parse().ok()?, attempts: number(attempts), since }))
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// The row of a claim's recipient, if it is the claim's own still.
fn owned(rows: &HashMap<i64, Row>, id: i64, mail: i64, epoch: i64) -> Option<&Row> {
    rows.get(&id).filter(|row| row.mail == mail && row.epoch == epoch && row.state.is_claimed())
}

/// The final dot of a mail is about to be sent to some of its recipients.
pub(super) struct Dot<'a> {
    pub(super) mail: i64,
    pub(super) epoch: i64,
    pub(super) recipients: &'a [i64],
}

/// Marks recipients of claims: their final dots are about to be sent. False, and nothing changed for that mail, if one of
/// its recipients is not this claim's any more.
pub(super) async fn dots(conn: &mut Conn, dots: &[Dot<'_>]) -> Result<Vec<bool>, sqlx::Error> {
    if dots.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = rows(conn, ids(dots.iter().flat_map(|dot| dot.recipients.iter().copied()))).await?;
    let mut marked: Vec<i64> = Vec::new();
    let mut ours = Vec::with_capacity(dots.len());
    for Dot { mail, epoch, recipients } in dots {
        let mut ready =
            |id: &i64| owned(&rows, *id, *mail, *epoch).is_some_and(|row| row.state.after(Move::Dot).is_ok());
        let all = recipients.iter().all(&mut ready);
        ours.push(all);
        if all {
            for id in *recipients {
                if let Some(row) = rows.get_mut(id) {
                    row.state = row.state.after(Move::Dot).unwrap_or(row.state);
                }
                marked.push(*id);
            }
        }
    }
    let changed = query(
        "UPDATE recipient SET state = 'in_data' WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) AND state = 'sending'",
    )
    .bind(ids(marked.iter().copied()))
    .execute(conn)
    .await?
    .rows_affected();
    expect(changed, marked.len())?;
    Ok(ours)
}

/// How an attempt at a mail ended, for each of its recipients.
pub(super) struct Report<'a> {
    pub(super) mail: i64,
    pub(super) epoch: i64,
    pub(super) outcomes: &'a [(i64, Attempt)],
    pub(super) now: i64,
}

/// Records how attempts ended. False, and nothing changed for that mail, if one of its recipients is not this claim's any
/// more.
pub(super) async fn reports(
    conn: &mut Conn,
    retry: &RetryPolicy,
    reports: &[Report<'_>],
    effects: &mut Effects,
) -> Result<Vec<bool>, sqlx::Error> {
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    let of_all = reports.iter().flat_map(|report| report.outcomes.iter().map(|(id, _)| *id));
    let mut rows = rows(conn, ids(of_all)).await?;
    let (mut moves, mut entries) = (Vec::new(), Vec::new());
    let mut ours = Vec::with_capacity(reports.len());
    for report in reports {
        let Some(endings) = endings(&rows, report, retry) else {
            ours.push(false);
            continue;
        };
        ours.push(true);
        for (id, was, state, ended) in endings {
            if let Some(row) = rows.get_mut(&id) {
                row.state = state;
            }
            effects.wakes |= ended.next_at.is_some();
            if let Some(reason) = ended.reason.as_ref().filter(|_| ended.step != Move::Release) {
                entries.push((id, report.now, state.name(), reason.clone()));
            }
            moves.push((
                id,
                report.epoch,
                was.name(),
                state.name(),
                ended.attempts,
                ended.next_at,
                ended.reason,
                report.now,
            ));
        }
    }
    let changed = query(
        "UPDATE recipient SET state = j.value ->> 3, attempts = CAST(j.value ->> 4 AS BIGINT), next_at = CAST(j.value ->> 5 AS BIGINT),
           reason = coalesce(j.value ->> 6, reason), updated = CAST(j.value ->> 7 AS BIGINT)
         FROM json_each($1) j
         WHERE recipient.id = CAST(j.value ->> 0 AS BIGINT) AND recipient.epoch = CAST(j.value ->> 1 AS BIGINT)
           AND recipient.state = j.value ->> 2",
    )
    .bind(json(&moves)?)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    expect(changed, moves.len())?;
    if !entries.is_empty() {
        query(
            "INSERT INTO attempt (recipient, at, outcome, reply)
             SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT), value ->> 2, value ->> 3
             FROM json_each($1) ORDER BY key",
        )
        .bind(json(&entries)?)
        .execute(conn)
        .await?;
    }
    Ok(ours)
}

/// What a report makes of its recipients: the id, the state that it had, the one that it has then, and the rest. `None`: one
/// of them is not the claim's any more, or cannot end like that, or is named twice.
fn endings(
    rows: &HashMap<i64, Row>,
    report: &Report<'_>,
    retry: &RetryPolicy,
) -> Option<Vec<(i64, State, State, Ending)>> {
    let mut endings: Vec<(i64, State, State, Ending)> = Vec::with_capacity(report.outcomes.len());
    for (id, attempt) in report.outcomes {
        let row = owned(rows, *id, report.mail, report.epoch)?;
        let ended = ending(attempt, row, retry, report.now);
        let state = row.state.after(ended.step).ok()?;
        if endings.iter().any(|(known, ..)| known == id) {
            return None;
        }
        endings.push((*id, row.state, state, ended));
    }
    Some(endings)
}

/// What an attempt makes of a row.
struct Ending {
    step: Move,
    attempts: u32,
    next_at: Option<i64>,
    /// `None`: the one that it had. What is no attempt leaves no entry in the log.
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
        Attempt::Waits(at, reason) => {
            let reason = Some(kept(reason));
            Ending { step: Move::Release, attempts: row.attempts, next_at: Some(millis(*at)), reason }
        }
    }
}

/// Writes into a recipient's log.
pub(super) async fn log(
    conn: &mut Conn,
    recipient: i64,
    now: i64,
    outcome: &str,
    reply: &str,
) -> Result<(), sqlx::Error> {
    query("INSERT INTO attempt (recipient, at, outcome, reply) VALUES ($1, $2, $3, $4)")
        .bind(recipient)
        .bind(now)
        .bind(outcome)
        .bind(reply)
        .execute(conn)
        .await?;
    Ok(())
}

/// Puts claims back that nobody took; they keep their place in the queue.
pub(super) async fn give_back(conn: &mut Conn, claims: &[Claim], effects: &mut Effects) -> Result<u64, sqlx::Error> {
    let mut returned = 0;
    for claim in claims {
        returned += query(
            "UPDATE recipient SET state = 'queued', next_at = updated WHERE mail = $1 AND epoch = $2 AND state = 'sending'",
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
pub(super) async fn expire(conn: &mut Conn, before: i64, effects: &mut Effects) -> Result<u64, sqlx::Error> {
    let returned =
        query("UPDATE recipient SET state = 'queued', next_at = updated WHERE state = 'sending' AND updated < $1")
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
