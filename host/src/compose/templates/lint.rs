//! What HTML of a mail may hold. Looked at when templates are loaded, at the samples, and at values that try to break out
//! of their place; and a site's own at each mail. Escaping does the rest at every render.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Values that break out of a place that is not quoted, or that are no link.
pub(super) const PROBES: [Probe; 2] = [Probe::Appended("\"'><bewit-probe> onbewit=1 "), Probe::Whole("bewit-probe:1")];

/// What hostile values look like.
#[derive(Debug, Clone, Copy)]
pub(in crate::compose) enum Probe {
    /// This behind the sample's value.
    Appended(&'static str),
    /// This instead of it.
    Whole(&'static str),
}

/// What is wrong with the output.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) message: String,
    /// What to look for in the source.
    pub(super) needle: Option<String>,
}

impl Finding {
    fn new(message: impl Into<String>, needle: impl Into<String>) -> Self {
        Self { message: message.into(), needle: Some(needle.into()) }
    }
}

/// Elements that run, load, submit or embed something.
const REFUSED: [&str; 27] = [
    "applet", "audio", "base", "button", "canvas", "embed", "form", "frame", "frameset", "iframe", "input", "link",
    "map", "math", "noscript", "object", "option", "param", "picture", "portal", "script", "select", "slot", "source",
    "svg", "textarea", "video",
];

/// Elements that a cut-off file leaves open.
const PAIRED: [&str; 7] = ["html", "body", "table", "style", "title", "a", "div"];

/// Attributes that load what they name.
const LOADING: [&str; 7] = ["src", "srcset", "background", "poster", "data", "lowsrc", "dynsrc"];

/// Checks one document.
pub(super) fn check(html: &str) -> Result<(), Finding> {
    let mut seen = Seen::default();
    scan(html, &mut seen)?;
    for (name, balance) in seen.open {
        if balance != 0 {
            let what = if balance > 0 { "not closed" } else { "closed more often than opened" };
            return Err(Finding::new(format!("`<{name}>` is {what}: is the template complete?"), format!("<{name}")));
        }
    }
    Ok(())
}

/// What a document has been found to hold so far.
#[derive(Debug, Default)]
struct Seen<'a> {
    /// How many elements of a name are open.
    open: BTreeMap<&'static str, i64>,
    /// Tags that are harmless, as they are written, with what they open or close: a table has the same ones in each of its
    /// cells.
    tags: HashMap<&'a str, Option<(&'static str, i64)>>,
    /// Styles that are harmless.
    styles: HashSet<&'a str>,
}

impl Seen<'_> {
    fn count(&mut self, paired: Option<(&'static str, i64)>) {
        if let Some((name, change)) = paired {
            *self.open.entry(name).or_default() += change;
        }
    }
}

fn scan<'a>(html: &'a str, seen: &mut Seen<'a>) -> Result<(), Finding> {
    let mut at = 0;
    while let Some(start) = html.get(at..).and_then(|rest| rest.find('<')).map(|found| at + found) {
        let rest = html.get(start..).unwrap_or_default();
        if let Some(comment) = rest.strip_prefix("<!--") {
            let (end, mark) = comment_end(comment);
            let inside = comment.get(..end).unwrap_or_default();
            // Outlook reads what stands in its own comments.
            if let Some((_, outlook)) =
                inside.trim_start().strip_prefix("[if").and_then(|inside| inside.split_once(']'))
            {
                scan(outlook, &mut Seen::default())?;
            }
            at = start + 4 + end + mark;
            continue;
        }
        // The same text up to a bracket that has ended a tag is the same tag.
        let written = memchr::memchr(b'>', rest.as_bytes()).and_then(|end| rest.get(..=end)).unwrap_or_default();
        if let Some(paired) = seen.tags.get(written).copied() {
            at = start + written.len();
            seen.count(paired);
            continue;
        }
        let Some(tag) = Tag::parse(rest) else {
            at = start + 1;
            continue;
        };
        at = start + tag.length;
        check_tag(&tag, seen)?;
        let name = tag.name.to_ascii_lowercase();
        let paired = PAIRED.iter().find(|paired| **paired == name).copied();
        let paired = paired.map(|paired| (paired, if tag.closing { -1 } else { i64::from(!tag.empty) }));
        seen.count(paired);
        if name != "style" && tag.length == written.len() {
            seen.tags.insert(written, paired);
        }
        if name == "style" && !tag.closing {
            let rest = html.get(at..).unwrap_or_default();
            let end = find_ignore_case(rest, "</style").unwrap_or(rest.len());
            check_style(rest.get(..end).unwrap_or_default())?;
            at += end;
        }
    }
    Ok(())
}

