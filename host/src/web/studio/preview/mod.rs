//! The preview: an event, a rule, and the mail that comes of it, while its template is written.

pub(in crate::web::studio) mod frame;
mod rendered;
pub(in crate::web::studio) mod show;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use self::frame::Scheme;
use self::rendered::{Key, Letter, Rendered};
use super::query::{Form, Link, Query};
use super::{Place, Studio};
use crate::web::access::Visitor;

/// Mails that are kept, so that a page, its frame and its attachments are made of one.
const KEPT: usize = 6;
/// Bytes of a mail's source that a page shows.
pub(super) const SOURCE: u64 = 256 * 1024;
/// Bytes of a mail or attachment that is handed out.
pub(super) const DOWNLOAD: u64 = 256 << 20;
/// Widths of the frame, in pixels.
pub(super) const WIDTHS: &[(&str, &str)] = &[("800", "Desktop"), ("360", "Phone")];
/// Colour schemes of the frame.
pub(super) const SCHEMES: &[(&str, &str)] = &[("light", "Light"), ("dark", "Dark")];
/// Whether the frame shows pictures.
const IMAGES: &[(&str, &str)] = &[("shown", "Pictures"), ("blocked", "No pictures")];
/// Which mail is shown.
const LETTERS: &[(&str, &str)] = &[("single", "Single mail"), ("digest", "Digest")];
/// Events that a digest is shown with, beside the chosen one.
const GATHERED: usize = 11;
/// What is shown of a mail.
const VIEWS: &[(&str, &str)] = &[
    ("html", "HTML"),
    ("text", "Text"),
    ("source", "Source"),
    ("headers", "Headers"),
    ("files", "Attachments"),
    ("lint", "Lint"),
];

/// The mails that were composed last.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<VecDeque<(Key, Arc<Rendered>)>>);

/// What a visitor has chosen. All of it is in the address, so that it outlives a reload.
#[derive(Debug, Clone)]
struct Choice {
    event: Option<String>,
    rule: Option<String>,
    letter: &'static str,
    view: &'static str,
    width: &'static str,
    scheme: &'static str,
    images: &'static str,
}

impl Choice {
    fn of(query: &Query) -> Self {
        Self {
            event: query.get("event").map(str::to_owned),
            rule: query.get("rule").map(str::to_owned),
            letter: query.one_of("mail", LETTERS),
            view: query.one_of("view", VIEWS),
            width: query.one_of("width", WIDTHS),
            scheme: query.one_of("scheme", SCHEMES),
            images: query.one_of("images", IMAGES),
        }
    }

    /// The address of this choice; what is usual is left out.
    fn link(&self) -> Link {
        let unusual = |value: &'static str, usual: &str| if value == usual { "" } else { value };
        Link::to("/")
            .with("event", self.event.clone().unwrap_or_default())
            .with("rule", self.rule.clone().unwrap_or_default())
            .with("mail", unusual(self.letter, "single"))
            .with("view", unusual(self.view, "html"))
            .with("width", unusual(self.width, "800"))
            .with("scheme", unusual(self.scheme, "light"))
            .with("images", unusual(self.images, "shown"))
    }
}

/// The preview's routes.
pub(super) fn router() -> Router<Arc<Studio>> {
    Router::new()
        .route("/", get(page))
        .route("/paste", post(paste))
        .route("/preview/frame", get(frame))
        .route("/preview/mail.eml", get(mail))
        .route("/preview/attachment", get(attachment))
}

impl Studio {
    /// The event that is chosen, else the first of all. Blocking.
    pub(super) fn first_event(&self) -> String {
        let groups = self.sources.list();
        let first = groups.into_iter().flat_map(|group| group.events).map(|(reference, _)| reference).next();
        first.unwrap_or_default()
    }

    /// The mail that is chosen, or why it cannot be shown. Blocking.
    fn rendered(&self, choice: &Choice) -> Result<Arc<Rendered>, String> {
        let (event, rule) = (choice.event.as_deref().unwrap_or_default(), choice.rule.as_deref());
        let snapshot = self.current.load_full();
        let found = self.sources.get(event)?;
        let letter = match choice.letter {
            "digest" => Letter::Digest(found, self.sources.neighbours(event, GATHERED)),
            _ => Letter::Single(found),
        };
        let key = Key::new(&snapshot, &letter, rule.unwrap_or_default());
        let lock = || self.rendered.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = lock().iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(Rendered::new(&snapshot, &letter, rule)?);
        let mut kept = lock();
        kept.push_front((key, Arc::clone(&made)));
        kept.truncate(KEPT);
        Ok(made)
    }
}

