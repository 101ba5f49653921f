//! The studio: pages that show the mail while its template is written, and why an event was or was not told.
//!
//! Pages are written on the server and work without a script; the script only saves reloading by hand. What events say
//! reaches a page through escaping alone, and a mail's HTML only in a frame in which nothing runs.

mod events;
mod live;
mod login;
mod pages;
mod preview;
pub(super) mod query;
mod records;
mod work;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use minijinja::{Value, context};
use tokio::sync::{Semaphore, watch};

use self::events::Pasted;
pub use self::events::{Events, Files, Found, LISTED, Listed, Samples, Sources, Spool};
use self::pages::Pages;
use self::query::Link;
pub use self::records::Stored;
use super::access::{Access, Visitor};
use crate::reload::News;
use crate::snapshot::Current;

/// Pages that the head of each page names: title and path.
const NAVIGATION: &[(&str, &str)] =
    &[("Preview", "/"), ("Explain", "/explain"), ("Mailbox", "/mailbox"), ("Decisions", "/decisions")];

/// What every page works with.
pub struct Studio {
    /// Configuration in force.
    pub(super) current: Current,
    /// The file that it was read from, if there is one.
    pub(super) file: Option<PathBuf>,
    /// What is known of its files.
    pub(super) news: watch::Receiver<News>,
    /// The events that can be looked at.
    pub(super) sources: Sources,
    pub(super) pasted: Arc<Pasted>,
    pub(super) access: Arc<Access>,
    pages: Pages,
    /// Of this process, so that a page notices a restart.
    run: u32,
    /// True when it is time to stop.
    stop: watch::Receiver<bool>,
    listeners: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    rendered: preview::Kept,
}

/// Where a page stands, and what its visitor has chosen; the choice goes along to the other pages.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The page's path, one of [`NAVIGATION`] or none.
    pub(super) path: &'static str,
    /// `kind:id` of an event, or empty.
    pub(super) event: String,
    /// Name of a rule, or empty.
    pub(super) rule: String,
}

impl Place {
    /// A page on which nothing is chosen.
    pub(super) fn at(path: &'static str) -> Self {
        Self { path, event: String::new(), rule: String::new() }
    }
}

impl Studio {
    /// Puts it together. `sources` are those beside the pasted events.
    pub(super) fn new(
        current: Current,
        file: Option<PathBuf>,
        news: watch::Receiver<News>,
        mut sources: Vec<Arc<dyn Events>>,
        access: Arc<Access>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let pasted = Arc::new(Pasted::default());
        sources.push(Arc::clone(&pasted) as Arc<dyn Events>);
        Self {
            current,
            file,
            news,
            sources: Sources::new(sources),
            pasted,
            access,
            pages: Pages::new(),
            run: rand::random(),
            stop,
            listeners: Arc::new(Semaphore::new(live::LISTENERS)),
            slots: Arc::new(Semaphore::new(work::SLOTS)),
            rendered: preview::Kept::default(),
        }
    }

    /// The events that can be chosen, by where they come from. Blocking.
    pub(super) fn events(&self, chosen: &str) -> Vec<Value> {
        let group = |group: events::Group| {
            let events: Vec<Value> =
                group.events.into_iter().map(|(id, label)| context! { chosen => id == chosen, id, label }).collect();
            context! { title => group.title, problem => group.problem, events }
        };
        self.sources.list().into_iter().map(group).collect()
    }

    /// Changes whenever a page may look different.
    pub(super) fn stamp(&self) -> String {
        format!("{:08x}-{}", self.run, self.news.borrow().number)
    }

    /// A page. `view` is what its template sees beside `page`, which is what the layout needs.
    pub(super) fn page(&self, visitor: &Visitor, place: &Place, template: &str, view: Value) -> Response {
        let link = Link::to("").with("event", place.event.as_str()).with("rule", place.rule.as_str());
        let navigation: Vec<Value> = NAVIGATION
            .iter()
            .map(|&(title, path)| context! { title, href => link.at(path).href(), current => path == place.path })
            .collect();
        let snapshot = self.current.load();
        let page = context! {
            navigation,
            stamp => self.stamp(),
            generation => snapshot.generation,
            version => env!("CARGO_PKG_VERSION"),
            csrf => visitor.csrf.as_str(),
            operator => visitor.operator,
            session => visitor.session,
            token_exists => visitor.token_exists,
            login => Link::to("/login").with("to", link.at(place.path).href()).href(),
        };
        match self.pages.render(template, context! { page, ..view }) {
            Ok(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
            Err(error) => {
                tracing::error!(template, error = format!("{error:#}"), "a page could not be written, which is a bug");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "this page could not be written, which is a bug; the log has more\n",
                )
                    .into_response()
            }
        }
    }

    /// A page that says one thing.
    pub(super) fn message(&self, visitor: &Visitor, status: StatusCode, title: &str, text: &str) -> Response {
        let mut response = self.page(visitor, &Place::at(""), "message.html", context! { title, text });
        *response.status_mut() = status;
        response
    }
}

/// The studio's pages, without the door before them.
pub(super) fn router() -> Router<Arc<Studio>> {
    Router::new()
        .route("/events", get(live::events))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", post(login::log_out))
        .merge(preview::router())
        .merge(records::router())
        .fallback(nothing)
}

async fn nothing(State(studio): State<Arc<Studio>>, visitor: Visitor) -> Response {
    studio.message(&visitor, StatusCode::NOT_FOUND, "There is nothing here", "No page has this address.")
}
