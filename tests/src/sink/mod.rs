//! A mail server in the test's own process: strict about what it receives, scripted in what it answers, and with a
//! journal that is on disk before a mail is acknowledged, so that no loss is ever the server's.

mod session;
#[cfg(test)]
mod tests;
pub mod tls;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tempfile::TempDir;

pub use self::tls::Certificate;

/// Where in a dialogue the server is about to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The connection is open; the 220 is due.
    Greeting,
    /// EHLO in clear, or on a connection that has no other.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// The TLS handshake is due, after the 220 or at once.
    Handshake,
    /// EHLO inside TLS.
    EhloTls,
    /// AUTH and its first answer.
    Auth,
    /// A line in answer to a 334.
    AuthStep,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA.
    Data,
    /// 354 is sent, the mail's bytes are due.
    Block,
    /// The final dot has come.
    Dot,
    /// RSET, NOOP and the like.
    Other,
    /// QUIT.
    Quit,
}

/// A moment in a dialogue, as a script sees it.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Where.
    pub phase: Phase,
    /// How many times this phase came before, in all sessions.
    pub count: usize,
    /// How many sessions were opened before this one.
    pub session: usize,
    /// How many mails this server has accepted.
    pub accepted: usize,
    /// The command line, without its end; empty where there is none.
    pub line: &'a str,
    /// The address of MAIL and RCPT.
    pub address: &'a str,
}

/// What the server does at a moment.
#[derive(Debug, Clone)]
pub enum Action {
    /// What a decent server would.
    Normal,
    /// This reply; CRLF is added.
    Reply(String),
    /// These bytes as they are, and then as if they were the reply.
    Raw(Vec<u8>),
    /// This reply, byte by byte.
    Sliced(String),
    /// Wait, then act.
    Delay(Duration, Box<Self>),
    /// At the dot: take the mail into the journal, then act instead of acknowledging it.
    TakeThen(Box<Self>),
    /// This reply, then the end of the connection.
    ReplyThenClose(String),
    /// The end of the connection.
    Close,
    /// No answer, ever; the connection stays open until the client has enough of it.
    Silence,
    /// One byte of `x` at each interval, for ever.
    Drip(Duration),
    /// A reply line that never ends, as fast as it goes.
    EndlessLine,
    /// A reply of endlessly many lines with this code, as fast as it goes.
    EndlessReply(String),
}

impl Action {
    /// A reply.
    #[must_use]
    pub fn reply(text: impl Into<String>) -> Self {
        Self::Reply(text.into())
    }
}

type Script = dyn Fn(&Moment<'_>) -> Action + Send + Sync;

/// A mail that was taken: the envelope, and its exact bytes without dot-stuffing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Which session.
    pub session: usize,
    /// Reverse-path.
    pub from: String,
    /// The recipients that were accepted.
    pub to: Vec<String>,
    /// The bytes.
    pub raw: Vec<u8>,
    /// The MAIL command's parameters.
    pub parameters: String,
    /// When its final dot had come.
    pub at: Instant,
}

impl Received {
    /// Its Message-ID.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn message_id(&self) -> String {
        let end = self.raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(self.raw.len());
        let head = String::from_utf8_lossy(&self.raw[..end]).replace("\r\n ", " ");
        head.lines()
            .find_map(|line| line.to_lowercase().starts_with("message-id:").then(|| line[11..].trim().to_owned()))
            .expect("a mail has a Message-ID")
    }
}

/// What became of a session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Every byte that came before TLS.
    pub clear: Vec<u8>,
    /// `C: ` and `S: ` lines, inside TLS too, without the mails' bytes.
    pub lines: Vec<String>,
    /// TLS was established.
    pub tls: bool,
    /// Who logged in.
    pub user: Option<String>,
    /// Where it was when it ended, or is now.
    pub phase: Phase,
    /// When it began.
    pub opened: Instant,
    /// When the client, or the script, ended it.
    pub closed: Option<Instant>,
}

pub(crate) struct Shared {
    settings: SinkBuilder,
    sessions: Mutex<Vec<Session>>,
    received: Mutex<Vec<Received>>,
    violations: Mutex<Vec<String>>,
    counts: Mutex<HashMap<Phase, usize>>,
    journal: Mutex<File>,
    secret: Mutex<String>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    stop: AtomicBool,
}

/// A mail server to be.
#[derive(Clone)]
pub struct SinkBuilder {
    capabilities: Vec<String>,
    size: Option<u64>,
    starttls: bool,
    implicit: bool,
    certificate: Certificate,
    tls: Option<Arc<ServerConfig>>,
    user: Option<(String, String)>,
    mechanisms: Vec<String>,
    script: Arc<Script>,
    port: u16,
}

impl SinkBuilder {
    /// More EHLO keywords; `PIPELINING`, `8BITMIME` and `SMTPUTF8` are also enforced when they are not offered.
    #[must_use]
    pub fn offering(mut self, keywords: &[&str]) -> Self {
        self.capabilities.extend(keywords.iter().map(|&keyword| keyword.to_owned()));
        self
    }

    /// SIZE with a limit, which is enforced. 0: none, but SIZE is offered (RFC 1870).
    #[must_use]
    pub fn size(mut self, limit: u64) -> Self {
        self.size = Some(limit);
        self
    }

    /// Offers STARTTLS.
    #[must_use]
    pub fn starttls(mut self, certificate: Certificate) -> Self {
        self.starttls = true;
        self.certificate = certificate;
        self
    }

