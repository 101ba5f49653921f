//! Connections: HTTP/1 in clear, a bounded number of them, none of which lets us wait for ever.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::guests::{Guests, Patient};

/// Connections at a time.
const CONNECTIONS: usize = 128;
/// Connections at a time from one address.
const CONNECTIONS_OF_ONE: usize = 64;
/// Bytes of a header, and of what is read at a time.
const BUFFER: usize = 32 * 1024;
/// How long the next request's header is waited for.
const HEADER: Duration = Duration::from_secs(15);
/// How long a client that does not read its answer is waited for.
const WRITE: Duration = Duration::from_secs(30);
/// How long requests that are going on may take when it is time to stop.
const STOP: Duration = Duration::from_secs(3);

/// Answers until `stop`; then what has begun is finished.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let guests = Guests::new(CONNECTIONS_OF_ONE);
    let mut open = JoinSet::new();
    let mut stopped = pin!(stopped(stop.clone()));
    let mut back_off = Duration::ZERO;
    loop {
        while open.try_join_next().is_some() {}
        let next = async {
            sleep(back_off).await;
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = &mut stopped => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = Duration::ZERO;
                let Some(guest) = guests.admit(peer.ip()) else {
                    tracing::warn!(%peer, "too many connections from one address to the web server");
                    continue;
                };
                let (router, stop) = (router.clone(), stop.clone());
                open.spawn(async move {
                    connection(router, stream, stop).await;
                    drop((slot, guest));
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // No file descriptors left, most likely: those that are open end some time.
            Err(error) => {
                if back_off.is_zero() {
                    tracing::error!(%error, "the web server can take no connection");
                }
                back_off = (back_off * 2).clamp(Duration::from_millis(20), Duration::from_secs(1));
            }
        }
    }
    drop(listener);
    let _ = timeout(STOP, async { while open.join_next().await.is_some() {} }).await;
}

async fn connection(router: Router, stream: TcpStream, stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, WRITE);
    let mut builder = http1::Builder::new();
    // Without a timer the deadline would not exist.
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(BUFFER);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the web server broke");
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
