//! A scripted mail server on a pipe.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::super::classify::Phase;
use super::super::connect::Dial;
use super::super::session::{Cause, Fault, Stream};
pub(super) use super::memory::{Memory, State, retry};
use crate::config::{Limits, OnAmbiguous, SmtpConfig, Timeouts, TlsMode};

impl Stream for DuplexStream {}

/// The server's side.
impl Stream for tokio_rustls::server::TlsStream<Box<dyn Stream>> {}

/// What the server hears.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    Connected,
    Line(String),
    /// A whole mail, dots taken off.
    Mail(Vec<u8>),
}

/// What it does then.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// A line, or several.
    Say(String),
    /// One byte at a time, with this wait before each.
    Drip(String, Duration),
    /// This, without end.
    Flood(&'static str),
    Hang,
    Close,
    SayAndClose(String),
    /// After the reply, TLS.
    StartTls(String),
    After(Duration, Box<Act>),
    /// No connection at all; only for [`Heard::Connected`].
    Refuse,
}

pub(super) fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

type Script = dyn Fn(&Moment<'_>) -> Option<Act> + Send + Sync;

/// When something is heard.
pub(super) struct Moment<'a> {
    /// Connection, from 0.
    pub(super) connection: usize,
    pub(super) heard: &'a Heard,
    /// Mails taken by this server so far.
    pub(super) taken: usize,
}

impl Moment<'_> {
    /// Whether a command line begins like this.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self.heard, Heard::Line(line) if line.starts_with(word))
    }

    pub(super) fn is_mail(&self) -> bool {
        matches!(self.heard, Heard::Mail(_))
    }

    pub(super) fn is_greeting(&self) -> bool {
        matches!(self.heard, Heard::Connected)
    }
}

/// A mail that the server took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) mail: Vec<u8>,
}

/// A server: polite, but for what its script says.
pub(super) struct Server {
    script: Box<Script>,
    offers: Vec<&'static str>,
    tls: Option<TlsAcceptor>,
    implicit: bool,
    pipe: usize,
    pub(super) lines: Mutex<Vec<String>>,
    pub(super) taken: Mutex<Vec<Taken>>,
    pub(super) dialled: AtomicUsize,
    pub(super) writes: AtomicUsize,
    open: AtomicUsize,
    pub(super) peak: AtomicUsize,
}

