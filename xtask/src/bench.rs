//! `cargo xtask bench`: what is promised in figures, measured.

use anyhow::{Result, bail};

use crate::plugins;
use crate::steps::{cargo, run, target};
use crate::test::release_binary;

/// Measures one part of the program.
type Part = fn() -> Result<()>;

/// What can be measured.
const PARTS: &[(&str, Part)] = &[
    ("plugins", measure_plugins),
    ("velociraptor", measure_velociraptor),
    ("studio", measure_studio),
    ("mail", measure_mail),
];

/// Measures the parts that are named, in order.
pub(crate) fn run_all(names: &[String]) -> Result<()> {
    let mut parts = Vec::new();
    for name in names {
        let Some((_, part)) = PARTS.iter().find(|(known, _)| known == name) else {
            let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
            bail!("there is no benchmark {name}; there is: {}", known.join(", "));
        };
        parts.push(part);
    }
    parts.into_iter().try_for_each(|part| part())
}

/// What a call of a plugin costs, beside a native closure that does the same.
fn measure_plugins() -> Result<()> {
    plugins::build_bench()?;
    run(cargo()
        .args(["bench", "-p", "bewit", "--bench", "plugins"])
        .env("BEWIT_BENCH_PLUGINS", plugins::bench_folder())
        .env("BEWIT_BENCH_OUT", target().join("bench-plugins.json")))
}

/// From a live server's row to the accepted mail.
fn measure_velociraptor() -> Result<()> {
    run(cargo().args(["build", "--release", "-p", "bewit"]))?;
    run(cargo()
        .args(["bench", "-p", "bewit", "--bench", "velociraptor"])
        .env("BEWIT_BIN", release_binary())
        .env("BEWIT_BENCH_OUT", target().join("bench-velociraptor.json")))
}

/// Pages while mails pass.
fn measure_studio() -> Result<()> {
    run(cargo().args(["build", "--release", "-p", "bewit"]))?;
    run(cargo()
        .args(["bench", "-p", "bewit", "--bench", "studio"])
        .env("BEWIT_BIN", release_binary())
        .env("BEWIT_BENCH_OUT", target().join("bench-studio.json")))
}

/// From the event to the mail server, beside Postfix's `smtp-source`.
fn measure_mail() -> Result<()> {
    plugins::build_bench()?;
    run(cargo().args(["build", "--release", "-p", "bewit"]))?;
    run(cargo()
        .args(["bench", "-p", "bewit", "--bench", "mail"])
        .env("BEWIT_BIN", release_binary())
        .env("BEWIT_BENCH_PLUGINS", plugins::bench_folder())
        .env("BEWIT_BENCH_OUT", target().join("bench-mail.json")))
}
