//! The events of a command: from files and standard input, or those that an outbox keeps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::progress::Progress;
use super::{UsageError, events, output};
use crate::config::units;
use crate::event::FlowCompletion;
use crate::event::line::LineLimits;
use crate::facts::RowReader;
use crate::outbox::look::{Mark, Reader, StoredEvent};
use crate::text::{Visible, one_line};

/// Which events.
#[derive(Debug, Clone, Default, Args)]
pub struct Source {
    /// The events that the outbox keeps (without their result rows), instead of files
    #[arg(long, conflicts_with = "events")]
    pub stored: bool,
    /// Of the events that the outbox keeps only those of this flow: a flow id, or ORG/CLIENT/FLOW as `bewit outbox list`
    /// shows it; may be given several times
    #[arg(long, value_name = "FLOW", conflicts_with = "events")]
    pub flow: Vec<String>,
    /// Of the events that the outbox keeps only those taken in since then, such as `7 d` or `12h`
    #[arg(long, value_name = "DURATION", value_parser = since, conflicts_with_all = ["events", "flow"])]
    pub since: Option<Duration>,
    /// Files of events, one JSON object a line; `-` is standard input
    #[arg(required_unless_present_any = ["stored", "flow", "since"], value_name = "EVENTS")]
    pub events: Vec<PathBuf>,
}

fn since(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|error| format!("{}; {}", error.message, error.hint))
}

/// One event that was met.
pub(super) struct Met {
    /// Where: file and line, or which event of the outbox.
    pub(super) place: String,
    /// The event, or why there is none.
    pub(super) event: Result<FlowCompletion, String>,
    /// Reads its rows.
    pub(super) rows: RowReader,
}

impl Source {
    /// Whether the events are those of an outbox.
    pub(super) fn is_stored(&self) -> bool {
        self.stored || self.since.is_some() || !self.flow.is_empty()
    }

    /// Hands on each event, in order. Those of an outbox are read a few at a time, while a daemon may go on with it.
    ///
    /// # Errors
    /// When a file or the outbox cannot be read, a flow is not there, or `take` fails.
    pub(super) fn each(
        &self,
        outbox: &Path,
        limits: &LineLimits,
        progress: &Progress,
        mut take: impl FnMut(Met) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !self.is_stored() {
            return events::each(&self.events, limits, progress, |heard| {
                let place = heard.place();
                take(Met { place, event: heard.event.map_err(|error| error.to_string()), rows: heard.rows })
            });
        }
        let done = progress.counter();
        let mut take = |stored: StoredEvent| {
            take(met(stored, limits))?;
            done();
            anyhow::Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut reader = runtime.block_on(Reader::open(outbox))?.ok_or_else(|| {
            UsageError(format!("there is no outbox at {} yet: `bewit run` makes it", outbox.display()))
        })?;
        for flow in &self.flow {
            let found = runtime.block_on(reader.stored_named(flow))?;
            if found.is_empty() {
                let flow = one_line(flow);
                anyhow::bail!("there is no event {flow} in the outbox: it never came, or is older than `retention`");
            }
            found.into_iter().try_for_each(&mut take)?;
        }
        if !self.flow.is_empty() {
            return Ok(());
        }
        let mut mark = Mark::since(self.since.and_then(|since| Timestamp::now().checked_sub(since).ok()));
        loop {
            let (some, next) = runtime.block_on(reader.stored_after(mark))?;
            if some.is_empty() {
                return Ok(());
            }
            some.into_iter().try_for_each(&mut take)?;
            mark = next;
        }
    }

    /// Says once what stored events lack, if somebody may look for it.
    pub(super) fn note_rows(&self, looked_for: bool) {
        if self.is_stored() && looked_for {
            output::note("note: the outbox keeps events without their result rows: tables and plugins see none");
        }
    }
}

/// A stored event, read as any other.
fn met(stored: StoredEvent, limits: &LineLimits) -> Met {
    let event = stored.read(limits);
    Met { place: Visible(&stored.event).to_string(), event, rows: RowReader::new(None) }
}
