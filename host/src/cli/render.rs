//! `bewit render`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{ConfigArgs, Exit, UsageError, events, output};
use crate::blob::BlobStore;
use crate::compose::attachments::distinct;
use crate::compose::templates::Templates;
use crate::compose::{Composer, Draft, thread};
use crate::config::diagnostic::Diagnostics;
use crate::config::load::load;
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::mail::MailReader;
use crate::rule::decide::decide;
use crate::rule::show::Visible;
use crate::rule::{Rule, Verdict};

/// Write the mails that events would become, without sending
///
/// Each rule that mails for an event writes its mails as they would be sent: with individual delivery one for each
/// recipient. HTML and text are the same for all recipients and are written once. Events that no rule mails, and lines
/// that are no events, are named on standard error; the exit code is 1 if something could not be written.
#[derive(Debug, Args)]
pub struct RenderArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the flattened arguments have their own")]
    pub config: ConfigArgs,
    /// Only this rule
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// What is written: the whole mail, or one of its parts
    #[arg(long, value_name = "FORMAT", default_value = "eml")]
    pub format: Format,
    /// A file for each mail in this folder, named after the flow, instead of standard output
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Files of events, one JSON object a line; `-` is standard input
    #[arg(required = true, value_name = "EVENTS")]
    pub events: Vec<PathBuf>,
}

/// What is written of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// All of it (RFC 5322)
    Eml,
    /// The HTML part
    Html,
    /// The text part
    Text,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Eml => ".eml",
            Self::Html => ".html",
            Self::Text => ".txt",
        }
    }
}

/// Runs it.
///
/// # Errors
/// When the configuration or a template is broken, the rule is not known, a file cannot be read or written.
pub fn run(args: RenderArgs) -> anyhow::Result<Exit> {
    let config = load(&args.config.config)?;
    let rules: Vec<&Rule> =
        config.rules.iter().filter(|rule| args.rule.as_ref().is_none_or(|name| rule.name == *name)).collect();
    if rules.is_empty() {
        return Err(no_rule(&args, &config.rules).into());
    }
    let sets: Vec<&str> = config.rules.iter().map(|rule| rule.template.as_str()).collect();
    let templates = Templates::load(config.templates.as_deref(), &sets).map_err(Diagnostics::from)?;
    let scratch = tempfile::tempdir().context("no temporary folder for attachments")?;
    let blobs = BlobStore::open(scratch.path()).context("no temporary folder for attachments")?;
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir).map_err(|error| UsageError(format!("{}: {error}", events::name_of(dir))))?;
    }
    let mut work = Work {
        rules,
        composer: Composer { templates: &templates, base_url: config.base_url.as_deref() },
        blobs,
        format: args.format,
        out: args.out.as_deref(),
        names: HashSet::new(),
        now: Timestamp::now(),
        incomplete: false,
    };
    events::each(&args.events, &config.limits, |heard| match heard.event {
        Ok(event) => work.event(&event, &heard.rows),
        Err(reason) => {
            output::note(format_args!("{}: {}", heard.place, Visible(&reason)));
            work.incomplete = true;
            Ok(())
        }
    })?;
    Ok(if work.incomplete { Exit::Incomplete } else { Exit::Done })
}

fn no_rule(args: &RenderArgs, rules: &[Rule]) -> UsageError {
    let file = events::name_of(&args.config.config);
    let Some(name) = &args.rule else {
        return UsageError(format!("{file}: no rules are configured, so there is no mail; add a [[rule]]"));
    };
    let known: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    UsageError(format!("{file}: there is no rule `{}`; known are {}", Visible(name), known.join(", ")))
}

struct Work<'a> {
    rules: Vec<&'a Rule>,
    composer: Composer<'a>,
    blobs: BlobStore,
    format: Format,
    out: Option<&'a Path>,
    /// File names of this run.
    names: HashSet<String>,
    now: Timestamp,
    /// Whether something was not written.
    incomplete: bool,
}

impl Work<'_> {
    fn event(&mut self, event: &FlowCompletion, rows: &RowReader) -> anyhow::Result<()> {
        let key = event.key.to_string();
        let mut mailed = false;
        let mut reasons = Vec::new();
        for rule in self.rules.clone() {
            let decision = decide(rule, event);
            match decision.decision {
                Verdict::Notify => {}
                Verdict::Skip => {
                    reasons.push(format!("{}: {}", rule.name, decision.reason));
                    continue;
                }
                Verdict::Error => {
                    self.incomplete = true;
                    reasons.push(format!("{}: error: {}", rule.name, decision.reason));
                    continue;
                }
            }
            mailed = true;
            match self.composer.draft(rule, event, &decision, rows, &self.blobs, self.now) {
                Ok(draft) => self.write(event, rule, &decision.recipients, &draft)?,
                Err(error) => {
                    self.incomplete = true;
                    output::note(format_args!(
                        "{}: {}: {}",
                        Visible(&key),
                        Visible(&rule.name),
                        Visible(&error.to_string())
                    ));
                }
            }
        }
        if !mailed {
            output::note(format_args!("{}: no mail; {}", Visible(&key), Visible(&reasons.join("; "))));
        }
        Ok(())
    }

    fn write(
        &mut self,
        event: &FlowCompletion,
        rule: &Rule,
        recipients: &[String],
        draft: &Draft,
    ) -> anyhow::Result<()> {
        match (self.format, &draft.html) {
            (Format::Html, None) => {
                self.incomplete = true;
                let key = event.key.to_string();
                output::note(format_args!("{}: {}: the rule writes no HTML", Visible(&key), Visible(&rule.name)));
                Ok(())
            }
            (Format::Html, Some(html)) => self.put(event, rule, "", &mut html.as_bytes()),
            (Format::Text, _) => self.put(event, rule, "", &mut draft.text.as_bytes()),
            (Format::Eml, _) => {
                let blobs = self.blobs.clone();
                let mails = draft.mails(rule, recipients, Some(thread(rule, event)), self.now);
                let several = mails.len() > 1;
                for mail in mails {
                    let to = if several { mail.recipients.join("_") } else { String::new() };
                    self.put(event, rule, &to, &mut MailReader::new(&mail.head, &mail.body, &blobs))?;
                }
                Ok(())
            }
        }
    }

    /// To a file of its own, or to standard output.
    fn put(&mut self, event: &FlowCompletion, rule: &Rule, to: &str, bytes: &mut dyn io::Read) -> anyhow::Result<()> {
        let Some(dir) = self.out else {
            let mut out = output::stdout();
            io::copy(bytes, &mut out).context("standard output")?;
            return out.flush().context("standard output");
        };
        let name =
            distinct(&format!("{}_{}_{to}", event.key.flow_id, rule.name), self.format.extension(), &mut self.names);
        let path = dir.join(name);
        let mut write = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            io::copy(bytes, &mut file)?;
            file.flush()
        };
        write().with_context(|| events::name_of(&path))
    }
}
