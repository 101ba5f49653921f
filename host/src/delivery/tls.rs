//! TLS by rustls: 1.2 or newer, the certificate checked against the server's name, unless told otherwise.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::classify::Phase;
use super::session::{Cause, Fault, Stream, within};
use crate::config::{SmtpConfig, Timeouts};

/// Why TLS cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `root_ca` cannot be used.
    #[error("root_ca {path}: {reason}")]
    RootCa {
        /// File.
        path: String,
        /// Why.
        reason: String,
    },
    /// The system has no certificate that could be trusted.
    #[error("no trusted certificates found on this system ({0}); set `root_ca`")]
    NoRoots(String),
    /// The server's name is neither a DNS name nor an address.
    #[error("`{0}` is no name that a certificate could be checked against")]
    ServerName(String),
    /// rustls's word.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// How a handshake went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// Such as `TLSv1_3`.
    pub version: String,
    /// Such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// What the handshakes with one server need.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the roots and makes the setup. Blocking: certificates are read from disk.
    ///
    /// # Errors
    /// When there are no usable roots, or the server's name cannot be checked.
    pub fn new(config: &SmtpConfig) -> Result<Self, TlsError> {
        let name = server_name(&config.server)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let client = if config.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(match &config.root_ca {
                Some(path) => own_roots(path)?,
                None => system_roots()?,
            })
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(client.with_no_client_auth())), name })
    }

    /// The handshake, by the `connect` deadline.
    pub(super) async fn handshake(
        &self,
        stream: Box<dyn Stream>,
        timeouts: &Timeouts,
    ) -> Result<(Box<dyn Stream>, TlsInfo), Fault> {
        let handshake = self.connector.connect(self.name.clone(), stream);
        let stream = within(Phase::Handshake, timeouts.connect, handshake).await?;
        let (_, connection) = stream.get_ref();
        let (Some(version), Some(suite)) = (connection.protocol_version(), connection.negotiated_cipher_suite()) else {
            return Err(Fault::new(Phase::Handshake, Cause::Tls("the handshake did not end".to_owned())));
        };
        let info = TlsInfo { version: format!("{version:?}"), cipher: format!("{:?}", suite.suite()) };
        Ok((Box::new(stream), info))
    }
}

/// A DNS name or an address, in brackets or not; the root's dot at its end is not part of a certificate.
fn server_name(server: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = server.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(server);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName(server.to_owned()))
}

fn own_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |reason: String| TlsError::RootCa { path: path.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate in PEM form".to_owned())) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores of old systems hold certificates that no library can read; the others serve.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(if reasons.is_empty() { "none".to_owned() } else { reasons.join("; ") }));
    }
    Ok(roots)
}

/// `skip_verify`: any certificate will do, but the server must own its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for server in ["mx.example.org", "mx.example.org.", "127.0.0.1", "::1", "[::1]", "localhost"] {
            assert!(server_name(server).is_ok(), "{server}");
        }
        for server in ["", "mx example", "mx..org", "[x"] {
            assert!(server_name(server).is_err(), "{server}");
        }
    }

    #[test]
    fn a_root_ca_without_certificates_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(own_roots(file.path()).unwrap_err().to_string().contains("no certificate"));
        assert!(own_roots(Path::new("/nonexistent.pem")).unwrap_err().to_string().contains("/nonexistent.pem"));
    }
}
