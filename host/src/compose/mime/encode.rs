//! Transfer encodings (RFC 2045) and encoded words (RFC 2047).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Octets of a line in the body.
const LINE: usize = 76;
/// Characters of one encoded word, delimiters included (RFC 2047 section 2).
const WORD: usize = 75;

/// A text ready for the wire: encoding name and encoded lines.
pub(super) struct Encoded {
    pub(super) encoding: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Text with LF line ends to quoted-printable, or to base64 if that is shorter.
pub(super) fn text(text: &str) -> Encoded {
    let quoted = quoted_printable(text);
    if quoted.len() > text.len() * 5 / 3 {
        let based = base64_lines(text.replace('\n', "\r\n").as_bytes());
        if based.len() < quoted.len() {
            return Encoded { encoding: "base64", bytes: based };
        }
    }
    Encoded { encoding: "quoted-printable", bytes: quoted }
}

fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 4 / 3 + bytes.len() / 28 + 8);
    for input in bytes.chunks(57) {
        out.extend_from_slice(STANDARD.encode(input).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// RFC 2045 section 6.7. A dot or `From ` at the start of a line is encoded too, so that no program on the way has a
/// reason to touch it.
fn quoted_printable(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + 8);
    if text.is_empty() {
        return out;
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        quoted_line(line.as_bytes(), &mut out);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn quoted_line(mut rest: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    while let Some((&byte, after)) = rest.split_first() {
        // The last octet of a line may fill it; before that a soft line break needs one place.
        let places = |octets: usize| LINE - column - usize::from(octets < rest.len());
        let most = if rest.len() <= LINE - column { rest.len() } else { places(0) };
        if let Some((plain, after)) =
            rest.split_at_checked(plain_run(rest, most, column == 0)).filter(|(run, _)| !run.is_empty())
        {
            out.extend_from_slice(plain);
            column += plain.len();
            rest = after;
        } else if most == 0 || places(1) < 3 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'=', digit(byte >> 4), digit(byte & 15)]);
            column += 3;
            rest = after;
        }
    }
}

/// Octets that stand for themselves (RFC 2045 section 6.7, rules 2 and 3).
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut rest: &mut [bool] = &mut plain;
    let mut byte = 0;
    while let [first, others @ ..] = rest {
        *first = matches!(byte, b' ' | b'\t' | 33..=60 | 62..=126);
        byte = byte.wrapping_add(1);
        rest = others;
    }
    plain
};

/// How many of the first `most` octets of what is left of a line can stand as they are.
fn plain_run(rest: &[u8], most: usize, starts: bool) -> usize {
    if starts && (rest.starts_with(b".") || rest.starts_with(b"From ")) {
        return 0;
    }
    let plain = |byte: &u8| PLAIN.get(usize::from(*byte)).is_some_and(|plain| *plain);
    let run = rest.iter().take(most).position(|byte| !plain(byte)).unwrap_or(most);
    // A blank at the end of a line would be taken away.
    let blank = run == rest.len() && matches!(rest.last(), Some(b' ' | b'\t'));
    if blank { run - 1 } else { run }
}

/// Whether a text can stand in a header as it is: printable ASCII in single-spaced words that can be folded.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains("=?")
        && !text.is_empty()
        && text
            .split(' ')
            .all(|word| !word.is_empty() && word.len() <= 60 && word.bytes().all(|b| b.is_ascii_graphic()))
}

/// Encoded words that together decode to `text`, each short enough for a line of its own; `used` characters of the
/// first line are taken. To be joined by CRLF and a space.
pub(super) fn words(text: &str, used: usize) -> Vec<String> {
    let quoted: usize = text.chars().map(q_width).sum();
    let use_q = quoted <= text.len().div_ceil(3) * 4;
    let mut out = Vec::new();
    let mut rest = text;
    // At least one word, even an empty one, so that the header has a value.
    while !rest.is_empty() || out.is_empty() {
        let room = if out.is_empty() { WORD.saturating_sub(used).max(24) } else { WORD } - "=?utf-8?q??=".len();
        let mut end = 0;
        let mut width = 0;
        for (at, c) in rest.char_indices() {
            let next = at + c.len_utf8();
            let grown = if use_q { width + q_width(c) } else { next.div_ceil(3) * 4 };
            if grown > room && end > 0 {
                break;
            }
            width = grown;
            end = next;
        }
        let (head, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        rest = tail;
        out.push(if use_q {
            format!("=?utf-8?q?{}?=", q_encode(head))
        } else {
            format!("=?utf-8?b?{}?=", STANDARD.encode(head))
        });
    }
    out
}

/// What may stand for itself in a `q` word anywhere in a header (RFC 2047 section 5 (3)).
fn is_q_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '!' | '*' | '+' | '-' | '/')
}

