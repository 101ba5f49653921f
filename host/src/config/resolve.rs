//! From what is written to what it means: defaults, paths, contradictions between keys, files that must be there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::decode::{Field, Findings, Span};
use super::load::Proof;
use super::raw::{self, SecretKeys};
use super::secret::Secret;
use super::values::{FilePath, OneOf};
use super::{
    Config, Credentials, HttpConfig, Mechanism, OnAmbiguous, OutboxConfig, RetryPolicy, SmtpConfig, SpoolConfig,
    Timeouts, TlsMode, Transport, defaults, resolve_rule,
};
use crate::event::line::LineLimits;
use crate::rule::address::Mailbox;

/// What is known after resolving.
pub(super) struct Resolved {
    /// All of it, if nothing is missing; the caller asks the findings whether it is right.
    pub(super) config: Option<Config>,
    /// `[templates] path`, if it is there.
    pub(super) templates: Option<PathBuf>,
    /// Template sets that rules name, each once.
    pub(super) sets: Vec<(String, Option<Span>)>,
}

struct Resolver<'f> {
    base: &'f Path,
    proof: Proof,
    findings: &'f mut Findings,
}

/// Resolves a file. `base` is absolute.
pub(super) fn resolve(file: raw::File, text: &str, base: &Path, proof: Proof, findings: &mut Findings) -> Resolved {
    let mut resolver = Resolver { base, proof, findings };
    let (from, from_known) = match file.smtp.get().map(|smtp| &smtp.from) {
        // A sender that is wrong has been reported; rules that would have used it are not.
        Some(Field::Wrong(_)) => (None, false),
        Some(field) => (field.get().and_then(|sender| sender.0.clone()), true),
        None => (None, file.smtp.is_absent()),
    };
    let smtp = file.smtp.into_value().map(|smtp| resolver.smtp(smtp, from.as_ref()));
    let outbox = resolver.outbox(file.outbox.into_value());
    let intake = file.intake.into_value();
    let (spool, http) = intake.map_or((Field::Absent, Field::Absent), |intake| (intake.spool, intake.http));
    let no_intake = spool.is_absent() && http.is_absent();
    let (spool, limits) = resolver.spool(spool.into_value());
    let http = http.into_value().and_then(|http| resolver.http(http));
    let base_url = file.links.into_value().and_then(|links| resolver.base_url(links.base_url));
    let templates = file.templates.into_value().and_then(|templates| resolver.templates(templates.path));
    let web = file.web.into_value().and_then(|web| web.listen.into_value());

    let findings = resolver.findings;
    if no_intake && !findings.is_torn() {
        let hint = "without [intake.spool] or [intake.http], events come from standard input alone";
        findings.warning(None, "no intake is configured", hint);
    }
    let rules_missing = file.rules.is_absent();
    let rules = file.rules.or(super::values::List::default());
    if rules.is_empty() && rules_missing && !findings.is_torn() {
        findings.warning(None, "there is no rule", "without a [[rule]], nobody is told of anything");
    }
    let mut sets: Vec<(String, Option<Span>)> = Vec::new();
    let mut names: HashMap<String, Span> = HashMap::new();
    let mut resolved = Vec::new();
    for (rule, _) in rules.items {
        if let Field::Given(name, span) = &rule.name {
            if let Some(first) = names.get(&name.0) {
                let line = text.get(..first.start).unwrap_or_default().matches('\n').count() + 1;
                let message = format!("there are two rules named `{}`", name.0);
                findings.error(Some(span.clone()), message, format!("the first one is in line {line}"));
            } else {
                names.insert(name.0.clone(), span.clone());
            }
        }
        let (set, span) = match &rule.template {
            Field::Given(set, span) => (set.0.clone(), Some(span.clone())),
            Field::Absent => (defaults::TEMPLATE.to_owned(), rule.span.clone()),
            Field::Wrong(_) => (String::new(), None),
        };
        if resolve_rule::is_set_name(&set) && !sets.iter().any(|(known, _)| *known == set) {
            sets.push((set, span));
        }
        resolved.extend(resolve_rule::resolve(rule, from.as_ref(), from_known, findings));
    }
    let config = smtp.and_then(|(transport, retry)| {
        Some(Config {
            transport: transport?,
            from,
            retry,
            outbox: outbox?,
            spool,
            http,
            limits,
            base_url,
            templates: templates.clone(),
            web,
            rules: resolved,
        })
    });
    Resolved { config, templates, sets }
}

