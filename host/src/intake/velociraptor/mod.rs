//! A live Velociraptor server: flow completions as they happen, and those that were missed.
//!
//! Each org has a task and a connection of its own (`watch`). The live stream is opened **first**; once it has begun
//! (its first beat has come), what was missed is asked for beside it (`catch_up`), and once more a minute later. Rows
//! become lines (`row`) and go to the [`Accept`] in batches of what is at hand (`taking`); only after that are more
//! read, so that gRPC's flow control pushes back and the server keeps what waits in its own file. The outbox knows each
//! completion by its key (org, client, flow, time), so a row that comes twice, live and caught up at the same moment
//! even, has one decision.
//!
//! # Why nothing is lost
//!
//! The *position* of an org (source `velociraptor/ORG` in the outbox, Unix seconds of the **server's** clock) claims:
//! every completion that the server has written down before it is taken, but for a margin (`position::MARGIN`). It moves in
//! the transaction that stores what it claims, and never backwards. With `P` the position on disk when a connection
//! begins, and `S` the time of its first beat:
//!
//! 1. Until the first catch-up is complete, `P` stays. A crash or a lost connection in between finds `P` again, and
//!    everything since `P` less the margin is asked for once more: what was taken already is known by its key.
//! 2. The first catch-up asks from `P` less the margin, after the stream has begun. Complete means that the answer's last
//!    row said so; one that was cut off is asked again. So all that happened before `S` is taken, but for clients of
//!    which the server has not noted yet that it saw them (`last_seen_at` lags), and what happened between the
//!    catch-up's reading of a client and the moment when the server registered our listener, if that came late. Both lie
//!    after `S` less the margin. The position moves to `S`: a connection that is lost now asks from `S` less the margin.
//! 3. A minute after the stream began, the second catch-up asks from `S` less the margin, and closes both gaps. From then
//!    on, all that happens comes by the stream, and the position follows what was taken from it (4). The stream is one
//!    queue: as long as it lasts the server loses nothing of it, however slow we are.
//! 4. It moves to the time of a completion, since the queue is in order, within the margin; but never beyond the last
//!    beat, for the time is the event's word, and whoever may write events may write any. And it moves to a beat after
//!    which nothing came until the next one: a completion that waited in the server would have come between the two.
//! 5. A stream that ends, for whatever reason, is a failure, and all begins again with 1.
//!
//! The live stream and a catch-up run side by side and may hand over the same completion at the same moment: both are
//! composed, and the outbox's unique key lets one in. A batch whose future is dropped (stop, lost connection, an org that
//! is gone) is stored as a whole or not at all, with its position or without.
//!
//! The very first time there is no position: it becomes the first beat, as does the *floor* (source
//! `velociraptor/ORG/begun`), behind which no margin reaches, so that nothing of the past is mailed; `bewit replay` is for
//! that. The floor is written first: a crash between the two leaves a floor that counts as the position.
//!
//! What is not covered: an outage longer than keys are known (30 days at least), after which completions of the margin
//! could be mailed again; a server's clock that is set back by more than the margin while nobody watches; and, without the
//! server artifact, completions of imports for clients that were not seen lately.

mod back_off;
mod catch_up;
mod orgs;
pub mod past;
mod position;
mod row;
mod state;
mod taking;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

pub(crate) use self::back_off::BackOff;
pub use self::state::{Phase, State};
use super::{Accept, Counts, Mode};
use crate::config::{Orgs, VelociraptorConfig};
use crate::event::line::LineLimits;
use crate::outbox::OutboxError;
use crate::velociraptor::error::ApiError;

/// Catch-ups at a time, of all orgs.
const CATCH_UPS: usize = 2;

/// Why the intake ended.
#[derive(Debug, thiserror::Error)]
pub enum VelociraptorError {
    /// With [`Mode::Once`]: the server has not told what was missed.
    #[error("org {org}: {error}{hint}")]
    Api {
        /// Org id.
        org: String,
        /// Why.
        error: ApiError,
        /// What to do, in parentheses after a blank; may be empty.
        hint: String,
    },
    /// The outbox refuses; with [`Mode::Once`] also for want of space.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// Why a connection ended.
#[derive(Debug)]
enum Trouble {
    /// The server's part; it is tried again.
    Api(ApiError),
    /// Ours.
    Outbox(OutboxError),
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<OutboxError> for Trouble {
    fn from(error: OutboxError) -> Self {
        Self::Outbox(error)
    }
}

/// What all orgs share.
struct Watch {
    orgs: Orgs,
    api_config: PathBuf,
    /// Bytes of a line.
    limit: u64,
    accept: Arc<dyn Accept>,
    state: State,
    mode: Mode,
    slots: Arc<Semaphore>,
}

/// Takes completions as they happen, and those that were missed since the last time; with [`Mode::Once`] only these. How
/// it goes is told in `state`.
///
/// # Errors
/// [`VelociraptorError`]. With [`Mode::Watch`] a server that cannot be reached is none.
pub async fn run(
    config: &VelociraptorConfig,
    limits: &LineLimits,
    accept: Arc<dyn Accept>,
    state: State,
    mode: Mode,
) -> Result<Counts, VelociraptorError> {
    let watch = Watch {
        orgs: config.orgs.clone(),
        api_config: config.api_config.clone(),
        limit: limits.line,
        accept,
        state,
        mode: mode.clone(),
        slots: Arc::new(Semaphore::new(CATCH_UPS)),
    };
    match mode {
        Mode::Once => orgs::once(&watch).await,
        Mode::Watch(_) => tokio::select! {
            () = mode.stopped() => Ok(Counts::default()),
            error = orgs::run(&watch) => Err(error),
        },
    }
}
