//! The file as it is written: its sections, their keys, and what each key is for. Rules are in [`super::raw_rule`].

use std::net::SocketAddr;

use super::decode::{Field, Fields, Section, key};
use super::rate::Rate;
use super::raw_limits::SmtpLimits;
use super::raw_plugin::Plugins;
use super::raw_rule::Rule;
use super::raw_velociraptor::Velociraptor;
use super::values::{Argv, Choice, FilePath, Int, List, OneOf, Sender, Size, Wait, Word};
use super::{Mechanism, OnAmbiguous, TlsMode};

/// Levels of nesting that the JSON reader behind the limits can follow.
const DEEPEST: i64 = 127;

/// The whole file.
pub(super) struct File {
    pub(super) smtp: Field<Smtp>,
    pub(super) outbox: Field<Outbox>,
    pub(super) velociraptor: Field<Velociraptor>,
    pub(super) intake: Field<Intake>,
    pub(super) links: Field<Links>,
    pub(super) templates: Field<Templates>,
    pub(super) locale: Field<Locale>,
    pub(super) web: Field<Web>,
    pub(super) plugins: Field<Plugins>,
    pub(super) rules: Field<List<Rule>>,
}

impl Section for File {
    const TITLE: &'static str = "the top level";
    const DOC: &'static str = "Configuration of Bewit.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            smtp: fields.take(key("smtp", Smtp::DOC).required()),
            outbox: fields.take(key("outbox", Outbox::DOC)),
            velociraptor: fields.take(key("velociraptor", Velociraptor::DOC)),
            intake: fields.take(key("intake", Intake::DOC)),
            links: fields.take(key("links", Links::DOC)),
            templates: fields.take(key("templates", Templates::DOC)),
            locale: fields.take(key("locale", Locale::DOC)),
            web: fields.take(key("web", Web::DOC)),
            plugins: fields.take(key("plugins", Plugins::DOC)),
            rules: fields.take(key("rule", Rule::DOC)),
        }
    }
}

/// `[smtp]`
pub(super) struct Smtp {
    pub(super) mailbox: Field<FilePath>,
    pub(super) server: Field<Word>,
    pub(super) port: Field<Int<1, 65_535>>,
    pub(super) tls: Field<OneOf<TlsMode>>,
    pub(super) skip_verify: Field<bool>,
    pub(super) root_ca: Field<FilePath>,
    pub(super) username: Field<Word>,
    pub(super) auth: Field<OneOf<Mechanism>>,
    pub(super) password: SecretKeys,
    pub(super) token: SecretKeys,
    pub(super) from: Field<Sender>,
    pub(super) connections: Field<Int<1, 100>>,
    pub(super) rate: Field<Rate>,
    pub(super) limits: Field<SmtpLimits>,
    pub(super) timeouts: Field<Timeouts>,
    pub(super) retry: Field<List<Wait>>,
    pub(super) give_up: Field<Wait>,
    pub(super) on_ambiguous: Field<OneOf<OnAmbiguous>>,
}

impl Section for Smtp {
    const TITLE: &'static str = "[smtp]";
    const DOC: &'static str = "Where mail goes: a mail server, or a folder (`mailbox`).";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        fields.refuse(
            &["password", "pass", "passwd"],
            "`{}` would keep a secret in this file",
            "put it into a file of its own that others cannot read, and write password_file = \"…\"",
        );
        fields.refuse(
            &["token"],
            "`{}` would keep a secret in this file",
            "put it into a file of its own that others cannot read, and write token_file = \"…\"",
        );
        Self {
            mailbox: fields
                .take(key("mailbox", "A folder that gets each finished mail as an .eml file, instead of a server.")),
            server: fields.take(key("server", "Host name or IP address of the mail server.")),
            port: fields.take(key(
                "port",
                "Port of the mail server. Without it: 587, or 465 with tls = \"implicit\", or 25 with tls = \"none\".",
            )),
            tls: fields.take(key(
                "tls",
                "starttls (required, never skipped), implicit (TLS from the first byte), or none (in clear, never with \
                 credentials). Without it: starttls, or implicit on port 465.",
            )),
            skip_verify: fields
                .take(key("skip_verify", "Accept any certificate. `root_ca` is the better way.").default("false")),
            root_ca: fields.take(key("root_ca", "PEM file with the roots to trust instead of the system's.")),
            username: fields.take(key("username", "Who logs in. Without it, nobody does.")),
            auth: fields.take(
                key("auth", "How to log in: plain, login, or with a token xoauth2 or oauthbearer. Never weakened.")
                    .default("\"plain\""),
            ),
            password: SecretKeys {
                file: fields.take(key(
                    "password_file",
                    "File with the password. Others must not be able to read it; its last line end is taken off.",
                )),
                env: fields.take(key("password_env", "Environment variable with the password.")),
                credential: fields
                    .take(key("password_credential", "Name of the systemd credential with the password.")),
                command: fields.take(key(
                    "password_command",
                    "Command that prints the password: a list, or a text that is split at blanks. No shell runs it.",
                )),
            },
            token: SecretKeys {
                file: fields.take(key("token_file", "File with the OAuth token. Others must not be able to read it.")),
                env: fields.take(key("token_env", "Environment variable with the OAuth token.")),
                credential: fields
                    .take(key("token_credential", "Name of the systemd credential with the OAuth token.")),
                command: fields.take(key(
                    "token_command",
                    "Command that prints an OAuth token: a list, or a text that is split at blanks. No shell runs it.",
                )),
            },
            from: fields.take(key("from", "Sender of rules that name none: an address or `Name <address>`.")),
            connections: fields.take(key("connections", "Connections at a time, at most.").default("4")),
            rate: fields.take(key("rate", "Mails in a time, at most: \"30/min\". Without it: as many as there are.")),
            limits: fields.take(key("limits", SmtpLimits::DOC)),
            timeouts: fields.take(key("timeouts", Timeouts::DOC)),
            retry: fields.take(
                key(
                    "retry",
                    "Waits after the first, second, … failed attempt; the last one repeats. Each has 20 % jitter.",
                )
                .default(r#"["30 s", "2 min", "5 min", "15 min", "30 min", "1 h"]"#),
            ),
            give_up: fields.take(
                key("give_up", "Age at which a mail that could not be delivered is given up.").default("\"5 d\""),
            ),
            on_ambiguous: fields.take(
                key(
                    "on_ambiguous",
                    "What to do when the server's last reply never came: resend (a duplicate is possible and \
                     recognisable by its Message-ID) or hold (a person decides).",
                )
                .default("\"resend\""),
            ),
        }
    }
}

