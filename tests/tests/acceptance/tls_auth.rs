//! TLS and logins: credentials and mails go to the right server, by the right way, or nowhere.

use std::time::Duration;

use acceptance::event::event;
use acceptance::sink::{Certificate, SinkBuilder};
use acceptance::{Action, Phase, Site, SmtpSink, TestEnv, wait_until};

const PASSWORD: &str = "s3cret";

/// A site with a login, and its server.
fn site(builder: SinkBuilder, mode: &str) -> (TestEnv, SmtpSink) {
    let env = TestEnv::new();
    let sink = builder.start();
    env.config(&Site::tls(sink.port(), mode).login("bewit").timeouts("3 s").retry("100 ms"));
    env.drop_events("a.jsonl", &[event(1)]);
    (env, sink)
}

fn starttls(certificate: Certificate) -> SinkBuilder {
    SmtpSink::decent().starttls(certificate).login("bewit", PASSWORD, &["PLAIN", "LOGIN"])
}

/// Nothing that tells a listener anything: neither the login, nor the mail, nor its envelope.
#[track_caller]
fn assert_nothing_in_clear(sink: &SmtpSink) {
    let clear = String::from_utf8_lossy(&sink.clear_text()).into_owned();
    let upper = clear.to_ascii_uppercase();
    // The password as it is, and in base64 at all three alignments.
    let secrets = ["S3CRET", "CZNJCMV0", "MZY3JLD", "ZM2NYZX", "ANA@EXAMPLE"].map(str::to_owned);
    for word in ["AUTH", "MAIL FROM", "RCPT", "DATA", "SUBJECT"].map(str::to_owned).iter().chain(&secrets) {
        assert!(!upper.contains(word.as_str()), "{word} in clear: {clear:?}");
    }
    assert!(!sink.violations().iter().any(|one| one.contains("in clear")), "{:?}", sink.violations());
}

fn kept(env: &TestEnv) -> bool {
    env.recipients().iter().all(|one| ["queued", "deferred"].contains(&one.state.as_str()))
}

#[test]
fn a_mail_goes_by_tls_with_a_login() {
    for (builder, mode) in [
        (starttls(Certificate::Good), "starttls"),
        (SmtpSink::decent().implicit(Certificate::Good).login("bewit", PASSWORD, &["PLAIN"]), "implicit"),
    ] {
        let (env, sink) = site(builder, mode);
        env.once().expect(0);
        assert_eq!(sink.count(), 1);
        let sessions = sink.sessions();
        assert!(sessions[0].tls);
        assert_eq!(sessions[0].user.as_deref(), Some("bewit"));
        assert_nothing_in_clear(&sink);
        sink.assert_clean();
    }
}

