//! The event that a call is about.

use serde::de::DeserializeOwned;

use crate::{Event, Rows, RowsError, host};

impl Event {
    /// The event as it came, without `results`: `Flow`, `client_info`, `client_metadata`, `hunt` and so on, as a
    /// [`serde_json::Value`] or as a type of yours that names what it needs.
    ///
    /// # Errors
    /// When it is not of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.document)
    }

    /// Rows of a source (`Artifact` or `Artifact/Source`), as a stream from the first one.
    ///
    /// # Errors
    /// When the source cannot be read, such as when the event does not carry it.
    pub fn rows(&self, source: &str) -> Result<Rows, RowsError> {
        Rows::open(source)
    }

    /// Names of the sources whose rows the event carries, in its order.
    #[must_use]
    pub fn sources(&self) -> Vec<String> {
        host::sources()
    }

    /// Whether the flow failed: its state is anything but `FINISHED`.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.state != "FINISHED"
    }
}

/// An event with nothing in it but what every event has, for tests: `Event { labels: …, ..Event::default() }`.
impl Default for Event {
    fn default() -> Self {
        Self {
            id: "root/C.1/F.1".to_owned(),
            kind: "System.Flow.Completion".to_owned(),
            org_id: "root".to_owned(),
            client_id: "C.1".to_owned(),
            flow_id: "F.1".to_owned(),
            hunt_id: None,
            host: "C.1".to_owned(),
            labels: Vec::new(),
            creator: String::new(),
            artifacts: Vec::new(),
            state: "FINISHED".to_owned(),
            status: String::new(),
            created: None,
            started: None,
            completed: None,
            total_rows: 0,
            total_files: 0,
            total_bytes: 0,
            document: "{}".to_owned(),
        }
    }
}
