//! Where the figures of a run are kept: a file for programs, and the history in `docs/benchmarks.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::table::{self, Measure};
use crate::steps::program;

/// Between these two lines stands the table of the last recorded run.
const TABLE: (&str, &str) = ("<!-- bench: table -->\n", "<!-- bench: end of table -->\n");
/// Below this line, the newest first, a row for each recorded run.
const HISTORY: &str = "<!-- bench: history -->\n";
/// The head of that table.
const HEAD: &str = "| date | commit | goals met | medians, by goal | machine |\n| --- | --- | ---: | --- | --- |\n";

/// When, where and what.
pub(super) struct About {
    date: String,
    machine: String,
    commit: String,
    quick: bool,
}

impl About {
    pub(super) fn now(quick: bool) -> Result<Self> {
        let said = |name: &str, args: &[&str]| -> Result<String> {
            let output = program(name).args(args).output().with_context(|| name.to_owned())?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let commit = said("git", &["rev-parse", "--short=9", "HEAD"])?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%d"])?,
            machine: machine(
                &fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
                &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
                kernel.trim(),
            ),
            commit: if changed { format!("{commit} and changes") } else { commit },
            quick,
        })
    }

    /// For people.
    pub(super) fn sentence(&self) -> String {
        let Self { date, machine, commit, .. } = self;
        let quick = if self.quick { "; a quick run, whose figures say little" } else { "" };
        format!("{date}, commit {commit}; {machine}{quick}.")
    }
}

/// `2 x Intel Xeon, 24 GiB, Linux 6.18`, of `/proc/cpuinfo` and `/proc/meminfo`.
fn machine(cpus: &str, memory: &str, kernel: &str) -> String {
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let model = value(cpus, "model name").unwrap_or_else(|| "unnamed processors".to_owned());
    let kibibytes: Option<f64> = value(memory, "MemTotal").and_then(|total| total.split(' ').next()?.parse().ok());
    let memory = kibibytes.map(|size| format!(", {:.0} GiB", size / 1_048_576.0)).unwrap_or_default();
    format!("{count} x {model}{memory}, Linux {kernel}")
}

/// All figures, with every turn.
pub(super) fn write_json(path: &Path, about: &About, measures: &[Measure]) -> Result<()> {
    let whole = json!({
        "date": about.date, "machine": about.machine, "commit": about.commit, "quick": about.quick,
        "measures": measures.iter().map(|measure| measure.json.clone()).collect::<Value>(),
    });
    fs::write(path, format!("{whole:#}\n")).with_context(|| path.display().to_string())
}

/// The table at the beginning of the page becomes this run's, and the history gets a row.
pub(super) fn into_docs(path: &Path, about: &About, measures: &[Measure]) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let text = recorded(&text, about, measures).with_context(|| path.display().to_string())?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn recorded(text: &str, about: &About, measures: &[Measure]) -> Result<String> {
    let Some((before, rest)) = text.split_once(TABLE.0) else { bail!("there is no line {}", TABLE.0.trim()) };
    let Some((_, rest)) = rest.split_once(TABLE.1) else { bail!("there is no line {}", TABLE.1.trim()) };
    let Some((middle, rows)) = rest.split_once(HISTORY) else { bail!("there is no line {}", HISTORY.trim()) };
    let rows = rows.trim_start_matches('\n');
    let rows = rows.strip_prefix(HEAD).unwrap_or(rows);
    let (sentence, goals, row) = (about.sentence(), table::goals(measures), row(about, measures));
    Ok(format!("{before}{}\n{sentence}\n\n{goals}\n{}{middle}{HISTORY}\n{HEAD}{row}\n{rows}", TABLE.0, TABLE.1))
}

/// A run in one row.
fn row(about: &About, measures: &[Measure]) -> String {
    let goals = table::with_goals(measures);
    let met = goals.iter().filter(|measure| measure.met == Some(true)).count();
    let mut by_goal: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for measure in &goals {
        by_goal.entry(measure.goal).or_default().push(measure.shown.trim());
    }
    let figures: Vec<String> =
        by_goal.into_iter().map(|(goal, figures)| format!("{goal}: {}", figures.join(", "))).collect();
    let About { date, machine, commit, .. } = about;
    format!("| {date} | {commit} | {met} of {} | {} | {machine} |", goals.len(), figures.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(date: &str) -> About {
        About { date: date.to_owned(), machine: "2 x Z80".to_owned(), commit: "abc".to_owned(), quick: false }
    }

    fn measures(shown: &str) -> Vec<Measure> {
        let measure = Measure {
            goal: 7,
            what: "storing".to_owned(),
            to_reach: "≥ 5 x".to_owned(),
            shown: shown.to_owned(),
            met: Some(true),
            json: Value::Null,
        };
        vec![measure]
    }

    #[test]
    fn a_run_replaces_the_table_and_adds_a_row_at_the_top() {
        let empty = format!("# B\n\n{}old\n{}\nmore\n\n{HISTORY}", TABLE.0, TABLE.1);
        let once = recorded(&empty, &about("2026-01-01"), &measures("6 x")).unwrap();
        let twice = recorded(&once, &about("2026-01-02"), &measures("9 x")).unwrap();
        assert_eq!(
            twice,
            format!(
                "# B\n\n{}\n2026-01-02, commit abc; 2 x Z80.\n\n\
                | goal | what | to reach | measured | |\n| ---: | --- | ---: | ---: | --- |\n\
                | 7 | storing | ≥ 5 x | 9 x | met |\n\n{}\nmore\n\n{HISTORY}\n{HEAD}\
                | 2026-01-02 | abc | 1 of 1 | 7: 9 x | 2 x Z80 |\n| 2026-01-01 | abc | 1 of 1 | 7: 6 x | 2 x Z80 |\n",
                TABLE.0, TABLE.1
            )
        );
        assert!(recorded("nothing", &about("2026-01-01"), &measures("6 x")).is_err());
    }

    #[test]
    fn the_machine_is_named() {
        let cpus = "processor\t: 0\nmodel name\t: Zilog  Z80\n\nprocessor\t: 1\nmodel name\t: Zilog  Z80\n";
        assert_eq!(machine(cpus, "MemTotal:       25165824 kB\n", "6.18"), "2 x Zilog Z80, 24 GiB, Linux 6.18");
    }
}
