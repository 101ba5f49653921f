//! What a reply, or the lack of one, means in the phase where it came; pure.
//!
//! | phase | 4yz | 5yz |
//! |---|---|---|
//! | greeting, EHLO, STARTTLS, AUTH | the relay is not available for now | the relay's trouble with us |
//! | MAIL, DATA, final dot | this mail later | this mail never |
//! | RCPT | this recipient later | this recipient never |
//!
//! with the exceptions in [`classify`]. Some 4yz speak of no mail but of how much we send: [`Class::Limited`], the table in
//! docs/delivery.md.

use std::fmt;

use super::reply::{Enhanced, Reply};

/// Where a dialogue stands: what was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Name look-up and TCP.
    Connect,
    /// TLS, at the start or after STARTTLS.
    Handshake,
    /// Nothing sent yet.
    Greeting,
    /// EHLO.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// AUTH and its answers to challenges.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The mail's bytes, the block with the final dot excepted.
    Body,
    /// The final dot.
    Final,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
}

/// What a reply means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Done; go on.
    Accepted,
    /// Not now: this recipient (RCPT), or this mail.
    Deferred,
    /// We send more than the server takes of us; no mail is to blame, and for none it was an attempt.
    Limited,
    /// Never: this recipient (RCPT), or this mail.
    Failed,
    /// The server is not available for now, or closes the connection.
    Unavailable,
    /// The server does not want us, whatever the mail: no mail is to blame.
    Relay,
    /// No answer to what was asked. The connection is of no more use.
    Protocol,
}

/// What the end of a connection means for the mail in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The connection had served before and may simply have aged: once more on a new one, at once; no attempt.
    Reconnect,
    /// This mail later.
    Deferred,
    /// The server may have taken the mail: `on_ambiguous` decides.
    Ambiguous,
}

impl Phase {
    /// Before the first mail: what goes wrong here is no mail's fault.
    #[must_use]
    pub fn is_setup(self) -> bool {
        matches!(self, Self::Connect | Self::Handshake | Self::Greeting | Self::Ehlo | Self::StartTls | Self::Auth)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Handshake => "TLS handshake",
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Body => "the mail's bytes",
            Self::Final => "the final dot",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
        })
    }
}

/// Classes a reply. 334 in AUTH is no end and is not asked here.
#[must_use]
pub fn classify(phase: Phase, reply: &Reply) -> Class {
    let code = reply.code();
    match (phase, reply.class()) {
        // RFC 5321 section 3.8: a server that must close says 421 to whatever it was asked.
        _ if code == 421 => Class::Unavailable,
        // Where one reply alone will do, another positive one is an answer to something else: an earlier command, or
        // words that somebody put before the TLS handshake.
        (Phase::Greeting | Phase::StartTls, 2) if code == 220 => Class::Accepted,
        (Phase::Ehlo, 2) if code == 250 => Class::Accepted,
        (Phase::Auth, 2) if code == 235 => Class::Accepted,
        (Phase::Data, 3) if code == 354 => Class::Accepted,
        (Phase::Mail | Phase::Rcpt | Phase::Final | Phase::Reset | Phase::Quit, 2) => Class::Accepted,
        (_, 2 | 3) => Class::Protocol,
        (Phase::Reset | Phase::Quit, _) => Class::Protocol,
        (phase, 4) if !phase.is_setup() && is_limit(phase, reply) => Class::Limited,
        (phase, _) if concerns_us(phase, reply) => Class::Relay,
        (phase, 4) if phase.is_setup() => Class::Unavailable,
        (phase, _) if phase.is_setup() => Class::Relay,
        (_, 4) => Class::Deferred,
        (_, _) if is_full_mailbox(reply) => Class::Deferred,
        _ => Class::Failed,
    }
}

/// Codes of RFC 4954 section 6 that speak of our login, not of a mail. 432 and 454 are used by servers for single
/// recipients too ("relay access denied, for now"), so they count before RCPT only; and 432 4.3.2 is what Exchange says
/// of too many sessions at a time.
fn concerns_us(phase: Phase, reply: &Reply) -> bool {
    match reply.code() {
        530 | 534 | 535 | 538 => true,
        432 if reply.enhanced() == Some(Enhanced(4, 3, 2)) => false,
        432 | 454 => phase.is_setup() || phase == Phase::Mail,
        _ => false,
    }
}

