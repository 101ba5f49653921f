//! The server: where it listens, who may connect, and its life on a thread of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use super::answers::{Asked, Kind};
use super::faults::{Cut, Fault, Faults, InForce, When};
use super::identity::{ApiFile, Identity, Leaf, User};
use super::line::{Connection, Line, Socket, Wire};
use super::proto::PushEventRequest;
use super::proto::api_server::ApiServer;
use super::record::{Recorded, Records};
use super::service::{Reply, Script, Service};
use super::stream::Beat;
use super::world::World;

pub(super) struct Inner {
    pub(super) world: World,
    pub(super) records: Arc<Records>,
    pub(super) faults: Faults,
    pub(super) scripts: Mutex<Vec<Box<Script>>>,
    pub(super) beat: Mutex<Beat>,
    pub(super) second: Duration,
    identity: Identity,
    tls: Mutex<Arc<ServerConfig>>,
    lines: Mutex<Vec<Line>>,
    hole: Mutex<bool>,
}

/// A server to be.
#[derive(Debug)]
pub struct Builder {
    world: World,
    unix: Option<PathBuf>,
    leaf: Leaf,
    second: Duration,
    beat: Beat,
}

impl Builder {
    /// With a world that is there already.
    #[must_use]
    pub fn world(mut self, world: World) -> Self {
        self.world = world;
        self
    }

    /// Listens on a Unix socket instead of a port.
    #[must_use]
    pub fn unix(mut self, path: PathBuf) -> Self {
        self.unix = Some(path);
        self
    }

    /// The certificate that it shows.
    #[must_use]
    pub fn leaf(mut self, leaf: Leaf) -> Self {
        self.leaf = leaf;
        self
    }

    /// How long a second of `max_wait` takes: less makes single rows come sooner than any real server sends them.
    #[must_use]
    pub fn second(mut self, second: Duration) -> Self {
        self.second = second;
        self
    }

    /// How often watches beat.
    #[must_use]
    pub fn beat(mut self, beat: Beat) -> Self {
        self.beat = beat;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(self) -> FakeVelociraptor {
        let identity = Identity::new();
        let inner = Arc::new(Inner {
            world: self.world,
            records: Arc::default(),
            faults: Faults::default(),
            scripts: Mutex::default(),
            beat: Mutex::new(self.beat),
            second: self.second,
            tls: Mutex::new(identity.server(&self.leaf)),
            identity,
            lines: Mutex::default(),
            hole: Mutex::new(false),
        });
        let (address, reserved) = match self.unix {
            Some(path) => (Address::Unix(path), None),
            None => {
                let socket = TcpSocket::new_v4().unwrap();
                socket.set_reuseaddr(true).unwrap();
                socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
                (Address::Tcp(socket.local_addr().unwrap()), Some(socket))
            }
        };
        let server = FakeVelociraptor { inner, address, running: Mutex::default(), _reserved: reserved };
        server.start();
        server
    }
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// A server that runs until it goes out of scope.
pub struct FakeVelociraptor {
    inner: Arc<Inner>,
    address: Address,
    running: Mutex<Option<Running>>,
    /// Keeps the port while the server is down: bound, but not listening.
    _reserved: Option<TcpSocket>,
}

impl FakeVelociraptor {
    /// A server with an empty world, to be started.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            world: World::new(),
            unix: None,
            leaf: Leaf::Good,
            second: Duration::from_secs(1),
            beat: Beat::AsAsked,
        }
    }

