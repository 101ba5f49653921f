//! What an element looks like, as far as inline and embedded styles tell it: a small cascade. What cannot be told is
//! unknown, and what is inherited from it too.

use std::collections::HashMap;

use super::colour::Colour;
use super::css::{Compound, Condition, Declaration, Selector, Sheet, declarations, words};
use super::html::{Document, Element, Kind};

/// Steps that matching selectors may take in a document.
const BUDGET: u64 = 20_000_000;
/// Candidates of one class or element that are looked at.
const CANDIDATES: usize = 500;

/// Which scheme a reader has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Light,
    Dark,
}

/// How a node is shown; of an element, what its text inherits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Colour of text, if it is known.
    pub(super) colour: Option<Colour>,
    /// What is behind the text, if it is known.
    pub(super) backdrop: Option<Colour>,
    /// Font size in pixels.
    pub(super) size: f32,
    pub(super) bold: bool,
    /// Whether it is not shown at all.
    pub(super) hidden: bool,
}

/// Styles of all nodes; text has that of its element. `None`: the document is more work than it is worth.
pub(super) fn of(document: &Document, sheets: &[Sheet], scheme: Scheme) -> Option<Vec<Style>> {
    let root = match scheme {
        Scheme::Light => (Some(Colour::BLACK), Some(Colour::WHITE)),
        // What a program shows where a mail says nothing.
        Scheme::Dark => (None, None),
    };
    let root = Style { colour: root.0, backdrop: root.1, size: 16.0, bold: false, hidden: false };
    let rules = Rules::new(sheets, scheme);
    let mut budget = BUDGET;
    let mut styles: Vec<Style> = Vec::with_capacity(document.nodes.len());
    for (at, node) in document.nodes.iter().enumerate() {
        let around = node.parent.and_then(|parent| styles.get(parent)).copied().unwrap_or(root);
        let style = match &node.kind {
            Kind::Text(_) => around,
            Kind::Element(element) => rules.style(document, at, element, around, &mut budget)?,
        };
        styles.push(style);
    }
    Some(styles)
}

/// A declaration that may hold, and how strong it is.
struct Candidate<'a> {
    strength: (bool, bool, (u32, u32, u32), usize),
    certain: bool,
    value: &'a str,
}

/// The strongest declarations for an element.
#[derive(Default)]
struct Winners<'a> {
    by_property: HashMap<&'static str, Candidate<'a>>,
}

/// Properties that matter here; a background has two names.
const PROPERTIES: [(&str, &str); 11] = [
    ("color", "color"),
    ("background", "background"),
    ("background-color", "background"),
    ("background-image", "background-image"),
    ("font-size", "font-size"),
    ("font-weight", "font-weight"),
    ("font", "font"),
    ("display", "display"),
    ("visibility", "visibility"),
    ("opacity", "opacity"),
    ("filter", "opacity"),
];

fn known(property: &str) -> Option<&'static str> {
    PROPERTIES.iter().find(|(name, _)| *name == property).map(|(_, known)| *known)
}

impl<'a> Winners<'a> {
    fn offer(&mut self, property: &'static str, candidate: Candidate<'a>) {
        match self.by_property.get_mut(property) {
            Some(best) if best.strength > candidate.strength => {}
            Some(best) => *best = candidate,
            None => {
                self.by_property.insert(property, candidate);
            }
        }
    }

    /// The value, or `Err` if it is not certain.
    fn get(&self, property: &str) -> Option<Result<&'a str, ()>> {
        self.by_property.get(property).map(|best| if best.certain { Ok(best.value) } else { Err(()) })
    }
}

/// A rule's selector with what matters of its declarations.
struct Ready<'a> {
    selector: &'a Selector,
    declarations: Vec<(&'static str, &'a Declaration)>,
    order: usize,
    /// Whether it surely holds where it matches.
    certain: bool,
}

/// Rules by what the last compound asks for.
struct Rules<'a> {
    by_key: HashMap<String, Vec<Ready<'a>>>,
}

