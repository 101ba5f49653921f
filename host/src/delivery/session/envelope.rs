//! Envelopes: who a mail is from and for, as MAIL and RCPT say it. An [`Envelope`] exists only for a mail that the server
//! can take: not over its SIZE, not with characters that it does not know.

use super::super::wire::Shape;
use super::capabilities::{Capabilities, Size};

/// Recipients of one transaction; every server takes so many (RFC 5321 section 4.5.3.1.8).
pub const MAX_RECIPIENTS: usize = 100;

/// An address that can stand between angle brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a>(&'a str);

/// Why a text can stand in no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No `@`, or nothing at one side of it.
    #[error("the address is not `local@domain`")]
    Form,
    /// A control, a blank, or an angle bracket.
    #[error("the address holds a character that cannot stand in an envelope")]
    Character,
    /// RFC 5321 section 4.5.3.1: 64 octets of local part, 254 of the whole.
    #[error("the address is too long for an envelope")]
    Length,
}

impl<'a> Path<'a> {
    /// Checks an address once more before it becomes part of a command.
    ///
    /// # Errors
    /// When it would be more than one word, or too long.
    pub fn new(address: &'a str) -> Result<Self, PathError> {
        let (local, domain) = address.rsplit_once('@').ok_or(PathError::Form)?;
        if local.is_empty() || domain.is_empty() {
            return Err(PathError::Form);
        }
        let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
        let bad = |character: char| character.is_control() || matches!(character, '<' | '>');
        if address.chars().any(bad) || domain.contains(' ') || (local.contains(' ') && !quoted) {
            return Err(PathError::Character);
        }
        if local.len() > 64 || address.len() > 254 {
            return Err(PathError::Length);
        }
        Ok(Self(address))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

/// A mail's envelope, fit for one server.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    pub(super) sender: Path<'a>,
    pub(super) recipients: Vec<Path<'a>>,
    /// What follows `MAIL FROM:<…>`.
    pub(super) parameters: String,
    eight_bit: bool,
}

/// What can be sent, and what cannot be.
#[derive(Debug, Clone)]
pub struct Planned<'a> {
    /// For those who can be reached; `None`: nobody.
    pub envelope: Option<Envelope<'a>>,
    /// One for each recipient that was given, in order; the error says why the mail will never reach it through this
    /// server.
    pub recipients: Vec<Result<(), String>>,
    /// The mail is over the server's SIZE.
    pub too_large: bool,
}

