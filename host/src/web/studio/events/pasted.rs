//! Events that somebody has pasted into a page: in memory, a few of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::{Events, Found, Listed, label};
use crate::event;
use crate::event::line::LineLimits;

/// Bytes of one event.
const LARGEST: usize = 1 << 20;
/// Events that are kept; the oldest gives way.
const MOST: usize = 16;

/// What was pasted last.
#[derive(Debug, Default)]
pub(crate) struct Pasted(Mutex<VecDeque<(String, String, Vec<u8>)>>);

impl Pasted {
    /// Keeps what was pasted: one event, on however many lines, or JSON Lines. Answers the id of the first one.
    ///
    /// # Errors
    /// Why it is no event, in a sentence.
    pub(crate) fn paste(&self, text: &str) -> Result<String, String> {
        if text.trim().is_empty() {
            return Err("There is nothing in it.".to_owned());
        }
        // Between the values of JSON, line breaks are blanks; within them, there are none.
        let whole = text.trim().replace(['\r', '\n'], " ").into_bytes();
        let limits = LineLimits { line: LARGEST as u64, ..LineLimits::default() };
        let refused = match event::read(&whole, &limits) {
            Ok(_) => return Ok(self.keep(whole)),
            Err(refused) => refused.to_string(),
        };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let events: Vec<&str> =
            lines.iter().copied().filter(|line| event::read(line.as_bytes(), &limits).is_ok()).take(MOST).collect();
        // From the last one, so that the first one is the newest.
        let kept = events.iter().rev().map(|line| self.keep(line.as_bytes().to_vec())).last();
        kept.ok_or_else(|| crate::text::one_line(&crate::text::cut(&refused, 500)))
    }

    fn keep(&self, line: Vec<u8>) -> String {
        let id: String = crate::blob::hex(&Sha256::digest(&line)).chars().take(16).collect();
        let label = label(&line);
        let mut kept = self.lock();
        kept.retain(|(known, ..)| *known != id);
        kept.push_front((id.clone(), label, line));
        kept.truncate(MOST);
        id
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, String, Vec<u8>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events for Pasted {
    fn kind(&self) -> &'static str {
        "pasted"
    }

    fn title(&self) -> &'static str {
        "Pasted"
    }

    fn list(&self) -> Result<Vec<Listed>, String> {
        Ok(self.lock().iter().map(|(id, label, _)| Listed { id: id.clone(), label: label.clone() }).collect())
    }

    fn get(&self, id: &str) -> Result<Option<Found>, String> {
        let found = self.lock().iter().find(|(known, ..)| known == id).map(|(.., line)| line.clone());
        Ok(found.map(|line| Found { line, folder: None }))
    }
}
