use super::*;

struct Fake;

impl Relays for Fake {
    fn now(&self) -> RelayNow {
        RelayNow {
            name: "mx:25".into(),
            trouble: Some("refuses"),
            sessions: 0,
            limit: 4,
            rate: Some(0.5),
            falls: 2,
            slowed: 3,
        }
    }
}

fn written(meter: &Meter) -> String {
    let mut text = Text::default();
    meter.write(&mut text);
    text.finish()
}

#[test]
fn lists_are_in_the_order_of_their_places() {
    assert!(Step::ALL.iter().enumerate().all(|(at, (step, _))| *step as usize == at));
    assert!(Commit::ALL.iter().enumerate().all(|(at, (commit, _))| *commit as usize == at));
    assert!(Fate::ALL.iter().enumerate().all(|(at, (fate, _))| *fate as usize == at));
    assert!(Decided::ALL.iter().enumerate().all(|(at, (decided, _))| *decided as usize == at));
}

#[test]
fn names_are_good_ones() {
    let mut seen = std::collections::BTreeSet::new();
    for family in names::ALL {
        let name = family.name;
        assert!(seen.insert(name), "{name} twice");
        assert!(name.starts_with("bewit_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == names::Kind::Counter, "{name}");
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        assert!(!family.labels.contains(&"le"), "{name}");
        let parts = ["_bucket", "_sum", "_count"];
        assert!(!parts.iter().any(|part| name.ends_with(part)), "{name} would look like a histogram's part");
    }
}

#[test]
fn what_is_measured_is_told() {
    let meter = Meter::new();
    meter.step(Step::Judge, Duration::from_micros(80));
    meter.step(Step::Judge, Duration::from_micros(300));
    meter.commit(Commit::Dot, Duration::from_millis(3));
    meter.transaction(5, Duration::from_millis(2));
    meter.fate(Fate::Deferred);
    meter.way(Duration::from_secs(90));
    meter.decided("a", Decided::Skip);
    meter.decided("a", Decided::Skip);
    meter.decided("a", Decided::PutOff);
    let text = written(&meter);
    for line in [
        "bewit_step_seconds_bucket{step=\"judge\",le=\"0.00005\"} 0",
        "bewit_step_seconds_bucket{step=\"judge\",le=\"0.0001\"} 1",
        "bewit_step_seconds_bucket{step=\"judge\",le=\"0.0005\"} 2",
        "bewit_step_seconds_bucket{step=\"judge\",le=\"+Inf\"} 2",
        "bewit_step_seconds_sum{step=\"judge\"} 0.00038",
        "bewit_step_seconds_count{step=\"judge\"} 2",
        "bewit_step_seconds_count{step=\"parse\"} 0",
        "bewit_commit_seconds_count{work=\"dot\"} 1",
        "bewit_transaction_seconds_count 1",
        "bewit_transaction_commands_bucket{le=\"4\"} 0",
        "bewit_transaction_commands_bucket{le=\"8\"} 1",
        "bewit_transaction_commands_sum 5",
        "bewit_attempts_total{outcome=\"deferred\"} 1",
        "bewit_attempts_total{outcome=\"delivered\"} 0",
        "bewit_event_to_accepted_seconds_bucket{le=\"60\"} 0",
        "bewit_event_to_accepted_seconds_bucket{le=\"300\"} 1",
        "bewit_decisions_total{rule=\"a\",decision=\"skip\"} 2",
        "bewit_decisions_total{rule=\"a\",decision=\"put_off\"} 1",
        "bewit_decisions_total{rule=\"a\",decision=\"notify\"} 0",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
}

#[test]
fn a_rules_name_cannot_write_a_line_of_its_own() {
    let meter = Meter::new();
    meter.decided("a\"} 9\nbewit_events_total 7\\", Decided::Notify);
    let text = written(&meter);
    let line = r#"bewit_decisions_total{rule="a\"} 9\nbewit_events_total 7\\",decision="notify"} 1"#;
    assert!(text.lines().any(|own| own == line), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("bewit_events_total")), "{text}");
}

#[test]
fn rules_that_come_at_the_same_time_are_all_counted() {
    let meter = Meter::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..400).for_each(|at| meter.decided(&format!("rule {}", at % 20), Decided::Notify)));
        }
    });
    let text = written(&meter);
    for rule in 0..20 {
        let line = format!("bewit_decisions_total{{rule=\"rule {rule}\",decision=\"notify\"}} 80");
        assert!(text.lines().any(|own| own == line), "{text}");
    }
}

#[test]
fn a_mail_server_is_shown_as_long_as_it_is_delivered_to() {
    let meter = Meter::new();
    let relay: Arc<dyn Relays> = Arc::new(Fake);
    meter.watch_relay(Arc::downgrade(&relay));
    let text = written(&meter);
    for line in [
        "bewit_relay_up{relay=\"mx:25\"} 0",
        "bewit_relay_trouble{relay=\"mx:25\",trouble=\"unreachable\"} 0",
        "bewit_relay_trouble{relay=\"mx:25\",trouble=\"refuses\"} 1",
        "bewit_relay_sessions_limit{relay=\"mx:25\"} 4",
        "bewit_relay_falls_total{relay=\"mx:25\"} 2",
        "bewit_relay_rate_limit{relay=\"mx:25\"} 30",
        "bewit_relay_slowed_total{relay=\"mx:25\"} 3",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    drop(relay);
    assert!(!written(&meter).contains("mx:25"));
}
