//! Running programs, and the sections of a long run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(set) => root().join(set),
        None => root().join("target"),
    }
}

/// A program in the workspace's folder.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs it, its output where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("{shown} cannot be started"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Whether a program runs and ends well; its output is nobody's business.
pub(crate) fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::iter::once(name)
        .chain(command.get_args().map(|arg| arg.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The sections of a run: their names, times and outcomes.
#[derive(Default)]
pub(crate) struct Sections {
    keep_going: bool,
    done: Vec<(&'static str, Duration, Result<()>)>,
}

impl Sections {
    /// Goes on after a section that failed, if asked to.
    pub(crate) fn new(keep_going: bool) -> Self {
        Self { keep_going, done: Vec::new() }
    }

    /// Runs one section under its heading. After a failure nothing more is run, unless asked to.
    pub(crate) fn section(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        if !self.keep_going && self.failed() {
            return;
        }
        println!("\n=== {name} ===");
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            println!("--- {name} failed: {error:#}");
        }
        self.done.push((name, start.elapsed(), result));
    }

    fn failed(&self) -> bool {
        self.done.iter().any(|(_, _, result)| result.is_err())
    }

    /// The times and outcomes of all sections; an error if one failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n=== summary ===");
        for (name, time, result) in &self.done {
            println!("{:>7.1} s  {:6}  {name}", time.as_secs_f64(), if result.is_ok() { "ok" } else { "FAILED" });
        }
        match self.done.into_iter().find_map(|(name, _, result)| Some((name, result.err()?))) {
            Some((name, error)) => Err(error.context(format!("{name} failed"))),
            None => Ok(()),
        }
    }
}
