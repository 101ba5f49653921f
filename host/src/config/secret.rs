//! Secrets: where they come from, and why they are never seen.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use regex::Regex;

/// How long a command may take to print a secret.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// Bytes that a secret has at most.
const LONGEST: u64 = 64 * 1024;

/// Where a secret is. The value is read when it is needed, so that a rotated one is used at once.
#[derive(Clone)]
pub enum Secret {
    /// A file that others cannot read; its last line end is taken off.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command (program and arguments) that prints it.
    Command(Vec<String>),
}

/// A secret's value. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub(crate) String);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

/// The same with what to do about it.
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) hint: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "Secret::File({})", path.display()),
            Self::Env(name) => write!(f, "Secret::Env({name})"),
            Self::Command(argv) => write!(f, "Secret::Command({})", argv.first().map_or("", String::as_str)),
        }
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl SecretValue {
    /// The value itself: for the wire only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Secret {
    /// Reads the value. Commands run without a shell and end within 30 s. Blocking: call it where blocking is allowed.
    ///
    /// # Errors
    /// When it is not there, is empty, holds control characters, or its file can be read or changed by others.
    pub fn read(&self) -> Result<SecretValue, SecretError> {
        self.prove().map_err(|Trouble { message, hint }| {
            SecretError(if hint.is_empty() { message } else { format!("{message}: {hint}") })
        })
    }

    /// Reads the value; a failure says what to do.
    pub(super) fn prove(&self) -> Result<SecretValue, Trouble> {
        let (bytes, origin) = match self {
            Self::File(path) => (read_file(path)?, path.display().to_string()),
            Self::Env(name) => {
                let value = std::env::var_os(name)
                    .ok_or_else(|| trouble(format!("the environment variable {name} is not set"), ""))?;
                (os_bytes(&value), format!("the environment variable {name}"))
            }
            Self::Command(argv) => {
                let program = argv.first().map_or("", String::as_str);
                (run(argv, COMMAND_TIME)?, format!("what {program} printed"))
            }
        };
        admit(bytes, &origin)
    }
}

fn trouble(message: impl Into<String>, hint: impl Into<String>) -> Trouble {
    Trouble { message: message.into(), hint: hint.into() }
}

fn os_bytes(value: &OsStr) -> Vec<u8> {
    value.as_encoded_bytes().to_vec()
}

/// Takes one line end off and refuses what can be no password and no token.
fn admit(mut bytes: Vec<u8>, origin: &str) -> Result<SecretValue, Trouble> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    let Ok(value) = String::from_utf8(bytes) else {
        return Err(trouble(format!("{origin} is not UTF-8"), ""));
    };
    if value.is_empty() {
        return Err(trouble(format!("{origin} is empty"), ""));
    }
    if value.chars().any(char::is_control) {
        return Err(trouble(format!("{origin} holds control characters"), "it is one line of text"));
    }
    Ok(SecretValue(value))
}

/// Reads a secret's file, after looking at who else can.
fn read_file(path: &Path) -> Result<Vec<u8>, Trouble> {
    let shown = path.display();
    let failed = |error: std::io::Error| trouble(format!("{shown} cannot be read: {error}"), "");
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(trouble(format!("{shown} is not a regular file"), ""));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o006 != 0 {
        let can = if mode & 0o004 == 0 { "changed" } else { "read" };
        return Err(trouble(format!("{shown} can be {can} by others (mode {mode:04o})"), format!("chmod o= {shown}")));
    }
    if metadata.len() > LONGEST {
        return Err(trouble(format!("{shown} is larger than {LONGEST} bytes"), ""));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Runs a command and takes what it prints.
fn run(argv: &[String], time: Duration) -> Result<Vec<u8>, Trouble> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(trouble("the command names no program", ""));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        // Its own group, so that what it starts ends with it.
        .process_group(0)
        .spawn()
        .map_err(|error| trouble(format!("{program} cannot be run: {error}"), ""))?;
    let deadline = Instant::now() + time;
    let answer = collect(&mut child, deadline);
    if answer.is_none() {
        stop(&mut child);
        return Err(trouble(format!("{program} did not end within {} s", time.as_secs_f32()), ""));
    }
    let (bytes, success, status) = answer.unwrap_or_default();
    if !success {
        return Err(trouble(format!("{program} failed ({status})"), ""));
    }
    if bytes.len() as u64 > LONGEST {
        return Err(trouble(format!("{program} printed more than {LONGEST} bytes"), ""));
    }
    Ok(bytes)
}

/// What the child printed, whether it succeeded, and its status; `None` at the deadline.
fn collect(child: &mut Child, deadline: Instant) -> Option<(Vec<u8>, bool, String)> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // One byte more than allowed, to tell; then the pipe closes, and the child with it.
        let _ = stdout.take(LONGEST + 1).read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    let bytes = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some((bytes, status.success(), status.to_string())),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => return None,
            Err(error) => return Some((bytes, false, error.to_string())),
        }
    }
}

