//! From a row of `System.Flow.Completion` to the line that an intake hands over: the same bytes, wherever the row was
//! read.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::ROOT_ORG;

/// What counts of a row. `_ts` and `_Source` differ between the live queue and what is read back, so they do not.
#[derive(Deserialize)]
struct Row<'r> {
    #[serde(rename = "Timestamp", borrow, default)]
    timestamp: Option<&'r RawValue>,
    #[serde(rename = "ClientId", borrow, default)]
    client: Option<&'r RawValue>,
    #[serde(rename = "FlowId", borrow, default)]
    flow: Option<&'r RawValue>,
    #[serde(rename = "Flow", borrow, default)]
    record: Option<&'r RawValue>,
}

/// The event line of a row that an org's server has sent: one line, values as they were, without the blanks and line ends
/// between them. What the row lacks, the line lacks: the parser of events says what of it must be there.
///
/// # Errors
/// Why the row is no completion: it is no object, or names no client or flow.
pub fn line(org: &str, row: &RawValue) -> Result<Vec<u8>, String> {
    if !row.get().trim_start().starts_with('{') {
        return Err("a row that is no object".to_owned());
    }
    let Row { timestamp, client, flow, record } =
        serde_json::from_str(row.get()).map_err(|error| format!("a row that is no completion: {error}"))?;
    let named = |name: &str, value: Option<&RawValue>| match value {
        Some(value) if value.get().starts_with('"') => Ok(()),
        Some(_) => Err(format!("a row whose `{name}` is no text")),
        None => Err(format!("a row without `{name}`")),
    };
    named("ClientId", client)?;
    named("FlowId", flow)?;
    let org = if org.is_empty() { ROOT_ORG } else { org };
    let mut line = Vec::with_capacity(row.get().len() + 96);
    line.extend_from_slice(b"{\"type\":\"System.Flow.Completion\",\"OrgId\":");
    line.extend_from_slice(serde_json::Value::from(org).to_string().as_bytes());
    for (name, value) in [("Timestamp", timestamp), ("ClientId", client), ("FlowId", flow), ("Flow", record)] {
        // A null would be the same as nothing.
        let Some(value) = value.filter(|value| value.get() != "null") else { continue };
        line.extend_from_slice(format!(",\"{name}\":").as_bytes());
        compact(value.get(), &mut line);
    }
    line.push(b'}');
    Ok(line)
}

/// Adds a JSON text without what stands between its values: servers may indent, and a line is one line. The text is
/// known to be JSON.
fn compact(json: &str, line: &mut Vec<u8>) {
    let (mut inside, mut escaped) = (false, false);
    for byte in json.bytes() {
        if inside {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => inside = false,
                _ => {}
            }
        } else if byte == b'"' {
            inside = true;
        } else if byte.is_ascii_whitespace() {
            continue;
        }
        line.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(org: &str, row: &str) -> Result<String, String> {
        let row: &RawValue = serde_json::from_str(row).unwrap();
        line(org, row).map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn live_and_read_back_rows_give_one_line() {
        let live = r#"{"Timestamp":1786500123,"Flow":{"state":2,"status":"a  \"b\" \\"},"FlowId":"F.1","ClientId":"C.1","_ts":1786500123,"_Source":"System.Flow.Completion"}"#;
        let back = "{\n \"Timestamp\": 1786500123,\r\n\t\"ClientId\": \"C.1\",\n \"FlowId\": \"F.1\",\n \"Flow\": {\n  \
                    \"state\": 2,\n  \"status\": \"a  \\\"b\\\" \\\\\"\n }\n}";
        let line = of("root", live).unwrap();
        assert_eq!(
            line,
            r#"{"type":"System.Flow.Completion","OrgId":"root","Timestamp":1786500123,"ClientId":"C.1","FlowId":"F.1","Flow":{"state":2,"status":"a  \"b\" \\"}}"#
        );
        assert_eq!(of("", back).unwrap(), line);
        let event = crate::event::parse::parse(&line).unwrap();
        assert_eq!(event.key.to_string(), "root/C.1/F.1");
    }

    #[test]
    fn an_org_s_name_cannot_become_part_of_the_line() {
        let line = of("O\",\"ClientId\":\"C.2", r#"{"ClientId":"C.1","FlowId":"F.1","Flow":null}"#).unwrap();
        assert_eq!(
            line,
            r#"{"type":"System.Flow.Completion","OrgId":"O\",\"ClientId\":\"C.2","ClientId":"C.1","FlowId":"F.1"}"#
        );
    }

    #[test]
    fn numbers_keep_every_digit() {
        let row = r#"{"ClientId":"C.1","FlowId":"F.1","Flow":{"a":18446744073709551615,"b":1.50}}"#;
        assert!(of("root", row).unwrap().ends_with(r#""Flow":{"a":18446744073709551615,"b":1.50}}"#));
    }

    #[test]
    fn rows_that_are_no_completion() {
        for (row, said) in [
            ("[1,\"C.1\",\"F.1\"]", "no object"),
            ("{\"ClientId\":\"C.1\",\"ClientId\":\"C.2\",\"FlowId\":\"F.1\"}", "duplicate field"),
            ("{\"FlowId\":\"F.1\"}", "without `ClientId`"),
            ("{\"ClientId\":\"C.1\",\"FlowId\":7}", "`FlowId` is no text"),
            ("{\"ClientId\":null,\"FlowId\":\"F.1\"}", "`ClientId`"),
            ("{\"_Ended\":true}", "without `ClientId`"),
        ] {
            let error = of("root", row).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