/// Where a comment ends and how long the mark is that ends it, as browsers read it: `<!-->` and `<!--->` are whole
/// comments, and `--!>` ends one as well.
fn comment_end(comment: &str) -> (usize, usize) {
    if comment.starts_with('>') {
        return (0, 1);
    }
    if comment.starts_with("->") {
        return (0, 2);
    }
    let ends = [("-->", 3), ("--!>", 4)];
    let found = ends.into_iter().filter_map(|(mark, length)| Some((comment.find(mark)?, length))).min();
    found.unwrap_or((comment.len(), 0))
}

fn check_tag<'a>(tag: &Tag<'a>, seen: &mut Seen<'a>) -> Result<(), Finding> {
    let name = tag.name.to_ascii_lowercase();
    if name == "bewit-probe" {
        return Err(Finding::new("a value gets into the HTML without being escaped", ""));
    }
    if REFUSED.contains(&name.as_str()) {
        return Err(Finding::new(format!("`<{name}>` is not allowed in a mail"), format!("<{name}")));
    }
    for (attribute, value) in &tag.attributes {
        let attribute = attribute.to_ascii_lowercase();
        if attribute == "onbewit" || attribute.contains("bewit-probe") {
            let message =
                format!("a value leaves its place in a `<{name}>`: write attribute=\"{{{{ … }}}}\", in quotes");
            return Err(Finding::new(message, format!("<{name}")));
        }
        if attribute.starts_with("on") {
            return Err(Finding::new(format!("`{attribute}` is not allowed: mails run nothing"), attribute));
        }
        let value = value.trim();
        if attribute == "href" && !starts_with_any(value, &["https://", "http://", "mailto:", "cid:", "#"]) {
            let message = "a link must begin with https://, http://, mailto: or #; is it a value that is no link?";
            return Err(Finding::new(message, "href="));
        }
        if LOADING.contains(&attribute.as_str()) && !starts_with_any(value, &["cid:", "data:image/"]) {
            let message = format!("`{attribute}` loads something from outside: only cid: and data:image/ are allowed");
            return Err(Finding::new(message, format!("{attribute}=")));
        }
        if attribute == "style" && !seen.styles.contains(value) {
            check_style(value)?;
            seen.styles.insert(value);
        }
        if name == "meta" && attribute == "http-equiv" && !starts_with_any(value, &["content-type", "x-ua-compatible"])
        {
            return Err(Finding::new("this `http-equiv` is not allowed in a mail", "http-equiv"));
        }
    }
    Ok(())
}

fn check_style(css: &str) -> Result<(), Finding> {
    if css.contains("bewit-probe") {
        return Err(Finding::new("a value stands inside a style: only the template's own text may", "style"));
    }
    let lower = css.to_ascii_lowercase();
    for refused in ["@import", "expression(", "javascript:", "behavior:", "-moz-binding"] {
        if lower.contains(refused) {
            return Err(Finding::new(format!("`{refused}` is not allowed in a style"), refused));
        }
    }
    let mut rest = lower.as_str();
    while let Some(found) = rest.find("url(") {
        rest = rest.get(found + 4..).unwrap_or_default();
        let target = rest.trim_start_matches([' ', '"', '\'']);
        if !starts_with_any(target, &["cid:", "data:image/"]) {
            return Err(Finding::new("`url(…)` loads something from outside", "url("));
        }
    }
    Ok(())
}

fn starts_with_any(value: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| value.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start)))
}

