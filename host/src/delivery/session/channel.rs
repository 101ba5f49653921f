//! A stream with a reply parser and a deadline on whatever it waits for.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::super::classify::Phase;
use super::super::reply::{Reply, ReplyError, ReplyParser};
use crate::config::Timeouts;

/// What a session speaks over: TCP, TLS, or a test's pipe.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// What is written and not yet taken is not to be delivered when the stream is dropped. Without it the system would
    /// go on offering the rest of a mail to a server that has stopped reading, long after we have given up.
    fn abandon(&self) {}
}

impl Stream for TcpStream {
    fn abandon(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Stream for TlsStream<Box<dyn Stream>> {
    fn abandon(&self) {
        let (stream, _) = self.get_ref();
        stream.abandon();
    }
}

/// The end of a connection: where, and why. Nothing of it can be used again.
#[derive(Debug, thiserror::Error)]
#[error("{phase}: {cause}")]
pub struct Fault {
    /// Where the dialogue stood.
    pub phase: Phase,
    /// Why.
    pub cause: Cause,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Nothing came, or nothing was taken, within the phase's deadline.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The network's word.
    #[error("{0}")]
    Io(io::Error),
    /// TLS: no trusted certificate, no common version, or no TLS at all.
    #[error("{0}")]
    Tls(String),
    /// What came is no reply.
    #[error("{0}")]
    Garbage(#[from] ReplyError),
    /// A reply that cannot answer what was asked.
    #[error("the server answered {0}, which makes no sense there")]
    Unexpected(Reply),
    /// The server says that it closes (421).
    #[error("the server answered {0}")]
    Closing(Reply),
    /// Something was said that nobody had asked for: before TLS, or between two mails.
    #[error("the server spoke out of turn")]
    OutOfTurn,
}

impl Fault {
    pub(in crate::delivery) fn new(phase: Phase, cause: Cause) -> Self {
        Self { phase, cause }
    }

    /// From the network; TLS errors come wrapped in one.
    pub(in crate::delivery) fn io(phase: Phase, error: io::Error) -> Self {
        let cause = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Cause::Tls(tls.to_string()),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Cause::Closed,
                _ => Cause::Io(error),
            },
        };
        Self { phase, cause }
    }
}

/// Runs one wait of a phase under its deadline.
pub(in crate::delivery) async fn within<T>(
    phase: Phase,
    limit: Duration,
    wait: impl Future<Output = io::Result<T>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, wait).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::io(phase, error)),
        Err(_) => Err(Fault::new(phase, Cause::TimedOut(limit))),
    }
}

/// The stream under a session.
pub(super) struct Channel {
    stream: Box<dyn Stream>,
    parser: ReplyParser,
    /// Bytes that came and were not yet taken: `input[at..]`.
    input: Vec<u8>,
    at: usize,
    timeouts: Timeouts,
    /// What was said in confidence: a server that repeats it, at whatever time, must not get it into a log.
    unseen: Vec<String>,
}

impl Channel {
    pub(super) fn new(stream: Box<dyn Stream>, timeouts: Timeouts) -> Self {
        Self { stream, parser: ReplyParser::default(), input: Vec::new(), at: 0, timeouts, unseen: Vec::new() }
    }

    /// From here on, these texts are left out of every reply.
    pub(super) fn hide(&mut self, texts: &[&str]) {
        self.unseen = texts.iter().map(|text| (*text).to_owned()).collect();
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// How long the server may take in a phase.
    fn limit(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Connect | Phase::Handshake => self.timeouts.connect,
            Phase::Greeting => self.timeouts.greeting,
            Phase::Body => self.timeouts.data,
            Phase::Final => self.timeouts.final_,
            _ => self.timeouts.command,
        }
    }

    /// Writes in one go, and waits until the system has taken it.
    pub(super) async fn write(&mut self, phase: Phase, bytes: &[u8]) -> Result<(), Fault> {
        // The block that ends in the final dot is a block of the mail, too.
        let limit = if phase == Phase::Final { self.timeouts.data } else { self.limit(phase) };
        let written = within(phase, limit, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        let written = written.await;
        if let Err(Fault { cause: Cause::TimedOut(_), .. }) = written {
            self.stream.abandon();
        }
        written
    }

    /// Reads the reply to one command; the deadline is for the whole of it, however slowly it drips. 421 is the
    /// connection's end.
    pub(super) async fn reply(&mut self, phase: Phase) -> Result<Reply, Fault> {
        let limit = self.limit(phase);
        self.reply_within(phase, limit).await
    }

    pub(super) async fn reply_within(&mut self, phase: Phase, limit: Duration) -> Result<Reply, Fault> {
        let end = Instant::now() + limit;
        loop {
            let waiting = self.input.get(self.at..).unwrap_or_default();
            let (taken, reply) = self.parser.push(waiting).map_err(|error| Fault::new(phase, Cause::Garbage(error)))?;
            self.at += taken;
            match reply.map(|reply| reply.without(&self.unseen)) {
                Some(reply) if reply.code() == 421 => return Err(Fault::new(phase, Cause::Closing(reply))),
                Some(reply) => return Ok(reply),
                None => {}
            }
            self.at = 0;
            self.input.clear();
            self.input.reserve(4096);
            let Ok(read) = tokio::time::timeout_at(end, self.stream.read_buf(&mut self.input)).await else {
                self.stream.abandon();
                return Err(Fault::new(phase, Cause::TimedOut(limit)));
            };
            let read = read.map_err(|error| Fault::io(phase, error))?;
            if read == 0 {
                return Err(Fault::new(phase, Cause::Closed));
            }
        }
    }

    /// Before a command: nothing may have been said that would be taken for its reply.
    pub(super) fn in_turn(&self, phase: Phase) -> Result<(), Fault> {
        if self.at == self.input.len() { Ok(()) } else { Err(Fault::new(phase, Cause::OutOfTurn)) }
    }

    /// Whether the server has said nothing since its last reply: then the stream is in step. A server that closed an
    /// idle connection, or said 421 before, is found here without a round trip.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        self.at == self.input.len() && self.stream.read(&mut byte).now_or_never().is_none()
    }

    /// Hands the bare stream over, for TLS. Nothing may have been said behind the last reply.
    pub(super) fn into_stream(self, phase: Phase) -> Result<Box<dyn Stream>, Fault> {
        self.in_turn(phase)?;
        Ok(self.stream)
    }

    /// Tells the other side that nothing follows.
    pub(super) async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}
