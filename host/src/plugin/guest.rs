//! What stands behind a guest's imports during one call, and what it may use up: the data of its store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result, UpdateDeadline};

use super::Asked;
use super::spec::Limits;
use crate::event::rows::ResultSet;
use crate::facts::RowReader;
use crate::text::Visible;

/// Bytes of a call's log lines that are kept.
const LOG: usize = 64 * 1024;
/// Bytes of one log line.
const LINE: usize = 4 * 1024;
/// A guest that gets no processor is not to blame; but nobody waits for ever.
const WALL: Duration = Duration::from_secs(60);
/// Processor time that the host spends on reading rows for one call. In its own time a guest can hardly look at what is
/// read in this.
const READING: Duration = Duration::from_secs(10);

/// A store's data.
#[derive(Debug)]
pub(super) struct Guest {
    /// The operator's name for the plugin.
    plugin: Arc<str>,
    /// Settings and files.
    pub(super) granted: Arc<Granted>,
    pub(super) budget: Budget,
    pub(super) question: Question,
    pub(super) cursors: ResourceTable,
    /// Bytes that the cursors hold.
    pub(super) held: usize,
    /// How many rows each source has, if it was asked.
    pub(super) totals: HashMap<String, std::result::Result<u64, String>>,
    log: LogBudget,
    /// The last line that it logged as an error: what it says of a trap.
    last_words: Option<String>,
}

/// What the operator grants.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// The settings as the text of a JSON object.
    pub(super) settings: String,
    /// The text of each file.
    pub(super) files: std::collections::BTreeMap<String, String>,
}

/// What a call is about.
#[derive(Debug, Default)]
pub(super) struct Question {
    pub(super) rule: String,
    event: String,
    /// Unix milliseconds.
    pub(super) now: i64,
    pub(super) results: Option<Arc<IndexMap<String, ResultSet>>>,
    pub(super) reader: RowReader,
}

impl Question {
    pub(super) fn of(asked: &Asked<'_>) -> Self {
        Self {
            rule: asked.rule.to_owned(),
            event: asked.event.key.to_string(),
            now: asked.now.as_millisecond(),
            results: asked.event.results.clone(),
            reader: asked.rows.clone(),
        }
    }
}

impl Guest {
    /// A guest's surroundings. There is no way to have them without limits.
    pub(super) fn new(plugin: Arc<str>, granted: Arc<Granted>, limits: Limits, question: Question) -> Self {
        Self {
            plugin,
            granted,
            budget: Budget::new(limits),
            question,
            cursors: ResourceTable::new(),
            held: 0,
            totals: HashMap::new(),
            log: LogBudget::default(),
            last_words: None,
        }
    }

    /// Begins another call in a kept instance.
    pub(super) fn begin(&mut self, question: Question) {
        self.question = question;
        self.forget();
        self.log = LogBudget::default();
        self.last_words = None;
        self.budget.begin();
    }

    /// Writes a guest's line into the log, if there is budget for it.
    pub(super) fn log(&mut self, level: tracing::Level, message: &str) {
        if !self.log.take(message.len()) {
            return;
        }
        let shown = crate::text::cut(message, LINE);
        if level == tracing::Level::ERROR {
            self.last_words = Some(shown.clone().into_owned());
        }
        let (plugin, rule, event) = (&*self.plugin, self.question.rule.as_str(), self.question.event.as_str());
        let message = Visible(&shown);
        // The level of a tracing macro is part of its code.
        match level {
            tracing::Level::TRACE => tracing::trace!(target: "bewit::guest", plugin, rule, event, "{message}"),
            tracing::Level::DEBUG => tracing::debug!(target: "bewit::guest", plugin, rule, event, "{message}"),
            tracing::Level::INFO => tracing::info!(target: "bewit::guest", plugin, rule, event, "{message}"),
            tracing::Level::WARN => tracing::warn!(target: "bewit::guest", plugin, rule, event, "{message}"),
            tracing::Level::ERROR => tracing::error!(target: "bewit::guest", plugin, rule, event, "{message}"),
        }
    }

    /// What the guest has last logged as an error in this call.
    pub(super) fn last_words(&self) -> Option<&str> {
        self.last_words.as_deref()
    }

