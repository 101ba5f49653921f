//! TLS and logins: what is required is had, or nothing is sent.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::connect::Opener;
use super::super::sasl::Keeper;
use super::super::{Summary, Until, worker};
use super::support::{Act, Certificate, Heard, Memory, Moment, Pipes, Server, State, config, retry, say};
use crate::config::secret::Secret;
use crate::config::{Credentials, Mechanism, SmtpConfig, TlsMode};

/// A secret file that only its owner can read.
pub(super) fn secret(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

pub(super) fn credentials(mechanism: Mechanism, file: &tempfile::NamedTempFile) -> Credentials {
    Credentials { username: "ana".to_owned(), mechanism, secret: Secret::File(file.path().to_owned()) }
}

fn secure(tls: TlsMode, certificate: &Certificate) -> SmtpConfig {
    SmtpConfig { tls, root_ca: Some(certificate.ca.path().to_owned()), ..config() }
}

async fn drain(queue: &Memory, config: SmtpConfig, server: &Pipes) -> Summary {
    worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Drained).await.unwrap()
}

async fn one(config: SmtpConfig, server: &Pipes) -> State {
    let queue = Memory::new();
    queue.add(&["ana@example.org"]);
    drain(&queue, config, server).await;
    queue.states().remove(0)
}

#[tokio::test]
async fn tls_from_the_first_byte_and_by_starttls() {
    let certificate = Certificate::new("mx.example.org");
    for (tls, implicit) in [(TlsMode::Implicit, true), (TlsMode::StartTls, false)] {
        let server = Server::polite().tls(implicit, &certificate).offering(&["STARTTLS", "PIPELINING"]).start();
        let mut steps = Vec::new();
        let opener = Opener::new(Arc::new(secure(tls, &certificate)), server.clone());
        let session = opener.open(&mut |step| steps.push(format!("{step:?}"))).await.unwrap();
        let info = session.tls().unwrap();
        assert_eq!(info.version, "TLSv1_3");
        assert!(info.cipher.starts_with("TLS13_"), "{info:?}");
        session.quit().await;
        let expected: &[&str] = if implicit {
            &["Connected", "Secured", "Greeting", "Offers"]
        } else {
            &["Connected", "Greeting", "Offers", "Secured", "Offers"]
        };
        assert!(steps.iter().zip(expected).all(|(step, start)| step.starts_with(start)), "{steps:?}");
        assert_eq!(steps.len(), expected.len());
    }
}

#[tokio::test]
async fn a_wrong_certificate_gets_nothing_unless_told_so() {
    let right = Certificate::new("mx.example.org");
    for (name, ca) in [("other.example.org", None), ("mx.example.org", Some(&right))] {
        let certificate = Certificate::new(name);
        let server = || Server::polite().tls(true, &certificate).start();
        // The wrong name under a trusted root, and the right name under another root.
        let config = SmtpConfig {
            tls: TlsMode::Implicit,
            root_ca: Some(ca.unwrap_or(&certificate).ca.path().to_owned()),
            ..config()
        };
        let strict = server().start_one(config.clone()).await;
        assert_eq!(strict.0, State::Queued, "{name}");
        assert!(strict.1.lines().is_empty(), "{name}: {:?}", strict.1.lines());
        let lenient = server().start_one(SmtpConfig { skip_verify: true, ..config }).await;
        assert!(matches!(lenient.0, State::Delivered(_)), "{name}: {:?}", lenient.0);
    }
}

trait StartOne {
    async fn start_one(self, config: SmtpConfig) -> (State, Pipes);
}

impl StartOne for Pipes {
    async fn start_one(self, config: SmtpConfig) -> (State, Pipes) {
        (one(config, &self).await, self)
    }
}

