//! The sandbox's promises, seen at the library's own door. Through the binary they are tested in `tests/`.

use std::path::Path;
use std::time::{Duration, Instant};

use acceptance::guest::{self, ABSTAIN};
use jiff::Timestamp;

use super::compile::Compiler;
use super::error::{ErrorKind, PluginError};
use super::host::HostOptions;
use super::registry::Plugins;
use super::spec::{Instances, Limits, OnFailure, PluginSpec};
use super::{Ask, Asked};
use crate::event::FlowCompletion;
use crate::event::parse::parse;
use crate::facts::RowReader;
use crate::fragment::{Note, Tone, Verdict};

const TIME: Duration = Duration::from_millis(50);

fn spec(dir: &Path, name: &str, component: &[u8]) -> PluginSpec {
    let path = dir.join(format!("{name}.wasm"));
    std::fs::write(&path, component).unwrap();
    PluginSpec {
        name: name.to_owned(),
        path,
        sha256: None,
        settings: serde_json::Map::new(),
        files: std::collections::BTreeMap::new(),
        limits: Limits { memory: 4 << 20, time: TIME, output: 64 << 10 },
        on_failure: OnFailure::Keep,
        instances: Instances::Auto,
    }
}

fn options() -> HostOptions {
    HostOptions { compiler: Compiler::Here, cache: None }
}

fn load(component: &[u8]) -> Result<Plugins, PluginError> {
    let dir = tempfile::tempdir().unwrap();
    Plugins::load(&[spec(dir.path(), "test", component)], &options(), None).map_err(|mut errors| errors.remove(0))
}

fn refused(component: &[u8]) -> ErrorKind {
    load(component).unwrap_err().kind
}

