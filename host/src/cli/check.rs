//! `bewit check`.

use std::io::{IsTerminal, Write};
use std::path::Path;

use clap::Args;

use super::{ConfigArgs, Exit, output};
use crate::compose::templates::{TemplateError, Templates};
use crate::config::diagnostic::{Diagnostics, Severity};
use crate::config::load::{self, Examined, Proof};
use crate::config::units::show_duration;
use crate::config::{Config, TlsMode, Transport};
use crate::rule::{Rule, Throttle};

/// Prove configuration, templates and secrets; report every error in one run
///
/// Secrets are read, and commands that print secrets are run. Nothing is sent, and nothing is connected to.
#[derive(Debug, Args)]
pub struct CheckArgs {
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
    let (config, diagnostics) =
        prove(&path, load::examine(&path, Proof::Everything), |folder, sets| Templates::load(folder, sets).map(|_| ()));
    if !diagnostics.findings.is_empty() {
        let colour =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        output::note(diagnostics.render(colour));
    }
    match config {
        Some(config) if diagnostics.errors() == 0 => {
            let mut out = output::stdout();
            out.write_all(summary(&config).as_bytes())?;
            out.flush()?;
            Ok(Exit::Done)
        }
        _ => Ok(Exit::Usage),
    }
}

/// Adds what is wrong with the templates to what is wrong with the configuration.
fn prove(
    path: &Path,
    examined: Examined,
    load: impl FnOnce(Option<&Path>, &[&str]) -> Result<(), Vec<TemplateError>>,
) -> (Option<Config>, Diagnostics) {
    let Examined { config, mut diagnostics, templates, sets } = examined;
    let names: Vec<&str> = sets.iter().map(|(name, _)| name.as_str()).collect();
    if let Err(errors) = load(templates.as_deref(), &names) {
        let mut found = Diagnostics::from(errors);
        for finding in &mut found.findings {
            // A template that is not there has no text: then the place is the rule that names it.
            let named = sets.iter().find(|(name, span)| {
                let file = finding.file.strip_prefix(name.as_str());
                span.is_some() && file.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if finding.span.is_none()
                && let Some((_, span)) = named
            {
                if !finding.message.contains(&finding.file) {
                    finding.message = format!("{}: {}", finding.file, finding.message);
                }
                finding.file = path.display().to_string();
                finding.span.clone_from(span);
            }
        }
        diagnostics.merge(found);
    }
    let good = diagnostics.findings.iter().all(|finding| finding.severity != Severity::Error);
    (config.filter(|_| good), diagnostics)
}

/// A line for the way mail goes, one for each rule, and `ok`.
fn summary(config: &Config) -> String {
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
    for rule in &config.rules {
        out.push_str(&format!("rule {}: {}\n", rule.name, describe(rule)));
    }
    out.push_str("ok\n");
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
    fn a_summary_line_for_each_rule_and_ok() {
        let (config, diagnostics) = prove(Path::new("bewit.toml"), examine(GOOD), |_, sets| {
            assert_eq!(sets, ["own"]);
            Ok(())
        });
        assert!(diagnostics.findings.is_empty(), "{diagnostics}");
        insta::assert_snapshot!(summary(&config.unwrap()), @r"
        mail goes into the folder /etc/bewit/mail
        rule one: tells a@example.org; one mail in 10 s, the rest gathered; template own
        ok
        ");
    }

    #[test]
    fn template_errors_come_with_those_of_the_configuration() {
        let text = format!("{GOOD}delay_treshold = 5\n");
        let (config, diagnostics) = prove(Path::new("bewit.toml"), examine(&text), |_, _| {
            let missing = TemplateError {
                name: "own.txt.j2".to_owned(),
                line: None,
                span: None,
                text: None,
                message: "there is no such template".to_owned(),
            };
            let broken = TemplateError {
                name: "own.html.j2".to_owned(),
                line: Some(1),
                span: Some(3..5),
                text: Some("{{ no }}".to_owned()),
                message: "undefined".to_owned(),
            };
            Err(vec![missing, broken])
        });
        assert!(config.is_none());
        insta::assert_snapshot!(diagnostics, @r#"
        error: unknown key `delay_treshold` in [[rule]]
          --> bewit.toml:10:1
           |
        10 | delay_treshold = 5
           | ^^^^^^^^^^^^^^
           = hint: did you mean `delay_threshold`?

        error: own.txt.j2: there is no such template
         --> bewit.toml:9:12
          |
        9 | template = "own"
          |            ^^^^^

        error: undefined
         --> own.html.j2:1:4
          |
        1 | {{ no }}
          |    ^^

        3 errors
        "#);
    }

    #[test]
    fn template_errors_alone_are_errors() {
        let (config, diagnostics) = prove(Path::new("bewit.toml"), examine(GOOD), |_, _| {
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
}
