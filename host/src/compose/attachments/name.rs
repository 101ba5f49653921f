//! Attachment names: made from the source's name, harmless on every system that opens them.

use std::collections::HashSet;

/// Characters of a name, extension included.
const LIMIT: usize = 120;

/// Characters of what counts as an extension.
const EXTENSION: usize = 10;

/// Names that Windows keeps for devices, whatever the extension.
const DEVICES: [&str; 27] = [
    "con", "prn", "aux", "nul", "com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt0",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9", "conin", "conout", "clock",
];

/// A file name for the rows of `source`, unlike those in `taken` (in any case of letters), and adds it to them.
pub(crate) fn distinct(source: &str, extension: &str, taken: &mut HashSet<String>) -> String {
    let stem = stem(source);
    let mut number = 1_u64;
    loop {
        let ending = if number == 1 { extension.to_owned() } else { format!("-{number}{extension}") };
        let room = LIMIT.saturating_sub(ending.len());
        let short = stem.get(..stem.len().min(room)).unwrap_or(&stem).trim_end_matches(['.', '-', '_']);
        let name = format!("{short}{ending}");
        if taken.insert(name.to_ascii_lowercase()) {
            return name;
        }
        number += 1;
    }
}

/// A proposed file name as a stem and an extension (`.csv`, or nothing), for [`distinct`].
pub(super) fn split(proposed: &str) -> (&str, &str) {
    let proposed = proposed.trim();
    let is_extension =
        |text: &str| (1..=EXTENSION).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match proposed.rfind('.').and_then(|at| proposed.split_at_checked(at)) {
        Some((stem, extension)) if extension.get(1..).is_some_and(is_extension) => (stem, extension),
        _ => (proposed, ""),
    }
}

/// `[A-Za-z0-9._-]`, beginning with a letter, a digit or an underscore, no device name; not empty.
fn stem(source: &str) -> String {
    let mut out = String::new();
    for c in source.chars().take(4 * LIMIT) {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
        // No runs of the same mark, and no `..`.
        if c.is_ascii_alphanumeric() || !out.ends_with(c) {
            out.push(c);
        }
    }
    let name = out.trim_matches(['.', '-', '_']);
    if name.is_empty() {
        return "results".to_owned();
    }
    let base = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    if DEVICES.contains(&base.as_str()) { format!("_{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_proposed_name_keeps_its_extension() {
        for (proposed, stem, extension) in [
            ("report.csv", "report", ".csv"),
            ("a.tar.gz", "a.tar", ".gz"),
            ("../../etc/passwd", "../../etc/passwd", ""),
            ("no extension", "no extension", ""),
            ("odd.e x", "odd.e x", ""),
            ("x.", "x.", ""),
            (".csv", "", ".csv"),
            ("", "", ""),
        ] {
            assert_eq!(split(proposed), (stem, extension), "{proposed}");
        }
        let mut taken = HashSet::new();
        assert_eq!(distinct("..\\..\\a\u{202e}\r\nX: y", ".csv", &mut taken), "a_X_y.csv");
    }

    #[test]
    fn names_follow_the_source() {
        for (source, name) in [
            ("Windows.System.Pslist", "Windows.System.Pslist.jsonl"),
            ("Windows.KapeFiles.Targets/All File Metadata", "Windows.KapeFiles.Targets_All_File_Metadata.jsonl"),
            ("../../etc/passwd", "etc_passwd.jsonl"),
            ("日本", "results.jsonl"),
            ("con", "_con.jsonl"),
            ("NUL.x", "_NUL.x.jsonl"),
            ("-rf", "rf.jsonl"),
            ("\u{202e}gnp.exe", "gnp.exe.jsonl"),
            ("a\r\nb\"c", "a_b_c.jsonl"),
        ] {
            assert_eq!(distinct(source, ".jsonl", &mut HashSet::new()), name);
        }
    }

    #[test]
    fn names_are_distinct_in_any_case() {
        let mut taken = HashSet::new();
        let names: Vec<String> = ["A/b", "a b", "A_B"].map(|source| distinct(source, ".csv", &mut taken)).to_vec();
        assert_eq!(names, ["A_b.csv", "a_b-2.csv", "A_B-3.csv"]);
    }

    proptest! {
        #[test]
        fn any_source_gives_a_safe_name(source in any::<String>(), copies in 1_usize..5) {
            let mut taken = HashSet::new();
            for _ in 0..copies {
                let name = distinct(&source.repeat(20), ".jsonl", &mut taken);
                prop_assert!(name.len() <= 120);
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
                prop_assert!(!name.starts_with(['.', '-']) && !name.contains(".."));
                prop_assert!(name.ends_with(".jsonl"));
            }
            prop_assert_eq!(taken.len(), copies);
        }
    }
}
