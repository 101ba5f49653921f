//! Login and logout.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::context;

use super::query::{Form, Query, page_of_ours};
use super::{Place, Studio};
use crate::web::access::{NoLogin, Visitor};

/// `GET /login`
pub(super) async fn page(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let to = page_of_ours(query.get("to").unwrap_or("/")).to_owned();
    show(&studio, &visitor, &to, "")
}

fn show(studio: &Studio, visitor: &Visitor, to: &str, problem: &str) -> Response {
    studio.page(visitor, &Place::at("/login"), "login.html", context! { to, problem })
}

/// `POST /login`
pub(super) async fn log_in(State(studio): State<Arc<Studio>>, form: Form) -> Response {
    let to = page_of_ours(form.fields.get("to").unwrap_or("/"));
    match studio.access.log_in(form.fields.get("token").unwrap_or_default()).await {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response(),
        Err(error) => {
            let (status, problem) = match error {
                NoLogin::Wrong => (StatusCode::FORBIDDEN, "This is not the token."),
                NoLogin::NoToken => (StatusCode::SERVICE_UNAVAILABLE, "The server has no token to compare with."),
                NoLogin::Busy => (StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens; try again in a moment."),
            };
            let mut response = show(&studio, &form.visitor, to, problem);
            *response.status_mut() = status;
            response
        }
    }
}

/// `POST /logout`
pub(super) async fn log_out(State(studio): State<Arc<Studio>>, headers: axum::http::HeaderMap, _: Form) -> Response {
    let cookie = studio.access.log_out(&headers);
    let mut response = Redirect::to("/").into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
