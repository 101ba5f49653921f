//! HTML as a flat tree with places. The tokens are those of the HTML standard (`html5gum`); the tree is built as far as a
//! mail needs it: void elements, end tags that may be left out, and what was never closed. Memory and time are bounded,
//! whatever comes in.

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

/// Octets that are looked at; no mail program shows more.
pub(super) const LONGEST: usize = 2 << 20;
/// Nodes that are looked at.
const NODES: usize = 200_000;
/// How deep elements can stand in one another. Browsers draw the line at the same place.
pub(super) const DEEPEST: usize = 512;
/// Attributes of an element.
const ATTRIBUTES: usize = 64;
/// What is wrong with tags is told this often.
const FAULTS: usize = 200;
/// Nodes that are looked at for the text of one element.
const WALK: usize = 5_000;

/// Elements that have no end tag.
const VOID: [&str; 14] =
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];

/// Elements whose end tag may be left out.
const OPTIONAL: [&str; 17] = [
    "html", "head", "body", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "option",
    "optgroup", "caption",
];

/// Elements that stand on lines of their own; they end a paragraph.
const BLOCKS: [&str; 33] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "dd",
    "details",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "ul",
];

/// A document.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// In order; a parent stands before its children, and what is inside an element right behind it.
    pub(super) nodes: Vec<Node>,
    /// Tags that do not fit one another, in order of what is found.
    pub(super) faults: Vec<Fault>,
    /// Whether there is a doctype.
    pub(super) doctype: bool,
    /// Whether the rest was not looked at.
    pub(super) cut: bool,
}

/// An element, or text.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Option<usize>,
    /// The first node that is not inside.
    pub(super) end: usize,
    /// Octet where it begins.
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Element(Element),
    Text(String),
}

#[derive(Debug)]
pub(super) struct Element {
    /// In small letters.
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Debug)]
pub(super) struct Attribute {
    /// In small letters.
    pub(super) name: String,
    pub(super) value: String,
    /// Octet where the name begins.
    pub(super) at: usize,
    /// Octet where the value begins.
    pub(super) value_at: usize,
}

/// A tag that does not fit.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) at: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// An element that was never closed.
    NotClosed(String),
    /// An end tag of nothing.
    Stray(String),
    /// Elements deeper than [`DEEPEST`].
    Deep,
}

impl Element {
    /// The value of an attribute.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attribute(name).map(|attribute| attribute.value.as_str())
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// Whether it only lays things out (`role="presentation"`).
    pub(super) fn is_presentation(&self) -> bool {
        self.get("role").is_some_and(|role| ["presentation", "none"].iter().any(|none| role.eq_ignore_ascii_case(none)))
    }
}

impl Document {
    /// Parses a document, or what of it is looked at.
    pub(super) fn parse(html: &str) -> Self {
        let end = (0..=LONGEST.min(html.len())).rev().find(|at| html.is_char_boundary(*at)).unwrap_or_default();
        let head = html.get(..end).unwrap_or_default();
        let mut builder = Builder::default();
        let take = |event: CallbackEvent<'_>, span: Span<usize>| builder.take(event, span);
        let mut emitter = CallbackEmitter::<_, Infallible, usize>::new(take);
        emitter.naively_switch_states(true);
        // The callback answers nothing: one step reads it all, and a string cannot fail to be read.
        if let Some(Ok(never) | Err(never)) = Tokenizer::new_with_emitter(head, emitter).next() {
            match never {}
        }
        let mut document = builder.finish();
        document.cut |= end < html.len();
        document
    }

    pub(super) fn element(&self, at: usize) -> Option<&Element> {
        match &self.nodes.get(at)?.kind {
            Kind::Element(element) => Some(element),
            Kind::Text(_) => None,
        }
    }

