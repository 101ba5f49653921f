//! Addresses: who may be written to, and what a sender looks like.
//!
//! Narrower than RFC 5321 and 6531 on purpose: an address goes into an envelope, a header and a log, so it is a
//! dot-atom at a domain, with letters of any script, and nothing that could be read as something else.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::text::{Shown, is_invisible};

/// Octets of a local part (RFC 5321 section 4.5.3.1.1).
const LOCAL_LIMIT: usize = 64;

/// Octets of a domain (RFC 5321 section 4.5.3.1.2).
const DOMAIN_LIMIT: usize = 255;

/// Octets of a label between two dots (RFC 1035 section 2.3.4).
const LABEL_LIMIT: usize = 63;

/// Characters of a sender's display name.
const NAME_LIMIT: usize = 200;

/// A recipient's address, `local@domain`, safe in an envelope and in a header. Two are equal when their local parts
/// are equal and their domains are, without regard to case.
#[derive(Debug, Clone)]
pub struct Address {
    text: String,
    /// Where the `@` is.
    at: usize,
}

/// A sender: an address with an optional display name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Display name; may be empty.
    pub name: String,
    /// `local@domain`.
    pub address: String,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} is not an e-mail address: {reason}")]
pub struct AddressError {
    /// The text, quoted, controls made visible, cut when it is long.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Address {
    /// Parses one bare address; blanks around it are trimmed. `x@localhost` and `jörg@example.net` are addresses,
    /// `nobody`, `Ana <ana@example.org>` and `a@x, b@y` are not.
    ///
    /// # Errors
    /// When the text is no address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let at = check(text).map_err(|reason| AddressError { text: Shown(text).to_string(), reason })?;
        Ok(Self { text: text.to_owned(), at })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// What stands after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Whether it is all ASCII; one that is not needs a server with SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local() == other.local() && folded(self.domain()).eq(folded(other.domain()))
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local().hash(state);
        folded(self.domain()).for_each(|character| character.hash(state));
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Mailbox {
    /// Parses `address`, `Name <address>` or `"Name, with commas" <address>`.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let fault = |reason| AddressError { text: Shown(text).to_string(), reason };
        let Some((name, rest)) = text.rsplit_once('<') else {
            let address = Address::parse(text)?;
            return Ok(Self { name: String::new(), address: address.text });
        };
        let address = rest.strip_suffix('>').ok_or_else(|| fault("nothing may follow the `>`"))?;
        let address = Address::parse(address).map_err(|error| fault(error.reason))?;
        let name = display_name(name.trim()).map_err(fault)?;
        Ok(Self { name, address: address.text })
    }

    /// What stands after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

fn folded(domain: &str) -> impl Iterator<Item = char> {
    domain.chars().flat_map(char::to_lowercase)
}

/// Where the `@` of an address is, or why the text is none.
fn check(text: &str) -> Result<usize, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().any(is_invisible) {
        return Err("it holds control characters or direction marks");
    }
    let (local, domain) = text.split_once('@').ok_or("there is no `@`")?;
    if domain.contains('@') {
        return Err("there is more than one `@`");
    }
    check_local(local)?;
    check_domain(domain)?;
    Ok(local.len())
}

/// A dot-atom (RFC 5322 section 3.2.3), with letters of any script (RFC 6531 section 3.3).
fn check_local(local: &str) -> Result<(), &'static str> {
    if local.is_empty() {
        return Err("there is nothing before the `@`");
    }
    if local.len() > LOCAL_LIMIT {
        return Err("what stands before the `@` is longer than 64 octets");
    }
    // Programs that hand an address to a command line take it for an option.
    if local.starts_with('-') {
        return Err("it begins with `-`");
    }
    if local.split('.').any(str::is_empty) {
        return Err("a dot may only stand between two characters");
    }
    if !local.chars().all(|character| character == '.' || is_atom_text(character)) {
        return Err("a character that no plain address has");
    }
    Ok(())
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    if domain.is_empty() {
        return Err("there is nothing after the `@`");
    }
    if domain.len() > DOMAIN_LIMIT {
        return Err("the domain is longer than 255 octets");
    }
    if let Some(literal) = domain.strip_prefix('[').and_then(|domain| domain.strip_suffix(']')) {
        // RFC 5321 section 4.1.3; the tag is compared without regard to case.
        let known = match literal.split_at_checked(5) {
            Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse::<Ipv6Addr>().is_ok(),
            _ => literal.parse::<Ipv4Addr>().is_ok(),
        };
        return if known { Ok(()) } else { Err("the brackets hold no IP address") };
    }
    for label in domain.split('.') {
        if label.is_empty() || label.len() > LABEL_LIMIT || label.starts_with('-') || label.ends_with('-') {
            return Err("the domain is no host name");
        }
        // Underscores are not for hosts, but names inside of companies have them.
        if !label.chars().all(|character| matches!(character, '-' | '_') || is_letter(character)) {
            return Err("the domain is no host name");
        }
    }
    Ok(())
}

fn is_atom_text(character: char) -> bool {
    is_letter(character) || "!#$%&'*+-/=?^_`{|}~".contains(character)
}

/// Letters, digits and the marks that letters are composed with.
fn is_letter(character: char) -> bool {
    character.is_alphanumeric() || unicode_normalization::char::is_combining_mark(character)
}

/// A display name, taken out of its quotes (RFC 5322 section 3.2.4).
fn display_name(text: &str) -> Result<String, &'static str> {
    let mut name = String::new();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut characters = quoted.chars();
        loop {
            match characters.next() {
                None => return Err("the name's closing quote is missing"),
                Some('"') => break,
                Some('\\') => name.push(characters.next().ok_or("the name's closing quote is missing")?),
                Some(character) => name.push(character),
            }
        }
        if !characters.as_str().is_empty() {
            return Err("something stands between the quoted name and the `<`");
        }
    } else {
        if text.contains(['<', '>', '"', ',', ';', '@', '\\']) {
            return Err("a name with `,`, `;`, `@` or the like must be quoted");
        }
        name.push_str(text);
    }
    if name.chars().any(is_invisible) {
        return Err("the name holds control characters or direction marks");
    }
    if name.chars().count() > NAME_LIMIT {
        return Err("the name is longer than 200 characters");
    }
    Ok(name.trim().to_owned())
}

#[cfg(test)]
mod tests;
