//! Delivery to a mail server: up to `connections` lanes, each with one session at a time, take mails one by one, as
//! [`dispatch`](super::dispatch) has claimed them, in the order of [`ready`](super::ready), at the pace of
//! [`pace`](super::pace). A lane that finds no mail that may go gives its session back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connect::{Dial, OpenError, Opener, Step};
use super::dispatch::{AHEAD, Dispatcher};
use super::queue::Queue;
use super::quota::Quotas;
use super::ready::Ready;
use super::relay::{Down, Relay};
use super::session::{Idle, Session};
use super::{Summary, Until};
use crate::config::{RetryPolicy, SmtpConfig};
use crate::meter::{self, RelayNow, Relays};
use crate::outbox::{Job, OutboxError};

/// What the lanes share.
pub(super) struct Shared<Q, D> {
    pub(super) queue: Q,
    pub(super) config: Arc<SmtpConfig>,
    pub(super) relay: Relay,
    opener: Opener<D>,
    pub(super) retry: RetryPolicy,
    pub(super) ready: Mutex<Ready>,
    /// What recipients and domains have got; `None` without a limit.
    pub(super) quotas: Option<Mutex<Quotas>>,
    /// How often the server has said that it gets too much, by recipient.
    pub(super) limited: Mutex<HashMap<i64, u32>>,
    pub(super) summary: Mutex<Summary>,
    /// One connection is made at a time.
    gate: tokio::sync::Mutex<()>,
    /// Sessions that are open.
    pub(super) live: Arc<AtomicUsize>,
    /// A lane has news for the dispatcher.
    pub(super) wake: Notify,
    /// Set once: when what is still open is cut off.
    pub(super) stop: watch::Sender<Option<Instant>>,
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
        relay: Relay::new(format!("{}:{}", config.server, config.port), config.connections, config.rate, retry.clone()),
        quotas: Quotas::new(&config.limits, Instant::now()).map(Mutex::new),
        limited: Mutex::default(),
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
    let mut dispatcher = Dispatcher::new(Arc::clone(&shared));
    dispatcher.work(&mut stopped).await?;
    dispatcher.finish().await?;
    let summary = *lock(&shared.summary);
    Ok(summary)
}

/// Hands over a mail, and others as long as there are some, over one session.
pub(super) async fn lane<Q: Queue, D: Dial>(
    shared: Arc<Shared<Q, D>>,
    mut job: Job,
    mut seated: Option<Seated>,
    mut probe: bool,
) -> Result<Option<Seated>, OutboxError> {
    loop {
        let priority = job.priority;
        let delivered = shared.deliver(job, seated, probe).await;
        lock(&shared.ready).done(priority);
        seated = delivered?;
        if seated.is_none() {
            // Whether another session is worth a try is the dispatcher's to say.
            return Ok(None);
        }
        probe = false;
        let now = Instant::now();
        if shared.is_stopping()
            || shared.relay.down().is_some()
            || shared.live.load(Ordering::Acquire) > shared.relay.limit(now)
        {
            return Ok(seated);
        }
        let Some((next, left)) = shared.pop(now, false) else { return Ok(seated) };
        if left <= AHEAD / 2 {
            shared.wake.notify_one();
        }
        job = next;
    }
}

impl<Q: Queue, D: Dial> Relays for Shared<Q, D> {
    fn now(&self) -> RelayNow {
        self.relay.now(Instant::now(), self.live.load(Ordering::Acquire))
    }
}

impl<Q: Queue, D: Dial> Shared<Q, D> {
    /// Sessions that may have a mail in hand that is not critical.
    pub(super) fn open_to_all(&self, now: Instant) -> usize {
        let limit = self.relay.limit(now);
        if self.config.reserve && limit > 1 { limit - 1 } else { limit }
    }

    /// The next mail, if one may go now, and how many are left. A probe goes whatever the pace.
    pub(super) fn pop(&self, now: Instant, probe: bool) -> Option<(Job, usize)> {
        let sessions = self.open_to_all(now);
        let mut ready = lock(&self.ready);
        if !ready.has_some(sessions) {
            return None;
        }
        if probe {
            self.relay.spend(now);
        } else if !self.relay.take(now) {
            return None;
        }
        let job = ready.pop(sessions)?;
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
