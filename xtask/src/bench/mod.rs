//! `cargo xtask bench`: what is promised in figures, measured, beside what other people's programs do in the same minute.

mod counts;
mod peers;
mod record;
mod table;

use std::process::Command;

use anyhow::{Result, bail};

use crate::plugins;
use crate::steps::{cargo, root, run, target};
use crate::test::release_binary;

use table::Measure;

/// How it is run.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    /// A tenth of everything, once: to see that it works.
    quick: bool,
    /// The table goes into `docs/benchmarks.md`.
    record: bool,
}

/// One thing that can be measured.
struct Part {
    name: &'static str,
    /// Without a name, it is measured too: it has goals, and takes minutes at most.
    usual: bool,
    /// Whether its figures have the shape that is put together in the one table.
    measures: bool,
    run: fn(Options) -> Result<()>,
}

const fn part(name: &'static str, usual: bool, measures: bool, run: fn(Options) -> Result<()>) -> Part {
    Part { name, usual, measures, run }
}

/// What can be measured, in the order in which it is.
const PARTS: &[Part] = &[
    part("plugins", true, true, plugins_beside_extism),
    part("compose", true, true, compose_beside_jinja_and_lettre),
    part("smtp", true, true, smtp_beside_postfix),
    part("store", true, true, |options| measure("store", options, &mut bench("store"))),
    part("mail", true, true, mail),
    part("idle", true, true, |options| with_binary("idle", options)),
    part("scale", false, true, |options| with_binary("scale", options)),
    part("growth", false, false, growth),
    part("velociraptor", false, false, |options| with_binary("velociraptor", options)),
    part("studio", false, false, |options| with_binary("studio", options)),
    part("parts", false, false, |_| run(&mut bench("parts"))),
    part("counts", false, false, |_| counts::run_all()),
];

/// Measures the parts that are named, in order; all that have goals if none is.
pub(crate) fn run_all(args: &[String]) -> Result<()> {
    let (mut options, mut parts) = (Options::default(), Vec::new());
    for arg in args {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--record" => options.record = true,
            name => match PARTS.iter().find(|part| part.name == name) {
                Some(part) => parts.push(part),
                None => {
                    let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
                    bail!("there is no benchmark {name}; there is: {}", known.join(", "));
                }
            },
        }
    }
    if options.quick && options.record {
        bail!("a quick run shows that the benchmarks work; its figures are not worth recording");
    }
    if parts.is_empty() {
        parts = PARTS.iter().filter(|part| part.usual).collect();
    }
    let mut measures: Vec<Measure> = Vec::new();
    for part in &parts {
        println!("\n=== {} ===", part.name);
        (part.run)(options)?;
        if part.measures {
            measures.extend(table::read(&out(part.name))?);
        }
    }
    if measures.is_empty() {
        return Ok(());
    }
    let about = record::About::now(options.quick)?;
    println!("\n{}\n\n{}", about.sentence(), table::goals(&measures));
    record::write_json(&target().join("bench.json"), &about, &measures)?;
    if options.record {
        record::into_docs(&root().join("docs/benchmarks.md"), &about, &measures)?;
    }
    Ok(())
}

/// Where a part writes its figures.
fn out(name: &str) -> std::path::PathBuf {
    target().join(format!("bench-{name}.json"))
}

/// A benchmark's program.
fn bench(name: &str) -> Command {
    let mut cargo = cargo();
    cargo.args(["bench", "-p", "bewit", "--bench", name]);
    cargo
}

/// Runs a benchmark; its figures go into a file of its own.
fn measure(name: &str, options: Options, command: &mut Command) -> Result<()> {
    if options.quick {
        command.env("BEWIT_BENCH_QUICK", "1");
    }
    run(command.env("BEWIT_BENCH_OUT", out(name)))
}

/// The same for a benchmark of the release binary.
fn with_binary(name: &str, options: Options) -> Result<()> {
    crate::peers::postfix()?;
    build()?;
    measure(name, options, bench(name).env("BEWIT_BIN", release_binary()))
}

fn build() -> Result<()> {
    run(cargo().args(["build", "--release", "-p", "bewit"]))
}

/// What a call of a plugin costs, beside a native closure and extism that do the same.
fn plugins_beside_extism(options: Options) -> Result<()> {
    plugins::build_bench()?;
    let mut command = bench("plugins");
    command.env("BEWIT_BENCH_PLUGINS", plugins::bench_folder()).env("BEWIT_BENCH_EXTISM", peers::extism()?);
    measure("plugins", options, &mut command)
}

/// Templates, MIME, and a large attachment.
fn compose_beside_jinja_and_lettre(options: Options) -> Result<()> {
    crate::peers::postfix()?;
    build()?;
    let mut command = bench("compose");
    command.env("BEWIT_BENCH_PYTHON", peers::python()?).env("BEWIT_BIN", release_binary());
    measure("compose", options, &mut command)
}

/// The SMTP client alone.
fn smtp_beside_postfix(options: Options) -> Result<()> {
    crate::peers::postfix()?;
    measure("smtp", options, &mut bench("smtp"))
}

/// From the event to the mail server, beside Postfix's `smtp-source`.
fn mail(options: Options) -> Result<()> {
    crate::peers::postfix()?;
    plugins::build_bench()?;
    build()?;
    let mut command = bench("mail");
    command.env("BEWIT_BIN", release_binary()).env("BEWIT_BENCH_PLUGINS", plugins::bench_folder());
    measure("mail", options, &mut command)
}

/// Memory and time for 1 to 1000 times the events; the picture is part of the documentation.
fn growth(options: Options) -> Result<()> {
    crate::peers::postfix()?;
    build()?;
    let plot = if options.quick { target().join("growth.svg") } else { root().join("docs/images/growth.svg") };
    let mut command = bench("growth");
    command.env("BEWIT_BIN", release_binary()).env("BEWIT_BENCH_PLOT", plot);
    measure("growth", options, &mut command)
}
