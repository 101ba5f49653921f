//! The WIT package changes only as `wit/VERSIONING.md` allows: every line is held against its frozen copy.

use std::fs;
use std::path::{Path, PathBuf};

use wit_component::semver_check;
use wit_parser::{PackageId, Resolve, UnresolvedPackageGroup};

const WORLDS: [&str; 2] = ["filter-plugin", "renderer-plugin"];

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

/// The texts of a folder's WIT files, by name.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

/// One text of all files: only the first may name the package.
fn joined(files: &[(String, String)]) -> String {
    let text: String = files.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
    assert_eq!(text.matches("\npackage bewit:plugin@").count(), 1);
    text
}

/// Adds a package to others. The name is told apart by a version of its own: `semver_check` looks at none.
fn push(resolve: &mut Resolve, text: &str, version: &str) -> PackageId {
    let (before, rest) = text.split_once("package bewit:plugin@").unwrap();
    let (_, after) = rest.split_once(';').unwrap();
    let text = format!("{before}package bewit:plugin@{version};{after}");
    resolve.push_group(UnresolvedPackageGroup::parse("all.wit", &text).unwrap()).unwrap()
}

/// Whether a world of `new` serves plugins and hosts of `old`.
fn compatible(old: &str, new: &str, world: &str) -> Result<(), String> {
    let mut resolve = Resolve::default();
    let packages = [push(&mut resolve, old, "0.1.0"), push(&mut resolve, new, "0.1.1")];
    let [old, new] = packages.map(|package| resolve.packages[package].worlds.get(world).copied());
    let old = old.ok_or("a world that was not there")?;
    let new = new.ok_or(format!("the world {world} is gone"))?;
    semver_check(resolve, old, new).map_err(|error| format!("{error:#}"))
}

#[test]
fn every_line_is_what_was_frozen_or_grew_as_it_may() {
    let mut lines = 0;
    for entry in fs::read_dir(wit().join("frozen")).unwrap() {
        let frozen = entry.unwrap().path();
        let name = frozen.file_name().unwrap().to_owned();
        let current = wit().join(&name);
        assert!(current.is_dir(), "{}: a line is retired with its frozen copy", current.display());
        let [old, new] = [&frozen, &current].map(|folder| joined(&texts(folder)));
        for world in WORLDS {
            if let Err(error) = compatible(&old, &new, world) {
                panic!("{name:?}, {world}: broken for plugins that are out there; see wit/VERSIONING.md\n{error}");
            }
        }
        lines += 1;
    }
    for entry in fs::read_dir(wit()).unwrap() {
        let name = entry.unwrap().file_name();
        if name.to_string_lossy().starts_with('v') {
            assert!(wit().join("frozen").join(&name).is_dir(), "{name:?} has no frozen copy");
        }
    }
    assert!(lines > 0);
}

/// A change to the current text: what is replaced, and by what.
fn changed(from: &str, to: &str) -> (String, String) {
    let old = joined(&texts(&wit().join("v0.1")));
    assert_eq!(old.matches(from).count(), 1, "{from}");
    let new = old.replace(from, to);
    (old, new)
}

#[test]
fn what_breaks_plugins_is_found() {
    let breaking = [
        ("a case more in a variant", "force(string),", "force(string),\n postpone(string),"),
        ("a field more in a record", "total-bytes: u64,", "total-bytes: u64,\n severity: u32,"),
        ("a field fewer", "total-files: u64,", ""),
        ("another type", "total-rows: u64,", "total-rows: u32,"),
        ("another order", "total-files: u64,", "total-the-files: u64,"),
        ("a case more in an enum", "warning,", "warning,\n alarming,"),
        (
            "a function more in what a plugin exports",
            "decide: func(event: event)",
            "ready: func() -> bool;\n decide: func(event: event)",
        ),
        ("a parameter more", "decide: func(event: event)", "decide: func(event: event, again: bool)"),
        ("a function fewer in what is imported", "now: func() -> moment;", ""),
        ("another result", "file: func(name: string) -> option<string>;", "file: func(name: string) -> string;"),
        ("a method fewer", "skipped: func() -> u64;", ""),
        ("another type behind a name", "type moment = s64;", "type moment = u64;"),
        ("one thing more to export", "world filter-plugin {", "world filter-plugin {\n export started: func();"),
    ];
    for (what, from, to) in breaking {
        let (old, new) = changed(from, to);
        assert!(WORLDS.iter().any(|world| compatible(&old, &new, world).is_err()), "not found: {what}");
    }
}

#[test]
fn what_breaks_nobody_is_let_through() {
    let harmless = [
        ("another comment", "/// As in every log.", "/// As in all logs."),
        (
            "a function more in what is imported",
            "now: func() -> moment;",
            "now: func() -> moment;\n attempt: func() -> u32;",
        ),
        ("a method more", "skipped: func() -> u64;", "skipped: func() -> u64;\n rewind: func();"),
        (
            "an import more",
            "world filter-plugin {",
            "interface chance { roll: func() -> u32; }\nworld filter-plugin {\n import chance;",
        ),
        ("a world more", "world filter-plugin {", "world empty-plugin { export about; }\nworld filter-plugin {"),
    ];
    for (what, from, to) in harmless {
        let (old, new) = changed(from, to);
        for world in WORLDS {
            assert_eq!(compatible(&old, &new, world), Ok(()), "{what}");
        }
    }
}
