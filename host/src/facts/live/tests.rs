//! What is asked, how often, and what comes of it; against a stand-in for the server.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::event::FlowCompletion;
use crate::event::line::LineLimits;
use crate::event::parse::parse;
use crate::event::rows::ResultSet;
use crate::facts::RowReader;
use crate::rule::parity::rules_of;
use crate::rule::{FilterUse, Rule};

/// One question as it was asked.
#[derive(Debug, Clone)]
struct Heard {
    query: &'static str,
    env: Vec<(&'static str, String)>,
    limit: Option<u64>,
}

impl Heard {
    fn get(&self, name: &str) -> &str {
        &self.env.iter().find(|(own, _)| *own == name).unwrap().1
    }
}

/// What a server makes of a question.
type Script = Box<dyn Fn(&Heard) -> Result<Vec<Result<Value, ApiError>>, ApiError> + Send + Sync>;

struct Stub {
    script: Script,
    heard: Mutex<Vec<Heard>>,
    /// Rows that were taken.
    taken: Arc<AtomicUsize>,
    now: AtomicUsize,
    most: AtomicUsize,
    /// Holds answers back until it is told.
    gate: Option<Notify>,
}

struct Rows(VecDeque<Result<Value, ApiError>>, Arc<AtomicUsize>);

impl Answers for Rows {
    fn next(&mut self) -> Answering<'_, Option<Box<RawValue>>> {
        Box::pin(async {
            let Some(row) = self.0.pop_front() else { return Ok(None) };
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(Some(RawValue::from_string(row?.to_string()).unwrap()))
        })
    }
}

#[derive(Clone)]
struct Server(Arc<Stub>);

impl Asks for Server {
    fn ask<'a>(&'a self, ask: Ask<'a>) -> Answering<'a, Box<dyn Answers>> {
        let heard = Heard { query: ask.query.name, env: ask.env.clone(), limit: ask.limit };
        for (_, value) in &heard.env {
            assert!(value.len() < 2 || !ask.query.text(ask.limit).contains(value), "an id in a text: {heard:?}");
        }
        let stub = &self.0;
        stub.heard.lock().unwrap().push(heard.clone());
        Box::pin(async move {
            let now = stub.now.fetch_add(1, Ordering::SeqCst) + 1;
            stub.most.fetch_max(now, Ordering::SeqCst);
            match &stub.gate {
                Some(gate) => gate.notified().await,
                None => tokio::task::yield_now().await,
            }
            let rows = (stub.script)(&heard);
            stub.now.fetch_sub(1, Ordering::SeqCst);
            Ok(Box::new(Rows(rows?.into(), Arc::clone(&stub.taken))) as Box<dyn Answers>)
        })
    }
}

struct Site {
    server: Server,
    live: Live,
    folder: tempfile::TempDir,
}

fn site_with(script: Script, gate: Option<Notify>) -> Site {
    let stub = Stub {
        script,
        heard: Mutex::default(),
        taken: Arc::default(),
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        gate,
    };
    let server = Server(Arc::new(stub));
    let folder = tempfile::tempdir().unwrap();
    let live = Live::new(server.clone(), folder.path().join("asked"));
    Site { server, live, folder }
}

fn site(script: impl Fn(&Heard) -> Result<Vec<Result<Value, ApiError>>, ApiError> + Send + Sync + 'static) -> Site {
    site_with(Box::new(script), None)
}

impl Site {
    fn asked(&self) -> Vec<Heard> {
        self.server.0.heard.lock().unwrap().clone()
    }

    fn count(&self, query: &str) -> usize {
        self.asked().iter().filter(|heard| heard.query == query).count()
    }

    async fn gather(&self, rules: &[Rule], event: &FlowCompletion) -> Gathered {
        gather(&self.live, rules, event).await
    }
}

async fn gather(live: &Live, rules: &[Rule], event: &FlowCompletion) -> Gathered {
    let rules: Vec<&Rule> = rules.iter().collect();
    let (rows, limits) = (RowReader::new(None), LineLimits::default());
    let request =
        Request { rules: &rules, event, rows: &rows, limits: &limits, reads_rows: &|_| true, mail: true, links: true };
    live.gather(&request).await.unwrap()
}

fn rules(keys: &[&str]) -> Vec<Rule> {
    let one = |(at, keys): (usize, &&str)| {
        format!("[[rule]]\nname = \"r{at}\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\n{keys}\n")
    };
    rules_of(&keys.iter().enumerate().map(one).collect::<String>())
}

