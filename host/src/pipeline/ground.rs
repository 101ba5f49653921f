//! What judging an event stands on.

use std::io;
use std::time::Instant;

use jiff::Timestamp;

use crate::blob::BlobStore;
use crate::compose::links::Root;
use crate::facts::RowReader;
use crate::facts::live::Gathered as Facts;
use crate::meter::{Decided, Meter, Step};
use crate::outbox::{Judged, OutboxError};
use crate::plugin::Ask;
use crate::rule::{Rule, Verdict};
use crate::snapshot::Snapshot;

/// What judging an event needs beside the rule and the event.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// Rules and templates in force.
    pub(crate) snapshot: &'a Snapshot,
    /// Who is asked for plugins.
    pub(crate) plugins: &'a dyn Ask,
    /// Reads the event's rows.
    pub(crate) rows: &'a RowReader,
    /// Where attachments go.
    pub(crate) blobs: &'a BlobStore,
    /// Where links lead, if the configuration does not say.
    pub(crate) links: Option<Root<'a>>,
    /// The time.
    pub(crate) now: Timestamp,
    /// Where it is measured, if it counts.
    pub(crate) meter: Option<&'a Meter>,
}

impl<'a> Ground<'a> {
    /// For events that carry all that is known of them.
    pub(crate) fn new(snapshot: &'a Snapshot, rows: &'a RowReader, blobs: &'a BlobStore, now: Timestamp) -> Self {
        Self { snapshot, plugins: &*snapshot.plugins, rows, blobs, links: None, now, meter: None }
    }

    /// The same, with what was asked for an event.
    pub(crate) fn with(self, facts: &'a Facts) -> Self {
        Self { rows: &facts.rows, links: facts.links.as_deref().map(Root::from), ..self }
    }
}

impl Ground<'_> {
    /// Makes a step and measures it.
    pub(super) fn step<T>(&self, step: Step, work: impl FnOnce() -> T) -> T {
        let Some(meter) = self.meter else { return work() };
        let begun = Instant::now();
        let done = work();
        meter.step(step, begun.elapsed());
        done
    }

    /// Counts what a rule has made of an event.
    pub(super) fn count(&self, rule: &Rule, judged: &Judged) {
        let Some(meter) = self.meter else { return };
        let decided = match judged {
            Judged::PutOff(_) => Decided::PutOff,
            Judged::Decided(outcome) => match outcome.decision.decision {
                Verdict::Notify => Decided::Notify,
                Verdict::Skip => Decided::Skip,
                Verdict::Error => Decided::Error,
            },
        };
        meter.decided(&rule.name, decided);
    }

    pub(super) fn refused(&self, error: io::Error) -> OutboxError {
        super::refused(error, self.blobs, self.snapshot.config.outbox.min_free)
    }
}
