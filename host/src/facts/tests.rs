use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::process::Command;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn inline(text: &str) -> ResultSet {
    ResultSet::Inline(RawValue::from_string(text.to_owned()).unwrap())
}

fn folder() -> (tempfile::TempDir, RowReader) {
    let dir = tempfile::tempdir().unwrap();
    let reader = RowReader::new(Some(Arc::from(dir.path())));
    (dir, reader)
}

/// Column `n` of good rows, number of bad ones.
fn outcomes(rows: Rows<'_>) -> Vec<Result<String, u64>> {
    rows.map(|row| match row {
        Ok(row) => Ok(row.cell("n").unwrap().as_text().unwrap().to_owned()),
        Err(RowsError::BadRow { number, .. }) => Err(number),
        Err(error) => panic!("{error}"),
    })
    .collect()
}

fn refusal(reader: &RowReader, name: &str) -> RowsError {
    let set = ResultSet::File(name.to_owned());
    assert!(reader.count(&set).is_err());
    reader.open(&set).err().unwrap()
}

#[test]
fn inline_rows_are_streamed_in_order() {
    let set = inline(r#"[{"n":"a","x":[1,{"y":"],["}]}, {"n":2} ,{"n":3.50}]"#);
    let reader = RowReader::default();
    assert_eq!(outcomes(reader.open(&set).unwrap()), [Ok("a".into()), Ok("2".into()), Ok("3.50".into())]);
    assert_eq!(reader.count(&set).unwrap(), 3);
    assert_eq!(reader.count(&inline("[]")).unwrap(), 0);
}

#[test]
fn file_rows_go_on_after_a_bad_one() {
    let (dir, reader) = folder();
    let text = "\u{feff}{\"n\":1}\r\n\n  \n{\"n\":\n{\"n\":\"\\ud800\"}\n\u{1}\n{\"n\":3}\n{\"n\":4}";
    fs::write(dir.path().join("rows.jsonl"), text).unwrap();
    let set = ResultSet::File("rows.jsonl".to_owned());
    assert_eq!(
        outcomes(reader.open(&set).unwrap()),
        [Ok("1".into()), Err(2), Ok("\u{fffd}".into()), Err(4), Ok("3".into()), Ok("4".into())]
    );
    assert_eq!(reader.count(&set).unwrap(), 6, "bad rows count, blank lines do not");
}

fn naming(files: &[&str]) -> FlowCompletion {
    let sets: Vec<String> =
        files.iter().enumerate().map(|(at, name)| format!("\"S{at}\":{{\"file\":\"{name}\"}}")).collect();
    let line = format!(
        r#"{{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","results":{{{}}}}}"#,
        sets.join(",")
    );
    crate::event::parse::parse(&line).unwrap()
}

#[test]
fn what_is_kept_is_read_when_the_folder_is_gone() {
    let (dir, reader) = folder();
    let text = "{\"n\":1}\r\n\nno row\n{\"n\":3}";
    fs::write(dir.path().join("rows.jsonl"), text).unwrap();
    fs::write(dir.path().join("secret"), text).unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("link")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(other.path().join("blobs")).unwrap();
    let event = naming(&["rows.jsonl", "gone.jsonl", "link", "../x", "rows.jsonl"]);
    let kept = reader.keep(&event, &blobs).unwrap();
    assert_eq!(kept.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["rows.jsonl"]);
    assert_eq!(fs::read_to_string(blobs.path(&kept[0].1)).unwrap(), text);
    drop(dir);
    let reader = RowReader::kept(blobs, kept);
    let set = ResultSet::File("rows.jsonl".to_owned());
    assert_eq!(outcomes(reader.open(&set).unwrap()), [Ok("1".into()), Err(2), Ok("3".into())]);
    assert_eq!(reader.count(&set).unwrap(), 3);
    for name in ["gone.jsonl", "link", "../x"] {
        let error = refusal(&reader, name).to_string();
        assert!(error.contains("could not be read when the event came"), "{error}");
    }
}

#[test]
fn a_torn_last_line_is_a_bad_row() {
    let (dir, reader) = folder();
    fs::write(dir.path().join("r"), b"{\"n\":1}\n{\"n\":\"\xc3").unwrap();
    assert_eq!(outcomes(reader.open(&ResultSet::File("r".to_owned())).unwrap()), [Ok("1".into()), Err(2)]);
    fs::write(dir.path().join("r"), b"").unwrap();
    assert!(outcomes(reader.open(&ResultSet::File("r".to_owned())).unwrap()).is_empty());
}

#[test]
fn rows_beyond_the_limits_are_bad_rows() {
    let (dir, reader) = folder();
    let limit = usize::try_from(crate::event::line::LineLimits::default().line).unwrap();
    let exact = format!("{{\"n\":\"{}\"}}", "x".repeat(limit - 8));
    assert_eq!(exact.len(), limit);
    let deep = "[".repeat(65) + &"]".repeat(65);
    let text = format!("{exact}\r\n{exact} \n{exact}xx\n{deep}\n{{\"n\":5}}\n");
    fs::write(dir.path().join("r"), text).unwrap();
    let set = ResultSet::File("r".to_owned());
    let kinds: Vec<_> = reader.open(&set).unwrap().map(|row| row.is_ok()).collect();
    assert_eq!(kinds, [true, true, false, false, true]);
    assert_eq!(reader.count(&set).unwrap(), 5);
}

#[test]
fn only_plain_names_of_the_folder_are_opened() {
    let (dir, reader) = folder();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/x"), "{}").unwrap();
    fs::write(dir.path().join("x"), "{}").unwrap();
    for name in
        ["", ".", "..", "../x", "sub/x", "/etc/passwd", "./x", "x/", "x/.", "x\0", "sub/../x", "\0", "//x", "../../x"]
    {
        assert!(matches!(refusal(&reader, name), RowsError::OutsideFolder(told) if told == name), "{name:?}");
    }
    assert!(matches!(refusal(&RowReader::default(), "x"), RowsError::NoFolder(_)));
    assert!(matches!(refusal(&reader, "missing"), RowsError::Io { .. }));
    assert!(matches!(refusal(&reader, &"y".repeat(4000)), RowsError::Io { .. }));
    assert!(matches!(
        reader.open(&ResultSet::Unusable("a JSON number".to_owned())).err(),
        Some(RowsError::Unusable(_))
    ));
    for name in ["..x", "a\\b", "é x\n"] {
        fs::write(dir.path().join(name), "{\"n\":1}").unwrap();
        assert_eq!(reader.count(&ResultSet::File(name.to_owned())).unwrap(), 1, "{name:?}");
    }
}

#[test]
fn links_pipes_and_folders_are_refused_at_once() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let (dir, reader) = folder();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("target"), "{\"n\":1}").unwrap();
    std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("nothing"), path("dangling")).unwrap();
    fs::create_dir(path("sub")).unwrap();
    mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for name in ["link", "dangling", "sub", "pipe", "socket"] {
        assert!(matches!(refusal(&reader, name), RowsError::Io { .. }), "{name}");
    }
    assert_eq!(reader.count(&ResultSet::File("target".to_owned())).unwrap(), 1);
    fs::hard_link(path("target"), path("hard")).unwrap();
    assert!(matches!(refusal(&reader, "hard"), RowsError::Io { .. }));
}

