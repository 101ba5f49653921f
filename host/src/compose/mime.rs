//! MIME: a draft and an envelope become bytes, once. Seven-bit, CRLF, no line over 998 octets (target 76).

mod encode;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Draft, Picture};
use crate::mail::{NewMail, Segment};
use crate::rule::address::{Address, Mailbox};
use crate::text;

/// What the mails of one event share in their headers.
#[derive(Debug, Clone)]
pub struct Letterhead<'a> {
    /// From, and envelope sender.
    pub from: &'a Mailbox,
    /// Rule name, for List-Id.
    pub rule: &'a str,
    /// Date of all copies.
    pub date: Timestamp,
    /// Message-ID (without brackets) that this mail continues, for `References` and `In-Reply-To`.
    pub thread: Option<String>,
}

/// The part below the header: built once, shared by every copy. The first element of the answer is the
/// `Content-Type` field (and `MIME-Version`) that belongs in the header.
#[must_use]
pub fn body(draft: &Draft) -> (Vec<u8>, Arc<Vec<Segment>>) {
    let mut content = text_part("text/plain", &draft.text);
    if let Some(html) = &draft.html {
        content = multipart("alternative", "", vec![content, related(text_part("text/html", html), &draft.pictures)]);
    }
    if !draft.attachments.is_empty() {
        let mut parts = vec![content];
        for attachment in &draft.attachments {
            let name = safe_name(&attachment.name);
            parts.push(Part {
                fields: format!(
                    "Content-Type: {};\r\n name=\"{name}\"\r\nContent-Disposition: attachment;\r\n \
                     filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n",
                    safe_type(&attachment.content_type)
                ),
                segments: vec![Segment::Base64(attachment.blob.clone())],
            });
        }
        content = multipart("mixed", "", parts);
    }
    let fields = format!("MIME-Version: 1.0\r\n{}", content.fields);
    (fields.into_bytes(), Arc::new(content.segments))
}

/// One mail to these recipients.
#[must_use]
pub fn mail(head: &Letterhead<'_>, draft: &Draft, content: &(Vec<u8>, Arc<Vec<Segment>>), to: &[Address]) -> NewMail {
    let sender = bare(&head.from.address);
    let domain = head.from.domain();
    let id = message_id(domain);
    let subject = text::fit(&text::one_line(&draft.subject), super::SUBJECT_LIMIT).into_owned();
    let recipients: Vec<String> = to.iter().map(|address| bare(address.as_str())).collect();

    let mut out = String::with_capacity(1024);
    field(&mut out, "Date", &date(head.date));
    field(&mut out, "From", &mailbox("From: ".len(), &head.from.name, &sender));
    let listed = if recipients.is_empty() { "undisclosed-recipients:;".to_owned() } else { recipients.join(",\r\n ") };
    field(&mut out, "To", &listed);
    field(&mut out, "Subject", &unstructured("Subject: ".len(), &subject));
    field(&mut out, "Message-ID", &format!("<{id}>"));
    if let Some(thread) = head.thread.as_deref().map(bare).filter(|thread| !thread.is_empty()) {
        field(&mut out, "In-Reply-To", &format!("<{thread}>"));
        field(&mut out, "References", &format!("<{thread}>"));
    }
    field(&mut out, "Auto-Submitted", "auto-generated");
    field(&mut out, "X-Auto-Response-Suppress", "All");
    let list = format!("{}.{}", slug(head.rule), id_domain(domain));
    field(&mut out, "List-Id", &mailbox("List-Id: ".len(), head.rule, &list));
    let mut bytes = out.into_bytes();
    bytes.extend_from_slice(&content.0);
    NewMail { message_id: id, sender, recipients, subject, head: bytes, body: Arc::clone(&content.1) }
}

/// A fresh Message-ID in the sender's domain: 128 random bits in base32.
#[must_use]
pub fn message_id(domain: &str) -> String {
    format!("{}@{}", base32(&rand::random::<u128>().to_be_bytes()), id_domain(domain))
}

/// The Message-ID under which the mails of one hunt (or of one client, outside hunts) thread together; it belongs to
/// no mail, it only ties them.
#[must_use]
pub fn thread_id(parts: &[&str], domain: &str) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ["ab", "c"] and ["a", "bc"] apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    format!("{}@{}", base32(digest.get(..16).unwrap_or_default()), id_domain(domain))
}

