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

macro_rules! queries {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, rows $rows:literal, $time:expr;)*) => {
        $(
            $(#[$doc])*
            pub static $constant: Query = Query {
                name: $name,
                vql: include_str!(concat!("queries/", $name, ".vql")),
                max_row: $rows,
                max_wait: 1,
                timeout: $time,
            };
        )*
        /// Every query.
        pub static ALL: &[&Query] = &[$(&$constant),*];
    };
}

/// A query about one thing.
const SHORT: Option<Duration> = Some(Duration::from_secs(60));
/// A query over everything.
const LONG: Option<Duration> = Some(Duration::from_secs(3600));

queries! {
    /// Completions as they happen, with a heartbeat.
    WATCH = "watch", rows 1, None;
    /// Completions since a moment, client by client.
    CATCH_UP = "catch_up", rows 1000, LONG;
    /// Completions since a moment, from the log that the shipped server artifact keeps.
    CATCH_UP_LOG = "catch_up_log", rows 1000, LONG;
    /// The orgs that the user may see.
    ORGS = "orgs", rows 1000, SHORT;
    /// A flow's record, with facts on its client and hunt.
    FLOW = "flow", rows 10, SHORT;
    /// What artifacts need.
    ARTIFACTS = "artifacts", rows 1000, SHORT;
    /// A flow's uploads.
    UPLOADS = "uploads", rows 1000, LONG;
    /// The rows of one source of a flow.
    RESULTS = "results", rows 1000, LONG;
    /// How the server builds links.
    LINKS = "links", rows 10, SHORT;
    /// The server's running event artifacts, with their parameters.
    SERVER_MONITORING = "server_monitoring", rows 10, SHORT;
}

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
