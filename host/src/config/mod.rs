//! The configuration file: TOML, read once, every error reported in one run.
//!
//! `raw` is the file as written, with the place of each value; [`Config`] is what it means, typed and checked.

mod decode;
pub mod defaults;
pub mod diagnostic;
pub mod load;
mod rate;
mod raw;
mod raw_limits;
mod raw_plugin;
mod raw_rule;
mod raw_velociraptor;
mod resolve;
mod resolve_locale;
mod resolve_plugin;
mod resolve_rule;
mod resolve_smtp;
mod resolve_velociraptor;
pub mod schema;
pub mod secret;
mod syntax;
#[cfg(test)]
mod tests;
pub(crate) mod units;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::rate::{Limits, Rate};
use self::secret::Secret;
use crate::event::line::LineLimits;
use crate::locale::LocaleConfig;
use crate::plugin::spec::PluginSpec;
use crate::rule::Rule;
use crate::rule::address::Mailbox;

/// A configuration, resolved: no relative paths, no unset defaults, no unchecked text.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where mail goes.
    pub transport: Transport,
    /// Default sender.
    pub from: Option<Mailbox>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// The store.
    pub outbox: OutboxConfig,
    /// `[intake.spool]`
    pub spool: Option<SpoolConfig>,
    /// `[intake.http]`
    pub http: Option<HttpConfig>,
    /// `[velociraptor]`
    pub velociraptor: Option<VelociraptorConfig>,
    /// Limits on one line, for every intake.
    pub limits: LineLimits,
    /// `[links] base_url`; ends in `/`. `None`: no links.
    pub base_url: Option<String>,
    /// Folder of the site's own templates.
    pub templates: Option<PathBuf>,
    /// `[locale]`
    pub locale: LocaleConfig,
    /// `[web]`
    pub web: Option<WebConfig>,
    /// `[plugins.NAME]`, in file order, names unique. Every plugin that a rule names is there.
    pub plugins: Vec<PluginSpec>,
    /// In file order, names unique.
    pub rules: Vec<Rule>,
}

/// Where finished mails go.
#[derive(Debug, Clone)]
pub enum Transport {
    /// A mail server.
    Smtp(Box<SmtpConfig>),
    /// A folder, one `.eml` file a mail.
    Mailbox(PathBuf),
}

/// `[smtp]` with a server.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// Host name or address.
    pub server: String,
    /// Port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// Accept any certificate.
    pub skip_verify: bool,
    /// PEM file with the roots to trust instead of the system's.
    pub root_ca: Option<PathBuf>,
    /// Who logs in, and how; `None`: nobody.
    pub credentials: Option<Credentials>,
    /// Sessions at a time, at least 1.
    pub connections: usize,
    /// Mails that the server is given in a time; `None`: as many as there are.
    pub rate: Option<Rate>,
    /// What single recipients and domains get.
    pub limits: Limits,
    /// Some rule's mails are critical: a session is kept free for them, if there is more than one.
    pub reserve: bool,
    /// One for each phase.
    pub timeouts: Timeouts,
    /// What to do when the reply to the final dot never came.
    pub on_ambiguous: OnAmbiguous,
    /// Name given in EHLO: the domain of `from` or the host's name.
    pub helo: String,
}

/// `tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Required: STARTTLS or nothing.
    StartTls,
    /// From the first byte (RFC 8314), usually port 465.
    Implicit,
    /// In clear; never with credentials.
    None,
}

/// A user name and what proves it.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Mechanism; fixed, never weakened.
    pub mechanism: Mechanism,
    /// Password or token, read again for each connection.
    pub secret: Secret,
}

/// SASL mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616
    Plain,
    /// The old two-step one.
    Login,
    /// Google's and Microsoft's.
    XOAuth2,
    /// RFC 7628
    OAuthBearer,
}

/// Deadlines, RFC 5321 section 4.5.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and the TLS handshake.
    pub connect: Duration,
    /// The 220.
    pub greeting: Duration,
    /// Each command's reply.
    pub command: Duration,
    /// Each block of the mail's bytes.
    pub data: Duration,
    /// The reply to the final dot.
    pub final_: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            greeting: Duration::from_secs(300),
            command: Duration::from_secs(300),
            data: Duration::from_secs(180),
            final_: Duration::from_secs(600),
        }
    }
}

/// `on_ambiguous`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnAmbiguous {
    /// Send it again, byte for byte: a duplicate is possible and recognisable.
    #[default]
    Resend,
    /// Hold it for a person.
    Hold,
}

/// `retry` and `give_up`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Waits after the first, second, … failed attempt; the last one repeats. Not empty. 20 % jitter is applied to each.
    pub waits: Vec<Duration>,
    /// Age at which a mail is given up.
    pub give_up: Duration,
}

impl RetryPolicy {
    /// The wait after an attempt that failed, of which so many were before; the last one of the list repeats.
    #[must_use]
    pub fn wait(&self, failed_before: usize) -> Duration {
        // An empty list is refused when the configuration is read; half an hour is what RFC 5321 names.
        self.waits.get(failed_before).or(self.waits.last()).copied().unwrap_or(Duration::from_secs(1800))
    }
}

/// `[outbox]`
#[derive(Debug, Clone)]
pub struct OutboxConfig {
    /// SQLite file; `blobs` lies beside it, named after it.
    pub path: PathBuf,
    /// How long finished mails and decisions are kept.
    pub retention: Duration,
    /// Free bytes below which nothing new is taken in.
    pub min_free: u64,
}

/// `[intake.spool]`
#[derive(Debug, Clone)]
pub struct SpoolConfig {
    /// Folder.
    pub path: PathBuf,
    /// Move what is done to `done/` instead of removing it.
    pub keep: bool,
    /// The slow look beside the watcher.
    pub poll: Duration,
}

/// `[intake.http]`
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address.
    pub listen: SocketAddr,
    /// Bearer token, read again when its file changes.
    pub token: Secret,
    /// Bytes of one request.
    pub max_body: u64,
}

/// `[web]`
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Address. Unless it is a loopback address, there is a token.
    pub listen: SocketAddr,
    /// Shown by whoever reads from elsewhere or acts; read again for each request. `None`: nobody acts.
    pub token: Option<Secret>,
    /// Names under which it can be reached beside its address, as lower-case host names without a port. With one of them
    /// there is a token.
    pub hosts: Vec<String>,
}

/// `[velociraptor]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VelociraptorConfig {
    /// The API client file; read again for each connection.
    pub api_config: PathBuf,
    /// Which orgs are watched.
    pub orgs: Orgs,
    /// Whether completions are watched; if not, the server is only asked for facts.
    pub watch: bool,
    /// The event artifact that gets a row for each notification; `None`: nothing is written to the server.
    pub publish: Option<String>,
}

/// `org`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Orgs {
    /// These, by id; not empty, distinct. The root org is `root`.
    These(Vec<String>),
    /// `"*"`: every org that the user may see, also those that are made later.
    All,
}