impl<'a> Envelope<'a> {
    /// Fits a mail to a server (RFC 1870, 6152, 6531). SMTPUTF8 is used only if an address or the header needs it;
    /// recipients that need it and cannot have it do not hold up the others.
    #[must_use]
    pub fn plan(server: &Capabilities, mail: &Shape, sender: &'a str, recipients: &[&'a str]) -> Planned<'a> {
        let nobody = |reason: String, too_large: bool| Planned {
            envelope: None,
            recipients: recipients.iter().map(|_| Err(reason.clone())).collect(),
            too_large,
        };
        if let Size::Limit(limit) = server.size
            && mail.octets > limit
        {
            return nobody(
                format!("the mail has {} octets, the server takes at most {limit} (SIZE)", mail.octets),
                true,
            );
        }
        if mail.is_eight_bit() && !server.eight_bit_mime {
            return nobody("the mail holds 8-bit bytes and the server does not offer 8BITMIME".to_owned(), false);
        }
        if (mail.eight_bit_head || !sender.is_ascii()) && !server.smtp_utf8 {
            return nobody("sender or header need SMTPUTF8, which the server does not offer".to_owned(), false);
        }
        let sender = match Path::new(sender) {
            Ok(sender) => sender,
            Err(error) => return nobody(format!("sender: {error}"), false),
        };
        let mut paths = Vec::new();
        let verdicts = recipients
            .iter()
            .map(|recipient| {
                let path = Path::new(recipient).map_err(|error| error.to_string())?;
                if !recipient.is_ascii() && !server.smtp_utf8 {
                    return Err("the address needs SMTPUTF8, which the server does not offer".to_owned());
                }
                paths.push(path);
                Ok(())
            })
            .collect();
        let mut parameters = String::new();
        if server.size != Size::Unknown {
            parameters.push_str(&format!(" SIZE={}", mail.octets));
        }
        if mail.is_eight_bit() {
            parameters.push_str(" BODY=8BITMIME");
        }
        if mail.eight_bit_head || !sender.0.is_ascii() || paths.iter().any(|path| !path.0.is_ascii()) {
            parameters.push_str(" SMTPUTF8");
        }
        let envelope = (!paths.is_empty()).then_some(Envelope {
            sender,
            recipients: paths,
            parameters,
            eight_bit: mail.is_eight_bit(),
        });
        Planned { envelope, recipients: verdicts, too_large: false }
    }

    /// Whether BODY=8BITMIME is announced.
    #[must_use]
    pub fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// How many recipients it has.
    #[must_use]
    pub fn recipients(&self) -> usize {
        self.recipients.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(octets: u64) -> Shape {
        Shape { octets, ..Shape::default() }
    }

    #[test]
    fn only_one_word_is_a_path() {
        for good in ["ana@example.org", "x@localhost", "\"a b\"@example.org", "j\u{f6}rg@example.net", "a@[192.0.2.1]"]
        {
            assert!(Path::new(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in [
            "ana",
            "@example.org",
            "ana@",
            "a b@example.org",
            "ana@example.org> SIZE=1",
            "a<b@example.org",
            "ana@example.org\r\nDATA",
            "ana@exa mple.org",
            "ana\0@example.org",
            "ana\u{85}@example.org",
            &long,
        ] {
            assert!(Path::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_over_size_gets_an_envelope() {
        let server = Capabilities { size: Size::Limit(1_000), ..Capabilities::default() };
        let fits = Envelope::plan(&server, &shape(1_000), "a@x.org", &["b@x.org"]);
        assert_eq!(fits.envelope.unwrap().parameters, " SIZE=1000");
        let over = Envelope::plan(&server, &shape(1_001), "a@x.org", &["b@x.org", "c@x.org"]);
        assert!(over.envelope.is_none() && over.too_large && over.recipients.iter().all(Result::is_err));
        let unlimited = Capabilities { size: Size::Unlimited, ..Capabilities::default() };
        assert_eq!(
            Envelope::plan(&unlimited, &shape(7), "a@x.org", &["b@x.org"]).envelope.unwrap().parameters,
            " SIZE=7"
        );
    }

    #[test]
    fn characters_beyond_ascii_need_their_extension() {
        let plain = Capabilities::default();
        let planned = Envelope::plan(&plain, &shape(1), "a@x.org", &["b@x.org", "j\u{f6}rg@x.org"]);
        assert_eq!(planned.envelope.as_ref().unwrap().recipients(), 1);
        assert_eq!(planned.envelope.unwrap().parameters, "");
        assert!(planned.recipients[0].is_ok() && planned.recipients[1].as_ref().unwrap_err().contains("SMTPUTF8"));
        let modern = Capabilities { smtp_utf8: true, eight_bit_mime: true, ..plain.clone() };
        let planned = Envelope::plan(&modern, &shape(1), "a@x.org", &["b@x.org", "j\u{f6}rg@x.org"]);
        assert_eq!(planned.envelope.unwrap().parameters, " SMTPUTF8");
        let eight = Shape { octets: 1, eight_bit_body: true, ..Shape::default() };
        assert!(Envelope::plan(&plain, &eight, "a@x.org", &["b@x.org"]).envelope.is_none());
        assert_eq!(
            Envelope::plan(&modern, &eight, "a@x.org", &["b@x.org"]).envelope.unwrap().parameters,
            " BODY=8BITMIME"
        );
        let head = Shape { octets: 1, eight_bit_head: true, ..Shape::default() };
        assert!(Envelope::plan(&plain, &head, "a@x.org", &["b@x.org"]).envelope.is_none());
        assert_eq!(
            Envelope::plan(&modern, &head, "a@x.org", &["b@x.org"]).envelope.unwrap().parameters,
            " BODY=8BITMIME SMTPUTF8"
        );
    }
}
