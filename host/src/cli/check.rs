//! `bewit check`.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::Path;

use clap::Args;

use super::probe::{self, Found};
use super::{ConfigArgs, Exit, output};
use crate::compose::templates::{TemplateError, Templates};
use crate::config::diagnostic::{Diagnostics, Severity};
use crate::config::load::{self, Examined, PlacedPlugin, Proof};
use crate::config::units::show_duration;
use crate::config::{Config, TlsMode, Transport};
use crate::findings::{Places, misused};
use crate::plugin::host::HostOptions;
use crate::plugin::registry::Plugins;
use crate::plugin::spec::PluginSpec;
use crate::rule::{Rule, Throttle};
use crate::snapshot::languages;

/// Prove configuration, templates and secrets; report every error in one run
///
/// Secrets are read, and commands that print secrets are run. Nothing is sent, and no mail server is connected to. With
/// `[velociraptor]`, the server is asked whether it would answer each query; that takes at most 10 s.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Do not connect to the Velociraptor server
    #[arg(long)]
    pub offline: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs it.
///
/// # Errors
/// When standard output is gone.
pub fn run(args: CheckArgs) -> anyhow::Result<Exit> {
    let path = args.config.config;
    let examined = load::examine(&path, Proof::Everything);
    let (placed, rules) = (examined.plugins.clone(), examined.config.as_ref().map(|config| config.rules.clone()));
    let (config, mut diagnostics) = prove(&path, examined, |folder, sets, config| {
        let locale = config.map(|config| config.locale.clone()).unwrap_or_default();
        let languages = config.map(languages).unwrap_or_default();
        Templates::localized(folder, sets, &locale, &languages).map(|templates| templates.remarks().to_vec())
    });
    let plugins = prove_plugins(&path, &placed, &rules.unwrap_or_default(), &mut diagnostics);
    if !diagnostics.findings.is_empty() {
        let colour =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        output::note(diagnostics.render(colour));
    }
    match config {
        Some(config) if diagnostics.errors() == 0 => {
            let mut out = output::stdout();
            out.write_all(summary(&config, &plugins).as_bytes())?;
            let found = match &config.velociraptor {
                Some(server) if !args.offline => probe::probe(server)?,
                _ => Vec::new(),
            };
            let mut wrong = false;
            for found in found {
                match found {
                    Found::Good(line) => writeln!(out, "velociraptor: {line}")?,
                    Found::Doubt(line) => output::note(format_args!("warning: velociraptor: {line}")),
                    Found::Wrong(line) => {
                        wrong = true;
                        output::note(format_args!("error: velociraptor: {line}"));
                    }
                }
            }
            if !wrong {
                writeln!(out, "ok")?;
            }
            out.flush()?;
            Ok(if wrong { Exit::Usage } else { Exit::Done })
        }
        _ => Ok(Exit::Usage),
    }
}

/// Loads the plugins, also those of a file with errors elsewhere, and adds what is wrong with them.
fn prove_plugins(path: &Path, placed: &[PlacedPlugin], rules: &[Rule], diagnostics: &mut Diagnostics) -> Plugins {
    let specs: Vec<PluginSpec> = placed.iter().map(|placed| placed.spec.clone()).collect();
    let name = path.display().to_string();
    let places = Places { file: &name, plugins: placed };
    match Plugins::load(&specs, &HostOptions::usual(), None) {
        Ok(plugins) => {
            diagnostics.merge(places.misuses(&misused(&plugins, rules)));
            plugins
        }
        Err(errors) => {
            diagnostics.merge(places.errors(&errors));
            Plugins::none()
        }
    }
}

