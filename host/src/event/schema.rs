//! The JSON Schema of an event.

/// The JSON Schema (draft 2020-12) of an event, as text. It describes every encoding that [`parse`](super::parse::parse)
/// takes; the parser is more lenient still, and counts what the schema would refuse inside a fact as empty.
#[must_use]
pub fn event_schema() -> &'static str {
    include_str!("schema.json")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Calls `each` for every object in the schema, with the name it stands under.
    fn walk(name: &str, value: &Value, each: &mut impl FnMut(&str, &Value)) {
        each(name, value);
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(name, value, each)),
            Value::Array(items) => items.iter().for_each(|value| walk(name, value, each)),
            _ => {}
        }
    }

    #[test]
    fn references_resolve_and_every_field_is_described() {
        let schema: Value = serde_json::from_str(event_schema()).unwrap();
        let mut fields = 0;
        walk("", &schema, &mut |name, value| {
            if let Some(target) = value.get("$ref").and_then(Value::as_str) {
                assert!(schema.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
            }
            // The alternatives of `type` are conditions, not descriptions.
            if name == "properties" && value.get("type").is_none_or(|kind| kind.get("description").is_some()) {
                for (name, field) in value.as_object().unwrap() {
                    assert!(field["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
                    fields += 1;
                }
            }
        });
        assert!(fields > 80);
    }

    /// An event with every field that the schema describes, by its snake_case name.
    fn full_event() -> Value {
        serde_json::json!({
            "type": "System.Flow.Completion", "_Source": "System.Flow.Completion",
            "Timestamp": 1_786_500_123, "ClientId": "C.1", "FlowId": "F.1.H", "OrgId": "O1",
            "Flow": {
                "request": {
                    "creator": "ana", "urgent": true, "artifacts": ["A"],
                    "specs": [{"artifact": "A", "parameters": {"env": [{"key": "k", "value": "v"}]}}],
                },
                "create_time": 1_786_500_001, "start_time": 1_786_500_002, "active_time": 1_786_500_003,
                "execution_duration": 4, "state": 2, "status": "s", "artifacts_with_results": ["A/B"],
                "query_stats": [{
                    "Artifact": "A/B", "names_with_response": ["B"], "result_rows": 5, "uploaded_files": 6,
                    "error_message": "e",
                }],
                "total_collected_rows": 7, "total_uploaded_files": 8, "total_uploaded_bytes": 9,
            },
            "client_info": {
                "os_info": {"hostname": "h", "fqdn": "h.x", "system": "linux", "release": "r", "machine": "m"},
                "first_seen_at": 1_786_500_004, "labels": ["l"],
            },
            "client_metadata": {"k": "v"},
            "hunt": {"hunt_id": "H.1", "hunt_description": "d", "tags": ["t"]},
            "artifact_definitions": [{"name": "A", "required_permissions": ["EXECVE"]}],
            "uploads": [{
                "client_path": "c", "vfs_path": "v", "file_size": 10, "uploaded_size": 11, "Type": "idx",
                "_Components": ["a"], "_client_components": ["b"],
                "Upload": {"Path": "p", "Size": 12, "StoredSize": 13, "Components": ["d"]},
            }],
            "results": {"A/B": [{"n": 1}]},
        })
    }

    fn parsed(event: &Value) -> String {
        let mut parsed = crate::event::parse::parse(&event.to_string());
        if let Ok(event) = &mut parsed {
            // It repeats the text, whatever is in it.
            event.document = String::new().into();
        }
        format!("{parsed:?}")
    }

    /// The same event with one field taken out, or put under another name.
    fn changed(event: &Value, parent: &str, name: &str, new_name: Option<&str>) -> Value {
        let mut event = event.clone();
        let fields = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        let value = fields.remove(name).unwrap();
        fields.extend(new_name.map(|new_name| (new_name.to_owned(), value)));
        event
    }

    /// A minimal event with one field of the full one, and what that lies in.
    fn alone(full: &Value, path: &str) -> Value {
        fn only(full: &Value, path: &[&str]) -> Value {
            let Some((name, rest)) = path.split_first() else { return full.clone() };
            match full {
                Value::Array(items) => Value::from(vec![only(&items[0], rest)]),
                _ => Value::from_iter([((*name).to_owned(), only(&full[*name], rest))]),
            }
        }
        let mut event = only(full, &path.split('/').skip(1).collect::<Vec<_>>());
        let fields = event.as_object_mut().unwrap();
        for name in ["type", "ClientId", "FlowId"] {
            // `_Source` counts only without a type.
            if !(name == "type" && path == "/_Source") {
                fields.insert(name.to_owned(), full[name].clone());
            }
        }
        event
    }

    /// Every field under `schema` makes a difference to what is parsed; answers how many there are.
    fn check(root: &Value, schema: &Value, parent: &str, full: &Value) -> usize {
        let mut fields = 0;
        for (name, field) in schema["properties"].as_object().unwrap() {
            let description = field["description"].as_str().unwrap();
            let path = format!("{parent}/{name}");
            if description.starts_with("Not used") || path.ends_with("query_stats/0/status") {
                continue;
            }
            fields += 1;
            if let Some((snake, _)) = description.split_once(", as Velociraptor's datastore spells it") {
                if full.pointer(&format!("{parent}/{snake}")).is_some() {
                    assert_eq!(parsed(&changed(full, parent, snake, Some(name))), parsed(full), "{path}");
                }
                continue;
            }
            assert!(full.pointer(&path).is_some(), "{path} is described, but not in the full event");
            let alone = alone(full, &path);
            let counts = |event: &Value| parsed(event) != parsed(&changed(event, parent, name, None));
            assert!(counts(full) || counts(&alone), "{path} is described, but never read");
            let (mut inner, mut path) = (field, path);
            if let Some(list) = inner["anyOf"].as_array().and_then(|any| any.iter().find(|one| one["type"] == "array"))
            {
                inner = list;
            }
            if let Some(items) = inner.get("items") {
                path.push_str("/0");
                inner = items;
            }
            if let Some(target) = inner["$ref"].as_str() {
                inner = root.pointer(target.strip_prefix('#').unwrap()).unwrap();
            }
            if inner["properties"].is_object() {
                fields += check(root, inner, &path, full);
            }
        }
        fields
    }

    #[test]
    fn every_described_field_is_read_in_both_spellings() {
        let schema: Value = serde_json::from_str(event_schema()).unwrap();
        assert!(parsed(&full_event()).starts_with("Ok"));
        assert!(check(&schema, &schema, "", &full_event()) > 80);
    }
}
