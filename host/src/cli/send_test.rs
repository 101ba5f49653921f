//! `bewit send-test`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use super::{Exit, UsageError, output};
use crate::compose::Draft;
use crate::compose::mime::{self, Letterhead};
use crate::compose::view::View;
use crate::config::{Config, SmtpConfig, TlsMode, Transport, load};
use crate::delivery::classify::Phase;
use crate::delivery::connect::Step;
use crate::delivery::session::Size;
use crate::delivery::{NowError, send_now};
use crate::mail::NewMail;
use crate::rule::address::{Address, Mailbox};
use crate::text::Visible;

/// Send one test mail right now, past the outbox, and show the conversation
///
/// The mail goes the configured way: same server, TLS and login as the daemon's. Passwords are not shown.
#[derive(Debug, Args)]
pub struct SendTestArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = "bewit.toml")]
    config: PathBuf,
    /// Who gets it
    #[arg(value_name = "ADDRESS")]
    address: String,
}

/// Runs it. Exit code 0: the server has the mail; 1: it has not; 2: usage or configuration.
///
/// # Errors
/// Worded for people.
pub fn run(args: SendTestArgs) -> anyhow::Result<Exit> {
    let to = Address::parse(&args.address).map_err(|error| UsageError(error.to_string()))?;
    let config = load::load(&args.config)?;
    let from = sender(&config)?;
    let mail = compose(from, to, Timestamp::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
    let mut gone = None;
    let sent = runtime.block_on(async {
        let mut tell = |step: Step<'_>| {
            // Each step is seen while the next one is waited for.
            let mut out = output::stdout();
            if let Err(error) = writeln!(out, "{}", words(&step)).and_then(|()| out.flush()) {
                gone.get_or_insert(error);
            }
        };
        if let Transport::Smtp(smtp) = &config.transport {
            output::note(format_args!("{}:{}, {}", Visible(&smtp.server), smtp.port, protection(smtp)));
        }
        send_now(&config.transport, &mail, &mut tell).await
    });
    if let Some(error) = gone {
        return Err(error.into());
    }
    let mut out = output::stdout();
    match (sent, &config.transport) {
        (Ok(reply), Transport::Smtp(_)) => {
            writeln!(out, "sent       {reply}")?;
            writeln!(out, "{} has the mail now; Message-ID <{}>", mail_server(&config.transport), mail.message_id)?;
            out.flush()?;
            Ok(Exit::Done)
        }
        (Ok(path), Transport::Mailbox(_)) => {
            writeln!(out, "written    {path}")?;
            out.flush()?;
            Ok(Exit::Done)
        }
        (Err(error), transport) => {
            output::note(format_args!("error: {error}\n  hint: {}", hint(&error, transport)));
            Ok(Exit::Incomplete)
        }
    }
}

/// `[smtp] from`, else the first rule's sender.
fn sender(config: &Config) -> Result<&Mailbox, UsageError> {
    config
        .from
        .as_ref()
        .or_else(|| config.rules.first().map(|rule| &rule.sender))
        .ok_or_else(|| UsageError("no sender: set `from` in [smtp]".to_owned()))
}

fn compose(from: &Mailbox, to: Address, now: Timestamp) -> NewMail {
    let draft = Draft {
        subject: "Bewit test mail".to_owned(),
        text: "This is a test mail of Bewit, sent by `bewit send-test`.\n\nIf you can read it, the mail server takes \
               Bewit's mails.\n"
            .to_owned(),
        html: None,
        attachments: Vec::new(),
        pictures: Vec::new(),
        view: View::default(),
    };
    let head = Letterhead { from, rule: "send-test", date: now, thread: None };
    mime::mail(&head, &draft, &mime::body(&draft), &[to])
}

fn mail_server(transport: &Transport) -> String {
    match transport {
        Transport::Smtp(smtp) => Visible(&smtp.server).to_string(),
        Transport::Mailbox(folder) => folder.display().to_string(),
    }
}

