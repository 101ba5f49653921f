//! Each kind of finding: one mail that has it, and one that has not.

use proptest::prelude::*;

use super::*;

mod stock;

/// A page that nothing is wrong with.
fn page(body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><title>x</title></head>\n<body>{body}<p>one two three four five six seven \
         eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty</p></body></html>\n"
    )
}

const HEAD: &[u8] =
    b"Date: x\r\nFrom: <a@example.org>\r\nMessage-ID: <b@example.org>\r\nAuto-Submitted: auto-generated\r\n\
      List-Id: <c.example.org>\r\n";

fn mail<'a>(html: &'a str, text: &'a str) -> Rendered<'a> {
    Rendered {
        subject: "ws-17 finished",
        html: Some(html),
        text,
        head: Some(HEAD),
        size: 1_000,
        ours: vec!["https://console.example.org/"],
        ..Rendered::default()
    }
}

fn ids(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(|finding| finding.id).collect()
}

/// Findings of a page with this in its body; the text says the same.
fn body(html: &str) -> Vec<Finding> {
    let page = page(html);
    let text =
        "one two lsass.exe 17 https://example.org/ https://console.example.org/ example.net more than enough of it";
    lint(&mail(&page, text))
}

#[test]
fn a_sound_mail_has_no_findings() {
    let found = body("<p>17</p><a href=\"https://console.example.org/x\">Open the flow</a>");
    assert_eq!(found, []);
    assert_eq!(lint(&Rendered { html: None, ..mail("", "text") }), []);
}

#[test]
fn what_a_body_can_have() {
    for (id, bad, good) in [
        ("image-no-alt", "<img src=cid:p width=1 height=1>", "<img src=cid:p width=1 height=1 alt=\"a chart\">"),
        (
            "image-empty-alt",
            "<img src=cid:p width=1 height=1 alt>",
            "<img src=cid:p width=1 height=1 alt=\"\" role=presentation>",
        ),
        ("image-no-size", "<img src=cid:p alt=x>", "<img src=cid:p width=1 height=1 alt=x>"),
        ("image-cid-missing", "<img src=cid:q alt=x width=1 height=1>", "<img src=cid:p alt=x width=1 height=1>"),
        ("image-remote", "<img src=https://example.net/x alt=x width=1 height=1>", "<p>x"),
        ("image-remote", "<p style=\"background:url('//example.net/x')\">x", "<p style=\"background:url(cid:p)\">x"),
        ("image-remote", "<td background=http://example.net/x>x", "<td background=\"\">x"),
        ("contrast", "<p style='color:#999'>x", "<p style='color:#666'>x"),
        ("contrast", "<p style='color:#999;font-size:17px'>x", "<p style='color:#888;font-size:24px'>x"),
        (
            "link-other-host",
            "<a href=https://a.example/>https://b.example/x</a>",
            "<a href=https://b.example/y>https://b.example/x</a>",
        ),
        (
            "link-other-name",
            "<a href=https://a.example/>bank.com</a>",
            "<a href=https://console.example.org/h>ws-17.example.org</a>",
        ),
        (
            "link-empty",
            "<a href=https://example.org/> &nbsp;</a>",
            "<a href=https://example.org/><img src=cid:p alt=x width=1 height=1></a>",
        ),
        ("link-script", "<a href='java&#10;script:x'>x</a>", "<a href=mailto:ana@example.org>x</a>"),
        ("link-relative", "<a href=/x>x</a>", "<a href=#x>x</a>"),
        ("link-http", "<a href=http://example.org/>x</a>", "<a href=https://example.org/>x</a>"),
        ("link-ip", "<a href=https://192.0.2.1/>x</a>", "<a href=https://example.org/192.0.2.1>x</a>"),
        ("link-ip", "<a href=https://[2001:db8::1]:8/>x</a>", "<a href=https://example.org/>x</a>"),
        ("link-disguised", "<a href=https://example.org@example.net/>x</a>", "<a href=https://example.net/@x>x</a>"),
        ("link-disguised", "<a href=https://ex\u{430}mple.org/>x</a>", "<a href=https://example.org/\u{430}>x</a>"),
        ("link-punycode", "<a href=https://xn--exmple-cua.org/>x</a>", "<a href=https://example.org/xn--x>x</a>"),
        ("table-no-role", "<table><tr><td>one</table>", "<table role=presentation><tr><td>one</table>"),
        ("th-no-scope", "<table><tr><th>one</table>", "<table><tr><th scope=row>one</table>"),
        ("heading-skipped", "<h1>x</h1><h3>x</h3>", "<h1>x</h1><h2>x</h2><h3>x</h3><h2>x</h2>"),
        ("heading-empty", "<h1> </h1>", "<h1>x</h1>"),
        ("style-in-body", "<style>p{margin:0}</style>", "<p style='margin:0'>x"),
        ("tag-not-closed", "<p><b>x</p>", "<p><b>x</b>"),
        ("tag-stray", "x</b>", "<b>x</b>"),
        ("css-display-flex", "<p style='display:flex'>x", "<p style='display:block'>x"),
        ("css-variables", "<p style='color:var(--x)'>x", "<p style='color:#000'>x"),
        ("html-video", "<video></video>", "<p>video"),
        ("html-svg", "<svg></svg>", "<p>svg"),
        ("css-unit-calc", "<p style='width:calc(1px + 2px)'>x", "<p style='width:3px'>x"),
        ("text-lacks-facts", "<table role=grid><tr><td>cmd.exe</table>", "<table role=grid><tr><td>lsass.exe</table>"),
        ("text-lacks-facts", "<p>18", "<p>17"),
    ] {
        let files = |html: &str| {
            let page = page(html);
            let mut mail = mail(&page, "one 17 lsass.exe https://example.org/ and as much as there is in the page");
            mail.files = vec![File { name: "p.png", content_type: "image/png", size: 9, cid: Some("p") }];
            ids(&lint(&mail))
        };
        let (bad, good) = (files(bad), files(good));
        assert!(bad.contains(&id), "{id}: {bad:?}");
        assert!(!good.contains(&id), "{id}: {good:?}");
    }
}

