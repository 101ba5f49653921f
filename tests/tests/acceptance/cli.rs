//! The command line: what is told, where it is told, and the exit code.

use std::path::Path;

use acceptance::event::{event, fixture, fixture_event, lines};
use acceptance::process::Program;
use acceptance::{Site, TestEnv, tools};
use serde_json::{Value, json};

#[test]
fn all_mistakes_are_told_in_one_run() {
    let env = TestEnv::new();
    let text = r#"[smtp]
server = "localhost"
prot = 587
tls = "maybe"
from = "not an address"
retry = ["5 parsecs"]

[outbox]
url = "sqlite:bewit.db"

[intake.http]
listen = "127.0.0.1"
token_file = "no-such-file"

[[rule]]
name = "twice"
recipients = ["nobody"]
artifacts_to_alert_on = "(unclosed"
throttle = "sometimes"

[[rule]]
name = "twice"
recipients = ["ana@example.org"]
send_intervall = 5
"#;
    env.write("bewit.toml", text);
    let said = env.bewit(["check"]).run().expect(2);
    let err = said.err();
    for (line, word) in text.lines().enumerate().filter_map(|(n, line)| {
        let wrong = [
            "prot",
            "maybe",
            "not an address",
            "parsecs",
            "no-such-file",
            "nobody",
            "(unclosed",
            "sometimes",
            "send_intervall",
        ];
        wrong.iter().find(|word| line.contains(**word)).map(|word| (n + 1, *word))
    }) {
        said.check(err.contains(word), &format!("{word} is told"));
        said.check(err.contains(&format!("bewit.toml:{line}")), &format!("{word}: with its place, bewit.toml:{line}"));
    }
    said.check(err.contains('^') || err.contains('─'), "a caret points at the place");
    for hint in ["port", "send_interval"] {
        said.check(err.contains(&format!("`{hint}`")), &format!("did you mean {hint}?"));
    }
    said.check(err.matches("twice").count() >= 1, "two rules of one name");
    said.check(said.out().is_empty(), "errors go to standard error");
    // The daemon refuses it in the same words.
    let run = env.bewit(["run", "--once"]).run().expect(2);
    run.check(run.err().contains("prot"), "run says it too");
}

#[test]
fn a_good_configuration_is_called_good() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    env.bewit(["check"]).run().expect(0);
    let said = env.bewit(["check", "-c", "none.toml"]).run().expect(2);
    said.check(said.err().contains("none.toml"), "a missing file is named");
    env.write("broken.toml", "[smtp\nserver = \"x\"\n");
    let said = env.bewit(["check", "-c", "broken.toml"]).run().expect(2);
    said.check(said.err().contains("broken.toml:1"), "a syntax error has its place");
    // Relative paths start at the configuration file, not where the command is run.
    env.write("site/bewit.toml", Site::mailbox().text());
    env.write("site/spool/a.jsonl", lines(&[event(1)]));
    env.bewit(["run", "--once", "-c", "site/bewit.toml"]).run().expect(0);
    assert!(env.path("site/mail").is_dir() && !env.path("mail").exists());
}

#[test]
fn the_stock_configuration_is_complete_and_good() {
    let stock = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("bewit.toml");
    let text = std::fs::read_to_string(stock).unwrap();
    for key in [
        "[smtp]",
        "[outbox]",
        "[intake.spool]",
        "[intake.http]",
        "[links]",
        "[templates]",
        "[[rule]]",
        "retry",
        "give_up",
        "on_ambiguous",
        "retention",
        "min_free",
        "send_interval",
        "throttle",
        "include_result_table_from",
    ] {
        assert!(text.contains(key), "{key} is in the stock configuration");
    }
    assert!(text.lines().filter(|line| line.starts_with('#')).count() > 20, "and it is explained");
}

