//! What it costs to store mails, beside the disk's own limit, raw append and `fdatasync`: `cargo xtask bench store`.
//!
//! Everything goes through [`Outbox::accept`], with events, decisions and all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bewit::outbox::{Accepted, Outbox};
use common::measures::{Bound, Measures, quick, turns};
use common::stored::Stored;
use jiff::Timestamp;
use tokio::runtime::Runtime;

/// Octets of a stored mail.
const OCTETS: usize = 40_000;
/// Who waits for a commit at the same time.
const PRODUCERS: usize = 64;
/// Batches, and what part of the raw disk is to be reached.
const BATCHES: [(usize, f64); 3] = [(1, 0.8), (10, 0.0), (100, 0.55)];

fn main() {
    let runtime = Runtime::new().unwrap();
    let mut measures = Measures::default();
    let length = Duration::from_millis(if quick() { 300 } else { 1000 });
    // Disks are capricious: short turns, and many of them.
    for _ in 0..turns() * if quick() { 1 } else { 3 } {
        let folder = tempfile::tempdir().unwrap();
        let stored = Stored::new(OCTETS);
        let config = stored.config(folder.path());
        let outbox = runtime.block_on(Outbox::open(&config.outbox, config.retry.clone(), false)).unwrap();
        for (batch, goal) in BATCHES {
            let raw = raw(folder.path(), batch, length);
            let own = accept(&runtime, &outbox, &stored, batch, length);
            let (number, bound) = if goal > 0.0 { (7, Bound::AtLeast(goal)) } else { (0, Bound::None) };
            let what = format!("outbox, 40 KB, batch {batch}: of append + fdatasync");
            measures.add(number, &what, "x", bound, own / raw);
            measures.add(0, format!("{what}, rows a second"), "", Bound::None, own);
        }
        let alone = accept(&runtime, &outbox, &stored, 1, length);
        let together = producers(&runtime, &outbox, &stored, length);
        let what = format!("outbox, {PRODUCERS} that wait: of one commit for each");
        measures.add(7, what, "x", Bound::AtLeast(5.0), together / alone);
        runtime.block_on(outbox.close());
    }
    measures.finish();
}

/// Rows a second: appended, and synced after each batch.
fn raw(folder: &std::path::Path, batch: usize, length: Duration) -> f64 {
    let mut file = File::create(folder.join("raw")).unwrap();
    let bytes = vec![b'x'; OCTETS * batch];
    let (mut rows, begun) = (0, Instant::now());
    while begun.elapsed() < length {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        rows += batch;
    }
    rows as f64 / begun.elapsed().as_secs_f64()
}

/// Rows a second by one who waits for each batch.
fn accept(runtime: &Runtime, outbox: &Outbox, stored: &Stored, batch: usize, length: Duration) -> f64 {
    runtime.block_on(async {
        let (mut rows, begun) = (0, Instant::now());
        while begun.elapsed() < length {
            let lines: Vec<Accepted> = (0..batch).map(|_| stored.next()).collect();
            outbox.accept(lines, None, Timestamp::now()).await.unwrap();
            rows += batch;
        }
        rows as f64 / begun.elapsed().as_secs_f64()
    })
}

/// Rows a second by many who each wait for one row.
fn producers(runtime: &Runtime, outbox: &Outbox, stored: &Stored, length: Duration) -> f64 {
    runtime.block_on(async {
        let (rows, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let each = (0..PRODUCERS).map(|_| async {
            while begun.elapsed() < length {
                outbox.accept(vec![stored.next()], None, Timestamp::now()).await.unwrap();
                rows.fetch_add(1, Ordering::Relaxed);
            }
        });
        futures_util::future::join_all(each).await;
        rows.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
    })
}
