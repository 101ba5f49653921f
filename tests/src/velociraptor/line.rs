//! A connection's bytes: they can be cut off, now or at a marker among them, or vanish.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::faults::Cut;

/// What happens at a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The connection ends.
    Cut(Cut),
    /// Nothing goes through any more.
    Hole,
}

/// What can be done to a connection while it is in use.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    hole: bool,
    cut: Option<Cut>,
    /// What happens when the marker is about to go out.
    marker: Option<(Vec<u8>, Then)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl Line {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// The connection ends now.
    pub(super) fn cut(&self, cut: Cut) {
        let mut state = self.0.lock().unwrap();
        state.cut = Some(cut);
        state.wake();
    }

    /// Something happens when the marker that this returns is about to go out. It is to be sent inside a message; what is
    /// before it gets through. It has its text several times over, since a frame's end may lie in one of them.
    pub(super) fn mark(&self, then: Then) -> String {
        static MARKS: AtomicUsize = AtomicUsize::new(0);
        let text = format!("<marker {:08}>", MARKS.fetch_add(1, Ordering::Relaxed));
        self.0.lock().unwrap().marker = Some((text.clone().into_bytes(), then));
        text.repeat(4)
    }

    /// How much of this may go out; 0: the marker is next.
    fn before_marker(&self, bytes: &[u8]) -> usize {
        let state = self.0.lock().unwrap();
        let Some((marker, _)) = &state.marker else { return bytes.len() };
        bytes.windows(marker.len()).position(|piece| piece == marker).unwrap_or(bytes.len())
    }

    /// The marker is reached.
    fn strike(&self) {
        let then = self.0.lock().unwrap().marker.take();
        match then {
            Some((_, Then::Cut(cut))) => self.cut(cut),
            Some((_, Then::Hole)) => self.hole(true),
            None => {}
        }
    }

    /// Nothing goes through, or everything again.
    pub(super) fn hole(&self, hole: bool) {
        let mut state = self.0.lock().unwrap();
        state.hole = hole;
        state.wake();
    }

    /// Whether anybody has the connection yet.
    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A socket with a [`Line`].
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    line: Line,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    pub(super) fn new(socket: Socket, line: Line) -> Self {
        Self { socket, line }
    }

    /// Whether the line lets through, in which case its lock is not held.
    fn gate(&self, context: &Context<'_>, writes: bool) -> Poll<io::Result<()>> {
        let mut state = self.line.0.lock().unwrap();
        if let Some(cut) = state.cut {
            if let (Cut::Reset, Socket::Tcp(tcp)) = (cut, &self.socket) {
                // Closing it sends RST then.
                let _ = set_socket_linger(tcp, Some(std::time::Duration::ZERO));
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let waker = Some(context.waker().clone());
        if writes {
            state.writer = waker;
        } else {
            state.reader = waker;
        }
        if state.hole { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.gate(context, false) {
            Poll::Ready(Ok(())) => match &mut self.socket {
                Socket::Tcp(stream) => Pin::new(stream).poll_read(context, buf),
                Socket::Unix(stream) => Pin::new(stream).poll_read(context, buf),
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.gate(context, true) {
            Poll::Ready(Ok(())) => match &mut self.socket {
                Socket::Tcp(stream) => Pin::new(stream).poll_write(context, buf),
                Socket::Unix(stream) => Pin::new(stream).poll_write(context, buf),
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.gate(context, true) {
            Poll::Ready(Ok(())) => match &mut self.socket {
                Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
                Socket::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A connection as the service sees it.
#[derive(Debug)]
pub(super) struct Connection(pub(super) TlsStream<Wire>);

impl Connected for Connection {
    type ConnectInfo = Line;

    fn connect_info(&self) -> Line {
        self.0.get_ref().0.line.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let line = self.0.get_ref().0.line.clone();
        let before = line.before_marker(buf);
        if before == 0 && !buf.is_empty() {
            // What is before the marker leaves TLS first.
            if Pin::new(&mut self.0).poll_flush(context)?.is_pending() {
                return Poll::Pending;
            }
            line.strike();
        }
        let part = if before == 0 { buf } else { &buf[..before] };
        Pin::new(&mut self.0).poll_write(context, part)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
