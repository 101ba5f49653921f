//! From nothing to a session that is ready for mails: TCP, TLS, greeting, EHLO, AUTH, as the configuration says.

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::classify::{Class, Phase, classify};
use super::relay::Trouble;
use super::reply::Reply;
use super::sasl::{self, Keeper};
use super::session::{
    AuthError, Capabilities, Cause, Clear, Ehlo, Fault, Fresh, Greeted, Idle, Login, Secure, Session, SetupError,
    Stream, within,
};
use super::tls::{Tls, TlsError, TlsInfo};
use crate::config::secret::SecretError;
use crate::config::{Credentials, SmtpConfig, TlsMode};

/// How a connection is made; tests make pipes.
pub trait Dial: Send + Sync + 'static {
    /// Connects within the `connect` deadline. The second part of the answer names the other side.
    fn dial(&self, config: &SmtpConfig) -> impl Future<Output = Result<(Box<dyn Stream>, String), Fault>> + Send;
}

/// TCP without Nagle's delay: a reply is waited for after each write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Dial for Tcp {
    async fn dial(&self, config: &SmtpConfig) -> Result<(Box<dyn Stream>, String), Fault> {
        let phase = Phase::Connect;
        let end = Instant::now() + config.timeouts.connect;
        let host = config.server.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&config.server);
        let found = within(phase, config.timeouts.connect, tokio::net::lookup_host((host, config.port))).await?;
        let addresses: Vec<_> = found.collect();
        let mut last = Fault::new(phase, Cause::Io(std::io::Error::other(format!("{host} has no address"))));
        for (tried, address) in addresses.iter().enumerate() {
            // Each address gets its share of what is left, so that one black hole does not hide the next.
            let share =
                end.saturating_duration_since(Instant::now()) / u32::try_from(addresses.len() - tried).unwrap_or(1);
            match within(phase, share, TcpStream::connect(address)).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|error| Fault::io(phase, error))?;
                    return Ok((Box::new(stream), address.to_string()));
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }
}

/// What happened on the way; for `send-test` and debug logs. Holds no secret.
#[derive(Debug)]
pub enum Step<'a> {
    /// Connected to this address.
    Connected(&'a str),
    /// The server's first words.
    Greeting(&'a Reply),
    /// TLS is on.
    Secured(&'a TlsInfo),
    /// What the server offers; told again after STARTTLS.
    Offers(&'a Capabilities),
    /// Logged in, with this mechanism.
    LoggedIn(&'static str, &'a Reply),
    /// An answer to MAIL, RCPT or DATA; told by [`send_now`](super::send_now) alone.
    Answered(Phase, &'a Reply),
}

/// Takes note of the steps.
pub type Watch<'a> = &'a mut (dyn FnMut(Step<'_>) + Send);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The dialogue did not get that far.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// TLS cannot be set up on our side.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The secret cannot be read.
    #[error("AUTH: {0}")]
    Secret(#[from] SecretError),
    /// A login without TLS would show the password to everybody on the way.
    #[error("AUTH: credentials are never sent without TLS; set `tls` to \"starttls\" or \"implicit\"")]
    InClear,
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        Self::Setup(fault.into())
    }
}

impl OpenError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Setup(SetupError::Fault(fault)) => !matches!(fault.cause, Cause::Tls(_) | Cause::OutOfTurn),
            Self::Setup(SetupError::Refused { reply, .. }) => reply.class() == 4,
            _ => false,
        }
    }

    /// Whether waiting may help, or somebody must do something. A login that does not succeed, for whatever reason, is
    /// the login's.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            _ if self.phase() == Phase::Auth => Trouble::Refuses,
            Self::Setup(SetupError::Fault(fault)) => match fault.cause {
                Cause::Tls(_) | Cause::OutOfTurn => Trouble::Refuses,
                _ => Trouble::Unreachable,
            },
            Self::Setup(SetupError::Refused { phase, reply }) => match classify(*phase, reply) {
                Class::Relay => Trouble::Refuses,
                _ => Trouble::Unreachable,
            },
            Self::Setup(SetupError::NotOffered { .. }) | Self::Tls(_) | Self::Secret(_) | Self::InClear => {
                Trouble::Refuses
            }
        }
    }

    /// Where it ended.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Setup(SetupError::Fault(fault)) => fault.phase,
            Self::Setup(SetupError::Refused { phase, .. } | SetupError::NotOffered { phase, .. }) => *phase,
            Self::Tls(_) => Phase::Handshake,
            Self::Secret(_) | Self::InClear => Phase::Auth,
        }
    }
}

/// Opens sessions with one server.
#[derive(Debug)]
pub struct Opener<D> {
    config: Arc<SmtpConfig>,
    dial: D,
    tls: OnceCell<Tls>,
    keeper: Option<Keeper>,
}

impl<D: Dial> Opener<D> {
    /// For this server.
    pub fn new(config: Arc<SmtpConfig>, dial: D) -> Self {
        let keeper = config.credentials.as_ref().map(|credentials| Keeper::new(credentials.secret.clone()));
        Self { config, dial, tls: OnceCell::new(), keeper }
    }