/// The keys that say where a secret is.
pub(super) struct SecretKeys {
    pub(super) file: Field<FilePath>,
    pub(super) env: Field<Word>,
    pub(super) credential: Field<Word>,
    pub(super) command: Field<Argv>,
}

impl Choice for TlsMode {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("starttls", Some(Self::StartTls)), ("implicit", Some(Self::Implicit)), ("none", Some(Self::None))];
}

impl Choice for Mechanism {
    const NAMES: &'static [(&'static str, Option<Self>)] = &[
        ("plain", Some(Self::Plain)),
        ("login", Some(Self::Login)),
        ("xoauth2", Some(Self::XOAuth2)),
        ("oauthbearer", Some(Self::OAuthBearer)),
    ];
}

impl Choice for OnAmbiguous {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("resend", Some(Self::Resend)), ("hold", Some(Self::Hold))];
}

/// `[smtp] timeouts`
pub(super) struct Timeouts {
    pub(super) connect: Field<Wait>,
    pub(super) greeting: Field<Wait>,
    pub(super) command: Field<Wait>,
    pub(super) data: Field<Wait>,
    pub(super) final_: Field<Wait>,
}

impl Section for Timeouts {
    const TITLE: &'static str = "[smtp] timeouts";
    const DOC: &'static str = "Deadlines of the phases of an SMTP session; those not named keep their defaults.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            connect: fields.take(key("connect", "TCP connection and TLS handshake.").default("\"30 s\"")),
            greeting: fields.take(key("greeting", "The server's first line.").default("\"5 min\"")),
            command: fields.take(key("command", "The reply to each command.").default("\"5 min\"")),
            data: fields.take(key("data", "Each block of the mail's bytes.").default("\"3 min\"")),
            final_: fields.take(key("final", "The reply to the end of the mail.").default("\"10 min\"")),
        }
    }
}

/// `[outbox]`
pub(super) struct Outbox {
    pub(super) url: Field<Word>,
    pub(super) retention: Field<Wait>,
    pub(super) min_free: Field<Size>,
}

impl Section for Outbox {
    const TITLE: &'static str = "[outbox]";
    const DOC: &'static str = "Where mails and decisions are kept.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            url: fields.take(
                key("url", "sqlite:PATH, a file that Bewit makes; attachments lie in a folder beside it.")
                    .default("\"sqlite:bewit.db\""),
            ),
            retention: fields
                .take(key("retention", "How long finished mails and decisions are kept.").default("\"30 d\"")),
            min_free: fields
                .take(key("min_free", "Free space below which nothing new is taken in.").default("\"64 MiB\"")),
        }
    }
}

/// `[intake]`: a table of tables.
pub(super) struct Intake {
    pub(super) spool: Field<Spool>,
    pub(super) http: Field<Http>,
}

impl Section for Intake {
    const TITLE: &'static str = "[intake]";
    const DOC: &'static str = "Where events come from.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self { spool: fields.take(key("spool", Spool::DOC)), http: fields.take(key("http", Http::DOC)) }
    }
}

/// `[intake.spool]`
pub(super) struct Spool {
    pub(super) path: Field<FilePath>,
    pub(super) keep: Field<bool>,
    pub(super) poll: Field<Wait>,
    pub(super) limits: Field<Limits>,
}

