//! The engine: one for the whole process, with every limit that the engine itself can hold.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::{Config, Engine as Wasmtime, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Length of an epoch: how exactly a guest's time is measured.
const TICK: Duration = Duration::from_millis(10);
/// Native stack of a guest. Threads that call guests have 2 MiB; what is left is the host functions'.
const STACK: usize = 1024 * 1024;
/// Most bytes of one memory; the configuration allows no higher limit for an instance.
const MOST_MEMORY: u64 = 1 << 30;
/// Instances at a time, of all plugins together.
const INSTANCES: u32 = 256;

/// The engine, and the clock that guests are stopped by.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) wasmtime: Wasmtime,
    pub(super) addresses: Addresses,
    clock: Arc<Clock>,
}

/// Ticks only while guests run, so that an idle daemon sleeps.
#[derive(Debug, Default)]
struct Clock {
    state: Mutex<Running>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    guests: usize,
    /// Whether the clock waits to be woken: waking costs a system call even if nobody sleeps.
    asleep: bool,
    closed: bool,
}

/// While it lives the clock ticks.
#[derive(Debug)]
pub(super) struct Ticking<'a>(&'a Clock);

impl Engine {
    /// Starts an engine and its clock.
    ///
    /// # Errors
    /// When the processor is not supported, or the clock's thread cannot be started.
    pub(super) fn new() -> Result<Self, String> {
        // The pool reserves a terabyte of addresses, no memory. Where even that is refused, instances are made one by one:
        // slower, no less safe.
        let mut pooled = config(Addresses::Plenty);
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling()));
        let (wasmtime, addresses) = match Wasmtime::new(&pooled) {
            Ok(wasmtime) => (Ok(wasmtime), Addresses::Plenty),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "plugins run without a pool of instances, which is slower"
                );
                (Wasmtime::new(&config(Addresses::Scarce)), Addresses::Scarce)
            }
        };
        let wasmtime = wasmtime.map_err(|error| format!("WebAssembly cannot run here: {error:#}"))?;
        let clock = Arc::new(Clock::default());
        let (ticking, weak) = (Arc::clone(&clock), wasmtime.weak());
        std::thread::Builder::new()
            .name("plugin-clock".to_owned())
            .spawn(move || {
                while ticking.wait_for_guests() {
                    std::thread::sleep(TICK);
                    let Some(engine) = weak.upgrade() else { return };
                    engine.increment_epoch();
                }
            })
            .map_err(|error| format!("the plugins' clock cannot be started: {error}"))?;
        Ok(Self { wasmtime, addresses, clock })
    }

    /// Lets the clock tick.
    pub(super) fn ticking(&self) -> Ticking<'_> {
        let mut running = self.clock.lock();
        running.guests += 1;
        if running.asleep {
            self.clock.changed.notify_all();
        }
        Ticking(&self.clock)
    }

    /// Differs between engines that cannot run each other's code.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        struct Feed(blake3::Hasher);
        impl Hasher for Feed {
            fn finish(&self) -> u64 {
                0
            }

            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
        }
        let mut feed = Feed(blake3::Hasher::new());
        self.wasmtime.precompile_compatibility_hash().hash(&mut feed);
        *feed.0.finalize().as_bytes()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.clock.lock().closed = true;
        self.clock.changed.notify_all();
    }
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a guest runs; `false` when the engine is gone.
    fn wait_for_guests(&self) -> bool {
        let mut running = self.lock();
        while running.guests == 0 && !running.closed {
            running.asleep = true;
            running = self.changed.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        running.asleep = false;
        !running.closed
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.lock().guests -= 1;
    }
}

/// How generous with addresses (not memory) the machine is. Compiled code depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    /// Four gigabytes for each memory, so that most bounds need no check.
    Plenty,
    /// Only what is used.
    Scarce,
}

/// What both the daemon's engine and the compiler in its own process are configured with. Off is whatever plugins do not
/// need: each feature is code that could be wrong.
pub(super) fn config(addresses: Addresses) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    if addresses == Addresses::Scarce {
        config.memory_reservation(0).memory_guard_size(64 * 1024).memory_reservation_for_growth(1 << 20);
    }
    config
}

/// Room for what componentize-py makes, which is the largest: 38 core instances in a component.
fn pooling() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES)
        .max_component_instance_size(4 << 20)
        .max_core_instances_per_component(80)
        .total_core_instances(INSTANCES * 40)
        .max_core_instance_size(4 << 20)
        .max_memories_per_component(20)
        .max_memories_per_module(4)
        .total_memories(INSTANCES)
        .max_memory_size(usize::try_from(MOST_MEMORY).unwrap_or(usize::MAX))
        .max_tables_per_component(40)
        .max_tables_per_module(4)
        .total_tables(INSTANCES * 8)
        .table_elements(40_000)
        // Nothing of one event stays where the next one could find it.
        .linear_memory_keep_resident(0)
        .table_keep_resident(0);
    pool
}
