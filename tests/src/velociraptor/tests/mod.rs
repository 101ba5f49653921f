//! The fake server keeps its word.

mod client;
mod faults;
mod queries;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use serde_json::json;
use tempfile::TempDir;

use self::client::{Ask, Client};
use super::*;
use crate::wait_until;

const SECOND: Duration = Duration::from_millis(40);
const WATCH: &str = "SELECT Timestamp, ClientId, FlowId, Flow FROM watch_monitoring(artifact='System.Flow.Completion')";

/// A server whose seconds are short, a client of it, and the folder of its API client file.
fn pair(builder: Builder) -> (FakeVelociraptor, Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let server = builder.second(SECOND).start();
    let client = Client::new(&server.api_file(dir.path().join("api.yaml"), User::Good));
    (server, client, dir)
}

/// Answers every query with so many rows, `{"n":0}` and so on.
fn numbers(server: &FakeVelociraptor, count: usize) {
    let rows: Vec<Item> = (0..count).map(|n| Item::Row(json!({"n": n}).to_string())).collect();
    server.script(move |_| Some(Reply::Items(rows.clone())));
}

#[test]
fn a_full_part_goes_out_when_one_more_row_comes_and_the_rest_at_the_end() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    for (count, max_row, wanted) in
        [(5, 2, vec![2, 2, 1]), (4, 2, vec![2, 2]), (2, 1, vec![1, 1]), (2, 0, vec![0, 1, 1]), (0, 2, vec![0])]
    {
        server.clear_scripts();
        numbers(&server, count);
        let heard = client.ask(&Ask { max_row, ..Ask::new("SELECT * FROM orgs()") });
        assert!(heard.end.is_ok());
        let parts: Vec<usize> = heard.parts().iter().map(Vec::len).collect();
        assert_eq!(parts, wanted, "{count} rows, max_row {max_row}");
        assert_eq!(heard.messages[0].log, "vql: Starting query execution.");
        // Each part has a line of the log before it.
        assert_eq!(heard.logs().len(), wanted.len() + 1);
        for pair in heard.messages[1..].chunks(2) {
            assert!(pair[0].log.contains("Sending response part") && pair[0].response.is_empty());
            assert!(pair[1].log.is_empty() && pair[1].response.starts_with('['));
        }
        let numbers: Vec<u64> =
            heard.messages.iter().filter(|one| !one.response.is_empty()).map(|one| one.part).collect();
        assert_eq!(numbers, (0..wanted.len() as u64).collect::<Vec<_>>());
        assert_eq!(server.queries().last().unwrap().rows, count as u64);
    }
}

#[test]
fn a_lone_row_of_a_watch_goes_out_when_max_wait_is_over() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let flows = server.world().add_flows(ROOT, 2, 0, 3);
    let mut stream = client.begin(&Ask { max_row: 1, ..Ask::new(WATCH) }).unwrap();
    wait_until("the watch", 10.0, || server.world().watchers(ROOT, COMPLETIONS) == 1);
    let begun = std::time::Instant::now();
    assert_eq!(server.world().complete_at(ROOT, &flows[0].0, &flows[0].1, 1_786_500_123), 1);
    let rows = client.next_rows(&mut stream);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["FlowId"], flows[0].1.as_str());
    assert_eq!(rows[0]["Timestamp"], 1_786_500_123);
    assert_eq!(rows[0]["Flow"]["state"], 2);
    assert!(rows[0]["Flow"].get("request").is_none() && rows[0]["Flow"].get("status").is_none());
    assert!(rows[0].get("_ts").is_none(), "only what was asked for");
    assert!(begun.elapsed() < crate::budget(10.0));

    drop(stream);
    wait_until("the watch's end", 10.0, || server.world().watchers(ROOT, COMPLETIONS) == 0);
    wait_until("the record of it", 10.0, || server.queries()[0].ended.is_some());
    assert_eq!(server.world().complete(ROOT, &flows[1].0, &flows[1].1), 0, "stored, not delivered");
    server.assert_clean();
}

