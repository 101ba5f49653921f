//! The configuration file as a JSON Schema (2020-12), for editors; made of the keys that the decoder takes.

use serde_json::{Map, Value, json};

use super::decode::{Known, Section, known};
use super::{raw, raw_plugin, raw_rule, raw_velociraptor};

/// The JSON Schema of the configuration file: every key with its type, its default, what it is for, and Velociraptor's
/// own name for it where there is one.
#[must_use]
pub fn config_schema() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bewit configuration",
    });
    if let (Some(schema), Value::Object(object)) = (schema.as_object_mut(), object::<raw::File>()) {
        schema.extend(object);
    }
    schema
}

/// A section as a schema.
pub(super) fn object<S: Section>() -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut both = Vec::new();
    for Known { key, schema } in known::<S>() {
        let mut described = schema;
        if let Some(described) = described.as_object_mut() {
            described.insert("description".to_owned(), json!(key.doc));
            if let Ok(default) = serde_json::from_str::<Value>(key.default) {
                described.insert("default".to_owned(), default);
            }
        }
        if !key.alias.is_empty() {
            let mut alias = described.clone();
            if let Some(alias) = alias.as_object_mut() {
                alias.insert("description".to_owned(), json!(format!("{}: {}", key.name, key.doc)));
            }
            properties.insert(key.alias.to_owned(), alias);
            both.push(json!({ "not": { "required": [key.name, key.alias] } }));
        }
        if key.required {
            match key.alias {
                "" => required.push(key.name),
                alias => both.push(json!({ "anyOf": [{ "required": [key.name] }, { "required": [alias] }] })),
            }
        }
        properties.insert(key.name.to_owned(), described);
    }
    let mut schema = json!({
        "type": "object",
        "description": S::DOC,
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(schema) = schema.as_object_mut() {
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        if !both.is_empty() {
            schema.insert("allOf".to_owned(), json!(both));
        }
    }
    schema
}

/// The sections that have such a key, as they are written.
pub(super) fn home(name: &str) -> Option<String> {
    fn has<S: Section>(name: &str) -> Option<&'static str> {
        let taken = known::<S>();
        let hit = taken.iter().any(|known| known.key.name == name || (!name.is_empty() && known.key.alias == name));
        hit.then_some(S::TITLE)
    }
    let homes: Vec<_> = [
        has::<raw::File>,
        has::<raw::Smtp>,
        has::<raw::Timeouts>,
        has::<raw::Outbox>,
        has::<raw_velociraptor::Velociraptor>,
        has::<raw::Intake>,
        has::<raw::Spool>,
        has::<raw::Limits>,
        has::<raw::Http>,
        has::<raw::Links>,
        has::<raw::Templates>,
        has::<raw::Locale>,
        has::<raw::Web>,
        has::<raw_plugin::Plugin>,
        has::<raw_plugin::PluginLimits>,
        has::<raw_rule::Rule>,
        has::<raw_rule::ExecutorDomain>,
        has::<raw_rule::MetadataField>,
        has::<raw_rule::ResultTable>,
        has::<raw_plugin::FilterTable>,
    ]
    .iter()
    .filter_map(|has| has(name))
    .collect();
    if homes.is_empty() { None } else { Some(homes.join(" or ")) }
}
