//! Sample events that ship with Bewit: what `bewit demo` runs on, and what every template is proved against. All of
//! them are made up.

/// Every sample: its name, and the event as one line of JSON.
const SAMPLES: &[(&str, &str)] = &[
    ("finished", include_str!("../../samples/finished.jsonl")),
    ("shell", include_str!("../../samples/shell.jsonl")),
    ("failed", include_str!("../../samples/failed.jsonl")),
    ("cancelled", include_str!("../../samples/cancelled.jsonl")),
    ("hunt", include_str!("../../samples/hunt.jsonl")),
    ("hunt-failed", include_str!("../../samples/hunt-failed.jsonl")),
    ("uploads", include_str!("../../samples/uploads.jsonl")),
    ("new-client", include_str!("../../samples/new-client.jsonl")),
    ("interrogation", include_str!("../../samples/interrogation.jsonl")),
    ("quick", include_str!("../../samples/quick.jsonl")),
    ("vip", include_str!("../../samples/vip.jsonl")),
    ("hostile", include_str!("../../samples/hostile.jsonl")),
    ("minimal", include_str!("../../samples/minimal.jsonl")),
];

/// The shipped sample events, as `(name, text)`; each text is one line of JSON with its line end. They are about a
/// collection with results (`finished`), a command's output (`shell`), a failure (`failed`), a cancelled one
/// (`cancelled`), members of hunts (`hunt`, `hunt-failed`), uploaded files (`uploads`), a client that has just enrolled
/// (`new-client`), Velociraptor's own interrogation (`interrogation`), one that took no time (`quick`), a large table
/// (`vip`), an endpoint that lies (`hostile`), and an event with nothing but its identity (`minimal`).
#[must_use]
pub fn samples() -> &'static [(&'static str, &'static str)] {
    SAMPLES
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::event::FlowCompletion;
    use crate::event::line::{LineLimits, admit};
    use crate::event::parse::parse;
    use crate::event::rows::ResultSet;
    use crate::facts::{RowReader, RowsError};

    fn sample(name: &str) -> FlowCompletion {
        let (_, text) = samples().iter().find(|sample| sample.0 == name).unwrap();
        parse(&admit(text.as_bytes(), &LineLimits::default()).unwrap()).unwrap()
    }

    #[test]
    fn every_sample_is_one_admitted_line_and_an_event() {
        let mut keys = HashSet::new();
        for (name, text) in samples() {
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{name}");
            let event = parse(&admit(text.as_bytes(), &LineLimits::default()).unwrap()).unwrap();
            assert!(keys.insert(event.key), "{name} has another sample's key");
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/samples")).unwrap();
        assert_eq!(files.count(), samples().len(), "every file is a sample");
    }

    #[test]
    fn the_samples_show_what_their_names_say() {
        assert!(!sample("finished").flow.failed() && sample("finished").results.unwrap().len() == 2);
        assert!(sample("failed").flow.failed() && !sample("failed").flow.status.is_empty());
        assert!(sample("cancelled").flow.status.starts_with("Cancelled"));
        assert!(sample("hunt").is_hunt() && !sample("hunt").flow.failed());
        assert!(sample("hunt-failed").is_hunt() && sample("hunt-failed").flow.failed());
        assert_eq!(sample("hunt-failed").hunt.unwrap().tags, ["fleet"]);
        let uploads = sample("uploads").uploads.unwrap();
        assert!(uploads.iter().any(|upload| upload.kind == "idx"));
        assert!(uploads.iter().any(|upload| upload.components.is_none()));
        let new = sample("new-client");
        let age = new.flow.start_time.unwrap().unix() - new.client.unwrap().first_seen_at.unwrap().unix();
        assert!((0..300).contains(&age));
        assert_eq!(sample("interrogation").flow.artifacts, ["Generic.Client.Info"]);
        let quick = sample("quick");
        assert!(quick.timestamp.unwrap().unix() - quick.flow.create_time.unwrap().unix() < 10);
        assert!(sample("hostile").client.unwrap().hostname.contains("\r\n"));
        let minimal = sample("minimal");
        assert!(minimal.client.is_none() && minimal.timestamp.is_none() && minimal.results.is_none());
    }

    #[test]
    fn the_rows_are_as_many_as_the_flow_says() {
        for (name, _) in samples() {
            let event = sample(name);
            let mut rows = 0;
            for (source, set) in event.results.iter().flat_map(|results| results.iter()) {
                match RowReader::default().open(set) {
                    Ok(stream) => rows += stream.map(Result::unwrap).count() as u64,
                    Err(RowsError::NoFolder(_)) if matches!(set, ResultSet::File(_)) => {}
                    Err(error) => panic!("{name} {source}: {error}"),
                }
            }
            assert_eq!(rows, event.flow.total_collected_rows, "{name}");
        }
    }
}
