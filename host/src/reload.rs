//! Reload: a saved file or SIGHUP builds a new snapshot aside; it is proved, then swapped in one place. The last good
//! one stays on any failure, and the log says why, once.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::config::diagnostic::Diagnostics;
use crate::locale::LANGUAGES;
use crate::snapshot::{Current, Snapshot};
use crate::watch::{Hint, Watcher};

/// How often the files are looked at when no event comes.
const POLL: Duration = Duration::from_secs(10);
/// A set of files counts as saved when two looks this far apart see the same.
const SETTLE: Duration = Duration::from_millis(200);
/// How long the end of a burst of events is waited for: an author looks at a page that follows within half a second.
const QUIET: Duration = Duration::from_millis(100);
/// The same after an event: the watcher has already waited for the end of a burst.
const SETTLE_AFTER_EVENT: Duration = Duration::from_millis(40);
/// How long an author may keep saving before a look is taken anyway.
const PATIENCE: Duration = Duration::from_secs(2);
/// What was refused is tried again, although no file is known to have changed, after a rest: so many times what the
/// attempt took (compiling a plugin takes minutes at worst), and at most this long.
const REST: (u32, Duration) = (10, Duration::from_secs(600));

/// What is known of the files: what is in force, and what was wrong with the last attempt.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// Counted up with every change of the others.
    pub number: u64,
    /// Of the snapshot in force.
    pub generation: u64,
    /// Why what was saved last is not in force.
    pub refused: Option<Arc<Diagnostics>>,
}

/// Watches a snapshot's files and swaps in what proves good.
pub struct Reloader {
    config_file: PathBuf,
    current: Current,
    /// What the snapshot in force, or the last refused attempt, was read from.
    seen: String,
    /// What was wrong at the last attempt, if it was refused.
    refused: Option<String>,
    /// When it is tried again in any case.
    rested: Instant,
    /// Told of each swap.
    swapped: watch::Sender<u64>,
    /// Told of each swap and each refusal.
    news: watch::Sender<News>,
}

impl Reloader {
    /// A reloader for the snapshot in force, which was read from `config_file`.
    #[must_use]
    pub fn new(config_file: PathBuf, current: Current) -> Self {
        let (generation, read) = (current.load().generation, current.load().read);
        let swapped = watch::Sender::new(generation);
        let rested = Instant::now();
        let news = watch::Sender::new(News { generation, ..News::default() });
        let mut reloader = Self { config_file, current, seen: String::new(), refused: None, rested, swapped, news };
        // Loading may have taken a while. What was saved meanwhile makes the first look a reload.
        if !reloader.has_changed_since(read) {
            reloader.seen = reloader.fingerprint();
        }
        reloader
    }

    /// The same where the file was refused already, and something else stands in for it.
    #[must_use]
    pub fn refused(config_file: PathBuf, current: Current, found: Diagnostics) -> Self {
        let mut reloader = Self::new(config_file, current);
        reloader.refused = Some(found.to_string());
        reloader.tell(reloader.current.load().generation, Some(Arc::new(found)));
        reloader
    }

