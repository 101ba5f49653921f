//! One server, asked: a query goes out with its variables, rows come back one after the other.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::value::RawValue;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};

use super::connect::Connector;
use super::credentials::{Credentials, CredentialsError};
use super::error::ApiError;
use super::proto::api_client::ApiClient;
use super::proto::{
    HealthCheckRequest, PushEventRequest, VqlCollectorArgs, VqlEnv, VqlRequest, VqlResponse,
    health_check_response::ServingStatus,
};
use super::queries::Query;
use crate::text::one_line;

/// Most bytes of one message, unless the API client file says otherwise: one row with a hunt's request in it has megabytes.
const MAX_MESSAGE: usize = 64 << 20;

/// Seconds that the server's note of when it saw a client may lag behind, by far.
const SEEN_LATE: i64 = 600;

/// The root org, as events name it.
pub const ROOT_ORG: &str = "root";

/// A server. Cheap to clone: all clones share one connection, which is made when it is needed and made again when it is
/// lost. There is no HTTP/2 ping, because Velociraptor's server ends connections that ping more often than every five
/// minutes; TCP's own keep-alive and the watch's heartbeat tell.
#[derive(Debug, Clone)]
pub struct Client {
    api: ApiClient<Channel>,
    api_config: PathBuf,
}

/// What a query is asked with.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Which one.
    pub query: &'static Query,
    /// Org id; `root` or empty is the root org.
    pub org: &'a str,
    /// Values for the variables that the query names. They never become part of its text.
    pub env: Vec<(&'static str, String)>,
    /// Stops after so many rows, on the server's side.
    pub limit: Option<u64>,
    /// Rows of a part, fewer than the query's own: when those would be too large together.
    pub part: Option<u64>,
}

impl<'a> Ask<'a> {
    /// A query without variables.
    #[must_use]
    pub fn new(query: &'static Query, org: &'a str) -> Self {
        Self { query, org, env: Vec::new(), limit: None, part: None }
    }

    /// A query on what happened since a moment, in Unix seconds; those who were seen are looked for from a little earlier.
    #[must_use]
    pub fn since(query: &'static Query, org: &'a str, since: i64) -> Self {
        let seen = since.saturating_sub(SEEN_LATE).max(0);
        Self::new(query, org).with("Since", since.to_string()).with("Seen", seen.to_string())
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(self, limit: Option<u64>) -> Self {
        Self { limit, ..self }
    }

    /// Rows of a part, at least 1.
    #[must_use]
    pub fn part(self, rows: u64) -> Self {
        Self { part: Some(rows.max(1)), ..self }
    }
}

/// An event that is written back.
#[derive(Debug, Clone)]
pub struct Push<'a> {
    /// Artifact, on which the user needs PUBLISH.
    pub artifact: &'a str,
    /// Org id.
    pub org: &'a str,
    /// The client that the rows are about.
    pub client: &'a str,
    /// The flow.
    pub flow: &'a str,
    /// JSON Lines.
    pub jsonl: Vec<u8>,
    /// How many.
    pub rows: usize,
}

impl Client {
    /// A server by its API client file. Nothing is connected to yet; must be called inside a runtime.
    #[must_use]
    pub fn new(api_config: PathBuf) -> Self {
        let endpoint = Endpoint::from(Uri::from_static("http://velociraptor"))
            // What the request says; TLS is the connector's business.
            .origin(Uri::from_static("https://VelociraptorServer"))
            // Each stream may run ahead of its reader by so much, no more: a burst waits on the server, which keeps it in a file.
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        let max = Credentials::read(&api_config).ok().and_then(|read| read.max_message).unwrap_or(MAX_MESSAGE);
        let channel = endpoint.connect_with_connector_lazy(Connector { api_config: api_config.clone() });
        Self { api: ApiClient::new(channel).max_decoding_message_size(max), api_config }
    }

