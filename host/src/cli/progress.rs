//! Progress on standard error while it is a terminal; notes and logs are written above it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Between two looks of the display.
const TICK: Duration = Duration::from_millis(200);

/// The one that is shown.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A counter, shown until it is dropped.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Counts `what`, such as events. Shown if standard error is a terminal and `data_on_terminal` is false: lines of
    /// data on the same terminal are progress enough.
    pub(super) fn start(what: &'static str, data_on_terminal: bool) -> Self {
        if data_on_terminal || !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self(bar)
    }

    /// A handle that counts one each time it is called, from any thread.
    pub(super) fn counter(&self) -> impl Fn() + Send + Sync + 'static {
        let bar = self.0.clone();
        move || bar.inc(1)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.finish_and_clear();
    }
}

/// Writes to standard error with the display out of the way.
pub(super) fn above<T>(write: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Standard error for logs: each write, which is a whole entry, goes above the display.
#[derive(Debug)]
pub(super) struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_whether_shown_or_not_and_lets_others_write() {
        let progress = Progress::start("events", true);
        let count = progress.counter();
        std::thread::spawn(move || (0..1000).for_each(|_| count())).join().unwrap();
        assert_eq!(progress.0.position(), 1000);
        assert!(progress.0.is_hidden());
        assert_eq!(above(|| 7), 7);
    }
}
