//! What all plugins of a process share: the engine, the compiler with its cache, and a bound on calls at a time.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker};

use super::cache::Cache;
use super::compile::Compiler;
use super::engine::Engine;
use super::error::ErrorKind;
use super::guest::Guest;
use super::{inspect, v0_1};
use crate::blob::hex;

/// Starts guests. One for a process: what one engine has made cannot run in another.
pub struct Host {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Guest>,
    compiler: Compiler,
    cache: Option<Cache>,
    running: Turnstile,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// How a host works.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Who compiles.
    pub compiler: Compiler,
    /// Where machine code is kept; `None`: nowhere, so that each start compiles anew.
    pub cache: Option<PathBuf>,
}

impl HostOptions {
    /// As the program runs: compiled by a child, kept in the user's or the service's cache folder.
    #[must_use]
    pub fn usual() -> Self {
        Self { compiler: Compiler::own(), cache: Cache::usual_place() }
    }
}

/// Bytes of a component, and what they are called.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    pub(super) bytes: Vec<u8>,
    /// Lower-case hex.
    pub(super) sha256: String,
}

impl Bytes {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let sha256 = hex(&Sha256::digest(&bytes));
        Self { bytes, sha256 }
    }
}

impl Host {
    /// Starts the engine.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly.
    pub fn new(options: HostOptions) -> Result<Self, String> {
        let engine = Engine::new()?;
        let linker = v0_1::linker(&engine.wasmtime).map_err(|error| format!("{error:#}"))?;
        let cache = options.cache.and_then(|folder| match Cache::open(&folder) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "plugins are compiled at each start: no cache");
                None
            }
        });
        let calls = std::thread::available_parallelism().map_or(2, usize::from).saturating_mul(2).clamp(4, 64);
        Ok(Self { engine, linker, compiler: options.compiler, cache, running: Turnstile::new(calls) })
    }

    /// Calls at a time; also the instances that a plugin keeps.
    pub(super) fn calls(&self) -> usize {
        self.running.most
    }

    /// Waits for a turn.
    pub(super) fn turn(&self) -> Turn<'_> {
        self.running.enter()
    }

    /// A component's machine code, from the cache or compiled now. Blocking.
    ///
    /// # Errors
    /// [`ErrorKind::NotAComponent`], [`ErrorKind::NotCompiled`].
    pub(super) fn component(&self, component: &Bytes, plugin: &str) -> Result<Component, ErrorKind> {
        inspect::check_is_component(&component.bytes)?;
        let mut name = blake3::Hasher::new();
        name.update(&self.engine.fingerprint()).update(component.sha256.as_bytes());
        let name = name.finalize().to_hex();
        if let Some(found) = self.cache.as_ref().and_then(|cache| cache.find(&name)) {
            match self.open(&found) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(plugin, error, "cached machine code is of no use, compiling anew"),
            }
        }
        let begun = Instant::now();
        tracing::info!(plugin, bytes = component.bytes.len(), "compiling a plugin, once");
        let code = self.compiler.compile(&self.engine, &component.bytes).map_err(ErrorKind::NotCompiled)?;
        tracing::info!(plugin, seconds = begun.elapsed().as_secs_f32(), "compiled");
        if let Some(cache) = &self.cache {
            match cache.keep(&name, &code) {
                Ok(path) => return self.open(&path).map_err(ErrorKind::NotCompiled),
                Err(error) => {
                    tracing::warn!(plugin, %error, "its machine code cannot be kept, so it is compiled again next time");
                }
            }
        }
        self.take(&code).map_err(ErrorKind::NotCompiled)
    }

    /// Maps machine code that [`Cache`] vouches for.
    #[expect(unsafe_code, reason = "machine code is run as it is; there is no checked way")]
    fn open(&self, path: &std::path::Path) -> Result<Component, String> {
        // SAFETY: the engine asks that the file be what a compiler of the same version wrote. `Cache` has compared the keyed
        // hash of its content, the key is this user's alone, and so is the folder: nobody else can exchange the file in
        // between. Whoever can act as this user could change this process anyway.
        unsafe { Component::deserialize_file(&self.engine.wasmtime, path) }.map_err(|error| format!("{error:#}"))
    }

    /// Takes machine code that our own compiler has just written.
    #[expect(unsafe_code, reason = "machine code is run as it is; there is no checked way")]
    fn take(&self, code: &[u8]) -> Result<Component, String> {
        // SAFETY: the bytes come from this process, or by a pipe from a child that is this very program; they have been
        // nowhere else.
        unsafe { Component::deserialize(&self.engine.wasmtime, code) }.map_err(|error| format!("{error:#}"))
    }
}

/// Lets so many in at a time. Waiting is blocking, as calls are.
#[derive(Debug)]
struct Turnstile {
    most: usize,
    state: Mutex<Queue>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    inside: usize,
    /// Who waits to be woken: waking costs a system call even if nobody does.
    outside: usize,
}

/// While it lives somebody is inside.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turnstile);

impl Turnstile {
    fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), left: Condvar::new() }
    }

    fn enter(&self) -> Turn<'_> {
        let mut queue = self.lock();
        while queue.inside >= self.most {
            queue.outside += 1;
            queue = self.left.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.outside -= 1;
        }
        queue.inside += 1;
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.inside -= 1;
        let wanted = queue.outside > 0;
        drop(queue);
        if wanted {
            self.0.left.notify_one();
        }
    }
}
