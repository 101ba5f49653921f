//! What was asked of the server.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::answers::{Asked, Kind};
use super::proto::PushEventRequest;

/// A query that was asked.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What.
    pub asked: Asked,
    /// Rows of a part.
    pub max_row: u64,
    /// Seconds before a part that is not full is sent.
    pub max_wait: u64,
    /// When it began.
    pub began: Instant,
    /// When it ended, by itself or by its client.
    pub ended: Option<Instant>,
    /// Rows handed to the connection.
    pub rows: u64,
    /// The largest part, in bytes.
    pub largest: usize,
}

/// Everything that was asked.
#[derive(Debug, Default)]
pub(super) struct Records {
    queries: Mutex<Vec<Recorded>>,
    texts: Mutex<HashMap<String, (Arc<str>, Kind)>>,
    pub(super) pushes: Mutex<Vec<PushEventRequest>>,
    pub(super) complaints: Mutex<Vec<String>>,
    pub(super) refused: Mutex<Vec<String>>,
}

impl Records {
    /// The text, kept once, and what it is for.
    pub(super) fn text(&self, text: String) -> (Arc<str>, Kind) {
        let mut texts = self.texts.lock().unwrap();
        if let Some(known) = texts.get(&text) {
            return known.clone();
        }
        let known: (Arc<str>, Kind) = (text.as_str().into(), super::answers::kind(&text));
        texts.insert(text, known.clone());
        known
    }

    pub(super) fn begin(&self, asked: Asked, max_row: u64, max_wait: u64) -> usize {
        let mut queries = self.queries.lock().unwrap();
        let began = Instant::now();
        queries.push(Recorded { asked, max_row, max_wait, began, ended: None, rows: 0, largest: 0 });
        queries.len() - 1
    }

    pub(super) fn sent(&self, query: usize, rows: usize, bytes: usize) {
        let query = &mut self.queries.lock().unwrap()[query];
        query.rows += rows as u64;
        query.largest = query.largest.max(bytes);
    }

    pub(super) fn end(&self, query: usize) {
        self.queries.lock().unwrap()[query].ended = Some(Instant::now());
    }

    pub(super) fn complain(&self, text: String) {
        let mut all = self.complaints.lock().unwrap();
        if all.len() < 1000 && !all.contains(&text) {
            all.push(text);
        }
    }

    pub(super) fn queries(&self) -> Vec<Recorded> {
        self.queries.lock().unwrap().clone()
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.queries.lock().unwrap().iter().filter(|query| query.asked.kind == kind).count()
    }

    pub(super) fn counts(&self) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for query in self.queries.lock().unwrap().iter() {
            *counts.entry(query.asked.kind).or_default() += 1;
        }
        counts
    }

    /// The different texts.
    pub(super) fn texts(&self) -> Vec<Arc<str>> {
        self.texts.lock().unwrap().values().map(|(text, _)| Arc::clone(text)).collect()
    }
}
