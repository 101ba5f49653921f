//! Gathers findings: those that say the same are one, with the first places.

use std::collections::HashMap;

use super::{Finding, Part, Place, Rendered, Rule, Severity};
use crate::text::{Visible, fit};

/// Places of a finding.
const PLACES: usize = 3;
/// Different findings of one kind.
const OF_A_KIND: usize = 5;
/// Characters of what was found.
const WHAT: usize = 300;

#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<Noted>,
    /// Place in `found` by kind and words.
    known: HashMap<(&'static str, Part, String), usize>,
    /// How many there are of a kind, and which was the last.
    kinds: HashMap<&'static str, (usize, usize)>,
}

#[derive(Debug)]
struct Noted {
    finding: Finding,
    /// Octets in the part.
    at: Vec<usize>,
}

impl Report {
    /// Notes what a rule found, at an octet of the part.
    pub(super) fn add(&mut self, id: &'static str, part: Part, at: Option<usize>, what: impl Into<String>) {
        let Some(rule) = Rule::of(id) else { return };
        let finding = Finding {
            id,
            severity: rule.severity,
            part,
            header: None,
            places: Vec::new(),
            count: 0,
            what: what.into(),
            why: rule.why.to_owned(),
            advice: rule.advice.to_owned(),
            programs: Vec::new(),
            more: 0,
        };
        self.put(finding, at);
    }

    /// Notes something about a header field.
    pub(super) fn header(&mut self, id: &'static str, header: &'static str, what: impl Into<String>) {
        self.add(id, Part::Header, None, what);
        if let Some(last) = self.found.last_mut().filter(|last| last.finding.id == id) {
            last.finding.header = Some(header);
        }
    }

    /// Notes a finding, or one more place of it.
    pub(super) fn put(&mut self, mut finding: Finding, at: Option<usize>) {
        finding.what = fit(&Visible(&finding.what).to_string(), WHAT).into_owned();
        let key = (finding.id, finding.part, finding.what.clone());
        let known = self.known.get(&key).copied();
        let index = match (known, self.kinds.get_mut(finding.id)) {
            (Some(index), _) => index,
            (None, Some((count, last))) if *count >= OF_A_KIND => {
                if let Some(last) = self.found.get_mut(*last) {
                    last.finding.more += 1;
                }
                return;
            }
            (None, _) => {
                let index = self.found.len();
                let (count, last) = self.kinds.entry(finding.id).or_default();
                (*count, *last) = (*count + 1, index);
                self.known.insert(key, index);
                self.found.push(Noted { finding, at: Vec::new() });
                index
            }
        };
        if let Some(noted) = self.found.get_mut(index) {
            noted.finding.count += 1;
            if noted.at.len() < PLACES {
                noted.at.extend(at);
            }
        }
    }

    /// All findings, the worst first.
    pub(super) fn finish(self, mail: &Rendered<'_>) -> Vec<Finding> {
        let mut found = self.found;
        found.sort_by_key(|noted| (noted.finding.severity, noted.finding.part, noted.at.first().copied()));
        let lines = [lines(mail.html.unwrap_or_default()), lines(mail.text)];
        found
            .into_iter()
            .map(|Noted { mut finding, at }| {
                let (source, lines) = match finding.part {
                    Part::Html => (mail.html.unwrap_or_default(), lines.first()),
                    Part::Text => (mail.text, lines.last()),
                    _ => return finding,
                };
                let lines = lines.map(Vec::as_slice).unwrap_or_default();
                finding.places = at.into_iter().map(|at| place(source, lines, at)).collect();
                finding
            })
            .collect()
    }
}

/// Octets where lines begin.
fn lines(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn place(source: &str, lines: &[usize], at: usize) -> Place {
    let line = lines.partition_point(|start| *start <= at);
    let start = lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
    let before = source.as_bytes().get(start..at.min(source.len())).unwrap_or_default();
    // Octets that continue a character are not counted.
    let column = 1 + before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    Place { line, column }
}

/// Whether there is an error among findings.
#[must_use]
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let text = "éa\nß<b>";
        let starts = lines(text);
        assert_eq!(place(text, &starts, 2), Place { line: 1, column: 2 });
        assert_eq!(place(text, &starts, 6), Place { line: 2, column: 2 });
        assert_eq!(place(text, &starts, 999), Place { line: 2, column: 5 });
    }

    #[test]
    fn what_is_the_same_is_told_once() {
        let mut report = Report::default();
        for at in 0..9 {
            report.add("link-empty", Part::Html, Some(at), "one");
        }
        for number in 0..9 {
            report.add("link-http", Part::Html, Some(1), format!("\u{1b}{number}"));
        }
        let found = report.finish(&Rendered { html: Some("0123456789"), ..Rendered::default() });
        assert_eq!(found.len(), 1 + OF_A_KIND);
        let one = found.iter().find(|finding| finding.id == "link-empty").unwrap();
        assert_eq!((one.count, one.places.len()), (9, PLACES));
        assert_eq!(found.iter().map(|finding| finding.more).sum::<usize>(), 9 - OF_A_KIND);
        assert!(found.iter().all(|finding| !finding.what.contains('\u{1b}')));
    }
}
