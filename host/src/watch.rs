//! Watching folders: says that it is time to look, never what has changed.
//!
//! Events of the operating system are hints only. They get lost (queue overflow), never come (network and overlay file
//! systems), or come in hundreds; so whoever watches looks for itself, and a slow tick goes on beside the events. Folders
//! are watched, not files, because a saved file is a new one under the old name; a folder that was replaced by another
//! of its name (compared by device and inode) is watched anew.

use std::collections::BTreeMap;
use std::future::pending;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Quiet after which a burst of events is over.
const QUIET: Duration = Duration::from_millis(200);

/// Longest wait for a burst to be over.
const BURST: Duration = Duration::from_secs(2);

/// Between attempts to watch a folder that is not there.
const RETRY: Duration = Duration::from_secs(1);

/// Why it is time to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Something happened in a folder, or a folder was replaced.
    Event,
    /// The slow tick.
    Tick,
}

/// Watches a set of folders, not what is below their subfolders.
#[derive(Debug)]
pub struct Watcher {
    poll: Duration,
    quiet: Duration,
    next_tick: Instant,
    next_arm: Option<Instant>,
    /// First and last event of the burst that is going on.
    burst: Option<(Instant, Instant)>,
    events: Option<mpsc::Receiver<()>>,
    state: Arc<Mutex<State>>,
}

/// What only code that may block touches.
#[derive(Debug)]
struct State {
    /// The folder that is watched under each path, if one is.
    folders: BTreeMap<PathBuf, Option<Identity>>,
    native: Option<Native>,
    /// Whether the operating system is asked for events at all.
    wanted: bool,
    warned: bool,
    found: Found,
}

/// What arming has found and nobody has taken notice of yet: it outlives a future that is dropped.
#[derive(Debug, Default)]
struct Found {
    /// Of a new native watcher.
    events: Option<mpsc::Receiver<()>>,
    /// A folder that was not watched, or was another one, is watched now.
    changed: bool,
    /// Some folder is not watched, though it should be.
    missing: bool,
}

/// Device and inode.
type Identity = (u64, u64);

/// The library's watcher with a sign of life: dropping one whose thread has died would panic.
#[derive(Debug)]
struct Native {
    watcher: Option<RecommendedWatcher>,
    alive: Weak<()>,
}

impl Watcher {
    /// Watches folders; what happens after this returns is noticed. `poll` is the time between ticks. Folders need not
    /// exist yet. Without the operating system's help (one warning) only the ticks are left.
    pub async fn new(folders: impl IntoIterator<Item = PathBuf>, poll: Duration) -> Self {
        Self::start(folders, poll, true).await
    }

    /// Ticks only.
    #[cfg(test)]
    async fn polling(folders: impl IntoIterator<Item = PathBuf>, poll: Duration) -> Self {
        Self::start(folders, poll, false).await
    }

    async fn start(folders: impl IntoIterator<Item = PathBuf>, poll: Duration, wanted: bool) -> Self {
        let folders = folders.into_iter().map(|path| (path, None)).collect();
        let mut watcher = Self {
            poll,
            quiet: QUIET,
            next_tick: Instant::now() + poll,
            next_arm: None,
            burst: None,
            events: None,
            state: Arc::new(Mutex::new(State {
                folders,
                native: None,
                wanted,
                warned: false,
                found: Found::default(),
            })),
        };
        watcher.arm().await;
        watcher.take_notice();
        watcher
    }

    /// How long a burst's end is waited for, if 200 ms are too long.
    #[must_use]
    pub fn with_quiet(self, quiet: Duration) -> Self {
        Self { quiet, ..self }
    }

