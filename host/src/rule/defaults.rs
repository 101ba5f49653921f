//! What a parameter of `Server.Monitor.FlowCompletion` is when nobody sets it. A key that a rule leaves out means the
//! same; what is not named here is empty, or off.

/// `HTML`
pub const HTML: bool = true;
/// `ArtifactsToAlertOn`: any flow that collects something.
pub const ARTIFACTS_TO_ALERT_ON: &str = ".+";
/// `ArtifactsToIgnore`: the interrogation that clients are enrolled with.
pub const ARTIFACTS_TO_IGNORE: &str = r"^(Custom\.)?Generic\.Client\.Info$";
/// `ClientLabelsToAlertOn`: no filter.
pub const CLIENT_LABELS_TO_ALERT_ON: &str = ".+";
/// `NewClientThreshold`, seconds.
pub const NEW_CLIENT_THRESHOLD: i64 = 300;
/// `ErrorHandling`
pub const ERROR_HANDLING: [&str; 1] = ["IgnoreCancelled"];
/// `DelayThreshold`, seconds.
pub const DELAY_THRESHOLD: i64 = 10;
/// `SendInterval`, seconds.
pub const SEND_INTERVAL: u64 = 10;
/// `IncludeUploadsTableRows`
pub const INCLUDE_UPLOADS_TABLE_ROWS: u64 = 10;
/// `ResultTableMaxColumns`
pub const RESULT_TABLE_MAX_COLUMNS: u64 = 4;
/// `AttachmentFormat`
pub const ATTACHMENT_FORMAT: super::AttachmentFormat = super::AttachmentFormat::Jsonl;
/// `AttachmentsMaxMiB`
pub const ATTACHMENTS_MAX_MIB: u64 = 100;
/// `NotifyIfResultsLabels`
pub const NOTIFY_IF_RESULTS_LABELS: &str = "^notify_results$";
/// `NotifyIfUploadsLabels`
pub const NOTIFY_IF_UPLOADS_LABELS: &str = "^notify_uploads$";

/// `MaxRows` of a result table, and the most it can be.
pub const TABLE_MAX_ROWS: u64 = 100;
/// `CellLimit` of a result table in characters, and the most it can be.
pub const TABLE_CELL_LIMIT: u64 = 10_000;

/// Template set of a rule on flow completions.
pub const TEMPLATE: &str = "flow-completion";
