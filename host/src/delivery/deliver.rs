//! One mail over one session, and what became of each of its recipients.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::classify::{
    Class, Loss, Phase, classify, closes_for_limit, is_strain, is_too_large, is_too_many_recipients, loss,
};
use super::connect::Dial;
use super::queue::Queue;
use super::relay::Trouble;
use super::reply::Reply;
use super::session::{
    Answers, AtDot, Begun, Block, BodyError, Cause, Content, Envelope, Fault, Idle, MAX_RECIPIENTS, Session,
};
use super::wire::{self, BLOCK, Checked, Encoder, WireError};
use super::worker::{NoSession, Seated, Shared};
use crate::config::OnAmbiguous;
use crate::fault;
use crate::mail::Segment;
use crate::meter::Step;
use crate::outbox::{Attempt, Job, JobRecipient, OutboxError};
use crate::text::Visible;

/// How long a mail waits that could not be sent for want of disk space.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// How one transaction ended.
#[allow(clippy::large_enum_variant, reason = "there is one at a time for each lane, and it is moved once")]
enum Done {
    /// With an outcome for each recipient, but for those that belong into the next transaction.
    Outcomes { session: Option<Session<Idle>>, outcomes: Vec<(i64, Attempt)>, again: Vec<JobRecipient> },
    /// The connection was lost before the final dot.
    Lost(Fault),
    /// Another claim has overtaken ours; nothing was sent.
    Stale,
}

impl<Q: Queue, D: Dial> Shared<Q, D> {
    /// Sends one mail and reports what became of it. Answers with the session, if it can take another mail.
    pub(super) async fn deliver(
        &self,
        job: Job,
        seated: Option<Seated>,
        probe: bool,
    ) -> Result<Option<Seated>, OutboxError> {
        let job = Arc::new(job);
        let checked = match self.check(&job).await {
            Ok(checked) => checked,
            Err(error) => {
                let outcomes = job.recipients.iter().map(|to| (to.id, unsendable(&error))).collect();
                self.report(&job, outcomes, "").await?;
                return Ok(seated);
            }
        };
        // A kept session that has said something meanwhile is at its end.
        let mut seated = seated.and_then(|mut seated| seated.session.is_quiet().then_some(seated));
        let mut waiting: VecDeque<JobRecipient> = job.recipients.iter().cloned().collect();
        let mut reconnected = false;
        // The first transaction has its place in the pace already.
        let mut more = false;
        while !waiting.is_empty() {
            let Seated { session, seat } = match seated.take() {
                Some(seated) => seated,
                None => match self.connect(probe).await {
                    Ok(seated) => seated,
                    Err(none) => {
                        self.relay.give_back();
                        self.no_session(job, waiting.into(), none).await?;
                        return Ok(None);
                    }
                },
            };
            if std::mem::replace(&mut more, true) {
                self.relay.spend(Instant::now());
            }
            let reused = session.served() > 0 && !reconnected;
            let turn: Vec<JobRecipient> = waiting.drain(..waiting.len().min(MAX_RECIPIENTS)).collect();
            let (dotted, begun) = (AtomicBool::new(false), Instant::now());
            let done = tokio::select! {
                biased;
                done = self.transaction(&job, &checked, session, &turn, &dotted) => done?,
                () = self.cut_off() => self.cut(&turn, dotted.load(Ordering::Acquire)),
            };
            self.queue.meter().step(Step::Deliver, begun.elapsed());
            match done {
                Done::Outcomes { session, outcomes, again } => {
                    seated = session.map(|session| Seated { session, seat });
                    self.report(&job, outcomes, "the mail server refuses").await?;
                    again.into_iter().rev().for_each(|to| waiting.push_front(to));
                    if self.is_stopping() && !waiting.is_empty() {
                        self.no_session(job, waiting.into(), NoSession::Stopping).await?;
                        return Ok(seated);
                    }
                }
                Done::Lost(Fault { phase, cause: Cause::Closing(reply) }) if closes_for_limit(&reply, reused) => {
                    let reason = said(phase, &reply);
                    let lost = turn.iter().chain(&waiting);
                    let outcomes = lost.map(|to| (to.id, self.limited(&job, to, &reason))).collect();
                    self.report(&job, outcomes, &reason).await?;
                    return Ok(None);
                }
                Done::Lost(fault) if loss(fault.phase, reused) == Loss::Reconnect => {
                    tracing::debug!(message_id = job.message_id, %fault, "an old session had ended; once more on a new one");
                    turn.into_iter().rev().for_each(|to| waiting.push_front(to));
                    reconnected = true;
                }
                Done::Lost(fault) => {
                    let reason = fault.to_string();
                    self.relay.broke(Instant::now(), &reason);
                    let lost = turn.iter().chain(&waiting);
                    let outcomes = lost.map(|to| (to.id, Attempt::Deferred(reason.clone()))).collect();
                    self.report(&job, outcomes, "").await?;
                    return Ok(None);
                }
                Done::Stale => {
                    tracing::warn!(message_id = job.message_id, "another claim has overtaken this one; not sent");
                    return Ok(None);
                }
            }
        }
        Ok(seated)
    }

