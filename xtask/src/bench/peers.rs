//! Other people's code that Bewit is measured beside. Installed from the registries, once.

use std::path::PathBuf;

use anyhow::Result;

use crate::plugins;
use crate::steps::{cargo, root, run, target};

/// Python with what `host/benches/peers/python/requirements.txt` names.
pub(super) fn python() -> Result<PathBuf> {
    let wanted = root().join("host/benches/peers/python/requirements.txt");
    crate::peers::venv(&wanted, &crate::peers::folder().join("bench-venv"))
}

/// The folder with extism's program and guest, in a workspace of their own.
pub(super) fn extism() -> Result<PathBuf> {
    let built = target().join("bench-extism");
    let build = || {
        let mut cargo = cargo();
        cargo.current_dir(root().join("host/benches/peers/extism")).env("CARGO_TARGET_DIR", &built);
        cargo.args(["build", "--locked", "--release", "-p"]);
        cargo
    };
    plugins::add_target()?;
    run(build().arg("extism-peer"))?;
    run(build().args(["extism-guest", "--target", plugins::WASM]))?;
    Ok(built)
}
