//! One org: its stream, and beside it what was missed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::Trouble;
use super::back_off::BackOff;
use super::catch_up::SECOND;
use super::position::Course;
use super::row::Row;
use super::taking::{End, Part, Taker};
use crate::outbox::OutboxError;
use crate::velociraptor::client::{Answer, Ask, Client};
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::WATCH;

/// How often the position is written when nothing but beats comes.
const QUIET: Duration = Duration::from_secs(30);

/// One org, watched.
pub(super) struct Org {
    pub(super) taker: Taker,
    /// The API client file.
    pub(super) api_config: PathBuf,
    /// Catch-ups at a time, of all orgs.
    pub(super) slots: Arc<Semaphore>,
}

/// A connection, as its two halves share it.
pub(super) struct Link {
    course: Mutex<Course>,
    /// When the stream began: with its first beat.
    begun: watch::Sender<Option<Instant>>,
}

impl Link {
    fn new(course: Course) -> Self {
        Self { course: Mutex::new(course), begun: watch::Sender::new(None) }
    }

    /// How far it is. Never held over an await.
    pub(super) fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the stream has begun.
    async fn begun(&self) -> Instant {
        let mut begun = self.begun.subscribe();
        let began = begun.wait_for(Option::is_some).await.map(|at| *at);
        began.ok().flatten().unwrap_or_else(Instant::now)
    }
}

impl Org {
    /// Watches until the outbox refuses.
    pub(super) async fn run(&self) -> OutboxError {
        let org = &self.taker.org;
        let mut back_off = BackOff::default();
        let mut told = None;
        loop {
            let mut began = None;
            let error = match self.connection(&mut began, false).await {
                Ok(()) => continue,
                Err(Trouble::Api(error)) => error,
                Err(Trouble::Outbox(error)) => return error,
            };
            self.taker.state.failed(&error);
            if let Some(began) = began {
                back_off.well_for(began.elapsed());
                told = None;
            }
            let wait = back_off.next(error.needs_a_person(), &mut rand::rng());
            let (reason, hint) = (error.to_string(), error.hint());
            if told.as_ref() == Some(&reason) {
                tracing::debug!(org, reason, ?wait, "completions are still not watched");
            } else if error.needs_a_person() {
                tracing::error!(org, reason, hint, "completions are not watched until somebody helps");
            } else {
                tracing::warn!(org, reason, hint, ?wait, "completions are not watched; it is tried again");
            }
            told = Some(reason);
            sleep(wait).await;
        }
    }

    /// One pass: what was missed until now is taken, and the position moved.
    pub(super) async fn once(&self) -> Result<(), Trouble> {
        let result = self.connection(&mut None, true).await;
        if let Err(Trouble::Api(error)) = &result {
            self.taker.state.failed(error);
        }
        result
    }

    /// One connection, of its own: the window that all streams of a connection share must not be filled by rows that
    /// wait for facts, which could then not come. A new one each time, since one through which nothing comes looks well.
    async fn connection(&self, began: &mut Option<Instant>, once: bool) -> Result<(), Trouble> {
        let client = Client::new(self.api_config.clone());
        let accept = &self.taker.accept;
        let (stored, floor) = (accept.position(self.taker.source()).await?, accept.position(self.taker.floor()).await?);
        let link = Link::new(Course::new(stored, floor));
        let mut answer = client.ask(Ask::new(&WATCH, &self.taker.org)).await?;
        let ended = tokio::select! {
            ended = self.live(&mut answer, &link) => ended,
            ended = self.missed(&client, &link, once) => ended,
        };
        *began = *link.begun.borrow();
        ended
    }

    /// Takes what comes, until the stream breaks.
    async fn live(&self, answer: &mut Answer, link: &Link) -> Result<(), Trouble> {
        let state = &self.taker.state;
        let mut written = None;
        loop {
            let (mut first, mut new) = (false, false);
            let Part { lines, latest, end } = self
                .taker
                .part(answer, &mut |row| match row {
                    Row::Beat(at) => {
                        let mut course = link.course();
                        first |= course.begun().is_none();
                        new |= course.beat(*at);
                        state.beat(*at);
                    }
                    Row::Completion { at, .. } => link.course().took(*at),
                    Row::Ended | Row::Server => {}
                })
                .await;
            let (position, stored) = {
                let course = link.course();
                (course.position(), course.stored())
            };
            if new {
                self.taker.store_floor(stored).await?;
            }
            let quiet = written.is_none_or(|at: Instant| at.elapsed() >= QUIET);
            let moved = new || position > stored;
            if !lines.is_empty() || new || moved && quiet {
                self.taker.store(lines, latest, moved.then_some(position)).await?;
                if moved {
                    link.course().store(position);
                    written = Some(Instant::now());
                }
            }
            state.covered(position);
            if first {
                tracing::info!(org = self.taker.org, since = stored, "completions are watched");
                state.begun();
                link.begun.send_replace(Some(Instant::now()));
            }
            match end {
                None => {}
                Some(End::Said | End::Silent) => {
                    return Err(ApiError::Ended { query: WATCH.name, log: answer.said().map(str::to_owned) }.into());
                }
                Some(End::Broken(error)) => return Err(error.into()),
            }
        }
    }

    /// Takes what was missed, once the stream has begun; then, a little later, looks once more at the moment when it
    /// began. Ends with but one pass.
    async fn missed(&self, client: &Client, link: &Link, once: bool) -> Result<(), Trouble> {
        let began = link.begun().await;
        let since = link.course().missed_since();
        self.catch_up(client, link, since, once).await?;
        let position = {
            let mut course = link.course();
            course.joined();
            course.position()
        };
        // The other half writes none before the second look is over.
        self.taker.store(Vec::new(), None, Some(position)).await?;
        link.course().store(position);
        self.taker.state.covered(position);
        self.taker.state.live();
        if once {
            return Ok(());
        }
        tracing::info!(org = self.taker.org, since, "what was missed is taken");
        sleep_until(began + SECOND).await;
        let since = link.course().joined_since();
        self.catch_up(client, link, since, false).await?;
        link.course().live();
        std::future::pending().await
    }
}
