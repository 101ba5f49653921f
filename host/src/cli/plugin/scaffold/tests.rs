use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::cli::plugin::manifest::Manifest;

const LANGUAGES: [Language; 3] = [Language::Rust, Language::Js, Language::Python];
const KINDS: [Kind; 2] = [Kind::Filter, Kind::Renderer];

fn every(mut look: impl FnMut(Language, Kind, Vec<(String, String)>)) {
    for language in LANGUAGES {
        for kind in KINDS {
            look(language, kind, files("vip-machines", language, kind).unwrap());
        }
    }
}

fn text<'a>(files: &'a [(String, String)], wanted: &str) -> &'a str {
    &files.iter().find(|(path, _)| path == wanted).unwrap_or_else(|| panic!("no {wanted}")).1
}

#[test]
fn nothing_is_left_to_fill_in() {
    every(|_, _, files| {
        for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("sdk/") && !path.starts_with("wit/")) {
            let parts: Vec<&str> = text.split('@').collect();
            let left = parts
                .windows(3)
                .find(|three| !three[1].is_empty() && three[1].chars().all(|each| each.is_ascii_lowercase()));
            assert!(left.is_none(), "{path}: {left:?}");
            assert!(text.ends_with('\n'), "{path}");
        }
    });
}

#[test]
fn the_manifest_is_one_that_build_reads() {
    every(|language, kind, files| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text(&files, FILE)).unwrap();
        let manifest = Manifest::read(folder.path()).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.language, manifest.kind), ("vip-machines", language, kind));
        assert_eq!(manifest.world(), kind.world());
        assert!(files.iter().any(|(path, _)| Path::new(path).parent() == Some(&manifest.wit)), "{:?}", manifest.wit);
    });
}

#[test]
fn what_tests_name_is_there() {
    every(|_, _, files| {
        let tests: Table = toml::from_str(text(&files, "tests.toml")).unwrap();
        for test in tests["test"].as_array().unwrap() {
            let event = text(&files, test["event"].as_str().unwrap());
            assert!(crate::event::read(event.trim().as_bytes(), &crate::event::line::LineLimits::default()).is_ok());
        }
    });
}

#[test]
fn names_in_the_readme_hold_together() {
    every(|_, _, files| {
        let readme = text(&files, "README.md");
        assert!(readme.contains("[plugins.vip-machines]") && readme.contains("\"vip-machines\""), "{readme}");
    });
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn listed(files: &[(&str, &str)], prefix: &str) -> BTreeSet<String> {
    files.iter().filter_map(|(path, _)| path.strip_prefix(prefix)).map(str::to_owned).collect()
}

fn found(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(path)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_file_of_the_kit_and_the_contract_comes_along() {
    assert_eq!(listed(SDK, "src/"), found("../plugins/sdk/src"));
    assert_eq!(listed(SDK, "wit/"), found("../plugins/sdk/wit"));
    assert_eq!(listed(WIT, ""), found("../wit/v0.1"));
    // The kit's copy is the contract.
    for (name, text) in WIT {
        let copy = SDK.iter().find(|(path, _)| path.strip_prefix("wit/") == Some(name)).unwrap();
        assert_eq!(&copy.1, text, "{name}");
    }
}

#[test]
fn the_kits_manifest_stands_alone() {
    let manifest = sdk_manifest().unwrap();
    let parsed: Table = toml::from_str(&manifest).unwrap();
    assert!(!manifest.contains("workspace"), "{manifest}");
    assert!(parsed["package"]["edition"].is_str(), "{manifest}");
    let named = parsed["dependencies"].as_table().unwrap();
    assert!(named.contains_key("wit-bindgen") && named.contains_key("serde"), "{manifest}");
    for (name, value) in named {
        assert!(value.get("path").is_none(), "{name} has a path");
    }
}

#[test]
fn what_a_member_adds_is_kept() {
    let whole = Value::try_from(toml::toml! { version = "1.0" features = ["a"] }).unwrap();
    let added = toml::toml! { workspace = true features = ["b"] optional = true };
    let made = merged(whole, added);
    assert_eq!(made, Value::Table(toml::toml! { version = "1.0" features = ["a", "b"] optional = true }));
    let added = toml::toml! { workspace = true features = ["b"] };
    let made = merged(Value::String("2".into()), added);
    assert_eq!(made, Value::Table(toml::toml! { version = "2" features = ["b"] }));
}
