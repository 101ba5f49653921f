//! A parameter set of `Server.Monitor.FlowCompletion`, as Velociraptor stores it, becomes a rule of the configuration
//! file. Pure: text in, text out.
//!
//! [`read`] finds the parameter sets in whatever JSON they come in, [`convert`](convert::convert) says what each
//! parameter means here and where that differs, [`ImportedRule::to_toml`] writes it down.

mod convert;
mod csv;
mod toml;
mod values;

use indexmap::IndexMap;
use serde_json::Value;

pub use self::convert::convert;
pub use self::toml::{Item, Line};
use crate::text::Shown;

/// The artifact whose parameters these are; a custom copy of it may have a prefix.
const ARTIFACT: &str = "Server.Monitor.FlowCompletion";

/// One parameter set: names as the artifact spells them, values as texts or already typed.
#[derive(Debug, Clone, Default)]
pub struct Parameters(pub IndexMap<String, Value>);

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct ParameterSets {
    /// Each becomes a rule.
    pub sets: Vec<Parameters>,
    /// Names of other artifacts that were passed over.
    pub passed_over: Vec<String>,
}

/// A rule, ready to be written.
#[derive(Debug, Clone, Default)]
pub struct ImportedRule {
    /// What is said before the first key.
    pub notes: Vec<String>,
    /// Keys in the artifact's order.
    pub lines: Vec<Line>,
    /// What of the input was lost or could not be understood; also among the notes.
    pub warnings: Vec<String>,
}

/// Why a file cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON of another shape.
    #[error(
        "neither an object of parameters, nor {{\"artifact\": …, \"parameters\": {{\"env\": [{{\"key\": …, \"value\": …}}]}}}}, \
         nor a list of those"
    )]
    NoParameters,
    /// Only other artifacts.
    #[error("no parameters of {ARTIFACT}; found {0}")]
    OtherArtifacts(String),
}

/// Finds the parameter sets in a JSON text: an object of parameters, Velociraptor's `{"artifact", "parameters"}`, an
/// array of either, or an object with `specs` somewhere near the top, as the server's monitoring table has it.
///
/// # Errors
/// When there is none.
pub fn read(text: &str) -> Result<ParameterSets, ImportError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = serde_json::from_str(text).map_err(|error| ImportError::NotJson(error.to_string()))?;
    let mut found = ParameterSets::default();
    collect(value, &mut found)?;
    some(found)
}

/// Finds the parameter sets in the state of a server's event monitoring, as `get_server_monitoring()` answers it:
/// `artifacts` are the names, `specs` have parameters for those that do not run with their defaults alone.
///
/// # Errors
/// When the artifact does not run: which others do, or ([`ImportError::NoParameters`]) that none does.
pub fn running(mut state: Value) -> Result<ParameterSets, ImportError> {
    let mut specs = match state.get_mut("specs").map(Value::take) {
        Some(Value::Array(specs)) => specs,
        _ => Vec::new(),
    };
    for name in state.get("artifacts").and_then(Value::as_array).into_iter().flatten() {
        let known = specs.iter().any(|spec| spec.get("artifact") == Some(name));
        if name.is_string() && !known {
            specs.push(serde_json::json!({ "artifact": name }));
        }
    }
    let mut found = ParameterSets::default();
    for spec in specs.into_iter().filter(|spec| spec.get("artifact").is_some_and(Value::is_string)) {
        collect(spec, &mut found)?;
    }
    some(found)
}

/// What was found, if it is something.
fn some(found: ParameterSets) -> Result<ParameterSets, ImportError> {
    if !found.sets.is_empty() {
        return Ok(found);
    }
    if found.passed_over.is_empty() {
        return Err(ImportError::NoParameters);
    }
    let names: Vec<String> = found.passed_over.iter().map(|name| Shown(name).to_string()).collect();
    Err(ImportError::OtherArtifacts(names.join(", ")))
}

fn collect(value: Value, found: &mut ParameterSets) -> Result<(), ImportError> {
    let mut object = match value {
        Value::Array(items) => return items.into_iter().try_for_each(|item| collect(item, found)),
        Value::Object(object) => object,
        _ => return Err(ImportError::NoParameters),
    };
    if let Some(specs @ Value::Array(_)) = object.get_mut("specs") {
        return collect(specs.take(), found);
    }
    let artifact = object.get("artifact").and_then(Value::as_str).map(str::to_owned);
    if let Some(name) = artifact.filter(|name| !is_the_artifact(name)) {
        found.passed_over.push(name);
        return Ok(());
    }
    if object.contains_key("artifact") || object.contains_key("parameters") {
        let parameters = object.get_mut("parameters").map(Value::take);
        found.sets.push(environment(parameters)?);
        return Ok(());
    }
    // The monitoring table and a flow's record keep the specs one level down, as `artifacts.specs` or `request.specs`.
    for value in object.values_mut() {
        if let Some(specs @ Value::Array(_)) = value.get_mut("specs") {
            return collect(specs.take(), found);
        }
    }
    found.sets.push(Parameters(object.into_iter().collect()));
    Ok(())
}

fn is_the_artifact(name: &str) -> bool {
    name.strip_suffix(ARTIFACT).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

/// `{"env": [{"key", "value"}]}`, or the list itself; a later key replaces an earlier one.
fn environment(parameters: Option<Value>) -> Result<Parameters, ImportError> {
    let env = match parameters {
        None | Some(Value::Null) => return Ok(Parameters::default()),
        Some(Value::Object(mut object)) => match object.get_mut("env").map(Value::take) {
            Some(env) => env,
            None => return Ok(Parameters(object.into_iter().collect())),
        },
        Some(other) => other,
    };
    let pairs = match env {
        Value::Null => Vec::new(),
        Value::Array(pairs) => pairs,
        _ => return Err(ImportError::NoParameters),
    };
    let mut parameters = Parameters::default();
    for mut pair in pairs {
        let Some(key) = pair.get("key").and_then(Value::as_str).map(str::to_owned) else {
            return Err(ImportError::NoParameters);
        };
        // Velociraptor leaves out what is empty.
        let value = pair.get_mut("value").map_or_else(|| Value::String(String::new()), Value::take);
        parameters.0.insert(key, value);
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests;
