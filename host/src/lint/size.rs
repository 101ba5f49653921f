//! How large it is: the HTML part as Gmail counts it, the whole mail as servers do.

use super::report::Report;
use super::{Part, Rendered};

/// Octets of HTML that Gmail shows: 102 KB of the decoded part.
pub(super) const CLIPPED: usize = 102 * 1024;
/// From here on it is told.
pub(super) const NEARLY: usize = CLIPPED / 10 * 9;

const MB: u64 = 1_000_000;

pub(super) fn check(mail: &Rendered<'_>, report: &mut Report) {
    if let Some(html) = mail.html {
        let told = format!("the HTML part has {} octets, {} % of what Gmail shows", html.len(), percent(html.len()));
        if html.len() > CLIPPED {
            report.add("html-clipped", Part::Html, None, told);
        } else if html.len() >= NEARLY {
            report.add("html-nearly-clipped", Part::Html, None, told);
        }
    }
    let id = match mail.size {
        0..=10_240_000 => return,
        size if size <= 20 * MB => "mail-over-10-mb",
        size if size <= 25 * MB => "mail-over-20-mb",
        _ => "mail-over-25-mb",
    };
    let largest = mail.files.iter().max_by_key(|file| file.size);
    let largest = largest.map_or(String::new(), |file| format!("; the largest file is {}", file.name));
    let tenths = mail.size / (MB / 10);
    report.add(id, Part::Mail, None, format!("the mail has {}.{} MB on the wire{largest}", tenths / 10, tenths % 10));
}

fn percent(octets: usize) -> usize {
    octets * 100 / CLIPPED
}