#[test]
fn what_a_page_can_have() {
    let good = page("");
    for (id, bad) in [
        ("html-no-doctype", good.replace("<!doctype html>", "")),
        ("html-no-lang", good.replace(" lang=\"en\"", "")),
        ("html-no-title", good.replace("<title>x</title>", "<title></title>")),
        ("style-large", good.replace("</title>", &format!("</title><style>{}</style>", "p{margin:0}".repeat(800)))),
        ("nesting-deep", page(&format!("{}x{}", "<table role=none><tr><td>".repeat(11), "</table>".repeat(11)))),
        ("nesting-too-deep", page(&"<div>".repeat(600))),
        ("link-many", page(&(0..101).map(|n| format!("<a href=https://example.org/{n}>x</a> ")).collect::<String>())),
        ("html-nearly-clipped", page(&"<!-- a hundred letters, more or less ".repeat(2700))),
        ("html-clipped", page(&"<!-- a hundred letters, more or less ".repeat(3000))),
        ("html-too-long", page(&"<b></b>".repeat(210_000))),
        ("image-only", "<!doctype html><html lang=en><title>x</title><img src=cid:x alt=x> Hello".to_owned()),
        ("text-much-shorter", page(&"letters ".repeat(200))),
        ("text-lacks-links", page("<a href=https://example.org/>x</a>")),
        (
            "contrast-dark",
            page("<p class=a style='color:#000;background:#fff'>x").replace(
                "</title>",
                "</title><style>@media (prefers-color-scheme: dark){.a{background:#222!important}}</style>",
            ),
        ),
    ] {
        let found = ids(&lint(&mail(&bad, "one two three")));
        assert!(found.contains(&id), "{id}: {found:?}");
    }
    assert_eq!(ids(&lint(&mail(&good, "one two three"))), Vec::<&str>::new());
}

#[test]
fn what_a_mail_can_have() {
    let good = page("");
    let base = || mail(&good, "one two three");
    for (id, bad) in [
        ("subject-empty", Rendered { subject: " ", ..base() }),
        ("subject-long", Rendered { subject: &"long ".repeat(17), ..base() }),
        ("subject-shouting", Rendered { subject: "WS-17 FAILED", ..base() }),
        ("subject-exclamation", Rendered { subject: "Look here!!", ..base() }),
        ("text-empty", Rendered { text: " \n", ..base() }),
        ("header-missing", Rendered { head: Some(b"Date: x\r\nFrom: x\r\n"), ..base() }),
        ("header-automatic", Rendered { head: Some(b"Date: x\r\nFrom: x\r\nMessage-ID:\r\n x\r\n"), ..base() }),
        ("mail-over-10-mb", Rendered { size: 10_240_001, ..base() }),
        ("mail-over-20-mb", Rendered { size: 20_000_001, ..base() }),
        ("mail-over-25-mb", Rendered { size: 25_000_001, ..base() }),
    ] {
        let found = ids(&lint(&bad));
        assert!(found.contains(&id), "{id}: {found:?}");
    }
    for subject in ["WS-17.example.org FAILED to collect A.B (+ 1 more)", "Done!", "OK"] {
        assert_eq!(lint(&Rendered { subject, ..base() }), [], "{subject}");
    }
    assert_eq!(lint(&Rendered { size: 10_000_000, head: None, ..base() }), []);
}

