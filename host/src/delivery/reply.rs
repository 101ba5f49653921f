//! Replies: what a server answers (RFC 5321 section 4.2), parsed from bytes as they come, within limits.

use std::fmt;

use crate::text::escape;

/// Octets of one reply line without its line end. RFC 5321 section 4.5.3.1.5 allows 512 with it; servers write more.
pub const MAX_LINE: usize = 1_000;
/// Octets of one whole reply, line ends included.
pub const MAX_REPLY: usize = 100_000;
/// Characters of a reply that are shown, logged or stored.
const SHOWN: usize = 2_048;

/// A complete reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Vec<String>,
}

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced(pub u8, pub u16, pub u16);

/// Why bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Over [`MAX_LINE`].
    #[error("a reply line is over {MAX_LINE} octets long")]
    LongLine,
    /// Over [`MAX_REPLY`].
    #[error("a reply is over {MAX_REPLY} octets long")]
    LongReply,
    /// No `ddd`, `ddd text` or `ddd-text` with a first digit from 2 to 5.
    #[error("a line is no SMTP reply")]
    Garbage,
    /// The lines of one reply have different codes.
    #[error("the lines of one reply have different codes")]
    MixedCodes,
}

impl Reply {
    /// A reply made by hand, for tests and tables.
    #[must_use]
    pub fn new(code: u16, text: &str) -> Self {
        Self { code, lines: vec![text.to_owned()] }
    }

