//! What changes while a page is open, as Server-Sent Events: the number of the last news about the files.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::Studio;
use crate::reload::News;

/// Pages that listen at a time.
pub(super) const LISTENERS: usize = 48;
/// A sign of life after so much silence: whoever went away without a word is noticed by it.
const SILENCE: Duration = Duration::from_secs(20);

/// What one listener knows.
struct Listener {
    studio: Arc<Studio>,
    news: watch::Receiver<News>,
    stop: watch::Receiver<bool>,
    told: Option<String>,
    _slot: OwnedSemaphorePermit,
}

/// `GET /events`: the stamp of what is in force, at once and whenever it changes.
pub(super) async fn events(State(studio): State<Arc<Studio>>) -> Response {
    let Ok(slot) = Arc::clone(&studio.listeners).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages listen\n").into_response();
    };
    let (news, stop) = (studio.news.clone(), studio.stop.clone());
    let listener = Listener { studio, news, stop, told: None, _slot: slot };
    Sse::new(stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    }))
    .into_response()
}

impl Listener {
    /// The next thing to say; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            self.news.mark_unchanged();
            let stamp = self.studio.stamp();
            if self.told.as_ref() != Some(&stamp) {
                self.told = Some(stamp.clone());
                return Some(Event::default().event("stamp").data(stamp));
            }
            let news = tokio::select! {
                news = timeout(SILENCE, self.news.changed()) => news,
                _ = self.stop.wait_for(|stop| *stop) => return None,
            };
            match news {
                Ok(Ok(())) => {}
                // Nothing will change any more: the files are not watched. The page stays as it is.
                Ok(Err(_)) => tokio::time::sleep(SILENCE).await,
                Err(_) => return Some(Event::default().comment("")),
            }
        }
    }
}
