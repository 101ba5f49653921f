//! Programs that nobody here wrote: Python, strace, other people's mail servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Program;

/// `python3`, for scripts that need the standard library only.
#[must_use]
pub fn python() -> Program {
    Program::new("python3", std::env::temp_dir()).args(["-I"])
}

/// Folder of the peers that `cargo xtask test` installs: `BEWIT_PEERS`, else `target/peers`.
#[must_use]
pub fn peers() -> PathBuf {
    std::env::var_os("BEWIT_PEERS").map(PathBuf::from).unwrap_or_else(|| {
        let own = std::env::current_exe().unwrap();
        own.ancestors().nth(3).unwrap_or(Path::new("target")).join("peers")
    })
}

/// The Python that has `aiosmtpd` and `jsonschema`, if it is there.
#[must_use]
pub fn peers_python() -> Option<PathBuf> {
    let python = peers().join("venv/bin/python");
    needed(
        python.is_file().then_some(python),
        "Python with aiosmtpd and jsonschema",
        "cargo xtask peers (or: python3 -m venv target/peers/venv && target/peers/venv/bin/pip install aiosmtpd jsonschema)",
    )
}

/// Postfix's `smtp-sink`, if it is there.
#[must_use]
pub fn smtp_sink() -> Option<PathBuf> {
    needed(find("smtp-sink"), "smtp-sink of Postfix", "apt-get install postfix (or: cargo xtask peers)")
}

/// Mailpit, if it is there. Without Go it cannot be built, and is not needed.
#[must_use]
pub fn mailpit() -> Option<PathBuf> {
    let own = peers().join("bin/mailpit");
    let found = own.is_file().then_some(own).or_else(|| find("mailpit"));
    if found.is_none() && find("go").is_none() {
        eprintln!("skipped: Mailpit needs Go");
        return None;
    }
    needed(found, "Mailpit", "GOBIN=$PWD/target/peers/bin go install github.com/axllent/mailpit@v1.27.11")
}

/// A browser and what drives it.
#[derive(Debug, Clone)]
pub struct Browser {
    /// Chromium.
    pub program: PathBuf,
    /// A file beside the `node_modules` that hold playwright-core and axe-core.
    pub modules: PathBuf,
}

/// Chromium with playwright-core and axe-core, if they are there.
#[must_use]
pub fn browser() -> Option<Browser> {
    let program = find("chromium").or_else(|| find("chromium-browser"));
    let modules = peers().join("browser/package.json");
    let there = find("node").is_some() && modules.with_file_name("node_modules/playwright-core").is_dir();
    let found = program.filter(|_| there).map(|program| Browser { program, modules });
    needed(
        found,
        "Chromium with playwright-core and axe-core",
        "cargo xtask peers (or: apt-get install chromium nodejs npm)",
    )
}

/// `strace`, if it is there and may trace.
#[must_use]
pub fn strace() -> Option<PathBuf> {
    let found = find("strace").filter(|path| {
        Command::new(path).args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success())
    });
    needed(found, "strace that may trace", "apt-get install strace")
}

/// A program on the `PATH`, or where Debian puts what is for administrators.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/local/go/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A missing peer is a failure where the tests count (`CI=true`, `cargo xtask test`), else a skipped test that says so.
///
/// # Panics
/// When the peer is missing and needed.
fn needed<T>(found: Option<T>, what: &str, install: &str) -> Option<T> {
    if found.is_none() {
        let required =
            ["CI", "BEWIT_NEED_PEERS"].iter().any(|name| std::env::var(name).is_ok_and(|value| value == "true"));
        assert!(!required, "{what} is missing; install it: {install}");
        eprintln!("skipped: {what} is missing; install it: {install}");
    }
    found
}

/// Whether the long forms of the tests are wanted (`BEWIT_TEST_FULL=1`).
#[must_use]
pub fn full() -> bool {
    std::env::var("BEWIT_TEST_FULL").is_ok_and(|value| value == "1")
}

/// `quick`, or `long` if the long forms are wanted.
#[must_use]
pub fn size(quick: usize, long: usize) -> usize {
    if full() { long } else { quick }
}
