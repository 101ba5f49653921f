use serde_json::json;

use super::*;
use crate::rule::parity::{imported, rules_of};
use crate::rule::{AttachmentFormat, Rule};

fn converted(parameters: &Value) -> ImportedRule {
    convert(&read(&parameters.to_string()).unwrap().sets[0])
}

fn text(parameters: &Value) -> String {
    converted(parameters).to_toml("x")
}

/// The keys that are set, that is: no comment.
fn keys(parameters: &Value) -> Vec<String> {
    let file: ::toml::Table = text(parameters).parse().unwrap();
    let rule = file["rule"][0].as_table().unwrap();
    rule.keys().filter(|key| !matches!(key.as_str(), "name" | "on")).cloned().collect()
}

fn addresses(rule: &Rule) -> Vec<&str> {
    rule.recipients.iter().map(super::super::address::Address::as_str).collect()
}

#[test]
fn all_forms_say_the_same() {
    let recipients = "Address\nana@example.org\n";
    let spec = json!({
        "artifact": "Server.Monitor.FlowCompletion",
        "parameters": {"env": [{"key": "Recipients", "value": recipients}, {"key": "HTML"}]},
    });
    let other = json!({"artifact": "Server.Monitor.Health", "parameters": {"env": []}});
    let custom = json!({"artifact": "Custom.Server.Monitor.FlowCompletion", "parameters": {}});
    for (file, sets, passed) in [
        (json!({"Recipients": recipients, "HTML": ""}), 1, 0),
        (spec.clone(), 1, 0),
        (json!([spec, other, spec]), 2, 1),
        (json!({"artifacts": ["x"], "specs": [other, spec]}), 1, 1),
        (json!({"artifacts": {"specs": [spec, custom]}, "label_events": []}), 2, 0),
        (
            json!({"artifact": "Server.Monitor.FlowCompletion", "parameters": {"Recipients": recipients, "HTML": ""}}),
            1,
            0,
        ),
        (
            json!({"parameters": [{"key": "HTML", "value": "Y"}, {"key": "HTML", "value": ""}, {"key": "Recipients", "value": recipients}]}),
            1,
            0,
        ),
    ] {
        let found = read(&format!("\u{feff}{file}")).unwrap_or_else(|error| panic!("{error}: {file}"));
        assert_eq!((found.sets.len(), found.passed_over.len()), (sets, passed), "{file}");
        let rule = rules_of(&convert(&found.sets[0]).to_toml("x")).remove(0);
        assert_eq!((addresses(&rule), rule.html), (vec!["ana@example.org"], false), "{file}");
    }
    assert!(matches!(read("{"), Err(ImportError::NotJson(_))));
    for nothing in ["1", "[]", "[1]", "null", "{\"artifact\": \"Server.Monitor.FlowCompletion\", \"parameters\": 1}"] {
        assert_eq!(read(nothing).unwrap_err(), ImportError::NoParameters, "{nothing}");
    }
    let error = read(&other.to_string()).unwrap_err().to_string();
    assert!(error.contains("`Server.Monitor.Health`"), "{error}");
    assert!(read("{\"artifact\": \"NotServer.Monitor.FlowCompletion\"}").is_err());
}

#[test]
fn what_is_not_set_is_not_written() {
    assert_eq!(keys(&json!({})), Vec::<String>::new());
    assert_eq!(keys(&json!({"HTML": null, "Recipients": "Address\na@x\n"})), ["recipients"]);
    // Said all the same: what the defaults do differently.
    let text = text(&json!({}));
    assert!(text.contains("# send_interval = \"10 s\"") && text.contains("# new_client_artifacts = \"\""), "{text}");
    assert!(text.contains("nobody to tell"), "{text}");
}

#[test]
fn typed_values() {
    let rule = imported(&json!({
        "Recipients": ["a@x.org", {"Address": "b@x.org"}, "a@X.ORG"],
        "NotifyExecutor": true,
        "NotifyExecutorDomains": [{"usernameregex": ".+", "Domain": "x.org"}],
        "HTML": false,
        "DelayThreshold": 7,
        "NewClientThreshold": -5.9,
        "SendInterval": -1,
        "ErrorHandling": ["IgnoreDelay"],
        "IncludeResultTableFrom": [{"Source": "x", "MaxRows": 5}],
    }));
    assert_eq!(addresses(&rule), ["a@x.org", "b@x.org"]);
    assert!(rule.notify_executor && !rule.html && rule.error_handling.ignore_delay);
    assert!(!rule.error_handling.ignore_cancelled);
    assert_eq!(rule.notify_executor_domains[0].domain, "x.org");
    assert_eq!((rule.delay_threshold, rule.new_client_threshold, rule.send_interval.as_secs()), (7, -5, 0));
    assert_eq!(rule.include_result_table_from[0].max_rows, 5);
}

