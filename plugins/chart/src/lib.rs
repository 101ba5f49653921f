//! Shows a column of sizes, percentages or numbers as bars.

mod columns;
mod font;
mod picture;
mod value;

use bewit_plugin::prelude::*;
use bewit_plugin::{Bar, Bars};
use regex::Regex;
use serde_json::Value;

use columns::{Choice, Names};
use value::{Kind, number, show};

/// Rows that are read; what comes after them is counted only.
const MOST_ROWS: usize = 20_000;

/// Bars in the picture: the host takes no higher one.
const MOST_DRAWN: usize = 48;

/// Characters of a label.
const LONGEST_LABEL: usize = 80;

/// Percentages from which a bar is coloured, unless the settings say otherwise.
const WARN: f64 = 80.0;
const DANGER: f64 = 90.0;

/// A number or a text such as `40G` or `87%`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Amount(Value);

/// What `[plugins.NAME] settings` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    label: Option<String>,
    value: Option<String>,
    maximum: Option<Amount>,
    warn: Option<Amount>,
    danger: Option<Amount>,
    #[serde(default = "twenty")]
    max_bars: usize,
    #[serde(default)]
    sort: Sort,
    #[serde(default = "yes")]
    png: bool,
}

fn twenty() -> usize {
    20
}

fn yes() -> bool {
    true
}

/// The order of the bars.
#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Sort {
    /// The longest first.
    #[default]
    Value,
    /// By name.
    Label,
    /// As the rows are.
    None,
}

struct Chart {
    names: Names,
    /// What is plentiful is good: no colours by themselves.
    plenty: Regex,
    label: Option<Regex>,
    value: Option<Regex>,
    maximum: Option<f64>,
    warn: Option<f64>,
    danger: Option<f64>,
    max_bars: usize,
    sort: Sort,
    png: bool,
}

impl Plugin for Chart {
    type Settings = Settings;

    const SETTINGS: &'static [Setting] = &[
        Setting::optional(
            "label",
            "A regular expression for the column that names the bars; else the first one of texts.",
        ),
        Setting::optional(
            "value",
            "A regular expression for the column that is shown; else percentages, sizes, numbers.",
        ),
        Setting::optional("maximum", "The value of a full bar; else 100 for percentages, and the greatest value."),
        Setting::optional("warn", "From here on a bar is a warning, such as `80` or `\"40G\"`; 80 for percentages."),
        Setting::optional("danger", "From here on a bar is bad news; 90 for percentages."),
        Setting::optional("max_bars", "Bars shown, from 1 to 48; 20 by default."),
        Setting::optional("sort", "`value` (the default: the longest first), `label` or `none`."),
        Setting::optional("png", "Whether to add a picture of the bars; `true` by default."),
    ];

    const WARM: bool = true;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut regex = |key: &str, text: Option<&String>| match Regex::new(text?) {
            Ok(regex) => Some(regex),
            Err(error) => {
                problems.add(key, error.to_string());
                None
            }
        };
        let (label, value) = (regex("label", settings.label.as_ref()), regex("value", settings.value.as_ref()));
        let mut amount = |key: &str, amount: Option<&Amount>| match number(&amount?.0) {
            Some((number, _)) => Some(number),
            None => {
                problems.add(key, "is neither a number nor a text such as `\"40G\"` or `\"87%\"`");
                None
            }
        };
        let maximum = amount("maximum", settings.maximum.as_ref());
        let (warn, danger) = (amount("warn", settings.warn.as_ref()), amount("danger", settings.danger.as_ref()));
        if maximum == Some(0.0) {
            problems.add("maximum", "must be above 0");
        }
        if let (Some(warn), Some(danger)) = (warn, danger)
            && warn > danger
        {
            problems.add("warn", "is above `danger`");
        }
        if !(1..=MOST_DRAWN).contains(&settings.max_bars) {
            problems.add("max_bars", format!("goes from 1 to {MOST_DRAWN}"));
        }
        problems.none_or(())?;
        Ok(Self {
            names: Names::new()?,
            plenty: Regex::new(r"(?i)free|avail|idle")?,
            label,
            value,
            maximum,
            warn,
            danger,
            max_bars: settings.max_bars,
            sort: settings.sort,
            png: settings.png,
        })
    }
}

