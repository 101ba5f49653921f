//! Things that go wrong: which, for which queries, and when.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tonic::Code;

use super::answers::Kind;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// RST: what was on its way is lost.
    Reset,
    /// FIN without a word of TLS or HTTP/2, as when the server is killed.
    Fin,
}

/// Where in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// Before anything is sent.
    Start,
    /// After so many rows, drawn from the range for each query. The rows before it are sent.
    Rows(RangeInclusive<u64>),
    /// Inside the bytes of the message that holds the row after so many.
    InRow(RangeInclusive<u64>),
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection ends, and with it every other query on it.
    Disconnect(At, Cut),
    /// Nothing goes through the connection any more, in either direction; it stays open.
    BlackHole(At),
    /// The stream ends with status OK and without a word.
    End(At),
    /// The stream ends with status OK, after a line of the log.
    Log(At, String),
    /// The stream ends with a status.
    Status(At, Code, String),
    /// Each row waits.
    Slow(Duration),
    /// Each row is sent twice.
    Duplicate,
    /// Rows are held back and swapped with the next one.
    Swap,
    /// Each row gets a column `_Padding` of so many bytes.
    Pad(usize),
}

/// For which queries a fault is.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// The next so many.
    Next(usize),
    /// Each.
    Always,
    /// Each nth.
    Every(usize),
    /// With a probability, by a seed.
    Chance(f64, u64),
}

/// A fault that is in force, until it is lifted or used up.
#[derive(Debug, Clone)]
pub struct InForce(Arc<Scripted>);

#[derive(Debug)]
struct Scripted {
    kind: Option<Kind>,
    when: When,
    fault: Fault,
    lifted: AtomicBool,
    seen: AtomicUsize,
    hits: AtomicUsize,
    random: Mutex<Random>,
}

impl InForce {
    /// How many queries it has hit.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// No more of it.
    pub fn lift(&self) {
        self.0.lifted.store(true, Ordering::SeqCst);
    }
}

/// All faults.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<InForce>>);

impl Faults {
    pub(super) fn add(&self, kind: Option<Kind>, when: When, fault: Fault) -> InForce {
        let seed = if let When::Chance(_, seed) = when { seed } else { 1 };
        let scripted = Scripted {
            kind,
            when,
            fault,
            lifted: AtomicBool::new(false),
            seen: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
            random: Mutex::new(Random(seed)),
        };
        let in_force = InForce(Arc::new(scripted));
        self.0.lock().unwrap().push(in_force.clone());
        in_force
    }

    pub(super) fn lift_all(&self) {
        self.0.lock().unwrap().drain(..).for_each(|fault| fault.lift());
    }

    /// What hits a query, drawn.
    pub(super) fn draw(&self, kind: Kind) -> Vec<Drawn> {
        let all = self.0.lock().unwrap();
        all.iter().filter_map(|in_force| in_force.draw(kind)).collect()
    }
}

/// A fault for one query: after how many rows, and whether inside the next.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub(super) fault: Fault,
    pub(super) after: u64,
    pub(super) inside: bool,
    start: bool,
    in_force: InForce,
}

impl Drawn {
    /// Whether it comes before anything else.
    pub(super) fn at_start(&self) -> bool {
        self.start
    }

    /// Whether the query ends with it.
    pub(super) fn ends(&self) -> bool {
        !matches!(self.fault, Fault::Slow(_) | Fault::Duplicate | Fault::Swap | Fault::Pad(_))
    }

    /// It has happened.
    pub(super) fn struck(&self) {
        self.in_force.0.hits.fetch_add(1, Ordering::SeqCst);
    }
}

impl InForce {
    fn draw(&self, kind: Kind) -> Option<Drawn> {
        let this = &*self.0;
        if this.lifted.load(Ordering::SeqCst) || this.kind.is_some_and(|own| own != kind) {
            return None;
        }
        let seen = this.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let mut random = this.random.lock().unwrap();
        let hit = match this.when {
            When::Next(count) => seen <= count,
            When::Always => true,
            When::Every(n) => seen.is_multiple_of(n.max(1)),
            When::Chance(chance, _) => random.fraction() < chance,
        };
        if !hit {
            return None;
        }
        let at = match &this.fault {
            Fault::Disconnect(at, _)
            | Fault::BlackHole(at)
            | Fault::End(at)
            | Fault::Log(at, _)
            | Fault::Status(at, ..) => at.clone(),
            Fault::Slow(_) | Fault::Duplicate | Fault::Swap | Fault::Pad(_) => At::Start,
        };
        let start = at == At::Start;
        let (after, inside) = match at {
            At::Start => (0, false),
            At::Rows(range) => (random.among(&range), false),
            At::InRow(range) => (random.among(&range), true),
        };
        let drawn = Drawn { fault: this.fault.clone(), after, inside, start, in_force: self.clone() };
        if !drawn.ends() {
            drawn.struck();
        }
        Some(drawn)
    }
}

/// Numbers that are the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A fraction of one.
    pub fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of a range.
    pub fn among(&mut self, range: &RangeInclusive<u64>) -> u64 {
        range.start() + self.number() % (range.end() - range.start() + 1)
    }
}