    /// Ends a call: says how much of its log was left out.
    pub(super) fn end(&mut self) {
        let dropped = std::mem::take(&mut self.log.dropped);
        if dropped > 0 {
            let (plugin, rule, event) = (&*self.plugin, self.question.rule.as_str(), self.question.event.as_str());
            tracing::warn!(target: "bewit::guest", plugin, rule, event, dropped, "log lines over the limit were left out");
        }
        self.question = Question::default();
        self.forget();
    }

    /// Lets go of what the host has kept for a call.
    fn forget(&mut self) {
        self.cursors = ResourceTable::new();
        self.held = 0;
        self.totals.clear();
    }

    /// Does something on the host's time: it is not counted as the guest's.
    ///
    /// # Errors
    /// When the call has lasted too long altogether.
    pub(super) fn on_our_time<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Result<T> {
        let begun = processor_time();
        let done = work(self);
        let took = processor_time().saturating_sub(begun);
        self.budget.ours += took;
        self.budget.reading += took;
        if self.budget.reading > READING {
            let most = READING.as_secs();
            return Err(wasmtime::Error::msg(format!("it had rows read for it for more than {most} s")));
        }
        if self.budget.begun.elapsed() > self.budget.wall() {
            self.budget.broken = Some(Broken::Time);
            return Err(wasmtime::Error::msg("the call has lasted too long"));
        }
        Ok(done)
    }
}

/// Bytes of log that are left, and lines that were dropped.
#[derive(Debug)]
struct LogBudget {
    left: usize,
    dropped: u64,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self { left: LOG, dropped: 0 }
    }
}

impl LogBudget {
    fn take(&mut self, bytes: usize) -> bool {
        // An empty line costs, too.
        match self.left.checked_sub(bytes.min(LINE) + 64) {
            Some(left) => self.left = left,
            None => self.dropped += 1,
        }
        self.dropped == 0
    }
}

/// What a call may use up.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    /// Bytes of all memories and tables of the instance.
    used: u64,
    /// When the call began.
    begun: Instant,
    /// Processor time of this thread when the clock first ticked during the call. Most calls end before, and never ask.
    first: Option<Duration>,
    /// Processor time that the host has used for the guest since.
    ours: Duration,
    /// The same since the call began.
    reading: Duration,
    /// Which limit the call broke.
    pub(super) broken: Option<Broken>,
}

/// A limit that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Time,
    Memory,
}

impl Budget {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            used: 0,
            begun: Instant::now(),
            first: None,
            ours: Duration::ZERO,
            reading: Duration::ZERO,
            broken: None,
        }
    }

    fn begin(&mut self) {
        let used = self.used;
        *self = Self { used, ..Self::new(self.limits) };
    }

    /// Processor time that the call may use.
    pub(super) fn time(&self) -> Duration {
        self.limits.time
    }

    /// How long the call may last by the clock on the wall.
    fn wall(&self) -> Duration {
        self.limits.time.saturating_mul(4).max(WALL)
    }

    /// Bytes of all memories and tables.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Called at each tick of the clock during which the guest runs.
    pub(super) fn tick(&mut self) -> Result<UpdateDeadline> {
        let now = processor_time();
        let first = *self.first.get_or_insert_with(|| {
            self.ours = Duration::ZERO;
            now
        });
        if now.saturating_sub(first).saturating_sub(self.ours) < self.limits.time && self.begun.elapsed() < self.wall()
        {
            return Ok(UpdateDeadline::Continue(1));
        }
        self.broken = Some(Broken::Time);
        Ok(UpdateDeadline::Interrupt)
    }

    fn grow(&mut self, by: u64) -> Result<bool> {
        let used = self.used.saturating_add(by);
        if used > self.limits.memory {
            self.broken = Some(Broken::Memory);
            return Err(wasmtime::Error::msg("over the limit on memory"));
        }
        self.used = used;
        Ok(true)
    }
}

/// Counts all memories and tables of an instance together. What does not fit is a trap: few guests survive a refusal,
/// and those that do hide it.
impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        self.grow((desired.saturating_sub(current) as u64).saturating_mul(size_of::<usize>() as u64))
    }
}

/// Processor time of this thread. A guest runs on one thread from begin to end.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}
