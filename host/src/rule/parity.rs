//! The recorded cases of `tests/parity`, decided through the importer's own text: parameters become TOML, TOML becomes
//! a rule. `check.py` does the same with the whole binary; this looks at decision and recipients, in a second.

use std::path::Path;
use std::process::Command;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::decide::decide;
use super::import::{convert, read};
use super::{Decision, Rule, TraceVerdict, Verdict};
use crate::config::load::{Proof, examine_text};
use crate::event::FlowCompletion;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parity/visible.jsonl.gz");

/// The rules of a configuration's text, after an `[smtp]` section.
pub(crate) fn rules_of(toml: &str) -> Vec<Rule> {
    let text = format!("[smtp]\nmailbox = \"mail\"\nfrom = \"bewit@example.org\"\n\n{toml}");
    let examined = examine_text(&text, "bewit.toml", Path::new("/nowhere"), Proof::Text);
    examined.into_result().unwrap_or_else(|error| panic!("{error}\n{toml}")).rules
}

/// The rule that a parameter set becomes.
pub(super) fn imported(parameters: &Value) -> Rule {
    let sets = read(&parameters.to_string()).unwrap().sets;
    rules_of(&convert(&sets[0]).to_toml("parity")).remove(0)
}

/// An event as an intake would take it.
pub(crate) fn event_of(event: &Value) -> FlowCompletion {
    crate::event::parse::parse(&event.to_string()).unwrap()
}

/// A trace must say what the decision says.
fn consistent(decision: &Decision) -> Result<(), String> {
    let stops = decision.trace.iter().any(|entry| entry.verdict == TraceVerdict::Fail);
    let forces = decision.trace.iter().any(|entry| entry.verdict == TraceVerdict::Force);
    let unknown = decision.trace.iter().any(|entry| entry.verdict == TraceVerdict::Unknown);
    match decision.decision {
        Verdict::Skip if forces || !(stops || unknown) => Err("skipped without a stop".to_owned()),
        Verdict::Notify | Verdict::Error if stops && !forces => Err("stopped, but not skipped".to_owned()),
        Verdict::Notify if decision.recipients.is_empty() => Err("nobody".to_owned()),
        Verdict::Skip | Verdict::Error if !decision.recipients.is_empty() => Err("recipients of no mail".to_owned()),
        _ if decision.reason.is_empty() || decision.reason.contains('\n') => Err("no sentence".to_owned()),
        _ => Ok(()),
    }
}

#[test]
fn all_recorded_cases() {
    let unpacked = Command::new("gzip").args(["-dc", CASES]).output().unwrap();
    assert!(unpacked.status.success());
    let mut rules: IndexMap<String, Rule> = IndexMap::new();
    let (mut total, mut wrong) = (0, Vec::new());
    for line in String::from_utf8(unpacked.stdout).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let set = case["params_id"].as_str().unwrap();
        if case.get("event").is_none() {
            rules.insert(set.to_owned(), imported(&case["params"]));
            continue;
        }
        total += 1;
        let decision = decide(&rules[set], &event_of(&case["event"]));
        let expect = &case["expect"];
        let mut agrees = json!(decision.decision) == expect["decision"];
        if decision.decision == Verdict::Notify {
            agrees &= json!(decision.recipients) == expect["recipients"];
        }
        if decision.decision == Verdict::Error {
            agrees &= decision.reason.contains("recipient");
        }
        if let Err(why) = consistent(&decision) {
            wrong.push(format!("{}: {why}: {}", case["id"], json!(decision)));
        }
        if !agrees {
            wrong.push(format!("{} {}: expected {expect}, got {}", case["id"], case["deviates"], json!(decision)));
        }
    }
    assert!(wrong.is_empty(), "{} of {total} differ\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(total, 420);
}