    /// Elements with their place in `nodes`.
    pub(super) fn elements(&self) -> impl Iterator<Item = (usize, &Node, &Element)> {
        self.nodes.iter().enumerate().filter_map(|(at, node)| match &node.kind {
            Kind::Element(element) => Some((at, node, element)),
            Kind::Text(_) => None,
        })
    }

    /// The elements around a node, the nearest first.
    pub(super) fn around(&self, at: usize) -> impl Iterator<Item = (usize, &Element)> {
        let mut next = self.nodes.get(at).and_then(|node| node.parent);
        std::iter::from_fn(move || {
            let at = next?;
            next = self.nodes.get(at).and_then(|node| node.parent);
            Some((at, self.element(at)?))
        })
    }

    /// Nodes inside an element, with their places.
    pub(super) fn inside(&self, at: usize) -> impl Iterator<Item = (usize, &Node)> {
        let end = self.nodes.get(at).map_or(at, |node| node.end);
        self.nodes
            .get(at + 1..end)
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(move |(offset, node)| (at + 1 + offset, node))
    }

    /// Elements inside an element, the first of them.
    pub(super) fn elements_inside(&self, at: usize) -> impl Iterator<Item = &Element> {
        self.inside(at).take(WALK).filter_map(|(_, node)| match &node.kind {
            Kind::Element(element) => Some(element),
            Kind::Text(_) => None,
        })
    }

    /// The text inside an element, the first 2 000 octets of it.
    pub(super) fn text(&self, at: usize) -> String {
        let mut out = String::new();
        for (_, node) in self.inside(at).take(WALK) {
            match &node.kind {
                Kind::Text(text) => out.push_str(text),
                Kind::Element(element) if is_block(&element.name) || element.name == "br" => out.push(' '),
                Kind::Element(_) => {}
            }
            if out.len() > 2_000 {
                break;
            }
        }
        out
    }
}

/// Whether an element stands on lines of its own.
pub(super) fn is_block(name: &str) -> bool {
    BLOCKS.contains(&name) || ["body", "caption", "td", "th", "tr"].contains(&name)
}

#[derive(Debug, Default)]
struct Builder {
    document: Document,
    /// Open elements.
    stack: Vec<usize>,
    /// The start tag that is being read.
    pending: Option<(Element, usize)>,
}

