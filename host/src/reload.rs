//! Reload: a saved file or SIGHUP builds a new snapshot aside; it is proved, then swapped in one place. The last good
//! one stays on any failure, and the log says why, once.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::snapshot::{Current, Snapshot};
use crate::watch::Watcher;

/// How often the files are looked at when no event comes.
const POLL: Duration = Duration::from_secs(10);
/// A set of files counts as saved when two looks this far apart see the same.
const SETTLE: Duration = Duration::from_millis(200);
/// How long an author may keep saving before a look is taken anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches a snapshot's files and swaps in what proves good.
pub struct Reloader {
    config_file: PathBuf,
    current: Current,
    /// What the snapshot in force, or the last refused attempt, was read from.
    seen: String,
    /// What was wrong at the last attempt, if it was refused.
    refused: Option<String>,
    /// Told of each swap.
    swapped: watch::Sender<u64>,
}

impl Reloader {
    /// A reloader for the snapshot in force, which was read from `config_file`.
    #[must_use]
    pub fn new(config_file: PathBuf, current: Current) -> Self {
        let generation = current.load().generation;
        let mut reloader =
            Self { config_file, current, seen: String::new(), refused: None, swapped: watch::Sender::new(generation) };
        reloader.seen = reloader.fingerprint();
        reloader
    }

    /// Tells the generation in force, and each new one.
    #[must_use]
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.swapped.subscribe()
    }

    /// Looks whenever something may have changed, until `stop`. `hangup` is told of each SIGHUP.
    pub async fn run(mut self, mut hangup: tokio::sync::mpsc::Receiver<()>, mut stop: watch::Receiver<bool>) {
        let mut folders = self.folders();
        let mut watcher = Watcher::new(folders.clone(), POLL).await;
        loop {
            let forced = tokio::select! {
                _ = watcher.changed() => false,
                Some(()) = hangup.recv() => true,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            self.look(forced).await;
            let now = self.folders();
            if now != folders {
                watcher = Watcher::new(now.clone(), POLL).await;
                folders = now;
            }
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.current.load().folders(&self.config_file)
    }

    /// One look: waits until the files are the same twice, then reloads if they differ from what was last read.
    async fn look(&mut self, forced: bool) {
        let mut before = self.fingerprint();
        // What was refused may have been mended in a file that no snapshot in force knows of.
        let forced = forced || self.refused.is_some();
        if before == self.seen && !forced {
            return;
        }
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            tokio::time::sleep(SETTLE).await;
            waited += SETTLE;
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
        let built = tokio::task::spawn_blocking(move || Snapshot::reload(&path, &before)).await;
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
            }
            Ok(Err(findings)) => {
                let (in_force, findings) = (old.generation, findings.to_string());
                if self.refused.as_ref() != Some(&findings) {
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

    /// The content of every file that a snapshot is read from, as one hash.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        feed(&mut hash, &self.config_file);
        if let Some(folder) = &self.current.load().config.templates {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            files.sort();
            for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "j2")) {
                feed(&mut hash, file);
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
        ("intake.spool", format!("{:?}", old.config.spool), format!("{:?}", new.config.spool)),
        ("intake.http", format!("{:?}", old.config.http), format!("{:?}", new.config.http)),
        ("web", format!("{:?}", old.config.web), format!("{:?}", new.config.web)),
    ];
    pairs.into_iter().filter(|(_, old, new)| old != new).map(|(key, ..)| key).collect()
}
