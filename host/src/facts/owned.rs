//! Rows as texts, read by somebody who keeps the stream for a while (a plugin's cursor) and so cannot borrow the event.

use std::sync::Arc;

use indexmap::IndexMap;

use super::file::FileRows;
use super::{RowReader, RowsError};
use crate::event::rows::{Elements, ResultSet, VALUE_COLUMN};

/// A stream of rows, each as the text of a JSON object.
#[derive(Debug)]
pub struct OwnedRows(Source);

#[derive(Debug)]
enum Source {
    Inline {
        results: Arc<IndexMap<String, ResultSet>>,
        name: String,
        /// Bytes of the array's text that are left; `None` after the end.
        left: Option<usize>,
    },
    File(Box<FileRows>),
}

impl RowReader {
    /// Opens `set`, which is `results[name]`.
    ///
    /// # Errors
    /// As [`RowReader::open`].
    pub fn open_owned(
        &self,
        results: &Arc<IndexMap<String, ResultSet>>,
        name: &str,
        set: &ResultSet,
    ) -> Result<OwnedRows, RowsError> {
        Ok(OwnedRows(match set {
            ResultSet::Inline(array) => Source::Inline {
                results: Arc::clone(results),
                name: name.to_owned(),
                left: Elements::of(array.get()).left(),
            },
            ResultSet::File(name) => Source::File(Box::new(self.files.open(name)?)),
            ResultSet::Asked(asked) => Source::File(Box::new(self.open_asked(&asked.file)?)),
            ResultSet::Unusable(what) => return Err(RowsError::Unusable(what.clone())),
        }))
    }
}

impl OwnedRows {
    /// The next row. A row that is no object becomes one with the single column [`VALUE_COLUMN`].
    pub fn next_text(&mut self) -> Option<Result<String, RowsError>> {
        match &mut self.0 {
            Source::Inline { results, name, left } => {
                let Some(ResultSet::Inline(array)) = results.get(name.as_str()) else { return None };
                let mut elements = Elements::last(array.get(), (*left)?);
                let row = elements.next().map(|text| Ok(as_object(text)));
                *left = elements.left();
                row
            }
            Source::File(rows) => rows.next_text().map(|row| row.map(|text| as_object(&text))),
        }
    }
}

fn as_object(row: &str) -> String {
    if row.starts_with('{') { row.to_owned() } else { format!("{{\"{VALUE_COLUMN}\":{row}}}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::parse::parse;

    #[test]
    fn rows_are_objects_in_order_wherever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rows.jsonl"), "\u{feff}{\"a\":1}\n\n nope\n7\n{\"a\":\"\\ud800\"}").unwrap();
        let event = parse(
            r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1",
                "results":{"In":[ {"a":1} , 7,[1]],"Empty":[],"File":{"file":"rows.jsonl"},"Bad":{"x":1}}}"#,
        )
        .unwrap();
        let results = event.results.unwrap();
        let reader = RowReader::new(Some(dir.path().into()));
        let read = |name: &str| -> Vec<String> {
            let mut rows = reader.open_owned(&results, name, &results[name]).unwrap();
            std::iter::from_fn(|| rows.next_text())
                .map(|row| row.unwrap_or_else(|error| format!("! {error}")))
                .collect()
        };
        assert_eq!(read("In"), [r#"{"a":1}"#, r#"{"_value":7}"#, r#"{"_value":[1]}"#]);
        assert!(read("Empty").is_empty());
        let file = read("File");
        assert_eq!(file[0], r#"{"a":1}"#);
        assert!(file[1].starts_with("! row 2: "), "{}", file[1]);
        assert_eq!(file[2], r#"{"_value":7}"#);
        assert_eq!(file[3], r#"{"a":"\ufffd"}"#);
        assert_eq!(file.len(), 4);
        assert!(reader.open_owned(&results, "Bad", &results["Bad"]).is_err());
    }
}
