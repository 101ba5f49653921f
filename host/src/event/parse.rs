//! An admitted line to a [`FlowCompletion`], lenient in encoding, strict in what makes an event.

use super::FlowCompletion;

/// Why a line is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but no object.
    #[error("a JSON {0}, not an object")]
    NotAnObject(&'static str),
    /// Neither `type` nor `_Source` says what it is.
    #[error("no `type`: an event says what it is, such as \"type\":\"System.Flow.Completion\"")]
    NoType,
    /// A type that Bewit does not know.
    #[error("unknown type `{0}`; this version knows `System.Flow.Completion`")]
    UnknownType(String),
    /// A field that every event must have is missing, empty or of the wrong kind.
    #[error("`{0}` is missing or is no usable text")]
    Missing(&'static str),
}

/// Parses an admitted line. `type` may be absent if `_Source` names the queue, so that Velociraptor's own rows can be
/// dropped in unchanged.
///
/// # Errors
/// [`EventError`], in the order type, ClientId, FlowId.
pub fn parse(line: &str) -> Result<FlowCompletion, EventError> {
    let _ = line;
    todo!()
}
