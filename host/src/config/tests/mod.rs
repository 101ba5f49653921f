//! The configuration as a whole: what is accepted, what it means, and what is said of mistakes.

mod errors;
mod limits;
mod meaning;
mod plugins;
mod schema;
mod velociraptor;

use std::path::Path;

use super::Config;
use super::diagnostic::{Diagnostics, Severity};
use super::load::{self, Examined, Proof};

/// Enough of a file to be right.
const HEAD: &str =
    "[smtp]\nmailbox = \"mail\"\nfrom = \"Bewit <bewit@example.org>\"\n[intake.spool]\npath = \"spool\"\n";
/// A rule that is right so far.
const RULE: &str = "[[rule]]\nname = \"one\"\nrecipients = [\"a@example.org\"]\n";

fn examine(text: &str) -> Examined {
    load::examine_text(text, "bewit.toml", Path::new("/etc/bewit"), Proof::Files)
}

fn good(text: &str) -> Config {
    let examined = examine(text);
    assert_eq!(examined.diagnostics.errors(), 0, "{}", examined.diagnostics);
    examined.config.unwrap()
}

fn findings(text: &str) -> Diagnostics {
    let examined = examine(text);
    assert_eq!(examined.config.is_some(), examined.diagnostics.errors() == 0, "{}", examined.diagnostics);
    examined.diagnostics
}

/// One line for each finding: `LINE severity: message | hint`.
fn brief(text: &str) -> String {
    list(&findings(text), text, 0)
}

/// The same, with lines counted after the first `before`.
fn list(diagnostics: &Diagnostics, text: &str, before: usize) -> String {
    let lines = diagnostics.findings.iter().map(|finding| {
        let line = finding.span.as_ref().map_or_else(
            || "-".to_owned(),
            |span| (text.get(..span.start).unwrap().matches('\n').count() + 1 - before).to_string(),
        );
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let hint = finding.hint.as_deref().map(|hint| format!(" | {hint}")).unwrap_or_default();
        format!("{line} {severity}: {}{hint}\n", finding.message)
    });
    lines.collect()
}
