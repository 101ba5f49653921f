//! A mail's body as it is stored: its segments in one run of bytes, addressed by their SHA-256.
//!
//! Each segment is a tag (1: bytes, 2: a blob in base64) and a length or size of eight bytes, big-endian; then the
//! bytes, or the 32 bytes of the blob's hash.

use std::io::{self, Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::blob::{BlobRef, BlobStore, hex};
use crate::mail::{NewMail, Segment};

const BYTES: u8 = 1;
const BASE64: u8 = 2;

/// Most bytes of a stored body: SQLite's own limit on a value is a thousand million; what is large belongs into blobs.
pub(super) const LIMIT: usize = 256 * 1024 * 1024;

/// A body, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    /// SHA-256 of `segments`, hex.
    pub(super) sha256: String,
    /// The encoding.
    pub(super) segments: Vec<u8>,
    /// Octets on the wire.
    pub(super) size: u64,
    /// Blobs it is made of, distinct.
    pub(super) blobs: Vec<BlobRef>,
}

/// A mail with its body encoded.
#[derive(Debug)]
pub(super) struct ReadyMail {
    pub(super) mail: NewMail,
    pub(super) content: Arc<Encoded>,
}

/// Encodes bodies, each one once: the mails of an event share theirs.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    known: Vec<(*const Vec<Segment>, Arc<Encoded>)>,
}

