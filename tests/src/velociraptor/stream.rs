//! How an answer goes out: in parts, with log lines between them, as `Query` of a real server does; and what the faults
//! make of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tonic::Status;

use super::answers::{Answer, Asked, Item, Watch};
use super::faults::{Drawn, Fault};
use super::flow::micros;
use super::line::{Line, Then};
use super::proto::VqlResponse;
use super::record::Records;

pub(super) type Message = Result<VqlResponse, Status>;

/// One query on its way.
pub(super) struct Run {
    pub(super) records: Arc<Records>,
    pub(super) query: usize,
    pub(super) asked: Asked,
    pub(super) max_row: usize,
    pub(super) max_wait: Duration,
    pub(super) beat: Beat,
    pub(super) faults: Vec<Drawn>,
    pub(super) line: Option<Line>,
    pub(super) sender: Sender<Message>,
}

/// How often a watch's `clock()` ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// As its query says.
    AsAsked,
    /// So often, whatever its query says.
    Every(Duration),
    /// Never.
    Never,
}

/// The query is over; there is nothing more to send.
struct Over;
type Step<T = ()> = Result<T, Over>;

impl Run {
    /// Answers.
    pub(super) async fn answer(self, answer: Result<Answer, String>) {
        let (records, query) = (Arc::clone(&self.records), self.query);
        let source = match answer {
            Ok(Answer::Items(items)) => Ok(Source::Items(items)),
            Ok(Answer::Watch(watch)) => Ok(Source::watch(watch, self.beat)),
            Err(line) => Err(line),
        };
        let mut going = Going {
            run: self,
            buffer: Vec::new(),
            part: 0,
            rows: 0,
            deadline: Instant::now(),
            held: Vec::new(),
            source: None,
        };
        // Over is no failure: whoever is over has said so.
        let _ = going.go(source).await;
        records.end(query);
    }
}

struct Going {
    run: Run,
    buffer: Vec<String>,
    part: u64,
    /// Rows that have come so far.
    rows: u64,
    deadline: Instant,
    held: Vec<String>,
    source: Option<Source>,
}

impl Going {
    async fn go(&mut self, source: Result<Source, String>) -> Step {
        self.strike(true).await?;
        self.log("Starting query execution.").await?;
        match source {
            Ok(source) => self.source = Some(source),
            Err(line) => {
                self.run.records.complain(format!("{line}: {}", self.run.asked.text));
                return self.log(&line).await;
            }
        }
        self.deadline = Instant::now() + self.run.max_wait;
        self.strike(false).await?;
        while let Some(item) = self.next().await? {
            match item {
                Item::Log(line) => {
                    if line.contains("not found") {
                        self.run.records.complain(format!("{line}: {}", self.run.asked.text));
                    }
                    self.log(&line).await?;
                }
                Item::Row(row) => self.take(row).await?,
            }
        }
        self.let_go().await?;
        self.ship().await
    }

    /// What comes next; meanwhile, parts that have waited for long go out.
    async fn next(&mut self) -> Step<Option<Item>> {
        loop {
            let waiting = !self.buffer.is_empty() || !self.held.is_empty();
            let Some(source) = &mut self.source else { return Ok(None) };
            tokio::select! {
                biased;
                () = self.run.sender.closed() => return Err(Over),
                item = source.next() => return Ok(item),
                () = sleep_until(self.deadline), if waiting => self.late().await?,
            }
        }
    }

    async fn late(&mut self) -> Step {
        self.let_go().await?;
        self.ship().await
    }

    /// What was held back goes out.
    async fn let_go(&mut self) -> Step {
        for row in std::mem::take(&mut self.held) {
            self.push(row).await?;
        }
        Ok(())
    }

    /// A row, and what the faults do to it.
    async fn take(&mut self, mut row: String) -> Step {
        let (mut twice, mut swap, mut slow) = (false, false, None);
        for drawn in &self.run.faults {
            match &drawn.fault {
                Fault::Slow(time) => slow = Some(*time),
                Fault::Duplicate => twice = true,
                Fault::Swap => swap = true,
                Fault::Pad(bytes) => {
                    let comma = if row.len() > 2 { "," } else { "" };
                    row.truncate(row.len() - 1);
                    row.push_str(&format!("{comma}\"_Padding\":\"{}\"}}", "x".repeat(*bytes)));
                }
                _ => {}
            }
        }
        if let Some(time) = slow {
            let until = Instant::now() + time;
            loop {
                tokio::select! {
                    () = self.run.sender.closed() => return Err(Over),
                    () = sleep_until(until) => break,
                    () = sleep_until(self.deadline), if !self.buffer.is_empty() => self.ship().await?,
                }
            }
        }
        let rows = vec![row; if twice { 2 } else { 1 }];
        if swap && self.held.is_empty() {
            self.held = rows;
            return Ok(());
        }
        for row in rows {
            self.push(row).await?;
        }
        self.let_go().await
    }

