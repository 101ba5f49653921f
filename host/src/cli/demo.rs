//! `bewit demo`: the two-minute tour. Stock configuration, shipped sample events, a local mailbox folder, no network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::table::Table;
use super::{Exit, UsageError, output, preview};
use crate::app::App;
use crate::config::{Config, Limits, OnAmbiguous, SmtpConfig, Timeouts, TlsMode, Transport, WebConfig, load};
use crate::event::{FlowCompletion, samples};
use crate::intake::{Accept, Batch, Fate, Line};
use crate::outbox::Outcome;
use crate::pipeline::Observer;
use crate::rule::Verdict;
use crate::snapshot::Snapshot;
use crate::text::one_line;
use crate::web::Server;
use crate::web::studio::Samples;

/// Marks a folder as the demo's own, so that the mails of the last tour may be removed.
const MARKER: &str = ".bewit-demo";

/// Port of the studio.
const PORT: u16 = 8026;

/// The two-minute tour: shipped sample events become mails in a local folder, and the studio shows them in a browser
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the summary, without the studio
    #[arg(long)]
    once: bool,
    /// Send to this server instead: smtp://HOST:PORT in clear, or smtps://HOST:PORT; no password
    #[arg(long, value_name = "URL")]
    smtp: Option<String>,
    /// Where the mails go
    #[arg(long, value_name = "DIR", default_value = "bewit-demo")]
    out: PathBuf,
}

/// What a rule made of a sample, as the summary shows it.
struct Told {
    flow: String,
    host: String,
    rule: String,
    verdict: Verdict,
    recipients: Vec<String>,
    subject: Option<String>,
    reason: String,
}

/// Runs it.
///
/// # Errors
/// When the folder cannot be written, or a sample was not taken, which is a bug.
pub fn run(args: DemoArgs) -> anyhow::Result<Exit> {
    let mailbox = prepare(&args.out)?;
    let state = tempfile::tempdir().context("no temporary folder for the demo's outbox")?;
    let config = configuration(&args, &mailbox, state.path())?;
    let snapshot = Snapshot::build(config)?;

    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let seen = Arc::clone(&told);
    let observer: Observer = Arc::new(move |event, outcomes| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(outcomes.iter().map(|outcome| tell(event, outcome)));
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    let (once, current) = runtime.block_on(async {
        let app = App::build(snapshot, None, Some(observer)).await?;
        let current = app.current();
        take_samples(app.pipeline().as_ref()).await?;
        anyhow::Ok((app.once().await?, current))
    })?;

    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    print(&told, &args, &mailbox, once.sent.delivered)?;
    if !args.once {
        runtime.block_on(async {
            let server = studio().await?;
            preview::open(&server)?;
            preview::serve(server, current, None, vec![Arc::new(Samples)]).await
        })?;
    }
    let lost = once.incomplete() || told.iter().any(|t| t.verdict == Verdict::Error);
    Ok(if lost { Exit::Incomplete } else { Exit::Done })
}

/// The studio on its usual port, or on another if somebody else has it.
async fn studio() -> anyhow::Result<Server> {
    let web = |port| WebConfig { listen: ([127, 0, 0, 1], port).into(), token: None, hosts: Vec::new() };
    let taken = match Server::bind(&web(PORT)).await {
        Ok(server) => return Ok(server),
        Err(taken) => taken,
    };
    Server::bind(&web(0)).await.with_context(|| format!("the studio has no port: {taken}"))
}

/// Makes the folder; removes the mails of the last tour, and nothing else.
fn prepare(out: &Path) -> anyhow::Result<PathBuf> {
    let mailbox = out.join("mail");
    std::fs::create_dir_all(&mailbox).with_context(|| format!("cannot make {}", mailbox.display()))?;
    let marker = out.join(MARKER);
    if marker.exists() {
        for entry in std::fs::read_dir(&mailbox)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "eml") {
                std::fs::remove_file(&path)?;
            }
        }
    } else if std::fs::read_dir(&mailbox)?.next().is_some() {
        bail!(UsageError(format!("{} holds other files; name another folder with --out", mailbox.display())));
    }
    std::fs::write(marker, "Mails of `bewit demo`; the next one replaces them.\n")?;
    Ok(mailbox)
}

