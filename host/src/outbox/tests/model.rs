//! The outbox against a model of it in memory: any order of what callers, crashes, time and people do to it. After each
//! step every recipient stands where the model says; at the end of each run `verify` finds nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::hand::{Action, Handled, Target, act};
use super::look::{Filter, Reader};
use super::state::State;
use super::throttle::{Slot, Stamp};
use super::*;

const DAY: i64 = 86_400_000;
const RETENTION: i64 = 7 * DAY;
const GIVE_UP: i64 = 3_600_000;
const INTERVAL: Duration = Duration::from_secs(60);
const WAITS: [i64; 2] = [30_000, 120_000];

#[derive(Debug, Clone)]
enum Op {
    /// New events: which rule, how many mails, how many recipients each.
    Accept(Vec<(usize, usize, usize)>),
    /// A known event again, with the same body or another one.
    Repeat {
        which: prop::sample::Index,
        same: bool,
    },
    Claim {
        limit: usize,
    },
    Dot {
        job: prop::sample::Index,
    },
    /// What each recipient of a job (those in the mask) came to.
    Report {
        job: prop::sample::Index,
        mask: u8,
        outcomes: Vec<u8>,
    },
    Expire,
    Crash,
    Pass {
        seconds: i64,
    },
    Digest {
        all: bool,
    },
    Sweep,
    Hand {
        mail: prop::sample::Index,
        retry: bool,
    },
    /// New events that a rule has put off; some for good.
    PutOff(Vec<bool>),
    /// A judgement that is due, if one is: decided, or put off again, or for good.
    Judge {
        decided: Option<usize>,
        again: bool,
    },
    HandJudgement {
        which: prop::sample::Index,
        retry: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => prop::collection::vec((0usize..6, 1usize..3, 1usize..4), 1..5).prop_map(Op::Accept),
        1 => (index(), any::<bool>()).prop_map(|(which, same)| Op::Repeat { which, same }),
        5 => (0usize..4).prop_map(|limit| Op::Claim { limit }),
        4 => index().prop_map(|job| Op::Dot { job }),
        6 => (index(), any::<u8>(), prop::collection::vec(0u8..8, 8))
            .prop_map(|(job, mask, outcomes)| Op::Report { job, mask: mask | mask.rotate_left(3), outcomes }),
        1 => Just(Op::Expire),
        2 => Just(Op::Crash),
        4 => prop_oneof![0i64..40, 40i64..4000, Just(3 * 86_400), Just(20 * 86_400)]
            .prop_map(|seconds| Op::Pass { seconds }),
        2 => any::<bool>().prop_map(|all| Op::Digest { all }),
        1 => Just(Op::Sweep),
        2 => (index(), any::<bool>()).prop_map(|(mail, retry)| Op::Hand { mail, retry }),
        2 => prop::collection::vec(prop::bool::weighted(0.8), 1..3).prop_map(Op::PutOff),
        4 => (prop::option::of(0usize..6), prop::bool::weighted(0.8))
            .prop_map(|(decided, again)| Op::Judge { decided, again }),
        1 => (index(), any::<bool>()).prop_map(|(which, retry)| Op::HandJudgement { which, retry }),
    ]
}

#[derive(Debug, Clone)]
struct Recipient {
    state: State,
    attempts: u32,
    since: i64,
    /// When it is due, or was when it was claimed.
    due: i64,
    updated: i64,
    epoch: i64,
}

#[derive(Debug)]
struct Mail {
    id: i64,
    priority: Priority,
    recipients: Vec<Recipient>,
}

#[derive(Debug)]
struct Event {
    received: i64,
    swept: bool,
    mails: Vec<String>,
    /// Gathered: the digest it went into, if that is closed.
    gathered: Option<Option<usize>>,
}

#[derive(Debug)]
struct Judgement {
    number: u32,
    attempts: u32,
    since: i64,
    /// `None`: given up.
    due: Option<i64>,
    updated: i64,
}