impl<'a> Rules<'a> {
    fn new(sheets: &'a [Sheet], scheme: Scheme) -> Self {
        let mut by_key: HashMap<String, Vec<Ready<'a>>> = HashMap::new();
        for (order, rule) in sheets.iter().flat_map(|sheet| &sheet.rules).enumerate() {
            let certain = match (rule.condition, scheme) {
                (Condition::Always, _) | (Condition::Dark, Scheme::Dark) | (Condition::Light, Scheme::Light) => true,
                (Condition::Sometimes, _) => false,
                _ => continue,
            };
            let useful: Vec<(&'static str, &Declaration)> =
                rule.declarations.iter().filter_map(|one| Some((known(&one.property)?, one))).collect();
            for selector in rule.selectors.iter().filter(|_| !useful.is_empty()) {
                let Some(last) = selector.compounds.last() else { continue };
                let key = match (last.classes.first(), &last.element) {
                    (Some(class), _) => format!(".{class}"),
                    (None, Some(element)) => element.clone(),
                    (None, None) => String::new(),
                };
                let list = by_key.entry(key).or_default();
                if list.len() < CANDIDATES {
                    list.push(Ready { selector, declarations: useful.clone(), order, certain });
                }
            }
        }
        Self { by_key }
    }

    fn style(
        &self,
        document: &Document,
        at: usize,
        element: &Element,
        around: Style,
        budget: &mut u64,
    ) -> Option<Style> {
        let mut winners = Winners::default();
        let classes = element.get("class").unwrap_or_default().split_ascii_whitespace().take(32);
        let keys = classes.map(|class| format!(".{class}")).chain([element.name.clone(), String::new()]);
        for ready in keys.filter_map(|key| self.by_key.get(&key)).flatten() {
            let certain = match matches(document, at, &ready.selector.compounds, budget)? {
                Match::No => continue,
                Match::Perhaps => false,
                Match::Yes => ready.certain,
            };
            for (property, one) in &ready.declarations {
                let strength = (one.important, false, ready.selector.specificity(), ready.order);
                winners.offer(property, Candidate { strength, certain, value: &one.value });
            }
        }
        let inline = element.get("style").map(|style| declarations(style, 0)).unwrap_or_default();
        for (order, one) in inline.iter().enumerate() {
            if let Some(property) = known(&one.property) {
                let strength = (one.important, true, (0, 0, 0), order);
                winners.offer(property, Candidate { strength, certain: true, value: &one.value });
            }
        }
        Some(settle(element, &around, &winners))
    }
}

/// The style that the winners make of what is inherited.
fn settle(element: &Element, around: &Style, winners: &Winners<'_>) -> Style {
    let mut style = *around;
    match element.name.as_str() {
        "head" | "script" | "style" | "title" | "template" => style.hidden = true,
        "b" | "strong" | "th" => style.bold = true,
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
            style.bold = true;
            style.size *= match element.name.as_str() {
                "h1" => 2.0,
                "h2" => 1.5,
                "h3" => 1.17,
                "h4" => 1.0,
                "h5" => 0.83,
                _ => 0.67,
            };
        }
        "small" => style.size /= 1.2,
        // Links have a colour that each program chooses; marks and buttons have a background of theirs.
        "a" if element.get("href").is_some() => style.colour = None,
        "mark" | "button" | "input" | "select" | "textarea" => (style.colour, style.backdrop) = (None, None),
        "font" => {
            if let Some(colour) = element.get("color") {
                style.colour = Colour::parse_attribute(colour);
            }
        }
        "body" => {
            if let Some(colour) = element.get("text") {
                style.colour = Colour::parse_attribute(colour);
            }
        }
        _ => {}
    }
    if element.get("hidden").is_some() {
        style.hidden = true;
    }
    let below = around.backdrop;
    let paint = |colour: Colour| if colour.alpha >= 1.0 { Some(colour) } else { Some(colour.over(below?)) };
    if let Some(colour) = element.get("bgcolor") {
        style.backdrop = Colour::parse_attribute(colour).and_then(paint);
    }
    if element.get("background").is_some_and(|image| !image.is_empty()) {
        style.backdrop = None;
    }
    if let Some(value) = winners.get("background") {
        style.backdrop = match value.ok().map(background) {
            Some(Background::Colour(colour)) => paint(colour),
            Some(Background::Inherited) => around.backdrop,
            Some(Background::Unknown) | None => None,
        };
    }
    if winners.get("background-image").is_some_and(|value| value.is_err() || value != Ok("none")) {
        style.backdrop = None;
    }
    // A font in one word may set size and weight; it is rare enough to be called unknown, which is: not large.
    if winners.get("font").is_some() {
        style.bold = false;
        style.size = style.size.min(16.0);
    }
    if let Some(Ok(size)) = winners.get("font-size") {
        style.size = font_size(size, around.size).unwrap_or(style.size);
    }
    if let Some(Ok(weight)) = winners.get("font-weight") {
        style.bold = match weight.trim() {
            "bold" | "bolder" => true,
            "normal" | "lighter" => false,
            number => number.parse::<f32>().map_or(style.bold, |number| number >= 600.0),
        };
    }
    if let Some(value) = winners.get("color") {
        style.colour = match value.map(|value| value.trim().to_ascii_lowercase()).as_deref() {
            Ok("inherit" | "currentcolor" | "unset") => around.colour,
            Ok(colour) => Colour::parse(colour),
            Err(()) => None,
        };
    }
    if let Some(value) = winners.get("opacity") {
        let whole = value.is_ok_and(|value| ["1", "100%", "none"].contains(&value.trim()));
        if !whole {
            (style.colour, style.backdrop) = (None, None);
        }
    }
    let off = |property, word: &str| winners.get(property).is_some_and(|value| value.is_ok_and(|value| value == word));
    style.hidden |= off("display", "none") || off("visibility", "hidden");
    style
}