/// Whether a 4yz speaks of how much we send. By its enhanced code (RFC 3463): X.3.2, the system accepts nothing now;
/// X.7.28, a flood of mails. At MAIL, where nobody is named yet, every X.7 of 450 to 452 is about the one who sends; at
/// RCPT it may be greylisting, which is about that recipient.
fn is_limit(phase: Phase, reply: &Reply) -> bool {
    match reply.enhanced() {
        Some(Enhanced(4, 3, 2) | Enhanced(4, 7, 28)) => true,
        Some(Enhanced(4, 7, _)) => phase == Phase::Mail && matches!(reply.code(), 450..=452),
        _ => false,
    }
}

/// Whether a 421 in the middle of a session speaks of how much we send. X.4 is about the connection: it has aged. Without a
/// word on why, an old session has probably aged, or has had its number of mails; a new one that ends so has not.
#[must_use]
pub fn closes_for_limit(reply: &Reply, reused: bool) -> bool {
    match reply.enhanced() {
        None | Some(Enhanced(_, 4, _)) => !reused,
        Some(_) => true,
    }
}

/// Whether a reply that defers a mail says, too, that the server has more than enough to do: then it is given less. At
/// MAIL all of 450 to 452, but for what is said of the sender's address (X.1); later, what is said of the mail system
/// (X.3), but for the mail's size (X.3.4).
#[must_use]
pub fn is_strain(phase: Phase, reply: &Reply) -> bool {
    let subject = reply.enhanced();
    match phase {
        Phase::Mail => {
            matches!(reply.code(), 450..=452) && !matches!(subject, Some(Enhanced(_, 1, _) | Enhanced(_, 3, 4)))
        }
        Phase::Data | Phase::Body | Phase::Final => {
            reply.class() == 4 && matches!(subject, Some(Enhanced(_, 3, detail)) if detail != 4)
        }
        _ => false,
    }
}

/// A full mailbox is emptied some day: X.2.2 (RFC 3463 section 3.3), and what Exchange says when it is full (554 5.2.0).
fn is_full_mailbox(reply: &Reply) -> bool {
    match reply.enhanced() {
        Some(Enhanced(5, 2, 2)) => true,
        Some(Enhanced(5, 2, 0)) => reply.code() == 554,
        _ => false,
    }
}

/// Whether a refusal says that the mail is too large: 552, or X.3.4 (RFC 1870 section 6.2, RFC 3463 section 3.4).
#[must_use]
pub fn is_too_large(reply: &Reply) -> bool {
    match reply.enhanced() {
        Some(Enhanced(_, subject, detail)) => (subject, detail) == (3, 4),
        None => reply.code() == 552,
    }
}

/// Whether a refused RCPT says that this transaction has recipients enough: 452, or what RFC 5321 section 4.5.3.1.10
/// tells us to take for it. Only if the same transaction has recipients already.
#[must_use]
pub fn is_too_many_recipients(reply: &Reply) -> bool {
    matches!((reply.code(), reply.enhanced()), (452 | 552, None | Some(Enhanced(_, 5, 3))))
}

