//! Compares what the operator has set with what the plugin says it knows.

use super::spec::PluginSpec;
use super::v0_1::{Description, Setting};
use crate::text::{Shown, cut, one_line};

/// Settings, and files, of one plugin.
const MOST: usize = 200;
/// Characters of a name.
const NAME: usize = 100;
/// Characters of a sentence.
const SENTENCE: usize = 500;

/// Makes a description fit to be shown.
pub(super) fn clean(description: &mut Description) {
    for (text, limit) in
        [(&mut description.name, NAME), (&mut description.version, NAME), (&mut description.summary, SENTENCE)]
    {
        *text = one_line(&cut(text, limit));
    }
    for settings in [&mut description.settings, &mut description.files] {
        settings.truncate(MOST);
        for setting in settings {
            setting.summary = one_line(&cut(&setting.summary, SENTENCE));
        }
    }
}

/// Keys that the plugin does not know, and those that it misses.
pub(super) fn problems(description: &Description, spec: &PluginSpec) -> Vec<String> {
    let set: Vec<&str> = spec.settings.keys().map(String::as_str).collect();
    let files: Vec<&str> = spec.files.keys().map(String::as_str).collect();
    let mut problems = compare("settings", &description.settings, &set);
    problems.extend(compare("files", &description.files, &files));
    problems
}

fn compare(table: &str, known: &[Setting], set: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    for key in set {
        if known.iter().any(|setting| setting.key == *key) {
            continue;
        }
        let near = known
            .iter()
            .map(|setting| (strsim::jaro_winkler(&setting.key, key), setting))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        let hint = match (near, known) {
            (Some((_, setting)), _) => format!("did you mean {}?", Shown(&setting.key)),
            (None, []) => "it knows none".to_owned(),
            (None, known) => {
                let names: Vec<String> = known.iter().take(20).map(|setting| Shown(&setting.key).to_string()).collect();
                format!("it knows {}", names.join(", "))
            }
        };
        problems.push(format!("{table}.{}: the plugin does not know it; {hint}", one_line(&cut(key, NAME))));
    }
    for setting in known.iter().filter(|setting| setting.required && !set.contains(&setting.key.as_str())) {
        let key = one_line(&cut(&setting.key, NAME));
        problems.push(format!("{table}.{key}: it must be there: {}", setting.summary));
    }
    problems
}

/// A problem that the plugin has found itself.
pub(super) fn problem(key: &str, message: &str) -> String {
    let message = one_line(&cut(message, SENTENCE));
    if key.is_empty() { message } else { format!("settings.{}: {message}", one_line(&cut(key, NAME))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, required: bool) -> Setting {
        Setting { key: key.to_owned(), summary: "What it is for.".to_owned(), required }
    }

    #[test]
    fn unknown_and_missing_keys_are_named() {
        let known = [setting("list", true), setting("columns", false)];
        assert_eq!(compare("settings", &known, &["list", "columns"]), Vec::<String>::new());
        assert_eq!(
            compare("settings", &known, &["lists"]),
            [
                "settings.lists: the plugin does not know it; did you mean `list`?",
                "settings.list: it must be there: What it is for.",
            ]
        );
        assert_eq!(
            compare("files", &known, &["zzz", "list"]),
            ["files.zzz: the plugin does not know it; it knows `list`, `columns`"]
        );
        assert_eq!(compare("files", &[], &["x"]), ["files.x: the plugin does not know it; it knows none"]);
    }
}
