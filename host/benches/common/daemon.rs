//! A daemon, looked at from outside: when it is ready, what it holds, how often it wakes.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use acceptance::{TestEnv, exposition, http};

use super::status;

/// `bewit run`, stopped when it is dropped.
pub(crate) struct Watched {
    child: Child,
    web: SocketAddr,
    /// From its start to the first `/readyz` that says so.
    pub(crate) ready: Duration,
}

impl Watched {
    /// Starts it, and waits until it is ready. Its configuration has `[web]` at this address.
    pub(crate) fn start(env: &TestEnv, web: SocketAddr) -> Self {
        let begun = Instant::now();
        let mut command = Command::new(env.binary());
        command.arg("run").current_dir(env.root()).env("BEWIT_LOG", "error").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
        loop {
            if http::exchange(web, request.as_bytes()).is_ok_and(|answer| answer.status == 200) {
                break;
            }
            assert!(child.try_wait().unwrap().is_none(), "the daemon has ended");
            assert!(begun.elapsed() < Duration::from_secs(300), "the daemon is never ready");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { child, web, ready: begun.elapsed() }
    }

    /// A line of its memory (`VmRSS`, `VmHWM`), in MiB.
    pub(crate) fn memory(&self, key: &str) -> f64 {
        status(self.child.id(), key).unwrap() / 1024.0
    }

    /// How often its threads have been put on a processor since they began.
    pub(crate) fn switches(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let count = |text: &str| -> f64 {
            let counted = text.lines().filter(|line| line.contains("ctxt_switches:"));
            counted.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum()
        };
        // A thread may end meanwhile.
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
            .map(|text| count(&text))
            .sum()
    }

    /// A sample of `/metrics`, by its one label; 0 if it is not there.
    pub(crate) fn sample(&self, name: &str, label: (&str, &str)) -> f64 {
        exposition::scrape(self.web).get(name, &[label]).unwrap_or(0.0)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
