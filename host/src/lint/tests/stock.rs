//! The stock templates with everything that ships: no errors, no warnings.

use serde::Serialize;

use super::super::*;
use crate::compose::samples;
use crate::compose::templates::{DIGEST_SET, STOCK_SET, Seen, Slot, Templates};

/// Errors and warnings of a mail by the stock templates, and tables that do not say what they are for.
fn found(templates: &Templates, set: &str, view: &impl Serialize, name: &str) -> Vec<String> {
    let part = |slot| templates.render_stock(set, slot, &Seen::of(view)).unwrap();
    let (subject, html, text) = (part(Slot::Subject), part(Slot::Html), part(Slot::Text));
    let cids = html.split("\"cid:").skip(1).filter_map(|rest| rest.split('"').next());
    let files = cids.map(|cid| File { name: "p.png", content_type: "image/png", size: 1, cid: Some(cid) });
    let mail = Rendered {
        subject: &subject,
        html: Some(&html),
        text: &text,
        files: files.collect(),
        ours: vec!["https://velociraptor.example.org/"],
        ..Rendered::default()
    };
    let bad =
        lint(&mail).into_iter().filter(|finding| finding.severity != Severity::Hint || finding.id == "table-no-role");
    bad.map(|finding| format!("{name}: {} {:?}: {}", finding.id, finding.places, finding.what)).collect()
}

#[test]
fn the_stock_templates_have_no_warnings() {
    let templates = Templates::load(None, &[]).unwrap();
    let mut all = Vec::new();
    for (at, view) in samples::views().iter().enumerate() {
        all.extend(found(&templates, STOCK_SET, view, &format!("view {at}")));
    }
    for (at, view) in samples::digests().iter().enumerate() {
        all.extend(found(&templates, DIGEST_SET, view, &format!("digest {at}")));
    }
    // Made-up views: what the mail shows at the top is not among their details, where the text part has it.
    all.retain(|line| !line.contains("text-lacks-facts"));
    for view in samples::shipped() {
        all.extend(found(&templates, STOCK_SET, view, &view.flow_id));
    }
    assert_eq!(all, Vec::<String>::new());
}

#[test]
fn the_contrast_of_stock_mails_can_be_told_in_both_schemes() {
    let templates = Templates::load(None, &[]).unwrap();
    for view in samples::views() {
        let html = templates.render_stock(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap();
        let page = Page::new(&html);
        for scheme in [Scheme::Light, Scheme::Dark] {
            let styles = style::of(&page.document, &page.sheets, scheme).unwrap();
            let shown = page.document.nodes.iter().zip(&styles).filter(|(node, style)| {
                matches!(&node.kind, html::Kind::Text(text) if !text.trim().is_empty()) && !style.hidden
            });
            let (known, unknown): (Vec<_>, Vec<_>) =
                shown.partition(|(_, style)| style.colour.is_some() && style.backdrop.is_some());
            let unknown: Vec<_> = unknown.iter().map(|(node, _)| &node.kind).collect();
            assert!(unknown.is_empty() && known.len() > 8, "{scheme:?}: {} known, {unknown:?}", known.len());
        }
    }
}
