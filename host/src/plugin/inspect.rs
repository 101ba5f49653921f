//! What a component is, seen from outside: imports, exports, and which line of the WIT package they belong to. Nothing
//! of it runs.

use wasmtime::component::Component;

use super::error::ErrorKind;
use super::v0_1;

/// The WIT package.
const PACKAGE: &str = "bewit:plugin/";
/// The line that this version of Bewit speaks.
pub const LINE: &str = "0.1";

/// What a component imports and exports, and what it can be used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Names of imported interfaces, in order.
    pub imports: Vec<String>,
    /// Names of exported interfaces, in order.
    pub exports: Vec<String>,
    /// It exports `filter`.
    pub filter: bool,
    /// It exports `renderer`.
    pub renderer: bool,
}

impl Shape {
    /// The worlds of the WIT package that it fits.
    #[must_use]
    pub fn worlds(&self) -> Vec<&'static str> {
        let worlds = [("filter-plugin", self.filter), ("renderer-plugin", self.renderer)];
        worlds.into_iter().filter(|(_, fits)| *fits).map(|(world, _)| world).collect()
    }
}

/// Whether bytes are a component's, told by its first ones (Component Model, binary format, preamble).
///
/// # Errors
/// [`ErrorKind::NotAComponent`], which says what they seem to be.
pub(super) fn check_is_component(bytes: &[u8]) -> Result<(), ErrorKind> {
    let what = match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => "it is a core WebAssembly module, not yet a component",
        [0, b'a', b's', b'm', ..] => "it is WebAssembly of an unknown version",
        [] => "the file is empty",
        [b'(', ..] => "it is WebAssembly's text format, which is not taken",
        _ => "it is no WebAssembly",
    };
    Err(ErrorKind::NotAComponent(what.to_owned()))
}

/// Looks at a component's names, and refuses what it may not import or what cannot be used.
///
/// An interface without functions links to anything, so that linking is no proof: the names are.
///
/// # Errors
/// [`ErrorKind::NotGranted`], [`ErrorKind::WrongWorld`], [`ErrorKind::Incompatible`].
pub(super) fn shape(component: &Component) -> Result<Shape, ErrorKind> {
    let shape = names(component);
    let refused: Vec<String> = shape.imports.iter().filter(|import| !is_granted(import)).cloned().collect();
    if !refused.is_empty() {
        return Err(match refused.iter().find(|import| interface(import).is_some_and(|(_, ours)| !ours)) {
            Some(import) => ErrorKind::Incompatible(other_line("imports", import)),
            None => ErrorKind::NotGranted(refused),
        });
    }
    if !shape.filter && !shape.renderer {
        let other = shape.exports.iter().find(|export| interface(export).is_some_and(|(_, ours)| !ours));
        return Err(match other {
            Some(export) => ErrorKind::Incompatible(other_line("exports", export)),
            None if shape.exports.is_empty() => ErrorKind::WrongWorld("it exports nothing".to_owned()),
            None => ErrorKind::WrongWorld(format!(
                "it exports {}, but neither {PACKAGE}filter@{LINE} nor {PACKAGE}renderer@{LINE}",
                shape.exports.join(", ")
            )),
        });
    }
    if !shape.exports.iter().any(|export| interface(export) == Some(("about", true))) {
        return Err(ErrorKind::WrongWorld(format!("it does not export {PACKAGE}about@{LINE}")));
    }
    Ok(shape)
}

/// Whether plugins are given an interface.
#[must_use]
pub fn is_granted(import: &str) -> bool {
    v0_1::IMPORTS.iter().any(|name| interface(import) == Some((*name, true)))
}

/// Whether an import is the interface through which rows are read.
pub(super) fn is_results(import: &str) -> bool {
    interface(import) == Some(("results", true))
}

/// What a component's names say, granted or not.
pub(super) fn names(component: &Component) -> Shape {
    let (kind, engine) = (component.component_type(), component.engine());
    let imports: Vec<String> = kind.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let exports: Vec<String> = kind.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let has = |name: &str| exports.iter().any(|export| interface(export) == Some((name, true)));
    Shape { filter: has("filter"), renderer: has("renderer"), imports, exports }
}

/// The name of an interface of ours, and whether it is of the line that is spoken here.
fn interface(name: &str) -> Option<(&str, bool)> {
    let (name, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
    let patch = version.strip_prefix(LINE).and_then(|rest| rest.strip_prefix('.'));
    Some((name, patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))))
}

fn other_line(verb: &str, name: &str) -> String {
    format!("it {verb} {name}; this version of Bewit speaks {LINE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_told_by_name_and_line() {
        assert_eq!(interface("bewit:plugin/filter@0.1.0"), Some(("filter", true)));
        assert_eq!(interface("bewit:plugin/filter@0.1.17"), Some(("filter", true)));
        for other in ["0.2.0", "0.10.0", "0.1", "0.1.", "0.1.0-rc.1", "1.0.0"] {
            assert_eq!(interface(&format!("bewit:plugin/filter@{other}")), Some(("filter", false)), "{other}");
        }
        assert_eq!(interface("wasi:cli/stdout@0.2.0"), None);
        assert_eq!(interface("bewit:plugin/filter"), None);
    }

    #[test]
    fn what_is_no_component_is_named() {
        assert!(check_is_component(b"\0asm\x0d\0\x01\0rest").is_ok());
        for (bytes, word) in [
            (&b"\0asm\x01\0\0\0"[..], "core"),
            (b"", "empty"),
            (b"(component)", "text format"),
            (b"\x7fELF", "no WebAssembly"),
            (b"\0asm\xff\0\0\0", "unknown version"),
        ] {
            assert!(check_is_component(bytes).unwrap_err().to_string().contains(word), "{word}");
        }
    }
}
