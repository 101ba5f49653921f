//! What is seen from outside in a browser: the studio, `/healthz`, `/readyz` and `/metrics`.
//!
//! `access` is the door, `serve` the connections, `studio` the pages. Bind it where only those who watch can reach it.

mod access;
mod assets;
mod metrics;
mod serve;
pub mod studio;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::access::Access;
use self::studio::{Events, Studio};
use crate::config::WebConfig;
use crate::facts::live::Live;
use crate::intake::velociraptor;
use crate::outbox::Outbox;
use crate::reload::News;
use crate::snapshot::Current;

/// A bound, not yet serving, web server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: WebConfig,
}

/// What is shown.
pub struct Site {
    /// Configuration in force.
    pub current: Current,
    /// The file that it was read from, if there is one.
    pub file: Option<PathBuf>,
    /// What is known of its files.
    pub news: watch::Receiver<News>,
    /// Events that can be looked at, in the order of a list; pasted ones come after them.
    pub events: Vec<Arc<dyn Events>>,
    /// Without one, there are no `/readyz` and `/metrics`.
    pub daemon: Option<Daemon>,
}

/// What a daemon has beside its configuration.
pub struct Daemon {
    /// Where events and mails are.
    pub outbox: Outbox,
    /// How watching a server goes.
    pub watched: velociraptor::State,
    /// The server that is asked for facts, if there is one.
    pub live: Option<Live>,
}

#[derive(Clone)]
struct Seen {
    outbox: Outbox,
    current: Current,
    watched: velociraptor::State,
    live: Option<Live>,
    news: watch::Receiver<News>,
    counted: Arc<metrics::Counted>,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// When it is taken or not ours.
    pub async fn bind(config: &WebConfig) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(config.listen).await?, config: config.clone() })
    }

    /// The address, with the port that was given for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(self, site: Site, stop: watch::Receiver<bool>) -> std::io::Result<()> {
        let access = Arc::new(Access::new(&self.config, self.local_addr()?));
        let Site { current, file, news, events, daemon } = site;
        let seen = daemon.map(|Daemon { outbox, watched, live }| Seen {
            outbox,
            current: Arc::clone(&current),
            watched,
            live,
            news: news.clone(),
            counted: Arc::default(),
        });
        let studio = Arc::new(Studio::new(current, file, news, events, Arc::clone(&access), stop.clone()));

        let mut open = Router::new().route("/healthz", get(|| async { "ok\n" }));
        let mut guarded = studio::router().with_state(studio).merge(assets::router());
        if let Some(seen) = seen {
            // Whether a service is ready is asked under any name and is no secret; its numbers are for those who may read.
            open = open.route("/readyz", get(ready).with_state(seen.clone()));
            guarded = guarded.route("/metrics", get(metrics::answer).with_state(seen));
        }
        let open = open.layer(middleware::map_response(async |mut response: Response| {
            access::protect(&mut response);
            response
        }));
        let guarded = guarded.layer(middleware::from_fn_with_state(access, access::guard));
        serve::serve(self.listener, guarded.merge(open), stop).await;
        Ok(())
    }
}

/// Ready: the outbox answers, there is room for more, and every org that is to be watched is.
async fn ready(State(seen): State<Seen>) -> Response {
    let result = match seen.outbox.check_space() {
        // A question that an index answers: however long the queue, it is asked every few seconds.
        Ok(()) => seen.outbox.next_due().await.map(|_| ()),
        Err(error) => Err(error),
    };
    let troubles = seen.watched.troubles();
    match result {
        Ok(()) if troubles.is_empty() => "ready\n".into_response(),
        Ok(()) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", troubles.join("\n"))).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
