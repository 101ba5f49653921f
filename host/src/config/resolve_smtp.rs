//! `[smtp]`: where mail goes, who logs in, and what contradicts what.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::decode::{Field, Span};
use super::load::Proof;
use super::raw;
use super::raw_limits::SmtpLimits;
use super::resolve::Resolver;
use super::values::OneOf;
use super::{
    Credentials, Limits, Mechanism, OnAmbiguous, RetryPolicy, SmtpConfig, Timeouts, TlsMode, Transport, defaults,
};
use crate::rule::address::{Address, Mailbox};

impl Resolver<'_> {
    /// `[smtp]`: where mail goes, and when it is tried again.
    pub(super) fn smtp(&mut self, smtp: raw::Smtp, from: Option<&Mailbox>) -> (Option<Transport>, RetryPolicy) {
        let retry = self.retry(smtp.retry.span(), &smtp);
        if let Field::Given(sender, span) = &smtp.from
            && sender.0.is_none()
        {
            self.findings.error(Some(span.clone()), "`from` is empty", "for example \"Bewit <bewit@example.org>\"");
        }
        let transport = match (&smtp.mailbox, &smtp.server) {
            (Field::Absent, Field::Absent) => {
                let hint = "write server = \"…\" for a mail server, or mailbox = \"mail\" for a folder of .eml files";
                self.findings.missing(None, "[smtp] says nowhere where mail goes", hint);
                None
            }
            (mailbox, Field::Absent) => {
                let mailbox = mailbox.get().map(|path| self.path(path));
                self.no_server(&smtp);
                mailbox.map(Transport::Mailbox)
            }
            (Field::Absent, _) => self.server(smtp, from).map(|config| Transport::Smtp(Box::new(config))),
            (_, server) => {
                let message = "`server` and `mailbox` exclude each other";
                self.findings.error(server.span(), message, "mail goes to one of them: take the other out");
                None
            }
        };
        (transport, retry)
    }

    fn retry(&mut self, span: Option<Span>, smtp: &raw::Smtp) -> RetryPolicy {
        let give_up = smtp.give_up.get().map_or(defaults::GIVE_UP, |wait| wait.0);
        let waits: Vec<_> = match smtp.retry.get() {
            Some(list) if list.is_empty() => {
                self.findings.error(span, "`retry` is empty", "it needs one wait at least, for example [\"5 min\"]");
                Vec::new()
            }
            Some(list) => list.items.iter().map(|(wait, _)| wait.0).collect(),
            None => defaults::RETRY.map(Duration::from_secs).to_vec(),
        };
        if waits.first().is_some_and(|first| *first >= give_up) {
            let message = "a mail is given up before it is tried a second time";
            self.findings.warning(smtp.give_up.span().or(smtp.retry.span()), message, "`give_up` is for days");
        }
        RetryPolicy { waits, give_up }
    }

    /// With a mailbox folder, keys of a server do nothing.
    fn no_server(&mut self, smtp: &raw::Smtp) {
        let spans = [
            ("port", smtp.port.span()),
            ("tls", smtp.tls.span()),
            ("skip_verify", smtp.skip_verify.span()),
            ("root_ca", smtp.root_ca.span()),
            ("username", smtp.username.span()),
            ("auth", smtp.auth.span()),
            ("password_…", smtp.password.first()),
            ("token_…", smtp.token.first()),
            ("connections", smtp.connections.span()),
            ("rate", smtp.rate.span()),
            ("limits", smtp.limits.span()),
            ("timeouts", smtp.timeouts.span()),
            ("on_ambiguous", smtp.on_ambiguous.span()),
        ];
        for (key, span) in spans {
            if span.is_some() {
                let message = format!("`{key}` does nothing without `server`");
                self.findings.warning(span, message, "mail goes to the folder `mailbox`");
            }
        }
    }

    fn server(&mut self, smtp: raw::Smtp, from: Option<&Mailbox>) -> Option<SmtpConfig> {
        let server = match &smtp.server {
            Field::Given(server, span) => self.host(&server.0, span),
            _ => None,
        };
        let given = smtp.port.get().map(|port| port.0);
        let tls = match (&smtp.tls, given) {
            (Field::Given(OneOf(tls), _), _) => *tls,
            (_, Some(465)) => TlsMode::Implicit,
            _ => TlsMode::StartTls,
        };
        if let (Field::Given(OneOf(TlsMode::StartTls), span), Some(465)) = (&smtp.tls, given) {
            let hint = "servers expect tls = \"implicit\" on port 465";
            self.findings.warning(Some(span.clone()), "STARTTLS on port 465", hint);
        }
        let port = given.and_then(|port| u16::try_from(port).ok()).unwrap_or(match tls {
            TlsMode::Implicit => 465,
            TlsMode::StartTls => 587,
            TlsMode::None => 25,
        });
        let skip_verify = smtp.skip_verify.get().copied().unwrap_or(false);
        if skip_verify {
            let hint = "whoever sits between can read the password and the mail: write root_ca = \"ca.pem\" instead";
            self.findings.warning(smtp.skip_verify.span(), "certificates are not verified", hint);
        }
        let root_ca = smtp.root_ca.get().map(|path| self.path(path));
        if let Some(path) = &root_ca {
            self.roots(path, smtp.root_ca.span());
            if tls == TlsMode::None || skip_verify {
                self.findings.warning(smtp.root_ca.span(), "`root_ca` does nothing", "no certificate is verified");
            }
        }
        let credentials = self.credentials(&smtp);
        if tls == TlsMode::None
            && let Some(span) = smtp.username.span().or_else(|| smtp.password.first()).or_else(|| smtp.token.first())
        {
            let hint = "write tls = \"starttls\" or \"implicit\", or log in as nobody";
            self.findings.error(Some(span), "credentials would travel in clear: `tls` is \"none\"", hint);
        }
        let defaults = Timeouts::default();
        let timeouts = smtp.timeouts.get().map_or(defaults, |written| Timeouts {
            connect: written.connect.get().map_or(defaults.connect, |wait| wait.0),
            greeting: written.greeting.get().map_or(defaults.greeting, |wait| wait.0),
            command: written.command.get().map_or(defaults.command, |wait| wait.0),
            data: written.data.get().map_or(defaults.data, |wait| wait.0),
            final_: written.final_.get().map_or(defaults.final_, |wait| wait.0),
        });
        let limits = smtp.limits.into_value().map(|limits| self.limits(limits)).unwrap_or_default();
        Some(SmtpConfig {
            server: server?,
            port,
            tls,
            skip_verify,
            root_ca,
            credentials,
            connections: smtp
                .connections
                .get()
                .and_then(|number| usize::try_from(number.0).ok())
                .unwrap_or(defaults::CONNECTIONS),
            rate: smtp.rate.get().copied(),
            limits,
            // The rules are not known yet.
            reserve: false,
            timeouts,
            on_ambiguous: smtp.on_ambiguous.get().map_or(OnAmbiguous::default(), |choice| choice.0),
            helo: helo(from),
        })
    }

    fn limits(&mut self, limits: SmtpLimits) -> Limits {
        let mut domains = BTreeMap::new();
        for entry in limits.domains.into_value().unwrap_or_default().entries {
            let name = entry.name.to_lowercase();
            // An address in it is an address, so it is what a recipient's domain can be.
            if Address::parse(&format!("a@{name}")).is_err() {
                let hint = "the part of an address behind the @, for example \"example.org\"";
                self.findings.error(Some(entry.span), format!("`{}` is not a domain", entry.name), hint);
            } else if let Some(rate) = entry.value.into_value()
                && domains.insert(name, rate).is_some()
            {
                self.findings.error(Some(entry.span), format!("`{}` has two limits", entry.name), "take one out");
            }
        }
        Limits { recipient: limits.recipient.into_value(), domain: limits.domain.into_value(), domains }
    }

    /// A host name or an address; brackets around an address are taken off.
    fn host(&mut self, server: &str, span: &Span) -> Option<String> {
        let bare = server.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(server);
        let name = bare.strip_suffix('.').unwrap_or(bare);
        if bare.parse::<std::net::IpAddr>().is_ok() {
            return Some(bare.to_owned());
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if bare == server && name.len() <= 253 && name.split('.').all(label) {
            return Some(server.to_owned());
        }
        let hint = match server.rsplit_once(':') {
            _ if server.contains("://") => "only the host's name: server = \"relay.example.org\"".to_owned(),
            Some((host, port)) if port.parse::<u16>().is_ok() => {
                format!("the port has a key of its own: server = \"{host}\", port = {port}")
            }
            _ if !server.is_ascii() => "write an international name in its ASCII form (xn--…)".to_owned(),
            _ => "for example \"relay.example.org\"".to_owned(),
        };
        self.findings.error(Some(span.clone()), format!("`{server}` is not a host name"), hint);
        None
    }

    /// Roots must be there and be certificates.
    fn roots(&mut self, path: &Path, span: Option<Span>) {
        if self.proof < Proof::Files {
            return;
        }
        let shown = path.display();
        let problem = match std::fs::read(path) {
            Err(error) => Some(format!("{shown} cannot be read: {error}")),
            Ok(pem) => {
                let mut store = rustls::RootCertStore::empty();
                let mut problem = None;
                for certificate in CertificateDer::pem_slice_iter(&pem) {
                    let added = certificate
                        .map_err(|error| error.to_string())
                        .and_then(|certificate| store.add(certificate).map_err(|error| error.to_string()));
                    if let Err(error) = added {
                        problem = Some(format!("{shown} holds a certificate that cannot be read: {error}"));
                    }
                }
                problem.or_else(|| store.is_empty().then(|| format!("{shown} holds no certificate")))
            }
        };
        if let Some(problem) = problem {
            self.findings.error(span, problem, "a PEM file with the certificates to trust");
        }
    }

    fn credentials(&mut self, smtp: &raw::Smtp) -> Option<Credentials> {
        let mechanism = smtp.auth.get().map_or(Mechanism::Plain, |choice| choice.0);
        let by_token = matches!(mechanism, Mechanism::XOAuth2 | Mechanism::OAuthBearer);
        let password = self.secret(&smtp.password, "password");
        let token = self.secret(&smtp.token, "token");
        let findings = &mut *self.findings;
        if smtp.username.is_absent() {
            let lonely = smtp.password.first().map(|span| ("a password", span));
            let lonely = lonely.or_else(|| smtp.token.first().map(|span| ("a token", span)));
            let lonely = lonely.or_else(|| smtp.auth.span().map(|span| ("`auth`", span)));
            if let Some((what, span)) = lonely {
                findings.missing(
                    Some(span),
                    format!("{what} without a `username`"),
                    "write username = \"…\" beside it",
                );
            }
            return None;
        }
        if smtp.auth.is_absent() && smtp.password.first().is_none() && smtp.token.first().is_some() {
            let hint = "a token needs auth = \"xoauth2\" or \"oauthbearer\"";
            findings.missing(smtp.token.first(), "a token, but `auth` is \"plain\"", hint);
            return None;
        }
        if matches!(smtp.auth, Field::Wrong(_)) {
            return None;
        }
        let (wanted, other, name) = if by_token {
            ((token, smtp.token.first()), smtp.password.first(), "token")
        } else {
            ((password, smtp.password.first()), smtp.token.first(), "password")
        };
        if let Some(span) = other {
            let auth = match mechanism {
                Mechanism::Plain => "plain",
                Mechanism::Login => "login",
                Mechanism::XOAuth2 => "xoauth2",
                Mechanism::OAuthBearer => "oauthbearer",
            };
            let message = format!("auth = \"{auth}\" uses no {}", if by_token { "password" } else { "token" });
            findings.error(
                Some(span),
                message,
                format!("it takes {name}_file, {name}_env, {name}_credential or {name}_command"),
            );
        } else if wanted.1.is_none() {
            let at = if by_token { smtp.auth.span() } else { smtp.username.span() };
            let message = if by_token { "`auth` needs a token" } else { "a `username` without a password" };
            findings.missing(
                at,
                message,
                format!("write {name}_file, {name}_env, {name}_credential or {name}_command"),
            );
        }
        let username = smtp.username.get()?.0.clone();
        Some(Credentials { username, mechanism, secret: wanted.0? })
    }
}

/// What EHLO says (RFC 5321 section 4.1.1.1): the sender's domain, else the host's name, if they can stand there.
fn helo(from: Option<&Mailbox>) -> String {
    let fits = |name: &&str| {
        !name.is_empty()
            && name.len() <= 255
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'[' | b']' | b':'))
    };
    let domain = from.map(Mailbox::domain);
    let system = rustix::system::uname();
    let host = system.nodename().to_str().ok();
    domain.filter(fits).or(host.filter(fits)).unwrap_or("localhost").to_owned()
}
