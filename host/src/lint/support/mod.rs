//! What mail programs support, as data: `support.tsv`, made from the data of caniemail.com by `cargo xtask support`. The
//! file says from when it is and under which licence.

mod used;

use std::collections::HashMap;
use std::sync::LazyLock;

use self::used::Used;
use super::report::Report;
use super::{Finding, Page, Rendered, Severity};

static DATA: &str = include_str!("support.tsv");

/// Mail programs, in the order of the data's letters: family and where it runs.
const PROGRAMS: [(&str, &str); 13] = [
    ("Gmail", "web"),
    ("Gmail", "iOS"),
    ("Gmail", "Android"),
    ("Outlook", "Windows"),
    ("Outlook", "web and new"),
    ("Outlook", "macOS"),
    ("Outlook", "iOS"),
    ("Outlook", "Android"),
    ("Apple Mail", "macOS"),
    ("Apple Mail", "iOS"),
    ("Thunderbird", ""),
    ("Yahoo Mail", "web"),
    ("Proton Mail", "web"),
];

/// Their names, where one stands alone.
const NAMES: [&str; 13] = [
    "gmail-web",
    "gmail-ios",
    "gmail-android",
    "outlook-windows",
    "outlook-web",
    "outlook-macos",
    "outlook-ios",
    "outlook-android",
    "apple-mail-macos",
    "apple-mail-ios",
    "thunderbird",
    "yahoo-web",
    "proton-web",
];

/// One thing that programs may or may not support.
#[derive(Debug)]
struct Feature {
    id: &'static str,
    severity: Severity,
    /// When it was tested, year and month.
    tested: &'static str,
    /// For each program: `y`es, `n`o, in p`a`rt, `u`nknown.
    support: &'static str,
}

/// The data, by what a mail uses: `property:opacity`.
static FEATURES: LazyLock<HashMap<&'static str, Feature>> = LazyLock::new(|| {
    let mut features = HashMap::new();
    for line in DATA.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split('\t');
        let (Some(id), Some(severity), Some(tested), Some(support), Some(uses)) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let severity = if severity == "warning" { Severity::Warning } else { Severity::Hint };
        for used in uses.split(' ') {
            features.insert(used, Feature { id, severity, tested, support });
        }
    }
    features
});

/// The day of the data, `2026-05-13`.
#[must_use]
pub fn date() -> &'static str {
    DATA.lines().find_map(|line| line.strip_prefix("# date: ")).unwrap_or_default()
}

pub(super) fn check(page: &Page, mail: &Rendered<'_>, report: &mut Report) {
    // One finding for a feature, however many of its names are used.
    let mut named: HashMap<&'static str, String> = HashMap::new();
    for Used { key, at, part } in used::of(page, mail) {
        let Some(feature) = FEATURES.get(key.as_str()) else { continue };
        let without = programs(feature, 'n');
        if without.is_empty() {
            continue;
        }
        let what = named.entry(feature.id).or_insert_with(|| {
            let ignored = if key.starts_with("image:") { "not shown by" } else { "ignored by" };
            let all = if without.len() == PROGRAMS.len() { "every program".to_owned() } else { families(&without) };
            format!("{} is {ignored} {all}", label(&key))
        });
        let part_of = programs(feature, 'a');
        let partly = if part_of.is_empty() { String::new() } else { format!(" In part only: {}.", families(&part_of)) };
        let finding = Finding {
            id: feature.id,
            severity: feature.severity,
            part,
            header: None,
            places: Vec::new(),
            count: 0,
            what: what.clone(),
            why: format!(
                "{}{partly} Tested {}; data of caniemail.com/features/{}, {}.",
                if feature.severity == Severity::Warning {
                    "Where it is ignored, content or layout is lost."
                } else {
                    "Where it is ignored, the mail looks plainer."
                },
                feature.tested,
                feature.id,
                date()
            ),
            advice: if feature.severity == Severity::Warning {
                "Do without it, or see to it that the mail says the same without it."
            } else {
                "Nothing, if the mail reads as well without it."
            }
            .to_owned(),
            programs: without.iter().filter_map(|index| NAMES.get(*index)).copied().collect(),
            more: 0,
        };
        report.put(finding, at);
    }
}

/// Places in [`PROGRAMS`] of those with this letter.
fn programs(feature: &Feature, letter: char) -> Vec<usize> {
    feature.support.chars().enumerate().filter(|(_, own)| *own == letter).map(|(index, _)| index).collect()
}

/// `Gmail (web, iOS), Thunderbird`; a family that is there as a whole stands without brackets.
fn families(programs: &[usize]) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for (family, _) in programs.iter().filter_map(|index| PROGRAMS.get(*index)) {
        if done.contains(family) {
            continue;
        }
        done.push(family);
        let own: Vec<&str> = programs
            .iter()
            .filter_map(|index| PROGRAMS.get(*index))
            .filter(|(other, place)| other == family && !place.is_empty())
            .map(|(_, place)| *place)
            .collect();
        let whole = PROGRAMS.iter().filter(|(other, _)| other == family).count();
        out.push(if own.is_empty() || own.len() == whole {
            (*family).to_owned()
        } else {
            format!("{family} ({})", own.join(", "))
        });
    }
    out.join(", ")
}

/// What a mail uses, as its author wrote it.
fn label(key: &str) -> String {
    let (kind, name) = key.split_once(':').unwrap_or(("", key));
    match kind {
        "element" => format!("`<{name}>`"),
        "attribute" => format!("the attribute `{name}`"),
        "value" => format!("`{}`", name.replace('=', ": ")),
        "function" => format!("`{name}()`"),
        "unit" => format!("the unit `{name}`"),
        "at" => format!("`@{name}`"),
        "media" => format!("`@media ({name})`"),
        "pseudo" => format!("`:{name}`"),
        "image" if name == "data" => "a picture written into its address (`data:`)".to_owned(),
        "image" => format!("a picture of type `{name}`"),
        "selector" => format!("a selector with `{name}`"),
        "css" => format!("CSS {name}"),
        _ => format!("`{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_whole() {
        assert_eq!(date().len(), "2026-05-13".len());
        for word in ["MIT License", "caniemail.com", "Permission is hereby granted"] {
            assert!(DATA.contains(word), "{word}");
        }
        let mut ids = HashMap::new();
        for line in DATA.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), 5, "{line}");
            assert_eq!(fields[3].len(), PROGRAMS.len(), "{line}");
            assert!(fields[3].chars().all(|c| "ynau".contains(c)), "{line}");
            assert!(["warning", "hint"].contains(&fields[1]), "{line}");
            assert!(ids.insert(fields[0], ()).is_none(), "{} is there twice", fields[0]);
            assert!(crate::lint::Rule::of(fields[0]).is_none(), "{}: a rule has this name", fields[0]);
        }
        assert!(FEATURES.len() > 150);
    }

    #[test]
    fn programs_are_named_by_family() {
        assert_eq!(families(&[0, 1, 2, 3, 10]), "Gmail, Outlook (Windows), Thunderbird");
        assert_eq!(families(&[0, 4]), "Gmail (web), Outlook (web and new)");
    }
}
