//! Notifies only if result rows hold a listed indicator.

mod indicators;
mod scan;

use std::collections::HashMap;

use bewit_plugin::prelude::*;
use regex::{Regex, RegexSet};
use serde_json::Value;

use indicators::Indicators;
use scan::{Hit, Scanner};

/// Mistakes that are named before the rest is only counted.
const MOST_PROBLEMS: usize = 20;

/// Characters of a pattern or column that a note shows.
const LONGEST_SHOWN: usize = 120;

/// What `[plugins.NAME] settings` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    list: Vec<String>,
    #[serde(default)]
    patterns: Vec<String>,
    sources: Option<String>,
    columns: Option<String>,
    #[serde(default)]
    on_miss: OnMiss,
    #[serde(default = "ten")]
    max_notes: usize,
}

fn ten() -> usize {
    10
}

/// What is said of an event without a hit.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum OnMiss {
    #[default]
    Drop,
    Abstain,
}

struct IocMatch {
    list: Indicators,
    patterns: RegexSet,
    sources: Option<Regex>,
    columns: Option<Regex>,
    on_miss: OnMiss,
    max_notes: usize,
}

impl Plugin for IocMatch {
    type Settings = Settings;

    const SETTINGS: &'static [Setting] = &[
        Setting::optional("list", "Hashes, IP addresses, CIDR ranges, domains and URLs: a list of texts."),
        Setting::optional("patterns", "Regular expressions to look for in every cell: a list of texts."),
        Setting::optional("sources", "Only sources whose name this regular expression finds; all if it is not set."),
        Setting::optional("columns", "Only columns whose name this regular expression finds; all if it is not set."),
        Setting::optional("on_miss", "`drop` (the default: no mail without a hit) or `abstain`."),
        Setting::optional("max_notes", "Indicators that are named before reading stops, from 1 to 100; 10 by default."),
    ];

    const FILES: &'static [Setting] =
        &[Setting::optional("list", "More of what `settings.list` holds, one a line; `#` begins a comment.")];

    const WARM: bool = true;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut list = Indicators::default();
        for (number, entry) in settings.list.iter().enumerate() {
            if let Err(error) = list.add(entry) {
                problems.add("list", format!("entry {}, `{}`, {error}", number + 1, short(entry)));
            }
        }
        for (number, line) in file("list").unwrap_or_default().lines().enumerate() {
            let entry = uncommented(line);
            if !entry.is_empty()
                && let Err(error) = list.add(entry)
            {
                problems.add("list", format!("line {} of the file, `{}`, {error}", number + 1, short(entry)));
            }
        }
        for (number, pattern) in settings.patterns.iter().enumerate() {
            if let Err(error) = Regex::new(pattern) {
                problems.add("patterns", format!("entry {}: {error}", number + 1));
            }
        }
        let sources = regex("sources", settings.sources.as_deref(), &mut problems);
        let columns = regex("columns", settings.columns.as_deref(), &mut problems);
        if !(1..=100).contains(&settings.max_notes) {
            problems.add("max_notes", "goes from 1 to 100");
        }
        if problems.0.is_empty() && list.len() == 0 && settings.patterns.is_empty() {
            problems.add("list", "there is nothing to look for: give `list`, `patterns` or the file `list`");
        }
        let more = problems.0.len().saturating_sub(MOST_PROBLEMS);
        if more > 0 {
            problems.0.truncate(MOST_PROBLEMS);
            problems.add("", format!("and {more} more mistakes"));
        }
        problems.none_or(())?;
        Ok(Self {
            list,
            patterns: RegexSet::new(&settings.patterns)?,
            sources,
            columns,
            on_miss: settings.on_miss,
            max_notes: settings.max_notes,
        })
    }
}

impl Filter for IocMatch {
    fn decide(&self, event: &Event) -> Answer {
        if event.kind != "System.Flow.Completion" {
            return abstain();
        }
        let mut search = Search { plugin: self, scanner: Scanner::default(), found: Found::default() };
        for source in event.sources() {
            if self.sources.as_ref().is_none_or(|sources| sources.is_match(&source)) && !search.full() {
                search.source(event, &source)?;
            }
        }
        let stopped = search.full();
        let Found { hits, rows, .. } = search.found;
        if hits.is_empty() {
            return match self.on_miss {
                OnMiss::Drop => discard(format!("no listed indicator in {}", count(rows, "row"))),
                OnMiss::Abstain => abstain(),
            };
        }
        let mut notes: Vec<Note> = hits.iter().map(Place::note).collect();
        if stopped {
            notes.push(Note::neutral(format!(
                "Reading stopped at {}, after {}: there may be more.",
                count(hits.len(), "indicator"),
                count(rows, "row")
            )));
        }
        keep(notes)
    }
}

