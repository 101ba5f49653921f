//! Delivery to a mail server: up to `connections` lanes, each with one session at a time, take due mails one by one.
//!
//! One dispatcher claims mails in small batches and starts lanes for them. Until a first session stands, one lane alone
//! tries to get one, so that a server that is down sees one attempt and not `connections` of them. A lane that runs out
//! of mails gives its session back; it is parked for [`PARK`], then closed with QUIT.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::{Dial, OpenError, Opener, Step};
use super::queue::Queue;
use super::relay::{Down, Relay};
use super::session::{Idle, Session};
use super::{Summary, Until};
use crate::config::{RetryPolicy, SmtpConfig};
use crate::meter::{self, RelayNow, Relays};
use crate::outbox::{Job, OutboxError};

/// How long a session without work is kept; servers close idle ones after some minutes at the earliest.
const PARK: Duration = Duration::from_secs(30);
/// How long open dialogues may go on after the stop.
const DRAIN: Duration = Duration::from_secs(30);
/// Mails claimed ahead for each lane.
const AHEAD: usize = 8;
/// Mails of one claim.
const CLAIM: usize = 64;
/// The slow look at the queue beside its word.
const LOOK: Duration = Duration::from_secs(60);
/// The wait when something is due that is no mail of ours: a digest that somebody else is writing.
const PAUSE: Duration = Duration::from_secs(1);

/// What the lanes share.
pub(super) struct Shared<Q, D> {
    pub(super) queue: Q,
    pub(super) config: Arc<SmtpConfig>,
    pub(super) relay: Relay,
    opener: Opener<D>,
    pub(super) retry: RetryPolicy,
    ready: Mutex<VecDeque<Job>>,
    pub(super) summary: Mutex<Summary>,
    /// One connection is made at a time.
    gate: tokio::sync::Mutex<()>,
    live: Arc<AtomicUsize>,
    /// A lane has news for the dispatcher.
    wake: Notify,
    /// Set once: when what is still open is cut off.
    stop: watch::Sender<Option<Instant>>,
    /// A mail was given up for its age while the server was down.
    pub(super) aged: AtomicBool,
    /// In a drain, what is due by then; released mails come after it.
    pub(super) drain: Option<Timestamp>,
}

/// A session with its place among those that are open.
pub(super) struct Seated {
    pub(super) session: Session<Idle>,
    pub(super) seat: Seat,
}

