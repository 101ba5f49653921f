//! A folder of its own for each test, the binary run in it, and the daemon as a guarded child.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::mail::Mail;
use crate::process::{Finished, Program, cut, kill_group, tree, wait};
use crate::site::Site;
use crate::wait::{budget, wait_for, wait_until};

/// The bearer token of tests.
pub const TOKEN: &str = "t0ken-of-tests";

/// A folder and a binary.
#[derive(Debug)]
pub struct TestEnv {
    folder: TempDir,
    binary: PathBuf,
    starts: AtomicU32,
}

impl TestEnv {
    /// A new folder, and the binary as users get it: `BEWIT_BIN`, else `release` or `debug` beside the test.
    #[must_use]
    pub fn new() -> Self {
        Self::with(product())
    }

    /// A new folder, and the build with fault points: `BEWIT_FAULT_BIN`.
    #[must_use]
    pub fn with_faults() -> Self {
        Self::with(faulty())
    }

    fn with(binary: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("bewit-test-").tempdir().unwrap();
        Self { folder, binary: binary.to_owned(), starts: AtomicU32::new(0) }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a file that only its owner can read, as secrets must be.
    pub fn write_secret(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Reads a file.
    #[must_use]
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}\n{}", path.display(), tree(self.root())))
    }

    /// Writes `bewit.toml`, and the files it may name: the test's authority, a password and a token.
    pub fn config(&self, site: &Site) {
        self.write("bewit.toml", site.text());
        self.write("ca.pem", crate::sink::tls::root_ca());
        for (name, secret) in [("password", "s3cret"), ("token", TOKEN)] {
            if !self.path(name).exists() {
                self.write_secret(name, &format!("{secret}\n"));
            }
        }
    }

    /// Drops a finished file into the spool as its writers should: written aside, then renamed.
    pub fn drop_spool(&self, name: &str, content: impl AsRef<[u8]>) {
        let spool = self.path("spool");
        fs::create_dir_all(&spool).unwrap();
        let aside = spool.join(format!("{name}.tmp"));
        fs::write(&aside, content).unwrap();
        fs::rename(aside, spool.join(name)).unwrap();
    }

    /// [`TestEnv::drop_spool`] of events.
    pub fn drop_events(&self, name: &str, events: &[Value]) {
        self.drop_spool(name, crate::event::lines(events));
    }

    /// The binary with arguments, to be run to its end.
    #[must_use]
    pub fn bewit<const N: usize>(&self, args: [&str; N]) -> Program {
        Program::new(&self.binary, self.root()).args(args)
    }

    /// `bewit run --once`.
    pub fn once(&self) -> Finished {
        self.bewit(["run", "--once"]).run()
    }

    /// Starts `bewit run` and watches over it.
    #[must_use]
    pub fn daemon(&self) -> Daemon<'_> {
        self.daemon_with(&[])
    }

    /// [`TestEnv::daemon`] with environment variables.
    #[must_use]
    pub fn daemon_with(&self, vars: &[(&str, &str)]) -> Daemon<'_> {
        let mut command = Command::new(&self.binary);
        command.arg("run");
        self.spawn(command, vars)
    }

    /// Starts any command that ends up as the daemon, such as the daemon under strace.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(&self, mut command: Command, vars: &[(&str, &str)]) -> Daemon<'_> {
        let log = self.path(format!("daemon-{}.log", self.starts.fetch_add(1, Ordering::Relaxed)));
        let out = File::create(&log).unwrap();
        let child = command
            .current_dir(self.root())
            .envs(vars.iter().copied())
            .env("BEWIT_LOG", "debug,h2=info,hyper_util=info,tower=info,rustls=info")
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        Daemon { child, log, env: self, ended: None }
    }

    /// `bewit outbox list`: one entry for each recipient of each mail.
    #[must_use]
    #[track_caller]
    pub fn recipients(&self) -> Vec<Queued> {
        self.bewit(["outbox", "list", "--json"]).run().expect(0).json().iter().map(Queued::read).collect()
    }

    /// [`TestEnv::recipients`] while a daemon starts: none until it has made its outbox.
    #[must_use]
    pub fn recipients_so_far(&self) -> Vec<Queued> {
        let said = self.bewit(["outbox", "list", "--json"]).run();
        if said.status.success() { said.json().iter().map(Queued::read).collect() } else { Vec::new() }
    }

    /// The states of all recipients.
    #[must_use]
    #[track_caller]
    pub fn states(&self) -> Vec<String> {
        self.recipients().into_iter().map(|one| one.state).collect()
    }

    /// The state of the only recipient.
    ///
    /// # Panics
    /// When there are none or several.
    #[must_use]
    #[track_caller]
    pub fn state(&self) -> String {
        let mut all = self.states();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Runs `--once` until everything is delivered.
    ///
    /// # Panics
    /// When it never is.
    #[track_caller]
    pub fn until_delivered(&self) {
        wait_until("delivery", 30.0, || self.once().status.success());
        assert!(self.states().iter().all(|state| state == "delivered"), "{:?}", self.recipients());
    }

    /// Asserts the conservation law: `bewit outbox verify` agrees.
    #[track_caller]
    pub fn verify(&self) -> Finished {
        self.bewit(["outbox", "verify"]).run().expect(0)
    }

    /// The finished mails of the mailbox folder `mail`, by name.
    #[must_use]
    pub fn mailbox(&self) -> Vec<PathBuf> {
        files(&self.path("mail"), "eml")
    }

    /// The mails of the mailbox folder, read by Python's `email`.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        crate::mail::read(&self.mailbox())
    }
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

