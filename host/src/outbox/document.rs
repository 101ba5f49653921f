//! An event as it is kept: what it carried when it was judged, without its result rows, so that it can be explained later
//! and judged by other rules.

use std::sync::Arc;

use super::db::{Conn, query};
use super::sql::ids;
use crate::event::FlowCompletion;

/// Most bytes of a document that is kept; of a larger one, only its size.
pub const DOCUMENT_LIMIT: usize = 256 * 1024;

/// Artifacts of one event that it is found by.
const ARTIFACTS: usize = 64;

/// Bytes of an artifact's name that it is found by.
const NAME: usize = 256;

/// What is kept of an event. Empty (the default): nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// The event, a JSON object, without `results`.
    pub text: Arc<str>,
    /// Artifacts that the flow collected.
    pub artifacts: Vec<String>,
}

impl Document {
    /// What is to be kept of an event: the facts that it carries now.
    #[must_use]
    pub fn of(event: &FlowCompletion) -> Self {
        let flow = &event.flow;
        let asked = flow.artifacts.iter().chain(&flow.artifacts_with_results);
        // `Artifact/Source` is found by its artifact.
        let names = asked.map(|name| name.split_once('/').map_or(name.as_str(), |(artifact, _)| artifact));
        let mut artifacts: Vec<String> = Vec::new();
        for name in names.filter(|name| !name.is_empty() && name.len() <= NAME) {
            if artifacts.len() >= ARTIFACTS {
                break;
            }
            if !artifacts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                artifacts.push(name.to_owned());
            }
        }
        Self { text: Arc::clone(&event.document), artifacts }
    }

    /// Rows and bytes, about; the names are short and go in together.
    pub(super) fn weight(&self) -> (usize, usize) {
        (1, if self.text.len() > DOCUMENT_LIMIT { 0 } else { self.text.len() })
    }
}

/// Removes the documents of some events.
pub(super) async fn remove(conn: &mut Conn, events: impl Iterator<Item = i64>) -> Result<(), sqlx::Error> {
    let events = ids(events);
    for statement in [
        "DELETE FROM artifact WHERE (name, event) IN (
           SELECT j.atom, d.event FROM document d, json_each(d.artifacts) j
           WHERE d.event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)))",
        "DELETE FROM document WHERE event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))",
    ] {
        query(statement).bind(&events).execute(&mut *conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_by_its_artifacts() {
        let line = r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","Flow":{
            "request":{"artifacts":["A.B","a.b","C/Rows"]},"artifacts_with_results":["C/Rows","D/X/Y","",7]},"results":{"C":[{"x":1}]}}"#;
        let line = line.replace(",7", "");
        let event = crate::event::read(line.as_bytes(), &Default::default()).unwrap();
        let document = Document::of(&event);
        assert_eq!(document.artifacts, ["A.B", "C", "D"]);
        assert!(document.text.contains("\"FlowId\":\"F.1\"") && !document.text.contains("results\":{"));
        // What is kept is an event again, and the same one.
        let again = crate::event::read(document.text.as_bytes(), &Default::default()).unwrap();
        assert_eq!((again.key, again.document), (event.key, event.document));
    }

    #[test]
    fn many_and_long_names_are_cut_off() {
        let names: Vec<String> = (0..200).map(|n| format!("A{n}")).chain(["x".repeat(NAME + 1)]).collect();
        let line = serde_json::json!({"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1",
            "Flow":{"artifacts_with_results": names.iter().rev().collect::<Vec<_>>()}});
        let event = crate::event::read(line.to_string().as_bytes(), &Default::default()).unwrap();
        let artifacts = Document::of(&event).artifacts;
        assert_eq!(artifacts.len(), ARTIFACTS);
        assert_eq!(artifacts[0], "A199");
    }
}
