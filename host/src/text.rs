//! Text from outside, made fit to be read: a reader sees what is there, and no terminal obeys it. There is one list of
//! characters that nobody sees, and two ways to show them:
//!
//! * [`clean`] and [`one_line`] for texts that stand alone, in a mail or a list: `␛`, `[U+202E]`;
//! * [`Visible`] and [`Shown`] for sentences, in an error or a log, as escapes that can be copied: `\u{1b}`, `\u{202e}`.
//!
//! [`cut`] and its sisters shorten. Pure, and below every layer.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use unicode_segmentation::UnicodeSegmentation;

/// What marks the place where text was cut.
pub const ELLIPSIS: char = '…';

/// Characters of a value that a sentence shows.
const QUOTED: usize = 60;

/// Controls, line separators, direction marks and characters without a width: what a reader does not see, or what makes
/// the reader see something else.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        // C0 controls and DEL; C1 controls, among them NEL, which some programs take for a line end, and CSI, which
        // terminals obey.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Soft hyphen, Arabic letter mark, Hangul fillers, Mongolian vowel separator.
        | '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}'
        // Zero-width space and the marks after it, but not the joiners U+200C and U+200D, which scripts need.
        | '\u{200b}' | '\u{200e}' | '\u{200f}'
        // Line and paragraph separator, bidi embeddings and overrides.
        | '\u{2028}'..='\u{202e}'
        // Word joiner, invisible operators, bidi isolates, deprecated format characters.
        | '\u{2060}'..='\u{206f}'
        // Byte order mark, interlinear annotation.
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        // Musical and shorthand format controls, tags.
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}'
        // Noncharacters of the first plane.
        | '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}')
}

fn is_clean(c: char) -> bool {
    matches!(c, '\n' | '\t') || !is_invisible(c)
}

/// Text with several lines: CRLF is one line break, a tab stays, all else that a reader could not see is made visible.
/// What is clean already is not copied.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    if text.bytes().all(plain) || text.chars().all(is_clean) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\r' && rest.peek() == Some(&'\n') {
            continue;
        }
        match c {
            _ if is_clean(c) => out.push(c),
            // C0 controls and DEL have pictures of their own (U+2400 to U+2421).
            '\0'..='\u{1f}' => out.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7f}' => out.push('\u{2421}'),
            _ => {
                // Writing to a String does not fail.
                let _ = write!(out, "[U+{:04X}]", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// Clean text on one line: line breaks become `⏎`, tabs a space; blanks at both ends are taken off.
#[must_use]
pub fn one_line(text: &str) -> String {
    let clean = clean(text);
    let trimmed = clean.trim();
    if !trimmed.contains(['\n', '\t']) {
        return trimmed.to_owned();
    }
    trimmed.replace('\n', "⏎").replace('\t', " ")
}

/// A text inside a sentence, on one line: what nobody sees as escapes, nothing cut.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| escape(f, c))
    }
}

/// A value as a sentence names it: [`Visible`] in backticks, cut after 60 characters.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        f.write_char('`')?;
        characters.by_ref().take(QUOTED).try_for_each(|c| escape(f, c))?;
        f.write_str(if characters.next().is_some() { "…`" } else { "`" })
    }
}

/// Writes a character of a sentence.
///
/// # Errors
/// What the formatter answers.
pub(crate) fn escape(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default()),
        _ if is_invisible(c) => write!(f, "{}", c.escape_unicode()),
        _ => f.write_char(c),
    }
}

/// `1 row`, `2 rows`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The first `limit` characters and an ellipsis, if there are more; never in the middle of a grapheme, unless it alone
/// is longer than the limit.
#[must_use]
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    // As many bytes as characters at most: most texts are not even counted.
    if text.len() <= limit || text.chars().nth(limit).is_none() {
        return Cow::Borrowed(text);
    }
    let mut head = String::new();
    let mut left = limit;
    for grapheme in text.graphemes(true) {
        let length = grapheme.chars().count();
        if length > left {
            if head.is_empty() {
                head.extend(grapheme.chars().take(left));
            }
            break;
        }
        head.push_str(grapheme);
        left -= length;
    }
    head.push(ELLIPSIS);
    Cow::Owned(head)
}

/// An ellipsis and the last `limit` characters, if there are more: the end of a path says more than its beginning.
#[must_use]
pub fn cut_left(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit || text.chars().nth(limit).is_none() {
        return Cow::Borrowed(text);
    }
    let mut kept = Vec::new();
    let mut left = limit;
    for grapheme in text.graphemes(true).rev() {
        let length = grapheme.chars().count();
        if length > left {
            break;
        }
        kept.push(grapheme);
        left -= length;
    }
    let mut out = String::from(ELLIPSIS);
    out.extend(kept.into_iter().rev());
    Cow::Owned(out)
}

/// Where [`elide`] leaves something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elision {
    /// The beginning is left out.
    Start,
    /// The middle is left out; of the rest, the end is the longer half.
    Middle,
    /// The end is left out.
    End,
}

