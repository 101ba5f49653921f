//! What plugins say, in the mail: read back as a mail program reads it.

use mail_parser::{MessageParser, MimeHeaders as _};

use super::*;
use crate::compose::view::{Block, Table};
use crate::fragment::{self, File, Fragment, Image, ImageKind, Note, Tone};
use crate::mail::MailReader;
use crate::plugin::spec::OnFailure;
use crate::rule::PluginNote;

type Answer = fn() -> Result<Fragment, Trouble>;

/// Plugins by name and source; what is not named is an error of the test.
pub(super) struct Stub(pub(super) &'static [(&'static str, &'static str, Answer)]);

impl Ask for Stub {
    fn decide(&self, _: &str, _: &Asked<'_>) -> Result<fragment::Verdict, Trouble> {
        Ok(fragment::Verdict::Abstain)
    }

    fn render(&self, plugin: &str, asked: &Asked<'_>, source: &str) -> Result<Fragment, Trouble> {
        assert_eq!(asked.rule, "analyst");
        let known = self.0.iter().find(|(name, of, _)| *name == plugin && *of == source);
        known.unwrap_or_else(|| panic!("nobody asks {plugin} for {source}")).2()
    }
}

/// A PNG of one pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xff\xff?\0\x05\xfe\x02\xfe\xa7\x9a\x9b\xb4\0\0\0\0IEND\xaeB`\x82";

const HOSTILE: &str = "<script>alert(1)</script>\"'>\u{202e}\0\r\nBcc: evil@example.net\r\n\r\n.\r\nQUIT";

fn blocks(blocks: Vec<fragment::Block>) -> Result<Fragment, Trouble> {
    Ok(Fragment { blocks, ..Fragment::default() })
}

fn paragraph(text: &str) -> fragment::Block {
    fragment::Block::Paragraph(text.to_owned())
}

fn trouble(on_failure: OnFailure) -> Trouble {
    let reason = "it took longer\nthan 250 ms\u{202e}.".to_owned();
    Trouble { plugin: "slow".to_owned(), reason, on_failure, again: true }
}

fn image(alternative: &str, data: &[u8]) -> fragment::Block {
    let alternative = alternative.to_owned();
    fragment::Block::Image(Image { kind: ImageKind::Png, data: data.to_vec(), alternative, width: 640, height: 200 })
}

fn file(name: &str, media_type: &str, data: &[u8]) -> File {
    File { name: name.to_owned(), media_type: media_type.to_owned(), data: data.to_vec() }
}

/// A rule that has these renderers.
fn rendering(keys: &str, renderers: &[(&str, &str)]) -> Rule {
    let mut rule = rule(keys);
    rule.renderers = renderers
        .iter()
        .map(|(source, plugin)| crate::rule::RendererUse {
            source: crate::rule::pattern::Pattern::new(source).unwrap(),
            plugin: (*plugin).to_owned(),
        })
        .collect();
    rule
}

fn three_sources() -> FlowCompletion {
    results(json!({ "A": [{ "k": "row of A" }], "B": [{ "k": "row of B" }], "C": [{ "k": "row of C" }] }))
}

fn decision(notes: Vec<PluginNote>) -> Decision {
    Decision {
        decision: Verdict::Notify,
        reason: "matches the filters".to_owned(),
        trace: Vec::new(),
        recipients: vec!["ana@example.org".to_owned()],
        notes,
    }
}

impl Site {
    fn ask(&self, stub: &Stub, rule: &Rule, event: &FlowCompletion) -> Result<Draft, ComposeError> {
        self.noted(stub, rule, event, Vec::new())
    }

    fn noted(
        &self,
        stub: &Stub,
        rule: &Rule,
        event: &FlowCompletion,
        notes: Vec<PluginNote>,
    ) -> Result<Draft, ComposeError> {
        let composer = Composer { plugins: stub, ..self.composer() };
        composer.draft(rule, event, &decision(notes), &RowReader::default(), &self.blobs(), now())
    }

    fn bytes(&self, rule: &Rule, draft: &Draft) -> Vec<u8> {
        let mail = draft.mails(rule, &["ana@example.org".to_owned()], None, now()).remove(0);
        let mut bytes = Vec::new();
        std::io::copy(&mut MailReader::new(&mail.head, &mail.body, &self.blobs()), &mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, mail.size());
        bytes
    }
}

fn names(draft: &Draft) -> Vec<(&str, &str)> {
    draft.view.results.iter().map(|table: &Table| (table.source.as_str(), table.plugin.as_str())).collect()
}

#[test]
fn a_fragment_takes_the_place_of_its_sources_table() {
    let site = Site::new();
    let stub = Stub(&[
        ("first", "B", || blocks(vec![paragraph("never asked")])),
        ("last", "B", || Ok(Fragment { title: "By plugin".to_owned(), ..blocks(vec![paragraph("words on B")])? })),
        ("none", "C", || blocks(Vec::new())),
    ]);
    let renderers = [("B", "first"), ("^B$", "last"), ("C", "none")];
    let event = three_sources();
    // No table is asked for but that of A: the plugin is, all the same.
    let rule = rendering("include_result_table_from = [{ source = \"A|C\" }]", &renderers);
    let draft = site.ask(&stub, &rule, &event).unwrap();
    assert_eq!(names(&draft), [("A", ""), ("B", "last")]);
    let html = draft.html.unwrap();
    for part in [&draft.text, &html] {
        let place = |text: &str| part.find(text).unwrap_or_else(|| panic!("no {text}: {part}"));
        assert!(place("row of A") < place("By plugin") && place("By plugin") < place("words on B"), "{part}");
        assert!(!part.contains("row of B") && !part.contains("row of C") && !part.contains("never asked"));
    }
    assert!(draft.view.notes.is_empty(), "{:?}", draft.view.notes);
}

#[test]
fn a_failed_plugin_gives_its_place_to_a_table_or_puts_the_mail_off() {
    let site = Site::new();
    let keep =
        Stub(&[("slow", "A", || Err(trouble(OnFailure::Keep))), ("slow", "B", || Err(trouble(OnFailure::Keep)))]);
    let keys = "include_result_table_from = [{ source = \"A\", columns = \"nothing\" }]";
    let draft = site.ask(&keep, &rendering(keys, &[("A|B", "slow")]), &three_sources()).unwrap();
    assert_eq!(names(&draft), [("A", ""), ("B", "")]);
    // By the entry that matches, which wants no column; or, as none does, with all of them.
    assert!(draft.view.results[0].columns.is_empty());
    assert_eq!(draft.view.results[1].rows, [["row of B"]]);
    assert_eq!(
        draft.view.notes[0],
        "The plugin `slow` could not show A, so there is a table instead: it took longer⏎than 250 ms[U+202E]."
    );
    assert!(draft.text.contains("could not show B"), "{}", draft.text);

    let hold = Stub(&[("slow", "B", || Err(trouble(OnFailure::Hold)))]);
    let error = site.ask(&hold, &rendering(keys, &[("B", "slow")]), &three_sources()).unwrap_err();
    assert!(matches!(&error, ComposeError::Postponed(trouble) if trouble.plugin == "slow"), "{error}");
    assert_eq!(site.stored(), 0);
}

#[test]
fn many_failures_are_counted_and_a_stock_table_has_stock_limits() {
    const NAMES: [&str; 25] = [
        "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17",
        "18", "19", "20", "21", "22", "23", "24",
    ];
    struct Broken;
    impl Ask for Broken {
        fn decide(&self, _: &str, _: &Asked<'_>) -> Result<fragment::Verdict, Trouble> {
            Err(trouble(OnFailure::Keep))
        }
        fn render(&self, _: &str, _: &Asked<'_>, _: &str) -> Result<Fragment, Trouble> {
            Err(trouble(OnFailure::Keep))
        }
    }
    let site = Site::new();
    let rows: Vec<serde_json::Value> = (0..150).map(|at| json!({ "k": at })).collect();
    let sources: serde_json::Map<_, _> = NAMES.iter().map(|name| ((*name).to_owned(), json!(rows))).collect();
    let composer = Composer { plugins: &Broken, ..site.composer() };
    let rule = rendering("", &[(".", "slow")]);
    let event = results(sources.into());
    let draft =
        composer.draft(&rule, &event, &decision(Vec::new()), &RowReader::default(), &site.blobs(), now()).unwrap();
    assert_eq!(draft.view.results[0].showing, "(Showing 100 of 150 rows)");
    assert_eq!(draft.view.notes.len(), 21, "{:?}", draft.view.notes);
    assert_eq!(draft.view.notes[20], "Plugins could not show 5 more sources either; there are tables instead.");
}

fn every_kind() -> Result<Fragment, Trouble> {
    let text = HOSTILE.to_owned();
    let note = |tone| Note { tone, text: HOSTILE.to_owned() };
    let column = fragment::Column { name: text.clone(), right: true };
    let rows = vec![vec!["root".to_owned(), text.clone()], vec!["    child".to_owned(), String::new()]];
    Ok(Fragment {
        title: text.clone(),
        blocks: vec![
            fragment::Block::Heading(text.clone()),
            paragraph(HOSTILE),
            fragment::Block::Facts(vec![(text.clone(), text.clone())]),
            fragment::Block::Table(fragment::Table { columns: vec![column.clone(), column], rows, total: None }),
            fragment::Block::Code { caption: text.clone(), text: format!("if x:\n    y\n{HOSTILE}") },
            fragment::Block::Bars(fragment::Bars {
                caption: text.clone(),
                maximum: 2.0,
                items: vec![fragment::Bar { label: text.clone(), value: 1.0, text, tone: Tone::Danger }],
            }),
            fragment::Block::Badge(note(Tone::Good)),
            image(HOSTILE, PNG),
            fragment::Block::Note(note(Tone::Warning)),
        ],
        attachments: vec![file("../a\u{202e}\r\nX: y.html", "text/html", HOSTILE.as_bytes())],
    })
}

#[test]
fn hostile_texts_are_text_in_every_block() {
    let site = Site::new();
    let stub = Stub(&[("all", "A", every_kind)]);
    let notes = vec![PluginNote { plugin: "ioc".to_owned(), tone: Tone::Danger, text: HOSTILE.to_owned() }];
    let rule = rendering("", &[("A", "all")]);
    let draft = site.noted(&stub, &rule, &three_sources(), notes).unwrap();
    let html = draft.html.clone().unwrap();
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
    assert!(html.contains("<b>Danger (<bdi>ioc</bdi>):</b>") && draft.text.contains("\nDanger (ioc): <script>"));
    // Branches and indents stay, in both parts.
    assert!(html.contains("&nbsp;&nbsp;&nbsp;&nbsp;child") && html.contains("&nbsp;&nbsp;&nbsp;&nbsp;y<br>"));
    assert!(draft.text.contains("\n      child") && draft.text.contains("\n        y\n"), "{}", draft.text);
    for part in [&draft.text, &html, &draft.subject] {
        assert!(part.chars().all(|c| matches!(c, '\n' | '\t') || !crate::text::is_invisible(c)));
    }
    for line in draft.text.lines() {
        for start in ["<script", "Bcc", ".", "QUIT", "alert"] {
            assert!(!line.starts_with(start), "{}", draft.text);
        }
    }
    assert!(!draft.text.contains("\n\n\n"), "{}", draft.text);
    let bytes = site.bytes(&rule, &draft);
    let message = MessageParser::default().parse(&bytes).unwrap();
    assert!(message.header("Bcc").is_none());
    let file = message.attachments().last().unwrap();
    assert_eq!(file.attachment_name(), Some("a_X_y.html.txt"));
    assert_eq!(file.content_type().unwrap().c_type, "application");
    assert_eq!(draft.view.attachments[0].rows, 0);
    assert!(
        html.contains("a_X_y.html.txt") && draft.text.contains(&format!("\n  a_X_y.html.txt  {} B\n", HOSTILE.len()))
    );
}

#[test]
fn pictures_are_parts_beside_the_html_and_words_in_the_text() {
    let site = Site::new();
    let stub = Stub(&[("chart", "A", || {
        let blocks = vec![image("Disk usage", PNG), image("The \"same\"", PNG)];
        Ok(Fragment { blocks, attachments: vec![file("disks.csv", "text/csv", b"a,b\r\n")], ..Fragment::default() })
    })]);
    let rule = rendering("", &[("A", "chart")]);
    let draft = site.ask(&stub, &rule, &three_sources()).unwrap();
    let bytes = site.bytes(&rule, &draft);
    let message = MessageParser::default().parse(&bytes).unwrap();
    let kinds: Vec<String> = message
        .parts
        .iter()
        .map(|part| part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap())).unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "image/png",
            "text/csv"
        ]
    );
    assert_eq!(message.parts[3].content_type().unwrap().attribute("type"), Some("text/html"));
    let html = message.body_html(0).unwrap();
    let mut cids = Vec::new();
    for part in &message.parts[5..7] {
        let cid = part.content_id().unwrap();
        assert_eq!(html.matches(&format!("<img src=\"cid:{cid}\"")).count(), 1, "{cid}: {html}");
        assert_eq!(part.contents(), PNG);
        assert!(part.content_disposition().unwrap().is_inline());
        cids.push(cid.to_owned());
    }
    assert_ne!(cids[0], cids[1]);
    assert!(html.contains("alt=\"Disk usage\" width=\"640\" height=\"200\""), "{html}");
    // A picture that is blocked keeps its place, and must not be wider than a phone.
    assert!(html.contains("width:100%; max-width:640px;"), "{html}");
    assert!(html.contains("alt=\"The &quot;same&quot;\""), "{html}");
    assert!(draft.text.contains("[Picture: Disk usage]"), "{}", draft.text);
    // The same event gives the same mail.
    let again = site.ask(&stub, &rule, &three_sources()).unwrap();
    assert_eq!(again.html, draft.html);

    // No HTML: no picture, and no level for it.
    let rule = rendering("html = false", &[("A", "chart")]);
    let draft = site.ask(&stub, &rule, &three_sources()).unwrap();
    let text = String::from_utf8(site.bytes(&rule, &draft)).unwrap();
    assert!(!text.contains("image/png") && !text.contains("related") && text.contains("[Picture: Disk usage]"));
    // No picture: no level either.
    let draft = site.ask(&Stub(&[("chart", "A", || blocks(vec![paragraph("x")]))]), &rule, &three_sources()).unwrap();
    assert!(!String::from_utf8(site.bytes(&rule, &draft)).unwrap().contains("related"));
}

