//! The queries, each in a `.vql` file with a comment that says what it asks and what it needs. Values reach them through
//! `env` alone: an id never becomes part of a text.

use std::time::Duration;

/// One query.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// Its file's name without `.vql`.
    pub name: &'static str,
    /// Its text, comments and all.
    pub vql: &'static str,
    /// Rows of a part: 1 sends each row as soon as the next one comes.
    pub max_row: u64,
    /// Seconds before a part that is not full is sent; the smallest that works is 1.
    pub max_wait: u64,
    /// How long the whole query may take; `None`: it does not end by itself.
    pub timeout: Option<Duration>,
    /// How long nothing may be heard while an answer is waited for. A connection through which nothing comes looks like
    /// a slow server.
    pub patience: Duration,
    /// Plugins whose every word in the log means that rows could not be read. Others also tell there that something
    /// does not exist.
    pub readers: &'static [&'static str],
}

impl Query {
    /// The text that is sent: without comments, and with a limit if there is one. A limit is a number of ours, so it may
    /// stand in the text, where VQL wants it.
    #[must_use]
    pub fn text(&self, limit: Option<u64>) -> String {
        let lines = self.vql.lines().filter(|line| !line.trim_start().starts_with("--"));
        let mut text = lines.map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        if let Some(limit) = limit {
            text.push_str(&format!("\nLIMIT {limit}"));
        }
        text
    }
}

/// A query about one thing.
const SHORT: Duration = Duration::from_secs(60);
/// A query over everything.
const LONG: Duration = Duration::from_secs(3600);

/// Many clients that have nothing to tell.
const SEARCH: Duration = Duration::from_secs(600);

const fn query(name: &'static str, vql: &'static str, max_row: u64, timeout: Option<Duration>) -> Query {
    Query { name, vql, max_row, max_wait: 1, timeout, patience: SHORT, readers: &[] }
}

/// Completions as they happen, with a heartbeat.
pub static WATCH: Query =
    Query { patience: Duration::from_secs(30), ..query("watch", include_str!("queries/watch.vql"), 1, None) };
/// Completions since a moment, client by client.
pub static CATCH_UP: Query =
    Query { patience: SEARCH, ..query("catch_up", include_str!("queries/catch_up.vql"), 1000, Some(LONG)) };
/// Completions since a moment, from the log that the shipped server artifact keeps.
pub static CATCH_UP_LOG: Query = query("catch_up_log", include_str!("queries/catch_up_log.vql"), 1000, Some(LONG));
/// The orgs that the user may see.
pub static ORGS: Query = query("orgs", include_str!("queries/orgs.vql"), 1000, Some(SHORT));
/// A flow's record, with facts on its client and hunt.
pub static FLOW: Query = query("flow", include_str!("queries/flow.vql"), 10, Some(SHORT));
/// What artifacts need.
pub static ARTIFACTS: Query = query("artifacts", include_str!("queries/artifacts.vql"), 1000, Some(SHORT));
/// A flow's uploads.
pub static UPLOADS: Query =
    Query { readers: &["uploads"], ..query("uploads", include_str!("queries/uploads.vql"), 1000, Some(LONG)) };
/// The rows of one source of a flow.
pub static RESULTS: Query = Query {
    readers: &["flow_results", "source"],
    ..query("results", include_str!("queries/results.vql"), 1000, Some(LONG))
};
/// How the server builds links.
pub static LINKS: Query = query("links", include_str!("queries/links.vql"), 10, Some(SHORT));
/// The server's running event artifacts, with their parameters.
pub static SERVER_MONITORING: Query =
    query("server_monitoring", include_str!("queries/server_monitoring.vql"), 10, Some(SHORT));

/// Every query.
pub static ALL: &[&Query] =
    &[&WATCH, &CATCH_UP, &CATCH_UP_LOG, &ORGS, &FLOW, &ARTIFACTS, &UPLOADS, &RESULTS, &LINKS, &SERVER_MONITORING];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_says_what_it_is() {
        for query in ALL {
            assert!(query.vql.starts_with("-- "), "{}", query.name);
            let text = query.text(None);
            assert!(!text.contains("--"), "{}: {text}", query.name);
            assert!(text.contains("SELECT"), "{}", query.name);
        }
    }

    #[test]
    fn a_limit_comes_last() {
        assert!(RESULTS.text(Some(21)).ends_with("\nLIMIT 21"));
    }
}
