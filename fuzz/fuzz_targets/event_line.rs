//! Any bytes as a line: nothing panics, and what is admitted keeps the limits that it was admitted by.
//!
//! `cargo +nightly fuzz run event_line`

#![no_main]

use bewit::event::line::{LineLimits, admit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = LineLimits { line: 4096, depth: 8, nodes: 64 };
    let Ok(text) = admit(bytes, &limits) else { return };
    assert_eq!(text.len(), bytes.len());
    // Patching lone surrogates leaves nothing to patch.
    let again = admit(text.as_bytes(), &limits).expect("what was admitted is admitted again");
    assert_eq!(again, text);
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
        let (depth, nodes) = measure(&value);
        // Of two equal keys the value keeps one, so it can only be smaller.
        assert!(depth <= limits.depth && nodes <= limits.nodes);
    }
});

/// Levels and values. The depth is bounded by the limit above, so recursion is safe.
fn measure(value: &serde_json::Value) -> (u32, u64) {
    let children: Vec<_> = match value {
        serde_json::Value::Array(items) => items.iter().map(measure).collect(),
        serde_json::Value::Object(fields) => fields.values().map(measure).collect(),
        _ => return (0, 1),
    };
    let deepest = children.iter().map(|child| child.0).max().unwrap_or(0);
    (deepest + 1, 1 + children.iter().map(|child| child.1).sum::<u64>())
}
