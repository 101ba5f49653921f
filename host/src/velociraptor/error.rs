//! What can go wrong between Bewit and a Velociraptor server.

use std::error::Error as _;

use super::connect::{ConnectError, refusal};
use super::queries::Query;
use crate::text::{cut, one_line};

/// Characters of what a server says that are repeated.
const SAID: usize = 400;

/// Why a query has no answer, or none to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There is no connection.
    #[error("{0}")]
    Unreachable(String),
    /// The API client file or a certificate is not what it should be; somebody must do something.
    #[error("{0}")]
    Identity(String),
    /// The user may not do this.
    #[error("permission denied: {0}")]
    Denied(String),
    /// The server does not know the org, or the user is not of it.
    #[error("the org `{org}` is not known to the server, or not to this user: {said}")]
    Org {
        /// Org id.
        org: String,
        /// The server's words.
        said: String,
    },
    /// The query has failed: a line of its log says so, on a stream that ends well.
    #[error("the query `{query}` failed: {log}")]
    Query {
        /// Name of the query.
        query: &'static str,
        /// The line.
        log: String,
    },
    /// An answer that is no list of rows, or larger than any may be.
    #[error("the answer to the query `{query}` is no good: {reason}")]
    Answer {
        /// Name of the query.
        query: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A query that must not end has ended.
    #[error("the query `{query}` has ended by itself{}", .log.as_ref().map(|log| format!("; the last it said: {log}")).unwrap_or_default())]
    Ended {
        /// Name of the query.
        query: &'static str,
        /// The last line of its log, if it says more than that it has begun.
        log: Option<String>,
    },
    /// Nothing was heard for too long.
    #[error("nothing was heard from the server for {0} s")]
    Silent(u64),
}

impl ApiError {
    /// Whether somebody must do something before it can be better: waiting alone does not help.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Identity(_) | Self::Denied(_) | Self::Org { .. })
    }

    /// What to do about it; empty when there is nothing but to wait.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Denied(_) => {
                "`velociraptor acl grant NAME --role api` (with --org for each org) gives what is needed"
            }
            Self::Org { .. } => "`velociraptor acl grant NAME --role api --org ORG` lets the user into an org",
            Self::Identity(_) => {
                "`velociraptor config api_client --name NAME --role api FILE` writes a new API client file"
            }
            Self::Unreachable(_) => {
                "see `api_connection_string` in the API client file, and API.bind_address on the server"
            }
            _ => "",
        }
    }

    /// What a line of a query's log says, if it says that the query has failed.
    #[must_use]
    pub(super) fn of_log(query: &'static Query, line: &str) -> Option<Self> {
        let line = line.trim().trim_start_matches("vql: ").trim();
        let name = query.name;
        let said = one_line(&cut(line, SAID));
        if line.contains("PermissionDenied") || line.contains("Permission denied") {
            return Some(Self::Denied(said));
        }
        let failed = ["VQL Error:", "ERROR:", "Timeout Error", "Panic "].iter().any(|mark| line.contains(mark))
            || (line.ends_with("not found") || line.ends_with("not found."))
                && ["Symbol ", "Plugin ", "Function "].iter().any(|kind| line.contains(kind));
        let unreadable = query.readers.iter().any(|reader| line.starts_with(&format!("{reader}: ")));
        (failed || unreadable).then_some(Self::Query { query: name, log: said })
    }

    /// What a call's end says.
    pub(super) fn of_status(query: &'static str, org: &str, status: &tonic::Status) -> Self {
        let mut source = status.source();
        while let Some(cause) = source {
            if let Some(cause) = cause.downcast_ref::<ConnectError>() {
                return cause.into();
            }
            if let Some(reason) = refusal(&cause.to_string()) {
                return Self::Identity(format!("the server does not trust us: {reason}"));
            }
            source = cause.source();
        }
        let said = one_line(&cut(status.message(), SAID));
        let named = |words: &[&str]| words.iter().any(|word| said.to_ascii_lowercase().contains(word));
        match status.code() {
            tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => Self::Denied(said),
            _ if named(&["org"]) && named(&["not found", "unknown", "not known", "no such"]) => {
                Self::Org { org: org.to_owned(), said }
            }
            tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => {
                Self::Unreachable(format!("the connection has ended: {}", deepest(status, &said)))
            }
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted | tonic::Code::Internal => {
                Self::Answer { query, reason: said }
            }
            _ if named(&["permission denied", "permissiondenied", "unknown user"]) => Self::Denied(said),
            _ if status.source().is_some() => {
                Self::Unreachable(format!("the connection has ended: {}", deepest(status, &said)))
            }
            _ => Self::Query { query, log: said },
        }
    }
}

/// The first cause, which says most; the status's own words if it has none.
fn deepest(status: &tonic::Status, said: &str) -> String {
    let mut deepest = None;
    let mut source = status.source();
    while let Some(cause) = source {
        deepest = Some(cause.to_string());
        source = cause.source();
    }
    deepest.map_or_else(|| said.to_owned(), |cause| one_line(&cut(&cause, SAID)))
}

impl From<&ConnectError> for ApiError {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Network(_) => Self::Unreachable(error.to_string()),
            ConnectError::Credentials(_) | ConnectError::Identity(_) => Self::Identity(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::queries::{FLOW, RESULTS};
    use super::*;

    #[test]
    fn a_log_line_is_a_failure_only_if_it_says_so() {
        for line in [
            "vql: Starting query execution.",
            "vql: Time 0: : Sending response part 0 2 B (0 rows).",
            "vql: DEBUG:Query Stats: {\"RowsScanned\":1}",
        ] {
            assert_eq!(ApiError::of_log(&FLOW, line), None, "{line}");
        }
        for (line, denied) in [
            ("vql: VQL Error: 1:8: unexpected token.", false),
            ("vql: ERROR:flows: unable to get client", false),
            ("vql: watch_monitoring: PermissionDenied: Permission denied: [READ_RESULTS]", true),
            ("vql: Symbol link_to not found.", false),
            ("vql: Timeout Error: Query timed out after 10 seconds", false),
        ] {
            let error = ApiError::of_log(&FLOW, line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(matches!(error, ApiError::Denied(_)), denied, "{line}");
        }
        // A flow that is not there is no failure; rows that cannot be read are one.
        assert_eq!(ApiError::of_log(&FLOW, "vql: flows: file does not exist"), None);
        assert!(ApiError::of_log(&RESULTS, "vql: source: Artifact Custom.Gone not known").is_some());
    }

    #[test]
    fn a_status_is_told_by_what_it_means() {
        let of = |status: &tonic::Status| ApiError::of_status("flow", "O1", status);
        assert!(matches!(of(&tonic::Status::permission_denied("no ANY_QUERY")), ApiError::Denied(_)));
        assert!(matches!(of(&tonic::Status::unknown("Org not found: O1")), ApiError::Org { .. }));
        assert!(matches!(of(&tonic::Status::unavailable("gone")), ApiError::Unreachable(_)));
        assert!(matches!(of(&tonic::Status::unknown("Query should be specified.")), ApiError::Query { .. }));
        assert!(of(&tonic::Status::permission_denied("x")).needs_a_person());
        // Our certificate is refused after our side of the handshake.
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        let refused = of(&tonic::Status::from_error(Box::new(std::io::Error::other(alert))));
        assert!(matches!(&refused, ApiError::Identity(said) if said.contains("certificate")), "{refused:?}");
        assert!(!of(&tonic::Status::unavailable("x")).needs_a_person());
    }
}