const QUIET: &str = "notify_if_results_labels = \"\"\nnotify_if_uploads_labels = \"\"\n";
const TABLE: &str = "include_result_table_from = [{ source = \"^A$\", columns = \".\", max_rows = 20 }]\n";

fn row(client: &str, flow: &str) -> FlowCompletion {
    let row = json!({
        "type": "System.Flow.Completion", "Timestamp": 1_786_500_123, "ClientId": client, "FlowId": flow,
        "Flow": {"client_id": client, "session_id": flow, "state": 2, "artifacts_with_results": ["A", "B"],
                 "query_stats": [{"Artifact": "A", "result_rows": 4100}]},
    });
    parse(&row.to_string()).unwrap()
}

fn record(client: &str, flow: &str) -> Value {
    json!({
        "client_id": client, "session_id": flow, "create_time": 1_786_500_000_000_000_i64, "state": "FINISHED",
        "request": {"creator": "ana", "artifacts": ["A", "B"]}, "artifacts_with_results": ["A", "B"],
        "query_stats": [{"Artifact": "A", "result_rows": 4100}], "total_uploaded_files": 25,
    })
}

/// A server as it should be: 4100 rows of `A`, 3 of `B`, 25 uploads.
fn well(heard: &Heard) -> Result<Vec<Result<Value, ApiError>>, ApiError> {
    let most = usize::try_from(heard.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    Ok(match heard.query {
        "flow" => {
            let wants = |name: &str, fact: Value| if heard.get(name) == "Y" { fact } else { Value::Null };
            let client = wants("WantClient", json!({"os_info": {"fqdn": format!("host-{}", heard.get("Cid"))}}));
            vec![Ok(json!({
                "Flow": record(heard.get("Cid"), heard.get("Fid")),
                "client_info": client, "client_metadata": wants("WantClient", json!({"owner": "bob@example.org"})),
                "hunt": wants("WantHunt", json!({"hunt_id": "H.1", "hunt_description": "sweep", "start_request": {"x": 1}})),
            }))]
        }
        "artifacts" => vec![Ok(json!({"name": "A", "required_permissions": ["EXECVE"]}))],
        "results" => {
            let rows = if heard.get("Source") == "A" { 4100 } else { 3 };
            (0..rows).take(most).map(|n| Ok(json!({"n": n}))).collect()
        }
        "uploads" => {
            (0..25).take(most).map(|n| Ok(json!({"client_path": format!("/tmp/{n}"), "file_size": n}))).collect()
        }
        "links" => vec![Ok(json!({
            "page": "https://velo.example.org/gui/app/index.html?org_id=root#/host/C.0",
            "download": "https://velo.example.org/gui/api/v1/DownloadVFSFile?fs_components=a",
        }))],
        other => panic!("{other}"),
    })
}

fn failed(query: &'static str) -> ApiError {
    ApiError::Query { query, log: "ERROR: on purpose".to_owned() }
}

#[tokio::test]
async fn a_live_row_becomes_whole_with_the_rows_that_a_mail_shows() {
    let site = site(well);
    let rules =
        rules(&[&format!("{TABLE}include_uploads_table_rows = 10\nclient_metadata = [{{ field = \"owner\" }}]")]);
    let facts = site.gather(&rules, &row("C.1", "F.1")).await;
    assert_eq!(facts.standing, [Standing::Ready]);
    let event = facts.event.unwrap();
    assert_eq!((event.flow.creator.as_str(), event.client.as_ref().unwrap().fqdn.as_str()), ("ana", "host-C.1"));
    assert_eq!(event.metadata.as_ref().unwrap()["owner"], "bob@example.org");
    let results = event.results.as_ref().unwrap();
    assert_eq!(results.keys().collect::<Vec<_>>(), ["A"], "a source that no rule shows is not read");
    let ResultSet::Asked(asked) = &results["A"] else { panic!("{results:?}") };
    assert_eq!((asked.rows, asked.total, asked.exact), (21, 4100, true));
    assert_eq!(facts.rows.open(&results["A"]).unwrap().count(), 21);
    assert_eq!(facts.rows.count(&results["A"]).unwrap(), 4100);
    assert_eq!((event.uploads.as_ref().unwrap().len(), event.uploads_total), (11, Some(25)));
    assert_eq!(facts.links.unwrap().page, "https://velo.example.org/gui/app/index.html");
    let limits: Vec<_> = site.asked().iter().map(|heard| (heard.query, heard.limit)).collect();
    assert_eq!(limits, [("flow", None), ("uploads", Some(12)), ("results", Some(21)), ("links", None)]);
    let census = site.live.census();
    assert_eq!((census["flow"].queries, census["results"].queries, census["flow"].failed), (1, 1, 0));
    // The rows go with their reader.
    let held = std::fs::read_dir(site.folder.path().join("asked")).unwrap().count();
    drop(facts.rows);
    assert_eq!((held, std::fs::read_dir(site.folder.path().join("asked")).unwrap().count()), (1, 0));
}

#[tokio::test]
async fn nothing_is_asked_for_who_is_sure_to_skip_and_only_what_lacks_for_others() {
    let site = site(well);
    let quiet = rules(&[QUIET]);
    let facts = site.gather(&quiet, &row("C.1", "F.1.H")).await;
    assert!(facts.event.is_none() && site.asked().is_empty() && facts.standing == [Standing::Ready]);
    // A rule with a filter that says no after all: the record is asked for, rows are not.
    let ignored = rules(&[&format!("{QUIET}{TABLE}artifacts_to_alert_on = \"nothing\"")]);
    site.gather(&ignored, &row("C.1", "F.1")).await;
    assert_eq!(site.asked().iter().map(|heard| heard.query).collect::<Vec<_>>(), ["flow"]);
    // An event that carries all needs no query; nor does a known client.
    let mut full = record("C.1", "F.2");
    full["total_uploaded_files"] = json!(0);
    let full = json!({"type": "System.Flow.Completion", "Timestamp": 1_786_500_123, "ClientId": "C.1", "FlowId": "F.2", "Flow": full});
    let facts = site.gather(&quiet, &parse(&full.to_string()).unwrap()).await;
    assert_eq!(facts.event.unwrap().client.unwrap().fqdn, "host-C.1");
    assert_eq!((site.count("flow"), site.count("results"), site.count("links")), (1, 0, 1));
}

#[tokio::test]
async fn a_burst_on_one_hunt_asks_once_for_it_and_at_most_eight_flows_at_a_time() {
    let site = site(well);
    let rules = Arc::new(rules(&["notify_hunts = true\nartifact_perm_to_alert_on = \"EXECVE\""]));
    let mut tasks = Vec::new();
    for n in 0..200 {
        let (live, rules) = (site.live.clone(), Arc::clone(&rules));
        tasks.push(tokio::spawn(async move {
            let facts = gather(&live, &rules, &row(&format!("C.{}", n % 50), "F.1.H")).await;
            let event = facts.event.unwrap();
            assert_eq!(event.hunt.as_ref().unwrap().description, "sweep");
            assert!(!event.document.contains("start_request"));
            assert_eq!(event.artifact_definitions.as_ref().unwrap()[0].required_permissions, ["EXECVE"]);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let wanted =
        |name: &str| site.asked().iter().filter(|heard| heard.query == "flow" && heard.get(name) == "Y").count();
    assert_eq!((site.count("flow"), wanted("WantHunt"), wanted("WantClient")), (200, 1, 50));
    assert_eq!((site.count("artifacts"), site.count("links")), (1, 1));
    assert!(site.server.0.most.load(Ordering::SeqCst) <= FLOWS);
}

#[tokio::test]
async fn at_most_eight_wait_at_the_server() {
    let site = site_with(Box::new(well), Some(Notify::new()));
    let rules = Arc::new(rules(&[QUIET]));
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (live, rules) = (site.live.clone(), Arc::clone(&rules));
            tokio::spawn(async move { gather(&live, &rules, &row(&format!("C.{n}"), "F.1")).await.standing })
        })
        .collect();
    while site.server.0.now.load(Ordering::SeqCst) < FLOWS {
        tokio::task::yield_now().await;
    }
    while tasks.iter().any(|task| !task.is_finished()) {
        site.server.0.gate.as_ref().unwrap().notify_one();
        tokio::task::yield_now().await;
    }
    assert_eq!(site.server.0.most.load(Ordering::SeqCst), FLOWS);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_asked_once_and_the_rest_waits() {
    let site = site(|_| Err(ApiError::Unreachable("no connection".to_owned())));
    let rules = rules(&["", &format!("{QUIET}artifacts_to_alert_on = \"x\""), "notify_hunts = true"]);
    for n in 0..10 {
        let facts = site.gather(&rules, &row(&format!("C.{n}"), "F.1")).await;
        let Standing::Waits(lack) = &facts.standing[0] else { panic!("{:?}", facts.standing) };
        assert!(lack.reason.contains("Velociraptor") && lack.reason.contains("no connection"), "{}", lack.reason);
        assert!(!lack.counts && facts.event.is_none());
    }
    assert_eq!(site.asked().len(), 2, "a connection that was lost is made again once");
    // A rule that needs nothing does not wait.
    let facts = site.gather(&rules, &row("C.1", "F.1.H")).await;
    assert_eq!(facts.standing[1], Standing::Ready);
    assert!(matches!(facts.standing[2], Standing::Waits(_)));
}

#[tokio::test]
async fn a_connection_that_has_ended_is_made_again_at_once() {
    let tries = AtomicUsize::new(0);
    let site = site(move |heard| match (heard.query, tries.fetch_add(1, Ordering::SeqCst)) {
        ("flow", 0) => Err(ApiError::Unreachable("the connection has ended".to_owned())),
        ("results", 2) => Ok(vec![Ok(json!({})), Err(ApiError::Unreachable("the connection has ended".to_owned()))]),
        _ => well(heard),
    });
    let facts = site.gather(&rules(&[&format!("{TABLE}include_uploads_table_rows = 0")]), &row("C.1", "F.1")).await;
    assert_eq!(facts.standing, [Standing::Ready]);
    let results = facts.event.unwrap().results.clone().unwrap();
    assert_eq!(facts.rows.open(&results["A"]).unwrap().count(), 21);
    assert_eq!((site.count("flow"), site.count("results")), (2, 2));
}

#[tokio::test]
async fn a_denial_is_the_orgs_own_and_says_what_to_do() {
    let site = site(|heard| match heard.query {
        "flow" => Err(ApiError::Denied("READ_RESULTS".to_owned())),
        _ => well(heard),
    });
    let rules = rules(&[""]);
    let facts = site.gather(&rules, &row("C.1", "F.1")).await;
    let Standing::Waits(lack) = &facts.standing[0] else { panic!() };
    assert!(lack.reason.contains("velociraptor acl grant") && !lack.counts, "{}", lack.reason);
    let mut other = row("C.1", "F.1");
    other.key.org_id = "O1".to_owned();
    site.gather(&rules, &other).await;
    assert_eq!(site.count("flow"), 2, "another org is asked");
    site.gather(&rules, &other).await;
    assert_eq!(site.count("flow"), 2);
}

#[tokio::test]
async fn no_record_is_a_reason_to_skip_for_who_needs_it() {
    for answer in [json!(null), record("C.2", "F.1"), record("C.1", "F.2"), json!({"request": {}})] {
        let site = site(move |_| Ok(if answer.is_null() { vec![] } else { vec![Ok(json!({"Flow": answer}))] }));
        let facts = site.gather(&rules(&[""]), &row("C.1", "F.1")).await;
        assert_eq!(facts.standing, [Standing::NoRecord]);
        assert!(facts.event.is_none());
    }
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_tried_twice_and_then_told() {
    let tries = AtomicUsize::new(0);
    let site = site(move |heard| match heard.query {
        "results" if heard.get("Source") == "A" => Err(failed("results")),
        // The first try ends in the middle.
        "results" if tries.fetch_add(1, Ordering::SeqCst) == 0 => Ok(vec![Ok(json!({"n": 1})), Err(failed("results"))]),
        "uploads" => Err(failed("uploads")),
        _ => well(heard),
    });
    let rules = rules(&["include_result_table_from = [{ source = \".\" }]\ninclude_uploads_table_rows = 5"]);
    let facts = site.gather(&rules, &row("C.1", "F.1")).await;
    assert_eq!(facts.standing, [Standing::Ready]);
    let event = facts.event.unwrap();
    let results = event.results.as_ref().unwrap();
    let ResultSet::Unusable(why) = &results["A"] else { panic!("{results:?}") };
    assert!(why.starts_with("result rows could not be read: the query `results` failed"), "{why}");
    assert_eq!(facts.rows.open(&results["B"]).unwrap().count(), 3);
    assert!(event.missing[0].starts_with("The list of uploads could not be read"), "{:?}", event.missing);
    assert_eq!((site.count("results"), site.count("uploads")), (4, 2));
}

#[tokio::test]
async fn a_connection_lost_among_the_rows_puts_the_mail_off() {
    let site = site(|heard| match heard.query {
        "results" => Ok(vec![Ok(json!({"n": 1})), Err(ApiError::Unreachable("lost".to_owned()))]),
        _ => well(heard),
    });
    let rules = rules(&[TABLE, ""]);
    let facts = site.gather(&rules, &row("C.1", "F.1")).await;
    assert!(matches!(&facts.standing[0], Standing::Waits(lack) if !lack.counts));
    assert_eq!(facts.standing[1], Standing::Ready, "it shows no rows");
    assert_eq!(std::fs::read_dir(site.folder.path().join("asked")).unwrap().count(), 0);
}

#[tokio::test]
async fn rows_are_read_to_a_number_of_bytes_where_no_number_of_rows_is_set() {
    let fat = "x".repeat(100_000);
    let site = site(move |heard| match heard.query {
        "results" => Ok((0..100).map(|_| Ok(json!({"fat": fat}))).collect()),
        _ => well(heard),
    });
    const FILE: &str = "include_result_attachment_from = [{ source = \"^A$\" }]\nattachments_max_mib = 1\n";
    let facts = site.gather(&rules(&[FILE]), &row("C.1", "F.1")).await;
    let results = facts.event.as_ref().unwrap().results.clone().unwrap();
    let ResultSet::Asked(asked) = &results["A"] else { panic!() };
    // The row after the last one tells that there are more; the rest stays at the server.
    assert_eq!((asked.rows, asked.total, asked.exact), (11, 4100, true));
    assert!(results["A"].part().is_some());
    // Exactly as many as are wanted, and nobody says how many there are.
    let set = ResultSet::Asked(crate::event::rows::AskedRows { file: "r".to_owned(), rows: 5, total: 5, exact: false });
    assert!(set.part().is_some());
}

#[tokio::test]
async fn a_plugin_with_a_say_sees_all_sources() {
    let site = site(well);
    let mut rules = rules(&[&format!("{QUIET}artifacts_to_alert_on = \"nothing\"")]);
    rules[0].filters = vec![FilterUse { plugin: "ioc".to_owned(), always: true }];
    let facts = site.gather(&rules, &row("C.1", "F.1.H")).await;
    let event = facts.event.unwrap();
    assert_eq!(event.results.as_ref().unwrap().len(), 2);
    assert_eq!(event.uploads.as_ref().unwrap().len(), 25);
    assert!(event.metadata.is_some() && event.hunt.is_some());
}

#[tokio::test]
async fn only_links_that_can_be_followed_are_taken() {
    for (page, download, taken) in [
        ("https://v.example/a?org_id=root#x", "http://v.example/d?x=1", true),
        ("javascript:alert(1)?org_id=root", "https://v.example/d?x", false),
        ("https://v.example/a\"onclick=?x", "https://v.example/d?x", false),
        ("/app/index.html?org_id=root#", "/api/v1/DownloadVFSFile?x", false),
        ("https://v.example/none", "https://v.example/none", false),
    ] {
        let site = site(move |heard| match heard.query {
            "links" => Ok(vec![Ok(json!({"page": page, "download": download}))]),
            _ => well(heard),
        });
        for _ in 0..2 {
            let facts = site.gather(&rules(&[""]), &row("C.1", "F.1")).await;
            assert_eq!(facts.links.is_some(), taken, "{page}");
        }
        assert_eq!(site.count("links"), 1, "no links are remembered, too");
    }
}

#[test]
fn rows_are_counted_where_the_record_says_whose_they_are() {
    let stats = |artifact: &str, names: &[&str], rows| crate::event::QueryStats {
        artifact: artifact.to_owned(),
        names_with_response: names.iter().map(|&name| name.to_owned()).collect(),
        result_rows: rows,
        ..Default::default()
    };
    let all = [stats("A", &["A"], 3), stats("A", &["A"], 4), stats("B", &["B/One"], 5), stats("C", &["C/1", "C/2"], 9)];
    assert_eq!(results::counted("A", &all), Some(7));
    assert_eq!(results::counted("B/One", &all), Some(5));
    assert_eq!(results::counted("C/1", &all), None);
    assert_eq!(results::counted("D", &all), None);
}