/// The stock configuration with its surroundings replaced (where mail goes, where the outbox lies), each mail on its own.
fn configuration(args: &DemoArgs, mailbox: &Path, state: &Path) -> anyhow::Result<Config> {
    let mut config = load::parse(load::STOCK, "bewit.toml", state)?;
    config.transport = match &args.smtp {
        Some(url) => Transport::Smtp(Box::new(server(url)?)),
        None => Transport::Mailbox(mailbox.to_owned()),
    };
    config.outbox.path = state.join("demo.db");
    config.templates = None;
    config.spool = None;
    config.http = None;
    config.web = None;
    // The samples come all at once; at the stock interval all but the first would be gathered into one digest.
    for rule in &mut config.rules {
        rule.send_interval = Duration::ZERO;
    }
    Ok(config)
}

fn server(url: &str) -> anyhow::Result<SmtpConfig> {
    let usage = |text: &str| UsageError(format!("--smtp {url}: {text}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| usage("write smtp://HOST:PORT or smtps://HOST:PORT"))?;
    let (tls, default_port) = match scheme {
        "smtp" => (TlsMode::None, 25),
        "smtps" => (TlsMode::Implicit, 465),
        _ => bail!(usage("the scheme is smtp or smtps")),
    };
    if rest.contains('@') {
        bail!(usage("no user name here: a password in a command line can be read by others; use a configuration file"));
    }
    let authority = rest.trim_end_matches('/');
    let (server, port) = match authority.rsplit_once(':') {
        Some((server, port)) if !authority.ends_with(']') => {
            (server, port.parse().map_err(|_| usage("the port is no number"))?)
        }
        _ => (authority, default_port),
    };
    let server = server.trim_start_matches('[').trim_end_matches(']').to_owned();
    if server.is_empty() {
        bail!(usage("the host is missing"));
    }
    Ok(SmtpConfig {
        server,
        port,
        tls,
        skip_verify: false,
        root_ca: None,
        credentials: None,
        connections: 2,
        rate: None,
        limits: Limits::default(),
        reserve: false,
        timeouts: Timeouts::default(),
        on_ambiguous: OnAmbiguous::Resend,
        helo: "localhost".into(),
    })
}

async fn take_samples(pipeline: &dyn Accept) -> anyhow::Result<()> {
    for (name, text) in samples() {
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| Line { offset: 0, content: Ok(line.as_bytes().to_vec()) })
            .collect();
        let batch = Batch { source: format!("sample {name}"), folder: None, lines, position: None, keyed: false };
        for fate in pipeline.accept(batch).await? {
            if let Fate::Rejected(reason) = fate {
                bail!("the shipped sample `{name}` was rejected: {reason}");
            }
        }
    }
    Ok(())
}

fn tell(event: &FlowCompletion, outcome: &Outcome) -> Told {
    Told {
        flow: event.key.flow_id.clone(),
        host: event.client.as_ref().map(|client| one_line(&client.fqdn)).unwrap_or_default(),
        rule: outcome.rule.clone(),
        verdict: outcome.decision.decision,
        recipients: outcome.decision.recipients.clone(),
        subject: outcome.subject.clone(),
        reason: outcome.decision.reason.clone(),
    }
}

fn print(told: &[Told], args: &DemoArgs, mailbox: &Path, delivered: u64) -> anyhow::Result<()> {
    use std::io::Write;
    let mut table = Table::new(&["FLOW", "HOST", "RULE", "TOLD", "SUBJECT, OR WHY NOT"]);
    for told in told {
        let (who, what) = match told.verdict {
            Verdict::Notify => (told.recipients.join("\n"), told.subject.clone().unwrap_or_default()),
            Verdict::Skip => ("nobody".into(), told.reason.clone()),
            Verdict::Error => ("nobody (error)".into(), told.reason.clone()),
        };
        table.row(&[&told.flow, &told.host, &told.rule, &who, &what]);
    }
    let mut out = output::stdout();
    writeln!(out, "{table}")?;
    match &args.smtp {
        Some(url) => writeln!(out, "{delivered} mails were taken by {url}.")?,
        None => writeln!(out, "{delivered} mails are in {}; any mail program opens them.", mailbox.display())?,
    }
    writeln!(out, "Every decision with its trace: bewit explain -c bewit.toml EVENTS.jsonl")?;
    out.flush()?;
    Ok(())
}
