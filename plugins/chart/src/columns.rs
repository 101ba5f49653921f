//! Which column is measured, and which one names the bars.

use bewit_plugin::Row;
use regex::Regex;
use serde_json::Value;

use crate::value::{Kind, number};

/// Rows that are looked at to find out what a column holds.
const LOOKED_AT: usize = 200;

/// The columns of a chart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) label: Option<String>,
    pub(crate) value: String,
    pub(crate) kind: Kind,
}

/// What a name says of numbers without a unit.
#[derive(Debug)]
pub(crate) struct Names {
    percent: Regex,
    size: Regex,
    other: Regex,
}

impl Names {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            percent: Regex::new(r"(?i)%|percent|\bpct\b")?,
            size: Regex::new(r"(?i)size|bytes|space|\bused\b|\bfree\b|\bavail|length|memory|capacity")?,
            // Numbers of another kind: nobody wants a bar of a port or a time.
            other: Regex::new(r"(?i)p?id$|port|time|date|version|index|inode|mode|row$|number")?,
        })
    }

    /// Chooses by the operator's patterns, else a column of percentages before one of sizes before one of numbers; of
    /// several the first. Names the bars by the first column of texts.
    ///
    /// # Errors
    /// Says what has not been found.
    pub(crate) fn choose(
        &self,
        columns: &[String],
        rows: &[Row],
        label: Option<&Regex>,
        value: Option<&Regex>,
    ) -> Result<Choice, String> {
        let named = |regex: &Regex| columns.iter().find(|name| regex.is_match(name));
        let (value, kind) = match value {
            Some(regex) => {
                let name = named(regex).ok_or_else(|| missing("value", regex, columns))?;
                let kind = self.kind(name, rows).ok_or_else(|| format!("the column {name} holds no numbers"))?;
                (name, kind)
            }
            None => columns
                .iter()
                .filter(|name| !self.other.is_match(name))
                .filter_map(|name| Some((name, self.kind(name, rows)?)))
                // The last of the greatest is the first of its kind.
                .rev()
                .max_by_key(|(_, kind)| *kind)
                .ok_or_else(|| {
                    format!(
                        "no column of sizes, percentages or numbers among {}; name it in `value`",
                        columns.join(", ")
                    )
                })?,
        };
        let label = match label {
            Some(regex) => Some(named(regex).ok_or_else(|| missing("label", regex, columns))?),
            None => columns.iter().find(|name| *name != value && is_text(name, rows)),
        };
        Ok(Choice { label: label.cloned(), value: value.clone(), kind })
    }

    /// What a column holds, if at least half of its cells that are not empty, and at least one, are numbers.
    fn kind(&self, name: &str, rows: &[Row]) -> Option<Kind> {
        let cells = cells(name, rows);
        let numbers: Vec<Kind> = cells.iter().filter_map(|cell| Some(number(cell)?.1)).collect();
        let most = numbers.iter().max()?;
        if numbers.len() * 2 < cells.len() {
            return None;
        }
        Some(match most {
            Kind::Number if self.percent.is_match(name) => Kind::Percent,
            Kind::Number if self.size.is_match(name) => Kind::Size,
            known => *known,
        })
    }
}

fn cells<'a>(name: &str, rows: &'a [Row]) -> Vec<&'a Value> {
    let cells = rows.iter().take(LOOKED_AT).filter_map(|row| row.get(name));
    cells
        .filter(|cell| !(cell.is_null() || cell.as_str().is_some_and(|text| matches!(text.trim(), "" | "-"))))
        .collect()
}

fn is_text(name: &str, rows: &[Row]) -> bool {
    let cells = cells(name, rows);
    let texts = cells.iter().filter(|cell| cell.is_string() && number(cell).is_none()).count();
    texts > 0 && texts * 2 >= cells.len()
}

fn missing(key: &str, regex: &Regex, columns: &[String]) -> String {
    format!("no column matches the `{key}` `{}`; there are {}", regex.as_str(), columns.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choose(rows: Value, columns: &[&str], label: Option<&str>, value: Option<&str>) -> Result<Choice, String> {
        let rows: Vec<Row> = serde_json::from_value(rows).unwrap();
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let regex = |text: Option<&str>| text.map(|text| Regex::new(text).unwrap());
        Names::new().unwrap().choose(&columns, &rows, regex(label).as_ref(), regex(value).as_ref())
    }

    fn chosen(label: &str, value: &str, kind: Kind) -> Result<Choice, String> {
        Ok(Choice { label: Some(label.to_owned()), value: value.to_owned(), kind })
    }

    #[test]
    fn a_percentage_wins_over_a_size_over_a_number() {
        let df = json!([
            {"Filesystem": "/dev/sda1", "Size": "40G", "Use%": "87%", "Mounted on": "/"},
            {"Filesystem": "tmpfs", "Size": "1.9G", "Use%": "-", "Mounted on": "/tmp"},
        ]);
        let columns = ["Filesystem", "Size", "Use%", "Mounted on"];
        assert_eq!(choose(df.clone(), &columns, None, None), chosen("Filesystem", "Use%", Kind::Percent));
        assert_eq!(
            choose(df.clone(), &columns, Some("^Mounted"), Some("^Size$")),
            chosen("Mounted on", "Size", Kind::Size)
        );
        assert!(choose(df.clone(), &columns, Some("^X$"), None).unwrap_err().contains("Mounted on"));
        assert!(choose(df, &columns, None, Some("Filesystem")).unwrap_err().contains("holds no numbers"));
    }

    #[test]
    fn names_tell_what_bare_numbers_are() {
        let disks = json!([{"Pid": 4, "Name": "C:", "Count": 3, "FreeSpace": "1000", "Size": 2000}]);
        let columns = ["Pid", "Name", "Count", "FreeSpace", "Size"];
        assert_eq!(choose(disks, &columns, None, None), chosen("Name", "FreeSpace", Kind::Size));
        assert!(
            choose(json!([{"Pid": 4, "Name": "x"}]), &["Pid", "Name"], None, None).unwrap_err().contains("`value`")
        );
    }
}
