use std::collections::BTreeSet;

use super::*;

fn own(name: &str, text: &str) -> (BTreeMap<String, Language>, Vec<String>, Vec<String>) {
    let (mut errors, mut remarks) = (Vec::new(), Vec::new());
    let languages = read([(name.to_owned(), text.to_owned())].into(), &mut errors, &mut remarks);
    let told = |list: Vec<TemplateError>| list.iter().map(ToString::to_string).collect();
    (languages, told(errors), told(remarks))
}

fn catalogue(name: &str) -> Catalogue {
    let text = STOCK.iter().find(|(known, _)| *known == name).unwrap().1;
    let mut errors = Vec::new();
    let read = Catalogue::read(&file(name), text, &mut errors);
    read.check(&file(name), text, &Catalogue::read("", STOCK[0].1, &mut Vec::new()), &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    read
}

#[test]
fn what_is_shipped_is_complete() {
    let english = catalogue(ENGLISH);
    for (name, text) in STOCK {
        let other = catalogue(name);
        for (key, entry) in &english.entries {
            let translated = other.entries.get(key).unwrap_or_else(|| panic!("{name} has no {key}"));
            assert_eq!(translated.places(), entry.places(), "{name}: {key}");
        }
        assert_eq!(other.entries.len(), english.entries.len(), "{name} has a key that English has not");
        // In the same order, so that they can be read side by side.
        let keys = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.to_owned()).collect()
        };
        assert_eq!(keys(text), keys(STOCK[0].1), "{name}");
    }
}

/// Keys that code and templates name are there, and none is there for nothing.
#[test]
fn every_key_is_used_and_every_use_has_a_key() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for (_, template) in crate::compose::templates::STOCK {
        text.push_str(template);
    }
    for file in
        ["mod.rs", "build.rs", "results.rs", "tables.rs", "blocks.rs", "attachments.rs", "digest.rs", "locale.rs"]
    {
        let code = std::fs::read_to_string(root.join("src/compose").join(file)).unwrap();
        text.push_str(code.split("#[cfg(test)]\nmod tests {").next().unwrap());
    }
    let english = catalogue(ENGLISH);
    // Names that are put together: of a fact, an outcome, a tone.
    for facts in text.clone().split("facts.").skip(1) {
        if let Some(key) =
            facts.split('"').nth(1).filter(|_| facts.split('(').next().is_some_and(|word| word.len() < 11))
        {
            text.push_str(&format!("\"fact_{key}\" "));
        }
    }
    for (prefix, names) in [
        ("mark", &["finished", "failed", "cancelled"][..]),
        ("outcome", &["finished", "failed", "cancelled"]),
        ("tone", &["neutral", "good", "warning", "danger"]),
    ] {
        for name in names {
            text.push_str(&format!("\"{prefix}_{name}\" "));
        }
    }
    for name in ["finished_by", "ended_by"] {
        text.push_str(&format!("\"{name}\" "));
    }
    for key in english.entries.keys() {
        assert!(text.contains(&format!("\"{key}\"")), "nothing says `{key}`");
    }
    for (call, end) in [(" t(\"", '"'), (".t(\"", '"'), (".n(\"", '"'), ("(t(\"", '"'), ("{{ t(\"", '"')] {
        for rest in text.split(call).skip(1) {
            let key = rest.split(end).next().unwrap();
            let composed = ["mark_", "outcome_", "tone_", "fact_{key}", "key"].contains(&key);
            assert!(composed || english.entries.contains_key(key), "there is no text `{key}`");
        }
    }
}

