//! Every metric: name, type, labels, help. `docs/monitoring.md` has them for people.

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size: `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them, in the order of the text.
        pub static ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    BUILD Gauge "bewit_build_info" ["version"] "Always 1; the label is the program's version.";
    STARTED Gauge "process_start_time_seconds" [] "When the process started, Unix seconds.";
    MEMORY Gauge "process_resident_memory_bytes" [] "Memory that the process holds.";
    GENERATION Gauge "bewit_reload_generation" [] "Configuration in force, counted from 1 at start.";
    RELOAD Gauge "bewit_reload_last_successful" [] "1 unless the last change of a file could not be taken over.";

    EVENTS Counter "bewit_events_total" [] "Events accepted.";
    REPEATED Counter "bewit_events_repeated_total" ["body"] "Events heard again.";
    REJECTED Counter "bewit_lines_rejected_total" [] "Lines that were no events.";
    DECISIONS Counter "bewit_decisions_total" ["rule", "decision"]
        "What rules made of events since the start; what is put off is judged again and counted again.";
    MAILS Counter "bewit_mails_total" [] "Mails stored.";
    GATHERED Gauge "bewit_gathered" [] "Events that wait for a digest.";
    JUDGEMENTS Gauge "bewit_judgements" ["state"] "Judgements that were put off, by state.";

    RECIPIENTS Gauge "bewit_recipients" ["state"] "Recipients kept in the outbox, by state.";
    OLDEST Gauge "bewit_recipients_oldest_seconds" ["state"]
        "Age of the oldest mail with a recipient in a state, from when it was due first or retried by hand.";
    AGE Gauge "bewit_queue_oldest_seconds" [] "Age of the oldest mail that is queued, being sent or deferred; 0 if none.";
    LANE Gauge "bewit_lane_recipients" ["lane"] "Recipients that are queued or deferred, by their mail's priority.";
    LANE_OLDEST Gauge "bewit_lane_oldest_seconds" ["lane"]
        "Age of the oldest mail that is queued or deferred, by its priority; 0 if none.";
    OVERDUE Gauge "bewit_queue_overdue_seconds" [] "How long the mail that is due next has been due; 0 if none is.";
    ATTEMPTS Counter "bewit_attempts_total" ["outcome"] "Attempts to deliver since the start, by recipient and outcome.";
    WAY Histogram "bewit_event_to_accepted_seconds" []
        "From an event received (or a mail's slot, if send_interval made it wait) to its mail accepted, by recipient.";

    STEP Histogram "bewit_step_seconds" ["step"] "Time in each step of an event's way.";
    COMMIT Histogram "bewit_commit_seconds" ["work"] "From asking the outbox to store something to it being on disk.";
    TRANSACTION Histogram "bewit_transaction_seconds" [] "Time of one transaction of the outbox, its sync included.";
    GROUP Histogram "bewit_transaction_commands" [] "Commands that the outbox made in one transaction.";
    SPACE_FREE Gauge "bewit_outbox_free_bytes" [] "Free space where the outbox is.";
    SPACE_LEAST Gauge "bewit_outbox_min_free_bytes" [] "Free space below which nothing new is taken in.";
    SPACE_USED Gauge "bewit_outbox_size_bytes" ["part"] "Size of the outbox's database and of its write-ahead log.";

    RELAY_UP Gauge "bewit_relay_up" ["relay"] "1 while a mail server is delivered to, 0 while it is only probed.";
    RELAY_TROUBLE Gauge "bewit_relay_trouble" ["relay", "trouble"] "1 for what is wrong with a mail server.";
    RELAY_SESSIONS Gauge "bewit_relay_sessions" ["relay"] "Sessions with a mail server.";
    RELAY_LIMIT Gauge "bewit_relay_sessions_limit" ["relay"] "Sessions that a mail server seems to bear.";
    RELAY_FALLS Counter "bewit_relay_falls_total" ["relay"] "Times that a mail server went down.";
    RELAY_RATE Gauge "bewit_relay_rate_limit" ["relay"] "Mails a minute that a mail server is given, if there is a limit.";
    RELAY_SLOWED Counter "bewit_relay_slowed_total" ["relay"] "Times that a mail server said that it gets too much.";

    PLUGIN_CALLS Counter "bewit_plugin_calls_total" ["plugin", "outcome"] "Calls of a plugin, by outcome.";
    PLUGIN_VERDICTS Counter "bewit_plugin_verdicts_total" ["plugin", "verdict"] "What a filter has said.";
    PLUGIN_TIME Counter "bewit_plugin_seconds_total" ["plugin"] "Time of all calls of a plugin.";
    PLUGIN_CALL Histogram "bewit_plugin_call_seconds" ["plugin"] "Time of one call of a plugin.";
    PLUGIN_INSTANCES Gauge "bewit_plugin_instances" ["plugin"] "Instances of a plugin that wait for a call.";
    PLUGIN_BENCHED Gauge "bewit_plugin_benched" ["plugin"] "1 while a plugin is not asked because it kept failing.";

    V_LIVE Gauge "bewit_velociraptor_live" ["org"] "1 while the completions of an org are taken as they come.";
    V_PHASE Gauge "bewit_velociraptor_phase_seconds" ["org", "phase"] "How long an org has been in its phase.";
    V_ROWS Counter "bewit_velociraptor_rows_total" ["org", "row"]
        "Rows of an org that were taken, by what they were.";
    V_CONNECTIONS Counter "bewit_velociraptor_connections_total" ["org"] "Times that an org's stream has begun.";
    V_FAILURES Counter "bewit_velociraptor_failures_total" ["org"]
        "Times that an org's stream was lost or did not begin.";
    V_CATCH_UPS Counter "bewit_velociraptor_catch_ups_total" ["org", "outcome"]
        "Times that an org was asked for what was missed, by outcome.";
    V_LAST_ROW Gauge "bewit_velociraptor_last_row_seconds" ["org"]
        "When the last completion of an org was, Unix seconds.";
    V_LAST_BEAT Gauge "bewit_velociraptor_last_beat_seconds" ["org"]
        "When an org's server was last heard, Unix seconds of its own clock.";
    V_LAG Gauge "bewit_velociraptor_lag_seconds" ["org"]
        "Time up to the server's now that a restart would have to catch up.";
    V_PUBLISHED Counter "bewit_velociraptor_published_total" [] "Notifications written back to the server.";
    V_NOT_PUBLISHED Counter "bewit_velociraptor_publish_failures_total" [] "Times that the server did not take them.";
    V_UNPUBLISHED Gauge "bewit_velociraptor_publish_waiting" []
        "Decisions that are not looked at for writing back yet.";
    V_QUERIES Counter "bewit_velociraptor_queries_total" ["query"] "Queries for facts.";
    V_QUERY_FAILURES Counter "bewit_velociraptor_query_failures_total" ["query"] "Queries for facts that failed.";
    V_QUERY_TIME Counter "bewit_velociraptor_query_seconds_total" ["query"] "Time of all queries for facts.";
}
