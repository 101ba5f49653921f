//! Certificates: the server's own authority, the server's leaf, and the file that `velociraptor config api_client` would
//! write, good and bad.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::ring::{default_provider, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// The name in every server's certificate.
pub const SERVER_NAME: &str = "VelociraptorServer";

/// Which certificate the server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// For `VelociraptorServer`, from the server's authority.
    Good,
    /// For another name.
    Name(String),
    /// From an authority of the same name that is not the server's.
    Stranger,
    /// Of the past.
    Expired,
    /// Of the future.
    NotYet,
}

/// Which certificate and key an API client file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Good ones; the key is RSA in PKCS#1 form, as Velociraptor writes it.
    Good,
    /// Good ones; the key is in PKCS#8 form.
    Pkcs8,
    /// A certificate of the past.
    Expired,
    /// A certificate of the future.
    NotYet,
    /// A certificate from an authority of the same name that is not the server's.
    Stranger,
}

/// A key for tests, in the form that Velociraptor writes. It is in the repository, and protects nothing.
const RSA_KEY: &str = include_str!("../../fixtures/velociraptor/test-only-rsa-2048-pkcs1.pem");

/// The server's authority, and one that only looks like it.
pub(super) struct Identity {
    own: CertifiedIssuer<'static, KeyPair>,
    stranger: CertifiedIssuer<'static, KeyPair>,
}

impl Identity {
    pub(super) fn new() -> Self {
        Self { own: authority(), stranger: authority() }
    }

    fn issuer(&self, stranger: bool) -> &CertifiedIssuer<'static, KeyPair> {
        if stranger { &self.stranger } else { &self.own }
    }

    /// What the server needs to show a leaf: TLS 1.3, no X25519, client certificates required.
    pub(super) fn server(&self, leaf: &Leaf) -> Arc<ServerConfig> {
        let name = if let Leaf::Name(name) = leaf { name } else { SERVER_NAME };
        let mut params = params(name);
        date(&mut params, *leaf == Leaf::Expired, *leaf == Leaf::NotYet);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, self.issuer(*leaf == Leaf::Stranger)).unwrap();

        let mut provider = default_provider();
        provider.kx_groups = vec![kx_group::SECP384R1, kx_group::SECP256R1];
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(self.own.der().clone()).unwrap();
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from(cert.der().to_vec())],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// Writes an API client file.
    pub(super) fn api_file(&self, path: &Path, user: User, name: &str, address: &str) -> ApiFile {
        let mut params = params(name);
        date(&mut params, user == User::Expired, user == User::NotYet);
        let issuer = self.issuer(user == User::Stranger);
        let (cert, key) = if user == User::Pkcs8 {
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
        } else {
            (params.signed_by(&rsa(), issuer).unwrap().pem(), RSA_KEY.to_owned())
        };
        let block = |pem: &str| pem.lines().map(|line| format!("  {}\n", line.trim_end())).collect::<String>();
        let text = format!(
            "ca_certificate: |\n{}client_cert: |\n{}client_private_key: |\n{}api_connection_string: {address}\nname: {name}\n",
            block(&self.own.pem()),
            block(&cert),
            block(&key),
        );
        // A file of a former run may be there, with another mode.
        let _ = fs::remove_file(path);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        ApiFile { path: path.to_owned(), pems: vec![self.own.pem(), cert, key] }
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, "Velociraptor CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Both kinds of leaves: the common name is copied into the alternative names.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn date(params: &mut CertificateParams, expired: bool, not_yet: bool) {
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    } else if not_yet {
        params.not_before = date_time_ymd(2190, 1, 1);
        params.not_after = date_time_ymd(2191, 1, 1);
    }
}

/// The RSA key in the form that rcgen takes: PKCS#8 is PKCS#1 with its algorithm's name around it.
fn rsa() -> KeyPair {
    let pkcs1 = PrivatePkcs1KeyDer::from_pem_slice(RSA_KEY.as_bytes()).unwrap();
    let tagged = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content].concat()
    };
    // INTEGER 0, then SEQUENCE { OID 1.2.840.113549.1.1.1, NULL }.
    let head = [2, 1, 0, 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let pkcs8 = tagged(0x30, &[&head[..], &tagged(4, pkcs1.secret_pkcs1_der())].concat());
    KeyPair::try_from(pkcs8).unwrap()
}

/// An API client file, and what no log may repeat of it.
#[derive(Clone)]
pub struct ApiFile {
    /// Where it is.
    pub path: PathBuf,
    pems: Vec<String>,
}

impl ApiFile {
    /// What of its key and its certificates is in a text: as it stands in the file, or encoded in base64 or hexadecimal.
    /// The findings name the place, not the secret.
    #[must_use]
    pub fn secrets_in(&self, text: &str) -> Vec<String> {
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let lower = plain.to_ascii_lowercase();
        let mut found = Vec::new();
        for (pem, what) in self.pems.iter().zip(["CA certificate", "client certificate", "private key"]) {
            let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).map(str::trim).collect();
            let body = lines.concat();
            let der = STANDARD.decode(&body).unwrap();
            for (n, line) in lines.iter().enumerate().filter(|(_, line)| line.len() >= 16) {
                if plain.contains(line) {
                    found.push(format!("line {n} of the {what}"));
                }
                // In base64 once more, at each of the three alignments.
                for skip in 0..3 {
                    let again = STANDARD.encode(&line.as_bytes()[skip..skip + 12]);
                    if plain.contains(&again) {
                        found.push(format!("line {n} of the {what}, in base64 again"));
                    }
                }
            }
            // The bytes themselves, wherever the encoder began.
            for piece in der.chunks_exact(24) {
                let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
                let numbers = piece.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
                if lower.contains(&hex) || plain.contains(&numbers) {
                    found.push(format!("bytes of the {what}, in hexadecimal or as a list"));
                }
                for skip in 0..3 {
                    if plain.contains(&STANDARD.encode(&piece[skip..skip + 18])) {
                        found.push(format!("bytes of the {what}, in base64"));
                    }
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

impl std::fmt::Debug for ApiFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiFile").field("path", &self.path).finish_non_exhaustive()
    }
}
