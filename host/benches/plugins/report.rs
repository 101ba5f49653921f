//! The figures beside the goals: a table for people, JSON for programs.

use serde_json::{Value, json};

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// At most so many microseconds.
    Micros(f64),
    /// At most so many times what the native closure needs.
    TimesNative(f64),
}

/// A measured call.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) micros: f64,
    /// To the native closure of the same round.
    pub(crate) ratio: f64,
    pub(crate) goals: Vec<Goal>,
}

/// Any other figure.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// At most so much.
    pub(crate) goal: Option<f64>,
}

/// Collects what has been measured.
pub(crate) struct Report {
    document: usize,
    calls: Vec<Row>,
    figures: Vec<Figure>,
}

impl Report {
    /// Of calls about a document of so many bytes.
    pub(crate) fn new(document: usize) -> Self {
        Self { document, calls: Vec::new(), figures: Vec::new() }
    }

    pub(crate) fn call(&mut self, row: Row) {
        self.calls.push(row);
    }

    pub(crate) fn figure(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: Option<f64>) {
        self.figures.push(Figure { what: what.into(), value, unit, goal });
    }

    /// Prints it all, and writes it to `$BEWIT_BENCH_OUT` if that is set.
    pub(crate) fn finish(self) {
        println!("\nA call about a document of {} bytes\n", self.document);
        println!("| what | p50 µs | x native | goal | |\n| --- | ---: | ---: | --- | --- |");
        for row in &self.calls {
            let goals: Vec<String> = row.goals.iter().map(Goal::shown).collect();
            let (micros, ratio) = (number(row.micros), row.ratio);
            println!("| {} | {micros} | {ratio:.2} | {} | {} |", row.what, goals.join(", "), verdict(row.met()));
        }
        println!("\n| what | measured | goal | |\n| --- | ---: | --- | --- |");
        for figure in &self.figures {
            let goal = figure.goal.map(|goal| format!("≤ {goal} {}", figure.unit)).unwrap_or_default();
            let (what, value, unit) = (&figure.what, number(figure.value), figure.unit);
            println!("| {what} | {value} {unit} | {goal} | {} |", verdict(figure.met()));
        }
        if let Some(path) = std::env::var_os("BEWIT_BENCH_OUT") {
            std::fs::write(path, format!("{:#}\n", self.json())).unwrap();
        }
    }

    fn json(&self) -> Value {
        let goals = |row: &Row| -> Value { row.goals.iter().map(Goal::json).collect() };
        json!({
            "document_bytes": self.document,
            "calls": self.calls.iter().map(|row| json!({
                "what": row.what, "p50_us": row.micros, "times_native": row.ratio,
                "goals": goals(row), "met": row.met(),
            })).collect::<Value>(),
            "figures": self.figures.iter().map(|figure| json!({
                "what": figure.what, "value": figure.value, "unit": figure.unit,
                "goal": figure.goal, "met": figure.met(),
            })).collect::<Value>(),
        })
    }
}

impl Goal {
    fn shown(&self) -> String {
        match self {
            Self::Micros(most) => format!("≤ {most} µs"),
            Self::TimesNative(most) => format!("≤ {most} x native"),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Micros(most) => json!({"most_us": most}),
            Self::TimesNative(most) => json!({"most_times_native": most}),
        }
    }
}

impl Row {
    /// `None` if there is no goal.
    fn met(&self) -> Option<bool> {
        let met = |goal: &Goal| match goal {
            Goal::Micros(most) => self.micros <= *most,
            Goal::TimesNative(most) => self.ratio <= *most,
        };
        (!self.goals.is_empty()).then(|| self.goals.iter().all(met))
    }
}

impl Figure {
    fn met(&self) -> Option<bool> {
        self.goal.map(|goal| self.value <= goal)
    }
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    }
}

/// Three digits.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
