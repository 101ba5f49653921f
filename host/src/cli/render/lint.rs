//! `bewit render --lint`: findings for people, and as JSON lines.

use std::fmt::Write as _;

use serde::Serialize;

use crate::lint::{Finding, Severity};
use crate::text::Visible;

/// A finding as a JSON line.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    /// The event's key.
    pub(super) event: &'a str,
    /// Rule that sends the mail.
    pub(super) rule: &'a str,
    #[serde(flatten)]
    pub(super) finding: &'a Finding,
}

/// Findings of one mail: a line that counts them, errors and warnings with their reasons, hints in a line each.
pub(super) fn shown(event: &str, rule: &str, findings: &[Finding]) -> String {
    let mut out = format!("{}: {}: ", Visible(event), Visible(rule));
    let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Hint]
        .into_iter()
        .filter_map(|severity| {
            let count = findings.iter().filter(|finding| finding.severity == severity).count();
            (count > 0).then(|| crate::text::count(count as u64, &severity.to_string()))
        })
        .collect();
    out.push_str(if counts.is_empty() { "lint: nothing found" } else { "lint: " });
    out.push_str(&counts.join(", "));
    for finding in findings {
        // Writing to a String does not fail.
        let _ =
            write!(out, "\n  {:7} {}, {}: {}", finding.severity.to_string(), finding.id, place(finding), finding.what);
        if finding.more > 0 {
            let _ = write!(out, " (and {} more of this kind)", finding.more);
        }
        if finding.severity != Severity::Hint {
            let _ = write!(out, "\n          {}\n          {}", finding.why, finding.advice);
        }
    }
    out
}

/// `HTML 12:5 and 3 more places`.
fn place(finding: &Finding) -> String {
    let mut place = finding.part.to_string();
    if let Some(first) = finding.places.first() {
        let _ = write!(place, " {}:{}", first.line, first.column);
    }
    match finding.count.saturating_sub(1) {
        0 => {}
        more => {
            let _ = write!(place, " and {}", crate::text::count(more as u64, "more place"));
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::{Rendered, lint};

    const HTML: &str = "<!doctype html><html lang=en><head><title>x</title></head>\n<body>\
        <p style='color:#999'>grey</p><p style='color:#999'>again</p>\n\
        <a href=https://evil.example/>https://bank.example/</a> <b style='border-radius:3px'>bold</b></body></html>";

    #[test]
    fn findings_for_people() {
        let mail =
            Rendered { subject: "Hello", html: Some(HTML), text: "https://evil.example/\n", ..Rendered::default() };
        insta::assert_snapshot!(shown("C.1/F.1", "analyst", &lint(&mail)), @"
        C.1/F.1: analyst: lint: 1 error, 1 warning, 1 hint
          error   link-other-host, HTML 3:1: the text shows `bank.example`, the link leads to `evil.example`
                  Text that shows one address and leads to another is how phishing looks; filters and readers distrust it.
                  Let the text show where the link leads, or say in words what is there.
          warning contrast, HTML 2:29 and 1 more place: #999999 on #ffffff has a contrast of 2.84:1, less than 4.5:1
                  WCAG 2.1 AA asks for 4.5:1, or 3:1 for large text (24 px, or 18.7 px in bold); below that many people cannot read it.
                  Choose a darker or a lighter colour (`_style.html.j2` has those of the stock mails).
          hint    css-border-radius, HTML 3:67: `border-radius` is ignored by Outlook (Windows)
        ");
        assert_eq!(shown("C.1/F.\u{1b}", "r", &[]), "C.1/F.\\u{1b}: r: lint: nothing found");
    }

    #[test]
    fn findings_as_json() {
        let mail =
            Rendered { subject: "Hello", html: Some(HTML), text: "https://evil.example/\n", ..Rendered::default() };
        let found = lint(&mail);
        let line = Line { event: "C.1/F.1", rule: "analyst", finding: &found[0] };
        insta::assert_snapshot!(serde_json::to_string_pretty(&line).unwrap(), @r#"
        {
          "event": "C.1/F.1",
          "rule": "analyst",
          "id": "link-other-host",
          "severity": "error",
          "part": "html",
          "places": [
            {
              "line": 3,
              "column": 1
            }
          ],
          "count": 1,
          "what": "the text shows `bank.example`, the link leads to `evil.example`",
          "why": "Text that shows one address and leads to another is how phishing looks; filters and readers distrust it.",
          "advice": "Let the text show where the link leads, or say in words what is there."
        }
        "#);
    }
}