    /// Waits until it is time to look. Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Hint {
        loop {
            if self.take_notice() {
                self.burst = None;
                return Hint::Event;
            }
            let settled = self.burst.map(|(first, last)| (last + self.quiet).min(first + BURST));
            tokio::select! {
                event = next(&mut self.events) => {
                    let now = Instant::now();
                    if event.is_some() {
                        let first = self.burst.map_or(now, |(first, _)| first);
                        self.burst = Some((first, now));
                    } else {
                        // The library's thread is gone.
                        self.events = None;
                        self.next_arm = Some(now + RETRY);
                    }
                }
                () = at(settled) => {
                    // The event may be the last one of a folder that was replaced.
                    self.arm().await;
                    self.take_notice();
                    self.burst = None;
                    return Hint::Event;
                }
                () = at(self.next_arm) => self.arm().await,
                () = sleep_until(self.next_tick) => {
                    self.arm().await;
                    self.take_notice();
                    self.burst = None;
                    self.next_tick = Instant::now() + self.poll;
                    return Hint::Tick;
                }
            }
        }
    }

    /// Sees to it that each folder is watched.
    async fn arm(&mut self) {
        self.next_arm = None;
        let state = Arc::clone(&self.state);
        if tokio::task::spawn_blocking(move || lock(&state).arm()).await.is_err() {
            // A panic inside the library; the ticks go on.
            self.next_arm = Some(Instant::now() + RETRY);
        }
    }

    /// Acts on what arming found; whether a folder is news.
    fn take_notice(&mut self) -> bool {
        // It is locked only while an arming goes on whose future was dropped; the next round takes notice.
        let Ok(mut state) = self.state.try_lock() else { return false };
        let found = mem::take(&mut state.found);
        if found.events.is_some() {
            self.events = found.events;
        }
        if found.missing {
            self.next_arm = Some(Instant::now() + RETRY);
        }
        found.changed
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

async fn next(events: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match events {
        Some(events) => events.recv().await,
        None => pending().await,
    }
}

impl State {
    fn arm(&mut self) {
        if !self.wanted {
            return;
        }
        if self.native.as_ref().is_none_or(|native| native.alive.strong_count() == 0) {
            self.native = None;
            self.folders.values_mut().for_each(|watched| *watched = None);
            match Native::new() {
                Ok((native, events)) => {
                    self.native = Some(native);
                    self.found.events = Some(events);
                }
                Err(error) => return self.warn(&error),
            }
        }
        let mut failed = None;
        for (path, watched) in &mut self.folders {
            let now =
                std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir).map(|meta| (meta.dev(), meta.ino()));
            if now.is_some() && now == *watched {
                continue;
            }
            let Some(native) = self.native.as_mut().and_then(Native::living) else {
                self.found.missing = true;
                break;
            };
            if watched.take().is_some() {
                // It fails when the library has noticed by itself that the folder is gone.
                let _ = native.unwatch(path);
            }
            if now.is_none() {
                self.found.missing = true;
                continue;
            }
            match native.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    *watched = now;
                    self.found.changed = true;
                }
                Err(error) => {
                    // Of a folder that has just gone nobody needs to hear.
                    if path.exists() {
                        failed = Some(error);
                    }
                    self.found.missing = true;
                }
            }
        }
        if let Some(error) = failed {
            self.warn(&error);
        }
    }

    fn warn(&mut self, error: &notify::Error) {
        if !mem::replace(&mut self.warned, true) {
            tracing::warn!(%error, "no file system events; changes are found by looking now and then");
        }
    }
}

impl Native {
    fn new() -> notify::Result<(Self, mpsc::Receiver<()>)> {
        let (hint, events) = mpsc::channel(1);
        let life = Arc::new(());
        let alive = Arc::downgrade(&life);
        // Nothing here may block or panic: the library's thread would end without a word.
        let handler = move |event: notify::Result<notify::Event>| {
            let _life = &life;
            if event.map_or(true, |event| counts(&event)) {
                let _ = hint.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(handler)?;
        Ok((Self { watcher: Some(watcher), alive }, events))
    }

    fn living(&mut self) -> Option<&mut RecommendedWatcher> {
        if self.alive.strong_count() == 0 { None } else { self.watcher.as_mut() }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        let watcher = self.watcher.take();
        if self.alive.strong_count() == 0 {
            mem::forget(watcher);
        }
    }
}

/// Reading a file is an event too; only that of a writer counts. An overflow, or one of a kind unknown, does.
fn counts(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    async fn hint(watcher: &mut Watcher) -> Hint {
        tokio::time::timeout(Duration::from_secs(20), watcher.changed()).await.expect("no hint came")
    }

    /// Waits for a hint; then for the end of what the same change still causes.
    async fn event(watcher: &mut Watcher) {
        assert_eq!(hint(watcher).await, Hint::Event);
        while tokio::time::timeout(3 * QUIET, watcher.changed()).await.is_ok() {}
    }

    async fn silent(watcher: &mut Watcher) {
        let hint = tokio::time::timeout(4 * QUIET, watcher.changed()).await;
        assert!(hint.is_err(), "{hint:?}");
    }

    #[tokio::test]
    async fn a_rename_into_the_folder_is_seen_and_reading_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("a"), "a").unwrap();
        let mut watcher = Watcher::new([dir.path().to_owned()], LONG).await;
        silent(&mut watcher).await;
        fs::rename(other.path().join("a"), dir.path().join("a.jsonl")).unwrap();
        event(&mut watcher).await;
        fs::read(dir.path().join("a.jsonl")).unwrap();
        fs::read_dir(dir.path()).unwrap().for_each(drop);
        silent(&mut watcher).await;
        fs::write(dir.path().join("a.jsonl"), "b").unwrap();
        event(&mut watcher).await;
    }

