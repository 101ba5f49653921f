//! Templates made for editing, and mails in the site's language and time.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use acceptance::event::event;
use acceptance::mail::{Mail, read};
use acceptance::{Daemon, Site, TestEnv};

const FOLDER: &str = "\n[templates]\npath = \"templates\"\n";

fn rule(name: &str, keys: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nrecipients = [\"{name}@example.org\"]\nsend_interval = 0\n\
         include_result_table_from = [{{ source = \"Pslist\" }}]\n{keys}\n"
    )
}

fn mail_to(env: &TestEnv, name: &str) -> Mail {
    let to = format!("{name}@example.org");
    let mails = env.mails();
    mails.into_iter().find(|mail| mail.header("To") == to).unwrap_or_else(|| panic!("no mail to {to}"))
}

#[test]
fn a_set_of_ones_own_is_begun_listed_and_used() {
    let env = TestEnv::new();
    let told = env.bewit(["template", "new", "soc"]).run().expect(0);
    for part in ["templates/soc.subject.j2", "templates/soc.html.j2", "templates/soc.txt.j2", "template = \"soc\""] {
        told.check(told.out().contains(part), part);
    }
    let path = told.out().lines().find(|line| line.starts_with("path = ")).unwrap().to_owned();
    env.config(
        &Site::mailbox()
            .rule(&rule("ana", ""))
            .rule(&rule("soc", "template = \"soc\""))
            .more(&format!("\n[templates]\n{path}\n")),
    );
    env.bewit(["check"]).run().expect(0);

    // What is copied writes the stock mail.
    env.drop_events("1.jsonl", &[event(1)]);
    env.once();
    let (stock, own) = (mail_to(&env, "ana"), mail_to(&env, "soc"));
    let same = |text: &str| {
        text.replace("rule ana", "rule").replace("rule soc", "rule").replace("<b>ana</b>", "").replace("<b>soc</b>", "")
    };
    assert_eq!(same(stock.text()), same(own.text()));
    assert_eq!(same(stock.html().unwrap()), same(own.html().unwrap()));

    // Nothing is written over, and nothing of a set is written if a part of it cannot be.
    let before = env.read("templates/soc.txt.j2");
    let said = env.bewit(["template", "new", "soc"]).run().expect(2);
    said.check(said.err().contains("soc.subject.j2") && said.err().contains("nothing has been written"), "it refuses");
    fs::remove_file(env.path("templates/soc.html.j2")).unwrap();
    env.bewit(["template", "new", "soc"]).run().expect(2);
    assert!(!env.path("templates/soc.html.j2").exists());
    assert_eq!(env.read("templates/soc.txt.j2"), before);
    env.bewit(["template", "new", "../soc"]).run().expect(2);
    env.bewit(["template", "new", "_soc"]).run().expect(2);

    let said = env.bewit(["template", "new", "digest", "--dir", "other", "--all"]).run().expect(0);
    said.check(
        said.out().contains("other/_layout.html.j2") && said.out().contains("other/digest.txt.j2"),
        "with partials",
    );
    assert!(!env.path("other/flow-completion.txt.j2").exists());
    assert!(env.read("other/digest.txt.j2").contains("digest_heading"));
}

#[test]
fn the_list_says_which_file_wins_and_whether_it_works() {
    let env = TestEnv::new();
    env.config(
        &Site::mailbox()
            .rule(&rule("ana", ""))
            .rule(&rule("soc", "template = \"soc\"\nlanguage = \"fr\""))
            .more(FOLDER),
    );
    env.bewit(["template", "new", "soc"]).run().expect(0);
    env.write(
        "templates/_facts.html.j2",
        "{# ours #}\n".to_owned() + include_str!("../../../templates/_facts.html.j2"),
    );
    env.write("templates/lang/fr.toml", "size = \"Taille\"\n");
    let said = env.bewit(["template", "list"]).run().expect(0);
    for part in
        ["soc.html.j2", "templates/_facts.html.j2", "(instead of stock)", "lang/fr.toml", "lang/de.toml", "works"]
    {
        said.check(said.out().contains(part), part);
    }
    let list = env.bewit(["template", "list", "--json"]).run().expect(0).json();
    let line = |name: &str| list.iter().find(|line| line["name"] == name).unwrap().clone();
    assert_eq!(line("flow-completion.txt.j2")["from"], "stock");
    assert_eq!(line("flow-completion.txt.j2")["rules"], serde_json::json!(["ana"]));
    assert_eq!(line("soc.subject.j2")["rules"], serde_json::json!(["soc"]));
    assert_eq!(line("lang/fr.toml")["rules"], serde_json::json!(["soc"]));
    assert_eq!(line("lang/en.toml")["rules"], serde_json::json!(["ana"]));
    assert_eq!(line("_facts.html.j2")["overrides"], true);
    assert_eq!(line("soc.subject.j2")["overrides"], false);
    assert!(line("soc.subject.j2")["from"].as_str().unwrap().ends_with("templates/soc.subject.j2"));
    assert!(list.iter().all(|line| line["works"] == true));

    // A set that no rule names is tried all the same.
    env.bewit(["template", "new", "later"]).run().expect(0);
    env.write("templates/later.txt.j2", "one\n{{ hots }}\n");
    let said = env.bewit(["template", "list", "--json"]).run().expect(2);
    let broken: Vec<_> = said.json().into_iter().filter(|line| line["works"] == false).collect();
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert_eq!(broken[0]["name"], "later.txt.j2");
    assert_eq!(broken[0]["error"], "line 2: `hots` is not known; did you mean `host`?");
}

