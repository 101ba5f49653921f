//! A row of a query to a line of the intake; pure.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::blob::hex;
use crate::event::line::LineError;
use crate::intake::{Line, Refused};

/// The queue whose rows these are, as events name it.
const TYPE: &str = "System.Flow.Completion";

/// What a row is.
#[derive(Debug)]
pub(super) enum Row {
    /// The server's clock, Unix seconds: a beat.
    Beat(i64),
    /// The query has come to its end.
    Ended,
    /// Nothing to take: a collection on the server itself.
    Server,
    /// A completion, or what is none and is for the pipeline to refuse.
    Completion {
        /// To be handed over.
        line: Line,
        /// When, Unix seconds, if it says so.
        at: Option<i64>,
    },
}

/// The columns that the queries ask for, as text.
#[derive(Debug, Deserialize)]
struct Columns<'a> {
    #[serde(borrow, rename = "Timestamp")]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, rename = "ClientId")]
    client: Option<&'a RawValue>,
    #[serde(borrow, rename = "FlowId")]
    flow_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "Flow")]
    flow: Option<&'a RawValue>,
    #[serde(borrow, rename = "_Beat")]
    beat: Option<&'a RawValue>,
    #[serde(borrow, rename = "_Ended")]
    ended: Option<&'a RawValue>,
}

/// Reads a row of `org`. A line longer than `limit` bytes is refused, with the reason in its place.
pub(super) fn read(row: &RawValue, org: &str, limit: u64) -> Row {
    let Ok(columns) = serde_json::from_str::<Columns<'_>>(row.get()) else {
        // No object, or one with a column twice: as it is, for the record.
        return Row::Completion { line: line(row.get().to_owned(), None, limit), at: None };
    };
    let Columns { timestamp, client, flow_id, flow, beat, ended } = columns;
    if client.is_none() && flow_id.is_none() {
        if ended.is_some_and(|ended| ended.get() == "true") {
            return Row::Ended;
        }
        if let Some(beat) = beat.and_then(seconds) {
            return Row::Beat(beat);
        }
    }
    if client.is_some_and(|client| client.get() == "\"server\"") {
        return Row::Server;
    }
    let at = timestamp.and_then(seconds);
    let mut text = format!("{{\"type\":\"{TYPE}\",\"OrgId\":{}", serde_json::Value::from(org));
    for (name, value) in [("Timestamp", timestamp), ("ClientId", client), ("FlowId", flow_id), ("Flow", flow)] {
        if let Some(value) = value {
            text.push_str(&format!(",\"{name}\":{}", value.get()));
        }
    }
    text.push('}');
    Row::Completion { line: line(text, at, limit), at }
}

/// Whole seconds, positive; a fraction is cut off.
fn seconds(value: &RawValue) -> Option<i64> {
    let text = value.get();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok().filter(|seconds| *seconds > 0)
}

