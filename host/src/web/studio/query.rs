//! What a request says: the query of its address, or a form.

use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::web::access::Visitor;

/// Bytes of a form.
pub(crate) const FORM: usize = 4 << 20;
/// How long a form is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names and values, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Of `name=value&…`.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of a name; empty ones count as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// One of several words, each with a title, or the first of them.
    pub(crate) fn one_of(&self, name: &str, words: &[(&'static str, &'static str)]) -> &'static str {
        let given = self.get(name);
        let found = words.iter().find(|(word, _)| Some(*word) == given).or(words.first());
        found.map(|(word, _)| *word).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default().as_bytes()))
    }
}

/// A form that one of our own pages has sent: its word (`csrf`) is the visitor's. Whoever takes a form as an argument
/// cannot forget to look.
#[derive(Debug)]
pub(crate) struct Form {
    /// What it says.
    pub(crate) fields: Query,
    /// Who has sent it.
    pub(crate) visitor: Visitor,
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, state).await?;
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
            return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a form is application/x-www-form-urlencoded"));
        }
        let body = match tokio::time::timeout(PATIENCE, Limited::new(body, FORM).collect()).await {
            Err(_) => return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the form took too long")),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "the form is larger than 4 MiB"));
            }
            Ok(Err(_)) => return Err(refuse(StatusCode::BAD_REQUEST, "the form broke off")),
            Ok(Ok(body)) => body.to_bytes(),
        };
        let fields = Query::parse(&body);
        if !fields.get("csrf").is_some_and(|word| visitor.owns(word)) {
            let text = "this form is of another session or of before a restart; load its page again";
            return Err(refuse(StatusCode::FORBIDDEN, text));
        }
        Ok(Self { fields, visitor })
    }
}

fn refuse(status: StatusCode, text: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONNECTION, "close")];
    (status, headers, format!("{text}\n")).into_response()
}

/// An address of ours with a query; values that are empty are left out.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    path: String,
    pairs: Vec<(&'static str, String)>,
}

impl Link {
    /// An address without a query.
    pub(crate) fn to(path: impl Into<String>) -> Self {
        Self { path: path.into(), pairs: Vec::new() }
    }

    /// Sets a value, in place of one of that name.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.pairs.retain(|(known, _)| *known != name);
        let value = value.into();
        if !value.is_empty() {
            self.pairs.push((name, value));
        }
        self
    }

    /// The same query for another path.
    pub(crate) fn at(&self, path: impl Into<String>) -> Self {
        Self { path: path.into(), pairs: self.pairs.clone() }
    }

    /// As it stands in a page, before it is escaped.
    pub(crate) fn href(&self) -> String {
        let mut href = self.path.clone();
        for (index, (name, value)) in self.pairs.iter().enumerate() {
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let _ = write!(href, "{}{name}={value}", if index == 0 { '?' } else { '&' });
        }
        href
    }
}

/// Where to go after a login: a page of ours, and nothing that a browser takes for an address elsewhere.
pub(crate) fn page_of_ours(to: &str) -> &str {
    let path = to.starts_with('/') && !to.starts_with("//") && !to.contains('\\');
    if path && to.bytes().all(|byte| byte.is_ascii_graphic()) { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_was_meant() {
        let query = Query::parse(b"event=file%3A1%3A2&rule=a+b&rule=c&empty=&view=nonsense&%ff=1");
        assert_eq!(query.get("event"), Some("file:1:2"));
        assert_eq!((query.get("rule"), query.get("empty"), query.get("no")), (Some("a b"), None, None));
        assert_eq!(query.one_of("view", &[("html", "HTML"), ("text", "Text")]), "html");
        let link = Link::to("/").with("event", "pasted:a&b").with("rule", "ä b").with("view", "").with("event", "x");
        assert_eq!(link.href(), "/?rule=%C3%A4+b&event=x");
        assert_eq!(link.at("/explain").href(), "/explain?rule=%C3%A4+b&event=x");
        assert_eq!(Query::parse(link.href().split_once('?').unwrap().1.as_bytes()).get("rule"), Some("ä b"));
    }

    #[test]
    fn a_login_leads_to_our_own_pages_only() {
        assert_eq!(page_of_ours("/explain?event=a%20b"), "/explain?event=a%20b");
        for to in
            ["", "explain", "//evil.example", "/\\evil.example", "https://evil.example", "/a b", "/\u{e4}", "/a\r\nb"]
        {
            assert_eq!(page_of_ours(to), "/", "{to}");
        }
    }
}
