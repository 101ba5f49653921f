//! Subject, header, and what spam filters look at first. Few traits, each with a reason.

use super::report::Report;
use super::{Part, Rendered};
use crate::text::Shown;

/// Characters of a subject that a list shows.
const SUBJECT: usize = 78;

pub(super) fn check(mail: &Rendered<'_>, report: &mut Report) {
    subject(mail.subject, report);
    if let Some(head) = mail.head {
        header(head, report);
    }
    if mail.text.trim().is_empty() {
        report.add("text-empty", Part::Text, None, "the text part is empty");
    }
}

fn subject(subject: &str, report: &mut Report) {
    if subject.trim().is_empty() {
        report.add("subject-empty", Part::Subject, None, "the subject is empty");
        return;
    }
    let length = subject.chars().count();
    if length > SUBJECT {
        report.add("subject-long", Part::Subject, None, format!("the subject has {length} characters"));
    }
    let letters = subject.chars().filter(|c| c.is_lowercase() || c.is_uppercase());
    let (capitals, others): (Vec<char>, Vec<char>) = letters.partition(|c| c.is_uppercase());
    if others.is_empty() && capitals.len() >= 8 {
        report.add("subject-shouting", Part::Subject, None, format!("the subject is all capitals: {}", Shown(subject)));
    }
    let marks = subject.chars().filter(|c| matches!(c, '!' | '\u{ff01}')).count();
    if marks >= 2 {
        report.add("subject-exclamation", Part::Subject, None, format!("the subject has {marks} exclamation marks"));
    }
}

fn header(head: &[u8], report: &mut Report) {
    let has = |name: &str| {
        head.split(|byte| *byte == b'\n').any(|line| {
            line.get(..name.len()).is_some_and(|field| field.eq_ignore_ascii_case(name.as_bytes()))
                && line.get(name.len()) == Some(&b':')
                && line
                    .get(name.len() + 1..)
                    .is_some_and(|value| !value.trim_ascii().is_empty() || value.ends_with(b"\r"))
        })
    };
    for (id, name) in [
        ("header-missing", "Date"),
        ("header-missing", "From"),
        ("header-missing", "Message-ID"),
        ("header-automatic", "Auto-Submitted"),
        ("header-automatic", "List-Id"),
    ] {
        if !has(name) {
            report.header(id, name, format!("the header has no {name}"));
        }
    }
}
