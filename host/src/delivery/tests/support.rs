//! A scripted mail server on a pipe, and a queue in memory.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::super::classify::Phase;
use super::super::connect::Dial;
use super::super::queue::Queue;
use super::super::session::{Cause, Fault, Stream};
use crate::config::{OnAmbiguous, RetryPolicy, SmtpConfig, Timeouts, TlsMode};
use crate::mail::Segment;
use crate::outbox::{Attempt, Job, JobRecipient, OutboxError};

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
        timeouts: Timeouts::default(),
        on_ambiguous: OnAmbiguous::Resend,
        helo: "client.example.org".to_owned(),
    }
}

pub(super) fn retry() -> RetryPolicy {
    let waits = [30, 120, 300, 900, 1800, 3600].map(Duration::from_secs).to_vec();
    RetryPolicy { waits, give_up: Duration::from_secs(5 * 24 * 3600) }
}

/// Where a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Sending,
    InData,
    Delivered(String),
    Deferred(String),
    Failed(String),
    Held(String),
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: i64,
    mail: i64,
    pub(super) address: String,
    pub(super) state: State,
    pub(super) attempts: u32,
    due: Timestamp,
}

#[derive(Debug, Clone)]
struct Mail {
    head: Vec<u8>,
    body: Arc<Vec<Segment>>,
    stored: Timestamp,
    epoch: i64,
}

#[derive(Default)]
struct Tables {
    mails: BTreeMap<i64, Mail>,
    rows: Vec<Row>,
    /// Row indices by mail.
    index: HashMap<i64, Vec<usize>>,
    /// Claims of these mails are lost before the final dot.
    stolen: Vec<i64>,
}

