//! The samples of a text of metrics. Read by name; what is not known is passed over.

use std::collections::{BTreeMap, BTreeSet};

use crate::meter::names::{self, Family};

type Labels = BTreeMap<String, String>;

/// Samples by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Samples(BTreeMap<String, Vec<(Labels, f64)>>);

/// A histogram of some labels: bounds with how many values were at most as large.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets {
    pub(super) cumulative: Vec<(f64, f64)>,
    pub(super) sum: f64,
}

impl Samples {
    /// Reads a text.
    ///
    /// # Errors
    /// The line that is no sample, shortened.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut samples = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, labels, value) =
                sample(line).ok_or_else(|| crate::text::cut(&crate::text::one_line(line), 80).into_owned())?;
            samples.0.entry(name.to_owned()).or_default().push((labels, value));
        }
        if samples.0.contains_key(names::EVENTS.name) {
            Ok(samples)
        } else {
            Err(format!("it has no {}", names::EVENTS.name))
        }
    }

    fn of(&self, name: &str) -> &[(Labels, f64)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sample with these labels, and perhaps more: the first of them.
    pub(super) fn get(&self, family: &Family, labels: &[(&str, &str)]) -> Option<f64> {
        self.of(family.name).iter().find(|(own, _)| has(own, labels)).map(|(_, value)| *value)
    }

    /// The sum of all samples with these labels; `None`: there are none.
    pub(super) fn sum(&self, family: &Family, labels: &[(&str, &str)]) -> Option<f64> {
        self.sum_of(family.name, labels)
    }

    /// How often a histogram has recorded something.
    pub(super) fn count(&self, family: &Family, labels: &[(&str, &str)]) -> Option<f64> {
        self.sum_of(&format!("{}_count", family.name), labels)
    }

    fn sum_of(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self.of(name).iter().filter(|(own, _)| has(own, labels)).map(|(_, value)| *value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// All values of a label, in order.
    pub(super) fn values(&self, family: &Family, label: &str) -> Vec<&str> {
        let found: BTreeSet<&str> =
            self.of(family.name).iter().filter_map(|(own, _)| own.get(label)).map(String::as_str).collect();
        found.into_iter().collect()
    }

    /// All values of a histogram's label, in the order of the text.
    pub(super) fn labels_in_order(&self, family: &Family, label: &str) -> Vec<&str> {
        let counts = self.of(&format!("{}_count", family.name)).iter();
        counts.filter_map(|(own, _)| own.get(label)).map(String::as_str).collect()
    }

    /// A histogram; empty if there is none.
    pub(super) fn buckets(&self, family: &Family, labels: &[(&str, &str)]) -> Buckets {
        let mut buckets = Buckets::default();
        for (own, value) in self.of(&format!("{}_bucket", family.name)) {
            if let Some(bound) = own.get("le").filter(|_| has(own, labels)).and_then(|le| number(le)) {
                buckets.cumulative.push((bound, *value));
            }
        }
        buckets.sum = self.sum_of(&format!("{}_sum", family.name), labels).unwrap_or_default();
        buckets
    }

    /// Whether the daemon has been started anew since `before`.
    pub(super) fn begins_anew(&self, before: &Self) -> bool {
        let fallen = |family: &Family| self.sum(family, &[]) < before.sum(family, &[]);
        self.get(&names::STARTED, &[]) != before.get(&names::STARTED, &[])
            || fallen(&names::EVENTS)
            || fallen(&names::ATTEMPTS)
    }
}

fn has(own: &Labels, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, value)| own.get(*name).is_some_and(|own| own == value))
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ => text.parse().ok(),
    }
}

fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let close = loop {
                match characters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next()?.1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (_, other) => value.push(other),
                }
            };
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = quoted.get(close + 1..)?;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?;
    Some((name, labels, number(value)?))
}