    #[tokio::test]
    async fn a_replaced_folder_is_watched_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("spool");
        let mut watcher = Watcher::new([path.clone()], LONG).await;
        // Made later.
        fs::create_dir(&path).unwrap();
        event(&mut watcher).await;
        fs::write(path.join("a"), "").unwrap();
        event(&mut watcher).await;
        // Swapped by rename.
        fs::create_dir(root.path().join("new")).unwrap();
        fs::rename(&path, root.path().join("old")).unwrap();
        fs::rename(root.path().join("new"), &path).unwrap();
        event(&mut watcher).await;
        fs::write(path.join("b"), "").unwrap();
        event(&mut watcher).await;
        // The old one is nobody's business any more.
        fs::write(root.path().join("old/c"), "").unwrap();
        silent(&mut watcher).await;
        // Removed and made again.
        fs::remove_dir_all(&path).unwrap();
        event(&mut watcher).await;
        fs::create_dir(&path).unwrap();
        event(&mut watcher).await;
        fs::write(path.join("d"), "").unwrap();
        event(&mut watcher).await;
    }

    #[tokio::test]
    async fn a_mounted_volume_swaps_its_data_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("..1")).unwrap();
        fs::create_dir(at("..2")).unwrap();
        fs::write(at("..1/t.html"), "one").unwrap();
        fs::write(at("..2/t.html"), "two").unwrap();
        symlink("..1", at("..data")).unwrap();
        symlink("..data/t.html", at("t.html")).unwrap();
        let mut watcher = Watcher::new([dir.path().to_owned()], LONG).await;
        symlink("..2", at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        event(&mut watcher).await;
        assert_eq!(fs::read(at("t.html")).unwrap(), b"two");
    }

    #[tokio::test]
    async fn a_link_to_the_folder_that_is_turned_is_found_by_the_tick() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("1")).unwrap();
        fs::create_dir(at("2")).unwrap();
        symlink("1", at("link")).unwrap();
        let mut watcher = Watcher::new([at("link")], Duration::from_millis(300)).await;
        symlink("2", at("tmp")).unwrap();
        fs::rename(at("tmp"), at("link")).unwrap();
        assert_eq!(hint(&mut watcher).await, Hint::Tick);
        fs::write(at("2/a"), "").unwrap();
        // Ticks may come first; without the event there would be nothing else.
        while hint(&mut watcher).await != Hint::Event {}
    }

    #[tokio::test]
    async fn without_events_there_are_ticks() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::polling([dir.path().to_owned()], Duration::from_millis(600)).await;
        fs::write(dir.path().join("a"), "").unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(watcher.changed().await, Hint::Tick);
            assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
        }
    }

    #[tokio::test]
    async fn a_burst_is_one_hint_and_a_steady_stream_is_not_starved() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new([dir.path().to_owned()], LONG).await;
        for number in 0..20_000 {
            fs::write(dir.path().join(format!("{number}")), "").unwrap();
        }
        event(&mut watcher).await;

        let path = dir.path().join("steady");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            // As long as the other end is there, another write within the quiet time.
            while stopped.recv_timeout(QUIET / 4) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                fs::write(&path, "").unwrap();
            }
        });
        let start = Instant::now();
        assert_eq!(hint(&mut watcher).await, Hint::Event);
        assert!(start.elapsed() < BURST + Duration::from_secs(2), "{:?}", start.elapsed());
        drop(stop);
        writer.join().unwrap();
    }

    #[tokio::test]
    async fn a_dead_thread_of_the_library_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new([dir.path().to_owned()], LONG).await;
        // Shut it down behind the watcher's back: the handler goes, and with it the sign of life.
        drop(lock(&watcher.state).native.as_mut().unwrap().watcher.take());
        assert_eq!(hint(&mut watcher).await, Hint::Event);
        fs::write(dir.path().join("a"), "").unwrap();
        event(&mut watcher).await;
    }
}
