//! `cargo xtask test`: everything, in sections.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::{Sections, cargo, program, root, run, target, works};
use crate::{peers, plugins, proto, tidy};

/// Where the binary with fault points is kept, apart from cargo's own: the next build must not replace it.
fn fault_binary() -> PathBuf {
    target().join("fault/bewit")
}

pub(crate) fn release_binary() -> PathBuf {
    target().join("release/bewit")
}

struct Options {
    full: bool,
    keep_going: bool,
    filters: Vec<String>,
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options { full: false, keep_going: false, filters: Vec::new() };
    for arg in args {
        match arg.as_str() {
            "--full" => options.full = true,
            "--keep-going" => options.keep_going = true,
            other if other.starts_with('-') => bail!("unknown option {other}"),
            filter => options.filters.push(filter.to_owned()),
        }
    }
    Ok(options)
}

/// Runs it.
pub(crate) fn run_all(args: &[String]) -> Result<()> {
    let options = options(args)?;
    let everything = options.filters.is_empty();
    let mut sections = Sections::new(options.keep_going);

    sections.section("peers", peers::install);
    if everything {
        sections.section("formatting", || component("fmt", "rustfmt", &["fmt", "--all", "--check"]));
        sections.section("tidy", tidy::run);
        sections.section("sources made of the proto", proto::check);
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        sections.section("lints", || component("clippy", "clippy", &clippy));
        sections.section("documentation", || {
            run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
        });
        sections.section("licences and advisories", deny);
    }
    sections.section("release build", || run(cargo().args(["build", "--release", "-p", "bewit"])));
    sections.section("build with fault points", build_with_faults);
    if everything {
        sections.section("no fault points in the release", || tidy::release_binary(&release_binary()));
        sections.section("parity with the original", parity);
        sections.section("unit tests", || run(cargo().args(["test", "--workspace", "--lib", "--bins"])));
        // Among them the proofs that an illegal order of SMTP commands does not compile.
        sections.section("documentation tests", || run(cargo().args(["test", "-p", "bewit", "--doc"])));
    }
    // The acceptance tests need them too.
    sections.section("plugins", || {
        if everything {
            plugins::test()?;
        }
        plugins::build()
    });
    // Last, so that cargo's own closing lines end the run.
    sections.section("acceptance tests", || run(&mut acceptance(&options)));
    sections.finish()
}

/// The binary with fault points: the development profile, whose dependencies the unit tests need anyway.
pub(crate) fn build_with_faults() -> Result<()> {
    run(cargo().args(["build", "-p", "bewit", "--features", "fault"]))?;
    let kept = fault_binary();
    fs::create_dir_all(kept.parent().context("a folder")?)?;
    // Beside, then renamed: a running copy cannot be written to.
    let aside = kept.with_extension("new");
    fs::copy(target().join("debug/bewit"), &aside)?;
    Ok(fs::rename(aside, kept)?)
}

fn acceptance(options: &Options) -> Command {
    let mut command = cargo();
    command.args(["test", "-p", "acceptance", "--test", "acceptance", "--"]);
    // Most of a test's time is waiting: for a daemon, a disk, a deadline.
    let threads = std::thread::available_parallelism().map_or(2, usize::from) * 2;
    command.arg(format!("--test-threads={threads}")).args(&options.filters);
    command
        .env("BEWIT_BIN", release_binary())
        .env("BEWIT_FAULT_BIN", fault_binary())
        .env("BEWIT_PLUGINS", plugins::folder())
        // Machine code of plugins: not among the user's own, and once for all tests.
        .env("XDG_CACHE_HOME", target().join("acceptance-cache"))
        .env("BEWIT_PEERS", peers::folder())
        .env("BEWIT_NEED_PEERS", "true");
    if options.full {
        command.env("BEWIT_TEST_FULL", "1");
    }
    command
}

fn parity() -> Result<()> {
    let cases = "tests/parity/visible.jsonl.gz";
    if !root().join(cases).is_file() {
        bail!("{cases} is not there");
    }
    run(program("python3").args(["tests/parity/check.py", "--bewit"]).arg(release_binary()).arg(cases))
}

/// A cargo command of a component that rustup installs. Where it cannot be had, only CI minds.
fn component(command: &str, component: &str, args: &[&str]) -> Result<()> {
    if !works(cargo().args([command, "--version"])) && !works(program("rustup").args(["component", "add", component])) {
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            bail!("{component} is missing; install it: rustup component add {component}");
        }
        println!("left out: {component} is missing (rustup component add {component})");
        return Ok(());
    }
    run(cargo().args(args))
}

/// `cargo deny`, where it is installed: it fetches the advisory database, which not every machine may.
fn deny() -> Result<()> {
    if !works(cargo().args(["deny", "--version"])) {
        println!("left out: cargo-deny is not installed (cargo install cargo-deny); tidy checks the version floors");
        return Ok(());
    }
    run(cargo().args(["deny", "check", "--hide-inclusion-graph"]))
}