    /// A row into the buffer, which goes out first if it is full.
    async fn push(&mut self, row: String) -> Step {
        if self.buffer.len() >= self.run.max_row {
            self.ship().await?;
        }
        self.buffer.push(row);
        self.rows += 1;
        self.strike(false).await
    }

    /// Sends what is in the buffer, if only that it is empty.
    async fn ship(&mut self) -> Step {
        let rows = std::mem::take(&mut self.buffer);
        let mut response = String::with_capacity(rows.iter().map(|row| row.len() + 1).sum::<usize>() + 2);
        response.push('[');
        for (n, row) in rows.iter().enumerate() {
            if n > 0 {
                response.push(',');
            }
            response.push_str(row);
        }
        response.push(']');
        let (part, bytes) = (self.part, response.len());
        let name = self.run.asked.name.clone();
        self.log(&format!(
            "Time {}: {name}: Sending response part {part} {bytes} B ({} rows).",
            micros() / 1_000_000,
            rows.len()
        ))
        .await?;
        self.send(VqlResponse { response, part, timestamp: micros() as u64, ..VqlResponse::default() }).await?;
        self.run.records.sent(self.run.query, rows.len(), bytes);
        self.part += 1;
        self.deadline = Instant::now() + self.run.max_wait;
        Ok(())
    }

    async fn log(&self, line: &str) -> Step {
        let log = format!("vql: {line}");
        self.send(VqlResponse { log, timestamp: micros() as u64, ..VqlResponse::default() }).await
    }

    async fn send(&self, message: VqlResponse) -> Step {
        self.run.sender.send(Ok(message)).await.map_err(|_| Over)
    }

    /// The faults whose row this is.
    async fn strike(&mut self, start: bool) -> Step {
        let due = |drawn: &&Drawn| match drawn.at_start() {
            true => start,
            false => !start && drawn.after + u64::from(drawn.inside) == self.rows,
        };
        let ends = self.run.faults.iter().filter(|drawn| drawn.ends()).find(due);
        let Some(drawn) = ends.cloned() else { return Ok(()) };
        drawn.struck();
        let then = match &drawn.fault {
            Fault::Disconnect(_, cut) => Some(Then::Cut(*cut)),
            Fault::BlackHole(_) => Some(Then::Hole),
            _ => None,
        };
        let mark = then.and_then(|then| self.run.line.as_ref().map(|line| line.mark(then)));
        if drawn.inside
            && let (Some(mark), Some(row)) = (&mark, self.buffer.last_mut())
        {
            // The row will not arrive whole, so it may hold anything.
            let middle = row.floor_char_boundary(row.len() / 2);
            row.insert_str(middle, mark);
        }
        if !self.buffer.is_empty() {
            self.ship().await?;
        }
        // What was buffered for this query is lost.
        self.source = None;
        match drawn.fault {
            Fault::Disconnect(..) | Fault::BlackHole(_) => {
                if let Some(mark) = mark.filter(|_| !drawn.inside) {
                    self.log(&mark).await?;
                }
                self.run.sender.closed().await;
            }
            Fault::Log(_, line) => self.log(&line).await?,
            Fault::Status(_, code, text) => {
                let _ = self.run.sender.send(Err(Status::new(code, text))).await;
            }
            _ => {}
        }
        Err(Over)
    }
}

/// Where rows come from.
enum Source {
    Items(Box<dyn Iterator<Item = Item> + Send + Sync>),
    Watch(Watch, VecDeque<Item>, Option<Interval>),
}

impl Source {
    fn watch(mut watch: Watch, beat: Beat) -> Self {
        let first = std::mem::take(&mut watch.first).into();
        let period = match (beat, &watch.beat) {
            (_, None) | (Beat::Never, _) => None,
            (Beat::AsAsked, Some((_, period))) => Some(*period),
            (Beat::Every(period), _) => Some(period),
        };
        let beats = period.map(|period| {
            let mut beats = interval_at(Instant::now() + period, period);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        });
        Self::Watch(watch, first, beats)
    }

    /// The next item; loses nothing when it is dropped half-way.
    async fn next(&mut self) -> Option<Item> {
        match self {
            Self::Items(items) => items.next(),
            Self::Watch(watch, first, beats) => loop {
                if let Some(item) = first.pop_front() {
                    return Some(item);
                }
                if watch.over() {
                    return None;
                }
                let event = async {
                    match &mut watch.events {
                        Some(events) => events.recv().await,
                        None if watch.ended.is_some() => None,
                        None => std::future::pending().await,
                    }
                };
                let beat = async {
                    match beats {
                        Some(beats) => beats.tick().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    event = event => match event {
                        Some(event) => first.extend(watch.row(&event).map(Item::Row)),
                        None => {
                            watch.events = None;
                            first.extend(watch.ended.take().map(Item::Row));
                        }
                    },
                    _ = beat => first.push_back(Item::Row(watch.beat_row())),
                }
            },
        }
    }
}