#[test]
fn zone_format_and_language_are_the_sites() {
    let env = TestEnv::new();
    let locale =
        "\n[locale]\ntime_zone = \"Europe/Berlin\"\ndate_format = \"%A, %-d. %B %Y, %H:%M %Z\"\nlanguage = \"de\"\n";
    env.config(&Site::mailbox().rule(&rule("kim", "")).rule(&rule("ana", "language = \"en\"")).more(locale));
    env.bewit(["check"]).run().expect(0);
    env.drop_events("1.jsonl", &[event(0)]);
    env.once();
    let german = mail_to(&env, "kim");
    assert_eq!(german.header("Subject"), "ws-17.example.org: Sammlung von Custom.Windows.Pslist abgeschlossen");
    for part in [german.text(), german.html().unwrap()] {
        for words in [
            "Mittwoch, 12. August 2026, 04:02 CEST (vor ",
            "2 Zeilen",
            "22,5 s",
            "Betriebssystem",
            "aufgrund der Regel",
        ] {
            assert!(part.contains(words) || part.contains(&words.replace("2 Zeilen", ">Zeilen<")), "{words}: {part}");
        }
        for words in ["Collection", "Collected", "because of", " ago)", "rows"] {
            assert!(!part.contains(words), "{words}: {part}");
        }
        // What Velociraptor calls its things stays.
        assert!(part.contains("Custom.Windows.Pslist") && part.contains("svchost.exe"));
    }
    assert!(german.html().unwrap().contains("<html lang=\"de\""));
    let english = mail_to(&env, "ana");
    assert!(english.text().contains("Wednesday, 12. August 2026, 04:02 CEST ("), "{}", english.text());
    assert!(english.text().contains("Collection finished"));
    german.assert_sound();
}

#[test]
fn a_digest_speaks_its_rules_language() {
    let env = TestEnv::new();
    let digest =
        rule("kim", "language = \"de\"").replace("send_interval = 0", "send_interval = \"2 s\"\nthrottle = \"digest\"");
    env.config(&Site::mailbox().rule(&digest));
    let mut daemon = env.daemon();
    env.drop_events("1.jsonl", &[event(1), event(2), event(3)]);
    let mail = daemon.wait_for("the digest", 30.0, |_| {
        env.mails().into_iter().find(|mail| mail.header("Subject") == "2 Sammlungen: 2 abgeschlossen")
    });
    for part in [mail.text(), mail.html().unwrap()] {
        assert!(
            part.replace("\n  ", " ").contains("2 Sammlungen innerhalb von 2 Sekunden nach einer früheren Mail"),
            "{part}"
        );
        assert!(!part.contains("Collection"), "{part}");
    }
    assert!(mail.text().contains("Sammlung 1 von 2: ws-17.example.org"));
}

#[test]
fn what_is_wrong_with_a_locale_is_told_with_a_hint() {
    let env = TestEnv::new();
    for (keys, told) in [
        ("time_zone = \"Berlin\"", "did you mean `Europe/Berlin`?"),
        ("time_zone = \"Europe/Berlim\"", "did you mean `Europe/Berlin`?"),
        ("time_zone = \"xyzzy\"", "such as Europe/Berlin"),
        ("date_format = \"%Y-%!\"", "`date_format` cannot be used"),
        ("date_format = \"yyyy-mm-dd\"", "`date_format` writes no time"),
        ("language = \"xx\"", "known are `de` and `en`; a file lang/xx.toml"),
        ("language = \"German\"", "a language is named as in de or pt-BR"),
        ("langage = \"de\"", "did you mean `language`?"),
    ] {
        env.config(&Site::mailbox().rule(&rule("ana", "")).more(&format!("\n[locale]\n{keys}\n")));
        let said = env.bewit(["check"]).run().expect(2);
        said.check(said.err().contains(told), told);
        said.check(said.err().contains("bewit.toml:") && said.err().contains(keys), "with its place");
    }
    env.config(&Site::mailbox().rule(&rule("ana", "language = \"da\"")));
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("there are no texts in the language `da`"), "a rule's language is looked at, too");

    // A language that lacks texts is a warning, one that is broken an error.
    env.config(&Site::mailbox().rule(&rule("ana", "language = \"da\"")).more(FOLDER));
    env.write("templates/lang/da.toml", "size = \"Størrelse\"\n");
    let said = env.bewit(["check"]).run().expect(0);
    said.check(
        said.err().contains("warning: ") && said.err().contains("texts missing, which will be English"),
        "a warning",
    );
    env.write("templates/lang/da.toml", "uploads = \"x\"\nsize = \"{typo}\"\n");
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("lang/da.toml:2"), "an error with its place");
}

