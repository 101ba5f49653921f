//! Templates beside Jinja2; MIME beside lettre and Python's `email`; an attachment of 100 MiB, and what memory it takes:
//! `cargo xtask bench compose`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that goes wrong ends there"
)]
#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

#[path = "../common/mod.rs"]
mod common;
mod large;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bewit::compose::Draft;
use bewit::compose::templates::{STOCK_SET, Seen, Slot};
use bewit::mail::MailReader;
use common::measures::{Bound, Measures, quick, turns};
use common::peer::Peer;
use common::{Ground, turn, with_rows};
use lettre::message::{MultiPart, SinglePart};

/// Rows of the table.
const ROWS: usize = 100;
/// The set of templates that Jinja2 can render too.
const SET: &str = "bench";
/// Its files.
const FILES: [(&str, &str); 3] = [
    ("bench.html.j2", include_str!("bench.html.j2")),
    ("bench.txt.j2", include_str!("bench.txt.j2")),
    ("bench.subject.j2", include_str!("bench.subject.j2")),
];
/// Octets of the parts of the mail that MIME is measured with.
const PARTS: (usize, usize) = (4_800, 27_900);

fn main() {
    let length = Duration::from_millis(if quick() { 150 } else { 400 });
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let sections = format!("\n[templates]\npath = {:?}\n", folder.path().display().to_string());
    let rule = common::RULE.replace("name =", "template = \"bench\"\nname =");
    let (own, stock) = (Ground::with(&sections, &rule), Ground::new());
    let event = own.read(with_rows(1, ROWS).to_string().as_bytes());
    let decision = own.decide(&event);
    let draft = own.draft(&event, &decision);
    assert_eq!(draft.view.results[0].rows.len(), ROWS);
    assert_eq!(draft.view.results[0].columns.len(), 4);

    // The same texts for all that build mails.
    let line = "All is quiet on this endpoint & the rows below say <b>no more</b> = than that.\n";
    let part = |octets: usize| line.repeat(octets / line.len());
    let parts = Draft { text: part(PARTS.0), html: Some(part(PARTS.1)), ..draft.clone() };
    fs::write(folder.path().join("text"), &parts.text).unwrap();
    fs::write(folder.path().join("html"), parts.html.as_deref().unwrap()).unwrap();
    fs::write(folder.path().join("view.json"), serde_json::to_vec(&draft.view).unwrap()).unwrap();
    let mut python = python(folder.path(), length);
    same(&draft, &fs::read_to_string(folder.path().join("jinja.html")).unwrap());

    let mut measures = Measures::default();
    for _ in 0..turns() {
        let render = |ground: &Ground, set, slots: &[Slot]| {
            // From the view's own types, as composing does it: converted once for all that is rendered.
            let seen = Seen::of(&draft.view);
            for slot in slots {
                black_box(ground.snapshot.templates.render(set, *slot, &seen).unwrap());
            }
        };
        let html = turn(length, || render(&own, SET, &[Slot::Html]));
        let both = turn(length, || render(&own, SET, &[Slot::Html, Slot::Text]));
        let shipped = turn(length, || render(&stock, STOCK_SET, &[Slot::Html, Slot::Text]));
        let whole = turn(length, || drop(black_box(own.draft(&event, &decision))));
        let shipped_whole = turn(length, || drop(black_box(stock.draft(&event, &decision))));
        let jinja = python.turn("html");
        measures.add(4, "templates, HTML: of Jinja2", "x", Bound::AtMost(0.2), html / jinja);
        measures.add(4, "templates, HTML and text: of Jinja2's HTML alone", "x", Bound::AtMost(0.3), both / jinja);
        for (what, micros) in [
            ("templates, Jinja2, HTML", jinja),
            ("templates, HTML", html),
            ("templates, HTML and text", both),
            ("templates, the stock ones, HTML and text", shipped),
            ("composing: view, tables, subject, text, HTML", whole),
            ("composing, the stock templates", shipped_whole),
        ] {
            measures.add(0, what, "µs", Bound::None, micros);
        }

        let own_mime = turn(length, || drop(black_box(bytes(&own, &event, &decision, &parts))));
        let lettre = turn(length, || drop(black_box(by_lettre(&parts))));
        let email = python.turn("email");
        measures.add(5, "MIME, 30 KB alternative: of lettre", "x", Bound::AtMost(0.25), own_mime / lettre);
        measures.add(5, "MIME, 30 KB alternative: of Python's email", "x", Bound::AtMost(0.01), own_mime / email);
        for (what, micros) in [("MIME", own_mime), ("MIME, lettre", lettre), ("MIME, Python's email", email)] {
            measures.add(0, what, "µs", Bound::None, micros);
        }
        large::measure(&mut measures);
    }
    measures.finish();
}

/// The contender in Python: what `cargo xtask bench` has installed.
fn python(folder: &Path, length: Duration) -> Peer {
    let python = std::env::var_os("BEWIT_BENCH_PYTHON").expect("run it by `cargo xtask bench compose`");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/python/peer.py");
    Peer::start(Command::new(python).arg(script).arg(folder).arg(length.as_secs_f64().to_string()))
}

/// Both engines must have written the same; they escape some characters differently.
fn same(draft: &Draft, jinja: &str) {
    let plain = |html: &str| html.replace("&#x2f;", "/").replace("&#39;", "'").replace("&#34;", "\"").trim().to_owned();
    let own = draft.html.as_deref().unwrap();
    assert_eq!(plain(own).replace("&quot;", "\"").replace("&#x27;", "'"), plain(jinja));
    assert!((20_000..40_000).contains(&own.len()), "{}", own.len());
}

/// A draft's mail as bytes, through Bewit.
fn bytes(
    ground: &Ground,
    event: &bewit::event::FlowCompletion,
    decision: &bewit::rule::Decision,
    draft: &Draft,
) -> Vec<u8> {
    let mail = ground.mails(event, decision, draft).remove(0);
    let mut out = Vec::with_capacity(usize::try_from(mail.size()).unwrap());
    std::io::copy(&mut MailReader::new(&mail.head, &mail.body, &ground.blobs), &mut out).unwrap();
    out
}

/// The same through lettre.
fn by_lettre(draft: &Draft) -> Vec<u8> {
    lettre::Message::builder()
        .from("Bewit <bewit@example.org>".parse().unwrap())
        .to("ana@example.org".parse().unwrap())
        .subject(draft.subject.clone())
        .multipart(
            MultiPart::alternative()
                .singlepart(SinglePart::plain(draft.text.clone()))
                .singlepart(SinglePart::html(draft.html.clone().unwrap())),
        )
        .unwrap()
        .formatted()
}
