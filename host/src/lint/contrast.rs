//! Contrast of text and what is behind it, in the light scheme and, where the mail has rules for it, in the dark one.

use std::collections::HashSet;

use super::css::Condition;
use super::html::Kind;
use super::report::Report;
use super::style::{self, Scheme, Style};
use super::{Page, Part};

/// Pixels from which text is large: 18 points, or 14 points in bold (WCAG 2.1).
const LARGE: f32 = 24.0;
const LARGE_BOLD: f32 = 18.66;

pub(super) fn check(page: &Page, report: &mut Report) {
    let Some(light) = &page.light else { return };
    let mut low = HashSet::new();
    each(page, light, |at, octet, told| {
        low.insert((at, told.clone()));
        report.add("contrast", Part::Html, Some(octet), told);
    });
    let has_dark = page.sheets.iter().flat_map(|sheet| &sheet.rules).any(|rule| rule.condition == Condition::Dark);
    if !has_dark {
        return;
    }
    let Some(dark) = style::of(&page.document, &page.sheets, Scheme::Dark) else { return };
    each(page, &dark, |at, octet, told| {
        // What is the same in the light scheme is told once.
        if !low.contains(&(at, told.clone())) {
            report.add("contrast-dark", Part::Html, Some(octet), format!("dark scheme: {told}"));
        }
    });
}

/// Texts that cannot be read well: node, octet, and what is to be told.
fn each(page: &Page, styles: &[Style], mut told: impl FnMut(usize, usize, String)) {
    for (at, (node, style)) in page.document.nodes.iter().zip(styles).enumerate() {
        let Kind::Text(text) = &node.kind else { continue };
        let (Some(colour), Some(behind)) = (style.colour, style.backdrop) else { continue };
        // Text of a pixel is hidden on purpose, for the line that lists show beside the subject.
        if style.hidden || style.size <= 1.0 || !text.chars().any(char::is_alphanumeric) {
            continue;
        }
        let seen = colour.over(behind);
        let contrast = seen.contrast(behind);
        let large = style.size >= LARGE || (style.bold && style.size >= LARGE_BOLD);
        let least = if large { 3.0 } else { 4.5 };
        if contrast < least {
            let contrast = (contrast * 100.0).floor() / 100.0;
            let octet = node.at + (text.len() - text.trim_start().len());
            told(
                at,
                octet,
                format!("{} on {} has a contrast of {contrast}:1, less than {least}:1", seen.hex(), behind.hex()),
            );
        }
    }
}
