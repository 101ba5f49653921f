//! Bewit's SMTP client alone, beside Postfix's `smtp-source -d` and the same `smtp-sink`; and with a network's delay
//! between client and server: `cargo xtask bench smtp`.
//!
//! The mails lie in memory and nothing is written down, so that only the dialogue counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acceptance::env::free_address;
use acceptance::postfix::Sink;
use bewit::config::{Config, SmtpConfig, Transport, load};
use bewit::delivery::{Queue, Until, run_from};
use bewit::mail::Segment;
use bewit::meter::Meter;
use bewit::outbox::{Attempt, Job, JobRecipient, OutboxError, Wanted};
use bewit::rule::Priority;
use common::measures::{Bound, Measures, many, turns};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Octets of a mail, and mails of a turn.
const SIZES: [(usize, usize); 2] = [(5_000, 8_000), (40_000, 4_000)];
/// Sessions at a time.
const SESSIONS: [usize; 3] = [1, 4, 16];
/// One direction of the simulated network.
const DELAY: Duration = Duration::from_millis(10);
/// Mails of a turn over it, and their sessions.
const FAR: (usize, usize) = (400, 4);

fn main() {
    let runtime = Runtime::new().unwrap();
    let mut measures = Measures::default();
    for _ in 0..turns() {
        for (octets, mails) in SIZES {
            let mails = many(mails);
            for sessions in SESSIONS {
                let sink = sink(&[]);
                let source = sink.source(mails, octets, sessions);
                let own = mails as f64 / deliver(&runtime, sink.address(), mails, octets, sessions);
                let cell = format!("SMTP, {} KB x {sessions}: of `smtp-source -d`", octets / 1000);
                measures.add(6, &cell, "x", Bound::AtLeast(1.1), own / source);
                measures.add(0, format!("{cell}, mails a second"), "", Bound::None, own);
            }
        }
        far(&runtime, &mut measures);
    }
    measures.finish();
}

/// At 20 ms there and back: with pipelining, and the same client where the server offers none.
fn far(runtime: &Runtime, measures: &mut Measures) {
    let (mails, sessions) = (many(FAR.0), FAR.1);
    let mut took = Vec::new();
    for options in [&[][..], &["-p"][..]] {
        let sink = sink(options);
        let delayed = runtime.block_on(delayed(sink.address()));
        took.push(deliver(runtime, delayed, mails, 5_000, sessions));
    }
    let what = "SMTP, 5 KB x 4 at 20 ms: of the same client without pipelining";
    measures.add(6, what, "x", Bound::AtLeast(2.0), took[1] / took[0]);
    measures.add(0, "SMTP, 5 KB x 4 at 20 ms: time of a mail in its session", "ms", Bound::None, {
        took[0] * 1e3 * sessions as f64 / mails as f64
    });
}

fn sink(options: &[&str]) -> Sink {
    Sink::start_with(free_address(), options).expect("smtp-sink of Postfix")
}

/// Seconds until so many mails are delivered, connecting included.
fn deliver(runtime: &Runtime, to: SocketAddr, mails: usize, octets: usize, sessions: usize) -> f64 {
    let config = config(to, sessions);
    let Transport::Smtp(smtp) = &config.transport else { panic!("a server") };
    let smtp: Arc<SmtpConfig> = Arc::new(smtp.as_ref().clone());
    let queue = Memory::new(mails, octets);
    let begun = Instant::now();
    let summary = runtime.block_on(run_from(queue.clone(), smtp, config.retry.clone(), Until::Drained)).unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(summary.delivered, mails as u64, "{summary:?}");
    took
}

fn config(to: SocketAddr, sessions: usize) -> Config {
    let text = format!(
        "[smtp]\nserver = \"{}\"\nport = {}\ntls = \"none\"\nconnections = {sessions}\nfrom = \"bewit@example.org\"\n\n\
        [outbox]\nurl = \"sqlite:bewit.db\"\n{}",
        to.ip(),
        to.port(),
        common::RULE
    );
    load::parse(&text, "bench.toml", &std::env::temp_dir()).unwrap_or_else(|found| panic!("{found}"))
}

