//! Facts asked of a Velociraptor server: only those that a rule needs, each once, a few flows at a time.
//!
//! [`Live::gather`] is the whole of it. What was asked lives for seconds in a `cache`; what comes back is merged into
//! the event's own JSON (`merge`) and read by the one parser; rows are streamed into files (`results`).

mod ask;
mod cache;
mod gather;
mod merge;
mod results;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use self::cache::Cache;
use crate::velociraptor::client::Ask;
use crate::velociraptor::error::ApiError;

pub use self::ask::{Answering, Answers, Asks};
pub use self::gather::{Gathered, Lack, Request, Standing};

/// Flows that are asked about at the same time.
const FLOWS: usize = 8;
/// How long nobody asks again after the server could not be asked.
const COOL_DOWN: Duration = Duration::from_secs(2);
/// The same, if finding out took long, since the server did not answer at all.
const LONG_COOL_DOWN: Duration = Duration::from_secs(15);
/// How long a short answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Values that a cache holds.
const CACHED: usize = 4_096;

/// A server that is asked for facts. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    server: Box<dyn Asks>,
    /// Where result rows are put while their event is judged.
    folder: PathBuf,
    flows: Semaphore,
    /// By org and client.
    clients: Cache<(String, String), Client>,
    /// By org and flow: a hunt's flows have one id on all clients.
    hunts: Cache<(String, String), Arc<str>>,
    /// By org and artifact; an empty text is no definition.
    definitions: Cache<(String, String), Arc<str>>,
    /// By org.
    links: Cache<String, Option<Arc<Prefixes>>>,
    /// Orgs that cannot be asked for now, until when, and why; the empty name is all of them.
    down: Mutex<HashMap<String, (Instant, ApiError)>>,
    census: Mutex<BTreeMap<&'static str, Asked>>,
}

/// What `client_info()` and `client_metadata()` say, as JSON.
#[derive(Clone)]
struct Client {
    info: Arc<str>,
    metadata: Arc<str>,
}

/// How the server's own links begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    /// What stands before `?org_id=` in the address of a page.
    pub page: String,
    /// What stands before `?` in the address of a download.
    pub download: String,
}

/// Queries of one kind, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// How many were sent.
    pub queries: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How long all of them took, from the question to the last row.
    pub time: Duration,
}

impl Live {
    /// A server, and a folder of its own for rows on their way; it is made when it is needed.
    #[must_use]
    pub fn new(server: impl Asks, folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            server: Box::new(server),
            folder,
            flows: Semaphore::new(FLOWS),
            clients: Cache::new(Duration::from_secs(30), CACHED),
            hunts: Cache::new(Duration::from_secs(30), CACHED),
            definitions: Cache::new(Duration::from_secs(60), CACHED),
            links: Cache::new(Duration::from_secs(600), CACHED),
            down: Mutex::default(),
            census: Mutex::default(),
        }))
    }

    /// Removes rows that a crash has left behind. Blocking; only before anybody asks.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub fn clear(&self) -> std::io::Result<()> {
        match std::fs::remove_dir_all(&self.0.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Queries by name.
    #[must_use]
    pub fn census(&self) -> BTreeMap<&'static str, Asked> {
        self.0.census.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rows of a short answer. A connection that has ended meanwhile is made again once.
    async fn rows(&self, ask: Ask<'_>, most: usize) -> Result<Vec<Box<RawValue>>, ApiError> {
        let mut tried = false;
        loop {
            let mut question = Question::new(self, &ask, tried)?;
            let work = async {
                let mut answer = self.0.server.ask(ask.clone()).await?;
                let mut rows = Vec::new();
                while let Some(row) = answer.next().await? {
                    if rows.len() < most {
                        rows.push(row);
                    }
                }
                Ok(rows)
            };
            let rows = tokio::time::timeout(PATIENCE, work).await;
            match question.end(rows.unwrap_or(Err(ApiError::Silent(PATIENCE.as_secs())))) {
                Err(ApiError::Unreachable(_)) if !tried => tried = true,
                rows => return rows,
            }
        }
    }

    /// Why an org cannot be asked for now, if that was found out a moment ago.
    fn is_down(&self, org: &str) -> Option<ApiError> {
        let down = self.0.down.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = ["", org].into_iter().filter_map(|org| down.get(org)).find(|(until, _)| now < *until);
        known.map(|(_, error)| error.clone())
    }

    fn failed(&self, org: &str, error: &ApiError) {
        let whom = match error {
            ApiError::Unreachable(_) | ApiError::Silent(_) | ApiError::Identity(_) => "",
            ApiError::Denied(_) | ApiError::Org { .. } => org,
            ApiError::Query { .. } | ApiError::Answer { .. } | ApiError::Ended { .. } => return,
        };
        let pause = if matches!(error, ApiError::Silent(_)) { LONG_COOL_DOWN } else { COOL_DOWN };
        let now = Instant::now();
        let mut down = self.0.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.retain(|_, (until, _)| now < *until);
        if down.insert(whom.to_owned(), (now + pause, error.clone())).is_none() {
            tracing::warn!(%error, hint = error.hint(), org, "Velociraptor cannot be asked for facts");
        }
    }
}

/// A query that is under way: counted when it ends, however it ends.
struct Question<'a> {
    live: &'a Live,
    name: &'static str,
    org: String,
    begun: Instant,
    /// Whether it is asked for the second time.
    again: bool,
    failed: bool,
}

impl<'a> Question<'a> {
    /// # Errors
    /// When there is no use in asking.
    fn new(live: &'a Live, ask: &Ask<'_>, again: bool) -> Result<Self, ApiError> {
        if let Some(error) = live.is_down(ask.org) {
            return Err(error);
        }
        Ok(Self { live, name: ask.query.name, org: ask.org.to_owned(), begun: Instant::now(), again, failed: false })
    }

    fn end<T>(&mut self, result: Result<T, ApiError>) -> Result<T, ApiError> {
        result.inspect_err(|error| {
            self.failed = true;
            // A connection may have ended without a word since it was used last: it is asked once more.
            if self.again || !matches!(error, ApiError::Unreachable(_)) {
                self.live.failed(&self.org, error);
            }
        })
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut census = self.live.0.census.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = census.entry(self.name).or_default();
        asked.queries += 1;
        asked.failed += u64::from(self.failed);
        asked.time = asked.time.saturating_add(self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests;
