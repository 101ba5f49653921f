//! What a server said becomes part of the event's own JSON, so that there is one parser for both.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::line::{LineLimits, admit};
use crate::event::parse::parse;
use crate::event::{EventKey, FlowCompletion};
use crate::text::one_line;

/// Facts by the names that the event has for them, each a JSON text.
pub(super) type Facts = Vec<(&'static str, String)>;

/// A row of the query on a flow.
#[derive(Deserialize)]
pub(super) struct FlowRow {
    #[serde(rename = "Flow")]
    pub(super) flow: Option<Box<RawValue>>,
    pub(super) client_info: Option<Box<RawValue>>,
    pub(super) client_metadata: Option<Box<RawValue>>,
    pub(super) hunt: Option<Box<RawValue>>,
}

/// Whether a record is the one that was asked for.
pub(super) fn is_of(record: &RawValue, key: &EventKey) -> bool {
    #[derive(Deserialize)]
    struct Ids<'a> {
        #[serde(borrow)]
        client_id: Cow<'a, str>,
        #[serde(borrow)]
        session_id: Cow<'a, str>,
    }
    serde_json::from_str::<Ids<'_>>(record.get())
        .is_ok_and(|ids| ids.client_id == key.client_id && ids.session_id == key.flow_id)
}

/// A hunt without what is large and nobody asks for.
pub(super) fn small_hunt(hunt: &RawValue) -> String {
    let Ok(mut fields) = serde_json::from_str::<IndexMap<String, Box<RawValue>>>(hunt.get()) else {
        return hunt.get().to_owned();
    };
    for large in ["start_request", "stats", "condition", "artifact_sources"] {
        fields.shift_remove(large);
    }
    serde_json::to_string(&fields).unwrap_or_default()
}

/// The event with these facts in the places of its own. A fact that breaks the limits of a line is none, and is named.
/// What the server says of the event's identity is of no account: the key stays.
pub(super) fn merged(event: &FlowCompletion, facts: &Facts, limits: &LineLimits) -> FlowCompletion {
    let mut missing = event.missing.clone();
    let fields: IndexMap<String, Box<RawValue>> = serde_json::from_str(&event.document).unwrap_or_default();
    let mut texts: IndexMap<&str, Cow<'_, str>> =
        fields.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value.get()))).collect();
    for (name, text) in facts {
        match admit(text.as_bytes(), limits) {
            Ok(text) => {
                texts.insert(name, text);
            }
            Err(error) => missing.push(format!("`{name}` as the server has it cannot be used: {error}.")),
        }
    }
    let mut line = String::with_capacity(texts.values().map(|text| text.len() + 32).sum());
    for (name, text) in &texts {
        line.push(if line.is_empty() { '{' } else { ',' });
        line.push_str(&serde_json::to_string(name).unwrap_or_default());
        line.push(':');
        line.push_str(text);
    }
    line.push('}');
    match parse(&line) {
        Ok(read) => FlowCompletion {
            key: event.key.clone(),
            results: event.results.clone(),
            uploads_total: event.uploads_total,
            missing,
            ..read
        },
        Err(error) => {
            missing.push(format!("What the server has of the flow cannot be used: {}.", one_line(&error.to_string())));
            FlowCompletion { missing, ..event.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"type":"System.Flow.Completion","Timestamp":1786500123,"ClientId":"C.1","FlowId":"F.1.H","Flow":{"state":2},"mine":[1],"results":{"A":[]}}"#;

    fn facts(facts: &[(&'static str, &str)]) -> Facts {
        facts.iter().map(|(name, text)| (*name, (*text).to_owned())).collect()
    }

    #[test]
    fn facts_take_their_places_and_all_else_stays() {
        let event = parse(ROW).unwrap();
        let record = r#"{"state":"ERROR","request":{"creator":"ana","artifacts":["A"]}}"#;
        let done = merged(
            &event,
            &facts(&[("Flow", record), ("client_info", r#"{"os_info":{"fqdn":"ws"}}"#), ("hunt", "null")]),
            &LineLimits::default(),
        );
        assert_eq!((done.flow.creator.as_str(), done.flow.failed(), done.flow.complete), ("ana", true, true));
        assert_eq!(done.client.as_ref().unwrap().fqdn, "ws");
        assert!(done.hunt.is_none() && done.missing.is_empty());
        assert_eq!((done.key, done.results.unwrap().len()), (event.key, 1));
        assert!(done.document.contains(r#""mine":[1]"#) && done.document.contains("ana"), "{}", done.document);
    }

    #[test]
    fn what_breaks_the_limits_is_absent_and_named() {
        let event = parse(ROW).unwrap();
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let done = merged(&event, &facts(&[("Flow", &deep), ("client_info", "{}")]), &LineLimits::default());
        assert!(!done.flow.complete && done.client.is_some());
        assert_eq!(done.missing.len(), 1);
        assert!(done.missing[0].starts_with("`Flow` as the server has it cannot be used: nested deeper"));
        // A lone surrogate is mended as in any line.
        let done =
            merged(&event, &facts(&[("client_info", r#"{"os_info":{"fqdn":"a\ud800"}}"#)]), &LineLimits::default());
        assert_eq!(done.client.unwrap().fqdn, "a\u{fffd}");
    }

    #[test]
    fn a_record_of_another_flow_is_none() {
        let key = parse(ROW).unwrap().key;
        let of = |text: &str| is_of(&RawValue::from_string(text.to_owned()).unwrap(), &key);
        assert!(of(r#"{"client_id":"C.1","session_id":"F.1.H","x":{}}"#));
        for other in [r#"{"client_id":"C.2","session_id":"F.1.H"}"#, r#"{"client_id":"C.1"}"#, "null", "[]"] {
            assert!(!of(other), "{other}");
        }
    }

    #[test]
    fn a_hunt_is_made_small() {
        let hunt =
            RawValue::from_string(r#"{"hunt_id":"H.1","start_request":{"x":1},"tags":["t"]}"#.to_owned()).unwrap();
        assert_eq!(small_hunt(&hunt), r#"{"hunt_id":"H.1","tags":["t"]}"#);
    }
}
