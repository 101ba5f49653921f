//! What is asked of the writer, and what comes back.

use tokio::sync::{mpsc, oneshot};

use super::accept::Line;
use super::claim::Claim;
use super::db::{Conn, query};
use super::digest;
use super::postponed::{ReadyJudged, Settled};
use super::{Attempt, OutboxError, Position, Receipt, Wanted};
use crate::meter::Commit;

/// Rows and bytes of one transaction, about.
pub(super) const GROUP_ROWS: usize = 128;
pub(super) const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Work {
    /// Stores lines and moves a position.
    Accept { lines: Vec<Line>, position: Option<Position>, now: i64 },
    /// Claims mails that are due.
    Claim { wanted: Wanted, now: i64 },
    /// The final dot is about to be sent.
    Dot { mail: i64, epoch: i64, recipients: Vec<i64> },
    /// An attempt has ended.
    Report { mail: i64, epoch: i64, outcomes: Vec<(i64, Attempt)>, now: i64 },
    /// Claims that nobody took: back to the queue.
    Return { claims: Vec<Claim> },
    /// Claims older than this: back to the queue.
    Expire { before: i64 },
    /// A digest's mails.
    CloseDigest { digest: digest::Closing, now: i64 },
    /// A judgement that was put off.
    Settle { id: i64, attempts: u32, judged: ReadyJudged, now: i64 },
    /// A source is gone.
    Forget { source: String },
    /// A part of what retention removes.
    Sweep { cutoff: i64, known: i64 },
    /// Gives free pages back to the file system.
    Vacuum,
}

impl Work {
    /// Rows and bytes, about.
    pub(super) fn weight(&self) -> (usize, usize) {
        match self {
            Self::Accept { lines, .. } => {
                lines.iter().map(Line::weight).fold((1, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
            }
            Self::CloseDigest { digest, .. } => digest.weight(),
            Self::Settle { judged, .. } => judged.weight(),
            Self::Claim { wanted, .. } => (wanted.total(), 0),
            Self::Dot { recipients, .. } => (recipients.len(), 0),
            Self::Report { outcomes, .. } => (outcomes.len(), 0),
            Self::Return { claims } => (claims.len(), 0),
            Self::Expire { .. } | Self::Forget { .. } => (1, 0),
            Self::Sweep { .. } | Self::Vacuum => (GROUP_ROWS, GROUP_BYTES),
        }
    }

    /// As what it is measured.
    pub(super) fn kind(&self) -> Commit {
        match self {
            Self::Accept { .. } => Commit::Accept,
            Self::Claim { .. } => Commit::Claim,
            Self::Dot { .. } => Commit::Dot,
            Self::Report { .. } => Commit::Report,
            Self::Return { .. }
            | Self::Expire { .. }
            | Self::CloseDigest { .. }
            | Self::Settle { .. }
            | Self::Forget { .. }
            | Self::Sweep { .. }
            | Self::Vacuum => Commit::Other,
        }
    }

    /// Whether it may use the ballast on a full disk: what ends or shrinks something, never what is new.
    pub(super) fn may_use_ballast(&self) -> bool {
        !matches!(self, Self::Accept { .. } | Self::Settle { .. })
    }

    /// Whether it waits for space, instead of being refused. What has been handed over must be recorded; and while
    /// nothing can be recorded, nothing may be handed over.
    pub(super) fn waits_for_space(&self) -> bool {
        matches!(self, Self::Claim { .. } | Self::Report { .. } | Self::Return { .. })
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    /// [`Work::Accept`]
    Receipts(Vec<Receipt>),
    /// [`Work::Claim`]
    Claimed(Claims),
    /// [`Work::Dot`], [`Work::Report`], [`Work::CloseDigest`]: whether it was still ours.
    Ours(bool),
    /// [`Work::Settle`]
    Settled(Settled),
    /// How many rows.
    Count(u64),
}

/// Claims on their way to whoever asked. Dropped on the way (a caller that was cancelled), they go back to the queue.
#[derive(Debug)]
pub(super) struct Claims {
    list: Vec<Claim>,
    back: mpsc::WeakSender<Message>,
}

impl Claims {
    pub(super) fn new(list: Vec<Claim>, back: mpsc::WeakSender<Message>) -> Self {
        Self { list, back }
    }

    /// What was claimed.
    pub(super) fn list(&self) -> &[Claim] {
        &self.list
    }

    /// From here on the caller answers for them.
    pub(super) fn take(mut self) -> Vec<Claim> {
        std::mem::take(&mut self.list)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let claims = std::mem::take(&mut self.list);
        let Some(back) = self.back.upgrade().filter(|_| !claims.is_empty()) else { return };
        let (answer, _) = oneshot::channel();
        match back.try_send(Message::Work(Waiting { work: Work::Return { claims }, answer })) {
            Err(mpsc::error::TrySendError::Full(message)) => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        let _ = back.send(message).await;
                    });
                }
            }
            // Closed: the next start puts them back.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

/// A command and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<Done, OutboxError>>,
}

/// What comes over the channel.
#[derive(Debug)]
pub(super) enum Message {
    /// A command.
    Work(Waiting),
    /// End after what came before.
    Close(oneshot::Sender<()>),
}

/// What one transaction did, beside its answers.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Something may be due sooner than it was.
    pub(super) wakes: bool,
    /// Added to the totals at the end of the transaction.
    pub(super) tally: Tally,
}

/// What is added to the table `tally`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) events: i64,
    pub(super) events_removed: i64,
    pub(super) mails: i64,
    pub(super) mails_removed: i64,
    pub(super) recipients: i64,
    pub(super) recipients_removed: i64,
    pub(super) rejected: i64,
    pub(super) rejected_removed: i64,
    pub(super) duplicates: i64,
    pub(super) conflicts: i64,
}

impl Tally {
    pub(super) async fn store(&self, conn: &mut Conn) -> Result<(), sqlx::Error> {
        if *self == Self::default() {
            return Ok(());
        }
        query(
            "UPDATE tally SET events = events + $1, events_removed = events_removed + $2, mails = mails + $3,
               mails_removed = mails_removed + $4, recipients = recipients + $5,
               recipients_removed = recipients_removed + $6, rejected = rejected + $7,
               rejected_removed = rejected_removed + $8, duplicates = duplicates + $9, conflicts = conflicts + $10",
        )
        .bind(self.events)
        .bind(self.events_removed)
        .bind(self.mails)
        .bind(self.mails_removed)
        .bind(self.recipients)
        .bind(self.recipients_removed)
        .bind(self.rejected)
        .bind(self.rejected_removed)
        .bind(self.duplicates)
        .bind(self.conflicts)
        .execute(conn)
        .await?;
        Ok(())
    }
}
