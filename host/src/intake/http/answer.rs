//! What is answered.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::intake::{Counts, Fate};

/// Bad lines that are named in an answer; the others are only counted.
const NAMED: usize = 100;

/// The body of the answer to a request whose lines were read.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Events that are stored now.
    accepted: u64,
    /// Events that were known.
    duplicates: u64,
    /// Events that were known with another body: recorded, not mailed again.
    conflicts: u64,
    /// The first hundred lines that are no events.
    rejected: Vec<RejectedLine>,
    /// How many there are.
    rejected_total: u64,
    /// Set when there was no line at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct RejectedLine {
    /// Counted from 1.
    line: u64,
    reason: String,
}

impl Report {
    /// Counts a line.
    pub(super) fn line(&mut self, number: u64, fate: Fate) {
        match fate {
            Fate::Stored => self.accepted += 1,
            Fate::Duplicate => self.duplicates += 1,
            Fate::Conflict => self.conflicts += 1,
            Fate::Rejected(reason) => {
                self.rejected_total += 1;
                if self.rejected.len() < NAMED {
                    self.rejected.push(RejectedLine { line: number, reason });
                }
            }
        }
    }

    /// By fate.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            accepted: self.accepted,
            duplicates: self.duplicates,
            conflicts: self.conflicts,
            rejected: self.rejected_total,
        }
    }

    /// 202 if there is anything good.
    pub(super) fn answer(mut self) -> Answer {
        let counts = self.counts();
        if counts == Counts::default() {
            self.error = Some("the request holds no line");
        }
        let status = if counts.good() > 0 { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST };
        Answer { status, body: json(&self), headers: Vec::new(), close: false }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
    close: bool,
}

impl Answer {
    /// A refusal; the connection ends with it, because its body may not have been read.
    pub(super) fn error(status: StatusCode, error: &str) -> Self {
        #[derive(Serialize)]
        struct Refusal<'a> {
            error: &'a str,
        }
        Self { status, body: json(&Refusal { error }), headers: Vec::new(), close: true }
    }

    /// 401
    pub(super) fn unauthorized(error: &str) -> Self {
        Self::error(StatusCode::UNAUTHORIZED, error).with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// Says which methods there are.
    pub(super) fn allow(self, methods: &'static str) -> Self {
        self.with(ALLOW, HeaderValue::from_static(methods))
    }

    /// Says when to come again, in seconds.
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// For the wire.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.extend(self.headers);
        response
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    body
}