#[tokio::test]
async fn starttls_is_required_and_clean() {
    let certificate = Certificate::new("mx.example.org");
    let password = secret("hunter2");
    type Trick = fn(&Moment<'_>) -> Option<Act>;
    let tricks: [(&str, Trick); 8] = [
        ("not offered", |moment| moment.is("EHLO").then(|| say("250-mx\r\n250 AUTH PLAIN"))),
        ("refused", |moment| moment.is("STARTTLS").then(|| say("502 5.5.1 no"))),
        ("refused for now", |moment| moment.is("STARTTLS").then(|| say("454 4.7.0 not now"))),
        ("answered 250", |moment| moment.is("STARTTLS").then(|| say("250 ok"))),
        ("answered 235", |moment| moment.is("STARTTLS").then(|| say("235 logged in"))),
        ("a reply behind the 220", |moment| {
            moment.is("STARTTLS").then(|| Act::StartTls("220 go\r\n250-mx\r\n250 AUTH PLAIN".to_owned()))
        }),
        ("a byte behind the 220", |moment| moment.is("STARTTLS").then(|| Act::StartTls("220 go\r\n2".to_owned()))),
        ("EHLO answered before it is said", |moment| {
            moment.is_greeting().then(|| say("220 mx\r\n250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN"))
        }),
    ];
    for (what, trick) in tricks {
        let server = Server::new(trick).tls(false, &certificate).offering(&["STARTTLS", "AUTH PLAIN"]).start();
        let config = SmtpConfig {
            credentials: Some(credentials(Mechanism::Plain, &password)),
            ..secure(TlsMode::StartTls, &certificate)
        };
        let state = one(config, &server).await;
        assert!(matches!(state, State::Queued | State::Deferred(_)), "{what}: {state:?}");
        assert_eq!(server.count("AUTH") + server.count("MAIL"), 0, "{what}: {:?}", server.lines());
    }
}

#[tokio::test]
async fn what_was_offered_in_clear_is_forgotten() {
    let certificate = Certificate::new("mx.example.org");
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = Server::new(move |moment| {
        (moment.is("EHLO") && first.swap(false, std::sync::atomic::Ordering::SeqCst))
            .then(|| say("250-mx\r\n250-STARTTLS\r\n250-SIZE 10\r\n250-PIPELINING\r\n250 SMTPUTF8"))
    })
    .tls(false, &certificate)
    .offering(&["8BITMIME"])
    .start();
    let state = one(secure(TlsMode::StartTls, &certificate), &server).await;
    assert!(matches!(state, State::Delivered(_)), "{state:?}");
    assert_eq!(server.count("EHLO"), 2);
    assert!(!server.taken()[0].from.contains("SIZE"), "SIZE was not offered under TLS");
}

#[tokio::test]
async fn credentials_never_go_in_clear() {
    let password = secret("hunter2");
    let server = Server::polite().offering(&["AUTH PLAIN"]).start();
    let config = SmtpConfig { credentials: Some(credentials(Mechanism::Plain, &password)), ..config() };
    assert_eq!(one(config, &server).await, State::Queued);
    assert_eq!(server.dialled(), 0);
}

/// What a login that is right says.
fn expected(mechanism: Mechanism, password: &str) -> Vec<String> {
    match mechanism {
        Mechanism::Plain => vec![format!("\0ana\0{password}")],
        Mechanism::Login => vec!["ana".to_owned(), password.to_owned()],
        Mechanism::XOAuth2 => vec![format!("user=ana\x01auth=Bearer {password}\x01\x01")],
        Mechanism::OAuthBearer => {
            vec![format!("n,a=ana,\x01host=mx.example.org\x01port=25\x01auth=Bearer {password}\x01\x01")]
        }
    }
}

const MECHANISMS: [(Mechanism, &str); 4] = [
    (Mechanism::Plain, "PLAIN"),
    (Mechanism::Login, "LOGIN"),
    (Mechanism::XOAuth2, "XOAUTH2"),
    (Mechanism::OAuthBearer, "OAUTHBEARER"),
];

/// What a server does with a login.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Takes,
    /// Asks for what came with AUTH once more.
    AsksAgain,
    Says(&'static str),
    /// The error as a challenge, then 535.
    Challenges,
    /// Challenge after challenge.
    NeverEnds,
    Closes,
}

const WAYS: [Way; 15] = [
    Way::Takes,
    Way::AsksAgain,
    Way::Says("535 5.7.8 bad"),
    Way::Says("534 5.7.9 weak"),
    Way::Says("530 5.7.0 no"),
    Way::Says("538 5.7.11 TLS"),
    Way::Says("501 5.5.2 bad base64"),
    Way::Says("432 4.7.12 transition"),
    Way::Says("454 4.7.0 later"),
    Way::Says("421 4.7.0 too many"),
    Way::Says("250 ok"),
    Way::Says("what"),
    Way::Challenges,
    Way::NeverEnds,
    Way::Closes,
];

#[tokio::test]
async fn every_mechanism_against_every_answer() {
    let certificate = Certificate::new("mx.example.org");
    let password = secret("hunter2");
    for (mechanism, name) in MECHANISMS {
        for way in WAYS {
            let steps = std::sync::atomic::AtomicUsize::new(0);
            let heard = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
            let kept = Arc::clone(&heard);
            let server = Server::new(move |moment| {
                let Heard::Line(line) = moment.heard else { return None };
                let mut words = kept.lock().unwrap();
                if let Some(rest) = line.strip_prefix("AUTH ") {
                    steps.store(0, std::sync::atomic::Ordering::SeqCst);
                    words.clear();
                    words.extend(rest.split(' ').nth(1).map(str::to_owned));
                } else if ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"].iter().any(|word| line.starts_with(word)) {
                    return None;
                } else {
                    words.push(line.clone());
                }
                let step = steps.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let wanted = if mechanism == Mechanism::Login { 2 } else { 1 };
                Some(match way {
                    Way::Says(reply) => say(reply),
                    Way::Closes => Act::Close,
                    Way::NeverEnds if line == "*" => say("501 5.7.0 cancelled"),
                    Way::NeverEnds => say("334 YWdhaW4="),
                    Way::AsksAgain if words.len() < wanted + usize::from(mechanism != Mechanism::Login) => say("334 "),
                    Way::Takes | Way::Challenges if words.len() < wanted => say("334 "),
                    Way::Challenges if step < wanted + usize::from(mechanism == Mechanism::Login) => {
                        say("334 eyJzdGF0dXMiOiI0MDEifQ==")
                    }
                    Way::Challenges => say("535 5.7.8 bad"),
                    Way::Takes | Way::AsksAgain => say("235 2.7.0 ok"),
                })
            })
            .tls(true, &certificate)
            .offering(match name {
                "PLAIN" => &["AUTH PLAIN LOGIN"],
                "LOGIN" => &["AUTH PLAIN LOGIN"],
                "XOAUTH2" => &["AUTH XOAUTH2 PLAIN"],
                _ => &["AUTH OAUTHBEARER"],
            })
            .start();
            let config = SmtpConfig {
                credentials: Some(credentials(mechanism, &password)),
                ..secure(TlsMode::Implicit, &certificate)
            };
            let what = format!("{name} {way:?}");
            let state = one(config, &server).await;
            let lines = server.lines();
            if matches!(way, Way::Takes | Way::AsksAgain) {
                assert!(matches!(state, State::Delivered(_)), "{what}: {state:?} {lines:?}");
                let said: Vec<String> = heard
                    .lock()
                    .unwrap()
                    .iter()
                    .map(|word| String::from_utf8(STANDARD.decode(word).unwrap()).unwrap())
                    .collect();
                assert!(said.ends_with(&expected(mechanism, "hunter2")), "{what}: {said:?}");
            } else {
                // No mail is to blame, and none was shown.
                assert!(matches!(state, State::Queued | State::Deferred(_)), "{what}: {state:?}");
                assert_eq!(server.count("MAIL"), 0, "{what}");
                if let State::Deferred(reason) = &state {
                    assert!(!reason.contains("hunter2"), "{what}: {reason}");
                }
            }
            assert!(lines.iter().filter(|line| line.starts_with("AUTH")).all(|line| line.contains(name)), "{what}");
            let logins = server.count("AUTH");
            let refused = matches!(way, Way::Says(reply) if reply.starts_with('5'))
                || matches!(way, Way::Challenges | Way::NeverEnds);
            let token = matches!(mechanism, Mechanism::XOAuth2 | Mechanism::OAuthBearer);
            assert_eq!(logins, if refused && token { 2 } else { 1 }, "{what}: {lines:?}");
            assert!(lines.len() < 16, "{what}: {lines:?}");
        }
    }
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_not_replaced() {
    let certificate = Certificate::new("mx.example.org");
    let password = secret("hunter2");
    for offers in [&["AUTH LOGIN CRAM-MD5"][..], &["PIPELINING"][..], &["AUTH"][..], &["AUTH XPLAIN"][..]] {
        let server = Server::polite().tls(true, &certificate).offering(offers).start();
        let config = SmtpConfig {
            credentials: Some(credentials(Mechanism::Plain, &password)),
            ..secure(TlsMode::Implicit, &certificate)
        };
        assert_eq!(one(config, &server).await, State::Queued, "{offers:?}");
        assert_eq!(server.count("AUTH") + server.count("MAIL"), 0);
    }
}

#[tokio::test]
async fn a_secret_that_changed_is_tried_once_more() {
    let certificate = Certificate::new("mx.example.org");
    for closes in [false, true] {
        let password = secret("old");
        let path = password.path().to_owned();
        // The new password is there by the time the old one is refused.
        let server = Server::new(move |moment| {
            let Heard::Line(line) = moment.heard else { return None };
            let said = line.strip_prefix("AUTH PLAIN ")?;
            if STANDARD.decode(said).unwrap().ends_with(b"\0new") {
                return Some(say("235 ok"));
            }
            std::fs::write(&path, "new").unwrap();
            let refusal = "535 5.7.8 bad".to_owned();
            Some(if closes { Act::SayAndClose(refusal) } else { Act::Say(refusal) })
        })
        .tls(true, &certificate)
        .offering(&["AUTH PLAIN"])
        .start();
        let config = SmtpConfig {
            credentials: Some(credentials(Mechanism::Plain, &password)),
            ..secure(TlsMode::Implicit, &certificate)
        };
        let state = one(config, &server).await;
        assert!(matches!(state, State::Delivered(_)), "{closes}: {state:?}");
        assert_eq!(server.dialled(), if closes { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_login_echoed_by_the_server_is_not_stored() {
    let certificate = Certificate::new("mx.example.org");
    let password = secret("hunter2");
    let server = Server::new(|moment| {
        let Heard::Line(line) = moment.heard else { return None };
        line.starts_with("AUTH").then(|| Act::Say(format!("421 4.7.0 bad line: {line} (hunter2)")))
    })
    .tls(true, &certificate)
    .offering(&["AUTH PLAIN"])
    .start();
    let config = SmtpConfig {
        credentials: Some(credentials(Mechanism::Plain, &password)),
        ..secure(TlsMode::Implicit, &certificate)
    };
    let error = Opener::new(Arc::new(config), server.clone()).open(&mut |_| ()).await.unwrap_err();
    let reason = format!("{error} {error:?}");
    let encoded = STANDARD.encode("\0ana\0hunter2");
    assert!(reason.contains("421") && !reason.contains("hunter2") && !reason.contains(&encoded), "{reason}");
}

#[tokio::test]
async fn a_login_echoed_in_a_later_reply_is_not_stored() {
    let certificate = Certificate::new("mx.example.org");
    let password = secret("hunter2");
    let encoded = STANDARD.encode("\0ana\0hunter2");
    let echo = format!("550 5.7.1 never: {encoded} hunter2");
    let server = Server::new(move |moment| {
        let Heard::Line(line) = moment.heard else { return None };
        match () {
            () if line.starts_with("AUTH") => Some(Act::Say("235 2.7.0 fine".to_owned())),
            () if line.starts_with("MAIL") => Some(Act::Say(echo.clone())),
            () => None,
        }
    })
    .tls(true, &certificate)
    .offering(&["AUTH PLAIN"])
    .start();
    let config = SmtpConfig {
        credentials: Some(credentials(Mechanism::Plain, &password)),
        ..secure(TlsMode::Implicit, &certificate)
    };
    let reason = match one(config, &server).await {
        State::Failed(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason.contains("never: … …"), "{reason}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_keeps_the_mail() {
    let certificate = Certificate::new("mx.example.org");
    let password = secret("hunter2");
    let config = SmtpConfig {
        credentials: Some(credentials(Mechanism::Plain, &password)),
        ..secure(TlsMode::Implicit, &certificate)
    };
    drop(password);
    let server = Server::polite().tls(true, &certificate).offering(&["AUTH PLAIN"]).start();
    assert_eq!(one(config, &server).await, State::Queued);
    assert_eq!(server.count("AUTH") + server.count("MAIL"), 0);
}

#[tokio::test]
async fn fifty_who_ask_at_once_read_a_secret_once() {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let script = format!("echo call >> {0}; cat {0} | wc -l", calls.display());
    let keeper = Arc::new(Keeper::new(Secret::Command(vec!["sh".to_owned(), "-c".to_owned(), script])));
    let first = keeper.fresh().await.unwrap();
    assert_eq!(first.value.expose().trim(), "1");
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (keeper, generation) = (Arc::clone(&keeper), first.generation);
            tokio::spawn(async move { keeper.newer_than(generation).await.unwrap().value.expose().trim().to_owned() })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "2");
    }
    assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 2);
    // A new connection asks anew.
    assert_eq!(keeper.fresh().await.unwrap().value.expose().trim(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_keeps_all_mails_and_is_tried_rarely() {
    let certificate = Certificate::new("mx.example.org");
    let password = secret("hunter2");
    let server = Server::new(|moment| moment.is("AUTH").then(|| say("535 5.7.8 bad")))
        .tls(true, &certificate)
        .offering(&["AUTH PLAIN"])
        .start();
    let config = SmtpConfig {
        credentials: Some(credentials(Mechanism::Plain, &password)),
        ..secure(TlsMode::Implicit, &certificate)
    };
    let queue = Memory::new();
    queue.add_many(100);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let run =
        tokio::spawn(worker::run(queue.clone(), Arc::new(config), server.clone(), retry(), Until::Stopped(stopped)));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    stop.send(true).unwrap();
    run.await.unwrap().unwrap();
    assert!((4..=8).contains(&server.count("AUTH")), "{}", server.count("AUTH"));
    assert_eq!(queue.number(|state| *state == State::Queued), 100);
    assert!(queue.rows().iter().all(|row| row.attempts == 0));
}