fn q_width(c: char) -> usize {
    if c == ' ' || is_q_plain(c) { 1 } else { 3 * c.len_utf8() }
}

fn q_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() * 2);
    let mut utf8 = [0; 4];
    for c in text.chars() {
        if c == ' ' {
            out.push('_');
        } else if is_q_plain(c) {
            out.push(c);
        } else {
            for byte in c.encode_utf8(&mut utf8).bytes() {
                let _ = write!(out, "={byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        String::from_utf8(quoted_printable(text)).unwrap()
    }

    #[test]
    fn quoted_printable_guards_line_ends_and_line_starts() {
        assert_eq!(quoted("a=b\n"), "a=3Db\r\n");
        assert_eq!(quoted("trailing \nnext\t"), "trailing=20\r\nnext=09\r\n");
        assert_eq!(quoted(".\nFrom here\nFrom"), "=2E\r\n=46rom here\r\nFrom\r\n");
        assert_eq!(quoted("é"), "=C3=A9\r\n");
        assert_eq!(quoted("a\n\nb"), "a\r\n\r\nb\r\n");
        assert_eq!(quoted("\0\r"), "=00=0D\r\n");
        assert_eq!(quoted(""), "");
    }

    #[test]
    fn soft_breaks_keep_lines_short_and_never_start_with_a_dot() {
        for text in ["x".repeat(76), "x".repeat(77), ".".repeat(300), "é".repeat(100), format!("{}.", "y".repeat(76))]
        {
            for line in quoted(&text).split("\r\n") {
                assert!(line.len() <= 76 && !line.starts_with('.'), "{line}");
            }
        }
        assert_eq!(quoted(&"x".repeat(76)), format!("{}\r\n", "x".repeat(76)));
    }

    /// As the specification says it, octet by octet.
    fn unquoted(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'=' if rest.starts_with(b"\r\n") => rest = &rest[2..],
                b'=' => {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
                    rest = &rest[2..];
                }
                b'\r' => assert!(rest.starts_with(b"\n")),
                _ => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_comes_back_in_lines_that_nobody_touches(text in "([ -~]{0,90}|[ \t.=aF\u{e9}\u{1f600}\r]{0,90}|From x|\n){0,8}") {
            let quoted = quoted(&text);
            let ended = if text.is_empty() || text.ends_with('\n') { text } else { format!("{text}\n") };
            prop_assert_eq!(unquoted(&quoted), ended);
            for line in quoted.split_terminator("\r\n") {
                prop_assert!(line.len() <= 76 && !line.starts_with('.') && !line.starts_with("From "), "{:?}", line);
                prop_assert!(!line.ends_with([' ', '\t']) && line.bytes().all(|byte| matches!(byte, b'\t' | 32..=126)), "{:?}", line);
            }
        }
    }

    #[test]
    fn the_shorter_encoding_is_chosen() {
        assert_eq!(text("Die Größe der Datei ist unbekannt.\n").encoding, "quoted-printable");
        assert_eq!(text(&"日本語".repeat(50)).encoding, "base64");
    }

    #[test]
    fn words_fit_their_line_with_characters_at_every_offset() {
        for shift in 0..80 {
            for body in ["😀日é".repeat(40), "Größe im Büro".repeat(9)] {
                let text = format!("{}{body}", "x".repeat(shift));
                let words = words(&text, 9);
                for (at, word) in words.iter().enumerate() {
                    assert!(word.len() + if at == 0 { 9 } else { 1 } <= 76, "{word}");
                    assert!(word.len() <= 75);
                }
            }
        }
    }
}
