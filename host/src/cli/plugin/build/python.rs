//! Python: componentize-py, from the project's `.venv` or from the `PATH`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::super::tools::find;
use super::Job;

const MISSING: &str = "Python plugins need Python 3 with venv: apt-get install python3 python3-venv";
const NAME: &str = "componentize-py";

pub(super) fn build(job: &Job<'_>) -> Result<()> {
    let tools = job.tools;
    let mut command = tools.command(tool(job)?);
    command.arg("-d").arg(job.wit).args(["-w", job.world, "componentize"]);
    // Without it the component would ask for files, clocks and more, which no plugin is granted.
    command.args(["--stub-wasi", "-p", "src", "plugin", "-o"]).arg(job.output);
    // The interpreter's folders are not the plugin's: what it imports lies in `src`.
    tools.run(command.env_remove("PYTHONPATH").env_remove("VIRTUAL_ENV"), MISSING)?;
    Ok(())
}

/// The tool; installed into a `.venv` if there is none.
fn tool(job: &Job<'_>) -> Result<PathBuf> {
    let tools = job.tools;
    let venv = tools.folder.join(".venv");
    let local = venv.join("bin").join(NAME);
    if local.is_file() {
        return Ok(local);
    }
    if let Some(path) = find(NAME) {
        return Ok(path);
    }
    tools
        .run(tools.command("python3").args(["-m", "venv", "--clear"]).arg(&venv), MISSING)
        .context("cannot make .venv; on Debian: apt-get install python3-venv")?;
    let mut pip = tools.command(venv.join("bin/pip"));
    tools.run(pip.args(["install", "--disable-pip-version-check", "-r", "requirements.txt"]), MISSING)?;
    Ok(local)
}
