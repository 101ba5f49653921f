//! The shipped server artifacts are what they say, as far as that can be known without a server.

use std::collections::BTreeSet;

use saphyr::{LoadableYamlNode as _, Yaml};

use super::queries::{CATCH_UP_LOG, FLOW, Query};

const COMPLETIONS: &str = include_str!("../../velociraptor/Custom.Server.Bewit.Completions.yaml");
const PUSH: &str = include_str!("../../velociraptor/Custom.Server.Bewit.Push.yaml");
const NOTIFICATIONS: &str = include_str!("../../velociraptor/Custom.Server.Bewit.Notifications.yaml");

/// What VQL and Velociraptor's server have, of that which is used.
const KNOWN: &[&str] = &[
    "array",
    "artifact_definitions",
    "chain",
    "client_info",
    "client_metadata",
    "clock",
    "dict",
    "flow_results",
    "flows",
    "foreach",
    "http_client",
    "hunt_info",
    "if",
    "int",
    "len",
    "now",
    "org",
    "range",
    "regex_replace",
    "serialize",
    "sleep",
    "slice",
    "to_dict",
    "uploads",
    "watch_monitoring",
];

fn parsed(text: &str) -> Yaml<'_> {
    Yaml::load_from_str(text).unwrap().remove(0)
}

fn field<'y>(yaml: &'y Yaml<'_>, name: &str) -> &'y str {
    yaml.as_mapping_get(name).and_then(|value| value.as_str()).unwrap_or_else(|| panic!("no {name}"))
}

/// The VQL of the only source, without its comments.
fn vql(text: &str) -> String {
    let yaml = parsed(text);
    let sources = yaml.as_mapping_get("sources").unwrap().as_vec().unwrap();
    assert_eq!(sources.len(), 1);
    let query = field(&sources[0], "query");
    query.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n")
}

/// VQL without its texts, in which anything may stand.
fn bare(vql: &str) -> String {
    regex::Regex::new(r"(?s)'''.*?'''|'[^']*'").unwrap().replace_all(vql, "''").into_owned()
}

/// The first groups of all matches.
fn all(pattern: &str, text: &str) -> Vec<String> {
    regex::Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn each_says_what_it_is() {
    for (file, text) in [
        ("Custom.Server.Bewit.Completions", COMPLETIONS),
        ("Custom.Server.Bewit.Push", PUSH),
        ("Custom.Server.Bewit.Notifications", NOTIFICATIONS),
    ] {
        let yaml = parsed(text);
        assert_eq!((field(&yaml, "name"), field(&yaml, "type")), (file, "SERVER_EVENT"));
        assert!(field(&yaml, "description").len() > 200);
        for parameter in yaml.as_mapping_get("parameters").and_then(|list| list.as_vec()).into_iter().flatten() {
            let name = field(parameter, "name");
            assert!(field(parameter, "description").ends_with(['.', '\n']), "{name}");
            // A default that is no text is refused by some versions.
            assert!(parameter.as_mapping_get("default").is_none_or(|value| value.as_str().is_some()), "{name}");
            assert!(vql(text).contains(name), "{name} is not used");
        }
        // What has rows of others has no query of its own.
        assert_eq!(yaml.as_mapping_get("sources").is_none(), text == NOTIFICATIONS, "{file}");
    }
}

#[test]
fn queries_use_what_there_is() {
    let limit = regex::Regex::new(r"LIMIT [A-Za-z]").unwrap();
    for text in [COMPLETIONS, PUSH] {
        let vql = bare(&vql(text));
        let own: BTreeSet<String> = all(r"LET (\w+)", &vql).into_iter().collect();
        for called in all(r"\b([A-Za-z_]\w*)\(", &vql) {
            assert!(KNOWN.contains(&called.as_str()) || own.contains(&called), "{called}");
        }
        for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
            assert_eq!(vql.matches(open).count(), vql.matches(close).count(), "{open}{close}");
        }
        // One row would not be a list, and no names would be every artifact.
        assert!(!vql.contains("} AS "), "{vql}");
        assert!(!limit.is_match(&vql), "LIMIT takes a number");
    }
    // uploads() takes these from the scope by itself.
    assert!(!PUSH.contains("HuntId") && !PUSH.contains("NotebookId"));
}

/// The columns of every SELECT that reads from these.
fn columns(vql: &str, from: &str) -> Vec<Vec<String>> {
    all(&format!(r"(?s)SELECT ([^(){{}}]*?(?:now\(\))?[^(){{}}]*?)\s+FROM {from}\("), vql)
        .iter()
        .map(|list| list.split(',').map(|column| column.rsplit(" AS ").next().unwrap().trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_log_has_the_columns_that_are_read_back() {
    let wanted = columns(&CATCH_UP_LOG.text(None), "source").remove(0);
    assert_eq!(wanted, ["Timestamp", "ClientId", "FlowId", "Flow", "_Beat"]);
    let vql = vql(COMPLETIONS);
    for from in ["watch_monitoring", "clock"] {
        assert_eq!(columns(&vql, from), std::slice::from_ref(&wanted), "{from}");
    }
    assert!(CATCH_UP_LOG.vql.contains("artifact='Custom.Server.Bewit.Completions'"));
    assert!(vql.contains("clock(period=60)") && vql.contains("async=TRUE"));
}

#[test]
fn what_is_pushed_is_an_event() {
    let vql = vql(PUSH);
    let record = |vql: &str| -> BTreeSet<String> {
        let flow = vql.split_once("client_id=client_id").unwrap().1.split_once("query_stats=query_stats").unwrap().0;
        all(r"\b(\w+)=", flow).into_iter().collect()
    };
    let asked = |query: &Query| record(&query.text(None));
    assert_eq!(record(&vql), asked(&FLOW), "the record is the one that is asked for over the API");
    let schema = crate::event::schema::event_schema();
    for key in [
        "type",
        "OrgId",
        "Timestamp",
        "ClientId",
        "FlowId",
        "Flow",
        "client_info",
        "client_metadata",
        "hunt",
        "artifact_definitions",
        "uploads",
        "results",
    ] {
        assert!(regex::Regex::new(&format!(r"\b{key}=")).unwrap().is_match(&vql), "{key} is not sent");
        assert!(schema.to_string().contains(&format!("\"{key}\"")), "{key} is no key of events");
    }
    assert!(vql.contains("type='System.Flow.Completion'"));
    // serialize() indents; an event is one line.
    assert!(vql.contains(r"re='''[\r\n]+''', replace=''"));
}

#[test]
fn the_columns_of_notifications_are_told() {
    let written = all(r#"(?m)^        "(\w+)": "#, include_str!("../publish.rs"));
    assert!(written.len() >= 9, "{written:?}");
    for column in written {
        assert!(NOTIFICATIONS.contains(&format!("`{column}`")), "{column}");
    }
}
