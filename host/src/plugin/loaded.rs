//! A loaded plugin: asked who it is, its settings checked, ready to be called.
//!
//! **How long an instance lives.** A call gets a fresh instance, unless the plugin asks for kept ones or the operator
//! does: then it takes one that waits, and gives it back if it has answered. An instance that trapped, ran out of time
//! or memory, or answered nonsense is never used again; nor is one that has answered 1 000 times, or has grown over
//! twice what it had after its first call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Store, Trap};

use super::error::{ErrorKind, Phase, PluginError};
use super::guest::{Broken, Granted, Guest, Question};
use super::health::Health;
use super::host::Host;
use super::inspect::Shape;
use super::spec::{Instances, PluginSpec};
use super::v0_1::{CallError, Description, Instance, Linked};
use super::{Asked, settings};
use crate::fragment::{Fragment, Verdict};
use crate::meter::Histogram;
use crate::text::one_line;

/// Calls after which a kept instance is thrown away.
const CALLS: u32 = 1_000;
/// Bytes by which a kept instance may always grow.
const GROWTH: u64 = 4 << 20;
/// Processor time of `describe` and `check-settings`, which may prepare what calls then have at hand.
const AT_LOAD: Duration = Duration::from_secs(5);
/// Bytes of an answer for which there is always room, so that a guest may write its log.
const ROOM: u64 = 64 * 1024;
/// Characters of what a guest says in an error.
const WORDS: usize = 500;

/// A plugin of a snapshot.
pub struct Plugin {
    spec: PluginSpec,
    sha256: String,
    shape: Shape,
    description: Description,
    name: Arc<str>,
    granted: Arc<Granted>,
    linked: Linked,
    host: Arc<Host>,
    idle: Mutex<Vec<Kept>>,
    health: Mutex<Health>,
    counts: Counts,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("spec", &self.spec).field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// An instance between two calls.
struct Kept {
    instance: Instance,
    calls: u32,
    /// Bytes of memory after its first call.
    first: u64,
}

/// Since the plugin was loaded.
#[derive(Debug, Default)]
struct Counts {
    answers: AtomicU64,
    failures: AtomicU64,
    refusals: AtomicU64,
    microseconds: AtomicU64,
    calls: Histogram,
    /// Abstain, keep, drop, force.
    verdicts: [AtomicU64; 4],
}

/// How a plugin does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginCensus {
    /// The operator's name for it.
    pub name: String,
    /// Calls that were answered.
    pub answers: u64,
    /// Calls that broke down or broke a limit.
    pub failures: u64,
    /// Calls that the plugin refused to answer.
    pub refusals: u64,
    /// Time of all calls together.
    pub time: Duration,
    /// Instances that wait for a call.
    pub kept: u64,
    /// Whether it is not asked at the moment.
    pub benched: bool,
    /// What a filter has said: abstain, keep, drop, force.
    pub verdicts: [u64; 4],
}

impl Plugin {
    /// Starts it for the first time: who it is.
    ///
    /// # Errors
    /// [`PluginError`].
    pub(super) fn start(
        spec: PluginSpec,
        sha256: String,
        granted: Granted,
        shape: Shape,
        linked: Linked,
        host: &Arc<Host>,
    ) -> Result<Self, PluginError> {
        let mut plugin = Self {
            name: spec.name.as_str().into(),
            spec,
            sha256,
            shape,
            description: Description::default(),
            granted: Arc::new(granted),
            linked,
            host: Arc::clone(host),
            idle: Mutex::default(),
            health: Mutex::default(),
            counts: Counts::default(),
        };
        plugin.description = plugin.call(Phase::Describe, Question::default(), Instance::describe)?;
        settings::clean(&mut plugin.description);
        Ok(plugin)
    }

    /// Whether its settings are right: the keys by what it says it knows, the values by its own look at them.
    ///
    /// # Errors
    /// [`PluginError`].
    pub(super) fn check_settings(&self) -> Result<(), PluginError> {
        let mut problems = settings::problems(&self.description, &self.spec);
        if problems.is_empty() {
            let found = self.call(Phase::CheckSettings, Question::default(), Instance::check_settings)?;
            problems = found.into_iter().map(|(key, message)| settings::problem(&key, &message)).collect();
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(self.error(Phase::CheckSettings, ErrorKind::Settings(problems)))
    }

    /// As it is configured.
    #[must_use]
    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }

