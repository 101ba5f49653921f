//! Values inside sentences: short, quoted, with nothing that a terminal, a log or a reader could be fooled by.

use std::fmt;

/// Characters of a value that a sentence shows.
const SHOWN: usize = 60;

/// A value as a sentence names it: in backticks, controls as escapes, cut after 60 characters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        f.write_str("`")?;
        for character in characters.by_ref().take(SHOWN) {
            write_visible(f, character)?;
        }
        f.write_str(if characters.next().is_some() { "…`" } else { "`" })
    }
}

/// A text of one line: controls and direction marks as escapes, nothing cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| write_visible(f, character))
    }
}

fn write_visible(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        _ if is_invisible(character) => write!(f, "\\u{{{:x}}}", u32::from(character)),
        _ => write!(f, "{character}"),
    }
}

/// Controls, line separators, direction marks and characters without a width: what a reader does not see.
pub(crate) fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `1 row`, `2 rows`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_seen_and_long_values_cut() {
        assert_eq!(Shown("a\r\n\u{202e}b\u{1b}[0m").to_string(), "`a\\r\\n\\u{202e}b\\u{1b}[0m`");
        let long = Shown(&"é".repeat(61)).to_string();
        assert_eq!(long, format!("`{}…`", "é".repeat(60)));
        assert_eq!(Shown(&"é".repeat(60)).to_string(), format!("`{}`", "é".repeat(60)));
        assert_eq!(Visible("x\u{0}").to_string(), "x\\u{0}");
    }
}
