//! An admitted line to a [`FlowCompletion`], lenient in encoding, strict in what makes an event.

mod results;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use self::results::Results;
use super::lenient::{
    Kind, Result, Text, boolean, count, elements, fields, integer, moment, parse_fields, rows, string, stringified,
    strings, text,
};
use super::rows::ResultSet;
use super::time::Moment;
use super::{
    ArtifactDefinition, ArtifactSpec, Client, EventKey, Flow, FlowCompletion, FlowState, Hunt, QueryStats, Upload,
};
use crate::text::Visible;

/// Why a line is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but no object.
    #[error("a JSON {0}, not an object")]
    NotAnObject(&'static str),
    /// Neither `type` nor `_Source` says what it is.
    #[error("no `type`: an event says what it is, such as \"type\":\"System.Flow.Completion\"")]
    NoType,
    /// A type that Bewit does not know.
    #[error("unknown type `{0}`; this version knows `System.Flow.Completion`")]
    UnknownType(String),
    /// A field that every event must have is missing, empty or of the wrong kind.
    #[error("`{0}` is missing or is no usable text")]
    Missing(&'static str),
}

/// The queue that flow completions come from.
const FLOW_COMPLETION: &str = "System.Flow.Completion";

/// Characters of an id. Velociraptor's own have 18; custom ones occur.
const MAX_ID: usize = 256;

/// Characters of an unknown type that are repeated in its error.
const MAX_QUOTE: usize = 64;

/// Parses an admitted line. `type` may be absent if `_Source` names the queue, so that Velociraptor's own rows can be
/// dropped in unchanged. A byte order mark before the object is passed over.
///
/// # Errors
/// [`EventError`], in the order type, ClientId, FlowId, OrgId.
pub fn parse(line: &str) -> std::result::Result<FlowCompletion, EventError> {
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    let not_json = |error: serde_json::Error| EventError::NotJson(error.to_string());
    if !line.trim_ascii_start().starts_with('{') {
        serde_json::from_str::<IgnoredAny>(line).map_err(not_json)?;
        return Err(EventError::NotAnObject(Kind::of(line).name()));
    }
    let top: Top<'_> = serde_json::from_str(line).map_err(not_json)?;

    let kind = filled(top.kind).map_err(not_json)?.or(filled(top.source).map_err(not_json)?);
    match kind.as_deref() {
        None => return Err(EventError::NoType),
        Some(FLOW_COMPLETION) => {}
        // The reason is shown on terminals, so nothing in it may be obeyed by one.
        Some(other) => {
            let start: String = other.chars().take(MAX_QUOTE).collect();
            return Err(EventError::UnknownType(Visible(&start).to_string()));
        }
    }
    let client_id = id(filled(top.client_id).map_err(not_json)?, "ClientId")?;
    let flow_id = id(filled(top.flow_id).map_err(not_json)?, "FlowId")?;
    // An org whose name cannot be used must not turn into the root org.
    let org_id = match filled(top.org_id).map_err(not_json)? {
        None => "root".to_owned(),
        org_id => id(org_id, "OrgId")?,
    };
    top.build(org_id, client_id, flow_id).map_err(not_json)
}

/// A field's text, if it is a string and not empty.
fn filled(field: Option<&RawValue>) -> Result<Option<Cow<'_, str>>> {
    Ok(field.map(text).transpose()?.flatten().filter(|text| !text.is_empty()))
}

/// An id as it may be used: some text without control characters.
fn id(text: Option<Cow<'_, str>>, field: &'static str) -> std::result::Result<String, EventError> {
    text.filter(|id| !id.trim().is_empty() && !id.contains(char::is_control) && id.chars().nth(MAX_ID).is_none())
        .map(Cow::into_owned)
        .ok_or(EventError::Missing(field))
}

