//! Named points at which a test may kill the process, to prove that a crash there loses nothing.
//!
//! Without the feature `fault` (every release build) [`point`] is an empty function and no name reaches the binary.

/// Aborts the process if the environment variable `BEWIT_FAULT` names this point (`NAME`, or `NAME:N` for the Nth
/// time it is passed).
#[cfg(feature = "fault")]
pub fn point(name: &'static str) {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: OnceLock<Mutex<HashMap<&'static str, u64>>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("BEWIT_FAULT").ok()?;
        Some(match value.rsplit_once(':') {
            Some((name, nth)) => (name.to_owned(), nth.parse().unwrap_or(1)),
            None => (value, 1),
        })
    });
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && let Ok(mut passed) = PASSED.get_or_init(Mutex::default).lock()
    {
        let count = passed.entry(name).or_default();
        *count += 1;
        if *count == *nth {
            std::process::abort();
        }
    }
}

/// Nothing: fault points exist in test builds only.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn point(_name: &'static str) {}