#[test]
fn every_rule_is_proved_above_and_documented() {
    let (source, guide) = (include_str!("tests.rs"), include_str!("../../../docs/lint.md"));
    for rule in RULES {
        assert!(source.contains(&format!("\"{}\"", rule.id)), "{}", rule.id);
        assert!(guide.contains(&format!("| `{}` | {} |", rule.id, rule.severity)), "{}", rule.id);
    }
    assert!(guide.contains(support::date()), "{}", support::date());
}

#[test]
fn both_schemes_are_told_where_they_differ() {
    let style =
        "<style>@media (prefers-color-scheme: dark){.a{color:#666!important;background:#222!important}}</style>";
    for (inline, told) in [
        ("color:#aaa;background:#fff", vec!["contrast", "contrast-dark"]),
        ("color:#333;background:#fff", vec!["contrast-dark"]),
        ("color:#666;background:#222", vec!["contrast"]),
    ] {
        let html = page(&format!("<p class=a style='{inline}'>x")).replace("</title>", &format!("</title>{style}"));
        let found = ids(&lint(&mail(&html, "x")));
        let found: Vec<&str> = found.into_iter().filter(|id| id.starts_with("contrast")).collect();
        assert_eq!(found, told, "{inline}");
    }
}

#[test]
fn places_programs_and_counts_are_told() {
    let found = body("\n<p>é <b style='display:flex'>x</b>\n<b style='display : flex; display:grid'>y</b>");
    let flex = found.iter().find(|finding| finding.id == "css-display-flex").unwrap();
    assert_eq!((flex.count, flex.severity, flex.part), (2, Severity::Warning, Part::Html));
    assert_eq!(flex.places, [Place { line: 4, column: 16 }, Place { line: 5, column: 11 }]);
    assert_eq!(flex.programs, ["outlook-windows"]);
    assert!(flex.why.contains("caniemail.com") && flex.why.contains(support::date()), "{}", flex.why);
    let order: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn work_is_bounded() {
    for html in [
        "<a href=x>".repeat(30_000),
        "<h1><table><tr><td>".repeat(10_000),
        format!("<style>{}</style>{}", ".a .b>.c{color:red}".repeat(5_000), "<p class='a b c'>x".repeat(10_000)),
        "<p style=\"".to_owned() + &"color:red;".repeat(30_000) + "\">x",
        "<td>word1 word2…".repeat(20_000),
        "</b>".repeat(100_000),
        "<style>".to_owned() + &"{".repeat(200_000),
        "&amp".repeat(100_000),
    ] {
        let started = std::time::Instant::now();
        let text = "wo…".repeat(20_000);
        let found = lint(&mail(&html, &text));
        assert!(found.len() < 200);
        // Without optimisation, on a busy machine; with it these take tenths of a second.
        assert!(started.elapsed().as_secs() < 60, "{}", html.get(..20).unwrap_or_default());
    }
}

/// Pieces that a page is made of, and that break one.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<table><tr><td bgcolor=#000>"),
        Just("</table>"),
        Just("<p style=\"color:#999;background:#fff url(x\">"),
        Just("<a href=\"http://\u{430}b.example/\">bank.com"),
        Just("</a>"),
        Just("<style>.a>b,c:not(d){color:red!important"),
        Just("@media (prefers-color-scheme:dark){"),
        Just("}</style>"),
        Just("<img src=data:,x srcset>"),
        Just("<!--[if mso]>"),
        Just("-->"),
        Just("<h3>"),
        Just("\u{0}\u{202e}\u{feff}"),
        Just("word 17 …"),
        Just("<b class='a b' id=x"),
        Just(">"),
    ];
    (proptest::collection::vec(piece, 0..40), any::<String>()).prop_map(|(pieces, tail)| pieces.concat() + &tail)
}

proptest! {
    #[test]
    fn nothing_breaks_it(html in soup(), text in any::<String>(), subject in any::<String>(), head in any::<Vec<u8>>()) {
        let mail = Rendered { subject: &subject, head: Some(&head), ..mail(&html, &text) };
        for finding in lint(&mail) {
            prop_assert!(!finding.what.chars().any(crate::text::is_invisible), "{:?}", finding.what);
            prop_assert!(finding.places.iter().all(|place| place.line >= 1 && place.column >= 1));
            prop_assert!(finding.what.chars().count() <= 300 && finding.count >= 1);
        }
    }
}
