//! What goes wrong goes wrong as it is told to.

use super::*;

const ASK: &str = "SELECT * FROM orgs()";

fn rows(heard: &client::Heard) -> Vec<i64> {
    heard.rows().iter().map(|row| row["n"].as_i64().unwrap()).collect()
}

fn ten() -> (FakeVelociraptor, Client, TempDir) {
    let all = pair(FakeVelociraptor::builder());
    numbers(&all.0, 10);
    all
}

fn one_by_one(client: &Client) -> client::Heard {
    client.ask(&Ask { max_row: 1, ..Ask::new(ASK) })
}

#[test]
fn connections_end_where_they_are_told_to() {
    for cut in [Cut::Reset, Cut::Fin] {
        let (server, client, _dir) = ten();
        for at in [At::Start, At::Rows(0..=0), At::Rows(3..=3), At::InRow(3..=3)] {
            let fault = server.fault(Kind::Orgs, When::Next(1), Fault::Disconnect(at.clone(), cut));
            let heard = one_by_one(&client);
            let status = heard.end.as_ref().unwrap_err();
            assert_ne!(status.code(), Code::Ok, "{at:?}");
            let wanted = if matches!(at, At::Rows(ref n) | At::InRow(ref n) if *n.start() == 3) { 3 } else { 0 };
            // With RST, what was on its way may be lost.
            assert!(rows(&heard).len() <= wanted, "{at:?}: {heard:?}");
            if cut == Cut::Fin {
                assert_eq!(rows(&heard).len(), wanted, "{at:?}: {heard:?}");
            }
            assert_eq!(fault.hits(), 1);
            wait_until("a new connection", 10.0, || client.check().is_ok());
            assert_eq!(rows(&one_by_one(&client)).len(), 10, "once is once");
        }
    }
}

/// A message is cut off after half of its bytes: the client has read some of them, and never gets the row.
#[test]
fn a_row_is_cut_in_its_midst() {
    let (server, client, _dir) = ten();
    server.fault(Kind::Orgs, When::Always, Fault::Pad(2 << 20));
    server.fault(Kind::Orgs, When::Next(1), Fault::Disconnect(At::InRow(1..=1), Cut::Fin));
    let heard = one_by_one(&client);
    assert!(heard.end.is_err());
    assert_eq!(rows(&heard), [0], "the second is not whole");
    assert_eq!(server.queries()[0].rows, 2, "it was on its way");
}

#[test]
fn streams_end_as_they_are_told_to() {
    let (server, client, _dir) = ten();
    server.fault(Kind::Orgs, When::Next(1), Fault::End(At::Rows(3..=3)));
    let heard = one_by_one(&client);
    assert!(heard.end.is_ok());
    assert_eq!(rows(&heard), [0, 1, 2]);

    server.lift_faults();
    server.fault(Kind::Orgs, When::Next(1), Fault::Log(At::Rows(2..=2), "ERROR:orgs: no luck".to_owned()));
    let heard = one_by_one(&client);
    assert!(heard.end.is_ok());
    assert_eq!(rows(&heard), [0, 1]);
    assert_eq!(heard.logs().last().unwrap(), &"vql: ERROR:orgs: no luck");

    server.lift_faults();
    server.fault(Kind::Orgs, When::Next(1), Fault::Status(At::Start, Code::Unknown, "Panic here".to_owned()));
    let heard = one_by_one(&client);
    assert!(heard.messages.is_empty());
    assert_eq!(heard.end.unwrap_err().message(), "Panic here");
}

#[test]
fn rows_come_twice_swapped_and_large() {
    let (server, client, _dir) = ten();
    server.fault(Kind::Orgs, When::Next(1), Fault::Duplicate);
    assert_eq!(rows(&one_by_one(&client)), (0..10).flat_map(|n| [n, n]).collect::<Vec<_>>());
    server.fault(Kind::Orgs, When::Next(1), Fault::Swap);
    assert_eq!(rows(&one_by_one(&client)), [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]);
    server.fault(Kind::Orgs, When::Next(1), Fault::Duplicate);
    server.fault(Kind::Orgs, When::Next(1), Fault::Swap);
    let both: Vec<i64> = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8].into_iter().flat_map(|n| [n, n]).collect();
    assert_eq!(rows(&one_by_one(&client)), both);
    server.fault(Kind::Orgs, When::Next(1), Fault::Pad(5 << 20));
    let heard = one_by_one(&client);
    assert_eq!(rows(&heard).len(), 10);
    assert_eq!(heard.rows()[0]["_Padding"].as_str().unwrap().len(), 5 << 20);
    assert!(server.queries().last().unwrap().largest > 4 << 20);
    let slow = Duration::from_millis(5);
    server.fault(Kind::Orgs, When::Next(1), Fault::Slow(slow));
    let begun = std::time::Instant::now();
    assert_eq!(rows(&one_by_one(&client)).len(), 10);
    assert!(begun.elapsed() >= slow * 10);
}

#[test]
fn faults_come_when_they_are_told_to() {
    let (server, client, _dir) = ten();
    let end = || Fault::End(At::Rows(1..=1));
    let hit = |client: &Client| rows(&one_by_one(client)).len() == 1;
    server.fault(Kind::Flows, When::Always, end());
    assert!(!hit(&client), "another kind");
    let every = server.fault(None, When::Every(3), end());
    let hits: Vec<bool> = (0..6).map(|_| hit(&client)).collect();
    assert_eq!(hits, [false, false, true, false, false, true]);
    assert_eq!(every.hits(), 2);
    every.lift();
    assert!((0..3).all(|_| !hit(&client)));

    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let chance = server.fault(Kind::Orgs, When::Chance(0.5, seed), end());
        runs.push((0..24).map(|_| hit(&client)).collect::<Vec<_>>());
        chance.lift();
    }
    assert_eq!(runs[0], runs[1], "the same seed, the same faults");
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false));
}

#[test]
fn a_black_hole_keeps_the_connection_open() {
    let (server, client, _dir) = ten();
    assert_eq!(rows(&one_by_one(&client)).len(), 10);
    server.black_hole(true);
    assert!(client.hangs(ASK, Duration::from_millis(200)));
    assert!(server.connections() >= 1);
    server.black_hole(false);
    assert_eq!(rows(&one_by_one(&client)).len(), 10);

    let fault = server.fault(Kind::Orgs, When::Next(1), Fault::BlackHole(At::Rows(2..=2)));
    assert!(client.hangs(ASK, Duration::from_millis(200)));
    assert_eq!(fault.hits(), 1);
}