#[test]
fn a_site_adds_and_changes_languages() {
    let (languages, errors, remarks) =
        own("fr", "rows = { one = \"{n} ligne\", other = \"{n} lignes\" }\nour_own_text = \"x\"");
    assert!(errors.is_empty(), "{errors:?}");
    let fill = |key: &str, number: u64| {
        let n = number.to_string();
        languages["fr"].fill(key, Some(number), &[("n", &n)])
    };
    assert_eq!(
        (fill("rows", 0), fill("rows", 1), fill("rows", 2)),
        ("0 ligne".into(), "1 ligne".into(), "2 lignes".into())
    );
    // What is missing is English, and worth a word.
    assert_eq!(fill("files", 2), "2 files");
    assert_eq!(fill("our_own_text", 2), "x");
    assert_eq!(remarks.len(), 1);
    assert!(remarks[0].starts_with("lang/fr.toml: ") && remarks[0].contains("texts missing, which will be English"));
    assert!(remarks[0].contains("and_more, and_more_collections") && remarks[0].contains(" more"), "{remarks:?}");

    // A shipped one keeps what is not changed; one with a region says what is different there.
    let (languages, errors, remarks) = own("de", "size = \"Umfang\"");
    assert!(errors.is_empty() && remarks.is_empty(), "{errors:?} {remarks:?}");
    assert_eq!(languages["de"].fill("size", None, &[]), "Umfang");
    assert_eq!(languages["de"].fill("uploads", None, &[]), "Hochgeladene Dateien");
    let (languages, errors, remarks) =
        own("de-AT", "months_short = \"Jän. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.\"");
    assert!(errors.is_empty() && remarks.is_empty(), "{errors:?} {remarks:?}");
    assert_eq!(languages["de-AT"].fill("uploads", None, &[]), "Hochgeladene Dateien");
    assert!(languages["de-AT"].fill("months_short", None, &[]).starts_with("Jän."));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, message) in [
        ("rows = 3", "a text, or a table of forms"),
        ("size = \"x\"\nrows = { one = \"x\" }", "the form `other` is missing"),
        ("rows = { several = \"x\", other = \"y\" }", "`several` is not a form of a number\nknown are zero, one"),
        ("rows = { other = 1 }", "the form `other` must be a text"),
        ("size = \"{wide\"", "a `{` is not closed; write `{{` for a brace"),
        ("size = \"{a b}\"", "`{a b}` is not the name of a value"),
        ("size = \"{wide}\"", "`{wide}` is not filled in in `size`\nit has none"),
        ("summary_failed = \"{hots}\"", "`{hots}` is not filled in in `summary_failed`\nknown are {host}, {what}"),
        ("months = \"one two\"", "`months` has 2 names, not 12"),
        ("size = ", "this is no TOML"),
    ] {
        let (_, errors, _) = own("fr", text);
        assert!(errors.len() == 1 && errors[0].contains(message), "{text}: {errors:?}");
    }
    let mut errors = Vec::new();
    read([("fr".to_owned(), "a = \"x\"\nsize = 3".to_owned())].into(), &mut errors, &mut Vec::new());
    assert_eq!(
        (errors[0].name.as_str(), errors[0].line, errors[0].span.clone()),
        ("lang/fr.toml", Some(2), Some(15..16))
    );

    let (_, _, remarks) = own("fr", "row = \"x\"");
    assert!(remarks[0].contains("no stock text is called `row`\ndid you mean `rows`?"), "{remarks:?}");
}

#[test]
fn a_text_is_filled_in_once_and_braces_can_be_written() {
    let (languages, errors, _) = own("en", "size = \"{{{{n} x\"\nsummary_failed = \"{what}{host}{what}\"");
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(languages["en"].fill("size", None, &[]), "{{n} x");
    let filled = languages["en"].fill("summary_failed", None, &[("what", "{host}"), ("host", "<b>")]);
    assert_eq!(filled, "{host}<b>{host}");
    assert_eq!(languages["en"].fill("no_such_key", None, &[]), "no_such_key");
    assert_eq!(languages["en"].nearest("summary_faild"), Some("summary_failed"));
    let names: BTreeSet<bool> = ["", "EN", "e", "en_US", "../x", "en-", "en-US-x.y"].map(is_name).into();
    assert_eq!(names, [false].into());
    assert!(["en", "de-AT", "zh-Hant", "gsw"].iter().all(|name| is_name(name)));
}
