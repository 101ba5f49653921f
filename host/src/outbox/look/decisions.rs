//! Events with what the rules made of each, newest first: why did, or didn't, a flow notify.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::page::{self, Page};
use super::stored::flow_ids;
use super::{DecisionRow, Reader, StoredDecision, invalid};
use crate::outbox::OutboxError;
use crate::outbox::db::{query_as, query_scalar};
use crate::outbox::sql::{ids, millis, timestamp};
use crate::rule::Verdict;

/// Events are stored about in the order of their times: none is further from its place than this.
const DISORDER: Duration = Duration::from_secs(60);

/// Which events; `None`: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this client.
    pub client: Option<String>,
    /// Of this flow: its id, or `org/client/flow`.
    pub flow: Option<String>,
    /// That collected this artifact, in any case.
    pub artifact: Option<String>,
    /// That this rule has judged.
    pub rule: Option<String>,
    /// For which a rule (the one that is named, if one is) has decided so.
    pub verdict: Option<Verdict>,
    /// Taken in at this time or later.
    pub since: Option<Timestamp>,
    /// Taken in at this time or before.
    pub until: Option<Timestamp>,
}

/// An event and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedEvent {
    /// Row id.
    pub id: i64,
    /// As `org/client/flow`.
    pub event: String,
    /// Client id.
    pub client: String,
    /// Flow id.
    pub flow: String,
    /// When it was taken in.
    pub received: Timestamp,
    /// Intake and file.
    pub source: String,
    /// What it collected, as far as that is known.
    pub artifacts: Vec<String>,
    /// One for each rule.
    pub rules: Vec<RuleOutcome>,
}

/// What a rule made of an event, in short.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RuleOutcome {
    /// Of a judgement that waits: those come after the decisions.
    late: bool,
    id: i64,
    event: i64,
    /// Rule name.
    pub rule: String,
    /// `notify`, `skip` or `error`; `postponed`: a plugin has put it off.
    pub verdict: String,
    /// As [`StoredDecision::outcome`].
    pub outcome: String,
    /// In one sentence.
    pub reason: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    event: String,
    client: String,
    flow: String,
    received: i64,
    source: String,
    artifacts: Option<String>,
}

/// A query of candidates before a row, newest first.
macro_rules! candidates {
    ($from:literal, $row:literal, $where:literal) => {
        concat!(
            "SELECT e.id, e.org_id || '/' || e.client_id || '/' || e.flow_id AS event, e.client_id AS client, \
             e.flow_id AS flow, e.received, e.source, \
             (SELECT t.artifacts FROM document t WHERE t.event = e.id) AS artifacts FROM ",
            $from,
            " WHERE +e.swept = 0 AND ",
            $row,
            " < $1 AND ",
            $where,
            " ORDER BY ",
            $row,
            " DESC LIMIT $2"
        )
    };
}

const ALL: &str = candidates!("event e", "e.id", "$3 IS NULL");
const OF_CLIENT: &str = candidates!("event e", "e.id", "e.client_id = $3");
const OF_FLOW: &str = candidates!("event e", "e.id", "e.flow_id IN (SELECT atom FROM json_each($3))");
const OF_ARTIFACT: &str = candidates!("artifact a CROSS JOIN event e", "a.event", "e.id = a.event AND a.name = $3");
const OF_RULE: &str = candidates!("decision d CROSS JOIN event e", "d.event", "e.id = d.event AND d.rule = $3");
const OF_VERDICT: &str = candidates!(
    "decision d CROSS JOIN event e",
    "d.event",
    "e.id = d.event AND d.verdict <> 'skip' AND d.verdict = $3"
);
const OUTCOMES: &str = "SELECT FALSE AS late, id, event, rule, verdict, disposition AS outcome, reason FROM decision
     WHERE event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))
     UNION ALL SELECT TRUE, id, event, rule, 'postponed', 'postponed', reason FROM postponed
     WHERE event IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) AND next_at IS NOT NULL";
const UNTIL: &str = "SELECT id FROM event WHERE swept = 0 AND received <= $1 ORDER BY received DESC LIMIT 1";
const ARTIFACTS: &str = "WITH RECURSIVE names (name) AS (
       SELECT (SELECT min(name) FROM artifact)
       UNION ALL SELECT (SELECT min(name) FROM artifact WHERE artifact.name > names.name) FROM names
       WHERE names.name IS NOT NULL)
     SELECT name FROM names WHERE name IS NOT NULL LIMIT $1";

/// Every query, for the test that none reads a table from end to end.
#[cfg(test)]
pub(in crate::outbox) const QUERIES: &[&str] =
    &[ALL, OF_CLIENT, OF_FLOW, OF_ARTIFACT, OF_RULE, OF_VERDICT, OUTCOMES, UNTIL, ARTIFACTS];

impl EventFilter {
    /// The query that has the fewest candidates, and what it asks for.
    fn query(&self) -> (&'static str, Option<String>) {
        let verdict = |verdict| if verdict == Verdict::Notify { "notify" } else { "error" };
        if let Some(flow) = &self.flow {
            (OF_FLOW, Some(flow_ids(flow)))
        } else if let Some(client) = &self.client {
            (OF_CLIENT, Some(client.clone()))
        } else if let Some(artifact) = &self.artifact {
            (OF_ARTIFACT, Some(artifact.clone()))
        } else if self.verdict == Some(Verdict::Error) {
            (OF_VERDICT, Some(verdict(Verdict::Error).to_owned()))
        } else if let Some(rule) = &self.rule {
            (OF_RULE, Some(rule.clone()))
        } else if self.verdict == Some(Verdict::Notify) {
            (OF_VERDICT, Some(verdict(Verdict::Notify).to_owned()))
        } else {
            (ALL, None)
        }
    }

