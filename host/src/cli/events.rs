//! Events from files and standard input, one line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::UsageError;
use super::progress::Progress;
use crate::event::line::LineLimits;
use crate::event::{self, FlowCompletion, NoEvent};
use crate::facts::RowReader;
use crate::text::Visible;

/// What became of one line.
pub(super) struct Heard {
    name: Arc<str>,
    number: u64,
    /// The event, or why the line is none.
    pub(super) event: Result<FlowCompletion, NoEvent>,
    /// Reads its rows: a `{"file"}` lies beside the file of events.
    pub(super) rows: RowReader,
}

impl Heard {
    /// File and line, for people.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.name, self.number)
    }
}

/// Lines that one thread answers at a time.
const TOGETHER: usize = 64;

/// Bytes of lines after which no more are added.
const BYTES: usize = 256 * 1024;

/// Reads events, hands them on and counts them; `-` is standard input. Blank lines are no events. A file that is not there is told
/// before the first event is handed on.
///
/// # Errors
/// When a file cannot be read, or `take` fails.
pub(super) fn each(
    paths: &[PathBuf],
    limits: &LineLimits,
    progress: &Progress,
    mut take: impl FnMut(Heard) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let done = progress.counter();
    read(paths, limits, &mut |line| {
        take(line.hear(limits))?;
        done();
        Ok(())
    })
}

