//! Rates, limits and priorities.

use std::time::Duration;

use super::super::{Limits, Rate, SmtpConfig, Transport};
use super::*;
use crate::rule::Priority;

fn server(keys: &str, rules: &str) -> (SmtpConfig, Vec<Priority>) {
    let config = good(&format!("[smtp]\nfrom = \"bewit@example.org\"\nserver = \"relay\"\n{keys}\n{rules}"));
    let Transport::Smtp(smtp) = config.transport else { panic!("no server") };
    (*smtp, config.rules.iter().map(|rule| rule.priority).collect())
}

fn rule(name: &str, keys: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nrecipients = [\"a@example.org\"]\n{keys}\n")
}

#[test]
fn without_a_word_there_is_no_limit_and_all_are_equal() {
    let (smtp, priorities) = server("", RULE);
    assert_eq!((smtp.rate, smtp.limits, smtp.reserve), (None, Limits::default(), false));
    assert_eq!(priorities, [Priority::Normal]);
}

#[test]
fn limits_are_read_and_domains_are_one_whatever_their_case() {
    let keys = "rate = \"30/min\"\n[smtp.limits]\nrecipient = \"20/h\"\ndomain = \"100/10 min\"\n\
                domains = { \"Example.ORG\" = \"1/s\" }";
    let (smtp, _) = server(keys, RULE);
    let rate = |count, seconds| Rate { count, per: Duration::from_secs(seconds) };
    assert_eq!(smtp.rate, Some(rate(30, 60)));
    assert_eq!((smtp.limits.recipient, smtp.limits.domain), (Some(rate(20, 3600)), Some(rate(100, 600))));
    assert_eq!(smtp.limits.domains.into_iter().collect::<Vec<_>>(), [("example.org".to_owned(), rate(1, 1))]);
}

#[test]
fn a_critical_rule_keeps_a_session_free() {
    let rules = ["normal", "critical", "bulk"].map(|name| rule(name, &format!("priority = \"{name}\""))).concat();
    let (smtp, priorities) = server("", &rules);
    assert!(smtp.reserve);
    assert_eq!(priorities, [Priority::Normal, Priority::Critical, Priority::Bulk]);
}

#[test]
fn mistakes_say_what_to_write() {
    let head = "[smtp]\nfrom = \"bewit@example.org\"\nserver = \"relay\"\n";
    for (keys, wanted) in [
        ("rate = 30", "4 error: `rate` must be a rate, not a number | in which time? Write \"30/min\"\n"),
        ("rate = \"0/min\"", "4 error: `0/min` is not a rate | the number is from 1 to 1000000\n"),
        (
            "[smtp.limits]\nrecipients = \"20/h\"",
            "5 error: unknown key `recipients` in [smtp.limits] | did you mean `recipient`?\n",
        ),
        (
            "[smtp.limits]\ndomains = { \"@example.org\" = \"20/h\" }",
            "5 error: `@example.org` is not a domain | the part of an address behind the @, for example \
             \"example.org\"\n",
        ),
        (
            "[smtp.limits]\ndomains = { \"example.org\" = \"20/h\", \"Example.org\" = \"2/h\" }",
            "5 error: `Example.org` has two limits | take one out\n",
        ),
    ] {
        let text = format!("{head}{keys}\n[intake.spool]\npath = \"spool\"\n{RULE}");
        assert_eq!(brief(&text), wanted, "{keys}");
    }
    let text = format!("{HEAD}[smtp.limits]\nrecipient = \"20/h\"\n{}", rule("one", "priority = \"urgent\""));
    let said = brief(&text);
    assert!(said.contains("`limits` does nothing without `server`"), "{said}");
    assert!(said.contains("critical") && said.contains("bulk"), "{said}");
}
