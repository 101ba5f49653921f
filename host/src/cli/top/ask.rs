//! Asking a daemon for its metrics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cli::UsageError;
use crate::config::secret::Secret;
use crate::text::{cut, one_line};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const LONGEST: usize = 16 << 20;

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// No connection, or one that broke.
    #[error("no answer from {address}: {reason}; is the daemon running with this [web] address?")]
    Silent {
        /// Who was asked.
        address: SocketAddr,
        /// The system's word.
        reason: String,
    },
    /// The daemon wants a token, or another one.
    #[error("{address} wants the operator's token: {reason}")]
    Token {
        /// Who was asked.
        address: SocketAddr,
        /// What is wrong with ours.
        reason: String,
    },
    /// Another answer than metrics.
    #[error("{address} answered {status}: {text}")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// Status code.
        status: StatusCode,
        /// The first of its words.
        text: String,
    },
    /// No metrics.
    #[error("the answer is no text of metrics: {0}")]
    Nonsense(String),
}

/// Where a daemon is, and what opens its door.
#[derive(Debug)]
pub(super) struct Daemon {
    address: SocketAddr,
    token: Option<Secret>,
}

impl Daemon {
    /// A daemon that listens here.
    pub(super) fn new(listen: SocketAddr, token: Option<Secret>) -> Result<Self, UsageError> {
        if listen.port() == 0 {
            let text = "the port in [web] is 0, which the system fills in; name it with --address ADDRESS:PORT";
            return Err(UsageError(text.to_owned()));
        }
        // Who listens everywhere is asked at home.
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(Self { address: SocketAddr::new(ip, listen.port()), token })
    }

    /// As it is shown.
    pub(super) fn name(&self) -> String {
        self.address.to_string()
    }

    /// Its metrics, as text.
    pub(super) async fn metrics(&self) -> Result<String, AskError> {
        let (token, trouble) = match self.token.clone() {
            None => (None, "there is none in [web]".to_owned()),
            Some(secret) => match tokio::task::spawn_blocking(move || secret.read()).await {
                Ok(Ok(value)) => (Some(value), "that of [web] is not it; was it changed?".to_owned()),
                // The address may be one that asks for none.
                Ok(Err(error)) => (None, error.to_string()),
                Err(error) => (None, error.to_string()),
            },
        };
        let authorization = token.and_then(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let address = self.address;
        let silent = |reason: String| AskError::Silent { address, reason };
        let asked = tokio::time::timeout(PATIENCE, ask(address, authorization)).await;
        let (status, body) = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => return Err(silent(reason)),
            Err(_) => return Err(silent(format!("nothing for {} s", PATIENCE.as_secs()))),
        };
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::UNAUTHORIZED => Err(AskError::Token { address, reason: trouble }),
            status => Err(AskError::Refused { address, status, text: cut(&one_line(body.trim()), 200).into_owned() }),
        }
    }
}

/// One request on a connection of its own. An error is a sentence's part.
async fn ask(address: SocketAddr, authorization: Option<HeaderValue>) -> Result<(StatusCode, String), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut request = Request::get("/metrics").header(HOST, address.to_string());
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    // The connection does its work beside it, and ends with it.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}
