//! An [`Accept`] in memory, for the tests of the intakes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::Notify;

use super::{Accept, Batch, Boxed, Fate, Prepared};
use crate::outbox::OutboxError;

/// Remembers what it took.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    store: Mutex<Store>,
    full: AtomicBool,
    broken: AtomicBool,
    batches: AtomicUsize,
    hang: Mutex<Option<(usize, bool)>>,
    /// Told when a batch hangs.
    pub(crate) hung: Notify,
}

/// What is "on disk".
#[derive(Debug, Default, Clone)]
pub(crate) struct Store {
    /// Events in order: source and line.
    pub(crate) events: Vec<(String, String)>,
    /// Rejected lines: source, offset, length, reason.
    pub(crate) rejected: Vec<(String, u64, u64, String)>,
    /// Repeats.
    pub(crate) duplicates: u64,
    /// Same key, other body.
    pub(crate) conflicts: u64,
    /// By source.
    pub(crate) positions: BTreeMap<String, u64>,
    /// Result files that events named, and whether they were there.
    pub(crate) rows: Vec<(String, bool)>,
    known: HashMap<String, String>,
}

impl Fake {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// Flow ids of the events, sorted.
    pub(crate) fn flows(&self) -> Vec<String> {
        let mut flows: Vec<String> = self.store().events.iter().map(|(_, line)| flow(line)).collect();
        flows.sort();
        flows
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    pub(crate) fn set_broken(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// The batch of that number (from 1, counted anew) never returns, stored or not.
    pub(crate) fn hang_at(&self, batch: usize, stored: bool) {
        self.batches.store(0, Ordering::SeqCst);
        *self.hang.lock().unwrap() = Some((batch, stored));
    }

    pub(crate) fn batches(&self) -> usize {
        self.batches.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), OutboxError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(OutboxError::Stopped("disk gone".into()));
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(OutboxError::Full { path: PathBuf::from("/x"), free: 1, min_free: 2 });
        }
        Ok(())
    }

    fn take(&self, batch: Batch) -> Vec<Fate> {
        let mut store = self.store();
        let mut fates = Vec::new();
        for line in batch.lines {
            let (bytes, length) = match line.content {
                Ok(bytes) => {
                    let length = bytes.len() as u64;
                    let text = self.examine(&bytes).map(|()| String::from_utf8(bytes).unwrap());
                    (text, length)
                }
                Err(refused) => (Err(refused.reason), refused.length),
            };
            fates.push(match bytes {
                Err(reason) => {
                    store.rejected.push((batch.source.clone(), line.offset, length, reason.clone()));
                    Fate::Rejected(reason)
                }
                Ok(text) => match store.known.get(&flow(&text)) {
                    Some(known) if *known == text => {
                        store.duplicates += 1;
                        Fate::Duplicate
                    }
                    Some(_) => {
                        store.conflicts += 1;
                        Fate::Conflict
                    }
                    None => {
                        let value: Value = serde_json::from_str(&text).unwrap();
                        for set in value["results"].as_object().into_iter().flat_map(serde_json::Map::values) {
                            if let Some(name) = set["file"].as_str() {
                                let there = batch.folder.as_ref().is_some_and(|dir| dir.join(name).is_file());
                                store.rows.push((name.to_owned(), there));
                            }
                        }
                        store.known.insert(flow(&text), text.clone());
                        store.events.push((batch.source.clone(), text));
                        Fate::Stored
                    }
                },
            });
        }
        if let Some(position) = batch.position {
            store.positions.insert(position.source, position.offset);
        }
        fates
    }
}

fn flow(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value["FlowId"].as_str().unwrap().to_owned()
}

impl Accept for Fake {
    fn prepare(&self, batch: Batch) -> Boxed<'_, Prepared<'_>> {
        let rejected = batch.lines.iter().map(|line| match &line.content {
            Ok(bytes) => self.examine(bytes).err(),
            Err(refused) => Some(refused.reason.clone()),
        });
        let rejected = rejected.collect();
        let store = Box::pin(async move {
            self.check()?;
            let number = self.batches.fetch_add(1, Ordering::SeqCst) + 1;
            let hang = self.hang.lock().unwrap().take_if(|(at, _)| *at == number);
            if let Some((_, stored)) = hang {
                if stored {
                    self.take(batch);
                }
                self.hung.notify_one();
                return std::future::pending().await;
            }
            // As with a real one, the answer does not come at once.
            tokio::task::yield_now().await;
            Ok(self.take(batch))
        });
        Box::pin(async move { Ok(Prepared { rejected, store }) })
    }

    fn examine(&self, line: &[u8]) -> Result<(), String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
        if value["type"] != "System.Flow.Completion" && value["_Source"] != "System.Flow.Completion" {
            return Err("unknown type".into());
        }
        if value["FlowId"].is_string() { Ok(()) } else { Err("`FlowId` is missing".into()) }
    }

    fn position(&self, source: String) -> Boxed<'_, u64> {
        Box::pin(async move { Ok(self.store().positions.get(&source).copied().unwrap_or_default()) })
    }

    fn forget(&self, source: String) -> Boxed<'_, ()> {
        Box::pin(async move {
            self.store().positions.remove(&source);
            Ok(())
        })
    }

    fn check_space(&self) -> Result<(), OutboxError> {
        if self.full.load(Ordering::SeqCst) { self.check() } else { Ok(()) }
    }
}

/// An event's line.
pub(crate) fn event(flow: &str) -> String {
    format!(r#"{{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"{flow}"}}"#)
}
