//! Programs that the acceptance tests talk to and nobody here wrote. Installed from the registries, once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::steps::{program, root, run, target, works};

const MAILPIT: &str = "github.com/axllent/mailpit@v1.27.11";

/// Where they are installed, if Debian does not.
pub(crate) fn folder() -> PathBuf {
    target().join("peers")
}

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    debian()?;
    python()?;
    browser()?;
    mailpit()
}

/// Debian packages of the programs that are missing.
fn debian() -> Result<()> {
    let mut packages = Vec::new();
    if !works(program("python3").args(["-c", "import ensurepip, venv"])) {
        packages.extend(["python3", "python3-venv"]);
    }
    if find("smtp-sink").is_none() {
        packages.push("postfix");
    }
    if find("strace").is_none() {
        packages.push("strace");
    }
    if find("chromium").is_none() && find("chromium-browser").is_none() {
        packages.push("chromium");
    }
    if !works(program("node").arg("--version")) || !works(program("npm").arg("--version")) {
        packages.extend(["nodejs", "npm"]);
    }
    if packages.is_empty() { Ok(()) } else { apt(&packages) }
}

/// What drives the browser and judges pages: as `tests/browser/package-lock.json` has it.
fn browser() -> Result<()> {
    let (wanted, own) = (root().join("tests/browser"), folder().join("browser"));
    let lock = "package-lock.json";
    let text = fs::read_to_string(wanted.join(lock))?;
    // npm's own record is written last.
    let done = own.join("node_modules/.package-lock.json").is_file();
    if done && fs::read_to_string(own.join(lock)).is_ok_and(|installed| installed == text) {
        return Ok(());
    }
    fs::create_dir_all(&own)?;
    for name in ["package.json", lock] {
        fs::copy(wanted.join(name), own.join(name))?;
    }
    // No scripts: playwright-core would not download a browser anyway, and nothing here has any.
    run(program("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(&own))
}

/// Installs Debian packages, as root on Debian; elsewhere an error that names them.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    let install = format!("apt-get install {}", packages.join(" "));
    let root_user = works(program("sh").args(["-c", "test $(id -u) = 0"]));
    if !root_user || find("apt-get").is_none() {
        bail!("missing programs; install them as root: {install}");
    }
    // Postfix asks how it shall be configured, and its own server is not wanted: only smtp-sink is.
    if packages.contains(&"postfix") {
        let choice = "echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections";
        run(program("sh").args(["-c", choice]))?;
    }
    let apt = || {
        let mut apt = program("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        apt
    };
    run(apt().arg("update"))?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

/// A virtual environment with what `tests/tools/requirements.txt` names.
fn python() -> Result<()> {
    venv(&root().join("tests/tools/requirements.txt"), &folder().join("venv")).map(drop)
}

/// A virtual environment with what a file names; answers with its Python.
pub(crate) fn venv(wanted: &Path, venv: &Path) -> Result<PathBuf> {
    let (python, stamp) = (venv.join("bin/python"), venv.join("requirements.txt"));
    let text = fs::read_to_string(wanted)?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(python);
    }
    fs::create_dir_all(folder())?;
    run(program("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    run(program(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(wanted))?;
    fs::write(stamp, text)?;
    Ok(python)
}

/// Postfix's `smtp-sink` and `smtp-source`, if they are missing.
pub(crate) fn postfix() -> Result<()> {
    if find("smtp-sink").is_some() { Ok(()) } else { apt(&["postfix"]) }
}

/// Mailpit, where there is Go to build it.
fn mailpit() -> Result<()> {
    let bin = folder().join("bin");
    if bin.join("mailpit").is_file() {
        return Ok(());
    }
    let Some(go) = find("go") else {
        println!("Mailpit is left out: it needs Go, and there is none");
        return Ok(());
    };
    fs::create_dir_all(&bin)?;
    run(program(go).args(["install", MAILPIT]).env("GOBIN", bin).env("GOFLAGS", "-trimpath"))
}

/// A program on the `PATH` or in the administrators' folders.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/go/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