#[test]
fn rows_of_a_watch_say_how_they_came() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let world = server.world();
    world.add_flows(ROOT, 1, 0, 1);
    let (c, f) = (flow::client_id(0), flow::flow_id(0));
    let mut stream =
        client.begin(&Ask::new("SELECT * FROM watch_monitoring(artifact='System.Flow.Completion')")).unwrap();
    wait_until("the watch", 10.0, || world.watchers(ROOT, COMPLETIONS) == 1);
    world.complete_at(ROOT, &c, &f, 1_786_500_123);
    let live = client.next_rows(&mut stream).remove(0);
    assert_eq!((&live["_ts"], &live["_Source"]), (&json!(1_786_500_123), &json!(COMPLETIONS)));

    let text = "SELECT * FROM monitoring(client_id=Cid, artifact='System.Flow.Completion', start_time=Start)";
    for (start, count) in [("1786500123", 1), ("1786500124", 0), ("1786500123000", 1)] {
        let heard = client.ask(&Ask::new(text).env(&[("Cid", &c), ("Start", start)]));
        assert_eq!(heard.rows().len(), count, "{start}");
        if let Some(stored) = heard.rows().first() {
            assert_eq!((&stored["_ts"], &stored["_Source"]), (&json!(1_786_500_123_000_i64), &json!("server")));
            assert_eq!(stored["Flow"], live["Flow"]);
        }
    }
    server.assert_clean();
}

#[test]
fn a_watch_beats_and_says_when_it_has_ended() {
    let beat = Beat::Every(Duration::from_millis(10));
    let (server, client, _dir) = pair(FakeVelociraptor::builder().beat(beat));
    let text = "SELECT * FROM chain(async=TRUE, a={ SELECT * FROM chain(
        a={ SELECT FlowId FROM watch_monitoring(artifact='System.Flow.Completion') WHERE ClientId != 'server' },
        b={ SELECT TRUE AS _Ended FROM scope() }) }, b={ SELECT now() AS _Beat FROM clock(period=5) })";
    let mut stream = client.begin(&Ask { max_row: 1, ..Ask::new(text) }).unwrap();
    assert!(client.next_rows(&mut stream)[0]["_Beat"].is_i64());
    let live = json!({"state": 2});
    server.world().complete_with(ROOT, "server", "F.S", 5, &live);
    server.world().complete_with(ROOT, "C.1", "F.1", 5, &live);
    let next = |stream: &mut _, wanted: &str| loop {
        let row = client.next_rows(stream).remove(0);
        if row.get("_Beat").is_none() {
            assert!(row.get(wanted).is_some(), "{row} instead of {wanted}");
            return row;
        }
    };
    assert_eq!(next(&mut stream, "FlowId")["FlowId"], "F.1", "the server's own flows are left out");
    assert_eq!(server.world().end_watches(ROOT), 1);
    assert_eq!(next(&mut stream, "_Ended"), json!({"_Ended": true}));
    assert!(client.next_rows(&mut stream)[0]["_Beat"].is_i64(), "the beat goes on");
    server.assert_clean();
}

#[test]
fn rights_are_told_apart() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let world = server.world();
    world.add_org("O1", "Other");
    world.set_permissions("O1", &["ANY_QUERY"]);
    world.add_org("O2", "Third");
    world.set_permissions("O2", &[]);
    let asked = |org| client.ask(&Ask { org, ..Ask::new("SELECT * FROM flows(client_id='C.1')") });
    assert!(asked("root").end.is_ok());
    let denied = asked("O1");
    assert!(denied.end.is_ok(), "errors of plugins are no status");
    assert!(denied.logs().contains(&"vql: flows: PermissionDenied: Permission denied: [READ_RESULTS]"), "{denied:?}");
    assert_eq!(denied.parts(), [Vec::<serde_json::Value>::new()]);
    assert_eq!(asked("O2").end.unwrap_err().code(), Code::PermissionDenied);
    let unknown = asked("O3").end.unwrap_err();
    assert!(unknown.code() == Code::Unknown && unknown.message().contains("Org not found"), "{unknown:?}");
    let ended = client.ask(&Ask {
        org: "O1",
        ..Ask::new("SELECT * FROM chain(a={ SELECT * FROM watch_monitoring(artifact='X') }, b={ SELECT 1 AS _Ended FROM scope() })")
    });
    assert_eq!(ended.rows(), [json!({"_Ended": 1})]);
    assert!(ended.logs().iter().any(|line| line.contains("watch_monitoring: PermissionDenied")));
    assert_eq!(client.check().unwrap(), 1);
}

