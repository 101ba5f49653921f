//! Mails as they were stored, newest first.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Reader;
use super::page::{self, Page};
use super::stored::flow_ids;
use crate::outbox::OutboxError;
use crate::outbox::db::{query_as, query_scalar};
use crate::outbox::sql::{ids, timestamp};
use crate::outbox::state::State;

/// Recipients of a mail that a list names.
const NAMED: i64 = 3;

/// Which mails; `None`: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailFilter {
    /// Of this rule.
    pub rule: Option<String>,
    /// About an event of this client, alone or in a digest.
    pub client: Option<String>,
    /// About an event of this flow: its id, or `org/client/flow`.
    pub flow: Option<String>,
    /// To this address, in any case.
    pub recipient: Option<String>,
    /// With a recipient in this state.
    pub state: Option<State>,
    /// With this in the subject, in any case; or of this Message-ID.
    pub text: Option<String>,
}

/// A mail in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailEntry {
    /// Row id.
    pub id: i64,
    /// Rule name.
    pub rule: String,
    /// Subject.
    pub subject: String,
    /// When it was stored.
    pub stored: Timestamp,
    /// Octets.
    pub size: u64,
    /// Event, as `org/client/flow`; of a digest, the first one.
    pub event: String,
    /// How many events it is about.
    pub events: u64,
    /// The first recipients.
    pub recipients: Vec<String>,
    /// How many recipients there are in each state.
    pub states: Vec<(State, u64)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    rule: String,
    subject: String,
    message_id: String,
    stored: i64,
    size: i64,
    event: Option<String>,
    events: i64,
}

const ALL: &str = "SELECT m.id, m.id FROM mail m WHERE m.id < $1 AND $3 IS NULL ORDER BY m.id DESC LIMIT $2";
const OF_RULE: &str = "SELECT m.id, m.id FROM mail m WHERE m.rule = $3 AND m.id < $1 ORDER BY m.id DESC LIMIT $2";
const OF_RECIPIENT: &str = "SELECT r.mail, r.mail FROM recipient r
     WHERE r.address = $3 COLLATE NOCASE AND r.mail < $1 GROUP BY r.mail ORDER BY r.mail DESC LIMIT $2";
/// Of the states that are few.
const OF_STATE: &str = "SELECT r.mail, r.mail FROM recipient r
     WHERE r.state IN ('deferred', 'held', 'failed', 'cancelled') AND r.state = $3 AND r.mail < $1
     GROUP BY r.mail ORDER BY r.mail DESC LIMIT $2";
/// The mails about events are in the order of the events, since a digest is about many; so the row is the event's.
const OF_CLIENT: &str = "SELECT e.id, m.id FROM (
       SELECT id FROM event WHERE client_id = $3 AND id < $1 AND +swept = 0 ORDER BY id DESC LIMIT $2) e
     LEFT JOIN decision d ON d.event = e.id LEFT JOIN gathered g ON g.decision = d.id
     LEFT JOIN mail m ON m.decision = d.id OR m.digest = g.digest ORDER BY e.id DESC, m.id DESC";
const OF_FLOW: &str = "SELECT e.id, m.id FROM (
       SELECT id FROM event WHERE flow_id IN (SELECT atom FROM json_each($3)) AND id < $1 AND +swept = 0
         AND (flow_id = $4 OR org_id || '/' || client_id || '/' || flow_id = $4) ORDER BY id DESC LIMIT $2) e
     LEFT JOIN decision d ON d.event = e.id LEFT JOIN gathered g ON g.decision = d.id
     LEFT JOIN mail m ON m.decision = d.id OR m.digest = g.digest ORDER BY e.id DESC, m.id DESC";
const MAILS: &str = "SELECT m.id, m.rule, m.subject, m.message_id, m.stored, m.size,
       CASE WHEN m.digest IS NULL THEN e.org_id || '/' || e.client_id || '/' || e.flow_id
         ELSE (SELECT ge.org_id || '/' || ge.client_id || '/' || ge.flow_id
               FROM gathered g JOIN decision gd ON gd.id = g.decision JOIN event ge ON ge.id = gd.event
               WHERE g.digest = m.digest ORDER BY g.id LIMIT 1) END AS event,
       CASE WHEN m.digest IS NULL THEN 1
         ELSE (SELECT count(*) FROM gathered g WHERE g.digest = m.digest) END AS events
     FROM mail m LEFT JOIN decision d ON d.id = m.decision LEFT JOIN event e ON e.id = d.event
     WHERE m.id IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))";
const STATES: &str =
    "SELECT mail, state, count(*) FROM recipient WHERE mail IN (SELECT CAST(atom AS BIGINT) FROM json_each($1))
     GROUP BY mail, state";
const ADDRESSES: &str = "SELECT mail, address FROM recipient
     WHERE mail IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) AND position <= $2 ORDER BY mail, position";
const TOLD: &str = "SELECT mail FROM recipient
     WHERE mail IN (SELECT CAST(atom AS BIGINT) FROM json_each($1)) AND address = $2 COLLATE NOCASE";
const EVENT_OF: &str = "SELECT d.event FROM mail m JOIN decision d ON d.id = m.decision WHERE m.id = $1";

