//! What an edited rule would change over all events at hand: the engine of `bewit simulate`, within the time that a
//! visitor waits for a page.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::Events;
use super::super::Studio;
use super::super::events::Samples;
use super::Records;
use crate::event;
use crate::facts::RowReader;
use crate::simulate::{Difference, Side, Simulation, Summary};

/// How long events are looked at.
const TIME: Duration = Duration::from_secs(8);

/// Differences that are listed; all are counted.
const LISTED: usize = 100;

/// What would change.
pub(super) struct WhatIf {
    /// The sums.
    pub(super) summary: Summary,
    /// The first differences.
    pub(super) differences: Vec<Difference>,
    /// Whether time ran out before all events were looked at.
    pub(super) late: bool,
    /// Whether the events are the shipped samples, because there are no others.
    pub(super) samples: bool,
}

/// A simulation with its time.
struct Run<'a> {
    simulation: Simulation<'a>,
    differences: Vec<Difference>,
    end: Instant,
}

impl Run<'_> {
    /// Judges an event; false: the time is over.
    fn event(&mut self, line: &[u8], limits: &event::line::LineLimits, rows: &RowReader) -> bool {
        match event::read(line, limits) {
            Ok(event) => {
                let differences = &mut self.differences;
                // Without bodies, nothing is written that a disk could refuse.
                let _ = self.simulation.event(&event, rows, Timestamp::now(), |difference| {
                    if differences.len() < LISTED {
                        differences.push(difference);
                    }
                    Ok::<(), std::io::Error>(())
                });
            }
            Err(_) => self.simulation.unreadable(),
        }
        Instant::now() < self.end
    }
}

/// Compares over the events of the files, the spool, what was pasted, and those that the outbox keeps, the newest first;
/// over the shipped samples if there are no others. Blocking.
pub(super) fn what_if(studio: &Studio, old: Side<'_>, new: Side<'_>) -> WhatIf {
    let limits = studio.current.load().config.limits;
    let simulation = Simulation::new(old, new, None);
    let mut run = Run { simulation, differences: Vec::new(), end: Instant::now() + TIME };
    let mut going = true;
    let groups = studio.sources.list();
    let listed = groups.into_iter().flat_map(|group| group.events).map(|(reference, _)| reference);
    for reference in listed.filter(|reference| !reference.starts_with("sample:") && !reference.starts_with("stored:")) {
        if !going {
            break;
        }
        let Ok(found) = studio.sources.get(&reference) else { continue };
        going = run.event(&found.line, &limits, &RowReader::new(found.folder));
    }
    let rows = RowReader::new(None);
    if let (true, Ok(Some(mut records))) = (going, Records::open(&studio.current)) {
        let mut before = None;
        while going {
            let Ok(some) = records.ask(|reader| reader.stored_before(before)) else { break };
            let Some(last) = some.last() else { break };
            before = Some(last.id);
            for stored in &some {
                going = match &stored.kept {
                    crate::outbox::look::Kept::Whole(text) => run.event(text.as_bytes(), &limits, &rows),
                    _ => {
                        run.simulation.unreadable();
                        going
                    }
                };
                if !going {
                    break;
                }
            }
        }
    }
    let none = run.simulation.summary();
    let samples = none.events == 0 && none.unreadable == 0;
    if samples {
        for sample in Samples.list().unwrap_or_default() {
            if let Ok(Some(found)) = Samples.get(&sample.id) {
                run.event(&found.line, &limits, &rows);
            }
        }
    }
    WhatIf { summary: run.simulation.summary(), differences: run.differences, late: !going, samples }
}
