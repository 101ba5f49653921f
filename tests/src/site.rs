//! Configurations: what a site would write.

use std::fmt::Write as _;

/// A configuration in the making.
#[derive(Debug, Clone)]
pub struct Site {
    smtp: Vec<String>,
    outbox: Vec<String>,
    sections: String,
    rules: String,
}

/// The rule of most tests: tells Ana of everything, at once, with the process list in the mail.
pub const RULE: &str = r#"
[[rule]]
name = "analyst"
recipients = ["ana@example.org"]
send_interval = 0
include_result_table_from = [{ source = "Pslist" }]
"#;

impl Site {
    /// Mails go into the folder `mail`.
    #[must_use]
    pub fn mailbox() -> Self {
        Self::with(vec!["mailbox = \"mail\"".to_owned()])
    }

    /// Mails go to a server on loopback, in clear; it is tried again soon, and waited for long.
    #[must_use]
    pub fn smtp(port: u16) -> Self {
        Self::with(vec!["server = \"127.0.0.1\"".to_owned(), format!("port = {port}"), "tls = \"none\"".to_owned()])
            .retry("100 ms")
            .timeouts("30 s")
    }

    /// Mails go to `localhost` by TLS (`starttls` or `implicit`), which the test's own authority vouches for.
    #[must_use]
    pub fn tls(port: u16, mode: &str) -> Self {
        Self::with(vec![
            "server = \"localhost\"".to_owned(),
            format!("port = {port}"),
            format!("tls = \"{mode}\""),
            "root_ca = \"ca.pem\"".to_owned(),
        ])
        .retry("100 ms")
        .timeouts("30 s")
    }

    fn with(mut smtp: Vec<String>) -> Self {
        smtp.push("from = \"Bewit <bewit@example.org>\"".to_owned());
        Self {
            smtp,
            outbox: vec!["url = \"sqlite:bewit.db\"".to_owned()],
            sections: "\n[intake.spool]\npath = \"spool\"\n".to_owned(),
            rules: String::new(),
        }
    }

    /// One more line in `[smtp]`; it replaces a line of the same key.
    #[must_use]
    pub fn smtp_key(mut self, line: &str) -> Self {
        let key = line.split('=').next().unwrap_or_default().trim().to_owned();
        self.smtp.retain(|own| own.split('=').next().unwrap_or_default().trim() != key);
        self.smtp.push(line.to_owned());
        self
    }

    /// When it is tried again.
    #[must_use]
    pub fn retry(self, wait: &str) -> Self {
        self.smtp_key(&format!("retry = [\"{wait}\"]"))
    }

    /// One time limit for each phase.
    #[must_use]
    pub fn timeouts(self, each: &str) -> Self {
        let phases = ["connect", "greeting", "command", "data", "final"];
        let table = phases.map(|phase| format!("{phase} = \"{each}\"")).join(", ");
        self.smtp_key(&format!("timeouts = {{ {table} }}"))
    }

    /// Logs in with the password in the file `password`.
    #[must_use]
    pub fn login(self, user: &str) -> Self {
        self.smtp_key(&format!("username = \"{user}\"")).smtp_key("password_file = \"password\"")
    }

    /// One more line in `[outbox]`.
    #[must_use]
    pub fn outbox_key(mut self, line: &str) -> Self {
        self.outbox.push(line.to_owned());
        self
    }

    /// More sections, or keys of `[intake.spool]` at its beginning.
    #[must_use]
    pub fn more(mut self, text: &str) -> Self {
        let _ = writeln!(self.sections, "{text}");
        self
    }

    /// Takes events by HTTP, with the token in the file `token`.
    #[must_use]
    pub fn http(self, listen: std::net::SocketAddr) -> Self {
        self.more(&format!("\n[intake.http]\nlisten = \"{listen}\"\ntoken_file = \"token\""))
    }

    /// A rule: [`RULE`] unless there is another.
    #[must_use]
    pub fn rule(mut self, text: &str) -> Self {
        self.rules.push_str(text);
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "[smtp]\n{}\n\n[outbox]\n{}\n{}{}",
            self.smtp.join("\n"),
            self.outbox.join("\n"),
            self.sections,
            if self.rules.is_empty() { RULE } else { &self.rules }
        )
    }
}
