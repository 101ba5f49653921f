//! Result rows: kept as the text they came in, so that order, large numbers and long strings survive untouched.

use indexmap::IndexMap;
use serde_json::value::RawValue;

/// Where the rows of one source are.
#[derive(Debug, Clone)]
pub enum ResultSet {
    /// A JSON array, as text.
    Inline(Box<RawValue>),
    /// JSON Lines in a file beside the event's own; a plain name.
    File(String),
    /// Neither; says what it is.
    Unusable(String),
}

/// One row: column names and values in stored order, each value as its own JSON text.
#[derive(Debug, Clone, Default)]
pub struct Row(pub IndexMap<String, Box<RawValue>>);
