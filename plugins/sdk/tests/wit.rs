//! The WIT package in this crate is the repository's. It is a copy, so that the crate stands alone where it is used.

use std::fs;
use std::path::Path;

#[test]
fn the_copy_of_the_wit_package_is_exact() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = |folder: &Path| {
        let mut texts: Vec<(String, String)> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
            .collect();
        texts.sort();
        texts
    };
    let (own, original) = (texts(&here.join("wit")), texts(&here.join("../../wit/v0.1")));
    assert!(!original.is_empty());
    assert_eq!(own, original, "copy wit/v0.1/*.wit to plugins/sdk/wit/");
}
