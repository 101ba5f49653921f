//! `POST /v1/events`: JSON Lines over HTTP, acknowledged after the commit.
//!
//! HTTP/1 in clear; whoever needs TLS puts a proxy in front. A request carries `Authorization: Bearer TOKEN` and one or
//! many lines. The answer is JSON (`answer::Report`) and comes when everything is on disk:
//!
//! | status | when |
//! |---|---|
//! | 202 | at least one line was an event, new or known; bad lines are counted in the answer |
//! | 400 | no line was an event |
//! | 401 | no token, or a wrong one |
//! | 404, 405 | another path or method |
//! | 408 | the body took longer than a minute |
//! | 411, 413 | neither a length nor chunked; longer than `max_body` |
//! | 415 | the body is compressed |
//! | 503 | less free space than `min_free`, or other trouble of the store; with `Retry-After` |
//!
//! A large body is stored in batches while it comes. Whoever got no answer, or one that is not 202, sends everything
//! again: what was stored already is known by its key.

mod answer;
mod receive;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, EXPECT};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use self::answer::Answer;
use super::Accept;
use crate::config::HttpConfig;
use crate::event::line::LineLimits;
use crate::guests::{self, Bounds};
use crate::outbox::OutboxError;
use crate::token::{NoToken, Token, bearer};

/// The one path.
pub const PATH: &str = "/v1/events";

/// Connections at a time.
const CONNECTIONS: usize = 256;

/// Connections at a time from one address.
const CONNECTIONS_OF_ONE: usize = 128;

/// Mebibytes of bodies that are held at a time, at the least.
const BODIES: u32 = 64;

/// Bytes of a header, and of what is read at a time.
const BUFFER: usize = 64 * 1024;

/// How long who is slow is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// The next request's header, from the end of the last one.
    header: Duration,
    /// A body, without the time that storing takes.
    body: Duration,
    /// A client that does not read its answers.
    write: Duration,
    /// Memory for a body.
    memory: Duration,
    /// The requests that are going on when it is time to stop.
    stop: Duration,
}

const PATIENCE: Patience = Patience {
    header: Duration::from_secs(15),
    body: Duration::from_secs(60),
    write: Duration::from_secs(30),
    memory: Duration::from_secs(30),
    stop: Duration::from_secs(10),
};

/// Why the intake could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be had.
    #[error("intake.http cannot listen on {listen}: {error}")]
    Listen {
        /// `listen`
        listen: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The outbox has stopped.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// An intake that has its address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: HttpConfig,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// [`HttpError::Listen`].
    pub async fn bind(config: &HttpConfig) -> Result<Self, HttpError> {
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| HttpError::Listen { listen, error })?;
        Ok(Self { listener, config: config.clone() })
    }

    /// The address, with the port that was given for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is true (or its sender is gone); then what has begun is finished.
    ///
    /// # Errors
    /// [`HttpError::Outbox`] when the outbox has stopped.
    pub async fn run(
        self,
        limits: &LineLimits,
        accept: Arc<dyn Accept>,
        stop: watch::Receiver<bool>,
    ) -> Result<(), HttpError> {
        let token = Token::new(&self.config.token, "intake.http");
        self.serve(limits, accept, token, PATIENCE, stop).await
    }

    async fn serve(
        self,
        limits: &LineLimits,
        accept: Arc<dyn Accept>,
        token: Token,
        patience: Patience,
        stop: watch::Receiver<bool>,
    ) -> Result<(), HttpError> {
        let (failed, mut failure) = mpsc::channel(1);
        let share = receive::share(self.config.max_body, limits.line);
        let site = Arc::new(Site {
            accept,
            token,
            patience,
            max_body: self.config.max_body,
            line: limits.line,
            memory: Semaphore::new(share.max(BODIES) as usize),
            share,
            failed,
        });
        let bounds = Bounds {
            name: "intake.http",
            connections: CONNECTIONS,
            of_one: CONNECTIONS_OF_ONE,
            buffer: BUFFER,
            header: patience.header,
            write: patience.write,
            stop: patience.stop,
        };
        let service = service_fn(move |request| {
            let site = Arc::clone(&site);
            async move { Ok::<_, Infallible>(handle(&site, request).await.into_response()) }
        });
        let failure = async {
            match failure.recv().await {
                Some(error) => HttpError::Outbox(error),
                // The site is gone, and with it everybody who could fail.
                None => std::future::pending().await,
            }
        };
        guests::serve(self.listener, bounds, service, stop, failure).await
    }
}

