use std::time::{Duration, Instant};

use serde::Deserialize;

use super::*;

/// One pattern and what Go's own engine says of it, with `(?i)` before it as VQL compiles it.
#[derive(Deserialize)]
struct Golden {
    pattern: String,
    /// Numbers of the texts that match; `None`: Go refuses the pattern.
    matches: Option<Vec<usize>>,
}

/// Recorded from Go 1.26's `regexp`: the texts, chosen for their corners, then a line for each pattern.
const GO: &str = include_str!("go.jsonl");

#[test]
fn agrees_with_go() {
    let mut lines = GO.lines();
    let texts: Vec<String> = serde_json::from_str(lines.next().unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for line in lines {
        let golden: Golden = serde_json::from_str(line).unwrap();
        let name = &golden.pattern;
        match (Pattern::new(name), golden.matches) {
            (Ok(_), None) => wrong.push(format!("{name:?}: taken, Go refuses it")),
            (Ok(pattern), Some(matches)) => {
                compared += texts.len();
                for (number, text) in texts.iter().enumerate() {
                    if pattern.matches(text) != matches.contains(&number) {
                        wrong.push(format!("{name:?} and {text:?}: not {}", matches.contains(&number)));
                    }
                }
            }
            (Err(error), Some(_)) if error.fault == PatternFault::Invalid => wrong.push(format!("{name:?}: {error}")),
            (Err(_), _) => {}
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 10_000, "{compared}");
}

fn matches(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern).unwrap_or_else(|error| panic!("{error}")).matches(text)
}

#[test]
fn three_patterns_match_everything_and_nothing() {
    for source in ["", ".", ".*"] {
        let pattern = Pattern::new(source).unwrap();
        assert!(pattern.matches_all());
        assert!(pattern.matches(""));
        assert!(pattern.matches_any([]), "{source:?}");
        assert_eq!(pattern.is_empty(), source.is_empty());
    }
    for source in [".+", "^.*$", "(.*)", "x?"] {
        assert!(!Pattern::new(source).unwrap().matches_any([]), "{source:?}");
    }
    assert!(!matches(".+", ""));
    assert!(matches("^.*$", ""));
}

#[test]
fn any_byte_is_any_character() {
    // Go's newest engine refuses it, older ones of the family took it for a byte.
    assert!(matches(r"^a\Cb$", "a\nb") && matches(r"^\C$", "é") && !matches(r"\C", ""));
}

#[test]
fn any_of_several_texts() {
    let pattern = Pattern::new("^lab$").unwrap();
    assert!(pattern.matches_any(["prod", "LAB"]));
    assert!(!pattern.matches_any(["prod", "labrador"]));
    assert_eq!(pattern.first_match(["prod", "Lab", "lab"]), Some("Lab"));
}

#[test]
fn what_is_too_large_is_refused_and_long_texts_are_cut() {
    let error = Pattern::new(r"[\w\p{L}]{900}").unwrap_err();
    assert_eq!(error.fault, PatternFault::TooLarge);
    assert!(error.reason.contains("256 KiB"), "{error}");
    assert!(Pattern::new("(?:[ab]{1000}){20}c").is_err());

    let pattern = Pattern::new("(?:a|b)*x$").unwrap();
    let mut text = "ab".repeat(512 * 1024);
    let start = Instant::now();
    assert!(!pattern.matches(&text));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    text.replace_range(..0, "é");
    assert!(Pattern::new("^éab").unwrap().matches(&text));

    let mut far = "é".repeat(TEXT_LIMIT / 2 - 1);
    far.push_str("€ needle");
    assert_eq!(head(&far).len(), TEXT_LIMIT - 2, "cut between characters");
    assert!(!matches("needle", &far));
}

#[test]
fn many_groups_are_fine_too_many_are_not() {
    assert!(Pattern::new(&format!("{}a{}", "(".repeat(240), ")".repeat(240))).is_ok());
    assert!(Pattern::new(&format!("{}a{}", "(".repeat(3000), ")".repeat(3000))).is_err());
}

#[test]
fn a_fault_is_pointed_at() {
    let error = Pattern::new("é[a").unwrap_err();
    assert_eq!(error.reason, "unclosed class\n    é[a\n     ^");
    let error = Pattern::new("a\u{1b}**").unwrap_err();
    assert_eq!(error.reason, "a repetition of a repetition\n    a\\u{1b}**\n            ^");
    let error = Pattern::new(&format!("{}(", "a".repeat(200))).unwrap_err();
    assert_eq!(error.reason, "unclosed group at character 201");
    let error = Pattern::new(r"\p{Nonsense}").unwrap_err();
    assert_eq!(error.reason, "Unicode property not found");
}

proptest::proptest! {
    /// Whatever people write, it is refused or it matches; and what is compiled matches itself where it is plain text.
    #[test]
    fn no_pattern_panics(source in "[\\PC\\[\\](){}|*+?^$.\\\\a-cQE:-]{0,24}", text in "\\PC{0,12}") {
        if let Ok(pattern) = Pattern::new(&source) {
            let _ = pattern.matches(&text);
        }
        let quoted = format!("^\\Q{text}\\E$");
        if !text.contains("\\E") {
            proptest::prop_assert!(Pattern::new(&quoted).unwrap().matches(&text));
        }
    }
}
