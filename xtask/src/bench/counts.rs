//! Instructions of the hot paths, counted by callgrind: the same on a busy machine as on an idle one, so that two commits
//! can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::steps::{cargo, program, run, target, works};

/// Events of one count.
const ROUNDS: u64 = 100;
/// Functions that are named for each path.
const SHOWN: usize = 6;

/// Counts every path, beside what was counted the last time here.
pub(super) fn run_all() -> Result<()> {
    if !works(program("valgrind").arg("--version")) {
        bail!("counting needs valgrind; install it as root: apt-get install valgrind");
    }
    let binary = binary()?;
    let listed = program(&binary).output().context("the benchmark `counts`")?;
    let names = String::from_utf8(listed.stdout)?;
    let out = target().join("bench-counts.json");
    let before: BTreeMap<String, u64> =
        fs::read(&out).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut counts = before.clone();
    let mut profiles = Vec::new();
    println!("\n| path | instructions an event | before | |\n| --- | ---: | ---: | ---: |");
    for name in names.lines() {
        let profile = target().join(format!("callgrind.{name}.out"));
        let count = count(&binary, name, &profile)?;
        let (shown, change) = match before.get(name) {
            Some(&old) if old > 0 => (grouped(old), format!("{:+.1} %", (count as f64 / old as f64 - 1.0) * 100.0)),
            _ => (String::new(), String::new()),
        };
        println!("| {name} | {} | {shown} | {change} |", grouped(count));
        counts.insert(name.to_owned(), count);
        profiles.push((name, profile));
    }
    fs::write(&out, format!("{:#}\n", serde_json::to_value(&counts)?))?;
    println!("\nWhere they go, each function by itself:");
    for (name, profile) in &profiles {
        println!("\n{name} ({})", profile.display());
        for line in top(profile)? {
            println!("  {line}");
        }
    }
    Ok(())
}

/// The benchmark's program, built as `cargo bench` would run it.
fn binary() -> Result<PathBuf> {
    run(cargo().args(["bench", "-p", "bewit", "--bench", "counts", "--no-run"]))?;
    let output = cargo()
        .args(["bench", "-p", "bewit", "--bench", "counts", "--no-run", "--message-format=json"])
        .output()
        .context("cargo")?;
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").is_some_and(|name| name == "counts"))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .context("cargo names no program for the benchmark `counts`")
}

/// Instructions of one event.
fn count(binary: &Path, name: &str, profile: &Path) -> Result<u64> {
    let output = program("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=counts::counted"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(binary)
        .args([name, &ROUNDS.to_string()])
        .output()
        .context("valgrind")?;
    if !output.status.success() {
        bail!("valgrind: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(profile).with_context(|| profile.display().to_string())?;
    let total: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))
        .and_then(|total| total.trim().parse().ok())
        .context("callgrind gives no total")?;
    if total < ROUNDS {
        bail!("callgrind has counted nothing in `counts::counted`");
    }
    Ok(total / ROUNDS)
}

/// The functions in which most instructions were, themselves alone.
fn top(profile: &Path) -> Result<Vec<String>> {
    let output = program("callgrind_annotate").args(["--auto=no", "--threshold=100"]).arg(profile).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text
        .lines()
        .filter(|line| line.contains(" %)") || line.contains("%)"))
        .filter(|line| !line.contains("PROGRAM TOTALS"));
    Ok(lines.take(SHOWN).map(function).collect())
}

/// A line such as `12,345 ( 5.67%)  ???:name [program]`, without place and program.
fn function(line: &str) -> String {
    let (share, name) = line.split_once(")  ").unwrap_or(("", line));
    let share = share.rsplit_once('(').map_or(share, |(_, share)| share);
    let name = name.split_once(" [").map_or(name, |(name, _)| name);
    let name = name.rsplit_once("???:").map_or(name, |(_, name)| name);
    format!("{:>7}  {name}", share.trim())
}

/// `1234567` as `1 234 567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7, 999, 1000, 1_234_567].map(grouped), ["7", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn functions_lose_place_and_program() {
        let line = "1,234 ( 5.67%)  ???:minijinja::vm::Vm::eval [counts-12ab]";
        assert_eq!(function(line), "  5.67%  minijinja::vm::Vm::eval");
    }
}
