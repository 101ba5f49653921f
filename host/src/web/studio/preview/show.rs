//! What the preview's page shows, as its template sees it.

use std::sync::Arc;

use minijinja::{Value, context};

use super::rendered::{Mail, Rendered};
use super::{Choice, IMAGES, LETTERS, SCHEMES, SOURCE, VIEWS, WIDTHS};
use crate::config::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::lint;
use crate::rule::{Decision, TraceVerdict, Verdict};
use crate::text::clean;
use crate::web::studio::Studio;

/// Everything. Blocking: attachments are read.
pub(super) fn view(studio: &Studio, choice: &Choice, rendered: &Result<Arc<Rendered>, String>) -> Value {
    let chosen = choice.event.as_deref().unwrap_or_default();
    let link = choice.link();
    let refused = studio.news.borrow().refused.clone();
    let options = |name: &'static str, words: &[(&'static str, &'static str)], now: &str| -> Vec<Value> {
        let option = |&(word, title): &(&'static str, &'static str)| {
            context! { title, href => link.clone().with(name, word).href(), chosen => word == now, word }
        };
        words.iter().map(option).collect()
    };
    let common = context! {
        groups => studio.events(chosen),
        event => chosen,
        choice => context! { mail => choice.letter, view => choice.view, width => choice.width, scheme => choice.scheme, images => choice.images },
        letters => options("mail", LETTERS, choice.letter),
        widths => options("width", WIDTHS, choice.width),
        schemes => options("scheme", SCHEMES, choice.scheme),
        pictures => options("images", IMAGES, choice.images),
        refused => refused.map(|found| problems(&found)),
    };
    match rendered {
        Err(problem) => context! { problem => problem.as_str(), ..common },
        Ok(rendered) => {
            let opinion = |opinion: &super::rendered::Opinion| {
                let word = verdict(opinion.verdict);
                context! { name => opinion.rule.as_str(), verdict => word, chosen => opinion.rule == rendered.rule }
            };
            let (files, findings) = (rendered.files(), rendered.lint.len());
            let views = VIEWS.iter().map(|&(word, title)| {
                let count = match word {
                    "files" => files,
                    "lint" => findings,
                    _ => 0,
                };
                let href = link.clone().with("view", word).href();
                context! { title, count, href, chosen => word == choice.view }
            });
            context! {
                problem => "",
                views => views.collect::<Vec<_>>(),
                lint => rendered.lint.iter().map(finding).collect::<Vec<_>>(),
                host => rendered.host.as_str(),
                key => rendered.key.as_str(),
                rules => rendered.opinions.iter().map(opinion).collect::<Vec<_>>(),
                rule => rendered.rule.as_str(),
                took => rendered.took.to_string(),
                decision => decision(&rendered.decision),
                broken => problems(&rendered.broken),
                mail => mail(choice, rendered),
                ..common
            }
        }
    }
}

/// A verdict as a word.
pub(in crate::web::studio) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Notify => "notify",
        Verdict::Skip => "skip",
        Verdict::Error => "error",
    }
}

/// A decision with its trace; what events and plugins say in it is made visible.
pub(in crate::web::studio) fn decision(decision: &Decision) -> Value {
    let step = |entry: &crate::rule::TraceEntry| {
        let verdict = match entry.verdict {
            TraceVerdict::Pass => "pass",
            TraceVerdict::Fail => "fail",
            TraceVerdict::Force => "force",
            TraceVerdict::Off => "off",
            TraceVerdict::Unknown => "unknown",
            TraceVerdict::Note => "note",
        };
        context! { filter => entry.filter.as_str(), verdict, detail => clean(&entry.detail) }
    };
    let note = |note: &crate::rule::PluginNote| context! { plugin => note.plugin.as_str(), text => clean(&note.text) };
    context! {
        verdict => verdict(decision.decision),
        reason => clean(&decision.reason),
        recipients => decision.recipients.iter().map(|to| clean(to).into_owned()).collect::<Vec<_>>(),
        trace => decision.trace.iter().map(step).collect::<Vec<_>>(),
        notes => decision.notes.iter().map(note).collect::<Vec<_>>(),
    }
}

