//! How a server is reached: TCP or a Unix socket, then TLS 1.3 with both certificates. The API client file is read again
//! for each connection, so that a new certificate is used at once.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::crypto::ring::{default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::Uri;

use super::credentials::{Address, Credentials, CredentialsError};

/// How long resolving, connecting and the handshake may take together.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the server's first words are waited for; one that lets us speak first is none the worse.
const FIRST_WORDS: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no connection to the Velociraptor API: {0}")]
    Network(String),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("{0}")]
    Identity(String),
}

/// Connects whenever it is asked to.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    /// The API client file.
    pub(super) api_config: PathBuf,
}

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Box<dyn Stream>>, ConnectError>> + Send>>;

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = ConnectError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Connecting {
        let path = self.api_config.clone();
        Box::pin(async move {
            let credentials = tokio::task::spawn_blocking(move || Credentials::read(&path))
                .await
                .map_err(|error| ConnectError::Network(error.to_string()))??;
            let address = credentials.address.clone();
            match tokio::time::timeout(PATIENCE, connect(credentials)).await {
                Ok(connected) => connected,
                Err(_) => Err(ConnectError::Network(format!("{address} does not answer for {} s", PATIENCE.as_secs()))),
            }
        })
    }
}

/// What a connection runs over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(credentials: Credentials) -> Result<TokioIo<Box<dyn Stream>>, ConnectError> {
    let address = credentials.address.clone();
    let network = |error: io::Error| ConnectError::Network(format!("{address}: {error}"));
    let raw: Box<dyn Stream> = match &address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(network)?),
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(network)?;
            stream.set_nodelay(true).map_err(network)?;
            keep_alive(&stream).map_err(network)?;
            Box::new(stream)
        }
    };
    let name = credentials.server_name.clone();
    let server = ServerName::try_from(name.clone())
        .map_err(|_| ConnectError::Identity(format!("`{name}` is no name that a certificate could have")))?;
    let connector = TlsConnector::from(Arc::new(tls(credentials)?));
    let refused = |error: io::Error| handshake(&address, &name, &error);
    let mut stream = connector.connect(server, raw).await.map_err(refused)?;
    // With TLS 1.3 our side is done before the server has looked at our certificate. Its first words, or the alert in
    // place of them, tell; HTTP/2 would only know that the connection is closed. They stay where they are.
    if let Ok(first) = tokio::time::timeout(FIRST_WORDS, stream.fill_buf()).await
        && first.map_err(refused)?.is_empty()
    {
        return Err(ConnectError::Network(format!("{address}: closed right after the TLS handshake")));
    }
    Ok(TokioIo::new(Box::new(stream)))
}

/// A peer that is gone without a word is noticed within half a minute, where no HTTP/2 ping may tell: the server takes
/// pings more often than every five minutes for an attack.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, 30_000)?;
    Ok(())
}

/// TLS 1.3 only, as the server wants it, and the curves that it offers first: with X25519 in front, each handshake would
/// take one more round trip.
fn tls(credentials: Credentials) -> Result<ClientConfig, ConnectError> {
    let identity = |error: rustls::Error| ConnectError::Identity(format!("the API client file is of no use: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in credentials.ca {
        roots.add(certificate).map_err(identity)?;
    }
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(identity)?
        .with_root_certificates(roots)
        .with_client_auth_cert(credentials.cert, credentials.key)
        .map_err(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A handshake's end in words that say whose certificate is wrong, and how.
fn handshake(address: &Address, name: &str, error: &io::Error) -> ConnectError {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return ConnectError::Network(format!("{address}: during the TLS handshake: {error}"));
    };
    let reason = match cause {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("its certificate is not that of `{name}`: another server answers there, or a proxy"),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not signed by the authority in the API client file".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired: `velociraptor config rotate_keys` renews it".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet: compare the clocks".to_owned(),
        other => match refusal(&other.to_string()) {
            Some(reason) => reason,
            None => return ConnectError::Network(format!("{address}: during the TLS handshake: {other}")),
        },
    };
    ConnectError::Identity(format!("the server at {address} is not to be trusted, or does not trust us: {reason}"))
}

/// What an error's words say, if they say that our certificate is not taken. Once a connection is in use, HTTP/2 keeps no
/// more of an error than its words.
pub(super) fn refusal(words: &str) -> Option<String> {
    let alert = words.split_once("received fatal alert: ")?.1.split(|c: char| !c.is_alphanumeric()).next()?;
    let ours = [
        AlertDescription::CertificateExpired,
        AlertDescription::BadCertificate,
        AlertDescription::UnknownCA,
        AlertDescription::DecryptError,
        AlertDescription::CertificateRequired,
        AlertDescription::CertificateUnknown,
        AlertDescription::AccessDenied,
    ];
    let ours = ours.iter().any(|own| format!("{own:?}") == alert);
    ours.then(|| format!("it does not take our certificate (alert {alert}); it may have expired"))
}
