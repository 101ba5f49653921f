//! Styles as far as a mail's are to be understood: rules, selectors and declarations, each with its place. What is not
//! understood is kept as not understood. Linear in the length of the text.

mod words;

pub(super) use self::words::words;

/// Blocks in blocks that are followed.
const DEEPEST: usize = 8;
/// Rules of a document that are looked at.
const RULES: usize = 2_000;
/// Declarations of a block that are looked at.
const DECLARATIONS: usize = 200;

/// What a `<style>` holds.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) rules: Vec<Rule>,
    /// At-rules, the nested ones too.
    pub(super) at_rules: Vec<AtRule>,
    /// Where rules stand in rules.
    pub(super) nested: Vec<usize>,
}

/// A style rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) selectors: Vec<Selector>,
    pub(super) declarations: Vec<Declaration>,
    pub(super) condition: Condition,
}

/// When a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Always.
    Always,
    /// In a dark scheme.
    Dark,
    /// In a light scheme.
    Light,
    /// Depends on the window or the program.
    Sometimes,
    /// Never on a screen.
    Never,
}

#[derive(Debug)]
pub(super) struct AtRule {
    /// In small letters, without `@`.
    pub(super) name: String,
    /// In small letters.
    pub(super) prelude: String,
    pub(super) at: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Declaration {
    /// In small letters, but for custom properties.
    pub(super) property: String,
    /// Without comments and without `!important`.
    pub(super) value: String,
    pub(super) important: bool,
    /// Octet where the property begins.
    pub(super) at: usize,
}

/// Compounds, the last one is the element's own.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    pub(super) compounds: Vec<Compound>,
    pub(super) at: usize,
}

/// What stands without blanks: `td.ink:first-child`.
#[derive(Debug, Clone, Default)]
pub(super) struct Compound {
    /// How it stands to the compound before: ` `, `>`, `+` or `~`.
    pub(super) combinator: char,
    pub(super) element: Option<String>,
    pub(super) classes: Vec<String>,
    pub(super) ids: Vec<String>,
    /// Names of pseudo-classes and pseudo-elements, without colons.
    pub(super) pseudos: Vec<String>,
    /// Whether attributes are asked for.
    pub(super) attributes: bool,
}

impl Selector {
    /// Ids, classes and the like, elements.
    pub(super) fn specificity(&self) -> (u32, u32, u32) {
        let count = |of: &dyn Fn(&Compound) -> usize| -> u32 {
            u32::try_from(self.compounds.iter().map(of).sum::<usize>()).unwrap_or(u32::MAX)
        };
        (
            count(&|compound| compound.ids.len()),
            count(&|compound| compound.classes.len() + compound.pseudos.len() + usize::from(compound.attributes)),
            count(&|compound| usize::from(compound.element.is_some())),
        )
    }
}

/// Parses a style sheet that begins at octet `base` of its document.
pub(super) fn sheet(css: &str, base: usize) -> Sheet {
    let mut sheet = Sheet::default();
    let mut scanner = Scanner { text: css, at: 0 };
    let mut around: Vec<Condition> = Vec::new();
    loop {
        scanner.blank();
        let start = scanner.at;
        let (prelude, stop) = scanner.until(b"{};");
        let Some(stop) = stop else { break };
        let (text, at) = (plain(prelude), base + start);
        match (text.strip_prefix('@'), stop) {
            (_, b'}') => {
                around.pop();
            }
            (Some(rule), _) => {
                let end = rule.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rule.len());
                let (name, prelude) = rule.split_at_checked(end).unwrap_or((rule, ""));
                let (name, prelude) = (name.to_ascii_lowercase(), prelude.trim().to_ascii_lowercase());
                let condition = condition(&name, &prelude, around.last().copied().unwrap_or(Condition::Always));
                if stop == b'{' {
                    let holds_rules = ["media", "supports", "layer", "container"].contains(&name.as_str());
                    if holds_rules && around.len() < DEEPEST {
                        around.push(condition);
                    } else {
                        scanner.skip_block();
                    }
                }
                if sheet.at_rules.len() < RULES {
                    sheet.at_rules.push(AtRule { name, prelude, at });
                }
            }
            (None, b'{') => {
                let body_at = scanner.at;
                let (body, nested) = scanner.block();
                if let Some(nested) = nested {
                    sheet.nested.push(base + body_at + nested);
                }
                if sheet.rules.len() < RULES {
                    sheet.rules.push(Rule {
                        selectors: selectors(prelude, at),
                        declarations: declarations(body, base + body_at),
                        condition: around.last().copied().unwrap_or(Condition::Always),
                    });
                }
            }
            (None, _) => {}
        }
    }
    sheet
}