/// A finding about the mail, in words.
fn finding(found: &lint::Finding) -> Value {
    let mut place = found.header.map_or_else(|| found.part.to_string(), |header| format!("{} {header}", found.part));
    let places: Vec<String> = found.places.iter().map(|place| format!("{}:{}", place.line, place.column)).collect();
    if !places.is_empty() {
        place.push(' ');
        place.push_str(&places.join(", "));
    }
    context! {
        severity => found.severity.to_string(),
        id => found.id,
        place,
        others => found.count.saturating_sub(found.places.len().max(1)) + found.more,
        what => clean(&found.what),
        why => clean(&found.why),
        advice => clean(&found.advice),
    }
}

/// Findings of one kind of trouble that a page shows; the others are counted.
const SHOWN: usize = 5;

/// Lines that an excerpt shows before and after the place.
const AROUND: usize = 3;

/// Findings with excerpts and carets.
pub(in crate::web::studio) fn problems(found: &Diagnostics) -> Value {
    let problem = |finding: &Diagnostic| {
        let text = found.sources.iter().find(|(name, _)| *name == finding.file).map(|(_, text)| text.as_str());
        let excerpt = text.and_then(|text| finding.excerpt(text, AROUND));
        let place = excerpt.as_ref().map(|excerpt| format!(":{}:{}", excerpt.line, excerpt.column));
        let rows = excerpt.iter().flat_map(|excerpt| {
            let carets = format!("{}{}", " ".repeat(excerpt.indent), "^".repeat(excerpt.carets));
            excerpt.lines.iter().map(move |(number, line)| {
                let here = *number == excerpt.line;
                context! { number, line => line.as_str(), here, carets => if here { carets.as_str() } else { "" } }
            })
        });
        context! {
            severity => if finding.severity == Severity::Error { "error" } else { "warning" },
            place => format!("{}{}", clean(&finding.file), place.unwrap_or_default()),
            message => clean(&finding.message),
            hint => clean(finding.hint.as_deref().unwrap_or_default()),
            rows => rows.collect::<Vec<_>>(),
        }
    };
    let more = found.findings.len().saturating_sub(SHOWN);
    context! { shown => found.findings.iter().take(SHOWN).map(problem).collect::<Vec<_>>(), more }
}

fn mail(choice: &Choice, rendered: &Rendered) -> Value {
    let mail = match &rendered.mail {
        Ok(mail) => mail,
        Err(problem) => return context! { problem => clean(problem) },
    };
    let link = choice.link();
    let files = &mail.draft.attachments;
    let common = context! {
        problem => "",
        subject => clean(&mail.draft.subject),
        has_html => mail.draft.html.is_some(),
        size => size(mail.mails.first().map_or(0, crate::mail::NewMail::size)),
        count => mail.mails.len(),
        events => mail.events,
        files => files.len(),
        sent => !rendered.decision.recipients.is_empty(),
        frame => link.at("/preview/frame").with("view", "").with("width", "").href(),
        download => link.at("/preview/mail.eml").href(),
    };
    let more = match choice.view {
        "text" => context! { text => mail.draft.text.as_str() },
        "source" => source(mail),
        "headers" => context! { headers => headers(mail) },
        "files" => {
            let attached = files.iter().enumerate().map(|(number, file)| {
                let href = link.at("/preview/attachment").with("n", number.to_string()).href();
                context! { name => file.name.as_str(), kind => file.content_type.as_str(), size => size(file.blob.size), href }
            });
            let inline = mail.draft.pictures.iter().map(|picture| {
                let file = &picture.file;
                context! { name => file.name.as_str(), kind => file.content_type.as_str(), size => size(file.blob.size), cid => picture.cid.as_str() }
            });
            context! { attached => attached.collect::<Vec<_>>(), inline => inline.collect::<Vec<_>>() }
        }
        _ => context! {},
    };
    context! { ..more, ..common }
}

fn source(mail: &Mail) -> Value {
    let bytes = mail.mails.first().and_then(|first| mail.source(first, SOURCE).ok()).unwrap_or_default();
    let cut = bytes.len() as u64 == SOURCE;
    context! { source => clean(&String::from_utf8_lossy(&bytes).replace("\r\n", "\n")), cut }
}

/// Name and value of each header field, unfolded.
fn headers(mail: &Mail) -> Vec<Value> {
    let head = mail.mails.first().map(|mail| String::from_utf8_lossy(&mail.head).into_owned()).unwrap_or_default();
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| context! { name, value => clean(value.trim()) }).collect()
}

/// Octets for people.
pub(in crate::web::studio) fn size(bytes: u64) -> String {
    crate::compose::human::size(bytes)
}
