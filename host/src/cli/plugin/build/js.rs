//! JavaScript: the project's own `build.mjs`, which calls componentize-js.

use anyhow::Result;

use super::Job;

const MISSING: &str =
    "JavaScript plugins need Node.js 20 or newer and npm: apt-get install nodejs npm, or https://nodejs.org";

pub(super) fn build(job: &Job<'_>) -> Result<()> {
    let tools = job.tools;
    if !tools.folder.join("node_modules").is_dir() {
        let locked = tools.folder.join("package-lock.json").is_file();
        let install = if locked { "ci" } else { "install" };
        tools.run(tools.command("npm").args([install, "--no-audit", "--no-fund"]), MISSING)?;
    }
    let mut node = tools.command("node");
    node.arg("build.mjs").arg(job.output).env("BEWIT_WORLD", job.world).env("BEWIT_WIT", job.wit);
    tools.run(&mut node, MISSING)?;
    Ok(())
}