impl Section for Spool {
    const TITLE: &'static str = "[intake.spool]";
    const DOC: &'static str = "A folder into which finished JSON Lines files (*.jsonl) are moved.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            path: fields.take(key("path", "The folder.").required()),
            keep: fields.take(
                key("keep", "Move files that are done into the folder's done/ instead of removing them.")
                    .default("false"),
            ),
            poll: fields.take(key("poll", "The slow look beside the watcher.").default("\"10 s\"")),
            limits: fields.take(key("limits", Limits::DOC)),
        }
    }
}

/// `[intake.spool] limits`
pub(super) struct Limits {
    pub(super) line: Field<Size>,
    pub(super) depth: Field<Int<1, DEEPEST>>,
    pub(super) nodes: Field<Int<1, 1_000_000_000>>,
}

impl Section for Limits {
    const TITLE: &'static str = "[intake.spool] limits";
    const DOC: &'static str = "Bounds on one line, for every intake; a line beyond them is set aside with its reason.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            line: fields.take(key("line", "Size of a line.").default("\"16 MiB\"")),
            depth: fields.take(key("depth", "Nesting; the root is 1.").default("64")),
            nodes: fields.take(key("nodes", "JSON values.").default("2000000")),
        }
    }
}

/// `[intake.http]`
pub(super) struct Http {
    pub(super) listen: Field<SocketAddr>,
    pub(super) token: SecretKeys,
    pub(super) max_body: Field<Size>,
    pub(super) span: Option<super::decode::Span>,
}

impl Section for Http {
    const TITLE: &'static str = "[intake.http]";
    const DOC: &'static str = "POST /v1/events with a bearer token.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        fields.refuse(
            &["token"],
            "`{}` would keep a secret in this file",
            "put it into a file of its own that others cannot read, and write token_file = \"…\"",
        );
        Self {
            listen: fields.take(key("listen", "IP address and port.").required()),
            token: SecretKeys {
                file: fields.take(key("token_file", "File with the bearer token. Others must not be able to read it.")),
                env: fields.take(key("token_env", "Environment variable with the bearer token.")),
                credential: fields
                    .take(key("token_credential", "Name of the systemd credential with the bearer token.")),
                command: fields.take(key("token_command", "Command that prints the bearer token. No shell runs it.")),
            },
            max_body: fields.take(key("max_body", "Size of one request's body.").default("\"16 MiB\"")),
            span: fields.header(),
        }
    }
}

/// `[links]`
pub(super) struct Links {
    pub(super) base_url: Field<Word>,
}

impl Section for Links {
    const TITLE: &'static str = "[links]";
    const DOC: &'static str = "How links into the Velociraptor GUI are built.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            base_url: fields.take(
                key("base_url", "Root of the Velociraptor server's GUI: links start at it, with app/index.html.")
                    .required(),
            ),
        }
    }
}

/// `[templates]`
pub(super) struct Templates {
    pub(super) path: Field<FilePath>,
}

impl Section for Templates {
    const TITLE: &'static str = "[templates]";
    const DOC: &'static str = "Templates of your own.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self { path: fields.take(key("path", "A folder whose files override the stock templates by name.").required()) }
    }
}

/// `[locale]`
pub(super) struct Locale {
    pub(super) time_zone: Field<Word>,
    pub(super) date_format: Field<Word>,
    pub(super) language: Field<Word>,
}

impl Section for Locale {
    const TITLE: &'static str = "[locale]";
    const DOC: &'static str = "How mails write times, numbers and their own words.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            time_zone: fields
                .take(key("time_zone", "Zone of all times, by its IANA name: Europe/Berlin.").default("\"UTC\"")),
            date_format: fields.take(key(
                "date_format",
                "How times are written, as strftime has it: \"%d.%m.%Y %H:%M %Z\". Without it: RFC 3339.",
            )),
            language: fields.take(
                key(
                    "language",
                    "Language of the stock wording: en, de, or one with a file lang/NAME.toml in the template folder.",
                )
                .default("\"en\""),
            ),
        }
    }
}

/// `[web]`
pub(super) struct Web {
    pub(super) listen: Field<SocketAddr>,
    pub(super) token: SecretKeys,
    pub(super) hosts: Field<List<Word>>,
    pub(super) span: Option<super::decode::Span>,
}

impl Section for Web {
    const TITLE: &'static str = "[web]";
    const DOC: &'static str =
        "The studio, health and metrics in the browser; without this section there is no web server.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        fields.refuse(
            &["token"],
            "`{}` would keep a secret in this file",
            "put it into a file of its own that others cannot read, and write token_file = \"…\"",
        );
        Self {
            listen: fields.take(key("listen", "IP address and port.").required()),
            token: SecretKeys {
                file: fields
                    .take(key("token_file", "File with the operator's token. Others must not be able to read it.")),
                env: fields.take(key("token_env", "Environment variable with the operator's token.")),
                credential: fields
                    .take(key("token_credential", "Name of the systemd credential with the operator's token.")),
                command: fields
                    .take(key("token_command", "Command that prints the operator's token. No shell runs it.")),
            },
            hosts: fields.take(
                key(
                    "hosts",
                    "Names under which browsers reach it beside its address: those of a proxy in front of it.",
                )
                .default("[]"),
            ),
            span: fields.header(),
        }
    }
}
