//! What a server offers in its reply to EHLO.

use super::super::reply::Reply;

/// The extensions that a session makes use of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: Size,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// AUTH (RFC 4954): mechanisms, in capitals.
    pub auth: Vec<String>,
}

/// What is said of SIZE.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Size {
    /// Not offered.
    #[default]
    Unknown,
    /// Offered without a limit, or with 0.
    Unlimited,
    /// No mail over so many octets.
    Limit(u64),
}

impl Capabilities {
    /// From the reply to EHLO; its first line is the server's name. Keywords count in any case; the old spelling
    /// `AUTH=LOGIN` is understood.
    #[must_use]
    pub fn parse(reply: &Reply) -> Self {
        let mut found = Self::default();
        for line in reply.lines().skip(1) {
            let line = line.to_ascii_uppercase();
            let (keyword, arguments) = line.split_once([' ', '=']).unwrap_or((&line, ""));
            let mut arguments = arguments.split_ascii_whitespace();
            match keyword {
                "STARTTLS" => found.starttls = true,
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtp_utf8 = true,
                "SIZE" => {
                    found.size = match arguments.next().map(str::parse) {
                        Some(Ok(limit)) if limit > 0 => Size::Limit(limit),
                        _ => Size::Unlimited,
                    }
                }
                "AUTH" => {
                    for mechanism in arguments {
                        if !found.auth.iter().any(|known| known == mechanism) {
                            found.auth.push(mechanism.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::reply::ReplyParser;
    use super::*;

    fn parse(text: &str) -> Capabilities {
        Capabilities::parse(&ReplyParser::default().push(text.as_bytes()).unwrap().1.unwrap())
    }

    #[test]
    fn reads_what_is_offered() {
        let found = parse(
            "250-pipelining.example.org\r\n250-PIPELINING\r\n250-size 10240000\r\n250-StartTLS\r\n250-AUTH PLAIN login\r\n\
             250-AUTH=LOGIN\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n",
        );
        assert_eq!(
            found,
            Capabilities {
                starttls: true,
                pipelining: true,
                size: Size::Limit(10_240_000),
                eight_bit_mime: true,
                smtp_utf8: true,
                auth: vec!["PLAIN".to_owned(), "LOGIN".to_owned()],
            }
        );
    }

    #[test]
    fn the_first_line_offers_nothing() {
        assert_eq!(parse("250 PIPELINING\r\n"), Capabilities::default());
    }

    #[test]
    fn sizes() {
        for (line, size) in [
            ("SIZE", Size::Unlimited),
            ("SIZE 0", Size::Unlimited),
            ("SIZE many", Size::Unlimited),
            ("SIZE 1000", Size::Limit(1000)),
            ("SIZES 1000", Size::Unknown),
        ] {
            assert_eq!(parse(&format!("250-mx\r\n250 {line}\r\n")).size, size, "{line}");
        }
    }
}
