//! Lists for pages: the right rows, in pieces, and by indexes alone.

use sqlx::{ConnectOptions, Connection};

use super::*;
use crate::outbox::look::{EventFilter, MailFilter, PAGE, Page, Reader};
use crate::outbox::state::State;

async fn reader(rig: &Rig) -> Reader {
    Reader::open(&rig.database()).await.unwrap().unwrap()
}

/// Every page, one after the other.
async fn mails(rig: &Rig, filter: &MailFilter) -> Vec<look::MailEntry> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let Page { items, next, .. } = reader(rig).await.mails(filter, before).await.unwrap();
        all.extend(items);
        let Some(next) = next else { return all };
        before = Some(next);
    }
}

async fn judged(rig: &Rig, filter: &EventFilter) -> Vec<look::JudgedEvent> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let Page { items, next, .. } = reader(rig).await.judged(filter, before).await.unwrap();
        all.extend(items);
        let Some(next) = next else { return all };
        before = Some(next);
    }
}

fn numbers(found: &[look::JudgedEvent]) -> Vec<u32> {
    found.iter().map(|event| u32::from_str_radix(event.flow.trim_start_matches("F."), 16).unwrap()).collect()
}

/// Sixty events: each third is mailed by `rule` to Ana, each fifth is an error of `rule`; `other` skips all, but mails
/// each tenth to Bob and Cleo together.
async fn filled(rig: &Rig) -> Outbox {
    let outbox = rig.open().await;
    for number in 1..=60_u32 {
        let first = if number % 3 == 0 {
            outcome("rule", Verdict::Notify, vec![mail(&format!("m{number}"), &["Ana@example.org"])])
        } else {
            outcome("rule", if number % 5 == 0 { Verdict::Error } else { Verdict::Skip }, vec![])
        };
        let second = if number % 10 == 0 {
            outcome(
                "other",
                Verdict::Notify,
                vec![mail(&format!("o{number}"), &["bob@example.org", "cleo@example.org"])],
            )
        } else {
            outcome("other", Verdict::Skip, vec![])
        };
        accept(&outbox, vec![event(number, vec![first, second])], at(i64::from(number) * 600)).await;
    }
    outbox
}

#[tokio::test]
async fn mails_are_found_by_what_is_known_of_them() {
    let rig = Rig::new();
    let outbox = filled(&rig).await;
    let jobs = outbox.claim(4, at(100_000)).await.unwrap();
    assert!(report(&outbox, &jobs[0], Attempt::Failed("550 no".into()), at(100_000)).await);
    deliver(&outbox, &jobs[1], at(100_000)).await;

    let all = mails(&rig, &MailFilter::default()).await;
    assert_eq!(all.len(), 26);
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id), "newest first");
    assert_eq!(all[0].event, "root/C.3c/F.3C");
    let first = reader(&rig).await.mails(&MailFilter::default(), None).await.unwrap();
    assert_eq!((first.items.len(), first.next.is_some(), first.cut), (PAGE, true, false));

    let of = |change: fn(&mut MailFilter)| {
        let mut filter = MailFilter::default();
        change(&mut filter);
        filter
    };
    for (filter, count) in [
        (of(|filter| filter.rule = Some("rule".into())), 20),
        (of(|filter| filter.rule = Some("nobody".into())), 0),
        (of(|filter| filter.recipient = Some("ana@EXAMPLE.org".into())), 20),
        (of(|filter| filter.recipient = Some("cleo@example.org".into())), 6),
        (of(|filter| filter.recipient = Some("cleo".into())), 0),
        (of(|filter| filter.client = Some("C.1e".into())), 2),
        (of(|filter| filter.client = Some("C.1".into())), 0),
        (of(|filter| filter.flow = Some("F.1E".into())), 2),
        (of(|filter| filter.flow = Some("root/C.1e/F.1E".into())), 2),
        (of(|filter| filter.flow = Some("root/C.1/F.1E".into())), 0),
        (of(|filter| filter.state = Some(State::Failed)), 1),
        (of(|filter| filter.state = Some(State::Delivered)), 1),
        (of(|filter| filter.state = Some(State::Sending)), 2),
        (of(|filter| filter.state = Some(State::Queued)), 22),
        (of(|filter| filter.text = Some("SUBJECT of m3".into())), 5),
        (of(|filter| filter.text = Some("<o30@bewit.test>".into())), 1),
        (of(|filter| filter.text = Some("100 %".into())), 0),
    ] {
        assert_eq!(mails(&rig, &filter).await.len(), count, "{filter:?}");
    }
    // What is asked for together holds together.
    let both =
        MailFilter { flow: Some("F.1E".into()), recipient: Some("bob@example.org".into()), ..MailFilter::default() };
    let found = mails(&rig, &both).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].rule.as_str(), &*found[0].recipients),
        ("other", &["bob@example.org".to_owned(), "cleo@example.org".to_owned()][..])
    );
    assert_eq!(found[0].states, [(State::Queued, 2)]);
    let event = reader(&rig).await.event_of(found[0].id).await.unwrap().unwrap();
    assert_eq!(reader(&rig).await.stored_event(event).await.unwrap().unwrap().event, "root/C.1e/F.1E");
    outbox.close().await;
}

