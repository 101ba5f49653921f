//! A million queued mails: how long a daemon takes to be ready, and whether delivery then starts at once:
//! `cargo xtask bench scale`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

mod common;

use std::time::Instant;

use acceptance::env::free_address;
use acceptance::postfix::Sink;
use acceptance::wait::wait_until;
use acceptance::{Site, TestEnv};
use bewit::outbox::{Accepted, Outbox};
use common::daemon::Watched;
use common::measures::{Bound, Measures, many, turns};
use common::stored::Stored;
use jiff::Timestamp;
use tokio::runtime::Runtime;

/// Mails that wait.
const QUEUED: usize = 1_000_000;
/// Mails of one transaction, and octets of each.
const BATCH: (usize, usize) = (1_000, 2_000);

fn main() {
    let mut measures = Measures::default();
    let queued = many(QUEUED);
    let env = TestEnv::new();
    let (web, smtp) = (free_address(), free_address());
    env.config(&Site::smtp(smtp.port()).more(&format!("\n[web]\nlisten = \"{web}\"")));
    let rate = fill(&env, queued);
    let size = env.path("bewit.db").metadata().unwrap().len();
    measures.add(0, format!("{queued} mails stored, a second"), "", Bound::None, rate);
    measures.add(0, format!("{queued} mails, the outbox"), "MiB", Bound::None, size as f64 / 1048576.0);
    for _ in 0..turns() {
        // Nobody listens: nothing of the queue is lost to a turn.
        let daemon = Watched::start(&env, web);
        let what = format!("{queued} queued: start until ready");
        measures.add(9, what, "s", Bound::AtMost(5.0), daemon.ready.as_secs_f64());
        measures.add(0, format!("{queued} queued: resident memory"), "MiB", Bound::None, daemon.memory("VmRSS"));
    }
    let sink = Sink::start(smtp).expect("smtp-sink of Postfix");
    let begun = Instant::now();
    let daemon = Watched::start(&env, web);
    wait_until("a delivered mail", 60.0, || daemon.sample("bewit_recipients", ("state", "delivered")) > 0.0);
    measures.add(0, format!("{queued} queued: start until mails are delivered"), "s", Bound::None, {
        begun.elapsed().as_secs_f64()
    });
    drop((daemon, sink));
    measures.finish();
}

/// Stores them through the library's own door; so many a second.
fn fill(env: &TestEnv, queued: usize) -> f64 {
    let runtime = Runtime::new().unwrap();
    let stored = Stored::new(BATCH.1);
    let config = stored.config(env.root());
    runtime.block_on(async {
        let outbox = Outbox::open(&config.outbox, config.retry.clone(), false).await.unwrap();
        let (mut done, begun) = (0, Instant::now());
        while done < queued {
            let lines: Vec<Accepted> = (0..BATCH.0).map(|_| stored.next()).collect();
            outbox.accept(lines, None, Timestamp::now()).await.unwrap();
            done += BATCH.0;
        }
        outbox.close().await;
        done as f64 / begun.elapsed().as_secs_f64()
    })
}
