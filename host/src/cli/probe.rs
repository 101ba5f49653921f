//! Asks a Velociraptor server everything that Bewit will ask of it, and says in one line each what works, what is missing,
//! and which command gives it. Nothing is changed on the server, and nobody's data is read: the client and the flow that
//! are asked for do not exist.

use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::server;
use crate::config::{Orgs, VelociraptorConfig};
use crate::text::{Visible, one_line};
use crate::velociraptor::client::{Ask, Client, Push, ROOT_ORG};
use crate::velociraptor::credentials::Credentials;
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::{
    ARTIFACTS, CATCH_UP, CATCH_UP_LOG, FLOW, LINKS, Query, RESULTS, SERVER_MONITORING, UPLOADS, WATCH,
};
use crate::velociraptor::validity::not_after;

/// For everything.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the first heartbeat of the watch: the server sends one every five seconds.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// Questions at a time.
const AT_ONCE: usize = 8;
/// A certificate that ends within so many days is worth a word.
const SOON: i64 = 30;
/// A log of completions is kept if its last beat is no older; it has one each minute.
const BEAT: i64 = 180;
/// The artifact that keeps it.
const LOG: &str = "Custom.Server.Bewit.Completions";
/// A client and a flow that are not there.
const NOBODY: (&str, &str) = ("C.0000000000000000", "F.0000000000000");
/// Where grants take effect: the command edits the data store under a running server.
const RESTART: &str = "then restart the server";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It works.
    Good(String),
    /// It may be right, or does no harm.
    Doubt(String),
    /// It does not work, and somebody must do something.
    Wrong(String),
}

/// What a query is for, as a line says it.
fn purpose(query: &Query) -> &'static str {
    match query.name {
        "watch" => "completions are heard as they happen",
        "catch_up" => "past completions can be read, client by client",
        "flow" => "flows, clients and hunts can be read",
        "artifacts" => "artifact definitions can be read",
        "uploads" => "lists of uploads can be read",
        "results" => "results can be read",
        "links" => "links can be built as the server builds them",
        "server_monitoring" => "server event artifacts can be read, as `bewit import --from-server` does",
        _ => "answers",
    }
}

/// What came of one question.
enum Outcome {
    Says(Found),
    /// The user may not ask it.
    Denied(String),
}

/// Probes a server. Takes at most 10 s; must not be called inside a runtime.
///
/// # Errors
/// When no runtime can be made.
pub(super) fn probe(config: &VelociraptorConfig) -> std::io::Result<Vec<Found>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(Probe::all(config));
    // A name that is being resolved must not hold up the end.
    runtime.shutdown_background();
    Ok(found)
}

struct Probe<'a> {
    client: Client,
    config: &'a VelociraptorConfig,
    /// Our name.
    name: String,
    /// When it must be over.
    end: Instant,
}

impl<'a> Probe<'a> {
    async fn all(config: &'a VelociraptorConfig) -> Vec<Found> {
        let mut found = Vec::new();
        let credentials = match Credentials::read(&config.api_config) {
            Ok(credentials) => credentials,
            Err(error) => return vec![Found::Wrong(error.to_string())],
        };
        let name = Visible(&credentials.name).to_string();
        found.extend(lifetime(&credentials, &name, Timestamp::now()));
        let client = Client::new(config.api_config.clone());
        let probe = Self { client, config, name, end: Instant::now() + PATIENCE };
        let address = credentials.address.to_string();
        let connected = probe.patiently(probe.client.check()).await;
        if let Err(error) = connected {
            found.push(probe.unconnected(&address, &error));
            return found;
        }
        found.push(Found::Good(format!("connected to {address} as {}", probe.name)));
        let (orgs, line) = probe.orgs().await;
        found.push(line);
        found.extend(probe.questions(&orgs).await);
        found
    }

    /// Waits no longer than the time for everything allows.
    async fn patiently<T>(&self, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        tokio::time::timeout_at(self.end, work).await.unwrap_or(Err(ApiError::Silent(PATIENCE.as_secs())))
    }