#[tokio::test]
async fn a_digest_is_found_by_each_of_its_events() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    for number in 1..=3 {
        accept(&outbox, vec![gathering(number, &["a@example.org"], vec![])], at(0)).await;
    }
    let job = outbox.due_digests(at(60), false).await.unwrap().remove(0);
    let items: Vec<i64> = job.items.iter().map(|item| item.id).collect();
    outbox.close_digest("digest", &items, vec![mail("digest", &["a@example.org"])], at(60)).await.unwrap();
    for (flow, mails_about) in [("F.1", 1), ("F.2", 1), ("F.3", 1)] {
        let found = mails(&rig, &MailFilter { flow: Some(flow.into()), ..MailFilter::default() }).await;
        assert_eq!(found.len(), mails_about, "{flow}");
    }
    let digest = &mails(&rig, &MailFilter::default()).await[0];
    assert_eq!((digest.events, digest.event.as_str()), (2, "root/C.2/F.2"));
    assert_eq!(reader(&rig).await.event_of(digest.id).await.unwrap(), None);
    outbox.close().await;
}

#[tokio::test]
async fn events_are_found_by_what_was_decided() {
    let rig = Rig::new();
    let outbox = filled(&rig).await;
    let all = judged(&rig, &EventFilter::default()).await;
    assert_eq!(numbers(&all), (1..=60).rev().collect::<Vec<_>>());
    let verdicts: Vec<_> = all[0].rules.iter().map(|rule| (rule.rule.as_str(), rule.verdict.as_str())).collect();
    assert_eq!(verdicts, [("rule", "notify"), ("other", "notify")]);
    assert_eq!(all[0].artifacts, ["Generic.Client.Info", "Custom.Number0"]);

    let rule = |rule: &str, verdict| EventFilter { rule: Some(rule.into()), verdict, ..EventFilter::default() };
    let of = |wanted: fn(u32) -> bool| (1..=60).rev().filter(|number| wanted(*number)).collect::<Vec<_>>();
    for (filter, wanted) in [
        (rule("rule", None), of(|_| true)),
        (rule("none", None), vec![]),
        (rule("rule", Some(Verdict::Notify)), of(|number| number % 3 == 0)),
        (rule("other", Some(Verdict::Notify)), of(|number| number % 10 == 0)),
        (rule("rule", Some(Verdict::Error)), of(|number| number % 3 != 0 && number % 5 == 0)),
        (rule("other", Some(Verdict::Error)), vec![]),
        (EventFilter { verdict: Some(Verdict::Notify), ..EventFilter::default() }, of(|n| n % 3 == 0 || n % 10 == 0)),
        (EventFilter { verdict: Some(Verdict::Error), ..EventFilter::default() }, of(|n| n % 3 != 0 && n % 5 == 0)),
        (EventFilter { client: Some("C.a".into()), ..EventFilter::default() }, vec![10]),
        (EventFilter { flow: Some("F.A".into()), ..EventFilter::default() }, vec![10]),
        (EventFilter { flow: Some("root/C.a/F.A".into()), ..EventFilter::default() }, vec![10]),
        (EventFilter { flow: Some("root/C.b/F.A".into()), ..EventFilter::default() }, vec![]),
        (EventFilter { flow: Some("F.A".into()), client: Some("C.b".into()), ..EventFilter::default() }, vec![]),
        (EventFilter { artifact: Some("custom.number1".into()), ..EventFilter::default() }, of(|n| n % 3 == 1)),
        (EventFilter { artifact: Some("Custom".into()), ..EventFilter::default() }, vec![]),
        (EventFilter { since: Some(at(58 * 600)), ..EventFilter::default() }, vec![60, 59, 58]),
        (EventFilter { until: Some(at(2 * 600)), ..EventFilter::default() }, vec![2, 1]),
        (EventFilter { until: Some(at(0)), ..EventFilter::default() }, vec![]),
        (EventFilter { since: Some(at(600)), until: Some(at(1200)), ..EventFilter::default() }, vec![2, 1]),
    ] {
        assert_eq!(numbers(&judged(&rig, &filter).await), wanted, "{filter:?}");
    }
    let names = reader(&rig).await.artifacts(3).await.unwrap();
    assert_eq!(names, ["Custom.Number0", "Custom.Number1", "Custom.Number2"]);
    assert_eq!(reader(&rig).await.artifacts(100).await.unwrap().len(), 4);
    outbox.close().await;
}

