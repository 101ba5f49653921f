use serde_json::Value;

use super::super::decode::{Known, Section, known};
use super::super::schema::config_schema;
use super::super::{raw, raw_limits, raw_plugin, raw_rule, raw_velociraptor};
use super::*;

fn names<S: Section>() -> Vec<String> {
    known::<S>().into_iter().map(|known| known.key.name.to_owned()).collect()
}

/// Every key of every section.
pub(super) fn keys() -> Vec<String> {
    [
        names::<raw::File>(),
        names::<raw::Smtp>(),
        names::<raw::Timeouts>(),
        names::<raw_limits::SmtpLimits>(),
        names::<raw::Outbox>(),
        names::<raw_velociraptor::Velociraptor>(),
        names::<raw::Intake>(),
        names::<raw::Spool>(),
        names::<raw::Limits>(),
        names::<raw::Http>(),
        names::<raw::Links>(),
        names::<raw::Templates>(),
        names::<raw::Web>(),
        names::<raw_plugin::Plugin>(),
        names::<raw_plugin::PluginLimits>(),
        names::<raw_plugin::FilterTable>(),
        names::<raw_plugin::Renderer>(),
        names::<raw_rule::Rule>(),
        names::<raw_rule::ExecutorDomain>(),
        names::<raw_rule::MetadataField>(),
        names::<raw_rule::ResultTable>(),
        names::<raw_rule::ResultAttachment>(),
    ]
    .concat()
}

/// The part of JSON Schema that the schema uses.
fn validate(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let object = schema.as_object().unwrap();
    for (keyword, rule) in object {
        let fits = match keyword.as_str() {
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                other => panic!("{other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule.as_array().unwrap().iter().any(|one| accepts(one, value)),
            "allOf" => rule.as_array().unwrap().iter().all(|one| accepts(one, value)),
            "not" => !accepts(rule, value),
            "pattern" => {
                value.as_str().is_none_or(|text| regex::Regex::new(rule.as_str().unwrap()).unwrap().is_match(text))
            }
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "required" => value.as_object().is_none_or(|object| {
                rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(schema) => validate(schema, inner, &format!("{at}.{name}"), wrong),
                        None => wrong.push(format!("{at}.{name} is unknown")),
                    }
                }
                true
            }
            // Beside `properties` it is always false, and looked at there.
            "additionalProperties" if rule.is_object() => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    validate(rule, inner, &format!("{at}.{name}"), wrong);
                }
                true
            }
            "propertyNames" => value
                .as_object()
                .is_none_or(|object| object.keys().all(|name| accepts(rule, &Value::from(name.as_str())))),
            "items" => {
                for inner in value.as_array().into_iter().flatten() {
                    validate(rule, inner, &format!("{at}[]"), wrong);
                }
                true
            }
            "$schema" | "title" | "description" | "default" | "examples" | "format" | "additionalProperties" => true,
            other => panic!("{other}"),
        };
        if !fits {
            wrong.push(format!("{at}: {keyword}"));
        }
    }
}

fn accepts(schema: &Value, value: &Value) -> bool {
    let mut wrong = Vec::new();
    validate(schema, value, "", &mut wrong);
    wrong.is_empty()
}

fn json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
}

#[test]
fn it_accepts_the_stock_configuration() {
    let mut wrong = Vec::new();
    validate(&config_schema(), &json(load::STOCK), "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn it_refuses_what_is_refused() {
    let schema = config_schema();
    for text in [
        "",
        "[smtp]\nprot = 1",
        "[smtp]\nport = 0",
        "[smtp]\ntls = \"maybe\"",
        "[smtp]\ngive_up = \"soon\"",
        "[smtp]\n[[rule]]\nrecipients = []",
        "[smtp]\n[[rule]]\nname = \"x\"\nhtml = \"yes\"",
        "[smtp]\n[[rule]]\nname = \"x\"\nhtml = true\nHTML = true",
        "[smtp]\n[[rule]]\nname = \"x\"\ninclude_result_table_from = [{ columns = \"x\" }]",
        "[smtp]\n[velociraptor]",
        "[smtp]\n[velociraptor]\napi_config = \"a\"\norg = []",
        "[smtp]\n[velociraptor]\napi_config = \"a\"\norg = 1",
        "[smtp]\n[velociraptor]\napi_config = \"a\"\nwatch = \"yes\"",
        "[smtp]\n[plugins.x]",
        "[smtp]\n[plugins.X]\npath = \"x.wasm\"",
        "[smtp]\n[plugins.delay_threshold]\npath = \"x.wasm\"",
        "[smtp]\n[plugins.x]\npath = \"x.wasm\"\nsettings = 1",
        "[smtp]\n[plugins.x]\npath = \"x.wasm\"\nfiles = { a = 1 }",
        "[smtp]\n[plugins.x]\npath = \"x.wasm\"\nsha256 = \"12\"",
        "[smtp]\n[plugins.x]\npath = \"x.wasm\"\nlimits = { time = 1 }",
        "[smtp]\n[plugins.x]\npath = \"x.wasm\"\nlimits = { speed = \"1 s\" }",
        "[smtp]\n[[rule]]\nname = \"x\"\nfilters = [1]",
        "[smtp]\n[[rule]]\nname = \"x\"\nfilters = [{ plugin = \"x\", when = \"now\" }]",
        "[smtp]\n[[rule]]\nname = \"x\"\nrenderers = [{ plugin = \"x\" }]",
    ] {
        assert!(!accepts(&schema, &json(text)), "{text}");
        assert!(examine(text).diagnostics.errors() > 0, "{text}");
    }
    for text in [
        "[smtp]\n[[rule]]\nname = \"x\"\nIncludeResultTableFrom = [{ Source = \"x\" }]",
        "[smtp]\n[velociraptor]\napi_config = \"a\"\norg = [\"root\", \"O1\"]\npublish = \"Custom.X\"",
        "[smtp]\n[velociraptor]\napi_config = \"a\"\norg = \"*\"",
        "[smtp]\n[plugins.a-1_b]\npath = \"x.wasm\"\nsettings = { a = [1, { b = 1.5 }] }\nfiles = { a = \"a.txt\" }",
        "[smtp]\n[[rule]]\nname = \"x\"\nfilters = [\"a\", { plugin = \"b\", when = \"always\" }]",
        "[smtp]\n[[rule]]\nname = \"x\"\nrenderers = [{ source = \"x\", plugin = \"a\" }]",
    ] {
        assert!(accepts(&schema, &json(text)), "{text}");
    }
}

#[test]
fn every_key_is_described() {
    fn walk(schema: &Value, at: &str, count: &mut usize) {
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let text = inner["description"].as_str().unwrap_or_default();
            assert!(text.len() > 5, "{at}.{name}");
            *count += 1;
            walk(inner, &format!("{at}.{name}"), count);
            for items in [inner.get("items"), inner.get("additionalProperties")].into_iter().flatten() {
                walk(items, &format!("{at}.{name}"), count);
            }
        }
        for one in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            walk(one, at, count);
        }
    }
    let mut count = 0;
    walk(&config_schema(), "", &mut count);
    assert!(count > 135, "{count}");
}

