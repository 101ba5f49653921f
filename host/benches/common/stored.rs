//! Lines that an outbox has not seen: an event each, with its decision and a finished mail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bewit::config::{Config, load};
use bewit::event::FlowCompletion;
use bewit::mail::{NewMail, Segment};
use bewit::outbox::{Accepted, Content, Document, Outcome};
use bewit::rule::{Decision, Priority, Throttle};

use super::{Ground, small};

/// Makes them, each with another number.
pub(crate) struct Stored {
    event: FlowCompletion,
    decision: Decision,
    mail: NewMail,
    next: AtomicUsize,
}

impl Stored {
    /// With mails of about so many octets.
    pub(crate) fn new(octets: usize) -> Self {
        let ground = Ground::new();
        let event = ground.read(small(1).to_string().as_bytes());
        let decision = ground.decide(&event);
        let mail = ground.mails(&event, &decision, &ground.draft(&event, &decision)).remove(0);
        let line = "All is quiet on this endpoint, and the rows below say no more than that.\r\n";
        let body = line.repeat(octets.saturating_sub(mail.head.len()).div_ceil(line.len()));
        let mail = NewMail { body: Arc::new(vec![Segment::Bytes(body.into_bytes())]), ..mail };
        Self { event, decision, mail, next: AtomicUsize::new(1) }
    }

    /// A configuration whose outbox is in a folder.
    pub(crate) fn config(&self, folder: &Path) -> Config {
        let text = format!(
            "[smtp]\nmailbox = \"mail\"\nfrom = \"bewit@example.org\"\n\n[outbox]\nurl = \"sqlite:bewit.db\"\n{}",
            super::RULE
        );
        load::parse(&text, "bench.toml", folder).unwrap_or_else(|found| panic!("{found}"))
    }

    /// The next one.
    pub(crate) fn next(&self) -> Accepted {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let mut key = self.event.key.clone();
        key.flow_id = format!("F.BENCH{n}");
        let mail = NewMail { message_id: format!("bench-{n}@example.org"), ..self.mail.clone() };
        let outcome = Outcome {
            rule: "analyst".to_owned(),
            decision: self.decision.clone(),
            subject: Some(mail.subject.clone()),
            mails: vec![mail],
            throttle: (Throttle::default(), Duration::ZERO),
            priority: Priority::default(),
            gathered: None,
        };
        let (digest, document) = (format!("{n:064x}"), Document::of(&self.event));
        let content = Content::Event { key, digest, document, outcomes: vec![outcome], held: None };
        Accepted { source: "bench".to_owned(), content }
    }
}
