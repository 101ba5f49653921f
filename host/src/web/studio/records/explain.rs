//! Explain: what today's rules make of an event, filter by filter; and what would change if a rule were another.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use minijinja::{Value, context};

use super::super::preview::show::{decision, problems, verdict};
use super::super::query::{Form, Link, Query};
use super::super::{Place, Studio};
use super::rule_text::{RuleText, Wrong};
use super::short;
use super::what_if::{WhatIf, what_if};
use crate::compose::Composer;
use crate::compose::templates::Templates;
use crate::config::diagnostic::Diagnostics;
use crate::config::{Config, load};
use crate::event::{self, FlowCompletion};
use crate::facts::RowReader;
use crate::rule::Rule;
use crate::simulate::{Answer, Difference, Only, Part, Side, decide};
use crate::snapshot::{Snapshot, languages, template_sets};
use crate::text::{clean, cut, one_line};
use crate::web::access::Visitor;

/// The routes.
pub(super) fn router() -> Router<Arc<Studio>> {
    Router::new().route("/explain", get(page).post(edited))
}

/// `GET /explain`
async fn page(State(studio): State<Arc<Studio>>, visitor: Visitor, query: Query) -> Response {
    let (event, rule) = (query.get("event").map(str::to_owned), query.get("rule").map(str::to_owned));
    show(&studio, &visitor, event, rule, None).await
}

/// `POST /explain`: the same with an edited rule. It changes nothing but the page.
async fn edited(State(studio): State<Arc<Studio>>, form: Form) -> Response {
    let text = |name: &str| form.fields.get(name).map(str::to_owned);
    let edited = text("toml").unwrap_or_default();
    show(&studio, &form.visitor, text("event"), text("rule"), Some(edited)).await
}

async fn show(
    studio: &Arc<Studio>,
    visitor: &Visitor,
    event: Option<String>,
    rule: Option<String>,
    edited: Option<String>,
) -> Response {
    let made = studio.work(move |studio| {
        let event = event.unwrap_or_else(|| studio.first_event());
        let view = view(studio, &event, rule.as_deref(), edited.as_deref());
        (event, rule, view)
    });
    match made.await {
        Ok((event, rule, view)) => {
            let place = Place { path: "/explain", event, rule: rule.unwrap_or_default() };
            studio.page(visitor, &place, "explain.html", view)
        }
        Err(error) => error.page(studio, visitor),
    }
}

/// Blocking.
fn view(studio: &Studio, event: &str, rule: Option<&str>, edited: Option<&str>) -> Value {
    let common = context! {
        groups => studio.events(event),
        event,
        then => event
            .strip_prefix("stored:")
            .map(|id| Link::to("/decisions/event").with("id", id).href())
            .unwrap_or_default(),
        here => Link::to("/explain").with("event", event).with("rule", rule.unwrap_or_default()).href(),
        preview => Link::to("/").with("event", event).with("rule", rule.unwrap_or_default()).href(),
    };
    let snapshot = studio.current.load_full();
    match judged(studio, &snapshot, event, rule, edited) {
        Ok(more) => context! { ..more, ..context! { problem => "", ..common } },
        Err(problem) => context! { problem, ..common },
    }
}

fn judged(
    studio: &Studio,
    snapshot: &Snapshot,
    event: &str,
    rule: Option<&str>,
    edited: Option<&str>,
) -> Result<Value, String> {
    let found = studio.sources.get(event)?;
    let read = event::read(&found.line, &snapshot.config.limits).map_err(|error| {
        format!("This is no event: {}.", one_line(&cut(error.to_string().trim_end_matches('.'), 500)))
    })?;
    let rows = RowReader::new(found.folder);
    let rules = &snapshot.config.rules;
    let first = rules.first().ok_or("The configuration has no [[rule]], so nothing is decided.")?;
    let chosen = rules.iter().find(|known| Some(known.name.as_str()) == rule).unwrap_or(first);
    let composer = snapshot.composer();
    let (now, mut own) = (Timestamp::now(), None);
    let options: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let (said, subject) = decide(&composer, rule, &read, &rows, now);
            let option = context! {
                name => rule.name.as_str(),
                verdict => verdict(said.decision),
                chosen => rule.name == chosen.name,
                href => Link::to("/explain").with("event", event).with("rule", rule.name.as_str()).href(),
            };
            if rule.name == chosen.name {
                own = Some((said, subject));
            }
            option
        })
        .collect();
    let (said, subject) = own.ok_or("The rule is not there any more.")?;
    Ok(context! {
        key => clean(&read.key.to_string()),
        host => read.client.as_ref().map(|client| one_line(&cut(&client.fqdn, 300))).unwrap_or_default(),
        rules => options,
        rule => chosen.name.as_str(),
        subject => clean(subject.as_deref().unwrap_or_default()),
        decision => decision(&said),
        edit => edit(studio, snapshot, chosen, edited, (&read, &rows)),
    })
}

