//! What each part of the way of an event costs: `cargo bench -p bewit --bench parts`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]

mod common;

use std::sync::LazyLock;

use bewit::compose::templates::{STOCK_SET, Seen, Slot};
use bewit::delivery::wire;
use bewit::event::FlowCompletion;
use bewit::mail::NewMail;
use bewit::outbox::{Accepted, Outbox};
use bewit::rule::Decision;
use bewit::simulate;
use common::stored::Stored;
use common::{Ground, large, small};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use jiff::Timestamp;

fn main() {
    divan::main();
}

static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);

/// A small event, or one whose mail has 36 KB.
fn line(size: &str) -> Vec<u8> {
    if size == "small" { small(1) } else { large(1) }.to_string().into_bytes()
}

fn judged(size: &str) -> (FlowCompletion, Decision) {
    let event = GROUND.read(&line(size));
    let decision = GROUND.decide(&event);
    (event, decision)
}

fn mail(size: &str) -> NewMail {
    let (event, decision) = judged(size);
    GROUND.mails(&event, &decision, &GROUND.draft(&event, &decision)).remove(0)
}

/// The limits on a line alone.
#[divan::bench(args = ["small", "36k"])]
fn admit(bencher: Bencher<'_, '_>, size: &str) {
    let (line, limits) = (line(size), GROUND.limits());
    bencher
        .counter(BytesCount::of_slice(&line))
        .bench_local(|| bewit::event::line::admit(black_box(&line), &limits).unwrap());
}

/// From a line to an event.
#[divan::bench(args = ["small", "36k"])]
fn parse(bencher: Bencher<'_, '_>, size: &str) {
    let line = line(size);
    bencher.counter(BytesCount::of_slice(&line)).bench_local(|| GROUND.read(black_box(&line)));
}

/// The decision, with its trace.
#[divan::bench]
fn decide(bencher: Bencher<'_, '_>) {
    let (event, _) = judged("small");
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| GROUND.decide(black_box(&event)));
}

/// The decision and the mail's subject, as `explain` wants them.
#[divan::bench]
fn decide_and_subject(bencher: Bencher<'_, '_>) {
    let (event, _) = judged("small");
    let composer = GROUND.snapshot.composer();
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| simulate::decide(&composer, GROUND.rule(), black_box(&event), &GROUND.rows, GROUND.now));
}

/// View, tables, subject, text and HTML.
#[divan::bench(args = ["small", "36k"])]
fn draft(bencher: Bencher<'_, '_>, size: &str) {
    let (event, decision) = judged(size);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| GROUND.draft(black_box(&event), &decision));
}

/// One slot of the stock templates, from a view that is converted already.
#[divan::bench(args = ["subject", "text", "html"])]
fn render(bencher: Bencher<'_, '_>, slot: &str) {
    let (event, decision) = judged("36k");
    let seen = Seen::of(&GROUND.draft(&event, &decision).view);
    let slot = match slot {
        "subject" => Slot::Subject,
        "text" => Slot::Text,
        _ => Slot::Html,
    };
    bencher.bench_local(|| GROUND.snapshot.templates.render(STOCK_SET, slot, black_box(&seen)).unwrap());
}

/// From texts to the bytes of a mail.
#[divan::bench(args = ["small", "36k"])]
fn mime(bencher: Bencher<'_, '_>, size: &str) {
    let (event, decision) = judged(size);
    let draft = GROUND.draft(&event, &decision);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| GROUND.mails(&event, &decision, black_box(&draft)));
}

/// The last gate before the wire: checked and dot-stuffed.
#[divan::bench(args = ["small", "36k"])]
fn wire_encoding(bencher: Bencher<'_, '_>, size: &str) {
    let mail = mail(size);
    bencher.counter(BytesCount::new(mail.size())).bench_local(|| wire::check(GROUND.bytes(black_box(&mail))).unwrap());
}

/// So many events with a mail of 36 KB each, stored in one transaction with full sync.
#[divan::bench(args = [1, 10, 100], sample_count = 20, sample_size = 1)]
fn accept(bencher: Bencher<'_, '_>, batch: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ground = Ground::new();
    let config = &ground.snapshot.config;
    let outbox = runtime.block_on(Outbox::open(&config.outbox, config.retry.clone(), false)).unwrap();
    let stored = Stored::new(36_000);
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| -> Vec<Accepted> { (0..batch).map(|_| stored.next()).collect() })
        .bench_local_values(|batch| runtime.block_on(outbox.accept(batch, None, Timestamp::now())).unwrap());
    runtime.block_on(outbox.close());
}
