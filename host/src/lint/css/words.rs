//! What a value is made of.

use super::{Scanner, skip_brackets};

/// The pieces of a value.
#[derive(Debug, Default)]
pub(in crate::lint) struct Words {
    /// Keywords, in small letters.
    pub(in crate::lint) keywords: Vec<String>,
    /// Names of functions, in small letters.
    pub(in crate::lint) functions: Vec<String>,
    /// Units of numbers, in small letters; `%` is one.
    pub(in crate::lint) units: Vec<String>,
}

/// Takes a value apart; what is quoted, or an address, is no word.
pub(in crate::lint) fn words(value: &str) -> Words {
    let mut words = Words::default();
    let mut scanner = Scanner { text: value, at: 0 };
    while let Some(c) = scanner.rest().chars().next() {
        let rest = scanner.rest();
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '%');
        match c {
            '"' | '\'' => {
                scanner.string(u8::try_from(c).unwrap_or(b'"'));
                scanner.at += 1;
            }
            '#' => scanner.at += 1 + rest.chars().skip(1).take_while(char::is_ascii_alphanumeric).count(),
            c if c.is_ascii_digit() || c == '.' => {
                let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let tail = rest.get(digits..).unwrap_or_default();
                let end = tail.find(|c: char| !c.is_ascii_alphabetic() && c != '%').unwrap_or(tail.len());
                words.units.extend(tail.get(..end).filter(|unit| !unit.is_empty()).map(str::to_ascii_lowercase));
                scanner.at += digits + end;
            }
            '-' | '+'
                if rest.get(1..).is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit() || c == '.')) =>
            {
                scanner.at += 1;
            }
            c if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = rest.get(..end).unwrap_or_default().to_ascii_lowercase();
                scanner.at += end;
                if !scanner.rest().starts_with('(') {
                    words.keywords.push(word);
                    continue;
                }
                if word == "url" {
                    scanner.at += scanner.rest().len() - skip_brackets(scanner.rest(), '(', ')').len();
                }
                words.functions.push(word);
            }
            c => scanner.at += c.len_utf8(),
        }
        if scanner.at > value.len() {
            break;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_apart() {
        let words = words("calc(1.5rem + 2%) url(a b) 'q' Auto #abc");
        assert_eq!(words.functions, ["calc", "url"]);
        assert_eq!(words.units, ["rem", "%"]);
        assert_eq!(words.keywords, ["auto"]);
        assert_eq!(super::words("-5px --x").units, ["px"]);
    }
}
