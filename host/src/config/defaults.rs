//! What holds when a key is not in the file. The texts of the JSON Schema say the same; a test compares them.

use std::time::Duration;

/// `[smtp] connections`
pub(super) const CONNECTIONS: usize = 4;
/// `[smtp] retry`, in seconds.
pub(super) const RETRY: [u64; 6] = [30, 120, 300, 900, 1_800, 3_600];
/// `[smtp] give_up`
pub(super) const GIVE_UP: Duration = Duration::from_secs(5 * 86_400);
/// `[outbox] url`
pub(super) const OUTBOX: &str = "bewit.db";
/// `[outbox] retention`
pub(super) const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// `[outbox] min_free`
pub(super) const MIN_FREE: u64 = 64 << 20;
/// `[intake.spool] poll`
pub(super) const POLL: Duration = Duration::from_secs(10);
/// `[intake.http] max_body`
pub(super) const MAX_BODY: u64 = 16 << 20;

/// `artifacts_to_alert_on`, `client_labels_to_alert_on`
pub(super) const ANYTHING: &str = ".+";
/// `artifacts_to_ignore`
pub(super) const ARTIFACTS_TO_IGNORE: &str = r"^(Custom\.)?Generic\.Client\.Info$";
/// `new_client_threshold`
pub(super) const NEW_CLIENT_THRESHOLD: i64 = 300;
/// `delay_threshold`
pub(super) const DELAY_THRESHOLD: i64 = 10;
/// `send_interval`
pub(super) const SEND_INTERVAL: Duration = Duration::from_secs(10);
/// `include_uploads_table_rows`
pub(super) const UPLOADS_TABLE_ROWS: i64 = 10;
/// `result_table_max_columns`
pub(super) const TABLE_COLUMNS: u64 = 4;
/// `max_rows` of a result table: default and most.
pub(super) const TABLE_ROWS: u64 = 100;
/// `cell_limit` of a result table: default and most.
pub(super) const CELL_LIMIT: u64 = 10_000;
/// `attachments_max_mib`
pub(super) const ATTACHMENTS_MAX_MIB: i64 = 100;
/// `notify_if_results_labels`
pub(super) const RESULTS_LABELS: &str = "^notify_results$";
/// `notify_if_uploads_labels`
pub(super) const UPLOADS_LABELS: &str = "^notify_uploads$";
/// `template`
pub(super) const TEMPLATE: &str = "flow-completion";
