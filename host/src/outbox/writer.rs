//! The one writer: takes every command that waits into one transaction, and answers after its commit returned.
//!
//! A group is tried whole. If a statement of it is refused, the group is rolled back and its commands are made one by
//! one, so that nobody pays for a neighbour. If a read, write or sync of the storage fails, nothing is tried again:
//! everything that waits gets the error and the writer stops for good (TRUST: P2); whoever runs the outbox ends the
//! process.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::accept::{self, Line};
use super::claim::{self, Claim};
use super::digest;
use super::space::{Ballast, Space};
use super::sql::{Trouble, trouble};
use super::sweep;
use super::{Attempt, OutboxError, Position, Receipt};
use crate::config::RetryPolicy;
use crate::fault;

/// Rows and bytes of one transaction, about.
const GROUP_ROWS: usize = 128;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// How often the writer looks whether another process changed something (`bewit outbox retry`), and whether what had
/// no space has it now.
const LOOK: Duration = Duration::from_secs(2);

/// How often the ballast is laid in again, if there is room.
const BALLAST: Duration = Duration::from_secs(30);

/// Bytes written, about, after which the write-ahead log goes into the database.
const CHECKPOINT: usize = 8 * 1024 * 1024;

/// How long a group waits for another process's transaction before it gives up.
const BUSY_TRIES: u32 = 12;

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Work {
    /// Stores lines and moves a position.
    Accept { lines: Vec<Line>, position: Option<Position>, now: i64 },
    /// Claims mails that are due.
    Claim { limit: usize, now: i64 },
    /// The final dot is about to be sent.
    Dot { mail: i64, epoch: i64, recipients: Vec<i64> },
    /// An attempt has ended.
    Report { mail: i64, epoch: i64, outcomes: Vec<(i64, Attempt)>, now: i64 },
    /// Claims that nobody took: back to the queue.
    Return { claims: Vec<Claim> },
    /// Claims older than this: back to the queue.
    Expire { before: i64 },
    /// A digest's mails.
    CloseDigest { digest: digest::Closing, now: i64 },
    /// A source is gone.
    Forget { source: String },
    /// A part of what retention removes.
    Sweep { cutoff: i64, known: i64 },
    /// Gives free pages back to the file system.
    Vacuum,
}

impl Work {
    /// Rows and bytes, about.
    fn weight(&self) -> (usize, usize) {
        match self {
            Self::Accept { lines, .. } => {
                lines.iter().map(Line::weight).fold((1, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
            }
            Self::CloseDigest { digest, .. } => digest.weight(),
            Self::Claim { limit, .. } => (*limit, 0),
            Self::Dot { recipients, .. } => (recipients.len(), 0),
            Self::Report { outcomes, .. } => (outcomes.len(), 0),
            Self::Return { claims } => (claims.len(), 0),
            Self::Expire { .. } | Self::Forget { .. } => (1, 0),
            Self::Sweep { .. } | Self::Vacuum => (GROUP_ROWS, GROUP_BYTES),
        }
    }

    /// Whether it may use the ballast on a full disk: what ends or shrinks something, never what is new.
    fn may_use_ballast(&self) -> bool {
        !matches!(self, Self::Accept { .. })
    }

    /// Whether it waits for space, instead of being refused. What has been handed over must be recorded; and while
    /// nothing can be recorded, nothing may be handed over.
    fn waits_for_space(&self) -> bool {
        matches!(self, Self::Claim { .. } | Self::Report { .. } | Self::Return { .. })
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    /// [`Work::Accept`]
    Receipts(Vec<Receipt>),
    /// [`Work::Claim`]
    Claimed(Claims),
    /// [`Work::Dot`], [`Work::Report`], [`Work::CloseDigest`]: whether it was still ours.
    Ours(bool),
    /// How many rows.
    Count(u64),
}

/// Claims on their way to whoever asked. Dropped on the way (a caller that was cancelled), they go back to the queue.
#[derive(Debug)]
pub(super) struct Claims {
    list: Vec<Claim>,
    back: mpsc::WeakSender<Message>,
}

impl Claims {
    /// What was claimed.
    pub(super) fn list(&self) -> &[Claim] {
        &self.list
    }

    /// From here on the caller answers for them.
    pub(super) fn take(mut self) -> Vec<Claim> {
        std::mem::take(&mut self.list)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let claims = std::mem::take(&mut self.list);
        let Some(back) = self.back.upgrade().filter(|_| !claims.is_empty()) else { return };
        let (answer, _) = oneshot::channel();
        match back.try_send(Message::Work(Waiting { work: Work::Return { claims }, answer })) {
            Err(mpsc::error::TrySendError::Full(message)) => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        let _ = back.send(message).await;
                    });
                }
            }
            // Closed: the next start puts them back.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

/// A command and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<Done, OutboxError>>,
}

/// What comes over the channel.
#[derive(Debug)]
pub(super) enum Message {
    /// A command.
    Work(Waiting),
    /// End after what came before.
    Close(oneshot::Sender<()>),
}

/// What one transaction did, beside its answers.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Something may be due sooner than it was.
    pub(super) wakes: bool,
    /// Added to the totals at the end of the transaction.
    pub(super) tally: Tally,
}

