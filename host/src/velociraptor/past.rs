//! Completions of the past, read back from the server.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Answer, Ask, Client};
use super::completion;
use super::error::ApiError;
use super::queries::CATCH_UP;

/// Collections on the server itself, which nobody is told of.
const SERVER: &str = "server";

/// From when to when, Unix seconds of the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first second.
    pub since: i64,
    /// The second after the last.
    pub until: i64,
}

/// One org's completions, client by client.
#[derive(Debug)]
pub struct Past {
    answer: Answer,
    org: String,
    range: Range,
    ended: bool,
}

/// What says of a row what it is.
#[derive(Deserialize)]
struct Marks {
    #[serde(rename = "_Ended", default)]
    ended: bool,
    #[serde(rename = "ClientId", default)]
    client: Option<serde_json::Value>,
    #[serde(rename = "Timestamp", default)]
    timestamp: Option<serde_json::Value>,
}

/// What a row is.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Ended,
    /// Not of the range, or not of a client.
    Other,
    /// A line, or why it is none.
    Completion(Result<Vec<u8>, String>),
}

impl Past {
    /// Begins to read.
    ///
    /// # Errors
    /// When the server does not let us.
    pub async fn open(client: &Client, org: &str, range: Range) -> Result<Self, ApiError> {
        let ask = Ask::new(&CATCH_UP, org).with("Since", range.since.to_string());
        Ok(Self { answer: client.ask(ask).await?, org: org.to_owned(), range, ended: false })
    }

    /// The next completion as the intake's line, or why a row is none. `None`: that was all, and the server says so.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the answer breaks off.
    pub async fn next(&mut self) -> Result<Option<Result<Vec<u8>, String>>, ApiError> {
        loop {
            let Some(row) = self.answer.next().await? else {
                if self.ended {
                    return Ok(None);
                }
                let log = self.answer.said().map(str::to_owned);
                return Err(ApiError::Ended { query: CATCH_UP.name, log });
            };
            match read(&self.org, &row, self.range) {
                Row::Ended => self.ended = true,
                Row::Other => {}
                Row::Completion(line) => return Ok(Some(line)),
            }
        }
    }
}

fn read(org: &str, row: &RawValue, range: Range) -> Row {
    if let Ok(Marks { ended, client, timestamp }) = serde_json::from_str(row.get()) {
        if ended && client.is_none() {
            return Row::Ended;
        }
        // A row without a time, which may be forged, is looked at all the same.
        let at = timestamp.and_then(|at| at.as_i64()).unwrap_or(range.since);
        if client.is_some_and(|client| client == SERVER) || at < range.since || at >= range.until {
            return Row::Other;
        }
    }
    Row::Completion(completion::line(org, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_by_what_they_are() {
        let range = Range { since: 100, until: 200 };
        let of = |text: &str| read("root", serde_json::from_str::<&RawValue>(text).unwrap(), range);
        assert_eq!(of(r#"{"_Ended":true}"#), Row::Ended);
        for other in [
            r#"{"Timestamp":99,"ClientId":"C.1","FlowId":"F.1"}"#,
            r#"{"Timestamp":200,"ClientId":"C.1","FlowId":"F.1"}"#,
            r#"{"Timestamp":150,"ClientId":"server","FlowId":"F.1"}"#,
        ] {
            assert_eq!(of(other), Row::Other, "{other}");
        }
        for good in [
            r#"{"Timestamp":100,"ClientId":"C.1","FlowId":"F.1","_Ended":true}"#,
            r#"{"Timestamp":199,"ClientId":"C.1","FlowId":"F.1"}"#,
            r#"{"ClientId":"C.1","FlowId":"F.1"}"#,
        ] {
            assert!(matches!(of(good), Row::Completion(Ok(_))), "{good}");
        }
        for bad in [r#"{"Timestamp":150,"ClientId":"C.1"}"#, "[7]", r#"{"Timestamp":150}"#] {
            assert!(matches!(of(bad), Row::Completion(Err(_))), "{bad}");
        }
    }
}
