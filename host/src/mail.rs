//! A finished mail: who it is for, and its exact bytes. What composing ends with, what the outbox keeps, what delivery
//! streams. Nothing after composing changes a byte of it.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::blob::{BlobRef, BlobStore};

/// A piece of a mail's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Segment {
    /// These bytes, as they are: CRLF line ends, no line over 998 octets.
    Bytes(Vec<u8>),
    /// The blob in base64 (RFC 2045 section 6.8): lines of 76 characters, each ended by CRLF, the last one too.
    Base64(BlobRef),
}

/// A file that belongs to a mail, stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// File name, `[A-Za-z0-9._-]`, at most 120 characters, distinct within the mail.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Its bytes.
    pub blob: BlobRef,
}

/// One finished mail: an envelope and its content.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// Without angle brackets; fixed here, the same in every copy and on every retry (RFC 5322 section 3.6.4).
    pub message_id: String,
    /// Envelope sender (reverse-path), `local@domain`.
    pub sender: String,
    /// Envelope recipients, `local@domain`, at least one.
    pub recipients: Vec<String>,
    /// The subject as text, for lists on a terminal.
    pub subject: String,
    /// Header fields, each ended by CRLF, without the blank line that ends the header.
    pub head: Vec<u8>,
    /// What follows the header's blank line; shared by the mails of one event.
    pub body: Arc<Vec<Segment>>,
}

impl Segment {
    /// How many octets it is on the wire, before dot-stuffing.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Base64(blob) => {
                let characters = blob.size.div_ceil(3) * 4;
                characters + characters.div_ceil(76) * 2
            }
        }
    }

    /// Whether it has no octets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl NewMail {
    /// How many octets the whole mail is on the wire, before dot-stuffing: head, blank line, body.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.len() as u64 + 2 + self.body.iter().map(Segment::len).sum::<u64>()
    }
}

/// Input octets of one full base64 line.
const LINE_INPUT: usize = 57;
/// Lines that are encoded at a time.
const BLOCK_LINES: usize = 512;

/// A mail's exact bytes as a stream: head, blank line, segments. Attachments are read from their files block by block,
/// so memory does not grow with their size. Not dot-stuffed, no final dot.
#[derive(Debug)]
pub struct MailReader<'a> {
    head: &'a [u8],
    blank: &'a [u8],
    segments: std::slice::Iter<'a, Segment>,
    now: &'a [u8],
    file: Option<Encoder>,
    blobs: &'a BlobStore,
}

/// A file on its way through base64.
#[derive(Debug)]
struct Encoder {
    file: File,
    left: u64,
    raw: Vec<u8>,
    out: Vec<u8>,
    at: usize,
}

impl<'a> MailReader<'a> {
    /// Starts at the first header byte.
    #[must_use]
    pub fn new(head: &'a [u8], body: &'a [Segment], blobs: &'a BlobStore) -> Self {
        Self { head, blank: b"\r\n", segments: body.iter(), now: &[], file: None, blobs }
    }
}

impl Encoder {
    fn new(file: File, size: u64) -> Self {
        Self { file, left: size, raw: Vec::new(), out: Vec::new(), at: 0 }
    }

    /// Encodes the next block; whole lines, but for the last one of the file.
    fn refill(&mut self) -> io::Result<()> {
        self.at = 0;
        self.out.clear();
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(LINE_INPUT * BLOCK_LINES);
        self.raw.resize(want, 0);
        self.file.read_exact(&mut self.raw)?;
        self.left -= want as u64;
        let mut line = [0; 76];
        for input in self.raw.chunks(LINE_INPUT) {
            let written = STANDARD.encode_slice(input, &mut line).map_err(io::Error::other)?;
            self.out.extend_from_slice(line.get(..written).unwrap_or_default());
            self.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }
}

impl Read for MailReader<'_> {
    /// Fails when a blob is missing or is not as long as its reference says; what was read before is then worthless.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            for part in [&mut self.head, &mut self.blank, &mut self.now] {
                if !part.is_empty() {
                    return part.read(buffer);
                }
            }
            if let Some(encoder) = &mut self.file {
                let mut ready = encoder.out.get(encoder.at..).unwrap_or_default();
                if !ready.is_empty() {
                    let read = ready.read(buffer)?;
                    encoder.at += read;
                    return Ok(read);
                }
                if encoder.left > 0 {
                    encoder.refill()?;
                    continue;
                }
                self.file = None;
            }
            match self.segments.next() {
                None => return Ok(0),
                Some(Segment::Bytes(bytes)) => self.now = bytes,
                Some(Segment::Base64(blob)) => self.file = Some(Encoder::new(self.blobs.read(blob)?, blob.size)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn stored(blobs: &BlobStore, bytes: &[u8]) -> BlobRef {
        let mut writer = blobs.create().unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn reads_head_blank_line_and_segments_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let body = vec![
            Segment::Bytes(b"one\r\n".to_vec()),
            Segment::Base64(stored(&blobs, b"")),
            Segment::Base64(stored(&blobs, b"hello")),
            Segment::Bytes(b"two\r\n".to_vec()),
        ];
        let mut text = String::new();
        MailReader::new(b"A: b\r\n", &body, &blobs).read_to_string(&mut text).unwrap();
        assert_eq!(text, "A: b\r\n\r\none\r\naGVsbG8=\r\ntwo\r\n");
    }

    #[test]
    fn a_damaged_blob_is_an_error_and_not_a_shorter_mail() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let blob = stored(&blobs, b"0123456789");
        std::fs::write(blobs.path(&blob), b"01234").unwrap();
        let body = [Segment::Base64(blob)];
        assert!(MailReader::new(b"", &body, &blobs).read_to_end(&mut Vec::new()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_stream_is_as_long_as_it_says_and_decodes_to_the_file(
            bytes in proptest::collection::vec(any::<u8>(), 0..100_000),
            step in 1_usize..5000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let blobs = BlobStore::open(dir.path()).unwrap();
            let body = [Segment::Base64(stored(&blobs, &bytes))];
            let mut reader = MailReader::new(b"", &body, &blobs);
            let mut all = Vec::new();
            let mut buffer = vec![0; step];
            loop {
                let read = reader.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                all.extend_from_slice(&buffer[..read]);
            }
            prop_assert_eq!(all.len() as u64, 2 + body[0].len());
            let text = String::from_utf8(all).unwrap();
            prop_assert!(text.lines().all(|line| line.len() <= 76));
            let joined: String = text.lines().collect();
            prop_assert_eq!(STANDARD.decode(joined).unwrap(), bytes);
        }
    }
}