impl Builder {
    /// Takes what the tokenizer has read next.
    fn take(&mut self, event: CallbackEvent<'_>, span: Span<usize>) -> Option<Infallible> {
        if self.document.nodes.len() >= NODES {
            self.document.cut = true;
            return None;
        }
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.pending = Some((Element { name: string(name), attributes: Vec::new() }, span.start));
            }
            CallbackEvent::AttributeName { name } => self.attribute(string(name), span),
            CallbackEvent::AttributeValue { value } => self.value(string(value), span),
            CallbackEvent::CloseStartTag { self_closing } => self.open(self_closing),
            CallbackEvent::EndTag { name } => {
                self.pending = None;
                self.close(&string(name), span.start);
            }
            CallbackEvent::String { value } => {
                let parent = self.stack.last().copied();
                let end = self.document.nodes.len() + 1;
                self.document.nodes.push(Node { parent, end, at: span.start, kind: Kind::Text(string(value)) });
            }
            CallbackEvent::Doctype { .. } => self.document.doctype = true,
            CallbackEvent::Comment { .. } | CallbackEvent::Error(_) => {}
        }
        None
    }

    fn attribute(&mut self, name: String, span: Span<usize>) {
        let Some((element, _)) = &mut self.pending else { return };
        // Of two with one name the first counts; the second is kept out of the way, or its value would go to the first.
        let name = if element.attributes.iter().any(|known| known.name == name) { String::new() } else { name };
        if element.attributes.len() < ATTRIBUTES {
            element.attributes.push(Attribute { name, value: String::new(), at: span.start, value_at: span.end });
        }
    }

    fn value(&mut self, value: String, span: Span<usize>) {
        let Some((element, _)) = &mut self.pending else { return };
        let full = element.attributes.len() >= ATTRIBUTES;
        if let Some(attribute) = element.attributes.last_mut()
            && (!full || attribute.value.is_empty())
        {
            attribute.value = value;
            attribute.value_at = span.start;
        }
    }

    fn open(&mut self, self_closing: bool) {
        let Some((element, at)) = self.pending.take() else { return };
        while self.top().is_some_and(|top| ends(&element.name, top)) {
            self.pop();
        }
        let parent = self.stack.last().copied();
        let node = self.document.nodes.len();
        let foreign = element.name.contains(':')
            || self.stack.iter().rev().take(8).any(|at| self.is(*at, "svg") || self.is(*at, "math"));
        let leaf = VOID.contains(&element.name.as_str()) || (self_closing && foreign);
        self.document.nodes.push(Node { parent, end: node + 1, at, kind: Kind::Element(element) });
        if leaf {
            return;
        }
        if self.stack.len() < DEEPEST {
            self.stack.push(node);
        } else if !self.document.faults.iter().any(|fault| fault.kind == FaultKind::Deep) {
            self.document.faults.push(Fault { kind: FaultKind::Deep, at });
        }
    }

    fn close(&mut self, name: &str, at: usize) {
        if VOID.contains(&name) {
            return;
        }
        // An end tag reaches out of no cell, unless it is one of a table's.
        let of_table = ["table", "tbody", "thead", "tfoot", "tr", "td", "th", "body", "html"].contains(&name);
        let mut found = None;
        for (depth, node) in self.stack.iter().enumerate().rev() {
            if self.is(*node, name) {
                found = Some(depth);
                break;
            }
            let wall = self.is(*node, "table") || (!of_table && (self.is(*node, "td") || self.is(*node, "th")));
            if wall && name != "body" && name != "html" {
                break;
            }
        }
        let Some(depth) = found else {
            if name != "p" && name != "html" && name != "body" {
                self.fault(FaultKind::Stray(name.to_owned()), at);
            }
            return;
        };
        while self.stack.len() > depth + 1 {
            self.pop_open();
        }
        self.pop();
    }

    fn top(&self) -> Option<&str> {
        self.stack.last().and_then(|at| self.document.element(*at)).map(|element| element.name.as_str())
    }

    fn is(&self, at: usize, name: &str) -> bool {
        self.document.element(at).is_some_and(|element| element.name == name)
    }

    /// Ends the innermost element.
    fn pop(&mut self) {
        let end = self.document.nodes.len();
        if let Some(node) = self.stack.pop().and_then(|at| self.document.nodes.get_mut(at)) {
            node.end = end;
        }
    }

    /// Ends the innermost element, which has no end tag.
    fn pop_open(&mut self) {
        let Some(node) = self.stack.last().and_then(|at| self.document.nodes.get(*at)) else { return };
        if let Kind::Element(element) = &node.kind
            && !OPTIONAL.contains(&element.name.as_str())
        {
            let (name, at) = (element.name.clone(), node.at);
            self.fault(FaultKind::NotClosed(name), at);
        }
        self.pop();
    }

    /// Behind elements that are too deep to be followed, end tags say nothing.
    fn fault(&mut self, kind: FaultKind, at: usize) {
        let faults = &mut self.document.faults;
        if faults.len() < FAULTS && !faults.iter().any(|fault| fault.kind == FaultKind::Deep) {
            faults.push(Fault { kind, at });
        }
    }

    fn finish(mut self) -> Document {
        // A start tag that the end of the text cuts off is no element.
        while !self.stack.is_empty() {
            if self.document.cut {
                self.pop();
            } else {
                self.pop_open();
            }
        }
        self.document
    }
}