/// Mails that all look alike, and are forgotten when they are delivered.
#[derive(Clone)]
struct Memory {
    left: Arc<AtomicUsize>,
    head: Arc<Vec<u8>>,
    body: Arc<Vec<Segment>>,
    meter: Arc<Meter>,
    /// What failed, to be told.
    failed: Arc<Mutex<Vec<Attempt>>>,
}

impl Memory {
    fn new(mails: usize, octets: usize) -> Self {
        let head = b"From: bewit@example.org\r\nTo: ana@example.org\r\nSubject: bench\r\n".to_vec();
        let line = "All is quiet on this endpoint, and the rows below say no more than that.\r\n";
        let mut body = line.repeat(octets / line.len() + 1).into_bytes();
        body.truncate(octets - head.len() - 4);
        body.extend_from_slice(b"\r\n");
        Self {
            left: Arc::new(AtomicUsize::new(mails)),
            head: Arc::new(head),
            body: Arc::new(vec![Segment::Bytes(body)]),
            meter: Arc::new(Meter::new()),
            failed: Arc::default(),
        }
    }

    fn job(&self, mail: i64) -> Job {
        Job {
            mail,
            epoch: 1,
            message_id: format!("{mail}@example.org"),
            sender: "bewit@example.org".to_owned(),
            recipients: vec![JobRecipient { id: mail, address: "ana@example.org".to_owned(), attempts: 0 }],
            head: self.head.to_vec(),
            body: Arc::clone(&self.body),
            size: self.head.len() as u64 + 2 + self.body.iter().map(Segment::len).sum::<u64>(),
            stored: Timestamp::UNIX_EPOCH,
            priority: Priority::Normal,
        }
    }
}

impl Queue for Memory {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn claim(&self, wanted: Wanted, _: Timestamp) -> Result<Vec<Job>, OutboxError> {
        let left = self.left.load(Ordering::SeqCst);
        let taken = left.min(wanted.normal);
        // One dispatcher claims.
        self.left.store(left - taken, Ordering::SeqCst);
        Ok((0..taken).map(|at| self.job((left - at) as i64)).collect())
    }

    async fn in_data(&self, _: &Job, _: &[i64]) -> Result<bool, OutboxError> {
        Ok(true)
    }

    async fn report(&self, _: &Job, outcomes: &[(i64, Attempt)], _: Timestamp) -> Result<bool, OutboxError> {
        let failed = outcomes.iter().map(|(_, outcome)| outcome).filter(|one| !matches!(one, Attempt::Delivered(_)));
        self.failed.lock().unwrap().extend(failed.cloned());
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        Ok(true)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, OutboxError> {
        Ok((self.left.load(Ordering::SeqCst) > 0).then_some(Timestamp::UNIX_EPOCH))
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    fn read<T>(&self, job: &Job, take: impl FnOnce(&mut dyn Read) -> T) -> T {
        let Some(Segment::Bytes(body)) = job.body.first() else { panic!("there are no files here") };
        take(&mut Read::chain(Read::chain(&job.head[..], &b"\r\n"[..]), &body[..]))
    }
}

/// A way to a server that takes [`DELAY`] in each direction, however much goes over it.
async fn delayed(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(later(near_in, far_out));
            tokio::spawn(later(far_in, near_out));
        }
    });
    address
}

/// Hands on each piece [`DELAY`] after it came; pieces do not wait for each other.
async fn later(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    let (pieces, mut due) = tokio::sync::mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((when, piece)) = due.recv().await {
            tokio::time::sleep_until(when).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let _ = pieces.send((tokio::time::Instant::now() + DELAY, buffer[..read].to_vec()));
    }
}
