//! The one writer: takes every command that waits into one transaction, and answers after its commit returned.
//!
//! A group is tried whole. If a statement of it is refused, the group is rolled back and its commands are made one by
//! one, so that nobody pays for a neighbour. If a read, write or sync of the storage fails, nothing is tried again:
//! everything that waits gets the error and the writer stops for good, since the kernel may have dropped what it could
//! not write; whoever runs the outbox ends the process.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::command::{Claims, Done, Effects, GROUP_BYTES, GROUP_ROWS, Message, Waiting, Work};
use super::db::{Conn, query, query_as};
use super::space::{Ballast, Space};
use super::sql::{Trouble, trouble};
use super::{OutboxError, accept, claim, digest, postponed, sweep};
use crate::config::RetryPolicy;
use crate::fault;
use crate::meter::Meter;

/// How often the writer looks whether another process changed something (`bewit outbox retry`), and whether what had
/// no space has it now.
const LOOK: Duration = Duration::from_secs(2);

/// How often the ballast is laid in again, if there is room.
const BALLAST: Duration = Duration::from_secs(30);

/// Bytes written, about, after which the write-ahead log goes into the database.
const CHECKPOINT: usize = 8 * 1024 * 1024;

/// How long a group waits for another process's transaction before it gives up.
const BUSY_TRIES: u32 = 12;

/// The writer's task.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) conn: Conn,
    pub(super) meter: Arc<Meter>,
    pub(super) path: PathBuf,
    pub(super) retry: RetryPolicy,
    pub(super) space: Arc<Space>,
    pub(super) ballast: Arc<Ballast>,
    /// Counts what may have made something due sooner.
    pub(super) version: watch::Sender<u64>,
    /// Why it has stopped.
    pub(super) stopped: Arc<OnceLock<String>>,
    /// The way back for claims that nobody took.
    pub(super) back: mpsc::WeakSender<Message>,
}

