//! Running programs: with a time limit, in a process group of their own, and with a failure report that explains
//! itself.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::wait::budget;

/// A program about to be run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    shown: String,
    folder: PathBuf,
    input: Vec<u8>,
    limit: Duration,
}

impl Program {
    /// `program`, to be run in `folder`.
    pub fn new(program: impl AsRef<OsStr>, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let mut command = Command::new(program.as_ref());
        command.current_dir(&folder);
        Self {
            shown: program.as_ref().to_string_lossy().into_owned(),
            command,
            folder,
            input: Vec::new(),
            limit: budget(60.0),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        for arg in args {
            let arg = arg.into();
            let _ = write!(self.shown, " {}", arg.to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.shown = format!("{name}={} {}", value.as_ref().to_string_lossy(), self.shown);
        self.command.env(name, value);
        self
    }

    /// What it reads on standard input.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// How long it may run, in seconds of an idle machine (60 unless said).
    #[must_use]
    pub fn limit(mut self, seconds: f64) -> Self {
        self.limit = budget(seconds);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or runs longer than it may.
    pub fn run(mut self) -> Finished {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.shown));
        let mut to = child.stdin.take().unwrap();
        let input = std::mem::take(&mut self.input);
        let feeder = std::thread::spawn(move || {
            // A program that does not read its input to the end is its own affair.
            let _ = to.write_all(&input);
        });
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let start = Instant::now();
        let status = wait(&mut child, self.limit);
        if status.is_none() {
            kill_group(&child, Signal::KILL);
            let _ = child.wait();
        }
        let took = start.elapsed();
        let finished = Finished {
            status: status.unwrap_or_else(|| ExitStatus::from_raw(9)),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
            took,
            shown: self.shown,
            folder: self.folder,
        };
        let _ = feeder.join();
        assert!(status.is_some(), "it ran longer than {:.0} s\n{}", self.limit.as_secs_f64(), finished.report());
        finished
    }
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// Waits for a child, at most `limit`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Signals the whole process group of a child.
pub(crate) fn kill_group(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub took: Duration,
    shown: String,
    folder: PathBuf,
}

impl Finished {
    /// Asserts the exit code.
    ///
    /// # Panics
    /// When it is another; the message has the command, the folder's tree, the status and both streams.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(self.status.code() == Some(code), "exit code {code} was expected\n{}", self.report());
        self
    }

    /// Asserts something about it.
    ///
    /// # Panics
    /// When it does not hold.
    #[track_caller]
    pub fn check(&self, holds: bool, what: &str) {
        assert!(holds, "{what}\n{}", self.report());
    }

    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as JSON Lines.
    ///
    /// # Panics
    /// When a line is no JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.out()
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}\n{}", self.report()))
            })
            .collect()
    }

    /// Everything there is to know about it.
    #[must_use]
    pub fn report(&self) -> String {
        format!(
            "command: {}\nin: {}\nstatus: {} after {:.2} s\n--- tree\n{}--- standard output\n{}\n--- standard error\n{}\n---",
            self.shown,
            self.folder.display(),
            self.status,
            self.took.as_secs_f64(),
            tree(&self.folder),
            cut(&self.out()),
            cut(&self.err()),
        )
    }
}

/// The last part of a long text.
pub(crate) fn cut(text: &str) -> String {
    const KEPT: usize = 6000;
    if text.len() <= KEPT {
        return text.to_owned();
    }
    let mut from = text.len() - KEPT;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("[… {from} bytes]\n{}", &text[from..])
}

/// The files below a folder with their sizes, at most a hundred of them.
#[must_use]
pub fn tree(folder: &Path) -> String {
    let mut lines = Vec::new();
    walk(folder, folder, &mut lines);
    lines.sort();
    let more = lines.len().saturating_sub(100);
    lines.truncate(100);
    let mut text = lines.concat();
    if more > 0 {
        let _ = writeln!(text, "… and {more} more");
    }
    text
}

fn walk(top: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let shown = path.strip_prefix(top).unwrap_or(&path).display().to_string();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(top, &path, lines),
            _ => lines.push(format!("{shown} ({} bytes)\n", entry.metadata().map_or(0, |meta| meta.len()))),
        }
    }
}