#[test]
fn texts_as_velociraptor_reads_them() {
    let rule = imported(&json!({
        "Recipients": "Address\na@x.org", "HTML": "on", "KeepEmptyRows": "yEs", "NotifyHunts": "1",
        "DelayThreshold": "0x10", "NewClientThreshold": "", "IncludeUploadsTableRows": "ten", "ResultTableMaxColumns": "-3",
        "AttachmentsMaxMiB": "-1", "AttachmentFormat": "CSV", "ErrorHandling": "[\"IncludeHunts\"",
        "ClientMetadata": "Alias,Field\nOwner,owner\n,1\n,\n",
        "IncludeResultTableFrom": "Source,Columns,MaxRows,CellLimit\nA,a|b,5000,20000\n,,,\nB,,-1,x\n",
        "IncludeResultAttachmentFrom": "Source\nC\n",
    }));
    assert!(!rule.html && rule.keep_empty_rows && !rule.notify_hunts);
    assert_eq!((rule.delay_threshold, rule.new_client_threshold), (16, 0));
    assert_eq!((rule.include_uploads_table_rows, rule.result_table_max_columns, rule.attachments_max_mib), (0, 4, 0));
    assert_eq!(rule.attachment_format, AttachmentFormat::Csv);
    assert_eq!(rule.error_handling, crate::rule::ErrorHandling::default());
    let metadata: Vec<_> = rule.client_metadata.iter().map(|row| (row.field.as_str(), row.alias.as_str())).collect();
    assert_eq!(metadata, [("owner", "Owner"), ("1", "")]);
    let tables: Vec<_> = rule
        .include_result_table_from
        .iter()
        .map(|row| (row.source.source(), row.columns.source(), row.max_rows, row.cell_limit))
        .collect();
    assert_eq!(tables, [("A", "a|b", 100, 10_000), (".*", "", 100, 10_000), ("B", "", 100, 10_000)]);
    assert_eq!(rule.include_result_attachment_from[0].max_rows, None);
}

#[test]
fn blank_and_malformed_error_handling_is_the_empty_list() {
    for (value, cancelled) in
        [("", false), ("[]", false), ("nonsense", false), ("{}", false), ("[\"IgnoreCancelled\"]", true)]
    {
        assert_eq!(imported(&json!({"ErrorHandling": value})).error_handling.ignore_cancelled, cancelled, "{value}");
    }
    assert!(imported(&json!({})).error_handling.ignore_cancelled);
}

