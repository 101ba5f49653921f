//! Who connects to a server of ours: HTTP/1 in clear, a bounded number of them, not too many from one address, and none
//! that lets us wait for ever.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// What a server bears.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The server's name in the log.
    pub(crate) name: &'static str,
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Connections at a time from one address.
    pub(crate) of_one: usize,
    /// Bytes of a header, and of what is read at a time.
    pub(crate) buffer: usize,
    /// How long the next request's header is waited for, from the end of the last one.
    pub(crate) header: Duration,
    /// How long a client that does not read its answers is waited for.
    pub(crate) write: Duration,
    /// How long requests that are going on may take when it is time to stop.
    pub(crate) stop: Duration,
}

/// Answers until `stop` is true (or its sender is gone), or `failure` comes; then what has begun is finished.
///
/// # Errors
/// The failure.
pub(crate) async fn serve<S, E>(
    listener: TcpListener,
    bounds: Bounds,
    service: S,
    stop: watch::Receiver<bool>,
    failure: impl Future<Output = E>,
) -> Result<(), E>
where
    S: HttpService<Incoming, Error: Into<Box<dyn Error + Send + Sync>>, Future: Send> + Clone + Send + 'static,
    S::ResBody: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let guests = Guests::new(bounds.of_one);
    let mut open = JoinSet::new();
    let (mut stopped, mut failure) = (pin!(stopped(stop.clone())), pin!(failure));
    let mut back_off = Duration::ZERO;
    let result = loop {
        while open.try_join_next().is_some() {}
        let next = async {
            sleep(back_off).await;
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = &mut stopped => break Ok(()),
            error = &mut failure => break Err(error),
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = Duration::ZERO;
                let Some(guest) = guests.admit(peer.ip()) else {
                    tracing::warn!(server = bounds.name, %peer, "too many connections from one address");
                    continue;
                };
                let (service, stop) = (service.clone(), stop.clone());
                open.spawn(async move {
                    connection(service, bounds, stream, stop).await;
                    drop((slot, guest));
                });
            }
            // A connection that broke off before it was taken.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // No file descriptors left, most likely: those that are open end some time.
            Err(error) => {
                if back_off.is_zero() {
                    tracing::error!(server = bounds.name, %error, "no connection can be taken");
                }
                back_off = (back_off * 2).clamp(Duration::from_millis(20), Duration::from_secs(1));
            }
        }
    };
    drop(listener);
    let _ = timeout(bounds.stop, async { while open.join_next().await.is_some() {} }).await;
    result
}

async fn connection<S>(service: S, bounds: Bounds, stream: TcpStream, stop: watch::Receiver<bool>)
where
    S: HttpService<Incoming, Error: Into<Box<dyn Error + Send + Sync>>>,
    S::ResBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, bounds.write);
    let mut builder = http1::Builder::new();
    // Without a timer the deadline would not exist.
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.header).max_buf_size(bounds.buffer);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(server = bounds.name, %error, "a connection broke");
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Connections by address.
#[derive(Debug)]
struct Guests {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them; it counts until it is dropped.
#[derive(Debug)]
struct Guest(Arc<Guests>, IpAddr);

impl Guests {
    /// Lets in so many connections of one address at a time.
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// One more; `None`: there are too many.
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let mut guests = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = guests.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Guest(Arc::clone(self), address))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = guests.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.1);
            }
        }
    }
}

/// A connection that breaks when the other side does not read: many requests in a row, none of whose answers is taken,
/// would hold it for ever.
#[derive(Debug)]
struct Patient {
    stream: TcpStream,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// Waits so long for the other side to read.
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let deadline = Instant::now() + self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
