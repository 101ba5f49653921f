//! Decides by an expression in CEL over the event.

mod rule;

use bewit_plugin::prelude::*;
use cel::Context;

use rule::{Expression, context};

/// Longer expressions are no rules but programs.
const LONGEST: usize = 4_096;

/// What `[plugins.NAME] settings` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    keep_if: Option<String>,
    drop_if: Option<String>,
    force_if: Option<String>,
    note: Option<String>,
}

struct Rule {
    force_if: Option<Expression>,
    drop_if: Option<Expression>,
    keep_if: Option<Expression>,
    note: Option<Expression>,
    wants_document: bool,
}

impl Plugin for Rule {
    type Settings = Settings;

    const SETTINGS: &'static [Setting] = &[
        Setting::optional("keep_if", "An expression: where it is true the event goes on, else there is no mail."),
        Setting::optional("drop_if", "An expression: where it is true there is no mail. Asked before `keep_if`."),
        Setting::optional("force_if", "An expression: where it is true there is a mail in any case. Asked first."),
        Setting::optional(
            "note",
            "An expression that gives the text of the note or reason, such as `'a VIP\\'s machine'`.",
        ),
    ];

    const WARM: bool = true;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        if settings.keep_if.is_none() && settings.drop_if.is_none() && settings.force_if.is_none() {
            problems.add("keep_if", "give at least one of `keep_if`, `drop_if` and `force_if`");
        }
        let sample = context(&Event::default(), true)?;
        let mut compile = |key: &str, text: Option<String>| {
            let text = text?;
            let compiled = match text.len() {
                0..=LONGEST => Expression::new(&text),
                _ => Err(format!("is longer than {LONGEST} bytes")),
            };
            let mistake = match compiled {
                Ok(expression) => match expression.mistake(&sample) {
                    None => return Some(expression),
                    Some(mistake) => mistake,
                },
                Err(mistake) => mistake,
            };
            problems.add(key, mistake);
            None
        };
        let force_if = compile("force_if", settings.force_if);
        let drop_if = compile("drop_if", settings.drop_if);
        let keep_if = compile("keep_if", settings.keep_if);
        let note = compile("note", settings.note);
        let all = [&force_if, &drop_if, &keep_if, &note];
        let wants_document = all.into_iter().flatten().any(Expression::wants_document);
        problems.none_or(Self { force_if, drop_if, keep_if, note, wants_document })
    }
}

impl Filter for Rule {
    fn decide(&self, event: &Event) -> Answer {
        let context = context(event, self.wants_document)?;
        if is_true("force_if", self.force_if.as_ref(), &context)? == Some(true) {
            return force(self.note(&context)?.unwrap_or_else(|| "`force_if` is true".to_owned()));
        }
        if is_true("drop_if", self.drop_if.as_ref(), &context)? == Some(true) {
            return discard(self.note(&context)?.unwrap_or_else(|| "`drop_if` is true".to_owned()));
        }
        match is_true("keep_if", self.keep_if.as_ref(), &context)? {
            Some(true) => keep(self.note(&context)?.map(Note::neutral).into_iter().collect::<Vec<_>>()),
            Some(false) => discard("`keep_if` is not true"),
            None => abstain(),
        }
    }
}

export_filter!(Rule: Plugin);

impl Rule {
    fn note(&self, context: &Context<'_, '_>) -> Result<Option<String>, Failure> {
        let Some(note) = &self.note else { return Ok(None) };
        note.text(context).map(Some).map_err(|error| Failure::Reject(format!("`note`: {error}")))
    }
}

/// Whether an expression is true; `None` if there is none.
fn is_true(key: &str, expression: Option<&Expression>, context: &Context<'_, '_>) -> Result<Option<bool>, Failure> {
    let Some(expression) = expression else { return Ok(None) };
    expression.is_true(context).map(Some).map_err(|error| Failure::Reject(format!("`{key}`: {error}")))
}

#[cfg(test)]
mod tests {
    use bewit_plugin::testing::Host;
    use serde_json::{Value, json};

    use super::*;