fn event() -> FlowCompletion {
    parse(r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","results":{"A/B":[{"x":1},{"x":2}]}}"#)
        .unwrap()
}

fn decide(plugins: &Plugins) -> Result<Verdict, ErrorKind> {
    let (event, rows) = (event(), RowReader::default());
    let asked = Asked { rule: "r", event: &event, rows: &rows, now: Timestamp::UNIX_EPOCH };
    plugins.get("test").unwrap().decide(&asked).map_err(|error| error.kind)
}

/// What a filter with this body answers.
fn answer(body: &str, more: &str) -> Result<Verdict, ErrorKind> {
    decide(&load(&guest::filter(body, more)).unwrap())
}

#[test]
fn a_filter_answers() {
    assert_eq!(answer(ABSTAIN, ""), Ok(Verdict::Abstain));
    let text = r#"(data (i32.const 1024) "because")"#;
    let say = |outer: u32, inner: u32| {
        answer(&format!("(call $say (i32.const {outer}) (i32.const {inner}) (i32.const 1024) (i32.const 7))"), text)
    };
    assert_eq!(say(0, 2), Ok(Verdict::Drop("because".into())));
    assert_eq!(say(0, 3), Ok(Verdict::Force("because".into())));
    assert_eq!(say(1, 0), Err(ErrorKind::Refused { reason: "because".into(), again: true }));
    assert_eq!(say(1, 1), Err(ErrorKind::Refused { reason: "because".into(), again: false }));
    let note = Note { tone: Tone::Neutral, text: "because".into() };
    assert_eq!(answer("(call $note (i32.const 1024) (i32.const 7))", text), Ok(Verdict::Keep(vec![note])));
}

#[test]
fn a_loop_ends_at_its_deadline() {
    let begun = Instant::now();
    assert_eq!(answer("(loop $l (br $l)) (unreachable)", ""), Err(ErrorKind::TimedOut(TIME)));
    // Compiling and a busy machine are in it, too; the exact figure is a benchmark's.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_loop_in_the_start_function_ends_too() {
    // At load there is more time than in a call, so this one is made short by its own counter.
    let more = r#"(func $start (loop $l (br $l))) (start $start)"#;
    let kind = refused(&guest::filter(ABSTAIN, more));
    assert!(matches!(kind, ErrorKind::TimedOut(_)), "{kind}");
}

#[test]
fn memory_and_tables_end_at_their_limit() {
    let grow = "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (unreachable)";
    assert_eq!(answer(grow, ""), Err(ErrorKind::OutOfMemory(4 << 20)));
    let more = "(table $t 1 funcref)";
    let grow = "(loop $l (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $l)) (unreachable)";
    // The pool's own bound on a table may be met first: the guest hears of that, and goes on until its time is over.
    let kind = answer(grow, more).unwrap_err();
    assert!(matches!(kind, ErrorKind::OutOfMemory(_) | ErrorKind::TimedOut(_)), "{kind}");
    // What a module begins with counts, too.
    let kind = refused(&guest::filter(ABSTAIN, "(table 1000000 funcref)"));
    assert!(kind.to_string().contains("exceeds the limit of 40000"), "{kind}");
}

#[test]
fn deep_recursion_is_a_trap() {
    let more = "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))";
    let kind = answer("(call $deep (i32.const 1))", more).unwrap_err();
    assert_eq!(kind, ErrorKind::Trapped("its calls were nested too deeply".into()));
}

#[test]
fn answers_are_not_believed() {
    let more = r#"(data (i32.const 1024) "\ff\fe ok")"#;
    // Longer than the limit, inside its own memory.
    let huge =
        "(drop (memory.grow (i32.const 4))) (call $say (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 300000))";
    assert_eq!(answer(huge, ""), Err(ErrorKind::TooLong(64 << 10)));
    // Longer than its memory.
    let lie = answer("(call $say (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 0x7fffffff))", "");
    assert!(matches!(lie, Err(ErrorKind::Trapped(_) | ErrorKind::TooLong(_))), "{lie:?}");
    // No UTF-8.
    let kind = answer("(call $say (i32.const 0) (i32.const 2) (i32.const 1024) (i32.const 5))", more).unwrap_err();
    assert!(matches!(&kind, ErrorKind::Trapped(what) if what.contains("utf-8")), "{kind}");
    // No such case.
    let kind = answer("(call $say (i32.const 0) (i32.const 77) (i32.const 0) (i32.const 0))", "").unwrap_err();
    assert!(matches!(kind, ErrorKind::Trapped(_)), "{kind}");
    // A pointer outside.
    let kind = answer("(i32.const 0x7ffffff0)", "").unwrap_err();
    assert!(matches!(kind, ErrorKind::Trapped(_)), "{kind}");
    assert!(matches!(answer("(unreachable)", ""), Err(ErrorKind::Trapped(what)) if what.contains("gave up")));
}

#[test]
fn a_flood_of_log_lines_is_cut_and_harmless() {
    let more = r#"(import "bewit:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
    let flood = format!("(loop $l (call $log (i32.const 2) (i32.const 16) (i32.const 4)) (br $l)) {ABSTAIN}");
    assert_eq!(answer(&flood, more), Err(ErrorKind::TimedOut(TIME)));
    let last = "(call $log (i32.const 4) (i32.const 16) (i32.const 4)) (unreachable)";
    assert!(matches!(answer(last, more), Err(ErrorKind::Trapped(what)) if what.ends_with(": test")));
}

#[test]
fn what_is_not_granted_is_refused_by_name_before_anything_runs() {
    let wit = "package a:b; world w { import wasi:x/y@0.2.0; export bewit:plugin/filter@0.1.0; }
        package wasi:x@0.2.0 { interface y { f: func(); } }
        package bewit:plugin@0.1.0 { interface filter { decide: func(); } }";
    let module = r#"(module (import "wasi:x/y@0.2.0" "f" (func $f))
        (func (export "bewit:plugin/filter@0.1.0#decide") (call $f)))"#;
    let kind = refused(&guest::component_of(wit, "w", module));
    assert_eq!(kind, ErrorKind::NotGranted(vec!["wasi:x/y@0.2.0".into()]));
    assert!(kind.hint().unwrap().contains("wasm32-unknown-unknown"));
}