proptest! {
    #[test]
    fn files_and_arrays_of_the_same_rows_agree(numbers in prop::collection::vec("[a-z\\[\\]{},\" é]{0,8}", 0..20)) {
        let (dir, reader) = folder();
        let rows: Vec<_> = numbers.iter().map(|n| serde_json::json!({"n": n}).to_string()).collect();
        fs::write(dir.path().join("r"), rows.join("\n")).unwrap();
        let (file, array) = (ResultSet::File("r".to_owned()), inline(&format!("[{}]", rows.join(" , "))));
        let expected: Vec<_> = numbers.into_iter().map(Ok).collect();
        prop_assert_eq!(outcomes(reader.open(&file).unwrap()), expected.clone());
        prop_assert_eq!(outcomes(reader.open(&array).unwrap()), expected);
        prop_assert_eq!(reader.count(&file).unwrap(), rows.len() as u64);
        prop_assert_eq!(reader.count(&array).unwrap(), rows.len() as u64);
    }

    #[test]
    fn any_file_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (dir, reader) = folder();
        fs::write(dir.path().join("r"), &bytes).unwrap();
        let set = ResultSet::File("r".to_owned());
        let read = reader.open(&set).unwrap().count() as u64;
        prop_assert_eq!(reader.count(&set).unwrap(), read);
    }
}

/// Peak resident memory of this process, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs [`large_files_in_a_process_of_their_own`] alone, so that no other test is in its memory.
#[test]
fn memory_does_not_grow_with_the_file() {
    let test = "facts::tests::large_files_in_a_process_of_their_own";
    let status = Command::new(std::env::current_exe().unwrap()).args([test, "--exact", "--ignored"]).status().unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "run by `memory_does_not_grow_with_the_file`, in a process of its own"]
fn large_files_in_a_process_of_their_own() {
    let (dir, reader) = folder();
    let mut row = String::from("{\"n\":1");
    for column in 0..40 {
        let _ = write!(row, ",\"Column{column}\":\"{}\"", "some text ".repeat(5));
    }
    row.push_str("}\n");
    let rows = 50_000_000 / row.len();
    let mut file = BufWriter::new(fs::File::create(dir.path().join("r")).unwrap());
    for _ in 0..rows {
        file.write_all(row.as_bytes()).unwrap();
    }
    file.flush().unwrap();
    drop(file);

    let set = ResultSet::File("r".to_owned());
    // What the first rows need, code and buffers, is no growth.
    assert_eq!(reader.open(&set).unwrap().take(2_000).flatten().filter(|row| row.0.len() == 41).count(), 2_000);
    let before = peak_kib();
    assert_eq!(reader.count(&set).unwrap(), rows as u64);
    assert_eq!(reader.open(&set).unwrap().filter(|row| row.as_ref().unwrap().0.len() == 41).count(), rows);
    let grown = peak_kib() - before;
    assert!(grown < 4 * 1024, "reading 50 MB took {grown} KiB");
}