    async fn no_session(&self, job: Arc<Job>, waiting: Vec<JobRecipient>, none: NoSession) -> Result<(), OutboxError> {
        match none {
            NoSession::Down(down, tried) => self.set_back(&job, &waiting, &down, tried).await,
            NoSession::Crowded => {
                let mut job = Arc::unwrap_or_clone(job);
                job.recipients = waiting;
                self.put_back(job);
                Ok(())
            }
            NoSession::Stopping => {
                let now = self.queue.now();
                let outcomes = waiting.iter().map(|to| (to.id, Attempt::Released(now))).collect();
                self.report(&job, outcomes, "delivery stops").await
            }
        }
    }

    /// The end of the time that a stop leaves to open dialogues.
    fn cut(&self, turn: &[JobRecipient], dotted: bool) -> Done {
        let now = self.queue.now();
        let outcome = |to: &JobRecipient| {
            (to.id, if dotted { self.ambiguous("delivery had to stop") } else { Attempt::Released(now) })
        };
        Done::Outcomes { session: None, outcomes: turn.iter().map(outcome).collect(), again: Vec::new() }
    }

    fn ambiguous(&self, why: &str) -> Attempt {
        match self.config.on_ambiguous {
            OnAmbiguous::Resend => Attempt::Deferred(format!(
                "the answer to the final dot never came ({why}); the mail is sent again and may arrive twice"
            )),
            OnAmbiguous::Hold => {
                Attempt::Held(format!("the answer to the final dot never came ({why}); the mail may have arrived"))
            }
        }
    }

    async fn transaction(
        &self,
        job: &Arc<Job>,
        checked: &Checked,
        session: Session<Idle>,
        turn: &[JobRecipient],
        dotted: &AtomicBool,
    ) -> Result<Done, OutboxError> {
        let addresses: Vec<&str> = turn.iter().map(|to| to.address.as_str()).collect();
        let planned = Envelope::plan(session.capabilities(), &checked.shape, &job.sender, &addresses);
        let mut outcomes = Vec::with_capacity(turn.len());
        let mut asked = Vec::with_capacity(turn.len());
        for (to, verdict) in turn.iter().zip(planned.recipients) {
            match verdict {
                Ok(()) => asked.push(to),
                Err(reason) => outcomes.push((to.id, Attempt::Failed(reason))),
            }
        }
        let Some(envelope) = planned.envelope else {
            return Ok(Done::Outcomes { session: Some(session), outcomes, again: Vec::new() });
        };
        fault::point("before_mail");
        let (begun, answers) = match session.begin(&envelope).await {
            Ok(begun) => begun,
            Err(fault) => return Ok(Done::Lost(fault)),
        };
        let Weighed { accepted, again } = self.weigh(job, &asked, &answers, &mut outcomes);
        let session = match begun {
            Begun::Closed(session) => {
                // A dialogue in order says that the server is there; whether it wants us is another matter.
                let of_mail = classify(Phase::Mail, &answers.mail);
                if session.is_some() && !matches!(of_mail, Class::Relay | Class::Limited) {
                    self.relay.answered();
                }
                // DATA was refused, though RCPT was not.
                if let Some(reply) = &answers.data {
                    let refused = accepted.iter().map(|to| (to.id, self.outcome(job, to, Phase::Data, reply)));
                    outcomes.extend(refused);
                }
                session
            }
            Begun::Open(session) => {
                let session = match session.body(self.content(job, checked, &envelope)).await {
                    Ok(session) => session,
                    Err(BodyError::Fault(fault)) => return Ok(Done::Lost(fault)),
                    Err(BodyError::Refused(reply)) => {
                        let refused = accepted.iter().map(|to| (to.id, self.outcome(job, to, Phase::Body, &reply)));
                        outcomes.extend(refused);
                        return Ok(Done::Outcomes { session: None, outcomes, again });
                    }
                    Err(BodyError::Wire(error)) => {
                        outcomes.extend(accepted.iter().map(|to| (to.id, unsendable(&error))));
                        return Ok(Done::Outcomes { session: None, outcomes, again });
                    }
                };
                match self.hand_over(job, session, &accepted, &mut outcomes, dotted).await? {
                    Some(session) => session,
                    None => return Ok(Done::Stale),
                }
            }
        };
        Ok(Done::Outcomes { session, outcomes, again })
    }