/// The outbox's part, by its rules, on the paused clock.
#[derive(Clone)]
pub(super) struct Memory {
    tables: Arc<Mutex<Tables>>,
    changed: Arc<Notify>,
    retry: RetryPolicy,
    start: (Timestamp, Instant),
    dots: bool,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            tables: Arc::default(),
            changed: Arc::default(),
            retry: retry(),
            start: ("2026-08-21T00:00:00Z".parse().unwrap(), Instant::now()),
            dots: true,
        }
    }

    pub(super) fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// For a mailbox folder, where no final dot is written down.
    pub(super) fn without_dots(mut self) -> Self {
        self.dots = false;
        self
    }

    pub(super) fn add_mail(&self, to: &[&str], body: &[u8]) -> i64 {
        let now = self.now();
        let mut tables = self.tables.lock().unwrap();
        let id = i64::try_from(tables.mails.len()).unwrap() + 1;
        let head = format!("Message-ID: <m{id}@example.org>\r\nSubject: {id}\r\n").into_bytes();
        let body = Arc::new(vec![Segment::Bytes(body.to_vec())]);
        tables.mails.insert(id, Mail { head, body, stored: now, epoch: 0 });
        for address in to {
            let row = i64::try_from(tables.rows.len()).unwrap() + 1;
            let at = tables.rows.len();
            tables.index.entry(id).or_default().push(at);
            tables.rows.push(Row {
                id: row,
                mail: id,
                address: (*address).to_owned(),
                state: State::Queued,
                attempts: 0,
                due: now,
            });
        }
        drop(tables);
        self.changed.notify_waiters();
        id
    }

    /// So many mails to one address.
    pub(super) fn add_many(&self, mails: usize) {
        for _ in 0..mails {
            self.add(&["ana@example.org"]);
        }
    }

    pub(super) fn add(&self, to: &[&str]) -> i64 {
        self.add_mail(to, b"text\r\n")
    }

    pub(super) fn steal(&self, mail: i64) {
        self.tables.lock().unwrap().stolen.push(mail);
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.tables.lock().unwrap().rows.clone()
    }

    pub(super) fn states(&self) -> Vec<State> {
        self.rows().into_iter().map(|row| row.state).collect()
    }

    pub(super) fn number(&self, wanted: impl Fn(&State) -> bool) -> usize {
        self.tables.lock().unwrap().rows.iter().filter(|row| wanted(&row.state)).count()
    }

    pub(super) fn delivered(&self) -> usize {
        self.number(|state| matches!(state, State::Delivered(_)))
    }

    /// Waits on the clock until something is so.
    pub(super) async fn until(&self, what: &str, limit: Duration, so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + limit;
        while !so(self) {
            assert!(Instant::now() < end, "{what}: not within {limit:?}: {:?}", self.states());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Queue for Memory {
    fn now(&self) -> Timestamp {
        self.start.0 + self.start.1.elapsed()
    }

    async fn claim(&self, limit: usize, now: Timestamp) -> Result<Vec<Job>, OutboxError> {
        let mut tables = self.tables.lock().unwrap();
        let tables = &mut *tables;
        let mut due: Vec<(Timestamp, i64)> = tables
            .rows
            .iter()
            .filter(|row| matches!(row.state, State::Queued | State::Deferred(_)) && row.due <= now)
            .map(|row| (row.due, row.mail))
            .collect();
        due.sort_unstable();
        let mut jobs: Vec<Job> = Vec::new();
        for (_, id) in due {
            if jobs.len() >= limit {
                break;
            }
            let mut recipients = Vec::new();
            for at in &tables.index[&id] {
                let row = &mut tables.rows[*at];
                if matches!(row.state, State::Queued | State::Deferred(_)) && row.due <= now {
                    row.state = State::Sending;
                    recipients.push(JobRecipient { id: row.id, address: row.address.clone(), attempts: row.attempts });
                }
            }
            if recipients.is_empty() {
                continue;
            }
            let mail = tables.mails.get_mut(&id).unwrap();
            mail.epoch += 1;
            let size = mail.head.len() as u64 + 2 + mail.body.iter().map(Segment::len).sum::<u64>();
            jobs.push(Job {
                mail: id,
                epoch: mail.epoch,
                message_id: format!("m{id}@example.org"),
                sender: "bewit@example.org".to_owned(),
                recipients,
                head: mail.head.clone(),
                body: Arc::clone(&mail.body),
                size,
                stored: mail.stored,
            });
        }
        Ok(jobs)
    }

    async fn in_data(&self, job: &Job, recipients: &[i64]) -> Result<bool, OutboxError> {
        let mut tables = self.tables.lock().unwrap();
        if tables.stolen.contains(&job.mail) {
            return Ok(false);
        }
        for row in tables.rows.iter_mut().filter(|row| recipients.contains(&row.id)) {
            assert_eq!(row.state, State::Sending, "{row:?}");
            row.state = State::InData;
        }
        Ok(true)
    }

    async fn report(&self, job: &Job, outcomes: &[(i64, Attempt)], now: Timestamp) -> Result<bool, OutboxError> {
        let mut tables = self.tables.lock().unwrap();
        let tables = &mut *tables;
        if tables.mails[&job.mail].epoch != job.epoch || tables.stolen.contains(&job.mail) {
            return Ok(false);
        }
        for (id, outcome) in outcomes {
            let row = tables.rows.iter_mut().find(|row| row.id == *id).unwrap();
            assert!(matches!(row.state, State::Sending | State::InData), "reported twice: {row:?} {outcome:?}");
            row.state = match outcome.clone() {
                Attempt::Delivered(reply) => {
                    assert!(!self.dots || row.state == State::InData, "the final dot was not written down");
                    State::Delivered(reply)
                }
                Attempt::Failed(reason) => State::Failed(reason),
                Attempt::Held(reason) => State::Held(reason),
                Attempt::Released(due) => {
                    row.due = due;
                    State::Queued
                }
                Attempt::Deferred(reason) => {
                    let at = usize::try_from(row.attempts).unwrap().min(self.retry.waits.len() - 1);
                    row.attempts += 1;
                    row.due = now + self.retry.waits[at];
                    let age =
                        Duration::try_from(now.duration_since(tables.mails[&job.mail].stored)).unwrap_or_default();
                    if age >= self.retry.give_up { State::Failed(reason) } else { State::Deferred(reason) }
                }
            };
        }
        self.changed.notify_waiters();
        Ok(true)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, OutboxError> {
        let tables = self.tables.lock().unwrap();
        let waiting = tables.rows.iter().filter(|row| matches!(row.state, State::Queued | State::Deferred(_)));
        Ok(waiting.map(|row| row.due).min())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    fn read<T>(&self, job: &Job, take: impl FnOnce(&mut dyn Read) -> T) -> T {
        let mut bytes = [job.head.as_slice(), b"\r\n"].concat();
        for segment in job.body.iter() {
            let Segment::Bytes(part) = segment else { unreachable!() };
            bytes.extend_from_slice(part);
        }
        take(&mut bytes.as_slice())
    }
}