/// Adds what is wrong with the templates to what is wrong with the configuration.
fn prove(
    path: &Path,
    examined: Examined,
    load: impl FnOnce(Option<&Path>, &[&str], Option<&Config>) -> Result<Vec<TemplateError>, Vec<TemplateError>>,
) -> (Option<Config>, Diagnostics) {
    let Examined { config, mut diagnostics, templates, sets, .. } = examined;
    let names: Vec<&str> = sets.iter().map(|(name, _)| name.as_str()).collect();
    let loaded = load(templates.as_deref(), &names, config.as_ref());
    let severity = if loaded.is_ok() { Severity::Warning } else { Severity::Error };
    let mut found = Diagnostics::from(loaded.unwrap_or_else(|errors| errors));
    found.findings.iter_mut().for_each(|finding| finding.severity = severity);
    diagnostics.merge(place(found, path, templates.as_deref(), &sets));
    let good = diagnostics.findings.iter().all(|finding| finding.severity != Severity::Error);
    (config.filter(|_| good), diagnostics)
}

/// Gives template errors a place that can be opened: the file in the site's own folder, or, for a template that is not
/// there, the rule that names it.
fn place(
    found: Diagnostics,
    config: &Path,
    folder: Option<&Path>,
    sets: &[(String, Option<Range<usize>>)],
) -> Diagnostics {
    let own = |name: &str| {
        let path = folder?.join(name);
        path.is_file().then(|| path.display().to_string())
    };
    let mut placed = Diagnostics::default();
    for (name, text) in found.sources {
        placed.sources.push((own(&name).unwrap_or(name), text));
    }
    for mut finding in found.findings {
        let named = sets.iter().find_map(|(name, span)| {
            let rest = finding.file.strip_prefix(name.as_str())?;
            (rest.is_empty() || rest.starts_with('.')).then_some((name, span.clone()?))
        });
        match named {
            Some((set, span)) if finding.span.is_none() => {
                if !finding.message.contains(&format!("`{set}`")) {
                    finding.message = format!("{}: {}", finding.file, finding.message);
                }
                finding.file = config.display().to_string();
                finding.span = Some(span);
            }
            _ => finding.file = own(&finding.file).unwrap_or(finding.file),
        }
        // A set that is not there lacks each of its files for one reason.
        if !placed.findings.contains(&finding) {
            placed.findings.push(finding);
        }
    }
    placed
}

/// A line for the way mail goes, one for each plugin and rule.
fn summary(config: &Config, plugins: &Plugins) -> String {
    let mut out = String::new();
    let mail = match &config.transport {
        Transport::Mailbox(path) => format!("into the folder {}", path.display()),
        Transport::Smtp(smtp) => {
            let tls = match smtp.tls {
                TlsMode::StartTls => "STARTTLS",
                TlsMode::Implicit => "TLS",
                TlsMode::None => "in clear",
            };
            let user = smtp.credentials.as_ref().map_or_else(String::new, |who| format!(", as {}", who.username));
            format!("to {}:{} ({tls}{user})", smtp.server, smtp.port)
        }
    };
    out.push_str(&format!("mail goes {mail}\n"));
    for plugin in plugins.iter() {
        let described = plugin.description();
        let kept = if plugin.keeps_instances() { ", kept between calls" } else { "" };
        out.push_str(&format!(
            "plugin {}: {} {}, {}{kept}\n",
            plugin.spec().name,
            described.name,
            described.version,
            plugin.shape().worlds().join(" and ")
        ));
    }
    for rule in &config.rules {
        out.push_str(&format!("rule {}: {}\n", rule.name, describe(rule)));
    }
    out
}

