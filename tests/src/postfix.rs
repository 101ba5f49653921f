//! Postfix's own programs for tests: a mail server that keeps nothing, and a client that measures it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::{http, tools};

/// `smtp-sink`, ended when it is dropped.
#[derive(Debug)]
pub struct Sink {
    child: Child,
    address: SocketAddr,
}

impl Sink {
    /// Starts it; `None` if it is not there.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(address: SocketAddr) -> Option<Self> {
        Self::start_with(address, &[])
    }

    /// The same with options, such as `-p`: it does not offer pipelining.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_with(address: SocketAddr, options: &[&str]) -> Option<Self> {
        let mut command = Command::new(tools::smtp_sink()?);
        // As root it wants to become somebody else.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command.args(options);
        let child = command.arg(address.to_string()).arg("1000").stdout(Stdio::null()).spawn().unwrap();
        http::wait_for_listener(address);
        Some(Self { child, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many mails a second `smtp-source` brings here: so many, of so many octets, in so many sessions that are kept.
    ///
    /// # Panics
    /// When it is not there, or fails.
    #[must_use]
    pub fn source(&self, mails: usize, octets: usize, sessions: usize) -> f64 {
        let program = tools::find("smtp-source").expect("smtp-source, which comes with smtp-sink");
        let begun = Instant::now();
        let status = Command::new(program)
            .arg("-d")
            .args(["-m", &mails.to_string(), "-l", &octets.to_string(), "-s", &sessions.to_string()])
            .args(["-f", "bewit@example.org", "-t", "ana@example.org"])
            .arg(self.address.to_string())
            .status()
            .unwrap();
        assert!(status.success(), "smtp-source: {status}");
        mails as f64 / begun.elapsed().as_secs_f64()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
