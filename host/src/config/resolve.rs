//! From what is written to what it means: defaults, paths, contradictions between keys, files that must be there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::decode::{Field, Findings, Span};
use super::load::{PlacedPlugin, Proof};
use super::raw::{self, SecretKeys};
use super::resolve_locale::{self, Languages};
use super::secret::Secret;
use super::values::{FilePath, List};
use super::{Config, HttpConfig, OutboxConfig, SpoolConfig, Transport, WebConfig, defaults, resolve_rule};
use crate::event::line::LineLimits;
use crate::rule::Priority;

/// What is known after resolving.
pub(super) struct Resolved {
    /// All of it, if nothing is missing; the caller asks the findings whether it is right.
    pub(super) config: Option<Config>,
    /// `[templates] path`, if it is there.
    pub(super) templates: Option<PathBuf>,
    /// Template sets that rules name, each once.
    pub(super) sets: Vec<(String, Option<Span>)>,
    /// Plugins in which nothing is wrong.
    pub(super) plugins: Vec<PlacedPlugin>,
}

/// What resolving every section needs.
pub(super) struct Resolver<'f> {
    /// Where relative paths start; absolute.
    pub(super) base: &'f Path,
    /// How much is looked at.
    pub(super) proof: Proof,
    /// What is wrong.
    pub(super) findings: &'f mut Findings,
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
    // One that is wrong has been reported, and would be an intake if it were right.
    let watched = file
        .velociraptor
        .get()
        .map_or(!file.velociraptor.is_absent(), |section| section.watch.get().copied().unwrap_or(true));
    let velociraptor = file.velociraptor.into_value().and_then(|section| resolver.velociraptor(section));
    let intake = file.intake.into_value();
    let (spool, http) = intake.map_or((Field::Absent, Field::Absent), |intake| (intake.spool, intake.http));
    let no_intake = spool.is_absent() && http.is_absent() && !watched;
    let (spool, limits) = resolver.spool(spool.into_value());
    let http = http.into_value().and_then(|http| resolver.http(http));
    let base_url = file.links.into_value().and_then(|links| resolver.base_url(links.base_url));
    let templates = file.templates.into_value().and_then(|templates| resolver.templates(templates.path));
    let languages = Languages::of(templates.as_deref());
    let locale = resolve_locale::resolve(file.locale.into_value(), &languages, resolver.findings);
    let web = file.web.into_value().and_then(|web| resolver.web(web));
    let (mut plugins, mut plugin_names) = resolver.plugins(file.plugins);

    let findings = resolver.findings;
    if no_intake {
        let hint = "without [velociraptor], [intake.spool] or [intake.http], events come from standard input alone (`bewit run -`)";
        findings.remark(None, "no intake is configured", hint);
    }
    let rules = file.rules.or(super::values::List::default());
    if rules.is_empty() {
        findings.remark(None, "there is no rule", "without a [[rule]], nobody is told of anything");
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
            Field::Absent => (crate::rule::defaults::TEMPLATE.to_owned(), rule.span.clone()),
            Field::Wrong(_) => (String::new(), None),
        };
        if resolve_rule::is_set_name(&set) && !sets.iter().any(|(known, _)| *known == set) {
            sets.push((set, span));
        }
        resolved.extend(resolve_rule::resolve(
            rule,
            from.as_ref(),
            from_known,
            &mut plugin_names,
            &languages,
            findings,
        ));
    }
    plugin_names.place(&mut plugins, findings);
    let config = smtp.and_then(|(mut transport, retry)| {
        if let Some(Transport::Smtp(smtp)) = &mut transport {
            smtp.reserve = resolved.iter().any(|rule| rule.priority == Priority::Critical);
        }
        Some(Config {
            transport: transport?,
            from,
            retry,
            outbox: outbox?,
            spool,
            http,
            velociraptor,
            limits,
            base_url,
            templates: templates.clone(),
            locale,
            web,
            plugins: plugins.iter().map(|plugin| plugin.spec.clone()).collect(),
            rules: resolved,
        })
    });
    Resolved { config, templates, sets, plugins }
}

impl Resolver<'_> {
    /// From where a path is written to where it leads.
    pub(super) fn path(&self, path: &FilePath) -> PathBuf {
        self.base.join(&path.0)
    }

    /// Where a secret is, if exactly one key says so; proved to be readable.
    pub(super) fn secret(&mut self, keys: &SecretKeys, name: &str) -> Option<Secret> {
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

    fn web(&mut self, web: raw::Web) -> Option<WebConfig> {
        let token = self.secret(&web.token, "token");
        let open = web.hosts.span().filter(|_| web.hosts.get().is_some_and(|hosts| !hosts.items.is_empty()));
        let elsewhere = match &web.listen {
            Field::Given(listen, span) if !listen.ip().is_loopback() => Some(span.clone()),
            _ => open,
        };
        if let Some(span) = elsewhere {
            if web.token.first().is_none() {
                let hint = "write token_file, token_env, token_credential or token_command; without a token, only \
                            browsers on this machine may look: listen on 127.0.0.1";
                self.findings.missing(
                    web.span.or(Some(span)),
                    "[web] can be reached from elsewhere and has no token",
                    hint,
                );
            } else if web.listen.get().is_some_and(|listen| !listen.ip().is_loopback()) {
                let hint = "listen on 127.0.0.1 behind a proxy that speaks TLS, and name it in `hosts`";
                self.findings.warning(Some(span), "pages and the token travel in clear", hint);
            }
        }
        let mut hosts = Vec::new();
        for (name, span) in web.hosts.or(List::default()).items {
            let name = name.0.to_ascii_lowercase();
            let letter = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
            if name.is_empty() || name.len() > 253 || !name.chars().all(letter) {
                let hint = "a host name without scheme and port, for example \"bewit.example.org\"";
                self.findings.error(Some(span), format!("`{name}` is not the name of a host"), hint);
                continue;
            }
            hosts.push(name);
        }
        Some(WebConfig { listen: *web.listen.get()?, token, hosts })
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
    pub(super) fn first(&self) -> Option<Span> {
        self.spans().into_iter().flatten().min_by_key(|span| span.start)
    }
}
