use super::*;

fn lines(bytes: &[u8], limit: u64) -> Vec<Vec<u8>> {
    let mut reader = BufReader::with_capacity(4, bytes);
    let (mut found, mut line) = (Vec::new(), Vec::new());
    while next_line(&mut reader, &mut line, limit).unwrap() {
        found.push(line.clone());
    }
    found
}

#[test]
fn lines_of_any_length() {
    assert_eq!(lines(b"a\r\nbc\n\nd", 9), [b"a".to_vec(), b"bc".to_vec(), vec![], b"d".to_vec()]);
    assert_eq!(lines(b"", 9), Vec::<Vec<u8>>::new());
    // The limit itself is fine whatever ends the line; more is recognisable, and the next line is whole.
    assert_eq!(lines(b"12345\r\nx", 5), [b"12345".to_vec(), b"x".to_vec()]);
    let found = lines(b"1234567890123456789\nx\n", 5);
    assert_eq!(found.len(), 2);
    assert!(found[0].len() > 5 && found[0].len() <= 8);
    assert_eq!(found[1], b"x");
    let found = lines(b"12345678", 5);
    assert_eq!(found.len(), 1);
    assert!(found[0].len() > 5);
}

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
    };
    let mut out = Vec::new();
    write_text(&mut out, "analyst", &decision, Some("a\u{1b}[31m")).unwrap();
    let expected = "  analyst: notify, matches the filters
    to       ana@example.org, bob@example.org
    subject  a\\u{1b}[31m
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
