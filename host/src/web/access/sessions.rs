//! Who has logged in: a random word in a cookie, and its hash here. Forgotten at a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// How long a login is good for.
pub(super) const AGE: Duration = Duration::from_secs(12 * 3600);
/// Logins at a time; the oldest gives way.
const MOST: usize = 64;

type Hash = [u8; 32];

/// Logins that are good.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Hash, Session>>);

#[derive(Debug, Clone, Copy)]
struct Session {
    since: Instant,
    /// Of the token that was shown.
    token: Hash,
}

impl Sessions {
    /// A new session; answers what the cookie holds.
    pub(super) fn open(&self, token: Hash) -> String {
        let word = BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>());
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.since.elapsed() < AGE);
        while sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.since).map(|(hash, _)| *hash);
            oldest.and_then(|oldest| sessions.remove(&oldest));
        }
        sessions.insert(hash(&word), Session { since: Instant::now(), token });
        word
    }

    /// Whether the session is good while this is the token's hash. It is found by its own hash, so that the time of the
    /// look-up tells nothing of the word.
    pub(super) fn is_open(&self, word: &str, token: Hash) -> bool {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&hash(word)).is_some_and(|session| session.since.elapsed() < AGE && session.token == token)
    }

    /// Ends a session.
    pub(super) fn close(&self, word: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(word));
    }
}

fn hash(word: &str) -> Hash {
    Sha256::digest(word).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_token_and_by_hand() {
        let sessions = Sessions::default();
        let (one, other) = (sessions.open([1; 32]), sessions.open([1; 32]));
        assert_ne!(one, other);
        assert!(sessions.is_open(&one, [1; 32]) && !sessions.is_open(&one, [2; 32]));
        assert!(!sessions.is_open("", [1; 32]));
        sessions.close(&one);
        assert!(!sessions.is_open(&one, [1; 32]) && sessions.is_open(&other, [1; 32]));
    }

    #[test]
    fn the_oldest_gives_way() {
        let sessions = Sessions::default();
        let words: Vec<String> = (0..=MOST).map(|_| sessions.open([1; 32])).collect();
        assert!(!sessions.is_open(&words[0], [1; 32]));
        assert!(words[1..].iter().all(|word| sessions.is_open(word, [1; 32])));
    }
}
