//! `bewit import`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{ConfigArgs, Exit, UsageError, output, server};
use crate::config::Orgs;
use crate::config::load;
use crate::rule::import::{ImportError, ParameterSets, convert, read, running};
use crate::text::{Shown, Visible};
use crate::velociraptor::client::{Ask, Client, ROOT_ORG};
use crate::velociraptor::credentials::Credentials;
use crate::velociraptor::queries::SERVER_MONITORING;

/// Bytes of a file that is read; a parameter set has a few thousand.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// Turn a parameter set of Server.Monitor.FlowCompletion into a rule
///
/// The rule goes to standard output as TOML, ready to be appended to a configuration file. Comments in it say where a
/// parameter does something else here than it does in Velociraptor. With --from-server, the parameters are those with
/// which the artifact runs on the server now; the exit code is 1 if it runs nowhere.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// JSON: an object of parameters, or Velociraptor's own {"artifact": …, "parameters": {"env": […]}}, or a list of
    /// those; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "from_server")]
    pub file: Option<PathBuf>,
    /// Ask the server of `[velociraptor]` which parameters run
    #[arg(long, conflicts_with = "file")]
    pub from_server: bool,
    /// Configuration file that names the server
    #[command(flatten)]
    pub config: ConfigArgs,
    /// An API client file, instead of a configuration
    #[arg(long, value_name = "FILE", requires = "from_server")]
    pub api_config: Option<PathBuf>,
    /// Only this org (an id, `root`, or `*` for every one); may be given several times. Without it: those of the
    /// configuration, else the root org
    #[arg(long, value_name = "ORG", requires = "from_server")]
    pub org: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When the file cannot be read or holds no parameters: exit code 2. What of it could not be taken over is a warning.
pub fn run(args: ImportArgs) -> anyhow::Result<Exit> {
    match args.file {
        Some(file) => from_file(&file),
        None => from_server(&args),
    }
}

fn from_file(file: &std::path::Path) -> anyhow::Result<Exit> {
    let is_stdin = file.as_os_str() == "-";
    let path = file.display().to_string();
    let name = if is_stdin { "standard input".to_owned() } else { Visible(&path).to_string() };
    let usage = |reason: &dyn std::fmt::Display| UsageError(format!("{name}: {reason}"));

    let mut bytes = Vec::new();
    let read_whole = |mut reader: Box<dyn Read>| reader.by_ref().take(FILE_LIMIT + 1).read_to_end(&mut bytes);
    let source: io::Result<Box<dyn Read>> =
        if is_stdin { Ok(Box::new(io::stdin())) } else { File::open(file).map(|file| Box::new(file) as _) };
    source.and_then(read_whole).map_err(|error| usage(&error))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(usage(&"longer than 16 MiB, this is no parameter set").into());
    }
    let text = String::from_utf8(bytes).map_err(|error| usage(&error.utf8_error()))?;
    let found = read(&text).map_err(|error| usage(&error))?;

    let mut out = output::stdout();
    writeln!(out, "# Parameters of Server.Monitor.FlowCompletion, from {name}.")?;
    write(&mut out, &name, "flow-completion", &found).context("standard output")?;
    Ok(Exit::Done)
}

/// Writes a rule for each parameter set; `rule` is the first one's name, the others are numbered.
fn write(out: &mut impl Write, source: &str, rule: &str, found: &ParameterSets) -> io::Result<()> {
    for artifact in &found.passed_over {
        output::note(format_args!("{source}: {} is another artifact, passed over", Shown(artifact)));
    }
    for (number, set) in found.sets.iter().enumerate() {
        let converted = convert(set);
        for warning in &converted.warnings {
            output::note(format_args!("{source}: warning: {warning}"));
        }
        let suffix = if number == 0 { String::new() } else { format!("-{}", number + 1) };
        write!(out, "\n{}", converted.to_toml(&format!("{rule}{suffix}")))?;
    }
    out.flush()
}

fn from_server(args: &ImportArgs) -> anyhow::Result<Exit> {
    let root = Orgs::These(vec![ROOT_ORG.to_owned()]);
    let (api_config, orgs) = if let Some(file) = &args.api_config {
        Credentials::read(file).map_err(|error| UsageError(error.to_string()))?;
        (file.clone(), server::wanted(&args.org, &root))
    } else {
        let config = load::load_offline(&args.config.config)?;
        let section = server::section(config.velociraptor.as_ref(), &args.config.config)?;
        Credentials::read(&section.api_config).map_err(|error| UsageError(error.to_string()))?;
        (section.api_config.clone(), server::wanted(&args.org, &section.orgs))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
    let exit = runtime.block_on(async { ask_all(&Client::new(api_config), &orgs).await });
    runtime.shutdown_background();
    exit
}

/// Asks one org after the other.
async fn ask_all(client: &Client, orgs: &Orgs) -> anyhow::Result<Exit> {
    #[derive(Deserialize)]
    struct Row {
        #[serde(rename = "State", default)]
        state: Value,
    }
    let orgs = match server::ids(client, orgs).await {
        Ok(orgs) => orgs,
        Err(error) => return Ok(server::report("orgs", &error)),
    };
    let mut out = output::stdout();
    let (mut rules, mut exit) = (0, Exit::Done);
    for org in &orgs {
        let name = format!("org {}", Visible(org));
        let rows = match client.rows(Ask::new(&SERVER_MONITORING, org), 10).await {
            Ok(rows) => rows,
            Err(error) => {
                exit = server::report(&name, &error);
                continue;
            }
        };
        let state = rows.first().map(|row| serde_json::from_str::<Row>(row.get())).transpose();
        let found = match state.map(|row| running(row.map_or(Value::Null, |row| row.state))) {
            Ok(Ok(found)) => found,
            Ok(Err(ImportError::OtherArtifacts(names))) => {
                output::note(format_args!(
                    "{name}: Server.Monitor.FlowCompletion does not run there; what runs: {names}"
                ));
                continue;
            }
            Ok(Err(ImportError::NoParameters)) => {
                output::note(format_args!("{name}: no server event artifact runs there"));
                continue;
            }
            Ok(Err(error)) => {
                output::note(format_args!("error: {name}: {error}"));
                exit = Exit::Incomplete;
                continue;
            }
            Err(error) => {
                output::note(format_args!("error: {name}: the server's answer is no good: {error}"));
                exit = Exit::Incomplete;
                continue;
            }
        };
        let rule = if org == ROOT_ORG { "flow-completion".to_owned() } else { format!("flow-completion-{org}") };
        writeln!(
            out,
            "{}# Parameters of Server.Monitor.FlowCompletion as it runs in the {name}.",
            if rules == 0 { "" } else { "\n" }
        )?;
        if orgs.len() > 1 {
            writeln!(out, "# A rule holds for every org that is watched, also where the artifact does not run.")?;
        }
        rules += found.sets.len();
        write(&mut out, &name, &rule, &found).context("standard output")?;
    }
    if rules == 0 {
        output::note("no rule was written");
        exit = Exit::Incomplete;
    }
    Ok(exit)
}
