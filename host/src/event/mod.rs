//! The domain: what Bewit hears of. Pure data, no I/O.
//!
//! [`mod@line`] admits a line of bytes (limits on length, depth and nodes), [`parse`] turns it into a [`FlowCompletion`],
//! whatever of Velociraptor's JSON encodings it is written in; [`read`] does both. [`samples()`] ship with Bewit;
//! [`schema`] describes an event to editors and to those who write events.

mod lenient;
pub mod line;
pub mod parse;
pub mod rows;
mod samples;
pub mod schema;
pub mod time;

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use self::line::{LineError, LineLimits};
use self::parse::EventError;
use self::rows::ResultSet;
use self::time::Moment;

pub use self::samples::samples;

/// Why bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEvent {
    /// Not admitted.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Admitted, but no event.
    #[error(transparent)]
    Event(#[from] EventError),
}

/// Admits a line and parses it: the one way from bytes to an event, for every intake and every subcommand.
///
/// # Errors
/// [`NoEvent`].
pub fn read(line: &[u8], limits: &LineLimits) -> Result<FlowCompletion, NoEvent> {
    Ok(parse::parse(&line::admit(line, limits)?)?)
}

/// What makes an event itself: the same key heard twice is one event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey {
    /// `root` when the event names no org.
    pub org_id: String,
    /// `C.…`, or `server`.
    pub client_id: String,
    /// `F.…`.
    pub flow_id: String,
    /// The server's clock, Unix seconds; 0 when the event carries none.
    pub timestamp: i64,
}

impl fmt::Display for EventKey {
    /// `org/client/flow`, as the JSON outputs name an event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.org_id, self.client_id, self.flow_id)
    }
}

/// A flow has completed (VQL `System.Flow.Completion`), with the facts that the event carries.
/// `None` is a fact that the event does not carry; it counts as empty.
#[derive(Debug, Clone)]
pub struct FlowCompletion {
    /// What makes it itself.
    pub key: EventKey,
    /// When the server heard that the flow was done.
    pub timestamp: Option<Moment>,
    /// The collection context (VQL `flows()`); all defaults when absent.
    pub flow: Flow,
    /// VQL `client_info()`.
    pub client: Option<Client>,
    /// VQL `client_metadata()`, in stored order.
    pub metadata: Option<IndexMap<String, String>>,
    /// The hunt that launched the flow.
    pub hunt: Option<Hunt>,
    /// Definitions of the requested artifacts (VQL `artifact_definitions()`).
    pub artifact_definitions: Option<Vec<ArtifactDefinition>>,
    /// VQL `uploads()`.
    pub uploads: Option<Vec<Upload>>,
    /// Uploads in all, where `uploads` holds only the first of them.
    pub uploads_total: Option<u64>,
    /// Result rows by `Artifact/Source`, in the order of the event. Shared, so that who reads rows for a while can keep
    /// them without the event.
    pub results: Option<Arc<IndexMap<String, ResultSet>>>,
    /// The event as it came, without `results`: the text of a JSON object. For who wants more than the fields above.
    pub document: Arc<str>,
    /// Facts that were asked for and could not be had, in sentences that a mail may show.
    pub missing: Vec<String>,
}

impl FlowCompletion {
    /// Whether the flow belongs to a hunt: its id ends in `.H` (case-sensitive), or the event carries a hunt.
    #[must_use]
    pub fn is_hunt(&self) -> bool {
        self.key.flow_id.ends_with(".H") || self.hunt.is_some()
    }

    /// Seconds from the client's enrolment to the beginning of the flow; `None` when one of them is not known.
    #[must_use]
    pub fn client_age(&self) -> Option<i64> {
        let enrolled = self.client.as_ref()?.first_seen_at?;
        Some(self.flow.begun()?.unix().saturating_sub(enrolled.unix()))
    }

    /// The hunt's id: what the event carries, else derived (`F.X.H` belongs to `H.X`).
    #[must_use]
    pub fn hunt_id(&self) -> Option<String> {
        if let Some(id) = self.hunt.as_ref().map(|hunt| hunt.id.as_str()).filter(|id| !id.is_empty()) {
            return Some(id.to_owned());
        }
        let middle = self.key.flow_id.strip_prefix("F.")?.strip_suffix(".H")?;
        Some(format!("H.{middle}"))
    }
}

/// State of a collection (`ArtifactCollectorContext.State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlowState {
    /// 0, or not named; counts as failed.
    #[default]
    Unset,
    /// 1
    Running,
    /// 2: the only state that counts as a success.
    Finished,
    /// 3
    Error,
    /// 4
    InProgress,
    /// 5
    Unresponsive,
    /// 6
    Waiting,
}