    /// The configuration file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.config_file
    }

    /// Tells the generation in force, and each new one.
    #[must_use]
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.swapped.subscribe()
    }

    /// Tells what is in force and what was refused.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// Looks whenever something may have changed, until `stop`. `hangup` is told of each SIGHUP.
    pub async fn run(mut self, mut hangup: tokio::sync::mpsc::Receiver<()>, mut stop: watch::Receiver<bool>) {
        let mut folders = self.folders();
        let mut watcher = Watcher::new(folders.clone(), POLL).await.with_quiet(QUIET);
        loop {
            let (forced, settle) = tokio::select! {
                hint = watcher.changed() => (false, if hint == Hint::Event { SETTLE_AFTER_EVENT } else { SETTLE }),
                Some(()) = hangup.recv() => (true, SETTLE),
                _ = stop.wait_for(|stop| *stop) => return,
            };
            self.look(forced, settle).await;
            let now = self.folders();
            if now != folders {
                watcher = Watcher::new(now.clone(), POLL).await.with_quiet(QUIET);
                folders = now;
            }
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.current.load().folders(&self.config_file)
    }

    /// One look: waits until the files are the same twice, then reloads if they differ from what was last read.
    async fn look(&mut self, forced: bool, settle: Duration) {
        let mut before = self.fingerprint();
        // What was refused may have been mended in a file that no snapshot in force knows of.
        let forced = forced || (self.refused.is_some() && Instant::now() >= self.rested);
        if before == self.seen && !forced {
            return;
        }
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            tokio::time::sleep(settle).await;
            waited += settle;
            let after = self.fingerprint();
            if after == before {
                break;
            }
            before = after;
        }
        if before == self.seen && !forced {
            return;
        }
        self.seen = before;
        self.reload().await;
    }

    async fn reload(&mut self) {
        let old = self.current.load_full();
        let path = self.config_file.clone();
        let (before, generation) = (Arc::clone(&old), old.generation + 1);
        let begun = Instant::now();
        let built = tokio::task::spawn_blocking(move || Snapshot::reload(&path, &before)).await;
        let (times, most) = REST;
        self.rested = Instant::now() + begun.elapsed().saturating_mul(times).min(most);
        match built {
            Ok(Ok(new)) => {
                for key in unreloadable(&old, &new) {
                    tracing::warn!(key, "this setting was changed, but takes effect only at the next start");
                }
                tracing::info!(
                    generation,
                    rules = new.config.rules.len(),
                    plugins = new.config.plugins.len(),
                    "configuration, templates and plugins reloaded"
                );
                self.current.store(Arc::new(new));
                self.refused = None;
                self.swapped.send_replace(generation);
                self.tell(generation, None);
            }
            Ok(Err(found)) => {
                let (in_force, findings) = (old.generation, found.to_string());
                if self.refused.as_ref() != Some(&findings) {
                    self.tell(in_force, Some(Arc::new(found)));
                    tracing::error!(
                        generation = in_force,
                        "reload refused, the last good configuration stays:\n{findings}"
                    );
                }
                self.refused = Some(findings);
            }
            Err(error) => tracing::error!(%error, "reload failed, the last good configuration stays"),
        }
    }

    fn tell(&self, generation: u64, refused: Option<Arc<Diagnostics>>) {
        self.news.send_modify(|news| *news = News { number: news.number + 1, generation, refused });
    }

    /// Whether a file that the snapshot was read from was written or renamed since. No system tells when a link was
    /// pointed elsewhere; that is seen at the next change.
    fn has_changed_since(&self, moment: SystemTime) -> bool {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let snapshot = self.current.load();
        let plugins =
            snapshot.config.plugins.iter().flat_map(|spec| [&spec.path].into_iter().chain(spec.files.values()));
        let templates = snapshot.config.templates.iter().flat_map(|folder| {
            [folder.clone(), folder.join(LANGUAGES)].into_iter().flat_map(|folder| {
                let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
                files.chain([folder.clone()])
            })
        });
        let mut files = plugins.cloned().chain(templates).chain([self.config_file.clone()]);
        files.any(|file| {
            std::fs::metadata(file).is_ok_and(|found| {
                let (seconds, nanoseconds) = (u64::try_from(found.ctime()), u32::try_from(found.ctime_nsec()));
                Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default()) > since
            })
        })
    }

    /// The content of every file that a snapshot is read from, as one hash.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        feed(&mut hash, &self.config_file);
        if let Some(folder) = &self.current.load().config.templates {
            for (folder, ending) in [(folder.clone(), "j2"), (folder.join(LANGUAGES), "toml")] {
                let mut files: Vec<PathBuf> =
                    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
                files.sort();
                for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == ending)) {
                    feed(&mut hash, file);
                }
            }
        }
        for spec in &self.current.load().config.plugins {
            for file in [&spec.path].into_iter().chain(spec.files.values()) {
                stamp(&mut hash, file);
            }
        }
        crate::blob::hex(&hash.finalize())
    }
}