export_filter!(IocMatch: Plugin);

/// Where an indicator was seen first, and how often.
struct Place {
    hit: Hit,
    source: String,
    row: usize,
    column: String,
    times: usize,
}

impl Place {
    fn note(&self) -> Note {
        let Self { hit, source, row, column, times } = self;
        let indicator = short(&hit.indicator);
        let column = short(column);
        let more = if *times > 1 { format!("; {times} times in all") } else { String::new() };
        Note::danger(format!("{} {indicator}: {source}, row {row}, column {column}{more}.", capital(hit.kind)))
    }
}

#[derive(Default)]
struct Found {
    /// In the order of their first appearance.
    hits: Vec<Place>,
    by_hit: HashMap<Hit, usize>,
    rows: usize,
}

impl Found {
    fn add(&mut self, hit: Hit, source: &str, row: usize, column: &str) {
        if let Some(place) = self.by_hit.get(&hit).and_then(|number| self.hits.get_mut(*number)) {
            place.times += 1;
            return;
        }
        self.by_hit.insert(hit.clone(), self.hits.len());
        self.hits.push(Place { hit, source: source.to_owned(), row, column: column.to_owned(), times: 1 });
    }
}

struct Search<'a> {
    plugin: &'a IocMatch,
    scanner: Scanner,
    found: Found,
}

