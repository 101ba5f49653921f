//! Addresses: who may be written to, and what a sender looks like.

use std::fmt;

/// A recipient's address, `local@domain`, safe in an envelope and in a header.
#[derive(Debug, Clone)]
pub struct Address {
    text: String,
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
#[error("`{text}` is not an e-mail address: {reason}")]
pub struct AddressError {
    /// The text, controls made visible.
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
        let _ = text;
        todo!()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Mailbox {
    /// Parses `address` or `Name <address>`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let _ = text;
        todo!()
    }
}
