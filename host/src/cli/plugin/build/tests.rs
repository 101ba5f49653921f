use super::*;

#[test]
fn numbers_in_groups() {
    assert_eq!([0, 12, 999, 1000, 12_345_678].map(grouped), ["0", "12", "999", "1 000", "12 345 678"]);
}

#[test]
fn what_is_no_component_is_refused() {
    for bytes in [&b""[..], b"<html>", b"\0asm\x01\0\0\0"] {
        assert!(Faces::of(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_component_without_the_right_exports_is_no_plugin() {
    let faces =
        |exports: &[&str]| Faces { imports: vec![], exports: exports.iter().map(|&name| name.to_owned()).collect() };
    let both = ["bewit:plugin/about@0.1.0", "bewit:plugin/filter@0.1.0"];
    assert!(faces(&both).check().is_ok());
    for exports in [&both[..1], &both[1..], &[], &["other:plugin/about@0.1.0", "other:plugin/filter@0.1.0"]] {
        assert!(faces(exports).check().is_err(), "{exports:?}");
    }
}

fn project(manifest: &str) -> (tempfile::TempDir, BuildArgs) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bewit-plugin.toml"), manifest).unwrap();
    fs::create_dir(folder.path().join("wit")).unwrap();
    let args = BuildArgs { folder: folder.path().into(), output: None, verbose: false };
    (folder, args)
}

const JS: &str = "name = 'x'\nlanguage = 'js'\nkind = 'filter'\n";

#[test]
fn a_failed_build_leaves_what_was_there() {
    let (folder, args) = project(JS);
    fs::create_dir(folder.path().join("node_modules")).unwrap();
    fs::write(folder.path().join("x.wasm"), "old").unwrap();
    // Either there is no Node.js, or there is nothing that it could run.
    run(&args).unwrap_err();
    assert_eq!(fs::read(folder.path().join("x.wasm")).unwrap(), b"old");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".bewit")), "{names:?}");
}

#[test]
fn mistakes_in_usage_are_told_apart_from_failures() {
    let (folder, mut args) = project(JS);
    args.output = Some(folder.path().join("no/such/x.wasm"));
    assert!(run(&args).unwrap_err().is::<UsageError>());
    args.output = Some(folder.path().into());
    assert!(run(&args).unwrap_err().is::<UsageError>());
    let (folder, args) = project(&format!("{JS}wit = 'elsewhere'\n"));
    let error = run(&args).unwrap_err().to_string();
    assert!(error.contains("elsewhere"), "{error}");
    fs::remove_file(folder.path().join("bewit-plugin.toml")).unwrap();
    assert!(run(&args).unwrap_err().to_string().contains("bewit plugin new"));
}
