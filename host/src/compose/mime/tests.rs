use std::io::Write as _;

use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;
use crate::blob::BlobStore;
use crate::compose::view::View;
use crate::mail::Attachment;
use crate::mail::MailReader;

fn draft(subject: &str, text: &str, html: Option<&str>) -> Draft {
    Draft {
        subject: subject.to_owned(),
        text: text.to_owned(),
        html: html.map(str::to_owned),
        attachments: Vec::new(),
        pictures: Vec::new(),
        view: View::default(),
    }
}

fn attachment(blobs: &BlobStore, name: &str, bytes: &[u8]) -> Attachment {
    let mut writer = blobs.create().unwrap();
    writer.write_all(bytes).unwrap();
    Attachment {
        name: name.to_owned(),
        content_type: "text/csv; charset=utf-8".to_owned(),
        blob: writer.finish().unwrap(),
    }
}

struct Sent {
    mail: NewMail,
    bytes: Vec<u8>,
}

fn send(draft: &Draft, from: &Mailbox, rule: &str, thread: Option<&str>, to: &[&str], blobs: &BlobStore) -> Sent {
    let head = Letterhead {
        from,
        rule,
        date: Timestamp::from_second(1_786_500_123).unwrap(),
        thread: thread.map(str::to_owned),
    };
    let to: Vec<Address> = to.iter().map(|address| Address::parse(address).unwrap()).collect();
    let mail = mail(&head, draft, &body(draft), &to);
    let mut bytes = Vec::new();
    std::io::copy(&mut MailReader::new(&mail.head, &mail.body, blobs), &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, mail.size());
    Sent { mail, bytes }
}

fn bewit() -> Mailbox {
    Mailbox { name: "Bewit".to_owned(), address: "bewit@example.org".to_owned() }
}

/// RFC 5321: CRLF only, no NUL, no long lines; ours: seven-bit.
fn assert_wire(bytes: &[u8]) {
    assert!(bytes.ends_with(b"\r\n"));
    assert!(bytes.is_ascii() && !bytes.contains(&0));
    let text = std::str::from_utf8(bytes).unwrap();
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        assert!(line.len() <= 998, "{} octets", line.len());
        assert!(line.len() <= 76 || line.contains(['@', '"']), "{line}");
    }
}

fn names(bytes: &[u8]) -> Vec<String> {
    let message = MessageParser::default().parse(bytes).unwrap();
    message.headers().iter().map(|header| header.name.as_str().replace("List-ID", "List-Id")).collect()
}

const FIELDS: [&str; 12] = [
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "List-Id",
    "MIME-Version",
    "Content-Type",
];

#[test]
fn a_whole_mail_reads_back_part_by_part() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    let mut draft = draft("Größe: ws-17 finished", "Hällo\n.\nFrom me\n", Some("<p>Hällo</p>"));
    draft.attachments = vec![attachment(&blobs, "a.csv", b"1,2\r\n"), attachment(&blobs, "b.csv", &[7; 1000])];
    let sent = send(
        &draft,
        &bewit(),
        "SOC / analysts",
        Some("t@example.org"),
        &["ana@example.org", "ola@example.org"],
        &blobs,
    );
    assert_wire(&sent.bytes);
    let message = MessageParser::default().parse(&sent.bytes).unwrap();
    assert_eq!(names(&sent.bytes), FIELDS);
    assert_eq!(message.subject().unwrap(), "Größe: ws-17 finished");
    assert_eq!(message.date().unwrap().to_rfc3339(), "2026-08-12T02:02:03Z");
    assert_eq!(message.from().unwrap().first().unwrap().name().unwrap(), "Bewit");
    assert_eq!(message.to().unwrap().iter().count(), 2);
    assert_eq!(message.message_id().unwrap(), sent.mail.message_id);
    assert_eq!(message.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), draft.text.trim_end());
    assert_eq!(message.body_html(0).unwrap().trim_end(), "<p>Hällo</p>");
    let files: Vec<_> = message.attachments().collect();
    assert_eq!((files[0].attachment_name(), files[0].contents()), (Some("a.csv"), &b"1,2\r\n"[..]));
    assert_eq!(files[1].contents(), [7; 1000]);
    assert_eq!(sent.mail.recipients, ["ana@example.org", "ola@example.org"]);
    assert!(String::from_utf8_lossy(&sent.bytes).contains("List-Id: SOC / analysts <soc-analysts.example.org>\r\n"));
}

