//! The mailbox folder.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::super::mailbox::{self, file_name};
use super::super::{Summary, Until};
use super::support::{Memory, State};

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[tokio::test]
async fn one_file_a_mail_with_the_bytes_of_the_wire() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("new/mail");
    let queue = Memory::new().without_dots();
    queue.add_mail(&["ana@example.org", "bob@example.org"], b".dot\r\ntext\r\n");
    queue.add_mail(&["ana@example.org"], b"no line end");
    queue.add_mail(&["ana@example.org"], b"bare\nLF\r\n");
    let summary = mailbox::run(queue.clone(), folder.clone(), Until::Drained).await;
    assert_eq!(summary.unwrap(), Summary { delivered: 3, failed: 1, ..Summary::default() });
    let files = files(&folder);
    assert_eq!(files.len(), 2, "{files:?}");
    let texts: Vec<&Vec<u8>> = files.values().collect();
    assert!(texts.iter().any(|text| text.ends_with(b"\r\n\r\n.dot\r\ntext\r\n")));
    assert!(texts.iter().any(|text| text.ends_with(b"\r\n\r\nno line end\r\n")));
    assert!(files.keys().all(|name| name.ends_with(".eml") && name.starts_with("20260821T000000.")), "{files:?}");
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    assert!(
        queue.states().iter().any(|state| matches!(state, State::Failed(reason) if reason.contains("LF without CR")))
    );
}

#[tokio::test]
async fn a_mail_that_is_delivered_again_replaces_itself() {
    let folder = tempfile::tempdir().unwrap();
    let name = file_name("2026-08-21T10:11:12.123456Z".parse().unwrap(), "abcdefgh234567@example.org");
    assert_eq!(name, "20260821T101112.123456Z-abcdefgh234567.eml");
    // As after a crash in the middle of the first attempt.
    std::fs::write(folder.path().join(format!(".{name}.new")), b"half").unwrap();
    for _ in 0..3 {
        mailbox::write_mail(folder.path(), &name, &b"A: b\r\n\r\nc\r\n"[..]).unwrap();
    }
    let found = files(folder.path());
    assert_eq!(found.len(), 1);
    assert_eq!(found[&name], b"A: b\r\n\r\nc\r\n");
    // What is not clean leaves nothing behind.
    assert!(mailbox::write_mail(folder.path(), "x.eml", &b"a\nb"[..]).is_err());
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn names_sort_by_time_and_tell_mails_apart() {
    let at = |text: &str| text.parse().unwrap();
    let early = file_name(at("2026-08-21T10:11:12Z"), "zzzzzzzz@example.org");
    let late = file_name(at("2026-08-21T10:11:12.000001Z"), "aaaaaaaa@example.org");
    assert!(early < late);
    let one = file_name(at("2026-08-21T10:11:12Z"), "../../etc/passwd@example.org");
    let two = file_name(at("2026-08-21T10:11:12Z"), "../../etc/shadow@example.org");
    assert!(one != two && !one.contains('/') && !one.contains(".."), "{one}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_defers() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let queue = Memory::new().without_dots();
    queue.add(&["ana@example.org"]);
    let summary = mailbox::run(queue.clone(), file.join("mail"), Until::Drained).await.unwrap();
    assert_eq!(summary, Summary { deferred: 1, ..Summary::default() });
    assert!(matches!(queue.states()[0], State::Deferred(_)));
}

#[tokio::test]
async fn a_running_mailbox_takes_what_comes_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Memory::new().without_dots();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let run = tokio::spawn(mailbox::run(queue.clone(), folder.path().to_owned(), Until::Stopped(stopped)));
    for turn in 1..=3 {
        queue.add(&["ana@example.org"]);
        queue.until("the mail", Duration::from_secs(20), |queue| queue.delivered() == turn).await;
    }
    stop.send(true).unwrap();
    assert_eq!(run.await.unwrap().unwrap().delivered, 3);
    assert_eq!(files(folder.path()).len(), 3);
}
