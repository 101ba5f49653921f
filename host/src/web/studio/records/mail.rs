//! One mail of the outbox: the stored bytes, its recipients with their attempts, and what a person may do to it.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use minijinja::{Value, context};

use super::super::preview::frame::{self, Scheme};
use super::super::preview::show::size;
use super::super::preview::{DOWNLOAD, SCHEMES, SOURCE, WIDTHS, download};
use super::super::query::{Form, Link, Query};
use super::super::{Place, Studio};
use super::decisions::stored_decision;
use super::parts::{self, Parts};
use super::{Records, short, time, trouble};
use crate::mail::MailReader;
use crate::outbox::hand::{self, Action, Handled, Target};
use crate::outbox::look::{LogEntry, StoredMail};
use crate::outbox::state::Move;
use crate::text::clean;
use crate::web::access::Visitor;

/// Octets of a mail that is taken apart to be shown; of a larger one, the source alone is shown.
const LARGEST: u64 = 32 << 20;

/// What is shown of a mail.
const VIEWS: &[(&str, &str)] =
    &[("html", "HTML"), ("text", "Text"), ("source", "Source"), ("headers", "Headers"), ("files", "Attachments")];

/// The routes.
pub(super) fn router() -> Router<Arc<Studio>> {
    Router::new()
        .route("/mailbox/mail", get(page))
        .route("/mailbox/frame", get(framed))
        .route("/mailbox/mail.eml", get(file))
        .route("/mailbox/attachment", get(attachment))
        .route("/mailbox/act", post(act))
}

/// What a visitor has chosen.
#[derive(Debug, Clone)]
struct Choice {
    id: i64,
    view: &'static str,
    width: &'static str,
    scheme: &'static str,
}

impl Choice {
    fn of(query: &Query) -> Self {
        Self {
            id: query.get("id").and_then(|id| id.parse().ok()).unwrap_or(0),
            view: query.one_of("view", VIEWS),
            width: query.one_of("width", WIDTHS),
            scheme: query.one_of("scheme", SCHEMES),
        }
    }

    fn link(&self) -> Link {
        Link::to("/mailbox/mail")
            .with("id", self.id.to_string())
            .with("view", self.view)
            .with("width", self.width)
            .with("scheme", self.scheme)
    }
}

/// A mail, read.
struct Opened {
    mail: StoredMail,
    /// Its event, if it is about one alone.
    event: Option<i64>,
    /// The first bytes as they go over the wire.
    bytes: Vec<u8>,
    /// What it is made of, unless it is too large.
    parts: Option<Parts>,
}

/// Reads a mail of the outbox, at most so many octets. Blocking.
fn open(studio: &Studio, id: i64, most: u64) -> Result<Option<Opened>, String> {
    let Some(mut records) = Records::open(&studio.current).map_err(|error| trouble(&error))? else { return Ok(None) };
    let found = records.ask(|reader| reader.mail(id)).map_err(|error| trouble(&error))?;
    let Some(mail) = found else { return Ok(None) };
    let event = records.ask(|reader| reader.event_of(id)).map_err(|error| trouble(&error))?;
    let blobs = records.reader.blobs();
    let mut bytes = Vec::new();
    let whole = mail.size <= most.min(LARGEST);
    let limit = if whole { mail.size } else { most.min(SOURCE) };
    MailReader::new(&mail.head, &mail.body, &blobs)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("The mail cannot be read: {error}."))?;
    let parts = whole.then(|| parts::read(&bytes));
    Ok(Some(Opened { mail, event, bytes, parts }))
}

/// `GET /mailbox/mail`
async fn page(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let choice = Choice::of(&query);
    let made = studio
        .work(move |studio| open(studio, choice.id, LARGEST).map(|opened| opened.map(|opened| view(&choice, &opened))));
    match made.await {
        Ok(Ok(Some(view))) => studio.page(&visitor, &Place::at("/mailbox"), "mail.html", view),
        Ok(Ok(None)) => {
            let text = "There is no such mail in the outbox: it never was, or retention has removed it.";
            studio.message(&visitor, StatusCode::NOT_FOUND, "There is no such mail", text)
        }
        Ok(Err(problem)) => {
            studio.message(&visitor, StatusCode::INTERNAL_SERVER_ERROR, "The mail cannot be shown", &problem)
        }
        Err(error) => error.page(&studio, &visitor),
    }
}