/// Behaviours of servers, and of those who sit between: each must leave mail and password where they are.
#[test]
fn no_trick_gets_anything_in_clear() {
    let ehlo = |text: &str| Action::reply(format!("250-sink.test\r\n{text}"));
    let raw = |text: &str| Action::Raw(text.as_bytes().to_vec());
    let cases: Vec<(&str, Phase, Action)> = vec![
        ("STARTTLS not offered", Phase::Ehlo, ehlo("250 AUTH PLAIN LOGIN")),
        ("STARTTLS hidden in a longer word", Phase::Ehlo, ehlo("250-XSTARTTLS\r\n250 AUTH PLAIN")),
        ("STARTTLS with a parameter-like tail only", Phase::Ehlo, ehlo("250-AUTH PLAIN\r\n250 STARTTLSX")),
        ("EHLO refused", Phase::Ehlo, Action::reply("502 no EHLO here")),
        ("STARTTLS refused for now", Phase::StartTls, Action::reply("454 4.7.0 TLS not available")),
        ("STARTTLS refused for good", Phase::StartTls, Action::reply("502 5.5.1 no")),
        ("STARTTLS answered 250", Phase::StartTls, Action::reply("250 ok, but in clear")),
        ("STARTTLS answered 235", Phase::StartTls, Action::reply("235 2.7.0 you are logged in")),
        ("STARTTLS answered 334", Phase::StartTls, Action::reply("334 VXNlcm5hbWU6")),
        ("STARTTLS answered in garbage", Phase::StartTls, raw("\x16\x03\x01\0\0garbage\r\n")),
        ("STARTTLS not answered", Phase::StartTls, Action::Silence),
        ("STARTTLS answered by hanging up", Phase::StartTls, Action::Close),
        ("a reply injected behind the 220", Phase::StartTls, raw("220 go\r\n250-sink.test\r\n250 AUTH PLAIN\r\n")),
        (
            "a login injected behind the 220",
            Phase::StartTls,
            raw("220 go\r\n250 ok\r\n235 welcome\r\n250 ok\r\n250 ok\r\n"),
        ),
        ("a byte injected behind the 220", Phase::StartTls, raw("220 go\r\nx")),
        ("a second line of the 220 that is another reply", Phase::StartTls, raw("220-go\r\n250 ok\r\n")),
        ("clear text instead of the handshake", Phase::Handshake, Action::reply("250 never mind")),
        ("a handshake that never comes", Phase::Handshake, Action::Silence),
        ("a handshake that breaks off", Phase::Handshake, Action::Close),
        ("a greeting that is already the EHLO's answer", Phase::Greeting, raw("220 a\r\n250-a\r\n250 AUTH PLAIN\r\n")),
        ("a greeting that says it is TLS", Phase::Greeting, raw("\x15\x03\x01\0\x02\x02\x28")),
        ("a greeting that promises a login", Phase::Greeting, Action::reply("235 welcome")),
    ];
    for (what, phase, action) in cases {
        // Each trick for good: whoever is tricked once is tricked.
        let (env, sink) = site(starttls(Certificate::Good).at(phase, action), "starttls");
        let said = env.once();
        said.check(said.status.code() == Some(1), what);
        assert_nothing_in_clear(&sink);
        assert_eq!(sink.count(), 0, "{what}\n{}", sink.dialogues());
        assert!(kept(&env), "{what}: {:?}", env.recipients());
        let after_tls = sink.sessions().iter().any(|session| session.user.is_some());
        assert!(!after_tls, "{what}: no login over a tampered handshake\n{}", sink.dialogues());
    }
    for bad in [Certificate::WrongName, Certificate::Expired, Certificate::Unknown] {
        for mode in ["starttls", "implicit"] {
            let builder = match mode {
                "implicit" => SmtpSink::decent().implicit(bad).login("bewit", PASSWORD, &["PLAIN"]),
                _ => starttls(bad),
            };
            let (env, sink) = site(builder, mode);
            let said = env.once().expect(1);
            said.check(said.err().to_lowercase().contains("certificate"), "the log says what is wrong with it");
            assert_nothing_in_clear(&sink);
            assert!(sink.sessions().iter().all(|session| session.user.is_none()));
            assert!(kept(&env));
        }
    }
    // TLS where there is none.
    let (env, sink) = site(starttls(Certificate::Good), "implicit");
    env.once().expect(1);
    assert_nothing_in_clear(&sink);
    assert!(kept(&env));
}

#[test]
fn what_was_learned_before_tls_is_forgotten() {
    // Before TLS the server promises what it does not keep: PIPELINING and a SIZE that would forbid the mail.
    let env = TestEnv::new();
    let sink = SmtpSink::bare()
        .starttls(Certificate::Good)
        .login("bewit", PASSWORD, &["PLAIN"])
        .at(
            Phase::Ehlo,
            Action::reply("250-sink.test\r\n250-PIPELINING\r\n250-SIZE 10\r\n250-8BITMIME\r\n250 STARTTLS"),
        )
        .start();
    env.config(&Site::tls(sink.port(), "starttls").login("bewit"));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(0);
    assert_eq!(sink.count(), 1);
    sink.assert_clean();
}

#[test]
fn skip_verify_is_a_choice() {
    for bad in [Certificate::WrongName, Certificate::Expired, Certificate::Unknown] {
        let env = TestEnv::new();
        let sink = starttls(bad).start();
        env.config(
            &Site::tls(sink.port(), "starttls")
                .login("bewit")
                .smtp_key("skip_verify = true")
                .smtp_key("root_ca = \"ca.pem\""),
        );
        env.drop_events("a.jsonl", &[event(1)]);
        let said = env.once();
        // Together with root_ca it may be refused as a contradiction, but never half obeyed.
        if said.status.code() == Some(2) {
            let text = env.read("bewit.toml").replace("root_ca = \"ca.pem\"\n", "");
            env.write("bewit.toml", text);
            env.once().expect(0);
        }
        assert_eq!(sink.count(), 1);
        sink.assert_clean();
    }
}

