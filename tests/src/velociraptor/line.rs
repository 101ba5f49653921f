//! A connection's bytes below TLS: they can be cut off after so many, or vanish.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::faults::Cut;

/// What can be done to a connection while it is in use.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    hole: bool,
    cut: Option<Cut>,
    /// Bytes that go out yet, and how it ends then.
    left: Option<(usize, Cut)>,
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

    /// The connection ends when so many more bytes have gone out.
    pub(super) fn cut_after(&self, bytes: usize, cut: Cut) {
        self.0.lock().unwrap().left = Some((bytes, cut));
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
    fn gate(&self, context: &Context<'_>, writes: bool) -> Poll<io::Result<Option<usize>>> {
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
        if state.hole {
            return Poll::Pending;
        }
        Poll::Ready(Ok(state.left.map(|(bytes, _)| bytes)))
    }

    fn wrote(&self, bytes: usize) {
        let mut state = self.line.0.lock().unwrap();
        if let Some((left, cut)) = state.left {
            state.left = Some((left.saturating_sub(bytes), cut));
            if left <= bytes {
                state.cut = Some(cut);
                state.wake();
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.gate(context, false) {
            Poll::Ready(Ok(_)) => match &mut self.socket {
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
        let left = match self.gate(context, true) {
            Poll::Ready(Ok(left)) => left.unwrap_or(buf.len()),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let part = &buf[..left.min(buf.len())];
        let wrote = match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(context, part),
            Socket::Unix(stream) => Pin::new(stream).poll_write(context, part),
        };
        if let Poll::Ready(Ok(bytes)) = wrote {
            self.wrote(bytes);
        }
        wrote
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.gate(context, true) {
            Poll::Ready(Ok(_)) => match &mut self.socket {
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
        Pin::new(&mut self.0).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