/// Whether the start tag `name` ends the element `open`.
fn ends(name: &str, open: &str) -> bool {
    match name {
        "li" => ["li", "p"].contains(&open),
        "dt" | "dd" => ["dt", "dd", "p"].contains(&open),
        "td" | "th" => ["td", "th", "p"].contains(&open),
        "tr" => ["td", "th", "tr", "p", "colgroup", "caption"].contains(&open),
        "thead" | "tbody" | "tfoot" => {
            ["td", "th", "tr", "thead", "tbody", "tfoot", "p", "colgroup", "caption"].contains(&open)
        }
        "option" | "optgroup" => open == "option" || (name == "optgroup" && open == "optgroup"),
        "body" => open == "head",
        _ => open == "p" && BLOCKS.contains(&name),
    }
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as nested lists: `table(tr(td'text'))`.
    fn tree(document: &Document) -> String {
        fn write(document: &Document, from: usize, to: usize, out: &mut String) {
            let mut at = from;
            while at < to {
                let node = &document.nodes[at];
                match &node.kind {
                    Kind::Text(text) => out.push_str(&format!("'{}'", text.trim())),
                    Kind::Element(element) => {
                        out.push_str(&element.name);
                        if node.end > at + 1 {
                            out.push('(');
                            write(document, at + 1, node.end, out);
                            out.push(')');
                        } else {
                            out.push(' ');
                        }
                    }
                }
                at = node.end;
            }
        }
        let mut out = String::new();
        write(document, 0, document.nodes.len(), &mut out);
        out
    }

    #[test]
    fn the_tree_is_that_of_a_browser_as_far_as_mails_need_it() {
        for (html, shown) in [
            ("<p>a<p>b", "p('a')p('b')"),
            ("<ul><li>a<li>b<ul><li>c</ul></ul>", "ul(li('a')li('b'ul(li('c'))))"),
            ("<table><tr><td>a<td>b<tr><td>c</table>d", "table(tr(td('a')td('b'))tr(td('c')))'d'"),
            ("<div>a<br>b<img src=x>c</div>", "div('a'br 'b'img 'c')"),
            ("<p>a<div>b</div>", "p('a')div('b')"),
            ("<style>a<b{}</style><b>x</b>", "style('a<b{}')b('x')"),
            ("<svg><path/><g/></svg>x", "svg(path g )'x'"),
            ("<b>x</i></b>", "b('x')"),
        ] {
            assert_eq!(tree(&Document::parse(html)), shown, "{html}");
        }
    }

    #[test]
    fn tags_that_do_not_fit_are_found_at_their_place() {
        let faults = |html: &str| -> Vec<String> {
            Document::parse(html).faults.iter().map(|fault| format!("{:?}@{}", fault.kind, fault.at)).collect()
        };
        assert_eq!(faults("<p>x<div><b>y</div>"), ["NotClosed(\"b\")@9"]);
        assert_eq!(faults("x</b>"), ["Stray(\"b\")@1"]);
        assert_eq!(faults("<div><table><tr><td></div>x</table></div>"), ["Stray(\"div\")@20"]);
        assert_eq!(faults("<table><tr><td>x"), ["NotClosed(\"table\")@0"]);
        assert_eq!(faults("<html><body><p>x<ul><li>y</ul></body></html>"), Vec::<String>::new());
    }

    #[test]
    fn attributes_have_their_places() {
        let document = Document::parse("<a\n HREF = 'x&amp;y' href=z class=c hidden>é</a>");
        let element = document.element(0).unwrap();
        assert_eq!(element.get("href"), Some("x&y"));
        assert_eq!(element.get("class"), Some("c"));
        assert_eq!(element.get("hidden"), Some(""));
        let href = element.attribute("href").unwrap();
        assert_eq!((href.at, href.value_at), (4, 12));
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = Document::parse(&"<div>".repeat(20_000));
        assert!(deep.faults.iter().any(|fault| fault.kind == FaultKind::Deep));
        let many = Document::parse(&"<b></b>".repeat(210_000));
        assert!(many.cut && many.nodes.len() <= NODES);
        let long = Document::parse(&"é".repeat(LONGEST));
        assert!(long.cut);
    }
}