#[test]
fn usage_mistakes_end_with_2_and_help_with_0() {
    let env = TestEnv::new();
    for args in
        [vec!["no-such-command"], vec!["run", "--no-such-option"], vec!["render", "--format", "pdf", "-"], vec![]]
    {
        let said = Program::new(env.binary(), env.root()).args(&args).run().expect(2);
        said.check(said.out().is_empty() && !said.err().is_empty(), "usage goes to standard error");
    }
    for args in [vec!["--help"], vec!["--version"], vec!["run", "--help"], vec!["outbox", "--help"]] {
        let said = Program::new(env.binary(), env.root()).args(&args).run().expect(0);
        said.check(!said.out().is_empty() && said.err().is_empty(), "help goes to standard output");
    }
    for command in
        ["run", "demo", "check", "explain", "render", "import", "outbox", "top", "send-test", "schema", "completions"]
    {
        let help = env.bewit(["--help"]).run().expect(0);
        help.check(help.out().contains(command), &format!("{command} is in the help"));
    }
}

#[test]
fn events_come_from_files_and_standard_input() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    env.write("a.jsonl", lines(&[event(1), event(2)]));
    env.write("b.jsonl", lines(&[event(3)]));
    let said = env.bewit(["explain", "--json", "a.jsonl", "b.jsonl"]).run().expect(0);
    assert_eq!(said.json().len(), 3);
    let said = env.bewit(["explain", "--json", "a.jsonl", "-"]).stdin(lines(&[event(4)])).run().expect(0);
    assert_eq!(said.json().len(), 3);
    // A bad event does not stop its neighbours, and is told of.
    let said = env.bewit(["explain", "--json", "-"]).stdin(format!("no event\n{}", lines(&[event(5)]))).run().expect(1);
    assert_eq!(said.json().len(), 1);
    said.check(!said.err().is_empty(), "the bad line is named on standard error");
    let said = env.bewit(["explain", "--json", "missing.jsonl"]).run();
    said.check(said.status.code() != Some(0) && said.err().contains("missing.jsonl"), "a missing file is named");
}

#[test]
fn explain_for_people_says_why() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "[[rule]]\nname = \"picky\"\nrecipients = [\"ana@example.org\"]\nartifacts_to_alert_on = \"PowerShell\"\n",
    ));
    let said = env.bewit(["explain", "-"]).stdin(lines(&[event(1)])).run().expect(0);
    for word in ["picky", "artifacts_to_alert_on", "F.D000000000001"] {
        said.check(said.out().contains(word), word);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    env.write("many.jsonl", lines(&acceptance::event::many(0, 3000)));
    let script = format!("set -o pipefail; '{}' explain --json many.jsonl | head -n 1", env.binary().display());
    let said = Program::new("bash", env.root()).args(["-c", &script]).run();
    said.check(said.status.code() == Some(0), "explain | head ends well");
    said.check(said.err().is_empty(), "and quietly");
}

#[test]
fn render_writes_a_file_for_each_mail() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "[[rule]]\nname = \"one\"\nrecipients = [\"ana@example.org\", \"kim@example.org\"]\n\n\
         [[rule]]\nname = \"two\"\nrecipients = [\"lee@example.org\"]\nartifacts_to_alert_on = \"Pslist\"\n",
    ));
    let events = lines(&[event(1), event(2)]);
    for (format, extension) in [("eml", "eml"), ("html", "html"), ("text", "txt")] {
        env.bewit(["render", "--format", format, "--out", format, "-"]).stdin(events.clone()).run().expect(0);
        let found = acceptance::env::files(&env.path(format), extension);
        assert!(found.len() >= 4, "{format}: {found:?}");
        for path in &found {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name.starts_with("F.D00000000000"), "{name}");
        }
    }
    let only =
        env.bewit(["render", "--rule", "two", "--format", "text", "-"]).stdin(lines(&[event(1)])).run().expect(0);
    only.check(only.out().contains("F.D000000000001"), "one mail goes to standard output");
    // Nothing is stored and nothing is sent.
    assert!(!env.path("mail").exists() && !env.path("bewit.db").exists());

    // Who is not mailed is named.
    let mut silent = event(3);
    silent["Flow"]["request"]["artifacts"] = json!(["Generic.Client.Info"]);
    let said = env.bewit(["render", "--out", "none", "-"]).stdin(lines(&[silent])).run();
    said.check(said.err().contains("F.D000000000003"), "an event that no rule mails is named on standard error");
    let said = env.bewit(["render", "--rule", "no-such-rule", "-"]).stdin(lines(&[event(1)])).run().expect(2);
    said.check(said.err().contains("no-such-rule"), "an unknown rule is a mistake");
}

