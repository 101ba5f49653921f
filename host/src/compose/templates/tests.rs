use super::*;
use crate::compose::samples;
use crate::compose::view::View;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn load(files: &[(&str, &str)]) -> Result<Templates, Vec<TemplateError>> {
    Templates::load(Some(folder(files).path()), &[STOCK_SET])
}

fn first_error(files: &[(&str, &str)]) -> TemplateError {
    load(files).expect_err("these templates are broken").remove(0)
}

#[test]
fn the_stock_templates_pass_their_own_proof() {
    let templates = Templates::load(None, &[STOCK_SET]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let mut errors = Vec::new();
    for language in ["en", "de"] {
        for set in [STOCK_SET, DIGEST_SET] {
            templates.site.prove(set, language, true, &mut errors);
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(samples::shipped().len(), crate::event::samples().len());
    for view in samples::views().iter().chain(samples::shipped()) {
        assert_eq!(templates.render(STOCK_SET, Slot::Subject, &Seen::of(view)).unwrap(), view.subject);
        let text = templates.render(STOCK_SET, Slot::Text, &Seen::of(view)).unwrap();
        let html = templates.render(STOCK_SET, Slot::Html, &Seen::of(view)).unwrap();
        for part in [&text, &html] {
            assert!(part.contains(&view.title) || part.contains(&view.host) || view.host.contains('<'));
            assert!(part.contains(&view.flow_id) || view.flow.is_empty());
        }
        assert!(text.lines().all(|line| line == "-- " || line == line.trim_end()), "{text}");
        assert!(!text.contains("\n\n\n"), "{text}");
    }
}

#[test]
fn a_file_in_the_folder_replaces_the_stock_one() {
    let templates = load(&[("flow-completion.subject.j2", "\u{feff}{{ host }}\r\n: {{ rows }}\r\n")]).unwrap();
    let view = samples::views().remove(0);
    assert_eq!(templates.render(STOCK_SET, Slot::Subject, &Seen::of(&view)).unwrap(), "ws-17.example.org⏎: 120");
    assert_eq!(templates.render_stock(STOCK_SET, Slot::Subject, &Seen::of(&view)).unwrap(), view.subject);
    assert!(templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap().contains("ws-17"));
}

#[test]
fn what_only_a_shipped_sample_shows_is_proved_too() {
    // No made-up view has an upload table of one file; a shipped one does not break the template, the condition does.
    let subject =
        |host: &str| format!("{{% if host is startingwith '{host}' %}}{{{{ nope }}}}{{% endif %}}{{{{ host }}}}");
    assert!(load(&[("flow-completion.subject.j2", &subject("nobody"))]).is_ok());
    let error = first_error(&[("flow-completion.subject.j2", &subject("srv-print"))]);
    assert!(error.message.contains("nope"), "{error}");
}

#[test]
fn an_own_set_needs_its_three_files() {
    let dir = folder(&[("mine.subject.j2", "x"), ("mine.txt.j2", "x")]);
    let errors = Templates::load(Some(dir.path()), &["mine", "other"]).unwrap_err();
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(messages[0].contains("mine.html.j2: it is missing"), "{messages:?}");
    assert!(messages[1].contains("there is no template set `other`; known are flow-completion, mine"), "{messages:?}");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let error = first_error(&[("flow-completion.html.j2", "<p>\n{{ hots }}</p>")]);
    assert_eq!((error.line, error.span.clone()), (Some(2), Some(7..11)));
    assert!(error.message.contains("`hots` is not known; did you mean `host`?"), "{}", error.message);
    assert!(error.message.contains("client_id, client_url"), "{}", error.message);

    let error = first_error(&[("flow-completion.txt.j2", "{% for t in results %}{{ t.sauce }}{% endfor %}")]);
    assert!(error.message.contains("`t.sauce` is not known here"), "{}", error.message);
    let error = first_error(&[("flow-completion.txt.j2", "{{ view.hots }}")]);
    assert!(error.message.contains("`hots` is not known in `view`; did you mean `host`?"), "{}", error.message);

    let error = first_error(&[("flow-completion.txt.j2", "a\nb {% if x")]);
    assert_eq!(error.line, Some(2));
    assert!(error.message.contains("syntax error"), "{}", error.message);

    let error = first_error(&[("flow-completion.txt.j2", "{{ host|upcase }}")]);
    assert!(error.message.contains("unknown filter"), "{}", error.message);

    // In a partial, the partial's own place.
    let error = first_error(&[("_facts.html.j2", "{% macro facts(list) %}\n\n{{ list.nothing }}{% endmacro %}")]);
    assert_eq!((error.name.as_str(), error.line), ("_facts.html.j2", Some(3)));
}

#[test]
fn what_would_be_unsafe_is_refused() {
    for (file, text) in [
        ("flow-completion.html.j2", ""),
        ("flow-completion.html.j2", " \n"),
        ("flow-completion.html.j2", "{# nothing #}"),
        ("flow-completion.html.j2", "<p>{{ host|safe }}</p>"),
        ("flow-completion.html.j2", "{% autoescape false %}<p>{{ host }}</p>{% endautoescape %}"),
        ("flow-completion.html.j2", "<p>{{ [host]|map('safe')|join }}</p>"),
        ("flow-completion.html.j2", "<p>{{ debug() }}</p>"),
        ("flow-completion.html.j2", "<p>{{ host|pprint }}</p>"),
        ("flow-completion.html.j2", "<script>x</script>{{ host }}"),
        ("flow-completion.html.j2", "<p>{{ host }}</p><img src='https://example.net/x.gif'>"),
        ("flow-completion.html.j2", "<p title={{ host }}>x</p>"),
        ("flow-completion.html.j2", "<a href=\"{{ summary }}\">x</a>"),
        ("flow-completion.html.j2", "<p style=\"color:{{ host }}\">x</p>"),
        ("flow-completion.html.j2", "<style>p{content:'{{ host }}'}</style>x"),
        ("flow-completion.html.j2", "<table><tr><td>{{ host }}"),
        ("flow-completion.html.j2", "{% include 'nowhere.html.j2' %}"),
        ("flow-completion.html.j2", "{% include '/etc/passwd' %}"),
        ("flow-completion.subject.j2", "{{ nothing }}"),
        ("_style.html.j2", "{% set nothing = 1 %}"),
    ] {
        assert!(load(&[(file, text)]).is_err(), "{file}: {text}");
    }
}

#[test]
fn a_text_file_included_by_html_is_escaped_all_the_same() {
    let templates = load(&[
        ("flow-completion.html.j2", "<p>{% include 'evil.txt.j2' %}</p>"),
        ("evil.txt.j2", "{{ host }} {% set x %}{{ host }}{% endset %}{{ x }} {{ x|upper|lower }} {{ host|e }}"),
    ])
    .unwrap();
    let view = View { host: "<b>".to_owned(), ..samples::views().remove(0) };
    let html = templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap();
    assert!(!html.contains("<b>"), "{html}");
}

#[test]
fn a_bomb_ends_with_a_named_error() {
    for bomb in [
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% for i in range(40000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
        "{% include 'flow-completion.txt.j2' %}",
    ] {
        let begun = std::time::Instant::now();
        let error = first_error(&[("flow-completion.txt.j2", bomb)]);
        assert_eq!(error.name, "flow-completion.txt.j2", "{bomb}");
        assert!(begun.elapsed().as_secs() < 20, "{bomb}");
    }
}

#[test]
fn data_is_never_evaluated() {
    let templates = Templates::load(None, &[]).unwrap();
    let code = "{{ 7*7 }} {% include '/etc/passwd' %}";
    let view = View {
        host: code.to_owned(),
        summary: code.to_owned(),
        subject: code.to_owned(),
        ..samples::views().remove(0)
    };
    assert_eq!(templates.render(STOCK_SET, Slot::Subject, &Seen::of(&view)).unwrap(), code);
    assert!(templates.render(STOCK_SET, Slot::Text, &Seen::of(&view)).unwrap().contains(code));
    let html = templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap();
    assert!(html.contains("{{ 7*7 }} {% include &#39;/etc/passwd&#39; %}"));
}

#[test]
fn links_stay_inside_the_folder() {
    let dir = folder(&[]);
    let outside = folder(&[("x.subject.j2", "leaked")]);
    let link = dir.path().join("flow-completion.subject.j2");
    std::os::unix::fs::symlink(outside.path().join("x.subject.j2"), &link).unwrap();
    let errors = Templates::load(Some(dir.path()), &[]).unwrap_err();
    assert!(errors[0].message.contains("leads out of"), "{errors:?}");

    // As Kubernetes mounts a volume.
    std::fs::remove_file(&link).unwrap();
    std::fs::create_dir(dir.path().join("..2026_08")).unwrap();
    std::fs::write(dir.path().join("..2026_08/flow-completion.subject.j2"), "one").unwrap();
    std::os::unix::fs::symlink("..2026_08", dir.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/flow-completion.subject.j2", &link).unwrap();
    let templates = Templates::load(Some(dir.path()), &[]).unwrap();
    assert_eq!(templates.render(STOCK_SET, Slot::Subject, &Seen::of(&samples::views()[0])).unwrap(), "one");
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error() {
    assert!(Templates::load(Some(Path::new("/nonexistent")), &[]).is_err());
    let dir = folder(&[]);
    std::fs::write(dir.path().join("a.txt.j2"), [0xff, 0xfe]).unwrap();
    std::fs::write(dir.path().join("b.txt.j2"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
    std::fs::create_dir(dir.path().join("c.txt.j2")).unwrap();
    std::fs::write(dir.path().join("notes.md"), [0xff]).unwrap();
    std::fs::write(dir.path().join(".#x.txt.j2"), "").unwrap();
    let errors = Templates::load(Some(dir.path()), &[]).unwrap_err();
    let names: Vec<&str> = errors.iter().map(|error| error.name.as_str()).collect();
    assert_eq!(names, ["a.txt.j2", "b.txt.j2", "c.txt.j2"]);
}

/// Tags with their attributes, text left out; that of a picture is in an attribute, which must end where it did.
fn skeleton(html: &str) -> Vec<String> {
    let without_alt = |tag: &str| match tag.split_once(" alt=\"") {
        Some((before, text)) => format!("{before}{}", text.split_once('"').unwrap().1),
        None => tag.to_owned(),
    };
    html.split('<')
        .skip(1)
        .map(|piece| without_alt(piece.split('>').next().unwrap_or_default()))
        .filter(|tag| tag != "wbr")
        .collect()
}

#[test]
fn hostile_values_change_no_tag_of_the_stock_mail() {
    let templates = Templates::load(None, &[]).unwrap();
    for view in samples::views() {
        let plain = skeleton(&templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap());
        for hostile in
            ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'-->]]></style></td></table>", "<!--"]
        {
            let view = samples::hostile(&view, lint::Probe::Appended(hostile));
            assert_eq!(
                skeleton(&templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap()),
                plain,
                "{hostile}"
            );
        }
    }
}

#[test]
fn a_branch_that_only_one_sample_takes_is_probed() {
    for html in [
        "<p>{% if outcome == \"failed\" %}<a title={{ host }}>x</a>{% endif %}.</p>",
        "<p>{% if not results %}<a href=\"{{ error }}\">x</a>{% endif %}.</p>",
    ] {
        let error = first_error(&[("flow-completion.html.j2", html)]);
        assert_eq!(error.name, "flow-completion.html.j2", "{error}");
    }
}

#[test]
fn what_no_sample_shows_is_looked_at_when_it_is_written() {
    let html = "<p>{% if host == \"ws onclick=x\" %}<b title={{ host }}>x</b>{% endif %}.</p>";
    let templates = load(&[("flow-completion.html.j2", html)]).unwrap();
    let mut view = samples::views().remove(0);
    assert!(templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).is_ok());
    view.host = "ws onclick=x".to_owned();
    let error = templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap_err();
    assert!(error.message.contains("onclick"), "{error}");
    assert!(templates.render_stock(STOCK_SET, Slot::Html, &Seen::of(&view)).is_ok());
}

#[test]
fn bombs_of_our_own_filters_are_defused() {
    // Without their price these would take a hundred gigabytes.
    for bomb in [
        "{{ ('\n' * 500000)|block('x' * 500000) }}",
        "{{ (' ' * 500000)|wrap(1, 'x' * 500000) }}",
        "{{ ('a ' * 500000)|wrap(0, 'x' * 500000) }}",
    ] {
        let error = first_error(&[("flow-completion.txt.j2", bomb)]);
        assert!(error.message.contains("too much work"), "{bomb}: {error}");
    }
    let wide = "{% set t = {'source': '', 'columns': ['a'], 'rows': [['x' * 900000], ['y']], 'hidden_columns': 0,                 'total': 2, 'showing': '', 'layout': 'narrow', 'problem': ''} %}{{ t|text_table(1000000000) }}";
    let _ = load(&[("flow-completion.txt.j2", wide)]);
}

#[test]
fn the_example_for_authors_works() {
    let page = include_str!("../../../../templates/README.md");
    let mut examples = page.split("```jinja\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let example = examples.find(|example| example.contains("plugin_notes(view.plugin_notes)")).unwrap();
    let templates = load(&[("flow-completion.html.j2", example)]).unwrap_or_else(|errors| panic!("{errors:?}"));
    let html = templates.render(STOCK_SET, Slot::Html, &Seen::of(&samples::views()[0])).unwrap();
    assert!(html.contains("<b>3 hits</b>") && html.contains("Process tree") && html.contains("Danger"), "{html}");
}

#[test]
fn styles_and_layouts_of_before_plugins_still_work() {
    // What was copied then has no colours for bars in dark mode.
    let style = include_str!("../../../../templates/_style.html.j2").split("{# Bars").next().unwrap();
    assert!(!style.contains("dark_bars"));
    load(&[("_style.html.j2", style)]).unwrap_or_else(|errors| panic!("{errors:?}"));
}

/// Writes a template for the first sample, in English.
fn write(name: &str, text: &str, slot: Slot) -> String {
    write_in(&stock_locales(), "en", name, text, slot)
}

fn write_in(locales: &BTreeMap<String, Locale>, language: &str, name: &str, text: &str, slot: Slot) -> String {
    let mut files = stock_files();
    files.insert(name.to_owned(), text.to_owned());
    let mut errors = Vec::new();
    let engine = Engine::new(files, locales, &mut errors);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    engine
        .render(name, slot, language, &context(&samples::views()[0]))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn stock_locales() -> BTreeMap<String, Locale> {
    locales(&LocaleConfig::default())
}

fn locales(config: &LocaleConfig) -> BTreeMap<String, Locale> {
    language::stock().into_iter().map(|(name, language)| (name, Locale::new(language, config))).collect()
}

/// The cells of a row of the page for authors, the first one at 1.
fn cells(line: &str) -> Vec<String> {
    line.replace("\\|", "\u{0}").split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// A cell without the marks of code.
fn bare(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap()
}

/// What the page for authors says that an example gives is what it gives.
#[test]
fn the_examples_for_authors_give_what_they_say() {
    let page = include_str!("../../../../templates/README.md");
    let mut tried = 0;
    let examples = page.lines().filter(|line| line.starts_with("| ") && line.contains("{{ "));
    for line in examples.filter(|line| !line.contains("{% block ")) {
        let cells = cells(line);
        let (example, gives) = (&cells[cells.len() - 3], &cells[cells.len() - 2]);
        let html = ["`br`", "`html_rows("].iter().any(|name| cells[1].starts_with(name));
        let slot = if html { Slot::Html } else { Slot::Text };
        let written = write("example.j2", bare(example), slot);
        assert_eq!(written.trim().replace('\n', "⏎"), bare(gives), "{example}");
        tried += 1;
    }
    assert_eq!(tried, 22);
    let mut tried = 0;
    for rest in page.split("```jinja\n").skip(1) {
        let Some((example, rest)) = rest.split_once("```\n\ngives\n\n```") else { continue };
        let (kind, rest) = rest.split_once('\n').unwrap();
        let gives = rest.split("```").next().unwrap();
        let slot = if kind == "html" { Slot::Html } else { Slot::Text };
        assert_eq!(write("example.j2", example, slot).trim(), gives.trim(), "{example}");
        tried += 1;
    }
    assert_eq!(tried, 3);
}

/// Each block, replaced as the page for authors does it.
#[test]
fn the_blocks_for_authors_hold_what_they_say() {
    let page = include_str!("../../../../templates/README.md");
    let mut tried = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| ") && line.contains("{% block ")) {
        let cells = cells(line);
        let (block, example, gives) = (bare(&cells[1]), bare(&cells[4]), bare(&cells[5]));
        assert!(example.starts_with(&format!("{{% block {block} %}}")), "{line}");
        for part in cells[2].split(", ") {
            let (slot, stock) = match part {
                "HTML" => (Slot::Html, "flow-completion.html.j2"),
                "text" => (Slot::Text, "flow-completion.txt.j2"),
                other => panic!("{other}: {line}"),
            };
            let extends = format!("{{% extends \"{stock}\" %}}\n");
            let (own, before) =
                (write("example.j2", &(extends.clone() + example), slot), write("example.j2", &extends, slot));
            assert!(own.contains(gives) && !before.contains(gives), "{example}\n{own}");
            tried.insert((stock, block.to_owned()));
        }
    }
    for stock in ["flow-completion.html.j2", "flow-completion.txt.j2"] {
        for file in [stock, &stock.replace("flow-completion", "_layout")] {
            let text = STOCK.iter().find(|(name, _)| *name == file).unwrap().1;
            for rest in text.split("{% block ").skip(1) {
                let name = rest.split(' ').next().unwrap().to_owned();
                assert!(tried.contains(&(stock, name.clone())), "no example of the block `{name}` of {file}");
            }
        }
    }
}

/// The section `[locale]` on the page for authors writes times as it says.
#[test]
fn the_locale_for_authors_writes_what_it_says() {
    let page = include_str!("../../../../templates/README.md");
    let (section, rest) = page.split_once("```toml\n[locale]\n").unwrap().1.split_once("```").unwrap();
    let keys: toml::Table = toml::from_str(section).unwrap();
    let word = |key: &str| keys[key].as_str().unwrap().to_owned();
    let config = LocaleConfig {
        language: word("language"),
        time_zone: jiff::tz::TimeZone::get(&word("time_zone")).unwrap(),
        date_format: Some(word("date_format")),
    };
    let words: Vec<&str> = rest.split('`').collect();
    let written = write_in(&locales(&config), &config.language, "example.j2", words[1], Slot::Text);
    assert_eq!((written.trim(), words[2]), (words[3], " gives "));
}

/// Every filter and macro that there is has an example.
#[test]
fn the_page_for_authors_leaves_no_filter_out() {
    let page = include_str!("../../../../templates/README.md");
    for file in ["filters.rs", "speech.rs", "own.rs", "cells.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/compose/templates").join(file);
        let code = std::fs::read_to_string(path).unwrap();
        for rest in code.split("add_filter(").skip(1) {
            let name = rest.split('"').nth(1).unwrap();
            let jinjas = ["escape", "e"].contains(&name);
            assert!(jinjas || page.contains(&format!("| `{name}")), "templates/README.md does not name `{name}`");
        }
    }
    for (_, text) in STOCK.iter().filter(|(name, _)| name.starts_with("_macros")) {
        for rest in text.split("{% macro ").skip(1) {
            let name = rest.split('(').next().unwrap();
            assert!(page.contains(&format!("| `{name}(")), "templates/README.md does not name `{name}`");
        }
    }
}

#[test]
fn macros_lay_out_data_of_ones_own_and_escape_it() {
    let html = write(
        "example.html.j2",
        "{% extends \"_layout.html.j2\" %}{% block content %}\
         {% from \"_macros.html.j2\" import table, pairs, section, note %}\
         {{ section(\"Mine <\", table([{\"A\": \"<b>\", \"B\": 0}, {\"A\": 2}], right=[\"B\"])) }}\
         {{ section(\"More\", pairs({\"x\": [1, \"<i>\"]}) ~ note(\"danger\", \"<u>\")) }}{% endblock %}",
        Slot::Html,
    );
    assert!(lint::check(&html).is_ok(), "{:?}", lint::check(&html));
    for part in
        ["Mine &lt;", "<bdi>&lt;b&gt;</bdi>", "<bdi>0</bdi>", "align=\"right\"", "&lt;i&gt;", "Danger", "&lt;u&gt;"]
    {
        assert!(html.contains(part), "{part}: {html}");
    }
}

#[test]
fn mistakes_in_filters_are_told_in_words() {
    for (text, message) in [
        ("{{ t(\"mark_finishd\") }}", "there is no text `mark_finishd`; did you mean `mark_finished`?"),
        ("{{ t(\"finished\") }}", "the text `finished` needs a value: t(\"finished\", time=…)"),
        ("{{ t(\"rows\") }}", "the text `rows` needs a value: t(\"rows\", n=…)"),
        ("{{ written_at|datetime(zone=\"Nowhere\") }}", "there is no such time zone"),
        ("{{ written_at|datetime(format=\"%!\") }}", "this format has a part that there is not"),
        ("{{ host|filesize }}", "`filesize` is for a whole number"),
        ("{{ rows|duration(\"h\") }}", "`duration` takes \"s\""),
        ("{{ host|elide(3, at=\"left\") }}", "`elide` takes at=\"start\""),
        ("{{ [1]|as_table }}", "`as_table` needs the names of the columns"),
        ("{{ rows|as_facts }}", "`as_facts` is for a list"),
        ("{{ nothing|datetime }}", "what `datetime` is given is not known here"),
    ] {
        let error = first_error(&[("flow-completion.txt.j2", text)]);
        assert!(error.message.contains(message), "{text}: {}", error.message);
    }
}

#[test]
fn a_mail_is_written_in_its_own_language() {
    let mut view = samples::views().remove(0);
    let templates = Templates::load(None, &[]).unwrap();
    let english = templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap();
    view.language = "de".to_owned();
    let german = templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap();
    for (en, de) in [
        ("<html lang=\"en\"", "<html lang=\"de\""),
        ("Open the flow", "Flow öffnen"),
        ("Collected by <b><bdi>ana</bdi></b>, finished", "Gesammelt von <b><bdi>ana</bdi></b>, abgeschlossen"),
        ("because of the rule <b>analyst</b>", "aufgrund der Regel <b>analyst</b>"),
        ("<div class=\"soft\" style=\"font-size:12px; line-height:16px; color:#596673;\">rows</div>", ">Zeilen</div>"),
        ("2 more columns", "2 weitere Spalten"),
    ] {
        assert!(english.contains(en) && !german.contains(en), "{en}");
        assert!(german.contains(de) && !english.contains(de), "{de}");
    }
    assert_eq!(skeleton(&english.replace("lang=\"en\"", "lang=\"de\"")), skeleton(&german), "the layout is the same");
    // A language that has gone since the mail was gathered.
    view.language = "xx".to_owned();
    assert!(templates.render(STOCK_SET, Slot::Text, &Seen::of(&view)).unwrap().contains("because of the rule"));
}

#[test]
fn a_site_brings_a_language() {
    let dir = folder(&[]);
    std::fs::create_dir(dir.path().join("lang")).unwrap();
    let french = dir.path().join("lang/fr.toml");
    std::fs::write(&french, "open_flow = \"Ouvrir <le> flow\"\n").unwrap();
    let locale = LocaleConfig { language: "fr".to_owned(), ..LocaleConfig::default() };
    let load = || Templates::localized(Some(dir.path()), &[], &locale, &["de"]);
    let templates = load().unwrap_or_else(|errors| panic!("{errors:?}"));
    assert!(templates.remarks()[0].message.contains("texts missing, which will be English"));
    let view = View { language: "fr".to_owned(), ..samples::views().remove(0) };
    let html = templates.render(STOCK_SET, Slot::Html, &Seen::of(&view)).unwrap();
    assert!(html.contains("Ouvrir &lt;le&gt; flow") && html.contains("Open the client"));
    assert_eq!(templates.locale(None).language().name(), "fr");
    assert_eq!(templates.locale(Some("de")).language().name(), "de");

    std::fs::write(&french, "open_flow = \"{typo}\"\n").unwrap();
    assert!(load().unwrap_err()[0].to_string().starts_with("lang/fr.toml: `{typo}` is not filled in in `open_flow`"));
    std::fs::remove_file(&french).unwrap();
    assert!(load().unwrap_err()[0].message.contains("no texts in the language `fr`"));
    std::fs::write(dir.path().join("lang/French.toml"), "").unwrap();
    assert!(load().unwrap_err()[0].message.contains("not named after a language"));
}
