//! Splitting a stream of bytes into lines, without holding an over-long one.
//!
//! A line ends with `\n` or with the input; one `\r` before that end is taken off. Lines of nothing but spaces, tabs and
//! carriage returns are skipped, and so is a UTF-8 byte order mark at the start of the input. Everything else, NUL
//! included, is content. A line longer than the limit is hashed and counted while it passes, never kept.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::mem;

use sha2::{Digest, Sha256};

use super::{Line, Refused};
use crate::blob::hex;
use crate::event::line::LineError;

/// Bytes that are read at a time.
pub const BLOCK: usize = 64 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A line and its place.
#[derive(Debug, Clone)]
pub struct Found {
    /// The line, with its byte offset.
    pub line: Line,
    /// Counted from 1; blank lines count.
    pub number: u64,
    /// Byte offset after its end: where reading goes on.
    pub next: u64,
}

/// Where a [`Splitter`] begins. The default is the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Start {
    /// Byte offset; the start of a line.
    pub offset: u64,
    /// Line ends before it.
    pub lines: u64,
}

/// Cuts bytes into lines as they come, in blocks of any size.
#[derive(Debug)]
pub struct Splitter {
    limit: u64,
    /// Bytes taken in, that of a byte order mark included.
    offset: u64,
    /// Line ends seen.
    lines: u64,
    /// Bytes of a byte order mark seen so far; `None` when the question is settled.
    mark: Option<usize>,
    /// Where the open line begins.
    begin: u64,
    open: Open,
}

/// The line that has not ended yet.
#[derive(Debug)]
enum Open {
    Kept(Vec<u8>),
    /// `cr`: a carriage return that belongs to the line only if more follows.
    Skipped {
        hash: Sha256,
        length: u64,
        cr: bool,
    },
}

impl Splitter {
    /// For lines of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self::at(limit, Start::default())
    }

    /// The same, in the middle of an input.
    #[must_use]
    pub fn at(limit: u64, start: Start) -> Self {
        Self {
            limit,
            offset: start.offset,
            lines: start.lines,
            mark: (start.offset == 0).then_some(0),
            begin: start.offset,
            open: Open::Kept(Vec::new()),
        }
    }

    /// Takes the next bytes in, puts the lines that ended out.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut impl Extend<Found>) {
        if let Some(seen) = self.mark {
            let rest = BOM.get(seen..).unwrap_or_default();
            let same = rest.iter().zip(bytes).take_while(|(mark, byte)| mark == byte).count();
            let (head, tail) = bytes.split_at_checked(same).unwrap_or((bytes, &[]));
            if same == rest.len() {
                self.mark = None;
                self.offset = BOM.len() as u64;
                self.begin = self.offset;
                bytes = tail;
            } else if tail.is_empty() {
                self.mark = Some(seen + head.len());
                return;
            } else {
                self.mark = None;
                self.append(BOM.get(..seen).unwrap_or_default());
            }
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            self.append(line);
            self.offset += 1;
            out.extend(self.end());
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.append(bytes);
    }

    /// The input has ended: the last line, if it had no line end.
    pub fn finish(&mut self) -> Option<Found> {
        if let Some(seen) = self.mark.take() {
            self.append(BOM.get(..seen).unwrap_or_default());
        }
        if self.offset == self.begin { None } else { self.end() }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        match &mut self.open {
            // One byte more than the limit is kept: it may be the carriage return of the line end.
            Open::Kept(line) if (line.len() + bytes.len()) as u64 <= self.limit.saturating_add(1) => {
                line.extend_from_slice(bytes);
            }
            Open::Kept(line) => {
                let line = mem::take(line);
                self.open = Open::Skipped { hash: Sha256::new(), length: 0, cr: false };
                self.skip(&line);
                self.skip(bytes);
            }
            Open::Skipped { .. } => self.skip(bytes),
        }
    }

    fn skip(&mut self, bytes: &[u8]) {
        let Open::Skipped { hash, length, cr } = &mut self.open else { return };
        if bytes.is_empty() {
            return;
        }
        if mem::take(cr) {
            hash.update(b"\r");
            *length += 1;
        }
        let bytes = bytes.strip_suffix(b"\r").inspect(|_| *cr = true).unwrap_or(bytes);
        hash.update(bytes);
        *length += bytes.len() as u64;
    }

    fn end(&mut self) -> Option<Found> {
        self.lines += 1;
        let offset = mem::replace(&mut self.begin, self.offset);
        let content = match mem::replace(&mut self.open, Open::Kept(Vec::new())) {
            Open::Kept(mut line) => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                    return None;
                }
                if line.len() as u64 > self.limit {
                    Err(self.refuse(&Sha256::digest(&line), line.len()))
                } else {
                    Ok(line)
                }
            }
            Open::Skipped { hash, length, .. } => Err(self.refuse(&hash.finalize(), length)),
        };
        Some(Found { line: Line { offset, content }, number: self.lines, next: self.offset })
    }

    fn refuse(&self, digest: &[u8], length: impl TryInto<u64>) -> Refused {
        Refused {
            length: length.try_into().unwrap_or(u64::MAX),
            digest: hex(digest),
            reason: LineError::TooLong { limit: self.limit }.to_string(),
        }
    }
}

