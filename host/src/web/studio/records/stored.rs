//! Events that the outbox keeps, to be chosen from.

use super::super::events::{Events, Found, Listed, label};
use super::Records;
use crate::outbox::look::Kept;
use crate::snapshot::Current;

/// The newest events of the outbox of the configuration in force.
pub struct Stored {
    current: Current,
}

impl Stored {
    /// Whichever outbox is configured.
    #[must_use]
    pub fn new(current: Current) -> Self {
        Self { current }
    }
}

impl Events for Stored {
    fn kind(&self) -> &'static str {
        "stored"
    }

    fn title(&self) -> &'static str {
        "Kept by the outbox, newest first"
    }

    fn list(&self) -> Result<Vec<Listed>, String> {
        let problem = |error| super::trouble(&error);
        let Some(mut records) = Records::open(&self.current).map_err(problem)? else { return Ok(Vec::new()) };
        let newest = records.ask(|reader| reader.stored_before(None)).map_err(problem)?;
        let listed = newest.iter().filter_map(|stored| match &stored.kept {
            Kept::Whole(text) => Some(Listed { id: stored.id.to_string(), label: label(text.as_bytes()) }),
            _ => None,
        });
        Ok(listed.collect())
    }

    fn get(&self, id: &str) -> Result<Option<Found>, String> {
        let problem = |error| super::trouble(&error);
        let Ok(id) = id.parse::<i64>() else { return Ok(None) };
        let Some(mut records) = Records::open(&self.current).map_err(problem)? else { return Ok(None) };
        let Some(stored) = records.ask(|reader| reader.stored_event(id)).map_err(problem)? else { return Ok(None) };
        match stored.kept {
            Kept::Whole(text) => Ok(Some(Found { line: text.into_bytes(), folder: None })),
            other => Err(format!("Of this event, {}.", other.why_not().unwrap_or_default())),
        }
    }
}
