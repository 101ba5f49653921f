//! The step between an event as it came and one that can be judged.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tempfile::TempDir;

use super::cache::{Asking, Known};
use super::merge::{self, Facts, FlowRow};
use super::results::{Failure, counted};
use super::{Client, Live, Prefixes};
use crate::event::line::LineLimits;
use crate::event::rows::ResultSet;
use crate::event::{EventKey, FlowCompletion};
use crate::facts::RowReader;
use crate::rule::Rule;
use crate::rule::needs::{Needs, Wants, needs, wants};
use crate::velociraptor::client::Ask;
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::{ARTIFACTS, FLOW, LINKS};

/// Artifacts of one flow whose definitions are asked for.
const ARTIFACTS_MOST: usize = 1_000;
/// Bytes of a text that is kept in a cache.
const KEPT: usize = 64 * 1024;
/// How many times the bytes of its largest source a flow's rows may have together.
const SOURCES: u64 = 4;

/// An event, and who judges it.
pub struct Request<'a> {
    /// The rules.
    pub rules: &'a [&'a Rule],
    /// The event as it came.
    pub event: &'a FlowCompletion,
    /// Reads what it came with.
    pub rows: &'a RowReader,
    /// Limits on what the server says, as on a line.
    pub limits: &'a LineLimits,
    /// Whether a plugin may look at rows.
    pub reads_rows: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// Whether mails are written; if not, only rows that plugins look at are read.
    pub mail: bool,
    /// Whether the server is asked how links are built.
    pub links: bool,
}

/// What came of asking.
pub struct Gathered {
    /// The event with what it lacked; `None`: it lacked nothing.
    pub event: Option<Box<FlowCompletion>>,
    /// Reads all its rows.
    pub rows: RowReader,
    /// How links begin, as the server says.
    pub links: Option<Arc<Prefixes>>,
    /// What each rule can do, in the order of the request.
    pub standing: Vec<Standing>,
}

/// What a rule can do with what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Judge.
    Ready,
    /// Wait: what it needs cannot be had now.
    Waits(Lack),
    /// Skip: the server has no record of the flow.
    NoRecord,
}

/// Why facts cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// In a sentence that names the server.
    pub reason: String,
    /// Whether it counts as an attempt: what is wrong is about this flow, and waiting may not help.
    pub counts: bool,
}

impl From<&ApiError> for Lack {
    fn from(error: &ApiError) -> Self {
        let hint = match error.hint() {
            "" => String::new(),
            hint => format!("; {hint}"),
        };
        let reason = format!("Velociraptor could not be asked for facts: {error}{hint}");
        Self { reason, counts: super::results::is_the_querys(error) }
    }
}

impl Live {
    /// Asks for what the rules need of an event and it does not carry. Nothing is asked for rules that are sure to skip.
    ///
    /// # Errors
    /// When rows cannot be stored on our side.
    pub async fn gather(&self, asked: &Request<'_>) -> io::Result<Gathered> {
        let rules = asked.rules;
        let each: Vec<Needs> = rules.iter().map(|rule| needs(rule, asked.event)).collect();
        let all = each.iter().copied().fold(Needs::default(), Needs::and);
        let mut out = Gathered {
            event: None,
            rows: asked.rows.clone(),
            links: None,
            standing: vec![Standing::Ready; rules.len()],
        };
        // The right to ask is held to the end: a flow that is asked about is one flow, whatever is asked.
        let mut permit = None;
        if all.any() {
            permit = self.0.flows.acquire().await.ok();
            let event = self.facts(asked.event, all, asked.limits).await;
            let standing = match event {
                Ok(Some(event)) => {
                    out.event = Some(Box::new(event));
                    Standing::Ready
                }
                Ok(None) => Standing::NoRecord,
                Err(error) => Standing::Waits((&error).into()),
            };
            for (place, needs) in out.standing.iter_mut().zip(&each) {
                // Without a record, a rule that does not ask for it can judge by what the event carries.
                if needs.any() && (needs.record || standing != Standing::NoRecord) {
                    *place = standing.clone();
                }
            }
        }

        let event = out.event.as_deref().unwrap_or(asked.event);
        let each: Vec<Wants> = rules
            .iter()
            .zip(&out.standing)
            .map(|(rule, standing)| match standing {
                Standing::Ready => wants(rule, event, asked.reads_rows),
                _ => Wants::default(),
            })
            .collect();
        let mut all = each.iter().cloned().fold(Wants::default(), Wants::and);
        if !asked.mail {
            all.sources.retain(|_, want| want.plugin);
            all.uploads = all.uploads.filter(|_| rules.iter().any(|rule| !rule.filters.is_empty()));
        }
        if permit.is_none() && (all.any() || asked.links && all.mail) {
            permit = self.0.flows.acquire().await.ok();
        }
        let waits = |error: &ApiError, standing: &mut Vec<Standing>, wants_it: fn(&Wants) -> bool| {
            for (place, _) in standing.iter_mut().zip(&each).filter(|(_, wants)| wants_it(wants)) {
                *place = Standing::Waits(error.into());
            }
        };
        let mut gone = false;
        if let Some(most) = all.uploads {
            let mut event = event.clone();
            match self.add_uploads(&mut event, most, asked.limits).await {
                Ok(()) => out.event = Some(Box::new(event)),
                // Whoever wants no uploads may want rows, of the same server.
                Err(error) => {
                    waits(&error, &mut out.standing, Wants::any);
                    gone = true;
                }
            }
        }
        if !all.sources.is_empty() && !gone {
            let mut event = out.event.as_deref().unwrap_or(asked.event).clone();
            match self.add_rows(&mut event, &all).await {
                Ok(folder) => {
                    out.rows = out.rows.with_asked(folder);
                    out.event = Some(Box::new(event));
                }
                Err(Failure::Api(error)) => waits(&error, &mut out.standing, |wants| !wants.sources.is_empty()),
                Err(Failure::Io(error)) => return Err(error),
            }
        }
        if asked.links && all.mail {
            out.links = self.links(&asked.event.key.org_id).await;
        }
        drop(permit);
        Ok(out)
    }

