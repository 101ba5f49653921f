use std::fs;
use std::path::PathBuf;

use super::*;

const EVENT: &str =
    r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","Flow":{"request":{"artifacts":["A.B"]}}}"#;

#[test]
fn samples_are_found_by_name() {
    let sources = Sources::new(vec![Arc::new(Samples)]);
    let groups = sources.list();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].events[0].0, "sample:finished");
    assert!(groups[0].events[0].1.starts_with("finished: ws-17.example.org · "), "{:?}", groups[0].events[0]);
    for (reference, _) in &groups[0].events {
        assert!(sources.get(reference).unwrap().line.starts_with(b"{"), "{reference}");
    }
    for wrong in ["sample:none", "none:finished", "finished", "", ":", "sample:"] {
        assert!(sources.get(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn neighbours_follow_each_other_around() {
    let sources = Sources::new(vec![Arc::new(Samples)]);
    let all = sources.list().remove(0).events;
    let line = |at: usize| sources.get(&all[at].0).unwrap();
    let last = all.len() - 1;
    assert_eq!(sources.neighbours(&all[last].0, 2), [line(0), line(1)]);
    assert_eq!(sources.neighbours(&all[2].0, 2), [line(3), line(4)]);
    assert_eq!(sources.neighbours(&all[2].0, 1000).len(), last);
    assert!(sources.neighbours("none:x", 2).is_empty());
}

#[test]
fn files_are_read_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    fs::write(&path, format!("\u{feff}{EVENT}\r\n\nnonsense\n{}", EVENT.replace("F.1", "F.2"))).unwrap();
    let files = Files::new(vec![path.clone()]);
    let listed = files.list().unwrap();
    assert_eq!(listed.iter().map(|listed| listed.id.as_str()).collect::<Vec<_>>(), ["0:1", "0:3", "0:4"]);
    assert_eq!(listed[0].label, "events.jsonl:1 C.1 · A.B · F.1");
    assert_eq!(listed[1].label, "events.jsonl:3 no event");
    assert_eq!(
        files.get("0:1").unwrap().unwrap(),
        Found { line: EVENT.into(), folder: Some(Arc::from(folder.path())) }
    );
    for none in ["0:2", "0:9", "1:1", "0", "x:1", "0:x", "0:0"] {
        assert_eq!(files.get(none).unwrap(), None, "{none}");
    }
    // Written again: the list follows.
    fs::write(&path, format!("{EVENT}\n")).unwrap();
    assert_eq!(files.list().unwrap().len(), 1);
    fs::remove_file(&path).unwrap();
    assert!(files.list().unwrap_err().starts_with("events.jsonl: "));
    let pipe = Files::new(vec![PathBuf::from("/dev/null")]);
    assert!(pipe.list().unwrap_err().contains("not a regular file"));
}

#[test]
fn nothing_but_events_of_the_spool_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = format!(
        "[smtp]\nmailbox = \"mail\"\nfrom = \"b@example.org\"\n[intake.spool]\npath = \"{}\"\n",
        at("spool").display()
    );
    let config = crate::config::load::parse(&config, "bewit.toml", folder.path()).unwrap();
    let snapshot = crate::snapshot::Snapshot::build(config).unwrap();
    let spool = Spool::new(Arc::new(arc_swap::ArcSwap::from_pointee(snapshot)));
    assert_eq!(spool.list().unwrap(), []);
    fs::create_dir_all(at("spool/done")).unwrap();
    fs::write(at("secret.jsonl"), EVENT).unwrap();
    fs::write(at("spool/done/old.jsonl"), EVENT).unwrap();
    fs::write(at("spool/a.jsonl"), EVENT).unwrap();
    fs::write(at("spool/.b.jsonl"), EVENT).unwrap();
    fs::write(at("spool/c.txt"), EVENT).unwrap();
    std::os::unix::fs::symlink(at("secret.jsonl"), at("spool/d.jsonl")).unwrap();
    let listed = spool.list().unwrap();
    assert_eq!(listed.iter().map(|listed| listed.id.as_str()).collect::<Vec<_>>(), ["1:a.jsonl"]);
    assert_eq!(spool.get("1:a.jsonl").unwrap().unwrap().line, EVENT.as_bytes());
    for none in ["1:d.jsonl", "1:../secret.jsonl", "1:done/old.jsonl", "1:.b.jsonl", "1:c.txt", "1:", "a.jsonl"] {
        assert_eq!(spool.get(none).unwrap(), None, "{none}");
    }
}

#[test]
fn what_is_pasted_may_stand_on_many_lines() {
    let pasted = Pasted::default();
    let pretty = "{\n  \"type\": \"System.Flow.Completion\",\r\n  \"ClientId\": \"C.9\",\n  \"FlowId\": \"F.9\"\n}\n";
    let id = pasted.paste(pretty).unwrap();
    assert_eq!(label(&pasted.get(&id).unwrap().unwrap().line), "C.9 · F.9");
    let two = format!("{EVENT}\n\n{}\n", EVENT.replace("F.1", "F.2"));
    let first = pasted.paste(&two).unwrap();
    assert_eq!(pasted.get(&first).unwrap().unwrap().line, EVENT.as_bytes());
    assert_eq!(pasted.list().unwrap().len(), 3);
    assert_eq!(pasted.list().unwrap()[0].id, first);
    assert!(pasted.paste(" \n").is_err() && pasted.paste("nonsense").is_err());
    for number in 0..40 {
        pasted.paste(&EVENT.replace("F.1", &format!("F.{number}"))).unwrap();
    }
    assert_eq!(pasted.list().unwrap().len(), 16);
    assert_eq!(pasted.get(&id).unwrap(), None);
}
