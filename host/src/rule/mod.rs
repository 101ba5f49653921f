//! Rules: every parameter of Velociraptor's `Server.Monitor.FlowCompletion`, any number of times. Pure: a decision is a
//! function of the rule and the event, and comes with its trace.

pub mod address;
pub mod decide;
pub mod defaults;
pub mod import;
pub mod needs;
#[cfg(test)]
pub(crate) mod parity;
pub mod pattern;
pub mod recipients;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::address::{Address, Mailbox};
use self::pattern::Pattern;
use crate::fragment::Tone;

/// One rule, checked and compiled. Field names are the artifact's parameters in snake_case.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique among the rules.
    pub name: String,
    /// Told of every match, in this order.
    pub recipients: Vec<Address>,
    /// Tell whoever started the collection.
    pub notify_executor: bool,
    /// How a user name becomes an address.
    pub notify_executor_domains: Vec<ExecutorDomain>,
    /// Client metadata field that holds an address; empty: none.
    pub notify_metadata_email: String,
    /// From; beats `[smtp] from`. Resolved: never absent.
    pub sender: Mailbox,
    /// Write an HTML part beside the text.
    pub html: bool,
    /// Any requested artifact must match.
    pub artifacts_to_alert_on: Pattern,
    /// The only requested artifact must not match.
    pub artifacts_to_ignore: Pattern,
    /// A label must match.
    pub client_labels_to_alert_on: Pattern,
    /// No label may match.
    pub client_labels_to_ignore: Pattern,
    /// Hunt flows too.
    pub notify_hunts: bool,
    /// Flows of new clients with such an artifact always notify.
    pub new_client_artifacts: Pattern,
    /// Seconds since enrolment for which a client is new.
    pub new_client_threshold: i64,
    /// A requested artifact must need such a permission.
    pub artifact_perm_to_alert_on: Pattern,
    /// What failures are allowed to pass.
    pub error_handling: ErrorHandling,
    /// Seconds that a flow must have taken; 0 or less: off.
    pub delay_threshold: i64,
    /// At most one mail per interval; zero: off.
    pub send_interval: Duration,
    /// What happens to mails inside the interval.
    pub throttle: Throttle,
    /// Which mails go first.
    pub priority: Priority,
    /// Keep rows whose value is empty.
    pub keep_empty_rows: bool,
    /// Metadata fields shown, with the name they are shown under.
    pub client_metadata: Vec<MetadataField>,
    /// Rows of the uploads table; 0: no table.
    pub include_uploads_table_rows: u64,
    /// Which results are shown as tables.
    pub include_result_table_from: Vec<ResultTable>,
    /// Columns of a result table.
    pub result_table_max_columns: u64,
    /// Which results are attached.
    pub include_result_attachment_from: Vec<ResultAttachment>,
    /// How.
    pub attachment_format: AttachmentFormat,
    /// All attachments of a mail together, in MiB before encoding; 0: none.
    pub attachments_max_mib: u64,
    /// With rows, such a label or hunt tag always notifies.
    pub notify_if_results_labels: Pattern,
    /// With uploads, such a label or hunt tag always notifies.
    pub notify_if_uploads_labels: Pattern,
    /// Plugin filters, asked in order after the built-in ones.
    pub filters: Vec<FilterUse>,
    /// Which results are shown by a plugin; the last entry that matches a source counts.
    pub renderers: Vec<RendererUse>,
    /// Template set.
    pub template: String,
    /// Language of its mails; `None`: that of `[locale]`.
    pub language: Option<String>,
    /// One mail for each recipient, or one for all.
    pub delivery: Delivery,
}

impl Rule {
    /// `attachments_max_mib` in bytes.
    #[must_use]
    pub fn attachments_limit(&self) -> u64 {
        self.attachments_max_mib.saturating_mul(1 << 20)
    }
}

/// One row of `notify_executor_domains`.
#[derive(Debug, Clone)]
pub struct ExecutorDomain {
    /// Matched against the user name.
    pub username_regex: Pattern,
    /// Appended after an `@`.
    pub domain: String,
}

