//! What holds when a key outside rules is not in the file ([`crate::rule::defaults`] has the rules'). The texts of the
//! JSON Schema say the same; a test compares them.

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
/// `[plugins.NAME] limits.memory`
pub const PLUGIN_MEMORY: u64 = 64 << 20;
/// `[plugins.NAME] limits.time`
pub const PLUGIN_TIME: Duration = Duration::from_millis(250);
/// `[plugins.NAME] limits.output`
pub const PLUGIN_OUTPUT: u64 = 1 << 20;
