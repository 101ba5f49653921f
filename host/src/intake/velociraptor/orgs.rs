//! Which orgs are watched: those that the configuration names, or with `org = "*"` all that the server lists, looked up
//! again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::sleep;

use super::back_off::BackOff;
use super::watch::Org;
use super::{Trouble, VelociraptorError, Watch};
use crate::config::Orgs;
use crate::outbox::OutboxError;
use crate::text::Visible;
use crate::velociraptor::client::{Ask, Client, ROOT_ORG};
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::ORGS;

/// How often the server is asked which orgs there are.
const LOOK: Duration = Duration::from_secs(60);

/// Most orgs of a server.
const MOST: usize = 10_000;

/// Characters of an org's id.
const MOST_ID: usize = 64;

/// Watches until the outbox refuses.
pub(super) async fn run(watch: &Watch) -> VelociraptorError {
    let mut running = Running { watch, tasks: JoinSet::new(), orgs: BTreeMap::new() };
    match &watch.orgs {
        Orgs::These(orgs) => {
            running.be(orgs.iter().cloned().collect());
            running.ended().await
        }
        Orgs::All => running.all().await,
    }
}

/// The orgs as they are now.
pub(super) async fn now(watch: &Watch) -> Result<BTreeSet<String>, ApiError> {
    match &watch.orgs {
        Orgs::These(orgs) => Ok(orgs.iter().cloned().collect()),
        Orgs::All => list(&watch.client()).await,
    }
}

/// The tasks, one for each org.
struct Running<'a> {
    watch: &'a Watch,
    tasks: JoinSet<OutboxError>,
    orgs: BTreeMap<String, AbortHandle>,
}

impl Running<'_> {
    async fn all(&mut self) -> VelociraptorError {
        let state = &self.watch.state;
        state.listed(Some("the server was not asked yet".to_owned()));
        let mut client = self.watch.client();
        let (mut back_off, mut told) = (BackOff::default(), None);
        loop {
            let wait = match list(&client).await {
                Ok(orgs) => {
                    state.listed(None);
                    (back_off, told) = (BackOff::default(), None);
                    self.be(orgs);
                    LOOK
                }
                Err(error) => {
                    client = self.watch.client();
                    let (reason, hint) = (error.to_string(), error.hint());
                    if self.orgs.is_empty() {
                        state.listed(Some(reason.clone()));
                    }
                    if told.as_ref() != Some(&reason) {
                        if error.needs_a_person() {
                            tracing::error!(reason, hint, "the orgs are not known until somebody helps");
                        } else {
                            tracing::warn!(
                                reason,
                                hint,
                                "the server does not say which orgs there are; it is asked again"
                            );
                        }
                        told = Some(reason);
                    }
                    back_off.next(error.needs_a_person(), &mut rand::rng())
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                error = self.ended() => return error,
            }
        }
    }

    /// Starts and ends tasks until there is one for each of these.
    fn be(&mut self, orgs: BTreeSet<String>) {
        let Self { watch, tasks, orgs: running } = self;
        running.retain(|org, task| {
            let stays = orgs.contains(org);
            if !stays {
                // What is on its way to the disk may be stored or not; the position tells.
                task.abort();
                watch.state.forget(org);
                tracing::warn!(org, "the org is gone, or this user is no longer of it: it is watched no more");
            }
            stays
        });
        for org in orgs {
            running.entry(org).or_insert_with_key(|org| {
                let one = Arc::new(watch.org(org));
                tasks.spawn(async move { one.run().await })
            });
        }
    }

    /// The first task that has ended by itself.
    async fn ended(&mut self) -> VelociraptorError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(error)) => return error.into(),
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => return broke_down(error).into(),
                None => std::future::pending().await,
            }
        }
    }
}

fn broke_down(error: JoinError) -> OutboxError {
    OutboxError::Stopped(format!("a part of the intake broke down, which is a bug worth reporting: {error}"))
}

#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(rename = "OrgId")]
    id: Option<String>,
}

/// Asks the server.
async fn list(client: &Client) -> Result<BTreeSet<String>, ApiError> {
    let rows = client.rows(Ask::new(&ORGS, ROOT_ORG), MOST).await?;
    let orgs: BTreeSet<String> = rows.iter().filter_map(|row| id(row.get())).collect();
    if orgs.is_empty() {
        // Every user that may ask is of one org at least.
        return Err(ApiError::Answer { query: ORGS.name, reason: "no org at all".to_owned() });
    }
    Ok(orgs)
}

/// The id of a row, if it is one that a position may be named after.
fn id(row: &str) -> Option<String> {
    let listed: Listed = serde_json::from_str(row).ok()?;
    let id = listed.id.filter(|id| !id.is_empty()).unwrap_or_else(|| ROOT_ORG.to_owned());
    let usable = id.len() <= MOST_ID && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !usable {
        tracing::error!(org = %Visible(&id), "this is no org's id: it is not watched");
    }
    usable.then_some(id)
}

impl Watch {
    fn client(&self) -> Client {
        Client::new(self.api_config.clone())
    }

    /// Everything about one org.
    pub(super) fn org(&self, org: &str) -> Org {
        let (accept, state) = (Arc::clone(&self.accept), self.state.org(org));
        Org {
            taker: super::taking::Taker::new(org, self.limit, accept, state, self.mode.clone()),
            api_config: self.api_config.clone(),
            slots: Arc::clone(&self.slots),
        }
    }
}

/// One pass over all of them, one after the other.
pub(super) async fn once(watch: &Watch) -> Result<crate::intake::Counts, VelociraptorError> {
    let told = |org: &str, error: ApiError| VelociraptorError::Api {
        org: org.to_owned(),
        hint: if error.hint().is_empty() { String::new() } else { format!(" ({})", error.hint()) },
        error,
    };
    let orgs = now(watch).await.map_err(|error| told(ROOT_ORG, error))?;
    let mut counts = crate::intake::Counts::default();
    for org in orgs {
        let one = watch.org(&org);
        match one.once().await {
            Ok(()) => counts.add(one.taker.state.counts()),
            Err(Trouble::Api(error)) => return Err(told(&org, error)),
            Err(Trouble::Outbox(error)) => return Err(error.into()),
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_as_they_may_be() {
        assert_eq!(id(r#"{"OrgId":"root","Name":"<root>"}"#).as_deref(), Some("root"));
        assert_eq!(id(r#"{"OrgId":"","Name":"x"}"#).as_deref(), Some("root"));
        assert_eq!(id(r#"{"Name":"x"}"#).as_deref(), Some("root"));
        assert_eq!(id(r#"{"OrgId":"OABC12"}"#).as_deref(), Some("OABC12"));
        for bad in [r#"{"OrgId":"root/begun"}"#, r#"{"OrgId":"a b"}"#, r#"{"OrgId":7}"#, "[]"] {
            assert_eq!(id(bad), None, "{bad}");
        }
        assert_eq!(id(&format!(r#"{{"OrgId":"{}"}}"#, "A".repeat(65))), None);
    }
}
