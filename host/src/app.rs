//! The composition root: builds a snapshot, connects intake, decisions, composing, outbox and delivery, runs, reloads
//! and stops them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::{Config, OnAmbiguous, Transport};
use crate::delivery::{self, Summary, Until};
use crate::digests;
use crate::facts::live::Live;
use crate::intake::{Accept, Counts, Mode, http, spool, stdin, velociraptor};
use crate::outbox::{Outbox, OutboxError};
use crate::pipeline::{Observer, Pipeline};
use crate::postponed;
use crate::publish::Publisher;
use crate::reload::{News, Reloader};
use crate::snapshot::{Current, Snapshot};
use crate::velociraptor::client::Client;
use crate::web;
use crate::web::studio::{Events, Samples, Spool, Stored};

/// How often finished mails older than `retention` are removed.
const SWEEP: Duration = Duration::from_secs(3600);

/// How long a single pass takes things in before it begins to send.
const MOMENT: Duration = Duration::from_millis(500);

/// A server to ask for facts; rows on their way lie beside the outbox.
fn ask(api_config: &Path, database: &Path) -> std::io::Result<Live> {
    let mut folder = database.as_os_str().to_owned();
    folder.push(".asked");
    let live = Live::new(Client::new(api_config.to_owned()), folder.into());
    live.clear()?;
    Ok(live)
}

/// Everything that runs, built and connected, not yet started.
pub struct App {
    config_file: Option<PathBuf>,
    current: Current,
    outbox: Outbox,
    pipeline: Arc<Pipeline>,
    live: Option<Live>,
    stdin: bool,
}

impl App {
    /// Opens the outbox and connects the parts. `config_file` is watched for changes; without one nothing reloads.
    ///
    /// # Errors
    /// When the outbox cannot be opened.
    pub async fn build(
        snapshot: Snapshot,
        config_file: Option<PathBuf>,
        observer: Option<Observer>,
    ) -> Result<Self, OutboxError> {
        let config = &snapshot.config;
        let hold = matches!(&config.transport, Transport::Smtp(smtp) if smtp.on_ambiguous == OnAmbiguous::Hold);
        let outbox = Outbox::open(&config.outbox, config.retry.clone(), hold).await?;
        let current: Current = Arc::new(ArcSwap::from_pointee(snapshot));
        let live = match &current.load().config.velociraptor {
            Some(server) => Some(ask(&server.api_config, outbox.path())?),
            None => None,
        };
        let pipeline = Pipeline::new(Arc::clone(&current), outbox.clone(), observer).with_live(live.clone());
        Ok(Self { config_file, current, outbox, pipeline: Arc::new(pipeline), live, stdin: false })
    }

    /// Whether standard input is an intake, too.
    #[must_use]
    pub fn with_stdin(self, stdin: bool) -> Self {
        Self { stdin, ..self }
    }

    /// What takes lines in.
    #[must_use]
    pub fn pipeline(&self) -> Arc<dyn Accept> {
        Arc::<Pipeline>::clone(&self.pipeline)
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Current {
        Arc::clone(&self.current)
    }

    /// Judges again what is due, takes what waits in the spool and on standard input, sends what is due, ends. Retries are
    /// not waited for. If there is more to take than a moment's work, the first mails are sent meanwhile.
    ///
    /// # Errors
    /// When the outbox or an intake fails.
    pub async fn once(self) -> anyhow::Result<Once> {
        let config = self.config();
        postponed::flush(&self.current, &self.outbox, self.live.as_ref(), Timestamp::now()).await?;
        let (taken, sent) = self.take_and_send(&config).await?;
        self.sent(taken, sent).await
    }

    /// Takes what waits; if it lasts, sends meanwhile.
    async fn take_and_send(&self, config: &Config) -> anyhow::Result<(spool::Summary, Summary)> {
        let mut taking = std::pin::pin!(self.take(config));
        tokio::select! {
            taken = &mut taking => return Ok((taken?, Summary::default())),
            () = tokio::time::sleep(MOMENT) => {}
        }
        let (stop, stops) = watch::channel(false);
        let sending = tokio::spawn(self.send(config, Until::Stopped(stops)));
        let taken = taking.await;
        stop.send_replace(true);
        let sent = sending.await.context("delivery broke down, which is a bug worth reporting")?;
        Ok((taken?, sent?))
    }

    /// Takes what waits.
    async fn take(&self, config: &Config) -> anyhow::Result<spool::Summary> {
        let mut taken = match &config.spool {
            Some(spool) => {
                spool::run(spool, &config.limits, self.pipeline(), Mode::Once).await.context("intake.spool")?
            }
            None => spool::Summary::default(),
        };
        if self.stdin {
            taken.lines.add(stdin::run(&config.limits, self.pipeline(), None, Mode::Once).await?);
        }
        if let Some(server) = config.velociraptor.as_ref().filter(|server| server.watch) {
            let state = velociraptor::State::default();
            let counts = velociraptor::run(server, &config.limits, self.pipeline(), state, Mode::Once).await;
            taken.lines.add(counts.context("velociraptor")?);
        }
        Ok(taken)
    }

    fn send(
        &self,
        config: &Config,
        until: Until,
    ) -> impl Future<Output = Result<Summary, OutboxError>> + Send + 'static {
        delivery::run(self.outbox.clone(), Arc::new(config.transport.clone()), config.retry.clone(), until)
    }

