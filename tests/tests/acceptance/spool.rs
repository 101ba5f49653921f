//! The spool folder: files of all sizes and kinds, dropped by others.

use std::fs;
use std::os::unix::fs::symlink;

use acceptance::env::{files, memory};
use acceptance::event::{event, lines, many, token};
use acceptance::{Site, TestEnv, tools, wait_until};
use serde_json::json;

/// All that lies in `rejected/`, as one text.
fn rejected(env: &TestEnv) -> String {
    let mut paths: Vec<_> =
        fs::read_dir(env.path("spool/rejected")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let bytes = fs::read(path).unwrap_or_default();
            format!("{}\n{}\n", path.file_name().unwrap().to_string_lossy(), String::from_utf8_lossy(&bytes))
        })
        .collect()
}

#[test]
fn standard_input_is_an_intake_too() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    let run = |text: String| env.bewit(["run", "--once", "-c", "bewit.toml", "-"]).stdin(text).run();
    run(lines(&[event(1), event(2)])).expect(0);
    assert_eq!(env.mails().len(), 2);
    // Heard again it is no new mail, and a line that is no event is told by the exit code.
    run(format!("{}no event\n", lines(&[event(2)]))).expect(1);
    assert_eq!(env.mails().len(), 2);
    run(String::new()).expect(0);
}

#[test]
fn a_bad_line_is_set_aside_and_the_rest_goes_on() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    let bad = [
        "this is no JSON".to_owned(),
        "{\"type\":\"System.Flow.Completion\",\"ClientId\":\"C.1\"}".to_owned(),
        "[1,2,3]".to_owned(),
        "{\"type\":\"No.Such.Event\",\"ClientId\":\"C.1\",\"FlowId\":\"F.1\"}".to_owned(),
        "{\"truncated\":".to_owned(),
        format!("{}{}{}", "[".repeat(100), 1, "]".repeat(100)),
    ];
    let mut text = lines(&[event(1)]);
    for (n, line) in bad.iter().enumerate() {
        text.push_str(&format!("{line}\n\n   \n{}", lines(&[event(10 + n)])));
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"\xff\xfe not UTF-8\n");
    bytes.extend_from_slice(lines(&[event(2)]).trim_end().as_bytes()); // no newline at the end
    env.drop_spool("a.jsonl", bytes);
    env.once();
    assert_eq!(env.mailbox().len(), 2 + bad.len(), "every good line is a mail");
    let aside = rejected(&env);
    for line in &bad {
        assert!(aside.contains(line.as_str()), "{line} is set aside as it was:\n{aside}");
    }
    assert!(aside.contains("not UTF-8"), "{aside}");
    assert!(!env.path("spool/a.jsonl").exists());
    env.verify();
    // Neither kept nor taken again.
    env.once();
    assert_eq!(env.mailbox().len(), 2 + bad.len());
}

#[test]
fn limits_hold_and_say_so() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().more("limits = { line = \"64 KiB\", depth = 20, nodes = 1000 }"));
    let mut long = event(1);
    long["client_metadata"]["note"] = "x".repeat(70_000).into();
    let mut deep = event(2);
    deep["x"] = serde_json::from_str(&format!("{}{}", "[".repeat(30), "]".repeat(30))).unwrap();
    let mut wide = event(3);
    wide["x"] = vec![0; 2000].into();
    env.drop_events("a.jsonl", &[long, deep, wide, event(4)]);
    env.once();
    assert_eq!(env.mailbox().len(), 1);
    let aside = rejected(&env);
    for word in ["65536", "20", "1000"] {
        assert!(aside.contains(word), "the reasons name the limits ({word})");
    }
    env.verify();
}

#[test]
fn a_line_without_end_is_not_held_in_memory() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().more("limits = { line = \"1 MiB\" }"));
    let mut daemon = env.daemon();
    env.drop_events("first.jsonl", &[event(1)]);
    daemon.wait_for_mails(1);
    let before = daemon.peak_memory_kib();
    let size = tools::size(100, 1000) * 1_000_000;
    env.drop_spool("endless.jsonl", [vec![b'x'; size], b"\n".to_vec(), lines(&[event(2)]).into_bytes()].concat());
    daemon.wait_for_mails(2);
    let grown = daemon.peak_memory_kib() - before;
    assert!(grown < 16 * 1024, "a line of {size} bytes took {grown} KiB");
    daemon.terminate();
    env.verify();
}

