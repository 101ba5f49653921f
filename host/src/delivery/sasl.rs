//! SASL: what each mechanism says (RFC 4954, 4616, 7628), and the one place that holds a secret for it.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::secret::{Secret, SecretError, SecretValue};
use crate::config::{Credentials, Mechanism};

/// Challenges that are answered before a dialogue is given up.
pub(super) const MAX_CHALLENGES: usize = 4;
/// Octets of a command line with its CRLF (RFC 5321 section 4.5.3.1.4); a longer AUTH must not carry its response
/// (RFC 4954 section 4).
const COMMAND_LINE: usize = 512;

/// A login with its secret in hand: for one AUTH. No `Debug` shows it.
pub struct Login {
    mechanism: Mechanism,
    responses: Vec<String>,
    secret: String,
}

/// What to say next.
pub(super) enum Say<'a> {
    /// This line.
    Line(&'a str),
    /// Nothing more can be said: take the login back.
    Cancel,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// The mechanism's name in AUTH and in EHLO.
#[must_use]
pub fn name(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::Login => "LOGIN",
        Mechanism::XOAuth2 => "XOAUTH2",
        Mechanism::OAuthBearer => "OAUTHBEARER",
    }
}

/// Whether a fresh secret may differ from the one that was refused even if its text is the same: tokens.
#[must_use]
pub(super) fn is_token(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::XOAuth2 | Mechanism::OAuthBearer)
}

impl Login {
    /// Makes what the mechanism will say to this server.
    #[must_use]
    pub fn new(credentials: &Credentials, secret: &SecretValue, server: &str, port: u16) -> Self {
        let (user, value) = (&credentials.username, secret.expose());
        let responses = match credentials.mechanism {
            Mechanism::Plain => vec![format!("\0{user}\0{value}")],
            Mechanism::Login => vec![user.clone(), value.to_owned()],
            Mechanism::XOAuth2 => vec![format!("user={user}\x01auth=Bearer {value}\x01\x01")],
            // The user's name in the GS2 header: `=` and `,` are written as =3D and =2C (RFC 5801 section 4).
            Mechanism::OAuthBearer => {
                let user = user.replace('=', "=3D").replace(',', "=2C");
                vec![format!("n,a={user},\x01host={server}\x01port={port}\x01auth=Bearer {value}\x01\x01")]
            }
        };
        let responses = responses.iter().map(|response| STANDARD.encode(response)).collect();
        Self { mechanism: credentials.mechanism, responses, secret: value.to_owned() }
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The AUTH command without its CRLF, and how many responses it carries.
    pub(super) fn command(&self) -> (String, usize) {
        let bare = format!("AUTH {}", name(self.mechanism));
        match self.responses.first() {
            Some(response)
                if self.mechanism != Mechanism::Login && bare.len() + 1 + response.len() + 2 <= COMMAND_LINE =>
            {
                (format!("{bare} {response}"), 1)
            }
            _ => (bare, 0),
        }
    }

    /// Answers a challenge (334) after `said` responses.
    pub(super) fn answer(&self, said: usize, challenge: &str) -> Say<'_> {
        match (self.responses.get(said), self.mechanism) {
            (Some(response), _) => Say::Line(response),
            // A server that takes no initial response asks for it again with an empty challenge.
            (None, Mechanism::Plain | Mechanism::XOAuth2 | Mechanism::OAuthBearer)
                if said == 1 && challenge.trim().is_empty() =>
            {
                self.responses.first().map_or(Say::Cancel, |response| Say::Line(response))
            }
            // The challenge is the error, as JSON in base64; an empty answer lets the server refuse in its own words.
            (None, Mechanism::XOAuth2) if said <= 2 => Say::Line(""),
            // The same, with a lone ^A for an answer (RFC 7628 section 3.2.3).
            (None, Mechanism::OAuthBearer) if said <= 2 => Say::Line("AQ=="),
            (None, _) => Say::Cancel,
        }
    }

    /// Texts that must not be shown, should the server repeat them.
    pub(super) fn unseen(&self) -> Vec<&str> {
        self.responses.iter().map(String::as_str).chain([self.secret.as_str()]).collect()
    }
}

/// Reads a relay's secret: anew for each connection, once for all who ask at the same time.
#[derive(Debug)]
pub struct Keeper {
    secret: Secret,
    read: AtomicU64,
    last: tokio::sync::Mutex<Option<SecretValue>>,
}