/// Parses the declarations of a block, or of a `style` attribute, that begin at octet `base`.
pub(super) fn declarations(css: &str, base: usize) -> Vec<Declaration> {
    let mut found = Vec::new();
    let mut scanner = Scanner { text: css, at: 0 };
    while found.len() < DECLARATIONS {
        scanner.blank();
        let start = scanner.at;
        let (text, stop) = scanner.until(b";{}");
        if stop == Some(b'{') {
            scanner.skip_block();
        } else if let Some((property, value)) = plain(text).split_once(':') {
            let property = property.trim();
            let property = if property.starts_with("--") { property.to_owned() } else { property.to_ascii_lowercase() };
            let value = value.trim();
            let bare = value
                .rsplit_once('!')
                .filter(|(_, word)| word.trim().eq_ignore_ascii_case("important"))
                .map(|(value, _)| value.trim_end());
            found.push(Declaration {
                property,
                value: bare.unwrap_or(value).to_owned(),
                important: bare.is_some(),
                at: base + start,
            });
        }
        if stop.is_none() {
            break;
        }
    }
    found
}

/// When the rules of an at-rule hold.
fn condition(name: &str, prelude: &str, around: Condition) -> Condition {
    let own = match name {
        "media" => {
            let query = prelude.replace("only ", "").replace("screen and ", "").replace("all and ", "");
            match query.trim() {
                "" | "screen" | "all" => Condition::Always,
                "print" => Condition::Never,
                query if query.replace(' ', "") == "(prefers-color-scheme:dark)" => Condition::Dark,
                query if query.replace(' ', "") == "(prefers-color-scheme:light)" => Condition::Light,
                _ => Condition::Sometimes,
            }
        }
        "layer" => Condition::Always,
        _ => Condition::Sometimes,
    };
    match (around, own) {
        (Condition::Never, _) | (_, Condition::Never) => Condition::Never,
        (Condition::Always, own) => own,
        (around, Condition::Always) => around,
        (around, own) if around == own => own,
        (Condition::Dark, Condition::Light) | (Condition::Light, Condition::Dark) => Condition::Never,
        _ => Condition::Sometimes,
    }
}

/// Parses what stands before a block.
fn selectors(prelude: &str, at: usize) -> Vec<Selector> {
    let mut scanner = Scanner { text: prelude, at: 0 };
    let mut found = Vec::new();
    while found.len() < 64 {
        let (text, stop) = scanner.until(b",");
        found.push(selector(&plain(text), at));
        if stop.is_none() {
            break;
        }
    }
    found
}

fn selector(text: &str, at: usize) -> Selector {
    let mut selector = Selector { compounds: Vec::new(), at };
    let mut compound = Compound { combinator: ' ', ..Compound::default() };
    let mut empty = true;
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        let end = tail.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(tail.len());
        let (name, behind) = tail.split_at_checked(end).unwrap_or((tail, ""));
        match c {
            '.' => compound.classes.push(name.to_owned()),
            '#' => compound.ids.push(name.to_owned()),
            ':' if tail.starts_with(':') => {
                rest = tail;
                continue;
            }
            ':' => {
                compound.pseudos.push(name.to_ascii_lowercase());
                rest = skip_brackets(behind, '(', ')');
                empty = false;
                continue;
            }
            '[' => {
                compound.attributes = true;
                rest = skip_brackets(rest, '[', ']');
                empty = false;
                continue;
            }
            '*' => {
                empty = false;
                rest = tail;
                continue;
            }
            '>' | '+' | '~' => {
                if !empty {
                    selector.compounds.push(std::mem::take(&mut compound));
                }
                compound.combinator = c;
                empty = true;
                rest = tail.trim_start();
                continue;
            }
            c if c.is_whitespace() => {
                rest = tail.trim_start();
                if !rest.starts_with(['>', '+', '~']) && !empty {
                    selector.compounds.push(std::mem::take(&mut compound));
                    compound.combinator = ' ';
                    empty = true;
                }
                continue;
            }
            _ => {
                let own = c.len_utf8() + end;
                compound.element = rest.get(..own).map(str::to_ascii_lowercase);
            }
        }
        empty = false;
        rest = behind;
    }
    if !empty {
        selector.compounds.push(compound);
    }
    selector.compounds.truncate(16);
    selector
}

/// What is behind the bracket at the beginning, and all inside it.
fn skip_brackets(text: &str, open: char, close: char) -> &str {
    if !text.starts_with(open) {
        return text;
    }
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return text.get(at + c.len_utf8()..).unwrap_or_default();
            }
        }
    }
    ""
}

