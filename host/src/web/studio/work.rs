//! Work that blocks, such as composing: on threads of its own, a few at a time, and not waited for without end.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use tokio::time::timeout;

use super::Studio;
use crate::web::access::Visitor;

/// Jobs at a time.
pub(super) const SLOTS: usize = 3;
/// How long a slot is waited for.
const QUEUE: Duration = Duration::from_secs(10);
/// How long a job is waited for. One that takes longer keeps its slot until it is done.
const JOB: Duration = Duration::from_secs(30);

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoResult {
    /// All slots are taken.
    Busy,
    /// It takes too long.
    Late,
    /// It broke down, which is a bug.
    Broken,
}

impl NoResult {
    /// As a page.
    pub(super) fn page(self, studio: &Studio, visitor: &Visitor) -> Response {
        let (status, text) = match self {
            Self::Busy => {
                (StatusCode::SERVICE_UNAVAILABLE, "Other pages are being made; load this one again in a moment.")
            }
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, "It took longer than half a minute, and was not waited for."),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "It broke down, which is a bug worth reporting."),
        };
        studio.message(visitor, status, "This page could not be made", text)
    }
}

impl Studio {
    /// Runs a job on a blocking thread.
    ///
    /// # Errors
    /// When there is no result.
    pub(super) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, NoResult> {
        let slot = timeout(QUEUE, Arc::clone(&self.slots).acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(NoResult::Busy) };
        let studio = Arc::clone(self);
        let job = tokio::task::spawn_blocking(move || {
            let result = job(&studio);
            drop(slot);
            result
        });
        match timeout(JOB, job).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(NoResult::Broken),
            Err(_) => Err(NoResult::Late),
        }
    }
}
