//! Decisions: why did, or didn't, a flow notify.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use minijinja::{Value, context};

use super::super::query::{Link, Query};
use super::super::{Place, Studio};
use super::{NONE, Records, a_time, rules, short, time, trouble};
use crate::outbox::OutboxError;
use crate::outbox::look::{EventFilter, JudgedEvent, Kept, Page, StoredDecision, StoredEvent};
use crate::rule::{TraceEntry, TraceVerdict, Verdict};
use crate::text::{clean, cut};
use crate::web::access::Visitor;

/// Artifacts that a list suggests.
const SUGGESTED: u32 = 500;

/// Characters of an event that a page shows.
const DOCUMENT: usize = 64 * 1024;

/// The routes.
pub(super) fn router() -> Router<Arc<Studio>> {
    Router::new().route("/decisions", get(page)).route("/decisions/event", get(event))
}

/// What a visitor looks for. All of it is in the address.
#[derive(Debug, Clone, Default)]
struct Wanted {
    filter: EventFilter,
    /// Times as they were written, and what is wrong with them.
    since: String,
    until: String,
    problem: String,
    before: Option<i64>,
}

impl Wanted {
    fn of(query: &Query) -> Self {
        let text = |name: &str| query.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (since, until) = (text("since").unwrap_or_default(), text("until").unwrap_or_default());
        let verdict = match query.get("decision") {
            Some("notify") => Some(Verdict::Notify),
            Some("skip") => Some(Verdict::Skip),
            Some("error") => Some(Verdict::Error),
            _ => None,
        };
        let filter = EventFilter {
            client: text("client"),
            flow: text("flow"),
            artifact: text("artifact"),
            rule: query.get("rule").map(str::to_owned),
            verdict,
            since: a_time(&since),
            until: a_time(&until),
        };
        let unknown = [(&since, filter.since), (&until, filter.until)];
        let unknown = unknown.iter().find(|(text, time)| !text.is_empty() && time.is_none());
        let problem = unknown
            .map(|(text, _)| format!("`{}` is no time; write it as 2026-08-01T10:00, in UTC.", clean(&cut(text, 100))));
        let before = query.get("before").and_then(|before| before.parse().ok());
        Self { filter, since, until, problem: problem.unwrap_or_default(), before }
    }

    fn link(&self) -> Link {
        let EventFilter { client, flow, artifact, rule, verdict, .. } = &self.filter;
        Link::to("/decisions")
            .with("client", client.clone().unwrap_or_default())
            .with("flow", flow.clone().unwrap_or_default())
            .with("artifact", artifact.clone().unwrap_or_default())
            .with("rule", rule.clone().unwrap_or_default())
            .with("decision", verdict.map_or("", super::super::preview::show::verdict))
            .with("since", self.since.as_str())
            .with("until", self.until.as_str())
    }
}

/// `GET /decisions`
async fn page(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let wanted = Wanted::of(&query);
    match studio.work(move |studio| view(studio, &wanted)).await {
        Ok(view) => studio.page(&visitor, &Place::at("/decisions"), "decisions.html", view),
        Err(error) => error.page(&studio, &visitor),
    }
}

