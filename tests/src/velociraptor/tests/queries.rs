//! What is answered.

use serde_json::json;

use super::*;

/// Bewit's queries, as they are sent: without comments.
fn product_queries() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src/velociraptor/queries");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), lines.join("\n"))
        })
        .collect();
    all.sort();
    assert!(all.len() >= 10);
    all
}

fn query(name: &str) -> String {
    product_queries().into_iter().find(|(own, _)| own == name).unwrap().1
}

#[test]
fn every_query_of_the_product_is_understood() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let world = server.world();
    world.add_artifact("Custom.Windows.Pslist", &["EXECVE"]);
    world.add_log(ROOT, "Custom.Server.Bewit.Completions");
    let (c, f) = world.add_flows(ROOT, 1, 0, 1).remove(0);
    world.complete_at(ROOT, &c, &f, 1_786_500_123);
    let env = [
        ("Cid", c.as_str()),
        ("Fid", f.as_str()),
        ("Source", "Custom.Windows.Pslist"),
        ("WantClient", "Y"),
        ("WantHunt", ""),
        ("Names", r#"["Custom.Windows.Pslist"]"#),
        ("Since", "1786500000"),
        ("Seen", "1786499400"),
    ];
    for (name, text) in product_queries() {
        if name == "watch" {
            let _ = client.begin(&Ask::new(&text)).unwrap();
        } else {
            let heard = client.ask(&Ask::new(&text).env(&env));
            assert!(heard.end.is_ok(), "{name}");
            assert!(!heard.rows().is_empty() || name == "uploads", "{name}: {heard:?}");
        }
    }
    assert_eq!(server.count(Kind::Unknown), 0, "{:?}", server.counts());
    server.assert_clean();
}

#[test]
fn a_flow_has_what_its_query_asks_for() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let world = server.world();
    world.add_client_with(ROOT, "C.1", flow::client_info("C.1"), json!({"owner": "kim@example.org"}));
    world.add_hunt(ROOT, flow::hunt("H.X", "Everything", &["urgent"]));
    world.add_flow(ROOT, Flow { failed: true, status: "it broke".to_owned(), ..Flow::new("C.1", "F.X.H") });
    let text = query("flow");
    let ask = |client_too: &str, hunt_too: &str| {
        let env = [("Cid", "C.1"), ("Fid", "F.X.H"), ("WantClient", client_too), ("WantHunt", hunt_too)];
        client.ask(&Ask::new(&text).env(&env)).rows().remove(0)
    };
    let row = ask("Y", "Y");
    assert_eq!((&row["Flow"]["state"], &row["Flow"]["status"]), (&json!("ERROR"), &json!("it broke")));
    assert_eq!(row["Flow"]["request"]["creator"], "ana@example.org");
    assert!(row["Flow"]["request"].get("compiled_collector_args").is_none(), "only what is named");
    assert_eq!(row["Flow"]["query_stats"][0]["status"], "GENERIC_ERROR");
    assert_eq!(row["client_info"]["client_id"], "C.1");
    assert_eq!(row["client_metadata"], json!({"owner": "kim@example.org"}));
    assert_eq!(row["hunt"]["hunt_description"], "Everything");
    let row = ask("", "");
    assert!(row["client_info"].is_null() && row["hunt"].is_null());
    let none = client.ask(&Ask::new(&text).env(&[("Cid", "C.1"), ("Fid", "F.Y"), ("WantClient", "")]));
    assert_eq!(none.rows(), Vec::<serde_json::Value>::new());
}

#[test]
fn rows_of_sources_are_limited_where_the_text_says_so() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let world = server.world();
    let mut flow = Flow::new("C.1", "F.1");
    flow.sources = vec![("Custom.A".to_owned(), 5), ("Custom.A/Two".to_owned(), 1)];
    world.add_flow(ROOT, flow);
    world.set_results(ROOT, "C.1", "F.1", "Custom.A/Two", &[json!({"z": 1, "a": u64::MAX})]);
    let text = query("results");
    let ask = |text: &str, source: &str| {
        client.ask(&Ask::new(text).env(&[("Cid", "C.1"), ("Fid", "F.1"), ("Source", source)]))
    };
    assert_eq!(ask(&text, "Custom.A").rows().len(), 5);
    assert_eq!(ask(&format!("{text}\nLIMIT 3"), "Custom.A").rows().len(), 3);
    let stored = ask(&text, "Custom.A/Two");
    assert_eq!(
        stored.messages.iter().find(|one| !one.response.is_empty()).unwrap().response,
        r#"[{"z":1,"a":18446744073709551615}]"#
    );
    let unknown = ask(&text, "Custom.B");
    assert!(unknown.rows().is_empty() && unknown.logs().iter().any(|line| line.starts_with("vql: source: ")));
}