    /// The final dot and its answer. `None`: the claim is not ours any more, nothing was sent.
    async fn hand_over(
        &self,
        job: &Job,
        session: Session<AtDot>,
        accepted: &[&JobRecipient],
        outcomes: &mut Vec<(i64, Attempt)>,
        dotted: &AtomicBool,
    ) -> Result<Option<Option<Session<Idle>>>, OutboxError> {
        let ids: Vec<i64> = accepted.iter().map(|to| to.id).collect();
        match self.queue.in_data(job, &ids).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // What cannot be remembered is not sent. Storing the outcome waits for space.
            Err(error @ OutboxError::Full { .. }) => {
                tracing::error!(message_id = %Visible(&job.message_id), %error, "not sent");
                let later = self.queue.now() + FULL_PAUSE;
                outcomes.extend(accepted.iter().map(|to| (to.id, Attempt::Released(later))));
                return Ok(Some(None));
            }
            Err(error) => return Err(error),
        }
        dotted.store(true, Ordering::Release);
        fault::point("before_dot");
        let session = session.dot().await;
        fault::point("after_dot");
        let answer = session.answer().await;
        fault::point("after_reply");
        let now = Instant::now();
        match answer {
            Ok((session, reply)) => {
                self.relay.answered();
                outcomes.extend(accepted.iter().map(|to| (to.id, self.outcome(job, to, Phase::Final, &reply))));
                Ok(Some(session))
            }
            Err(Fault { cause: Cause::Closing(reply), .. }) => {
                // It has just taken part in a dialogue: its age is not the reason.
                let reason = said(Phase::Final, &reply);
                outcomes.extend(accepted.iter().map(|to| (to.id, self.limited(job, to, &reason))));
                Ok(Some(None))
            }
            Err(fault) => {
                let why = fault.cause.to_string();
                self.relay.broke(now, &fault.to_string());
                outcomes.extend(accepted.iter().map(|to| (to.id, self.ambiguous(&why))));
                Ok(Some(None))
            }
        }
    }

    /// Sorts recipients by what the server said to the envelope: those that are to get the mail, those that belong into
    /// another transaction; the outcomes of all others.
    fn weigh<'a>(
        &self,
        job: &Job,
        asked: &[&'a JobRecipient],
        answers: &Answers,
        outcomes: &mut Vec<(i64, Attempt)>,
    ) -> Weighed<'a> {
        let mut weighed = Weighed { accepted: Vec::new(), again: Vec::new() };
        if classify(Phase::Mail, &answers.mail) != Class::Accepted {
            outcomes.extend(asked.iter().map(|to| (to.id, self.outcome(job, to, Phase::Mail, &answers.mail))));
            return weighed;
        }
        for (to, reply) in asked.iter().copied().zip(&answers.recipients) {
            if classify(Phase::Rcpt, reply) == Class::Accepted {
                weighed.accepted.push(to);
            } else if !weighed.accepted.is_empty() && is_too_many_recipients(reply) {
                weighed.again.push(to.clone());
            } else {
                outcomes.push((to.id, self.outcome(job, to, Phase::Rcpt, reply)));
            }
        }
        weighed
    }

    /// What a reply means for one recipient.
    fn outcome(&self, job: &Job, to: &JobRecipient, phase: Phase, reply: &Reply) -> Attempt {
        let now = Instant::now();
        match classify(phase, reply) {
            Class::Accepted if phase == Phase::Final => {
                self.relay.delivered(now);
                Attempt::Delivered(reply.to_string())
            }
            Class::Failed => {
                let reason = said(phase, reply);
                if phase != Phase::Rcpt && is_too_large(reply) {
                    return Attempt::Failed(format!("the mail is too large: {reason}"));
                }
                if self.relay.refused(now, &reason) {
                    return Attempt::Failed(reason);
                }
                match self.relay.down() {
                    Some(down) => self.set_back_one(job, to, &down, true),
                    None => Attempt::Deferred(reason),
                }
            }
            Class::Relay => {
                let down = self.relay.fell(now, Trouble::Refuses, &said(phase, reply));
                self.set_back_one(job, to, &down, true)
            }
            Class::Limited => self.limited(job, to, &said(phase, reply)),
            _ => {
                let reason = said(phase, reply);
                if is_strain(phase, reply) {
                    self.relay.slow(now, self.live.load(Ordering::Acquire), &reason);
                }
                Attempt::Deferred(reason)
            }
        }
    }

    /// Reads the mail once and checks it. Mails that are small and in memory are read here, others where blocking is
    /// allowed.
    async fn check(&self, job: &Arc<Job>) -> Result<Checked, WireError> {
        let files = job.body.iter().any(|segment| matches!(segment, Segment::Base64(_)));
        if !files && job.size <= BLOCK as u64 {
            return self.queue.read(job, |mail| wire::check(mail));
        }
        let (queue, job) = (self.queue.clone(), Arc::clone(job));
        tokio::task::spawn_blocking(move || queue.read(&job, |mail| wire::check(mail)))
            .await
            .unwrap_or_else(|error| Err(WireError::Io(std::io::Error::other(error))))
    }

    /// The mail's bytes for one transaction. What was not kept by the check is read and checked again, a few blocks
    /// ahead of the server.
    fn content(&self, job: &Arc<Job>, checked: &Checked, envelope: &Envelope<'_>) -> Content {
        if let Some(whole) = &checked.whole {
            return Content::Whole(whole.clone());
        }
        let (blocks, content) = mpsc::channel(2);
        let (queue, job, seven_bit) = (self.queue.clone(), Arc::clone(job), !envelope.is_eight_bit());
        tokio::task::spawn_blocking(move || {
            queue.read(&job, |source| {
                let mut encoder = Encoder::new(source, seven_bit);
                loop {
                    let mut bytes = Vec::with_capacity(BLOCK + BLOCK / 2);
                    let block = encoder.fill(&mut bytes, BLOCK).map(|last| Block { bytes, last });
                    let ended = !matches!(block, Ok(Block { last: false, .. }));
                    // Nobody waits for it any more when the connection is gone.
                    if blocks.blocking_send(block).is_err() || ended {
                        return;
                    }
                }
            });
        });
        Content::Stream(content)
    }
}

struct Weighed<'a> {
    accepted: Vec<&'a JobRecipient>,
    again: Vec<JobRecipient>,
}

fn said(phase: Phase, reply: &Reply) -> String {
    format!("{phase}: the server answered {reply}")
}

/// A mail that is no mail fails: that is our mistake, and no server's. One that cannot be read may be readable later.
fn unsendable(error: &WireError) -> Attempt {
    match error {
        WireError::Stain { .. } => {
            tracing::error!(%error, "a mail was not sent because it is not clean; please report this");
            Attempt::Failed(format!("not sent: {error}"))
        }
        WireError::Io(_) => Attempt::Deferred(error.to_string()),
    }
}
