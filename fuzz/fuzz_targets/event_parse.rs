//! Any bytes as an event, the whole way of an intake's line: nothing panics, and an event has a usable identity.
//!
//! `cargo +nightly fuzz run event_parse fuzz/corpus/event_parse host/samples`

#![no_main]

use bewit::event::line::{LineLimits, admit};
use bewit::event::parse::parse;
use bewit::event::time::{Moment, duration_text, humanize_time};
use bewit::facts::RowReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(line) = admit(bytes, &LineLimits::default()) else { return };
    let Ok(event) = parse(&line) else { return };
    for id in [&event.key.org_id, &event.key.client_id, &event.key.flow_id] {
        assert!(!id.is_empty() && !id.contains(char::is_control));
    }
    for moment in [event.timestamp, event.flow.create_time, event.flow.start_time].into_iter().flatten() {
        assert_eq!(moment.rfc3339().len(), "2026-08-12T02:02:03Z".len());
        let _ = humanize_time(moment, Moment(0));
    }
    let _ = (event.is_hunt(), event.hunt_id(), event.flow.execution_duration.map(duration_text));
    let reader = RowReader::default();
    for set in event.results.iter().flat_map(|results| results.values()) {
        let Ok(rows) = reader.open(set) else { continue };
        // The array was parsed with the event, so each of its rows can be.
        let count = rows.map(|row| row.expect("a row of a valid array")).count() as u64;
        assert_eq!(reader.count(set).expect("an array can be counted"), count);
    }
});
