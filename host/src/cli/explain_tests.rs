use super::*;

#[test]
fn a_text_to_be_read() {
    let decision = Decision {
        decision: Verdict::Notify,
        reason: "matches the filters".to_owned(),
        trace: vec![
            TraceEntry {
                filter: "notify_hunts".to_owned(),
                verdict: TraceVerdict::Pass,
                detail: "not of a hunt".to_owned(),
            },
            TraceEntry { filter: "html".to_owned(), verdict: TraceVerdict::Unknown, detail: "x".to_owned() },
        ],
        recipients: vec!["ana@example.org".to_owned(), "bob@example.org".to_owned()],
        notes: vec![PluginNote {
            plugin: "ioc".to_owned(),
            tone: crate::fragment::Tone::Danger,
            text: "two\nlines".to_owned(),
        }],
    };
    let mut out = Vec::new();
    write_text(&mut out, "analyst", &decision, Some("a\u{1b}[31m")).unwrap();
    let expected = "  analyst: notify, matches the filters
    to       ana@example.org, bob@example.org
    subject  a\\u{1b}[31m
    note     ioc: two⏎lines
    notify_hunts  pass     not of a hunt
    html          unknown  x
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn no_configuration_is_a_mistake_of_usage() {
    let error = configuration(Path::new("bewit.toml")).map(|_| ()).unwrap_err();
    assert!(error.is::<UsageError>() && error.to_string().contains("-c FILE"), "{error}");
}