#[test]
fn a_template_that_shows_no_blocks_carries_no_pictures() {
    let mut site = Site::new();
    let own = "<html><body>{% for t in results %}<h2>{{ t.source }}</h2><table>{% for row in t.rows %}<tr>\
               {% for cell in row %}<td>{{ cell|br }}</td>{% endfor %}</tr>{% endfor %}</table>{% endfor %}</body></html>";
    std::fs::write(site.dir.path().join("flow-completion.html.j2"), own).unwrap();
    std::fs::write(
        site.dir.path().join("flow-completion.txt.j2"),
        "{{ title }}\n{% for t in results %}{{ t.source }}\n{{ t|text_table }}{% endfor %}",
    )
    .unwrap();
    site.templates = Templates::load(Some(site.dir.path()), &[]).unwrap_or_else(|errors| panic!("{errors:?}"));
    let stub = Stub(&[("chart", "B", || blocks(vec![image("Disk usage", PNG)]))]);
    let keys = "include_result_table_from = [{ source = \".\" }]";
    let draft = site.ask(&stub, &rendering(keys, &[("B", "chart")]), &three_sources()).unwrap();
    let html = draft.html.unwrap();
    assert!(html.contains("<h2>B</h2><table></table>") && html.contains("row of C"), "{html}");
    assert!(draft.pictures.is_empty());
    assert!(draft.text.contains("row of A") && draft.text.contains("\nB\nC\n"), "{}", draft.text);
}

