//! Pictures: what is said of them, how large they are, and where they come from.

use super::report::Report;
use super::{Page, Part, Rendered};
use crate::text::Shown;

/// Words of a mail that is more than its pictures.
const WORDS: usize = 20;

pub(super) fn check(page: &Page, mail: &Rendered<'_>, report: &mut Report) {
    let mut pictures = false;
    for (_, node, element) in page.document.elements() {
        for attribute in element.attributes.iter().filter(|attribute| loads(&element.name, &attribute.name)) {
            // `srcset` is a list; its first address tells where the pictures are.
            let address = attribute.value.trim();
            if address.is_empty() || starts_with(address, "data:") {
                continue;
            }
            match strip(address, "cid:") {
                Some(cid) if mail.files.iter().any(|file| file.cid == Some(cid)) => {}
                Some(_) => {
                    let what = format!("there is no picture {} in the mail", Shown(address));
                    report.add("image-cid-missing", Part::Html, Some(attribute.at), what);
                }
                None => {
                    let what = format!("`{}` loads {}", attribute.name, Shown(address));
                    report.add("image-remote", Part::Html, Some(attribute.at), what);
                }
            }
        }
        if let Some(style) = element.attribute("style") {
            remote_styles(&style.value, style.value_at, report);
        }
        if element.name != "img" {
            continue;
        }
        pictures = true;
        let source = element.get("src").unwrap_or_default();
        let hidden = element.is_presentation() || element.get("aria-hidden") == Some("true");
        match element.get("alt") {
            None if hidden => {}
            None => {
                report.add("image-no-alt", Part::Html, Some(node.at), format!("{} has no `alt`", picture(source)));
            }
            Some(alt) if alt.trim().is_empty() && !hidden => {
                report.add(
                    "image-empty-alt",
                    Part::Html,
                    Some(node.at),
                    format!("{} has an empty `alt`", picture(source)),
                );
            }
            Some(_) => {}
        }
        if element.get("width").is_none() || element.get("height").is_none() {
            let what = format!("{} has no `width` or no `height`", picture(source));
            report.add("image-no-size", Part::Html, Some(node.at), what);
        }
    }
    for (at, _, _) in page.document.elements().filter(|(_, _, element)| element.name == "style") {
        for (_, node) in page.document.inside(at) {
            if let super::html::Kind::Text(text) = &node.kind {
                remote_styles(text, node.at, report);
            }
        }
    }
    if pictures && words(page) < WORDS {
        report.add("image-only", Part::Html, None, "the HTML part is pictures with next to no text");
    }
}

fn picture(source: &str) -> String {
    if starts_with(source.trim(), "data:") {
        "a picture (`data:`)".to_owned()
    } else {
        format!("the picture {}", Shown(source))
    }
}

/// Whether an attribute loads what it names.
fn loads(element: &str, attribute: &str) -> bool {
    match attribute {
        "src" | "srcset" | "background" | "poster" | "lowsrc" | "dynsrc" => true,
        "data" => element == "object",
        "href" => ["link", "image"].contains(&element),
        _ => false,
    }
}

/// Addresses in `url(…)` that are not in the mail, and imports.
fn remote_styles(css: &str, base: usize, report: &mut Report) {
    let small = css.to_ascii_lowercase();
    for (at, _) in small.match_indices("url(").take(100) {
        let inner = css.get(at + 4..).unwrap_or_default().trim_start_matches([' ', '\t', '\n', '"', '\'']);
        let address = inner.split([')', '"', '\'']).next().unwrap_or_default().trim();
        if !address.is_empty()
            && !starts_with(address, "cid:")
            && !starts_with(address, "data:")
            && !address.starts_with('#')
        {
            report.add("image-remote", Part::Html, Some(base + at), format!("a style loads {}", Shown(address)));
        }
    }
}

/// Words that are seen, counted to [`WORDS`].
fn words(page: &Page) -> usize {
    let mut count = 0;
    for (at, node) in page.document.nodes.iter().enumerate() {
        if let super::html::Kind::Text(text) = &node.kind
            && !page.is_hidden(at)
        {
            count += text.split_whitespace().take(WORDS).count();
        }
        if count >= WORDS {
            break;
        }
    }
    count
}

pub(super) fn strip<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(tail)
}

pub(super) fn starts_with(text: &str, start: &str) -> bool {
    strip(text, start).is_some()
}