    /// The three digits.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The first digit, 2 to 5.
    #[must_use]
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// The texts behind the code, one a line, as they came (what is no UTF-8 replaced).
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// The enhanced status code at the start of the first line, if its class is the reply's.
    #[must_use]
    pub fn enhanced(&self) -> Option<Enhanced> {
        let word = self.lines.first()?.split(' ').next()?;
        let mut parts = word.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| -> Option<u16> {
            ((1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse().ok())
                .flatten()
        };
        if parts.next().is_some() || class.len() != 1 || number(class)? != self.class() {
            return None;
        }
        Some(Enhanced(u8::try_from(number(class)?).ok()?, number(subject)?, number(detail)?))
    }

    /// The same reply without a text that must not be seen, should the server have echoed it.
    #[must_use]
    pub(super) fn without(mut self, secrets: &[impl AsRef<str>]) -> Self {
        for line in &mut self.lines {
            for secret in secrets.iter().map(AsRef::as_ref).filter(|secret| !secret.is_empty()) {
                if line.contains(secret) {
                    *line = line.replace(secret, "…");
                }
            }
        }
        self
    }
}

impl fmt::Display for Reply {
    /// `250 2.0.0 Ok`: one line, controls made visible, at most 2 KiB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        let mut left = SHOWN;
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            f.write_str(" ")?;
            for character in line.chars() {
                if left == 0 {
                    return f.write_str("…");
                }
                left -= 1;
                escape(f, character)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({self})")
    }
}

/// Builds replies from bytes in pieces of any size.
#[derive(Debug, Default)]
pub struct ReplyParser {
    line: Vec<u8>,
    code: Option<u16>,
    lines: Vec<String>,
    octets: usize,
}

impl ReplyParser {
    /// Takes bytes until a reply is complete. Answers how many it took, and the reply; what lies behind a complete
    /// reply is not touched. A line may end in a lone LF: replies are read leniently, but within the limits.
    ///
    /// # Errors
    /// When the bytes are no reply; the parser is then of no more use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(usize, Option<Reply>), ReplyError> {
        let mut taken = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            taken += piece.len();
            self.octets += piece.len();
            if self.octets > MAX_REPLY {
                return Err(ReplyError::LongReply);
            }
            self.line.extend_from_slice(piece);
            let ended = self.line.last() == Some(&b'\n');
            if ended {
                self.line.pop();
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
            }
            // A line end still to come may be the CR in hand.
            if self.line.len() > MAX_LINE + usize::from(!ended) {
                return Err(ReplyError::LongLine);
            }
            if ended && self.end_line()? {
                let reply =
                    Reply { code: self.code.take().unwrap_or_default(), lines: std::mem::take(&mut self.lines) };
                self.octets = 0;
                return Ok((taken, Some(reply)));
            }
        }
        Ok((taken, None))
    }

    /// Takes the line in hand; true if it is the last one of its reply.
    fn end_line(&mut self) -> Result<bool, ReplyError> {
        let line = std::mem::take(&mut self.line);
        let Some((digits, rest)) = line.split_at_checked(3) else { return Err(ReplyError::Garbage) };
        let [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] = digits else { return Err(ReplyError::Garbage) };
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::Garbage),
        };
        if *self.code.get_or_insert(code) != code {
            return Err(ReplyError::MixedCodes);
        }
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<(usize, Option<Reply>), ReplyError> {
        ReplyParser::default().push(bytes)
    }

    #[test]
    fn reads_one_line_many_lines_and_what_has_no_text() {
        for (bytes, shown) in [
            (&b"220 mx.example.org ESMTP\r\n"[..], "220 mx.example.org ESMTP"),
            (b"250-one\r\n250-two\r\n250 three\r\n", "250 one two three"),
            (b"250\r\n", "250"),
            (b"250 \r\n", "250"),
            (b"250-\r\n250\r\n", "250"),
            (b"354 go\n", "354 go"),
            (b"550 \xff\x1b[31mred\r\n", "550 \u{fffd}\\u{1b}[31mred"),
        ] {
            let (taken, reply) = parse(bytes).unwrap();
            assert_eq!((taken, reply.unwrap().to_string()), (bytes.len(), shown.to_owned()));
        }
    }

    #[test]
    fn leaves_what_follows_alone() {
        let bytes = b"250 a\r\n251 b\r\n";
        let mut parser = ReplyParser::default();
        let (taken, reply) = parser.push(bytes).unwrap();
        assert_eq!((taken, reply.unwrap().code()), (7, 250));
        let (taken, reply) = parser.push(&bytes[7..]).unwrap();
        assert_eq!((taken, reply.unwrap().code()), (7, 251));
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for (bytes, error) in [
            (&b"\r\n"[..], ReplyError::Garbage),
            (b"25\r\n", ReplyError::Garbage),
            (b"2500 x\r\n", ReplyError::Garbage),
            (b"150 x\r\n", ReplyError::Garbage),
            (b"650 x\r\n", ReplyError::Garbage),
            (b"HTTP/1.1 400 Bad Request\r\n", ReplyError::Garbage),
            (b"250-a\r\n550 b\r\n", ReplyError::MixedCodes),
            (b"250-a\r\nb\r\n", ReplyError::Garbage),
        ] {
            assert_eq!(parse(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn caps_lines_and_replies() {
        let line = |length: usize| [b"250 ".as_slice(), &vec![b'x'; length - 4], b"\r\n"].concat();
        assert!(parse(&line(MAX_LINE)).unwrap().1.is_some());
        assert_eq!(parse(&line(MAX_LINE + 1)), Err(ReplyError::LongLine));
        assert_eq!(parse(&vec![b'2'; MAX_LINE + 2]), Err(ReplyError::LongLine));
        let mut many = ReplyParser::default();
        let mut fed = 0;
        let error = loop {
            match many.push(b"250-again and again\r\n") {
                Ok((taken, None)) => fed += taken,
                other => break other,
            }
        };
        assert_eq!(error, Err(ReplyError::LongReply));
        assert!(fed <= MAX_REPLY);
    }

    #[test]
    fn reads_enhanced_codes() {
        for (code, text, enhanced) in [
            (250, "2.0.0 Ok", Some(Enhanced(2, 0, 0))),
            (552, "5.3.4 too big", Some(Enhanced(5, 3, 4))),
            (550, "5.1.10", Some(Enhanced(5, 1, 10))),
            (550, "4.1.1 other class", None),
            (550, "5.1 short", None),
            (550, "5.1.1.1 long", None),
            (550, "5.1.x", None),
            (550, "5..1", None),
            (550, "5.1.1234", None),
            (550, "No such user", None),
        ] {
            assert_eq!(Reply::new(code, text).enhanced(), enhanced, "{code} {text}");
        }
    }

    #[test]
    fn hides_an_echoed_secret() {
        let reply = Reply::new(501, "syntax error in AUTH PLAIN AGEAaHVudGVyMg== (hunter2)");
        assert_eq!(
            reply.without(&["hunter2", "AGEAaHVudGVyMg==", ""]).to_string(),
            "501 syntax error in AUTH PLAIN … (…)"
        );
    }

    #[test]
    fn shows_two_kibibytes_and_no_controls() {
        let shown = Reply::new(550, &"\u{202e}".repeat(5_000)).to_string();
        assert!(shown.ends_with('…') && !shown.contains('\u{202e}'));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn bytes_never_panic_and_pieces_make_no_difference(
            bytes in proptest::collection::vec(prop_oneof![
                Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '), Just(b'\r'), Just(b'\n'), any::<u8>()
            ], 0..80),
            cuts in proptest::collection::vec(1usize..20, 0..20),
        ) {
            let whole = drain(&bytes, &[]);
            prop_assert_eq!(whole, drain(&bytes, &cuts));
        }
    }

    /// Every reply in the bytes, given in pieces, up to the first error.
    fn drain(bytes: &[u8], cuts: &[usize]) -> (Vec<Reply>, Option<ReplyError>) {
        let mut parser = ReplyParser::default();
        let mut replies = Vec::new();
        let mut rest = bytes;
        let mut cuts = cuts.iter();
        while !rest.is_empty() {
            let (mut piece, behind) = rest.split_at((*cuts.next().unwrap_or(&rest.len())).min(rest.len()));
            rest = behind;
            while !piece.is_empty() {
                match parser.push(piece) {
                    Err(error) => return (replies, Some(error)),
                    Ok((taken, reply)) => {
                        piece = &piece[taken..];
                        replies.extend(reply);
                    }
                }
            }
        }
        (replies, None)
    }
}