impl Encoder {
    pub(super) fn mail(&mut self, mail: NewMail) -> io::Result<ReadyMail> {
        if mail.recipients.is_empty() {
            let text = format!("the mail {} has no recipient", mail.message_id);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let pointer = Arc::as_ptr(&mail.body);
        let content = match self.known.iter().find(|(known, _)| *known == pointer) {
            Some((_, content)) => Arc::clone(content),
            None => {
                let content = Arc::new(encode(&mail.body)?);
                self.known.push((pointer, Arc::clone(&content)));
                content
            }
        };
        Ok(ReadyMail { mail, content })
    }
}

/// Encodes a body.
///
/// # Errors
/// When it is over [`LIMIT`], or names a blob by something that is no SHA-256.
pub(super) fn encode(body: &[Segment]) -> io::Result<Encoded> {
    let bytes = |segment: &Segment| if let Segment::Bytes(bytes) = segment { bytes.len() + 9 } else { 41 };
    let mut segments = Vec::with_capacity(body.iter().map(bytes).sum::<usize>().min(LIMIT));
    let mut blobs: Vec<BlobRef> = Vec::new();
    for segment in body {
        match segment {
            Segment::Bytes(bytes) => {
                segments.push(BYTES);
                segments.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
                segments.extend_from_slice(bytes);
            }
            Segment::Base64(blob) => {
                let hash = data_encoding::HEXLOWER
                    .decode(blob.sha256.as_bytes())
                    .ok()
                    .filter(|hash| hash.len() == 32)
                    .ok_or_else(|| invalid(format!("`{}` is no SHA-256 of a blob", blob.sha256)))?;
                segments.push(BASE64);
                segments.extend_from_slice(&blob.size.to_be_bytes());
                segments.extend_from_slice(&hash);
                if !blobs.contains(blob) {
                    blobs.push(blob.clone());
                }
            }
        }
        if segments.len() > LIMIT {
            return Err(invalid(format!("a mail body is over {LIMIT} bytes without its attachments")));
        }
    }
    Ok(Encoded { sha256: hex(&Sha256::digest(&segments)), segments, size: body.iter().map(Segment::len).sum(), blobs })
}

/// Reads a stored body.
///
/// # Errors
/// When the bytes are not what [`encode`] wrote.
pub(super) fn decode(mut stored: &[u8]) -> io::Result<Arc<Vec<Segment>>> {
    let torn = || invalid("a stored mail body is damaged".to_owned());
    let mut body = Vec::new();
    while let Some((&tag, rest)) = stored.split_first() {
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(torn)?;
        let length = u64::from_be_bytes(*length);
        let rest = match tag {
            BYTES => {
                let length = usize::try_from(length).map_err(|_| torn())?;
                let (bytes, rest) = rest.split_at_checked(length).ok_or_else(torn)?;
                body.push(Segment::Bytes(bytes.to_vec()));
                rest
            }
            BASE64 => {
                let (hash, rest) = rest.split_first_chunk::<32>().ok_or_else(torn)?;
                body.push(Segment::Base64(BlobRef { sha256: hex(hash), size: length }));
                rest
            }
            _ => return Err(torn()),
        };
        stored = rest;
    }
    Ok(Arc::new(body))
}

/// Writes the exact bytes of a mail: head, blank line, body. Blocking.
///
/// # Errors
/// When a blob is missing or of another length, or the writer fails.
pub fn write_mail(head: &[u8], body: &[Segment], blobs: &BlobStore, out: &mut impl Write) -> io::Result<()> {
    out.write_all(head)?;
    out.write_all(b"\r\n")?;
    for segment in body {
        match segment {
            Segment::Bytes(bytes) => out.write_all(bytes)?,
            Segment::Base64(blob) => write_base64(blobs.read(blob)?, out)?,
        }
    }
    Ok(())
}

/// RFC 2045 section 6.8: lines of 76 characters, each ended by CRLF, the last one too.
fn write_base64(mut file: impl Read, out: &mut impl Write) -> io::Result<()> {
    // 57 bytes make a line of 76 characters; whole lines at a time.
    const BLOCK: usize = 57 * 1024;
    let mut block = Vec::with_capacity(BLOCK);
    let mut text = String::with_capacity(BLOCK * 2);
    loop {
        block.clear();
        (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        text.clear();
        for line in block.chunks(57) {
            STANDARD.encode_string(line, &mut text);
            text.push_str("\r\n");
        }
        out.write_all(text.as_bytes())?;
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200).prop_map(Segment::Bytes),
            (any::<[u8; 32]>(), any::<u32>())
                .prop_map(|(hash, size)| Segment::Base64(BlobRef { sha256: hex(&hash), size: size.into() })),
        ]
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(body in prop::collection::vec(segment(), 0..6)) {
            let encoded = encode(&body).unwrap();
            prop_assert_eq!(&*decode(&encoded.segments).unwrap(), &body);
        }

        #[test]
        fn damage_is_an_error_or_another_body_never_a_panic(
            body in prop::collection::vec(segment(), 1..4),
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let encoded = encode(&body).unwrap().segments;
            let _ = decode(&noise);
            let cut = cut.index(encoded.len());
            match decode(&encoded[..cut]) {
                Ok(shorter) => prop_assert!(shorter.len() < body.len()),
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData),
            }
        }
    }

    #[test]
    fn a_mail_is_written_as_long_as_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path().join("blobs")).unwrap();
        for length in [0usize, 1, 2, 3, 56, 57, 58, 57 * 1024, 57 * 1024 + 1, 200_000] {
            let mut writer = blobs.create().unwrap();
            writer.write_all(&vec![b'x'; length]).unwrap();
            let blob = writer.finish().unwrap();
            let mail = NewMail {
                message_id: "a@b".into(),
                sender: "a@b".into(),
                recipients: vec!["c@d".into()],
                subject: String::new(),
                head: b"Subject: x\r\n".to_vec(),
                body: Arc::new(vec![Segment::Bytes(b"one\r\n".to_vec()), Segment::Base64(blob)]),
            };
            let mut out = Vec::new();
            write_mail(&mail.head, &mail.body, &blobs, &mut out).unwrap();
            assert_eq!(out.len() as u64, mail.size(), "{length}");
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with("Subject: x\r\n\r\none\r\n"));
            assert!(text.lines().all(|line| line.len() <= 76));
            assert!(text.ends_with("\r\n"));
        }
    }
}
