//! `bewit render`.

mod lint;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::facts::Server;
use super::progress::Progress;
use super::{ConfigArgs, Exit, UsageError, events, output};
use crate::blob::BlobStore;
use crate::compose::attachments::distinct;
use crate::compose::links::Root;
use crate::compose::{Composer, Draft, thread};
use crate::config::load::load_offline;
use crate::event::FlowCompletion;
use crate::facts::RowReader;
use crate::facts::live::{Gathered, Standing};
use crate::judge::{Postponed, judge};
use crate::lint::{Rendered, has_errors};
use crate::mail::MailReader;
use crate::pipeline::no_record;
use crate::rule::{Rule, Verdict};
use crate::snapshot::Snapshot;
use crate::text::Visible;

/// Write the mails that events would become, without sending
///
/// Each rule that mails for an event writes its mails as they would be sent: with individual delivery one for each
/// recipient. HTML and text are the same for all recipients and are written once. Events that no rule mails, and lines
/// that are no events, are named on standard error; the exit code is 1 if something could not be written, or if --lint
/// finds an error.
#[derive(Debug, Args)]
pub struct RenderArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the flattened arguments have their own")]
    pub config: ConfigArgs,
    /// Only this rule
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// What is written: the whole mail (eml), or one of its parts [default: eml; with --lint and without --out: nothing]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// A file for each mail in this folder, named after the flow, instead of standard output
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Look at each mail as its readers' programs will, and tell on standard error what they do not support, hide or
    /// distrust
    #[arg(long)]
    pub lint: bool,
    /// Findings as JSON on standard output, one object a line; mails are written with --out only
    #[arg(long, requires = "lint")]
    pub json: bool,
    /// Do not ask the Velociraptor server for facts that an event does not carry
    #[arg(long)]
    pub offline: bool,
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
    if args.json && args.format.is_some() && args.out.is_none() {
        let message = "--json and --format both write to standard output; add --out DIR for the mails";
        return Err(UsageError(message.to_owned()).into());
    }
    // Nothing is sent: whoever renders need not see the secrets.
    let config = load_offline(&args.config.config)?;
    let wanted = |rule: &&Rule| args.rule.as_ref().is_none_or(|name| rule.name == *name);
    if !config.rules.iter().any(|rule| wanted(&rule)) {
        return Err(no_rule(&args, &config.rules).into());
    }
    let snapshot = Snapshot::build(config)?;
    let scratch = tempfile::tempdir().context("no temporary folder for attachments")?;
    let blobs = BlobStore::open(scratch.path()).context("no temporary folder for attachments")?;
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir).map_err(|error| UsageError(format!("{}: {error}", events::name_of(dir))))?;
    }
    let server = Server::of(&snapshot.config, args.offline)?;
    let mut work = Work {
        snapshot: &snapshot,
        server,
        rules: snapshot.config.rules.iter().filter(wanted).collect(),
        composer: snapshot.composer(),
        blobs,
        format: if args.lint && args.out.is_none() { args.format } else { Some(args.format.unwrap_or(Format::Eml)) },
        lint: args.lint,
        json: args.json,
        out: args.out.as_deref(),
        names: HashSet::new(),
        now: Timestamp::now(),
        incomplete: false,
    };
    let progress = Progress::start("events rendered", args.out.is_none() && io::stdout().is_terminal());
    events::each(&args.events, &snapshot.config.limits, &progress, |heard| match &heard.event {
        Ok(event) => work.complete(event, &heard.rows),
        Err(error) => {
            output::note(format_args!("{}: {}", heard.place(), Visible(&error.to_string())));
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
    snapshot: &'a Snapshot,
    server: Option<Server>,
    rules: Vec<&'a Rule>,
    composer: Composer<'a>,
    blobs: BlobStore,
    /// `None`: mails are only looked at.
    format: Option<Format>,
    lint: bool,
    json: bool,
    out: Option<&'a Path>,
    /// File names of this run.
    names: HashSet<String>,
    now: Timestamp,
    /// Whether something was not written, or is wrong.
    incomplete: bool,
}

impl Work<'_> {
    /// Writes the mails of an event, with what the server has to add to it.
    fn complete(&mut self, event: &FlowCompletion, rows: &RowReader) -> anyhow::Result<()> {
        let Some(server) = &self.server else { return self.event(event, rows, None) };
        let facts = server.complete(self.snapshot, &self.rules, event, rows, true)?;
        let event = facts.event.as_deref().unwrap_or(event);
        self.event(event, &facts.rows, Some(&facts))
    }

    fn event(&mut self, event: &FlowCompletion, rows: &RowReader, facts: Option<&Gathered>) -> anyhow::Result<()> {
        let key = event.key.to_string();
        let mut mailed = false;
        let mut reasons = Vec::new();
        let links = facts.and_then(|facts| facts.links.as_deref());
        let composer = Composer { links: self.composer.links.or(links.map(Root::from)), ..self.composer };
        for (at, rule) in self.rules.clone().into_iter().enumerate() {
            let decision = match facts.and_then(|facts| facts.standing.get(at)) {
                Some(Standing::NoRecord) => no_record(),
                _ => judge(rule, event, rows, self.now, composer.plugins).unwrap_or_else(Postponed::into_decision),
            };
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
            match composer.draft(rule, event, &decision, rows, &self.blobs, self.now) {
                Ok(draft) => {
                    self.write(event, rule, &decision.recipients, &draft)?;
                    if self.lint {
                        let mails = draft.mails(rule, &decision.recipients, Some(thread(rule, event)), self.now);
                        self.look(&key, rule, &Rendered::new(&draft, mails.first(), composer.links))?;
                    }
                }
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
        let Some(format) = self.format else { return Ok(()) };
        match (format, &draft.html) {
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

    /// Tells what is wrong with the mail.
    fn look(&mut self, key: &str, rule: &Rule, mail: &Rendered<'_>) -> anyhow::Result<()> {
        let findings = crate::lint::lint(mail);
        self.incomplete |= has_errors(&findings);
        if !self.json {
            output::note(lint::shown(key, &rule.name, &findings));
            return Ok(());
        }
        let mut out = output::stdout();
        for finding in &findings {
            serde_json::to_writer(&mut out, &lint::Line { event: key, rule: &rule.name, finding })
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                .context("standard output")?;
        }
        out.flush().context("standard output")
    }

    /// To a file of its own, or to standard output.
    fn put(&mut self, event: &FlowCompletion, rule: &Rule, to: &str, bytes: &mut dyn io::Read) -> anyhow::Result<()> {
        let Some(dir) = self.out else {
            let mut out = output::stdout();
            io::copy(bytes, &mut out).context("standard output")?;
            return out.flush().context("standard output");
        };
        let name = distinct(
            &format!("{}_{}_{to}", event.key.flow_id, rule.name),
            self.format.map_or("", Format::extension),
            &mut self.names,
        );
        let path = dir.join(name);
        let mut write = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(&path)?);
            io::copy(bytes, &mut file)?;
            file.flush()
        };
        write().with_context(|| events::name_of(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Diagnostics;

    const EVENT: &str = r#"{"type":"System.Flow.Completion","Timestamp":1786500123,"ClientId":"C.1","FlowId":"F.ONE","Flow":{"state":"FINISHED","create_time":1,"request":{"artifacts":["A"]},"artifacts_with_results":["A"]},"results":{"A":{"file":"rows.jsonl"}}}"#;

    struct Site(tempfile::TempDir);

    impl Site {
        fn new(keys: &str) -> Self {
            let site = Self(tempfile::tempdir().unwrap());
            site.write(
                "bewit.toml",
                &format!(
                    "[smtp]\nmailbox = \"mail\"\nfrom = \"Bewit <bewit@example.org>\"\n[outbox]\nurl = \"sqlite:b.db\"\n\
                     [[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\", \"ola@example.org\"]\n\
                     delay_threshold = 0\nartifacts_to_alert_on = \"\"\n\
                     include_result_table_from = [{{ source = \".\", columns = \".\" }}]\n{keys}\n"
                ),
            );
            site.write("rows.jsonl", "{\"k\":\"from the file\"}\n");
            site
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        fn render(&self, format: Format, rule: Option<&str>, events: &str) -> anyhow::Result<Exit> {
            self.write("events.jsonl", events);
            run(RenderArgs {
                config: ConfigArgs { config: self.0.path().join("bewit.toml") },
                rule: rule.map(str::to_owned),
                format: Some(format),
                out: Some(self.0.path().join("out")),
                lint: false,
                json: false,
                offline: false,
                events: vec![self.0.path().join("events.jsonl")],
            })
        }

        fn files(&self) -> Vec<(String, String)> {
            let mut files: Vec<(String, String)> = fs::read_dir(self.0.path().join("out"))
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
                })
                .collect();
            files.sort();
            files
        }

        fn names(&self) -> Vec<String> {
            self.files().into_iter().map(|(name, _)| name).collect()
        }
    }

    #[test]
    fn each_recipient_has_a_file_and_parts_are_written_once() {
        let site = Site::new("");
        assert_eq!(site.render(Format::Eml, None, EVENT).unwrap(), Exit::Done);
        assert_eq!(site.names(), ["F.ONE_analyst_ana_example.org.eml", "F.ONE_analyst_ola_example.org.eml"]);
        assert_eq!(site.render(Format::Text, Some("analyst"), EVENT).unwrap(), Exit::Done);
        assert_eq!(site.render(Format::Html, None, EVENT).unwrap(), Exit::Done);
        let files = site.files();
        assert_eq!(files.len(), 4);
        for (name, text) in &files[0..2] {
            assert!(name.starts_with("F.ONE_analyst") && text.contains("from the file"), "{name}");
        }
        let site = Site::new("delivery = \"shared\"");
        site.render(Format::Eml, None, EVENT).unwrap();
        assert_eq!(site.names(), ["F.ONE_analyst.eml"]);
    }

    #[test]
    fn bad_lines_do_not_stop_their_neighbours() {
        let site = Site::new("");
        let two = EVENT.replace("F.ONE", "F.TWO");
        let events = format!("{EVENT}\nnot an event\n\n{{\"type\":\"x\"}}\r\n{two}");
        assert_eq!(site.render(Format::Text, None, &events).unwrap(), Exit::Incomplete);
        assert_eq!(site.names(), ["F.ONE_analyst.txt", "F.TWO_analyst.txt"]);
    }

    #[test]
    fn what_no_rule_mails_is_no_failure_and_no_html_is_one() {
        let site = Site::new("artifacts_to_ignore = \"^A$\"");
        assert_eq!(site.render(Format::Text, None, EVENT).unwrap(), Exit::Done);
        assert!(site.names().is_empty());
        let site = Site::new("html = false");
        assert_eq!(site.render(Format::Html, None, EVENT).unwrap(), Exit::Incomplete);
        assert_eq!(site.render(Format::Text, None, EVENT).unwrap(), Exit::Done);
    }

    #[test]
    fn mistakes_are_usage_errors() {
        let site = Site::new("");
        let error = site.render(Format::Text, Some("other"), EVENT).unwrap_err();
        assert!(error.to_string().contains("there is no rule `other`; known are analyst"), "{error}");
        assert!(error.is::<UsageError>());
        let site = Site::new("template = \"mine\"");
        assert!(site.render(Format::Text, None, EVENT).unwrap_err().is::<Diagnostics>());
    }

    #[test]
    fn a_flow_id_cannot_leave_the_folder() {
        let site = Site::new("");
        site.render(Format::Text, None, &EVENT.replace("F.ONE", "../../F/x")).unwrap();
        assert_eq!(site.names(), ["F_x_analyst.txt"]);
    }
}
