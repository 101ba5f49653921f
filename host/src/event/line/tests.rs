use proptest::prelude::*;

use super::*;

fn limits(line: u64, depth: u32, nodes: u64) -> LineLimits {
    LineLimits { line, depth, nodes }
}

const WIDE: LineLimits = LineLimits { line: u64::MAX, depth: u32::MAX, nodes: u64::MAX };

fn admitted(line: &[u8]) -> String {
    admit(line, &WIDE).unwrap().into_owned()
}

#[test]
fn length_is_counted_without_the_line_end() {
    assert!(admit(b"[1]", &limits(3, 64, 10)).is_ok());
    assert_eq!(admit(b"[12]", &limits(3, 64, 10)), Err(LineError::TooLong { limit: 3 }));
}

#[test]
fn the_root_is_depth_one() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(admit(nested(64).as_bytes(), &LineLimits::default()).is_ok());
    assert_eq!(admit(nested(65).as_bytes(), &LineLimits::default()), Err(LineError::TooDeep { limit: 64, at: 64 }));
    // A hundred thousand levels cost no stack.
    assert_eq!(
        admit(nested(100_000).as_bytes(), &LineLimits::default()),
        Err(LineError::TooDeep { limit: 64, at: 64 })
    );
}

#[test]
fn brackets_inside_strings_are_no_nesting() {
    assert!(admit(br#"{"a[[[[":"{{{\"[[[\\"}"#, &limits(100, 1, 2)).is_ok());
}

#[test]
fn siblings_do_not_add_depth() {
    assert!(admit(b"[[],[],[],{}]", &limits(100, 2, 5)).is_ok());
    assert!(admit(b"[[],[],[],{}]", &limits(100, 1, 5)).is_err());
}

#[test]
fn keys_are_no_nodes() {
    let line = br#" { "a" : [ 1 , -2.5e+3 , true , null , "x:y" ] , "b" : { } } "#;
    assert!(admit(line, &limits(100, 9, 8)).is_ok());
    assert_eq!(admit(line, &limits(100, 9, 7)), Err(LineError::TooManyNodes { limit: 7 }));
}

#[test]
fn bad_utf8_is_refused_where_it_is() {
    assert_eq!(admit(b"{\"a\":\"\xff\"}", &WIDE), Err(LineError::NotUtf8 { at: 6 }));
    // CESU-8 surrogates and torn characters are no UTF-8 either.
    assert_eq!(admit(b"\"\xed\xa0\x80\"", &WIDE), Err(LineError::NotUtf8 { at: 1 }));
    assert_eq!(admit(b"\"\xc3", &WIDE), Err(LineError::NotUtf8 { at: 1 }));
}

#[test]
fn lone_surrogates_become_the_replacement_character() {
    assert_eq!(admitted(br#""\ud800""#), r#""\ufffd""#);
    assert_eq!(admitted(br#""\uDFFFx""#), r#""\ufffdx""#);
    assert_eq!(admitted(br#""\ud83d\ude00""#), r#""\ud83d\ude00""#, "a pair stays");
    assert_eq!(admitted(br#""\ud800\ud83d\ude00""#), r#""\ufffd\ud83d\ude00""#);
    assert_eq!(admitted(br#""\ude00\ud83d""#), r#""\ufffd\ufffd""#);
    assert_eq!(admitted(br#""\\ud800""#), r#""\\ud800""#, "an escaped backslash, then text");
    assert_eq!(admitted(br#""\\\ud800""#), r#""\\\ufffd""#);
    assert_eq!(admitted(br#""\ud800\n""#), r#""\ufffd\n""#);
    assert_eq!(admitted(br#"{"\udc00":1}"#), r#"{"\ufffd":1}"#, "keys too");
}

#[test]
fn nothing_is_copied_unless_something_changes() {
    assert!(matches!(admit(br#"{"a":"\ud83d\ude00\u0000"}"#, &WIDE), Ok(Cow::Borrowed(_))));
    assert!(matches!(admit(br#"{"a":"\ud83d"}"#, &WIDE), Ok(Cow::Owned(_))));
}

#[test]
fn broken_json_is_left_to_the_parser() {
    for line in [&b""[..], b"\"", b"\"\\", b"\"\\u", b"\"\\ud80", b"\"\\ud800\\u", b"}}}]]", b":::[", b"\"a\\"] {
        assert!(admit(line, &WIDE).is_ok());
    }
}

/// What the scanner must agree with: a recursive count over a built value.
fn model(value: &serde_json::Value) -> (u32, u64) {
    use serde_json::Value::{Array, Object};
    let children: Vec<_> = match value {
        Array(items) => items.iter().map(model).collect(),
        Object(fields) => fields.values().map(model).collect(),
        _ => return (0, 1),
    };
    let depth = children.iter().map(|child| child.0).max().unwrap_or(0) + 1;
    (depth, children.iter().map(|child| child.1).sum::<u64>() + 1)
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::collection::vec(
            prop::sample::select(vec!['"', '\\', '{', '}', '[', ']', ':', ',', 'u', 'd', '8', '0']),
            0..12
        )
        .prop_map(|characters| characters.into_iter().collect()),
    ]
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any_text().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any_text(), inner), 0..6)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn valid_json_is_admitted_exactly_within_the_limits(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let (depth, nodes) = model(&value);
        let exact = limits(text.len() as u64, depth, nodes);
        prop_assert_eq!(admit(text.as_bytes(), &exact).unwrap(), text.as_str());
        prop_assert!(admit(text.as_bytes(), &limits(u64::MAX, u32::MAX, nodes - 1)).is_err());
        if depth > 0 {
            prop_assert!(admit(text.as_bytes(), &limits(u64::MAX, depth - 1, u64::MAX)).is_err());
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), depth in 0..5_u32, nodes in 0..9_u64) {
        let _ = admit(&bytes, &limits(150, depth, nodes));
    }

    #[test]
    fn json_like_bytes_are_survived_and_patched_text_parses(
        bytes in prop::collection::vec(prop::sample::select(&b"\"\"\"\\\\\\uuddc890af[]{}:, x"[..]), 0..60),
    ) {
        let text = admitted(&bytes);
        prop_assert_eq!(text.len(), bytes.len());
        // What parses as raw JSON (escapes unchecked) parses as text once lone surrogates are gone.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn escapes_inside_a_string_always_end_as_text(
        parts in prop::collection::vec(
            prop::sample::select(vec!["\\ud800", "\\udc00", "\\uDBFF", "\\uDFFF", "\\\\", "\\\"", "\\u0041", "d", "u", "€"]),
            0..12,
        ),
    ) {
        let text = format!("\"{}\"", parts.concat());
        let admitted = admit(text.as_bytes(), &WIDE).unwrap();
        prop_assert!(serde_json::from_str::<String>(&admitted).is_ok(), "{}", admitted);
        // The standard library's lossy decoding of the same UTF-16 is the model.
        let units: Vec<u16> = parts.iter().flat_map(|part| match *part {
            "\\\\" => vec![u16::from(b'\\')],
            "\\\"" => vec![u16::from(b'"')],
            part => match part.strip_prefix("\\u") {
                Some(digits) => vec![u16::from_str_radix(digits, 16).unwrap()],
                None => part.encode_utf16().collect(),
            },
        }).collect();
        prop_assert_eq!(serde_json::from_str::<String>(&admitted).unwrap(), String::from_utf16_lossy(&units));
    }
}
