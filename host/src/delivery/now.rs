//! One mail right now, past the outbox, and told step by step: what `send-test` does.

use std::sync::Arc;

use jiff::Timestamp;

use super::classify::{Class, Phase, classify};
use super::connect::{Dial, OpenError, Opener, Step, Watch};
use super::mailbox;
use super::reply::Reply;
use super::session::{Begun, BodyError, Content, Envelope, Fault};
use super::wire::{self, WireError};
use crate::blob::sync_folder;
use crate::config::{SmtpConfig, Transport};
use crate::mail::{NewMail, Segment};

/// Why the mail did not go.
#[derive(Debug, thiserror::Error)]
pub enum NowError {
    /// No session.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server refused it.
    #[error("{phase}: the server answered {reply}")]
    Refused {
        /// What was refused.
        phase: Phase,
        /// The server's words.
        reply: Reply,
    },
    /// The server does not offer what this mail needs.
    #[error("{0}")]
    Unfit(String),
    /// The connection ended in the middle.
    #[error(transparent)]
    Lost(#[from] Fault),
    /// The mail cannot be read, is not clean, or cannot be written.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl NowError {
    /// Where it ended; `None`: on our side.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::Open(error) => Some(error.phase()),
            Self::Refused { phase, .. } => Some(*phase),
            Self::Lost(fault) => Some(fault.phase),
            Self::Unfit(_) => Some(Phase::Mail),
            Self::Wire(_) => None,
        }
    }

    /// The server's words, if it said any.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        use super::session::{Cause, SetupError};
        match self {
            Self::Refused { reply, .. } | Self::Open(OpenError::Setup(SetupError::Refused { reply, .. })) => {
                Some(reply)
            }
            Self::Open(OpenError::Setup(SetupError::Fault(fault))) | Self::Lost(fault) => match &fault.cause {
                Cause::Closing(reply) | Cause::Unexpected(reply) => Some(reply),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Sends a mail without attachments to its first recipient, and answers with the last word: the server's, or the name
/// of the file.
///
/// # Errors
/// When the mail did not go.
pub async fn send_now(transport: &Transport, mail: &NewMail, watch: Watch<'_>) -> Result<String, NowError> {
    match transport {
        Transport::Smtp(config) => {
            send(Opener::new(Arc::new(SmtpConfig::clone(config)), super::connect::Tcp), mail, watch).await
        }
        Transport::Mailbox(folder) => {
            let name = mailbox::file_name(Timestamp::now(), &mail.message_id);
            mailbox::write_mail(folder, &name, bytes(mail).as_slice())?;
            sync_folder(folder).map_err(WireError::from)?;
            Ok(folder.join(name).display().to_string())
        }
    }
}

fn bytes(mail: &NewMail) -> Vec<u8> {
    let mut bytes = [mail.head.as_slice(), b"\r\n"].concat();
    for segment in mail.body.iter() {
        if let Segment::Bytes(part) = segment {
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

pub(super) async fn send<D: Dial>(opener: Opener<D>, mail: &NewMail, watch: Watch<'_>) -> Result<String, NowError> {
    let checked = wire::check(bytes(mail).as_slice())?;
    let Some(whole) = checked.whole else { return Err(NowError::Unfit("the mail is too large for a test".to_owned())) };
    let session = opener.open(watch).await?;
    let recipient = mail.recipients.first().map_or("", String::as_str);
    let planned = Envelope::plan(session.capabilities(), &checked.shape, &mail.sender, &[recipient]);
    let Some(envelope) = planned.envelope else {
        session.quit().await;
        let reason = planned.recipients.into_iter().find_map(Result::err);
        return Err(NowError::Unfit(reason.unwrap_or_default()));
    };
    let (begun, answers) = session.begin(&envelope).await?;
    let asked = [
        (Phase::Mail, Some(&answers.mail)),
        (Phase::Rcpt, answers.recipients.first()),
        (Phase::Data, answers.data.as_ref()),
    ];
    for (phase, reply) in asked {
        let Some(reply) = reply else { continue };
        watch(Step::Answered(phase, reply));
        if classify(phase, reply) != Class::Accepted {
            if let Begun::Closed(Some(session)) = begun {
                session.quit().await;
            }
            return Err(NowError::Refused { phase, reply: reply.clone() });
        }
    }
    let Begun::Open(session) = begun else { return Err(NowError::Unfit("the server took nobody".to_owned())) };
    let session = session.body(Content::Whole(whole)).await.map_err(|error| match error {
        BodyError::Fault(fault) => NowError::Lost(fault),
        BodyError::Refused(reply) => NowError::Refused { phase: Phase::Body, reply },
        BodyError::Wire(error) => error.into(),
    })?;
    let (session, reply) = session.dot().await.answer().await?;
    if let Some(session) = session {
        session.quit().await;
    }
    match classify(Phase::Final, &reply) {
        Class::Accepted => Ok(reply.to_string()),
        _ => Err(NowError::Refused { phase: Phase::Final, reply }),
    }
}
