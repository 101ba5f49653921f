//! `bewit template`: what template authors need beside `render` and `check`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::table::Table;
use super::{ConfigArgs, Exit, UsageError, output};
use crate::compose::templates::{DIGEST_SET, Listed, STOCK, STOCK_SET, Slot, Templates};
use crate::config::Config;
use crate::config::load::load_offline;
use crate::locale::{self, LANGUAGES};
use crate::rule::Throttle;
use crate::snapshot::{languages, template_sets};
use crate::text::Visible;

/// Begin a template of your own, and see which templates there are
#[derive(Debug, Args)]
pub struct TemplateArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(NewArgs),
    List(ListArgs),
}

/// Copy the stock templates as NAME.subject.j2, NAME.html.j2 and NAME.txt.j2, to be edited
///
/// NAME `digest` copies the digest's, any other name those of the mail about one flow. Nothing is written over.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The set's name, which rules name as their template
    #[arg(value_parser = set_name)]
    pub name: String,
    /// The template folder; it is made if it is not there
    #[arg(long, value_name = "DIR", default_value = "templates")]
    pub dir: PathBuf,
    /// Copy the partials too (`_layout.html.j2`, …): they then hold for every set, the stock ones as well
    #[arg(long)]
    pub all: bool,
}

/// Every template and language: where it is from, which rules use it, whether it works
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

fn set_name(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with(['.', '_']) || !name.chars().all(plain) {
        return Err("a name has letters, digits, `-`, `_` and `.`, and begins with a letter or a digit".to_owned());
    }
    Ok(name.to_owned())
}

/// Runs it.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: TemplateArgs) -> Result<Exit> {
    match args.command {
        Command::New(args) => new(&args),
        Command::List(args) => list(&args),
    }
}

/// # Errors
/// When a file is there already, or the folder cannot be written to; then nothing stays that was written.
fn new(args: &NewArgs) -> Result<Exit> {
    let from = if args.name == DIGEST_SET { DIGEST_SET } else { STOCK_SET };
    let stock = |name: &str| STOCK.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).unwrap_or_default();
    let mut files: Vec<(String, &str)> =
        Slot::ALL.iter().map(|slot| (slot.file(&args.name), stock(&slot.file(from)))).collect();
    if args.all {
        let partials = STOCK.iter().filter(|(name, _)| name.starts_with('_'));
        files.extend(partials.map(|(name, text)| ((*name).to_owned(), *text)));
    }
    let taken: Vec<&str> = files
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| args.dir.join(name).symlink_metadata().is_ok())
        .collect();
    let dir = args.dir.display();
    if !taken.is_empty() {
        let taken = taken.join(", ");
        let message = format!("{dir}: there is {taken} already; nothing has been written. Take another name or --dir");
        return Err(UsageError(message).into());
    }
    fs::create_dir_all(&args.dir).map_err(|error| UsageError(format!("{dir}: {error}")))?;
    let mut written = Vec::new();
    for (name, text) in &files {
        if let Err(error) = write(&args.dir.join(name), text, &mut written) {
            // What is half there would be read as a broken set.
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(error);
        }
    }
    let mut out = output::stdout();
    for (name, _) in &files {
        writeln!(out, "{}", args.dir.join(name).display())?;
    }
    let folder = toml_text(&std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone()));
    writeln!(out, "\nIn the configuration:\n\n[templates]\npath = {folder}")?;
    match args.name.as_str() {
        DIGEST_SET => writeln!(out, "\nDigests of every rule are written by it.")?,
        STOCK_SET => writeln!(out, "\nRules that name no template use it.")?,
        name => writeln!(out, "\nand in each rule that is to use it:\n\ntemplate = \"{name}\"")?,
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// A path as TOML writes it.
fn toml_text(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

fn write(path: &Path, text: &str, written: &mut Vec<PathBuf>) -> Result<()> {
    // Somebody may have been faster: never over what is there.
    let mut file = fs::File::create_new(path).with_context(|| path.display().to_string())?;
    written.push(path.to_owned());
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Line {
    /// A file, by the name that templates and rules know it by.
    name: String,
    /// `stock`, or the file that wins.
    from: String,
    /// Whether there is a stock one, too, that does not count.
    overrides: bool,
    /// Names of rules.
    rules: Vec<String>,
    /// Whether it can be read and compiled and, if it belongs to a set, writes the sample mails.
    works: bool,
    /// What is wrong with it.
    error: Option<String>,
}

/// # Errors
/// When the configuration has errors beside its templates, or standard output is gone.
fn list(args: &ListArgs) -> Result<Exit> {
    let config = load_offline(&args.config.config)?;
    let lines = lines(&config);
    let mut out = output::stdout();
    if args.json {
        for line in &lines {
            writeln!(out, "{}", serde_json::to_string(line)?)?;
        }
    } else {
        let mut table = Table::new(&["TEMPLATE", "FROM", "RULES", "STATE"]);
        for line in &lines {
            let from = if line.overrides { format!("{} (instead of stock)", line.from) } else { line.from.clone() };
            let state = line.error.as_deref().unwrap_or("works");
            table.row(&[&line.name, &from, &line.rules.join(", "), &Visible(state).to_string()]);
        }
        write!(out, "{table}")?;
    }
    out.flush()?;
    Ok(if lines.iter().all(|line| line.works) { Exit::Done } else { Exit::Usage })
}

fn lines(config: &Config) -> Vec<Line> {
    let sets = template_sets(config);
    let names: Vec<&str> = sets.iter().map(String::as_str).collect();
    let Listed { files, own, errors } =
        Templates::list(config.templates.as_deref(), &names, &config.locale, &languages(config));
    let stock: BTreeSet<String> = STOCK
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(locale::STOCK.iter().map(|(name, _)| locale::file(name)))
        .collect();
    let mut all: BTreeSet<String> = files;
    // Also what could not be read, and what is not there.
    all.extend(errors.iter().map(|error| error.name.clone()));
    all.into_iter()
        .map(|name| {
            let found = errors.iter().find(|error| error.name == name);
            let from = match config.templates.as_ref().filter(|_| own.contains(&name)) {
                Some(folder) => folder.join(&name).display().to_string(),
                None if stock.contains(&name) => "stock".to_owned(),
                None => "-".to_owned(),
            };
            let error = found.map(|error| {
                let place = error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
                format!("{place}{}", error.message.lines().next().unwrap_or_default())
            });
            Line {
                overrides: own.contains(&name) && stock.contains(&name),
                rules: users(&name, config),
                works: error.is_none(),
                error,
                from,
                name,
            }
        })
        .collect()
}

/// Rules whose mails or digests are written by a file, or whose language it is. Partials may be used by any.
fn users(name: &str, config: &Config) -> Vec<String> {
    let language = name.strip_prefix(LANGUAGES).and_then(|rest| rest.strip_prefix('/')?.strip_suffix(".toml"));
    let used = config.rules.iter().filter(|rule| match language {
        Some(language) => rule.language.as_deref().unwrap_or(&config.locale.language) == language,
        None => Slot::ALL.iter().filter(|slot| rule.html || **slot != Slot::Html).any(|slot| {
            let digests = rule.throttle == Throttle::Digest && !rule.send_interval.is_zero();
            slot.file(&rule.template) == name || (digests && slot.file(DIGEST_SET) == name)
        }),
    });
    used.map(|rule| rule.name.clone()).collect()
}
