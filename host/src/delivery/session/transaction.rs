//! One mail: MAIL, RCPT, DATA, its bytes, the final dot, and the answer.

use std::io;
use std::time::Duration;

use super::super::classify::{Class, Phase, classify};
use super::super::reply::Reply;
use super::super::wire::WireError;
use super::channel::{Cause, Fault};
use super::{Envelope, Idle, Session};

/// How long a server that stopped taking bytes is listened to: it may have said why.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// 354 came, and somebody is to get the mail.
#[derive(Debug)]
pub struct InTransaction {
    idle: Idle,
}

/// Everything is sent but the last block, which ends in the final dot.
#[derive(Debug)]
pub struct AtDot {
    idle: Idle,
    last: bytes::Bytes,
}

/// The final dot is sent. From here until the answer nobody knows who has the mail (RFC 1047).
#[derive(Debug)]
pub struct AwaitFinal {
    idle: Idle,
    /// The last block was not taken whole; the server's last words may still be there.
    broken: Option<Fault>,
}

/// What became of MAIL, RCPT and DATA.
#[derive(Debug)]
pub enum Begun {
    /// The mail's bytes are awaited.
    Open(Session<InTransaction>),
    /// Nobody gets this mail now. The session, if it is still in step.
    Closed(Option<Session<Idle>>),
}

/// The server's words on an envelope.
#[derive(Debug, Clone)]
pub struct Answers {
    /// To MAIL.
    pub mail: Reply,
    /// To each RCPT, in order; empty if MAIL was refused.
    pub recipients: Vec<Reply>,
    /// To DATA, if it was asked.
    pub data: Option<Reply>,
}

/// A mail's encoded bytes, the final dot at their end.
#[derive(Debug)]
pub enum Content {
    /// All of them.
    Whole(bytes::Bytes),
    /// Block by block, from a thread that reads files.
    Stream(tokio::sync::mpsc::Receiver<Result<Block, WireError>>),
}

/// A part of a mail's encoded bytes.
#[derive(Debug)]
pub struct Block {
    /// Bytes.
    pub bytes: Vec<u8>,
    /// The final dot is at their end.
    pub last: bool,
}

/// Why a mail's bytes did not get as far as the final dot. The connection is closed; the server has no mail.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The server refused in the middle.
    #[error("the server answered {0} in the middle of the mail")]
    Refused(Reply),
    /// The mail's bytes cannot be sent.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Session<Idle> {
    /// MAIL, a RCPT for each recipient, and DATA: in one write if the server offers PIPELINING, else one by one.
    ///
    /// # Errors
    /// When the connection ends, or the server answers what it was not asked.
    pub async fn begin(mut self, envelope: &Envelope<'_>) -> Result<(Begun, Answers), Fault> {
        let pipelining = self.state.capabilities.pipelining;
        let answers = if pipelining { self.ask_at_once(envelope).await? } else { self.ask_in_turn(envelope).await? };
        let served = |phase, reply: &Reply| classify(phase, reply) == Class::Accepted;
        let mail = served(Phase::Mail, &answers.mail);
        let anybody = mail && answers.recipients.iter().any(|reply| served(Phase::Rcpt, reply));
        let data = answers.data.as_ref().is_some_and(|reply| served(Phase::Data, reply));
        self.state.served += 1;
        let begun = match (mail, anybody, data) {
            (_, true, true) => {
                let Session { channel, tls, state } = self;
                Begun::Open(Session { channel, tls, state: InTransaction { idle: state } })
            }
            // No mail was begun, so there is nothing to take back.
            (false, _, false) => Begun::Closed(Some(self)),
            // The server waits for a mail of nobody: an empty one ends it (RFC 2920 section 3.1).
            (true, false, true) => Begun::Closed(self.empty().await),
            (true, _, false) => Begun::Closed(self.reset().await),
            // MAIL refused and DATA granted: no end of this can be foreseen.
            (false, _, true) => Begun::Closed(None),
        };
        Ok((begun, answers))
    }

    async fn ask_at_once(&mut self, envelope: &Envelope<'_>) -> Result<Answers, Fault> {
        let mut commands = mail(envelope);
        for recipient in &envelope.recipients {
            commands.push_str(&rcpt(recipient.as_str()));
        }
        commands.push_str("DATA\r\n");
        self.channel.write(Phase::Mail, commands.as_bytes()).await?;
        let mail = self.answer_to(Phase::Mail).await?;
        let mut recipients = Vec::with_capacity(envelope.recipients.len());
        for _ in &envelope.recipients {
            recipients.push(self.answer_to(Phase::Rcpt).await?);
        }
        let data = self.answer_to(Phase::Data).await?;
        if classify(Phase::Mail, &mail) != Class::Accepted {
            recipients.clear();
        }
        Ok(Answers { mail, recipients, data: Some(data) })
    }

    async fn ask_in_turn(&mut self, envelope: &Envelope<'_>) -> Result<Answers, Fault> {
        self.channel.write(Phase::Mail, mail(envelope).as_bytes()).await?;
        let mut answers = Answers { mail: self.answer_to(Phase::Mail).await?, recipients: Vec::new(), data: None };
        if classify(Phase::Mail, &answers.mail) != Class::Accepted {
            return Ok(answers);
        }
        let mut anybody = false;
        for recipient in &envelope.recipients {
            self.channel.write(Phase::Rcpt, rcpt(recipient.as_str()).as_bytes()).await?;
            let reply = self.answer_to(Phase::Rcpt).await?;
            anybody |= classify(Phase::Rcpt, &reply) == Class::Accepted;
            answers.recipients.push(reply);
        }
        if anybody {
            self.channel.write(Phase::Data, b"DATA\r\n").await?;
            answers.data = Some(self.answer_to(Phase::Data).await?);
        }
        Ok(answers)
    }

    /// The reply to one command of an envelope. One that answers something else means that we are out of step.
    async fn answer_to(&mut self, phase: Phase) -> Result<Reply, Fault> {
        let reply = self.channel.reply(phase).await?;
        match classify(phase, &reply) {
            Class::Protocol => Err(Fault::new(phase, Cause::Unexpected(reply))),
            _ => Ok(reply),
        }
    }

    /// Takes a begun mail back.
    async fn reset(mut self) -> Option<Self> {
        let reply = self.command(Phase::Reset, "RSET").await.ok()?;
        (classify(Phase::Reset, &reply) == Class::Accepted).then_some(self)
    }

    /// Sends the empty mail that a server without recipients waits for.
    async fn empty(mut self) -> Option<Self> {
        self.channel.write(Phase::Data, b".\r\n").await.ok()?;
        let reply = self.channel.reply(Phase::Data).await.ok()?;
        (reply.class() != 3).then_some(self)
    }
}