/// The fields of an event, still as text. These names are our own contract, so they have one spelling.
#[derive(Default)]
struct Top<'a> {
    kind: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    client_id: Option<&'a RawValue>,
    flow_id: Option<&'a RawValue>,
    org_id: Option<&'a RawValue>,
    flow: Option<&'a RawValue>,
    client: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    hunt: Option<&'a RawValue>,
    definitions: Option<&'a RawValue>,
    uploads: Option<&'a RawValue>,
    results: Option<IndexMap<String, ResultSet>>,
    /// Every other field as it came, one after the other behind the brace, each ended by a comma.
    document: String,
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Top<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Top<'de>, A::Error> {
                let mut top = Top { document: String::from("{"), ..Top::default() };
                while let Some(Text(key)) = map.next_key()? {
                    if key == "results" {
                        // Most of a large event: read at once, so that its bytes are passed over once.
                        Results(top.results) = map.next_value()?;
                    } else {
                        let value: &'de RawValue = map.next_value()?;
                        top.note(&key, value).map_err(A::Error::custom)?;
                        top.take(&key, value);
                    }
                }
                Ok(top)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'a> Top<'a> {
    /// Adds a field to the document.
    fn note(&mut self, key: &str, value: &RawValue) -> Result<()> {
        if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.document.extend(["\"", key, "\""]);
        } else {
            self.document.push_str(&serde_json::to_string(key)?);
        }
        self.document.push(':');
        self.document.push_str(value.get());
        self.document.push(',');
        Ok(())
    }

    fn take(&mut self, key: &str, value: &'a RawValue) {
        let field = match key {
            "type" => &mut self.kind,
            "_Source" => &mut self.source,
            "Timestamp" => &mut self.timestamp,
            "ClientId" => &mut self.client_id,
            "FlowId" => &mut self.flow_id,
            "OrgId" => &mut self.org_id,
            "Flow" => &mut self.flow,
            "client_info" => &mut self.client,
            "client_metadata" => &mut self.metadata,
            "hunt" => &mut self.hunt,
            "artifact_definitions" => &mut self.definitions,
            "uploads" => &mut self.uploads,
            _ => return,
        };
        *field = Some(value);
    }

    fn build(self, org_id: String, client_id: String, flow_id: String) -> Result<FlowCompletion> {
        let timestamp = self.timestamp.map(moment).transpose()?.flatten();
        let key = EventKey { org_id, client_id, flow_id, timestamp: timestamp.map_or(0, Moment::unix) };
        Ok(FlowCompletion {
            key,
            timestamp,
            flow: self.flow.map(flow).transpose()?.unwrap_or_default(),
            client: fact(self.client, &[Kind::Object], client)?,
            metadata: fact(self.metadata, &[Kind::Object], metadata)?,
            hunt: fact(self.hunt, &[Kind::Object], hunt)?.flatten(),
            artifact_definitions: fact(self.definitions, &[Kind::Array, Kind::Object], definitions)?,
            uploads: fact(self.uploads, &[Kind::Array, Kind::Object], uploads)?,
            uploads_total: None,
            results: self.results.map(Arc::new),
            document: ended(self.document).into(),
            missing: Vec::new(),
        })
    }
}

/// A document whose last field is written.
fn ended(mut document: String) -> String {
    match document.pop() {
        Some(',') => document.push('}'),
        _ => document.push_str("{}"),
    }
    document
}

/// A fact that the event carries: one of the right kind. Null or anything else is no fact.
fn fact<'a, T>(
    value: Option<&'a RawValue>,
    kinds: &[Kind],
    read: impl FnOnce(&'a RawValue) -> Result<T>,
) -> Result<Option<T>> {
    value.filter(|value| kinds.contains(&Kind::of(value.get()))).map(read).transpose()
}

