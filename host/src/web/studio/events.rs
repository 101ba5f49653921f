//! Events that can be looked at: where they come from.

mod files;
mod pasted;

use std::path::Path;
use std::sync::{Arc, LazyLock};

pub use self::files::{Files, Spool};
pub(super) use self::pasted::Pasted;
use crate::event::line::LineLimits;
use crate::event::{self, samples};
use crate::text::{cut, one_line};

/// Entries of one source that a list shows.
pub const LISTED: usize = 200;

/// A source of events. Its methods may block.
pub trait Events: Send + Sync {
    /// A short word for addresses: letters only, another for each source.
    fn kind(&self) -> &'static str;

    /// What a list writes above its events.
    fn title(&self) -> &'static str;

    /// At most [`LISTED`] events. Whoever has more says so in the last label.
    ///
    /// # Errors
    /// Why they cannot be told, in a sentence for people, clean of what an event says.
    fn list(&self) -> Result<Vec<Listed>, String>;

    /// An event by the id of its entry; `None`: it is there no more.
    ///
    /// # Errors
    /// As [`Events::list`].
    fn get(&self, id: &str) -> Result<Option<Found>, String>;
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Known to its source: any text without control characters, at most 200 bytes.
    pub id: String,
    /// What people see: one line.
    pub label: String,
}

/// An event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// One line of JSON, or something that is no event.
    pub line: Vec<u8>,
    /// Where files that it names lie.
    pub folder: Option<Arc<Path>>,
}

/// All sources.
pub struct Sources(Vec<Arc<dyn Events>>);

/// A source's part of a list.
#[derive(Debug, Clone)]
pub struct Group {
    /// Heading.
    pub title: &'static str,
    /// `kind:id` and label of each event.
    pub events: Vec<(String, String)>,
    /// Why there are none.
    pub problem: Option<String>,
}

impl Sources {
    /// In the order in which a list shows them.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn Events>>) -> Self {
        Self(sources)
    }

    /// Every source that has something to show. Blocking.
    #[must_use]
    pub fn list(&self) -> Vec<Group> {
        let groups = self.0.iter().map(|source| {
            let (listed, problem) = match source.list() {
                Ok(listed) => (listed, None),
                Err(problem) => (Vec::new(), Some(problem)),
            };
            let reference = |listed: Listed| (format!("{}:{}", source.kind(), listed.id), listed.label);
            let events = listed.into_iter().take(LISTED).map(reference).collect();
            Group { title: source.title(), events, problem }
        });
        groups.filter(|group| !group.events.is_empty() || group.problem.is_some()).collect()
    }

    /// Those that follow an event in the list of its source, and after the last one the first, at most so many. Blocking.
    #[must_use]
    pub fn neighbours(&self, reference: &str, most: usize) -> Vec<Found> {
        let (kind, id) = reference.split_once(':').unwrap_or((reference, ""));
        let Some(source) = self.0.iter().find(|source| source.kind() == kind) else { return Vec::new() };
        let mut listed = source.list().unwrap_or_default();
        if let Some(at) = listed.iter().position(|listed| listed.id == id) {
            listed.rotate_left(at);
        }
        let others = listed.iter().filter(|listed| listed.id != id);
        others.filter_map(|listed| source.get(&listed.id).ok().flatten()).take(most).collect()
    }

    /// An event by `kind:id`. Blocking.
    ///
    /// # Errors
    /// Why there is none, in a sentence.
    pub fn get(&self, reference: &str) -> Result<Found, String> {
        let (kind, id) = reference.split_once(':').unwrap_or((reference, ""));
        let source = self.0.iter().find(|source| source.kind() == kind);
        let found = source.map(|source| source.get(id)).transpose()?.flatten();
        found.ok_or_else(|| "This event is not there any more; choose another one.".to_owned())
    }
}

/// What a list calls an event: its flow, host and first artifact; or that it is none.
#[must_use]
pub(super) fn label(line: &[u8]) -> String {
    let event = match event::read(line, &LineLimits::default()) {
        Ok(event) => event,
        Err(_) => return "no event".to_owned(),
    };
    let host = event.client.as_ref().map(|client| client.fqdn.as_str()).filter(|host| !host.is_empty());
    let mut parts = vec![host.unwrap_or(&event.key.client_id).to_owned()];
    parts.extend(event.flow.artifacts.first().cloned());
    parts.push(event.key.flow_id.clone());
    let parts: Vec<String> = parts.iter().map(|part| cut(&one_line(part), 60).into_owned()).collect();
    parts.join(" · ")
}

/// The shipped sample events.
#[derive(Debug, Clone, Copy)]
pub struct Samples;

impl Events for Samples {
    fn kind(&self) -> &'static str {
        "sample"
    }

    fn title(&self) -> &'static str {
        "Shipped samples"
    }

    fn list(&self) -> Result<Vec<Listed>, String> {
        static LISTED: LazyLock<Vec<Listed>> = LazyLock::new(|| {
            let listed = |&(name, text): &(&str, &str)| Listed {
                id: name.to_owned(),
                label: format!("{name}: {}", label(text.trim_end().as_bytes())),
            };
            samples().iter().map(listed).collect()
        });
        Ok(LISTED.clone())
    }

    fn get(&self, id: &str) -> Result<Option<Found>, String> {
        let found = samples().iter().find(|(name, _)| *name == id);
        Ok(found.map(|(_, text)| Found { line: text.trim_end().as_bytes().to_vec(), folder: None }))
    }
}

#[cfg(test)]
mod tests;
