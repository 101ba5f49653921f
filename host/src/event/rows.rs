//! Result rows: kept as the text they came in, so that order, large numbers and long strings survive untouched.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::lenient::Text;

/// Where the rows of one source are.
#[derive(Debug, Clone)]
pub enum ResultSet {
    /// A JSON array, as text.
    Inline(Box<RawValue>),
    /// JSON Lines in a file beside the event's own; a plain name.
    File(String),
    /// Rows that were asked of a server, all or the first of them.
    Asked(AskedRows),
    /// Neither; says what it is.
    Unusable(String),
}

/// Rows that were asked of a server: JSON Lines in a file of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRows {
    /// Its name in the folder of what was asked.
    pub file: String,
    /// Rows in the file.
    pub rows: u64,
    /// Rows that the server has; never fewer than `rows`.
    pub total: u64,
    /// Whether `total` is known; if not, there are at least so many.
    pub exact: bool,
}

impl ResultSet {
    /// Where only the first rows are at hand, or nobody knows whether there are more.
    #[must_use]
    pub fn part(&self) -> Option<&AskedRows> {
        match self {
            Self::Asked(asked) if asked.rows < asked.total || !asked.exact => Some(asked),
            _ => None,
        }
    }
}

/// One row: column names and values in stored order, each value as its own JSON text. Of a column that is there twice,
/// the last value counts, in the first one's place.
#[derive(Debug, Clone, Default)]
pub struct Row(pub IndexMap<String, Box<RawValue>>);

/// The column under which a row that is no object is kept, so that nothing is lost.
pub const VALUE_COLUMN: &str = "_value";

/// A cell as it is shown or attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// `null`
    Null,
    /// A string's own text, escapes resolved.
    Text(Cow<'a, str>),
    /// A number, boolean, list or object: its exact JSON text.
    Json(&'a str),
}

impl<'a> Cell<'a> {
    /// The cell of a value.
    #[must_use]
    pub fn of(value: &'a RawValue) -> Self {
        let text = value.get().trim_ascii();
        if text == "null" {
            return Self::Null;
        }
        if text.starts_with('"')
            && let Ok(Text(text)) = serde_json::from_str(text)
        {
            return Self::Text(text);
        }
        Self::Json(text)
    }

    /// What is shown; nothing for `null`.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text),
            Self::Json(text) => Some(text),
        }
    }
}

impl Row {
    /// Parses the JSON text of one row. A row that is no object has the single column [`VALUE_COLUMN`].
    ///
    /// # Errors
    /// When the text is no JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        if text.trim_ascii_start().starts_with('{') {
            return serde_json::from_str(text);
        }
        let value: Box<RawValue> = serde_json::from_str(text)?;
        Ok(Self(IndexMap::from([(VALUE_COLUMN.to_owned(), value)])))
    }

    /// A column's cell.
    #[must_use]
    pub fn cell(&self, column: &str) -> Option<Cell<'_>> {
        self.0.get(column).map(|value| Cell::of(value))
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut row = IndexMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    row.insert(name, value);
                }
                Ok(Row(row))
            }
        }
        deserializer.deserialize_map(Columns)
    }
}

/// The elements of a JSON array's text, one after the other, as their own texts. Nothing is built, so an array of any
/// length costs no memory; the elements are not checked.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    /// What follows the last element that was handed out; `None` after the end.
    rest: Option<&'a str>,
}

impl<'a> Elements<'a> {
    /// Splits an array. Any other text has no elements.
    #[must_use]
    pub fn of(array: &'a str) -> Self {
        Self { rest: array.trim_ascii_start().strip_prefix('[') }
    }

    /// Goes on where another stream over the same array had `left` bytes left.
    #[must_use]
    pub fn last(array: &'a str, left: usize) -> Self {
        Self { rest: array.len().checked_sub(left).and_then(|start| array.get(start..)) }
    }

