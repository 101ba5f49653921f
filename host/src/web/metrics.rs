//! `/metrics`: what there is, counted in the outbox itself, so that the numbers are those that `bewit outbox verify` adds
//! up; and what was measured since the start.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::Seen;
use crate::facts::live::{Asked, Live};
use crate::meter::names::{self, Family};
use crate::meter::text::{MEDIA_TYPE, Text};
use crate::outbox::{Census, Outbox, OutboxError, SpaceCensus};
use crate::plugin::registry::Plugins;
use crate::rule::Priority;

/// A count that took longer is used again.
const LONG: Duration = Duration::from_millis(100);
/// For so many times as long as it took: counting a million mails must not become what the machine is busy with.
const AGAIN: u32 = 20;

/// The last count of the outbox. One counts at a time, however many ask.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<Option<(Instant, Duration, Census)>>);

impl Counted {
    async fn census(&self, outbox: &Outbox) -> Result<Census, OutboxError> {
        let mut last = self.0.lock().await;
        if let Some((at, took, census)) = *last
            && took >= LONG
            && at.elapsed() < took * AGAIN
        {
            return Ok(census);
        }
        let begun = Instant::now();
        let census = outbox.census().await?;
        *last = Some((Instant::now(), begun.elapsed(), census));
        Ok(census)
    }
}

/// Answers, or says why the outbox cannot be counted.
pub(super) async fn answer(State(seen): State<Seen>) -> Response {
    let outbox = seen.outbox.clone();
    let space = tokio::task::spawn_blocking(move || outbox.space_census().ok());
    let (census, space) = tokio::join!(seen.counted.census(&seen.outbox), space);
    match census {
        Ok(census) => {
            let snapshot = seen.current.load();
            let mut text = Text::default();
            of_process(&mut text);
            text.one(&names::GENERATION, snapshot.generation);
            text.one(&names::RELOAD, seen.news.borrow().refused.is_none());
            of_outbox(&mut text, &census, Timestamp::now());
            of_space(&mut text, space.ok().flatten());
            seen.outbox.meter().write(&mut text);
            of_plugins(&mut text, &snapshot.plugins);
            seen.watched.write(&mut text);
            of_queries(&mut text, &seen.live.as_ref().map(Live::census).unwrap_or_default());
            ([(header::CONTENT_TYPE, MEDIA_TYPE)], text.finish()).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

fn of_process(text: &mut Text) {
    static STARTED: LazyLock<Option<f64>> = LazyLock::new(started);
    text.family(&names::BUILD).add(&[env!("CARGO_PKG_VERSION")], true);
    let mut start = text.family(&names::STARTED);
    STARTED.iter().for_each(|at| start.add(&[], *at));
    let mut memory = text.family(&names::MEMORY);
    resident().iter().for_each(|bytes| memory.add(&[], *bytes));
}

/// When this process started, Unix seconds; `None`: the system does not say.
fn started() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may hold anything; the 22nd field of all, in ticks of which there are 100 a second.
    let ticks: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(((now - uptime + f64::from(ticks) / 100.0) * 100.0).round() / 100.0)
}

/// Bytes of memory that this process holds.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn of_outbox(text: &mut Text, census: &Census, now: Timestamp) {
    let mut family = |family: &'static Family, samples: &[(&str, u64)]| {
        let mut written = text.family(family);
        for (label, value) in samples {
            let labels = [*label];
            written.add(labels.get(..family.labels.len()).unwrap_or_default(), *value);
        }
    };
    family(&names::EVENTS, &[("", census.events)]);
    family(&names::REPEATED, &[("same", census.duplicates), ("other", census.conflicts)]);
    family(&names::REJECTED, &[("", census.rejected)]);
    family(&names::MAILS, &[("", census.mails)]);
    family(&names::GATHERED, &[("", census.gathered)]);
    family(&names::JUDGEMENTS, &[("postponed", census.postponed), ("failed", census.unjudged)]);
    family(
        &names::RECIPIENTS,
        &[
            ("queued", census.queued),
            ("sending", census.sending),
            ("deferred", census.deferred),
            ("held", census.held),
            ("delivered", census.delivered),
            ("failed", census.failed),
            ("cancelled", census.cancelled),
        ],
    );
    // What is not due yet has waited for nothing.
    let age = |since: Option<Timestamp>| {
        since.and_then(|since| Duration::try_from(now.duration_since(since)).ok()).unwrap_or_default().as_secs_f64()
    };
    let oldest = &census.oldest;
    let mut ages = text.family(&names::OLDEST);
    for (state, since) in
        [("queued", oldest.queued), ("sending", oldest.sending), ("deferred", oldest.deferred), ("held", oldest.held)]
    {
        ages.add(&[state], age(since));
    }
    text.one(&names::AGE, age([oldest.queued, oldest.sending, oldest.deferred].into_iter().flatten().min()));
    let lanes = || Priority::ALL.iter().zip(&census.lanes);
    let mut waiting = text.family(&names::LANE);
    lanes().for_each(|(priority, lane)| waiting.add(&[priority.name()], lane.waiting));
    let mut ages = text.family(&names::LANE_OLDEST);
    lanes().for_each(|(priority, lane)| ages.add(&[priority.name()], age(lane.oldest)));
    text.one(&names::OVERDUE, age(oldest.due));
}