fn mail(envelope: &Envelope<'_>) -> String {
    format!("MAIL FROM:<{}>{}\r\n", envelope.sender.as_str(), envelope.parameters)
}

fn rcpt(recipient: &str) -> String {
    format!("RCPT TO:<{recipient}>\r\n")
}

impl Session<InTransaction> {
    /// Sends everything but the last block.
    ///
    /// # Errors
    /// When the connection ends, the server refuses, or the bytes cannot be sent.
    pub async fn body(mut self, content: Content) -> Result<Session<AtDot>, BodyError> {
        let last = match content {
            Content::Whole(bytes) => bytes,
            Content::Stream(mut blocks) => loop {
                match blocks.recv().await {
                    Some(Ok(Block { bytes, last: true })) => break bytes.into(),
                    Some(Ok(Block { bytes, last: false })) => {
                        if let Err(fault) = self.channel.write(Phase::Body, &bytes).await {
                            return Err(self.last_words(fault).await);
                        }
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()).into()),
                }
            },
        };
        let Session { channel, tls, state } = self;
        Ok(Session { channel, tls, state: AtDot { idle: state.idle, last } })
    }

    /// A server that closes in the middle of a mail may have said why.
    async fn last_words(&mut self, fault: Fault) -> BodyError {
        if matches!(fault.cause, Cause::TimedOut(_)) {
            return fault.into();
        }
        match self.channel.reply_within(Phase::Body, LAST_WORDS).await {
            Ok(reply) if reply.class() > 3 => BodyError::Refused(reply),
            Err(Fault { cause: cause @ Cause::Closing(_), .. }) => Fault::new(Phase::Body, cause).into(),
            _ => fault.into(),
        }
    }
}

impl Session<AtDot> {
    /// Sends the last block with the final dot, in one write. Whatever happens from here on, the server may have the
    /// mail: the caller must have written that down before.
    pub async fn dot(mut self) -> Session<AwaitFinal> {
        let broken = self.channel.write(Phase::Final, &self.state.last).await.err();
        let Session { channel, tls, state } = self;
        Session { channel, tls, state: AwaitFinal { idle: state.idle, broken } }
    }
}

impl Session<AwaitFinal> {
    /// The answer to the final dot, and the session, if it is still in step.
    ///
    /// # Errors
    /// When there is none: then the mail's fate is unknown, unless the cause is [`Cause::Closing`], which is a refusal.
    pub async fn answer(mut self) -> Result<(Option<Session<Idle>>, Reply), Fault> {
        if let Some(fault) = self.state.broken.take() {
            return match self.channel.reply_within(Phase::Final, LAST_WORDS).await {
                Ok(reply) if classify(Phase::Final, &reply) != Class::Protocol => Ok((None, reply)),
                Err(closing @ Fault { cause: Cause::Closing(_), .. }) => Err(closing),
                _ => Err(fault),
            };
        }
        let reply = self.channel.reply(Phase::Final).await?;
        if classify(Phase::Final, &reply) == Class::Protocol {
            return Err(Fault::new(Phase::Final, Cause::Unexpected(reply)));
        }
        let Session { channel, tls, state, .. } = self;
        Ok((Some(Session { channel, tls, state: state.idle }), reply))
    }
}
