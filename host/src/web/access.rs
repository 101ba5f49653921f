//! Who may see and who may act.
//!
//! Whoever asks a loopback address by a loopback name may read; anybody else shows the operator's token first, as
//! `Authorization: Bearer TOKEN` or once at `/login`, which sets a cookie. Acting (whatever changes something outside
//! this page's memory) needs the token always. Requests that another site has made a browser send are refused: by
//! `Host`, by `Origin` and `Sec-Fetch-Site`, and by a word in each form. `/metrics` of a loopback address is open under
//! any name, `/healthz` and `/readyz` everywhere: they hold no event and no secret.

mod host;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use self::host::{Asked, Hosts, same_origin};
use self::sessions::Sessions;
use crate::config::WebConfig;
use crate::token::{NoToken, Token, bearer};

/// What pages may load: our own script and style, and nothing from elsewhere; nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
/// Headers of every answer; those that are set already stay.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // To nobody else; `no-referrer` would make browsers send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// Bytes of a request's target.
const LONGEST_TARGET: usize = 8 * 1024;
/// What a wrong token costs.
const PENANCE: Duration = Duration::from_millis(500);
/// Wrong tokens that are waited for at a time; more are refused at once.
const PENITENTS: usize = 16;

/// The door of the studio.
pub(super) struct Access {
    hosts: Hosts,
    token: Option<Token>,
    sessions: Sessions,
    /// Of this process: what forms hold is made of it.
    salt: [u8; 32],
    /// The cookie's name; it has the port, because cookies are kept by host alone.
    cookie: String,
    penance: Semaphore,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// Has shown the token.
    pub(super) operator: bool,
    /// Has logged in here, and can log out.
    pub(super) session: bool,
    /// There is a token to be shown.
    pub(super) token_exists: bool,
    /// What the forms of this visitor hold.
    pub(super) csrf: String,
}

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLogin {
    /// This is not the token.
    Wrong,
    /// There is none, or it cannot be read.
    NoToken,
    /// Too many wrong ones at a time.
    Busy,
}

impl Access {
    /// `listen` is the address with the port that was given for port 0.
    pub(super) fn new(config: &WebConfig, listen: SocketAddr) -> Self {
        Self {
            hosts: Hosts::new(listen, config.hosts.clone()),
            token: config.token.as_ref().map(|secret| Token::new(secret, "web")),
            sessions: Sessions::default(),
            salt: rand::random(),
            cookie: format!("bewit-{}", listen.port()),
            penance: Semaphore::new(PENITENTS),
        }
    }

    /// Checks the token; answers the `Set-Cookie` of a new session.
    pub(super) async fn log_in(&self, given: &str) -> Result<HeaderValue, NoLogin> {
        let token = self.token.as_ref().ok_or(NoLogin::NoToken)?;
        match self.check(token, given.as_bytes()).await {
            Ok(true) => {}
            Ok(false) => return Err(NoLogin::Wrong),
            Err(error) => return Err(error),
        }
        let hash = token.hash().await.map_err(|NoToken| NoLogin::NoToken)?;
        let word = self.sessions.open(hash);
        self.set_cookie(&word, sessions::AGE.as_secs()).ok_or(NoLogin::NoToken)
    }

    /// Ends the session of a request; answers the `Set-Cookie` that takes the cookie away.
    pub(super) fn log_out(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if let Some(word) = self.word(headers) {
            self.sessions.close(word);
        }
        self.set_cookie("", 0)
    }

