//! The handle: questions go to a pool of readers, everything else to the one writer.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::sqlite::SqlitePoolOptions;
use tokio::sync::{mpsc, oneshot, watch};

use super::accept::Line;
use super::command::{Claims, Done, Message, Waiting, Work};
use super::db::{Pool, query_as, query_scalar};
use super::digest::{self, Closing};
use super::lock::{self, Lock};
use super::open;
use super::postponed::Settled;
use super::schedule::earlier;
use super::space::{Ballast, Space};
use super::sql::{NEXT_DUE, Trouble, ids, millis, timestamp, trouble};
use super::sweep;
use super::writer::Writer;
use super::{Accepted, Attempt, DigestJob, Job, OutboxError, Position, Receipt, Wanted};
use crate::blob::BlobStore;
use crate::config::{OutboxConfig, RetryPolicy};
use crate::fault;
use crate::mail::NewMail;
use crate::meter::Meter;

/// Connections that read at the same time.
const READERS: u32 = 4;

/// Commands that wait before callers do.
const WAITING: usize = 256;

/// A handle to the outbox; cheap to clone.
///
/// All methods may be cancelled (dropped) at any await: a command that has reached the writer is then made to its end
/// without an answer, and claims that nobody took go back to the queue.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    /// The version that this handle's [`Outbox::changed`] has told of.
    seen: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    retention: Duration,
    blobs: BlobStore,
    space: Arc<Space>,
    meter: Arc<Meter>,
    readers: Pool,
    writer: mpsc::Sender<Message>,
    version: watch::Sender<u64>,
    stopped: Arc<OnceLock<String>>,
    /// Given back by [`Outbox::close`]; after a storage failure only when the last handle is gone, since deliveries
    /// may still be in flight.
    lock: Mutex<Option<Lock>>,
}

impl Clone for Outbox {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: AtomicU64::new(self.seen.load(Ordering::Relaxed)) }
    }
}

impl Outbox {
    /// Opens the outbox for a daemon: makes it if there is none, takes the lock, checks version and integrity, puts
    /// back what a crash left claimed (`sending` before the final dot is queued again; after it, by `hold_ambiguous`).
    ///
    /// # Errors
    /// [`OutboxError::Locked`], [`OutboxError::Unusable`], or what the disk says.
    pub async fn open(config: &OutboxConfig, retry: RetryPolicy, hold_ambiguous: bool) -> Result<Self, OutboxError> {
        let path = config.path.clone();
        let lock = {
            let path = path.clone();
            blocking(move || {
                open::prepare(&path)?;
                lock::take(&path)
            })
            .await?
        };
        let mut conn = open::connect(&path).await?;
        open::check_integrity(&mut conn, &path).await?;
        let space = Arc::new(Space::new(open::folder(&path), config.min_free));
        let ballast = Arc::new(Ballast::new(&path, config.min_free));
        let now = millis(Timestamp::now());
        let mut recovered = open::recover(&mut conn, hold_ambiguous, now).await;
        if recovered.as_ref().is_err_and(|error| trouble(error) == Trouble::Full) && ballast.give_up() {
            recovered = open::recover(&mut conn, hold_ambiguous, now).await;
        }
        let (queued, held) = recovered.map_err(|error| match trouble(&error) {
            Trouble::Full => space.full(),
            _ => open::opening(&path, error),
        })?;
        if queued > 0 || held > 0 {
            tracing::warn!(queued, held, "recipients were left in flight when the outbox was last used");
        }
        let blobs = {
            let (path, space, ballast) = (path.clone(), Arc::clone(&space), Arc::clone(&ballast));
            blocking(move || {
                if let Err(error) = ballast.lay_in(&space) {
                    tracing::warn!(%error, "no ballast for a full disk");
                }
                Ok(BlobStore::open(open::blob_folder(&path))?)
            })
            .await?
        };
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_with(open::reading(&path))
            .await
            .map_err(|error| open::opening(&path, error))?;
        let readers = Pool::Sqlite(readers);
        let (writer, messages) = mpsc::channel(WAITING);
        // One ahead of a new handle's `seen`: the first `changed` returns at once.
        let version = watch::Sender::new(1);
        let stopped = Arc::new(OnceLock::new());
        let meter = Arc::new(Meter::new());
        let task = Writer {
            conn,
            meter: Arc::clone(&meter),
            path: path.clone(),
            retry,
            space: Arc::clone(&space),
            ballast,
            version: version.clone(),
            stopped: Arc::clone(&stopped),
            back: writer.downgrade(),
        };
        tokio::spawn(task.run(messages));
        let shared = Shared {
            path,
            retention: config.retention,
            blobs,
            space,
            meter,
            readers,
            writer,
            version,
            stopped,
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self { shared: Arc::new(shared), seen: AtomicU64::new(0) })
    }

