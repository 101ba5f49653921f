//! What the script says is done here: replies, and all the ways of giving none.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Action, Dialogue, Ended, Moment, Phase, Step, Wire, waits};

impl Dialogue<'_> {
    /// Asks the script, does what it says, and answers the reply that the client got. `taken` is told, before anything
    /// is sent, whether a normal server would have gone on.
    pub(super) fn act(
        &mut self,
        phase: Phase,
        line: &str,
        address: &str,
        normal: &str,
        taken: &mut dyn FnMut(bool),
    ) -> Step<String> {
        let count = {
            let mut counts = self.shared.counts.lock().unwrap();
            let count = counts.entry(phase).or_default();
            *count += 1;
            *count - 1
        };
        self.note(|session| session.phase = phase);
        let accepted = self.shared.received.lock().unwrap().len();
        let moment = Moment { phase, count, session: self.number, accepted, line, address };
        let action = (self.shared.settings.script)(&moment);
        self.perform(action, normal, taken)
    }

    fn perform(&mut self, action: Action, normal: &str, taken: &mut dyn FnMut(bool)) -> Step<String> {
        match action {
            Action::Normal => {
                taken(normal.starts_with('2'));
                if !normal.is_empty() {
                    self.say_line(normal)?;
                }
                Ok(normal.to_owned())
            }
            Action::Reply(text) => {
                if text.starts_with('2') && normal.starts_with('2') {
                    taken(true);
                }
                self.say_line(&text)?;
                Ok(text)
            }
            Action::Raw(bytes) => {
                self.say(&bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Action::Sliced(text) => {
                if text.starts_with('2') && normal.starts_with('2') {
                    taken(true);
                }
                for byte in format!("{text}\r\n").bytes() {
                    self.say(&[byte])?;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(text)
            }
            Action::Delay(time, then) => {
                let end = Instant::now() + time;
                while Instant::now() < end {
                    std::thread::sleep((end - Instant::now()).min(Duration::from_millis(20)));
                    self.check_stop()?;
                }
                self.perform(*then, normal, taken)
            }
            Action::TakeThen(then) => {
                taken(true);
                self.perform(*then, "", &mut |_| ())
            }
            Action::ReplyThenClose(text) => {
                self.say_line(&text)?;
                Err(Ended)
            }
            Action::Close => Err(Ended),
            Action::Silence => self.silence(),
            Action::Drip(interval) => loop {
                self.say(b"x")?;
                let next = Instant::now() + interval;
                while Instant::now() < next {
                    self.pause()?;
                }
            },
            Action::EndlessLine => loop {
                self.say(&[b'x'; 4096])?;
                self.check_stop()?;
            },
            Action::EndlessReply(code) => loop {
                self.say(format!("{code}-and more\r\n").repeat(100).as_bytes())?;
                self.check_stop()?;
            },
        }
    }

    /// Says nothing and reads nothing more until the client goes away.
    fn silence(&mut self) -> Step<String> {
        loop {
            self.pause()?;
        }
    }

    /// Waits a little; ends when the client does. What the client sends meanwhile stays unread.
    fn pause(&mut self) -> Step {
        self.check_stop()?;
        let socket = match &self.wire {
            Wire::Clear(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
            Wire::Gone => return Err(Ended),
        };
        match socket.peek(&mut [0]) {
            Ok(0) => Err(Ended),
            Ok(_) => {
                // Unread bytes hide the client's end; its reset shows when something is sent, its FIN in the state.
                std::thread::sleep(Duration::from_millis(20));
                if finished(socket) { Err(Ended) } else { Ok(()) }
            }
            Err(error) if waits(&error) => Ok(()),
            Err(_) => Err(Ended),
        }
    }
}

/// Whether the peer has closed its side, even if bytes of it are still unread.
fn finished(socket: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
        && fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}
