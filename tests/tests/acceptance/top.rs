//! `bewit top`: once for scripts, and live in a terminal.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use acceptance::env::{TOKEN, free_address};
use acceptance::event::many;
use acceptance::http::wait_for_listener;
use acceptance::{Site, SmtpSink, TestEnv, wait_for, wait_until};

const ONCE: [&str; 6] = ["top", "-c", "bewit.toml", "--interval", "0.2", "--once"];
const JSON: [&str; 6] = ["top", "-c", "bewit.toml", "--interval", "0.2", "--json"];

fn web(listen: SocketAddr, more: &str) -> String {
    format!("\n[web]\nlisten = \"{listen}\"\n{more}")
}

#[test]
fn one_table_or_one_object_say_what_happened() {
    let env = TestEnv::new();
    let listen = free_address();
    let sink = SmtpSink::decent().start();
    env.config(&Site::smtp(sink.port()).more(&web(listen, "")));
    let mut daemon = env.daemon();
    wait_for_listener(listen);
    env.drop_events("a.jsonl", &many(0, 7));
    daemon.wait_for("the mails", 60.0, |_| (sink.count() == 7).then_some(()));
    // Taken by the server is not yet written down.
    wait_until("the outbox to know it", 60.0, || env.states().iter().all(|state| state == "delivered"));

    let table = env.bewit(ONCE).run().expect(0).out();
    let row =
        |first: &str| table.lines().find(|line| line.starts_with(first)).unwrap_or_else(|| panic!("{first}: {table}"));
    assert!(row("bewit ").contains(&format!(" at {listen}, up ")), "{table}");
    assert!(
        row("judge").ends_with('7') && row("deliver ").ends_with('7') && row("event to mail").ends_with('7'),
        "{table}"
    );
    assert!(row(&format!("127.0.0.1:{}", sink.port())).contains("up"), "{table}");
    assert!(!table.contains('\u{1b}') && !table.lines().any(|line| line.starts_with('!')), "{table}");
    // Without a terminal, the same is what is printed anyway.
    let plain = env.bewit(["top", "--interval", "0.1"]).run().expect(0).out();
    assert_eq!(plain.lines().count(), table.lines().count());

    let told = env.bewit(JSON).run().expect(0).json();
    assert_eq!(told.len(), 1);
    let told = &told[0];
    assert_eq!(told["queue"]["delivered"]["recipients"], 7.0, "{told}");
    assert_eq!(told["queue"]["queued"]["recipients"], 0.0);
    assert_eq!(told["rates"]["events"], 0.0);
    let steps = told["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["parse", "gather", "judge", "compose", "connect", "deliver"]);
    let compose = &steps[3];
    assert_eq!((compose["count"].as_f64(), compose["since_start"].as_bool()), (Some(7.0), Some(true)));
    let (p50, p99) = (compose["p50"].as_f64().unwrap(), compose["p99"].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 <= 60.0, "{compose}");
    assert_eq!(told["relays"][0]["up"], true);
    assert!(told["space"]["free_bytes"].as_f64().unwrap() > 0.0);
    assert!(daemon.terminate().success());

    // Now there is nobody.
    let gone = env.bewit(ONCE).run().expect(1);
    gone.check(gone.err().contains(&format!("no answer from {listen}")) && gone.out().is_empty(), "it says so");
}

#[test]
fn what_is_wrong_stands_first() {
    let env = TestEnv::new();
    let (listen, relay) = (free_address(), free_address());
    env.config(&Site::smtp(relay.port()).retry("1 h").more(&web(listen, "")));
    let mut daemon = env.daemon();
    wait_for_listener(listen);
    env.drop_events("a.jsonl", &many(0, 2));
    let table = daemon.wait_for("the server's trouble to be told", 60.0, |_| {
        let table = env.bewit(ONCE).run().expect(0).out();
        table.contains("cannot be reached").then_some(table)
    });
    let second = table.lines().nth(1).unwrap();
    assert!(second.starts_with(&format!("! mail server {relay} cannot be reached")), "{table}");
}

#[test]
fn the_token_of_the_configuration_opens_the_door() {
    let env = TestEnv::new();
    let port = free_address().port();
    let listen: SocketAddr = format!("0.0.0.0:{port}").parse().unwrap();
    env.write_secret("web-token", TOKEN);
    env.config(&Site::mailbox().more(&web(listen, "token_file = \"web-token\"")));
    let _daemon = env.daemon();
    wait_for_listener(format!("127.0.0.1:{port}").parse().unwrap());
    env.bewit(ONCE).run().expect(0);
    env.write_secret("other", "not-the-token-of-the-daemon");
    let config = env.read("bewit.toml").replace("\"web-token\"", "\"other\"");
    env.write("other.toml", config);
    let refused = env.bewit(["top", "-c", "other.toml", "--once"]).run().expect(1);
    refused.check(refused.err().contains("wants the operator's token"), "it says what is wanted");
    refused.check(!refused.err().contains("not-the-token"), "and not what was shown");
}

#[test]
fn without_a_page_there_is_nothing_to_ask() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    let said = env.bewit(ONCE).run().expect(2);
    said.check(
        said.err().contains("there is no [web] in bewit.toml") && said.err().contains("listen ="),
        "what to add",
    );
    let listen = free_address();
    env.config(&Site::mailbox().more(&web("127.0.0.1:0".parse().unwrap(), "")));
    let said = env.bewit(ONCE).run().expect(2);
    said.check(said.err().contains("--address"), "what to do");
    let address = listen.to_string();
    env.bewit(["top", "--address", &address, "--once"]).run().expect(1);
    env.bewit(["top", "--interval", "0", "--once"]).run().expect(2);
}

