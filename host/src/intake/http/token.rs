//! Who may send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use super::answer::Answer;
use crate::config::secret::{Secret, SecretError, SecretValue};

type Read = dyn Fn() -> Result<SecretValue, SecretError> + Send + Sync;

/// The bearer token. It is read for each request, so that a new one counts at once; what a command prints is kept for
/// ten seconds.
pub(super) struct Token {
    read: Arc<Read>,
    keep: Duration,
    /// A hash: of equal length whatever the token's, and not the token.
    kept: Mutex<Option<(Instant, [u8; 32])>>,
    complained: AtomicBool,
}

impl Token {
    pub(super) fn new(secret: &Secret) -> Self {
        let keep = if let Secret::Command(_) = secret { Duration::from_secs(10) } else { Duration::ZERO };
        let secret = secret.clone();
        Self::from_fn(Arc::new(move || secret.read()), keep)
    }

    pub(super) fn from_fn(read: Arc<Read>, keep: Duration) -> Self {
        Self { read, keep, kept: Mutex::new(None), complained: AtomicBool::new(false) }
    }

    /// Whether a request brings the token.
    ///
    /// # Errors
    /// The answer: 401, or 503 when there is no token to compare with.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return Err(Answer::unauthorized("a bearer token is needed"));
        };
        let Some(given) = bearer(given.as_bytes()) else {
            return Err(Answer::unauthorized("a bearer token is needed"));
        };
        let right = self.hash().await?;
        let given: [u8; 32] = Sha256::digest(given).into();
        if bool::from(given.ct_eq(&right)) { Ok(()) } else { Err(Answer::unauthorized("this is not the token")) }
    }

    async fn hash(&self) -> Result<[u8; 32], Answer> {
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

    fn complain(&self, error: &str) -> Answer {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the token of intake.http cannot be read; no request is answered");
        }
        Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the server has no token to compare with").retry_after(10)
    }
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1; the scheme in any case, RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer() {
        assert_eq!(bearer(b"Bearer a b"), Some(b"a b".as_slice()));
        assert_eq!(bearer(b"bEARER  abc "), Some(b"abc".as_slice()));
        for value in ["", "Bearer", "Bearer ", "Bearer  ", "Basic abc", "Bearerabc", "abc"] {
            assert_eq!(bearer(value.as_bytes()), None, "{value}");
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
            Token::from_fn(Arc::new(read), keep)
        };
        let with = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        let file = token(Duration::ZERO);
        assert!(file.check(&with("Bearer token 1")).await.is_ok());
        assert!(file.check(&with("Bearer token 2")).await.is_ok());
        assert!(file.check(&with("Bearer token 2")).await.is_err());
        let command = token(Duration::from_secs(3600));
        assert!(command.check(&with("Bearer token 4")).await.is_ok());
        assert!(command.check(&with("Bearer token 4")).await.is_ok());
        // Two at once are one too many.
        let mut twice = with("Bearer token 4");
        twice.append(AUTHORIZATION, "Bearer token 4".parse().unwrap());
        assert!(command.check(&twice).await.is_err());
        assert_eq!(*reads.lock().unwrap(), 4);
    }
}