/// One recipient of one mail, as `outbox list --json` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Mail id, for `outbox show`.
    pub id: String,
    /// `queued`, `deferred`, `delivered`, `failed`, `held`, …
    pub state: String,
    /// Address.
    pub address: String,
    /// Rule.
    pub rule: String,
    /// Event, as `org/client/flow`.
    pub event: String,
    /// The whole line.
    pub line: String,
}

impl Queued {
    fn read(value: &Value) -> Self {
        let text = |name: &str| match &value[name] {
            Value::String(text) => text.clone(),
            Value::Null => panic!("`outbox list --json` names no {name}: {value}"),
            other => other.to_string(),
        };
        Self {
            id: text("id"),
            state: text("state"),
            address: text("address"),
            rule: text("rule"),
            event: text("event"),
            line: value.to_string(),
        }
    }
}

/// The files of a folder with an extension, sorted by name.
#[must_use]
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|own| own == extension))
        .collect();
    found.sort();
    found
}

/// An address on loopback that nobody listens on.
#[must_use]
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A daemon that is killed, with its process group, when the guard goes out of scope.
#[derive(Debug)]
pub struct Daemon<'a> {
    child: Child,
    log: PathBuf,
    env: &'a TestEnv,
    ended: Option<ExitStatus>,
}

impl Daemon<'_> {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended.is_none()
    }

    /// Waits for something, and fails with the log if the daemon ends before.
    ///
    /// # Panics
    /// When the time is up or the daemon has ended.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, seconds: f64, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        wait_for(what, seconds, || {
            let found = probe(self);
            assert!(found.is_some() || self.running(), "the daemon has ended before {what}");
            found
        })
    }

    /// Waits until `count` mails are in the mailbox folder.
    #[track_caller]
    pub fn wait_for_mails(&mut self, count: usize) {
        let env = self.env;
        self.wait_for(&format!("{count} mails"), 30.0, |_| (env.mailbox().len() >= count).then_some(()));
    }

    /// SIGKILL to the process group, then waits for the end.
    pub fn kill(&mut self) {
        kill_group(&self.child, Signal::KILL);
        self.ended = Some(self.child.wait().unwrap());
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Panics
    /// When it does not end within 35 s.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        kill_group(&self.child, Signal::TERM);
        self.wait_for_end(35.0)
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        kill_group(&self.child, Signal::HUP);
    }

    /// Waits until the daemon ends by itself.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for_end(&mut self, seconds: f64) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let status = wait(&mut self.child, budget(seconds));
        self.ended = status;
        status.unwrap_or_else(|| panic!("the daemon did not end within {seconds} s"))
    }

    /// Largest memory it ever held, in KiB (`VmHWM`).
    #[must_use]
    pub fn peak_memory_kib(&self) -> u64 {
        memory(self.pid(), "VmHWM:")
    }
}

/// A memory figure of `/proc/PID/status`, in KiB.
#[must_use]
pub fn memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.ended.is_none() {
            kill_group(&self.child, Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}\n--- tree\n{}---", cut(&self.log()), tree(self.env.root()));
        }
    }
}

/// Folder of built binaries of this profile, from the test's own place (`target/PROFILE/deps/TEST`).
fn built(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let target = own.ancestors().nth(3)?;
    let path = target.join(name);
    path.is_file().then_some(path)
}

/// The binary under test.
///
/// # Panics
/// When there is none; the message says how to build it.
pub fn product() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        std::env::var_os("BEWIT_BIN")
            .map(PathBuf::from)
            .or_else(|| built("release/bewit"))
            .or_else(|| built("debug/bewit"))
            .map(|path| path.canonicalize().unwrap_or(path))
            .expect("no bewit binary: run `cargo xtask test`, or `cargo build --release -p bewit` first")
    })
}

/// The binary with fault points.
///
/// # Panics
/// When there is none, or it has no fault points; the message says how to build it.
pub fn faulty() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = std::env::var_os("BEWIT_FAULT_BIN")
            .map(PathBuf::from)
            .or_else(|| built("fault/bewit"))
            .map(|path| path.canonicalize().unwrap_or(path))
            .expect("no bewit binary with fault points: run `cargo xtask test`, or `cargo xtask fault` first");
        let bytes = fs::read(&path).unwrap();
        assert!(
            bytes.windows(11).any(|window| window == b"BEWIT_FAULT"),
            "{} has no fault points: `cargo xtask fault` builds one",
            path.display()
        );
        path
    })
}