fn import(env: &TestEnv, parameters: &Value) -> (String, String) {
    env.write("params.json", parameters.to_string());
    let said = env.bewit(["import", "params.json"]).run().expect(0);
    (said.out(), said.err())
}

#[test]
fn parameters_are_imported_in_both_forms() {
    let parameters = json!({
        "Recipients": "Address\nana@example.org\nkim@example.org\n",
        "NotifyExecutor": "Y",
        "NotifyExecutorDomains": "UsernameRegex,Domain\n.+,example.org\n",
        "ArtifactsToAlertOn": "Pslist",
        "DelayThreshold": "60",
        "SendInterval": "0",
        "ErrorHandling": "[\"IncludeHunts\",\"IgnoreDelay\"]",
        "IncludeResultTableFrom": "Source,Columns,MaxRows,CellLimit\nPslist,Name|Pid,20,\n",
        "NewClientArtifacts": "Client",
        "Secret": "smtp creds",
    });
    let pairs: Vec<Value> = parameters
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value, "comment": ""}))
        .collect();
    let env = TestEnv::new();
    let (plain, _) = import(&env, &parameters);
    let (wrapped, notes) =
        import(&env, &json!({"artifact": "Server.Monitor.FlowCompletion", "parameters": {"env": pairs}}));
    let rule = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(rule(&plain), rule(&wrapped), "both forms say the same");
    assert!(plain.contains("#"), "the rule is commented");
    assert!(plain.contains("new_client_artifacts") && (plain.contains("# ") || !notes.is_empty()), "{plain}");

    // What comes out is a rule that works.
    env.write("bewit.toml", format!("{}\n{plain}", Site::mailbox().text().split("[[rule]]").next().unwrap()));
    env.bewit(["check"]).run().expect(0);
    let rows = env.bewit(["explain", "--json", "-"]).stdin(lines(&[event(1)])).run().expect(0).json();
    assert_eq!(rows[0]["decision"], "notify");
    assert_eq!(rows[0]["recipients"], json!(["ana@example.org", "kim@example.org"]));

    let said = env.bewit(["import", "missing.json"]).run();
    said.check(said.status.code() != Some(0) && said.err().contains("missing.json"), "a missing file is named");
    env.write("bad.json", "{");
    let said = env.bewit(["import", "bad.json"]).run();
    said.check(said.status.code() != Some(0), "no JSON, no rule");
}

/// Validates JSON documents by a schema, with a validator that nobody here wrote.
fn validate(env: &TestEnv, schema: &str, documents: &[(String, Value)]) -> Option<Vec<(String, Vec<String>)>> {
    let python = tools::peers_python()?;
    env.write("schema.json", schema);
    let texts: Vec<&Value> = documents.iter().map(|(_, value)| value).collect();
    let script = "import json, sys, jsonschema\n\
         schema = json.load(open('schema.json'))\n\
         kind = jsonschema.validators.validator_for(schema)\n\
         kind.check_schema(schema)\n\
         for document in json.load(sys.stdin):\n\
         \x20   print(json.dumps([error.message[:300] for error in kind(schema).iter_errors(document)]))\n";
    let said = Program::new(python, env.root())
        .args(["-I", "-c", script])
        .stdin(serde_json::to_string(&texts).unwrap())
        .run()
        .expect(0);
    let errors = said.json();
    Some(
        documents
            .iter()
            .zip(errors)
            .map(|((name, _), errors)| {
                let errors = errors.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
                (name.clone(), errors)
            })
            .collect(),
    )
}