/// Text without comments, blanks at its ends taken off.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    out.trim().trim_start_matches("<!--").trim_start_matches("-->").trim().to_owned()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks and comments.
    fn blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let Some(comment) = trimmed.strip_prefix("/*") else { return };
            self.at += comment.find("*/").map_or(trimmed.len(), |end| end + 4);
        }
    }

    /// What stands before one of these ASCII characters outside of strings, brackets and comments, and which one it was;
    /// it is skipped too. At the end: what is left, and none.
    fn until(&mut self, stops: &[u8]) -> (&'a str, Option<u8>) {
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut depth = 0_usize;
        while let Some(byte) = bytes.get(self.at).copied() {
            match byte {
                b'\\' => self.at += 1,
                b'"' | b'\'' => self.string(byte),
                b'/' if bytes.get(self.at + 1) == Some(&b'*') => {
                    let end = self.text.get(self.at + 2..).and_then(|rest| rest.find("*/"));
                    // The last octet of the comment; the step below goes past it.
                    self.at = end.map_or(bytes.len(), |end| self.at + 2 + end + 1);
                }
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                byte if stops.contains(&byte) && (depth == 0 || byte == b'{' || byte == b'}') => {
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return (text, Some(byte));
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at = self.text.len();
        (self.text.get(start..).unwrap_or_default(), None)
    }

    /// Goes to the end of the string that begins here; a line break ends it too.
    fn string(&mut self, quote: u8) {
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at).copied() {
            match byte {
                b'\\' => self.at += 1,
                b'\n' => return,
                byte if byte == quote => return,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// The block whose bracket is behind us, and where in it another one begins.
    fn block(&mut self) -> (&'a str, Option<usize>) {
        let start = self.at;
        let mut nested = None;
        loop {
            let before = self.at;
            let (text, stop) = self.until(b"{};");
            match stop {
                Some(b'{') => {
                    nested.get_or_insert(before + (text.len() - text.trim_start().len()) - start);
                    self.skip_block();
                }
                Some(b';') => {}
                Some(_) => return (self.text.get(start..self.at - 1).unwrap_or_default(), nested),
                None => return (self.text.get(start..).unwrap_or_default(), nested),
            }
        }
    }

    fn skip_block(&mut self) {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.until(b"{}").1 {
                Some(b'{') => depth += 1,
                Some(_) => depth -= 1,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_are_taken_apart() {
        let css = "/* a{} */ .a, td.b:first-child > #c { color : RED !important; background:url(\"x;}y\") }\n\
                   @media (max-width:520px){ .a{color:blue} } @import 'x';\n\
                   @media screen and (prefers-color-scheme: dark) { a.link{color:#fff} }\n\
                   @font-face{font-family:x;src:url(y)} p{x:y;&:hover{z:z}}";
        let sheet = sheet(css, 10);
        let shown: Vec<String> = sheet
            .rules
            .iter()
            .map(|rule| {
                let declarations: Vec<String> = rule
                    .declarations
                    .iter()
                    .map(|one| format!("{}={}{}", one.property, one.value, if one.important { "!" } else { "" }))
                    .collect();
                format!("{}/{:?}/{}", rule.selectors.len(), rule.condition, declarations.join(","))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "2/Always/color=RED!,background=url(\"x;}y\")",
                "1/Sometimes/color=blue",
                "1/Dark/color=#fff",
                "1/Always/x=y"
            ]
        );
        let names: Vec<&str> = sheet.at_rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["media", "import", "media", "font-face"]);
        assert_eq!(sheet.nested.len(), 1);
        let red = css.find("color : RED").unwrap() + 10;
        assert_eq!(sheet.rules[0].declarations[0].at, red);
        let selector = &sheet.rules[0].selectors[1];
        assert_eq!(selector.specificity(), (1, 2, 1));
        assert_eq!(selector.compounds[1].combinator, '>');
    }

    #[test]
    fn attributes_and_values_are_taken_apart() {
        let all = declarations("color:#fff; ;margin : 0 auto!IMPORTANT;bad; --X: y", 5);
        let shown: Vec<String> = all.iter().map(|one| format!("{}={}@{}", one.property, one.value, one.at)).collect();
        assert_eq!(shown, ["color=#fff@5", "margin=0 auto@18", "--X=y@49"]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-z{}()\\[\\]:;,.#@/*\"'\\\\!<>é \n-]{0,120}") {
            let parsed = sheet(&text, 0);
            prop_assert!(parsed.rules.len() <= text.len());
            for one in declarations(&text, 0) {
                prop_assert!(one.at <= text.len());
                words(&one.value);
            }
        }
    }
}