impl Resolver<'_> {
    fn path(&self, path: &FilePath) -> PathBuf {
        self.base.join(&path.0)
    }

    fn smtp(&mut self, smtp: raw::Smtp, from: Option<&Mailbox>) -> (Option<Transport>, RetryPolicy) {
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
            None => defaults::RETRY.map(std::time::Duration::from_secs).to_vec(),
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
            timeouts,
            on_ambiguous: smtp.on_ambiguous.get().map_or(OnAmbiguous::default(), |choice| choice.0),
            helo: helo(from),
        })
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

    /// Where a secret is, if exactly one key says so; proved to be readable.
    fn secret(&mut self, keys: &SecretKeys, name: &str) -> Option<Secret> {
        let mut spans: Vec<_> = keys.spans().into_iter().flatten().collect();
        spans.sort_by_key(|span| span.start);
        if let [_, second, ..] = spans.as_slice() {
            let hint = "keep one of them";
            self.findings.error(Some(second.clone()), format!("the {name} is given more than once"), hint);
            return None;
        }
        let span = spans.into_iter().next()?;
        let secret = if let Some(path) = keys.file.get() {
            Secret::File(self.path(path))
        } else if let Some(variable) = keys.env.get() {
            if variable.0.contains(['=', ' ']) {
                let message = format!("`{}` is not the name of an environment variable", variable.0);
                self.findings.error(Some(span), message, "the variable's name, not its value");
                return None;
            }
            Secret::Env(variable.0.clone())
        } else if let Some(credential) = keys.credential.get() {
            Secret::File(self.credential(&credential.0, &span)?)
        } else {
            Secret::Command(keys.command.get()?.0.clone())
        };
        let proved = match &secret {
            Secret::Command(_) => self.proof >= Proof::Everything,
            Secret::File(_) | Secret::Env(_) => self.proof >= Proof::Files,
        };
        if proved && let Err(trouble) = secret.prove() {
            self.findings.error(Some(span), trouble.message, trouble.hint);
        }
        Some(secret)
    }

    /// The file of a systemd credential.
    fn credential(&mut self, name: &str, span: &Span) -> Option<PathBuf> {
        if name.contains('/') || name == "." || name == ".." {
            let message = format!("`{name}` is not the name of a credential");
            self.findings.error(Some(span.clone()), message, "NAME of LoadCredential=NAME:PATH in the unit");
            return None;
        }
        match std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) {
            Some(folder) => Some(Path::new(&folder).join(name)),
            None if self.proof < Proof::Files => Some(PathBuf::from(name)),
            None => {
                let hint = format!("systemd sets CREDENTIALS_DIRECTORY for a unit with LoadCredential={name}:PATH");
                self.findings.error(Some(span.clone()), format!("there is no systemd credential `{name}` here"), hint);
                None
            }
        }
    }

    fn outbox(&mut self, outbox: Option<raw::Outbox>) -> Option<OutboxConfig> {
        let Some(outbox) = outbox else {
            return Some(OutboxConfig {
                path: self.base.join(defaults::OUTBOX),
                retention: defaults::RETENTION,
                min_free: defaults::MIN_FREE,
            });
        };
        let path = match &outbox.url {
            Field::Absent => Some(PathBuf::from(defaults::OUTBOX)),
            Field::Wrong(_) => None,
            Field::Given(url, span) => self.outbox_path(&url.0, span),
        };
        Some(OutboxConfig {
            path: self.base.join(path?),
            retention: outbox.retention.get().map_or(defaults::RETENTION, |wait| wait.0),
            min_free: outbox.min_free.get().map_or(defaults::MIN_FREE, |size| size.0),
        })
    }

    fn outbox_path(&mut self, url: &str, span: &Span) -> Option<PathBuf> {
        let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let (message, hint) = match url.strip_prefix("sqlite:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                let name = Path::new(path).file_name();
                if !path.is_empty()
                    && !path.starts_with(':')
                    && !path.contains('?')
                    && !path.ends_with('/')
                    && name.is_some()
                {
                    return Some(PathBuf::from(path));
                }
                ("`url` names no database file".to_owned(), "for example \"sqlite:bewit.db\"".to_owned())
            }
            None if scheme == "postgres" || scheme == "postgresql" => {
                let message = "an outbox on PostgreSQL is not supported by this version of Bewit".to_owned();
                (message, "write url = \"sqlite:bewit.db\"".to_owned())
            }
            None if !url.contains(':') => ("`url` has no scheme".to_owned(), format!("write url = \"sqlite:{url}\"")),
            None => (format!("there is no outbox on `{scheme}`"), "write url = \"sqlite:bewit.db\"".to_owned()),
        };
        self.findings.error(Some(span.clone()), message, hint);
        None
    }

    fn spool(&mut self, spool: Option<raw::Spool>) -> (Option<SpoolConfig>, LineLimits) {
        let defaults = LineLimits::default();
        let Some(spool) = spool else { return (None, defaults) };
        let limits = spool.limits.get().map_or(defaults, |limits| LineLimits {
            line: limits.line.get().map_or(defaults.line, |size| size.0),
            depth: limits.depth.get().and_then(|depth| u32::try_from(depth.0).ok()).unwrap_or(defaults.depth),
            nodes: limits.nodes.get().and_then(|nodes| u64::try_from(nodes.0).ok()).unwrap_or(defaults.nodes),
        });
        let config = spool.path.get().map(|path| SpoolConfig {
            path: self.path(path),
            keep: spool.keep.get().copied().unwrap_or(false),
            poll: spool.poll.get().map_or(defaults::POLL, |wait| wait.0),
        });
        (config, limits)
    }

    fn http(&mut self, http: raw::Http) -> Option<HttpConfig> {
        let token = self.secret(&http.token, "token");
        if http.token.first().is_none() {
            let hint =
                "write token_file, token_env, token_credential or token_command: whoever pushes events must show it";
            self.findings.missing(http.span, "[intake.http] has no token", hint);
        }
        if let Field::Given(listen, span) = &http.listen
            && !listen.ip().is_loopback()
        {
            let hint = "listen on 127.0.0.1 behind a proxy that speaks TLS";
            self.findings.warning(Some(span.clone()), "events and their token travel in clear", hint);
        }
        Some(HttpConfig {
            listen: *http.listen.get()?,
            token: token?,
            max_body: http.max_body.get().map_or(defaults::MAX_BODY, |size| size.0),
        })
    }

    /// `scheme://host[:port]/[path/]`, with the last slash.
    fn base_url(&mut self, url: Field<super::values::Word>) -> Option<String> {
        let Field::Given(url, span) = url else { return None };
        let url = url.0;
        let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
        let host = rest.split('/').next().unwrap_or_default();
        let strange = |character: char| !character.is_ascii_graphic() || "\"'<>\\^`{}|".contains(character);
        let problem = if scheme.is_empty() {
            Some(("has no scheme", format!("write \"https://{rest}\"")))
        } else if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
            Some(("is not a web address", "it begins with https://".to_owned()))
        } else if host.is_empty() || host.starts_with(':') {
            Some(("names no host", "for example \"https://velociraptor.example.org/\"".to_owned()))
        } else if host.contains('@') {
            Some(("holds a user name", "links must not carry credentials".to_owned()))
        } else if url.contains(['?', '#']) {
            Some(("has a query or a fragment", "only the server's root, for example \"https://host/\"".to_owned()))
        } else if rest.ends_with("app/index.html") {
            let root = url.strip_suffix("app/index.html").unwrap_or_default();
            Some(("is the GUI's page, not the server's root", format!("write \"{root}\"")))
        } else if url.chars().any(strange) {
            Some(("holds characters that no web address has", "write them in %XX or xn-- form".to_owned()))
        } else {
            None
        };
        if let Some((problem, hint)) = problem {
            self.findings.error(Some(span), format!("`base_url` {problem}"), hint);
            return None;
        }
        Some(if url.ends_with('/') { url } else { format!("{url}/") })
    }

    fn templates(&mut self, path: Field<FilePath>) -> Option<PathBuf> {
        let span = path.span();
        let path = path.get().map(|path| self.path(path))?;
        let problem = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => return Some(path),
            Ok(_) => "is not a folder".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        let hint = "the folder with your own templates; without [templates], the stock ones serve";
        self.findings.error(span, format!("{} {problem}", path.display()), hint);
        None
    }
}

impl SecretKeys {
    fn spans(&self) -> [Option<Span>; 4] {
        [self.file.span(), self.env.span(), self.credential.span(), self.command.span()]
    }

    /// The first place where a secret is named, good or not.
    fn first(&self) -> Option<Span> {
        self.spans().into_iter().flatten().min_by_key(|span| span.start)
    }
}

/// What EHLO says (RFC 5321 section 4.1.1.1): the sender's domain, else the host's name, if they can stand there.
fn helo(from: Option<&Mailbox>) -> String {
    let fits = |name: &&str| {
        !name.is_empty()
            && name.len() <= 255
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'[' | b']' | b':'))
    };
    let domain = from.and_then(|mailbox| mailbox.address.rsplit_once('@')).map(|(_, domain)| domain);
    let system = rustix::system::uname();
    let host = system.nodename().to_str().ok();
    domain.filter(fits).or(host.filter(fits)).unwrap_or("localhost").to_owned()
}