/// Classes the end of a connection: closed, silent beyond the deadline, or speaking nonsense. `reused`: it had completed
/// a dialogue before this one.
#[must_use]
pub fn loss(phase: Phase, reused: bool) -> Loss {
    match phase {
        Phase::Final => Loss::Ambiguous,
        _ if reused => Loss::Reconnect,
        _ => Loss::Deferred,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{Accepted, Deferred, Failed, Limited, Protocol, Relay, Unavailable};
    use Phase::{Auth, Data, Ehlo, Final, Greeting, Mail, Rcpt, Reset, StartTls};

    const SETUP: [Phase; 4] = [Greeting, Ehlo, StartTls, Auth];
    const MAIL: [Phase; 4] = [Mail, Rcpt, Data, Final];

    /// Every row: phases, replies, class.
    const TABLE: &[(&[Phase], &[&str], Class)] = &[
        // The way it should be.
        (&[Greeting], &["220 mx ESMTP"], Accepted),
        (&[Ehlo], &["250 mx"], Accepted),
        (&[StartTls], &["220 2.0.0 Ready"], Accepted),
        (&[Auth], &["235 2.7.0 Accepted"], Accepted),
        (&[Mail], &["250 2.1.0 Ok", "250 ok"], Accepted),
        (&[Rcpt], &["250 2.1.5 Ok", "251 will forward", "252 cannot verify"], Accepted),
        (&[Data], &["354 go ahead"], Accepted),
        (&[Final], &["250 2.0.0 queued as 1A", "200 fine"], Accepted),
        (&[Reset], &["250 flushed"], Accepted),
        // Positive replies that answer something else.
        (&[Greeting], &["250 mx", "235 ok", "354 go"], Protocol),
        (&[Ehlo], &["220 mx", "235 ok", "354 go", "251 ok"], Protocol),
        (&[StartTls], &["250 ok", "235 ok", "354 go"], Protocol),
        (&[Auth], &["250 ok", "220 ready", "354 go"], Protocol),
        (&[Mail, Rcpt, Final], &["354 go", "334 ", "300 what"], Protocol),
        (&[Data], &["250 ok", "220 ok", "334 ", "355 go"], Protocol),
        (&[Reset], &["354 go", "450 no", "550 no"], Protocol),
        // 421 anywhere.
        (&SETUP, &["421 4.3.2 closing", "421 too many connections"], Unavailable),
        (&MAIL, &["421 4.4.2 timeout", "421 closing"], Unavailable),
        (&[Reset], &["421 closing"], Unavailable),
        // Before any mail: the relay.
        (
            &SETUP,
            &["450 4.3.2 try again", "451 4.3.0 error", "471 slow", "432 4.3.2 concurrent connections"],
            Unavailable,
        ),
        (&SETUP, &["554 5.7.1 go away", "521 no mail here", "550 5.7.1 denied", "500 what", "502 no", "504 no"], Relay),
        (
            &SETUP,
            &["432 4.7.12 password transition", "454 4.7.0 not now", "530 5.7.0 login", "535 5.7.8 bad", "538 TLS"],
            Relay,
        ),
        (&[Auth], &["534 5.7.9 too weak", "503 5.5.1 twice", "501 5.5.2 bad base64"], Relay),
        // RFC 4954 section 6 behind the login.
        (
            &[Mail],
            &["530 5.7.0 Authentication required", "530 5.7.0 Must issue STARTTLS", "454 4.7.0 no", "432 4.7.12 no"],
            Relay,
        ),
        (
            &[Rcpt, Data, Final],
            &["530 5.7.57 Client not authenticated", "535 5.7.8 bad", "538 5.7.11 TLS", "534 5.7.9 weak"],
            Relay,
        ),
        (&[Rcpt, Data, Final], &["454 4.7.1 Relay access denied"], Deferred),
        // How much we send.
        (&MAIL, &["432 4.3.2 concurrent connections", "451 4.3.2 not now", "450 4.7.28 flood"], Limited),
        (&[Mail], &["450 4.7.1 too much mail from you", "452 4.7.0 slow down"], Limited),
        // A mail or a recipient, later.
        (&MAIL, &["450 4.2.1 busy", "452 4.3.1 no space", "455 4.5.4 no", "499 odd", "450 4.1.8 unknown"], Deferred),
        (&[Rcpt, Data, Final], &["451 4.7.1 greylisted", "450 4.7.1 too many recipients"], Deferred),
        // A mail or a recipient, never.
        (
            &MAIL,
            &[
                "550 5.1.1 no such user",
                "551 5.1.6 moved",
                "553 5.1.3 bad syntax",
                "554 5.7.1 spam",
                "555 5.5.4 parameter",
            ],
            Failed,
        ),
        (&MAIL, &["500 what", "501 syntax", "502 no", "503 5.5.1 order", "504 no", "599 odd", "550 no"], Failed),
        // Size.
        (&[Mail, Final], &["552 5.3.4 too big", "552 too big", "554 5.3.4 too big", "523 5.3.4 too big"], Failed),
        // Full mailboxes.
        (
            &[Rcpt, Data, Final],
            &["552 5.2.2 over quota", "550 5.2.2 full", "554 5.2.2 full", "554 5.2.0 QuotaExceeded"],
            Deferred,
        ),
        (&[Rcpt, Final], &["550 5.2.0 odd", "550 5.2.1 disabled", "554 5.2.3 too long"], Failed),
    ];

    fn reply(text: &str) -> Reply {
        let (code, rest) = text.split_at(3);
        Reply::new(code.parse().unwrap(), rest.trim_start())
    }

    #[test]
    fn every_row_of_the_table() {
        let mut rows = 0;
        for (phases, replies, class) in TABLE {
            for phase in *phases {
                for text in *replies {
                    assert_eq!(classify(*phase, &reply(text)), *class, "{phase}: {text}");
                    rows += 1;
                }
            }
        }
        assert!(rows >= 120, "{rows} rows");
    }

    #[test]
    fn no_reply_before_mail_blames_a_mail() {
        for phase in SETUP {
            for code in (200..600).filter(|code| *code != 334) {
                let class = classify(phase, &Reply::new(code, ""));
                assert!(!matches!(class, Deferred | Limited | Failed), "{phase} {code}: {class:?}");
            }
        }
    }

    #[test]
    fn a_transient_reply_never_fails_and_a_permanent_one_is_never_accepted() {
        for phase in SETUP.into_iter().chain(MAIL) {
            for code in 400..600 {
                let class = classify(phase, &Reply::new(code, ""));
                assert_ne!(class, Accepted, "{phase} {code}");
                assert!(code >= 500 || class != Failed, "{phase} {code}");
            }
        }
    }

    #[test]
    fn tells_too_large_and_too_many() {
        for (text, large) in [
            ("552 too big", true),
            ("552 5.3.4 too big", true),
            ("554 5.3.4 too big", true),
            ("452 4.3.4 too big for now", true),
            ("552 5.2.2 quota", false),
            ("550 no", false),
        ] {
            assert_eq!(is_too_large(&reply(text)), large, "{text}");
        }
        for (text, many) in [
            ("452 4.5.3 too many", true),
            ("452 too many", true),
            ("552 too many", true),
            ("452 4.3.1 no space", false),
            ("552 5.2.2 quota", false),
            ("450 4.5.3 odd", false),
        ] {
            assert_eq!(is_too_many_recipients(&reply(text)), many, "{text}");
        }
    }

    #[test]
    fn tells_what_is_said_of_how_much_we_send() {
        for (text, old, new) in [
            ("421 closing", false, true),
            ("421 4.4.2 idle for too long", false, true),
            ("421 4.7.0 too many mails", true, true),
            ("421 4.3.2 not now", true, true),
        ] {
            assert_eq!(closes_for_limit(&reply(text), true), old, "{text}, on an old session");
            assert_eq!(closes_for_limit(&reply(text), false), new, "{text}, on a new one");
        }
        for (phase, text, strained) in [
            (Mail, "451 try again later", true),
            (Mail, "452 4.3.1 no space", true),
            (Mail, "450 4.7.1 too much mail", true),
            (Mail, "450 4.1.8 sender's domain not found", false),
            (Mail, "452 4.3.4 too big for now", false),
            (Mail, "454 4.7.0 no", false),
            (Rcpt, "451 4.3.0 look-up failed", false),
            (Rcpt, "450 4.2.1 busy", false),
            (Data, "452 4.3.1 no space", true),
            (Final, "451 4.3.0 queue file", true),
            (Final, "451 4.7.1 content", false),
            (Final, "451 local error", false),
            (Final, "554 5.3.2 not now", false),
            (Greeting, "421 4.3.2 not now", false),
        ] {
            assert_eq!(is_strain(phase, &reply(text)), strained, "{phase}: {text}");
        }
    }

    #[test]
    fn a_lost_connection() {
        assert_eq!(loss(Phase::Mail, true), Loss::Reconnect);
        assert_eq!(loss(Phase::Body, true), Loss::Reconnect);
        assert_eq!(loss(Phase::Mail, false), Loss::Deferred);
        for reused in [false, true] {
            assert_eq!(loss(Phase::Final, reused), Loss::Ambiguous);
        }
    }
}