#[test]
fn the_event_schema_fits_what_is_taken() {
    let env = TestEnv::new();
    let schema = env.bewit(["schema", "event"]).run().expect(0).out();
    let mut good: Vec<(String, Value)> = ["cancelled", "hostile", "hunt-failed", "netstat-disks", "shell"]
        .map(|name| (name.to_owned(), fixture_event(name)))
        .to_vec();
    good.push(("made up".to_owned(), event(1)));
    good.push(("least".to_owned(), json!({"type": "System.Flow.Completion", "ClientId": "C.1", "FlowId": "F.1"})));
    let mut file = event(1);
    file["results"] = json!({"A/B": {"file": "rows.jsonl"}});
    good.push(("a result file".to_owned(), file));
    let Some(found) = validate(&env, &schema, &good) else { return };
    for (name, errors) in found {
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
    let mut wrong = Vec::new();
    for (name, change) in [
        ("no client", json!({"type": "System.Flow.Completion", "FlowId": "F.1"})),
        ("no flow", json!({"type": "System.Flow.Completion", "ClientId": "C.1"})),
        ("another type", json!({"type": "Other", "ClientId": "C.1", "FlowId": "F.1"})),
        (
            "results of no kind",
            json!({"type": "System.Flow.Completion", "ClientId": "C.1", "FlowId": "F.1", "results": {"A": 5}}),
        ),
        ("no object", json!([1])),
    ] {
        wrong.push((name.to_owned(), change));
    }
    for (name, errors) in validate(&env, &schema, &wrong).unwrap() {
        assert!(!errors.is_empty(), "{name} is called good");
    }
    drop(fixture("shell"));
}

#[test]
fn the_configuration_schema_fits_what_is_taken() {
    let env = TestEnv::new();
    let schema = env.bewit(["schema", "config"]).run().expect(0).out();
    let to_json = |text: &str| -> Value {
        // Python reads TOML as we do; from 3.11 on it can.
        let script = "import json, sys, tomllib\nprint(json.dumps(tomllib.loads(sys.stdin.read()), default=str))\n";
        let said = tools::python().args(["-c", script]).stdin(text).run().expect(0);
        said.json().remove(0)
    };
    let stock = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("bewit.toml");
    let good = vec![
        ("the stock configuration".to_owned(), to_json(&std::fs::read_to_string(stock).unwrap())),
        ("a mailbox".to_owned(), to_json(&Site::mailbox().text())),
        ("a server".to_owned(), to_json(&Site::tls(587, "starttls").login("bewit").text())),
    ];
    let Some(found) = validate(&env, &schema, &good) else { return };
    for (name, errors) in found {
        assert_eq!(errors, Vec::<String>::new(), "{name}");
    }
    let wrong = vec![
        ("an unknown key".to_owned(), to_json(&format!("{}\nno_such_key = 1\n", Site::mailbox().text()))),
        ("an unknown word".to_owned(), to_json(&Site::tls(587, "perhaps").text())),
    ];
    for (name, errors) in validate(&env, &schema, &wrong).unwrap() {
        assert!(!errors.is_empty(), "{name} is called good");
    }
}

#[test]
fn completions_and_the_manual_come_from_the_same_source() {
    let env = TestEnv::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = env.bewit(["completions", shell]).run().expect(0);
        for word in ["send-test", "outbox", "--config"] {
            said.check(said.out().contains(word.trim_start_matches("--")), &format!("{shell} completes {word}"));
        }
    }
    let bash = env.bewit(["completions", "bash"]).run().expect(0);
    env.write("completions.bash", bash.out());
    Program::new("bash", env.root()).args(["-n", "completions.bash"]).run().expect(0);
    let man = env.bewit(["man"]).run().expect(0);
    man.check(man.out().contains(".TH bewit") || man.out().contains(".TH Bewit"), "a manual page");
    for word in ["render", "explain"] {
        man.check(man.out().contains(word), word);
    }
    let said = env.bewit(["completions", "no-such-shell"]).run().expect(2);
    said.check(!said.err().is_empty(), "an unknown shell is a mistake");
}