    /// Sends what is due, also what was handed to [`App::pipeline`] before, as [`App::once`] does; takes nothing.
    ///
    /// # Errors
    /// When the outbox fails.
    pub async fn drain(self, lines: Counts) -> anyhow::Result<Once> {
        postponed::flush(&self.current, &self.outbox, self.live.as_ref(), Timestamp::now()).await?;
        self.sent(spool::Summary { lines, ..spool::Summary::default() }, Summary::default()).await
    }

    /// Sends the rest; `sent` is what was sent before.
    async fn sent(self, taken: spool::Summary, mut sent: Summary) -> anyhow::Result<Once> {
        digests::flush(&self.current, &self.outbox, Timestamp::now(), true).await?;
        sent.add(self.send(&self.config(), Until::Drained).await?);
        if let Some(publisher) = self.publisher(&velociraptor::State::default()) {
            publisher.once().await?;
        }
        self.outbox.sweep(Timestamp::now()).await?;
        let census = self.outbox.census().await?;
        // What was deferred, or put back, at first may have been sent since.
        sent.deferred = sent.deferred.min(census.deferred + census.queued);
        sent.held = sent.held.min(census.held);
        self.outbox.close().await;
        Ok(Once { taken, sent, waiting: census.deferred + census.held + census.postponed })
    }