fn line(text: String, at: Option<i64>, limit: u64) -> Line {
    let length = text.len() as u64;
    let content = if length > limit {
        let digest = hex(&Sha256::digest(&text));
        Err(Refused { length, digest, reason: LineError::TooLong { limit }.to_string() })
    } else {
        Ok(text.into_bytes())
    };
    // There is no file that it could be looked up in: its time says more than a number of ours.
    Line { offset: at.and_then(|at| u64::try_from(at).ok()).unwrap_or(0), content }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::line::LineLimits;

    fn of(text: &str) -> Row {
        read(&RawValue::from_string(text.to_owned()).unwrap(), "root", 1000)
    }

    fn taken(text: &str) -> (String, Option<i64>) {
        match of(text) {
            Row::Completion { line, at } => (String::from_utf8(line.content.unwrap()).unwrap(), at),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn live_and_replayed_rows_are_the_same_line() {
        let live = r#"{"Timestamp":1786500123,"ClientId":"C.1","FlowId":"F.1","Flow":{"state":2},"_ts":1786500123,"_Source":"x"}"#;
        let replayed = r#"{"_ts":1786500123000,"Flow":{"state":2},"FlowId":"F.1","_Beat":null,"ClientId":"C.1","Timestamp":1786500123,"_Source":"server"}"#;
        let line = r#"{"type":"System.Flow.Completion","OrgId":"root","Timestamp":1786500123,"ClientId":"C.1","FlowId":"F.1","Flow":{"state":2}}"#;
        assert_eq!(taken(live), (line.to_owned(), Some(1_786_500_123)));
        assert_eq!(taken(replayed), taken(live));
    }

    #[test]
    fn beats_and_ends_are_told_from_completions() {
        assert!(matches!(of(r#"{"_Beat":1786500123}"#), Row::Beat(1_786_500_123)));
        assert!(matches!(of(r#"{"_Beat":1786500123.75,"ClientId":null}"#), Row::Beat(1_786_500_123)));
        assert!(matches!(of(r#"{"_Ended":true,"Timestamp":null}"#), Row::Ended));
        assert!(matches!(of(r#"{"ClientId":"server","FlowId":"F.1"}"#), Row::Server));
        for forged in [r#"{"ClientId":"C.1","FlowId":"F.1","_Ended":true}"#, r#"{"FlowId":"F.1","_Beat":99}"#] {
            assert!(matches!(of(forged), Row::Completion { .. }), "{forged}");
        }
        for no_beat in [r#"{"_Beat":"soon"}"#, r#"{"_Beat":-1}"#, r#"{"_Beat":0}"#, r#"{"_Ended":false}"#] {
            assert!(matches!(of(no_beat), Row::Completion { .. }), "{no_beat}");
        }
    }

    #[test]
    fn what_is_no_event_is_handed_over_for_the_record() {
        assert_eq!(taken("[1,2]"), ("[1,2]".to_owned(), None));
        let twice = r#"{"ClientId":"C.1","ClientId":"C.2","FlowId":"F.1"}"#;
        assert_eq!(taken(twice).0, twice);
        let (line, at) = taken(r#"{"Timestamp":"soon","ClientId":7}"#);
        assert_eq!(
            (line.as_str(), at),
            (r#"{"type":"System.Flow.Completion","OrgId":"root","Timestamp":"soon","ClientId":7}"#, None)
        );
        let error = crate::event::read(line.as_bytes(), &LineLimits::default()).unwrap_err();
        assert!(error.to_string().contains("ClientId"), "{error}");
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_with_its_reason() {
        let long = format!(r#"{{"Timestamp":7,"ClientId":"C.1","FlowId":"F.1","Flow":"{}"}}"#, "x".repeat(1000));
        let Row::Completion { line, at } = of(&long) else { panic!("no completion") };
        let refused = line.content.unwrap_err();
        assert!(refused.length > 1000 && refused.digest.len() == 64, "{refused:?}");
        assert_eq!(refused.reason, "the line is longer than 1000 bytes");
        assert_eq!((line.offset, at), (7, Some(7)));
    }

    proptest! {
        #[test]
        fn an_event_keeps_its_ids(org in "[A-Z0-9]{1,8}", client in "\\PC{1,20}", flow in "[\"\\\\ -~]{1,20}", at in 1_i64..4_000_000_000) {
            let row = serde_json::json!({"Timestamp": at, "ClientId": client, "FlowId": flow, "Flow": {"state": 2}});
            let row = RawValue::from_string(row.to_string()).unwrap();
            match read(&row, &org, 10_000) {
                Row::Completion { line, at: said } => {
                    prop_assert_eq!(said, Some(at));
                    if let Ok(event) = crate::event::read(&line.content.unwrap(), &LineLimits::default()) {
                        prop_assert_eq!(event.key.org_id, org);
                        prop_assert_eq!(event.key.client_id, client);
                        prop_assert_eq!(event.key.flow_id, flow);
                        prop_assert_eq!(event.key.timestamp, at);
                    }
                }
                Row::Server => prop_assert_eq!(client, "server"),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
