//! `bewit plugin test`: asks a built component what the project's `tests.toml` says.

mod answer;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;

use self::answer::{Answer, Expected};
use super::load;
use crate::cli::output::stdout;
use crate::cli::{Exit, UsageError};
use crate::event::line::LineLimits;
use crate::event::{self, FlowCompletion};
use crate::facts::RowReader;
use crate::plugin::Asked;
use crate::plugin::registry::Plugins;

/// The file with the tests.
const FILE: &str = "tests.toml";

/// Ask a built component what tests.toml says
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The plugin's project
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The component; without it NAME.wasm in the project
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tests {
    #[serde(default)]
    test: Vec<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    /// A file with one event.
    event: Option<PathBuf>,
    /// Or the event itself.
    event_json: Option<String>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    files: BTreeMap<String, PathBuf>,
    /// Asks the renderer for this source; without it the filter is asked.
    source: Option<String>,
    /// What `context.rule` says.
    #[serde(default = "rule")]
    rule: String,
    /// What `context.now` says.
    now: Option<String>,
    expect: Expected,
}

fn rule() -> String {
    "test".to_owned()
}

/// Runs it.
///
/// # Errors
/// When there is no component, or `tests.toml` cannot be read: exit code 2.
pub fn run(args: &TestArgs) -> Result<Exit> {
    let path = match &args.component {
        Some(path) => path.clone(),
        None => load::component(&args.folder)?,
    };
    let tests = read(&args.folder.join(FILE))?;
    let mut out = stdout();
    let mut before: Option<Plugins> = None;
    let mut failed = 0;
    for test in &tests {
        let wrong = one(test, &args.folder, &path, &mut before)?;
        if wrong.is_empty() {
            writeln!(out, "ok      {}", test.name)?;
        } else {
            failed += 1;
            writeln!(out, "FAILED  {}", test.name)?;
            for line in wrong.iter().flat_map(|wrong| wrong.lines()) {
                writeln!(out, "        {line}")?;
            }
        }
        out.flush()?;
    }
    writeln!(out, "{} of {} passed", tests.len() - failed, tests.len())?;
    out.flush()?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Incomplete })
}

fn read(path: &Path) -> Result<Vec<Test>> {
    let usage = |what: String| UsageError(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let tests: Tests = toml::from_str(&text).map_err(|error| usage(error.to_string()))?;
    if tests.test.is_empty() {
        return Err(usage("there is no [[test]] in it".to_owned()).into());
    }
    for test in &tests.test {
        test.expect.check(test.source.is_some()).map_err(|what| usage(format!("test `{}`: {what}", test.name)))?;
    }
    Ok(tests.test)
}

/// What is wrong with one answer.
fn one(test: &Test, folder: &Path, component: &Path, before: &mut Option<Plugins>) -> Result<Vec<String>> {
    let (event, rows) = event_of(test, folder)?;
    let now = match &test.now {
        None => Timestamp::now(),
        Some(text) => text.parse().map_err(|error| {
            UsageError(format!("test `{}`: now: {error}; write it as \"2026-08-12T02:02:03Z\"", test.name))
        })?,
    };
    let files = test.files.iter().map(|(name, path)| (name.clone(), folder.join(path))).collect();
    let spec = load::spec(component, load::json(test.settings.clone()), files);
    let answer = match load::load(spec, before.as_ref()) {
        Err(error) => Answer::not_loaded(error),
        Ok(plugins) => {
            let asked = Asked { rule: &test.rule, event: &event, rows: &rows, now };
            let answer = plugins.get(load::NAME).map(|plugin| match &test.source {
                Some(source) => Answer::of_renderer(plugin.render(&asked, source)),
                None => Answer::of_filter(plugin.decide(&asked)),
            });
            *before = Some(plugins);
            answer.context("the plugin has gone")?
        }
    };
    Ok(test.expect.compare(&answer))
}

fn event_of(test: &Test, folder: &Path) -> Result<(FlowCompletion, RowReader)> {
    let usage = |what: String| UsageError(format!("test `{}`: {what}", test.name));
    let (line, beside) = match (&test.event, &test.event_json) {
        (Some(file), None) => {
            let path = folder.join(file);
            let text = fs::read(&path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
            (text, path.parent().unwrap_or(folder).to_owned())
        }
        (None, Some(text)) => (text.clone().into_bytes(), folder.to_owned()),
        _ => return Err(usage("give either `event`, a file, or `event_json`".to_owned()).into()),
    };
    let event = event::read(line.trim_ascii(), &LineLimits::default());
    let event = event.map_err(|error| usage(format!("no event: {error}")))?;
    Ok((event, RowReader::new(Some(beside.into()))))
}