fn view(choice: &Choice, opened: &Opened) -> Value {
    let (mail, link) = (&opened.mail, choice.link());
    let first = mail.recipients.first().map(|(line, _)| line);
    let option = |name: &'static str, words: &[(&'static str, &'static str)], now: &str| -> Vec<Value> {
        let option = |&(word, title): &(&'static str, &'static str)| {
            context! { title, href => link.clone().with(name, word).href(), chosen => word == now }
        };
        words.iter().map(option).collect()
    };
    let recipient = |(line, log): &(crate::outbox::look::Line, Vec<LogEntry>)| {
        context! {
            target => line.id(),
            address => short(&line.address),
            state => line.state.name(),
            attempts => line.attempts,
            next => line.next.map(time).unwrap_or_default(),
            reason => clean(line.reason.as_deref().unwrap_or_default()),
            updated => time(line.updated),
            retry => line.state.after(Move::Retry).is_ok(),
            cancel => line.state.after(Move::Cancel).is_ok(),
            log => log.iter().map(log_entry).collect::<Vec<_>>(),
        }
    };
    let source = String::from_utf8_lossy(&opened.bytes).replace("\r\n", "\n");
    let source = source.get(..source.floor_char_boundary(usize::try_from(SOURCE).unwrap_or(usize::MAX)));
    let headers = parts::fields(&mail.head).into_iter().map(|(name, value)| context! { name, value => clean(&value) });
    let none = Parts::default();
    let parts = opened.parts.as_ref().unwrap_or(&none);
    let file = |(number, (name, kind, content)): (usize, &(String, String, Vec<u8>))| {
        let href =
            Link::to("/mailbox/attachment").with("id", choice.id.to_string()).with("n", number.to_string()).href();
        context! { name => short(name), kind => short(kind), size => size(content.len() as u64), href }
    };
    context! {
        id => choice.id,
        subject => first.map(|line| clean(&line.subject).into_owned()).unwrap_or_default(),
        rule => first.map(|line| short(&line.rule)).unwrap_or_default(),
        stored => first.map(|line| time(line.stored)).unwrap_or_default(),
        message_id => first.map(|line| short(&line.message_id)).unwrap_or_default(),
        sender => short(&mail.sender),
        size => size(mail.size),
        recipients => mail.recipients.iter().map(recipient).collect::<Vec<_>>(),
        decisions => mail.decisions.iter().map(stored_decision).collect::<Vec<_>>(),
        event => opened.event.map(|event| Link::to("/decisions/event").with("id", event.to_string()).href()).unwrap_or_default(),
        too_large => opened.parts.is_none(),
        view => choice.view,
        width => choice.width,
        scheme => choice.scheme,
        views => option("view", VIEWS, choice.view),
        widths => option("width", WIDTHS, choice.width),
        schemes => option("scheme", SCHEMES, choice.scheme),
        has_html => parts.html.is_some(),
        text => if choice.view == "text" { clean(parts.text.as_deref().unwrap_or_default()).into_owned() } else { String::new() },
        source => if choice.view == "source" { clean(source.unwrap_or_default()).into_owned() } else { String::new() },
        cut => opened.bytes.len() as u64 > SOURCE || opened.parts.is_none(),
        headers => headers.collect::<Vec<_>>(),
        files => parts.files.iter().enumerate().map(file).collect::<Vec<_>>(),
        frame => link.at("/mailbox/frame").with("view", "").with("width", "").href(),
        download => Link::to("/mailbox/mail.eml").with("id", choice.id.to_string()).href(),
    }
}

fn log_entry(entry: &LogEntry) -> Value {
    context! { at => time(entry.at), outcome => entry.outcome.as_str(), reply => clean(&entry.reply) }
}

