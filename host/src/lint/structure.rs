//! Structure: what screen readers need, what programs throw away, and tags that do not fit.

use super::html::{DEEPEST, Element, FaultKind, LONGEST};
use super::report::Report;
use super::{Page, Part};
use crate::text::Shown;

/// Octets of a `<style>` that Gmail takes by the newest tests, and that it took before.
const STYLE: usize = 16 << 10;
const OLD_STYLE: usize = 8 << 10;
/// Tables in tables from which on it is told.
const TABLES: usize = 10;
/// Headings that are looked at.
const MOST: usize = 5_000;

pub(super) fn check(page: &Page, report: &mut Report) {
    let document = &page.document;
    if document.cut {
        let what = format!("the HTML part is longer than the {LONGEST} octets or the number of elements looked at");
        report.add("html-too-long", Part::Html, None, what);
    }
    if !document.doctype {
        report.add("html-no-doctype", Part::Html, None, "there is no doctype");
    }
    let lang = |element: &Element| element.get("lang").is_some_and(|lang| !lang.trim().is_empty());
    let roots = || document.elements().filter(|(_, _, element)| ["html", "body"].contains(&element.name.as_str()));
    if !roots().any(|(_, _, element)| lang(element)) {
        let at = roots().next().map(|(_, node, _)| node.at);
        report.add("html-no-lang", Part::Html, at, "neither `<html>` nor `<body>` has a `lang`");
    }
    let titled =
        document.elements().any(|(at, _, element)| element.name == "title" && !document.text(at).trim().is_empty());
    if !titled {
        report.add("html-no-title", Part::Html, None, "there is no `<title>`, or it is empty");
    }
    styles(page, report);
    tables(page, report);
    headings(page, report);
    for fault in &document.faults {
        let (id, what) = match &fault.kind {
            FaultKind::NotClosed(name) => ("tag-not-closed", format!("<{}> is not closed", Shown(name))),
            FaultKind::Stray(name) => ("tag-stray", format!("</{}> closes nothing", Shown(name))),
            FaultKind::Deep => ("nesting-too-deep", format!("elements are more than {DEEPEST} deep")),
        };
        report.add(id, Part::Html, Some(fault.at), what.replace('`', ""));
    }
}

fn styles(page: &Page, report: &mut Report) {
    let document = &page.document;
    let body = document.elements().find(|(_, _, element)| element.name == "body").map(|(at, _, _)| at);
    for (at, node, _) in document.elements().filter(|(_, _, element)| element.name == "style") {
        let outside = body.is_some_and(|body| body < at);
        if outside {
            report.add("style-in-body", Part::Html, Some(node.at), "`<style>` stands outside of the head");
        }
        let size: usize = document
            .inside(at)
            .map(|(_, node)| match &node.kind {
                super::html::Kind::Text(text) => text.len(),
                super::html::Kind::Element(_) => 0,
            })
            .sum();
        if size > OLD_STYLE {
            let limit = if size > STYLE { STYLE } else { OLD_STYLE };
            let what = format!("`<style>` has {size} octets, more than {limit}");
            report.add("style-large", Part::Html, Some(node.at), what);
        }
    }
}

fn tables(page: &Page, report: &mut Report) {
    let document = &page.document;
    let mut deep = false;
    // For each table: whether it has header cells of its own.
    let mut headed = vec![false; document.nodes.len()];
    for (at, node, element) in document.elements() {
        if element.name == "th" {
            let table = document.around(at).find(|(_, outer)| outer.name == "table");
            if let Some(place) = table.and_then(|(table, _)| headed.get_mut(table)) {
                *place = true;
            }
            if element.get("scope").is_none_or(|scope| scope.trim().is_empty()) {
                report.add("th-no-scope", Part::Html, Some(node.at), "`<th>` has no `scope`");
            }
        }
    }
    for (at, node, element) in document.elements().filter(|(_, _, element)| element.name == "table") {
        let named = headed.get(at).copied().unwrap_or_default();
        if !named && element.get("role").is_none() {
            report.add("table-no-role", Part::Html, Some(node.at), "`<table>` has neither header cells nor a `role`");
        }
        if !deep && document.around(at).filter(|(_, outer)| outer.name == "table").count() >= TABLES {
            deep = true;
            let what = format!("tables stand more than {TABLES} deep in tables");
            report.add("nesting-deep", Part::Html, Some(node.at), what);
        }
    }
}

fn headings(page: &Page, report: &mut Report) {
    let document = &page.document;
    let mut before: Option<usize> = None;
    let levelled = document.elements().filter(|(_, _, element)| element.name.starts_with('h')).take(MOST);
    for (at, node, element) in levelled {
        let Some(level) = ["h1", "h2", "h3", "h4", "h5", "h6"].iter().position(|name| *name == element.name) else {
            continue;
        };
        if page.is_hidden(at) {
            continue;
        }
        if document.text(at).trim().is_empty() && !document.elements_inside(at).any(|inner| inner.name == "img") {
            report.add("heading-empty", Part::Html, Some(node.at), format!("`<{}>` is empty", element.name));
        }
        if let Some(before) = before.filter(|before| level > before + 1) {
            let what = format!("`<h{}>` follows `<h{}>`", level + 1, before + 1);
            report.add("heading-skipped", Part::Html, Some(node.at), what);
        }
        before = Some(level);
    }
}