    /// Runs until SIGTERM or SIGINT, then stops in order: intake, delivery (open dialogues are finished), outbox.
    ///
    /// # Errors
    /// When a part fails for good; the others are stopped first.
    pub async fn daemon(self) -> anyhow::Result<()> {
        let config = self.config();
        let (stop_intake, intake_stops) = watch::channel(false);
        let (stop_rest, rest_stops) = watch::channel(false);
        let mut parts = Parts::default();

        let (hangup, hangups) = mpsc::channel(1);
        let (generations, news) = match &self.config_file {
            Some(file) => {
                let reloader = Reloader::new(file.clone(), Arc::clone(&self.current));
                let generations = reloader.generations();
                let stops = intake_stops.clone();
                let news = reloader.news();
                parts.spawn("reload", async move {
                    reloader.run(hangups, stops).await;
                    Ok(())
                });
                (generations, news)
            }
            None => (watch::channel(0).1, watch::channel(News::default()).1),
        };
        if let Some(spool) = config.spool.clone() {
            let (pipeline, limits, stops) = (self.pipeline(), config.limits, intake_stops.clone());
            parts.spawn("spool", async move {
                spool::run(&spool, &limits, pipeline, Mode::Watch(stops)).await.context("intake.spool")?;
                Ok(())
            });
        }
        if self.stdin {
            let (pipeline, limits, mut stops) = (self.pipeline(), config.limits, intake_stops.clone());
            parts.spawn("stdin", async move {
                let counts = stdin::run(&limits, pipeline, None, Mode::Watch(stops.clone())).await?;
                tracing::info!(events = counts.good(), rejected = counts.rejected, "standard input has ended");
                // Its end is not the daemon's: what it brought is still to be delivered.
                stopped(&mut stops).await;
                Ok(())
            });
        }
        if let Some(http) = config.http.clone() {
            let server = http::Server::bind(&http).await.with_context(|| format!("intake.http: {}", http.listen))?;
            let (pipeline, limits, stops) = (self.pipeline(), config.limits, intake_stops.clone());
            parts.spawn("http", async move { server.run(&limits, pipeline, stops).await.context("intake.http") });
        }
        let watched = velociraptor::State::default();
        if let Some(server) = config.velociraptor.clone().filter(|server| server.watch) {
            let (pipeline, limits, state) = (self.pipeline(), config.limits, watched.clone());
            let stops = intake_stops.clone();
            parts.spawn("velociraptor", async move {
                velociraptor::run(&server, &limits, pipeline, state, Mode::Watch(stops))
                    .await
                    .context("velociraptor")?;
                Ok(())
            });
        }
        if let Some(publisher) = self.publisher(&watched) {
            let stops = rest_stops.clone();
            parts.spawn("publish", async move { publisher.run(stops).await.context("velociraptor.publish") });
        }
        if let Some(web) = &config.web {
            let server = web::Server::bind(web).await.with_context(|| format!("web: {}", web.listen))?;
            let current = Arc::clone(&self.current);
            let events: Vec<Arc<dyn Events>> = vec![
                Arc::new(Stored::new(Arc::clone(&current))),
                Arc::new(Spool::new(Arc::clone(&current))),
                Arc::new(Samples),
            ];
            let daemon = web::Daemon { outbox: self.outbox.clone(), watched, live: self.live.clone() };
            let site = web::Site { current, file: self.config_file.clone(), news, events, daemon: Some(daemon) };
            let stops = rest_stops.clone();
            parts.spawn("web", async move { server.run(site, stops).await.context("web") });
        }
        parts.spawn(
            "delivery",
            deliver(self.outbox.clone(), Arc::clone(&self.current), generations, rest_stops.clone()),
        );
        parts.spawn("digests", gather(self.outbox.clone(), Arc::clone(&self.current), rest_stops.clone()));
        let (outbox, current, live) = (self.outbox.clone(), Arc::clone(&self.current), self.live.clone());
        parts.spawn("postponed", judge_again(outbox, current, live, rest_stops.clone()));
        parts.spawn("retention", sweep(self.outbox.clone(), rest_stops.clone()));
        tracing::info!(
            rules = config.rules.len(),
            spool = config.spool.as_ref().map(|spool| spool.path.display().to_string()),
            http = config.http.as_ref().map(|http| http.listen.to_string()),
            velociraptor = config.velociraptor.as_ref().map(|server| server.api_config.display().to_string()),
            "bewit is running"
        );

        let failure = parts.until_stopped(hangup).await;
        stop_intake.send_replace(true);
        parts.wait_for(&["reload", "spool", "stdin", "http", "velociraptor"]).await;
        stop_rest.send_replace(true);
        let late = parts.wait_for_all().await;
        self.outbox.close().await;
        match failure.or(late) {
            Some(error) => Err(error),
            None => {
                tracing::info!("bewit has stopped");
                Ok(())
            }
        }
    }

    /// Who writes notifications back, if somebody is to.
    fn publisher(&self, state: &velociraptor::State) -> Option<Publisher> {
        let server = self.config().velociraptor?;
        let (artifact, outbox) = (server.publish?, self.outbox.clone());
        Some(Publisher { api_config: server.api_config, artifact, outbox, state: state.clone() })
    }

    fn config(&self) -> Config {
        self.current.load().config.clone()
    }
}

/// What one pass did.
#[derive(Debug, Clone, Copy)]
pub struct Once {
    /// By the spool and from standard input.
    pub taken: spool::Summary,
    /// By delivery.
    pub sent: Summary,
    /// Recipients that are deferred or held now, and judgements that were put off, also those of earlier passes.
    pub waiting: u64,
}

impl Once {
    /// Whether something was neither delivered nor decided.
    #[must_use]
    pub fn incomplete(&self) -> bool {
        let Self { taken, sent, waiting } = self;
        taken.refused + taken.lines.rejected + sent.deferred + sent.failed + sent.held + waiting > 0
    }
}

/// The daemon's tasks by name.
#[derive(Default)]
struct Parts {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    running: Vec<&'static str>,
}

