//! Any text as rows: splitting an array agrees with parsing it, cells never panic.
//!
//! `cargo +nightly fuzz run rows`

#![no_main]

use bewit::event::line::{LineLimits, admit};
use bewit::event::rows::{Elements, Row};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = admit(bytes, &LineLimits::default()) else { return };
    if let Ok(row) = Row::parse(&text) {
        for column in row.0.keys() {
            let _ = row.cell(column).expect("a column of the row").as_text();
        }
    }
    let split: Vec<&str> = Elements::of(&text).collect();
    if let Ok(parsed) = serde_json::from_str::<Vec<Box<RawValue>>>(&text) {
        assert_eq!(parsed.iter().map(|value| value.get()).collect::<Vec<_>>(), split);
    }
});