fn protection(smtp: &SmtpConfig) -> &'static str {
    match (smtp.tls, smtp.skip_verify) {
        (TlsMode::None, _) => "in clear",
        (TlsMode::StartTls, false) => "STARTTLS required",
        (TlsMode::Implicit, false) => "TLS from the first byte",
        (TlsMode::StartTls, true) => "STARTTLS required, certificate not checked",
        (TlsMode::Implicit, true) => "TLS from the first byte, certificate not checked",
    }
}

/// A step in one line: what happened, and the server's words.
fn words(step: &Step<'_>) -> String {
    match step {
        Step::Connected(peer) => format!("connected  {}", Visible(peer)),
        Step::Greeting(reply) => format!("greeting   {reply}"),
        Step::Secured(tls) => format!("TLS        {} {}", tls.version, tls.cipher),
        Step::Offers(offers) => {
            let mut list = Vec::new();
            for (offered, name) in [
                (offers.starttls, "STARTTLS"),
                (offers.pipelining, "PIPELINING"),
                (offers.eight_bit_mime, "8BITMIME"),
                (offers.smtp_utf8, "SMTPUTF8"),
            ] {
                if offered {
                    list.push(name.to_owned());
                }
            }
            match offers.size {
                Size::Unknown => {}
                Size::Unlimited => list.push("SIZE".to_owned()),
                Size::Limit(limit) => list.push(format!("SIZE {limit}")),
            }
            if !offers.auth.is_empty() {
                list.push(format!("AUTH {}", Visible(&offers.auth.join(" "))));
            }
            format!(
                "offers     {}",
                if list.is_empty() { "nothing that matters here".to_owned() } else { list.join(", ") }
            )
        }
        Step::LoggedIn(mechanism, reply) => format!("login      {mechanism}: {reply}"),
        Step::Answered(phase, reply) => format!("{:<10} {reply}", phase.to_string()),
    }
}

