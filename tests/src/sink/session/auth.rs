//! AUTH, as the server hears it: PLAIN, LOGIN, XOAUTH2 and OAUTHBEARER.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Dialogue, Phase, Step};

impl Dialogue<'_> {
    pub(super) fn auth(&mut self, line: &str) -> Step {
        if !self.tls {
            self.violation("AUTH in clear".to_owned());
        }
        if !self.greeted || self.user {
            self.violation("AUTH out of order".to_owned());
        }
        let mut words = line.split(' ').skip(1);
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let initial = words.next().map(str::to_owned);
        if !self.shared.settings.mechanisms.contains(&mechanism) {
            self.violation(format!("AUTH {mechanism} that was not offered"));
        }
        // A script may answer AUTH itself, for good or bad.
        let mut normal = false;
        let said = self.act(Phase::Auth, line, "", "", &mut |_| normal = true)?;
        if !normal {
            return self.logged_in(&said);
        }
        let accepted = match mechanism.as_str() {
            "PLAIN" => {
                let answer = self.answer(initial, "334 ")?;
                self.plain(&answer)
            }
            "LOGIN" => {
                let user = self.answer(initial, "334 VXNlcm5hbWU6")?;
                let password = self.answer(None, "334 UGFzc3dvcmQ6")?;
                self.right(&user, &password)
            }
            "XOAUTH2" | "OAUTHBEARER" => {
                let answer = self.answer(initial, "334 ")?;
                let right = self.bearer(&mechanism, &answer);
                if !right {
                    // RFC 7628 section 3.2.3: the error comes in a challenge; the client answers it and reads the 535.
                    let _ = self.answer(None, "334 eyJzdGF0dXMiOiI0MDEifQ==")?;
                }
                right
            }
            _ => false,
        };
        let reply = if accepted { "235 welcome" } else { "535 5.7.8 who are you?" };
        self.say_line(reply)?;
        self.logged_in(reply)
    }

    fn logged_in(&mut self, reply: &str) -> Step {
        if reply.starts_with("235") {
            self.user = true;
            let name = self.shared.settings.user.as_ref().map(|(name, _)| name.clone());
            self.note(|session| session.user = name);
        }
        Ok(())
    }

    /// The client's next answer, decoded: what it sent with AUTH, or what it sends after the challenge.
    fn answer(&mut self, initial: Option<String>, challenge: &str) -> Step<String> {
        let text = match initial {
            Some(text) => text,
            None => {
                let said = self.act(Phase::AuthStep, "", "", challenge, &mut |_| ())?;
                if !said.starts_with("334") {
                    return Ok(String::new());
                }
                self.line()?
            }
        };
        if text == "=" || text.is_empty() {
            return Ok(String::new());
        }
        match BASE64.decode(&text) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(_) if text == "*" => Ok(String::new()),
            Err(error) => {
                self.violation(format!("AUTH answer {text:?}: {error}"));
                Ok(String::new())
            }
        }
    }

    fn plain(&self, answer: &str) -> bool {
        let parts: Vec<&str> = answer.split('\0').collect();
        matches!(parts[..], [_, user, password] if self.right(user, password))
    }

    fn bearer(&self, mechanism: &str, answer: &str) -> bool {
        let secret = self.shared.secret.lock().unwrap().clone();
        let Some((user, _)) = &self.shared.settings.user else { return false };
        if mechanism == "XOAUTH2" {
            return answer == format!("user={user}\u{1}auth=Bearer {secret}\u{1}\u{1}");
        }
        answer.starts_with(&format!("n,a={user},\u{1}"))
            && answer.contains(&format!("\u{1}auth=Bearer {secret}\u{1}"))
            && answer.ends_with("\u{1}\u{1}")
    }

    fn right(&self, user: &str, secret: &str) -> bool {
        self.shared.settings.user.as_ref().is_some_and(|(name, _)| name == user)
            && *self.shared.secret.lock().unwrap() == secret
    }
}
