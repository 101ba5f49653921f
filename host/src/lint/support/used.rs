//! What a mail uses of HTML and CSS, in the words of the data.

use crate::lint::css::{Compound, Declaration, declarations, words};
use crate::lint::images::strip;
use crate::lint::{Page, Part, Rendered};

/// Uses of a mail that are looked at.
const MOST: usize = 500_000;

/// Something that is used: `property:opacity`.
pub(super) struct Used {
    pub(super) key: String,
    pub(super) at: Option<usize>,
    pub(super) part: Part,
}

/// All of it, in the order of the source as far as it has one.
pub(super) fn of(page: &Page, mail: &Rendered<'_>) -> Vec<Used> {
    let mut found = List(Vec::new());
    for (index, node, element) in page.document.elements() {
        // What is not shown in any program has nothing to lose, such as the line that lists show beside the subject.
        if page.is_hidden(index) && element.get("style").is_some_and(|style| style.contains("mso-hide")) {
            continue;
        }
        found.add(node.at, format!("element:{}", element.name));
        for attribute in &element.attributes {
            found.add(attribute.at, format!("attribute:{}", attribute.name));
            if attribute.name == "style" {
                for one in declarations(&attribute.value, attribute.value_at) {
                    declaration(&one, &mut found);
                }
            }
        }
        if let Some(kind) = element.get("type").filter(|_| element.name == "input") {
            found.add(node.at, format!("element:input[{}]", kind.to_ascii_lowercase()));
        }
        if let Some(source) = element.get("src").and_then(|source| strip(source.trim(), "data:")) {
            found.add(node.at, "image:data".to_owned());
            let kind = source.split([';', ',']).next().unwrap_or_default();
            found.add(node.at, format!("image:{}", kind.to_ascii_lowercase()));
        }
    }
    for sheet in &page.sheets {
        for rule in &sheet.at_rules {
            found.add(rule.at, format!("at:{}", rule.name));
            if rule.name == "media" {
                for feature in rule.prelude.split('(').skip(1) {
                    let name = feature.split([':', ')', '<', '>', '=']).next().unwrap_or_default().trim();
                    found.add(rule.at, format!("media:{name}"));
                }
            }
        }
        for at in &sheet.nested {
            found.add(*at, "css:nesting".to_owned());
        }
        for rule in &sheet.rules {
            for (at, compound) in
                rule.selectors.iter().flat_map(|selector| selector.compounds.iter().map(|one| (selector.at, one)))
            {
                selector(at, compound, &mut found);
            }
            rule.declarations.iter().for_each(|one| declaration(one, &mut found));
        }
    }
    for file in mail.files.iter().filter(|file| file.cid.is_some()) {
        let kind = file.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        found.0.push(Used { key: format!("image:{kind}"), at: None, part: Part::Attachment });
    }
    found.0
}

struct List(Vec<Used>);

impl List {
    /// Names that are longer than any of the data's are no use.
    fn add(&mut self, at: usize, key: String) {
        if self.0.len() < MOST && key.len() < 60 {
            self.0.push(Used { key, at: Some(at), part: Part::Html });
        }
    }
}

fn declaration(one: &Declaration, found: &mut List) {
    if one.property.starts_with("--") {
        found.add(one.at, "css:variables".to_owned());
        return;
    }
    found.add(one.at, format!("property:{}", one.property));
    let words = words(&one.value);
    for keyword in words.keywords {
        found.add(one.at, format!("value:{}={keyword}", one.property));
    }
    for function in words.functions {
        found.add(one.at, format!("function:{function}"));
    }
    for unit in words.units {
        found.add(one.at, format!("unit:{unit}"));
    }
}

fn selector(at: usize, compound: &Compound, found: &mut List) {
    for pseudo in &compound.pseudos {
        found.add(at, format!("pseudo:{pseudo}"));
    }
    if compound.attributes {
        found.add(at, "selector:[]".to_owned());
    }
    if matches!(compound.combinator, '>' | '+' | '~') {
        found.add(at, format!("selector:{}", compound.combinator));
    }
}