impl Renderer for Chart {
    fn render(&self, source: &Source, event: &Event) -> Rendered {
        let mut rows = event.rows(&source.name)?;
        let (columns, total) = (rows.columns(), rows.total()?);
        let read = rows.by_ref().take(MOST_ROWS).collect::<Result<Vec<Row>, _>>()?;
        if read.is_empty() {
            return Ok(Fragment::new("").paragraph("No rows."));
        }
        let choice = match self.names.choose(&columns, &read, self.label.as_ref(), self.value.as_ref()) {
            Ok(choice) => choice,
            Err(reason) => return reject(reason),
        };
        let mut bars: Vec<Bar> = read.iter().enumerate().filter_map(|(at, row)| self.bar(&choice, at, row)).collect();
        let without = read.len() - bars.len();
        match self.sort {
            Sort::Value => bars.sort_by(|a, b| b.value.total_cmp(&a.value)),
            Sort::Label => bars.sort_by(|a, b| a.label.cmp(&b.label)),
            Sort::None => {}
        }
        let rest = bars.split_off(self.max_bars.min(bars.len()));
        let mut notes = Vec::new();
        if !rest.is_empty() {
            if choice.kind == Kind::Percent {
                // Percentages of different things have no sum.
                notes.push(format!("{} more are not shown.", rest.len()));
            } else {
                let value: f64 = rest.iter().map(|bar| bar.value).sum();
                let label = format!("{} others", rest.len());
                bars.push(Bar { label, value, text: show(value, choice.kind), tone: Tone::Neutral });
            }
        }
        if without > 0 {
            notes.push(format!("Rows without a value, left out: {without}."));
        }
        if total > MOST_ROWS as u64 {
            notes.push(format!("Only the first {MOST_ROWS} of {total} rows were read."));
        }
        let mut chart = Bars::new(choice.value.clone(), self.full(choice.kind, &bars));
        for bar in bars {
            chart = chart.bar(bar.label, bar.value, bar.text, bar.tone);
        }
        let picture = self.png.then(|| picture::draw(&chart));
        let alternative = alternative(&chart);
        let mut fragment = Fragment::new("").bars(chart);
        if let Some((data, size)) = picture {
            fragment = fragment.image(data, alternative, size);
        }
        Ok(notes.into_iter().fold(fragment, |fragment, note| fragment.note(Note::neutral(note))))
    }
}

export_renderer!(Chart: Plugin);

impl Chart {
    fn bar(&self, choice: &Choice, at: usize, row: &Row) -> Option<Bar> {
        let cell = row.get(&choice.value)?;
        let (value, kind) = number(cell)?;
        // As it was written, if that says the unit.
        let text = match cell {
            Value::String(text) if kind != Kind::Number => text.trim().to_owned(),
            _ => show(value, choice.kind),
        };
        let label = match choice.label.as_ref().and_then(|label| row.get(label)) {
            Some(Value::String(text)) if !text.trim().is_empty() => text.chars().take(LONGEST_LABEL).collect(),
            Some(Value::Null) | Some(Value::String(_)) | None => format!("row {}", at + 1),
            Some(other) => other.to_string().chars().take(LONGEST_LABEL).collect(),
        };
        Some(Bar { label, value, text, tone: self.tone(choice, value) })
    }

    fn tone(&self, choice: &Choice, value: f64) -> Tone {
        let by_itself = choice.kind == Kind::Percent && self.warn.is_none() && self.danger.is_none();
        let (warn, danger) = match by_itself {
            true if self.plenty.is_match(&choice.value) => (None, None),
            true => (Some(WARN), Some(DANGER)),
            false => (self.warn, self.danger),
        };
        let reaches = |limit: Option<f64>| limit.is_some_and(|limit| value >= limit);
        if reaches(danger) {
            Tone::Danger
        } else if reaches(warn) {
            Tone::Warning
        } else {
            Tone::Neutral
        }
    }

    /// The value of a full bar.
    fn full(&self, kind: Kind, bars: &[Bar]) -> f64 {
        let greatest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        let full = self.maximum.unwrap_or(if kind == Kind::Percent { greatest.max(100.0) } else { greatest });
        // Nothing but zeros: empty bars.
        if full > 0.0 { full } else { 1.0 }
    }
}