#[test]
fn a_server_that_starts_again_knows_what_it_knew() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let flows = server.world().add_flows(ROOT, 1, 0, 1);
    let (c, f) = &flows[0];
    server.world().complete(ROOT, c, f);
    let stream = client.begin(&Ask::new(WATCH)).unwrap();
    let address = server.address();
    server.stop(Cut::Fin);
    drop(stream);
    assert!(client.check().is_err());
    assert_eq!(server.world().watchers(ROOT, COMPLETIONS), 0);
    server.start();
    assert_eq!(server.address(), address);
    wait_until("a new connection", 10.0, || client.check().is_ok());
    let text = "SELECT FlowId FROM monitoring(client_id=Cid, artifact='System.Flow.Completion', start_time='0')";
    assert_eq!(client.ask(&Ask::new(text).env(&[("Cid", c)])).rows(), [json!({"FlowId": f})]);
}

#[test]
fn completions_wait_for_the_server() {
    let (server, _client, _dir) = pair(FakeVelociraptor::builder());
    let flows = server.world().add_flows(ROOT, 1, 0, 1);
    server.stop(Cut::Reset);
    let world = server.world().clone();
    let waiting = std::thread::spawn(move || world.complete(ROOT, &flows[0].0, &flows[0].1));
    server.start();
    assert_eq!(waiting.join().unwrap(), 0);
}

#[test]
fn certificates_are_as_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let server = FakeVelociraptor::builder().start();
    let file = server.api_file(dir.path().join("good.yaml"), User::Good);
    assert_eq!(std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file.path).unwrap();
    assert!(text.contains("BEGIN RSA PRIVATE KEY"));
    assert_eq!(Client::new(&file).check().unwrap(), 1);
    let file = server.api_file(dir.path().join("pkcs8.yaml"), User::Pkcs8);
    assert_eq!(Client::new(&file).check().unwrap(), 1);
    for leaf in [Leaf::Name("Other".to_owned()), Leaf::Stranger, Leaf::Expired, Leaf::NotYet] {
        server.set_leaf(&leaf);
        let said = Client::new(&file).check().unwrap_err().to_string();
        let wanted = match leaf {
            Leaf::Name(_) => "NotValidForName",
            Leaf::Stranger => "BadSignature",
            Leaf::Expired => "Expired",
            _ => "NotValidYet",
        };
        assert!(said.contains(wanted), "{leaf:?}: {said}");
    }
    server.set_leaf(&Leaf::Good);
    let refused = server.refused().len();
    for (n, user) in [User::Expired, User::NotYet, User::Stranger].into_iter().enumerate() {
        let file = server.api_file(dir.path().join("bad.yaml"), user);
        assert!(Client::new(&file).check().is_err(), "{user:?}");
        wait_until("the refusal", 10.0, || server.refused().len() > refused + n);
    }
}

#[test]
fn a_unix_socket_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client, _dir) = pair(FakeVelociraptor::builder().unix(dir.path().join("api.sock")));
    assert!(server.address().starts_with("unix:///"));
    assert_eq!(client.check().unwrap(), 1);
    server.stop(Cut::Reset);
    server.start();
    wait_until("a new connection", 10.0, || client.check().is_ok());
}

#[test]
fn secrets_are_found_however_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let server = FakeVelociraptor::builder().start();
    let file = server.api_file(dir.path().join("api.yaml"), User::Good);
    let text = std::fs::read_to_string(&file.path).unwrap();
    assert_eq!(file.secrets_in("nothing of it, MIIEpA and BEGIN RSA PRIVATE KEY alone"), Vec::<String>::new());
    let line = text.split("RSA PRIVATE KEY-----").nth(1).unwrap().lines().nth(3).unwrap().trim();
    let again = base64::engine::general_purpose::STANDARD.encode(format!("x{line}"));
    let der = base64::engine::general_purpose::STANDARD.decode(line).unwrap();
    let hex: String = der.iter().map(|byte| format!("{byte:02X}")).collect();
    for (written, how) in [
        (text.as_str(), "line 0 of the client certificate"),
        (line, "line 2 of the private key"),
        (again.as_str(), "in base64 again"),
        (&format!("Pkcs1({der:?})"), "hexadecimal or as a list"),
        (&hex, "hexadecimal or as a list"),
    ] {
        let found = file.secrets_in(written);
        assert!(found.iter().any(|one| one.contains(how)), "{how}: {found:?}");
    }
}