#[test]
fn worlds_that_do_not_fit_are_refused_with_what_would() {
    let of = |package: &str, export: &str| {
        let wit = format!(
            "package a:b; world w {{ export {package}/{export}; }}
             package {package}@VERSION {{ interface {name} {{ decide: func(); }} }}",
            name = export.split('@').next().unwrap(),
        )
        .replace("VERSION", export.split('@').nth(1).unwrap());
        let module = format!(r#"(module (func (export "{package}/{export}#decide")))"#);
        refused(&guest::component_of(&wit, "w", &module))
    };
    let kind = of("other:thing", "filter@0.1.0");
    assert!(matches!(&kind, ErrorKind::WrongWorld(what) if what.contains("other:thing/filter@0.1.0")), "{kind}");
    let kind = of("bewit:plugin", "filter@0.0.9");
    assert_eq!(
        kind,
        ErrorKind::Incompatible("it exports bewit:plugin/filter@0.0.9; this version of Bewit speaks 0.1".into())
    );
    let kind = of("bewit:plugin", "filter@0.2.0");
    assert!(matches!(kind, ErrorKind::Incompatible(_)), "{kind}");
    let kind = of("bewit:plugin", "filter@0.1.0");
    assert!(matches!(&kind, ErrorKind::WrongWorld(what) if what.contains("about")), "{kind}");
    assert!(matches!(refused(b"\0asm\x01\0\0\0"), ErrorKind::NotAComponent(_)));
}

#[test]
fn the_right_name_with_another_shape_is_refused() {
    let wit = "package a:b; world w { export bewit:plugin/filter@0.1.0; export bewit:plugin/about@0.1.0; }
        package bewit:plugin@0.1.0 { interface filter { decide: func(); } interface about { describe: func(); } }";
    let module = r#"(module (func (export "bewit:plugin/filter@0.1.0#decide"))
        (func (export "bewit:plugin/about@0.1.0#describe")))"#;
    let kind = refused(&guest::component_of(wit, "w", module));
    assert!(matches!(kind, ErrorKind::Incompatible(_)), "{kind}");
}

/// Counts its calls in a global: state that shows whether an instance was used before.
const COUNT: &str = r#"(global $n (mut i32) (i32.const 0)) (data (i32.const 1024) "0")"#;
const COUNTED: &str = r#"(global.set $n (i32.add (global.get $n) (i32.const 1)))
    (i32.store8 (i32.const 1024) (i32.add (i32.const 48) (global.get $n)))
    (call $say (i32.const 0) (i32.const 2) (i32.const 1024) (i32.const 1))"#;

#[test]
fn instances_are_fresh_unless_asked_for() {
    let dropped = |text: &str| Ok(Verdict::Drop(text.to_owned()));
    let fresh = load(&guest::filter(COUNTED, COUNT)).unwrap();
    assert_eq!([decide(&fresh), decide(&fresh)], [dropped("1"), dropped("1")]);
    let warm = load(&guest::warm_filter(COUNTED, COUNT)).unwrap();
    assert_eq!([decide(&warm), decide(&warm), decide(&warm)], [dropped("1"), dropped("2"), dropped("3")]);

    let dir = tempfile::tempdir().unwrap();
    let mut forced = spec(dir.path(), "test", &guest::warm_filter(COUNTED, COUNT));
    forced.instances = Instances::Fresh;
    let forced = Plugins::load(&[forced], &options(), None).unwrap();
    assert_eq!([decide(&forced), decide(&forced)], [dropped("1"), dropped("1")]);
}

#[test]
fn a_warm_instance_that_trapped_is_never_used_again() {
    // Traps at its third call.
    let body = format!("(if (i32.eq (global.get $n) (i32.const 2)) (then (unreachable))) {COUNTED}");
    let plugins = load(&guest::warm_filter(&body, COUNT)).unwrap();
    let said: Vec<String> = (0..6)
        .map(|_| match decide(&plugins) {
            Ok(Verdict::Drop(text)) => text,
            _ => "trap".to_owned(),
        })
        .collect();
    assert_eq!(said, ["1", "2", "trap", "1", "2", "trap"]);
}

#[test]
fn a_warm_instance_that_grows_is_thrown_away() {
    // 16 pages a call; after the first there are 18.
    let body = format!("(drop (memory.grow (i32.const 16))) {COUNTED}");
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), "test", &guest::warm_filter(&body, COUNT));
    spec.limits.memory = 64 << 20;
    let plugins = Plugins::load(&[spec], &options(), None).unwrap();
    let said: Vec<_> = (0..8).map(|_| decide(&plugins).unwrap()).collect();
    assert!(said[1..].contains(&Verdict::Drop("1".into())), "{said:?}");
    assert!(said.contains(&Verdict::Drop("2".into())), "{said:?}");
}