/// The lines of a reader.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    splitter: Splitter,
    found: VecDeque<Found>,
    block: Vec<u8>,
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `limit` bytes; the reader stands at `start`.
    #[must_use]
    pub fn new(reader: R, limit: u64, start: Start) -> Self {
        Self {
            reader,
            splitter: Splitter::at(limit, start),
            found: VecDeque::new(),
            block: vec![0; BLOCK],
            ended: false,
        }
    }

    /// The next line that is not blank.
    ///
    /// # Errors
    /// What the reader says.
    pub fn next_line(&mut self) -> io::Result<Option<Found>> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            if self.ended {
                return Ok(None);
            }
            let read = match self.reader.read(&mut self.block) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                self.ended = true;
                self.found.extend(self.splitter.finish());
            } else {
                self.splitter.push(self.block.get(..read).unwrap_or_default(), &mut self.found);
            }
        }
    }

    /// The reader, which may have been read further than the lines that came out.
    pub fn into_inner(self) -> R {
        self.reader
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Offset, number, offset after it, and the line or its length and digest.
    type Plain = (u64, u64, u64, Result<Vec<u8>, (u64, String)>);

    /// What the splitter must find, from the whole input at once.
    fn model(input: &[u8], limit: usize) -> Vec<Plain> {
        let mut offset = if input.starts_with(BOM) { 3 } else { 0 };
        let body = &input[offset..];
        let mut found = Vec::new();
        let mut pieces: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        let last = pieces.len() - 1;
        if pieces[last].is_empty() {
            pieces.pop();
        }
        for (number, piece) in pieces.into_iter().enumerate() {
            let next = (offset + piece.len() + usize::from(number != last)) as u64;
            let line = piece.strip_suffix(b"\r").unwrap_or(piece);
            let blank = line.iter().all(|byte| b" \t\r".contains(byte));
            // A blank line that is longer than the limit is hashed like any other.
            if !blank || piece.len() > limit + 1 {
                let content = if line.len() > limit {
                    Err((line.len() as u64, hex(&Sha256::digest(line))))
                } else {
                    Ok(line.to_vec())
                };
                found.push((offset as u64, number as u64 + 1, next, content));
            }
            offset = next as usize;
        }
        found
    }

    fn plain(found: Found) -> Plain {
        let content = found.line.content.map_err(|refused| (refused.length, refused.digest));
        (found.line.offset, found.number, found.next, content)
    }

    fn all(input: &[u8], limit: u64) -> Vec<Plain> {
        let mut lines = Lines::new(input, limit, Start::default());
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push(plain(line));
        }
        found
    }

    fn texts(input: &[u8]) -> Vec<Vec<u8>> {
        all(input, 100).into_iter().map(|(_, _, _, content)| content.unwrap()).collect()
    }

    #[test]
    fn ends_of_lines_and_of_the_input() {
        assert!(texts(b"").is_empty());
        assert!(texts(b"\n \r\n\t\n").is_empty());
        assert_eq!(texts(b"a\r\nb\n\nc"), [b"a", b"b", b"c"]);
        assert_eq!(texts(b"a\rb\r\r\n\0"), [b"a\rb\r".to_vec(), b"\0".to_vec()]);
    }

    #[test]
    fn the_mark_is_taken_off_at_the_start_only() {
        assert_eq!(all(b"\xef\xbb\xbfa\n", 9), [(3, 1, 5, Ok(b"a".to_vec()))]);
        assert_eq!(texts(b"a\n\xef\xbb\xbfb"), [b"a".to_vec(), b"\xef\xbb\xbfb".to_vec()]);
        assert_eq!(texts(b"\xef\xbb"), [b"\xef\xbb"]);
        assert!(texts(b"\xef\xbb\xbf").is_empty());
        let mut later = Lines::new(&b"\xef\xbb\xbfb\n"[..], 9, Start { offset: 7, lines: 2 });
        assert_eq!(plain(later.next_line().unwrap().unwrap()), (7, 3, 12, Ok(b"\xef\xbb\xbfb".to_vec())));
    }

    #[test]
    fn an_over_long_line_is_hashed_and_its_neighbours_stay() {
        let long = vec![b'x'; 3 * BLOCK];
        let input = [b"a\n", long.as_slice(), b"\r\nb\n"].concat();
        let found = all(&input, 10);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].3, Err((long.len() as u64, hex(&Sha256::digest(&long)))));
        assert_eq!(found[2].3, Ok(b"b".to_vec()));
        // Exactly the limit passes, with either line end.
        assert_eq!(all(b"0123456789\r\n0123456789\n0123456789", 10).iter().filter(|line| line.3.is_ok()).count(), 3);
        assert_eq!(all(b"0123456789a\r\n0123456789a", 10).iter().filter(|line| line.3.is_err()).count(), 2);
    }

    #[test]
    fn memory_is_bounded_by_the_limit() {
        let mut splitter = Splitter::new(1024);
        for _ in 0..1000 {
            splitter.push(&[b'x'; 4096], &mut Vec::new());
            assert!(!matches!(&splitter.open, Open::Kept(line) if line.capacity() > 4096));
        }
        assert_eq!(splitter.finish().unwrap().line.content.unwrap_err().length, 4_096_000);
    }

    /// Bytes that are likely to meet at a border.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\n".to_vec()),
            3 => Just(b"\r".to_vec()),
            2 => Just(BOM.to_vec()),
            1 => Just(b"\xef\xbb".to_vec()),
            2 => Just(b" ".to_vec()),
            1 => Just(b"\0".to_vec()),
            4 => prop::collection::vec(any::<u8>(), 1..12),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn equals_the_model(input in bytes(), limit in 0usize..16, cuts in prop::collection::vec(1usize..9, 1..8)) {
            let expected = model(&input, limit);
            prop_assert_eq!(&all(&input, limit as u64), &expected);

            let mut splitter = Splitter::new(limit as u64);
            let (mut found, mut rest) = (Vec::new(), input.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                splitter.push(head, &mut found);
                rest = tail;
            }
            found.extend(splitter.finish());
            prop_assert_eq!(found.into_iter().map(plain).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn goes_on_where_a_line_ended(input in bytes(), limit in 4usize..16) {
            let whole = all(&input, limit as u64);
            for (index, line) in whole.iter().enumerate() {
                let start = Start { offset: line.2, lines: line.1 };
                let mut lines = Lines::new(&input[line.2 as usize..], limit as u64, start);
                let mut found = Vec::new();
                while let Some(line) = lines.next_line().unwrap() {
                    found.push(plain(line));
                }
                prop_assert_eq!(&found, &whole[index + 1..]);
            }
        }
    }
}