#[test]
fn no_credentials_without_protection() {
    let env = TestEnv::new();
    env.config(&Site::smtp(2525).login("bewit"));
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("tls"), "it says which key is wrong");
}

#[test]
fn mechanisms_are_spoken_as_they_are_written() {
    for (auth, mechanism) in
        [("plain", "PLAIN"), ("login", "LOGIN"), ("xoauth2", "XOAUTH2"), ("oauthbearer", "OAUTHBEARER")]
    {
        let env = TestEnv::new();
        let sink = SmtpSink::decent().starttls(Certificate::Good).login("bewit", PASSWORD, &[mechanism]).start();
        let mut site = Site::tls(sink.port(), "starttls").smtp_key(&format!("auth = \"{auth}\""));
        site = if auth.contains("oauth") {
            env.write_secret("oauth", &format!("{PASSWORD}\n"));
            site.smtp_key("username = \"bewit\"").smtp_key("token_file = \"oauth\"")
        } else {
            site.login("bewit")
        };
        env.config(&site);
        env.drop_events("a.jsonl", &[event(1)]);
        env.once().expect(0);
        assert_eq!(sink.sessions()[0].user.as_deref(), Some("bewit"), "{auth}\n{}", sink.dialogues());
        assert_eq!(sink.count(), 1);
        sink.assert_clean();
    }
}

#[test]
fn a_mechanism_that_is_not_offered_is_not_replaced_by_another() {
    let (env, sink) = site(
        SmtpSink::decent().starttls(Certificate::Good).login("bewit", PASSWORD, &["LOGIN", "CRAM-MD5"]),
        "starttls",
    );
    env.once().expect(1);
    assert!(!sink.dialogues().contains("C: AUTH"), "{}", sink.dialogues());
    assert!(kept(&env));

    // And no AUTH at all: a mail without the login that was configured is refused too.
    let env = TestEnv::new();
    let sink = SmtpSink::decent().starttls(Certificate::Good).start();
    env.config(&Site::tls(sink.port(), "starttls").login("bewit"));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(1);
    assert_eq!(sink.count(), 0);
    assert!(kept(&env));
}

#[test]
fn a_refused_login_suspends_the_relay_and_keeps_the_mails() {
    for reply in [
        "535 5.7.8 bad credentials",
        "534 5.7.9 too weak",
        "530 5.7.0 encryption required",
        "538 5.7.11 no",
        "432 4.7.12 password expired",
        "454 4.7.0 temporary failure",
        "421 4.7.0 too many logins",
        "500 what",
        "504 5.5.4 no",
    ] {
        let env = TestEnv::new();
        let sink = starttls(Certificate::Good)
            .script(move |moment| match moment.phase {
                Phase::Auth if moment.count < 2 => Action::reply(reply),
                _ => Action::Normal,
            })
            .start();
        env.config(&Site::tls(sink.port(), "starttls").login("bewit").smtp_key("connections = 1").retry("300 ms"));
        env.drop_events("a.jsonl", &acceptance::event::many(0, 10));
        let said = env.once().expect(1);
        assert!(kept(&env), "{reply}: {:?}", env.recipients());
        let tries = sink
            .sessions()
            .iter()
            .filter(|session| session.lines.iter().any(|line| line.starts_with("C: AUTH")))
            .count();
        assert!(tries <= 2, "{reply}: {tries} logins for ten mails");
        assert!(!said.err().contains(PASSWORD), "the log keeps the password to itself");
        wait_until("the relay to be tried again", 60.0, || env.once().status.success());
        assert_eq!(sink.count(), 10, "{reply}");
        env.verify();
    }
}