#[test]
fn what_cannot_be_used_is_left_out_and_said() {
    let parameters = json!({
        "Recipients": "Address\nnobody\n\"a@x, b@y\"\nok@x.org\nAna <ana@x.org>\n\u{1b}[2J@x.org\n",
        "Sender": "nobody", "Recipient": "x", "Somthing": {"a": "\n"},
        "ErrorHandling": "[\"IgnoreDelay\", \"ignorecancelled\"]", "AttachmentFormat": "xml",
        "NotifyExecutor": "Y", "NotifyExecutorDomains": "UsernameRegex,Domain\n^a$,\n(,x.org\nb,x y\nc, x.org\n",
        "ArtifactsToAlertOn": "(", "ArtifactsToIgnore": "[", "ClientLabelsToAlertOn": "a**", "ClientLabelsToIgnore": "*",
        "ArtifactPermToAlertOn": "\\", "NewClientArtifacts": "(?<", "NotifyIfResultsLabels": "[\\w\\p{L}]{900}",
        "IncludeResultTableFrom": "Source,Columns\n(,a\nb,(\nc,\n",
    });
    let rule = imported(&parameters);
    assert_eq!(addresses(&rule), ["ok@x.org"]);
    assert_eq!(rule.notify_executor_domains.len(), 1);
    assert_eq!(rule.include_result_table_from.len(), 1);
    // An invalid pattern never matches: where a match is needed, nothing passes; where it would stop or force, it is off.
    for pattern in [&rule.artifacts_to_alert_on, &rule.client_labels_to_alert_on, &rule.artifact_perm_to_alert_on] {
        assert!(!pattern.is_empty());
        assert!(!["", "a", "\n", "é"].iter().any(|text| pattern.matches(text)));
    }
    for pattern in [
        &rule.artifacts_to_ignore,
        &rule.client_labels_to_ignore,
        &rule.new_client_artifacts,
        &rule.notify_if_results_labels,
    ] {
        assert!(pattern.is_empty());
    }
    let rule = converted(&parameters);
    assert_eq!(rule.warnings.len(), 4 + 1 + 2 + 1 + 1 + 3 + 7 + 2, "{:#?}", rule.warnings);
    assert!(
        rule.warnings
            .iter()
            .any(|warning| warning.contains("`Recipient`") && warning.contains("did you mean Recipients?"))
    );
    let text = rule.to_toml("x");
    for part in ["`nobody` is not an e-mail address", "`Somthing`", "`ignorecancelled` is unknown", "too large"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn notes_where_the_effect_changes() {
    let quiet = json!({
        "Recipients": "Address\na@x.org\n", "NotifyExecutor": "N", "NotifyExecutorDomains": "UsernameRegex,Domain\n",
        "ClientLabelsToAlertOn": ".+", "ClientLabelsToIgnore": "^x$", "NotifyHunts": "Y", "NewClientArtifacts": "x",
        "DelayThreshold": "10", "SendInterval": "-1", "KeepEmptyRows": "", "NotifyIfResultsLabels": "^x$",
        "IncludeResultTableFrom": "Source,Columns,MaxRows\na,,5\n", "IncludeResultAttachmentFrom": "Source,Columns,MaxRows\n",
    });
    assert!(!text(&quiet).contains("note:"), "{}", text(&quiet));
    for (name, value, part) in [
        ("Secret", "mail", "belong into [smtp]"),
        ("Sender", "x@x.org", "beats [smtp] from"),
        ("NotifyExecutorDomains", "UsernameRegex,Domain\n.+,x.org\n", "only with notify_executor"),
        ("ClientLabelsToAlertOn", "^.*$", "without labels does not pass"),
        ("ClientLabelsToIgnore", ".*", "those without one too"),
        ("NotifyHunts", "", "ends in `.H`"),
        ("NewClientArtifacts", "", "blank is off"),
        ("DelayThreshold", "0", "0 or less is off"),
        ("DelayThreshold", "x", "`x` is no number"),
        ("SendInterval", "10", "for this rule alone"),
        ("SendInterval", "0", "in Velociraptor it is 60 s"),
        ("KeepEmptyRows", "Y", "row of labels too"),
        ("NotifyIfResultsLabels", ".", "in Velociraptor it needs none"),
        ("NotifyIfUploadsLabels", ".*", "in Velociraptor it needs none"),
        ("IncludeResultTableFrom", "Source,MaxRows\nx,\n", "is no limit"),
        ("IncludeResultTableFrom", "Source,CellLimit\nx,9\n", "counts characters"),
        ("IncludeResultAttachmentFrom", "Source\nx\n", "loses its attachments"),
        ("Recipients", "Address\n", "nobody to tell"),
        ("Recipients", "Address\na@x.org\na@X.org\n", "`a@X.org` is `a@x.org`"),
        ("HTML", "1", "`1` is false"),
        ("AttachmentsMaxMiB", "0", "attaches nothing"),
        ("ResultTableMaxColumns", "0", "default, 4 columns"),
    ] {
        let mut parameters = quiet.clone();
        parameters[name] = json!(value);
        let text = text(&parameters);
        rules_of(&text);
        let unbroken = text.replace("\n# ", " ");
        assert!(text.contains("# note: ") && unbroken.contains(part), "{name} {value}: {text}");
    }
    let executor = json!({"NotifyExecutor": "Y", "NotifyExecutorDomains": "UsernameRegex,Domain\ni,x.org\n", "SendInterval": "-1", "NewClientArtifacts": "x"});
    assert!(text(&executor).contains("InterrogationService is never told"), "{}", text(&executor));
}

#[test]
fn what_runs_on_a_server() {
    let state = serde_json::json!({
        "creator": "admin", "artifacts": ["Server.Monitor.Health", "Server.Monitor.FlowCompletion", "Custom.Server.Monitor.FlowCompletion"],
        "specs": [
            { "artifact": "Server.Monitor.Health", "parameters": { "env": [] } },
            { "artifact": "Server.Monitor.FlowCompletion",
              "parameters": { "env": [{ "key": "Recipients", "value": "Email\na@example.org\n", "comment": "" }] } },
        ],
    });
    let found = running(state).unwrap();
    assert_eq!(found.passed_over, ["Server.Monitor.Health"]);
    // The copy runs with its defaults.
    assert_eq!(found.sets.iter().map(|set| set.0.len()).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn where_the_artifact_does_not_run() {
    for state in [
        serde_json::json!(null),
        serde_json::json!({}),
        serde_json::json!({ "artifacts": [], "specs": [] }),
        serde_json::json!({ "artifacts": [7], "specs": [{}, 7, { "artifact": 7 }] }),
        serde_json::json!([{ "Recipients": "x" }]),
    ] {
        assert_eq!(running(state).unwrap_err(), ImportError::NoParameters);
    }
    let error = running(serde_json::json!({ "artifacts": ["A\u{1b}[31m", "B"] })).unwrap_err();
    assert!(
        matches!(error, ImportError::OtherArtifacts(names) if names.ends_with(", `B`") && !names.contains('\u{1b}'))
    );
}
