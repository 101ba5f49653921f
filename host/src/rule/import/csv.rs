//! Tables as Velociraptor reads them: Go's `encoding/csv` with `LazyQuotes` and `TrimLeadingSpace`, any number of
//! fields, the first record is the header. Cells stay text.

/// A table: a header and rows as long as it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads a table; there is no text that is none.
    pub(super) fn read(text: &str) -> Self {
        let mut records = records(text.strip_prefix('\u{feff}').unwrap_or(text)).into_iter();
        let Some(header) = records.next() else { return Self::default() };
        let rows = records
            .map(|mut row| {
                row.resize(header.len(), String::new());
                row
            })
            .collect();
        Self { header, rows }
    }

    /// Makes a table of columns and rows that are already apart.
    pub(super) fn new(header: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { header: header.iter().map(|name| (*name).to_owned()).collect(), rows }
    }

    /// Whether there is a column of this name, in whatever case.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column.trim().eq_ignore_ascii_case(name))
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, cells in the order of `columns`; `None` for a column that the table lacks.
    pub(super) fn rows<'a, const N: usize>(
        &'a self,
        columns: [&str; N],
    ) -> impl Iterator<Item = [Option<&'a str>; N]> + use<'a, N> {
        let places = columns.map(|name| self.column(name));
        self.rows.iter().map(move |row| places.map(|place| place.and_then(|place| row.get(place)).map(String::as_str)))
    }
}

/// Splits a text into records. Lines with nothing in them are no records; a quote that is not where quotes belong is
/// a character like others.
fn records(text: &str) -> Vec<Vec<String>> {
    // A carriage return that ends the text is half a line end.
    let mut lines = text.strip_suffix('\r').unwrap_or(text).split_inclusive('\n');
    let mut records = Vec::new();
    while let Some(line) = lines.next() {
        if !content(line).is_empty() {
            records.push(record(line, &mut lines));
        }
    }
    records
}

/// A line without its end.
fn content(line: &str) -> &str {
    line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).unwrap_or(line)
}

/// Reads one record, which goes on over the following lines where quotes are open.
fn record<'a>(line: &'a str, more: &mut impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else {
            match rest.split_once(',') {
                Some((field, after)) => {
                    fields.push(field.to_owned());
                    rest = after;
                    continue;
                }
                None => {
                    fields.push(content(rest).to_owned());
                    return fields;
                }
            }
        };
        rest = quoted;
        let mut field = String::new();
        let ended = loop {
            let Some((before, after)) = rest.split_once('"') else {
                // The field goes on in the next line; the end of the text ends it as well.
                field.push_str(&rest.replace("\r\n", "\n"));
                match more.next() {
                    Some(line) => rest = line,
                    None => break true,
                }
                continue;
            };
            field.push_str(before);
            if let Some(after) = after.strip_prefix('"') {
                field.push('"');
                rest = after;
            } else if let Some(after) = after.strip_prefix(',') {
                rest = after;
                break false;
            } else if content(after).is_empty() {
                break true;
            } else {
                field.push('"');
                rest = after;
            }
        };
        fields.push(field);
        if ended {
            return fields;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from Go 1.26's `encoding/csv` with `LazyQuotes`, `TrimLeadingSpace` and any number of fields.
    #[derive(serde::Deserialize)]
    struct Golden {
        text: String,
        rows: Vec<Vec<String>>,
    }

    #[test]
    fn agrees_with_go() {
        let goldens = include_str!("csv_go.jsonl").lines();
        let mut compared = 0;
        for golden in goldens.map(|line| serde_json::from_str::<Golden>(line).unwrap()) {
            assert_eq!(records(&golden.text), golden.rows, "{:?}", golden.text);
            compared += 1;
        }
        assert!(compared >= 200, "{compared}");
    }

    #[test]
    fn tables_as_people_write_them() {
        assert_eq!(records("a,b\r\n\"x, y\",\"say \"\"hi\"\"\"\r\n"), [["a", "b"], ["x, y", "say \"hi\""]]);
        assert_eq!(records("\"bash|powershell\", , 5000\n"), [["bash|powershell", "", "5000"]]);
        assert_eq!(records("\n\r\na  \n\n\"\"\nb"), [["a  "], [""], ["b"]]);
        assert_eq!(records(""), Vec::<Vec<String>>::new());
    }

    #[test]
    fn rows_are_as_long_as_the_header() {
        let table = Table::read("\u{feff}Domain, UsernameRegex\nexample.org,.+,more\nx\n");
        let rows: Vec<_> = table.rows(["usernameregex", "Domain", "Other"]).collect();
        assert_eq!(rows, [[Some(".+"), Some("example.org"), None], [Some(""), Some("x"), None]]);
    }
}
