//! One path of the program, many times, for a machine that counts instructions: `cargo xtask bench counts`.
//!
//! Run under `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*::counted'`, only what is measured counts.
//! Without valgrind it only shows that the paths work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

mod common;

use std::hint::black_box;
use std::io::Write as _;

use bewit::delivery::wire;
use bewit::simulate;
use common::{Ground, large, small};

/// Rounds before counting: what is made once is made by then.
const WARM: usize = 20;

/// What is counted for each event.
type Path = fn(&Ground, usize) -> Box<dyn FnMut() + '_>;

/// The paths, by name.
const PATHS: &[(&str, Path)] = &[
    ("parse", parse),
    ("parse-36k", parse_large),
    ("decide", decide),
    ("explain", explain),
    ("render", render),
    ("mime", mime),
    ("wire", wire),
];

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (Some(name), rounds) = (args.next(), args.next()) else {
        for (name, _) in PATHS {
            println!("{name}");
        }
        return;
    };
    let rounds: usize = rounds.map_or(100, |rounds| rounds.parse().expect("how many events"));
    let (_, path) = PATHS.iter().find(|(known, _)| *known == name).expect("a path that there is");
    let ground = Ground::new();
    let mut work = path(&ground, 1);
    for _ in 0..WARM {
        work();
    }
    for _ in 0..rounds {
        counted(&mut *work);
    }
}

/// Callgrind counts from where this begins to where it ends.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // Not the last thing, or the call would become a jump and this function's end would not be seen.
    black_box(());
}

/// A line of 1.7 KB to an event.
fn parse(ground: &Ground, n: usize) -> Box<dyn FnMut() + '_> {
    let line = small(n).to_string().into_bytes();
    Box::new(move || drop(black_box(ground.read(&line))))
}

/// A line with the rows of a mail of 36 KB.
fn parse_large(ground: &Ground, n: usize) -> Box<dyn FnMut() + '_> {
    let line = large(n).to_string().into_bytes();
    Box::new(move || drop(black_box(ground.read(&line))))
}

/// The decision alone, with its trace.
fn decide(ground: &Ground, n: usize) -> Box<dyn FnMut() + '_> {
    let event = ground.read(small(n).to_string().as_bytes());
    Box::new(move || drop(black_box(ground.decide(&event))))
}

/// What `bewit explain --json` does with a line, but for where its bytes come from and go to.
fn explain(ground: &Ground, n: usize) -> Box<dyn FnMut() + '_> {
    let line = small(n).to_string().into_bytes();
    let mut out = Vec::new();
    Box::new(move || {
        let event = ground.read(&line);
        let (decision, subject) =
            simulate::decide(&ground.snapshot.composer(), ground.rule(), &event, &ground.rows, ground.now);
        out.clear();
        serde_json::to_writer(&mut out, &(&decision.trace, &decision.recipients, &decision.reason, &subject)).unwrap();
        out.write_all(b"\n").unwrap();
        black_box(&out);
    })
}

/// From a decision to subject, text and HTML.
fn render(ground: &Ground, n: usize) -> Box<dyn FnMut() + '_> {
    let event = ground.read(large(n).to_string().as_bytes());
    let decision = ground.decide(&event);
    Box::new(move || drop(black_box(ground.draft(&event, &decision))))
}

/// From texts to the bytes of a mail.
fn mime(ground: &Ground, n: usize) -> Box<dyn FnMut() + '_> {
    let event = ground.read(large(n).to_string().as_bytes());
    let decision = ground.decide(&event);
    let draft = ground.draft(&event, &decision);
    Box::new(move || drop(black_box(ground.mails(&event, &decision, &draft))))
}

/// The last gate before the wire: checked and dot-stuffed.
fn wire(ground: &Ground, n: usize) -> Box<dyn FnMut() + '_> {
    let event = ground.read(large(n).to_string().as_bytes());
    let decision = ground.decide(&event);
    let mail = ground.mails(&event, &decision, &ground.draft(&event, &decision)).remove(0);
    Box::new(move || drop(black_box(wire::check(ground.bytes(&mail)).unwrap())))
}