/// A secret's value with its number: a refused one is refreshed by whoever comes first.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Counts the reads.
    pub generation: u64,
    /// The value.
    pub value: SecretValue,
}

impl Keeper {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self { secret, read: AtomicU64::new(0), last: tokio::sync::Mutex::default() }
    }

    /// For a new connection: what is there now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn fresh(&self) -> Result<Kept, SecretError> {
        self.newer_than(self.read.load(Ordering::Acquire)).await
    }

    /// A value read after the one with this number; read at most once for all who ask.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn newer_than(&self, generation: u64) -> Result<Kept, SecretError> {
        let mut last = self.last.lock().await;
        let now = self.read.load(Ordering::Acquire);
        if now > generation
            && let Some(value) = last.as_ref()
        {
            return Ok(Kept { generation: now, value: value.clone() });
        }
        let secret = self.secret.clone();
        let value = tokio::task::spawn_blocking(move || secret.read())
            .await
            .map_err(|error| SecretError(format!("reading the secret did not end: {error}")))??;
        *last = Some(value.clone());
        let generation = now + 1;
        self.read.store(generation, Ordering::Release);
        Ok(Kept { generation, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(mechanism: Mechanism, user: &str, secret: &str) -> Login {
        let credentials =
            Credentials { username: user.to_owned(), mechanism, secret: Secret::Env("UNUSED".to_owned()) };
        Login::new(&credentials, &SecretValue(secret.to_owned()), "mx.example.org", 587)
    }

    fn decoded(text: &str) -> String {
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn says_what_each_mechanism_wants() {
        let (command, said) = login(Mechanism::Plain, "ana", "pass").command();
        assert_eq!((command.as_str(), said), ("AUTH PLAIN AGFuYQBwYXNz", 1));
        let (command, said) = login(Mechanism::Login, "ana", "pass").command();
        assert_eq!((command.as_str(), said), ("AUTH LOGIN", 0));
        let (command, _) = login(Mechanism::XOAuth2, "ana@example.org", "token").command();
        assert_eq!(
            decoded(command.strip_prefix("AUTH XOAUTH2 ").unwrap()),
            "user=ana@example.org\x01auth=Bearer token\x01\x01"
        );
        let (command, _) = login(Mechanism::OAuthBearer, "a=b,c@example.org", "token").command();
        assert_eq!(
            decoded(command.strip_prefix("AUTH OAUTHBEARER ").unwrap()),
            "n,a=a=3Db=2Cc@example.org,\x01host=mx.example.org\x01port=587\x01auth=Bearer token\x01\x01"
        );
    }

    #[test]
    fn a_long_token_is_no_part_of_the_command_line() {
        let login = login(Mechanism::XOAuth2, "ana", &"t".repeat(600));
        assert_eq!(login.command(), ("AUTH XOAUTH2".to_owned(), 0));
        assert!(matches!(login.answer(0, ""), Say::Line(line) if line.len() > 800));
        assert!(matches!(login.answer(1, "eyJzdGF0dXMiOiI0MDEifQ=="), Say::Line("")));
    }

    #[test]
    fn answers_challenges_and_gives_up() {
        let plain = login(Mechanism::Plain, "ana", "pass");
        assert!(matches!(plain.answer(1, ""), Say::Line("AGFuYQBwYXNz")));
        assert!(matches!(plain.answer(1, "bW9yZT8="), Say::Cancel));
        assert!(matches!(plain.answer(2, ""), Say::Cancel));
        let two = login(Mechanism::Login, "ana", "pass");
        assert!(matches!(two.answer(0, "VXNlcm5hbWU6"), Say::Line("YW5h")));
        assert!(matches!(two.answer(1, "UGFzc3dvcmQ6"), Say::Line("cGFzcw==")));
        assert!(matches!(two.answer(2, "QWdhaW46"), Say::Cancel));
        assert!(matches!(login(Mechanism::OAuthBearer, "ana", "t").answer(1, "eyJ9"), Say::Line("AQ==")));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", login(Mechanism::Plain, "ana", "hunter2"));
        assert!(!shown.contains("hunter2") && !shown.contains(&STANDARD.encode("\0ana\0hunter2")));
    }
}
