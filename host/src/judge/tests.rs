use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::config::load;
use crate::event;
use crate::event::line::LineLimits;
use crate::fragment::{Fragment, Verdict as Says};
use TraceVerdict::{Fail, Force, Off, Pass, Unknown};
use Verdict::{Error, Notify, Skip};

/// Says what it was told to, and remembers who was asked.
#[derive(Default)]
struct Stub {
    answers: HashMap<&'static str, Result<Says, Trouble>>,
    asked: Mutex<Vec<String>>,
}

impl Ask for Stub {
    fn decide(&self, plugin: &str, asked: &Asked<'_>) -> Result<Says, Trouble> {
        assert_eq!(asked.rule, "r");
        self.asked.lock().unwrap().push(plugin.to_owned());
        self.answers[plugin].clone()
    }

    fn render(&self, _: &str, _: &Asked<'_>, _: &str) -> Result<Fragment, Trouble> {
        panic!("no renderer is asked for a decision")
    }
}

fn stub(answers: &[(&'static str, Result<Says, Trouble>)]) -> Stub {
    Stub { answers: answers.iter().cloned().collect(), asked: Mutex::default() }
}

fn keep(notes: &[&str]) -> Result<Says, Trouble> {
    Ok(Says::Keep(notes.iter().map(|text| Note { tone: Tone::Good, text: (*text).to_owned() }).collect()))
}

fn drops(reason: &str) -> Result<Says, Trouble> {
    Ok(Says::Drop(reason.to_owned()))
}

fn forces(reason: &str) -> Result<Says, Trouble> {
    Ok(Says::Force(reason.to_owned()))
}

fn fails(plugin: &str, on_failure: OnFailure) -> Result<Says, Trouble> {
    let reason = "timed out after 250 ms".to_owned();
    Err(Trouble { plugin: plugin.to_owned(), reason, on_failure, again: true })
}

const PASSES: &str = "artifacts_to_alert_on = \"\"";
const FAILS: &str = "artifacts_to_alert_on = \"^Other$\"";

/// A rule with these filters; a name in capitals is asked always.
fn rule(keys: &str, filters: &[&str]) -> Rule {
    let text = format!(
        "[smtp]\nmailbox = \"mail\"\nfrom = \"Bewit <bewit@example.org>\"\n[outbox]\nurl = \"sqlite:b.db\"\n[[rule]]\n\
         name = \"r\"\ndelay_threshold = 0\n{keys}\n"
    );
    let config = load::parse(&text, "test", std::path::Path::new(".")).unwrap();
    let mut rule = config.rules.into_iter().next().unwrap();
    rule.filters = filters
        .iter()
        .map(|name| FilterUse { plugin: name.to_lowercase(), always: name.chars().all(char::is_uppercase) })
        .collect();
    rule
}

fn asks_for(client: &str) -> FlowCompletion {
    let line = format!(
        r#"{{"type":"System.Flow.Completion","Timestamp":1786500020,"ClientId":"{client}","FlowId":"F.1","Flow":{{"state":"FINISHED","create_time":1,"request":{{"artifacts":["A"]}}}}}}"#
    );
    event::read(line.as_bytes(), &LineLimits::default()).unwrap()
}

fn decide(keys: &str, filters: &[&str], stub: &Stub) -> Result<Decision, Postponed> {
    let keys = format!("recipients = [\"duty@example.org\"]\n{keys}");
    let now = Timestamp::from_second(1_786_500_030).unwrap();
    judge(&rule(&keys, filters), &asks_for("C.1"), &RowReader::new(None), now, stub)
}

/// What the plugins' part of the trace says.
fn traced(decision: &Decision) -> Vec<(&str, TraceVerdict, &str)> {
    let plugins = |entry: &&TraceEntry| entry.filter.len() == 1;
    let entries = decision.trace.iter().filter(plugins);
    entries.map(|entry| (entry.filter.as_str(), entry.verdict, entry.detail.as_str())).collect()
}

#[test]
fn one_filter_and_the_built_in_ones() {
    // (built-in, filter, says, outcome, reason begins, trace)
    type Case<'a> = (&'a str, &'a str, Result<Says, Trouble>, Verdict, &'a str, TraceVerdict, &'a str);
    let cases: [Case<'_>; 15] = [
        (PASSES, "a", Ok(Says::Abstain), Notify, "matches the filters", Off, "has no opinion"),
        (PASSES, "a", keep(&[]), Notify, "matches the filters", Pass, "keeps it"),
        (PASSES, "a", keep(&["one", " ", "two\nlines"]), Notify, "matches", Pass, "one; two⏎lines"),
        (PASSES, "a", drops("known\nhost"), Skip, "a: known⏎host", Fail, "known⏎host"),
        (PASSES, "a", drops(" "), Skip, "a: gives no reason", Fail, "gives no reason"),
        (
            PASSES,
            "a",
            forces("vip"),
            Notify,
            "matches the filters",
            Pass,
            "keeps it; to force the mail it needs `when = \"always\"`: vip",
        ),
        (PASSES, "A", forces("vip"), Notify, "a: vip", Force, "vip"),
        (PASSES, "A", drops("known"), Skip, "a: known", Fail, "known"),
        (FAILS, "a", forces("vip"), Skip, "artifacts_to_alert_on: ", Off, "not asked"),
        (FAILS, "A", Ok(Says::Abstain), Skip, "artifacts_to_alert_on: ", Off, "has no opinion"),
        (FAILS, "A", keep(&["one"]), Skip, "artifacts_to_alert_on: ", Pass, "one"),
        (FAILS, "A", drops("known"), Skip, "artifacts_to_alert_on: ", Fail, "known"),
        (FAILS, "A", forces("vip\u{1b}[31m"), Notify, "a: vip␛[31m", Force, "vip␛[31m"),
        (
            PASSES,
            "a",
            fails("a", OnFailure::Keep),
            Notify,
            "matches the filters",
            Unknown,
            "gave no answer, so it has no say: timed out after 250 ms",
        ),
        (
            FAILS,
            "A",
            fails("a", OnFailure::Keep),
            Skip,
            "artifacts_to_alert_on: ",
            Unknown,
            "gave no answer, so it has no say: timed out after 250 ms",
        ),
    ];
    for (keys, filter, says, outcome, reason, verdict, detail) in cases {
        let what = format!("{keys} {filter} {says:?}");
        let stub = stub(&[("a", says)]);
        let decision = decide(keys, &[filter], &stub).unwrap();
        assert_eq!(decision.decision, outcome, "{what}: {decision:#?}");
        assert!(decision.reason.starts_with(reason), "{what}: {}", decision.reason);
        assert_eq!(traced(&decision), [("a", verdict, detail)], "{what}");
        assert_eq!(stub.asked.lock().unwrap().is_empty(), detail == "not asked", "{what}");
        let told = usize::from(outcome == Notify);
        assert_eq!(decision.recipients.len(), told, "{what}");
        // Once, and after what the filters said.
        let gathered: Vec<_> = decision.trace.iter().filter(|entry| entry.filter == "recipients").collect();
        assert_eq!(gathered.len(), told, "{what}");
        assert!(outcome == Notify || decision.notes.is_empty(), "{what}");
    }
}

#[test]
fn several_filters_in_order() {
    // A drop ends it for the ordinary ones; one that is always asked may still force.
    let stub = stub(&[("a", drops("no")), ("b", keep(&["x"])), ("c", forces("yes")), ("d", drops("never"))]);
    let decision = decide(PASSES, &["a", "b", "C", "D"], &stub).unwrap();
    assert_eq!((decision.decision, decision.reason.as_str()), (Notify, "c: yes"));
    assert_eq!(
        traced(&decision),
        [
            ("a", Fail, "no"),
            ("b", Off, "not asked"),
            ("c", Force, "yes"),
            ("d", Fail, "never; a filter before it has forced the mail"),
        ]
    );
    assert_eq!(*stub.asked.lock().unwrap(), ["a", "c", "d"]);
    assert_eq!(decision.recipients, ["duty@example.org"]);
    // After a force the ordinary ones are asked again: the event goes on.
    let decision = decide(FAILS, &["C", "b", "a"], &stub).unwrap();
    assert_eq!((decision.decision, decision.reason.as_str()), (Notify, "c: yes"));
    assert_eq!(decision.notes.len(), 1);
    // The first of two drops is the reason.
    let decision = decide(PASSES, &["a", "D"], &stub).unwrap();
    assert_eq!((decision.decision, decision.reason.as_str()), (Skip, "a: no"));
    assert_eq!(traced(&decision), [("a", Fail, "no"), ("d", Fail, "never")]);
}

#[test]
fn a_filter_without_an_answer_has_no_say_and_the_mail_says_so() {
    let stub = stub(&[("a", fails("a", OnFailure::Keep)), ("b", keep(&["fine"]))]);
    let decision = decide(PASSES, &["a", "b"], &stub).unwrap();
    let notes: Vec<_> = decision.notes.iter().map(|n| (n.plugin.as_str(), n.tone, n.text.as_str())).collect();
    let text = "The filter `a` gave no answer (timed out after 250 ms), so it had no say.";
    assert_eq!(notes, [("a", Tone::Warning, text), ("b", Tone::Good, "fine")]);
}

#[test]
fn a_filter_that_holds_postpones_at_once() {
    let stub = stub(&[("a", keep(&["x"])), ("b", fails("b", OnFailure::Hold)), ("c", keep(&[]))]);
    for keys in [PASSES, FAILS] {
        let postponed = decide(keys, &["a", "B", "c"], &stub).unwrap_err();
        assert_eq!(postponed.reason(), "the filter `b` gave no answer: timed out after 250 ms");
        let last = postponed.trace.last().unwrap();
        assert_eq!((last.filter.as_str(), last.verdict), ("b", Unknown));
        let decision = postponed.into_decision();
        assert_eq!(decision.decision, Error);
        assert!(decision.reason.ends_with("the event would be judged again later"), "{}", decision.reason);
    }
    assert!(!stub.asked.lock().unwrap().contains(&"c".to_owned()));
}

#[test]
fn flows_of_the_server_are_asked_about_never_and_nobody_is_an_error() {
    let stub = stub(&[("a", forces("x"))]);
    let now = Timestamp::UNIX_EPOCH;
    let rows = RowReader::new(None);
    let decision = judge(&rule(PASSES, &["A"]), &asks_for("server"), &rows, now, &stub).unwrap();
    assert_eq!((decision.decision, decision.trace.len()), (Skip, 1));
    assert!(stub.asked.lock().unwrap().is_empty());
    // Forced, and nobody to tell.
    let silent = rule("artifacts_to_alert_on = \"^Other$\"\nnotify_executor = false", &["A"]);
    let decision = judge(&silent, &asks_for("C.1"), &rows, now, &stub).unwrap();
    assert_eq!(decision.decision, Error, "{decision:#?}");
    assert!(decision.reason.starts_with("no recipients: "), "{}", decision.reason);
}

#[test]
fn texts_of_plugins_are_cut_and_cleaned() {
    let long = "x".repeat(10_000);
    let many: Vec<String> = (0..50).map(|number| format!("{number}\u{202e}{long}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let stub = stub(&[("a", keep(&many)), ("b", drops(&"\u{1b}".repeat(5_000)))]);
    let decision = decide(PASSES, &["a"], &stub).unwrap();
    assert_eq!(decision.notes.len(), NOTES);
    for note in &decision.notes {
        assert!(note.text.contains("[U+202E]") && note.text.chars().count() <= TEXT_LIMIT + 1);
    }
    let [(_, _, detail)] = traced(&decision)[..] else { panic!("{decision:?}") };
    assert!(detail.ends_with("; 30 more left out") && detail.chars().count() < (TRACED + 3) * (NOTES + 1), "{detail}");
    let decision = decide(PASSES, &["b"], &stub).unwrap();
    assert!(decision.reason.starts_with("b: ␛␛") && decision.reason.chars().count() <= TEXT_LIMIT + 4);
}