/// The same, with an answer to each event that is made on any processor; the answers come in the order of the events.
/// A few hundred lines are on their way at most, so memory does not grow with their number.
///
/// # Errors
/// As [`each`].
pub(super) fn answers<T: Send>(
    paths: &[PathBuf],
    limits: &LineLimits,
    progress: &Progress,
    answer: impl Fn(Heard) -> T + Sync,
    mut take: impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let done = progress.counter();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let (work, waiting) = mpsc::sync_channel::<(Vec<Line>, SyncSender<Vec<T>>)>(threads);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let (waiting, answer) = (Arc::clone(&waiting), &answer);
            scope.spawn(move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((lines, answered)) = next else { return };
                    // Nobody waits for it any more if the output is gone.
                    let _ = answered.send(lines.into_iter().map(|line| answer(line.hear(limits))).collect());
                }
            });
        }
        drop(waiting);
        let (order, ordered) = mpsc::sync_channel::<Receiver<Vec<T>>>(2 * threads);
        let reader = scope.spawn(move || {
            let mut together = Together { lines: Vec::new(), bytes: 0, work, order };
            let all = read(paths, limits, &mut |line| together.push(line));
            // What came before a file that cannot be read is answered.
            together.hand_on().and(all)
        });
        for answers in ordered {
            // Without an answer its thread has panicked, which the end of the scope passes on.
            for answer in answers.recv().into_iter().flatten() {
                take(answer)?;
                done();
            }
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lines on their way to be answered.
struct Together<T> {
    lines: Vec<Line>,
    bytes: usize,
    work: SyncSender<(Vec<Line>, SyncSender<Vec<T>>)>,
    order: SyncSender<Receiver<Vec<T>>>,
}

impl<T> Together<T> {
    fn push(&mut self, line: Line) -> anyhow::Result<()> {
        self.bytes += line.bytes.len();
        self.lines.push(line);
        if self.lines.len() >= TOGETHER || self.bytes >= BYTES { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> anyhow::Result<()> {
        let (answered, answers) = mpsc::sync_channel(1);
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.order.send(answers).map_err(|_| gone())?;
        self.work.send((std::mem::take(&mut self.lines), answered)).map_err(|_| gone())?;
        self.bytes = 0;
        Ok(())
    }
}

/// A line as it came.
struct Line {
    name: Arc<str>,
    number: u64,
    bytes: Vec<u8>,
    rows: RowReader,
}

impl Line {
    fn hear(self, limits: &LineLimits) -> Heard {
        let event = event::read(&self.bytes, limits);
        Heard { name: self.name, number: self.number, event, rows: self.rows }
    }
}

fn read(
    paths: &[PathBuf],
    limits: &LineLimits,
    take: &mut impl FnMut(Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for path in paths.iter().filter(|path| !is_stdin(path)) {
        let is_file = path
            .metadata()
            .and_then(|found| if found.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(()) });
        is_file.map_err(|error| UsageError(format!("{}: {error}", name_of(path))))?;
    }
    for path in paths {
        let name = name_of(path);
        if is_stdin(path) {
            lines(io::stdin().lock(), &name, limits, &RowReader::new(None), take)?;
            continue;
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = File::open(path).map_err(|error| UsageError(format!("{name}: {error}")))?;
        let reader = BufReader::with_capacity(256 * 1024, file);
        lines(reader, &name, limits, &RowReader::new(Some(Arc::from(folder))), take)?;
    }
    Ok(())
}

fn lines(
    mut reader: impl BufRead,
    name: &str,
    limits: &LineLimits,
    rows: &RowReader,
    take: &mut impl FnMut(Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name: Arc<str> = Arc::from(name);
    let mut line = Vec::new();
    let mut number = 0_u64;
    while next(&mut reader, &mut line, limits.line).map_err(|error| UsageError(format!("{name}: {error}")))? {
        number += 1;
        let bytes = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        take(Line { name: Arc::clone(&name), number, bytes: bytes.to_vec(), rows: rows.clone() })?;
    }
    Ok(())
}

/// Reads a line without its end; `false` at the end of the input. Of an over-long line only so much is kept that it
/// can be told to be one.
fn next(reader: &mut impl BufRead, line: &mut Vec<u8>, limit: u64) -> io::Result<bool> {
    line.clear();
    // One byte over the limit, and a CRLF that does not count.
    let most = limit.saturating_add(3);
    let read = reader.by_ref().take(most).read_until(b'\n', line)?;
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if read as u64 == most {
        reader.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A path as it can be shown.
pub(super) fn name_of(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { Visible(&path.display().to_string()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], limit: u64) -> Vec<Vec<u8>> {
        let mut reader = BufReader::with_capacity(4, bytes);
        let (mut found, mut line) = (Vec::new(), Vec::new());
        while next(&mut reader, &mut line, limit).unwrap() {
            found.push(line.clone());
        }
        found
    }

    fn event(n: usize) -> String {
        format!("{{\"type\":\"System.Flow.Completion\",\"ClientId\":\"C.1\",\"FlowId\":\"F.{n}\"}}\n")
    }

    fn answered(paths: &[PathBuf], most: usize) -> (Vec<String>, anyhow::Result<()>) {
        let mut taken = Vec::new();
        let progress = Progress::start("events", true);
        let answer = |heard: Heard| match &heard.event {
            Ok(event) => event.key.flow_id.clone(),
            Err(_) => heard.place(),
        };
        let result = answers(paths, &LineLimits::default(), &progress, answer, |answer| {
            taken.push(answer);
            anyhow::ensure!(taken.len() < most, "enough");
            Ok(())
        });
        (taken, result)
    }

    #[test]
    fn answers_come_in_the_order_of_the_events() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.jsonl"), dir.path().join("two.jsonl"));
        std::fs::write(&one, (0..1000).map(event).collect::<String>()).unwrap();
        std::fs::write(&two, format!("no event\n{}", (1000..1500).map(event).collect::<String>())).unwrap();
        let (taken, result) = answered(&[one, two.clone()], usize::MAX);
        result.unwrap();
        let mut expected: Vec<String> = (0..1500).map(|n| format!("F.{n}")).collect();
        expected.insert(1000, format!("{}:1", two.display()));
        assert_eq!(taken, expected);
    }

    #[test]
    fn what_came_before_a_file_that_cannot_be_read_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("one.jsonl");
        std::fs::write(&one, (0..3).map(event).collect::<String>()).unwrap();
        // There, but nothing that can be read from its beginning.
        let (taken, result) = answered(&[one.clone(), PathBuf::from("/proc/self/mem")], usize::MAX);
        assert_eq!(taken, ["F.0", "F.1", "F.2"]);
        assert!(result.unwrap_err().to_string().contains("/proc/self/mem"));
        let (taken, result) = answered(&[one, dir.path().join("none")], usize::MAX);
        assert!(taken.is_empty() && result.unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn it_ends_when_nobody_takes_answers_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("one.jsonl");
        std::fs::write(&one, (0..20_000).map(event).collect::<String>()).unwrap();
        let (taken, result) = answered(&[one], 100);
        assert_eq!((taken.len(), result.unwrap_err().to_string().as_str()), (100, "enough"));
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
}