#[test]
fn levels_that_are_not_needed_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    let sent = send(&draft("s", "only text", None), &bewit(), "r", None, &["a@example.org"], &blobs);
    let text = String::from_utf8(sent.bytes).unwrap();
    assert!(!text.contains("multipart"));
    assert!(text.contains(
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nonly text\r\n"
    ));
    assert!(!text.contains("References"));
    let mut draft = draft("s", "only text", None);
    draft.attachments = vec![attachment(&blobs, "a.csv", b"")];
    let text = String::from_utf8(send(&draft, &bewit(), "r", None, &["a@example.org"], &blobs).bytes).unwrap();
    assert!(text.contains("multipart/mixed") && !text.contains("multipart/alternative"));
}

#[test]
fn identifiers_are_ascii_and_stable() {
    assert!(message_id("münchen.example").ends_with("@bewit.invalid"));
    assert!(message_id("a>\r\nb").ends_with("@bewit.invalid"));
    assert_ne!(message_id("example.org"), message_id("example.org"));
    assert_eq!(thread_id(&["root", "H.1"], "example.org"), thread_id(&["root", "H.1"], "example.org"));
    assert_ne!(thread_id(&["ab", "c"], "example.org"), thread_id(&["a", "bc"], "example.org"));
}

#[test]
fn non_ascii_addresses_are_raw_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    let from = Mailbox { name: "Bëwit".to_owned(), address: "bewit@example.org".to_owned() };
    let sent = send(&draft("ü", "x", None), &from, "r", None, &["jörg@example.net"], &blobs);
    let text = String::from_utf8(sent.bytes).unwrap();
    let raw: Vec<&str> = text.lines().filter(|line| !line.is_ascii()).collect();
    assert_eq!(raw, ["To: jörg@example.net"]);
}

#[test]
fn a_boundary_is_never_part_of_the_content() {
    let mut seen = String::new();
    for _ in 0..20 {
        let draft = draft("s", &format!("{seen}\n--=_bewit_\n"), Some(&seen));
        let (fields, segments) = body(&draft);
        let fields = String::from_utf8(fields).unwrap();
        let boundary = fields.split('"').nth(1).unwrap().to_owned();
        let Segment::Bytes(bytes) = &segments[0] else { panic!("no bytes") };
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(text.matches(&boundary).count(), 3);
        seen.push_str(&format!("--{boundary}\n--{boundary}--\n"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_text_in_any_slot_stays_in_its_slot(
        subject in any::<String>(),
        text in any::<String>(),
        html in proptest::option::of(any::<String>()),
        name in any::<String>(),
        rule in any::<String>(),
        thread in proptest::option::of(any::<String>()),
        file in any::<String>(),
        kind in prop_oneof![any::<String>(), "[a-z/;= \\r\\n-]{0,12}"],
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let mut draft = draft(&subject, &text, html.as_deref());
        draft.attachments = vec![Attachment { name: file, content_type: kind, ..attachment(&blobs, "x", &bytes) }];
        let thread = thread.map(|thread| thread.chars().filter(char::is_ascii).collect::<String>());
        let from = Mailbox { name: name.clone(), address: "bewit@example.org".to_owned() };
        let sent = send(&draft, &from, &rule, thread.as_deref(), &["ana@example.org"], &blobs);
        assert_wire(&sent.bytes);
        let found = names(&sent.bytes);
        let expected: Vec<&str> = FIELDS.into_iter()
            .filter(|field| found.len() == FIELDS.len() || !matches!(*field, "In-Reply-To" | "References"))
            .collect();
        prop_assert_eq!(found, expected);
        let message = MessageParser::default().parse(&sent.bytes).unwrap();
        prop_assert_eq!(message.subject().unwrap_or_default(), sent.mail.subject);
        let shown = crate::text::one_line(&name);
        prop_assert_eq!(message.from().unwrap().first().unwrap().name().unwrap_or_default(), shown);
        prop_assert_eq!(message.from().unwrap().first().unwrap().address().unwrap(), "bewit@example.org");
        // The line break before a boundary belongs to the boundary.
        let read = message.body_text(0).unwrap_or_default().replace("\r\n", "\n");
        let written = normalised(&text);
        prop_assert_eq!(read.trim_end_matches('\n'), written.trim_end_matches('\n'));
        let last = message.attachments().last().unwrap();
        // Of a text the parser shows what is valid in its character set.
        if last.content_type().is_some_and(|kind| kind.ctype() != "text") {
            prop_assert_eq!(last.contents(), bytes);
        }
    }

    #[test]
    fn words_and_quoted_printable_read_back(text in "[ -~é日😀\u{301}\t=?_.]{0,400}") {
        let draft = draft(&text, &text, None);
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let sent = send(&draft, &bewit(), "r", None, &["ana@example.org"], &blobs);
        assert_wire(&sent.bytes);
        let message = MessageParser::default().parse(&sent.bytes).unwrap();
        prop_assert_eq!(message.subject().unwrap_or_default(), sent.mail.subject);
        prop_assert_eq!(message.body_text(0).unwrap_or_default().replace("\r\n", "\n"), normalised(&text));
    }
}
