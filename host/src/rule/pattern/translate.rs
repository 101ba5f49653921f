//! Go's regular expressions (`regexp/syntax` with the flags `Perl`) rewritten for the `regex` crate. Both are RE2's
//! children; they differ in escapes, in what a class may hold, in counted repetition and in the Perl classes, which
//! are ASCII in Go. Whatever Go refuses is refused here, so that an invalid pattern is the same in both places.

use std::fmt::Write as _;

/// What is wrong with a pattern, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Byte offset in the pattern.
    pub(super) at: usize,
    /// In a few words.
    pub(super) what: &'static str,
}

/// The most that counted repetitions may ask for, nested ones multiplied.
const REPEAT_LIMIT: u64 = 1000;

/// Matches nothing: for code points that no text holds.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

/// Names in `[[:name:]]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Rewrites a pattern. Groups do not capture: nobody asks for what they matched.
pub(super) fn to_rust(source: &str) -> Result<String, Fault> {
    let mut scanner = Scanner { source, at: 0, out: String::with_capacity(source.len() + 16), flags: String::new() };
    scanner.run()?;
    Ok(scanner.out)
}

struct Scanner<'a> {
    source: &'a str,
    at: usize,
    out: String,
    /// Flags that are set from here on, not written yet: an operator right after them repeats what stood before them.
    flags: String,
}

/// What stands before a repetition operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Atom,
    Repeat,
}