/// Whom a rule tells, how often, and with what.
fn describe(rule: &Rule) -> String {
    let mut whom: Vec<String> = rule.recipients.iter().map(ToString::to_string).collect();
    if rule.notify_executor {
        whom.push("whoever started the collection".to_owned());
    }
    if !rule.notify_metadata_email.is_empty() {
        whom.push(format!("the address in metadata `{}`", rule.notify_metadata_email));
    }
    let whom = if whom.is_empty() { "nobody".to_owned() } else { whom.join(", ") };
    let often = if rule.send_interval.is_zero() {
        "each event".to_owned()
    } else {
        let rest = match rule.throttle {
            Throttle::Digest => "gathered",
            Throttle::Delay => "sent later",
            Throttle::Drop => "dropped",
        };
        format!("one mail in {}, the rest {rest}", show_duration(rule.send_interval))
    };
    format!("tells {whom}; {often}; template {}", rule.template)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examine(text: &str) -> Examined {
        load::examine_text(text, "bewit.toml", Path::new("/etc/bewit"), Proof::Files)
    }

    const GOOD: &str = "[smtp]\nmailbox = \"mail\"\nfrom = \"b@example.org\"\n[intake.spool]\npath = \"spool\"\n\
                        [[rule]]\nname = \"one\"\nrecipients = [\"a@example.org\"]\ntemplate = \"own\"\n";

    #[test]
    fn a_summary_line_for_each_rule() {
        let (config, diagnostics) = prove(Path::new("bewit.toml"), examine(GOOD), |_, sets, _| {
            assert_eq!(sets, ["own"]);
            Ok(Vec::new())
        });
        assert!(diagnostics.findings.is_empty(), "{diagnostics}");
        insta::assert_snapshot!(summary(&config.unwrap(), &Plugins::none()), @r"
        mail goes into the folder /etc/bewit/mail
        rule one: tells a@example.org; one mail in 10 s, the rest gathered; template own
        ");
    }

    #[test]
    fn template_errors_come_with_those_of_the_configuration() {
        let text = format!("{GOOD}delay_treshold = 5\n");
        let (config, diagnostics) = prove(Path::new("bewit.toml"), examine(&text), |_, _, _| {
            let missing = |name: &str, message: &str| TemplateError {
                name: name.to_owned(),
                line: None,
                span: None,
                text: None,
                message: message.to_owned(),
            };
            let gone = "there is no template set `own`";
            let broken = TemplateError {
                name: "own.html.j2".to_owned(),
                line: Some(1),
                span: Some(3..5),
                text: Some("{{ no }}".to_owned()),
                message: "undefined".to_owned(),
            };
            Err(vec![
                missing("own.txt.j2", gone),
                missing("own.html.j2", gone),
                missing("own.subject.j2", "empty"),
                broken,
            ])
        });
        assert!(config.is_none());
        insta::assert_snapshot!(diagnostics, @r#"
        error: unknown key `delay_treshold` in [[rule]]
          --> bewit.toml:10:1
           |
        10 | delay_treshold = 5
           | ^^^^^^^^^^^^^^
           = hint: did you mean `delay_threshold`?

        error: there is no template set `own`
         --> bewit.toml:9:12
          |
        9 | template = "own"
          |            ^^^^^

        error: own.subject.j2: empty
         --> bewit.toml:9:12
          |
        9 | template = "own"
          |            ^^^^^

        error: undefined
         --> own.html.j2:1:4
          |
        1 | {{ no }}
          |    ^^

        4 errors
        "#);
    }

    #[test]
    fn template_errors_alone_are_errors() {
        let (config, diagnostics) = prove(Path::new("bewit.toml"), examine(GOOD), |_, _, _| {
            Err(vec![TemplateError {
                name: "x.html.j2".to_owned(),
                line: Some(7),
                span: None,
                text: None,
                message: "no".to_owned(),
            }])
        });
        assert!(config.is_none());
        assert_eq!(diagnostics.to_string(), "error: line 7: no\n --> x.html.j2");
    }

    #[test]
    fn a_template_of_the_site_is_named_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        let template = folder.path().join("own/x.html.j2");
        std::fs::write(&template, "{{ no }}").unwrap();
        let text = format!("{GOOD}[templates]\npath = \"own\"\n");
        let examined = load::examine_text(&text, "bewit.toml", folder.path(), Proof::Files);
        let (_, diagnostics) = prove(Path::new("bewit.toml"), examined, |found, _, _| {
            assert_eq!(found, Some(folder.path().join("own").as_path()));
            let text = Some("{{ no }}".to_owned());
            Err(vec![TemplateError {
                name: "x.html.j2".to_owned(),
                line: Some(1),
                span: Some(3..5),
                text,
                message: "no".to_owned(),
            }])
        });
        let wanted = format!(" --> {}:1:4\n  |\n1 | {{{{ no }}}}\n", template.display());
        assert!(diagnostics.to_string().contains(&wanted), "{diagnostics}");
    }
}