impl Search<'_> {
    fn full(&self) -> bool {
        self.found.hits.len() >= self.plugin.max_notes
    }

    fn source(&mut self, event: &Event, source: &str) -> Result<(), Failure> {
        for (number, row) in event.rows(source)?.enumerate() {
            self.found.rows += 1;
            for (column, value) in row? {
                if self.plugin.columns.as_ref().is_none_or(|columns| columns.is_match(&column)) {
                    let mut path = column;
                    self.value(&value, source, number + 1, &mut path);
                }
            }
            if self.full() {
                break;
            }
        }
        Ok(())
    }

    /// Depth is bounded by what the host lets through.
    fn value(&mut self, value: &Value, source: &str, row: usize, path: &mut String) {
        let length = path.len();
        match value {
            Value::String(text) => self.text(text, source, row, path),
            Value::Array(values) => {
                for value in values {
                    self.value(value, source, row, path);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    path.push('.');
                    path.push_str(key);
                    self.value(value, source, row, path);
                    path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str, source: &str, row: usize, column: &str) {
        let Self { plugin, scanner, found } = self;
        scanner.scan(text, &plugin.list, &mut |hit| found.add(hit, source, row, column));
        if plugin.patterns.is_empty() {
            return;
        }
        for number in plugin.patterns.matches(text) {
            if let Some(pattern) = plugin.patterns.patterns().get(number) {
                let hit = Hit { kind: "pattern", indicator: pattern.clone() };
                found.add(hit, source, row, column);
            }
        }
    }
}

/// A line without its comment: from a `#` at its beginning or after a space.
fn uncommented(line: &str) -> &str {
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.starts_with('#') {
        return "";
    }
    line.split_once(" #").or_else(|| line.split_once("\t#")).map_or(line, |(entry, _)| entry.trim_end())
}

fn regex(key: &str, pattern: Option<&str>, problems: &mut Problems) -> Option<Regex> {
    match Regex::new(pattern?) {
        Ok(regex) => Some(regex),
        Err(error) => {
            problems.add(key, error.to_string());
            None
        }
    }
}

fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn capital(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use bewit_plugin::testing::Host;
    use serde_json::json;

    use super::*;

    fn notes(answer: Answer) -> Vec<String> {
        match answer.unwrap() {
            Verdict::Keep(notes) => notes.into_iter().map(|note| note.text).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn notes_say_which_and_where() {
        let plugin: IocMatch = Host::new()
            .settings(json!({"list": ["198.51.100.0/24"], "patterns": ["(?i)-enc\\b"]}))
            .file("list", "\u{feff}# ours\nevil.example # seen in May\n\n  d41d8cd98f00b204e9800998ecf8427e\n")
            .rows("Windows.Network.Netstat", json!([{"Raddr": {"IP": "192.0.2.1"}}, {"Raddr": {"IP": "198.51.100.4"}}]))
            .rows(
                "Windows.System.Pslist",
                json!([
                    {"CommandLine": "powershell -Enc x", "Hash": {"MD5": "D41D8CD98F00B204E9800998ECF8427E"}, "Pid": 3},
                    {"CommandLine": "curl cdn.evil.example", "Tags": [["x", "evil.example"]]},
                ]),
            )
            .plugin()
            .unwrap();
        let mut notes = notes(plugin.decide(&Event::default()));
        notes.sort();
        assert_eq!(
            notes,
            [
                "Address 198.51.100.0/24: Windows.Network.Netstat, row 2, column Raddr.IP.",
                "Domain evil.example: Windows.System.Pslist, row 2, column CommandLine; 2 times in all.",
                "MD5 d41d8cd98f00b204e9800998ecf8427e: Windows.System.Pslist, row 1, column Hash.MD5.",
                "Pattern (?i)-enc\\b: Windows.System.Pslist, row 1, column CommandLine.",
            ]
        );
    }

    #[test]
    fn no_hit_no_mail_unless_told_otherwise() {
        let host = |settings| Host::new().settings(settings).rows("A", json!([{"x": "evil.example"}, {"y": 1}]));
        let plugin: IocMatch = host(json!({"list": ["good.example"]})).plugin().unwrap();
        assert_eq!(plugin.decide(&Event::default()), discard("no listed indicator in 2 rows"));
        let plugin: IocMatch = host(json!({"list": ["good.example"], "on_miss": "abstain"})).plugin().unwrap();
        assert_eq!(plugin.decide(&Event::default()), abstain());
        let plugin: IocMatch = host(json!({"list": ["evil.example"], "columns": "^y$"})).plugin().unwrap();
        assert_eq!(plugin.decide(&Event::default()), discard("no listed indicator in 2 rows"));
        let plugin: IocMatch = host(json!({"list": ["evil.example"], "sources": "^B$"})).plugin().unwrap();
        assert_eq!(plugin.decide(&Event::default()), discard("no listed indicator in 0 rows"));
        let plugin: IocMatch = host(json!({"list": ["evil.example"]})).plugin().unwrap();
        assert_eq!(notes(plugin.decide(&Event::default())), ["Domain evil.example: A, row 1, column x."]);
        assert_eq!(plugin.decide(&Event { kind: "Other".to_owned(), ..Event::default() }), abstain());
    }

    #[test]
    fn a_flood_of_hits_stops_the_reading() {
        let list: Vec<String> = (0..50).map(|n| format!("e{n}.example")).collect();
        let rows: Vec<Value> = list.iter().map(|name| json!({"x": name})).collect();
        let plugin: IocMatch =
            Host::new().settings(json!({"list": list, "max_notes": 3})).rows("A", json!(rows)).plugin().unwrap();
        let notes = notes(plugin.decide(&Event::default()));
        assert_eq!(notes.len(), 4);
        assert_eq!(notes[3], "Reading stopped at 3 indicators, after 3 rows: there may be more.");
    }

    #[test]
    fn wrong_settings_are_named_with_their_key() {
        let problems = |host: Host| {
            let problems = host.plugin::<IocMatch>().err().unwrap();
            problems.0.into_iter().map(|problem| (problem.key, problem.message)).collect::<Vec<_>>()
        };
        let found = problems(
            Host::new()
                .settings(json!({"list": ["x"], "patterns": ["("], "columns": "[", "max_notes": 0}))
                .file("list", "evil.example\nnonsense\n"),
        );
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["list", "list", "patterns", "columns", "max_notes"]);
        assert!(found[1].1.starts_with("line 2 of the file, `nonsense`"), "{found:?}");
        assert!(problems(Host::new())[0].1.contains("nothing to look for"));
        assert_eq!(problems(Host::new().settings(json!({"list": [1]})))[0].0, "list");
        assert_eq!(problems(Host::new().settings(json!({"on_miss": "no"})))[0].0, "on_miss");
        let many: Vec<String> = (0..60).map(|n| format!("bad{n}")).collect();
        assert_eq!(problems(Host::new().settings(json!({"list": many}))).len(), 21);
    }
}
