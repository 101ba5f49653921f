use super::figures::{bytes, quantile, seconds};
use super::samples::Buckets;
use super::*;

const START: &str =
    "# HELP x y.\n# TYPE x gauge\nprocess_start_time_seconds 100\nbewit_build_info{version=\"0.1.0\"} 1\n";

fn text(events: u32, judged: u32) -> String {
    format!(
        "{START}bewit_events_total {events}\nbewit_recipients{{state=\"queued\"}} 4\n\
         bewit_recipients_oldest_seconds{{state=\"queued\"}} 75.5\n\
         bewit_step_seconds_bucket{{step=\"judge\",le=\"0.001\"}} {judged}\n\
         bewit_step_seconds_bucket{{step=\"judge\",le=\"0.01\"}} {}\n\
         bewit_step_seconds_bucket{{step=\"judge\",le=\"+Inf\"}} {}\n\
         bewit_step_seconds_sum{{step=\"judge\"}} 1\nbewit_step_seconds_count{{step=\"judge\"}} {}\n\
         bewit_relay_up{{relay=\"mx\\\"\\u001b[2J:25\"}} 0\n\
         bewit_relay_trouble{{relay=\"mx\\\"\\u001b[2J:25\",trouble=\"refuses\"}} 1\n",
        judged + 10,
        judged + 10,
        judged + 10
    )
    .replace("\\u001b", "\u{1b}")
}

fn look(seconds: u64, text: &str, start: Instant) -> Look {
    Look { at: start + Duration::from_secs(seconds), samples: Samples::read(text).unwrap() }
}

#[test]
fn rates_come_from_differences_and_percentiles_from_the_window() {
    let start = Instant::now();
    let one = report::report("here", &VecDeque::from([look(0, &text(100, 0), start)]));
    assert_eq!((one.rates["events"], one.steps[0].of.since_start), (None, true));
    // Ten values between 1 and 10 ms: half of them below the middle.
    let about = |value: Option<f64>, wanted: f64| (value.unwrap() - wanted).abs() < 1e-9;
    assert!(about(one.steps[0].of.p50, 0.0055), "{:?}", one.steps[0]);

    let looks = [look(0, &text(100, 0), start), look(2, &text(110, 90), start), look(4, &text(150, 90), start)];
    let report = report::report("here", &VecDeque::from(looks));
    assert_eq!((report.rates["events"], report.rates["mails"]), (Some(20.0), None));
    let judge = &report.steps[0];
    assert_eq!((judge.name.as_str(), judge.of.count, judge.of.per_second), ("judge", 100.0, Some(0.0)));
    // Of the ninety since the first look, all were below 1 ms.
    assert!(!judge.of.since_start && about(judge.of.p50, 0.0005) && about(judge.of.p99, 0.00099), "{judge:?}");
    assert_eq!(report.queue["queued"].recipients, 4.0);
    assert_eq!(report.queue["queued"].oldest_seconds, Some(75.5));
}

#[test]
fn a_table_shows_what_is_wrong_and_no_control_character() {
    let start = Instant::now();
    let report = report::report("here", &VecDeque::from([look(0, &text(1, 1), start), look(1, &text(2, 2), start)]));
    let lines = table::lines(&report);
    let all: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert!(all[0].starts_with("bewit 0.1.0 at here, up "), "{all:#?}");
    assert!(lines[1].tone == table::Tone::Bad && all[1].contains("does not want us"), "{all:#?}");
    assert!(all.iter().any(|line| line.starts_with("events") && line.contains(" 1 ")), "{all:#?}");
    assert!(all.iter().any(|line| line.contains("queued") && line.contains("76 s")), "{all:#?}");
    assert!(!all.concat().chars().any(char::is_control), "{all:#?}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["relays"][0]["trouble"], "refuses");
    assert_eq!(json["steps"][0]["step"], serde_json::Value::Null);
    assert_eq!(json["steps"][0]["name"], "judge");
}

#[test]
fn another_life_of_the_daemon_is_seen() {
    let read = |text: &str| Samples::read(text).unwrap();
    let (before, after) = (text(5, 0), text(6, 0));
    assert!(!read(&after).begins_anew(&read(&before)));
    assert!(read(&before).begins_anew(&read(&after)));
    assert!(read(&after.replace("seconds 100", "seconds 200")).begins_anew(&read(&before)));
}

#[test]
fn what_are_no_metrics_is_refused() {
    for text in ["", "ok\n", "# HELP bewit_events_total x\n", "<html>\n", "bewit_events_total x\n", "a{b=\"c} 1\n"] {
        assert!(Samples::read(text).is_err(), "{text}");
    }
}

#[test]
fn quantiles_are_those_of_prometheus() {
    let of = |cumulative: &[(f64, f64)]| Buckets { cumulative: cumulative.to_vec(), sum: 0.0 };
    let infinite = f64::INFINITY;
    assert_eq!(quantile(&of(&[(1.0, 0.0), (infinite, 0.0)]), 0.5), None);
    assert_eq!(quantile(&of(&[(1.0, 10.0), (2.0, 20.0), (infinite, 20.0)]), 0.5), Some(1.0));
    assert_eq!(quantile(&of(&[(1.0, 10.0), (2.0, 20.0), (infinite, 20.0)]), 0.75), Some(1.5));
    // Above the last bound: it is all that is known.
    assert_eq!(quantile(&of(&[(1.0, 1.0), (2.0, 1.0), (infinite, 20.0)]), 0.99), Some(2.0));
}

#[test]
fn numbers_are_short() {
    for (value, shown) in [
        (0.0, "0 s"),
        (0.000_012, "12 µs"),
        (0.0034, "3.4 ms"),
        (0.25, "250 ms"),
        (1.0, "1 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (7_200.0, "2 h"),
        (864_000.0, "10 d"),
    ] {
        assert_eq!(seconds(value), shown);
    }
    assert_eq!(
        [bytes(0.0), bytes(1023.0), bytes(1536.0), bytes(64.0 * 1048576.0)],
        ["0 B", "1023 B", "1.5 KiB", "64 MiB"]
    );
    assert!(interval("0.05").is_err() && interval("x").is_err() && interval("NaN").is_err());
    assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
}

#[test]
fn who_listens_everywhere_is_asked_at_home() {
    let name = |listen: &str| Daemon::new(listen.parse().unwrap(), None).map(|daemon| daemon.name());
    assert_eq!(name("0.0.0.0:8026").unwrap(), "127.0.0.1:8026");
    assert_eq!(name("[::]:8026").unwrap(), "[::1]:8026");
    assert_eq!(name("192.0.2.1:8026").unwrap(), "192.0.2.1:8026");
    assert!(name("127.0.0.1:0").is_err());
}