impl Writer {
    /// Runs until it is closed, every handle is gone, or the storage fails.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut data_version = None;
        let mut ballast_at = Instant::now();
        let mut written = 0;
        let mut stalled = Vec::new();
        let mut closing = None;
        let end = loop {
            let first = tokio::select! {
                message = messages.recv() => message,
                _ = look.tick() => {
                    if let Err(error) = self.look_around(&mut data_version).await {
                        break Err(error);
                    }
                    if ballast_at.elapsed() >= BALLAST {
                        ballast_at = Instant::now();
                        self.lay_in_ballast().await;
                    }
                    if let Err(error) = self.again(&mut stalled).await {
                        break Err(error);
                    }
                    continue;
                }
            };
            let mut group = Vec::new();
            let mut weight = (0, 0);
            let mut next = first;
            loop {
                match next {
                    Some(Message::Work(waiting)) => {
                        let (rows, bytes) = waiting.work.weight();
                        weight = (weight.0 + rows, weight.1 + bytes);
                        group.push(waiting);
                    }
                    Some(Message::Close(done)) => closing = Some(Some(done)),
                    None => closing = Some(None),
                }
                if closing.is_some() || weight.0 >= GROUP_ROWS || weight.1 >= GROUP_BYTES {
                    break;
                }
                match messages.try_recv() {
                    Ok(message) => next = Some(message),
                    Err(_) => break,
                }
            }
            if !group.is_empty() {
                if let Err(error) = self.group(group, &mut stalled).await {
                    break Err(error);
                }
                written += weight.1 + 64 * 1024;
                if written >= CHECKPOINT {
                    written = 0;
                    if let Err(error) = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await {
                        break Err(error);
                    }
                }
            }
            if closing.is_some() {
                break Ok(());
            }
        };
        let reason = match &end {
            Ok(()) => "it was closed".to_owned(),
            Err(error) => {
                tracing::error!(error = %error, path = %self.path.display(), "the outbox stops: its storage failed");
                error.to_string()
            }
        };
        let _ = self.stopped.set(reason.clone());
        messages.close();
        for waiting in stalled {
            let _ = waiting.answer.send(Err(OutboxError::Stopped(reason.clone())));
        }
        let mut later = Vec::new();
        while let Some(message) = messages.recv().await {
            match message {
                Message::Work(waiting) => {
                    let _ = waiting.answer.send(Err(OutboxError::Stopped(reason.clone())));
                }
                Message::Close(done) => later.push(done),
            }
        }
        if end.is_ok() {
            let _ = self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await;
            if let Err(error) = self.conn.close().await {
                tracing::warn!(%error, "the outbox did not close cleanly");
            }
        }
        // Whoever waits for a change learns of the end by asking.
        self.version.send_modify(|version| *version += 1);
        for done in closing.flatten().into_iter().chain(later) {
            let _ = done.send(());
        }
    }

    /// Makes a group in one transaction, or its commands one by one. An error is the end of the writer; everyone in
    /// the group has been told.
    async fn group(&mut self, group: Vec<Waiting>, stalled: &mut Vec<Waiting>) -> Result<(), sqlx::Error> {
        match self.transact(&group).await {
            Ok(answers) => {
                fault::point("before_ack");
                for (waiting, done) in group.into_iter().zip(answers) {
                    let _ = waiting.answer.send(Ok(done));
                }
                Ok(())
            }
            Err(error) if fatal(&error) => {
                tell(group, &error);
                Err(error)
            }
            Err(_) => self.one_by_one(group, stalled).await,
        }
    }

    /// Tries once more what had no space.
    async fn again(&mut self, stalled: &mut Vec<Waiting>) -> Result<(), sqlx::Error> {
        if stalled.is_empty() {
            return Ok(());
        }
        // The log itself may be what fills the disk.
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        // A claim whose caller has gone would only have to be put back.
        let waiting = std::mem::take(stalled)
            .into_iter()
            .filter(|waiting| !(waiting.answer.is_closed() && matches!(waiting.work, Work::Claim { .. })))
            .collect();
        self.one_by_one(waiting, stalled).await
    }

    async fn one_by_one(&mut self, group: Vec<Waiting>, stalled: &mut Vec<Waiting>) -> Result<(), sqlx::Error> {
        let mut group = group.into_iter();
        while let Some(waiting) = group.next() {
            let one = std::slice::from_ref(&waiting);
            let mut result = self.transact(one).await;
            if let Err(error) = &result
                && trouble(error) == Trouble::Full
                && waiting.work.may_use_ballast()
                && self.ballast.give_up()
            {
                tracing::error!("the disk of the outbox is full: the ballast is given up to end what is in flight");
                result = self.transact(one).await;
            }
            match result {
                Ok(answers) => {
                    fault::point("before_ack");
                    if let Some(done) = answers.into_iter().next() {
                        let _ = waiting.answer.send(Ok(done));
                    }
                }
                Err(error) if fatal(&error) => {
                    let rest = std::iter::once(waiting).chain(group).collect();
                    tell(rest, &error);
                    return Err(error);
                }
                Err(error) if trouble(&error) == Trouble::Full => {
                    if waiting.work.waits_for_space() {
                        stalled.push(waiting);
                    } else {
                        let _ = waiting.answer.send(Err(self.space.full()));
                    }
                }
                Err(error) => {
                    let _ = waiting.answer.send(Err(OutboxError::Database(error)));
                }
            }
        }
        Ok(())
    }

    /// One transaction for some commands; nothing of it stays if it fails.
    async fn transact(&mut self, group: &[Waiting]) -> Result<Vec<Done>, sqlx::Error> {
        let begun = Instant::now();
        self.begin().await?;
        let mut effects = Effects::default();
        let result = self.apply(group, &mut effects).await;
        let result = match result {
            Ok(answers) => {
                fault::point("before_commit");
                self.conn.commit().await.map(|()| answers)
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(answers) => {
                fault::point("after_commit");
                self.meter.transaction(group.len(), begun.elapsed());
                if effects.wakes {
                    self.version.send_modify(|version| *version += 1);
                }
                Ok(answers)
            }
            Err(error) => {
                let _ = self.conn.rollback().await;
                Err(error)
            }
        }
    }

    /// Begins, when no other process writes.
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let mut tries = 1;
        loop {
            match self.conn.begin().await {
                Err(error) if trouble(&error) == Trouble::Busy && tries < BUSY_TRIES => {
                    tracing::warn!("another process holds the outbox's write lock");
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Makes a group's commands. They wait all at once, so any order is as good: those of which there are many are made
    /// together.
    async fn apply(&mut self, group: &[Waiting], effects: &mut Effects) -> Result<Vec<Done>, sqlx::Error> {
        let conn = &mut self.conn;
        let (mut taken, mut dots, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for waiting in group {
            match &waiting.work {
                Work::Accept { lines, position, now } => {
                    taken.push(accept::Taken { lines, position: position.as_ref(), now: *now });
                }
                Work::Dot { mail, epoch, recipients } => {
                    dots.push(claim::Dot { mail: *mail, epoch: *epoch, recipients });
                }
                Work::Report { mail, epoch, outcomes, now } => {
                    reports.push(claim::Report { mail: *mail, epoch: *epoch, outcomes, now: *now });
                }
                _ => {}
            }
        }
        let mut receipts = accept::apply(conn, &self.retry, &taken, effects).await?.into_iter();
        let mut dots = claim::dots(conn, &dots).await?.into_iter();
        let mut reports = claim::reports(conn, &self.retry, &reports, effects).await?.into_iter();
        let mut answers = Vec::with_capacity(group.len());
        for waiting in group {
            let done = match &waiting.work {
                Work::Accept { .. } => Done::Receipts(receipts.next().unwrap_or_default()),
                Work::Dot { .. } => Done::Ours(dots.next().unwrap_or_default()),
                Work::Report { .. } => Done::Ours(reports.next().unwrap_or_default()),
                Work::Claim { wanted, now } => {
                    Done::Claimed(Claims::new(claim::claim(conn, *wanted, *now).await?, self.back.clone()))
                }
                Work::Return { claims } => Done::Count(claim::give_back(conn, claims, effects).await?),
                Work::Expire { before } => Done::Count(claim::expire(conn, *before, effects).await?),
                Work::CloseDigest { digest, now } => Done::Ours(digest::close(conn, digest, *now, effects).await?),
                Work::Settle { id, attempts, judged, now } => {
                    Done::Settled(postponed::settle(conn, &self.retry, *id, *attempts, judged, *now, effects).await?)
                }
                Work::Forget { source } => {
                    let gone = query("DELETE FROM position WHERE source = $1").bind(source).execute(&mut *conn);
                    Done::Count(gone.await?.rows_affected())
                }
                Work::Sweep { cutoff, known } => Done::Count(sweep::apply(conn, *cutoff, *known, effects).await?),
                Work::Vacuum => Done::Count(sweep::vacuum(conn).await?),
            };
            answers.push(done);
        }
        effects.tally.store(conn).await?;
        Ok(answers)
    }

    /// Brings the log into the database. A disk that is full, or a reader in the way, is no error: the log remains.
    async fn checkpoint(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        fault::point("before_checkpoint");
        match self.conn.raw(statement).await {
            Err(error) if fatal(&error) => return Err(error),
            Err(error) => tracing::warn!(%error, "the outbox's log could not be moved into the database yet"),
            Ok(()) => {}
        }
        fault::point("after_checkpoint");
        Ok(())
    }

    /// `data_version` changes on this connection when another one has committed; nobody writes in this process but
    /// this connection, so it was another process.
    async fn look_around(&mut self, seen: &mut Option<i64>) -> Result<(), sqlx::Error> {
        match query_as::<(i64,)>("PRAGMA data_version").fetch_one(&mut self.conn).await {
            Ok((now,)) => {
                if seen.replace(now).is_some_and(|before| before != now) {
                    self.version.send_modify(|version| *version += 1);
                }
                Ok(())
            }
            Err(error) if fatal(&error) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the outbox could not be asked for changes");
                Ok(())
            }
        }
    }

    async fn lay_in_ballast(&self) {
        let (ballast, space) = (Arc::clone(&self.ballast), Arc::clone(&self.space));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || ballast.lay_in(&space)).await {
            tracing::debug!(%error, "no ballast for a full disk");
        }
    }
}

fn fatal(error: &sqlx::Error) -> bool {
    matches!(trouble(error), Trouble::Storage | Trouble::Damaged)
}

fn tell(group: Vec<Waiting>, error: &sqlx::Error) {
    for waiting in group {
        let _ = waiting.answer.send(Err(OutboxError::Stopped(error.to_string())));
    }
}