/// An open group: where it began, and how often its content is repeated inside it at most.
struct Group {
    at: usize,
    repeats: u64,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut groups: Vec<Group> = Vec::new();
        let mut whole = Group { at: 0, repeats: 1 };
        let mut before = Before::Nothing;
        let mut repeats = 1;
        loop {
            let at = self.at;
            let Some(next) = self.bump() else { break };
            if !matches!(next, '*' | '+' | '?' | '{' | '(') {
                self.write_flags();
            }
            match next {
                '(' => {
                    if self.open(at)? {
                        groups.push(Group { at, repeats: 1 });
                        (before, repeats) = (Before::Nothing, 1);
                    } else if before == Before::Repeat {
                        before = Before::Atom;
                    }
                }
                ')' => {
                    let Some(group) = groups.pop() else { return Err(Fault { at, what: "unopened `)`" }) };
                    self.out.push(')');
                    (before, repeats) = (Before::Atom, group.repeats);
                }
                '|' => {
                    self.out.push('|');
                    (before, repeats) = (Before::Nothing, 1);
                }
                '*' | '+' | '?' => {
                    self.repeat(at, before)?;
                    self.out.push(next);
                    before = Before::Repeat;
                }
                '{' => match self.counts(at)? {
                    None => {
                        self.write_flags();
                        self.literal(next);
                        (before, repeats) = (Before::Atom, 1);
                    }
                    Some((least, most)) => {
                        self.repeat(at, before)?;
                        let times = most.unwrap_or(least).max(least);
                        repeats *= times.max(1);
                        if times >= 2 && repeats > REPEAT_LIMIT {
                            return Err(Fault { at, what: "repeated more than 1000 times" });
                        }
                        let _ = match most {
                            Some(most) => write!(self.out, "{{{least},{most}}}"),
                            None => write!(self.out, "{{{least},}}"),
                        };
                        before = Before::Repeat;
                    }
                },
                '[' => {
                    self.class(at)?;
                    (before, repeats) = (Before::Atom, 1);
                }
                '\\' => {
                    // Nothing between `\Q` and `\E` is nothing: what stood before is still there to be repeated.
                    if self.escape(at)? {
                        (before, repeats) = (Before::Atom, 1);
                    } else if before == Before::Repeat {
                        before = Before::Atom;
                    }
                }
                '^' | '$' | '.' => {
                    self.out.push(next);
                    (before, repeats) = (Before::Atom, 1);
                }
                _ => {
                    self.literal(next);
                    (before, repeats) = (Before::Atom, 1);
                }
            }
            let inner = groups.last_mut().unwrap_or(&mut whole);
            inner.repeats = inner.repeats.max(repeats);
        }
        match groups.pop() {
            Some(group) => Err(Fault { at: group.at, what: "unclosed group" }),
            None => Ok(()),
        }
    }

    /// After `(`: opens a group (`true`), or sets flags for the rest of this one (`false`).
    fn open(&mut self, at: usize) -> Result<bool, Fault> {
        if !self.eat("?") {
            self.group("");
            return Ok(true);
        }
        if self.eat("P<") || self.eat("<") {
            let rest = self.rest();
            let name = rest.split_once('>').map(|(name, _)| name).unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return Err(Fault { at, what: "a group's name is letters, digits and `_`, ended by `>`" });
            }
            self.at += name.len() + 1;
            self.group("");
            return Ok(true);
        }
        let fault = Fault { at, what: "unknown group; `(?:…)`, `(?P<name>…)` and the flags `imsU` are known" };
        let (mut on, mut off) = (String::new(), String::new());
        let (mut negative, mut named) = (false, false);
        loop {
            match self.bump() {
                // Greediness decides what a match is, not whether there is one.
                Some('U') => named = true,
                Some(flag @ ('i' | 'm' | 's')) => {
                    named = true;
                    let (into, from) = if negative { (&mut off, &mut on) } else { (&mut on, &mut off) };
                    from.retain(|other| other != flag);
                    if !into.contains(flag) {
                        into.push(flag);
                    }
                }
                Some('-') if !negative => (negative, named) = (true, false),
                Some(end @ (':' | ')')) => {
                    if negative && !named {
                        return Err(fault);
                    }
                    if !off.is_empty() {
                        off.insert(0, '-');
                    }
                    if end == ':' {
                        self.group(&format!("{on}{off}"));
                    } else if !on.is_empty() || !off.is_empty() {
                        let _ = write!(self.flags, "(?{on}{off})");
                    }
                    return Ok(end == ':');
                }
                _ => return Err(fault),
            }
        }
    }

    fn group(&mut self, flags: &str) {
        self.write_flags();
        let _ = write!(self.out, "(?{flags}:");
    }

    fn write_flags(&mut self) {
        self.out.push_str(&std::mem::take(&mut self.flags));
    }

    /// At a repetition operator: there must be something to repeat, and it must not be a repetition itself.
    fn repeat(&mut self, at: usize, before: Before) -> Result<(), Fault> {
        self.eat("?");
        match before {
            Before::Atom => Ok(()),
            Before::Nothing => Err(Fault { at, what: "nothing to repeat" }),
            Before::Repeat => Err(Fault { at, what: "a repetition of a repetition" }),
        }
    }

    /// After `{`: the counts of `{2}`, `{2,}` or `{2,3}`; anything else is a brace and nothing more.
    fn counts(&mut self, at: usize) -> Result<Option<(u64, Option<u64>)>, Fault> {
        let Some((inside, _)) = self.rest().split_once('}') else { return Ok(None) };
        let (least, most) = inside.split_once(',').map_or((inside, None), |(least, most)| (least, Some(most)));
        let plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && !(text.len() > 1 && text.starts_with('0'))
        };
        if !plain(least) || !most.is_none_or(|most| most.is_empty() || plain(most)) {
            return Ok(None);
        }
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number <= REPEAT_LIMIT);
        let fault = Fault { at, what: "a repetition counts from 0 to 1000, the smaller number first" };
        let least_number = number(least).ok_or_else(|| fault.clone())?;
        let most_number = match most {
            None => Some(least_number),
            Some("") => None,
            Some(most) => Some(number(most).filter(|most| *most >= least_number).ok_or(fault)?),
        };
        self.at += inside.len() + 1;
        Ok(Some((least_number, most_number)))
    }

    fn literal(&mut self, character: char) {
        if character.is_ascii_alphanumeric() || !character.is_ascii() {
            self.out.push(character);
        } else {
            self.code_point(u32::from(character));
        }
    }

    fn code_point(&mut self, code: u32) {
        if char::from_u32(code).is_some() {
            let _ = write!(self.out, "\\x{{{code:X}}}");
        } else {
            self.out.push_str(NOTHING);
        }
    }

    /// After a backslash outside a class. Answers whether it was something.
    fn escape(&mut self, at: usize) -> Result<bool, Fault> {
        let known = match self.peek() {
            Some('A') => r"\A",
            Some('z') => r"\z",
            Some('b') => r"(?-u:\b)",
            Some('B') => r"(?-u:\B)",
            // Any byte, and no text here holds a byte that is not part of a character.
            Some('C') => "(?s:.)",
            Some('Q') => {
                self.bump();
                let rest = self.rest();
                let (quoted, skip) = rest.split_once(r"\E").map_or((rest, 0), |(quoted, _)| (quoted, 2));
                for character in quoted.chars() {
                    self.literal(character);
                }
                self.at += quoted.len() + skip;
                return Ok(!quoted.is_empty());
            }
            _ => {
                if let Some(class) = self.named_class(at)? {
                    self.out.push_str(&class);
                } else {
                    let code = self.escaped(at)?;
                    self.code_point(code);
                }
                return Ok(true);
            }
        };
        self.bump();
        self.out.push_str(known);
        Ok(true)
    }

    /// After a backslash: a Perl or Unicode class, complete in its own brackets.
    fn named_class(&mut self, at: usize) -> Result<Option<String>, Fault> {
        let class = match self.peek() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => r"[\t\n\x{C}\r\x{20}]",
            Some('S') => r"[^\t\n\x{C}\r\x{20}]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some(letter @ ('p' | 'P')) => {
                self.bump();
                let fault = Fault { at, what: "a Unicode class is `\\pL` or `\\p{Greek}`" };
                let name = if self.eat("{") {
                    let Some((name, _)) = self.rest().split_once('}') else { return Err(fault) };
                    self.at += name.len() + 1;
                    name
                } else {
                    let start = self.at;
                    self.bump();
                    self.source.get(start..self.at).unwrap_or_default()
                };
                let (name, opposite) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
                if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                    return Err(fault);
                }
                let letter = if opposite == (letter == 'p') { 'P' } else { 'p' };
                return Ok(Some(format!("\\{letter}{{{name}}}")));
            }
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some(class.to_owned()))
    }

    /// After a backslash: one code point, which may be a surrogate.
    fn escaped(&mut self, at: usize) -> Result<u32, Fault> {
        let fault = Fault { at, what: "unknown escape" };
        let Some(next) = self.bump() else { return Err(Fault { at, what: "a backslash at the end" }) };
        let code = match next {
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            'x' => return self.hex().ok_or(fault),
            '0'..='7' => {
                let mut code = u32::from(next) - u32::from('0');
                let mut digits = 1;
                while digits < 3
                    && let Some(digit) = self.peek().and_then(|digit| digit.to_digit(8))
                {
                    code = code * 8 + digit;
                    digits += 1;
                    self.bump();
                }
                // A single digit other than zero would be a reference to a group, which no linear search can follow.
                if next != '0' && digits == 1 {
                    return Err(Fault { at, what: "references to groups are not supported" });
                }
                code
            }
            _ if next.is_ascii() && !next.is_ascii_alphanumeric() => u32::from(next),
            _ => return Err(fault),
        };
        Ok(code)
    }

    /// After `\x`: two digits, or any number of them in braces.
    fn hex(&mut self) -> Option<u32> {
        let digits = if self.eat("{") {
            let (digits, _) = self.rest().split_once('}')?;
            self.at += digits.len() + 1;
            digits
        } else {
            let digits = self.rest().get(..2)?;
            self.at += 2;
            digits
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let digits = digits.trim_start_matches('0');
        let code = if digits.is_empty() { 0 } else { u32::from_str_radix(digits, 16).ok()? };
        (code <= u32::from(char::MAX)).then_some(code)
    }

    /// After `[`. In Go a class holds characters, ranges and named classes, and nothing else has a meaning in it.
    fn class(&mut self, at: usize) -> Result<(), Fault> {
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let item = self.at;
            match self.peek() {
                None => return Err(Fault { at, what: "unclosed class" }),
                Some(']') if !first => {
                    self.bump();
                    self.out.push(']');
                    return Ok(());
                }
                _ => first = false,
            }
            if let Some(inside) = self.rest().strip_prefix("[:")
                && let Some((name, _)) = inside.split_once(":]")
            {
                if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(Fault { at: item, what: "unknown class name" });
                }
                self.at += name.len() + 4;
                let _ = write!(self.out, "[:{name}:]");
                continue;
            }
            if self.eat("\\") {
                if let Some(class) = self.named_class(item)? {
                    self.out.push_str(&class);
                    continue;
                }
                self.at = item;
            }
            let low = self.class_character(at)?;
            let mut high = low;
            if self.rest().starts_with('-') && !self.rest().starts_with("-]") && self.rest().len() > 1 {
                self.bump();
                high = self.class_character(at)?;
                if high < low {
                    return Err(Fault { at: item, what: "a range that runs backwards" });
                }
            }
            self.range(low, high);
        }
    }

    fn class_character(&mut self, class: usize) -> Result<u32, Fault> {
        let at = self.at;
        match self.bump() {
            None => Err(Fault { at: class, what: "unclosed class" }),
            Some('\\') => self.escaped(at),
            Some(character) => Ok(u32::from(character)),
        }
    }

    /// A range in a class, without the surrogates in it.
    fn range(&mut self, low: u32, high: u32) {
        let low = if (0xd800..0xe000).contains(&low) { 0xe000 } else { low };
        let high = if (0xd800..0xe000).contains(&high) { 0xd7ff } else { high };
        if low > high {
            self.out.push_str(NOTHING);
        } else {
            self.code_point(low);
            if high > low {
                self.out.push('-');
                self.code_point(high);
            }
        }
    }
}