#[test]
fn a_plugin_that_keeps_failing_is_benched() {
    let plugins = load(&guest::filter("(unreachable)", "")).unwrap();
    for _ in 0..5 {
        assert!(matches!(decide(&plugins), Err(ErrorKind::Trapped(_))));
    }
    let kind = decide(&plugins).unwrap_err();
    assert!(matches!(&kind, ErrorKind::Benched { failures: 5, last, .. } if last.contains("gave up")), "{kind}");
    let census = plugins.census().remove(0);
    assert_eq!((census.failures, census.answers, census.benched), (5, 0, true));
    // A refusal is an answer.
    let plugins =
        load(&guest::filter("(call $say (i32.const 1) (i32.const 1) (i32.const 16) (i32.const 4))", "")).unwrap();
    for _ in 0..9 {
        assert!(matches!(decide(&plugins), Err(ErrorKind::Refused { .. })));
    }
    assert!(!plugins.census()[0].benched);
}

#[test]
fn the_next_snapshot_takes_over_what_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let first = spec(dir.path(), "test", &guest::warm_filter(COUNTED, COUNT));
    let one = Plugins::load(std::slice::from_ref(&first), &options(), None).unwrap();
    assert_eq!(decide(&one), Ok(Verdict::Drop("1".into())));
    let two = Plugins::load(std::slice::from_ref(&first), &options(), Some(&one)).unwrap();
    assert_eq!(decide(&two), Ok(Verdict::Drop("2".into())), "the same instances");
    std::fs::write(&first.path, guest::filter(ABSTAIN, "")).unwrap();
    let three = Plugins::load(std::slice::from_ref(&first), &options(), Some(&two)).unwrap();
    assert_eq!(decide(&three), Ok(Verdict::Abstain));
    assert_eq!(decide(&two), Ok(Verdict::Drop("3".into())), "who still has the old one can use it");
    std::fs::write(&first.path, b"half of a fi").unwrap();
    assert!(Plugins::load(&[first], &options(), Some(&three)).is_err());
}

#[test]
fn a_pinned_hash_must_be_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = guest::filter(ABSTAIN, "");
    let mut pinned = spec(dir.path(), "test", &bytes);
    let hash = Plugins::load(std::slice::from_ref(&pinned), &options(), None)
        .unwrap()
        .get("test")
        .unwrap()
        .sha256()
        .to_owned();
    pinned.sha256 = Some(hash);
    assert!(Plugins::load(std::slice::from_ref(&pinned), &options(), None).is_ok());
    for bit in (0..bytes.len() * 8).step_by(bytes.len() / 3) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&pinned.path, flipped).unwrap();
        let errors = Plugins::load(std::slice::from_ref(&pinned), &options(), None).unwrap_err();
        assert!(matches!(errors[0].kind, ErrorKind::OtherBytes { .. }), "{}", errors[0]);
    }
}

#[test]
fn machine_code_comes_from_the_cache_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = HostOptions { compiler: Compiler::Here, cache: Some(dir.path().join("cache")) };
    let spec = spec(dir.path(), "test", &guest::filter(ABSTAIN, ""));
    assert_eq!(decide(&Plugins::load(std::slice::from_ref(&spec), &options, None).unwrap()), Ok(Verdict::Abstain));
    // A compiler that cannot work shows that none is asked.
    let broken = HostOptions { compiler: Compiler::Child("/nowhere".into()), ..options };
    assert_eq!(decide(&Plugins::load(std::slice::from_ref(&spec), &broken, None).unwrap()), Ok(Verdict::Abstain));
    let code = std::fs::read_dir(dir.path().join("cache")).unwrap().flatten();
    let code = code.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "cwasm")).unwrap();
    let mut bytes = std::fs::read(&code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&code, bytes).unwrap();
    let errors = Plugins::load(&[spec], &broken, None).unwrap_err();
    assert!(matches!(errors[0].kind, ErrorKind::NotCompiled(_)), "{}", errors[0]);
}

#[test]
fn an_unknown_plugin_is_trouble() {
    let (event, rows) = (event(), RowReader::default());
    let asked = Asked { rule: "r", event: &event, rows: &rows, now: Timestamp::UNIX_EPOCH };
    let trouble = Plugins::none().decide("gone", &asked).unwrap_err();
    assert_eq!(trouble.to_string(), "plugin `gone`: there is no such plugin");
}
