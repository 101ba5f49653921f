//! The one table: goals, what was measured, and whether that is enough.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A figure as a benchmark has written it (`host/benches/common/measures.rs`).
#[derive(Debug, Clone)]
pub(super) struct Measure {
    /// Number of the goal; 0: for information.
    pub(super) goal: u64,
    pub(super) what: String,
    pub(super) to_reach: String,
    /// With its unit.
    pub(super) shown: String,
    pub(super) met: Option<bool>,
    /// As it was written, every turn's figure too.
    pub(super) json: Value,
}

/// Reads what a benchmark has written.
pub(super) fn read(path: &Path) -> Result<Vec<Measure>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let all: Vec<Value> = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    all.into_iter().map(|json| of(json).with_context(|| format!("{}: not a measure", path.display()))).collect()
}

fn of(json: Value) -> Option<Measure> {
    let text = |key: &str| json.get(key)?.as_str().map(str::to_owned);
    Some(Measure {
        goal: json.get("goal")?.as_u64()?,
        what: text("what")?,
        to_reach: text("to_reach")?,
        shown: text("shown")?,
        met: json.get("met")?.as_bool(),
        json,
    })
}

/// Those with a goal, in the order of the goals.
pub(super) fn with_goals(measures: &[Measure]) -> Vec<&Measure> {
    let mut goals: Vec<&Measure> = measures.iter().filter(|measure| measure.goal > 0).collect();
    goals.sort_by_key(|measure| measure.goal);
    goals
}

/// The table of the goals.
pub(super) fn goals(measures: &[Measure]) -> String {
    let mut out = "| goal | what | to reach | measured | |\n| ---: | --- | ---: | ---: | --- |\n".to_owned();
    for Measure { goal, what, to_reach, shown, met, .. } in with_goals(measures) {
        let verdict = if *met == Some(true) { "met" } else { "**missed**" };
        let _ = writeln!(out, "| {goal} | {what} | {to_reach} | {shown} | {verdict} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_has_the_goals_in_order_and_nothing_else() {
        let measure = |goal: u64, met: Option<bool>| {
            let json = json!({ "goal": goal, "what": format!("part {goal}"), "to_reach": "≤ 2 x", "shown": "1 x", "met": met });
            of(json).unwrap()
        };
        let measures = [measure(8, Some(false)), measure(0, None), measure(1, Some(true))];
        let table = goals(&measures);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows, ["| 1 | part 1 | ≤ 2 x | 1 x | met |", "| 8 | part 8 | ≤ 2 x | 1 x | **missed** |"]);
    }
}