/// The text of the mail that an event becomes now.
fn text_now(env: &TestEnv, daemon: &mut Daemon<'_>, n: usize) -> String {
    env.drop_events(&format!("{n}.jsonl"), &[event(n)]);
    let flow = format!("F.D{n:012X}");
    daemon.wait_for(&format!("the mail about {flow}"), 30.0, |_| {
        let newest = env.mailbox().into_iter().max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())?;
        let mail = read(&[newest]).remove(0);
        mail.text().contains(&flow).then(|| mail.text().to_owned())
    })
}

#[track_caller]
fn wait_for(env: &TestEnv, daemon: &mut Daemon<'_>, n: &mut usize, word: &str) {
    let begun = Instant::now();
    loop {
        *n += 1;
        let text = text_now(env, daemon, *n);
        if text.contains(word) {
            return;
        }
        assert!(begun.elapsed() < acceptance::budget(30.0), "{word} is not seen\n{}", daemon.log());
    }
}

#[test]
fn languages_are_reloaded_like_templates() {
    let env = TestEnv::new();
    fs::create_dir(env.path("templates")).unwrap();
    env.config(&Site::mailbox().rule(&rule("ana", "")).more(FOLDER));
    let mut daemon = env.daemon();
    let (mut n, says) = (0, |word: &str| format!("title_finished = \"{word}\"\n"));
    wait_for(&env, &mut daemon, &mut n, "Client collection finished");

    // The folder comes later than the daemon.
    env.write("templates/lang/en.toml", says("WORD-1"));
    wait_for(&env, &mut daemon, &mut n, "WORD-1");
    // As editors save.
    env.write("templates/lang/.en.toml.swp", says("WORD-2"));
    fs::rename(env.path("templates/lang/.en.toml.swp"), env.path("templates/lang/en.toml")).unwrap();
    wait_for(&env, &mut daemon, &mut n, "WORD-2");
    // Half of it: what was good stays, and is what mails are written with.
    let before = daemon.log().len();
    env.write("templates/lang/en.toml", "title_finished = \"WORD-3");
    daemon.wait_for("a word about it", 30.0, |daemon| daemon.log()[before..].contains("lang/en.toml").then_some(()));
    n += 1;
    assert!(text_now(&env, &mut daemon, n).contains("WORD-2"));
    env.write("templates/lang/en.toml", says("WORD-3"));
    wait_for(&env, &mut daemon, &mut n, "WORD-3");

    // As Kubernetes mounts a volume: `lang` is a link into `..data`, which is a link that is swapped.
    fs::remove_dir_all(env.path("templates/lang")).unwrap();
    env.write("templates/..2026_1/lang/en.toml", says("WORD-4"));
    symlink("..2026_1", env.path("templates/..data")).unwrap();
    symlink("..data/lang", env.path("templates/lang")).unwrap();
    wait_for(&env, &mut daemon, &mut n, "WORD-4");
    env.write("templates/..2026_2/lang/en.toml", says("WORD-5"));
    symlink("..2026_2", env.path("templates/..data_tmp")).unwrap();
    fs::rename(env.path("templates/..data_tmp"), env.path("templates/..data")).unwrap();
    fs::remove_dir_all(env.path("templates/..2026_1")).unwrap();
    wait_for(&env, &mut daemon, &mut n, "WORD-5");
    env.verify();
}

#[test]
fn what_no_event_tells_of_is_noticed_all_the_same() {
    // Nobody watches where these links lead: as on a network folder, no event comes.
    let env = TestEnv::new();
    env.write("templates/shared/lang/en.toml", "title_finished = \"FAR-1\"\n");
    env.write("templates/shared/subject", "FAR-2 {{ subject }}");
    symlink("shared/lang", env.path("templates/lang")).unwrap();
    symlink("shared/subject", env.path("templates/flow-completion.subject.j2")).unwrap();
    env.config(&Site::mailbox().rule(&rule("ana", "")).more(FOLDER));
    let mut daemon = env.daemon();
    let mut n = 0;
    wait_for(&env, &mut daemon, &mut n, "FAR-1");
    let begun = Instant::now();
    env.write("templates/shared/subject", "FAR-3 {{ subject }}");
    // Half of it first, which is no template.
    env.write("templates/shared/lang/en.toml", "title_finished = \"FAR-4");
    daemon.wait_for("a word about the half", 30.0, |daemon| daemon.log().contains("lang/en.toml").then_some(()));
    n += 1;
    let text = text_now(&env, &mut daemon, n);
    assert!(text.contains("FAR-1"), "the last good one stays: {text}");
    env.write("templates/shared/lang/en.toml", "title_finished = \"FAR-4\"\n");
    wait_for(&env, &mut daemon, &mut n, "FAR-4");
    assert!(env.mails().iter().any(|mail| mail.header("Subject").starts_with("FAR-3")));
    assert!(begun.elapsed() < acceptance::budget(45.0), "the slow look comes every ten seconds");
    env.verify();
}