    /// The event with these facts; `None`: there is no such flow.
    async fn facts(
        &self,
        event: &FlowCompletion,
        needs: Needs,
        limits: &LineLimits,
    ) -> Result<Option<FlowCompletion>, ApiError> {
        let key = &event.key;
        let mut facts = Facts::new();
        let mut asks_client = None;
        if needs.client || needs.metadata {
            match self.0.clients.get(&(key.org_id.clone(), key.client_id.clone())).await {
                Known::Value(client) => add_client(&mut facts, needs, &client),
                Known::Ask(asking) => asks_client = Some(asking),
            }
        }
        let mut asks_hunt = None;
        if needs.hunt {
            match self.0.hunts.get(&(key.org_id.clone(), key.flow_id.clone())).await {
                Known::Value(hunt) => facts.push(("hunt", hunt.to_string())),
                Known::Ask(asking) => asks_hunt = Some(asking),
            }
        }
        if needs.record || asks_client.is_some() || asks_hunt.is_some() {
            let row = self.flow(key, asks_client.is_some(), asks_hunt.is_some()).await?;
            let record = row.as_ref().and_then(|row| row.flow.as_ref()).filter(|record| merge::is_of(record, key));
            let Some((row, record)) = row.as_ref().zip(record) else { return Ok(None) };
            if needs.record {
                facts.push(("Flow", record.get().to_owned()));
            }
            if let Some(asking) = asks_client {
                let client =
                    Client { info: text(row.client_info.as_deref()), metadata: text(row.client_metadata.as_deref()) };
                add_client(&mut facts, needs, &client);
                if client.info.len() + client.metadata.len() <= KEPT {
                    asking.fill(client);
                }
            }
            if let Some(asking) = asks_hunt {
                let hunt: Arc<str> =
                    row.hunt.as_ref().map_or_else(|| "null".into(), |hunt| merge::small_hunt(hunt).into());
                facts.push(("hunt", hunt.to_string()));
                if hunt.len() <= KEPT {
                    asking.fill(hunt);
                }
            }
        }
        let mut merged = merge::merged(event, &facts, limits);
        if needs.definitions && !merged.flow.artifacts.is_empty() {
            let definitions = self.definitions(&key.org_id, &merged.flow.artifacts).await?;
            merged = merge::merged(&merged, &vec![("artifact_definitions", definitions)], limits);
        }
        Ok(Some(merged))
    }

    /// The row of the query on a flow, if there is one.
    async fn flow(&self, key: &EventKey, client: bool, hunt: bool) -> Result<Option<FlowRow>, ApiError> {
        let wanted = |wanted: bool| if wanted { "Y" } else { "" };
        let ask = Ask::new(&FLOW, &key.org_id)
            .with("Cid", &key.client_id)
            .with("Fid", &key.flow_id)
            .with("WantClient", wanted(client))
            .with("WantHunt", wanted(hunt));
        let rows = self.rows(ask, 1).await?;
        let row = rows.first().map(|row| serde_json::from_str(row.get())).transpose();
        row.map_err(|error| ApiError::Answer { query: FLOW.name, reason: error.to_string() })
    }