/// Writes every default that the schema tells into the file: then it means what it meant without them.
#[test]
fn the_defaults_told_are_the_defaults_that_hold() {
    fn lines<S: Section>() -> String {
        known::<S>()
            .into_iter()
            .filter(|Known { key, .. }| !key.default.is_empty())
            .map(|Known { key, schema }| {
                let value: Value = serde_json::from_str(key.default).unwrap();
                assert!(accepts(&schema, &value), "{}: {value}", key.name);
                // JSON and TOML agree on texts, numbers and lists of texts.
                format!("{} = {}\n", key.name, key.default)
            })
            .collect()
    }
    fn inline<S: Section>() -> String {
        lines::<S>().trim_end().replace('\n', ", ")
    }
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("x.wasm");
    std::fs::write(&component, "").unwrap();
    std::fs::set_permissions(&component, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let plugins = |all: bool| {
        let head = format!("[plugins.x]\npath = '{}'\n", component.display());
        let limits = inline::<raw_plugin::PluginLimits>();
        let keys = format!("{}limits = {{ {limits} }}\n", lines::<raw_plugin::Plugin>());
        let when = format!(", {}", inline::<raw_plugin::FilterTable>());
        let (keys, when) = if all { (keys, when) } else { (String::new(), String::new()) };
        format!("[[rule]]\nname = \"z\"\nfilters = [{{ plugin = \"x\"{when} }}]\n{head}{keys}")
    };
    // Without a token in a variable, [intake.http] would need a file.
    let file = |smtp: String, outbox: String, spool: String, http: String, rule: String, row: String, last: String| {
        format!(
            "[smtp]\nserver = \"relay\"\nfrom = \"b@example.org\"\nusername = \"u\"\npassword_env = \"PATH\"\n{smtp}\
             [outbox]\n{outbox}[intake.spool]\npath = \"s\"\n{spool}\
             [intake.http]\nlisten = \"127.0.0.1:1\"\ntoken_env = \"PATH\"\n{http}\
             [[rule]]\nname = \"x\"\n{rule}\n\
             [[rule]]\nname = \"y\"\nclient_metadata = [{{ field = \"f\"{} }}]\n\
             include_result_table_from = [{{ source = \"a\"{row} }}]\n\
             include_result_attachment_from = [{{ source = \"b\"{last} }}]\n",
            if row.is_empty() { String::new() } else { format!(", {}", inline::<raw_rule::MetadataField>()) },
        )
    };
    let api = super::velociraptor::api_file(folder.path());
    let server = |keys: String| format!("[velociraptor]\napi_config = '{}'\n{keys}", api.display());
    let nothing = || String::new();
    let bare = file(nothing(), nothing(), nothing(), nothing(), nothing(), nothing(), nothing());
    let full = file(
        format!("{}timeouts = {{ {} }}\n", lines::<raw::Smtp>(), inline::<raw::Timeouts>()),
        lines::<raw::Outbox>(),
        format!("{}limits = {{ {} }}\n", lines::<raw::Spool>(), inline::<raw::Limits>()),
        lines::<raw::Http>(),
        lines::<raw_rule::Rule>(),
        format!(", {}", inline::<raw_rule::ResultTable>()),
        format!(", {}", inline::<raw_rule::ResultAttachment>()),
    );
    let (bare, full) = (bare + &server(nothing()), full + &server(lines::<raw_velociraptor::Velociraptor>()));
    let (bare, full) = (bare + &plugins(false), full + &plugins(true));
    assert!(full.lines().count() > bare.lines().count() + 35, "{full}");
    assert_eq!(format!("{:#?}", good(&full)), format!("{:#?}", good(&bare)));
}
