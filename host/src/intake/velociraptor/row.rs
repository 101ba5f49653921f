//! A row of a query to a line of the intake; pure.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::blob::hex;
use crate::event::line::LineError;
use crate::intake::{Line, Refused};
use crate::velociraptor::completion;

/// What a row is.
#[derive(Debug)]
pub(super) enum Row {
    /// The server's clock, Unix seconds: a beat.
    Beat(i64),
    /// The query has come to its end.
    Ended,
    /// Nothing to take: a collection on the server itself.
    Server,
    /// A completion, or what is none and is refused with its reason.
    Completion {
        /// To be handed over.
        line: Line,
        /// When, Unix seconds, if it says so.
        at: Option<i64>,
    },
}

/// The columns that tell what a row is, as text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Columns<'a> {
    #[serde(borrow, rename = "Timestamp")]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, rename = "ClientId")]
    client: Option<&'a RawValue>,
    #[serde(borrow, rename = "FlowId")]
    flow: Option<&'a RawValue>,
    #[serde(borrow, rename = "_Beat")]
    beat: Option<&'a RawValue>,
    #[serde(borrow, rename = "_Ended")]
    ended: Option<&'a RawValue>,
}

/// Reads a row of `org`. What is no completion, or longer than `limit` bytes, is refused: the reason is in its place.
pub(super) fn read(row: &RawValue, org: &str, limit: u64) -> Row {
    // No object, or one with a column twice, has none of these.
    let columns: Columns<'_> = serde_json::from_str(row.get()).unwrap_or_default();
    let Columns { timestamp, client, flow, beat, ended } = columns;
    if client.is_none() && flow.is_none() {
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
    let content = match completion::line(org, row) {
        Ok(line) if line.len() as u64 <= limit => Ok(line),
        Ok(line) => Err(refused(&line, LineError::TooLong { limit }.to_string())),
        Err(reason) => Err(refused(row.get().as_bytes(), reason)),
    };
    // There is no file that it could be looked up in: its time says more than a number of ours.
    let offset = at.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
    Row::Completion { line: Line { offset, content }, at }
}

/// Whole seconds, positive; a fraction is cut off.
fn seconds(value: &RawValue) -> Option<i64> {
    let text = value.get();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok().filter(|seconds| *seconds > 0)
}

fn refused(bytes: &[u8], reason: String) -> Refused {
    Refused { length: bytes.len() as u64, digest: hex(&Sha256::digest(bytes)), reason }
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
    fn what_is_no_completion_is_refused_with_its_reason() {
        for (row, said) in [
            ("[1,2]", "no object"),
            (r#"{"ClientId":"C.1","ClientId":"C.2","FlowId":"F.1"}"#, "duplicate field"),
            (r#"{"Timestamp":7,"FlowId":"F.1"}"#, "`ClientId`"),
            (r#"{"_Ended":false}"#, "`ClientId`"),
        ] {
            let Row::Completion { line, .. } = of(row) else { panic!("{row}") };
            let refused = line.content.unwrap_err();
            assert_eq!((refused.length, refused.digest.len()), (row.len() as u64, 64));
            assert!(refused.reason.contains(said), "{}", refused.reason);
        }
        assert_eq!(taken(r#"{"Timestamp":"soon","ClientId":"C.1","FlowId":"F.1"}"#).1, None);
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