#[test]
fn the_limit_holds_for_pictures_and_files_together() {
    let site = Site::new();
    let stub = Stub(&[
        ("big", "A", || {
            let half = [PNG, &[0; 700 * 1024]].concat();
            blocks(vec![image("fits", &half), image("does not\nfit", &half)])
        }),
        ("files", "B", || {
            let attachments = vec![file("b.bin", "application/x-b", &[1; 200 * 1024])];
            Ok(Fragment { attachments, ..Fragment::default() })
        }),
    ]);
    let keys = "attachments_max_mib = 1\ninclude_result_attachment_from = [{ source = \".\" }]";
    let renderers = [("A", "big"), ("B", "files")];
    let draft = site.ask(&stub, &rendering(keys, &renderers), &three_sources()).unwrap();
    assert_eq!(draft.pictures.len(), 1);
    let Block::Note { text, .. } = &draft.view.results[0].blocks[1] else { panic!("{:?}", draft.view.results) };
    assert!(text.contains("more than the limit of 1 MiB") && text.ends_with(": does not⏎fit"), "{text}");
    // The fragment without blocks is not shown; its file is attached, behind the results.
    assert_eq!(names(&draft), [("A", "big")]);
    let files: Vec<_> = draft.attachments.iter().map(|file| (file.name.as_str(), file.blob.size)).collect();
    assert_eq!(files.len(), 4);
    assert_eq!(files[3], ("b.bin", 200 * 1024));
    let listed = draft.view.attachments.last().unwrap();
    assert_eq!((listed.source.as_str(), listed.size.as_str()), ("B", "205 kB"));

    let too_much = Stub(&[
        ("big", "A", || blocks(vec![image("fits", &[PNG, &[0; 700 * 1024]].concat())])),
        ("files", "B", || {
            let attachments = vec![file("b.bin", "application/x-b", &[1; 400 * 1024])];
            Ok(Fragment { attachments, ..Fragment::default() })
        }),
    ]);
    let draft = site.ask(&too_much, &rendering(keys, &renderers), &three_sources()).unwrap();
    assert!(draft.attachments.is_empty() && draft.view.attachments.is_empty());
    assert_eq!(draft.pictures.len(), 1);
    let note = draft.view.notes.last().unwrap();
    assert!(note.contains("together they have 1.1 MB, more than the limit of 1 MiB"), "{note}");
    assert!(
        note.contains("B (410 kB)") && note.contains("pictures in this mail (717 kB), which are still there"),
        "{note}"
    );

    let rule = rendering("attachments_max_mib = 0", &renderers);
    let draft = site.ask(&too_much, &rule, &three_sources()).unwrap();
    assert!(draft.pictures.is_empty() && draft.attachments.is_empty());
    assert!(draft.view.notes[0].contains("more than the limit of 0 MiB"), "{:?}", draft.view.notes);
}

