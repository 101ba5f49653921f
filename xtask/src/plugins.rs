//! The stock plugins: from a folder in `plugins/` to a component in `target/plugins/`, a function for each language.

mod script;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::WorldItem;

use crate::steps::{cargo, program, root, run, target};

/// The compilation target of guests in Rust.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Makes the plugins of one language: from their folders in the first folder to `NAME.wasm` in the second.
type Builder = fn(&Path, &Path) -> Result<Vec<PathBuf>>;

/// Every language in which plugins are written.
const BUILDERS: &[Builder] = &[rust, script::js, script::python];

/// Where the components of the stock plugins are put.
pub(crate) fn folder() -> PathBuf {
    target().join("plugins")
}

/// Where those of the benchmark's guests are put, which no installation has.
pub(crate) fn bench_folder() -> PathBuf {
    target().join("plugins-bench")
}

/// Builds all stock plugins, and looks at what each of them imports.
pub(crate) fn build() -> Result<()> {
    build_all(&stock(), &folder())
}

/// Builds the benchmark's guests.
pub(crate) fn build_bench() -> Result<()> {
    build_all(&stock().join("bench"), &bench_folder())
}

fn stock() -> PathBuf {
    root().join("plugins")
}

fn build_all(from: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    for builder in BUILDERS {
        for path in builder(from, out)? {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            let worlds = inspect(&bytes).with_context(|| path.display().to_string())?;
            println!("{:>9} bytes  {}  ({worlds})", bytes.len(), path.display());
        }
    }
    Ok(())
}

/// Formatting, lints, documentation and tests of the Rust workspace in `plugins/`, which is not part of ours, and the
/// tests of the plugins in other languages.
pub(crate) fn test() -> Result<()> {
    script::test(&stock())?;
    run(workspace("fmt").args(["--all", "--check"]))?;
    run(workspace("clippy").args(["--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(workspace("test").args(["--locked", "--workspace"]))?;
    run(workspace("doc").args(["--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// A cargo command in `plugins/`, with a target folder of its own.
fn workspace(command: &str) -> Command {
    let mut cargo = cargo();
    cargo.current_dir(stock()).arg(command).env("CARGO_TARGET_DIR", target().join("plugins-build"));
    cargo
}

/// Rust: all in one build, then a component of each module.
fn rust(from: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    add_target()?;
    let names = rust_plugins(from)?;
    run(workspace("build")
        .args(["--locked", "--release", "--target", WASM])
        .args(names.iter().flat_map(|name| ["-p", name.as_str()])))?;
    let modules = target().join("plugins-build").join(WASM).join("release");
    let mut built = Vec::new();
    for name in names {
        let module = modules.join(name.replace('-', "_")).with_extension("wasm");
        let bytes = fs::read(&module).with_context(|| module.display().to_string())?;
        let component = componentize(&bytes).with_context(|| module.display().to_string())?;
        built.push(put(out, &name, &component)?);
    }
    Ok(built)
}

/// The folders in a folder that hold a crate, without the kit that they are made with.
fn rust_plugins(from: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() && !path.ends_with("sdk") {
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Installs the standard library for WebAssembly if it is missing.
pub(crate) fn add_target() -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = program(rustc).args(["--print", "target-libdir", "--target", WASM]).output().context("rustc")?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && Path::new(&folder).is_dir() {
        return Ok(());
    }
    run(program("rustup").args(["target", "add", WASM])).with_context(|| {
        format!("Rust guests need the target {WASM}: install it with `rustup target add {WASM}`, or with your system's packages")
    })
}

/// A component of a core module that says in its custom sections which world it is for.
fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// Writes a component. Beside, then renamed: a daemon may be watching.
pub(crate) fn put(out: &Path, name: &str, component: &[u8]) -> Result<PathBuf> {
    let path = out.join(format!("{name}.wasm"));
    let aside = out.join(format!("{name}.new"));
    fs::write(&aside, component).with_context(|| aside.display().to_string())?;
    fs::rename(&aside, &path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// What a component exports. An error if it imports anything but `bewit:plugin`: no stock plugin is granted more.
fn inspect(component: &[u8]) -> Result<String> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("a WIT package, not a component");
    };
    let world = resolve.worlds.get(world).context("no world")?;
    for (key, item) in &world.imports {
        let name = resolve.name_world_key(key);
        if !(matches!(item, WorldItem::Interface { .. }) && name.starts_with("bewit:plugin/")) {
            bail!("imports {name}: a stock plugin gets by with what bewit:plugin offers");
        }
    }
    let exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    if !exports.iter().any(|name| name.starts_with("bewit:plugin/about@")) {
        bail!("exports no bewit:plugin/about, only: {}", exports.join(", "));
    }
    Ok(exports.join(", "))
}