/// Blocking.
fn view(studio: &Studio, wanted: &Wanted) -> Value {
    let found = Records::open(&studio.current).and_then(|records| {
        let Some(mut records) = records else { return Ok(None) };
        let page = records.ask(|reader| reader.judged(&wanted.filter, wanted.before))?;
        Ok::<_, OutboxError>(Some((page, records.ask(|reader| reader.artifacts(SUGGESTED))?)))
    });
    let (page, artifacts, problem) = match found {
        Ok(Some((page, artifacts))) => (page, artifacts, wanted.problem.clone()),
        Ok(None) => (nothing(), Vec::new(), NONE.to_owned()),
        Err(error) => (nothing(), Vec::new(), trouble(&error)),
    };
    let filter = &wanted.filter;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let verdicts = [("notify", Verdict::Notify), ("skip", Verdict::Skip), ("error", Verdict::Error)];
    let verdict =
        |(name, verdict): (&'static str, Verdict)| context! { name, chosen => filter.verdict == Some(verdict) };
    context! {
        problem,
        events => page.items.iter().map(entry).collect::<Vec<_>>(),
        older => page.next.map(|next| wanted.link().with("before", next.to_string()).href()).unwrap_or_default(),
        cut => page.cut,
        newest => wanted.before.map(|_| wanted.link().href()).unwrap_or_default(),
        filtered => *filter != EventFilter::default(),
        rules => rules(studio, filter.rule.as_deref()),
        verdicts => verdicts.map(verdict).to_vec(),
        artifacts => artifacts.iter().map(|name| short(name)).collect::<Vec<_>>(),
        client => text(&filter.client),
        flow => text(&filter.flow),
        artifact => text(&filter.artifact),
        since => wanted.since.as_str(),
        until => wanted.until.as_str(),
    }
}

fn nothing() -> Page<JudgedEvent> {
    Page { items: Vec::new(), next: None, cut: false }
}

fn entry(event: &JudgedEvent) -> Value {
    let rule = |outcome: &crate::outbox::look::RuleOutcome| {
        context! { name => short(&outcome.rule), outcome => outcome.outcome.as_str(), reason => short(&outcome.reason) }
    };
    context! {
        href => Link::to("/decisions/event").with("id", event.id.to_string()).href(),
        client_href => Link::to("/decisions").with("client", event.client.as_str()).href(),
        flow => short(&event.flow),
        client => short(&event.client),
        received => time(event.received),
        artifacts => event.artifacts.iter().take(5).map(|name| short(name)).collect::<Vec<_>>(),
        more_artifacts => event.artifacts.len().saturating_sub(5),
        rules => event.rules.iter().map(rule).collect::<Vec<_>>(),
    }
}

/// A decision as it was stored.
pub(super) fn stored_decision(decision: &StoredDecision) -> Value {
    let step = |entry: &TraceEntry| {
        let verdict = match entry.verdict {
            TraceVerdict::Pass => "pass",
            TraceVerdict::Fail => "fail",
            TraceVerdict::Force => "force",
            TraceVerdict::Off => "off",
            TraceVerdict::Unknown => "unknown",
            TraceVerdict::Note => "note",
        };
        context! { filter => short(&entry.filter), verdict, detail => clean(&entry.detail) }
    };
    let mail = |id: &i64| context! { id, href => Link::to("/mailbox/mail").with("id", id.to_string()).href() };
    context! {
        rule => short(&decision.rule),
        event => short(&decision.event),
        outcome => decision.outcome.as_str(),
        reason => clean(&decision.reason),
        note => clean(decision.note.as_deref().unwrap_or_default()),
        trace => decision.trace.iter().map(step).collect::<Vec<_>>(),
        mails => decision.mails.iter().map(mail).collect::<Vec<_>>(),
    }
}

/// `GET /decisions/event`: everything that was decided of one event.
async fn event(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let id: i64 = query.get("id").and_then(|id| id.parse().ok()).unwrap_or(0);
    let found = studio.work(move |studio| {
        let Some(mut records) = Records::open(&studio.current)? else { return Ok(None) };
        let Some(stored) = records.ask(|reader| reader.stored_event(id))? else { return Ok(None) };
        let decisions = records.ask(|reader| reader.decisions_on(id))?;
        Ok::<_, OutboxError>(Some(one(&stored, &decisions)))
    });
    match found.await {
        Ok(Ok(Some(view))) => {
            let place = Place { path: "/decisions", event: format!("stored:{id}"), rule: String::new() };
            studio.page(&visitor, &place, "event.html", view)
        }
        Ok(Ok(None)) => {
            let text = "There is no such event in the outbox: it never came, or retention has removed it.";
            studio.message(&visitor, StatusCode::NOT_FOUND, "There is no such event", text)
        }
        Ok(Err(error)) => {
            let problem = trouble(&error);
            studio.message(&visitor, StatusCode::INTERNAL_SERVER_ERROR, "The event cannot be shown", &problem)
        }
        Err(error) => error.page(&studio, &visitor),
    }
}

fn one(stored: &StoredEvent, decisions: &[StoredDecision]) -> Value {
    let link = Link::to("/explain").with("event", format!("stored:{}", stored.id));
    let document = match &stored.kept {
        Kept::Whole(text) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
            Err(_) => text.clone(),
        },
        _ => String::new(),
    };
    context! {
        event => short(&stored.event),
        received => time(stored.received),
        source => decisions.first().map(|decision| short(&decision.source)).unwrap_or_default(),
        decisions => decisions.iter().map(stored_decision).collect::<Vec<_>>(),
        explain => if document.is_empty() { String::new() } else { link.href() },
        preview => if document.is_empty() { String::new() } else { link.at("/").href() },
        why_not => stored.kept.why_not().unwrap_or_default(),
        document => clean(&cut(&document, DOCUMENT)),
    }
}
