//! Looks at the same things in an event as `plugins/bench/rust-filter`, as a plugin of extism.

use extism_pdk::{FnResult, plugin_fn};
use serde_json::Value;

/// Rows from which on a flow is of interest.
const MANY: u64 = 100;

/// A note, or nothing.
#[plugin_fn]
pub fn decide(document: String) -> FnResult<String> {
    let document: Value = serde_json::from_str(&document)?;
    let (flow, client) = (&document["Flow"], &document["client_info"]);
    let rows = flow["total_collected_rows"].as_u64().unwrap_or_default();
    let mut labels = client["labels"].as_array().into_iter().flatten();
    let mut artifacts = flow["request"]["artifacts"].as_array().into_iter().flatten();
    let found = flow["state"] == "FINISHED"
        && labels.any(|label| label == "vip")
        && rows >= MANY
        && artifacts.any(|name| name.as_str().is_some_and(|name| name.starts_with("Windows.EventLogs.")));
    if !found {
        return Ok(String::new());
    }
    let host = client["os_info"]["fqdn"].as_str().unwrap_or_default();
    Ok(format!("{host}: {rows} rows"))
}

/// What a call costs by itself.
#[plugin_fn]
pub fn nothing(_document: String) -> FnResult<String> {
    Ok(String::new())
}