    /// Speaks TLS from the first byte.
    #[must_use]
    pub fn implicit(mut self, certificate: Certificate) -> Self {
        self.implicit = true;
        self.certificate = certificate;
        self
    }

    /// Wants a login, by one of these mechanisms.
    #[must_use]
    pub fn login(mut self, user: &str, secret: &str, mechanisms: &[&str]) -> Self {
        self.user = Some((user.to_owned(), secret.to_owned()));
        self.mechanisms = mechanisms.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// What it does at each moment; [`Action::Normal`] unless said.
    #[must_use]
    pub fn script(mut self, script: impl Fn(&Moment<'_>) -> Action + Send + Sync + 'static) -> Self {
        self.script = Arc::new(script);
        self
    }

    /// One action, each time the dialogue is at `phase`.
    #[must_use]
    pub fn at(self, phase: Phase, action: Action) -> Self {
        self.script(move |moment| if moment.phase == phase { action.clone() } else { Action::Normal })
    }

    /// One action, the first `times` that the dialogue is at `phase`.
    #[must_use]
    pub fn first(self, times: usize, phase: Phase, action: Action) -> Self {
        self.script(
            move |moment| {
                if moment.phase == phase && moment.count < times { action.clone() } else { Action::Normal }
            },
        )
    }

    /// Listens on this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Opens it.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start(mut self) -> SmtpSink {
        if self.starttls || self.implicit {
            self.tls = Some(tls::server_config(self.certificate));
        }
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::Builder::new().prefix("bewit-sink-").tempdir().unwrap();
        let journal = folder.path().join("journal");
        let shared = Arc::new(Shared {
            secret: Mutex::new(self.user.as_ref().map(|(_, secret)| secret.clone()).unwrap_or_default()),
            settings: self,
            sessions: Mutex::default(),
            received: Mutex::default(),
            violations: Mutex::default(),
            counts: Mutex::default(),
            journal: Mutex::new(File::create(&journal).unwrap()),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let listening = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &listening));
        SmtpSink { address, shared, thread: Some(thread), journal, _folder: folder }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
            shared.most_open.fetch_max(open, Ordering::SeqCst);
            session::run(&shared, connection);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A mail server that runs until it goes out of scope.
pub struct SmtpSink {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    journal: PathBuf,
    _folder: TempDir,
}

impl SmtpSink {
    /// A decent server: PIPELINING, 8BITMIME and SIZE without a limit; no TLS, no login.
    #[must_use]
    pub fn decent() -> SinkBuilder {
        Self::bare().offering(&["PIPELINING", "8BITMIME"]).size(0)
    }

    /// A server that offers nothing.
    #[must_use]
    pub fn bare() -> SinkBuilder {
        SinkBuilder {
            capabilities: Vec::new(),
            size: None,
            starttls: false,
            implicit: false,
            certificate: Certificate::Good,
            tls: None,
            user: None,
            mechanisms: Vec::new(),
            script: Arc::new(|_| Action::Normal),
            port: 0,
        }
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The mails taken so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How many mails were taken so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.received.lock().unwrap().len()
    }

    /// The sessions so far.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        self.shared.sessions.lock().unwrap().clone()
    }

    /// Most sessions that were open at a time.
    #[must_use]
    pub fn most_open(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }

    /// All bytes that any client sent before TLS.
    #[must_use]
    pub fn clear_text(&self) -> Vec<u8> {
        self.sessions().iter().flat_map(|session| session.clear.clone()).collect()
    }

    /// The password or token that is right from now on.
    pub fn set_secret(&self, secret: &str) {
        secret.clone_into(&mut self.shared.secret.lock().unwrap());
    }

    /// Where the journal lies.
    #[must_use]
    pub fn journal(&self) -> &std::path::Path {
        &self.journal
    }

    /// What clients did that no client may.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.violations.lock().unwrap().clone()
    }

    /// Asserts that no client broke a rule.
    ///
    /// # Panics
    /// When one did; the message has the dialogues.
    #[track_caller]
    pub fn assert_clean(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "{violations:#?}\n{}", self.dialogues());
    }

    /// All dialogues, to be read.
    #[must_use]
    pub fn dialogues(&self) -> String {
        let mut text = String::new();
        for (number, session) in self.sessions().iter().enumerate() {
            text.push_str(&format!("--- session {number}, {:?}, TLS {}\n", session.phase, session.tls));
            let skipped = session.lines.len().saturating_sub(60);
            for line in &session.lines[skipped..] {
                text.push_str(&format!("{line}\n"));
            }
        }
        text
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if std::thread::panicking() {
            eprintln!("--- the mail server's dialogues\n{}---", self.dialogues());
        }
    }
}

impl std::fmt::Debug for SmtpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpSink").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    /// Puts a mail on disk, then into the list.
    fn take(&self, mail: Received) {
        let mut journal = self.journal.lock().unwrap();
        writeln!(journal, "{} <{}> {:?} {} bytes", mail.session, mail.from, mail.to, mail.raw.len()).unwrap();
        journal.write_all(&mail.raw).unwrap();
        journal.sync_data().unwrap();
        self.received.lock().unwrap().push(mail);
    }

    fn violation(&self, text: String) {
        let mut all = self.violations.lock().unwrap();
        if all.len() < 1000 {
            all.push(text);
        }
    }
}