    fn unconnected(&self, address: &str, error: &ApiError) -> Found {
        let hint = match error.hint() {
            "" => String::new(),
            hint => format!(": {hint}"),
        };
        match error {
            ApiError::Unreachable(_) | ApiError::Silent(_) => Found::Doubt(format!(
                "{address} cannot be reached, so nothing about it is proved: {error}{hint}. The configuration may be \
                 right and the server away"
            )),
            ApiError::Denied(_) => Found::Wrong(format!("{error}; {}, {RESTART}, gives it", self.grant(ROOT_ORG))),
            error => Found::Wrong(format!("{error}{hint}")),
        }
    }

    /// The command that gives the user what an org's queries need.
    fn grant(&self, org: &str) -> String {
        let org = if org == ROOT_ORG { String::new() } else { format!(" --org {}", Visible(org)) };
        format!("`velociraptor --config server.config.yaml acl grant {} --role api{org}`", self.name)
    }

    /// The orgs that are used, and what is said of them.
    async fn orgs(&self) -> (Vec<String>, Found) {
        let seen = self.patiently(server::ids(&self.client, &Orgs::All)).await;
        let named = match &self.config.orgs {
            Orgs::These(orgs) => Some(orgs.clone()),
            Orgs::All => None,
        };
        match seen {
            Ok(seen) => {
                let all = seen.join(", ");
                let line = Found::Good(format!("orgs that {} may see: {}", self.name, one_line(&all)));
                (named.unwrap_or(seen), line)
            }
            Err(error) => {
                let line = match error {
                    ApiError::Unreachable(_) | ApiError::Silent(_) => Found::Doubt(format!("orgs: {error}")),
                    error => Found::Wrong(format!("orgs: {error}; {}, {RESTART}", self.grant(ROOT_ORG))),
                };
                (named.unwrap_or_default(), line)
            }
        }
    }

    /// Asks every org every question, and says what came of it in the order of the orgs.
    async fn questions(&self, orgs: &[String]) -> Vec<Found> {
        let watch = self.config.watch.then_some(&WATCH);
        let always = [&CATCH_UP, &CATCH_UP_LOG, &FLOW, &ARTIFACTS, &UPLOADS, &RESULTS, &LINKS, &SERVER_MONITORING];
        let queries: Vec<Option<&'static Query>> = watch.into_iter().chain(always).map(Some).collect();
        let publish = self.config.publish.as_ref().map(|_| None);
        let asked: Vec<_> = orgs
            .iter()
            .flat_map(|org| queries.iter().copied().chain(publish).map(move |query| (org.as_str(), query)))
            .map(|(org, query)| self.one(org, query))
            .collect();
        let outcomes: Vec<_> = futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await;
        let mut found = Vec::new();
        for org in orgs {
            let mut denied = Vec::new();
            let mut reason = String::new();
            for (_, what, outcome) in outcomes.iter().filter(|(of, ..)| of == org) {
                match outcome {
                    Outcome::Says(says) => found.push(says.clone()),
                    Outcome::Denied(said) => {
                        denied.push(*what);
                        reason.clone_from(said);
                    }
                }
            }
            if !denied.is_empty() {
                let (org, what, grant) = (Visible(org), denied.join(", "), self.grant(org));
                found.push(Found::Wrong(format!(
                    "{org}: not allowed: {what} ({reason}); {grant}, {RESTART}, allows it"
                )));
            }
        }
        found
    }

    /// One question to one org, or (`None`) whether it may be written to.
    async fn one(&self, org: &str, query: Option<&'static Query>) -> (String, &'static str, Outcome) {
        let what = query.map_or("publish", |query| query.name);
        let outcome = match (query, &self.config.publish) {
            (Some(query), _) => self.question(org, query).await,
            (None, Some(artifact)) => self.publishing(org, artifact).await,
            (None, None) => Ok(Found::Good(String::new())),
        };
        let at = format!("{}: {what}", Visible(org));
        let outcome = match outcome {
            Ok(found) => Outcome::Says(found),
            Err(ApiError::Denied(said)) if query.is_some() => Outcome::Denied(said),
            Err(error @ (ApiError::Unreachable(_) | ApiError::Silent(_))) => {
                Outcome::Says(Found::Doubt(format!("{at}: no answer, so it is not proved: {error}")))
            }
            Err(error @ ApiError::Org { .. }) => {
                Outcome::Says(Found::Wrong(format!("{at}: {error}; {}, {RESTART}", self.grant(org))))
            }
            Err(error) => Outcome::Says(Found::Wrong(format!("{at}: {error}"))),
        };
        (org.to_owned(), what, outcome)
    }