fn of_space(text: &mut Text, space: Option<SpaceCensus>) {
    let mut free = text.family(&names::SPACE_FREE);
    space.iter().for_each(|space| free.add(&[], space.free));
    let mut least = text.family(&names::SPACE_LEAST);
    space.iter().for_each(|space| least.add(&[], space.least));
    let mut used = text.family(&names::SPACE_USED);
    if let Some(SpaceCensus { database, log, .. }) = space {
        used.add(&["database"], database);
        used.add(&["log"], log);
    }
}

/// Plugins, each since it was loaded.
fn of_plugins(text: &mut Text, plugins: &Plugins) {
    let censuses = plugins.census();
    let mut calls = text.family(&names::PLUGIN_CALLS);
    for plugin in &censuses {
        for (outcome, count) in
            [("answered", plugin.answers), ("refused", plugin.refusals), ("failed", plugin.failures)]
        {
            calls.add(&[&plugin.name, outcome], count);
        }
    }
    let mut verdicts = text.family(&names::PLUGIN_VERDICTS);
    for plugin in &censuses {
        for (verdict, count) in ["abstain", "keep", "drop", "force"].into_iter().zip(plugin.verdicts) {
            verdicts.add(&[&plugin.name, verdict], count);
        }
    }
    let mut time = text.family(&names::PLUGIN_TIME);
    censuses.iter().for_each(|plugin| time.add(&[&plugin.name], plugin.time.as_secs_f64()));
    let mut took = text.family(&names::PLUGIN_CALL);
    plugins.iter().for_each(|plugin| took.histogram(&[&plugin.spec().name], plugin.calls()));
    let mut instances = text.family(&names::PLUGIN_INSTANCES);
    censuses.iter().for_each(|plugin| instances.add(&[&plugin.name], plugin.kept));
    let mut benched = text.family(&names::PLUGIN_BENCHED);
    censuses.iter().for_each(|plugin| benched.add(&[&plugin.name], plugin.benched));
}

/// What a server was asked for facts, by kind of query, since the start.
fn of_queries(text: &mut Text, queries: &BTreeMap<&'static str, Asked>) {
    let mut sent = text.family(&names::V_QUERIES);
    queries.iter().for_each(|(query, asked)| sent.add(&[query], asked.queries));
    let mut failed = text.family(&names::V_QUERY_FAILURES);
    queries.iter().for_each(|(query, asked)| failed.add(&[query], asked.failed));
    let mut time = text.family(&names::V_QUERY_TIME);
    queries.iter().for_each(|(query, asked)| time.add(&[query], asked.time.as_secs_f64()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Lane;

    #[test]
    fn ages_are_told_by_state_and_of_what_waits() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut census = Census { events: 3, queued: 2, ..Census::default() };
        census.oldest.queued = at(990);
        census.oldest.deferred = at(400);
        census.oldest.held = at(100);
        census.oldest.due = at(1_000);
        census.lanes = [Lane { waiting: 2, oldest: at(950) }, Lane::default(), Lane { waiting: 7, oldest: at(400) }];
        let told = |census: &Census, now| {
            let mut text = Text::default();
            of_outbox(&mut text, census, Timestamp::from_second(now).unwrap());
            text.finish()
        };
        let text = told(&census, 1_000);
        for line in [
            "bewit_events_total 3",
            "bewit_recipients{state=\"queued\"} 2",
            "bewit_recipients_oldest_seconds{state=\"queued\"} 10",
            "bewit_recipients_oldest_seconds{state=\"sending\"} 0",
            "bewit_recipients_oldest_seconds{state=\"deferred\"} 600",
            "bewit_recipients_oldest_seconds{state=\"held\"} 900",
            "bewit_queue_oldest_seconds 600",
            "bewit_queue_overdue_seconds 0",
            "bewit_lane_recipients{lane=\"critical\"} 2",
            "bewit_lane_oldest_seconds{lane=\"critical\"} 50",
            "bewit_lane_oldest_seconds{lane=\"normal\"} 0",
            "bewit_lane_oldest_seconds{lane=\"bulk\"} 600",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
        // What is to come has no age.
        assert!(told(&census, 50).contains("\nbewit_queue_oldest_seconds 0\n"));
        assert!(told(&census, 1_007).contains("\nbewit_queue_overdue_seconds 7\n"));
    }

    #[test]
    fn queries_are_told_apart() {
        let asked = Asked { queries: 3, failed: 1, time: Duration::from_millis(1500) };
        let mut text = Text::default();
        of_queries(&mut text, &BTreeMap::from([("flow", asked)]));
        insta::assert_snapshot!(text.finish(), @r#"
        # HELP bewit_velociraptor_queries_total Queries for facts.
        # TYPE bewit_velociraptor_queries_total counter
        bewit_velociraptor_queries_total{query="flow"} 3
        # HELP bewit_velociraptor_query_failures_total Queries for facts that failed.
        # TYPE bewit_velociraptor_query_failures_total counter
        bewit_velociraptor_query_failures_total{query="flow"} 1
        # HELP bewit_velociraptor_query_seconds_total Time of all queries for facts.
        # TYPE bewit_velociraptor_query_seconds_total counter
        bewit_velociraptor_query_seconds_total{query="flow"} 1.5
        "#);
    }

    #[test]
    fn the_process_knows_itself() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - started().unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(resident().unwrap() > 1 << 20);
    }
}