    /// Reads the API client file again, for who wants to show what is in it. Blocking.
    ///
    /// # Errors
    /// When it is of no use.
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        Credentials::read(&self.api_config)
    }

    /// Whether a server is there that takes our certificate.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), ApiError> {
        let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
        request.set_timeout(Duration::from_secs(15));
        let answer = self.api.clone().check(request).await;
        let answer = answer.map_err(|status| ApiError::of_status("check", "", &status))?.into_inner();
        if answer.status() == ServingStatus::Serving {
            return Ok(());
        }
        Err(ApiError::Unreachable("the server says that it does not serve".to_owned()))
    }

    /// Sends a query. It runs until its rows are read, or the answer is dropped.
    ///
    /// # Errors
    /// When it does not even begin.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, ApiError> {
        let Ask { query, org, env, limit, part } = ask;
        let request = VqlCollectorArgs {
            query: vec![VqlRequest { name: format!("bewit/{}", query.name), vql: query.text(limit) }],
            env: env.into_iter().map(|(key, value)| VqlEnv { key: key.to_owned(), value }).collect(),
            max_row: part.unwrap_or(query.max_row),
            max_wait: query.max_wait,
            timeout: query.timeout.map_or(0, |time| time.as_secs()),
            org_id: if org == ROOT_ORG { String::new() } else { org.to_owned() },
        };
        let mut api = self.api.clone();
        let begun = within(query, api.query(request)).await?;
        let stream = begun.map_err(|status| ApiError::of_status(query.name, org, &status))?.into_inner();
        Ok(Answer { query, org: org.to_owned(), stream, rows: VecDeque::new(), said: None, ended: false })
    }

    /// All rows of a query, at most `most`: for queries that answer with few.
    ///
    /// # Errors
    /// When the query fails, or there are more.
    pub async fn rows(&self, ask: Ask<'_>, most: usize) -> Result<Vec<Box<RawValue>>, ApiError> {
        let query = ask.query.name;
        let mut answer = self.ask(ask).await?;
        let mut rows = Vec::new();
        while let Some(row) = answer.next().await? {
            if rows.len() == most {
                return Err(ApiError::Answer { query, reason: format!("more than {most} rows") });
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// Writes rows to an event artifact.
    ///
    /// # Errors
    /// When the server does not take them.
    pub async fn push(&self, push: Push<'_>) -> Result<(), ApiError> {
        const NAME: &str = "push";
        let Push { artifact, org, client, flow, jsonl, rows } = push;
        let request = PushEventRequest {
            artifact: artifact.to_owned(),
            client_id: client.to_owned(),
            flow_id: flow.to_owned(),
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            jsonl,
            org_id: if org == ROOT_ORG { String::new() } else { org.to_owned() },
            write: true,
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(30));
        self.api.clone().push_events(request).await.map_err(|status| ApiError::of_status(NAME, org, &status))?;
        Ok(())
    }
}

/// Waits as long as a query may be silent.
async fn within<T>(query: &Query, work: impl Future<Output = T>) -> Result<T, ApiError> {
    tokio::time::timeout(query.patience, work).await.map_err(|_| ApiError::Silent(query.patience.as_secs()))
}

/// Rows of a query as they come.
#[derive(Debug)]
pub struct Answer {
    query: &'static Query,
    org: String,
    stream: Streaming<VqlResponse>,
    rows: VecDeque<Box<RawValue>>,
    /// The last line of the log that says something of its own.
    said: Option<String>,
    ended: bool,
}

impl Answer {
    /// The next row, as the text of a JSON object. None: the query has ended, and ended well. Cancel-safe.
    ///
    /// # Errors
    /// When the query or the connection fails; a failure is the last that is heard of it.
    pub async fn next(&mut self) -> Result<Option<Box<RawValue>>, ApiError> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            if self.ended {
                return Ok(None);
            }
            match within(self.query, self.stream.message()).await.inspect_err(|_| self.ended = true)? {
                Ok(Some(message)) => self.take(&message)?,
                Ok(None) => self.ended = true,
                Err(status) => {
                    self.ended = true;
                    return Err(ApiError::of_status(self.query.name, &self.org, &status));
                }
            }
        }
    }

    /// A row that has arrived already, without waiting for one.
    pub fn at_hand(&mut self) -> Option<Box<RawValue>> {
        self.rows.pop_front()
    }

    /// The last line of the query's log that says more than that it runs.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    fn take(&mut self, message: &VqlResponse) -> Result<(), ApiError> {
        let query = self.query.name;
        if !message.log.is_empty() {
            let line = message.log.trim();
            if let Some(error) = ApiError::of_log(self.query, line) {
                self.ended = true;
                return Err(error);
            }
            tracing::trace!(query, org = self.org, line = one_line(line), "log of a query");
            if !line.contains("Starting query execution") && !line.contains("Sending response part") {
                self.said = Some(one_line(line.trim_start_matches("vql: ")));
            }
        }
        if !message.response.is_empty() {
            let rows: VecDeque<Box<RawValue>> = serde_json::from_str(&message.response).map_err(|error| {
                self.ended = true;
                ApiError::Answer { query, reason: format!("part {}: {error}", message.part) }
            })?;
            self.rows.extend(rows);
        }
        Ok(())
    }
}
