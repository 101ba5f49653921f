//! Reading a body: bounded in bytes, time and memory, and handed over in batches.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{Request, StatusCode};
use tokio::time::{Instant, timeout};

use super::Site;
use super::answer::{Answer, Report};
use crate::fault;
use crate::intake::lines::{Found, Splitter};
use crate::intake::{BATCH_BYTES, BATCH_LINES, Batch};

const MEBIBYTE: u64 = 1024 * 1024;

/// Mebibytes that a body of a length takes while it is read: never more than a line and a batch.
pub(super) fn share(length: u64, line: u64) -> u32 {
    let bytes = length.min(line.saturating_add(BATCH_BYTES as u64));
    u32::try_from(bytes.div_ceil(MEBIBYTE)).unwrap_or(u32::MAX >> 8).clamp(1, u32::MAX >> 8)
}

/// Refuses a body by what its header says.
///
/// # Errors
/// The answer: 411 or 413.
pub(super) fn check_length(site: &Site, request: &Request<Incoming>) -> Result<(), Answer> {
    use hyper::body::Body;
    let headers = request.headers();
    if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return Err(Answer::error(StatusCode::LENGTH_REQUIRED, "a length or chunks are needed"));
    }
    // Chunks alone: whatever else a body went through could not be undone (RFC 9112 section 6.1).
    let codings = headers.get_all(TRANSFER_ENCODING);
    if codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Err(Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no transfer coding but `chunked` is taken"));
    }
    if request.body().size_hint().lower() > site.max_body {
        return Err(too_large(site));
    }
    Ok(())
}

/// Reads a body and hands its lines over; answers when all of them are stored.
///
/// # Errors
/// The answer, when the body was not read to its end.
pub(super) async fn receive(site: &Site, body: &mut Incoming, length: Option<u64>) -> Result<Answer, Answer> {
    let share = length.map_or(site.share, |length| share(length, site.line).min(site.share));
    let Ok(Ok(_memory)) = timeout(site.patience.memory, site.memory.acquire_many(share)).await else {
        return Err(Answer::error(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once").retry_after(1));
    };
    let mut splitter = Splitter::new(site.line);
    let mut found: Vec<Found> = Vec::new();
    let mut report = Report::default();
    let mut received = 0;
    let mut waited = Duration::ZERO;
    loop {
        let since = Instant::now();
        let left = site.patience.body.saturating_sub(waited);
        let frame = match timeout(left, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a request broke off");
                return Err(Answer::error(StatusCode::BAD_REQUEST, "the body broke off"));
            }
            Err(_) => return Err(Answer::error(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
        };
        waited += since.elapsed();
        let Ok(data) = frame.into_data() else { continue };
        received += data.len() as u64;
        if received > site.max_body {
            return Err(too_large(site));
        }
        splitter.push(&data, &mut found);
        let bytes: usize = found.iter().map(|found| found.line.content.as_ref().map_or(0, Vec::len)).sum();
        if found.len() >= BATCH_LINES || bytes >= BATCH_BYTES {
            hand_over(site, std::mem::take(&mut found), &mut report).await?;
        }
    }
    found.extend(splitter.finish());
    hand_over(site, found, &mut report).await?;
    fault::point("http_before_answer");
    tracing::debug!(counts = ?report.counts(), bytes = received, "an HTTP request was answered");
    Ok(report.answer())
}

async fn hand_over(site: &Site, found: Vec<Found>, report: &mut Report) -> Result<(), Answer> {
    let mut found = found.into_iter().peekable();
    while found.peek().is_some() {
        let (numbers, lines): (Vec<_>, Vec<_>) =
            found.by_ref().take(BATCH_LINES).map(|found| (found.number, found.line)).unzip();
        let batch = Batch { source: "http".to_owned(), folder: None, lines, position: None, keyed: false };
        let fates = site.accept.accept(batch).await.map_err(|error| site.trouble(error))?;
        numbers.into_iter().zip(fates).for_each(|(number, fate)| report.line(number, fate));
    }
    Ok(())
}

fn too_large(site: &Site) -> Answer {
    Answer::error(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is longer than {} bytes", site.max_body))
}