    async fn question(&self, org: &str, query: &'static Query) -> Result<Found, ApiError> {
        let now = Timestamp::now().as_second();
        let at = format!("{}: {}", Visible(org), query.name);
        let (client, flow) = NOBODY;
        let ask = Ask::new(query, org).with("Cid", client).with("Fid", flow);
        let answer = match query.name {
            "watch" => return self.watching(org, &at).await,
            "catch_up_log" => return self.log(org, &at, now).await,
            // Nobody was seen after tomorrow.
            "catch_up" => self.whole(Ask::since(query, org, now + 86_400)).await.map(drop),
            "flow" => self.rows(ask.with("WantClient", "Y").with("WantHunt", "Y")).await.map(drop),
            "artifacts" => self.rows(Ask::new(query, org).with("Names", "[\"Generic.Client.Info\"]")).await.map(drop),
            "results" => self.rows(ask.with("Source", "Generic.Client.Info/BasicInformation")).await.map(drop),
            _ => self.rows(ask).await.map(drop),
        };
        match answer {
            // That nobody has no rows may be said as a reader says that it cannot read; a missing permission is said otherwise.
            Err(ApiError::Query { log, .. }) if query.readers.iter().any(|reader| log.starts_with(reader)) => {}
            answer => answer?,
        }
        Ok(Found::Good(format!("{at}: {}", purpose(query))))
    }

    async fn rows(&self, ask: Ask<'_>) -> Result<Vec<Box<RawValue>>, ApiError> {
        self.patiently(self.client.rows(ask, 10_000)).await
    }

    /// The rows of an answer that says itself that it is whole.
    async fn whole(&self, ask: Ask<'_>) -> Result<Option<i64>, ApiError> {
        let query = ask.query.name;
        let work = async {
            let mut answer = self.client.ask(ask).await?;
            let (mut ended, mut beat) = (false, None);
            while let Some(row) = answer.next().await? {
                let mark = Mark::of(&row);
                ended |= mark.ended;
                beat = beat.max(mark.beat);
            }
            if ended {
                return Ok(beat);
            }
            Err(ApiError::Ended { query, log: answer.said().map(str::to_owned) })
        };
        self.patiently(work).await
    }

    /// Whether the watch stays open: it says so by a heartbeat, and that it does not by `_Ended`.
    async fn watching(&self, org: &str, at: &str) -> Result<Found, ApiError> {
        let mut answer = self.patiently(self.client.ask(Ask::new(&WATCH, org))).await?;
        let ended = |log: Option<&str>| ApiError::Ended { query: WATCH.name, log: log.map(str::to_owned) };
        let beats = self.end.min(Instant::now() + HEARTBEAT);
        let Ok(first) = tokio::time::timeout_at(beats, answer.next()).await else {
            return Ok(Found::Doubt(format!("{at}: it is open, but no heartbeat came for {} s", HEARTBEAT.as_secs())));
        };
        match first? {
            Some(row) if !Mark::of(&row).ended => Ok(Found::Good(format!("{at}: {}", purpose(&WATCH)))),
            _ => Err(ended(answer.said())),
        }
    }

    /// Whether the log of completions is there and kept.
    async fn log(&self, org: &str, at: &str, now: i64) -> Result<Found, ApiError> {
        let beat = match self.whole(Ask::since(&CATCH_UP_LOG, org, now - BEAT)).await {
            Ok(beat) => beat,
            // The server's words for an artifact that it does not know.
            Err(ApiError::Query { .. } | ApiError::Ended { .. }) => None,
            Err(error) => return Err(error),
        };
        if beat.is_some() {
            return Ok(Found::Good(format!("{at}: {LOG} keeps the log, so an outage is made up for quickly")));
        }
        if self.defined(org, LOG).await? {
            return Ok(Found::Doubt(format!(
                "{at}: {LOG} is defined, but has not written for {BEAT} s: add it to the server's event monitoring, or \
                 see its log there. Until then the clients are asked one by one after an outage"
            )));
        }
        Ok(Found::Good(format!("{at}: {LOG} is not installed: after an outage the clients are asked one by one")))
    }

