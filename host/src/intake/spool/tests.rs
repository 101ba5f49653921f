use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::intake::fake::{Fake, event};

/// A spool and who takes its lines.
struct Yard {
    dir: TempDir,
    fake: Arc<Fake>,
    keep: bool,
    limit: u64,
    patience: Duration,
}

type Running = (watch::Sender<bool>, JoinHandle<Result<Summary, SpoolError>>);

impl Yard {
    fn new() -> Self {
        // In memory where there is such a folder: thousands of syncs would take minutes on a disk.
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() };
        fs::create_dir(dir.path().join("spool")).unwrap();
        Self { dir, fake: Arc::default(), keep: false, limit: 1000, patience: PATIENCE }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("spool").join(name)
    }

    /// As a writer should do it.
    fn put(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
        let temporary = self.dir.path().join("writing");
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, self.path(name.as_ref())).unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !["claimed", "rejected", "done"].contains(&name.as_str()))
            .collect();
        names.sort();
        names
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn config(&self) -> SpoolConfig {
        SpoolConfig { path: self.path(""), keep: self.keep, poll: Duration::from_millis(100) }
    }

    async fn start(&self, mode: Mode) -> Result<Summary, SpoolError> {
        let limits = LineLimits { line: self.limit, ..LineLimits::default() };
        let accept = Arc::clone(&self.fake);
        let mut spool = Spool::open(&self.config(), &limits, accept, mode).await?;
        spool.run(self.patience).await?;
        Ok(spool.summary)
    }

    async fn once(&self) -> Summary {
        within(self.start(Mode::Once)).await.unwrap()
    }

    /// Runs until a batch hangs, and ends there like a process that is killed.
    async fn crash_at(&self, batch: usize, stored: bool) -> bool {
        self.fake.hang_at(batch, stored);
        tokio::select! {
            summary = within(self.start(Mode::Once)) => { summary.unwrap(); false }
            () = self.fake.hung.notified() => true,
        }
    }

    fn watch(&self) -> Running {
        let (stop, stopped) = watch::channel(false);
        let limits = LineLimits { line: self.limit, ..LineLimits::default() };
        let (config, accept, patience) = (self.config(), Arc::clone(&self.fake), self.patience);
        let task = tokio::spawn(async move {
            let mut spool = Spool::open(&config, &limits, accept, Mode::Watch(stopped)).await?;
            spool.run(patience).await?;
            Ok(spool.summary)
        });
        (stop, task)
    }

    /// Nothing is left to do and nothing is left over.
    fn assert_clean(&self) {
        self.assert_empty();
        assert!(self.fake.store().positions.is_empty());
    }

    fn assert_empty(&self) {
        assert_eq!(self.names(""), [""; 0]);
        assert_eq!(self.names("claimed"), [""; 0]);
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("it takes too long")
}

async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Ends a spool that has done everything. Stopped between the outbox's answer and the removal of a file, it would
/// rightly leave that to the next start.
async fn end_clean(yard: &Yard, running: Running) {
    until(|| yard.names("").is_empty() && yard.names("claimed").is_empty()).await;
    end(running).await;
    yard.assert_clean();
}

async fn end((stop, task): Running) -> Summary {
    stop.send(true).unwrap();
    within(task).await.unwrap().unwrap()
}

fn lines(flows: impl IntoIterator<Item = String>) -> String {
    flows.into_iter().map(|flow| event(&flow) + "\n").collect()
}

fn flows(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("F.{number:05}"))
}

