//! One SMTP session as a typed state machine: an order of commands that RFC 5321 does not allow does not compile.
//!
//! ```text
//! Fresh ─▶ Greeted ─▶ Ehlo ─▶ (Authed) ─▶ Idle ─▶ InTransaction ─▶ AtDot ─▶ AwaitFinal
//!   │TLS      ▲         │STARTTLS          ▲ ▲         nobody           │         │
//!   └─────────┴─────────┘                  │ └──────────────────────────┴─────────┘
//! ```
//!
//! Each step takes the session and gives the next one, or the end of the connection. Only [`Idle`] can be kept and used
//! again, and it is reached only by a complete dialogue with its replies in order. A session that is dropped anywhere
//! else (an error, a deadline, a cancelled task) closes its connection without QUIT, so nothing can be left half said.
//!
//! A password needs a session under TLS:
//!
//! ```no_run
//! use bewit::delivery::session::{AuthError, Authed, Ehlo, Login, Secure, Session};
//! async fn log_in(session: Session<Ehlo<Secure>>, login: &Login) -> Result<Session<Authed>, AuthError> {
//!     session.authenticate(login).await
//! }
//! ```
//!
//! ```compile_fail
//! use bewit::delivery::session::{AuthError, Authed, Clear, Ehlo, Login, Session};
//! async fn log_in(session: Session<Ehlo<Clear>>, login: &Login) -> Result<Session<Authed>, AuthError> {
//!     session.authenticate(login).await
//! }
//! ```
//!
//! What was learned before STARTTLS is forgotten: there is no way from there to a mail but a second EHLO.
//!
//! ```no_run
//! # use bewit::delivery::session::{Clear, Ehlo, Idle, Session, SetupError};
//! # use bewit::delivery::tls::Tls;
//! async fn upgrade(session: Session<Ehlo<Clear>>, tls: &Tls) -> Result<Session<Idle>, SetupError> {
//!     Ok(session.starttls(tls).await?.ehlo("client.example.org").await?.ready())
//! }
//! ```
//!
//! ```compile_fail
//! # use bewit::delivery::session::{Clear, Ehlo, Idle, Session, SetupError};
//! # use bewit::delivery::tls::Tls;
//! async fn upgrade(session: Session<Ehlo<Clear>>, tls: &Tls) -> Result<Session<Idle>, SetupError> {
//!     Ok(session.starttls(tls).await?.ready())
//! }
//! ```
//!
//! The mail's bytes follow a 354 and nothing else, and a session that has begun a mail cannot begin another one:
//!
//! ```no_run
//! # use bewit::delivery::session::{Begun, Envelope, Fault, Idle, Session};
//! async fn begin(session: Session<Idle>, envelope: &Envelope<'_>) -> Result<Begun, Fault> {
//!     let (begun, _answers) = session.begin(envelope).await?;
//!     Ok(begun)
//! }
//! ```
//!
//! ```compile_fail
//! # use bewit::delivery::session::{Begun, Envelope, Fault, Idle, Session};
//! async fn begin(session: Session<Idle>, envelope: &Envelope<'_>) -> Result<Begun, Fault> {
//!     let (_first, _answers) = session.begin(envelope).await?;
//!     let (begun, _answers) = session.begin(envelope).await?;
//!     Ok(begun)
//! }
//! ```
//!
//! ```compile_fail
//! # use bewit::delivery::session::{BodyError, AtDot, Content, Idle, Session};
//! async fn body(session: Session<Idle>, content: Content) -> Result<Session<AtDot>, BodyError> {
//!     session.body(content).await
//! }
//! ```

mod capabilities;
mod channel;
mod envelope;
mod transaction;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

pub use self::capabilities::{Capabilities, Size};
use self::channel::Channel;
pub(super) use self::channel::within;
pub use self::channel::{Cause, Fault, Stream};
pub use self::envelope::{Envelope, MAX_RECIPIENTS, Path, PathError, Planned};
pub use self::transaction::{Answers, AtDot, AwaitFinal, Begun, Block, BodyError, Content, InTransaction};
use super::classify::{Class, Phase, classify};
use super::reply::Reply;
pub use super::sasl::Login;
use super::sasl::{self, MAX_CHALLENGES, Say};
use super::tls::{Tls, TlsInfo};
use crate::config::Timeouts;

/// How long QUIT, and whatever else is only polite, may take.
pub const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// A session in one state.
pub struct Session<State> {
    channel: Channel,
    tls: Option<TlsInfo>,
    state: State,
}

/// What a stream is: in clear.
#[derive(Debug)]
pub enum Clear {}

/// What a stream is: under TLS.
#[derive(Debug)]
pub enum Secure {}

/// Connected, nothing read.
#[derive(Debug)]
pub struct Fresh<P>(PhantomData<P>);

/// The server has spoken its 220; or TLS has begun after STARTTLS, and nothing is known of the server any more.
#[derive(Debug)]
pub struct Greeted<P> {
    greeting: Option<Reply>,
    protection: PhantomData<P>,
}

