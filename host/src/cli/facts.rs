//! A server to ask for what events lack, for the subcommands that only look.

use std::io;

use tokio::runtime::Runtime;

use super::output;
use crate::config::Config;
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::facts::live::{Gathered, Live, Standing};
use crate::pipeline::gathered;
use crate::rule::Rule;
use crate::snapshot::Snapshot;
use crate::text::Visible;
use crate::velociraptor::client::Client;

/// A server, and what waits for its answers.
pub(super) struct Server {
    runtime: Runtime,
    live: Live,
    /// Where rows lie while an event is looked at.
    _folder: tempfile::TempDir,
}

impl Server {
    /// The configuration's server, if it has one and it is to be asked.
    ///
    /// # Errors
    /// When nothing can be waited for, or there is no place for rows.
    pub(super) fn of(config: &Config, offline: bool) -> anyhow::Result<Option<Self>> {
        let Some(server) = config.velociraptor.as_ref().filter(|_| !offline) else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let client = {
            let _inside = runtime.enter();
            Client::new(server.api_config.clone())
        };
        let live = Live::new(client, folder.path().to_owned());
        Ok(Some(Self { runtime, live, _folder: folder }))
    }

    /// [`complete`], waited for.
    ///
    /// # Errors
    /// When rows cannot be stored.
    pub(super) fn complete(
        &self,
        snapshot: &Snapshot,
        rules: &[&Rule],
        event: &FlowCompletion,
        rows: &RowReader,
        mail: bool,
    ) -> io::Result<Gathered> {
        self.runtime.block_on(complete(&self.live, snapshot, rules, event, rows, mail))
    }
}

/// Asks for what the rules need of an event; for rows and links only where a mail is written. What cannot be had is told
/// on standard error, and the rules then judge without it.
///
/// # Errors
/// When rows cannot be stored.
pub(super) async fn complete(
    live: &Live,
    snapshot: &Snapshot,
    rules: &[&Rule],
    event: &FlowCompletion,
    rows: &RowReader,
    mail: bool,
) -> io::Result<Gathered> {
    let mut facts = gathered(live, snapshot, rules, event, rows, mail).await?;
    let mut told = false;
    for standing in &mut facts.standing {
        if let Standing::Waits(lack) = standing {
            if !std::mem::replace(&mut told, true) {
                let (key, reason) = (event.key.to_string(), Visible(&lack.reason).to_string());
                output::note(format_args!("{}: {reason}; judged without them", Visible(&key)));
            }
            *standing = Standing::Ready;
        }
    }
    Ok(facts)
}
