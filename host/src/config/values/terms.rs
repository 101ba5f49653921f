//! Values that have a grammar of their own: patterns, addresses of people, addresses of sockets.

use std::net::SocketAddr;

use serde_json::{Value, json};
use toml::de::DeValue;

use super::{Sender, text};
use crate::config::decode::{Decode, Findings, Spot};
use crate::rule::address::{Address, Mailbox};
use crate::rule::pattern::Pattern;

impl Decode for Pattern {
    fn schema() -> Value {
        json!({ "type": "string", "format": "regex" })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let source = text(at, value, findings)?;
        match Self::new(source) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let (first, rest) = error.reason.split_once('\n').unwrap_or((&error.reason, ""));
                let message = format!("`{}` is not a regular expression: {}", at.key, first.trim_end_matches(':'));
                findings.error(Some(at.span.clone()), message, rest.trim_end().trim_start_matches('\n'));
                None
            }
        }
    }
}

impl Decode for Address {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[^<>]*@[^<>]*$" })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = text(at, value, findings)?;
        match Self::parse(text) {
            Ok(address) => Some(address),
            Err(error) => {
                let bare = Mailbox::parse(text).ok().filter(|mailbox| !mailbox.name.is_empty() || text.contains('<'));
                let hint = match bare {
                    Some(mailbox) => format!("recipients are bare addresses: \"{}\"", mailbox.address),
                    None if text.contains([',', ';']) => "one address in each pair of quotes".to_owned(),
                    None => "for example \"soc@example.org\"".to_owned(),
                };
                findings.error(Some(at.span.clone()), error.to_string(), hint);
                None
            }
        }
    }
}

impl Decode for Sender {
    fn schema() -> Value {
        json!({ "type": "string", "examples": ["bewit@example.org", "Bewit <bewit@example.org>"] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = text(at, value, findings)?;
        if text.trim().is_empty() {
            return Some(Self(None));
        }
        match Mailbox::parse(text) {
            Ok(mailbox) => Some(Self(Some(mailbox))),
            Err(error) => {
                let hint = "for example \"Bewit <bewit@example.org>\"";
                findings.error(Some(at.span.clone()), error.to_string(), hint);
                None
            }
        }
    }
}

impl Decode for SocketAddr {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": r":\d+$", "examples": ["127.0.0.1:8027", "[::1]:8027"] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let text = match value {
            DeValue::Integer(port) => {
                findings.mistyped(at, "an address", value, format!("write \"127.0.0.1:{}\"", port.as_str()));
                return None;
            }
            _ => text(at, value, findings)?,
        };
        if let Ok(address) = text.trim().parse() {
            return Some(address);
        }
        let hint = match text.trim().rsplit_once(':') {
            Some(("localhost", port)) if port.parse::<u16>().is_ok() => format!("write \"127.0.0.1:{port}\""),
            Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                format!("write \"127.0.0.1:{port}\", or \"[::]:{port}\" for every interface")
            }
            _ => "an IP address and a port, for example \"127.0.0.1:8027\"".to_owned(),
        };
        findings.error(Some(at.span.clone()), format!("`{text}` is not an address to listen on"), hint);
        None
    }
}