    /// The server.
    pub fn config(&self) -> &SmtpConfig {
        &self.config
    }

    /// Opens one session. The secret is read anew; if it is refused, it is read once more and tried once more.
    ///
    /// # Errors
    /// When it did not get as far as being ready for a mail.
    pub async fn open(&self, watch: Watch<'_>) -> Result<Session<Idle>, OpenError> {
        let login = self.config.credentials.as_ref().zip(self.keeper.as_ref());
        match self.config.tls {
            TlsMode::None if login.is_some() => Err(OpenError::InClear),
            TlsMode::None => {
                let session = greet(self.fresh(watch).await?, watch).await?.ehlo_or_helo(&self.config.helo).await?;
                watch(Step::Offers(session.capabilities()));
                Ok(session.ready())
            }
            TlsMode::Implicit | TlsMode::StartTls => {
                let tls = self.tls().await?;
                let session = self.secure(self.fresh(watch).await?, &tls, watch).await?;
                let Some((credentials, keeper)) = login else { return Ok(session.ready()) };
                let kept = keeper.fresh().await?;
                let rejected = match self.log_in(session, credentials, &kept.value, watch).await {
                    Err(AuthError::Rejected { session, reply }) => (session, reply),
                    other => return other.map_err(flatten),
                };
                // Perhaps the secret has changed since: a token expires, a password is rotated. A password that is the
                // same would be refused again, and count against the account.
                let newer = keeper.newer_than(kept.generation).await?;
                let (session, reply) = rejected;
                if newer.value == kept.value && !sasl::is_token(credentials.mechanism) {
                    return Err(SetupError::Refused { phase: Phase::Auth, reply }.into());
                }
                match self.log_in(*session, credentials, &newer.value, watch).await {
                    // Some servers close after a refused login.
                    Err(AuthError::Setup(SetupError::Fault(Fault {
                        cause: Cause::Closed | Cause::Closing(_),
                        ..
                    }))) => {
                        let session = self.secure(self.fresh(watch).await?, &tls, watch).await?;
                        self.log_in(session, credentials, &newer.value, watch).await.map_err(flatten)
                    }
                    other => other.map_err(flatten),
                }
            }
        }
    }

    async fn fresh(&self, watch: Watch<'_>) -> Result<Session<Fresh<Clear>>, Fault> {
        let (stream, peer) = self.dial.dial(&self.config).await?;
        watch(Step::Connected(&peer));
        Ok(Session::new(stream, self.config.timeouts))
    }

    /// Greeting and EHLO.
    async fn hello<P>(&self, session: Session<Fresh<P>>, watch: Watch<'_>) -> Result<Session<Ehlo<P>>, SetupError> {
        let session = greet(session, watch).await?.ehlo(&self.config.helo).await?;
        watch(Step::Offers(session.capabilities()));
        Ok(session)
    }

    /// As far as an EHLO under TLS.
    async fn secure(
        &self,
        session: Session<Fresh<Clear>>,
        tls: &Tls,
        watch: Watch<'_>,
    ) -> Result<Session<Ehlo<Secure>>, SetupError> {
        if self.config.tls == TlsMode::Implicit {
            let session = session.secure(tls).await?;
            session.tls().into_iter().for_each(|info| watch(Step::Secured(info)));
            return self.hello(session, watch).await;
        }
        let session = self.hello(session, watch).await?.starttls(tls).await?;
        session.tls().into_iter().for_each(|info| watch(Step::Secured(info)));
        let session = session.ehlo(&self.config.helo).await?;
        watch(Step::Offers(session.capabilities()));
        Ok(session)
    }

    async fn log_in(
        &self,
        session: Session<Ehlo<Secure>>,
        credentials: &Credentials,
        secret: &crate::config::secret::SecretValue,
        watch: Watch<'_>,
    ) -> Result<Session<Idle>, AuthError> {
        let login = Login::new(credentials, secret, &self.config.server, self.config.port);
        let session = session.authenticate(&login).await?;
        watch(Step::LoggedIn(sasl::name(credentials.mechanism), session.reply()));
        Ok(session.ready())
    }

    /// Read once, when it is first needed; a failure is tried again at the next connection.
    async fn tls(&self) -> Result<Tls, TlsError> {
        let make = || async {
            let config = Arc::clone(&self.config);
            match tokio::task::spawn_blocking(move || Tls::new(&config)).await {
                Ok(made) => made,
                Err(error) => Err(TlsError::NoRoots(error.to_string())),
            }
        };
        self.tls.get_or_try_init(make).await.cloned()
    }
}

async fn greet<P>(session: Session<Fresh<P>>, watch: Watch<'_>) -> Result<Session<Greeted<P>>, SetupError> {
    let session = session.greeting().await?;
    session.greeting().into_iter().for_each(|greeting| watch(Step::Greeting(greeting)));
    Ok(session)
}

fn flatten(error: AuthError) -> OpenError {
    match error {
        AuthError::Rejected { reply, .. } => SetupError::Refused { phase: Phase::Auth, reply }.into(),
        AuthError::Setup(setup) => setup.into(),
    }
}