    /// Connections for those who ask.
    pub(super) fn readers(&self) -> &Pool {
        &self.shared.readers
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Where attachments are written.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.shared.blobs
    }

    /// What is measured, here and by all who have a handle.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.shared.meter
    }

    pub(super) fn space(&self) -> &Space {
        &self.shared.space
    }

    /// Where an intake stands in a source; 0 if it is new.
    ///
    /// # Errors
    /// What the database says.
    pub async fn position(&self, source: &str) -> Result<u64, OutboxError> {
        let row: Option<(i64,)> = query_as("SELECT \"offset\" FROM position WHERE source = $1")
            .bind(source)
            .fetch_optional(&self.shared.readers)
            .await?;
        Ok(row.and_then(|(offset,)| u64::try_from(offset).ok()).unwrap_or(0))
    }

    /// Refuses when less than `min_free` is left.
    ///
    /// # Errors
    /// [`OutboxError::Full`].
    pub fn check_space(&self) -> Result<(), OutboxError> {
        self.shared.space.check()
    }

    /// Stores a batch and moves the position, all in one transaction; answers after the commit is on disk. One receipt
    /// for each line, in order.
    ///
    /// # Errors
    /// [`OutboxError::Full`] before anything is written; [`OutboxError::Stopped`] when a sync failed;
    /// [`OutboxError::Io`] when a line breaks the contract of [`Outcome`](super::Outcome).
    pub async fn accept(
        &self,
        batch: Vec<Accepted>,
        position: Option<Position>,
        now: Timestamp,
    ) -> Result<Vec<Receipt>, OutboxError> {
        self.check_space()?;
        let lines = batch.into_iter().map(Line::ready).collect::<std::io::Result<Vec<_>>>()?;
        match self.ask(Work::Accept { lines, position, now: millis(now) }).await? {
            Done::Receipts(receipts) => Ok(receipts),
            other => Err(unexpected(&other)),
        }
    }

    /// Forgets a position whose source is gone for ever.
    ///
    /// # Errors
    /// What the database says.
    pub async fn forget_position(&self, source: &str) -> Result<(), OutboxError> {
        self.ask(Work::Forget { source: source.to_owned() }).await.map(|_| ())
    }

    /// Claims up to `limit` mails of each priority; see [`Outbox::claim_by`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim(&self, limit: usize, now: Timestamp) -> Result<Vec<Job>, OutboxError> {
        self.claim_by(Wanted::each(limit), now).await
    }

    /// Claims mails that are due, of each priority so many at most, the critical first and of each the oldest: state
    /// `sending`, new epoch. A mail is claimed with all its recipients that are due. On a full disk it waits for space.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim_by(&self, wanted: Wanted, now: Timestamp) -> Result<Vec<Job>, OutboxError> {
        let claims = match self.ask(Work::Claim { wanted, now: millis(now) }).await? {
            Done::Claimed(claims) => claims,
            other => return Err(unexpected(&other)),
        };
        fault::point("after_claim");
        if claims.list().is_empty() {
            return Ok(Vec::new());
        }
        self.load(claims, now).await
    }

    /// Reads the mails of some claims. Until they are handed over, dropping them puts them back.
    async fn load(&self, claims: Claims, now: Timestamp) -> Result<Vec<Job>, OutboxError> {
        #[derive(sqlx::FromRow)]
        struct Mail {
            id: i64,
            message_id: String,
            sender: String,
            head: Vec<u8>,
            content: i64,
            size: i64,
            slot: i64,
        }
        let mails: Vec<Mail> = query_as(
            "SELECT id, message_id, sender, head, content, size, slot FROM mail
             WHERE id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))",
        )
        .bind(ids(claims.list().iter().map(|claim| claim.mail)))
        .fetch_all(&self.shared.readers)
        .await?;
        let bodies = digest::bodies(&self.shared.readers, mails.iter().map(|mail| mail.content)).await?;
        let mut mails: std::collections::HashMap<i64, Mail> = mails.into_iter().map(|mail| (mail.id, mail)).collect();
        let mut jobs = Vec::with_capacity(claims.list().len());
        let mut damaged = Vec::new();
        for claim in claims.take() {
            let mut job = Job {
                mail: claim.mail,
                epoch: claim.epoch,
                message_id: String::new(),
                sender: String::new(),
                recipients: claim.recipients,
                head: Vec::new(),
                body: Arc::default(),
                size: 0,
                stored: now,
                priority: claim.priority,
            };
            match mails.remove(&claim.mail).and_then(|mail| {
                let body = bodies.get(&mail.content)?.as_ref().ok()?;
                Some((mail, Arc::clone(body)))
            }) {
                Some((mail, body)) => {
                    job.message_id = mail.message_id;
                    job.sender = mail.sender;
                    job.head = mail.head;
                    job.body = body;
                    job.size = u64::try_from(mail.size).unwrap_or(0);
                    job.stored = timestamp(mail.slot);
                    jobs.push(job);
                }
                None => damaged.push(job),
            }
        }
        // It cannot be sent, and must not keep the others from being sent.
        for job in damaged {
            tracing::error!(mail = job.mail, "a stored mail cannot be read: it is dead-lettered");
            let reason = Attempt::Failed("the stored mail is damaged: `bewit outbox verify` has more".to_owned());
            let outcomes: Vec<_> = job.recipients.iter().map(|recipient| (recipient.id, reason.clone())).collect();
            self.report(&job, &outcomes, now).await?;
        }
        Ok(jobs)
    }

    /// Records that the final dot is about to be sent for these recipients of a job; answers after the commit.
    /// False: the claim is not ours any more, do not send.
    ///
    /// # Errors
    /// What the database says.
    pub async fn in_data(&self, job: &Job, recipients: &[i64]) -> Result<bool, OutboxError> {
        fault::point("before_in_data");
        let work = Work::Dot { mail: job.mail, epoch: job.epoch, recipients: recipients.to_vec() };
        let ours = self.ours(work).await?;
        fault::point("after_in_data");
        Ok(ours)
    }

    /// Records how the attempt ended, by recipient row id. False: the claim was not ours any more, nothing changed.
    /// On a full disk it waits for space, since what was handed over must be recorded.
    ///
    /// # Errors
    /// What the database says.
    pub async fn report(&self, job: &Job, outcomes: &[(i64, Attempt)], now: Timestamp) -> Result<bool, OutboxError> {
        fault::point("before_report");
        let (mail, epoch, outcomes) = (job.mail, job.epoch, outcomes.to_vec());
        let ours = self.ours(Work::Report { mail, epoch, outcomes, now: millis(now) }).await?;
        fault::point("after_report");
        Ok(ours)
    }

    /// Puts claims back that are older than `before` and have not come to the final dot, for a delivery whose task is
    /// gone. Its late moves are refused. Answers how many recipients were put back.
    ///
    /// # Errors
    /// What the database says.
    pub async fn expire_claims(&self, before: Timestamp) -> Result<u64, OutboxError> {
        self.count(Work::Expire { before: millis(before) }).await
    }

    /// When the next mail or digest is due, if any waits.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, OutboxError> {
        let readers = &self.shared.readers;
        let mail: Option<i64> = query_scalar(NEXT_DUE).fetch_one(readers).await?;
        let digest: Option<i64> =
            query_scalar("SELECT min(due) FROM gathered WHERE digest IS NULL").fetch_one(readers).await?;
        Ok(mail.into_iter().chain(digest).min().map(timestamp))
    }

    /// Waits until something was stored or moved that may be due sooner.
    ///
    /// It tells of everything since this handle's last return, so nothing is missed between asking [`Outbox::next_due`]
    /// and waiting; the first call returns at once. Each clone counts for itself: give each waiter its own. It also
    /// returns when the outbox stops. What another process changes (`bewit outbox retry`) is noticed within 2 s.
    pub async fn changed(&self) {
        let seen = self.seen.load(Ordering::Acquire);
        let mut version = self.shared.version.subscribe();
        // An error means that the sender is gone, which it cannot be while this handle has one.
        let now = version.wait_for(|version| *version > seen).await.map_or(seen, |version| *version);
        self.seen.store(now, Ordering::Release);
    }

    /// Digests whose interval has ended (`all`: whatever is gathered, for `--once`): at most one for each rule, of at
    /// most 500 events; what is left over is due again as soon as that one is closed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn due_digests(&self, now: Timestamp, all: bool) -> Result<Vec<DigestJob>, OutboxError> {
        digest::due(&self.shared.readers, millis(now), all).await
    }

    /// Stores a digest's mails and closes its items, in one transaction. A group of one item sends its own mail: pass
    /// it through unchanged. Items that are closed already make it do nothing.
    ///
    /// # Errors
    /// What the database says; [`OutboxError::Io`] when there are no items or no mails.
    pub async fn close_digest(
        &self,
        rule: &str,
        items: &[i64],
        mails: Vec<NewMail>,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let digest = Closing::ready(rule, items, mails)?;
        self.ours(Work::CloseDigest { digest, now: millis(now) }).await.map(|_| ())
    }

    /// Removes finished mails, decisions and unused blobs older than `retention`. Keys of events are kept for at least
    /// 30 days. Answers how many events, keys, rejected lines and blobs went.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, OutboxError> {
        let retention = self.shared.retention;
        let cutoff = millis(earlier(now, retention));
        let known = millis(earlier(now, retention.max(sweep::KNOWN)));
        let mut removed = 0;
        loop {
            match self.count(Work::Sweep { cutoff, known }).await? {
                0 => break,
                part => removed += part,
            }
        }
        removed += sweep::blobs(&self.shared.readers, &self.shared.blobs).await?;
        while self.count(Work::Vacuum).await? > 0 {}
        fault::point("after_sweep");
        Ok(removed)
    }

    /// Ends the writer after what waits is stored, checkpoints, gives the lock back. Other handles get
    /// [`OutboxError::Stopped`] from then on.
    pub async fn close(self) {
        self.shared.readers.close().await;
        let (done, ended) = oneshot::channel();
        if self.shared.writer.send(Message::Close(done)).await.is_ok() {
            let _ = ended.await;
        }
        let lock = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(lock);
    }

    async fn ours(&self, work: Work) -> Result<bool, OutboxError> {
        match self.ask(work).await? {
            Done::Ours(ours) => Ok(ours),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn judged(&self, work: Work) -> Result<Settled, OutboxError> {
        match self.ask(work).await? {
            Done::Settled(settled) => Ok(settled),
            other => Err(unexpected(&other)),
        }
    }

    async fn count(&self, work: Work) -> Result<u64, OutboxError> {
        match self.ask(work).await? {
            Done::Count(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives the writer a command and waits for what came of it.
    fn ask(&self, work: Work) -> impl Future<Output = Result<Done, OutboxError>> + Send + '_ {
        let (answer, answered) = oneshot::channel();
        let (asked, kind) = (Instant::now(), work.kind());
        let message = Message::Work(Waiting { work, answer });
        async move {
            if self.shared.writer.send(message).await.is_err() {
                return Err(self.gone());
            }
            let done = answered.await.unwrap_or_else(|_| Err(self.gone()))?;
            self.shared.meter.commit(kind, asked.elapsed());
            Ok(done)
        }
    }

    fn gone(&self) -> OutboxError {
        OutboxError::Stopped(self.shared.stopped.get().map_or_else(|| "its writer is gone".to_owned(), Clone::clone))
    }
}

fn unexpected(done: &Done) -> OutboxError {
    OutboxError::Stopped(format!("the writer answered another question: {done:?}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OutboxError> + Send + 'static,
) -> Result<T, OutboxError> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
