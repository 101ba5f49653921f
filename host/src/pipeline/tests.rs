use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::config::{OutboxConfig, RetryPolicy, load};
use crate::fragment::{Fragment, Note, Tone, Verdict as Says};
use crate::outbox::{PostponedJob, Settled, verify};
use crate::plugin::spec::OnFailure;
use crate::plugin::{Asked, Trouble};
use crate::postponed::again;

/// The one filter's answer; `None`: it breaks down, and the host with it.
struct Stub(Mutex<Option<Result<Says, Trouble>>>);

impl Ask for Stub {
    fn decide(&self, plugin: &str, _: &Asked<'_>) -> Result<Says, Trouble> {
        assert_eq!(plugin, "ioc");
        let answer = self.0.lock().unwrap().clone();
        answer.unwrap_or_else(|| panic!("on purpose"))
    }

    fn render(&self, plugin: &str, _: &Asked<'_>, source: &str) -> Result<Fragment, Trouble> {
        assert!(plugin == "tree" && matches!(source, "A" | "B"), "{plugin} {source}");
        let answer = self.0.lock().unwrap().clone().unwrap();
        answer.map(|_| Fragment { title: "A tree".to_owned(), ..Fragment::default() })
    }
}

fn trouble(on_failure: OnFailure, again: bool) -> Option<Result<Says, Trouble>> {
    let reason = "timed out after 250 ms".to_owned();
    Some(Err(Trouble { plugin: "ioc".to_owned(), reason, on_failure, again }))
}

fn fine() -> Option<Result<Says, Trouble>> {
    Some(Ok(Says::Keep(vec![Note { tone: Tone::Danger, text: "a known address".to_owned() }])))
}

const EVENT: &str = r#"{"type":"System.Flow.Completion","Timestamp":1786500123,"ClientId":"C.1","FlowId":"F.1","Flow":{"state":"FINISHED","create_time":1,"request":{"artifacts":["A"]},"artifacts_with_results":["A"]},"results":{"A":{"file":"rows.jsonl"},"B":{"file":"gone.jsonl"}}}"#;

/// A folder with the event's rows, an outbox beside it, and two rules: one asks the filter, one does not.
struct Site {
    dir: tempfile::TempDir,
    outbox: Outbox,
    snapshot: Snapshot,
    stub: Stub,
}

impl Site {
    async fn new(answer: Option<Result<Says, Trouble>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("events")).unwrap();
        std::fs::write(dir.path().join("events/rows.jsonl"), "{\"k\":\"from the file\"}\n").unwrap();
        let rule = "recipients = [\"ana@example.org\"]\ndelay_threshold = 0\nsend_interval = 0\n\
                    artifacts_to_alert_on = \"\"\ninclude_result_table_from = [{ source = \".\", columns = \".\" }]\n";
        let text = format!(
            "[smtp]\nmailbox = \"mail\"\nfrom = \"Bewit <bewit@example.org>\"\n[outbox]\nurl = \"sqlite:b.db\"\n\
             [[rule]]\nname = \"asks\"\n{rule}[[rule]]\nname = \"plain\"\n{rule}"
        );
        let config = load::parse(&text, "test", Path::new(".")).unwrap();
        let place = OutboxConfig {
            path: dir.path().join("b.db"),
            retention: std::time::Duration::from_secs(86_400),
            min_free: 0,
        };
        let retry = RetryPolicy {
            waits: vec![std::time::Duration::from_secs(30)],
            give_up: std::time::Duration::from_secs(86_400),
        };
        let outbox = Outbox::open(&place, retry, false).await.unwrap();
        let mut snapshot = Snapshot::build(config).unwrap();
        snapshot.config.rules[0].filters = vec![crate::rule::FilterUse { plugin: "ioc".to_owned(), always: false }];
        Self { dir, outbox, snapshot, stub: Stub(Mutex::new(answer)) }
    }

    fn ground<'a>(&'a self, rows: &'a RowReader) -> Ground<'a> {
        let (snapshot, blobs) = (&self.snapshot, self.outbox.blobs());
        Ground { plugins: &self.stub, ..Ground::new(snapshot, rows, blobs, at(0)) }
    }

    /// Takes the event in, and loses its folder.
    async fn take(&self) -> (Vec<Outcome>, Vec<PutOff>) {
        let folder = self.dir.path().join("events");
        let rows = RowReader::new(Some(Arc::from(folder.as_path())));
        let line = Line { offset: 0, content: Ok(EVENT.as_bytes().to_vec()) };
        let line = examine(line, &LineLimits::default(), true, false);
        let content = judge(line, None, &HashSet::new(), &self.ground(&rows), None).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        let Content::Event { outcomes, held, .. } = &content else { panic!("{content:?}") };
        let made = (outcomes.clone(), held.as_ref().map_or(Vec::new(), |held| held.rules.clone()));
        let accepted = Accepted { source: "test".to_owned(), content };
        assert_eq!(self.outbox.accept(vec![accepted], None, at(0)).await.unwrap(), [Receipt::Stored]);
        self.sound().await;
        made
    }

    /// Judges what is due once more, answering so.
    async fn again(&self, answer: Option<Result<Says, Trouble>>) -> (PostponedJob, Judged, Settled) {
        *self.stub.0.lock().unwrap() = answer;
        let job = self.outbox.due_judgement(at(60)).await.unwrap().unwrap();
        let rows = RowReader::kept(self.outbox.blobs().clone(), job.files.clone());
        let judged = again(&self.ground(&rows), &job, None).unwrap();
        let settled = self.outbox.settle(&job, judged.clone(), at(60)).await.unwrap();
        self.sound().await;
        (job, judged, settled)
    }

    async fn sound(&self) {
        let report = verify::verify(self.outbox.path(), true).await.unwrap().unwrap();
        assert_eq!(report.broken, Vec::<String>::new());
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_786_600_000 + second).unwrap()
}