fn find_ignore_case(text: &str, needle: &str) -> Option<usize> {
    text.to_ascii_lowercase().find(needle)
}

/// A tag as a browser reads it.
#[derive(Debug)]
struct Tag<'a> {
    name: &'a str,
    closing: bool,
    /// `<br/>`
    empty: bool,
    attributes: Vec<(&'a str, &'a str)>,
    /// Octets, brackets included.
    length: usize,
}

impl<'a> Tag<'a> {
    /// Parses the tag at the start of `text`, which begins with `<`. `None`: it is only a bracket.
    fn parse(text: &'a str) -> Option<Self> {
        let mut input = Input { text, at: 1 };
        let closing = input.eat('/');
        if !input.peek()?.is_ascii_alphabetic() {
            return None;
        }
        let name = input.until(|c| c.is_whitespace() || c == '/' || c == '>');
        let mut tag = Tag { name, closing, empty: false, attributes: Vec::new(), length: 0 };
        loop {
            input.until(|c| !c.is_whitespace());
            match input.peek() {
                None => break,
                Some('>') => {
                    input.at += 1;
                    break;
                }
                Some('/') => {
                    input.at += 1;
                    tag.empty = input.peek() == Some('>');
                    continue;
                }
                Some(_) => {}
            }
            let start = input.at;
            // A name may begin with an equals sign, so the first character is taken as it is.
            input.at += input.peek().map_or(1, char::len_utf8);
            input.until(|c| c.is_whitespace() || matches!(c, '/' | '>' | '='));
            let attribute = text.get(start..input.at).unwrap_or_default();
            let after_name = input.at;
            input.until(|c| !c.is_whitespace());
            let value = if input.eat('=') {
                input.until(|c| !c.is_whitespace());
                match input.peek() {
                    Some(quote @ ('"' | '\'')) => {
                        input.at += 1;
                        let value = input.until(|c| c == quote);
                        input.at += 1;
                        value
                    }
                    _ => input.until(|c| c.is_whitespace() || c == '>'),
                }
            } else {
                input.at = after_name;
                ""
            };
            tag.attributes.push((attribute, value));
        }
        tag.length = input.at.min(text.len());
        Some(tag)
    }
}

struct Input<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Input<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn until(&mut self, stop: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(stop).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_or_loads_is_refused() {
        for bad in [
            "<script>x</script>",
            "<SCRIPT src='x'>",
            "<iframe>",
            "<form action=x>",
            "<svg/onload=x>",
            "<b onmouseover=x>",
            "<b\nONCLICK = \"x\">",
            "<img src=https://example.net/pixel.gif>",
            "<img src=//example.net/x>",
            "<td background='http://example.net/x'>",
            "<a href=javascript:x></a>",
            "<a href=' java&#115;cript:x'></a>",
            "<a href=data:text/html,x></a>",
            "<p style='background:url(https://example.net/x)'>",
            "<style>@import 'x';</style>",
            "<style>p{background:URL( \"https://example.net\")}</style>",
            "<meta http-equiv=refresh content=0>",
            "<link rel=stylesheet href=https://x>",
            "<base href=https://x>",
            "<!--[if mso]><script>x</script><![endif]-->",
            "<!--><script>x</script><!-- -->",
            "<!---><script>x</script><!-- -->",
            "<!-- --!><script>x</script><!-- -->",
            "<table><tr><td>cut of",
            "<html><body>",
            "<div>",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_mail_needs_is_allowed() {
        for good in [
            "<p>a < b & c",
            "<a href=\"https://v.example/#/x\">x</a>",
            "<img src=cid:logo>",
            "<img src=\"data:image/png;base64,AAAA\" alt='>'>",
            "<!-- <script> -->",
            "<!--[if mso]><table><tr><td><![endif]-->x<!--[if mso]></td></tr></table><![endif]-->",
            "<style>@media (prefers-color-scheme: dark){p{color:#fff}}</style>",
            "<table><tr><td>x</table>",
            "<br/><hr>",
            "1 <2> 3",
        ] {
            assert!(check(good).is_ok(), "{good}: {:?}", check(good));
        }
    }
}
