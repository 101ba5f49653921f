//! Rows of a flow: streamed into files, which are read like any other file of rows.

use std::io;
use std::path::Path;

use serde_json::value::RawValue;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::{Live, Question};
use crate::event::EventKey;
use crate::event::QueryStats;
use crate::event::rows::{AskedRows, ResultSet};
use crate::rule::needs::Want;
use crate::text::one_line;
use crate::velociraptor::client::Ask;
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::{RESULTS, UPLOADS};

/// Bytes of a flow's uploads, as JSON.
const UPLOADS_BYTES: usize = 8 << 20;

/// Why there are no rows.
#[derive(Debug)]
pub(super) enum Failure {
    /// What the server says.
    Api(ApiError),
    /// The rows cannot be stored.
    Io(io::Error),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether the fault is the query's, not the connection's or the user's: then the rest of the event can be had.
pub(super) fn is_the_querys(error: &ApiError) -> bool {
    matches!(error, ApiError::Query { .. } | ApiError::Answer { .. } | ApiError::Ended { .. })
}

/// Whether it is worth asking a second time: the connection was lost, or the query failed, and nobody has tried again yet.
fn once_more(error: &ApiError, tried: &mut bool) -> bool {
    let worth = matches!(error, ApiError::Unreachable(_)) || is_the_querys(error);
    worth && !std::mem::replace(tried, true)
}

/// How many rows the flow's record says that a source has.
pub(super) fn counted(source: &str, stats: &[QueryStats]) -> Option<u64> {
    let own = |query: &&QueryStats| {
        query.artifact == source || query.names_with_response.first().is_some_and(|name| name == source)
    };
    // A query that answers for several sources says only how many rows they have together.
    let own: Vec<&QueryStats> = stats.iter().filter(own).collect();
    if own.is_empty() || own.iter().any(|query| query.names_with_response.len() > 1) {
        return None;
    }
    Some(own.iter().fold(0, |sum, query| sum.saturating_add(query.result_rows)))
}

impl Live {
    /// Reads a source into `folder/file`. Twice, if the query fails the first time; if it fails again, the set says why.
    pub(super) async fn source(
        &self,
        key: &EventKey,
        source: &str,
        want: Want,
        counted: Option<u64>,
        (folder, file): (&Path, &str),
    ) -> Result<ResultSet, Failure> {
        let mut tried = false;
        loop {
            return match self.stream(key, source, want, counted, (folder, file), tried).await {
                Ok(asked) => Ok(ResultSet::Asked(asked)),
                Err(Failure::Api(error)) if once_more(&error, &mut tried) => continue,
                Err(Failure::Api(error)) if is_the_querys(&error) => {
                    Ok(ResultSet::Unusable(format!("result rows could not be read: {}", one_line(&error.to_string()))))
                }
                Err(failure) => Err(failure),
            };
        }
    }

    async fn stream(
        &self,
        key: &EventKey,
        source: &str,
        want: Want,
        counted: Option<u64>,
        (folder, file): (&Path, &str),
        again: bool,
    ) -> Result<AskedRows, Failure> {
        let ask = Ask::new(&RESULTS, &key.org_id)
            .with("Cid", &key.client_id)
            .with("Fid", &key.flow_id)
            .with("Source", source)
            .limit(want.rows);
        let mut question = Question::new(self, &ask, again)?;
        let mut out = BufWriter::with_capacity(64 * 1024, File::create(folder.join(file)).await?);
        let answer = self.0.server.ask(ask).await;
        let mut answer = question.end(answer)?;
        let (mut rows, mut bytes) = (0_u64, 0_u64);
        let mut more = false;
        while let Some(row) = question.end(answer.next().await)? {
            if bytes >= want.bytes || want.rows.is_some_and(|most| rows >= most) {
                more = true;
                break;
            }
            let line = on_one_line(&row);
            out.write_all(line.as_bytes()).await?;
            out.write_all(b"\n").await?;
            rows += 1;
            bytes += line.len() as u64 + 1;
        }
        out.flush().await?;
        let limited = want.rows.is_some_and(|most| rows >= most);
        let (total, exact) = match (more || limited, counted) {
            (false, _) => (rows, true),
            (true, Some(counted)) => (counted.max(rows + u64::from(more)), true),
            (true, None) => (rows + u64::from(more), false),
        };
        Ok(AskedRows { file: file.to_owned(), rows, total, exact })
    }

    /// A flow's uploads as a JSON array, at most `most` of them, and whether there are more; or why there are none.
    pub(super) async fn uploads(&self, key: &EventKey, most: u64) -> Result<Result<(String, bool), String>, ApiError> {
        let mut tried = false;
        loop {
            return match self.list(key, most, tried).await {
                Err(error) if once_more(&error, &mut tried) => continue,
                Err(error) if is_the_querys(&error) => {
                    Ok(Err(format!("The list of uploads could not be read: {}.", one_line(&error.to_string()))))
                }
                listed => listed.map(Ok),
            };
        }
    }

    async fn list(&self, key: &EventKey, most: u64, again: bool) -> Result<(String, bool), ApiError> {
        let ask = Ask::new(&UPLOADS, &key.org_id)
            .with("Cid", &key.client_id)
            .with("Fid", &key.flow_id)
            .limit(Some(most.saturating_add(1)));
        let mut question = Question::new(self, &ask, again)?;
        let answer = self.0.server.ask(ask).await;
        let mut answer = question.end(answer)?;
        let (mut list, mut rows) = (String::from("["), 0_u64);
        while let Some(row) = question.end(answer.next().await)? {
            if rows >= most || list.len() > UPLOADS_BYTES {
                return Ok((list + "]", true));
            }
            if rows > 0 {
                list.push(',');
            }
            list.push_str(row.get());
            rows += 1;
        }
        Ok((list + "]", false))
    }
}

/// The text of a row with its line breaks, which can only stand between tokens, as blanks.
fn on_one_line(row: &RawValue) -> std::borrow::Cow<'_, str> {
    let text = row.get();
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ").into() } else { text.into() }
}