enum Background {
    Colour(Colour),
    Inherited,
    Unknown,
}

/// The colour of a `background` or `background-color`.
fn background(value: &str) -> Background {
    let value = value.trim();
    match value.to_ascii_lowercase().as_str() {
        "inherit" => return Background::Inherited,
        "none" | "initial" | "unset" => return Background::Colour(Colour::CLEAR),
        _ => {}
    }
    if let Some(colour) = Colour::parse(value) {
        return Background::Colour(colour);
    }
    // A picture, or a list of positions and the like; one colour in it, if nothing else is called.
    if !words(value).functions.is_empty() {
        return Background::Unknown;
    }
    let mut colours = value.split_ascii_whitespace().filter_map(Colour::parse);
    match (colours.next(), colours.next()) {
        (Some(colour), None) => Background::Colour(colour),
        _ => Background::Unknown,
    }
}

/// A font size in pixels.
fn font_size(value: &str, around: f32) -> Option<f32> {
    let value = value.trim().to_ascii_lowercase();
    let named = [
        ("xx-small", 9.0),
        ("x-small", 10.0),
        ("small", 13.0),
        ("medium", 16.0),
        ("large", 18.0),
        ("x-large", 24.0),
        ("xx-large", 32.0),
        ("smaller", around / 1.2),
        ("larger", around * 1.2),
    ];
    if let Some((_, size)) = named.iter().find(|(name, _)| *name == value) {
        return Some(*size);
    }
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(digits)?;
    let number: f32 = number.parse().ok()?;
    let size = match unit {
        "px" | "" => number,
        "pt" => number * 4.0 / 3.0,
        "em" => number * around,
        "rem" => number * 16.0,
        "%" => number / 100.0 * around,
        _ => return None,
    };
    size.is_finite().then_some(size)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    No,
    Perhaps,
    Yes,
}

/// Whether a selector matches an element. `None`: the budget is used up.
fn matches(document: &Document, at: usize, compounds: &[Compound], budget: &mut u64) -> Option<Match> {
    let Some((last, before)) = compounds.split_last() else { return Some(Match::No) };
    let mut certain = match fits(document, at, last) {
        Match::No => return Some(Match::No),
        own => own,
    };
    let (mut at, mut combinator) = (at, last.combinator);
    for compound in before.iter().rev() {
        // Neighbours are not followed; whether there is one of the kind stays open.
        if matches!(combinator, '+' | '~') {
            return Some(Match::Perhaps);
        }
        let mut found = None;
        for (outer, _) in document.around(at) {
            *budget = budget.checked_sub(1)?;
            match fits(document, outer, compound) {
                Match::No if combinator == '>' => break,
                Match::No => {}
                own => {
                    found = Some((outer, own));
                    break;
                }
            }
        }
        let Some((outer, own)) = found else {
            // The nearest ancestor was taken; with `>` in the selector a farther one might have led to a match.
            let several = compounds.iter().any(|compound| compound.combinator == '>') && compounds.len() > 2;
            return Some(if several { Match::Perhaps } else { Match::No });
        };
        if own == Match::Perhaps {
            certain = Match::Perhaps;
        }
        (at, combinator) = (outer, compound.combinator);
    }
    Some(certain)
}