/// A terminal with something running in it.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Runs `bewit top` in a pseudo-terminal, and then tells how the terminal was left.
    fn top(env: &TestEnv) -> Self {
        let top = format!("{} top --interval 0.2", env.binary().display());
        // The shell survives Ctrl-C, to tell afterwards.
        let line = format!("sh -c 'trap : INT; {top}; echo ended with $?; stty -a'");
        let mut child = Command::new("script")
            .args(["-q", "-e", "-f", "-c", &line, "/dev/null"])
            .current_dir(env.root())
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("script (of util-linux): {error}"));
        let mut from = child.stdout.take().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let all = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                all.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Self { keys: child.stdin.take().unwrap(), child, shown }
    }

    fn all(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits for a whole frame.
    fn frame(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        wait_for(what, 60.0, || {
            let all = self.all();
            let frames: Vec<&str> = all.split("\u{1b}[H").collect();
            // The last one may still be on its way.
            let frame = frames.get(frames.len().checked_sub(2)?)?;
            holds(frame).then(|| (*frame).to_owned())
        })
    }

    fn press(&mut self, key: &[u8]) {
        self.keys.write_all(key).unwrap();
        self.keys.flush().unwrap();
    }

    /// How the terminal was left.
    fn end(mut self) -> String {
        wait_until("top to end", 60.0, || self.child.try_wait().unwrap().is_some());
        wait_until("the last words", 30.0, || self.all().contains("echo"));
        let all = self.all();
        let (_, after) = all.rsplit_once("\u{1b}[?25h\u{1b}[?1049l").expect("the screen is given back");
        assert!(after.contains("ended with 0"), "{after}");
        after.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_live_view_outlives_the_daemon_and_leaves_the_terminal_as_it_was() {
    let env = TestEnv::new();
    let listen = free_address();
    env.config(&Site::mailbox().more(&web(listen, "")));
    // Nobody is there yet.
    let mut terminal = Terminal::top(&env);
    terminal.frame("that nobody answers", |frame| frame.contains("no answer from") && frame.contains("trying again"));
    let mut daemon = env.daemon();
    let heading = format!(" at {listen}, up ");
    let frame = terminal.frame("a page", |frame| frame.contains(&heading) && !frame.contains("no answer"));
    assert!(frame.contains("queued") && frame.contains("compose"), "{frame}");
    assert!(terminal.all().contains("\u{1b}[?1049h\u{1b}[?25l"), "a screen of its own");
    // No line is wider than the screen, and none is below its end.
    let lines: Vec<&str> = frame.split("\r\n").collect();
    assert!(lines.len() <= 24, "{frame}");

    env.drop_events("a.jsonl", &many(0, 5));
    daemon.wait_for_mails(5);
    terminal
        .frame("the five mails", |frame| frame.lines().any(|line| line.contains("delivered") && line.contains('5')));
    assert!(daemon.terminate().success());
    // What was last known stays, under the reason.
    let frame = terminal.frame("that it is gone", |frame| frame.contains("no answer from"));
    assert!(frame.contains("below is what it said last") && frame.contains("delivered"), "{frame}");
    let _daemon = env.daemon();
    terminal.frame("the next daemon", |frame| frame.contains(&heading) && !frame.contains("no answer"));
    terminal.press(b"\x03");
    let left = terminal.end();
    assert!(left.contains(" icanon") && left.contains(" echo "), "{left}");

    let mut terminal = Terminal::top(&env);
    terminal.frame("a page", |frame| frame.contains(&heading));
    terminal.press(b"xq");
    let left = terminal.end();
    assert!(left.contains(" icanon") && left.contains(" echo "), "{left}");
}
