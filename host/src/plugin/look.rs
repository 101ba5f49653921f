//! A component seen from outside, whatever it imports: for who wants to know what it is before granting anything.

use std::path::Path;
use std::sync::Arc;

use super::error::{ErrorKind, PluginError};
use super::file;
use super::host::{Bytes, Host, HostOptions};
use super::inspect::{self, Shape};
use super::registry::{read, start};
use super::spec::PluginSpec;
use super::v0_1::Description;

/// What can be seen of a component without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Its size.
    pub bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// What it imports, exports and can be used for.
    pub shape: Shape,
}

/// Looks at a component. It is compiled, as only a sound one has a shape; nothing of it runs. Blocking.
///
/// # Errors
/// When it cannot be read, or is no sound component.
pub fn look(path: &Path, options: HostOptions) -> Result<Looked, ErrorKind> {
    let bytes = Bytes::new(read(path, file::component(path), file::LARGEST_COMPONENT)?);
    let host = Host::new(options).map_err(ErrorKind::NotCompiled)?;
    let component = host.component(&bytes, &path.display().to_string())?;
    Ok(Looked { bytes: bytes.bytes.len() as u64, shape: inspect::names(&component), sha256: bytes.sha256 })
}

/// What a component says of itself, its settings unchecked. Blocking.
///
/// # Errors
/// When it is no plugin, or gives no answer.
pub fn describe(spec: &PluginSpec, options: HostOptions) -> Result<Description, PluginError> {
    let host = Host::new(options).map_err(|reason| PluginError {
        plugin: spec.name.clone(),
        phase: super::error::Phase::Instantiate,
        kind: ErrorKind::NotCompiled(reason),
    })?;
    start(spec, &Arc::new(host)).map(|plugin| plugin.description().clone())
}