/// The server has said what it can do.
#[derive(Debug)]
pub struct Ehlo<P> {
    capabilities: Capabilities,
    protection: PhantomData<P>,
}

/// Logged in.
#[derive(Debug)]
pub struct Authed {
    capabilities: Capabilities,
    reply: Reply,
}

/// In step with the server, no mail begun: the one state that can be kept.
#[derive(Debug)]
pub struct Idle {
    capabilities: Capabilities,
    served: u64,
}

/// Why a session did not get as far as its first mail.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The connection ended.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The server said no.
    #[error("{phase}: the server answered {reply}")]
    Refused {
        /// To what.
        phase: Phase,
        /// Its words.
        reply: Reply,
    },
    /// The server does not offer what the configuration requires; nothing weaker is tried.
    #[error("{phase}: the server does not offer {what}")]
    NotOffered {
        /// Where it was missed.
        phase: Phase,
        /// Such as `STARTTLS` or `AUTH PLAIN`.
        what: String,
    },
}

/// Why a login did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The secret was refused; the session can try another one.
    #[error("AUTH: the server answered {reply}")]
    Rejected {
        /// As before the attempt.
        session: Box<Session<Ehlo<Secure>>>,
        /// The server's words.
        reply: Reply,
    },
    /// Anything else.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl<State: fmt::Debug> fmt::Debug for Session<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("tls", &self.tls).field("state", &self.state).finish_non_exhaustive()
    }
}

impl<State> Session<State> {
    fn into<Next>(self, state: Next) -> Session<Next> {
        Session { channel: self.channel, tls: self.tls, state }
    }

    /// How the connection is protected; `None`: not at all.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// One command, one reply.
    async fn command(&mut self, phase: Phase, line: &str) -> Result<Reply, Fault> {
        self.channel.in_turn(phase)?;
        self.channel.write(phase, format!("{line}\r\n").as_bytes()).await?;
        self.channel.reply(phase).await
    }

    async fn start_tls<P>(self, phase: Phase, tls: &Tls, state: P) -> Result<Session<P>, Fault> {
        let timeouts = *self.channel.timeouts();
        // What was said in clear behind the last reply would be taken for words under TLS (CVE-2011-0411).
        let stream = self.channel.into_stream(phase)?;
        let (stream, info) = tls.handshake(stream, &timeouts).await?;
        Ok(Session { channel: Channel::new(stream, timeouts), tls: Some(info), state })
    }
}

/// A reply before the first mail: go on, or not.
fn expect(phase: Phase, reply: Reply) -> Result<Reply, SetupError> {
    match classify(phase, &reply) {
        Class::Accepted => Ok(reply),
        Class::Protocol => Err(Fault::new(phase, Cause::Unexpected(reply)).into()),
        _ => Err(SetupError::Refused { phase, reply }),
    }
}

impl Session<Fresh<Clear>> {
    /// On a connected stream.
    pub fn new(stream: Box<dyn Stream>, timeouts: Timeouts) -> Self {
        Self { channel: Channel::new(stream, timeouts), tls: None, state: Fresh(PhantomData) }
    }

    /// Implicit TLS (RFC 8314 section 3.3): before the greeting.
    ///
    /// # Errors
    /// When the handshake fails or takes longer than `connect`.
    pub async fn secure(self, tls: &Tls) -> Result<Session<Fresh<Secure>>, Fault> {
        self.start_tls(Phase::Handshake, tls, Fresh(PhantomData)).await
    }
}

impl<P> Session<Fresh<P>> {
    /// Waits for the 220.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn greeting(mut self) -> Result<Session<Greeted<P>>, SetupError> {
        let reply = self.channel.reply(Phase::Greeting).await?;
        let greeting = Some(expect(Phase::Greeting, reply)?);
        Ok(self.into(Greeted { greeting, protection: PhantomData }))
    }
}

impl<P> Session<Greeted<P>> {
    /// What the server greeted with; nothing after STARTTLS.
    #[must_use]
    pub fn greeting(&self) -> Option<&Reply> {
        self.state.greeting.as_ref()
    }

    /// EHLO.
    ///
    /// # Errors
    /// When the server does not answer 250.
    pub async fn ehlo(mut self, name: &str) -> Result<Session<Ehlo<P>>, SetupError> {
        let reply = self.command(Phase::Ehlo, &format!("EHLO {name}")).await?;
        let capabilities = Capabilities::parse(&expect(Phase::Ehlo, reply)?);
        Ok(self.into(Ehlo { capabilities, protection: PhantomData }))
    }
}

