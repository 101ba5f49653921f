//! Figures beside their goals: one table for people, and a file for `cargo xtask bench`, which puts all of them together.

#![allow(clippy::print_stdout, reason = "a terminal is what it talks to")]

use serde_json::{Value, json};

use super::median;

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// No more than that.
    AtMost(f64),
    /// No less than that.
    AtLeast(f64),
    /// It is only told.
    None,
}

/// One figure, measured in each turn.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Number in the list of goals (`docs/benchmarks.md`); 0: told for information.
    pub(crate) goal: u8,
    /// What, and against what.
    pub(crate) what: String,
    /// `x` for ratios, else a unit.
    pub(crate) unit: &'static str,
    /// What is to be reached.
    pub(crate) bound: Bound,
    /// One figure a turn.
    pub(crate) turns: Vec<f64>,
}

/// All figures of one benchmark.
#[derive(Debug, Default)]
pub(crate) struct Measures(Vec<Measure>);

impl Measures {
    /// Adds one turn's figure; the first of its name decides about goal, unit and bound.
    pub(crate) fn add(&mut self, goal: u8, what: impl Into<String>, unit: &'static str, bound: Bound, figure: f64) {
        let what = what.into();
        match self.0.iter_mut().find(|known| known.goal == goal && known.what == what) {
            Some(known) => known.turns.push(figure),
            None => self.0.push(Measure { goal, what, unit, bound, turns: vec![figure] }),
        }
    }

    /// Prints the table, and writes it to `$BEWIT_BENCH_OUT` if that is set.
    pub(crate) fn finish(mut self) {
        // Goals first, in order; what is only told after them.
        self.0.sort_by_key(|measure| if measure.goal == 0 { u8::MAX } else { measure.goal });
        println!("\n| goal | what | to reach | measured | |\n| --- | --- | ---: | ---: | --- |");
        for measure in &self.0 {
            let goal = if measure.goal == 0 { String::new() } else { measure.goal.to_string() };
            let figure = median(&measure.turns);
            println!(
                "| {goal} | {} | {} | {} | {} |",
                measure.what,
                measure.bound.shown(measure.unit),
                shown(figure, measure.unit),
                match measure.bound.met(figure) {
                    Some(true) => "met",
                    Some(false) => "**missed**",
                    None => "",
                }
            );
        }
        if let Some(path) = std::env::var_os("BEWIT_BENCH_OUT") {
            let all: Value = self.0.iter().map(Measure::json).collect();
            std::fs::write(path, format!("{all:#}\n")).unwrap();
        }
    }
}

impl Measure {
    fn json(&self) -> Value {
        let figure = median(&self.turns);
        json!({
            "goal": self.goal, "what": self.what, "unit": self.unit, "median": figure, "turns": self.turns,
            "to_reach": self.bound.shown(self.unit), "shown": shown(figure, self.unit), "met": self.bound.met(figure),
        })
    }
}

impl Bound {
    fn met(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(figure <= most),
            Self::AtLeast(least) => Some(figure >= least),
            Self::None => None,
        }
    }

    fn shown(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", shown(most, unit)),
            Self::AtLeast(least) => format!("≥ {}", shown(least, unit)),
            Self::None => String::new(),
        }
    }
}

/// Three digits and the unit.
pub(crate) fn shown(value: f64, unit: &str) -> String {
    let number = match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    };
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').to_owned() } else { number };
    format!("{} {unit}", if number == "-0" { "0" } else { &number }).trim_end().to_owned()
}

/// Whether a short run is asked for (`cargo xtask bench --quick`): less of everything, to see that it works.
pub(crate) fn quick() -> bool {
    std::env::var_os("BEWIT_BENCH_QUICK").is_some()
}

/// Turns of the contenders: three, or one in a short run.
pub(crate) fn turns() -> usize {
    if quick() { 1 } else { 3 }
}

/// So many, or a tenth of it in a short run.
pub(crate) fn many(number: usize) -> usize {
    if quick() { (number / 10).max(1) } else { number }
}
