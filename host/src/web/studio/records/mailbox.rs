//! The mailbox: what was sent, as it was sent.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use minijinja::{Value, context};

use super::super::preview::show::size;
use super::super::query::{Link, Query};
use super::super::{Place, Studio};
use super::{NONE, Records, rules, short, time, trouble};
use crate::outbox::look::{MailEntry, MailFilter, Page};
use crate::outbox::state::State as Standing;
use crate::web::access::Visitor;

/// The list's route.
pub(super) fn router() -> Router<Arc<Studio>> {
    Router::new().route("/mailbox", get(page))
}

/// What a visitor looks for. All of it is in the address.
#[derive(Debug, Clone, Default)]
struct Wanted {
    filter: MailFilter,
    before: Option<i64>,
}

impl Wanted {
    fn of(query: &Query) -> Self {
        let text = |name: &str| query.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let filter = MailFilter {
            rule: query.get("rule").map(str::to_owned),
            client: text("client"),
            flow: text("flow"),
            recipient: text("to"),
            state: query.get("state").and_then(|state| state.parse().ok()),
            text: text("q"),
        };
        Self { filter, before: query.get("before").and_then(|before| before.parse().ok()) }
    }

    fn link(&self) -> Link {
        let MailFilter { rule, client, flow, recipient, state, text } = &self.filter;
        Link::to("/mailbox")
            .with("rule", rule.clone().unwrap_or_default())
            .with("client", client.clone().unwrap_or_default())
            .with("flow", flow.clone().unwrap_or_default())
            .with("to", recipient.clone().unwrap_or_default())
            .with("state", state.map_or("", Standing::name))
            .with("q", text.clone().unwrap_or_default())
    }
}

/// `GET /mailbox`
async fn page(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let wanted = Wanted::of(&query);
    match studio.work(move |studio| view(studio, &wanted)).await {
        Ok(view) => studio.page(&visitor, &Place::at("/mailbox"), "mailbox.html", view),
        Err(error) => error.page(&studio, &visitor),
    }
}

/// Blocking.
fn view(studio: &Studio, wanted: &Wanted) -> Value {
    let found = Records::open(&studio.current).and_then(|records| {
        records.map(|mut records| records.ask(|reader| reader.mails(&wanted.filter, wanted.before))).transpose()
    });
    let (page, problem) = match found {
        Ok(Some(page)) => (page, String::new()),
        Ok(None) => (Page { items: Vec::new(), next: None, cut: false }, NONE.to_owned()),
        Err(error) => (Page { items: Vec::new(), next: None, cut: false }, trouble(&error)),
    };
    let filter = &wanted.filter;
    let state = |state: &Standing| context! { name => state.name(), chosen => Some(*state) == filter.state };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    context! {
        problem,
        mails => page.items.iter().map(entry).collect::<Vec<_>>(),
        older => page.next.map(|next| wanted.link().with("before", next.to_string()).href()).unwrap_or_default(),
        cut => page.cut,
        newest => wanted.before.map(|_| wanted.link().href()).unwrap_or_default(),
        filtered => *filter != MailFilter::default(),
        rules => rules(studio, filter.rule.as_deref()),
        states => Standing::ALL.iter().map(state).collect::<Vec<_>>(),
        client => text(&filter.client),
        flow => text(&filter.flow),
        to => text(&filter.recipient),
        q => text(&filter.text),
    }
}

fn entry(mail: &MailEntry) -> Value {
    let all: u64 = mail.states.iter().map(|(_, count)| count).sum();
    let state = |(state, count): &(Standing, u64)| {
        context! { name => state.name(), count => if all > 1 { *count } else { 0 } }
    };
    context! {
        href => Link::to("/mailbox/mail").with("id", mail.id.to_string()).href(),
        id => mail.id,
        subject => short(&mail.subject),
        rule => short(&mail.rule),
        stored => time(mail.stored),
        size => size(mail.size),
        event => short(&mail.event),
        more_events => mail.events.saturating_sub(1),
        recipients => mail.recipients.iter().map(|address| short(address)).collect::<Vec<_>>(),
        more_recipients => all.saturating_sub(mail.recipients.len() as u64),
        states => mail.states.iter().map(state).collect::<Vec<_>>(),
    }
}