impl Session<Greeted<Clear>> {
    /// EHLO, or HELO for a server that has never heard of EHLO (RFC 5321 section 3.2). Such a server offers nothing, neither
    /// TLS nor a login, so this is for those who want neither.
    ///
    /// # Errors
    /// When the server does not answer 250.
    pub async fn ehlo_or_helo(mut self, name: &str) -> Result<Session<Ehlo<Clear>>, SetupError> {
        let mut reply = self.command(Phase::Ehlo, &format!("EHLO {name}")).await?;
        let known = !matches!(reply.code(), 500 | 502);
        if !known {
            reply = self.command(Phase::Ehlo, &format!("HELO {name}")).await?;
        }
        let reply = expect(Phase::Ehlo, reply)?;
        let capabilities = if known { Capabilities::parse(&reply) } else { Capabilities::default() };
        Ok(self.into(Ehlo { capabilities, protection: PhantomData }))
    }
}

impl<P> Session<Ehlo<P>> {
    /// What the server can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.state.capabilities
    }

    /// Without a login.
    #[must_use]
    pub fn ready(mut self) -> Session<Idle> {
        let capabilities = std::mem::take(&mut self.state.capabilities);
        self.into(Idle { capabilities, served: 0 })
    }
}

impl Session<Ehlo<Clear>> {
    /// STARTTLS (RFC 3207). What was learned so far is forgotten; a server that spoke on behind its 220 is left.
    ///
    /// # Errors
    /// When it is not offered, is refused, or the handshake fails or takes longer than `connect`.
    pub async fn starttls(mut self, tls: &Tls) -> Result<Session<Greeted<Secure>>, SetupError> {
        let phase = Phase::StartTls;
        if !self.state.capabilities.starttls {
            return Err(SetupError::NotOffered { phase, what: "STARTTLS".to_owned() });
        }
        let reply = self.command(phase, "STARTTLS").await?;
        expect(phase, reply)?;
        Ok(self.start_tls(phase, tls, Greeted { greeting: None, protection: PhantomData }).await?)
    }
}

impl Session<Ehlo<Secure>> {
    /// AUTH (RFC 4954) with the configured mechanism, never another one.
    ///
    /// # Errors
    /// When the mechanism is not offered, or the login does not succeed.
    pub async fn authenticate(mut self, login: &Login) -> Result<Session<Authed>, AuthError> {
        let phase = Phase::Auth;
        let name = sasl::name(login.mechanism());
        if !self.state.capabilities.auth.iter().any(|offered| offered == name) {
            return Err(SetupError::NotOffered { phase, what: format!("AUTH {name}") }.into());
        }
        // A server may repeat what it was told, now or in a later reply.
        self.channel.hide(&login.unseen());
        let (command, mut said) = login.command();
        let mut reply = self.command(phase, &command).await.map_err(SetupError::from)?;
        let mut challenges = 0;
        while reply.code() == 334 {
            challenges += 1;
            let challenge = reply.lines().next().unwrap_or_default();
            let line = match login.answer(said, challenge) {
                Say::Line(line) if challenges <= MAX_CHALLENGES => line,
                // RFC 4954 section 4: the server must answer 501.
                _ if challenges <= MAX_CHALLENGES + 1 => "*",
                _ => return Err(SetupError::from(Fault::new(phase, Cause::Unexpected(reply))).into()),
            };
            said += 1;
            reply = self.command(phase, line).await.map_err(SetupError::from)?;
        }
        match classify(phase, &reply) {
            Class::Accepted => {
                let capabilities = std::mem::take(&mut self.state.capabilities);
                Ok(self.into(Authed { capabilities, reply }))
            }
            // 5yz: these credentials. 4yz: not now, whatever the credentials.
            Class::Relay if reply.class() == 5 => Err(AuthError::Rejected { session: Box::new(self), reply }),
            Class::Protocol => Err(SetupError::from(Fault::new(phase, Cause::Unexpected(reply))).into()),
            _ => Err(SetupError::Refused { phase, reply }.into()),
        }
    }
}

impl Session<Authed> {
    /// What the server said to the login.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        &self.state.reply
    }

    /// Ready for mails.
    #[must_use]
    pub fn ready(mut self) -> Session<Idle> {
        let capabilities = std::mem::take(&mut self.state.capabilities);
        self.into(Idle { capabilities, served: 0 })
    }
}

impl Session<Idle> {
    /// What the server can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.state.capabilities
    }

    /// Dialogues completed so far. A session that has served may have been closed by the server since.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.state.served
    }

    /// Whether the server has kept quiet since its last reply; if not, it has closed the connection or is out of step,
    /// and the session must be dropped.
    #[must_use]
    pub fn is_quiet(&mut self) -> bool {
        self.channel.is_quiet()
    }

    /// QUIT, for at most [`QUIT_LIMIT`]; the answer does not matter.
    pub async fn quit(mut self) {
        let farewell = tokio::time::timeout(QUIT_LIMIT, async {
            if self.channel.write(Phase::Quit, b"QUIT\r\n").await.is_ok() {
                let _ = self.channel.reply(Phase::Quit).await;
            }
            self.channel.shutdown().await;
        });
        let _ = farewell.await;
    }
}