/// Adds what the file system knows of a file: plugins are too large to be read at each look. A change of content changes
/// `ctime`, which nobody can set back.
fn stamp(hash: &mut Sha256, file: &Path) {
    hash.update(file.as_os_str().as_encoded_bytes());
    hash.update([0]);
    if let Ok(found) = std::fs::metadata(file) {
        let (seconds, nanoseconds) = (found.ctime(), found.ctime_nsec());
        for number in [found.dev(), found.ino(), found.len(), seconds.cast_unsigned(), nanoseconds.cast_unsigned()] {
            hash.update(number.to_le_bytes());
        }
    }
}

/// Adds a file's name and content; one that cannot be read counts as empty, and is seen when it can.
fn feed(hash: &mut Sha256, file: &Path) {
    hash.update(file.as_os_str().as_encoded_bytes());
    hash.update([0]);
    if let Ok(opened) = std::fs::File::open(file)
        && let Ok(content) = crate::blob::sha256_of(opened)
    {
        hash.update(content);
    }
}

/// Settings that are bound at start: sockets, folders and the outbox.
fn unreloadable(old: &Snapshot, new: &Snapshot) -> Vec<&'static str> {
    let pairs = [
        ("outbox", format!("{:?}", old.config.outbox), format!("{:?}", new.config.outbox)),
        ("velociraptor", format!("{:?}", old.config.velociraptor), format!("{:?}", new.config.velociraptor)),
        ("intake.spool", format!("{:?}", old.config.spool), format!("{:?}", new.config.spool)),
        ("intake.http", format!("{:?}", old.config.http), format!("{:?}", new.config.http)),
        ("web", format!("{:?}", old.config.web), format!("{:?}", new.config.web)),
    ];
    pairs.into_iter().filter(|(_, old, new)| old != new).map(|(key, ..)| key).collect()
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;

    use super::*;

    const CONFIG: &str = "[smtp]\nmailbox = \"mail\"\nfrom = \"b@example.org\"\n[[rule]]\nname = \"a\"\n";

    fn reloader(path: &Path, snapshot: Snapshot) -> Reloader {
        Reloader::new(path.to_owned(), Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    #[tokio::test]
    async fn what_was_saved_while_the_first_snapshot_was_built_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bewit.toml");
        std::fs::write(&path, CONFIG).unwrap();
        // The file system's clock is coarser than ours.
        std::thread::sleep(Duration::from_millis(50));

        let mut quiet = reloader(&path, Snapshot::load(&path).unwrap());
        quiet.look(false, SETTLE).await;
        assert_eq!(quiet.current.load().generation, 1);

        let snapshot = Snapshot::load(&path).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        std::fs::write(&path, CONFIG.replace("\"a\"", "\"b\"")).unwrap();
        let mut late = reloader(&path, snapshot);
        late.look(false, SETTLE).await;
        assert_eq!(late.current.load().config.rules[0].name, "b");
    }

    #[tokio::test]
    async fn what_was_refused_is_not_tried_again_at_every_look() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bewit.toml");
        std::fs::write(&path, CONFIG).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let mut reloader = reloader(&path, Snapshot::load(&path).unwrap());
        std::fs::write(&path, "nonsense = 1\n").unwrap();
        reloader.look(false, SETTLE).await;
        assert!(reloader.refused.is_some());

        // A file that nobody watches is mended: seen after the rest, not before.
        reloader.refused = Some("other words".to_owned());
        reloader.rested = Instant::now() + REST.1;
        reloader.look(false, SETTLE).await;
        assert_eq!(reloader.refused.as_deref(), Some("other words"));
        reloader.rested = Instant::now();
        reloader.look(false, SETTLE).await;
        assert_ne!(reloader.refused.as_deref(), Some("other words"));
    }
}
