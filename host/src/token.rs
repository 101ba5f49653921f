//! A bearer token: who shows it may send events, or act in the studio.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use crate::config::secret::{Secret, SecretError, SecretValue};

type Read = dyn Fn() -> Result<SecretValue, SecretError> + Send + Sync;

/// The bearer token. It is read for each request, so that a new one counts at once; what a command prints is kept for
/// ten seconds.
pub(crate) struct Token {
    /// The section that it belongs to, for the log.
    section: &'static str,
    read: Arc<Read>,
    keep: Duration,
    /// A hash: of equal length whatever the token's, and not the token.
    kept: Mutex<Option<(Instant, [u8; 32])>>,
    complained: AtomicBool,
}

/// There is no token to compare with; the log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server has no token to compare with")]
pub(crate) struct NoToken;

impl Token {
    /// The token of a section.
    pub(crate) fn new(secret: &Secret, section: &'static str) -> Self {
        let keep = if let Secret::Command(_) = secret { Duration::from_secs(10) } else { Duration::ZERO };
        let secret = secret.clone();
        Self::from_fn(Arc::new(move || secret.read()), keep, section)
    }

    /// A token that is had otherwise; what `read` answers is good for so long.
    pub(crate) fn from_fn(read: Arc<Read>, keep: Duration, section: &'static str) -> Self {
        Self { section, read, keep, kept: Mutex::new(None), complained: AtomicBool::new(false) }
    }

    /// Whether this is the token. The answer takes as long whatever is given.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub(crate) async fn is(&self, given: &[u8]) -> Result<bool, NoToken> {
        let right = self.hash().await?;
        let given: [u8; 32] = Sha256::digest(given).into();
        Ok(bool::from(given.ct_eq(&right)))
    }

    /// SHA-256 of the token.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub(crate) async fn hash(&self) -> Result<[u8; 32], NoToken> {
        // One command at a time, however many ask.
        let mut kept = if self.keep.is_zero() { None } else { Some(self.kept.lock().await) };
        if let Some(Some((since, hash))) = kept.as_deref()
            && since.elapsed() < self.keep
        {
            return Ok(*hash);
        }
        let read = Arc::clone(&self.read);
        let value = match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return Err(self.complain(&error.to_string())),
            Err(error) => return Err(self.complain(&error.to_string())),
        };
        self.complained.store(false, Ordering::Relaxed);
        let hash = Sha256::digest(value.expose()).into();
        if let Some(kept) = &mut kept {
            **kept = Some((Instant::now(), hash));
        }
        Ok(hash)
    }

    fn complain(&self, error: &str) -> NoToken {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the token of {} cannot be read; nobody is let in by it", self.section);
        }
        NoToken
    }
}

/// The token that a request shows, if it shows one and no more.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return None };
    token_of(given.as_bytes())
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1; the scheme in any case, RFC 9110 section 11.1).
fn token_of(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer() {
        assert_eq!(token_of(b"Bearer a b"), Some(b"a b".as_slice()));
        assert_eq!(token_of(b"bEARER  abc "), Some(b"abc".as_slice()));
        for value in ["", "Bearer", "Bearer ", "Bearer  ", "Basic abc", "Bearerabc", "abc"] {
            assert_eq!(token_of(value.as_bytes()), None, "{value}");
        }
    }

    #[tokio::test]
    async fn a_new_token_counts_at_once_and_a_command_runs_seldom() {
        let reads = Arc::new(std::sync::Mutex::new(0));
        let token = |keep| {
            let reads = Arc::clone(&reads);
            let read = move || {
                let mut reads = reads.lock().unwrap();
                *reads += 1;
                Ok(SecretValue(format!("token {reads}")))
            };
            Token::from_fn(Arc::new(read), keep, "test")
        };
        let file = token(Duration::ZERO);
        assert!(file.is(b"token 1").await.unwrap());
        assert!(file.is(b"token 2").await.unwrap());
        assert!(!file.is(b"token 2").await.unwrap());
        let command = token(Duration::from_secs(3600));
        assert!(command.is(b"token 4").await.unwrap());
        assert!(command.is(b"token 4").await.unwrap());
        assert_eq!(*reads.lock().unwrap(), 4);
    }

    #[test]
    fn two_tokens_at_once_are_one_too_many() {
        let mut headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer a".parse().unwrap())]);
        assert_eq!(bearer(&headers), Some(b"a".as_slice()));
        headers.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}
