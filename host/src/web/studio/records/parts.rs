//! A stored mail, taken apart again: it is one of ours (`compose/mime`), so only what that writes is understood; anything
//! else is a file of unknown kind, never an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::preview::frame::Picture;

/// Levels of a mail.
const DEPTH: usize = 4;

/// Parts that are looked at.
const MOST: usize = 200;

/// What a mail is made of.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The text part.
    pub(super) text: Option<String>,
    /// The HTML part.
    pub(super) html: Option<String>,
    /// Pictures that the HTML shows.
    pub(super) pictures: Vec<Picture>,
    /// Name, media type and content of each attachment.
    pub(super) files: Vec<(String, String, Vec<u8>)>,
}

/// Takes a whole mail apart: head, blank line, body.
pub(super) fn read(mail: &[u8]) -> Parts {
    let mut parts = Parts::default();
    entity(mail, &mut parts, &mut 0, DEPTH);
    parts
}

fn entity(bytes: &[u8], parts: &mut Parts, seen: &mut usize, depth: usize) {
    *seen += 1;
    if *seen > MOST {
        return;
    }
    let Some(at) = find(bytes, b"\r\n\r\n") else { return };
    let (head, body) = (bytes.get(..at).unwrap_or_default(), bytes.get(at + 4..).unwrap_or_default());
    let fields = fields(head);
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let kind = field("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind.starts_with("multipart/") {
        if let Some(boundary) = parameter(field("content-type"), "boundary").filter(|_| depth > 0) {
            for part in between(body, &boundary) {
                entity(part, parts, seen, depth - 1);
            }
        }
        return;
    }
    let content = decoded(body, &field("content-transfer-encoding").trim().to_ascii_lowercase());
    let disposition = field("content-disposition");
    let cid = field("content-id").trim().trim_matches(['<', '>']).to_owned();
    if disposition.trim_start().to_ascii_lowercase().starts_with("attachment") {
        let name = parameter(disposition, "filename").unwrap_or_else(|| "attachment".to_owned());
        parts.files.push((name, kind, content));
    } else if !cid.is_empty() {
        parts.pictures.push(Picture { cid, kind, bytes: content });
    } else if kind == "text/html" {
        parts.html = Some(String::from_utf8_lossy(&content).into_owned());
    } else if parts.text.is_none() {
        parts.text = Some(String::from_utf8_lossy(&content).replace("\r\n", "\n"));
    }
}

/// Name (in small letters) and value of each header field, unfolded.
pub(super) fn fields(head: &[u8]) -> Vec<(String, String)> {
    let head = String::from_utf8_lossy(head).replace("\r\n ", " ").replace("\r\n\t", " ");
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// A parameter in quotes, as we write them.
fn parameter(value: &str, name: &str) -> Option<String> {
    let (_, rest) = value.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// What stands between the lines of a boundary.
fn between<'b>(body: &'b [u8], boundary: &str) -> Vec<&'b [u8]> {
    let line = format!("--{boundary}");
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = body.get(at..).and_then(|rest| find(rest, line.as_bytes())) {
        let found = at + found;
        let begins = found == 0 || body.get(..found).is_some_and(|before| before.ends_with(b"\n"));
        at = found + line.len();
        if begins {
            starts.push((found, at));
        }
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start);
    let parts = starts.iter().zip(ends).filter_map(|((_, start), end)| body.get(*start..end));
    parts.map(|part| part.strip_prefix(b"\r\n").unwrap_or(part)).collect()
}

fn decoded(body: &[u8], encoding: &str) -> Vec<u8> {
    match encoding {
        "base64" => {
            let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            STANDARD.decode(text).unwrap_or_default()
        }
        "quoted-printable" => quoted_printable(body),
        _ => body.to_vec(),
    }
}

