use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::config::secret::{Secret, SecretValue};
use crate::intake::fake::{Fake, event};

const TOKEN: &str = "s3cret";

/// A server and who takes its lines.
struct Site {
    address: SocketAddr,
    fake: Arc<Fake>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), HttpError>>,
}

async fn site(change: impl FnOnce(&mut HttpConfig, &mut Patience)) -> Site {
    let mut patience = PATIENCE;
    let mut config =
        HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), token: Secret::Env("unused".into()), max_body: 100_000 };
    change(&mut config, &mut patience);
    let server = Server::bind(&config).await.unwrap();
    let address = server.local_addr().unwrap();
    let fake = Arc::<Fake>::default();
    let accept = Arc::clone(&fake);
    let token = Token::from_fn(Arc::new(|| Ok(SecretValue(TOKEN.into()))), Duration::ZERO, "test");
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let limits = LineLimits { line: 2000, ..LineLimits::default() };
        server.serve(&limits, accept, token, patience, stopped).await
    });
    Site { address, fake, stop, task }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

impl Site {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, reads until the server closes.
    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        within(async {
            let mut stream = self.connect().await;
            // The server may answer and close before it has read everything.
            let _ = stream.write_all(request.as_ref()).await;
            read_all(&mut stream).await
        })
        .await
    }

    async fn post(&self, body: impl AsRef<[u8]>) -> (u16, Value) {
        parse(&self.raw(request(body)).await)
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn request(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Status and JSON body of the first answer.
fn parse(answer: &str) -> (u16, Value) {
    let status = answer.get(9..12).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn good_lines_are_stored_and_bad_ones_named() {
    let site = site(|_, _| {}).await;
    let body = format!("{}\n\nbad\n{}\r\n{}", event("F.1"), "x".repeat(3000), event("F.2"));
    let (status, answer) = site.post(&body).await;
    assert_eq!(status, 202);
    assert_eq!((&answer["accepted"], &answer["rejected_total"]), (&2.into(), &2.into()));
    assert_eq!((&answer["rejected"][0]["line"], &answer["rejected"][1]["line"]), (&3.into(), &4.into()));
    assert_eq!(answer["rejected"][1]["reason"], "the line is longer than 2000 bytes");
    assert_eq!(site.fake.flows(), ["F.1", "F.2"]);
    assert_eq!(site.fake.store().rejected.len(), 2);

    // A repeat is no error, another body under the same key neither.
    let again = format!("{}\n{}", event("F.1"), event("F.2").replace("C.1", "C.2"));
    let (status, answer) = site.post(again).await;
    assert_eq!((status, &answer["duplicates"], &answer["conflicts"]), (202, &1.into(), &1.into()));

    let (status, answer) = site.post("bad\n{}").await;
    assert_eq!((status, &answer["rejected_total"]), (400, &2.into()));
    let (status, answer) = site.post("\n").await;
    assert_eq!((status, &answer["error"]), (400, &"the request holds no line".into()));
}

#[tokio::test]
async fn many_lines_go_in_batches() {
    let site = site(|config, _| config.max_body = 10_000_000).await;
    let body: String = (0..5000).map(|number| event(&format!("F.{number:05}")) + "\n").collect();
    let (status, answer) = site.post(&body).await;
    assert_eq!((status, &answer["accepted"]), (202, &5000.into()));
    assert!(site.fake.batches() >= 5000 / 256);
    let (_, answer) = site.post("bad\n".repeat(5000)).await;
    assert_eq!(answer["rejected"].as_array().unwrap().len(), 100);
    assert_eq!(answer["rejected_total"], 5000);
}

#[tokio::test]
async fn without_the_token_nothing_is_taken() {
    let site = site(|_, _| {}).await;
    let good = String::from_utf8(request(event("F.1"))).unwrap();
    for header in
        ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic czNjcmV0\r\n", "Authorization: s3cret\r\n"]
    {
        let answer = site.raw(good.replace("Authorization: Bearer s3cret\r\n", header)).await;
        assert_eq!(parse(&answer).0, 401, "{header}");
        assert!(answer.to_ascii_lowercase().contains("\r\nwww-authenticate: bearer\r\n"), "{answer}");
    }
    assert!(site.fake.store().events.is_empty());
    assert_eq!(parse(&site.raw(good.replace("Bearer s3cret", "bearer  s3cret")).await).0, 202);
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_not_the_clients_fault() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = HttpConfig { listen, token: Secret::Env("unused".into()), max_body: 1000 };
    let server = Server::bind(&config).await.unwrap();
    let address = server.local_addr().unwrap();
    let read = || Err(crate::config::secret::SecretError("gone".into()));
    let token = Token::from_fn(Arc::new(read), Duration::ZERO, "test");
    let (stop, stopped) = watch::channel(false);
    let fake = Arc::<Fake>::default();
    let task = tokio::spawn(async move { server.serve(&LineLimits::default(), fake, token, PATIENCE, stopped).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request(event("F.1"))).await.unwrap();
    assert_eq!(parse(&within(read_all(&mut stream)).await).0, 503);
    stop.send(true).unwrap();
    within(task).await.unwrap().unwrap();
}

#[tokio::test]
async fn other_paths_methods_and_encodings_are_refused() {
    let site = site(|_, _| {}).await;
    let good = String::from_utf8(request(event("F.1"))).unwrap();
    let status = async |request: String| parse(&site.raw(request).await).0;
    assert_eq!(status(good.replace("/v1/events", "/")).await, 404);
    assert_eq!(status(good.replace("/v1/events", "/v1/events/")).await, 404);
    assert_eq!(status(good.replace("POST", "PUT")).await, 405);
    let get = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = site.raw(get).await;
    assert!(answer.to_ascii_lowercase().contains("\r\nallow: post\r\n"), "{answer}");
    assert_eq!(status(good.replace("Host: x", "Content-Encoding: gzip")).await, 415);
    assert_eq!(status(good.replace("Host: x", "Host: x\r\nContent-Encoding: identity")).await, 202);
    assert_eq!(status(good.replace("/v1/events", "/v1/events?from=me")).await, 202);
    assert_eq!(site.fake.flows(), ["F.1"]);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let site = site(|config, _| config.max_body = 1000).await;
    // By its header, without reading it; the answer arrives though all of it was sent.
    assert_eq!(site.post("x".repeat(1001)).await.0, 413);
    assert_eq!(site.post("x".repeat(100_000)).await.0, 413);
    let line = event("F.1") + "\n";
    assert_eq!(site.post(line.repeat(1000 / line.len())).await.0, 202);
    // Chunk by chunk.
    let head = String::from_utf8(request("")).unwrap().replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunk = format!("{:x}\r\n{}\r\n", 600, "x".repeat(600));
    assert_eq!(parse(&site.raw(format!("{head}{chunk}{chunk}0\r\n\r\n")).await).0, 413);
    // No length at all.
    let nothing = String::from_utf8(request("")).unwrap().replace("Content-Length: 0\r\n", "");
    assert_eq!(parse(&site.raw(&nothing).await).0, 411);
    assert_eq!(parse(&site.raw(nothing.replace("HTTP/1.1", "HTTP/1.0")).await).0, 411);
    // A header without end.
    let endless = format!("POST {PATH} HTTP/1.1\r\nX: {}", "x".repeat(2 * BUFFER));
    assert_eq!(parse(&site.raw(endless).await).0, 431);
}

#[tokio::test]
async fn chunks_and_old_versions_are_understood() {
    let site = site(|_, _| {}).await;
    let head = String::from_utf8(request("")).unwrap().replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let line = event("F.1");
    let (a, b) = line.split_at(20);
    let body = format!("{:x}\r\n{a}\r\n{:x};x=y\r\n{b}\r\n1\r\n\n\r\n0\r\n\r\n", a.len(), b.len());
    assert_eq!(parse(&site.raw(format!("{head}{body}")).await).0, 202);
    let old =
        String::from_utf8(request(event("F.2"))).unwrap().replace("HTTP/1.1", "HTTP/1.0").replace("Host: x\r\n", "");
    assert_eq!(parse(&site.raw(old).await).0, 202);
    // Two lengths: nobody guesses which one a proxy believed.
    let both = String::from_utf8(request(event("F.3"))).unwrap();
    let both = both.replace("Host: x", "Content-Length: 3\r\nHost: x");
    assert_eq!(parse(&site.raw(both).await).0, 400);
    assert_eq!(site.fake.flows(), ["F.1", "F.2"]);
}

#[tokio::test]
async fn requests_in_a_row_share_a_connection() {
    let site = site(|_, _| {}).await;
    let one = |flow: &str| String::from_utf8(request(event(flow))).unwrap().replace("Connection: close\r\n", "");
    let last = String::from_utf8(request(event("F.3"))).unwrap();
    let answers = site.raw(format!("{}{}{}", one("F.1"), one("F.2"), last)).await;
    assert_eq!(answers.matches("HTTP/1.1 202").count(), 3);
    assert_eq!(site.fake.flows(), ["F.1", "F.2", "F.3"]);
}

#[tokio::test]
async fn who_asks_first_is_told_first() {
    let site = site(|config, _| config.max_body = 1000).await;
    let ask = |body: &str| {
        let head = request(body);
        let head = String::from_utf8(head[..head.len() - body.len()].to_vec()).unwrap();
        head.replace("Host: x", "Host: x\r\nExpect: 100-continue")
    };
    let mut stream = site.connect().await;
    stream.write_all(ask(&"x".repeat(2000)).as_bytes()).await.unwrap();
    assert_eq!(parse(&within(read_all(&mut stream)).await).0, 413);

    let line = event("F.1");
    let mut stream = site.connect().await;
    stream.write_all(ask(&line).as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    within(stream.read_exact(&mut go_on)).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(line.as_bytes()).await.unwrap();
    assert_eq!(parse(&within(read_all(&mut stream)).await).0, 202);
}

#[tokio::test]
async fn the_slow_are_closed() {
    let short = Duration::from_millis(300);
    let site = site(|_, patience| {
        patience.header = short;
        patience.body = short;
    })
    .await;
    // Byte by byte, but never to the end of the header.
    let mut stream = site.connect().await;
    let (mut read, mut write) = stream.split();
    let since = std::time::Instant::now();
    let drip = async {
        while write.write_all(b"P").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let mut end = [0; 1000];
    within(async {
        tokio::select! {
            () = drip => {}
            // A reset or an end.
            result = read.read(&mut end) => assert!(result.is_err() || result.unwrap() == 0),
        }
    })
    .await;
    assert!(since.elapsed() >= short);
    // Nothing at all, and nothing more after a first request.
    assert_eq!(site.raw("").await, "");
    let first = String::from_utf8(request(event("F.1"))).unwrap().replace("Connection: close\r\n", "");
    assert_eq!(parse(&site.raw(first).await).0, 202);
    // A body that does not end.
    let body = String::from_utf8(request(event("F.2"))).unwrap();
    assert_eq!(parse(&site.raw(body.strip_suffix('}').unwrap()).await).0, 408);
    assert_eq!(site.fake.flows(), ["F.1"]);
}

#[tokio::test]
async fn who_does_not_read_is_closed() {
    let site = site(|_, patience| patience.write = Duration::from_millis(300)).await;
    let mut stream = site.connect().await;
    let requests =
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".replace("GET /", "POST /v1/events").repeat(2000);
    let requests = requests.replace("Host: x", &format!("Authorization: Bearer {TOKEN}"));
    // It gives up in the end; without the deadline this would fill both buffers and wait for ever.
    within(async { while stream.write_all(requests.as_bytes()).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_request_that_breaks_off_stores_whole_batches_only() {
    let site = site(|_, _| {}).await;
    let body = event("F.1");
    let request = request(&body);
    let mut stream = site.connect().await;
    stream.write_all(&request[..request.len() - 3]).await.unwrap();
    drop(stream);
    assert_eq!(site.post(event("F.2")).await.0, 202);
    assert_eq!(site.fake.flows(), ["F.2"]);
}

#[tokio::test]
async fn trouble_of_the_store_is_said() {
    let site = site(|_, _| {}).await;
    site.fake.set_full(true);
    let answer = site.raw(request(event("F.1"))).await;
    assert_eq!(parse(&answer).0, 503);
    assert!(answer.to_ascii_lowercase().contains("\r\nretry-after: 10\r\n"), "{answer}");
    site.fake.set_full(false);
    assert_eq!(site.post(event("F.1")).await.0, 202);
    site.fake.set_broken();
    assert_eq!(site.post(event("F.2")).await.0, 503);
    let error = within(site.task).await.unwrap().unwrap_err();
    assert!(matches!(error, HttpError::Outbox(OutboxError::Stopped(_))), "{error}");
}

#[tokio::test]
async fn a_stop_finishes_what_has_begun() {
    let site = site(|_, _| {}).await;
    let mut idle = site.connect().await;
    let request = request(event("F.1"));
    let mut busy = site.connect().await;
    busy.write_all(&request[..request.len() - 1]).await.unwrap();
    // Both are known to the server once a later one was answered.
    assert_eq!(site.post(event("F.2")).await.0, 202);
    site.stop.send(true).unwrap();
    assert_eq!(within(read_all(&mut idle)).await, "");
    busy.write_all(&request[request.len() - 1..]).await.unwrap();
    assert_eq!(parse(&within(read_all(&mut busy)).await).0, 202);
    within(site.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(site.address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let site = site(|_, _| {}).await;
    let config = HttpConfig { listen: site.address, token: Secret::Env("unused".into()), max_body: 1 };
    let error = Server::bind(&config).await.unwrap_err().to_string();
    assert!(error.contains(&site.address.to_string()) && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn one_address_has_its_share() {
    let site = site(|_, patience| patience.header = Duration::from_secs(1)).await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_OF_ONE {
        open.push(site.connect().await);
    }
    assert_eq!(site.raw(request(event("F.1"))).await, "");
    // Those that say nothing go; then there is room again.
    for stream in &mut open {
        within(read_all(stream)).await;
    }
    within(async { while site.raw(request(event("F.1"))).await.is_empty() {} }).await;
    assert_eq!(site.fake.flows(), ["F.1"]);
}