    /// Bytes of the array's text behind the last element; `None` at the end.
    #[must_use]
    pub fn left(&self) -> Option<usize> {
        self.rest.map(str::len)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        let end = element_end(rest.as_bytes());
        let element = rest.get(..end)?.trim_ascii();
        if rest.as_bytes().get(end) == Some(&b',') {
            self.rest = rest.get(end + 1..);
        } else if element.is_empty() {
            // `[]`, or nothing after the last comma.
            return None;
        }
        Some(element)
    }
}

/// Where the element at the start of `bytes` ends: at the comma or bracket after it, or at the end of the text.
fn element_end(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b',' if depth == 0 => return at,
            b']' | b'}' => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return at,
            },
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_row_keeps_order_numbers_and_text() {
        let row = Row::parse(r#" {"z":9007199254740993, "a":1.50, "m":{"k": [1]}, "e":"é\n\"", "n":null} "#).unwrap();
        assert_eq!(row.0.keys().collect::<Vec<_>>(), ["z", "a", "m", "e", "n"]);
        assert_eq!(row.cell("z"), Some(Cell::Json("9007199254740993")));
        assert_eq!(row.cell("a"), Some(Cell::Json("1.50")));
        assert_eq!(row.cell("m"), Some(Cell::Json(r#"{"k": [1]}"#)));
        assert_eq!(row.cell("e"), Some(Cell::Text("é\n\"".into())));
        assert_eq!(row.cell("n"), Some(Cell::Null));
        assert_eq!(row.cell("n").unwrap().as_text(), None);
        assert_eq!(row.cell("x"), None);
    }

    #[test]
    fn the_last_of_two_equal_columns_counts() {
        let row = Row::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(row.0.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(row.cell("a"), Some(Cell::Json("3")));
    }

    #[test]
    fn rows_that_are_no_objects_are_kept() {
        for text in ["7", "\"x\"", "null", "[1, 2]", "true"] {
            let row = Row::parse(text).unwrap();
            assert_eq!(row.0.len(), 1);
            assert_eq!(row.0[VALUE_COLUMN].get(), text);
        }
        for text in ["", "{", "{\"a\":}", "{} {}", "nul", "{\"a\":\"\n\"}"] {
            assert!(Row::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_string_without_escapes_is_not_copied() {
        let row = Row::parse(r#"{"a":"plain","b":"tab\t"}"#).unwrap();
        assert!(matches!(row.cell("a"), Some(Cell::Text(Cow::Borrowed("plain")))));
        assert!(matches!(row.cell("b"), Some(Cell::Text(Cow::Owned(_)))));
    }

    #[test]
    fn arrays_are_split_at_their_own_commas() {
        let elements = |text| Elements::of(text).collect::<Vec<_>>();
        assert_eq!(
            elements(r#" [ {"a":"],\"["} , [1,[2]], "x,y\\" ,null ] "#),
            [r#"{"a":"],\"["}"#, "[1,[2]]", r#""x,y\\""#, "null"]
        );
        assert!(elements("[]").is_empty());
        assert!(elements(" [ \n ] ").is_empty());
        assert!(elements("{\"a\":1}").is_empty());
        assert!(elements("").is_empty());
    }

    fn any_array() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[\\[\\]{},\"\\\\: a]{0,6}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[\\[\\]{},\"]{0,3}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        });
        prop::collection::vec(value, 0..8).prop_map(Value::from)
    }

    proptest! {
        #[test]
        fn splitting_agrees_with_parsing(array in any_array(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&array) } else { serde_json::to_string(&array) }.unwrap();
            let split: Vec<Value> = Elements::of(&text).map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(Value::from(split), array);
        }

        #[test]
        fn any_text_is_survived(text in any::<String>(), like in "[\\[\\]{},\"\\\\:a1 é]{0,40}") {
            for text in [text, like] {
                // Each element takes at least a byte, so the stream ends.
                prop_assert!(Elements::of(&text).count() <= text.len());
                let _ = Row::parse(&text);
            }
        }
    }
}