/// What is added to the table `tally`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) events: i64,
    pub(super) events_removed: i64,
    pub(super) mails: i64,
    pub(super) mails_removed: i64,
    pub(super) recipients: i64,
    pub(super) recipients_removed: i64,
    pub(super) rejected: i64,
    pub(super) rejected_removed: i64,
    pub(super) duplicates: i64,
    pub(super) conflicts: i64,
}

impl Tally {
    async fn store(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if *self == Self::default() {
            return Ok(());
        }
        sqlx::query(
            "UPDATE tally SET events = events + ?, events_removed = events_removed + ?, mails = mails + ?,
               mails_removed = mails_removed + ?, recipients = recipients + ?,
               recipients_removed = recipients_removed + ?, rejected = rejected + ?,
               rejected_removed = rejected_removed + ?, duplicates = duplicates + ?, conflicts = conflicts + ?",
        )
        .bind(self.events)
        .bind(self.events_removed)
        .bind(self.mails)
        .bind(self.mails_removed)
        .bind(self.recipients)
        .bind(self.recipients_removed)
        .bind(self.rejected)
        .bind(self.rejected_removed)
        .bind(self.duplicates)
        .bind(self.conflicts)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// The writer's task.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) conn: SqliteConnection,
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
                    if !stalled.is_empty()
                        && let Err(error) = self.one_by_one(std::mem::take(&mut stalled), &mut stalled).await
                    {
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
        self.begin().await?;
        let mut effects = Effects::default();
        let result = self.apply(group, &mut effects).await;
        let result = match result {
            Ok(answers) => {
                fault::point("before_commit");
                sqlx::raw_sql("COMMIT").execute(&mut self.conn).await.map(|_| answers)
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(answers) => {
                fault::point("after_commit");
                if effects.wakes {
                    self.version.send_modify(|version| *version += 1);
                }
                Ok(answers)
            }
            Err(error) => {
                // SQLite may have rolled back by itself; then this one is refused, and that is all right.
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.conn).await;
                Err(error)
            }
        }
    }

    /// `BEGIN IMMEDIATE`: the write lock is taken before anything is read, so that no snapshot can be too old.
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let mut tries = 1;
        loop {
            match sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.conn).await {
                Err(error) if trouble(&error) == Trouble::Busy && tries < BUSY_TRIES => {
                    tracing::warn!("another process holds the outbox's write lock");
                    tries += 1;
                }
                other => return other.map(|_| ()),
            }
        }
    }

    async fn apply(&mut self, group: &[Waiting], effects: &mut Effects) -> Result<Vec<Done>, sqlx::Error> {
        let conn = &mut self.conn;
        let mut answers = Vec::with_capacity(group.len());
        for waiting in group {
            let done = match &waiting.work {
                Work::Accept { lines, position, now } => {
                    Done::Receipts(accept::apply(conn, lines, position.as_ref(), *now, effects).await?)
                }
                Work::Claim { limit, now } => {
                    let list = claim::claim(conn, *limit, *now).await?;
                    Done::Claimed(Claims { list, back: self.back.clone() })
                }
                Work::Dot { mail, epoch, recipients } => Done::Ours(claim::dot(conn, *mail, *epoch, recipients).await?),
                Work::Report { mail, epoch, outcomes, now } => {
                    Done::Ours(claim::report(conn, &self.retry, *mail, *epoch, outcomes, *now, effects).await?)
                }
                Work::Return { claims } => Done::Count(claim::give_back(conn, claims, effects).await?),
                Work::Expire { before } => Done::Count(claim::expire(conn, *before, effects).await?),
                Work::CloseDigest { digest, now } => Done::Ours(digest::close(conn, digest, *now, effects).await?),
                Work::Forget { source } => {
                    let gone = sqlx::query("DELETE FROM position WHERE source = ?").bind(source).execute(&mut *conn);
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
        match sqlx::raw_sql(statement).execute(&mut self.conn).await {
            Err(error) if fatal(&error) => return Err(error),
            Err(error) => tracing::warn!(%error, "the outbox's log could not be moved into the database yet"),
            Ok(_) => {}
        }
        fault::point("after_checkpoint");
        Ok(())
    }

    /// `data_version` changes on this connection when another one has committed; nobody writes in this process but
    /// this connection, so it was another process.
    async fn look_around(&mut self, seen: &mut Option<i64>) -> Result<(), sqlx::Error> {
        match sqlx::query_as::<_, (i64,)>("PRAGMA data_version").fetch_one(&mut self.conn).await {
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