/// An event with a result file.
fn asking(flow: &str, file: &str) -> String {
    event(flow).replace('}', &format!(r#","results":{{"A/B":{{"file":"{file}"}}}}}}"#))
}

#[tokio::test]
async fn files_are_taken_and_removed_or_kept() {
    let mut yard = Yard::new();
    yard.put("b.jsonl", lines(flows(2..4)));
    yard.put("a.jsonl", lines(flows(0..2)).trim_end());
    yard.put("empty.jsonl", "\n\n");
    let summary = yard.once().await;
    assert_eq!((summary.files, summary.lines.accepted, summary.left), (3, 4, 0));
    assert_eq!(yard.fake.flows(), flows(0..4).collect::<Vec<_>>());
    assert!(yard.fake.store().events.iter().any(|(source, _)| source == "spool a.jsonl"));
    yard.assert_clean();
    assert!(yard.names("done").is_empty() && yard.names("rejected").is_empty());

    yard.keep = true;
    for round in 0..2 {
        yard.put("a.jsonl", event(&format!("F.keep{round}")));
        yard.once().await;
    }
    let done = yard.names("done");
    assert_eq!(done.len(), 2, "{done:?}");
    assert_eq!(yard.text("done/a.jsonl"), event("F.keep0"));
    yard.assert_clean();
}

#[tokio::test]
async fn what_is_not_finished_is_left_alone() {
    let yard = Yard::new();
    let others = ["a.jsonl.tmp", "a.tmp", ".a.jsonl", "a.json", "rows", "a.JSONL"];
    for name in others {
        fs::write(yard.path(name), event("F.no")).unwrap();
    }
    assert_eq!(yard.once().await, Summary::default());
    assert_eq!(yard.names("").len(), others.len());
    fs::rename(yard.path("a.tmp"), yard.path("a.jsonl")).unwrap();
    assert_eq!(yard.once().await.lines.accepted, 1);
}

#[tokio::test]
async fn bad_lines_are_set_aside_and_the_rest_goes_on() {
    let yard = Yard::new();
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(200_000));
    let content = [event("F.1").as_str(), "{\"type\":1", "", &long, "\u{1b}[31m\0", &event("F.2"), "last"].join("\r\n");
    yard.put("a.jsonl", &content);
    let summary = yard.once().await;
    assert_eq!((summary.lines.accepted, summary.lines.rejected), (2, 4));
    assert_eq!(yard.fake.flows(), ["F.1", "F.2"]);
    assert_eq!(yard.text("rejected/a.line-2.jsonl"), "{\"type\":1");
    assert_eq!(yard.text("rejected/a.line-4.jsonl"), long);
    assert_eq!(yard.text("rejected/a.line-5.jsonl"), "\u{1b}[31m\0");
    assert_eq!(yard.text("rejected/a.line-7.jsonl"), "last");
    let reason = yard.text("rejected/a.line-4.reason.txt");
    let offset = content.find(&long).unwrap();
    let digest = crate::blob::sha256_of(long.as_bytes()).unwrap();
    assert_eq!(
        reason,
        format!(
            "file: a.jsonl\nline: 4\noffset: {offset}\nbytes: {}\nsha256: {digest}\n\
             reason: the line is longer than 1000 bytes\n",
            long.len()
        )
    );
    assert_eq!(yard.names("rejected").len(), 8);
    yard.assert_clean();

    // The same name and line again: equal bytes share a file, others get one of their own.
    yard.put("a.jsonl", &content);
    yard.once().await;
    assert_eq!(yard.names("rejected").len(), 8);
    yard.put("a.jsonl", "\nother");
    yard.once().await;
    assert_eq!(yard.names("rejected").len(), 10);
    assert_eq!(yard.text("rejected/a.line-2.jsonl"), "{\"type\":1");
    assert!(yard.names("rejected").iter().any(|name| yard.text(&format!("rejected/{name}")) == "other"));
}

#[tokio::test]
async fn many_bad_lines_share_a_file() {
    let yard = Yard::new();
    let bad: String = (0..100).map(|number| format!("bad {number}\n")).collect();
    yard.put("a.jsonl", format!("{}\n{bad}", event("F.1")));
    assert_eq!(yard.once().await.lines.rejected, 100);
    assert_eq!(yard.names("rejected"), ["a.lines-2-101.jsonl", "a.lines-2-101.reason.txt"]);
    assert_eq!(yard.text("rejected/a.lines-2-101.jsonl"), bad);
    assert_eq!(yard.text("rejected/a.lines-2-101.reason.txt").matches("reason: not JSON").count(), 100);
    assert_eq!(yard.fake.store().rejected.len(), 100);
}

#[tokio::test]
async fn a_crash_at_any_batch_loses_and_repeats_nothing() {
    for stored in [false, true] {
        for batch in 1..=4 {
            let yard = Yard::new();
            let mut content = String::new();
            for (number, flow) in flows(0..900).enumerate() {
                content += &event(&flow);
                content += if number % 300 == 7 { "\nbad\n" } else { "\n" };
            }
            yard.put("a.jsonl", &content);
            assert!(yard.crash_at(batch, stored).await);
            assert_eq!(yard.names("claimed").len(), 1);
            let summary = yard.once().await;
            assert_eq!(summary.files, 1);
            assert_eq!(yard.fake.flows(), flows(0..900).collect::<Vec<_>>());
            assert_eq!(yard.fake.store().duplicates, 0);
            let offsets: Vec<u64> = yard.fake.store().rejected.iter().map(|rejected| rejected.1).collect();
            assert_eq!(offsets, content.match_indices("bad").map(|(at, _)| at as u64).collect::<Vec<_>>());
            let names = ["a.line-310", "a.line-611", "a.line-9"];
            let names: Vec<String> =
                names.iter().flat_map(|n| [format!("{n}.jsonl"), format!("{n}.reason.txt")]).collect();
            assert_eq!(yard.names("rejected"), names);
            yard.assert_clean();
        }
    }
}

#[tokio::test]
async fn bad_lines_are_on_disk_before_they_are_recorded() {
    let yard = Yard::new();
    yard.put("a.jsonl", format!("{}\nbad", event("F.1")));
    assert!(yard.crash_at(1, false).await);
    assert!(yard.fake.store().rejected.is_empty());
    assert_eq!(yard.text("rejected/a.line-2.jsonl"), "bad");
}

#[tokio::test]
async fn nodes_that_are_no_files_are_set_aside_unread() {
    let yard = Yard::new();
    let secret = yard.dir.path().join("secret");
    fs::write(&secret, event("F.secret")).unwrap();
    symlink(&secret, yard.path("link.jsonl")).unwrap();
    symlink("nowhere", yard.path("dangling.jsonl")).unwrap();
    symlink("loop.jsonl", yard.path("loop.jsonl")).unwrap();
    symlink("/dev/zero", yard.path("zero.jsonl")).unwrap();
    fs::hard_link(&secret, yard.path("hard.jsonl")).unwrap();
    fs::create_dir(yard.path("folder.jsonl")).unwrap();
    fs::write(yard.path("folder.jsonl/a.jsonl"), event("F.inside")).unwrap();
    mknodat(CWD, yard.path("pipe.jsonl"), FileType::Fifo, Bits::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(yard.path("socket.jsonl")).unwrap();
    let device = mknodat(CWD, yard.path("device.jsonl"), FileType::CharacterDevice, Bits::RWXU, 0x0105).is_ok();
    fs::File::create(yard.path("sparse.jsonl")).unwrap().set_len(1 << 40).unwrap();
    let odd = OsStr::from_bytes(b"\xff\xfe\n.jsonl");
    yard.put(odd, format!("{}\nbad", event("F.odd")));
    let long = format!("{}.jsonl", "n".repeat(249));
    yard.put(&long, format!("{}\nbad", event("F.long")));

    let summary = yard.once().await;
    assert_eq!(yard.fake.flows(), ["F.long", "F.odd"]);
    let refused = 9 + u64::from(device);
    assert_eq!((summary.files, summary.refused, summary.left), (2, refused, 0));
    let store = yard.fake.store().clone();
    assert_eq!(store.rejected.len() as u64, refused + 2);
    for (name, reason) in [
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("hard", "several names"),
        ("folder", "a folder"),
        ("pipe", "a named pipe"),
        ("socket", "a socket"),
        ("sparse", "longer than"),
    ] {
        assert!(yard.text(&format!("rejected/{name}.reason.txt")).contains(reason), "{name}");
        assert!(store.rejected.iter().any(|(source, _, _, why)| source.contains(name) && why.contains(reason)));
    }
    let kind = |name: &str| fs::symlink_metadata(yard.path("rejected").join(name)).unwrap().file_type();
    assert!(kind("link.jsonl").is_symlink() && kind("folder.jsonl").is_dir() && kind("pipe.jsonl").is_fifo());
    assert_eq!(fs::read_to_string(&secret).unwrap(), event("F.secret"));
    yard.assert_clean();
}

#[tokio::test]
async fn a_file_that_its_writer_still_links_is_waited_for() {
    let yard = Yard::new();
    let temporary = yard.path("a.tmp");
    fs::write(&temporary, event("F.1")).unwrap();
    let running = yard.watch();
    fs::hard_link(&temporary, yard.path("a.jsonl")).unwrap();
    yard.put("b.jsonl", event("F.2"));
    until(|| yard.fake.flows() == ["F.2"]).await;
    fs::remove_file(temporary).unwrap();
    until(|| yard.fake.flows().len() == 2).await;
    end_clean(&yard, running).await;
}

#[tokio::test]
async fn ten_thousand_files_at_once() {
    let yard = Yard::new();
    for flow in flows(0..5_000) {
        yard.put(format!("{flow}.jsonl"), event(&flow));
    }
    let running = yard.watch();
    for flow in flows(5_000..10_000) {
        yard.put(format!("{flow}.jsonl"), event(&flow));
    }
    until(|| yard.fake.store().events.len() == 10_000 && yard.names("claimed").is_empty()).await;
    until(|| yard.names("").is_empty() && yard.names("claimed").is_empty()).await;
    let summary = end(running).await;
    assert_eq!((summary.files, summary.lines.accepted), (10_000, 10_000));
    assert_eq!(yard.fake.flows(), flows(0..10_000).collect::<Vec<_>>());
    yard.assert_clean();
}

#[tokio::test]
async fn rows_stay_until_their_last_event_is_done() {
    let mut yard = Yard::new();
    let rows = "{\"Name\":\"a\",\"Type\":\"b\"}\n".repeat(100);
    for keep in [false, true] {
        yard.keep = keep;
        yard.fake = Arc::default();
        // Names before and after those of the events, and columns that look like an event's.
        yard.put("a-rows.jsonl", &rows);
        yard.put("z-rows.jsonl", "{\"ClientId\":\"C.1\",\"FlowId\":\"F.9\",\"type\":\"x\"}\n");
        yard.put("rows.json", &rows);
        yard.put("b.jsonl", format!("{}\n{}", asking("F.1", "a-rows.jsonl"), asking("F.2", "z-rows.jsonl")));
        yard.put("c.jsonl", format!("{}\n{}", asking("F.3", "a-rows.jsonl"), asking("F.4", "rows.json")));
        let summary = yard.once().await;
        assert_eq!((summary.files, summary.refused, summary.lines.rejected), (2, 0, 0));
        let read = yard.fake.store().rows.clone();
        assert_eq!(read.len(), 4);
        assert!(read.iter().all(|(_, there)| *there), "{read:?}");
        yard.assert_clean();
        assert!(yard.names("rejected").is_empty());
        let done = if keep { vec!["a-rows.jsonl", "b.jsonl", "c.jsonl", "rows.json", "z-rows.jsonl"] } else { vec![] };
        assert_eq!(yard.names("done"), done);
    }
}

#[tokio::test]
async fn rows_wait_for_their_event() {
    let yard = Yard::new();
    yard.put("rows.jsonl", "{\"a\":1}\n".repeat(100));
    let running = yard.watch();
    yard.put("a.jsonl", event("F.1"));
    until(|| yard.fake.flows() == ["F.1"] && yard.names("claimed").is_empty()).await;
    assert_eq!(yard.names(""), ["rows.jsonl"]);
    yard.put("b.jsonl", asking("F.2", "rows.jsonl"));
    until(|| yard.names("").is_empty() && yard.names("claimed").is_empty()).await;
    assert_eq!(yard.fake.store().rows, [("rows.jsonl".to_owned(), true)]);
    end(running).await;
    assert!(yard.fake.store().rejected.is_empty());
}

#[tokio::test]
async fn rows_that_nobody_asks_for_are_set_aside() {
    let mut yard = Yard::new();
    let many = "{\"a\":1}\n".repeat(100);
    yard.put("many.jsonl", &many);
    yard.put("few.jsonl", "{\"a\":1}\n{\"b\":2}\n");
    // A first line without a type does not condemn its neighbours.
    yard.put("mixed.jsonl", format!("{}{}", "{\"a\":1}\n".repeat(70), event("F.1")));
    let summary = yard.once().await;
    assert_eq!((summary.files, summary.refused, summary.lines.rejected), (2, 1, 72));
    assert_eq!(yard.fake.flows(), ["F.1"]);
    assert_eq!(yard.text("rejected/many.jsonl"), many);
    let reason = yard.text("rejected/many.reason.txt");
    assert!(reason.contains("no event refers to it") && reason.contains("bytes: 800"), "{reason}");
    assert_eq!(yard.fake.store().rejected.iter().filter(|rejected| rejected.0 == "spool many.jsonl").count(), 1);
    assert_eq!(yard.text("rejected/few.line-2.jsonl"), "{\"b\":2}");
    yard.assert_clean();

    // The daemon gives them a while.
    yard.patience = Duration::from_millis(300);
    let running = yard.watch();
    yard.put("late.jsonl", &many);
    until(|| yard.names("").is_empty() && yard.names("claimed").is_empty()).await;
    assert_eq!(yard.text("rejected/late.jsonl"), many);
    assert_eq!(end(running).await.refused, 1);
}

#[tokio::test]
async fn events_are_never_taken_for_rows() {
    let yard = Yard::new();
    // Each names the other, one of them itself, one another's file of events.
    yard.put("a.jsonl", r#"{"ClientId":"C.1","FlowId":"F.1","results":{"A":{"file":"b.jsonl"}}}"#);
    yard.put("b.jsonl", r#"{"ClientId":"C.1","FlowId":"F.2","results":{"A":{"file":"a.jsonl"}}}"#);
    yard.put("c.jsonl", asking("F.3", "c.jsonl"));
    yard.put("d.jsonl", asking("F.4", "e.jsonl"));
    yard.put("e.jsonl", event("F.5"));
    yard.put("half.tmp", "being written");
    yard.put("f.jsonl", asking("F.6", "half.tmp"));
    let summary = yard.once().await;
    assert_eq!((summary.files, summary.lines.accepted, summary.lines.rejected), (6, 4, 2));
    assert_eq!(yard.fake.flows(), ["F.3", "F.4", "F.5", "F.6"]);
    assert_eq!(yard.names(""), ["half.tmp"]);
}

#[tokio::test]
async fn a_crash_before_rows_are_released_loses_nothing() {
    for stored in [false, true] {
        let yard = Yard::new();
        let rows = "{\"a\":1}\n".repeat(100);
        yard.put("rows.jsonl", &rows);
        yard.put("late.jsonl", &rows);
        yard.put("a.jsonl", format!("{}\n{}", asking("F.1", "rows.jsonl"), lines(flows(2..600))));
        yard.put("b.jsonl", asking("F.b", "late.jsonl"));
        assert!(yard.crash_at(3, stored).await);
        assert!(yard.names("").contains(&"rows.jsonl".to_owned()));
        yard.once().await;
        assert_eq!(yard.fake.store().events.len(), 600);
        assert!(yard.fake.store().rows.iter().all(|(_, there)| *there));
        assert!(yard.fake.store().rejected.is_empty());
        yard.assert_clean();
    }
}

#[tokio::test]
async fn a_crash_while_a_whole_file_is_set_aside_records_it_once() {
    for stored in [false, true] {
        let yard = Yard::new();
        yard.put("rows.jsonl", "{\"a\":1}\n".repeat(100));
        assert!(yard.crash_at(1, stored).await);
        assert_eq!(yard.once().await.refused, 1);
        assert_eq!(yard.fake.store().rejected.len(), 1);
        assert_eq!(yard.names("rejected"), ["rows.jsonl", "rows.reason.txt"]);
        yard.assert_clean();
    }
}

#[tokio::test]
async fn without_space_everything_stays_and_goes_on_later() {
    let yard = Yard::new();
    yard.fake.set_full(true);
    assert_eq!(yard.once().await, Summary::default());
    yard.put("a.jsonl", lines(flows(0..3)));
    let error = within(yard.start(Mode::Once)).await.unwrap_err();
    assert!(matches!(error, SpoolError::Outbox(OutboxError::Full { .. })), "{error}");
    assert_eq!(yard.names(""), ["a.jsonl"]);

    let running = yard.watch();
    yard.put("b.jsonl", lines(flows(3..6)));
    // It is at work, and waits.
    until(|| yard.path("claimed").is_dir()).await;
    assert_eq!(yard.names("").len(), 2);
    yard.fake.set_full(false);
    until(|| yard.fake.flows().len() == 6).await;
    end_clean(&yard, running).await;

    // It can be stopped while it waits.
    yard.fake.set_full(true);
    yard.put("c.jsonl", lines(flows(6..7)));
    end(yard.watch()).await;
    assert_eq!(yard.names(""), ["c.jsonl"]);
}

#[tokio::test]
async fn trouble_of_the_outbox_ends_the_intake() {
    let yard = Yard::new();
    yard.put("a.jsonl", lines(flows(0..3)));
    yard.fake.set_broken();
    let (_stop, task) = yard.watch();
    let error = within(task).await.unwrap().unwrap_err();
    assert!(matches!(error, SpoolError::Outbox(OutboxError::Stopped(_))), "{error}");
    assert_eq!(yard.names("claimed").len(), 1);
}

#[tokio::test]
async fn a_replaced_spool_is_taken_up() {
    let yard = Yard::new();
    let running = yard.watch();
    yard.put("a.jsonl", event("F.1"));
    until(|| yard.fake.flows() == ["F.1"]).await;
    fs::rename(yard.path(""), yard.dir.path().join("old")).unwrap();
    until(|| yard.path("done").is_dir()).await;
    yard.put("b.jsonl", event("F.2"));
    until(|| yard.fake.flows().len() == 2).await;
    end_clean(&yard, running).await;
}

#[tokio::test]
async fn it_stops_between_batches_and_goes_on() {
    let yard = Yard::new();
    yard.put("a.jsonl", lines(flows(0..5_000)));
    let (stop, task) = yard.watch();
    until(|| yard.fake.batches() > 0).await;
    stop.send(true).unwrap();
    within(task).await.unwrap().unwrap();
    yard.once().await;
    assert_eq!(yard.fake.flows(), flows(0..5_000).collect::<Vec<_>>());
    assert_eq!(yard.fake.store().duplicates, 0);
    yard.assert_clean();
}

/// A line of a file, as the model sees it.
#[derive(Debug, Clone)]
enum Piece {
    Event,
    Bad(Vec<u8>),
    Long(usize),
    Blank,
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        6 => Just(Piece::Event),
        2 => prop::collection::vec(any::<u8>().prop_filter("a line end", |byte| !b"\r\n".contains(byte)), 1..40)
            .prop_map(|bytes| Piece::Bad([b"!".as_slice(), &bytes].concat())),
        1 => (1001usize..4_000).prop_map(Piece::Long),
        1 => Just(Piece::Blank),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the files hold and wherever it is killed: every good line is stored once, every bad one recorded once
    /// and kept byte for byte.
    #[test]
    fn survives_any_crashes(
        files in prop::collection::vec((prop::collection::vec(piece(), 0..300), any::<bool>()), 1..5),
        crashes in prop::collection::vec((1usize..6, any::<bool>()), 0..4),
    ) {
        let yard = Yard::new();
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for (number, (pieces, newline)) in files.iter().enumerate() {
            let mut content = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Event => {
                        good.push(format!("F.{:05}", good.len()));
                        content.extend(event(good.last().unwrap()).into_bytes());
                    }
                    Piece::Bad(bytes) => {
                        bad.push(bytes.clone());
                        content.extend(bytes);
                    }
                    Piece::Long(length) => {
                        bad.push(vec![b'x'; *length]);
                        content.extend(vec![b'x'; *length]);
                    }
                    Piece::Blank => {}
                }
                content.push(b'\n');
            }
            if !newline {
                content.pop();
            }
            yard.put(format!("{number}.jsonl"), content);
        }
        // A runtime for each run: what its threads have begun has ended before the next one starts.
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (batch, stored) in crashes {
            runtime().block_on(yard.crash_at(batch, stored));
        }
        yard.fake.hang_at(usize::MAX, false);
        runtime().block_on(yard.once());
        let rejected = yard.fake.store().rejected.len();
        prop_assert_eq!(yard.fake.flows(), good);
        prop_assert_eq!(rejected, bad.len());
        let aside: Vec<Vec<u8>> = yard
            .names("rejected")
            .iter()
            .filter(|name| name.ends_with(".jsonl"))
            .map(|name| fs::read(yard.path("rejected").join(name)).unwrap())
            .collect();
        for line in bad {
            let kept = |file: &Vec<u8>| *file == line || file.split(|byte| *byte == b'\n').any(|kept| kept == line);
            prop_assert!(aside.iter().any(kept), "{:?} is lost", String::from_utf8_lossy(&line));
        }
        // A crash between the end of a file and its being forgotten leaves a position that nobody will ask for.
        yard.assert_empty();
    }
}