    fn event() -> Event {
        Event {
            labels: vec!["vip".to_owned()],
            total_rows: 101,
            created: Some(1_000_000),
            completed: Some(8_200_500),
            document: json!({
                "client_info": {"os_info": {"system": "windows"}},
                "client_metadata": {"owner": "ana@example.org"},
                "hunt": {"hunt_description": "All of them", "tags": ["t"]},
                "Flow": {"request": {"cpu_limit": 0.5, "urgent": true, "specs": [{"n": 1}]}},
            })
            .to_string(),
            ..Event::default()
        }
    }

    fn decide(settings: Value) -> Answer {
        Host::new().now(9_000_000).rule("ops").settings(settings).plugin::<Rule>().unwrap().decide(&event())
    }

    #[test]
    fn expressions_see_the_event() {
        for expression in [
            "flow.rows > 100 && 'vip' in client.labels",
            "!flow.failed && flow.state == 'FINISHED'",
            "flow.completed - flow.created == 7200",
            "now - flow.completed < 3600",
            "flow.rows * 2 + 1 == 203",
            "client.os == 'windows' && client.host.startsWith('C.')",
            "client.metadata.owner.endsWith('@example.org')",
            "hunt.id == '' && 't' in hunt.tags && hunt.description.matches('(?i)^all')",
            "org == 'root' && type == 'System.Flow.Completion' && rule == 'ops'",
            "document.Flow.request.cpu_limit < 0.6 && document.Flow.request.specs[0].n == 1",
            "has(document.uploads) == false",
            "client.labels.exists(label, label.startsWith('v'))",
            "size(flow.artifacts) == 0",
        ] {
            assert_eq!(decide(json!({"keep_if": expression})), keep(()), "{expression}");
            assert_eq!(decide(json!({"drop_if": format!("!({expression})")})), abstain(), "{expression}");
        }
    }

    #[test]
    fn force_comes_before_drop_before_keep() {
        let note = "'rows: ' + string(flow.rows)";
        assert_eq!(decide(json!({"force_if": "true", "drop_if": "true"})), force("`force_if` is true"));
        assert_eq!(decide(json!({"drop_if": "true", "keep_if": "true", "note": note})), discard("rows: 101"));
        assert_eq!(decide(json!({"force_if": "false", "keep_if": "true", "note": note})), keep("rows: 101"));
        assert_eq!(decide(json!({"keep_if": "false"})), discard("`keep_if` is not true"));
        assert_eq!(decide(json!({"force_if": "false"})), abstain());
    }

    #[test]
    fn what_cannot_be_worked_out_is_no_answer() {
        for (settings, part) in [
            (json!({"keep_if": "document.nothing.there"}), "`keep_if`: there is no `nothing`"),
            (json!({"keep_if": "flow.rows"}), "not true or false"),
            (json!({"keep_if": "true", "note": "flow.rows"}), "`note`: gives a value of the type"),
            (json!({"drop_if": "flow.rows + 'x' == 'y'"}), "`drop_if`"),
            (json!({"drop_if": "1 / (flow.rows - 101) == 1"}), "`drop_if`"),
        ] {
            let Err(Failure::Reject(reason)) = decide(settings) else { panic!("{part}") };
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn mistakes_are_found_when_the_settings_are_checked() {
        for (settings, key, part) in [
            (json!({}), "keep_if", "at least one"),
            (json!({"note": "'x'"}), "keep_if", "at least one"),
            (json!({"drop_if": "flow.rows >"}), "drop_if", "line 1, column"),
            (json!({"keep_if": "flow.rows >\n)"}), "keep_if", "line 2, column"),
            (json!({"keep_if": "flw.rows > 1"}), "keep_if", "no `flw`; there are flow, client"),
            (json!({"keep_if": "true", "note": "shout('x')"}), "note", "shout"),
            (json!({"keep_if": "(".repeat(3_000)}), "keep_if", "inside each other"),
            (json!({"keep_if": format!("{}true", "(".repeat(12))}), "keep_if", "line 1"),
            (json!({"keep_if": "1".repeat(5_000)}), "keep_if", "longer than"),
            (json!({"keep_if": 1}), "keep_if", "expected a string"),
            (json!({"keepif": "true"}), "keepif", "unknown field"),
        ] {
            let shown = settings.to_string();
            let problems = Host::new().settings(settings).plugin::<Rule>().err().unwrap_or_else(|| panic!("{shown}"));
            assert_eq!(problems.0[0].key, key, "{shown}: {problems}");
            assert!(problems.0[0].message.contains(part), "{shown}: {problems}");
        }
    }
}
