//! A strict reader of Prometheus' text format, version 0.0.4: it refuses what a lenient scraper would let pass.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::http::exchange;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// One metric.
#[derive(Debug, Clone, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Name (with `_bucket` and so on), labels, value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// A whole text.
#[derive(Debug, Clone, Default)]
pub struct Exposition {
    /// By name.
    pub families: BTreeMap<String, Family>,
}

/// `/metrics` of a daemon, read strictly.
///
/// # Panics
/// When there is none, or it breaks a rule.
#[must_use]
#[track_caller]
pub fn scrape(web: SocketAddr) -> Exposition {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
    let answer = exchange(web, request.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    read(&answer.body).unwrap_or_else(|fault| panic!("{fault}\n{}", answer.body))
}

/// Reads a text.
///
/// # Errors
/// Which line breaks which rule.
pub fn read(text: &str) -> Result<Exposition, String> {
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut found = Exposition::default();
    let mut seen = BTreeSet::new();
    // Name and, once it was said, type.
    let mut current: Option<(String, Option<String>)> = None;
    for line in text.split_terminator('\n') {
        let wrong = |why: &str| Err(format!("{why}: {line:?}"));
        if let Some(help) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = help.split_once(' ') else { return wrong("a help without a text") };
            if !is_name(name) || help.is_empty() || unescape(help, false).is_none() {
                return wrong("not a help");
            }
            if current.as_ref().is_some_and(|(_, kind)| kind.is_none()) {
                return wrong("a help where a type belongs");
            }
            if found.families.contains_key(name) {
                return wrong("a family for the second time");
            }
            current = Some((name.to_owned(), None));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = kind.split_once(' ') else { return wrong("not a type") };
            match &mut current {
                Some((own, said @ None)) if own == name => *said = Some(kind.to_owned()),
                _ => return wrong("a type that does not follow its help"),
            }
            if !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("not a type that we use");
            }
            if (kind == "counter") != name.ends_with("_total") {
                return wrong("a name that does not fit the type");
            }
            found.families.insert(name.to_owned(), Family { kind: kind.to_owned(), samples: Vec::new() });
        } else {
            let Some((name, labels, value)) = sample(line) else { return wrong("not a sample") };
            let Some((family, Some(kind))) = &current else { return wrong("a sample without a type") };
            let part = name.strip_prefix(family.as_str());
            let fits = match kind.as_str() {
                "histogram" => matches!(part, Some("_bucket" | "_sum" | "_count")),
                _ => part == Some(""),
            };
            if !fits || labels.contains_key("le") != (part == Some("_bucket")) {
                return wrong("a sample of another family");
            }
            if value.is_nan() || (kind != "gauge" && value < 0.0) {
                return wrong("not a value");
            }
            if !seen.insert((name.clone(), labels.clone())) {
                return wrong("the same sample again");
            }
            if let Some(family) = found.families.get_mut(family) {
                family.samples.push((name, labels, value));
            }
        }
    }
    for (name, family) in &found.families {
        if family.kind == "histogram" {
            histogram(name, family)?;
        }
    }
    Ok(found)
}

/// The rules of a histogram: bounds ascend to infinity, counts never fall, the last one is the count.
fn histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut by_labels: BTreeMap<Labels, Vec<&(String, Labels, f64)>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.1.clone();
        labels.remove("le");
        by_labels.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in by_labels {
        let wrong = |why: &str| Err(format!("{name}{labels:?}: {why}"));
        let mut last = (f64::NEG_INFINITY, 0.0);
        for (_, labels, value) in samples.iter().filter(|(own, ..)| own.ends_with("_bucket")) {
            let Some(bound) = number(&labels["le"]) else { return wrong("a bound that is no number") };
            if bound <= last.0 {
                return wrong("bounds do not ascend");
            }
            if *value < last.1 || value.fract() != 0.0 {
                return wrong("buckets are not cumulative counts");
            }
            last = (bound, *value);
        }
        let part = |part: &str| samples.iter().find(|(own, ..)| own.ends_with(part)).map(|(.., value)| *value);
        if last.0 != f64::INFINITY || part("_count") != Some(last.1) {
            return wrong("the last bucket is not the count");
        }
        let Some(sum) = part("_sum") else { return wrong("no sum") };
        if last.1 == 0.0 && sum != 0.0 {
            return wrong("a sum of nothing");
        }
    }
    Ok(())
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let name = &line[..end];
    let mut labels = Labels::new();
    let mut rest = &line[end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let mut escaped = false;
            let close = after.char_indices().find_map(|(at, character)| {
                let closes = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                closes.then_some(at)
            })?;
            if !is_name(label) || labels.insert(label.to_owned(), unescape(&after[..close], true)?).is_some() {
                return None;
            }
            rest = &after[close + 1..];
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.strip_prefix(' ')?;
    is_name(name).then_some(())?;
    Some((name.to_owned(), labels, number(value)?))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b".-e".contains(&byte)) => text.parse().ok(),
        _ => None,
    }
}