    /// SHA-256 of the component, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it imports, exports and can be used for.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What it says of itself.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether its instances are kept.
    #[must_use]
    pub fn keeps_instances(&self) -> bool {
        match self.spec.instances {
            Instances::Auto => self.description.warm,
            Instances::Fresh => false,
            Instances::Warm => true,
        }
    }

    /// Whether it stands for the same bytes under the same settings.
    pub(super) fn is(&self, spec: &PluginSpec, sha256: &str, granted: &Granted) -> bool {
        self.spec == *spec && self.sha256 == sha256 && self.granted.files == granted.files
    }

    /// The linked component, to be started under other settings.
    pub(super) fn linked(&self) -> (Shape, Linked) {
        (self.shape.clone(), self.linked.clone())
    }

    /// How it does.
    #[must_use]
    pub fn census(&self) -> PluginCensus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PluginCensus {
            name: self.spec.name.clone(),
            answers: count(&self.counts.answers),
            failures: count(&self.counts.failures),
            refusals: count(&self.counts.refusals),
            time: Duration::from_micros(count(&self.counts.microseconds)),
            kept: lock(&self.idle).len() as u64,
            benched: lock(&self.health).check(Instant::now()).is_err(),
            verdicts: self.counts.verdicts.each_ref().map(count),
        }
    }

    /// Time of its calls.
    #[must_use]
    pub fn calls(&self) -> &Histogram {
        &self.counts.calls
    }

    /// `filter.decide`. Blocking.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn decide(&self, asked: &Asked<'_>) -> Result<Verdict, PluginError> {
        let verdict = self.ask(Phase::Decide, asked, |instance| instance.decide(asked.event))?;
        let [abstain, keep, drop, force] = &self.counts.verdicts;
        let count = match &verdict {
            Verdict::Abstain => abstain,
            Verdict::Keep(_) => keep,
            Verdict::Drop(_) => drop,
            Verdict::Force(_) => force,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(verdict)
    }

    /// `renderer.render`. Blocking.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn render(&self, asked: &Asked<'_>, source: &str) -> Result<Fragment, PluginError> {
        self.ask(Phase::Render, asked, |instance| instance.render(asked.event, source))
    }

    /// A call that counts: for the metrics, and for the bench.
    fn ask<T: Sized + Weighed>(
        &self,
        phase: Phase,
        asked: &Asked<'_>,
        work: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, PluginError> {
        let begun = Instant::now();
        if let Err(benched) = lock(&self.health).check(begun) {
            let super::health::Benched { left, failures, last } = benched;
            return Err(self.error(phase, ErrorKind::Benched { left, failures, last }));
        }
        let answer = self.call(phase, Question::of(asked), work).and_then(|answer| {
            if answer.weight() > self.spec.limits.output {
                return Err(self.error(phase, ErrorKind::TooLong(self.spec.limits.output)));
            }
            Ok(answer)
        });
        let took = begun.elapsed();
        self.counts.calls.time(took);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts.microseconds.fetch_add(took, Ordering::Relaxed);
        match &answer {
            Ok(_) => self.answered(&self.counts.answers),
            Err(error) if error.kind.is_failure() => self.failed(error, asked),
            Err(_) => self.answered(&self.counts.refusals),
        }
        answer
    }

    fn answered(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        lock(&self.health).answered();
    }

    fn failed(&self, error: &PluginError, asked: &Asked<'_>) {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            plugin = self.spec.name,
            rule = asked.rule,
            event = %asked.event.key,
            phase = error.phase.name(),
            reason = %error.kind,
            "a plugin gave no answer"
        );
        let benched = lock(&self.health).failed(&error.kind.to_string(), Instant::now());
        if let Some(length) = benched {
            tracing::error!(
                plugin = self.spec.name,
                seconds = length.as_secs(),
                reason = %error.kind,
                "a plugin keeps failing and is not asked for a while; its rules go on by on_failure"
            );
        }
    }

    /// One call, in an instance that waits or in a new one, within all limits.
    fn call<T>(
        &self,
        phase: Phase,
        question: Question,
        work: impl FnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, PluginError> {
        let _turn = self.host.turn();
        let _ticking = self.host.engine.ticking();
        let at_load = matches!(phase, Phase::Describe | Phase::CheckSettings);
        let kept = if at_load { None } else { lock(&self.idle).pop() };
        let mut kept = match kept {
            Some(mut kept) => {
                kept.instance.store.data_mut().begin(question);
                kept.instance.store.set_epoch_deadline(1);
                kept
            }
            None => {
                let store = self.store(question, at_load);
                let instance = self.linked.instantiate(store).map_err(|(store, error)| {
                    let kind = self.kind(&error, store.data());
                    self.error(Phase::Instantiate, kind)
                })?;
                Kept { instance, calls: 0, first: 0 }
            }
        };
        let answer = work(&mut kept.instance);
        let guest = kept.instance.store.data_mut();
        guest.end();
        match answer {
            Ok(answer) => {
                self.keep(kept, at_load);
                Ok(answer)
            }
            Err(CallError::Refused(refusal)) => {
                self.keep(kept, at_load);
                let reason = one_line(&crate::text::cut(&refusal.reason, WORDS));
                Err(self.error(phase, ErrorKind::Refused { reason, again: refusal.again }))
            }
            Err(CallError::Nonsense(what)) => Err(self.error(phase, ErrorKind::Nonsense(what))),
            Err(CallError::Trap(error)) => {
                tracing::debug!(plugin = self.spec.name, error = format!("{error:?}"), "a guest broke down");
                let kind = self.kind(&error, guest);
                Err(self.error(phase, kind))
            }
        }
    }

    /// A store with every limit set, before anything of the guest runs.
    fn store(&self, question: Question, at_load: bool) -> Store<Guest> {
        let mut limits = self.spec.limits;
        if at_load {
            limits.time = limits.time.max(AT_LOAD);
        }
        let guest = Guest::new(Arc::clone(&self.name), Arc::clone(&self.granted), limits, question);
        let mut store = Store::new(&self.host.engine.wasmtime, guest);
        store.limiter(|guest| &mut guest.budget);
        store.set_hostcall_fuel(usize::try_from(limits.output.max(ROOM)).unwrap_or(usize::MAX));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| context.data_mut().budget.tick());
        store
    }

    /// Gives an instance back, if it may be used again.
    fn keep(&self, mut kept: Kept, at_load: bool) {
        if at_load || !self.keeps_instances() {
            return;
        }
        let used = kept.instance.store.data().budget.used();
        if kept.calls == 0 {
            kept.first = used;
        }
        kept.calls += 1;
        let grown = used > kept.first.saturating_mul(2).max(kept.first.saturating_add(GROWTH));
        let mut idle = lock(&self.idle);
        if !grown && kept.calls < CALLS && idle.len() < self.host.calls() {
            idle.push(kept);
        }
    }

    /// What a trap was.
    fn kind(&self, error: &wasmtime::Error, guest: &Guest) -> ErrorKind {
        let limits = self.spec.limits;
        match guest.budget.broken {
            Some(Broken::Time) => return ErrorKind::TimedOut(guest.budget.time()),
            Some(Broken::Memory) => return ErrorKind::OutOfMemory(limits.memory),
            None => {}
        }
        let cause = error.root_cause().to_string();
        // The engine's own type for it is private.
        if cause.contains("fuel allocated for hostcalls") {
            return ErrorKind::TooLong(limits.output.max(ROOM));
        }
        let what = match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => "it gave up (a panic, an exception or an abort)".to_owned(),
            Some(Trap::StackOverflow) => "its calls were nested too deeply".to_owned(),
            _ => one_line(&crate::text::cut(&cause, WORDS)),
        };
        ErrorKind::Trapped(match guest.last_words() {
            Some(words) => format!("{what}: {}", one_line(&crate::text::cut(words, WORDS))),
            None => what,
        })
    }

    pub(super) fn error(&self, phase: Phase, kind: ErrorKind) -> PluginError {
        PluginError { plugin: self.spec.name.clone(), phase, kind }
    }
}

/// How long an answer is.
trait Weighed {
    /// In bytes.
    fn weight(&self) -> u64;
}

impl Weighed for Verdict {
    fn weight(&self) -> u64 {
        match self {
            Self::Abstain => 0,
            Self::Keep(notes) => notes.iter().map(|note| note.text.len() as u64).sum(),
            Self::Drop(reason) | Self::Force(reason) => reason.len() as u64,
        }
    }
}

impl Weighed for Fragment {
    fn weight(&self) -> u64 {
        self.size()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
