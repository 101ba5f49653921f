//! Mails as somebody else's parser sees them (Python's `email` with `policy.default`), and as bytes on the wire.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tools;

/// A mail, parsed.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Where it was read.
    pub path: PathBuf,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// What the parser did not like.
    pub defects: Vec<String>,
    /// Content types, nested as the parts are.
    pub shape: Value,
    /// The leaves in order.
    pub parts: Vec<Part>,
    /// The bytes.
    pub raw: Vec<u8>,
}

/// A leaf of a mail.
#[derive(Debug, Clone)]
pub struct Part {
    /// Content type.
    pub kind: String,
    /// `attachment`, `inline` or none.
    pub disposition: Option<String>,
    /// File name.
    pub name: Option<String>,
    /// Decoded bytes.
    pub size: u64,
    /// SHA-256 of the decoded bytes, hex.
    pub sha256: String,
    /// Decoded text of a text part.
    pub text: Option<String>,
    /// The first 4 KiB, decoded, as text.
    pub head: String,
}

impl Mail {
    /// Values of a header field.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// Value of a field that must be there exactly once.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [one] => one,
            ref found => panic!("{name} {} times in {}", found.len(), self.path.display()),
        }
    }

    /// The plain text.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> &str {
        self.body("text/plain").unwrap_or_else(|| panic!("no text in {}", self.path.display()))
    }

    /// The HTML, if there is any.
    #[must_use]
    pub fn html(&self) -> Option<&str> {
        self.body("text/html")
    }

    fn body(&self, kind: &str) -> Option<&str> {
        self.parts
            .iter()
            .find(|part| part.kind == kind && part.disposition.as_deref() != Some("attachment"))?
            .text
            .as_deref()
    }

    /// The attachments.
    #[must_use]
    pub fn attachments(&self) -> Vec<&Part> {
        self.parts.iter().filter(|part| part.disposition.as_deref() == Some("attachment")).collect()
    }

    /// Asserts that nothing about it is out of order: no defect, clean lines, the fields of every mail.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_sound(&self) {
        let shown = self.path.display();
        assert!(self.defects.is_empty(), "{shown}: {:?}", self.defects);
        assert_eq!(wire_faults(&self.raw), Vec::<String>::new(), "{shown}");
        for name in ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version"] {
            let _ = self.header(name);
        }
        assert_eq!(self.header("Auto-Submitted"), "auto-generated", "{shown}");
        let known = [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
            "Auto-Submitted",
            "List-Id",
            "References",
            "In-Reply-To",
            "X-Auto-Response-Suppress",
        ];
        for (name, value) in &self.headers {
            assert!(known.iter().any(|known| known.eq_ignore_ascii_case(name)), "{shown}: field {name}: {value}");
            assert!(!value.contains(['\r', '\n', '\0']), "{shown}: {name}: {value:?}");
        }
    }
}

/// Parses files.
///
/// # Panics
/// When Python or a file is missing.
#[must_use]
pub fn read(paths: &[PathBuf]) -> Vec<Mail> {
    if paths.is_empty() {
        return Vec::new();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parse_mail.py");
    let mut all = Vec::new();
    // In portions: a command line has its limit.
    for some in paths.chunks(500) {
        let args = [script.as_os_str()].into_iter().chain(some.iter().map(|path| path.as_os_str()));
        let said = tools::python().args(args).limit(120.0).run().expect(0);
        all.extend(said.json().iter().map(parsed));
    }
    assert_eq!(all.len(), paths.len());
    all
}

/// Parses bytes.
#[must_use]
pub fn read_bytes(raw: &[u8]) -> Mail {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail.eml");
    std::fs::write(&path, raw).unwrap();
    read(&[path]).remove(0)
}

fn parsed(value: &Value) -> Mail {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let path = PathBuf::from(value["path"].as_str().unwrap());
    Mail {
        raw: std::fs::read(&path).unwrap(),
        path,
        headers: value["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (text(&pair[0]).unwrap(), text(&pair[1]).unwrap()))
            .collect(),
        defects: value["defects"].as_array().unwrap().iter().map(|one| text(one).unwrap()).collect(),
        shape: value["shape"].clone(),
        parts: value["parts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| Part {
                kind: text(&part["type"]).unwrap(),
                disposition: text(&part["disposition"]),
                name: text(&part["name"]),
                size: part["size"].as_u64().unwrap(),
                sha256: text(&part["sha256"]).unwrap(),
                text: text(&part["text"]),
                head: text(&part["head"]).unwrap(),
            })
            .collect(),
    }
}

/// What RFC 5321 and 5322 forbid in a mail's bytes: bare CR, bare LF, NUL, a line over 998 octets, no end of line at
/// the end.
#[must_use]
pub fn wire_faults(raw: &[u8]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut length = 0;
    for (at, &byte) in raw.iter().enumerate() {
        match byte {
            b'\r' if raw.get(at + 1) != Some(&b'\n') => faults.push(format!("bare CR at {at}")),
            b'\n' if at == 0 || raw[at - 1] != b'\r' => faults.push(format!("bare LF at {at}")),
            0 => faults.push(format!("NUL at {at}")),
            _ => {}
        }
        if byte == b'\n' {
            length = 0;
        } else if byte != b'\r' {
            length += 1;
            if length == 999 {
                faults.push(format!("a line over 998 octets at {at}"));
            }
        }
    }
    if !raw.ends_with(b"\r\n") {
        faults.push("no CRLF at the end".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_wire_are_found() {
        assert_eq!(wire_faults(b"a: b\r\n\r\ntext\r\n"), Vec::<String>::new());
        assert_eq!(wire_faults(b"a\rb\r\n"), ["bare CR at 1"]);
        assert_eq!(wire_faults(b"a\nb\r\n"), ["bare LF at 1"]);
        assert_eq!(wire_faults(b"a\0b\r\n"), ["NUL at 1"]);
        assert_eq!(wire_faults(b"a"), ["no CRLF at the end"]);
        let long = [vec![b'x'; 998], b"\r\n".to_vec(), vec![b'x'; 999], b"\r\n".to_vec()].concat();
        assert_eq!(wire_faults(&long).len(), 1);
    }

    #[test]
    fn defects_and_parts_are_reported() {
        let good = read_bytes(b"From: a@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhello\r\n");
        assert_eq!(good.header("subject"), "Grüße");
        assert_eq!(good.text(), "hello\r\n");
        assert!(good.defects.is_empty());
        let bad = read_bytes(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nnever closed\r\n");
        assert!(!bad.defects.is_empty());
    }
}
