//! What is claimed, when, and who gets it.
//!
//! One dispatcher claims mails in small batches and starts lanes for them. Until a first session stands, one lane alone
//! tries to get one, so that a server that is down sees one attempt and not `connections` of them. A session that a lane
//! gives back is parked for [`PARK`], then closed with QUIT.
//!
//! Of a server that is given so many mails in a time, only those of the next [`SOON`] are claimed ahead. Where critical mails
//! are to be expected, they are looked for whenever something was stored, however many others are claimed already.

use std::future::{Future as _, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::Dial;
use super::queue::Queue;
use super::relay::Down;
use super::worker::{Seated, Shared, lane, lock};
use crate::outbox::schedule::later;
use crate::outbox::{Attempt, Job, OutboxError, Wanted};
use crate::rule::Priority;

/// How long a session without work is kept; servers close idle ones after some minutes at the earliest.
const PARK: Duration = Duration::from_secs(30);
/// How long open dialogues may go on after the stop.
const DRAIN: Duration = Duration::from_secs(30);
/// Mails claimed ahead for each lane.
pub(super) const AHEAD: usize = 8;
/// Mails of one claim, of each priority.
const CLAIM: usize = 64;
/// The slow look at the queue beside its word.
const LOOK: Duration = Duration::from_secs(60);
/// The wait when something is due that is no mail of ours: a digest that somebody else is writing.
const PAUSE: Duration = Duration::from_secs(1);
/// How far ahead mails are claimed for a server that is given so many in a time.
const SOON: Duration = Duration::from_secs(2);
/// Between two looks for critical mails while others wait.
const GLANCE: Duration = Duration::from_millis(100);

/// Waits until the watch says true, or nobody can say it any more.
async fn is_stopped(stopped: &mut Option<watch::Receiver<bool>>) {
    match stopped {
        Some(stopped) => {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
        None => std::future::pending().await,
    }
}

/// The one who deals mails out.
pub(super) struct Dispatcher<Q, D> {
    shared: Arc<Shared<Q, D>>,
    lanes: JoinSet<Result<Option<Seated>, OutboxError>>,
    parked: Vec<(Seated, Instant)>,
    closing: JoinSet<()>,
    /// When critical mails were looked for.
    glanced: Instant,
}

/// What a claim brought.
#[derive(Clone, Copy, Default)]
struct Claimed {
    mails: usize,
    /// Of these, those whose recipients may all or in part get them now.
    ready: usize,
}

impl<Q: Queue, D: Dial> Dispatcher<Q, D> {
    pub(super) fn new(shared: Arc<Shared<Q, D>>) -> Self {
        Self { shared, lanes: JoinSet::new(), parked: Vec::new(), closing: JoinSet::new(), glanced: Instant::now() }
    }

    /// Until there is nothing more to do, or the stop.
    pub(super) async fn work(&mut self, stopped: &mut Option<watch::Receiver<bool>>) -> Result<(), OutboxError> {
        let shared = Arc::clone(&self.shared);
        loop {
            self.close_parked(Instant::now());
            let down = shared.relay.down();
            if let Some(down) = &down
                && self.lanes.is_empty()
            {
                self.set_back_ready(down).await?;
                if shared.drain.is_some() {
                    return self.leave_the_rest(down).await;
                }
            }
            // Listening begins before the claim, so that nothing stored between the two is missed.
            let mut changed = std::pin::pin!(shared.queue.changed());
            let news = poll_fn(|cx| Poll::Ready(changed.as_mut().poll(cx).is_ready())).await;
            let claimed = self.refill(down.as_ref()).await?;
            self.start_lanes(down.is_some());
            let drained = shared.drain.is_some() && claimed.mails == 0 && lock(&shared.ready).len() == 0;
            if drained && self.lanes.is_empty() && self.has_room(down.as_ref()) {
                return Ok(());
            }
            let until = self.next_look(down.as_ref(), claimed).await?;
            // Where all that was claimed must wait, there may be others that need not.
            let more = claimed.mails > 0 && claimed.ready == 0;
            if !news && !more {
                tokio::select! {
                    biased;
                    () = is_stopped(stopped) => return Ok(()),
                    Some(lane) = self.lanes.join_next() => self.park(ended(lane)?),
                    Some(_) = self.closing.join_next() => {}
                    () = shared.wake.notified() => {}
                    () = changed.as_mut() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
            if stopped.as_ref().is_some_and(|stopped| *stopped.borrow()) {
                return Ok(());
            }
        }
    }

    /// Lanes that may work now.
    fn allowed(&self, down: Option<&Down>) -> usize {
        let now = Instant::now();
        match down {
            // The probe: one mail, when its time has come and nothing else is open.
            Some(down) if now >= down.next => 1,
            Some(_) => 0,
            None if self.shared.live.load(Ordering::Acquire) == 0 => 1,
            None => self.shared.relay.limit(now),
        }
    }

    fn has_room(&self, down: Option<&Down>) -> bool {
        self.lanes.len() < self.allowed(down)
    }

    /// How many mails are to be claimed.
    fn wanted(&mut self, down: Option<&Down>) -> Wanted {
        let allowed = self.allowed(down);
        let (critical, normal, bulk) = {
            let ready = lock(&self.shared.ready);
            (ready.count(Priority::Critical), ready.count(Priority::Normal), ready.count(Priority::Bulk))
        };
        let waiting = critical + normal + bulk;
        if allowed == 0 || (down.is_some() && (waiting > 0 || !self.lanes.is_empty())) {
            return Wanted::default();
        }
        let now = Instant::now();
        let soon = self.shared.relay.within(SOON).unwrap_or(usize::MAX);
        let ahead = if down.is_some() { 1 } else { (allowed * AHEAD).min(soon).clamp(1, CLAIM) };
        if waiting < ahead.div_ceil(2) {
            self.glanced = now;
            // A bulk mail that is claimed waits for its turn all the same.
            let of_bulk = if critical + normal == 0 { ahead } else { ahead.min(AHEAD / 2) };
            return Wanted {
                critical: ahead.saturating_sub(critical),
                normal: ahead.saturating_sub(normal),
                bulk: of_bulk.saturating_sub(bulk),
            };
        }
        if self.shared.config.reserve && critical == 0 && now >= self.glanced + GLANCE {
            self.glanced = now;
            return Wanted { critical: AHEAD, ..Wanted::default() };
        }
        Wanted::default()
    }

    /// Claims ahead.
    async fn refill(&mut self, down: Option<&Down>) -> Result<Claimed, OutboxError> {
        let wanted = self.wanted(down);
        if wanted.total() == 0 {
            return Ok(Claimed::default());
        }
        let due = self.shared.drain.unwrap_or_else(|| self.shared.queue.now());
        let jobs = self.shared.queue.claim(wanted, due).await?;
        let mails = jobs.len();
        let jobs = self.admit(jobs).await?;
        let ready = jobs.len();
        let mut waiting = lock(&self.shared.ready);
        jobs.into_iter().for_each(|job| waiting.push(job));
        Ok(Claimed { mails, ready })
    }

    /// Puts back what the limits of recipients and domains let not go yet.
    async fn admit(&self, mut jobs: Vec<Job>) -> Result<Vec<Job>, OutboxError> {
        let Some(quotas) = &self.shared.quotas else { return Ok(jobs) };
        let (now, today) = (Instant::now(), self.shared.queue.now());
        let mut held: Vec<(Job, Vec<(i64, Attempt)>)> = Vec::new();
        for job in &mut jobs {
            let verdicts = lock(quotas).admit(job, now);
            if verdicts.iter().all(Result::is_ok) {
                continue;
            }
            let whole = job.clone();
            let mut waits = Vec::new();
            let mut verdicts = verdicts.into_iter();
            job.recipients.retain(|to| match verdicts.next() {
                Some(Err(full)) => {
                    let until = later(today, full.until.saturating_duration_since(now));
                    waits.push((to.id, Attempt::Waits(until, full.reason)));
                    false
                }
                _ => true,
            });
            held.push((whole, waits));
        }
        // All at once: the outbox stores them in few transactions.
        let reports =
            held.into_iter().map(|(job, waits)| async move { self.shared.report(&job, waits, "limits").await });
        for reported in futures_util::future::join_all(reports).await {
            reported?;
        }
        jobs.retain(|job| !job.recipients.is_empty());
        Ok(jobs)
    }

    fn start_lanes(&mut self, probe: bool) {
        let shared = Arc::clone(&self.shared);
        let down = shared.relay.down();
        // Sessions that are being closed still count: `connections` is what the server sees.
        while self.lanes.len() < self.allowed(down.as_ref())
            && (!self.parked.is_empty() || self.lanes.len() + self.closing.len() < shared.relay.limit(Instant::now()))
        {
            let Some((job, _)) = shared.pop(Instant::now(), probe) else { return };
            let seated = self.parked.pop().map(|(seated, _)| seated);
            self.lanes.spawn(lane(Arc::clone(&shared), job, seated, probe));
        }
    }

    /// When to look again if nothing happens.
    async fn next_look(&self, down: Option<&Down>, claimed: Claimed) -> Result<Instant, OutboxError> {
        let now = Instant::now();
        let mut until = now + LOOK;
        let (waiting, critical) = {
            let ready = lock(&self.shared.ready);
            (ready.len() > 0, ready.count(Priority::Critical) > 0)
        };
        if let Some(down) = down.filter(|down| down.next > now) {
            until = until.min(down.next);
        } else if claimed.mails == 0 && self.has_room(down) {
            let wait = if waiting {
                PAUSE
            } else if let Some(due) = self.shared.queue.next_due().await? {
                let wait = Duration::try_from(due.duration_since(self.shared.queue.now())).unwrap_or_default();
                if wait.is_zero() { PAUSE } else { wait }
            } else {
                LOOK
            };
            until = until.min(now + wait);
        }
        if waiting && self.has_room(down) {
            self.shared.relay.next(now).iter().for_each(|next| until = until.min(*next));
        }
        // One that was stored right after the last glance.
        if waiting && !critical && down.is_none() && self.shared.config.reserve {
            until = until.min(self.glanced + PAUSE);
        }
        if let Some(oldest) = self.parked.iter().map(|(_, since)| *since).min() {
            until = until.min(oldest + PARK);
        }
        Ok(until)
    }

    fn park(&mut self, seated: Option<Seated>) {
        if let Some(seated) = seated {
            self.parked.push((seated, Instant::now()));
        }
    }

    /// QUITs what has waited too long; all of it while the server is down.
    fn close_parked(&mut self, now: Instant) {
        let all = self.shared.relay.down().is_some();
        let spare = self.shared.relay.limit(now);
        let parked = std::mem::take(&mut self.parked);
        for (seated, since) in parked {
            if all || now.saturating_duration_since(since) >= PARK || self.lanes.len() + self.parked.len() >= spare {
                self.closing.spawn(async move {
                    let Seated { session, seat } = seated;
                    session.quit().await;
                    drop(seat);
                });
            } else {
                self.parked.push((seated, since));
            }
        }
    }

    async fn set_back_ready(&self, down: &Down) -> Result<(), OutboxError> {
        let jobs = lock(&self.shared.ready).take();
        for job in jobs {
            self.shared.set_back(&job, &job.recipients, down, false).await?;
        }
        // A probe that was given up for its age: others may have waited as long.
        while self.shared.drain.is_none() && self.shared.aged.swap(false, Ordering::AcqRel) {
            for job in self.shared.queue.claim(Wanted::each(CLAIM), self.shared.queue.now()).await? {
                self.shared.set_back(&job, &job.recipients, down, false).await?;
            }
        }
        Ok(())
    }

    /// A drain does not wait for a server that is down: what is due stays queued, and is counted.
    async fn leave_the_rest(&self, down: &Down) -> Result<(), OutboxError> {
        let Some(due) = self.shared.drain else { return Ok(()) };
        loop {
            let jobs = self.shared.queue.claim(Wanted::each(CLAIM), due).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for job in jobs {
                self.shared.release(&job, &down.reason).await?;
            }
        }
    }

    /// The stop: nothing new; what is open is finished or cut off, what was claimed is given back.
    pub(super) async fn finish(mut self) -> Result<(), OutboxError> {
        let shared = Arc::clone(&self.shared);
        shared.stop.send_replace(Some(Instant::now() + DRAIN));
        let waiting = lock(&shared.ready).take();
        for job in waiting {
            shared.release(&job, "delivery stops").await?;
        }
        while let Some(lane) = self.lanes.join_next().await {
            self.park(ended(lane)?);
        }
        // A lane may have put its mail back.
        let waiting = lock(&shared.ready).take();
        for job in waiting {
            shared.release(&job, "delivery stops").await?;
        }
        for (seated, _) in std::mem::take(&mut self.parked) {
            self.closing.spawn(seated.session.quit());
        }
        while self.closing.join_next().await.is_some() {}
        Ok(())
    }
}

/// A lane's result; a lane that panicked is a bug, and its mail must not be lost silently.
fn ended(
    lane: Result<Result<Option<Seated>, OutboxError>, tokio::task::JoinError>,
) -> Result<Option<Seated>, OutboxError> {
    lane.unwrap_or_else(|error| Err(OutboxError::Stopped(format!("a delivery task ended: {error}"))))
}