impl Server {
    pub(super) fn new(script: impl Fn(&Moment<'_>) -> Option<Act> + Send + Sync + 'static) -> Self {
        Self {
            script: Box::new(script),
            offers: vec!["PIPELINING", "SIZE 10000000", "8BITMIME"],
            tls: None,
            implicit: false,
            pipe: 256 * 1024,
            lines: Mutex::default(),
            taken: Mutex::default(),
            dialled: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    pub(super) fn polite() -> Self {
        Self::new(|_| None)
    }

    pub(super) fn offering(mut self, offers: &[&'static str]) -> Self {
        self.offers = offers.to_vec();
        self
    }

    pub(super) fn tls(mut self, implicit: bool, certificate: &Certificate) -> Self {
        self.tls = Some(certificate.acceptor.clone());
        self.implicit = implicit;
        self
    }

    /// A pipe that holds so many bytes.
    pub(super) fn narrow(mut self, pipe: usize) -> Self {
        self.pipe = pipe;
        self
    }

    pub(super) fn start(self) -> Pipes {
        Pipes(Arc::new(self))
    }

    fn act(&self, connection: usize, heard: &Heard, begun: bool) -> Act {
        let taken = self.taken.lock().unwrap().len();
        if let Some(act) = (self.script)(&Moment { connection, heard, taken }) {
            return act;
        }
        match heard {
            Heard::Connected => say("220 mx.example.org ESMTP"),
            Heard::Mail(_) => say("250 2.0.0 queued"),
            Heard::Line(line) => match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => {
                    let mut lines = vec!["mx.example.org"];
                    lines.extend(&self.offers);
                    let last = lines.pop().unwrap();
                    Act::Say(lines.iter().map(|line| format!("250-{line}\r\n")).collect::<String>() + "250 " + last)
                }
                "DATA" if begun => say("354 go"),
                "DATA" => say("503 5.5.1 MAIL first"),
                "QUIT" => Act::SayAndClose("221 bye".to_owned()),
                "STARTTLS" => Act::StartTls("220 ready".to_owned()),
                "MAIL" | "RCPT" | "RSET" => say("250 ok"),
                _ => say("500 what"),
            },
        }
    }

    /// One connection, to its end.
    async fn serve(&self, connection: usize, mut stream: Box<dyn Stream>) -> std::io::Result<()> {
        if self.implicit {
            stream = Box::new(self.tls.as_ref().unwrap().accept(stream).await?);
        }
        let mut input = Vec::new();
        let mut envelope = Taken::default();
        let mut in_data;
        let mut heard = Heard::Connected;
        loop {
            let mut act = self.act(connection, &heard, !envelope.from.is_empty());
            while let Act::After(wait, then) = act {
                tokio::time::sleep(wait).await;
                act = *then;
            }
            let (text, written, close, upgrade) = match act {
                Act::Say(text) => (text, false, false, false),
                Act::SayAndClose(text) => (text, false, true, false),
                Act::StartTls(text) => (text, false, false, true),
                Act::Close | Act::Refuse => return Ok(()),
                Act::Hang => std::future::pending().await,
                Act::After(..) => unreachable!(),
                Act::Drip(text, wait) => {
                    for byte in text.bytes().chain(*b"\r\n") {
                        tokio::time::sleep(wait).await;
                        stream.write_all(&[byte]).await?;
                    }
                    (text, true, false, false)
                }
                Act::Flood(text) => loop {
                    stream.write_all(text.as_bytes()).await?;
                },
            };
            if !written {
                stream.write_all(format!("{text}\r\n").as_bytes()).await?;
                stream.flush().await?;
            }
            match &heard {
                Heard::Mail(mail) => {
                    let mut taken = std::mem::take(&mut envelope);
                    if text.starts_with('2') {
                        taken.mail.clone_from(mail);
                        self.taken.lock().unwrap().push(taken);
                    }
                }
                Heard::Line(line) if text.starts_with('2') => {
                    if let Some(from) = line.strip_prefix("MAIL FROM:") {
                        envelope = Taken { from: from.to_owned(), ..Taken::default() };
                    } else if line == "RSET" {
                        envelope = Taken::default();
                    } else if let Some(to) = line.strip_prefix("RCPT TO:") {
                        envelope.to.push(to.trim_matches(['<', '>']).to_owned());
                    }
                }
                _ => {}
            }
            in_data = text.starts_with("354");
            if close {
                return Ok(());
            }
            if upgrade {
                stream = Box::new(self.tls.as_ref().expect("TLS is set up").accept(stream).await?);
                input.clear();
            }
            heard = loop {
                let end: &[u8] = if in_data { b"\r\n.\r\n" } else { b"\r\n" };
                if in_data && input.starts_with(b".\r\n") {
                    input.drain(..3);
                    break Heard::Mail(Vec::new());
                }
                if let Some(at) = input.windows(end.len()).position(|window| window == end) {
                    let mut piece: Vec<u8> = input.drain(..at + end.len()).collect();
                    piece.truncate(at);
                    if !in_data {
                        let line = String::from_utf8(piece).unwrap();
                        self.lines.lock().unwrap().push(line.clone());
                        break Heard::Line(line);
                    }
                    let mail = String::from_utf8(piece).unwrap() + "\r\n";
                    let plain = mail.split_inclusive("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line));
                    break Heard::Mail(plain.collect::<String>().into_bytes());
                }
                self.writes.fetch_add(1, Ordering::SeqCst);
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
            };
        }
    }
}

/// Connects to a server by pipes.
#[derive(Clone)]
pub(super) struct Pipes(pub(super) Arc<Server>);

impl Dial for Pipes {
    async fn dial(&self, _: &SmtpConfig) -> Result<(Box<dyn Stream>, String), Fault> {
        let server = Arc::clone(&self.0);
        let connection = server.dialled.fetch_add(1, Ordering::SeqCst);
        let taken = server.taken.lock().unwrap().len();
        if let Some(Act::Refuse) = (server.script)(&Moment { connection, heard: &Heard::Connected, taken }) {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            return Err(Fault::new(Phase::Connect, Cause::Io(refused)));
        }
        let (ours, theirs) = tokio::io::duplex(server.pipe);
        tokio::spawn(async move {
            let open = server.open.fetch_add(1, Ordering::SeqCst) + 1;
            server.peak.fetch_max(open, Ordering::SeqCst);
            let _ = server.serve(connection, Box::new(theirs)).await;
            server.open.fetch_sub(1, Ordering::SeqCst);
        });
        Ok((Box::new(ours), "pipe".to_owned()))
    }
}

impl Pipes {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().clone()
    }

    pub(super) fn count(&self, word: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(word)).count()
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.0.taken.lock().unwrap().clone()
    }

    pub(super) fn dialled(&self) -> usize {
        self.0.dialled.load(Ordering::SeqCst)
    }
}

/// A certificate for `mx.example.org`, and a CA file that trusts it.
pub(super) struct Certificate {
    acceptor: TlsAcceptor,
    pub(super) ca: tempfile::NamedTempFile,
}

impl Certificate {
    pub(super) fn new(name: &str) -> Self {
        use std::io::Write as _;
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        ca.write_all(made.cert.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca }
    }
}

pub(super) fn config() -> SmtpConfig {
    SmtpConfig {
        server: "mx.example.org".to_owned(),
        port: 25,
        tls: TlsMode::None,
        skip_verify: false,
        root_ca: None,
        credentials: None,
        connections: 4,
        rate: None,
        limits: Limits::default(),
        reserve: false,
        timeouts: Timeouts::default(),
        on_ambiguous: OnAmbiguous::Resend,
        helo: "client.example.org".to_owned(),
    }
}