/// RFC 2045 section 6.7; what is wrong stays as it is.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'=' {
            out.push(byte);
            continue;
        }
        if let Some(next) = rest.strip_prefix(b"\r\n") {
            rest = next;
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                rest = rest.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    out
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::blob::BlobStore;
    use crate::compose::mime::{self, Letterhead};
    use crate::compose::{Draft, Picture as Shown};
    use crate::mail::{Attachment, MailReader};
    use crate::rule::address::Address;

    fn stored(blobs: &BlobStore, name: &str, kind: &str, bytes: &[u8]) -> Attachment {
        let mut writer = blobs.create().unwrap();
        writer.write_all(bytes).unwrap();
        Attachment { name: name.to_owned(), content_type: kind.to_owned(), blob: writer.finish().unwrap() }
    }

    /// Composes a mail and takes it apart again.
    fn through(text: &str, html: Option<&str>, files: &[&[u8]], picture: Option<&[u8]>) -> Parts {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path().join("blobs")).unwrap();
        let snapshot = crate::snapshot::Snapshot::build(
            crate::config::load::parse(crate::config::load::STOCK, "bewit.toml", dir.path()).unwrap(),
        )
        .unwrap();
        let rule = &snapshot.config.rules[0];
        let sample = crate::event::samples()[0].1;
        let event = crate::event::read(sample.trim_end().as_bytes(), &snapshot.config.limits).unwrap();
        let rows = crate::facts::RowReader::new(None);
        let now = Timestamp::from_second(1_786_600_000).unwrap();
        let decision = crate::rule::decide::filter(rule, &event);
        let made = snapshot.composer().draft(rule, &event, &decision, &rows, &blobs, now).unwrap();
        let draft = Draft {
            text: text.to_owned(),
            html: html.map(str::to_owned),
            attachments: files.iter().map(|bytes| stored(&blobs, "rows.csv", "text/csv", bytes)).collect(),
            pictures: picture
                .map(|bytes| Shown { cid: "one@x".to_owned(), file: stored(&blobs, "p.png", "image/png", bytes) })
                .into_iter()
                .collect(),
            ..made
        };
        let head = Letterhead { from: &rule.sender, rule: &rule.name, date: now, thread: None };
        let content = mime::body(&draft);
        let mail = mime::mail(&head, &draft, &content, &[Address::parse("ana@example.org").unwrap()]);
        let mut bytes = Vec::new();
        MailReader::new(&mail.head, &mail.body, &blobs).read_to_end(&mut bytes).unwrap();
        read(&bytes)
    }

    #[test]
    fn what_was_composed_is_found_again() {
        let long = format!("ä {} = end\nnext\n", "word ".repeat(60));
        for files in [&[][..], &[b"a,b\r\n".as_slice(), &[7; 100_000]]] {
            for html in [None, Some("<p>Grüße = \"x\"</p>\n")] {
                for picture in [None, html.map(|_| b"PNG".as_slice())] {
                    let parts = through(&long, html, files, picture);
                    assert_eq!(parts.text.as_deref(), Some(long.as_str()));
                    assert_eq!(parts.html.as_deref().map(|html| html.replace("\r\n", "\n")).as_deref(), html);
                    let found: Vec<&[u8]> = parts.files.iter().map(|(.., content)| content.as_slice()).collect();
                    assert_eq!(found, files);
                    assert!(parts.files.iter().all(|(name, kind, _)| name == "rows.csv" && kind == "text/csv"));
                    assert_eq!(parts.pictures.len(), usize::from(picture.is_some()));
                    assert!(parts.pictures.iter().all(|found| found.cid == "one@x" && found.bytes == b"PNG"));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0..400_usize) {
            let _ = read(&bytes);
            let mut mail = b"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\n".to_vec();
            mail.extend(&bytes);
            mail.extend(b"\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=4=\r\n=41=\r\n--b--\r\n");
            let _ = read(&mail);
            let _ = read(&mail[..cut.min(mail.len())]);
        }
    }
}