fn base32(bytes: &[u8]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// A part on its way: its own fields and what follows their blank line.
struct Part {
    fields: String,
    segments: Vec<Segment>,
}

fn text_part(kind: &str, content: &str) -> Part {
    let encoded = encode::text(&normalised(content));
    Part {
        fields: format!("Content-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n", encoded.encoding),
        segments: vec![Segment::Bytes(encoded.bytes)],
    }
}

/// LF line ends and one at the end; what a text part must not hold is made visible.
fn normalised(content: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(content);
    // Hardly any text has one of them; 0xc2 and 0xe2 are the first octets of U+0085, U+2028 and U+2029.
    let octets = content.as_bytes();
    if memchr::memchr3(b'\r', 0xc2, 0xe2, octets).is_some() || memchr::memchr(0, octets).is_some() {
        for (from, to) in
            [("\r\n", "\n"), ("\r", "\n"), ("\u{85}", "\n"), ("\u{2028}", "\n"), ("\u{2029}", "\n"), ("\0", "\u{2400}")]
        {
            if text.contains(from) {
                text = text.replace(from, to).into();
            }
        }
    }
    if !text.ends_with('\n') {
        text.to_mut().push('\n');
    }
    text
}

/// The HTML part, with the pictures that it names (RFC 2387, RFC 2392).
fn related(html: Part, pictures: &[Picture]) -> Part {
    if pictures.is_empty() {
        return html;
    }
    let mut parts = vec![html];
    for picture in pictures {
        let name = safe_name(&picture.file.name);
        parts.push(Part {
            fields: format!(
                "Content-Type: {};\r\n name=\"{name}\"\r\nContent-Disposition: inline;\r\n filename=\"{name}\"\r\n\
                 Content-ID: <{}>\r\nContent-Transfer-Encoding: base64\r\n",
                safe_type(&picture.file.content_type),
                bare(&picture.cid)
            ),
            segments: vec![Segment::Base64(picture.file.blob.clone())],
        });
    }
    multipart("related", ";\r\n type=\"text/html\"", parts)
}

fn multipart(kind: &str, parameters: &str, parts: Vec<Part>) -> Part {
    let boundary = boundary();
    let mut segments = Vec::new();
    for part in parts {
        push(&mut segments, format!("--{boundary}\r\n{}\r\n", part.fields).into_bytes());
        for segment in part.segments {
            match segment {
                Segment::Bytes(bytes) => push(&mut segments, bytes),
                blob @ Segment::Base64(_) => segments.push(blob),
            }
        }
    }
    push(&mut segments, format!("--{boundary}--\r\n").into_bytes());
    Part { fields: format!("Content-Type: multipart/{kind};\r\n boundary=\"{boundary}\"{parameters}\r\n"), segments }
}

/// Adds bytes to the last segment if it has bytes too.
fn push(segments: &mut Vec<Segment>, bytes: Vec<u8>) {
    if let Some(Segment::Bytes(last)) = segments.last_mut() {
        last.extend_from_slice(&bytes);
    } else {
        segments.push(Segment::Bytes(bytes));
    }
}

/// A delimiter that no part can hold (RFC 2045 section 6.7): `=_` stands neither in quoted-printable nor in base64, and
/// no two of these are alike.
fn boundary() -> String {
    format!("=_bewit_{}", base32(&rand::random::<u128>().to_be_bytes()))
}

/// `Sat, 15 Aug 2026 10:00:00 +0000` (RFC 5322 section 3.3).
fn date(date: Timestamp) -> String {
    date.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// One header field; `value` is folded already.
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    out.push_str(value);
    out.push_str("\r\n");
}

/// Unstructured text (RFC 5322 section 2.2.1) behind `used` characters.
fn unstructured(used: usize, text: &str) -> String {
    if encode::is_plain(text) { folded(used, text) } else { encode::words(text, used).join("\r\n ") }
}

/// Single-spaced words, folded so that lines stay within 76 characters.
fn folded(used: usize, text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut column = used;
    for word in text.split(' ') {
        if !out.is_empty() {
            if column + 1 + word.len() > 76 {
                out.push_str("\r\n");
                column = 0;
            }
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

/// `Name <address>` behind `used` characters; also for List-Id.
fn mailbox(used: usize, name: &str, address: &str) -> String {
    let name = text::one_line(name);
    if name.is_empty() {
        return format!("<{address}>");
    }
    let phrase = if !encode::is_plain(&name) {
        encode::words(&name, used).join("\r\n ")
    } else if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&byte)) {
        folded(used, &name)
    } else {
        format!("\"{}\"", folded(used + 1, &name.replace('\\', "\\\\").replace('"', "\\\"")))
    };
    let fits = !phrase.contains('\n') && used + phrase.len() + address.len() + 3 <= 76;
    format!("{phrase}{}<{address}>", if fits { " " } else { "\r\n " })
}

/// What must be on one line of a header and is not encoded: controls and blanks never get through.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect()
}

/// A domain that can stand in an identifier: Message-ID and List-Id must be ASCII.
fn id_domain(domain: &str) -> &str {
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if domain.len() <= 253 && domain.split('.').all(label) { domain } else { "bewit.invalid" }
}

/// A rule's name as a list label: `[a-z0-9-]`, at most 60 characters.
fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().take(60) {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let trimmed = out.trim_end_matches('-');
    if trimmed.is_empty() { "rule".to_owned() } else { trimmed.to_owned() }
}

/// Attachments come with a safe name; a caller's mistake must not become a header.
fn safe_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = name.chars().take(120).map(safe).collect();
    if name.is_empty() { "attachment".to_owned() } else { name }
}

fn safe_type(kind: &str) -> &str {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_'))
    };
    let (name, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let named = name.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    let charset = parameters.is_empty() || parameters == " charset=utf-8";
    if named && charset && kind.len() <= 60 { kind } else { "application/octet-stream" }
}