/// What to do about a failure.
fn hint(error: &NowError, transport: &Transport) -> String {
    let Transport::Smtp(smtp) = transport else {
        return "the mailbox folder must be a folder that this user can write to".to_owned();
    };
    let code = error.reply().map(crate::delivery::reply::Reply::code);
    let text = error.to_string();
    match error.phase() {
        None => "this is a mistake of Bewit; please report it".to_owned(),
        Some(Phase::Connect) => format!(
            "is `{}` the right `server`, does it listen on port {}, and does a firewall let this host through?",
            Visible(&smtp.server),
            smtp.port
        ),
        Some(Phase::Handshake) if text.contains("certificate") && smtp.root_ca.is_none() => {
            "the certificate is not trusted on this host, or is not made out to `server`; for a CA of your own set \
             `root_ca` to its PEM file"
                .to_owned()
        }
        Some(Phase::Handshake) if text.contains("certificate") || text.contains("root_ca") => {
            "the certificate must be signed by a CA of the `root_ca` file and be made out to the name in `server`"
                .to_owned()
        }
        Some(Phase::Handshake) => match smtp.tls {
            TlsMode::Implicit => {
                "this port may want STARTTLS: try `tls = \"starttls\"` (usual on 587), or port 465".to_owned()
            }
            _ => "the server's TLS must be 1.2 or newer".to_owned(),
        },
        Some(Phase::Greeting) if code.is_none() && smtp.tls != TlsMode::Implicit => {
            "a port that waits for TLS says nothing: try `tls = \"implicit\"` (usual on 465), or port 587".to_owned()
        }
        Some(Phase::Greeting | Phase::Ehlo) => {
            "the server does not want this host: is it the one that serves clients, and \
             is this host's address allowed there?"
                .to_owned()
        }
        Some(Phase::StartTls) => {
            "without TLS nothing is sent: try port 465 with `tls = \"implicit\"`, or, for a server \
             on this host and without a login, `tls = \"none\"`"
                .to_owned()
        }
        Some(Phase::Auth) if text.contains("does not offer") => {
            "set `auth` to a mechanism that the server offers (see the line `offers`), or leave `username` out if it \
             wants no login"
                .to_owned()
        }
        Some(Phase::Auth) => {
            "are `username` and the password (or token) right, and is this account allowed to send by SMTP?".to_owned()
        }
        Some(Phase::Mail) if code == Some(530) => {
            "the server wants a login or TLS: set `username` and `password_file`, or `tls`".to_owned()
        }
        Some(Phase::Mail) => {
            "may this account send as the address in `from`, and is the mail small enough for the server?".to_owned()
        }
        Some(Phase::Rcpt) => {
            "does the address exist, and does the server pass mails on for this host or account (relaying)?".to_owned()
        }
        Some(Phase::Data | Phase::Body | Phase::Final) => {
            "the server refused the mail itself; its words above say why (policy, size, spam filter)".to_owned()
        }
        Some(Phase::Reset | Phase::Quit) => "try again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Limits, OnAmbiguous, Timeouts};
    use crate::delivery::reply::Reply;

    fn smtp(tls: TlsMode) -> Transport {
        Transport::Smtp(Box::new(SmtpConfig {
            server: "mx.example.org".to_owned(),
            port: 587,
            tls,
            skip_verify: false,
            root_ca: None,
            credentials: None,
            connections: 1,
            rate: None,
            limits: Limits::default(),
            reserve: false,
            timeouts: Timeouts { connect: Duration::from_secs(1), ..Timeouts::default() },
            on_ambiguous: OnAmbiguous::Resend,
            helo: "client.example.org".to_owned(),
        }))
    }

    #[test]
    fn the_test_mail_is_a_clean_mail() {
        let from = Mailbox::parse("B\u{f6}wit <bewit@example.org>").unwrap();
        let mail = compose(&from, Address::parse("ana@example.org").unwrap(), Timestamp::UNIX_EPOCH);
        let head = String::from_utf8(mail.head.clone()).unwrap();
        for field in
            ["Date: ", "From: ", "To: ana@example.org", "Subject: Bewit test mail", "Message-ID: <", "MIME-Version: "]
        {
            assert!(head.contains(field), "{field} is missing in:\n{head}");
        }
        assert_eq!(
            (mail.sender.as_str(), mail.recipients.as_slice()),
            ("bewit@example.org", &["ana@example.org".to_owned()][..])
        );
        assert!(mail.head.is_ascii());
    }

    #[test]
    fn each_phase_has_its_hint() {
        let refused = |phase, code, text: &str| NowError::Refused { phase, reply: Reply::new(code, text) };
        let transport = smtp(TlsMode::StartTls);
        let mut hints = std::collections::HashSet::new();
        for (error, word) in [
            (refused(Phase::Mail, 530, "5.7.0 Authentication required"), "username"),
            (refused(Phase::Mail, 550, "5.7.60 not as this sender"), "from"),
            (refused(Phase::Rcpt, 554, "5.7.1 Relay access denied"), "relaying"),
            (refused(Phase::Final, 554, "5.7.1 spam"), "refused the mail"),
        ] {
            let hint = hint(&error, &transport);
            assert!(hint.contains(word), "{error}: {hint}");
            assert!(hints.insert(hint));
        }
    }

    #[test]
    fn nobody_listening_is_exit_code_one() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bewit.toml");
        std::fs::write(
            &file,
            format!("[smtp]\nserver = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"bewit@example.org\"\n"),
        )
        .unwrap();
        let args = |address: &str| SendTestArgs { config: file.clone(), address: address.to_owned() };
        assert_eq!(run(args("ana@example.org")).unwrap(), Exit::Incomplete);
        assert!(run(args("no address")).unwrap_err().is::<UsageError>());
    }

    #[test]
    fn a_mailbox_gets_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bewit.toml");
        std::fs::write(&file, "[smtp]\nmailbox = \"mail\"\nfrom = \"bewit@example.org\"\n").unwrap();
        let args = SendTestArgs { config: file, address: "ana@example.org".to_owned() };
        assert_eq!(run(args).unwrap(), Exit::Done);
        let names: Vec<_> =
            std::fs::read_dir(dir.path().join("mail")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 1);
        assert!(names[0].to_str().unwrap().ends_with(".eml"));
    }
}