impl Parts {
    fn spawn(&mut self, name: &'static str, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.running.push(name);
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// Waits for a signal to stop, or for the first part that ends by itself; passes SIGHUP on.
    async fn until_stopped(&mut self, hangup: mpsc::Sender<()>) -> Option<anyhow::Error> {
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
        let (mut terminate, mut interrupt, mut hang) = match signals {
            (Ok(terminate), Ok(interrupt), Ok(hang)) => (terminate, interrupt, hang),
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => return Some(error.into()),
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return None,
                _ = interrupt.recv() => return None,
                _ = hang.recv() => { let _ = hangup.try_send(()); }
                ended = self.tasks.join_next() => return Some(self.ended(ended?).unwrap_or_else(|| anyhow::anyhow!("a part of the daemon ended by itself"))),
            }
        }
    }

    /// Waits until none of the named parts runs.
    async fn wait_for(&mut self, names: &[&'static str]) {
        while self.running.iter().any(|name| names.contains(name)) {
            let Some(ended) = self.tasks.join_next().await else { return };
            if let Some(error) = self.ended(ended) {
                tracing::error!(error = format!("{error:#}"), "while stopping");
            }
        }
    }

    /// Waits for the rest; answers the first failure.
    async fn wait_for_all(&mut self) -> Option<anyhow::Error> {
        let mut failure = None;
        while let Some(ended) = self.tasks.join_next().await {
            failure = failure.or(self.ended(ended));
        }
        failure
    }

    fn ended(
        &mut self,
        ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>,
    ) -> Option<anyhow::Error> {
        match ended {
            Ok((name, result)) => {
                self.running.retain(|running| *running != name);
                result.err()
            }
            Err(error) => Some(
                anyhow::Error::new(error).context("a part of the daemon broke down, which is a bug worth reporting"),
            ),
        }
    }
}

/// Delivery, started anew whenever a reload has changed `[smtp]`.
async fn deliver(
    outbox: Outbox,
    current: Current,
    mut generations: watch::Receiver<u64>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    loop {
        let snapshot = current.load_full();
        let settings = format!("{:?}", (&snapshot.config.transport, &snapshot.config.retry));
        let (stop_run, run_stops) = watch::channel(false);
        let run = delivery::run(
            outbox.clone(),
            Arc::new(snapshot.config.transport.clone()),
            snapshot.config.retry.clone(),
            Until::Stopped(run_stops),
        );
        let mut run = std::pin::pin!(run);
        loop {
            tokio::select! {
                result = &mut run => { result?; return Ok(()); }
                () = stopped(&mut stop) => {
                    stop_run.send_replace(true);
                    run.await?;
                    return Ok(());
                }
                Ok(()) = generations.changed() => {
                    let config = &current.load().config;
                    if format!("{:?}", (&config.transport, &config.retry)) != settings {
                        break;
                    }
                }
            }
        }
        stop_run.send_replace(true);
        run.await?;
        tracing::info!("delivery goes on with the new [smtp] settings");
    }
}

/// Writes digests as they fall due.
async fn gather(outbox: Outbox, current: Current, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    /// An interval of a whole second is the finest there is.
    const TICK: Duration = Duration::from_secs(1);
    let mut full = false;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = tokio::time::sleep(TICK) => {}
        }
        match digests::flush(&current, &outbox, Timestamp::now(), false).await {
            Ok(_) => full = false,
            Err(error @ OutboxError::Full { .. }) => {
                if !std::mem::replace(&mut full, true) {
                    tracing::error!(%error, "digests wait for space");
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Judges again what was put off, as it falls due.
async fn judge_again(
    outbox: Outbox,
    current: Current,
    live: Option<Live>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    const TICK: Duration = Duration::from_secs(1);
    let mut full = false;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = tokio::time::sleep(TICK) => {}
        }
        let flushed = tokio::select! {
            // Between two of them: what is not stored is still due at the next start.
            () = stopped(&mut stop) => return Ok(()),
            flushed = postponed::flush(&current, &outbox, live.as_ref(), Timestamp::now()) => flushed,
        };
        match flushed {
            Ok(_) => full = false,
            Err(error @ OutboxError::Full { .. }) => {
                if !std::mem::replace(&mut full, true) {
                    tracing::error!(%error, "judgements that were put off wait for space");
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes what is older than `retention`.
async fn sweep(outbox: Outbox, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    loop {
        let removed = outbox.sweep(Timestamp::now()).await?;
        if removed > 0 {
            tracing::info!(removed, "removed finished mails and decisions older than the retention");
        }
        tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// Waits until it is time to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
