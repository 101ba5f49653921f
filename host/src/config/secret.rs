//! Secrets: where they come from, and why they are never seen.

use std::fmt;
use std::path::PathBuf;

/// Where a secret is. The value is read when it is needed, so that a rotated one is used at once.
#[derive(Clone)]
pub enum Secret {
    /// A file that others cannot read; its last line end is taken off.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command (program and arguments) that prints it.
    Command(Vec<String>),
}

/// A secret's value. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub(crate) String);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "Secret::File({})", path.display()),
            Self::Env(name) => write!(f, "Secret::Env({name})"),
            Self::Command(argv) => write!(f, "Secret::Command({})", argv.first().map_or("", String::as_str)),
        }
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl SecretValue {
    /// The value itself: for the wire only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Secret {
    /// Reads the value. Commands run without a shell and end within 30 s. Blocking: call it where blocking is allowed.
    ///
    /// # Errors
    /// When it is not there, is empty, holds control characters, or its file can be read by others.
    pub fn read(&self) -> Result<SecretValue, SecretError> {
        todo!()
    }
}