fn stop(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A configuration's text for excerpts: values that look like secrets are blotted out, byte for byte, so that every
/// place stays where it is.
pub(super) fn blot(text: &str) -> String {
    static KEY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"([A-Za-z0-9_-]+)["']?[ \t]*[=:][ \t]*"#).ok());
    static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"://[^/@\s"']*:([^@\s"']*)@"#).ok());
    let mut bytes = text.as_bytes().to_vec();
    let mut cover = |start: usize, end: usize| {
        for byte in bytes.iter_mut().take(end).skip(start) {
            if !byte.is_ascii_whitespace() {
                *byte = b'*';
            }
        }
    };
    for found in KEY.iter().flat_map(|key| key.captures_iter(text)) {
        let (Some(whole), Some(name)) = (found.get(0), found.get(1)) else { continue };
        if !is_secret_key(name.as_str()) {
            continue;
        }
        let value = text.get(whole.end()..).unwrap_or_default();
        let quotes = ["\"\"\"", "'''"].into_iter().find(|quotes| value.starts_with(quotes));
        let length = match quotes {
            Some(quotes) => {
                value.get(3..).and_then(|rest| rest.find(quotes)).map_or(value.len(), |end| end + 2 * quotes.len())
            }
            None => value.find(['\n', '\r']).unwrap_or(value.len()),
        };
        cover(whole.end(), whole.end() + length);
    }
    for found in URL.iter().flat_map(|url| url.captures_iter(text)) {
        if let Some(password) = found.get(1) {
            cover(password.start(), password.end());
        }
    }
    // Whole characters were covered: a range begins and ends between two of them.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Whether the value under such a key is a secret itself, misspelt keys included; `password_file` and the like are not.
fn is_secret_key(name: &str) -> bool {
    let last = name.rsplit(['_', '-']).next().unwrap_or_default().to_lowercase();
    ["password", "passphrase"].iter().any(|word| strsim::damerau_levenshtein(&last, word) <= 2)
        || ["passwd", "secret", "token", "bearer"].iter().any(|word| strsim::damerau_levenshtein(&last, word) <= 1)
        || ["pass", "pw", "pwd", "key"].contains(&last.as_str())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, Secret) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, Secret::File(path))
    }

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn one_line_end_is_taken_off() {
        for (content, value) in
            [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s p \n", " s p ")]
        {
            let (_folder, secret) = file(content.as_bytes(), 0o600);
            assert_eq!(secret.read().unwrap().expose(), value);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_told() {
        for content in [&b""[..], b"\n", b"canary\n\n", b"can\0ary", b"canary\xff", b"canary\nmore"] {
            let (_folder, secret) = file(content, 0o600);
            let error = secret.read().unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        let (_folder, secret) = file(&vec![b'a'; 70_000], 0o600);
        assert!(secret.read().unwrap_err().to_string().contains("larger"));
    }

    #[test]
    fn others_must_not_read_or_change_the_file() {
        for (mode, refused) in
            [(0o600, false), (0o640, false), (0o440, false), (0o644, true), (0o604, true), (0o602, true)]
        {
            let (_folder, secret) = file(b"s3cret", mode);
            let read = secret.read();
            assert_eq!(read.is_err(), refused, "{mode:o}");
            if let Err(error) = read {
                assert!(error.to_string().contains(&format!("mode {mode:04o}")), "{error}");
                assert!(error.to_string().contains("chmod o= "), "{error}");
            }
        }
    }

    #[test]
    fn pipes_and_folders_are_no_secret_files() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Secret::File(folder.path().to_owned()).read().is_err());
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg("-m").arg("600").arg(&pipe).status().unwrap().success());
        assert!(Secret::File(pipe).read().unwrap_err().to_string().contains("regular"));
        assert!(Secret::File(folder.path().join("none")).read().unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn environment() {
        assert!(Secret::Env("BEWIT_NO_SUCH_VARIABLE".to_owned()).read().is_err());
        assert!(!Secret::Env("PATH".to_owned()).read().unwrap().expose().is_empty());
    }

    #[test]
    fn commands_run_without_a_shell() {
        let secret = Secret::Command(command(&["printf", "%s\\n", "$HOME;x"]));
        assert_eq!(secret.read().unwrap().expose(), "$HOME;x");
        let error = Secret::Command(command(&["false"])).read().unwrap_err().to_string();
        assert!(error.contains("false failed"), "{error}");
        let error = Secret::Command(command(&["/no/such/program"])).read().unwrap_err().to_string();
        assert!(error.contains("cannot be run"), "{error}");
    }

    #[test]
    fn commands_end_in_time_with_all_that_they_started() {
        let started = Instant::now();
        for words in [&["sleep", "60"][..], &["sh", "-c", "sleep 60 & wait"], &["sh", "-c", "exec >&-; sleep 60"]] {
            assert!(run(&command(words), Duration::from_millis(200)).is_err());
        }
        assert!(run(&command(&["yes"]), Duration::from_secs(20)).is_err());
        assert!(started.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", SecretValue("canary".to_owned())), "SecretValue(…)");
        let secret = Secret::Command(command(&["prog", "--key", "canary"]));
        assert_eq!(format!("{secret:?}"), "Secret::Command(prog)");
    }

    #[test]
    fn excerpts_hold_no_secrets() {
        let text = "password = \"canary\"\npasword='canary'\n\"token\" = canary\nsmtp = { password = \"canary\", port = 1 }\n\
                    a.api_token = \"\"\"\ncanary\n\"\"\"\nurl = \"postgres://bewit:canary@db/x\"\nPassword: canary é\n";
        let blotted = blot(text);
        assert!(!blotted.contains("canary"), "{blotted}");
        assert_eq!(blotted.len(), text.len());
        assert!(blotted.contains("postgres://bewit:******@db/x"), "{blotted}");
        let plain = "password_file = \"/etc/pw\"\ntoken_env = \"T\"\nfrom = \"a@b\"\nname = \"x\"\n";
        assert_eq!(blot(plain), plain);
    }
}