struct World {
    rig: Rig,
    outbox: Outbox,
    reader: Reader,
    now: i64,
    numbers: u32,
    /// By number; gone when the key is.
    events: BTreeMap<u32, Event>,
    /// By Message-ID.
    mails: BTreeMap<String, Mail>,
    mail_ids: i64,
    stamps: BTreeMap<&'static str, Stamp>,
    /// Events that wait for the digest, in the order in which they were gathered.
    gatherings: Vec<u32>,
    /// Message-IDs of each closed digest.
    digests: Vec<Vec<String>>,
    jobs: Vec<Job>,
    judgements: BTreeMap<i64, Judgement>,
    judgement_ids: i64,
    /// Of events whose line was kept.
    digest_of: BTreeMap<u32, String>,
}

const RULES: [(&str, Throttle, Duration, Verdict); 6] = [
    ("plain", Throttle::Digest, Duration::ZERO, Verdict::Notify),
    ("slow", Throttle::Delay, INTERVAL, Verdict::Notify),
    ("rare", Throttle::Drop, INTERVAL, Verdict::Notify),
    ("digest", Throttle::Digest, INTERVAL, Verdict::Notify),
    ("silent", Throttle::Digest, INTERVAL, Verdict::Skip),
    ("broken", Throttle::Digest, INTERVAL, Verdict::Error),
];

const ADDRESSES: [&str; 3] = ["a@example.org", "b@example.org", "c@example.org"];

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

impl World {
    async fn new(hold: bool) -> Self {
        let mut rig = Rig::new();
        rig.hold = hold;
        rig.config.retention = Duration::from_millis(RETENTION as u64);
        let outbox = rig.open().await;
        let reader = Reader::open(&rig.database()).await.unwrap().unwrap();
        Self {
            rig,
            outbox,
            reader,
            now: at(0).as_millisecond(),
            numbers: 0,
            events: BTreeMap::new(),
            mails: BTreeMap::new(),
            mail_ids: 0,
            stamps: BTreeMap::new(),
            gatherings: Vec::new(),
            digests: Vec::new(),
            jobs: Vec::new(),
            judgements: BTreeMap::new(),
            judgement_ids: 0,
            digest_of: BTreeMap::new(),
        }
    }