/// Counts an open session as long as it lives.
pub(super) struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(live))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a lane has no session.
pub(super) enum NoSession {
    /// The server is down; whether that was found out just now.
    Down(Down, bool),
    /// It has sessions enough of us.
    Crowded,
    /// We stop.
    Stopping,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs delivery to one server.
pub(super) async fn run<Q: Queue, D: Dial>(
    queue: Q,
    config: Arc<SmtpConfig>,
    dial: D,
    retry: RetryPolicy,
    until: Until,
) -> Result<Summary, OutboxError> {
    let drain = matches!(until, Until::Drained).then(|| queue.now());
    let shared = Arc::new(Shared {
        relay: Relay::new(format!("{}:{}", config.server, config.port), config.connections, retry.clone()),
        opener: Opener::new(Arc::clone(&config), dial),
        queue,
        config,
        retry,
        ready: Mutex::default(),
        summary: Mutex::default(),
        gate: tokio::sync::Mutex::default(),
        live: Arc::default(),
        wake: Notify::new(),
        stop: watch::channel(None).0,
        aged: AtomicBool::new(false),
        drain,
    });
    let relay: Weak<Shared<Q, D>> = Arc::downgrade(&shared);
    shared.queue.meter().watch_relay(relay);
    let mut stopped = match until {
        Until::Drained => None,
        Until::Stopped(stopped) => Some(stopped),
    };
    let mut dispatcher =
        Dispatcher { shared: Arc::clone(&shared), lanes: JoinSet::new(), parked: Vec::new(), closing: JoinSet::new() };
    dispatcher.work(&mut stopped).await?;
    dispatcher.finish().await?;
    let summary = *lock(&shared.summary);
    Ok(summary)
}

/// Waits until the watch says true, or nobody can say it any more.
async fn is_stopped(stopped: &mut Option<watch::Receiver<bool>>) {
    match stopped {
        Some(stopped) => {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
        None => std::future::pending().await,
    }
}

struct Dispatcher<Q, D> {
    shared: Arc<Shared<Q, D>>,
    lanes: JoinSet<Result<Option<Seated>, OutboxError>>,
    parked: Vec<(Seated, Instant)>,
    closing: JoinSet<()>,
}

impl<Q: Queue, D: Dial> Dispatcher<Q, D> {
    /// Until there is nothing more to do, or the stop.
    async fn work(&mut self, stopped: &mut Option<watch::Receiver<bool>>) -> Result<(), OutboxError> {
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
            let drained = shared.drain.is_some() && claimed == 0 && lock(&shared.ready).is_empty();
            if drained && self.lanes.is_empty() && self.has_room(down.as_ref()) {
                return Ok(());
            }
            let until = self.next_look(down.as_ref(), claimed).await?;
            if !news {
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

    /// Claims ahead. Answers how many mails came.
    async fn refill(&self, down: Option<&Down>) -> Result<usize, OutboxError> {
        let waiting = lock(&self.shared.ready).len();
        let want = match (down, self.allowed(down)) {
            (_, 0) => 0,
            (Some(_), _) => usize::from(self.lanes.is_empty() && waiting == 0),
            (None, lanes) if waiting < lanes * AHEAD / 2 => (lanes * AHEAD - waiting).min(CLAIM),
            _ => 0,
        };
        if want == 0 {
            return Ok(0);
        }
        let due = self.shared.drain.unwrap_or_else(|| self.shared.queue.now());
        let jobs = self.shared.queue.claim(want, due).await?;
        let claimed = jobs.len();
        lock(&self.shared.ready).extend(jobs);
        Ok(claimed)
    }

    fn start_lanes(&mut self, probe: bool) {
        let shared = &self.shared;
        let down = shared.relay.down();
        let mut waiting = lock(&shared.ready).len();
        // Sessions that are being closed still count: `connections` is what the server sees.
        while waiting > 0
            && self.lanes.len() < self.allowed(down.as_ref())
            && (!self.parked.is_empty() || self.lanes.len() + self.closing.len() < shared.relay.limit(Instant::now()))
        {
            let seated = self.parked.pop().map(|(seated, _)| seated);
            self.lanes.spawn(lane(Arc::clone(shared), seated, probe));
            waiting -= 1;
        }
    }

    /// When to look again if nothing happens.
    async fn next_look(&self, down: Option<&Down>, claimed: usize) -> Result<Instant, OutboxError> {
        let now = Instant::now();
        let mut until = now + LOOK;
        if let Some(down) = down.filter(|down| down.next > now) {
            until = until.min(down.next);
        } else if claimed == 0
            && self.has_room(down)
            && let Some(due) = self.shared.queue.next_due().await?
        {
            let wait = Duration::try_from(due.duration_since(self.shared.queue.now())).unwrap_or_default();
            until = until.min(now + if wait.is_zero() { PAUSE } else { wait });
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
        let jobs = std::mem::take(&mut *lock(&self.shared.ready));
        for job in jobs {
            self.shared.set_back(&job, &job.recipients, down, false).await?;
        }
        // A probe that was given up for its age: others may have waited as long.
        while self.shared.drain.is_none() && self.shared.aged.swap(false, Ordering::AcqRel) {
            for job in self.shared.queue.claim(CLAIM, self.shared.queue.now()).await? {
                self.shared.set_back(&job, &job.recipients, down, false).await?;
            }
        }
        Ok(())
    }

    /// A drain does not wait for a server that is down: what is due stays queued, and is counted.
    async fn leave_the_rest(&self, down: &Down) -> Result<(), OutboxError> {
        let Some(due) = self.shared.drain else { return Ok(()) };
        loop {
            let jobs = self.shared.queue.claim(CLAIM, due).await?;
            if jobs.is_empty() {
                return Ok(());
            }
            for job in jobs {
                self.shared.release(&job, &down.reason).await?;
            }
        }
    }

    /// The stop: nothing new; what is open is finished or cut off, what was claimed is given back.
    async fn finish(mut self) -> Result<(), OutboxError> {
        let shared = Arc::clone(&self.shared);
        shared.stop.send_replace(Some(Instant::now() + DRAIN));
        let waiting = std::mem::take(&mut *lock(&shared.ready));
        for job in waiting {
            shared.release(&job, "delivery stops").await?;
        }
        while let Some(lane) = self.lanes.join_next().await {
            self.park(ended(lane)?);
        }
        // A lane may have put its mail back.
        let waiting = std::mem::take(&mut *lock(&shared.ready));
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

/// Takes mails as long as there are some, over one session.
async fn lane<Q: Queue, D: Dial>(
    shared: Arc<Shared<Q, D>>,
    mut seated: Option<Seated>,
    probe: bool,
) -> Result<Option<Seated>, OutboxError> {
    let mut probe = probe;
    loop {
        if shared.is_stopping() || (!probe && shared.relay.down().is_some()) {
            return Ok(seated);
        }
        let Some((job, left)) = shared.pop() else { return Ok(seated) };
        if left <= AHEAD / 2 {
            shared.wake.notify_one();
        }
        seated = shared.deliver(job, seated, probe).await?;
        if seated.is_none() {
            // Whether another session is worth a try is the dispatcher's to say.
            return Ok(None);
        }
        probe = false;
    }
}

impl<Q: Queue, D: Dial> Relays for Shared<Q, D> {
    fn now(&self) -> RelayNow {
        self.relay.now(Instant::now(), self.live.load(Ordering::Acquire))
    }
}

impl<Q: Queue, D: Dial> Shared<Q, D> {
    fn pop(&self) -> Option<(Job, usize)> {
        let mut ready = lock(&self.ready);
        let job = ready.pop_front()?;
        Some((job, ready.len()))
    }

    /// Puts a mail back that another lane's session will take.
    pub(super) fn put_back(&self, job: Job) {
        lock(&self.ready).push_front(job);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Ends when we begin to stop.
    async fn stopping(&self) {
        let _ = self.stop.subscribe().wait_for(Option::is_some).await;
    }

    /// Ends when what is still open must be cut off.
    pub(super) async fn cut_off(&self) {
        let end = match self.stop.subscribe().wait_for(Option::is_some).await {
            Ok(end) => *end,
            Err(_) => None,
        };
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// Opens a session, one at a time among all lanes.
    pub(super) async fn connect(&self, probe: bool) -> Result<Seated, NoSession> {
        let gate = self.gate.lock();
        let _gate = tokio::select! {
            () = self.stopping() => return Err(NoSession::Stopping),
            gate = gate => gate,
        };
        if let Some(down) = self.relay.down().filter(|_| !probe) {
            return Err(NoSession::Down(down, false));
        }
        // The limit may have been lowered by whoever came through the gate before.
        if self.live.load(Ordering::Acquire) >= self.relay.limit(Instant::now()) {
            return Err(NoSession::Crowded);
        }
        let server = format!("{}:{}", self.config.server, self.config.port);
        let mut note = |step: Step<'_>| match step {
            Step::Connected(peer) => tracing::debug!(%server, peer, "connected"),
            Step::Greeting(reply) => tracing::debug!(%server, %reply, "greeted"),
            Step::Secured(tls) => tracing::debug!(%server, version = tls.version, cipher = tls.cipher, "TLS is on"),
            Step::Offers(offers) => tracing::debug!(%server, ?offers, "EHLO answered"),
            Step::LoggedIn(mechanism, reply) => tracing::debug!(%server, mechanism, %reply, "logged in"),
            Step::Answered(phase, reply) => tracing::debug!(%server, %phase, %reply, "answered"),
        };
        let begun = Instant::now();
        let opened: Result<Session<Idle>, OpenError> = tokio::select! {
            () = self.stopping() => return Err(NoSession::Stopping),
            opened = self.opener.open(&mut note) => opened,
        };
        self.queue.meter().step(meter::Step::Connect, begun.elapsed());
        match opened {
            Ok(session) => {
                let seat = Seat::take(&self.live);
                // The first one: now the others may come.
                self.wake.notify_one();
                Ok(Seated { session, seat })
            }
            Err(error) => {
                let (trouble, now) = (error.trouble(), Instant::now());
                let open = self.live.load(Ordering::Acquire);
                if error.is_passing() && open > 0 {
                    tracing::debug!(%server, %error, "no further session");
                    self.relay.crowded(now, open);
                    return Err(NoSession::Crowded);
                }
                Err(NoSession::Down(self.relay.fell(now, trouble, &error.to_string()), true))
            }
        }
    }
}
