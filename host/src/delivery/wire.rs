//! The last gate before the wire: a mail's bytes are checked and dot-stuffed in one pass.
//!
//! What is no clean mail (RFC 5321 sections 2.3.8 and 4.5.3.1.6) does not pass: a bare CR, a bare LF, a NUL, a line over
//! 998 octets. Another program might take such bytes for the end of the mail (CERT VU#302671). Composing never writes
//! them, so a violation is a mistake of ours: the mail fails with the reason, and nothing of it is sent.

use std::io::{self, Read};

/// Octets of a line without its CRLF (RFC 5321 section 4.5.3.1.6, RFC 5322 section 2.1.1).
pub const MAX_LINE: usize = 998;
/// Octets of a block: what is read, encoded and written at a time.
pub const BLOCK: usize = 64 * 1024;

/// Why bytes are no clean mail, and in which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stain {
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
    /// NUL.
    Nul,
    /// Over [`MAX_LINE`].
    LongLine,
    /// A byte over 127 where only seven bits were announced.
    EightBit,
}

/// Why a mail cannot be put on the wire.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It is no clean mail.
    #[error("line {line} of the mail {}", .stain.words())]
    Stain {
        /// What is wrong.
        stain: Stain,
        /// Line, from 1.
        line: u64,
    },
    /// Its bytes cannot be read.
    #[error("the mail cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Stain {
    fn words(self) -> &'static str {
        match self {
            Self::BareCr => "holds a CR without LF",
            Self::BareLf => "holds an LF without CR",
            Self::Nul => "holds a NUL",
            Self::LongLine => "is over 998 octets long",
            Self::EightBit => "holds an 8-bit byte where only 7 bits were announced",
        }
    }
}

/// What a mail asks of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Octets with CRLF, without dot-stuffing and final dot: what SIZE counts (RFC 1870 section 4).
    pub octets: u64,
    /// The header holds 8-bit bytes: SMTPUTF8 (RFC 6531).
    pub eight_bit_head: bool,
    /// The body holds 8-bit bytes: 8BITMIME (RFC 6152).
    pub eight_bit_body: bool,
}

impl Shape {
    /// Whether any byte is over 127.
    #[must_use]
    pub fn is_eight_bit(&self) -> bool {
        self.eight_bit_head || self.eight_bit_body
    }
}

/// Checks and dot-stuffs a mail that comes in pieces.
#[derive(Debug)]
struct Stuffer {
    seven_bit: bool,
    stuffing: bool,
    shape: Shape,
    line: u64,
    length: usize,
    /// The last byte was a CR.
    cr: bool,
    in_head: bool,
}

impl Stuffer {
    fn new(seven_bit: bool, stuffing: bool) -> Self {
        Self { seven_bit, stuffing, shape: Shape::default(), line: 1, length: 0, cr: false, in_head: true }
    }

    fn stain(&self, stain: Stain) -> WireError {
        WireError::Stain { stain, line: self.line }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        self.shape.octets += bytes.len() as u64;
        let mut rest = bytes;
        while let Some((text, [_, after @ ..])) = memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end))
        {
            self.text(text, out)?;
            if !self.cr {
                return Err(self.stain(Stain::BareLf));
            }
            out.push(b'\n');
            // The blank line ends the header.
            self.in_head &= self.length > 1;
            (self.cr, self.length) = (false, 0);
            self.line += 1;
            rest = after;
        }
        self.text(rest, out)
    }

    /// A part of a line, without LF.
    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        let Some((last, before)) = text.split_last() else { return Ok(()) };
        if self.cr {
            return Err(self.stain(Stain::BareCr));
        }
        // Folds without branches, so that the compiler can do many bytes at a time.
        let (mut bits, mut nul) = (0, *last == 0);
        for byte in text {
            bits |= *byte;
            nul |= *byte == 0;
        }
        let cr = before.iter().fold(false, |cr, byte| cr | (*byte == b'\r'));
        if nul {
            return Err(self.stain(Stain::Nul));
        }
        if cr {
            return Err(self.stain(Stain::BareCr));
        }
        if bits > 127 {
            if self.seven_bit {
                return Err(self.stain(Stain::EightBit));
            }
            let seen = if self.in_head { &mut self.shape.eight_bit_head } else { &mut self.shape.eight_bit_body };
            *seen = true;
        }
        self.cr = *last == b'\r';
        if self.stuffing && self.length == 0 && text.first() == Some(&b'.') {
            out.push(b'.');
        }
        self.length += text.len();
        if self.length - usize::from(self.cr) > MAX_LINE {
            return Err(self.stain(Stain::LongLine));
        }
        out.extend_from_slice(text);
        Ok(())
    }

    /// Ends the last line if the mail did not, and writes the final dot.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), WireError> {
        if self.cr {
            return Err(self.stain(Stain::BareCr));
        }
        if self.length > 0 {
            out.extend_from_slice(b"\r\n");
            self.shape.octets += 2;
        }
        if self.stuffing {
            out.extend_from_slice(b".\r\n");
        }
        Ok(())
    }
}