fn flow(value: &RawValue) -> Result<Flow> {
    let mut flow = Flow::default();
    fields(value, |name, value| {
        match name {
            "create_time" => flow.create_time = moment(value)?,
            "start_time" => flow.start_time = moment(value)?,
            "active_time" => flow.active_time = moment(value)?,
            "execution_duration" => flow.execution_duration = Some(integer(value)?).filter(|&duration| duration != 0),
            "state" => flow.state = state(value)?,
            "status" => flow.status = string(value)?,
            "request" => request(value, &mut flow)?,
            "artifacts_with_results" => flow.artifacts_with_results = strings(value)?,
            "query_stats" => flow.query_stats = list(value, query_stats)?,
            "total_collected_rows" => flow.total_collected_rows = count(value)?,
            "total_uploaded_files" => flow.total_uploaded_files = count(value)?,
            "total_uploaded_bytes" => flow.total_uploaded_bytes = count(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(flow)
}

/// A state by its number or its name.
fn state(value: &RawValue) -> Result<FlowState> {
    let named = text(value)?;
    let named = named
        .as_deref()
        .and_then(|name| FlowState::ALL.iter().find(|state| state.name().eq_ignore_ascii_case(name.trim())));
    if let Some(state) = named {
        return Ok(*state);
    }
    let numbered = usize::try_from(integer(value)?).ok().and_then(|number| FlowState::ALL.get(number));
    Ok(numbered.copied().unwrap_or_default())
}

fn request(value: &RawValue, flow: &mut Flow) -> Result<()> {
    // Of two requests the last counts as a whole.
    (flow.creator, flow.urgent, flow.artifacts, flow.specs) = Default::default();
    flow.complete = Kind::of(value.get()) == Kind::Object;
    fields(value, |name, value| {
        match name {
            "creator" => flow.creator = string(value)?,
            "urgent" => flow.urgent = boolean(value)?,
            "artifacts" => flow.artifacts = strings(value)?,
            "specs" => flow.specs = list(value, spec)?,
            _ => {}
        }
        Ok(())
    })
    .map(drop)
}

fn spec(value: &RawValue) -> Result<ArtifactSpec> {
    let mut spec = ArtifactSpec::default();
    fields(value, |name, value| {
        match name {
            "artifact" => spec.artifact = string(value)?,
            "parameters" => spec.parameters = parameters(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(spec)
}

/// `parameters.env`; an entry without a key is none.
fn parameters(value: &RawValue) -> Result<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    fields(value, |name, value| {
        if name == "env" {
            parameters = list(value, |entry| {
                let mut pair = (String::new(), String::new());
                fields(entry, |name, value| {
                    match name {
                        "key" => pair.0 = string(value)?,
                        "value" => pair.1 = stringified(value)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                Ok(pair)
            })?;
        }
        Ok(())
    })?;
    parameters.retain(|(key, _)| !key.is_empty());
    Ok(parameters)
}

fn query_stats(value: &RawValue) -> Result<QueryStats> {
    let mut stats = QueryStats::default();
    fields(value, |name, value| {
        match name {
            "artifact" => stats.artifact = string(value)?,
            "names_with_response" => stats.names_with_response = strings(value)?,
            "result_rows" => stats.result_rows = count(value)?,
            "uploaded_files" => stats.uploaded_files = count(value)?,
            "error_message" => stats.error_message = string(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(stats)
}

fn client(value: &RawValue) -> Result<Client> {
    let (mut os, mut labels, mut first_seen_at) = (Client::default(), Vec::new(), None);
    fields(value, |name, value| {
        match name {
            "os_info" => os = os_info(value)?,
            "labels" => labels = strings(value)?,
            "first_seen_at" => first_seen_at = moment(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Client { labels, first_seen_at, ..os })
}

/// What the endpoint says of itself.
fn os_info(value: &RawValue) -> Result<Client> {
    let mut client = Client::default();
    fields(value, |name, value| {
        match name {
            "hostname" => client.hostname = string(value)?,
            "fqdn" => client.fqdn = string(value)?,
            "system" => client.system = string(value)?,
            "release" => client.release = string(value)?,
            "machine" => client.machine = string(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(client)
}

/// Keys are people's own, so they are not folded.
fn metadata(value: &RawValue) -> Result<IndexMap<String, String>> {
    let mut metadata = IndexMap::new();
    parse_fields(value.get(), |key, value| {
        metadata.insert(key.to_owned(), stringified(value)?);
        Ok(())
    })?;
    Ok(metadata)
}

/// An empty object is no hunt, as it is none in VQL.
fn hunt(value: &RawValue) -> Result<Option<Hunt>> {
    let mut hunt = Hunt::default();
    let any = fields(value, |name, value| {
        match name {
            "hunt_id" => hunt.id = string(value)?,
            "hunt_description" => hunt.description = string(value)?,
            "tags" => hunt.tags = strings(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(any.then_some(hunt))
}

fn definitions(value: &RawValue) -> Result<Vec<ArtifactDefinition>> {
    let mut definitions = Vec::new();
    rows(value, |row| {
        let mut definition = ArtifactDefinition::default();
        fields(row, |name, value| {
            match name {
                "name" => definition.name = string(value)?,
                "required_permissions" => definition.required_permissions = strings(value)?,
                _ => {}
            }
            Ok(())
        })?;
        // Without a name it defines nothing.
        if !definition.name.is_empty() {
            definitions.push(definition);
        }
        Ok(())
    })?;
    Ok(definitions)
}

/// Every row is kept, also the map of a sparse file (`idx`), so that what was uploaded can be counted.
fn uploads(value: &RawValue) -> Result<Vec<Upload>> {
    let mut uploads = Vec::new();
    rows(value, |row| {
        if Kind::of(row.get()) == Kind::Object {
            uploads.push(upload(row)?);
        }
        Ok(())
    })?;
    Ok(uploads)
}

/// Old servers wrote fewer columns, so each fact has a second and third place where it may be.
fn upload(row: &RawValue) -> Result<Upload> {
    let mut upload = Upload::default();
    let (mut stored_path, mut vfs_path, mut client_components) = (String::new(), String::new(), Vec::new());
    let (mut size, mut uploaded_size) = (0, 0);
    let mut nested_components = Vec::new();
    let mut components = Vec::new();
    fields(row, |name, value| {
        match name {
            "client_path" => upload.path = string(value)?,
            "vfs_path" => vfs_path = string(value)?,
            "_client_components" => client_components = strings(value)?,
            "file_size" => upload.size = count(value)?,
            "uploaded_size" => upload.uploaded_size = count(value)?,
            "_components" => components = strings(value)?,
            "type" => upload.kind = string(value)?,
            "upload" => {
                fields(value, |name, value| {
                    match name {
                        "path" => stored_path = string(value)?,
                        "size" => size = count(value)?,
                        "stored_size" => uploaded_size = count(value)?,
                        "components" => nested_components = strings(value)?,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    if upload.path.is_empty() {
        let joined = client_components.join("/");
        upload.path = [stored_path, joined, vfs_path].into_iter().find(|path| !path.is_empty()).unwrap_or_default();
    }
    if upload.size == 0 {
        upload.size = size;
    }
    if upload.uploaded_size == 0 {
        upload.uploaded_size = uploaded_size;
    }
    upload.components = [components, nested_components].into_iter().find(|components| !components.is_empty());
    Ok(upload)
}

/// The objects of a list.
fn list<T>(value: &RawValue, read: impl Fn(&RawValue) -> Result<T>) -> Result<Vec<T>> {
    let mut list = Vec::new();
    elements(value, |element| {
        if Kind::of(element.get()) == Kind::Object {
            list.push(read(element)?);
        }
        Ok(())
    })?;
    Ok(list)
}

#[cfg(test)]
mod tests;
