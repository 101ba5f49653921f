//! A client of the API that shows everything: each message, each end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::velociraptor::line::Socket;
use crate::velociraptor::proto::{
    HealthCheckRequest, HealthCheckResponse, VqlCollectorArgs, VqlEnv, VqlRequest, VqlResponse,
};
use crate::velociraptor::{ApiFile, SERVER_NAME};

pub(super) struct Client {
    pub(super) runtime: Runtime,
    grpc: Grpc<Channel>,
}

/// What a query is asked with.
pub(super) struct Ask<'a> {
    pub(super) text: &'a str,
    pub(super) env: &'a [(&'a str, &'a str)],
    pub(super) org: &'a str,
    pub(super) max_row: u64,
}

impl<'a> Ask<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, env: &[], org: "", max_row: 10 }
    }

    pub(super) fn env(self, env: &'a [(&'a str, &'a str)]) -> Self {
        Self { env, ..self }
    }
}

/// The messages of a query, and its end.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) messages: Vec<VqlResponse>,
    pub(super) end: Result<(), Status>,
}

impl Heard {
    pub(super) fn logs(&self) -> Vec<&str> {
        self.messages.iter().filter(|one| !one.log.is_empty()).map(|one| one.log.as_str()).collect()
    }

    /// The rows of each part.
    pub(super) fn parts(&self) -> Vec<Vec<serde_json::Value>> {
        let parts = self.messages.iter().filter(|one| !one.response.is_empty());
        parts.map(|one| serde_json::from_str(&one.response).unwrap()).collect()
    }

    pub(super) fn rows(&self) -> Vec<serde_json::Value> {
        self.parts().concat()
    }
}

impl Client {
    /// Connects when it is needed.
    pub(super) fn new(file: &ApiFile) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let connector = Connector(std::fs::read_to_string(&file.path).unwrap().into());
        let channel = {
            let _inside = runtime.enter();
            Endpoint::from(Uri::from_static("http://fake")).connect_with_connector_lazy(connector)
        };
        Self { runtime, grpc: Grpc::new(channel).max_decoding_message_size(64 << 20) }
    }

    pub(super) fn check(&self) -> Result<i32, Status> {
        let mut grpc = self.grpc.clone();
        self.runtime.block_on(async move {
            grpc.ready().await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
            let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
            let request = Request::new(HealthCheckRequest { service: String::new() });
            let path = http::uri::PathAndQuery::from_static("/proto.API/Check");
            Ok(grpc.unary(request, path, codec).await?.into_inner().status)
        })
    }

    /// A query that goes on while others are asked.
    pub(super) fn begin(&self, ask: &Ask<'_>) -> Result<tonic::Streaming<VqlResponse>, Status> {
        let args = VqlCollectorArgs {
            query: vec![VqlRequest { vql: ask.text.to_owned(), name: "test".to_owned() }],
            env: ask.env.iter().map(|(key, value)| VqlEnv { key: (*key).into(), value: (*value).into() }).collect(),
            max_row: ask.max_row,
            max_wait: 1,
            timeout: 0,
            org_id: ask.org.to_owned(),
        };
        let mut grpc = self.grpc.clone();
        self.runtime.block_on(async move {
            grpc.ready().await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
            let codec = tonic_prost::ProstCodec::<VqlCollectorArgs, VqlResponse>::default();
            let path = http::uri::PathAndQuery::from_static("/proto.API/Query");
            Ok(grpc.server_streaming(Request::new(args), path, codec).await?.into_inner())
        })
    }

    /// The next message that has rows in it.
    pub(super) fn next_rows(&self, stream: &mut tonic::Streaming<VqlResponse>) -> Vec<serde_json::Value> {
        let limit = crate::budget(20.0);
        self.runtime.block_on(async {
            loop {
                let message = tokio::time::timeout(limit, stream.message()).await.expect("a message comes");
                let message = message.unwrap().expect("the stream goes on");
                if !message.response.is_empty() {
                    return serde_json::from_str(&message.response).unwrap();
                }
            }
        })
    }

    /// A query to its end.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> Heard {
        let mut messages = Vec::new();
        let mut stream = match self.begin(ask) {
            Ok(stream) => stream,
            Err(status) => return Heard { messages, end: Err(status) },
        };
        let end = self.runtime.block_on(async {
            loop {
                match stream.message().await {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(status),
                }
            }
        });
        Heard { messages, end }
    }

    /// Whether a query is still without an end when this time is over.
    pub(super) fn hangs(&self, text: &str, time: Duration) -> bool {
        let begun = std::time::Instant::now();
        let client = Self { runtime: Runtime::new().unwrap(), grpc: self.grpc.clone() };
        let text = text.to_owned();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = client.ask(&Ask::new(&text));
            let _ = sender.send(());
        });
        let hung = receiver.recv_timeout(time).is_err();
        hung && begun.elapsed() >= time
    }
}

#[derive(Clone)]
struct Connector(Arc<str>);

type Connecting = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<Stream>>> + Send>>;
type Stream = tokio_rustls::client::TlsStream<crate::velociraptor::line::Wire>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Connecting {
        let yaml = Arc::clone(&self.0);
        Box::pin(async move {
            let address = scalar(&yaml, "api_connection_string");
            let socket = match address.strip_prefix("unix://") {
                Some(path) => Socket::Unix(UnixStream::connect(path).await?),
                None => Socket::Tcp(TcpStream::connect(address).await?),
            };
            let wire = crate::velociraptor::line::Wire::new(socket, crate::velociraptor::line::Line::new());
            let name = ServerName::try_from(SERVER_NAME).unwrap();
            let stream = TlsConnector::from(Arc::new(config(&yaml))).connect(name, wire).await?;
            Ok(TokioIo::new(stream))
        })
    }
}

fn config(yaml: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(block(yaml, "ca_certificate").as_bytes()).unwrap()).unwrap();
    let cert = CertificateDer::from_pem_slice(block(yaml, "client_cert").as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(block(yaml, "client_private_key").as_bytes()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![cert], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A block scalar of the API client file.
fn block(yaml: &str, key: &str) -> String {
    let rest = yaml.split_once(&format!("{key}: |\n")).unwrap().1;
    rest.lines().take_while(|line| line.starts_with("  ")).map(|line| format!("{}\n", line.trim())).collect()
}

fn scalar<'a>(yaml: &'a str, key: &str) -> &'a str {
    yaml.split_once(&format!("{key}: ")).unwrap().1.lines().next().unwrap()
}