/// `GET /`
async fn page(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let mut choice = Choice::of(&query);
    let made = studio.work(move |studio| {
        let event = choice.event.get_or_insert_with(|| studio.first_event()).clone();
        let rendered = studio.rendered(&choice);
        let view = show::view(studio, &choice, &rendered);
        (event, choice.rule, view)
    });
    match made.await {
        Ok((event, rule, view)) => {
            let place = Place { path: "/", event, rule: rule.unwrap_or_default() };
            studio.page(&visitor, &place, "preview.html", view)
        }
        Err(error) => error.page(&studio, &visitor),
    }
}

/// `POST /paste`
async fn paste(State(studio): State<Arc<Studio>>, form: Form) -> Response {
    let (text, rule) = (form.fields.get("event").unwrap_or_default().to_owned(), form.fields.get("rule"));
    let rule = rule.unwrap_or_default().to_owned();
    match studio.work(move |studio| studio.pasted.paste(&text)).await {
        Ok(Ok(id)) => {
            let link = Link::to("/").with("event", format!("pasted:{id}")).with("rule", rule);
            Redirect::to(&link.href()).into_response()
        }
        Ok(Err(problem)) => {
            studio.message(&form.visitor, StatusCode::UNPROCESSABLE_ENTITY, "This is no event", &problem)
        }
        Err(error) => error.page(&studio, &form.visitor),
    }
}

/// `GET /preview/frame`: the mail's HTML for the frame.
async fn frame(State(studio): State<Arc<Studio>>, query: Query) -> Response {
    let choice = Choice::of(&query);
    let made = studio.work(move |studio| {
        let rendered = studio.rendered(&choice).ok()?;
        let mail = rendered.mail.as_ref().ok()?;
        let html = mail.draft.html.as_ref()?;
        let scheme = if choice.scheme == "dark" { Scheme::Dark } else { Scheme::Light };
        let pictures = (choice.images == "shown").then(|| mail.pictures());
        Some(frame::copy(html, pictures.as_deref(), scheme))
    });
    let html = made.await.ok().flatten();
    let (status, html) = match html {
        Some(html) => (StatusCode::OK, html),
        None => (StatusCode::NOT_FOUND, "<!doctype html><title>No mail</title><p>There is no mail to show.".to_owned()),
    };
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, frame::POLICY)];
    (status, headers, html).into_response()
}

/// `GET /preview/mail.eml`: the mail as it would be sent, to be saved.
async fn mail(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let choice = Choice::of(&query);
    let made = studio.work(move |studio| {
        let rendered = studio.rendered(&choice).ok()?;
        let mail = rendered.mail.as_ref().ok()?;
        let first = mail.mails.first()?;
        if first.size() > DOWNLOAD {
            return None;
        }
        mail.source(first, DOWNLOAD).ok()
    });
    match made.await {
        Ok(Some(bytes)) => download("mail.eml", "message/rfc822", bytes),
        Ok(None) => {
            studio.message(&visitor, StatusCode::NOT_FOUND, "There is no mail", "No mail comes of this choice.")
        }
        Err(error) => error.page(&studio, &visitor),
    }
}

/// `GET /preview/attachment?n=…`: an attachment, to be saved.
async fn attachment(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let choice = Choice::of(&query);
    let number: Option<usize> = query.get("n").and_then(|number| number.parse().ok());
    let made = studio.work(move |studio| {
        let rendered = studio.rendered(&choice).ok()?;
        let mail = rendered.mail.as_ref().ok()?;
        let file = mail.draft.attachments.get(number?)?;
        if file.blob.size > DOWNLOAD {
            return None;
        }
        Some((file.name.clone(), mail.attachment(file).ok()?))
    });
    match made.await {
        // Whatever it is, a browser saves it and opens nothing.
        Ok(Some((name, bytes))) => download(&name, "application/octet-stream", bytes),
        Ok(None) => {
            studio.message(&visitor, StatusCode::NOT_FOUND, "There is no such attachment", "The mail has changed.")
        }
        Err(error) => error.page(&studio, &visitor),
    }
}

/// A file that a browser saves. `name` holds letters, digits, `.`, `_` and `-`.
pub(super) fn download(name: &str, kind: &'static str, bytes: Vec<u8>) -> Response {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let disposition = disposition.unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    (headers, bytes).into_response()
}