#[tokio::test]
async fn an_event_has_all_its_judgements() {
    let rig = Rig::new();
    let outbox = rig.open().await;
    let made = vec![outcome("first", Verdict::Skip, vec![])];
    accept(&outbox, vec![held(1, made, vec![], vec![put_off("later", true)])], at(0)).await;
    let found = judged(&rig, &EventFilter::default()).await;
    let outcomes: Vec<_> = found[0].rules.iter().map(|rule| (rule.rule.as_str(), rule.outcome.as_str())).collect();
    assert_eq!(outcomes, [("first", "skipped"), ("later", "postponed")]);
    let decisions = reader(&rig).await.decisions_on(found[0].id).await.unwrap();
    let rules: Vec<_> = decisions.iter().map(|decision| (decision.rule.as_str(), decision.trace.len())).collect();
    assert_eq!(rules, [("first", 1), ("later", 1)]);
    outbox.close().await;
}

#[tokio::test]
async fn pages_are_found_by_indexes() {
    let rig = Rig::new();
    rig.open().await.close().await;
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(rig.database()).connect().await.unwrap();
    let queries = look::decisions::QUERIES.iter().chain(look::mailbox::QUERIES).chain(look::stored::QUERIES);
    for query in queries {
        let explain = format!("EXPLAIN QUERY PLAN {query}");
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(explain)).fetch_all(&mut conn).await.unwrap();
        let steps: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
        for step in &steps {
            // What is scanned is a list that we have given, or what another step has found.
            let given = ["json_each", "SCAN e", "SCAN names", "CONSTANT ROW"].iter().any(|word| step.contains(word));
            assert!(!step.starts_with("SCAN") || given, "{query}\n{steps:#?}");
            let few = query.contains("flow_id IN")
                || query.contains("LEFT JOIN gathered")
                || query.contains("GROUP BY mail, state");
            assert!(!step.contains("TEMP B-TREE") || few, "{query}\n{steps:#?}");
        }
        assert!(steps.iter().any(|step| step.starts_with("SEARCH")), "{query}\n{steps:#?}");
    }
    conn.close().await.unwrap();
}
