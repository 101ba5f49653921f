//! Templates and configuration change while the daemon runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use acceptance::event::event;
use acceptance::mail::{Mail, read};
use acceptance::{Daemon, Site, TestEnv};

/// The text template with a word of ours in it.
fn template(word: &str) -> String {
    format!("{word} {{{{ subject }}}}\n")
}

/// The newest mail of the folder.
fn newest(env: &TestEnv) -> Option<Mail> {
    let path = env.mailbox().into_iter().max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())?;
    Some(read(&[path]).remove(0))
}

struct Watched {
    env: TestEnv,
    next: std::cell::Cell<usize>,
}

impl Watched {
    /// A daemon's folder with the site's own templates: the stock ones, of which one is replaced.
    fn new() -> Self {
        let env = TestEnv::new();
        let stock = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("templates");
        fs::create_dir_all(env.path("templates")).unwrap();
        for entry in fs::read_dir(&stock).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), env.path("templates").join(entry.file_name())).unwrap();
            }
        }
        env.config(&Site::mailbox().more("\n[templates]\npath = \"templates\""));
        Self { env, next: std::cell::Cell::new(1) }
    }

    fn text(&self) -> std::path::PathBuf {
        self.env.path("templates/flow-completion.txt.j2")
    }

    /// The stock text template with a word before it.
    fn with(&self, word: &str) -> String {
        let stock = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("templates/flow-completion.txt.j2");
        format!("{word}\n{}", fs::read_to_string(stock).unwrap())
    }

    /// The text of the mail that an event becomes now.
    fn mail(&self, daemon: &mut Daemon<'_>) -> String {
        let n = self.next.replace(self.next.get() + 1);
        self.env.drop_events(&format!("{n}.jsonl"), &[event(n)]);
        let flow = format!("F.D{n:012X}");
        let env = &self.env;
        daemon.wait_for(&format!("the mail about {flow}"), 30.0, |_| {
            let mail = newest(env)?;
            mail.text().contains(&flow).then(|| mail.text().to_owned())
        })
    }

    /// Waits until mails begin with a word.
    #[track_caller]
    fn wait_for(&self, daemon: &mut Daemon<'_>, word: &str) {
        let start = std::time::Instant::now();
        loop {
            let text = self.mail(daemon);
            if text.starts_with(word) {
                return;
            }
            assert!(
                start.elapsed() < acceptance::budget(30.0),
                "{word} is not seen; mails begin with {:?}\n{}",
                text.lines().next(),
                daemon.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn every_way_of_saving_is_noticed() {
    let watched = Watched::new();
    let path = watched.text();
    fs::write(&path, watched.with("WORD-0")).unwrap();
    let mut daemon = watched.env.daemon();
    watched.wait_for(&mut daemon, "WORD-0");

    // In place.
    fs::write(&path, watched.with("WORD-1")).unwrap();
    watched.wait_for(&mut daemon, "WORD-1");

    // Written aside and renamed, as editors do.
    let aside = path.with_extension("swp");
    fs::write(&aside, watched.with("WORD-2")).unwrap();
    fs::rename(&aside, &path).unwrap();
    watched.wait_for(&mut daemon, "WORD-2");

    // Removed, then made anew.
    fs::remove_file(&path).unwrap();
    fs::write(&path, watched.with("WORD-3")).unwrap();
    watched.wait_for(&mut daemon, "WORD-3");

    // In small pieces: a half of it is never used.
    let whole = watched.with("WORD-4");
    let mut file = fs::File::create(&path).unwrap();
    for piece in whole.as_bytes().chunks(whole.len() / 5 + 1) {
        use std::io::Write;
        file.write_all(piece).unwrap();
        file.sync_all().unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(file);
    watched.wait_for(&mut daemon, "WORD-4");

    // The same length and the same time of change.
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, watched.with("WORD-5")).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    watched.wait_for(&mut daemon, "WORD-5");

    // The whole folder replaced by another.
    let folder = watched.env.path("templates");
    let new = watched.env.path("templates.new");
    fs::create_dir(&new).unwrap();
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        fs::copy(entry.path(), new.join(entry.file_name())).unwrap();
    }
    fs::write(new.join("flow-completion.txt.j2"), watched.with("WORD-6")).unwrap();
    fs::rename(&folder, watched.env.path("templates.old")).unwrap();
    fs::rename(&new, &folder).unwrap();
    watched.wait_for(&mut daemon, "WORD-6");

    // And after that, still.
    fs::write(&path, watched.with("WORD-7")).unwrap();
    watched.wait_for(&mut daemon, "WORD-7");
    watched.env.verify();
}

#[test]
fn a_config_map_is_noticed() {
    // As Kubernetes mounts one: each file a link into `..data`, and `..data` a link that is swapped.
    let watched = Watched::new();
    let env = &watched.env;
    let folder = env.path("templates");
    let version = |name: &str, word: &str| {
        let own = folder.join(name);
        fs::create_dir(&own).unwrap();
        fs::write(own.join("flow-completion.txt.j2"), watched.with(word)).unwrap();
    };
    version("..2026_1", "MAP-1");
    symlink("..2026_1", folder.join("..data")).unwrap();
    fs::remove_file(watched.text()).unwrap();
    symlink("..data/flow-completion.txt.j2", watched.text()).unwrap();
    let mut daemon = env.daemon();
    watched.wait_for(&mut daemon, "MAP-1");
    for n in 2..=3 {
        version(&format!("..2026_{n}"), &format!("MAP-{n}"));
        symlink(format!("..2026_{n}"), folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        fs::remove_dir_all(folder.join(format!("..2026_{}", n - 1))).unwrap();
        watched.wait_for(&mut daemon, &format!("MAP-{n}"));
    }
}

#[test]
fn a_broken_template_never_replaces_a_working_one() {
    let watched = Watched::new();
    let path = watched.text();
    fs::write(&path, watched.with("GOOD-1")).unwrap();
    let mut daemon = watched.env.daemon();
    watched.wait_for(&mut daemon, "GOOD-1");
    let broken: [(&str, Vec<u8>); 6] = [
        ("syntax", watched.with("BROKEN {% if %}").into_bytes()),
        ("an unknown name", watched.with("BROKEN {{ no_such_name }}").into_bytes()),
        ("empty", Vec::new()),
        ("blank", b"  \n\n ".to_vec()),
        ("not UTF-8", b"BROKEN \xff\xfe".to_vec()),
        (
            "endless",
            watched
                .with("BROKEN {% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}")
                .into_bytes(),
        ),
    ];
    for (n, (what, bytes)) in broken.into_iter().enumerate() {
        let before = daemon.log().len();
        fs::write(&path, bytes).unwrap();
        daemon.wait_for(&format!("a word about the broken template ({what})"), 30.0, |daemon| {
            daemon.log()[before..].contains("flow-completion.txt.j2").then_some(())
        });
        for _ in 0..2 {
            let text = watched.mail(&mut daemon);
            assert!(text.starts_with("GOOD-"), "{what}: {:?}", text.lines().next());
        }
        // Mended, it is taken again.
        let word = format!("GOOD-{}", n + 2);
        fs::write(&path, watched.with(&word)).unwrap();
        watched.wait_for(&mut daemon, &word);
    }
    watched.env.verify();
}

#[test]
fn the_log_says_it_once() {
    let watched = Watched::new();
    fs::write(watched.text(), watched.with("GOOD")).unwrap();
    let mut daemon = watched.env.daemon();
    watched.wait_for(&mut daemon, "GOOD");
    let before = daemon.log().len();
    fs::write(watched.text(), watched.with("BROKEN {{ no_such_name }}")).unwrap();
    daemon.wait_for("a word about it", 30.0, |daemon| daemon.log()[before..].contains("no_such_name").then_some(()));
    // Long enough for the slow look beside the watcher to have come by again.
    let end = std::time::Instant::now() + Duration::from_secs(12);
    while std::time::Instant::now() < end {
        watched.mail(&mut daemon);
        std::thread::sleep(Duration::from_millis(500));
    }
    let log = daemon.log();
    let told = log[before..]
        .lines()
        .filter(|line| (line.contains("ERROR") || line.contains("WARN")) && line.contains("reload"))
        .count();
    assert!(told <= 1, "told {told} times:\n{}", &log[before..]);
}

#[test]
fn the_configuration_is_reloaded_on_a_signal_and_on_a_save() {
    let env = TestEnv::new();
    let rule = |who: &str| format!("[[rule]]\nname = \"r\"\nrecipients = [\"{who}@example.org\"]\nsend_interval = 0\n");
    env.config(&Site::mailbox().rule(&rule("first")));
    let mut daemon = env.daemon();
    let mut n = 0;
    let mut wait_for = |daemon: &mut Daemon<'_>, who: &str| {
        let start = std::time::Instant::now();
        loop {
            n += 1;
            env.drop_events(&format!("{n}.jsonl"), &[event(n)]);
            // From the mail: the outbox cannot be listed while the configuration is broken.
            let flow = format!("F.D{n:012X}");
            let told = daemon.wait_for("a mail", 30.0, |_| {
                let newest = newest(&env)?;
                newest.text().contains(&flow).then(|| newest.header("To").to_owned())
            });
            if told == format!("{who}@example.org") {
                return;
            }
            assert!(start.elapsed() < acceptance::budget(30.0), "{who} is never told\n{}", daemon.log());
        }
    };
    wait_for(&mut daemon, "first");
    env.config(&Site::mailbox().rule(&rule("second")));
    daemon.hang_up();
    wait_for(&mut daemon, "second");
    env.config(&Site::mailbox().rule(&rule("third")));
    wait_for(&mut daemon, "third");

    // A broken one: the last good one stays, and the log says what is wrong with it, with line and hint.
    let before = daemon.log().len();
    env.config(&Site::mailbox().rule(&rule("fourth").replace("recipients", "recipents")));
    daemon.hang_up();
    daemon.wait_for("the reason", 30.0, |daemon| daemon.log()[before..].contains("recipents").then_some(()));
    wait_for(&mut daemon, "third");
    env.write("bewit.toml", "[smtp\n");
    daemon.hang_up();
    wait_for(&mut daemon, "third");
    env.config(&Site::mailbox().rule(&rule("fifth")));
    wait_for(&mut daemon, "fifth");
    assert!(daemon.running());
    daemon.terminate();
    env.verify();
}

#[test]
fn a_mail_keeps_the_bytes_it_was_written_with() {
    use acceptance::{Action, Phase, SmtpSink};
    let watched = Watched::new();
    let sink = SmtpSink::decent().first(2, Phase::Dot, Action::TakeThen(Box::new(Action::reply("451 later")))).start();
    watched.env.config(&Site::smtp(sink.port()).retry("200 ms").more("\n[templates]\npath = \"templates\""));
    fs::write(watched.text(), watched.with("BEFORE")).unwrap();
    let mut daemon = watched.env.daemon();
    watched.env.drop_events("a.jsonl", &[event(1)]);
    daemon.wait_for("the first attempt", 30.0, |_| (sink.count() >= 1).then_some(()));
    fs::write(watched.text(), watched.with("AFTER")).unwrap();
    daemon.hang_up();
    daemon.wait_for("three attempts", 60.0, |_| (sink.count() >= 3).then_some(()));
    let received = sink.received();
    assert!(received.iter().all(|mail| mail.raw == received[0].raw), "retries send the frozen bytes");
    sink.assert_clean();
}

#[test]
fn a_template_of_ones_own_is_checked_like_the_stock_ones() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().more("\n[templates]\npath = \"templates\""));
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("templates"), "a missing folder is an error");
    env.write("templates/flow-completion.txt.j2", template("{{ typo"));
    let said = env.bewit(["check"]).run().expect(2);
    said.check(said.err().contains("flow-completion.txt.j2"), "it names the template");
    for bypass in ["{{ subject|safe }}", "{% autoescape false %}{{ subject }}{% endautoescape %}"] {
        env.write("templates/flow-completion.txt.j2", "ok");
        fs::remove_file(env.path("templates/flow-completion.txt.j2")).unwrap();
        env.write("templates/flow-completion.html.j2", format!("<html><body>{bypass}</body></html>"));
        let said = env.bewit(["check"]).run();
        said.check(said.status.code() == Some(2), &format!("{bypass} is refused"));
    }
}