/// `ErrorHandling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "four independent switches of the artifact's own parameter")]
pub struct ErrorHandling {
    /// Failed hunt flows notify.
    pub include_hunts: bool,
    /// Cancelled flows do not.
    pub ignore_cancelled: bool,
    /// Failures pass the artifact filters.
    pub ignore_artifact_filters: bool,
    /// Failures pass the delay.
    pub ignore_delay: bool,
}

/// Which mails go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others: somebody must know at once.
    Critical,
    /// As they come.
    #[default]
    Normal,
    /// When nothing else waits, or in their small share: good to know some day.
    Bulk,
}

impl Priority {
    /// All of them, the first to go first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Bulk];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// What happens to mails inside `send_interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Throttle {
    /// Gathered into one mail.
    #[default]
    Digest,
    /// Sent later, one by one.
    Delay,
    /// Not sent (the artifact's behaviour), but recorded.
    Drop,
}

/// How a mail with several recipients goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Each recipient a mail of their own.
    #[default]
    Individual,
    /// One mail, all recipients in To.
    Shared,
}

/// `AttachmentFormat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachmentFormat {
    /// JSON Lines.
    #[default]
    Jsonl,
    /// RFC 4180, guarded against formulas.
    Csv,
}

/// One row of `client_metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataField {
    /// Metadata key, case-sensitive.
    pub field: String,
    /// Shown name; empty: the key.
    pub alias: String,
}

/// One row of `include_result_table_from`. Limits are resolved: 1 to 100 rows, 1 to 10 000 characters.
#[derive(Debug, Clone)]
pub struct ResultTable {
    /// Matched against `Artifact/Source`.
    pub source: Pattern,
    /// Columns shown.
    pub columns: Pattern,
    /// Rows shown.
    pub max_rows: u64,
    /// Characters of a cell.
    pub cell_limit: u64,
}

/// One row of `include_result_attachment_from`.
#[derive(Debug, Clone)]
pub struct ResultAttachment {
    /// Matched against `Artifact/Source`.
    pub source: Pattern,
    /// Columns attached.
    pub columns: Pattern,
    /// Rows attached; `None`: all.
    pub max_rows: Option<u64>,
}

/// One entry of `filters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterUse {
    /// Name of the plugin.
    pub plugin: String,
    /// Asked also when a built-in filter has said no (`when = "always"`); only then a `force` counts.
    pub always: bool,
}

/// One entry of `renderers`.
#[derive(Debug, Clone)]
pub struct RendererUse {
    /// Matched against `Artifact/Source`.
    pub source: Pattern,
    /// Name of the plugin.
    pub plugin: String,
}

/// What a rule says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A mail is due.
    Notify,
    /// None is.
    Skip,
    /// One would be, but cannot be: nobody to tell, or it could not be written.
    Error,
}

/// A decision with its trace; part of the JSON contract.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// The outcome.
    pub decision: Verdict,
    /// In one sentence.
    pub reason: String,
    /// What each filter said, in order.
    pub trace: Vec<TraceEntry>,
    /// Whom to tell, in order, distinct.
    pub recipients: Vec<String>,
    /// What plugins want the mail to say, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<PluginNote>,
}

/// A remark of a plugin, or on one.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct PluginNote {
    /// Name of the plugin.
    pub plugin: String,
    /// How it is meant.
    pub tone: Tone,
    /// A few sentences.
    pub text: String,
}

/// What one filter said.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct TraceEntry {
    /// The rule's key that was asked.
    pub filter: String,
    /// What it said.
    pub verdict: TraceVerdict,
    /// Why.
    pub detail: String,
}

/// What a filter can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceVerdict {
    /// Lets it through.
    Pass,
    /// Stops it.
    Fail,
    /// Notifies whatever the others say.
    Force,
    /// Not set.
    Off,
    /// The fact it needs is not there; counts as empty.
    Unknown,
    /// Remark, such as an address that was dropped.
    Note,
}
