//! Guests written in WebAssembly's text format: what breaks the sandbox's promises if anything does, without any
//! toolchain. A guest is the body of a core module; the types of the WIT package make a component of it.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The folder of the WIT package.
fn wit() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/v0.1")
}

/// A component of a world of the WIT package from the text of a whole core module.
fn component(world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit()).expect("the WIT package is sound");
    encode(&resolve, package, world, module)
}

/// A component of a world of any package, given as WIT text; packages that it names are given in the same text.
#[must_use]
pub fn component_of(wit: &str, world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).expect("sound WIT");
    encode(&resolve, package, world, module)
}

fn encode(resolve: &Resolve, package: wit_parser::PackageId, world: &str, module: &str) -> Vec<u8> {
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    let mut bytes = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    embed_component_metadata(&mut bytes, resolve, world, StringEncoding::UTF8).expect("metadata");
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.validate(true).module(&bytes).expect("a module that fits the world");
    encoder.encode().unwrap_or_else(|error| panic!("{error:#}\n{module}"))
}

/// A filter. `decide` is the body of a function `(param $event i32) (result i32)`; `more` is anything else that a module
/// may hold. `$say` answers a verdict or failure: `(call $say (i32.const OUTER) (i32.const INNER) (i32.const POINTER)
/// (i32.const LENGTH))`, where OUTER is 0 for a verdict (INNER 0 abstain, 2 drop, 3 force) and 1 for a failure (INNER 0
/// retry, 1 reject). `$note` answers `keep` with one note. Texts can lie at 1024 and above.
#[must_use]
pub fn filter(decide: &str, more: &str) -> Vec<u8> {
    component("filter-plugin", &module(decide, more, false))
}

/// The same, for a plugin that asks for kept instances.
#[must_use]
pub fn warm_filter(decide: &str, more: &str) -> Vec<u8> {
    component("filter-plugin", &module(decide, more, true))
}

/// The text of the core module of [`filter`].
fn module(decide: &str, more: &str, warm: bool) -> String {
    format!(
        r#"(module
  {more}
  {COMMON}
  (func (export "bewit:plugin/about@0.1.0#describe") (result i32)
    {describe})
  (func (export "bewit:plugin/about@0.1.0#check-settings") (result i32)
    (i32.store8 (i32.const 64) (i32.const 0)) (i32.const 64))
  (func (export "bewit:plugin/filter@0.1.0#decide") (param $event i32) (result i32)
    {decide})
)"#,
        describe = describe(warm),
    )
}

/// Name `test`, version `1`, no summary, no settings, no files.
fn describe(warm: bool) -> String {
    format!(
        "(i32.store (i32.const 128) (i32.const 16)) (i32.store (i32.const 132) (i32.const 4))
    (i32.store (i32.const 136) (i32.const 20)) (i32.store (i32.const 140) (i32.const 1))
    (i32.store (i32.const 144) (i32.const 0)) (i32.store (i32.const 148) (i32.const 0))
    (i32.store (i32.const 152) (i32.const 0)) (i32.store (i32.const 156) (i32.const 0))
    (i32.store (i32.const 160) (i32.const 0)) (i32.store (i32.const 164) (i32.const 0))
    (i32.store8 (i32.const 168) (i32.const {})) (i32.const 128)",
        i32::from(warm)
    )
}

/// Two pages of memory: answers lie below 1024, texts from there, what the host writes from 65536 (and begins there anew
/// for each call).
const COMMON: &str = r#"(memory (export "memory") 2)
  (data (i32.const 16) "test1")
  (global $free (mut i32) (i32.const 65536))
  (func $realloc (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $want i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
               (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $want)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $want) (i32.const 65536))))))
    (local.get $at))
  (func $say (param $outer i32) (param $inner i32) (param $text i32) (param $length i32) (result i32)
    (global.set $free (i32.const 65536))
    (i32.store8 (i32.const 256) (local.get $outer))
    (i32.store8 (i32.const 260) (local.get $inner))
    (i32.store (i32.const 264) (local.get $text))
    (i32.store (i32.const 268) (local.get $length))
    ;; A failure's text stands where a verdict's payload does: both begin at 264.
    (i32.const 256))
  (func $note (param $text i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 512) (i32.const 0))
    (i32.store (i32.const 516) (local.get $text))
    (i32.store (i32.const 520) (local.get $length))
    (call $say (i32.const 0) (i32.const 1) (i32.const 512) (i32.const 1)))"#;

/// `abstain`.
pub const ABSTAIN: &str = "(call $say (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