#[test]
fn catching_up_goes_through_the_clients_that_were_seen() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let world = server.world();
    let now = flow::micros() / 1_000_000;
    for (n, (c, f)) in world.add_flows(ROOT, 4, 0, 8).iter().enumerate() {
        world.complete_at(ROOT, c, f, now - 10 + n as i64);
    }
    let mut old = flow::client_info("C.old");
    old["last_seen_at"] = json!(5);
    world.add_client_with(ROOT, "C.old", old, json!({}));
    let since = (now - 5).to_string();
    let rows = client.ask(&Ask::new(&query("catch_up")).env(&[("Since", &since), ("Seen", &since)])).rows();
    let (last, found) = rows.split_last().unwrap();
    assert_eq!(last, &json!({"_Ended": true}));
    let mut flows: Vec<&str> = found.iter().map(|row| row["FlowId"].as_str().unwrap()).collect();
    flows.sort_unstable();
    assert_eq!(flows, [5, 6, 7].map(flow::flow_id));

    // Without the shipped artifact there is no log, and the server says so.
    let heard = client.ask(&Ask::new(&query("catch_up_log")).env(&[("Since", &since)]));
    assert_eq!(heard.rows(), [json!({"_Ended": true})]);
    assert!(heard.logs().iter().any(|line| line.starts_with("vql: source: ")), "{heard:?}");
    let log = "Custom.Server.Bewit.Completions";
    world.event(ROOT, log, now - 9, &json!({"_Beat": now - 9}));
    world.event(ROOT, log, now, &json!({"Timestamp": now, "ClientId": "C.1", "FlowId": "F.1", "Flow": {"state": 2}}));
    let rows = client.ask(&Ask::new(&query("catch_up_log")).env(&[("Since", &since)])).rows();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["FlowId"], &rows[0]["_Beat"]), (&json!("F.1"), &json!(null)));
}

#[test]
fn orgs_links_and_definitions() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let world = server.world();
    world.add_org("O1", "Other");
    world.add_artifact("A", &["EXECVE"]);
    world.add_artifact("B", &[]);
    world.set_public_url("https://velo.example.org/base/app/index.html?x=1#y");
    assert_eq!(
        client.ask(&Ask::new(&query("orgs"))).rows(),
        [json!({"OrgId": "O1", "Name": "Other"}), json!({"OrgId": "root", "Name": "<root>"})]
    );
    let links = client.ask(&Ask { org: "O1", ..Ask::new(&query("links")) }).rows().remove(0);
    assert_eq!(links["page"], "https://velo.example.org/base/app/index.html?org_id=O1#/host/C.0000000000000000");
    assert_eq!(
        links["download"],
        "https://velo.example.org/api/v1/DownloadVFSFile?fs_components=a&org_id=O1&vfs_path=a"
    );
    let ask = |names: &str| client.ask(&Ask::new(&query("artifacts")).env(&[("Names", names)]));
    assert_eq!(ask(r#"["A"]"#).rows(), [json!({"name": "A", "required_permissions": ["EXECVE"]})]);
    assert_eq!(ask("[]").rows().len(), 2, "an empty list is every artifact");
    assert!(ask(r#"["C"]"#).rows().is_empty());
}

#[test]
fn what_no_client_may_do_is_noticed() {
    let (server, client, _dir) = pair(FakeVelociraptor::builder());
    let (c, _) = server.world().add_flows(ROOT, 1, 0, 1).remove(0);
    client.ask(&Ask::new("SELECT * FROM flows(client_id=Cid)").env(&[("Cid", &c)]));
    server.assert_clean();

    client.ask(&Ask::new(&format!("SELECT * FROM flows(client_id='{c}')")));
    let found = server.complaints();
    assert!(found.len() == 1 && found[0].contains(&format!("the id {c} is in the text")), "{found:?}");

    client.ask(&Ask::new("SELECT * FROM uploads(client_id=ClientId, flow_id='x')").env(&[("ClientId", &c)]));
    assert!(server.complaints().iter().any(|one| one.contains("uploads() takes ClientId")));

    for (text, said) in [
        ("SELECT * FROM glob(globs='/*')", "vql: VQL Error: Plugin glob not found"),
        ("SELECT * FORM orgs()", "vql: VQL Error: unexpected token"),
        ("SELECT execve(argv='id') AS x FROM scope()", "vql: Symbol execve not found"),
        ("SELECT * FROM flows(client_id=Nothing)", "vql: Symbol Nothing not found"),
    ] {
        let before = server.complaints().len();
        let heard = client.ask(&Ask::new(text));
        assert!(heard.end.is_ok());
        assert!(heard.logs().iter().any(|line| line.starts_with(said)), "{text}: {heard:?}");
        assert!(server.complaints().len() > before, "{text}");
    }
}