/// A mail on its way to the wire: reads, checks, dot-stuffs, block by block.
#[derive(Debug)]
pub struct Encoder<R> {
    source: R,
    stuffer: Stuffer,
    block: Vec<u8>,
    ended: bool,
}

impl<R: Read> Encoder<R> {
    /// For DATA. `seven_bit`: bytes over 127 are refused, because BODY=8BITMIME is not announced.
    pub fn new(source: R, seven_bit: bool) -> Self {
        Self::with(source, seven_bit, true)
    }

    /// For a file: the same checks and the same bytes, without dot-stuffing and final dot.
    pub fn for_file(source: R) -> Self {
        Self::with(source, false, false)
    }

    fn with(source: R, seven_bit: bool, stuffing: bool) -> Self {
        Self { source, stuffer: Stuffer::new(seven_bit, stuffing), block: vec![0; BLOCK / 8], ended: false }
    }

    /// Appends encoded bytes until `out` holds `want` of them or the mail has ended; true: it has, and the final dot is
    /// the end of `out`. `out` may become one block (and its stuffing) longer than `want`.
    ///
    /// # Errors
    /// When the bytes cannot be read or are no clean mail. What was appended must then not be completed.
    pub fn fill(&mut self, out: &mut Vec<u8>, want: usize) -> Result<bool, WireError> {
        while !self.ended && out.len() < want {
            match self.source.read(&mut self.block) {
                Ok(0) => {
                    self.stuffer.finish(out)?;
                    self.ended = true;
                }
                Ok(read) => self.stuffer.push(self.block.get(..read).unwrap_or_default(), out)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.ended)
    }

    /// What was seen so far.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.stuffer.shape
    }
}

/// A mail that has passed the check.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What it asks of a server.
    pub shape: Shape,
    /// The encoded bytes with the final dot, if they fit into one [`BLOCK`]: then they need no second pass.
    pub whole: Option<bytes::Bytes>,
}

