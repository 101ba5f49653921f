//! Other people's code as a contender: a program that is told on its standard input what to do for a turn, and answers
//! with the microseconds that it took.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A contender in a process of its own, ended when it is dropped.
pub(crate) struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it, and waits until it says that it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(&shown);
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut peer = Self { child, orders, answers };
        assert_eq!(peer.line(), "ready", "{shown}");
        peer
    }

    /// One turn of something that it can do: its median, in microseconds.
    pub(crate) fn turn(&mut self, what: &str) -> f64 {
        writeln!(self.orders, "{what}").unwrap();
        let answer = self.line();
        answer.parse().unwrap_or_else(|_| panic!("{what}: {answer}"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
