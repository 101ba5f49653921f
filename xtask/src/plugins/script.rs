//! Plugins in JavaScript and Python: made by those languages' own tools, which take ten seconds each. So a component is made
//! again only if something that it is made of has changed.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::put;
use crate::peers;
use crate::steps::{program, run, target, works};

/// What is in a project's folder but is not part of it.
const LEFT_OUT: &[&str] = &["node_modules", ".venv", "__pycache__"];

/// A stock plugin's folder and what its `bewit-plugin.toml` says.
struct Project {
    name: String,
    folder: PathBuf,
    world: String,
    wit: PathBuf,
}

/// The projects of a language in a folder.
fn projects(from: &Path, language: &str) -> Result<Vec<Project>> {
    let mut projects = Vec::new();
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let folder = entry?.path();
        let Ok(text) = fs::read_to_string(folder.join("bewit-plugin.toml")) else { continue };
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
            let value = line.map(|value| value.trim().trim_matches('"').to_owned());
            value.with_context(|| format!("{}: bewit-plugin.toml has no {key}", folder.display()))
        };
        if value("language")? == language {
            let wit = folder.join(value("wit")?);
            projects.push(Project { name: value("name")?, world: value("world")?, wit, folder });
        }
    }
    projects.sort_by(|one, other| one.name.cmp(&other.name));
    if projects.is_empty() {
        bail!("{}: no plugin in {language}; is this the whole repository?", from.display());
    }
    Ok(projects)
}

/// JavaScript: componentize-js, in a copy of the project under `target/`.
pub(super) fn js(from: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    node()?;
    let mut built = Vec::new();
    for project in projects(from, "js")? {
        let place = workplace().join(&project.name);
        let lock = fs::read_to_string(project.folder.join("package-lock.json")).context("package-lock.json")?;
        built.push(project.make(out, &lock, |to| {
            let stamp = place.join("node_modules/.installed");
            copy(&project.folder, &place)?;
            if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
                run(at("npm", &place).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
                fs::write(&stamp, &lock)?;
            }
            let mut node = at("node", &place);
            node.arg("build.mjs").arg(to).env("BEWIT_WORLD", &project.world).env("BEWIT_WIT", &project.wit);
            run(&mut node)
        })?);
    }
    Ok(built)
}

/// Python: componentize-py, in a virtual environment under `target/`.
pub(super) fn python(from: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    python3()?;
    let mut built = Vec::new();
    for project in projects(from, "python")? {
        let wanted = project.folder.join("requirements.txt");
        let text = fs::read_to_string(&wanted).context("requirements.txt")?;
        built.push(project.make(out, &text, |to| {
            let venv = workplace().join(format!("{}-venv", project.name));
            let stamp = venv.join("requirements.txt");
            if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
                fs::create_dir_all(workplace())?;
                run(program("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
                let pip = ["install", "--quiet", "--disable-pip-version-check", "-r"];
                run(program(venv.join("bin/pip")).args(pip).arg(&wanted))?;
                fs::write(&stamp, &text)?;
            }
            let mut tool = at(venv.join("bin/componentize-py"), &project.folder);
            tool.arg("-q").arg("-d").arg(&project.wit).args(["-w", &project.world, "componentize", "--stub-wasi"]);
            run(tool.args(["-p", "src", "plugin", "-o"]).arg(to))
        })?);
    }
    Ok(built)
}

/// The projects' own tests, which need no dependency and no host.
pub(super) fn test(from: &Path) -> Result<()> {
    node()?;
    for project in projects(from, "js")? {
        run(at("node", &project.folder).arg("--test"))?;
    }
    python3()?;
    for project in projects(from, "python")? {
        run(at("python3", &project.folder).args(["-m", "unittest", "discover", "--quiet", "-s", "tests"]))?;
    }
    Ok(())
}

impl Project {
    /// Its component: made by `tool` unless there is one of the same sources and the same tools, which `tools` names.
    fn make(&self, out: &Path, tools: &str, tool: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = out.join(format!("{}.wasm", self.name));
        let stamp = workplace().join(format!("{}.inputs", self.name));
        let inputs = self.inputs(tools)?;
        if path.is_file() && fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == inputs) {
            return Ok(path);
        }
        fs::create_dir_all(workplace())?;
        let aside = workplace().join(format!("{}.wasm", self.name));
        tool(&aside).with_context(|| format!("building {}", self.name))?;
        let path = put(out, &self.name, &fs::read(&aside).with_context(|| aside.display().to_string())?)?;
        fs::write(stamp, inputs)?;
        Ok(path)
    }

    /// A print of everything that the component is made of.
    fn inputs(&self, tools: &str) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        let mut files = files(&self.folder)?;
        files.extend(files_of_wit(&self.wit)?);
        for path in files {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            hasher.write(path.to_string_lossy().as_bytes());
            hasher.write_usize(bytes.len());
            hasher.write(&bytes);
        }
        hasher.write(tools.as_bytes());
        Ok(format!("{:016x}\n", hasher.finish()))
    }
}