/// The form with the rule's text, and what comes of an edited one.
fn edit(
    studio: &Studio,
    snapshot: &Snapshot,
    rule: &Rule,
    edited: Option<&str>,
    event: (&FlowCompletion, &RowReader),
) -> Value {
    let rows = |text: &str| (text.lines().count() + 2).clamp(8, 24);
    let common = context! {
        rows => rows(edited.unwrap_or_default()),
        possible => true, problem => "", found => Value::from(()), changes => Value::from(()), text => edited,
        after => Vec::<Value>::new(), tried => edited.is_some(),
    };
    // Without a file the stock configuration serves, and a rule of it is as good to begin with.
    let (name, text) = match &studio.file {
        None => ("bewit.toml".into(), Ok(load::STOCK.to_owned())),
        Some(path) => (path.file_name().unwrap_or_default().to_string_lossy(), read_file(path)),
    };
    let text = text.and_then(|text| RuleText::find(&name, &text, &rule.name).map_err(|error| error.to_string()));
    let text = match text {
        Ok(text) => text,
        Err(problem) => return context! { possible => false, problem, ..common },
    };
    let Some(edited) = edited else { return context! { text => text.text(), rows => rows(text.text()), ..common } };
    let base = studio.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    match text.with(edited, base) {
        Err(Wrong::Shape(problem)) => context! { problem, ..common },
        Err(Wrong::Found(found)) => context! { found => problems(&found), ..common },
        Ok((config, numbers)) => match tried(studio, snapshot, rule, &config, numbers, event) {
            Ok((after, changes)) => context! { after, changes, ..common },
            Err(found) => context! { found => problems(&found), ..common },
        },
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("The configuration file cannot be read: {error}."))
}

/// What the edited rules make of this event, and what they would change over all.
fn tried(
    studio: &Studio,
    snapshot: &Snapshot,
    rule: &Rule,
    config: &Config,
    numbers: std::ops::Range<usize>,
    (event, rows): (&FlowCompletion, &RowReader),
) -> Result<(Vec<Value>, Value), Diagnostics> {
    // What they name beyond the rules in force must be there, too.
    let (sets, spoken) = (template_sets(config), languages(config));
    let (loaded, known) = (template_sets(&snapshot.config), languages(&snapshot.config));
    let templates = if sets.iter().all(|set| loaded.contains(set)) && spoken.iter().all(|name| known.contains(name)) {
        None
    } else {
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let (folder, locale) = (snapshot.config.templates.as_deref(), &snapshot.config.locale);
        Some(Templates::localized(folder, &sets, locale, &spoken).map_err(Diagnostics::from)?)
    };
    let before = snapshot.composer();
    let after = Composer { templates: templates.as_ref().unwrap_or(before.templates), ..before };
    let edited = config.rules.get(numbers).unwrap_or_default();
    let this = edited
        .iter()
        .map(|rule| {
            let (said, subject) = decide(&after, rule, event, rows, Timestamp::now());
            let subject = clean(subject.as_deref().unwrap_or_default()).into_owned();
            context! { name => rule.name.as_str(), decision => decision(&said), subject }
        })
        .collect();
    let old = Side { rules: std::slice::from_ref(rule), composer: before };
    let changed = what_if(studio, old, Side { rules: edited, composer: after });
    Ok((this, changes(&changed)))
}

fn changes(changed: &WhatIf) -> Value {
    let WhatIf { summary, differences, late, samples } = changed;
    let rule = |counts: &crate::simulate::RuleCounts| {
        let only = match counts.only {
            Some(Only::Old) => "old",
            Some(Only::New) => "new",
            None => "",
        };
        context! { name => counts.rule.as_str(), only, old => counts.old_mails, new => counts.new_mails }
    };
    context! {
        events => summary.events,
        unreadable => summary.unreadable,
        new => summary.new,
        gone => summary.gone,
        changed => summary.changed,
        decision => summary.decision,
        any => summary.new + summary.gone + summary.changed + summary.decision > 0,
        rules => summary.rules.iter().map(rule).collect::<Vec<_>>(),
        differences => differences.iter().map(difference).collect::<Vec<_>>(),
        more => (summary.new + summary.gone + summary.changed + summary.decision)
            .saturating_sub(differences.len() as u64),
        late,
        samples,
    }
}

fn difference(difference: &Difference) -> Value {
    let side = |answer: &Option<Answer>| match answer {
        None => Value::from(()),
        Some(answer) => context! {
            verdict => verdict(answer.decision),
            reason => short(&answer.reason),
            recipients => short(&answer.recipients.join(", ")),
            subject => short(answer.subject.as_deref().unwrap_or_default()),
        },
    };
    context! {
        event => short(&difference.event),
        rule => short(&difference.rule),
        change => difference.change.to_string(),
        parts => difference.parts.iter().map(Part::to_string).collect::<Vec<_>>(),
        old => side(&difference.old),
        new => side(&difference.new),
    }
}