#[test]
fn only_finished_files_of_the_right_kind_are_taken() {
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    let outside = env.write("outside.jsonl", lines(&[event(1)]));
    let spool = env.path("spool");
    fs::create_dir_all(spool.join("folder.jsonl")).unwrap();
    symlink(&outside, spool.join("link.jsonl")).unwrap();
    symlink("/etc/hostname", spool.join("passwd.jsonl")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, spool.join("pipe.jsonl"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    env.write("spool/unfinished.jsonl.tmp", lines(&[event(2)]));
    env.write("spool/.hidden.tmp", lines(&[event(3)]));
    env.write("spool/notes.txt", "to whom it may concern\n");
    env.drop_events("good.jsonl", &[event(4)]);
    env.once();
    let mails = env.mails();
    assert_eq!(mails.len(), 1, "{:?}", mails.iter().map(|mail| mail.header("Subject")).collect::<Vec<_>>());
    assert!(mails[0].text().contains("F.D000000000004"));
    assert!(outside.exists(), "what a link leads to is not ours");
    for left in ["unfinished.jsonl.tmp", "notes.txt"] {
        assert!(spool.join(left).exists(), "{left} is left alone");
    }
    env.verify();
}

#[test]
fn done_files_are_kept_if_so_configured() {
    let env = TestEnv::new();
    env.config(&Site::mailbox().more("keep = true"));
    env.drop_events("a.jsonl", &[event(1)]);
    env.once().expect(0);
    let done = files(&env.path("spool/done"), "jsonl");
    assert_eq!(done.len(), 1);
    assert_eq!(fs::read_to_string(&done[0]).unwrap(), lines(&[event(1)]));
    // The same name again takes nothing from the first one.
    env.drop_events("a.jsonl", &[event(2)]);
    env.once().expect(0);
    assert_eq!(files(&env.path("spool/done"), "jsonl").len(), 2);
    env.verify();
}

#[test]
fn many_files_at_once_are_all_taken() {
    let count = tools::size(1000, 10_000);
    let env = TestEnv::new();
    // Of all these one is told of; the others are decided and recorded.
    env.config(&Site::mailbox().rule(
        "[[rule]]\nname = \"r\"\nrecipients = [\"ana@example.org\"]\nartifacts_to_alert_on = \"^Rare$\"\nsend_interval = 0\n",
    ));
    let mut daemon = env.daemon();
    env.drop_events("first.jsonl", &[event(0)]);
    wait_until("the daemon to take files", 30.0, || !env.path("spool/first.jsonl").exists());
    for n in 1..=count {
        let mut event = event(n);
        if n == count {
            event["Flow"]["request"]["artifacts"] = json!(["Rare"]);
        }
        env.drop_events(&format!("{n:05}.jsonl"), &[event]);
    }
    daemon.wait_for("an empty spool", 60.0, |_| {
        (files(&env.path("spool"), "jsonl").is_empty() && env.mailbox().len() == 1).then_some(())
    });
    assert!(daemon.terminate().success());
    env.verify();
}

#[test]
fn one_file_of_many_events_is_filtered_in_seconds() {
    let count = tools::size(2000, 10_000);
    let env = TestEnv::new();
    env.config(&Site::mailbox().rule(
        "[[rule]]\nname = \"r\"\nrecipients = [\"ana@example.org\"]\nartifacts_to_alert_on = \"^Rare$\"\nsend_interval = 0\n",
    ));
    env.drop_events("many.jsonl", &many(0, count));
    let said = env.once().expect(0);
    said.check(said.took < acceptance::budget(20.0), "it takes seconds");
    env.verify();
}

#[test]
fn a_huge_result_is_streamed() {
    let rule = "[[rule]]\nname = \"r\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\nattachment_format = \"csv\"\n\
         attachments_max_mib = LIMIT\ninclude_result_table_from = [{ source = \".\" }]\n\
         include_result_attachment_from = [{ source = \".\" }]\n";
    // Attached whole; then over the limit: read to the end, dropped, and named.
    for (megabytes, limit) in [(tools::size(60, 60), 500), (tools::size(100, 1000), 10)] {
        let env = TestEnv::new();
        env.config(&Site::mailbox().rule(&rule.replace("LIMIT", &limit.to_string())));
        let mut daemon = env.daemon();
        let with_file = |n: usize, file: &str| {
            let mut event = event(n);
            event["results"]["Custom.Windows.Pslist"] = json!({"file": file});
            event
        };
        env.write("spool/small.rows", "{\"Name\":\"first-row\",\"Pid\":1}\n".repeat(1000));
        env.drop_events("small.jsonl", &[with_file(1, "small.rows")]);
        daemon.wait_for_mails(1);
        let before = daemon.peak_memory_kib();
        let row = format!("{{\"Name\":\"first-row\",\"Pid\":1,\"CommandLine\":\"{}\"}}\n", "x".repeat(950));
        env.write("spool/big.rows", row.repeat(megabytes * 1000));
        env.drop_events("big.jsonl", &[with_file(2, "big.rows")]);
        daemon.wait_for("the mail with the huge result", 240.0, |_| (env.mailbox().len() == 2).then_some(()));
        let grown = daemon.peak_memory_kib() - before;
        assert!(grown < 16 * 1024, "{megabytes} MB of rows took {grown} KiB more");
        assert!(memory(daemon.pid(), "VmRSS:") > 0);
        daemon.terminate();
        env.verify();
        let sizes: Vec<u64> = env.mailbox().iter().map(|path| path.metadata().unwrap().len()).collect();
        let largest = *sizes.iter().max().unwrap();
        if limit > megabytes {
            assert!(largest > megabytes as u64 * 1_000_000, "the attachment is whole: {sizes:?}");
        } else {
            assert!(largest < 1_000_000, "the attachment is dropped: {sizes:?}");
            let told = env.mails().iter().any(|mail| mail.text().contains("10 MiB"));
            assert!(told, "and the mail says so");
        }
    }
}

#[test]
fn a_file_that_was_being_read_is_finished_after_a_crash() {
    // Enough lines that the kill comes in the middle; the position moves with what is stored.
    let count = tools::size(300, 3000);
    let env = TestEnv::new();
    env.config(&Site::mailbox());
    env.drop_events("a.jsonl", &many(0, count));
    for _ in 0..5 {
        let mut daemon = env.daemon();
        let wanted = env.mailbox().len() + 20;
        daemon.wait_for("some mails", 30.0, |_| (env.mailbox().len() >= wanted.min(count)).then_some(()));
        daemon.kill();
    }
    env.once().expect(0);
    env.verify();
    let mails = env.mails();
    assert_eq!(mails.len(), count, "none lost, none twice");
    for n in [0, count / 2, count - 1] {
        assert!(mails.iter().any(|mail| mail.text().contains(&token(n))), "event {n}");
    }
}