fn files_of_wit(folder: &Path) -> Result<Vec<PathBuf>> {
    files(folder).with_context(|| format!("{}: the WIT package", folder.display()))
}

/// The files of a project, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if LEFT_OUT.iter().any(|each| name == OsStr::new(each)) || path.extension() == Some(OsStr::new("wasm")) {
            continue;
        }
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// Copies a project; what was installed beside it stays.
fn copy(from: &Path, to: &Path) -> Result<()> {
    // A file that is gone must not be built in from an older copy.
    let source = to.join("src");
    if source.is_dir() {
        fs::remove_dir_all(&source).with_context(|| source.display().to_string())?;
    }
    for path in files(from)? {
        let place = to.join(path.strip_prefix(from)?);
        fs::create_dir_all(place.parent().context("a folder")?)?;
        fs::copy(&path, &place).with_context(|| place.display().to_string())?;
    }
    Ok(())
}

/// A program in a folder; Python leaves nothing behind in it.
fn at(name: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = program(name);
    command.current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH");
    command
}

fn workplace() -> PathBuf {
    target().join("plugins-build/script")
}

/// Node.js and npm, installed if they are missing.
fn node() -> Result<()> {
    let there = || works(program("node").arg("--version")) && works(program("npm").arg("--version"));
    if !there() {
        peers::apt(&["nodejs", "npm"])?;
    }
    let new = "process.exit(Number(process.versions.node.split('.')[0]) >= 20 ? 0 : 1)";
    if !there() || !works(program("node").args(["-e", new])) {
        bail!(
            "JavaScript plugins need Node.js 20 or newer and npm: install them from https://nodejs.org or your system's packages"
        );
    }
    Ok(())
}

/// Python with virtual environments, installed if it is missing.
fn python3() -> Result<()> {
    let there =
        || works(program("python3").args(["-c", "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 10))"]));
    if !there() {
        peers::apt(&["python3", "python3-venv"])?;
    }
    if !there() {
        bail!("Python plugins need Python 3.10 or newer with venv: apt-get install python3 python3-venv");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_made_again_only_if_its_inputs_changed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["p/src", "p/node_modules", "wit"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        let project = Project { name: "p".into(), folder: at("p"), world: "w".into(), wit: at("wit") };
        let print = |tools: &str| project.inputs(tools).unwrap();
        fs::write(at("p/src/a.js"), "1").unwrap();
        fs::write(at("wit/a.wit"), "1").unwrap();
        let first = print("1.0");
        fs::write(at("p/node_modules/x"), "not ours").unwrap();
        fs::write(at("p/p.wasm"), "not ours").unwrap();
        assert_eq!(print("1.0"), first);
        assert_ne!(print("1.1"), first);
        fs::write(at("wit/a.wit"), "2").unwrap();
        let second = print("1.0");
        assert_ne!(second, first);
        fs::write(at("p/src/b.js"), "").unwrap();
        assert_ne!(print("1.0"), second);
    }

    #[test]
    fn a_copy_has_no_file_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for path in [from.join("src"), to.join("src"), to.join("node_modules")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(from.join("src/new.js"), "").unwrap();
        fs::write(to.join("src/old.js"), "").unwrap();
        copy(&from, &to).unwrap();
        assert!(to.join("src/new.js").is_file() && !to.join("src/old.js").exists() && to.join("node_modules").is_dir());
    }
}