    /// Starts it again, at the same address.
    ///
    /// # Panics
    /// When it runs, or cannot listen.
    pub fn start(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "the server runs already");
        let (inner, address) = (Arc::clone(&self.inner), self.address.clone());
        let (stop, stopped) = oneshot::channel();
        let (ready, listens) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(serve(inner, address, ready, stopped));
            runtime.shutdown_timeout(Duration::from_secs(5));
        });
        listens.recv().expect("the fake server listens");
        self.inner.world.set_up(true);
        *running = Some(Running { stop, thread });
    }

    /// Ends it and all its connections; its world stays. What was buffered for watchers is lost.
    pub fn stop(&self, cut: Cut) {
        let Some(running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.inner.world.set_up(false);
        self.cut_all(cut);
        let _ = running.stop.send(());
        let _ = running.thread.join();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Ends all connections, without a word of TLS or HTTP/2.
    pub fn cut_all(&self, cut: Cut) {
        self.inner.lines().iter().for_each(|line| line.cut(cut));
    }

    /// Nothing goes through any connection, old or new; or everything again.
    pub fn black_hole(&self, hole: bool) {
        *self.inner.hole.lock().unwrap() = hole;
        self.inner.lines().iter().for_each(|line| line.hole(hole));
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.lines().len()
    }

    /// The certificate that new connections see.
    pub fn set_leaf(&self, leaf: &Leaf) {
        *self.inner.tls.lock().unwrap() = self.inner.identity.server(leaf);
    }

    /// How often watches beat that begin from now on.
    pub fn set_beat(&self, beat: Beat) {
        *self.inner.beat.lock().unwrap() = beat;
    }

    /// What `api_connection_string` says.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix://{}", path.display()),
        }
    }

    /// Writes an API client file for the user `bewit`, mode 0600.
    pub fn api_file(&self, path: impl AsRef<Path>, user: User) -> ApiFile {
        self.inner.identity.api_file(path.as_ref(), user, "bewit", &self.address())
    }

    /// Its world.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.inner.world
    }

    /// Something goes wrong from now on: for queries of a kind, or of any. Faults add up.
    pub fn fault(&self, kind: impl Into<Option<Kind>>, when: When, fault: Fault) -> InForce {
        self.inner.faults.add(kind.into(), when, fault)
    }

    /// Nothing goes wrong any more.
    pub fn lift_faults(&self) {
        self.inner.faults.lift_all();
    }

    /// Asked before the world is: what it says is the answer; `None` leaves the query to the next script, then the world.
    pub fn script(&self, script: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) {
        self.inner.scripts.lock().unwrap().push(Box::new(script));
    }

    /// No more scripts.
    pub fn clear_scripts(&self) {
        self.inner.scripts.lock().unwrap().clear();
    }

    /// Every query so far.
    #[must_use]
    pub fn queries(&self) -> Vec<Recorded> {
        self.inner.records.queries()
    }

    /// How many queries of a kind there were.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.inner.records.count(kind)
    }

    /// How many queries there were of each kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Kind, usize> {
        self.inner.records.counts()
    }

    /// The events that were pushed.
    #[must_use]
    pub fn pushes(&self) -> Vec<PushEventRequest> {
        self.inner.records.pushes.lock().unwrap().clone()
    }

    /// Why connections were refused during the handshake.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.inner.records.refused.lock().unwrap().clone()
    }

    /// What no client may do: queries that the server does not understand, ids in a text instead of in a variable, and
    /// variables that a plugin takes for its own.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut all = self.inner.records.complaints.lock().unwrap().clone();
        let texts = self.inner.records.texts();
        let state = self.inner.world.state();
        for text in texts {
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '.'));
            for id in words.filter(|word| state.ids.contains(*word)) {
                all.push(format!("the id {id} is in the text of a query: {text}"));
            }
        }
        all
    }

    /// Asserts that there are no complaints.
    ///
    /// # Panics
    /// When there are.
    #[track_caller]
    pub fn assert_clean(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

impl Drop for FakeVelociraptor {
    fn drop(&mut self) {
        self.stop(Cut::Reset);
        if std::thread::panicking() {
            eprintln!("--- the fake server was asked {:?}; refused {:?}", self.counts(), self.refused());
        }
    }
}

impl std::fmt::Debug for FakeVelociraptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeVelociraptor").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Inner {
    /// The connections that are open.
    fn lines(&self) -> Vec<Line> {
        let mut lines = self.lines.lock().unwrap();
        lines.retain(Line::in_use);
        lines.clone()
    }
}

/// Listens until it is told to stop.
async fn serve(
    inner: Arc<Inner>,
    address: Address,
    ready: std::sync::mpsc::Sender<()>,
    stopped: oneshot::Receiver<()>,
) {
    let (sender, connections) = mpsc::channel(16);
    let accepting = match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).await.unwrap();
            ready.send(()).unwrap();
            let inner = Arc::clone(&inner);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    take(&inner, Socket::Tcp(stream), &sender);
                }
            })
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(&path).unwrap();
            ready.send(()).unwrap();
            let inner = Arc::clone(&inner);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    take(&inner, Socket::Unix(stream), &sender);
                }
            })
        }
    };
    let service = ApiServer::new(Service(inner)).max_decoding_message_size(4 << 20);
    let serving = Server::builder()
        .add_service(service)
        .serve_with_incoming(ReceiverStream::<std::io::Result<Connection>>::new(connections));
    tokio::select! {
        _ = serving => {}
        _ = stopped => {}
    }
    // Nobody listens any more when the thread has ended.
    accepting.abort();
    let _ = accepting.await;
}

/// Shakes hands with whoever has connected, on the side.
fn take(inner: &Arc<Inner>, socket: Socket, sender: &mpsc::Sender<std::io::Result<Connection>>) {
    let line = Line::new();
    line.hole(*inner.hole.lock().unwrap());
    inner.lines.lock().unwrap().push(line.clone());
    let acceptor = TlsAcceptor::from(Arc::clone(&inner.tls.lock().unwrap()));
    let (inner, sender) = (Arc::clone(inner), sender.clone());
    tokio::spawn(async move {
        match acceptor.accept(Wire::new(socket, line)).await {
            Ok(stream) => {
                let _ = sender.send(Ok(Connection(stream))).await;
            }
            Err(error) => inner.records.refused.lock().unwrap().push(error.to_string()),
        }
    });
}