/// Every query, for the test that none reads a table from end to end.
#[cfg(test)]
pub(in crate::outbox) const QUERIES: &[&str] =
    &[ALL, OF_RULE, OF_RECIPIENT, OF_STATE, OF_CLIENT, OF_FLOW, MAILS, STATES, ADDRESSES, TOLD, EVENT_OF];

impl MailFilter {
    /// The query that has the fewest candidates, and what it asks for.
    fn query(&self) -> (&'static str, Option<String>) {
        let few = [State::Deferred, State::Held, State::Failed, State::Cancelled];
        if let Some(flow) = &self.flow {
            (OF_FLOW, Some(flow_ids(flow)))
        } else if let Some(client) = &self.client {
            (OF_CLIENT, Some(client.clone()))
        } else if let Some(recipient) = &self.recipient {
            (OF_RECIPIENT, Some(recipient.clone()))
        } else if let Some(state) = self.state.filter(|state| few.contains(state)) {
            (OF_STATE, Some(state.name().to_owned()))
        } else if let Some(rule) = &self.rule {
            (OF_RULE, Some(rule.clone()))
        } else {
            (ALL, None)
        }
    }

    fn wants(&self, mail: &MailEntry, message_id: &str) -> bool {
        let text = |text: &String| {
            mail.subject.to_lowercase().contains(&text.to_lowercase()) || text.trim_matches(['<', '>']) == message_id
        };
        self.rule.as_ref().is_none_or(|rule| *rule == mail.rule)
            && self.state.is_none_or(|wanted| mail.states.iter().any(|(state, _)| *state == wanted))
            && self.text.as_ref().is_none_or(text)
    }
}

impl Reader {
    /// Some mails before a row, newest first. For a client or a flow the rows are those of events, else of mails.
    ///
    /// # Errors
    /// What the database says.
    pub async fn mails(&mut self, filter: &MailFilter, before: Option<i64>) -> Result<Page<MailEntry>, OutboxError> {
        let (query, wanted) = filter.query();
        let mut seen = HashSet::new();
        page::fill(before, async |before, most| {
            let rows: Vec<(i64, Option<i64>)> = query_as(query)
                .bind(before)
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .bind(&wanted)
                .bind(&filter.flow)
                .fetch_all(self.conn())
                .await?;
            let mut mails = self.entries(rows.iter().filter_map(|(_, mail)| *mail), filter).await?;
            // A digest is about several events, and is shown once on a page.
            Ok(rows
                .into_iter()
                .map(|(row, mail)| (row, mail.filter(|mail| seen.insert(*mail)).and_then(|mail| mails.remove(&mail))))
                .collect())
        })
        .await
    }

    /// Those of these mails that are wanted.
    async fn entries(
        &mut self,
        mails: impl Iterator<Item = i64>,
        filter: &MailFilter,
    ) -> Result<HashMap<i64, MailEntry>, OutboxError> {
        let mails = ids(mails);
        let rows: Vec<Row> = query_as(MAILS).bind(&mails).fetch_all(self.conn()).await?;
        let states: Vec<(i64, String, i64)> = query_as(STATES).bind(&mails).fetch_all(self.conn()).await?;
        let addresses: Vec<(i64, String)> = query_as(ADDRESSES).bind(&mails).bind(NAMED).fetch_all(self.conn()).await?;
        let told: Option<HashSet<i64>> = match &filter.recipient {
            Some(recipient) => {
                let told = query_scalar(TOLD).bind(&mails).bind(recipient).fetch_all(self.conn()).await?;
                Some(told.into_iter().collect())
            }
            None => None,
        };
        let mut found = HashMap::new();
        let mut message_ids = HashMap::new();
        for row in rows.into_iter().filter(|row| told.as_ref().is_none_or(|told| told.contains(&row.id))) {
            message_ids.insert(row.id, row.message_id);
            let entry = MailEntry {
                id: row.id,
                rule: row.rule,
                subject: row.subject,
                stored: timestamp(row.stored),
                size: u64::try_from(row.size).unwrap_or(0),
                event: row.event.unwrap_or_default(),
                events: u64::try_from(row.events).unwrap_or(0),
                recipients: Vec::new(),
                states: Vec::new(),
            };
            found.insert(row.id, entry);
        }
        for (mail, address) in addresses {
            if let Some(entry) = found.get_mut(&mail) {
                entry.recipients.push(address);
            }
        }
        for (mail, state, count) in states {
            if let (Some(entry), Ok(state)) = (found.get_mut(&mail), state.parse()) {
                entry.states.push((state, u64::try_from(count).unwrap_or(0)));
            }
        }
        found.retain(|mail, entry| filter.wants(entry, message_ids.get(mail).map_or("", String::as_str)));
        Ok(found)
    }

    /// The event that a mail is about; `None`: it is a digest, or there is no such mail.
    ///
    /// # Errors
    /// What the database says.
    pub async fn event_of(&mut self, mail: i64) -> Result<Option<i64>, OutboxError> {
        Ok(query_scalar(EVENT_OF).bind(mail).fetch_optional(self.conn()).await?)
    }
}
