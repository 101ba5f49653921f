//! The API client file, as `velociraptor config api_client` writes it: YAML with the certificates, the key and the address.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use saphyr::{LoadableYamlNode as _, Yaml};

/// The name in every Velociraptor server's certificate, whatever host it runs on.
pub const SERVER_NAME: &str = "VelociraptorServer";

/// Bytes of the file: three PEM blocks have a few thousand.
const LONGEST: u64 = 1 << 20;

/// Why the file is of no use. Never repeats what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct CredentialsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// `unix://` and a path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Who we are and whom we trust. Its `Debug` shows no key.
pub struct Credentials {
    /// Certificates of the server's own authority; no other is trusted.
    pub ca: Vec<CertificateDer<'static>>,
    /// Our certificate.
    pub cert: Vec<CertificateDer<'static>>,
    /// Our key (PKCS#1, PKCS#8 or SEC1).
    pub key: PrivateKeyDer<'static>,
    /// Where the API is.
    pub address: Address,
    /// User name, the certificate's common name.
    pub name: String,
    /// The name that the server's certificate must have.
    pub server_name: String,
    /// Most bytes of one message.
    pub max_message: Option<usize>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("address", &self.address)
            .field("name", &self.name)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the file. Blocking.
    ///
    /// # Errors
    /// When it cannot be read, others can read it, or it is not what it should be.
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let wrong = |reason: String| CredentialsError { path: path.to_owned(), reason };
        Self::parse(&contents(path).map_err(wrong)?).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        const HOW: &str = "`velociraptor config api_client --name NAME --role api FILE` writes one";
        // The parser's own words would repeat a line of the file, and with it perhaps a line of the key.
        let documents =
            Yaml::load_from_str(text).map_err(|error| format!("no YAML at line {}; {HOW}", error.marker().line()))?;
        let file = documents.first().ok_or_else(|| format!("it is empty; {HOW}"))?;
        let field = |key: &str| {
            file.as_mapping_get(key).and_then(|value| value.as_str()).map(str::trim).filter(|text| !text.is_empty())
        };
        let needed = |key: &str| field(key).ok_or_else(|| format!("no `{key}` in it; {HOW}"));

        let certificates = |key: &str| -> Result<Vec<CertificateDer<'static>>, String> {
            let found: Vec<_> = CertificateDer::pem_slice_iter(needed(key)?.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| format!("`{key}` is not a certificate in PEM form; {HOW}"))?;
            if found.is_empty() {
                return Err(format!("`{key}` holds no certificate; {HOW}"));
            }
            Ok(found)
        };
        let key = needed("client_private_key")?;
        if key.contains("ENCRYPTED") {
            return Err(
                "`client_private_key` is encrypted, and nobody can type a password here: write the file again \
                        without --password, and let nobody else read it"
                    .to_owned(),
            );
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| format!("`client_private_key` is not a private key in PEM form; {HOW}"))?;
        let max_message = file.as_mapping_get("max_grpc_recv_size").and_then(Yaml::as_integer);
        Ok(Self {
            ca: certificates("ca_certificate")?,
            cert: certificates("client_cert")?,
            key,
            address: address(needed("api_connection_string")?)?,
            name: field("name").unwrap_or_default().to_owned(),
            server_name: field("pinned_server_name").unwrap_or(SERVER_NAME).to_owned(),
            max_message: max_message.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0),
        })
    }
}

/// The file's text, if it is a file that others can neither read nor change.
fn contents(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o006 != 0 {
        return Err(format!(
            "others can read or change it (mode {mode:04o}), and it holds a private key: `chmod o= {}`",
            path.display()
        ));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > LONGEST {
        return Err("longer than 1 MiB: this is no API client file".to_owned());
    }
    Ok(text)
}

fn address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix://") {
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let wrong = || "`api_connection_string` is neither HOST:PORT nor unix://PATH".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if host.is_empty() || host.contains('/') {
        return Err(wrong());
    }
    Ok(Address::Tcp(host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn identity() -> (String, String) {
        let key = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        (key.cert.pem(), key.signing_key.serialize_pem())
    }

    fn file(cert: &str, key: &str, more: &str) -> String {
        let block = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
        format!(
            "ca_certificate: |\n{}client_cert: |\n{}client_private_key: |\n{}{more}",
            block(cert),
            block(cert),
            block(key)
        )
    }

    #[test]
    fn a_file_as_the_command_writes_it() {
        let (cert, key) = identity();
        let text =
            file(&cert, &key, "api_connection_string: velo.example.org:8001\nname: bewit\nmax_grpc_recv_size: 9\n");
        let read = Credentials::parse(&text).unwrap();
        assert_eq!(read.address, Address::Tcp("velo.example.org".to_owned(), 8001));
        assert_eq!((read.name.as_str(), read.server_name.as_str()), ("bewit", SERVER_NAME));
        assert_eq!(read.max_message, Some(9));
        assert!(!format!("{read:?}").contains("PRIVATE"));
    }

    #[test]
    fn addresses() {
        assert_eq!(address("[::1]:8001").unwrap().to_string(), "[::1]:8001");
        assert_eq!(address("unix:///run/api.sock").unwrap(), Address::Unix("/run/api.sock".into()));
        for wrong in ["", "host", "host:", "host:0", "host:99999", ":8001", "https://host:8001"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let (cert, key) = identity();
        let good = file(&cert, &key, "api_connection_string: a:1\n");
        let secret = key.lines().nth(1).unwrap();
        for (text, said) in [
            (String::new(), "it is empty"),
            (good.replace("client_cert:", "other:"), "no `client_cert`"),
            (good.replace("a:1", "a"), "neither HOST:PORT"),
            (good.replace("BEGIN PRIVATE KEY", "BEGIN NOTHING"), "not a private key"),
            (good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "is encrypted"),
            (format!("{good}client_cert: [\n{secret}"), "no YAML at line"),
        ] {
            let error = Credentials::parse(&text).unwrap_err();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn others_may_not_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.yaml");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Credentials::read(&path).unwrap_err().to_string();
        assert!(error.contains("others can read"), "{error}");
    }
}
