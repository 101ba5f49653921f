//! A small HTTP client that can be as rude as a test needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::{budget, wait_for};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Answer {
    /// A header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }
}

/// Waits until somebody listens.
///
/// # Panics
/// When nobody ever does.
pub fn wait_for_listener(address: SocketAddr) {
    wait_for(&format!("a listener on {address}"), 30.0, || TcpStream::connect(address).ok());
}

/// `POST /v1/events` with a bearer token.
///
/// # Errors
/// When the connection breaks before the answer is complete.
pub fn post(address: SocketAddr, token: Option<&str>, body: &[u8]) -> std::io::Result<Answer> {
    let mut head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\
         Connection: close\r\n",
        body.len()
    );
    if let Some(token) = token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    head.push_str("\r\n");
    exchange(address, &[head.as_bytes(), body].concat())
}

/// Sends bytes as they are, and reads the answer.
///
/// # Errors
/// When the connection breaks before the answer is complete.
pub fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Answer> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(budget(90.0)))?;
    connection.set_nodelay(true)?;
    // A server may answer, and close, before it has read everything.
    let sent = connection.write_all(request);
    answer(&mut connection).or_else(|error| sent.and(Err(error)))
}

/// Reads one answer to the end of the connection.
///
/// # Errors
/// When it is none, or breaks off.
pub fn answer(connection: &mut TcpStream) -> std::io::Result<Answer> {
    let mut raw = Vec::new();
    let read = connection.read_to_end(&mut raw);
    let text = String::from_utf8_lossy(&raw).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        read?;
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, format!("no answer: {text:?}")));
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(|| std::io::Error::other(format!("no status: {head}")))?,
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.to_owned(),
    })
}
