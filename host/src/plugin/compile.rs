//! From a component's bytes to machine code. Compiling is the one step that a hostile component can make dear, so it is
//! done by a child process with limits of its own.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use wasmtime::Engine as Wasmtime;

use super::engine::{Addresses, Engine, config};

/// Arguments of the child, after the program's name: `bewit plugin compile-component`.
const CHILD: [&str; 2] = ["plugin", "compile-component"];
/// Told to the child where addresses are scarce.
const SCARCE: &str = "--scarce";
/// Processor time of the child, all its threads together. A Python guest of 18 MB takes about 12 s.
const SECONDS: u64 = 180;
/// Addresses of the child; compiling a Python guest takes 0.4 GB of memory.
const BYTES: u64 = 6 << 30;
/// Machine code of one component. That of a component of 64 MiB has less.
const CODE: u64 = 1 << 30;
/// When the child is killed, however little it was given to run.
const WALL: Duration = Duration::from_secs(600);

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// A child process of this program.
    Child(PathBuf),
    /// This process: for embedders that have no such program, and for unit tests. A hostile component can stall it.
    Here,
}

impl Compiler {
    /// The program that is running, as its own child.
    #[must_use]
    pub fn own() -> Self {
        // Not its path, where an update may have put another version meanwhile, or nothing.
        let running = PathBuf::from("/proc/self/exe");
        if running.exists() { Self::Child(running) } else { Self::Here }
    }

    /// Compiles for `engine`. Blocking.
    ///
    /// # Errors
    /// What is wrong with the component, or which limit it broke.
    pub(super) fn compile(&self, engine: &Engine, component: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Here => engine.wasmtime.precompile_component(component).map_err(|error| format!("{error:#}")),
            Self::Child(program) => in_child(program, engine.addresses, component),
        }
    }
}

fn in_child(program: &Path, addresses: Addresses, component: &[u8]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.args(CHILD);
    if addresses == Addresses::Scarce {
        command.arg(SCARCE);
    }
    // Nothing of the daemon's is passed on: not its environment, which may hold secrets, nor its files.
    let mut child = command
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the compiler cannot be started: {}: {error}", program.display()))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that has given up does not read; its exit says why.
            let _ = stdin.map(|mut stdin| stdin.write_all(component));
        });
        let code = scope.spawn(move || {
            let mut code = Vec::new();
            stdout.map(|stdout| stdout.take(CODE + 1).read_to_end(&mut code)).transpose().map(|_| code)
        });
        let said = scope.spawn(move || {
            let mut said = String::new();
            let _ = stderr.map(|stderr| stderr.take(16 * 1024).read_to_string(&mut said));
            said
        });
        let begun = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if begun.elapsed() < WALL => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("compiling took longer than {} s", WALL.as_secs()));
                }
                Err(error) => {
                    // The threads above wait until its pipes are closed.
                    let _ = child.kill();
                    return Err(format!("the compiler was lost: {error}"));
                }
            }
        };
        let said = said.join().unwrap_or_default();
        if status.success() {
            return match code.join() {
                Ok(Ok(code)) if code.len() as u64 > CODE => {
                    Err(format!("its machine code has more than {} MiB", CODE >> 20))
                }
                Ok(Ok(code)) => Ok(code),
                _ => Err("the compiler's answer was lost".to_owned()),
            };
        }
        Err(match (status.signal(), said.trim()) {
            (Some(signal), "") if [SIGKILL, SIGXCPU].contains(&signal) => {
                format!("compiling it took more than {SECONDS} s of processor time, or more memory than there is")
            }
            (Some(SIGSYS), _) => {
                "the compiler was ended by a filter of system calls (`SystemCallFilter` of the service?), \
                which must allow it setpriority and prlimit64"
                    .to_owned()
            }
            (Some(signal), _) => format!(
                "the compiler was ended by signal {signal}; it may use {SECONDS} s of processor time and {} GiB",
                BYTES >> 30
            ),
            (None, "") => format!("the compiler ended with {status}"),
            (None, said) => said.strip_prefix("error: ").unwrap_or(said).to_owned(),
        })
    })
}

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGSYS: i32 = 31;

/// What the child does: limits itself, reads a component, writes its machine code.
///
/// # Errors
/// What is wrong with the component.
pub fn compile_as_child(scarce: bool, mut component: impl Read, mut code: impl Write) -> Result<(), String> {
    limit_myself();
    let addresses = if scarce { Addresses::Scarce } else { Addresses::Plenty };
    let mut bytes = Vec::new();
    component.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let engine = Wasmtime::new(&config(addresses)).map_err(|error| format!("{error:#}"))?;
    let compiled = engine.precompile_component(&bytes).map_err(|error| format!("{error:#}"))?;
    code.write_all(&compiled).and_then(|()| code.flush()).map_err(|error| error.to_string())
}

/// A limit that cannot be set leaves the ones around the child: its niceness, and the clock of its parent.
fn limit_myself() {
    let _ = nice(10);
    for (resource, most) in [
        (Resource::Cpu, SECONDS),
        (Resource::As, BYTES),
        (Resource::Core, 0),
        (Resource::Nofile, 64),
        (Resource::Fsize, 0),
    ] {
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
}