impl FlowState {
    /// Every state, at its number.
    pub(crate) const ALL: [Self; 7] =
        [Self::Unset, Self::Running, Self::Finished, Self::Error, Self::InProgress, Self::Unresponsive, Self::Waiting];

    /// Its name in Velociraptor's protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unset => "UNSET",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Error => "ERROR",
            Self::InProgress => "IN_PROGRESS",
            Self::Unresponsive => "UNRESPONSIVE",
            Self::Waiting => "WAITING",
        }
    }
}

/// A collection context (`ArtifactCollectorContext`). Missing fields are zero or empty.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Server clock.
    pub create_time: Option<Moment>,
    /// Client clock.
    pub start_time: Option<Moment>,
    /// Client clock, the last activity.
    pub active_time: Option<Moment>,
    /// Nanoseconds of the longest query; `None` when zero or absent.
    pub execution_duration: Option<i64>,
    /// State at the time the record was read.
    pub state: FlowState,
    /// Error message, or `Cancelled by …`.
    pub status: String,
    /// `request.creator`: user name or address of whoever started it.
    pub creator: String,
    /// `request.urgent`.
    pub urgent: bool,
    /// `request.artifacts`, as requested.
    pub artifacts: Vec<String>,
    /// `request.specs`: the arguments.
    pub specs: Vec<ArtifactSpec>,
    /// `artifacts_with_results`.
    pub artifacts_with_results: Vec<String>,
    /// Per query.
    pub query_stats: Vec<QueryStats>,
    /// Whether it is a record as it is stored: with the request, which the live queue leaves out.
    pub complete: bool,
    /// Rows of all queries.
    pub total_collected_rows: u64,
    /// Files of all queries.
    pub total_uploaded_files: u64,
    /// Bytes of all files.
    pub total_uploaded_bytes: u64,
}

impl Flow {
    /// Whether the collection failed: any state but FINISHED.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.state != FlowState::Finished
    }

    /// Whether the status says that somebody cancelled it (VQL `Status =~ "^Cancelled"`: at its start, in any case).
    #[must_use]
    pub fn cancelled(&self) -> bool {
        const WORD: &[u8] = b"Cancelled";
        self.status.as_bytes().get(..WORD.len()).is_some_and(|start| start.eq_ignore_ascii_case(WORD))
    }

    /// When it began: by the client's clock or, if it never started, by the server's.
    #[must_use]
    pub fn begun(&self) -> Option<Moment> {
        self.start_time.or(self.create_time)
    }
}

/// One entry of `request.specs`.
#[derive(Debug, Clone, Default)]
pub struct ArtifactSpec {
    /// Artifact name.
    pub artifact: String,
    /// `parameters.env`: key and value, in order.
    pub parameters: Vec<(String, String)>,
}

/// One entry of `query_stats`.
#[derive(Debug, Clone, Default)]
pub struct QueryStats {
    /// `Artifact` or `Artifact/Source`.
    pub artifact: String,
    /// Sources that answered.
    pub names_with_response: Vec<String>,
    /// Rows.
    pub result_rows: u64,
    /// Files.
    pub uploaded_files: u64,
    /// Why it failed, if it did.
    pub error_message: String,
}

/// An endpoint (VQL `client_info()`). What it says of itself is a claim.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// `os_info.hostname`
    pub hostname: String,
    /// `os_info.fqdn`
    pub fqdn: String,
    /// `os_info.system`: windows, linux, darwin.
    pub system: String,
    /// `os_info.release`
    pub release: String,
    /// `os_info.machine`
    pub machine: String,
    /// Labels.
    pub labels: Vec<String>,
    /// First enrolled; `None` when zero or absent.
    pub first_seen_at: Option<Moment>,
}

/// A hunt (VQL `hunt_info()`).
#[derive(Debug, Clone, Default)]
pub struct Hunt {
    /// `H.…`; may be empty.
    pub id: String,
    /// `hunt_description`
    pub description: String,
    /// Tags.
    pub tags: Vec<String>,
}

/// What a rule asks of an artifact's definition.
#[derive(Debug, Clone, Default)]
pub struct ArtifactDefinition {
    /// Name.
    pub name: String,
    /// `required_permissions`, such as `EXECVE`.
    pub required_permissions: Vec<String>,
}

/// One row of `uploads()`.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    /// `client_path`, or what of the row names the file best.
    pub path: String,
    /// `file_size` in bytes.
    pub size: u64,
    /// `uploaded_size` in bytes.
    pub uploaded_size: u64,
    /// `_Components`, the file's place in the server's file store; `None` in rows of old servers.
    pub components: Option<Vec<String>>,
    /// `Type`: empty, or `idx` for the map of a sparse file.
    pub kind: String,
}