#[test]
fn a_refused_token_is_refreshed_once() {
    for (auth, mechanism) in [("xoauth2", "XOAUTH2"), ("oauthbearer", "OAUTHBEARER")] {
        let env = TestEnv::new();
        let sink = SmtpSink::decent().starttls(Certificate::Good).login("bewit", "fresh-token", &[mechanism]).start();
        // The first call gives an old token, the second the fresh one; each call is counted.
        env.write(
            "token.sh",
            "#!/bin/sh\necho call >> calls\nif [ \"$(wc -l < calls)\" = 1 ]; then echo stale-token; else echo fresh-token; fi\n",
        );
        env.config(
            &Site::tls(sink.port(), "starttls")
                .smtp_key(&format!("auth = \"{auth}\""))
                .smtp_key("username = \"bewit\"")
                .smtp_key("token_command = [\"sh\", \"token.sh\"]")
                .smtp_key("connections = 1"),
        );
        env.drop_events("a.jsonl", &[event(1)]);
        env.once().expect(0);
        assert_eq!(env.read("calls").lines().count(), 2, "asked again exactly once");
        assert_eq!(sink.count(), 1);
        sink.assert_clean();

        // A token that stays bad: one refresh, then the relay is suspended and the mail kept.
        sink.set_secret("another");
        env.drop_events("b.jsonl", &[event(2)]);
        env.once().expect(1);
        assert_eq!(env.read("calls").lines().count(), 4);
        assert_eq!(env.recipients().iter().filter(|one| one.state != "delivered").count(), 1);
        env.verify();
    }
}

#[test]
fn a_new_password_is_taken_without_a_restart() {
    let (env, sink) = site(starttls(Certificate::Good), "starttls");
    env.write_secret("password", "wrong\n");
    let mut daemon = env.daemon();
    daemon.wait_for("a refused login", 30.0, |_| sink.dialogues().contains("535 ").then_some(()));
    env.write_secret("password", PASSWORD);
    daemon.wait_for("the mail", 60.0, |_| (sink.count() == 1).then_some(()));
    assert!(!daemon.log().contains(PASSWORD));
    assert!(!daemon.log().contains("wrong\n"));
}

#[test]
fn secrets_are_in_no_log_and_no_file() {
    let secret = "c4nary-0f-the-m1ne";
    let env = TestEnv::new();
    let sink = SmtpSink::decent().starttls(Certificate::Good).login("bewit", secret, &["PLAIN"]).start();
    env.config(&Site::tls(sink.port(), "starttls").login("bewit"));
    env.write_secret("password", secret);
    env.drop_events("a.jsonl", &[event(1)]);
    let said = env.bewit(["--log", "trace", "run", "--once"]).run().expect(0);
    assert_eq!(sink.count(), 1);
    let wire = sink.sessions()[0].lines.iter().find(|line| line.contains("AUTH PLAIN ")).unwrap().clone();
    let base64 = wire.rsplit(' ').next().unwrap().trim_end_matches('=').to_owned();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let reversed: String = secret.chars().rev().collect();
    let needles = [secret.to_owned(), base64, hex, reversed];
    let mut haystacks =
        vec![("the log".to_owned(), said.stderr.clone()), ("the output".to_owned(), said.stdout.clone())];
    for name in std::fs::read_dir(env.root()).unwrap().flatten() {
        if name.file_type().unwrap().is_file() && name.file_name() != "password" {
            haystacks.push((name.file_name().to_string_lossy().into_owned(), std::fs::read(name.path()).unwrap()));
        }
    }
    for (name, bytes) in haystacks {
        for needle in &needles {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{needle} in {name}");
        }
    }
}

#[test]
fn a_login_that_hangs_is_given_up() {
    let (env, sink) = site(
        starttls(Certificate::Good).at(Phase::Auth, Action::Delay(Duration::from_secs(600), Box::new(Action::Normal))),
        "starttls",
    );
    env.once().expect(1);
    assert!(kept(&env));
    assert_eq!(sink.count(), 0);
}

#[test]
fn secret_files_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let env = TestEnv::new();
    env.config(&Site::tls(2525, "starttls").login("bewit"));
    std::fs::set_permissions(env.path("password"), std::fs::Permissions::from_mode(0o604)).unwrap();
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("password"), "it names the file");
    std::fs::set_permissions(env.path("password"), std::fs::Permissions::from_mode(0o640)).unwrap();
    env.bewit(["check"]).run().expect(0);
}
