//! One dialogue of the test's mail server.

mod act;
mod auth;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

use super::{Action, Moment, Phase, Received, Session, Shared};

/// A command line may be longer than RFC 5321's 512 only for AUTH (RFC 4954 section 4).
const LONGEST_COMMAND: usize = 12_288;

enum Wire {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    Gone,
}

impl Wire {
    fn stream(&mut self) -> io::Result<&mut dyn ReadWrite> {
        match self {
            Self::Clear(stream) => Ok(stream),
            Self::Tls(stream) => Ok(stream.as_mut()),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// The client or the script has ended the connection.
struct Ended;

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self
    }
}

type Step<T = ()> = Result<T, Ended>;

struct Dialogue<'a> {
    shared: &'a Shared,
    wire: Wire,
    buffer: Vec<u8>,
    number: usize,
    tls: bool,
    user: bool,
    greeted: bool,
    mail: Option<Envelope>,
}

struct Envelope {
    from: String,
    to: Vec<String>,
    parameters: String,
    eight_bit: bool,
    utf8: bool,
}

pub(super) fn run(shared: &Arc<Shared>, connection: TcpStream) {
    let _ = connection.set_nodelay(true);
    // Short, so that a silent server notices both the client's end and its own.
    let _ = connection.set_read_timeout(Some(Duration::from_millis(50)));
    let _ = connection.set_write_timeout(Some(Duration::from_secs(120)));
    let number = {
        let mut sessions = shared.sessions.lock().unwrap();
        sessions.push(Session {
            clear: Vec::new(),
            lines: Vec::new(),
            tls: false,
            user: None,
            phase: Phase::Greeting,
            opened: Instant::now(),
            closed: None,
        });
        sessions.len() - 1
    };
    let mut dialogue = Dialogue {
        shared,
        wire: Wire::Clear(connection),
        buffer: Vec::new(),
        number,
        tls: false,
        user: false,
        greeted: false,
        mail: None,
    };
    let _ = dialogue.talk();
    dialogue.note(|session| session.closed = Some(Instant::now()));
}

