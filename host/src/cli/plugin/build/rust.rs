//! Rust: cargo makes a core module, which becomes a component here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use wit_component::ComponentEncoder;

use super::super::tools::Tools;
use super::Job;

const TARGET: &str = "wasm32-unknown-unknown";
const MISSING: &str = "Rust plugins need cargo and rustup: https://rustup.rs";

pub(super) fn build(job: &Job<'_>) -> Result<()> {
    let tools = job.tools;
    add_target(tools)?;
    let mut cargo = tools.command("cargo");
    cargo.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let said = tools.run(&mut cargo, MISSING)?;
    let module = module(&said, &tools.folder.join("Cargo.toml"))?;
    let bytes = fs::read(&module).with_context(|| module.display().to_string())?;
    let component = componentize(&bytes).with_context(|| module.display().to_string())?;
    Ok(fs::write(job.output, component)?)
}

fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("cargo's module is for no world of bewit:plugin; is the plugin exported, by the macro of bewit-plugin or of wit-bindgen?")?
        .encode()
        .context("cargo's module cannot be made a component")
}

/// Installs the standard library for WebAssembly if it is missing.
fn add_target(tools: Tools<'_>) -> Result<()> {
    let mut rustc = tools.command("rustc");
    let said = tools.run(rustc.args(["--print", "target-libdir", "--target", TARGET]), MISSING)?;
    if Path::new(String::from_utf8_lossy(&said).trim()).is_dir() {
        return Ok(());
    }
    let advice = format!("install Rust's {TARGET} target with your system's packages, or Rust by https://rustup.rs");
    tools.run(tools.command("rustup").args(["target", "add", TARGET]), &advice)?;
    Ok(())
}

/// What cargo says of each thing that it has made.
#[derive(Deserialize)]
struct Made {
    manifest_path: PathBuf,
    target: Target,
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

/// The module among cargo's messages, one JSON object a line.
fn module(said: &[u8], manifest: &Path) -> Result<PathBuf> {
    let made = String::from_utf8_lossy(said)
        .lines()
        .filter_map(|line| serde_json::from_str::<Made>(line).ok())
        .filter(|made| made.manifest_path == manifest && made.target.crate_types.iter().any(|each| each == "cdylib"))
        .flat_map(|made| made.filenames)
        .find(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    match made {
        Some(path) => Ok(path),
        None => bail!("the crate makes no module: its Cargo.toml must say [lib] crate-type = [\"cdylib\"]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_the_projects_own_cdylib() {
        let line = |manifest: &str, kind: &str, file: &str| {
            serde_json::json!({"reason": "compiler-artifact", "manifest_path": manifest, "target": {"crate_types": [kind]}, "filenames": [file]})
                .to_string()
        };
        let said = [
            line("/p/sdk/Cargo.toml", "cdylib", "/t/sdk.wasm"),
            line("/p/Cargo.toml", "rlib", "/t/p.rlib"),
            "{\"reason\":\"build-finished\",\"success\":true}".to_owned(),
            line("/p/Cargo.toml", "cdylib", "/t/p.wasm"),
        ]
        .join("\n");
        assert_eq!(module(said.as_bytes(), Path::new("/p/Cargo.toml")).unwrap(), Path::new("/t/p.wasm"));
        let error = module(b"{}", Path::new("/p/Cargo.toml")).unwrap_err().to_string();
        assert!(error.contains("cdylib"), "{error}");
    }

    #[test]
    fn a_module_of_no_world_is_no_plugin() {
        let made = componentize(b"\0asm\x01\0\0\0").unwrap();
        let error = super::super::Faces::of(&made).unwrap().check().unwrap_err().to_string();
        assert!(error.contains("it exports nothing"), "{error}");
        assert!(componentize(b"no module").is_err());
    }
}