/// Takes escapes away; `None`: there is one that is none.
fn unescape(text: &str, quoted: bool) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next()? {
                'n' => '\n',
                '\\' => '\\',
                '"' if quoted => '"',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

impl Exposition {
    /// A sample's value, by all of its labels.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let family = ["", "_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| self.families.get(name.strip_suffix(part).unwrap_or_default()))?;
        family.samples.iter().find(|(own, with, _)| own == name && *with == labels).map(|(.., value)| *value)
    }

    /// The sum of all samples of a name.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.filter(|(own, ..)| own == name).map(|(.., value)| value).sum()
    }

    /// Whether a name is one of a family, or of a histogram's parts.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        let part = |part: &str| {
            let family = name.strip_suffix(part).and_then(|name| self.families.get(name));
            family.is_some_and(|family| family.kind == "histogram")
        };
        self.families.contains_key(name) || ["_bucket", "_sum", "_count"].into_iter().any(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total What.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n,}\",y=\"\"} 3\na_total 0.5\n\
                        # HELP b_seconds It\\\\.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.1\"} 1\n\
                        b_seconds_bucket{le=\"+Inf\"} 2\nb_seconds_sum 7.5\nb_seconds_count 2\n";

    #[test]
    fn reads_what_is_right() {
        let found = read(GOOD).unwrap();
        assert_eq!(found.get("a_total", &[("x", "q\"\\\n,}"), ("y", "")]), Some(3.0));
        assert_eq!((found.get("a_total", &[]), found.sum("a_total")), (Some(0.5), 3.5));
        assert_eq!(found.get("b_seconds_bucket", &[("le", "0.1")]), Some(1.0));
        assert!(found.knows("b_seconds_sum") && !found.knows("a_total_sum") && !found.knows("b"));
    }

    #[test]
    fn refuses_what_is_wrong() {
        for (from, to) in [
            ("a_total 0.5", "a_total -1"),
            ("a_total 0.5", "a_total NaN"),
            ("a_total 0.5", "a_total  0.5"),
            ("a_total 0.5", "a_other 0.5"),
            ("a_total 0.5", "a_total 0.5 \n"),
            ("a_total 0.5", "a_total 0.5\na_total 1"),
            ("a_total 0.5", "a_total{} 0.5"),
            ("y=\"\"}", "x=\"\"}"),
            ("y=\"\"}", "y=\"\\x\"}"),
            ("y=\"\"}", "y=\"}"),
            ("counter", "gauge"),
            ("counter", "untyped"),
            ("# TYPE a_total counter\n", ""),
            ("# HELP a_total What.\n", ""),
            ("b_seconds_bucket{le=\"0.1\"} 1", "b_seconds_bucket{le=\"0.1\"} 3"),
            ("b_seconds_bucket{le=\"+Inf\"} 2\n", ""),
            ("b_seconds_count 2", "b_seconds_count 3"),
            ("b_seconds_sum 7.5\n", ""),
            ("b_seconds_sum 7.5\n", "b_seconds 7.5\n"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            assert!(read(&text).is_err(), "{from} -> {to}");
        }
        assert!(read(GOOD.trim_end()).is_err(), "no end of the last line");
    }
}