impl Dialogue<'_> {
    fn talk(&mut self) -> Step {
        if self.shared.settings.implicit {
            self.act(Phase::Handshake, "", "", "", &mut |_| ())?;
            self.upgrade()?;
        }
        // A server that refuses still hears the client's QUIT.
        self.act(Phase::Greeting, "", "", "220 sink.test ESMTP", &mut |_| ())?;
        loop {
            let line = self.line()?;
            self.command(&line)?;
        }
    }

    fn command(&mut self, line: &str) -> Step {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        if !matches!(verb.as_str(), "AUTH" | "MAIL" | "RCPT") && line.len() > 510 {
            self.violation(format!("a command of {} octets", line.len()));
        }
        self.check_pipelining(&verb);
        match verb.as_str() {
            "EHLO" | "HELO" => {
                let phase = if self.tls { Phase::EhloTls } else { Phase::Ehlo };
                let reply = self.capabilities();
                self.mail = None;
                if self.act(phase, line, "", &reply, &mut |_| ())?.starts_with('2') {
                    self.greeted = true;
                }
            }
            "STARTTLS" => self.starttls(line)?,
            "AUTH" => self.auth(line)?,
            "MAIL" => self.mail(line)?,
            "RCPT" => self.rcpt(line)?,
            "DATA" => self.data(line)?,
            "QUIT" => {
                self.act(Phase::Quit, line, "", "221 bye", &mut |_| ())?;
                return Err(Ended);
            }
            "RSET" => {
                self.mail = None;
                self.act(Phase::Other, line, "", "250 reset", &mut |_| ())?;
            }
            "NOOP" => {
                self.act(Phase::Other, line, "", "250 ok", &mut |_| ())?;
            }
            _ => {
                self.violation(format!("no command: {:?}", line.chars().take(100).collect::<String>()));
                self.say(b"500 what?\r\n")?;
            }
        }
        Ok(())
    }

    fn capabilities(&self) -> String {
        let settings = &self.shared.settings;
        let mut words = vec!["sink.test".to_owned()];
        words.extend(settings.capabilities.iter().cloned());
        words.extend(settings.size.map(|limit| format!("SIZE {limit}")));
        if settings.starttls && !self.tls {
            words.push("STARTTLS".to_owned());
        }
        if !settings.mechanisms.is_empty() {
            words.push(format!("AUTH {}", settings.mechanisms.join(" ")));
        }
        let last = words.len() - 1;
        let lines: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(at, word)| format!("250{}{word}", if at == last { ' ' } else { '-' }))
            .collect();
        lines.join("\r\n")
    }

    fn offers(&self, keyword: &str) -> bool {
        self.shared.settings.capabilities.iter().any(|own| own.eq_ignore_ascii_case(keyword))
    }

    /// RFC 2920: without the offer one command at a time; with it, these must be the last of a group.
    fn check_pipelining(&mut self, verb: &str) {
        let last = matches!(verb, "EHLO" | "HELO" | "STARTTLS" | "AUTH" | "DATA" | "QUIT" | "NOOP");
        if !self.buffer.is_empty() && (last || !self.offers("PIPELINING")) {
            self.violation(format!("{} bytes sent behind {verb} before its reply", self.buffer.len()));
        }
    }

    fn starttls(&mut self, line: &str) -> Step {
        if !self.shared.settings.starttls || self.tls {
            self.violation("STARTTLS that was not offered".to_owned());
        }
        if !self.act(Phase::StartTls, line, "", "220 go ahead", &mut |_| ())?.starts_with("220") {
            return Ok(());
        }
        self.act(Phase::Handshake, "", "", "", &mut |_| ())?;
        self.upgrade()
    }

    fn upgrade(&mut self) -> Step {
        let Wire::Clear(stream) = std::mem::replace(&mut self.wire, Wire::Gone) else { return Err(Ended) };
        let Some(config) = &self.shared.settings.tls else { return Err(Ended) };
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(|_| Ended)?;
        let mut stream = stream;
        while tls.is_handshaking() {
            match tls.complete_io(&mut stream) {
                Ok(_) => {}
                Err(error) if waits(&error) => self.check_stop()?,
                Err(_) => return Err(Ended),
            }
        }
        self.wire = Wire::Tls(Box::new(StreamOwned::new(tls, stream)));
        self.tls = true;
        self.greeted = self.shared.settings.implicit && self.greeted;
        self.buffer.clear();
        self.note(|session| session.tls = true);
        Ok(())
    }

    fn mail(&mut self, line: &str) -> Step {
        let (address, parameters) = self.path(line, "MAIL FROM:");
        if !self.greeted || self.mail.is_some() {
            self.violation(format!("MAIL out of order: {line}"));
        }
        let upper = parameters.to_ascii_uppercase();
        let mut eight_bit = false;
        let mut utf8 = false;
        let mut too_big = false;
        for word in upper.split_whitespace() {
            match word.split_once('=') {
                Some(("SIZE", size)) => {
                    if self.shared.settings.size.is_none() {
                        self.violation("SIZE that was not offered".to_owned());
                    }
                    let limit = self.shared.settings.size.filter(|&limit| limit > 0).unwrap_or(u64::MAX);
                    too_big = size.parse::<u64>().is_ok_and(|size| size > limit);
                }
                Some(("BODY", kind)) => {
                    eight_bit = kind == "8BITMIME";
                    if !self.offers("8BITMIME") {
                        self.violation("BODY that was not offered".to_owned());
                    }
                }
                None if word == "SMTPUTF8" => {
                    utf8 = true;
                    if !self.offers("SMTPUTF8") {
                        self.violation("SMTPUTF8 that was not offered".to_owned());
                    }
                }
                _ => self.violation(format!("a MAIL parameter nobody asked for: {word}")),
            }
        }
        let wants_login = self.shared.settings.user.is_some() && !self.user;
        let reply = match (wants_login, too_big) {
            (true, _) => "530 5.7.0 log in first",
            (_, true) => "552 5.3.4 too big",
            _ => "250 2.1.0 ok",
        };
        if self.act(Phase::Mail, line, &address, reply, &mut |_| ())?.starts_with('2') {
            self.mail = Some(Envelope { from: address, to: Vec::new(), parameters, eight_bit, utf8 });
        }
        Ok(())
    }

    fn rcpt(&mut self, line: &str) -> Step {
        let (address, _) = self.path(line, "RCPT TO:");
        // Behind a refused MAIL in one group it is no fault, only in vain.
        let wanted = if self.mail.is_some() { "250 2.1.5 ok" } else { "503 5.5.1 MAIL first" };
        if let Some(mail) = &self.mail
            && !address.is_ascii()
            && !mail.utf8
        {
            self.violation(format!("{address} without SMTPUTF8"));
        }
        if self.act(Phase::Rcpt, line, &address, wanted, &mut |_| ())?.starts_with('2')
            && let Some(mail) = &mut self.mail
        {
            mail.to.push(address);
        }
        Ok(())
    }

    /// The address in angle brackets behind `verb`, and what follows it.
    fn path(&mut self, line: &str, verb: &str) -> (String, String) {
        let found = line
            .get(..verb.len())
            .filter(|start| start.eq_ignore_ascii_case(verb))
            .and_then(|_| line[verb.len()..].strip_prefix('<'))
            .and_then(|rest| rest.split_once('>'));
        match found {
            Some((address, parameters)) => (address.to_owned(), parameters.trim_start().to_owned()),
            None => {
                self.violation(format!("no path: {line:?}"));
                (String::new(), String::new())
            }
        }
    }

    fn data(&mut self, line: &str) -> Step {
        let somebody = self.mail.as_ref().is_some_and(|mail| !mail.to.is_empty());
        let wanted = if somebody { "354 go on" } else { "554 5.5.1 nobody to send to" };
        if !self.act(Phase::Data, line, "", wanted, &mut |_| ())?.starts_with("354") {
            // RFC 5321 section 3.3: DATA that failed ends no transaction, but no test client goes on with it.
            return Ok(());
        }
        self.act(Phase::Block, "", "", "", &mut |_| ())?;
        let raw = self.content()?;
        let mail = self.mail.take();
        self.check_content(&raw, mail.as_ref());
        let limit = self.shared.settings.size.filter(|&limit| limit > 0).unwrap_or(u64::MAX);
        let over = raw.len() as u64 > limit;
        if over {
            self.violation(format!("{} octets sent to a server with SIZE {limit}", raw.len()));
        }
        let mut received = mail.filter(|mail| !mail.to.is_empty()).map(|mail| Received {
            session: self.number,
            from: mail.from,
            to: mail.to,
            raw,
            parameters: mail.parameters,
            at: std::time::Instant::now(),
        });
        let wanted = match (&received, over) {
            (_, true) => "552 5.3.4 too big",
            (None, _) => "554 5.5.1 nobody to send to",
            (Some(_), _) => "250 2.0.0 taken",
        };
        let shared = self.shared;
        self.act(Phase::Dot, "", "", wanted, &mut |take| {
            // On disk before the reply leaves: whoever loses a mail after this, it was not this server.
            if take && let Some(received) = received.take() {
                shared.take(received);
            }
        })?;
        Ok(())
    }

    /// The mail's bytes up to the final dot, dot-stuffing undone.
    fn content(&mut self) -> Step<Vec<u8>> {
        let mut raw = Vec::new();
        let mut from = 0;
        loop {
            let Some(end) = self.buffer[from..].iter().position(|&byte| byte == b'\n') else {
                self.buffer.drain(..from);
                from = 0;
                if self.buffer.len() > 10_000_000 {
                    self.violation("a line of 10 MB".to_owned());
                    return Err(Ended);
                }
                self.more()?;
                continue;
            };
            let line = &self.buffer[from..=from + end];
            from += end + 1;
            // Only CRLF.CRLF ends a mail (RFC 5321 section 4.1.1.4): whatever else looks like it is data.
            let at_start = raw.is_empty() || raw.ends_with(b"\r\n");
            if at_start && line == b".\r\n" {
                self.buffer.drain(..from);
                return Ok(raw);
            }
            let stuffed = at_start && line.starts_with(b".");
            raw.extend_from_slice(&line[usize::from(stuffed)..]);
        }
    }

    fn check_content(&self, raw: &[u8], mail: Option<&Envelope>) {
        if !raw.is_empty() {
            for fault in crate::mail::wire_faults(raw).into_iter().take(5) {
                self.violation(fault);
            }
        }
        if let Some(mail) = mail {
            if !mail.eight_bit && !raw.is_ascii() {
                self.violation("8-bit bytes without BODY=8BITMIME".to_owned());
            }
            let declared = mail
                .parameters
                .to_ascii_uppercase()
                .split_whitespace()
                .find_map(|word| word.strip_prefix("SIZE=")?.parse::<usize>().ok());
            if declared.is_some_and(|declared| declared < raw.len()) {
                self.violation(format!("SIZE={declared:?} declared, {} octets sent", raw.len()));
            }
        }
    }

    fn check_stop(&self) -> Step {
        if self.shared.stop.load(Ordering::SeqCst) { Err(Ended) } else { Ok(()) }
    }

    fn line(&mut self) -> Step<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let Some(text) = line.strip_suffix(b"\r\n") else {
                    self.violation(format!("a command that ends in a bare LF: {:?}", String::from_utf8_lossy(&line)));
                    return Err(Ended);
                };
                if text.contains(&b'\r') || text.contains(&0) {
                    self.violation(format!("a control character in {:?}", String::from_utf8_lossy(text)));
                }
                let text = String::from_utf8_lossy(text).into_owned();
                self.note(|session| session.lines.push(format!("C: {text}")));
                return Ok(text);
            }
            if self.buffer.len() > LONGEST_COMMAND {
                self.violation("an endless command".to_owned());
                return Err(Ended);
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Step {
        let mut block = [0; 64 * 1024];
        loop {
            match self.wire.stream()?.read(&mut block) {
                Ok(0) => return Err(Ended),
                Ok(read) => {
                    if !self.tls {
                        // Of a long mail the beginning tells enough.
                        self.note(|session| {
                            if session.clear.len() < 1_000_000 {
                                session.clear.extend_from_slice(&block[..read]);
                            }
                        });
                    }
                    self.buffer.extend_from_slice(&block[..read]);
                    return Ok(());
                }
                Err(error) if waits(&error) => self.check_stop()?,
                Err(_) => return Err(Ended),
            }
        }
    }

    fn say_line(&mut self, text: &str) -> Step {
        for line in text.split("\r\n") {
            let line = line.to_owned();
            self.note(|session| session.lines.push(format!("S: {line}")));
        }
        self.say(format!("{text}\r\n").as_bytes())
    }

    fn say(&mut self, bytes: &[u8]) -> Step {
        let stream = self.wire.stream()?;
        stream.write_all(bytes)?;
        stream.flush()?;
        Ok(())
    }

    fn note(&self, change: impl FnOnce(&mut Session)) {
        change(&mut self.shared.sessions.lock().unwrap()[self.number]);
    }

    fn violation(&self, text: String) {
        self.shared.violation(format!("session {}: {text}", self.number));
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