/// At most `limit` graphemes in all, the ellipsis counted.
#[must_use]
pub fn elide(text: &str, limit: usize, at: Elision) -> Cow<'_, str> {
    if text.len() <= limit || text.graphemes(true).nth(limit).is_none() {
        return Cow::Borrowed(text);
    }
    let kept = limit.saturating_sub(1);
    let (first, last) = match at {
        Elision::Start => (0, kept),
        Elision::Middle => (kept / 2, kept - kept / 2),
        Elision::End => (kept, 0),
    };
    let mut out: String = text.graphemes(true).take(first).collect();
    if limit > 0 {
        out.push(ELLIPSIS);
    }
    let mut tail: Vec<&str> = text.graphemes(true).rev().take(last).collect();
    tail.reverse();
    out.extend(tail);
    Cow::Owned(out)
}

/// At most `limit` characters in all, the ellipsis counted.
#[must_use]
pub fn fit(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit || text.chars().nth(limit).is_none() {
        return Cow::Borrowed(text);
    }
    cut(text, limit.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown() {
        for (dirty, shown) in [
            ("plain", "plain"),
            ("größe 日本 👩‍👩‍👧", "größe 日本 👩‍👩‍👧"),
            ("a\r\nb\tc", "a\nb\tc"),
            ("a\rb", "a␍b"),
            ("nul\0", "nul␀"),
            ("\u{1b}[31mred", "␛[31mred"),
            ("\u{9b}31m", "[U+009B]31m"),
            ("del\u{7f}", "del␡"),
            ("\u{202e}gnp.exe", "[U+202E]gnp.exe"),
            ("a\u{2066}b\u{2069}c\u{200e}d\u{200f}e\u{61c}", "a[U+2066]b[U+2069]c[U+200E]d[U+200F]e[U+061C]"),
            ("\u{feff}x\u{200b}y\u{2060}z", "[U+FEFF]x[U+200B]y[U+2060]z"),
            ("tag\u{e0041}", "tag[U+E0041]"),
            ("nel\u{85}ls\u{2028}", "nel[U+0085]ls[U+2028]"),
        ] {
            assert_eq!(clean(dirty), shown, "{dirty:?}");
        }
    }

    #[test]
    fn one_line_has_no_line_breaks() {
        assert_eq!(one_line("ws\r\nBcc: evil@example.net"), "ws⏎Bcc: evil@example.net");
        assert_eq!(one_line(" \n a\tb \n"), "a b");
    }

    #[test]
    fn sentences_hold_escapes_and_short_values() {
        assert_eq!(Shown("a\r\n\u{202e}b\u{1b}[0m").to_string(), "`a\\r\\n\\u{202e}b\\u{1b}[0m`");
        assert_eq!(Shown(&"é".repeat(61)).to_string(), format!("`{}…`", "é".repeat(60)));
        assert_eq!(Shown(&"é".repeat(60)).to_string(), format!("`{}`", "é".repeat(60)));
        assert_eq!(Visible("x\u{0}\ty\u{3164}").to_string(), "x\\u{0}\\ty\\u{3164}");
    }

    #[test]
    fn cutting_counts_characters_and_keeps_graphemes() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut(&"é".repeat(120), 100), format!("{}…", "é".repeat(100)));
        // A family of five characters does not fit into the four that are left.
        assert_eq!(cut("ab👩‍👩‍👧cd", 6), "ab…");
        // A single grapheme that is longer than the limit must not get through whole, nor vanish.
        assert_eq!(cut(&format!("e{}", "\u{301}".repeat(50)), 3), "e\u{301}\u{301}…");
        assert_eq!(cut_left("/very/long/path.txt", 8), "…path.txt");
        assert_eq!(cut_left("path.txt", 8), "path.txt");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("abc", 3), "abc");
    }

    #[test]
    fn elision_counts_graphemes_at_any_end() {
        for (at, words) in [(Elision::Start, "…ghij"), (Elision::Middle, "ab…ij"), (Elision::End, "abcd…")] {
            assert_eq!(elide("abcdefghij", 5, at), words);
            assert_eq!(elide("abcde", 5, at), "abcde");
            assert_eq!(elide("abc", 0, at), "");
            assert_eq!(elide("abc", 1, at), "…");
            // Three families are three.
            assert_eq!(elide("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 3, at), "👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧");
        }
    }

    proptest! {
        #[test]
        fn clean_text_holds_no_controls_and_is_stable(text in any::<String>()) {
            let once = clean(&text).into_owned();
            prop_assert!(once.chars().all(is_clean));
            prop_assert_eq!(clean(&once), once.as_str());
            prop_assert!(!one_line(&text).contains(['\n', '\r', '\t']));
            prop_assert!(!Visible(&text).to_string().chars().any(is_invisible));
        }

        #[test]
        fn cut_keeps_a_prefix_within_the_limit(text in any::<String>(), limit in 0_usize..40) {
            let short = cut(&text, limit);
            if text.chars().count() <= limit {
                prop_assert_eq!(short, text.as_str());
            } else {
                let head = short.strip_suffix('…').unwrap();
                prop_assert!(text.starts_with(head));
                prop_assert!(head.chars().count() <= limit);
                prop_assert!(fit(&text, limit.max(1)).chars().count() <= limit.max(1));
                prop_assert!(text.ends_with(cut_left(&text, limit).strip_prefix('…').unwrap()));
            }
        }
    }
}