    fn wants(&self, event: &JudgedEvent) -> bool {
        let time = self.since.is_none_or(|since| event.received >= since)
            && self.until.is_none_or(|until| event.received <= until);
        let place = self.client.as_ref().is_none_or(|client| *client == event.client)
            && self.flow.as_ref().is_none_or(|flow| *flow == event.flow || *flow == event.event);
        let artifact = |wanted: &String| event.artifacts.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        let verdict = |verdict: Verdict| match verdict {
            Verdict::Notify => "notify",
            Verdict::Skip => "skip",
            Verdict::Error => "error",
        };
        let decided = |outcome: &RuleOutcome| {
            self.rule.as_ref().is_none_or(|rule| *rule == outcome.rule)
                && self.verdict.is_none_or(|wanted| verdict(wanted) == outcome.verdict)
        };
        let asked = self.rule.is_some() || self.verdict.is_some();
        time && place && self.artifact.as_ref().is_none_or(artifact) && (!asked || event.rules.iter().any(decided))
    }
}

impl Reader {
    /// Some events before a row, newest first, each with the outcome of every rule.
    ///
    /// # Errors
    /// What the database says.
    pub async fn judged(
        &mut self,
        filter: &EventFilter,
        before: Option<i64>,
    ) -> Result<Page<JudgedEvent>, OutboxError> {
        let mut before = before;
        if let (Some(until), None) = (filter.until, before) {
            let until = until.checked_add(DISORDER).unwrap_or(until);
            let newest: Option<i64> = query_scalar(UNTIL).bind(millis(until)).fetch_optional(self.conn()).await?;
            before = Some(newest.map_or(0, |newest| newest.saturating_add(1)));
        }
        let oldest = filter.since.and_then(|since| since.checked_sub(DISORDER).ok()).map(millis);
        let (query, wanted) = filter.query();
        let mut page = page::fill(before, async |before, most| {
            let rows: Vec<Row> = query_as(query)
                .bind(before)
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .bind(&wanted)
                .fetch_all(self.conn())
                .await?;
            // What is older is not wanted, and neither is what comes after it.
            let rows: Vec<Row> =
                rows.into_iter().take_while(|row| oldest.is_none_or(|oldest| row.received >= oldest)).collect();
            let mut outcomes = self.outcomes(rows.iter().map(|row| row.id)).await?;
            let mut found = Vec::with_capacity(rows.len());
            let mut last = None;
            for row in rows {
                // An event that two rules have judged so is there twice.
                if last.replace(row.id) == Some(row.id) {
                    found.push((row.id, None));
                    continue;
                }
                let event = JudgedEvent {
                    id: row.id,
                    event: row.event,
                    client: row.client,
                    flow: row.flow,
                    received: timestamp(row.received),
                    source: row.source,
                    artifacts: row
                        .artifacts
                        .map(|artifacts| serde_json::from_str(&artifacts).map_err(invalid))
                        .transpose()?
                        .unwrap_or_default(),
                    rules: outcomes.remove(&row.id).unwrap_or_default(),
                };
                found.push((event.id, filter.wants(&event).then_some(event)));
            }
            Ok(found)
        })
        .await?;
        page.items.dedup_by_key(|event| event.id);
        Ok(page)
    }

    async fn outcomes(
        &mut self,
        events: impl Iterator<Item = i64>,
    ) -> Result<HashMap<i64, Vec<RuleOutcome>>, OutboxError> {
        let rows: Vec<RuleOutcome> = query_as(OUTCOMES).bind(ids(events)).fetch_all(self.conn()).await?;
        let mut all: HashMap<i64, Vec<RuleOutcome>> = HashMap::new();
        for row in rows {
            all.entry(row.event).or_default().push(row);
        }
        for rules in all.values_mut() {
            rules.sort_by_key(|outcome| (outcome.late, outcome.id));
        }
        Ok(all)
    }

    /// What every rule made of the event of this row id, with the traces; and then what waits to be judged again.
    ///
    /// # Errors
    /// What the database says.
    pub async fn decisions_on(&mut self, event: i64) -> Result<Vec<StoredDecision>, OutboxError> {
        let rows: Vec<DecisionRow> = query_as(concat!(decisions!(), "WHERE d.event = $1 ORDER BY d.id"))
            .bind(event)
            .fetch_all(self.conn())
            .await?;
        let mut all: Vec<StoredDecision> = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let waiting: Vec<i64> =
            query_scalar("SELECT id FROM postponed WHERE event = $1 AND next_at IS NOT NULL ORDER BY id")
                .bind(event)
                .fetch_all(self.conn())
                .await?;
        for id in waiting {
            all.extend(self.judgement(id).await?);
        }
        Ok(all)
    }

    /// Names of artifacts that events collected, in order, at most so many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn artifacts(&mut self, most: u32) -> Result<Vec<String>, OutboxError> {
        Ok(query_scalar(ARTIFACTS).bind(most).fetch_all(self.conn()).await?)
    }
}