/// Reads a whole mail and checks it, before a server hears of it: a violation found after DATA could only be answered
/// by breaking the connection.
///
/// # Errors
/// When the bytes cannot be read or are no clean mail.
pub fn check(source: impl Read) -> Result<Checked, WireError> {
    let mut encoder = Encoder::new(source, false);
    let mut out = Vec::with_capacity(BLOCK);
    let mut ended = encoder.fill(&mut out, BLOCK)?;
    let whole = (ended && out.len() <= BLOCK + BLOCK / 2).then(|| bytes::Bytes::from(std::mem::take(&mut out)));
    while !ended {
        out.clear();
        ended = encoder.fill(&mut out, BLOCK)?;
    }
    Ok(Checked { shape: encoder.shape(), whole })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(mail: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::new();
        assert!(Encoder::new(mail, true).fill(&mut out, usize::MAX)?);
        Ok(out)
    }

    fn stain(mail: &[u8]) -> Option<(Stain, u64)> {
        match encode(mail) {
            Err(WireError::Stain { stain, line }) => Some((stain, line)),
            Err(WireError::Io(error)) => panic!("{error}"),
            Ok(_) => None,
        }
    }

    /// A reader that gives what it has in pieces of these sizes.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.pop().unwrap_or(usize::MAX).min(buffer.len());
            self.0.read(&mut buffer[..size])
        }
    }

    /// What a strict server makes of DATA: the mail and what was left behind the final dot.
    fn receive(wire: &[u8]) -> (Vec<u8>, &[u8]) {
        let mut mail = Vec::new();
        let mut rest = wire;
        loop {
            let end = rest.windows(2).position(|two| two == b"\r\n").expect("data ends in a line of one dot");
            let (line, behind) = rest.split_at(end + 2);
            rest = behind;
            if line == b".\r\n" {
                return (mail, rest);
            }
            mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
    }

    #[test]
    fn doubles_dots_at_line_starts_only() {
        assert_eq!(encode(b".a\r\n..b\r\nc.d\r\n.\r\n").unwrap(), b"..a\r\n...b\r\nc.d\r\n..\r\n.\r\n");
        assert_eq!(encode(b"").unwrap(), b".\r\n");
        assert_eq!(encode(b"no line end").unwrap(), b"no line end\r\n.\r\n");
    }

    #[test]
    fn no_spelling_of_the_end_of_data_passes() {
        // Either refused, or received as one mail with the very bytes that were given.
        let spellings: [(&[u8], Option<Stain>); 14] = [
            (b"\n.\n", Some(Stain::BareLf)),
            (b"\n.\r\n", Some(Stain::BareLf)),
            (b"\r.\r", Some(Stain::BareCr)),
            (b"\r.\r\n", Some(Stain::BareCr)),
            (b"\r\n.\n", Some(Stain::BareLf)),
            (b"\r\n.\r", Some(Stain::BareCr)),
            (b"\n\n.\n", Some(Stain::BareLf)),
            (b"\r\r\n.", Some(Stain::BareCr)),
            (b"\r\n.\r\n", None),
            (b"\r\n..\r\n", None),
            (b"\0.", Some(Stain::Nul)),
            ("\u{85}.\u{85}".as_bytes(), Some(Stain::EightBit)),
            ("\u{2028}.\u{2028}".as_bytes(), Some(Stain::EightBit)),
            (b"\r\n.\0\r\n", Some(Stain::Nul)),
        ];
        for (spelling, expected) in spellings {
            for (before, behind) in
                [("", ""), ("A: b\r\n\r\n", "MAIL FROM:<x@y>\r\n"), ("A: b\r\n\r\ntext", "text\r\n")]
            {
                let mail = [before.as_bytes(), spelling, behind.as_bytes()].concat();
                match expected {
                    Some(expected) => assert_eq!(stain(&mail).unwrap().0, expected, "{spelling:?}"),
                    None => {
                        let wire = encode(&mail).unwrap();
                        let (received, rest) = receive(&wire);
                        assert_eq!((received.as_slice(), rest), (mail.as_slice(), &b""[..]), "{spelling:?}");
                    }
                }
            }
        }
        // The mail that starts with a line of one dot.
        assert_eq!(receive(&encode(b".\r\n").unwrap()), (b".\r\n".to_vec(), &b""[..]));
    }

    #[test]
    fn names_the_line() {
        assert_eq!(stain(b"a\r\nb\r\nc\rd\r\n"), Some((Stain::BareCr, 3)));
        assert_eq!(stain(b"a\r\nb\n"), Some((Stain::BareLf, 2)));
        assert_eq!(stain(b"a\r\n\0\r\n"), Some((Stain::Nul, 2)));
    }

    #[test]
    fn measures_lines_without_their_end() {
        let line = |length: usize| [vec![b'x'; length], b"\r\n".to_vec()].concat();
        assert_eq!(stain(&line(MAX_LINE)), None);
        assert_eq!(stain(&line(MAX_LINE + 1)), Some((Stain::LongLine, 1)));
        // A leading dot is doubled on the wire and does not count (RFC 5321 section 4.5.3.1.6).
        assert_eq!(stain(&[b".".as_slice(), &line(MAX_LINE - 1)].concat()), None);
    }

    #[test]
    fn tells_eight_bit_heads_from_bodies() {
        let shape = |mail: &[u8]| check(mail).unwrap().shape;
        assert_eq!(shape(b"A: b\r\n\r\nc\r\n"), Shape { octets: 11, eight_bit_head: false, eight_bit_body: false });
        assert!(shape("A: \u{e4}\r\n\r\nc\r\n".as_bytes()).eight_bit_head);
        let body = shape("A: b\r\n\r\n\u{e4}\r\n".as_bytes());
        assert!(body.eight_bit_body && !body.eight_bit_head);
    }

    #[test]
    fn keeps_what_is_small_and_counts_what_is_not() {
        assert_eq!(check(&b"A: b\r\n\r\n.\r\n"[..]).unwrap().whole.unwrap(), &b"A: b\r\n\r\n..\r\n.\r\n"[..]);
        let big = b"0123456789\r\n".repeat(20_000);
        let checked = check(big.as_slice()).unwrap();
        assert!(checked.whole.is_none());
        assert_eq!(checked.shape.octets, big.len() as u64);
    }

    #[test]
    fn a_file_gets_the_same_bytes_without_the_dots() {
        let mut out = Vec::new();
        assert!(Encoder::for_file(&b".a\r\nb"[..]).fill(&mut out, usize::MAX).unwrap());
        assert_eq!(out, b".a\r\nb\r\n");
    }

    #[test]
    fn a_hundred_thousand_bodies() {
        // Pieces that matter, in random order: whatever passes is received as one mail with the same bytes.
        const PIECES: [&[u8]; 12] =
            [b".", b".", b"\r\n", b"\r\n", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"QUIT", b"\r", b"\n", b"\0"];
        let (mut seed, mut passed) = (0x2545_f491_4f6c_dd1d_u64, 0);
        let (mut mail, mut out) = (Vec::new(), Vec::new());
        for _ in 0..100_000 {
            mail.clear();
            out.clear();
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // The last three pieces are rare, so that many bodies pass.
            let kinds = if seed % 4 == 0 { 12 } else { 9 };
            let mut rest = seed;
            for _ in 0..seed % 12 {
                mail.extend_from_slice(PIECES[usize::try_from(rest % kinds).unwrap()]);
                rest = rest.rotate_right(5);
            }
            mail.extend_from_slice(b"\r\n");
            if Encoder::new(mail.as_slice(), true).fill(&mut out, usize::MAX).is_ok() {
                let (received, behind) = receive(&out);
                assert_eq!((&received, behind), (&mail, &b""[..]), "{}", mail.escape_ascii());
                passed += 1;
            }
        }
        assert!((10_000..100_000).contains(&passed), "{passed}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn whatever_passes_is_received_as_it_was(
            mail in proptest::collection::vec(prop_oneof![
                4 => Just(b".".to_vec()), 8 => Just(b"\r\n".to_vec()), 1 => Just(b"\r".to_vec()),
                1 => Just(b"\n".to_vec()), 4 => Just(b"ab".to_vec()), 1 => any::<u8>().prop_map(|byte| vec![byte]),
            ], 0..24).prop_map(|pieces| pieces.concat()),
            sizes in proptest::collection::vec(1usize..5, 0..30),
        ) {
            let mut out = Vec::new();
            let whole = encode(&mail).ok();
            let sliced = Encoder::new(Pieces(&mail, sizes), true).fill(&mut out, usize::MAX);
            prop_assert_eq!(&sliced.ok().map(|_| out), &whole);
            if let Some(wire) = whole {
                let (received, rest) = receive(&wire);
                prop_assert!(rest.is_empty());
                let mut expected = mail.clone();
                if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                    expected.extend_from_slice(b"\r\n");
                }
                prop_assert_eq!(received, expected);
                prop_assert!(wire.iter().all(|byte| *byte != 0 && *byte < 128));
            } else {
                let clean = mail.split(|byte| *byte == b'\n').rev().skip(1).all(|line| line.ends_with(b"\r"));
                let bare = mail.windows(2).any(|two| two[0] == b'\r' && two[1] != b'\n') || mail.ends_with(b"\r");
                prop_assert!(!clean || bare || mail.iter().any(|byte| *byte == 0 || *byte > 127));
            }
        }
    }
}