fn fits(document: &Document, at: usize, compound: &Compound) -> Match {
    let Some(element) = document.element(at) else { return Match::No };
    if compound.element.as_ref().is_some_and(|name| *name != element.name) {
        return Match::No;
    }
    let classes = element.get("class").unwrap_or_default();
    if !compound.classes.iter().all(|class| classes.split_ascii_whitespace().any(|own| own == class)) {
        return Match::No;
    }
    if !compound.ids.iter().all(|id| element.get("id") == Some(id)) {
        return Match::No;
    }
    let mut fit = if compound.attributes { Match::Perhaps } else { Match::Yes };
    for pseudo in &compound.pseudos {
        match pseudo.as_str() {
            "root" if element.name != "html" => return Match::No,
            "root" => {}
            "link" if element.name != "a" => return Match::No,
            // What shows only while somebody points at it, or beside the text.
            "hover" | "active" | "focus" | "focus-visible" | "visited" | "before" | "after" | "marker"
            | "placeholder" | "selection" => return Match::No,
            _ => fit = Match::Perhaps,
        }
    }
    fit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::css::sheet;

    /// Colour and backdrop of the text `x`.
    fn seen(css: &str, html: &str, scheme: Scheme) -> String {
        let document = Document::parse(html);
        let styles = of(&document, &[sheet(css, 0)], scheme).unwrap();
        let at = document.nodes.iter().position(|node| matches!(&node.kind, Kind::Text(text) if text == "x")).unwrap();
        let style = styles[at];
        let shown = |colour: Option<Colour>| colour.map_or("?".to_owned(), Colour::hex);
        format!(
            "{} {} {}{}{}",
            shown(style.colour),
            shown(style.backdrop),
            style.size,
            if style.bold { " bold" } else { "" },
            if style.hidden { " hidden" } else { "" }
        )
    }

    #[test]
    fn the_cascade_is_that_of_a_browser() {
        for (css, html, shown) in [
            ("", "<p>x", "#000000 #ffffff 16"),
            (".a{color:red}", "<p class='b a'>x", "#ff0000 #ffffff 16"),
            (".a{color:red} p{color:blue}", "<p class=a>x", "#ff0000 #ffffff 16"),
            ("p{color:blue!important} .a{color:red}", "<p class=a>x", "#0000ff #ffffff 16"),
            (".a{color:red}", "<p class=a style='color:blue'>x", "#0000ff #ffffff 16"),
            (".a{color:red!important}", "<p class=a style='color:blue'>x", "#ff0000 #ffffff 16"),
            ("", "<td bgcolor=000000><font color=#fff>x", "#ffffff #000000 16"),
            ("", "<td bgcolor=000000 style='background:#111'><b>x", "#000000 #111111 16 bold"),
            ("", "<div style='background:#000'><p style='background:rgba(255,255,255,0.5)'>x", "#000000 #808080 16"),
            ("", "<div style='background:#000 url(cid:x)'>x", "#000000 ? 16"),
            ("div .a{color:red}", "<div><b><i class=a>x", "#ff0000 #ffffff 16 bold"),
            ("div>.a{color:red}", "<div><b><i class=a>x", "#000000 #ffffff 16 bold"),
            (".a:nth-child(2){color:red}", "<p class=a>x", "? #ffffff 16"),
            ("@media (max-width:9px){.a{color:red}}", "<p class=a>x", "? #ffffff 16"),
            ("@media (max-width:9px){.a{padding:0}}", "<p class=a>x", "#000000 #ffffff 16"),
            ("@media print{.a{color:red}}", "<p class=a>x", "#000000 #ffffff 16"),
            (".a:hover{color:red}", "<p class=a>x", "#000000 #ffffff 16"),
            ("", "<a href=y>x", "? #ffffff 16"),
            ("", "<h1>x", "#000000 #ffffff 32 bold"),
            ("", "<p style='font-size:12pt;font-weight:700'>x", "#000000 #ffffff 16 bold"),
            (".l{display:none}", "<p class=l>x", "#000000 #ffffff 16 hidden"),
            ("", "<div style='opacity:.5'>x", "? ? 16"),
        ] {
            assert_eq!(seen(css, html, Scheme::Light), shown, "{css} {html}");
        }
    }

    #[test]
    fn the_dark_scheme_has_its_own_rules() {
        let css = "@media (prefers-color-scheme: dark){ .ink{color:#eee!important} .page{background:#111!important} }";
        let html = "<body class=page style='background:#fff'><p class=ink style='color:#222'>x";
        assert_eq!(seen(css, html, Scheme::Light), "#222222 #ffffff 16");
        assert_eq!(seen(css, html, Scheme::Dark), "#eeeeee #111111 16");
        assert_eq!(seen("", "<p>x", Scheme::Dark), "? ? 16");
    }

    #[test]
    fn work_is_bounded() {
        let css = ".a ".repeat(16) + "b{color:red}";
        let html = format!("{}{}", "<i class=a>".repeat(400), "<b>y</b>".repeat(10_000));
        let started = std::time::Instant::now();
        of(&Document::parse(&html), &[sheet(&css.repeat(400), 0)], Scheme::Light);
        assert!(started.elapsed().as_secs() < 20);
    }
}
