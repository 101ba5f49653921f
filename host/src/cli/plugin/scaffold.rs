//! What a new project consists of. The files lie in `host/scaffold/`; the WIT package and the Rust SDK are those of this
//! version of Bewit.

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::manifest::{FILE, Kind, Language};

/// A file of a scaffold, by its path from the folder of the crate.
macro_rules! file {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path))
    };
}

/// Files of a folder: their names, and what is in them.
macro_rules! files {
    ($folder:literal, [$($name:literal),* $(,)?]) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $name)))),*]
    };
}

/// The WIT package of the newest line.
const WIT: &[(&str, &str)] = files!("../wit/v0.1", ["types.wit", "worlds.wit"]);

/// Sources of the Rust SDK; it is on no registry. A test compares the list with the folder.
const SDK: &[(&str, &str)] = files!(
    "../plugins/sdk",
    [
        "src/answer.rs",
        "src/bindings.rs",
        "src/event.rs",
        "src/export.rs",
        "src/fragment.rs",
        "src/host.rs",
        "src/lib.rs",
        "src/log.rs",
        "src/plugin.rs",
        "src/rows.rs",
        "src/testing.rs",
        "wit/types.wit",
        "wit/worlds.wit",
    ]
);

const SDK_MANIFEST: &str = file!("../plugins/sdk/Cargo.toml");
const SDK_WORKSPACE: &str = file!("../plugins/Cargo.toml");

/// All files of a project: paths inside it, and their texts.
///
/// # Errors
/// When what is built in does not fit together; a test keeps that from happening.
pub(super) fn files(name: &str, language: Language, kind: Kind) -> Result<Vec<(String, String)>> {
    let fill = |text: &str| fill(text, name, language, kind);
    let mut files = vec![
        (FILE.to_owned(), fill(file!("scaffold/bewit-plugin.toml.in"))),
        ("README.md".to_owned(), fill(file!("scaffold/README.md.in"))),
        ("events/example.jsonl".to_owned(), file!("scaffold/tests/example.jsonl").to_owned()),
    ];
    let tests = match kind {
        Kind::Filter => file!("scaffold/tests/filter.toml"),
        Kind::Renderer => file!("scaffold/tests/renderer.toml"),
    };
    files.push(("tests.toml".to_owned(), tests.to_owned()));
    let own: &[(&str, &str)] = match (language, kind) {
        (Language::Rust, Kind::Filter) => &[("src/lib.rs", file!("scaffold/rust/filter.rs"))],
        (Language::Rust, Kind::Renderer) => &[("src/lib.rs", file!("scaffold/rust/renderer.rs"))],
        (Language::Js, Kind::Filter) => &[("src/plugin.js", file!("scaffold/js/filter.js"))],
        (Language::Js, Kind::Renderer) => &[("src/plugin.js", file!("scaffold/js/renderer.js"))],
        (Language::Python, Kind::Filter) => &[("src/plugin.py", file!("scaffold/python/filter.py"))],
        (Language::Python, Kind::Renderer) => &[("src/plugin.py", file!("scaffold/python/renderer.py"))],
    };
    let tool: &[(&str, &str)] = match language {
        Language::Rust => {
            &[("Cargo.toml", file!("scaffold/rust/Cargo.toml.in")), (".gitignore", file!("scaffold/rust/gitignore"))]
        }
        Language::Js => &[
            ("package.json", file!("scaffold/js/package.json.in")),
            ("build.mjs", file!("scaffold/js/build.mjs")),
            (".gitignore", file!("scaffold/js/gitignore")),
        ],
        Language::Python => &[
            ("requirements.txt", file!("scaffold/python/requirements.txt")),
            (".gitignore", file!("scaffold/python/gitignore")),
        ],
    };
    files.extend(own.iter().chain(tool).map(|(path, text)| ((*path).to_owned(), fill(text))));
    if language == Language::Rust {
        files.push(("sdk/Cargo.toml".to_owned(), sdk_manifest()?));
        files.extend(SDK.iter().map(|(path, text)| (format!("sdk/{path}"), (*text).to_owned())));
    } else {
        files.extend(WIT.iter().map(|(path, text)| (format!("wit/{path}"), (*text).to_owned())));
    }
    Ok(files)
}

/// Puts a project's particulars into a text.
fn fill(text: &str, name: &str, language: Language, kind: Kind) -> String {
    let (word, wit, source) = match language {
        Language::Rust => (
            "rust",
            "sdk/wit",
            "`src/lib.rs` is the plugin, `sdk/` the crate that it is written with: a copy, because it is on no registry",
        ),
        Language::Js => ("js", "wit", "`src/plugin.js` is the plugin"),
        Language::Python => ("python", "wit", "`src/plugin.py` is the plugin"),
    };
    let (summary, settings, usage) = match kind {
        Kind::Filter => {
            ("Notes that a machine has a label.", "settings = { label = \"vip\" }", "filters = [\"@name@\"]")
        }
        Kind::Renderer => (
            "Shows the first rows of a source as a table.",
            "settings = { rows = 5 }",
            "renderers = [{ source = \"Pslist\", plugin = \"@name@\" }]",
        ),
    };
    let about = format!("{source}; `{wit}/` is the contract with the host, word by word.");
    text.replace("@settings@", settings)
        .replace("@use@", usage)
        .replace("@files@", &about)
        .replace("@summary@", summary)
        .replace("@language@", word)
        .replace("@wit@", wit)
        .replace("@kind@", kind.name())
        .replace("@world@", kind.world())
        .replace("@name@", name)
}

/// The SDK's manifest, standing alone: what it takes from its workspace is written out.
fn sdk_manifest() -> Result<String> {
    let workspace: Table = toml::from_str(SDK_WORKSPACE)?;
    let workspace = workspace.get("workspace").context("plugins/Cargo.toml has no workspace")?;
    let mut manifest: Table = toml::from_str(SDK_MANIFEST)?;
    for left_out in ["lints", "dev-dependencies"] {
        manifest.remove(left_out);
    }
    for section in ["package", "dependencies"] {
        let given = workspace.get(section).and_then(Value::as_table);
        let Some(table) = manifest.get_mut(section).and_then(Value::as_table_mut) else { continue };
        for (key, value) in table.iter_mut() {
            if let Some(inherited) = value.as_table_mut().filter(|table| table.contains_key("workspace")) {
                let whole =
                    given.and_then(|given| given.get(key)).with_context(|| format!("the workspace has no {key}"))?;
                *value = merged(whole.clone(), std::mem::take(inherited));
            }
        }
    }
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        package.remove("readme");
    }
    Ok(toml::to_string(&manifest)?)
}

/// A dependency as the workspace has it, with what a member adds.
fn merged(whole: Value, mut added: Table) -> Value {
    added.remove("workspace");
    if added.is_empty() {
        return whole;
    }
    let mut table = match whole {
        Value::Table(table) => table,
        version => Table::from_iter([("version".to_owned(), version)]),
    };
    for (key, value) in added {
        match (table.get_mut(&key), value) {
            // Features add up.
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
    Value::Table(table)
}

#[cfg(test)]
mod tests;