    fn store(&mut self, name: String, priority: Priority, recipients: usize, due: i64) {
        self.mail_ids += 1;
        let fresh = Recipient { state: State::Queued, attempts: 0, since: due, due, updated: self.now, epoch: 0 };
        self.mails.insert(name, Mail { id: self.mail_ids, priority, recipients: vec![fresh; recipients] });
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Accept(specs) => self.accept(specs).await,
            Op::Repeat { which, same } => self.repeat(which, same).await,
            Op::Claim { limit } => self.claim(limit).await,
            Op::Dot { job } => self.dot(job).await,
            Op::Report { job, mask, outcomes } => self.report(job, mask, outcomes).await,
            Op::Expire => self.expire().await,
            Op::Crash => self.crash().await,
            Op::Pass { seconds } => self.now += seconds * 1000,
            Op::Digest { all } => self.digest(all).await,
            Op::Sweep => self.sweep().await,
            Op::Hand { mail, retry } => self.hand(mail, retry).await,
            Op::PutOff(again) => self.put_off(again).await,
            Op::Judge { decided, again } => self.judge(decided, again).await,
            Op::HandJudgement { which, retry } => self.hand_judgement(which, retry).await,
        }
    }

    /// The outcome of a rule, and what the model expects of it.
    fn outcome(&mut self, number: u32, rule: usize, mails: usize, recipients: usize) -> Outcome {
        let (rule, mode, interval, verdict) = RULES[rule];
        let names: Vec<_> = (0..mails).map(|index| format!("e{number}-{index}")).collect();
        let notify = verdict == Verdict::Notify;
        let all = names.iter().map(|name| mail(name, &ADDRESSES[..recipients]));
        let mut outcome = outcome(rule, verdict, if notify { all.collect() } else { vec![] });
        outcome.throttle = (mode, interval);
        outcome.priority = urgency(rule);
        outcome.gathered = Some(Gathered { view: "{}".into(), attachments: vec![] });
        if !notify {
            return outcome;
        }
        let stamp = self.stamps.entry(rule).or_default();
        let (slot, last) = super::throttle::decide(mode, interval, *stamp, time(self.now));
        stamp.last = last.or(stamp.last);
        match slot {
            Slot::Send(due) => {
                for name in names {
                    let name = format!("{name}@bewit.test");
                    self.store(name.clone(), urgency(rule), recipients, due.as_millisecond());
                    self.events.get_mut(&number).unwrap().mails.push(name);
                }
            }
            Slot::Gather(due) => {
                stamp.open.get_or_insert(due);
                self.gatherings.push(number);
                self.events.get_mut(&number).unwrap().gathered = Some(None);
            }
            Slot::Drop(_) => {}
        }
        outcome
    }

    fn new_event(&mut self) -> u32 {
        self.numbers += 1;
        let event = Event { received: self.now, swept: false, mails: vec![], gathered: None };
        self.events.insert(self.numbers, event);
        self.numbers
    }

    async fn accept(&mut self, specs: Vec<(usize, usize, usize)>) {
        let mut batch = Vec::new();
        for (rule, mails, recipients) in specs {
            let number = self.new_event();
            batch.push(event(number, vec![self.outcome(number, rule, mails, recipients)]));
        }
        let wanted = vec![Receipt::Stored; batch.len()];
        assert_eq!(self.outbox.accept(batch, None, time(self.now)).await.unwrap(), wanted);
    }

    async fn put_off(&mut self, specs: Vec<bool>) {
        let mut batch = Vec::new();
        for again in specs {
            let number = self.new_event();
            self.judgement_ids += 1;
            // When exactly is the jitter's; `compare` takes it over.
            let due = again.then_some(self.now);
            let judgement = Judgement { number, attempts: 1, since: self.now, due, updated: self.now };
            self.judgements.insert(self.judgement_ids, judgement);
            let accepted = held(number, vec![], vec![], vec![put_off("held", again)]);
            if let Content::Event { digest, .. } = &accepted.content {
                self.digest_of.insert(number, digest.clone());
            }
            batch.push(accepted);
        }
        self.outbox.accept(batch, None, time(self.now)).await.unwrap();
    }

    async fn judge(&mut self, decided: Option<usize>, again: bool) {
        let now = self.now;
        let due = |(id, judgement): (&i64, &Judgement)| Some((judgement.due.filter(|due| *due <= now)?, *id));
        let wanted = self.judgements.iter().filter_map(due).min();
        let job = self.outbox.due_judgement(time(now)).await.unwrap();
        assert_eq!(job.as_ref().map(|job| job.id), wanted.map(|(_, id)| id));
        let Some(job) = job else { return };
        let number = self.judgements[&job.id].number;
        assert_eq!((job.line, job.event), (format!("line {number}").into_bytes(), key(number).to_string()));
        let job = PostponedJob { line: vec![], event: String::new(), ..job };
        let (judged, wanted) = match decided {
            Some(rule) => {
                self.judgements.remove(&job.id);
                (Judged::Decided(Box::new(self.outcome(number, rule, 1, 2))), Settled::Decided)
            }
            None => {
                let judgement = self.judgements.get_mut(&job.id).unwrap();
                judgement.attempts += 1;
                judgement.updated = now;
                let ends = !again || judgement.attempts >= ATTEMPTS || now - judgement.since >= GIVE_UP;
                judgement.due = (!ends).then_some(now);
                (Judged::PutOff(put_off("held", again)), if ends { Settled::GivenUp } else { Settled::Waits })
            }
        };
        assert_eq!(self.outbox.settle(&job, judged.clone(), time(now)).await.unwrap(), wanted);
        assert_eq!(self.outbox.settle(&job, judged, time(now)).await.unwrap(), Settled::Gone);
    }

    async fn hand_judgement(&mut self, which: prop::sample::Index, retry: bool) {
        if self.judgements.is_empty() {
            return;
        }
        let id = *which.get(&self.judgements.keys().copied().collect::<Vec<_>>());
        let judgement = self.judgements.get_mut(&id).unwrap();
        let action = if retry { Action::Retry } else { Action::Cancel };
        let wanted = retry || judgement.due.is_some();
        if retry {
            let now = self.now;
            *judgement = Judgement { attempts: 0, since: now, due: Some(now), updated: now, ..*judgement };
        } else if wanted {
            self.judgements.remove(&id);
        }
        let targets = [Target::Postponed(id)];
        let handled = act(&self.rig.database(), action, &targets, time(self.now)).await.unwrap().unwrap();
        assert_eq!(matches!(handled[..], [Handled::Done(_)]), wanted, "{handled:?}");
    }

    async fn repeat(&mut self, which: prop::sample::Index, same: bool) {
        if self.events.is_empty() {
            return;
        }
        let number = *which.get(&self.events.keys().copied().collect::<Vec<_>>());
        let mut again = simple(number, &["x@example.org"]);
        if let (Content::Event { digest, .. }, Some(known)) = (&mut again.content, self.digest_of.get(&number)) {
            digest.clone_from(known);
        }
        if let (Content::Event { digest, .. }, false) = (&mut again.content, same) {
            digest.push_str(" changed");
        }
        let wanted = if same { Receipt::Duplicate } else { Receipt::Conflict };
        assert_eq!(self.outbox.accept(vec![again], None, time(self.now)).await.unwrap(), [wanted]);
    }

    async fn claim(&mut self, limit: usize) {
        let now = self.now;
        let due = |recipient: &Recipient| recipient.state.is_waiting() && recipient.due <= now;
        let mut wanted: Vec<_> = self
            .mails
            .iter()
            .filter_map(|(name, mail)| {
                let first = mail.recipients.iter().filter(|recipient| due(recipient)).map(|r| r.due).min()?;
                Some((mail.priority, first, mail.id, name.clone()))
            })
            .collect();
        wanted.sort();
        let mut left = [limit; 3];
        wanted.retain(|(priority, ..)| {
            let left = &mut left[*priority as usize];
            let takes = *left > 0;
            *left = left.saturating_sub(1);
            takes
        });
        let jobs = self.outbox.claim(limit, time(now)).await.unwrap();
        let names: Vec<_> = jobs.iter().map(|job| job.message_id.clone()).collect();
        assert_eq!(names, wanted.into_iter().map(|(.., name)| name).collect::<Vec<_>>());
        for job in jobs {
            let mail = self.mails.get_mut(&job.message_id).unwrap();
            let mut addresses = Vec::new();
            for (recipient, address) in mail.recipients.iter_mut().zip(ADDRESSES) {
                if due(recipient) {
                    addresses.push((address.to_owned(), recipient.attempts));
                    *recipient =
                        Recipient { state: State::Sending, epoch: job.epoch, updated: now, ..recipient.clone() };
                }
            }
            let got: Vec<_> = job.recipients.iter().map(|r| (r.address.clone(), r.attempts)).collect();
            assert_eq!(got, addresses);
            self.jobs.push(job);
        }
    }

    /// The model's recipients of a job, while its mail is there.
    fn of<'a>(mails: &'a mut BTreeMap<String, Mail>, job: &Job, index: usize) -> Option<&'a mut Recipient> {
        let address = &job.recipients[index].address;
        let position = ADDRESSES.iter().position(|known| known == address).unwrap();
        mails.get_mut(&job.message_id).map(|mail| &mut mail.recipients[position])
    }

    async fn dot(&mut self, job: prop::sample::Index) {
        if self.jobs.is_empty() {
            return;
        }
        let job = job.get(&self.jobs).clone();
        let ids: Vec<_> = job.recipients.iter().map(|recipient| recipient.id).collect();
        let mails = &mut self.mails;
        let wanted = (0..ids.len()).all(|index| {
            Self::of(mails, &job, index).is_some_and(|r| r.epoch == job.epoch && r.state == State::Sending)
        });
        assert_eq!(self.outbox.in_data(&job, &ids).await.unwrap(), wanted);
        if wanted {
            for index in 0..ids.len() {
                Self::of(mails, &job, index).unwrap().state = State::InData;
            }
        }
    }

    async fn report(&mut self, job: prop::sample::Index, mask: u8, outcomes: Vec<u8>) {
        if self.jobs.is_empty() {
            return;
        }
        let job = job.get(&self.jobs).clone();
        let chosen: Vec<_> = (0..job.recipients.len()).filter(|index| mask & (1 << index) != 0).collect();
        let attempts: Vec<_> = chosen
            .iter()
            .map(|&index| {
                let attempt = match outcomes[index] {
                    0 | 1 => Attempt::Delivered("250 ok".into()),
                    2 | 3 => Attempt::Deferred("451 later".into()),
                    4 => Attempt::Failed("550 no".into()),
                    5 => Attempt::Held("lost".into()),
                    _ if index % 2 == 0 => Attempt::Waits(time(self.now + 10_000), "its turn comes".into()),
                    _ => Attempt::Released(time(self.now + 10_000)),
                };
                (job.recipients[index].id, attempt)
            })
            .collect();
        let now = self.now;
        let mails = &mut self.mails;
        let wanted = chosen
            .iter()
            .all(|&index| Self::of(mails, &job, index).is_some_and(|r| r.epoch == job.epoch && r.state.is_claimed()));
        assert_eq!(self.outbox.report(&job, &attempts, time(now)).await.unwrap(), wanted, "{attempts:?}");
        if !wanted {
            return;
        }
        for (&index, (_, attempt)) in chosen.iter().zip(&attempts) {
            let recipient = Self::of(mails, &job, index).unwrap();
            recipient.updated = now;
            recipient.attempts += u32::from(!matches!(attempt, Attempt::Released(_) | Attempt::Waits(..)));
            recipient.state = match attempt {
                Attempt::Delivered(_) => State::Delivered,
                Attempt::Failed(_) => State::Failed,
                Attempt::Held(_) => State::Held,
                Attempt::Deferred(_) if now - recipient.since >= GIVE_UP => State::Failed,
                // When exactly is the jitter's; `compare` takes it over.
                Attempt::Deferred(_) => State::Deferred,
                Attempt::Released(due) | Attempt::Waits(due, _) => {
                    recipient.due = due.as_millisecond();
                    State::Queued
                }
            };
        }
    }

    async fn expire(&mut self) {
        let before = self.now - 60_000;
        let mut wanted = 0;
        for recipient in self.mails.values_mut().flat_map(|mail| &mut mail.recipients) {
            if recipient.state == State::Sending && recipient.updated < before {
                recipient.state = State::Queued;
                recipient.due = recipient.updated;
                wanted += 1;
            }
        }
        assert_eq!(self.outbox.expire_claims(time(before)).await.unwrap(), wanted);
    }

    async fn crash(&mut self) {
        self.outbox.clone().close().await;
        self.outbox = self.rig.open().await;
        self.reader = Reader::open(&self.rig.database()).await.unwrap().unwrap();
        let hold = self.rig.hold;
        for recipient in self.mails.values_mut().flat_map(|mail| &mut mail.recipients) {
            if recipient.state.is_claimed() {
                let dotted = recipient.state == State::InData;
                recipient.attempts += u32::from(dotted);
                recipient.state = if dotted && hold { State::Held } else { State::Queued };
                recipient.due = recipient.updated;
            }
        }
    }

    async fn digest(&mut self, all: bool) {
        let open = self.gatherings.clone();
        let due = self.stamps.get("digest").and_then(|stamp| stamp.open);
        let jobs = self.outbox.due_digests(time(self.now), all).await.unwrap();
        if open.is_empty() || !(all || due.is_some_and(|due| due.as_millisecond() <= self.now)) {
            assert!(jobs.is_empty(), "{jobs:?}");
            return;
        }
        let [job] = &jobs[..] else { panic!("{jobs:?}") };
        let events: Vec<_> = job.items.iter().map(|item| item.event.clone()).collect();
        assert_eq!(events, open.iter().map(|number| key(*number).to_string()).collect::<Vec<_>>());
        let items: Vec<_> = job.items.iter().map(|item| item.id).collect();
        // A digest of one sends its own mails.
        let mails = match &job.items[..] {
            [item] => item.mails.clone(),
            _ => vec![mail(&format!("digest-{}", self.digests.len()), &ADDRESSES[..2])],
        };
        self.outbox.close_digest("digest", &items, mails.clone(), time(self.now)).await.unwrap();
        for mail in &mails {
            self.store(mail.message_id.clone(), urgency("digest"), mail.recipients.len(), self.now);
        }
        for number in open {
            self.events.get_mut(&number).unwrap().gathered = Some(Some(self.digests.len()));
        }
        self.gatherings.clear();
        self.digests.push(mails.into_iter().map(|mail| mail.message_id).collect());
        self.stamps.insert("digest", Stamp { last: Some(time(self.now)), open: None });
    }

    async fn sweep(&mut self) {
        let cutoff = self.now - RETENTION;
        let ended = |mails: &[String]| {
            let all = mails.iter().flat_map(|name| &self.mails[name].recipients);
            all.into_iter().all(|recipient| recipient.state.is_end() && recipient.updated < cutoff)
        };
        let gone: Vec<u32> = self
            .events
            .iter()
            .filter(|(number, event)| {
                let gathered = match event.gathered {
                    None => true,
                    Some(None) => false,
                    Some(Some(digest)) => ended(&self.digests[digest]),
                };
                let judged = |judgement: &Judgement| judgement.due.is_none() && judgement.updated < cutoff;
                let mut judgements = self.judgements.values().filter(|judgement| judgement.number == **number);
                let judged = judgements.all(judged);
                !event.swept && event.received < cutoff && ended(&event.mails) && gathered && judged
            })
            .map(|(number, _)| *number)
            .collect();
        let old: Vec<u32> = self
            .events
            .iter()
            .filter(|(number, event)| event.received < self.now - 30 * DAY && (event.swept || gone.contains(number)))
            .map(|(number, _)| *number)
            .collect();
        let removed = self.outbox.sweep(time(self.now)).await.unwrap();
        assert_eq!(removed, (gone.len() + old.len()) as u64, "{gone:?} {old:?}");
        for number in gone {
            let event = self.events.get_mut(&number).unwrap();
            event.swept = true;
            self.judgements.retain(|_, judgement| judgement.number != number);
            for name in std::mem::take(&mut event.mails) {
                self.mails.remove(&name);
            }
            if let Some(Some(digest)) = event.gathered.take() {
                let used = self.events.values().any(|event| event.gathered == Some(Some(digest)));
                if !used {
                    for name in &self.digests[digest] {
                        self.mails.remove(name);
                    }
                }
            }
        }
        for number in old {
            self.events.remove(&number);
        }
    }

    async fn hand(&mut self, which: prop::sample::Index, retry: bool) {
        if self.mails.is_empty() {
            return;
        }
        let names: Vec<_> = self.mails.keys().cloned().collect();
        let mail = self.mails.get_mut(which.get(&names)).unwrap();
        let now = self.now;
        let (action, from): (_, &[State]) = if retry {
            (Action::Retry, &[State::Failed, State::Held, State::Deferred])
        } else {
            (Action::Cancel, &[State::Queued, State::Held, State::Deferred])
        };
        let mut wanted = Vec::new();
        for (recipient, address) in mail.recipients.iter_mut().zip(ADDRESSES) {
            if !from.contains(&recipient.state) {
                continue;
            }
            wanted.push(address.to_owned());
            recipient.updated = now;
            if retry {
                *recipient = Recipient { state: State::Queued, attempts: 0, since: now, due: now, ..recipient.clone() };
            } else {
                recipient.state = State::Cancelled;
            }
        }
        let target = Target::Mail { mail: mail.id, position: None };
        let handled = act(&self.rig.database(), action, &[target], time(now)).await.unwrap().unwrap();
        match &handled[..] {
            [Handled::Done(addresses)] => assert_eq!(*addresses, wanted),
            [Handled::Refused(_)] => assert!(wanted.is_empty(), "{handled:?} instead of {wanted:?}"),
            _ => panic!("{handled:?}"),
        }
    }

    async fn compare_judgements(&mut self, after: &str) {
        let mut rows = Vec::new();
        let each = |line| -> Result<(), OutboxError> {
            rows.push(line);
            Ok(())
        };
        self.reader.postponed((true, true), None, each).await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, self.judgements.keys().copied().collect::<Vec<_>>(), "after {after}");
        for (row, judgement) in rows.iter().zip(self.judgements.values_mut()) {
            assert_eq!((row.attempts, &row.event), (judgement.attempts, &key(judgement.number).to_string()));
            let next = row.next.map(Timestamp::as_millisecond);
            assert_eq!(next.is_some(), judgement.due.is_some(), "p{} after {after}", row.id);
            if judgement.updated == self.now && judgement.due == Some(self.now) && row.attempts > 0 {
                let wait = WAITS[usize::try_from(row.attempts).unwrap().clamp(1, 2) - 1];
                let off = next.unwrap() - self.now;
                assert!(off >= wait * 8 / 10 - 1 && off <= wait * 12 / 10, "{off} after {after}");
                judgement.due = next;
            }
            assert_eq!(next, judgement.due, "p{} after {after}", row.id);
        }
    }

    /// Every recipient stands where the model says.
    async fn compare(&mut self, after: &str) {
        let mut rows = Vec::new();
        let each = |line| -> Result<(), OutboxError> {
            rows.push(line);
            Ok(())
        };
        self.reader.list(&Filter::default(), each).await.unwrap();
        self.compare_judgements(after).await;
        let count: usize = self.mails.values().map(|mail| mail.recipients.len()).sum();
        assert_eq!(rows.len(), count, "after {after}");
        let now = self.now;
        for row in rows {
            let mail =
                self.mails.get_mut(&row.message_id).unwrap_or_else(|| panic!("{} after {after}", row.message_id));
            assert_eq!(row.mail, mail.id, "after {after}");
            let recipient = &mut mail.recipients[usize::try_from(row.position).unwrap() - 1];
            assert_eq!(
                (row.state, row.attempts),
                (recipient.state, recipient.attempts),
                "{} after {after}",
                row.message_id
            );
            match row.next.map(Timestamp::as_millisecond) {
                Some(next) if row.state == State::Deferred && recipient.updated == now => {
                    let wait = WAITS[usize::try_from(row.attempts).unwrap().clamp(1, 2) - 1];
                    let off = next - now;
                    // A stored time is cut to the millisecond.
                    assert!(off >= wait * 8 / 10 - 1 && off <= wait * 12 / 10, "{off} after {after}");
                    recipient.due = next;
                }
                Some(next) => assert_eq!(next, recipient.due, "{} after {after}", row.message_id),
                None => assert!(!row.state.is_waiting()),
            }
        }
    }
}

fn cases() -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 24;
    }
    config
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn the_outbox_is_its_model(hold in any::<bool>(), ops in prop::collection::vec(op(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(hold).await;
            for op in ops {
                let what = format!("{op:?}");
                world.step(op).await;
                world.compare(&what).await;
            }
            let waiting = world.mails.values().flat_map(|mail| &mail.recipients);
            let first = waiting.filter(|recipient| recipient.state.is_waiting()).map(|recipient| recipient.due).min();
            let open = world.stamps.get("digest").and_then(|stamp| stamp.open).map(Timestamp::as_millisecond);
            let due = world.outbox.next_due().await.unwrap().map(Timestamp::as_millisecond);
            assert_eq!(due, first.into_iter().chain(open).min());
            let report = sound(&world.rig).await;
            let unswept = world.events.values().filter(|event| !event.swept).count();
            assert_eq!(report.sums.accepted, i64::try_from(unswept).unwrap());
            world.outbox.close().await;
            sound(&world.rig).await;
        });
    }
}
