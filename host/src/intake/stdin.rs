//! Standard input.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::lines::{BLOCK, Found, Splitter};
use super::{Accept, BATCH_BYTES, BATCH_LINES, Batch, Counts, Fate, Mode};
use crate::event::line::LineLimits;
use crate::outbox::OutboxError;

/// Between attempts when there is no room.
const PAUSE: Duration = Duration::from_secs(2);

/// Bad lines that are named in the log; the others are only counted.
const NAMED: u64 = 100;

/// Why the intake ended before the input did.
#[derive(Debug, thiserror::Error)]
pub enum StdinError {
    /// The input cannot be read.
    #[error("standard input: {0}")]
    Read(#[from] io::Error),
    /// The outbox refuses; with [`Mode::Once`] also for want of space.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// Takes in the lines of standard input. Lines are stored as they come, not only at the end; those that are no events
/// are named in the log and recorded. `folder` is where `{"file": …}` results lie, if anywhere.
///
/// # Errors
/// [`StdinError`]; what was counted until then is stored.
pub async fn run(
    limits: &LineLimits,
    accept: Arc<dyn Accept>,
    folder: Option<Arc<Path>>,
    mode: Mode,
) -> Result<Counts, StdinError> {
    read(io::stdin(), limits, accept, folder, mode).await
}

/// The same, of any reader.
///
/// # Errors
/// [`StdinError`]
pub async fn read(
    reader: impl Read + Send + 'static,
    limits: &LineLimits,
    accept: Arc<dyn Accept>,
    folder: Option<Arc<Path>>,
    mode: Mode,
) -> Result<Counts, StdinError> {
    let mut blocks = blocks(reader);
    let mut splitter = Splitter::new(limits.line);
    let mut taker = Taker { accept, folder, mode, counts: Counts::default() };
    loop {
        let block = tokio::select! {
            block = blocks.recv() => block,
            () = taker.mode.stopped() => break,
        };
        let mut found = Vec::new();
        match block {
            Some(Ok(block)) => splitter.push(&block, &mut found),
            Some(Err(error)) => return Err(error.into()),
            None => {
                found.extend(splitter.finish());
                taker.take(found).await?;
                break;
            }
        }
        // What has come is stored before more is waited for: the writer may be slow.
        if !taker.take(found).await? {
            break;
        }
    }
    if taker.counts.rejected > NAMED {
        tracing::warn!(lines = taker.counts.rejected, "lines of standard input that are no events, in all");
    }
    Ok(taker.counts)
}

/// Reads in a thread of its own: nobody can interrupt a read, and a runtime would wait for its end.
fn blocks(mut reader: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (send, blocks) = mpsc::channel(4);
    let failed = send.clone();
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut block = vec![0; BLOCK];
        loop {
            let read = match reader.read(&mut block) {
                Ok(0) => break,
                Ok(read) => Ok(block.get(..read).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            if read.is_err() | send.blocking_send(read).is_err() {
                break;
            }
        }
    });
    if let Err(error) = thread {
        let _ = failed.try_send(Err(error));
    }
    blocks
}

struct Taker {
    accept: Arc<dyn Accept>,
    folder: Option<Arc<Path>>,
    mode: Mode,
    counts: Counts,
}

impl Taker {
    /// False: it was stopped while it waited for space.
    async fn take(&mut self, found: Vec<Found>) -> Result<bool, OutboxError> {
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            let mut bytes = 0;
            let (mut numbers, mut lines) = (Vec::new(), Vec::new());
            while lines.len() < BATCH_LINES && bytes < BATCH_BYTES {
                let Some(found) = found.next() else { break };
                bytes += found.line.content.as_ref().map_or(0, Vec::len);
                numbers.push(found.number);
                lines.push(found.line);
            }
            let batch =
                Batch { source: "stdin".to_owned(), folder: self.folder.clone(), lines, position: None, keyed: false };
            let Some(fates) = self.store(batch).await? else { return Ok(false) };
            for (number, fate) in numbers.into_iter().zip(fates) {
                self.counts.count(&fate);
                if let Fate::Rejected(reason) = fate
                    && self.counts.rejected <= NAMED
                {
                    tracing::warn!(line = number, ?reason, "a line of standard input is no event");
                }
            }
        }
        Ok(true)
    }

    async fn store(&self, batch: Batch) -> Result<Option<Vec<Fate>>, OutboxError> {
        let mut told = false;
        loop {
            let error = match self.accept.accept(batch.clone()).await {
                Err(error @ OutboxError::Full { .. }) if matches!(self.mode, Mode::Watch(_)) => error,
                result => return result.map(Some),
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, "standard input waits for space");
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.mode.stopped() => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::sync::watch;

    use super::*;
    use crate::intake::fake::{Fake, event};

    async fn all(input: impl Into<Vec<u8>>, fake: &Arc<Fake>) -> Result<Counts, StdinError> {
        let accept = Arc::clone(fake);
        read(io::Cursor::new(input.into()), &LineLimits::default(), accept, None, Mode::Once).await
    }

    #[tokio::test]
    async fn lines_are_stored_and_bad_ones_counted() {
        let fake = Arc::<Fake>::default();
        let input: String = (0..1000).map(|number| event(&format!("F.{number}")) + "\r\n").collect();
        let counts = all(format!("{input}bad\n\n{}\n{}", event("F.7"), event("F.last")), &fake).await.unwrap();
        assert_eq!(counts, Counts { accepted: 1001, duplicates: 1, conflicts: 0, rejected: 1 });
        assert_eq!(fake.store().rejected[0].1, input.len() as u64);
        assert!(fake.batches() >= 4);
        assert_eq!(all("", &fake).await.unwrap(), Counts::default());
    }

    #[tokio::test]
    async fn a_line_is_stored_before_the_next_one_comes() {
        let fake = Arc::<Fake>::default();
        let (reader, mut writer) = io::pipe().unwrap();
        let accept = Arc::clone(&fake);
        let (stop, stopped) = watch::channel(false);
        let task =
            tokio::spawn(async move { read(reader, &LineLimits::default(), accept, None, Mode::Watch(stopped)).await });
        for number in 0..3 {
            writeln!(writer, "{}", event(&format!("F.{number}"))).unwrap();
            while fake.flows().len() <= number {
                tokio::task::yield_now().await;
            }
        }
        // The writer is still there, and nobody waits for it.
        stop.send(true).unwrap();
        assert_eq!(task.await.unwrap().unwrap().accepted, 3);
    }

    #[tokio::test]
    async fn a_full_outbox_is_an_error_or_is_waited_for() {
        let fake = Arc::<Fake>::default();
        fake.set_full(true);
        let error = all(event("F.1"), &fake).await.unwrap_err();
        assert!(matches!(error, StdinError::Outbox(OutboxError::Full { .. })), "{error}");

        let (_stop, stopped) = watch::channel(false);
        let accept = Arc::clone(&fake);
        let input = io::Cursor::new(event("F.1"));
        let limits = LineLimits::default();
        let waiting = read(input, &limits, accept, None, Mode::Watch(stopped));
        let (counts, ()) = tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            fake.set_full(false);
        });
        assert_eq!(counts.unwrap().accepted, 1);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error() {
        let fake = Arc::<Fake>::default();
        let folder = std::fs::File::open("/").unwrap();
        let result = read(folder, &LineLimits::default(), Arc::<Fake>::clone(&fake), None, Mode::Once).await;
        assert!(matches!(result, Err(StdinError::Read(_))));
    }
}