/// `GET /mailbox/frame`: the stored HTML for the frame.
async fn framed(State(studio): State<Arc<Studio>>, query: Query) -> Response {
    let choice = Choice::of(&query);
    let made = studio.work(move |studio| {
        let parts = open(studio, choice.id, LARGEST).ok().flatten()?.parts?;
        let scheme = if choice.scheme == "dark" { Scheme::Dark } else { Scheme::Light };
        Some(frame::copy(&parts.html?, Some(&parts.pictures), scheme))
    });
    let (status, html) = match made.await.ok().flatten() {
        Some(html) => (StatusCode::OK, html),
        None => (StatusCode::NOT_FOUND, "<!doctype html><title>No mail</title><p>There is no HTML to show.".to_owned()),
    };
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, frame::POLICY)];
    (status, headers, html).into_response()
}

/// `GET /mailbox/mail.eml`: the stored bytes, to be saved.
async fn file(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let id = Choice::of(&query).id;
    let made = studio.work(move |studio| {
        let mut records = Records::open(&studio.current).ok()??;
        let mail = records.ask(|reader| reader.mail(id)).ok()?.filter(|mail| mail.size <= DOWNLOAD)?;
        let mut bytes = Vec::new();
        MailReader::new(&mail.head, &mail.body, &records.reader.blobs()).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    });
    match made.await {
        Ok(Some(bytes)) => download(&format!("mail-{id}.eml"), "message/rfc822", bytes),
        Ok(None) => {
            let text =
                "It is not there, cannot be read, or is too large for a browser; `bewit outbox show --raw` has it.";
            studio.message(&visitor, StatusCode::NOT_FOUND, "There is no such mail", text)
        }
        Err(error) => error.page(&studio, &visitor),
    }
}

/// `GET /mailbox/attachment?n=…`: an attachment as it was sent, to be saved.
async fn attachment(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let id = Choice::of(&query).id;
    let number: Option<usize> = query.get("n").and_then(|number| number.parse().ok());
    let made = studio.work(move |studio| {
        let parts = open(studio, id, LARGEST).ok().flatten()?.parts?;
        parts.files.into_iter().nth(number?)
    });
    match made.await {
        // Whatever it is, a browser saves it and opens nothing.
        Ok(Some((name, _, bytes))) => download(&name, "application/octet-stream", bytes),
        Ok(None) => {
            let text = "The mail is not there any more, or has no such attachment.";
            studio.message(&visitor, StatusCode::NOT_FOUND, "There is no such attachment", text)
        }
        Err(error) => error.page(&studio, &visitor),
    }
}

/// `POST /mailbox/act`: retry or cancel, for whoever has shown the token.
async fn act(State(studio): State<Arc<Studio>>, form: Form) -> Response {
    let visitor = &form.visitor;
    if !visitor.operator {
        let text = if visitor.token_exists {
            "Log in with the operator's token to try again or to cancel."
        } else {
            "Nobody can act here, because [web] names no token; `bewit outbox retry` and `cancel` do the same."
        };
        return studio.message(visitor, StatusCode::FORBIDDEN, "This needs the operator's token", text);
    }
    let action = match form.fields.get("action") {
        Some("retry") => Action::Retry,
        Some("cancel") => Action::Cancel,
        _ => return studio.message(visitor, StatusCode::BAD_REQUEST, "Nothing was done", "It is not said what to do."),
    };
    let target = form.fields.get("target").unwrap_or_default();
    let Ok(target @ Target::Mail { mail, .. }) = target.parse() else {
        return studio.message(visitor, StatusCode::BAD_REQUEST, "Nothing was done", "It is not said to which mail.");
    };
    let done = studio.work(move |studio| {
        let path = studio.current.load().config.outbox.path.clone();
        let handle = tokio::runtime::Handle::current();
        handle.block_on(hand::act(&path, action, &[target], Timestamp::now()))
    });
    match done.await {
        Ok(Ok(Some(handled))) => match handled.first() {
            Some(Handled::Refused(why)) => {
                studio.message(visitor, StatusCode::CONFLICT, "Nothing was done", &clean(&format!("{why}.")))
            }
            _ => Redirect::to(&Link::to("/mailbox/mail").with("id", mail.to_string()).href()).into_response(),
        },
        Ok(Ok(None)) => studio.message(visitor, StatusCode::NOT_FOUND, "Nothing was done", super::NONE),
        Ok(Err(error)) => {
            studio.message(visitor, StatusCode::SERVICE_UNAVAILABLE, "Nothing was done", &trouble(&error))
        }
        Err(error) => error.page(&studio, visitor),
    }
}