    /// The definitions of these artifacts as a JSON array; of one that does not exist, none.
    async fn definitions(&self, org: &str, artifacts: &[String]) -> Result<String, ApiError> {
        // All ask in the same order, so that no two wait for each other.
        let mut names: Vec<&String> = artifacts.iter().take(ARTIFACTS_MOST).collect();
        names.sort_unstable();
        names.dedup();
        let mut known: Vec<Arc<str>> = Vec::new();
        let mut asking: IndexMap<&str, Asking<Arc<str>>> = IndexMap::new();
        for name in names {
            match self.0.definitions.get(&(org.to_owned(), name.clone())).await {
                Known::Value(definition) => known.push(definition),
                Known::Ask(one) => {
                    asking.insert(name, one);
                }
            }
        }
        if !asking.is_empty() {
            #[derive(Deserialize)]
            struct Name {
                name: String,
            }
            let list = serde_json::to_string(&asking.keys().collect::<Vec<_>>()).unwrap_or_default();
            let rows = self.rows(Ask::new(&ARTIFACTS, org).with("Names", list), ARTIFACTS_MOST).await?;
            for row in rows {
                let Ok(Name { name }) = serde_json::from_str(row.get()) else { continue };
                let definition: Arc<str> = row.get().into();
                known.push(Arc::clone(&definition));
                if let Some(one) = asking.shift_remove(name.as_str()) {
                    one.fill(definition);
                }
            }
            for (_, one) in asking {
                one.fill("".into());
            }
        }
        known.retain(|definition| !definition.is_empty());
        Ok(format!("[{}]", known.join(",")))
    }

    /// Asks for the flow's uploads.
    async fn add_uploads(&self, event: &mut FlowCompletion, most: u64, limits: &LineLimits) -> Result<(), ApiError> {
        match self.uploads(&event.key, most).await? {
            Ok((list, more)) => {
                *event = merge::merged(event, &vec![("uploads", list)], limits);
                let listed = event.uploads.as_ref().map_or(0, |uploads| uploads.len() as u64);
                // Whoever lists fewer than there are knows the number from the record only.
                event.uploads_total = more.then(|| event.flow.total_uploaded_files.max(listed + 1));
            }
            Err(sentence) => event.missing.push(sentence),
        }
        Ok(())
    }

    /// Asks for the flow's rows. Answers the folder where they are.
    async fn add_rows(&self, event: &mut FlowCompletion, wants: &Wants) -> Result<Arc<TempDir>, Failure> {
        let folder = Arc::new(self.folder()?);
        let mut results = event.results.as_deref().cloned().unwrap_or_default();
        let most = wants.sources.values().map(|want| want.bytes).max().unwrap_or(0).saturating_mul(SOURCES);
        let mut left = most;
        for (number, (source, want)) in wants.sources.iter().enumerate() {
            if left == 0 {
                let reason = format!("not read: the flow's other results have more than {} MiB", most >> 20);
                results.insert(source.clone(), ResultSet::Unusable(reason));
                continue;
            }
            let file = format!("r{number}.jsonl");
            let counted = counted(source, &event.flow.query_stats);
            let set = self.source(&event.key, source, *want, counted, (folder.path(), &file)).await?;
            let size = tokio::fs::metadata(folder.path().join(&file)).await.map_or(0, |file| file.len());
            left = left.saturating_sub(size);
            if want.plugin
                && let ResultSet::Asked(asked) = &set
                && size >= want.bytes
                && asked.rows < asked.total
            {
                let (rows, name) = (asked.rows, crate::text::one_line(&crate::text::cut(source, 300)));
                event.missing.push(format!("Plugins saw only the first {rows} rows of {name}: there are too many."));
            }
            results.insert(source.clone(), set);
        }
        event.results = Some(Arc::new(results));
        Ok(folder)
    }

    /// A folder of its own for a flow's rows, which nobody else can look into.
    fn folder(&self) -> io::Result<TempDir> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0.folder)?;
        tempfile::Builder::new().prefix("flow-").tempdir_in(&self.0.folder)
    }

    /// How the server builds links into an org; `None` if it builds none that can be followed, or cannot be asked now.
    async fn links(&self, org: &str) -> Option<Arc<Prefixes>> {
        #[derive(Deserialize)]
        struct Row {
            page: Option<String>,
            download: Option<String>,
        }
        let asking = match self.0.links.get(&org.to_owned()).await {
            Known::Value(links) => return links,
            Known::Ask(asking) => asking,
        };
        // A mail without links is better than a late one.
        let rows = match self.rows(Ask::new(&LINKS, org), 1).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, org, "the server does not say how it builds links; mails go without");
                return None;
            }
        };
        let row: Option<Row> = rows.first().and_then(|row| serde_json::from_str(row.get()).ok());
        let prefix = |address: Option<String>| {
            let address = address?;
            let (prefix, _) = address.split_once('?')?;
            let followed = prefix.starts_with("https://") || prefix.starts_with("http://");
            let clean = !prefix.contains(|c: char| c.is_control() || c.is_whitespace() || "#<>\"'\\`{}".contains(c));
            (followed && clean && prefix.len() <= 1_000).then(|| prefix.to_owned())
        };
        let links = row.and_then(|row| Some(Prefixes { page: prefix(row.page)?, download: prefix(row.download)? }));
        let links = links.map(Arc::new);
        asking.fill(links.clone());
        links
    }
}

fn text(value: Option<&RawValue>) -> Arc<str> {
    value.map_or("null", RawValue::get).into()
}

fn add_client(facts: &mut Facts, needs: Needs, client: &Client) {
    if needs.client {
        facts.push(("client_info", client.info.to_string()));
    }
    if needs.metadata {
        facts.push(("client_metadata", client.metadata.to_string()));
    }
}