/// The picture in words.
fn alternative(chart: &Bars) -> String {
    let values: Vec<String> = chart.items.iter().map(|bar| format!("{} {}", bar.label, bar.text)).collect();
    format!("{}: {}.", chart.caption, values.join(", "))
}

#[cfg(test)]
mod tests {
    use bewit_plugin::testing::Host;
    use bewit_plugin::{Block, Failure};
    use serde_json::json;

    use super::*;

    fn render(settings: Value, rows: Value) -> Rendered {
        let plugin: Chart = Host::new().settings(settings).rows("Disks", rows).plugin().unwrap();
        plugin.render(&Source { name: "Disks".to_owned() }, &Event::default())
    }

    fn bars(fragment: &Fragment) -> Vec<(&str, &str, Tone)> {
        let Block::Bars(bars) = &fragment.blocks[0] else { panic!("{fragment:?}") };
        bars.items.iter().map(|bar| (bar.label.as_str(), bar.text.as_str(), bar.tone)).collect()
    }

    fn df() -> Value {
        json!([
            {"Filesystem": "/dev/a", "Size": "40G", "Use%": "85%"},
            {"Filesystem": "/dev/b", "Size": "1.5T", "Use%": "7%"},
            {"Filesystem": "/dev/c", "Size": "100M", "Use%": "99%"},
            {"Filesystem": "none", "Size": "-", "Use%": "-"},
        ])
    }

    #[test]
    fn percentages_are_coloured_and_sorted() {
        let fragment = render(json!({}), df()).unwrap();
        assert_eq!(
            bars(&fragment),
            [("/dev/c", "99%", Tone::Danger), ("/dev/a", "85%", Tone::Warning), ("/dev/b", "7%", Tone::Neutral)]
        );
        let Block::Image(image) = &fragment.blocks[1] else { panic!("{fragment:?}") };
        assert_eq!(image.alternative, "Use%: /dev/c 99%, /dev/a 85%, /dev/b 7%.");
        let Block::Note(note) = &fragment.blocks[2] else { panic!("{fragment:?}") };
        assert_eq!(note.text, "Rows without a value, left out: 1.");
    }

    #[test]
    fn sizes_beyond_the_limit_are_summed_up() {
        let settings = json!({"value": "^Size$", "max_bars": 1, "warn": "1T", "png": false});
        let fragment = render(settings, df()).unwrap();
        assert_eq!(bars(&fragment), [("/dev/b", "1.5T", Tone::Warning), ("2 others", "40.1 GiB", Tone::Neutral)]);
        assert!(!fragment.blocks.iter().any(|block| matches!(block, Block::Image(_))));
        let fragment = render(json!({"max_bars": 2, "sort": "none"}), df()).unwrap();
        assert_eq!(bars(&fragment).len(), 2);
        assert!(
            fragment
                .blocks
                .iter()
                .any(|block| matches!(block, Block::Note(note) if note.text == "1 more are not shown."))
        );
    }

    #[test]
    fn free_space_is_no_warning() {
        let fragment = render(json!({}), json!([{"Name": "C:", "Free %": 95.5}])).unwrap();
        assert_eq!(bars(&fragment), [("C:", "95.5%", Tone::Neutral)]);
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        let Err(Failure::Reject(reason)) = render(json!({}), json!([{"Name": "x"}])) else { panic!() };
        assert!(reason.contains("among Name"), "{reason}");
        assert_eq!(render(json!({}), json!([])).unwrap().blocks.len(), 1);
        let zeros = render(json!({}), json!([{"Name": "x", "Size": 0}])).unwrap();
        let Block::Bars(bars) = &zeros.blocks[0] else { panic!() };
        assert!(bars.maximum > 0.0);
    }

    #[test]
    fn wrong_settings_are_named() {
        let settings = json!({"label": "(", "value": "[", "maximum": 0, "warn": "x", "max_bars": 99});
        let problems = Host::new().settings(settings).plugin::<Chart>().err().unwrap();
        let mut keys: Vec<String> = problems.0.into_iter().map(|problem| problem.key).collect();
        keys.sort();
        assert_eq!(keys, ["label", "max_bars", "maximum", "value", "warn"]);
    }
}