    fn set_cookie(&self, word: &str, age: u64) -> Option<HeaderValue> {
        let text = format!("{}={word}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict", self.cookie);
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// What the session's cookie holds.
    fn word<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, word)| word)
    }

    /// Whether this is the token. A wrong one costs time, and few can be tried at a time.
    async fn check(&self, token: &Token, given: &[u8]) -> Result<bool, NoLogin> {
        let Ok(_slot) = self.penance.try_acquire() else { return Err(NoLogin::Busy) };
        let right = token.is(given).await.map_err(|NoToken| NoLogin::NoToken)?;
        if !right {
            tokio::time::sleep(PENANCE).await;
        }
        Ok(right)
    }

    async fn visitor(&self, headers: &HeaderMap) -> Result<Visitor, Response> {
        let (mut operator, mut session) = (false, None);
        if let Some(token) = &self.token {
            if headers.contains_key(header::AUTHORIZATION) {
                let given = bearer(headers).ok_or_else(|| refuse_token("a bearer token is needed"))?;
                operator = match self.check(token, given).await {
                    Ok(true) => true,
                    Ok(false) => return Err(refuse_token("this is not the token")),
                    Err(NoLogin::Busy) => return Err(refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens")),
                    Err(_) => {
                        let text = "the server has no token to compare with";
                        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, text));
                    }
                };
            } else if let Some(word) = self.word(headers) {
                let hash = token.hash().await;
                session = hash.is_ok_and(|hash| self.sessions.is_open(word, hash)).then_some(word);
                operator = session.is_some();
            }
        }
        let csrf = self.csrf(session.unwrap_or_default());
        Ok(Visitor { operator, session: session.is_some(), token_exists: self.token.is_some(), csrf })
    }

    /// What forms of a session hold: nobody else can know it, because nobody else can read our pages.
    fn csrf(&self, session: &str) -> String {
        let hash = Sha256::new().chain_update(self.salt).chain_update(b"csrf\0").chain_update(session).finalize();
        crate::blob::hex(&hash)
    }

    /// Lets a request in, or says why not.
    async fn admit(&self, request: &Parts) -> Result<Visitor, Response> {
        let (method, uri, headers) = (&request.method, &request.uri, &request.headers);
        if method != Method::GET && method != Method::POST {
            let allow = [(header::ALLOW, "GET, POST")];
            return Err((allow, refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST")).into_response());
        }
        if uri.path_and_query().map_or(0, |target| target.as_str().len()) > LONGEST_TARGET {
            return Err(refuse(StatusCode::URI_TOO_LONG, "the address is too long"));
        }
        let visitor = self.visitor(headers).await?;
        // Numbers alone, which scrapers ask for under any name; they change nothing.
        if uri.path() == "/metrics" && self.hosts.are_local() {
            return Ok(visitor);
        }
        let by_hand = headers.contains_key(header::AUTHORIZATION) && visitor.operator;
        let Some(asked) = self.hosts.admit(uri, headers) else {
            // No page can make a browser send the token by itself.
            if by_hand {
                return Ok(visitor);
            }
            let text = "this server is not known by that name; name it in [web] hosts";
            return Err(refuse(StatusCode::MISDIRECTED_REQUEST, text));
        };
        if !by_hand && is_foreign(method, headers, &asked) {
            return Err(refuse(StatusCode::FORBIDDEN, "another site has sent this request"));
        }
        let path = uri.path();
        if visitor.operator || asked.local || path == "/login" || path.starts_with("/assets/") {
            return Ok(visitor);
        }
        if is_page(method, headers) {
            let to = uri.path_and_query().map_or("/", |target| target.as_str());
            let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
            return Err((StatusCode::SEE_OTHER, [(header::LOCATION, format!("/login?to={to}"))]).into_response());
        }
        Err(refuse_token("the operator's token is needed"))
    }
}

/// Whether the request was made by a page that is not ours.
fn is_foreign(method: &Method, headers: &HeaderMap, asked: &Asked) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text("sec-fetch-site");
    let ours = matches!(site, None | Some("same-origin" | "none"));
    if method == Method::GET {
        // A link elsewhere may lead here; a picture or a script elsewhere may not.
        let opens =
            text("sec-fetch-mode") == Some("navigate") && text("sec-fetch-dest").is_none_or(|d| d == "document");
        return !ours && !opens;
    }
    let origin = text("origin").is_some_and(|origin| same_origin(origin, &asked.authority));
    !ours || !origin
}

/// Whether a person waits for a page.
fn is_page(method: &Method, headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    method == Method::GET && accepts.contains("text/html")
}

fn refuse(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

fn refuse_token(text: &str) -> Response {
    ([(header::WWW_AUTHENTICATE, "Bearer")], refuse(StatusCode::UNAUTHORIZED, text)).into_response()
}

/// Stands before every page.
pub(super) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut response = match access.admit(&parts).await {
        Ok(visitor) => {
            parts.extensions.insert(visitor);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal,
    };
    protect(&mut response);
    response
}

/// Adds the headers of every answer.
pub(super) fn protect(response: &mut Response) {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

impl Visitor {
    /// Whether a form's word is this visitor's.
    pub(super) fn owns(&self, word: &str) -> bool {
        bool::from(self.csrf.as_bytes().ct_eq(word.as_bytes()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let visitor = parts.extensions.get::<Self>().cloned();
        visitor.ok_or_else(|| refuse(StatusCode::INTERNAL_SERVER_ERROR, "this page has no door, which is a bug"))
    }
}