#[test]
fn a_fragment_that_would_make_the_mail_too_large_is_a_note() {
    let site = Site::new();
    let stub = Stub(&[
        ("huge", "A", || {
            let code = fragment::Block::Code { caption: String::new(), text: "<".repeat(20_000) };
            let attachments = vec![file("a.txt", "text/plain", b"all of it")];
            Ok(Fragment { blocks: vec![code; 200], attachments, ..Fragment::default() })
        }),
        ("small", "B", || blocks(vec![paragraph("words on B")])),
    ]);
    let draft = site.ask(&stub, &rendering("", &[("A", "huge"), ("B", "small")]), &three_sources()).unwrap();
    let html = draft.html.unwrap();
    assert!(html.len() < 1024 * 1024 && html.contains("words on B"));
    assert!(html.contains("What the plugin `huge` makes of this source was left out"), "{html}");
    assert_eq!(draft.attachments.len(), 1);
}

#[test]
fn a_digest_shows_notes_and_says_pictures_in_words() {
    let site = Site::new();
    let stub = Stub(&[("chart", "A", || blocks(vec![image("Disk usage", PNG), paragraph("words on A")]))]);
    let rule = rendering("send_interval = 300", &[("A", "chart")]);
    let note = PluginNote { plugin: "ioc".to_owned(), tone: Tone::Danger, text: "evil.exe is known".to_owned() };
    let draft = site.noted(&stub, &rule, &three_sources(), vec![note]).unwrap();
    assert_eq!(draft.pictures.len(), 1);
    let view: View = serde_json::from_str(&serde_json::to_string(&draft.view).unwrap()).unwrap();
    assert_eq!(view, draft.view);
    let items = vec![(view, draft.attachments); 2];
    let digest = digest::digest(&site.composer(), &rule, &items, now()).unwrap();
    let html = digest.html.unwrap();
    assert!(!html.contains("cid:") && digest.pictures.is_empty());
    for part in [&html, &digest.text] {
        assert_eq!(part.matches("Disk usage").count(), 2, "{part}");
        assert_eq!(part.matches("evil.exe is known").count(), 2, "{part}");
        assert_eq!(part.matches("words on A").count(), 2);
    }
    // A thousand of them stay a mail.
    let digest = digest::digest(&site.composer(), &rule, &vec![items[0].clone(); 1_000], now()).unwrap();
    assert!(digest.html.unwrap().len() < 2 * 1024 * 1024);
}

#[test]
fn the_short_mail_has_the_notes_too() {
    let site = Site::new();
    let note = PluginNote { plugin: "ioc".to_owned(), tone: Tone::Danger, text: "evil.exe is known".to_owned() };
    let draft = site.composer().last_resort(&rule(""), &rich(), &decision(vec![note; 30]), now()).unwrap();
    assert_eq!(draft.text.matches("Danger (ioc): evil.exe is known").count(), 10, "{}", draft.text);
}