fn text_of(outcome: &Outcome, blobs: &BlobStore) -> String {
    let mail = &outcome.mails[0];
    let mut out = Vec::new();
    crate::outbox::write_mail(&mail.head, &mail.body, blobs, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn a_filter_that_gives_no_answer_has_no_say() {
    let site = Site::new(trouble(OnFailure::Keep, true)).await;
    let (outcomes, put_off) = site.take().await;
    assert!(put_off.is_empty());
    assert_eq!(outcomes[0].decision.decision, Verdict::Notify);
    assert_eq!(outcomes[0].decision.notes[0].tone, Tone::Warning);
    assert!(outcomes[1].decision.notes.is_empty());
    assert_eq!(site.outbox.claim(10, at(0)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_filter_that_holds_postpones_its_rule_alone_and_the_rows_are_there_later() {
    let site = Site::new(trouble(OnFailure::Hold, true)).await;
    let (outcomes, put_off) = site.take().await;
    assert_eq!(outcomes.iter().map(|outcome| outcome.rule.as_str()).collect::<Vec<_>>(), ["plain"]);
    assert_eq!(put_off[0].reason, "the filter `ioc` gave no answer: timed out after 250 ms");
    assert!(put_off[0].again && put_off[0].rule == "asks");
    assert_eq!(site.outbox.claim(10, at(0)).await.unwrap().len(), 1);

    let (_, judged, settled) = site.again(trouble(OnFailure::Hold, true)).await;
    assert!(matches!(judged, Judged::PutOff(_)) && settled == Settled::Waits, "{judged:?} {settled:?}");
    assert!(site.outbox.due_judgement(at(60)).await.unwrap().is_none());
    // By hand, so as not to wait; the code of the plugin is another one now.
    let target = crate::outbox::hand::Target::Postponed(1);
    crate::outbox::hand::act(site.outbox.path(), crate::outbox::hand::Action::Retry, &[target], at(60)).await.unwrap();
    let (job, judged, settled) = site.again(fine()).await;
    assert_eq!((job.attempts, job.files.len(), settled), (0, 1, Settled::Decided));
    let Judged::Decided(outcome) = judged else { panic!("{judged:?}") };
    assert_eq!(outcome.decision.notes[0].text, "a known address");
    let text = text_of(&outcome, site.outbox.blobs());
    assert!(text.contains("from the file"), "{text}");
    assert_eq!(site.outbox.claim(10, at(60)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_plugin_rejects_is_dead_lettered_at_once() {
    let site = Site::new(trouble(OnFailure::Hold, false)).await;
    site.take().await;
    let census = site.outbox.census().await.unwrap();
    assert_eq!((census.postponed, census.unjudged, census.mails), (0, 1, 1));
}

#[tokio::test]
async fn a_breakdown_is_an_error_of_one_rule_and_stops_nobody() {
    let site = Site::new(None).await;
    let (outcomes, _) = site.take().await;
    assert_eq!(outcomes[0].decision.decision, Verdict::Error);
    assert_eq!(outcomes[0].decision.reason, "an internal error, which is a bug worth reporting");
    assert_eq!(outcomes[1].decision.decision, Verdict::Notify);
}

#[tokio::test]
async fn a_rule_that_is_gone_dead_letters_what_it_had_put_off() {
    let mut site = Site::new(trouble(OnFailure::Hold, true)).await;
    site.take().await;
    site.snapshot.config.rules.remove(0);
    let (_, judged, settled) = site.again(fine()).await;
    let Judged::PutOff(put_off) = judged else { panic!("{judged:?}") };
    assert_eq!((put_off.reason.as_str(), put_off.again), ("there is no rule `asks` any more to judge it by", false));
    assert_eq!(settled, Settled::GivenUp);
}

#[tokio::test]
async fn a_renderer_that_holds_postpones_too() {
    let mut site = Site::new(trouble(OnFailure::Hold, true)).await;
    let rule = &mut site.snapshot.config.rules[0];
    rule.filters.clear();
    let source = rule.include_result_table_from[0].source.clone();
    rule.renderers = vec![crate::rule::RendererUse { source, plugin: "tree".to_owned() }];
    let (outcomes, put_off) = site.take().await;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(put_off[0].reason, "the renderer `ioc` gave no answer: timed out after 250 ms");
    assert!(put_off[0].trace.iter().any(|entry| entry.filter == "recipients"), "all that was decided");
    let (_, judged, settled) = site.again(fine()).await;
    assert!(matches!(judged, Judged::Decided(_)) && settled == Settled::Decided, "{judged:?} {settled:?}");
}

#[test]
fn the_body_of_an_event_does_not_count_where_its_key_says_all() {
    let digest = |text: &str, keyed| {
        let line = Line { offset: 0, content: Ok(text.as_bytes().to_vec()) };
        match examine(line, &LineLimits::default(), false, keyed) {
            Examined::Event { digest, .. } => digest,
            Examined::Rejected { reason, .. } => panic!("{reason}"),
        }
    };
    let one = r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","Timestamp":7,"Flow":{"state":2}}"#;
    let same = r#"{"type":"System.Flow.Completion","Timestamp":7,"ClientId":"C.1","FlowId":"F.1","Flow":{"state":"FINISHED"}}"#;
    let other = r#"{"type":"System.Flow.Completion","ClientId":"C.1","FlowId":"F.1","Timestamp":8,"Flow":{"state":2}}"#;
    assert_eq!(digest(one, true), digest(same, true));
    assert_ne!(digest(one, true), digest(other, true));
    assert_ne!(digest(one, false), digest(same, false));
}