    /// Whether an artifact is defined in an org.
    async fn defined(&self, org: &str, artifact: &str) -> Result<bool, ApiError> {
        let names = serde_json::Value::from(vec![artifact]).to_string();
        Ok(!self.rows(Ask::new(&ARTIFACTS, org).with("Names", names)).await?.is_empty())
    }

    /// Whether notifications can be written back. What is pushed has no rows, so nothing is written.
    async fn publishing(&self, org: &str, artifact: &str) -> Result<Found, ApiError> {
        let at = format!("{}: publish", Visible(org));
        if !self.defined(org, artifact).await? {
            return Ok(Found::Wrong(format!(
                "{at}: there is no artifact `{artifact}`: add it in the GUI, or with `velociraptor artifacts`; the one \
                 in velociraptor/ is made for it"
            )));
        }
        let push = Push { artifact, org, client: "server", flow: "", jsonl: Vec::new(), rows: 0 };
        match self.patiently(self.client.push(push)).await {
            Err(ApiError::Denied(said)) => {
                let org = if org == ROOT_ORG { String::new() } else { format!(" --org {}", Visible(org)) };
                Ok(Found::Wrong(format!(
                    "{at}: not allowed ({said}); `velociraptor --config server.config.yaml acl grant {} --merge{org} \
                     '{{\"publish_queues\":[\"{artifact}\"]}}'`, {RESTART}, allows it",
                    self.name
                )))
            }
            answer => answer.map(|()| Found::Good(format!("{at}: {artifact} takes notifications"))),
        }
    }
}

/// What a row says of the answer that it is part of.
#[derive(Deserialize, Default)]
struct Mark {
    #[serde(rename = "_Ended", default)]
    ended: bool,
    #[serde(rename = "_Beat", default)]
    beat: Option<i64>,
}

impl Mark {
    fn of(row: &RawValue) -> Self {
        serde_json::from_str(row.get()).unwrap_or_default()
    }
}

/// What is to be said of our certificate's end.
fn lifetime(credentials: &Credentials, name: &str, now: Timestamp) -> Option<Found> {
    let end = not_after(credentials.cert.first()?)?;
    let day = end.strftime("%Y-%m-%d");
    let days = (end.as_second() - now.as_second()).div_euclid(86_400);
    let renew = format!(
        "`velociraptor --config server.config.yaml config api_client --name {name} --role api FILE` writes a new one"
    );
    if days < 0 {
        return Some(Found::Wrong(format!("the certificate of {name} ended on {day}: {renew}")));
    }
    (days < SOON).then(|| Found::Doubt(format!("the certificate of {name} ends on {day}: {renew}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(end: (i32, u8, u8)) -> Credentials {
        let mut params = rcgen::CertificateParams::new(vec!["bewit".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Credentials {
            ca: Vec::new(),
            cert: vec![cert.der().clone()],
            key: rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            address: crate::velociraptor::credentials::Address::Tcp("localhost".to_owned(), 8001),
            name: "bewit".to_owned(),
            server_name: "VelociraptorServer".to_owned(),
            max_message: None,
        }
    }

    #[test]
    fn a_certificate_s_end_is_told_in_time() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        assert_eq!(lifetime(&credentials((2026, 6, 1)), "bewit", now), None);
        assert!(matches!(lifetime(&credentials((2026, 5, 20)), "bewit", now),
            Some(Found::Doubt(text)) if text.contains("ends on 2026-05-20") && text.contains("--name bewit")));
        assert!(matches!(lifetime(&credentials((2026, 4, 30)), "bewit", now),
            Some(Found::Wrong(text)) if text.contains("ended on 2026-04-30")));
    }

    #[test]
    fn marks_of_rows() {
        let of = |text: &str| Mark::of(serde_json::from_str::<&RawValue>(text).unwrap());
        assert!(of(r#"{"_Ended":true}"#).ended);
        assert_eq!(of(r#"{"Timestamp":null,"_Beat":7}"#).beat, Some(7));
        assert!(!of(r#"{"ClientId":"C.1","_Ended":7}"#).ended);
    }
}