/// What all connections share.
struct Site {
    accept: Arc<dyn Accept>,
    token: Token,
    patience: Patience,
    max_body: u64,
    /// Bytes of one line.
    line: u64,
    /// Mebibytes of memory for bodies.
    memory: Semaphore,
    /// Mebibytes that the largest body takes.
    share: u32,
    failed: mpsc::Sender<OutboxError>,
}

async fn handle(site: &Site, request: Request<Incoming>) -> Answer {
    let expects = request.headers().contains_key(EXPECT);
    let (mut body, refusal) = match admit(site, &request).await {
        Ok(()) => {
            let length = request.body().size_hint().exact();
            let mut body = request.into_body();
            match receive::receive(site, &mut body, length).await {
                Ok(answer) => return answer,
                Err(refusal) => (body, refusal),
            }
        }
        Err(refusal) => (request.into_body(), refusal),
    };
    // Most clients read nothing before they have sent everything; one that asked first has sent nothing yet.
    if !expects && !matches!(refusal.status, StatusCode::REQUEST_TIMEOUT) {
        let (bytes, time) = match refusal.status {
            StatusCode::UNAUTHORIZED => (1024 * 1024, Duration::from_secs(1)),
            _ => (site.max_body.saturating_mul(4), Duration::from_secs(5)),
        };
        let mut left = bytes;
        let _ = timeout(time, async {
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                left = left.saturating_sub(length);
                if left == 0 {
                    break;
                }
            }
        })
        .await;
    }
    refusal
}

/// Everything that can be said before the body is read.
async fn admit(site: &Site, request: &Request<Incoming>) -> Result<(), Answer> {
    if request.uri().path() != PATH {
        return Err(Answer::error(StatusCode::NOT_FOUND, "there is nothing here; events go to POST /v1/events"));
    }
    if request.method() != Method::POST {
        return Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, "events are sent with POST").allow("POST"));
    }
    check_token(site, request.headers()).await?;
    let encodings = request.headers().get_all(CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not taken"));
    }
    receive::check_length(site, request)?;
    let accept = Arc::clone(&site.accept);
    match tokio::task::spawn_blocking(move || accept.check_space()).await {
        Ok(Err(error)) => Err(site.trouble(error)),
        _ => Ok(()),
    }
}

/// Whether a request brings the token: 401 if not, 503 when there is none to compare with.
async fn check_token(site: &Site, headers: &HeaderMap) -> Result<(), Answer> {
    let given = bearer(headers).ok_or_else(|| Answer::unauthorized("a bearer token is needed"))?;
    match site.token.is(given).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Answer::unauthorized("this is not the token")),
        Err(error @ NoToken) => Err(Answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()).retry_after(10)),
    }
}

impl Site {
    /// The answer to trouble of the store.
    fn trouble(&self, error: OutboxError) -> Answer {
        let answer = match &error {
            OutboxError::Full { .. } => {
                tracing::warn!(%error, "an HTTP request was refused");
                Answer::error(StatusCode::SERVICE_UNAVAILABLE, "there is too little free space")
            }
            _ => {
                tracing::error!(%error, "an HTTP request failed");
                Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the events could not be stored")
            }
        };
        if let OutboxError::Stopped(_) = error {
            let _ = self.failed.try_send(error);
        }
        answer.retry_after(10)
    }
}
