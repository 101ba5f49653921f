//! `bewit preview`: the studio on its own, without a daemon.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use clap::Args;
use tokio::sync::{mpsc, watch};

use super::{Exit, UsageError, events, output};
use crate::config::WebConfig;
use crate::reload::{News, Reloader};
use crate::snapshot::{Current, Snapshot};
use crate::web::studio::{Events, Files, Samples, Spool, Stored};
use crate::web::{Server, Site};

/// The configuration file that is taken if it is there.
const USUAL: &str = "bewit.toml";

/// See mails in a browser while writing their templates
///
/// Serves the studio: an event, a rule, and the mail that comes of it, as HTML, text and source. A page follows the
/// configuration and the templates as they are saved; what is broken is shown with its lines. Nothing is sent, and no
/// secret but the token of `[web]` is read. Without a configuration, the stock one serves. Ctrl-C ends it.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Configuration file; without it bewit.toml if there is one, else the stock configuration
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where browsers find it; elsewhere than on this machine, `[web]` must name a token
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8026")]
    pub listen: SocketAddr,
    /// Files of events to choose from, one JSON object a line
    #[arg(value_name = "EVENTS")]
    pub events: Vec<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// A wrong configuration, an address that cannot be had, a file that cannot be read.
pub fn run(args: PreviewArgs) -> anyhow::Result<Exit> {
    for path in &args.events {
        std::fs::File::open(path).map_err(|error| UsageError(format!("{}: {error}", events::name_of(path))))?;
    }
    let file = args.config.or_else(|| Path::new(USUAL).exists().then(|| PathBuf::from(USUAL)));
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let (snapshot, refused) = match &file {
        Some(file) => match Snapshot::load_offline(file) {
            Ok(snapshot) => (snapshot, None),
            // A file that is not there will not be mended.
            Err(found) if !file.exists() => return Err(found.into()),
            Err(found) => {
                output::note(format_args!("{found}\nthe pages show this until it is mended"));
                (Snapshot::stand_in(file, scratch.path())?, Some(found))
            }
        },
        None => {
            output::note("no bewit.toml here: the stock configuration serves; name another with -c FILE");
            (Snapshot::stock(scratch.path())?, None)
        }
    };
    let web = door(snapshot.config.web.as_ref(), args.listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    runtime.block_on(async {
        let current: Current = Arc::new(ArcSwap::from_pointee(snapshot));
        let mut events: Vec<Arc<dyn Events>> = Vec::new();
        if !args.events.is_empty() {
            events.push(Arc::new(Files::new(args.events)));
        }
        events.push(Arc::new(Samples));
        events.push(Arc::new(Spool::new(Arc::clone(&current))));
        events.push(Arc::new(Stored::new(Arc::clone(&current))));
        let server = bind(&web).await?;
        open(&server)?;
        let reloader = file.map(|file| match refused {
            Some(found) => Reloader::refused(file, Arc::clone(&current), found),
            None => Reloader::new(file, Arc::clone(&current)),
        });
        serve(server, current, reloader, events).await
    })?;
    Ok(Exit::Done)
}

/// The door: the token and names of the configuration, and the address of the command line.
fn door(configured: Option<&WebConfig>, listen: SocketAddr) -> anyhow::Result<WebConfig> {
    let (token, hosts) = configured.map(|web| (web.token.clone(), web.hosts.clone())).unwrap_or_default();
    match &token {
        Some(token) => drop(token.read().map_err(|error| UsageError(format!("[web] token: {error}")))?),
        None if !listen.ip().is_loopback() => {
            let text = format!(
                "--listen {listen}: others could read the pages; name a token in [web] (token_file = \"…\"), or listen on 127.0.0.1"
            );
            return Err(UsageError(text).into());
        }
        None => {}
    }
    Ok(WebConfig { listen, token, hosts })
}

/// Takes the address.
///
/// # Errors
/// When it cannot be had; the error says what to do.
async fn bind(web: &WebConfig) -> anyhow::Result<Server> {
    let failed = |error| UsageError(format!("{}: {error}; name another address with --listen", web.listen));
    Ok(Server::bind(web).await.map_err(failed)?)
}

/// Says where a browser finds it: the address on standard output.
///
/// # Errors
/// When standard output is gone.
pub(super) fn open(server: &Server) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{}", url(server.local_addr()?)).and_then(|()| out.flush()).context("standard output")?;
    output::note("the studio is open there until Ctrl-C");
    Ok(())
}

/// What a browser opens.
fn url(listen: SocketAddr) -> String {
    let ip = listen.ip();
    let shown = if ip.is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), listen.port()) } else { listen };
    format!("http://{shown}/")
}

/// Serves until Ctrl-C or SIGTERM.
pub(super) async fn serve(
    server: Server,
    current: Current,
    reloader: Option<Reloader>,
    events: Vec<Arc<dyn Events>>,
) -> anyhow::Result<()> {
    let (stop, stops) = watch::channel(false);
    let (_hangup, hangups) = mpsc::channel(1);
    // Without a file there are no news; the sender lives as long as the pages.
    let (_still, mut news) = watch::channel(News::default());
    let (mut reloading, mut file) = (None, None);
    if let Some(reloader) = reloader {
        file = Some(reloader.file().to_owned());
        news = reloader.news();
        reloading = Some(tokio::spawn(reloader.run(hangups, stops.clone())));
    }
    let site = Site { current, file, news, events, daemon: None };
    let serving = tokio::spawn(server.run(site, stops));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    stop.send_replace(true);
    serving.await??;
    if let Some(reloading) = reloading {
        reloading.await?;
    }
    Ok(())
}
