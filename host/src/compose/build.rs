//! From an event and a decision to the view: facts, limits, wording.

use std::collections::HashMap;

use jiff::Timestamp;

use super::human;
use super::links::{Links, Root};
use super::view::{Fact, Named, Outcome, UploadedFile, Uploads, Value, View};
use crate::event::FlowCompletion;
use crate::rule::{Decision, Rule};
use crate::text;

/// Characters of a name that an endpoint or a user chose. DNS names end at 253.
const NAME: usize = 300;
/// Characters of an error message.
const ERROR: usize = 2_000;
/// Characters of a parameter's or a metadata field's value.
const VALUE: usize = 100;
/// Characters of an uploaded file's path, counted from its end.
const PATH: usize = 50;
/// Characters of a hunt's description.
const DESCRIPTION: usize = 300;
/// Entries of one list.
const LIST: usize = 100;
/// What is left of a list in a mail that would be too large.
const FEW: usize = 10;
/// Octets of a link; browsers follow no much longer ones. A name that makes a longer one is shown without a link, so that
/// nobody can make a mail too large to be written.
const LINK: usize = 2_000;

/// The view without results and attachments, which need the disk.
pub(super) fn view(
    root: Option<Root<'_>>,
    rule: &Rule,
    event: &FlowCompletion,
    decision: Option<&Decision>,
    now: Timestamp,
) -> View {
    let links = root.map(|root| Links::new(root, &event.key.org_id));
    let build = Build { links, rule, event, now };
    let mut view = build.head();
    view.client = build.client_facts(&view);
    view.flow = build.flow_facts(&view);
    view.uploads = build.uploads();
    view.notes.extend(event.missing.iter().map(|sentence| cut(sentence, ERROR)));
    view.rule = name(&rule.name);
    view.reason = decision.map(|decision| cut(&decision.reason, ERROR)).unwrap_or_default();
    view.plugin_notes = decision.map(|decision| super::blocks::notes(&decision.notes)).unwrap_or_default();
    view
}

/// The view of a mail that could not be written: what the event is, whose it is, and nothing that could be in the way.
pub(super) fn bare(
    root: Option<Root<'_>>,
    rule: &Rule,
    event: &FlowCompletion,
    decision: &Decision,
    now: Timestamp,
) -> View {
    let links = root.map(|root| Links::new(root, &event.key.org_id));
    let build = Build { links, rule, event, now };
    let mut view = build.head();
    view.plugin_notes = super::blocks::notes(&decision.notes);
    shorten(&mut view);
    view.client = build.client_facts(&view);
    view.client.truncate(FEW);
    view.rule = name(&rule.name);
    view.reason = cut(&decision.reason, VALUE);
    view.notes.push("This mail could not be written as usual; only the first facts are in it.".to_owned());
    view
}

/// Leaves the first facts.
pub(super) fn shorten(view: &mut View) {
    view.results.clear();
    view.uploads = None;
    view.artifacts.truncate(FEW);
    view.notes.truncate(FEW);
    view.plugin_notes.truncate(FEW);
    for facts in [&mut view.client, &mut view.flow] {
        facts.iter_mut().for_each(|fact| fact.values.truncate(FEW));
        facts.retain(|fact| fact.label != "Arguments");
    }
}

struct Build<'a> {
    links: Option<Links<'a>>,
    rule: &'a Rule,
    event: &'a FlowCompletion,
    now: Timestamp,
}

impl Build<'_> {
    fn head(&self) -> View {
        let flow = &self.event.flow;
        let client = self.event.client.as_ref();
        let fqdn = client.map(|client| name(&client.fqdn)).unwrap_or_default();
        let host_name = client.map(|client| name(&client.hostname)).unwrap_or_default();
        let client_id = name(&self.event.key.client_id);
        let host = [&fqdn, &host_name, &client_id].into_iter().find(|name| !name.is_empty()).cloned();
        let mut view = View {
            outcome: outcome(self.event),
            host: host.unwrap_or_default(),
            fqdn,
            flow_id: name(&self.event.key.flow_id),
            org_id: name(&self.event.key.org_id),
            creator: name(&flow.creator),
            urgent: flow.urgent,
            new_client: self.is_new_client(),
            error: cut(&flow.status, ERROR),
            artifacts: self.artifacts(),
            rows: flow.total_collected_rows,
            files: flow.total_uploaded_files,
            size: human::size(flow.total_uploaded_bytes),
            duration: flow.execution_duration.map(human::duration).unwrap_or_default(),
            finished: human::moment(self.event.timestamp, self.now),
            hunt: self.hunt(),
            client_url: self.links.and_then(|links| short(links.client(&self.event.key.client_id))),
            flow_url: self
                .links
                .and_then(|links| short(links.flow(&self.event.key.client_id, &self.event.key.flow_id, "logs"))),
            client_id,
            ..View::default()
        };
        view.title = title(view.outcome).to_owned();
        // The true number, also of those that are not listed.
        let artifacts = flow.artifacts.len().max(view.artifacts.len());
        view.subject = subject(&view, artifacts);
        view.summary = summary(&view, artifacts);
        view
    }

    fn artifacts(&self) -> Vec<Named> {
        let flow = &self.event.flow;
        if !flow.artifacts.is_empty() {
            let mut named: Vec<Named> = flow.artifacts.iter().take(LIST).map(|name| self.artifact(name)).collect();
            let more = flow.artifacts.len() - named.len();
            if more > 0 {
                named.push(Named { name: format!("{} {more} more", text::ELLIPSIS), url: None });
            }
            return named;
        }
        // The live queue does not carry the request; what came back names the artifacts too.
        let mut names: Vec<&str> = Vec::new();
        for source in &flow.artifacts_with_results {
            let artifact = source.split('/').next().unwrap_or_default();
            if !names.contains(&artifact) && names.len() < LIST {
                names.push(artifact);
            }
        }
        names.into_iter().map(|artifact| self.artifact(artifact)).collect()
    }

    fn artifact(&self, artifact: &str) -> Named {
        Named { name: name(artifact), url: self.links.and_then(|links| short(links.artifact(artifact))) }
    }

    fn hunt(&self) -> Option<Named> {
        if !self.event.is_hunt() {
            return None;
        }
        let id = self.event.hunt_id();
        let description = self.event.hunt.as_ref().map(|hunt| cut(&hunt.description, DESCRIPTION)).unwrap_or_default();
        let name = if description.trim().is_empty() { name(id.as_deref().unwrap_or_default()) } else { description };
        let url = id.filter(|id| !id.is_empty()).and_then(|id| self.links.and_then(|links| short(links.hunt(&id))));
        Some(Named { name, url })
    }

    /// As the rule's filter of the same name counts: whole seconds, strictly less.
    fn is_new_client(&self) -> bool {
        self.event.client_age().is_some_and(|age| age < self.rule.new_client_threshold)
    }

    fn client_facts(&self, view: &View) -> Vec<Fact> {
        let client = self.event.client.as_ref();
        let of = |field: fn(&crate::event::Client) -> &String| client.map(|c| name(field(c))).unwrap_or_default();
        let mut facts = Facts::default();
        if view.org_id != "root" {
            facts.text("Organisation", view.org_id.clone());
        }
        facts.link("ID", &view.client_id, view.client_url.clone());
        facts.text("FQDN", view.fqdn.clone());
        if view.fqdn.is_empty() {
            let host_name = of(|client| &client.hostname);
            if !host_name.is_empty() {
                facts.text("Host name", host_name);
            }
        }
        facts.text("System", of(|client| &client.system));
        facts.text("OS", of(|client| &client.release));
        facts.text("Architecture", of(|client| &client.machine));
        if view.new_client {
            facts.text("New client", "true".to_owned());
        }
        let labels = client.map(|client| client.labels.as_slice()).unwrap_or_default();
        facts.list("Labels", labels.iter().map(|label| Value { text: name(label), ..Value::default() }));
        for field in &self.rule.client_metadata {
            let label = text::one_line(if field.alias.trim().is_empty() { &field.field } else { &field.alias });
            let value = self.event.metadata.as_ref().and_then(|metadata| metadata.get(&field.field));
            facts.replace(&label, cut(value.map(String::as_str).unwrap_or_default(), VALUE));
        }
        facts.finish(self.rule.keep_empty_rows)
    }

    fn flow_facts(&self, view: &View) -> Vec<Fact> {
        let flow = &self.event.flow;
        let mut facts = Facts::default();
        facts.link("Flow", &view.flow_id, view.flow_url.clone());
        facts.text("Collection created", human::moment(flow.create_time, self.now));
        facts.text("Collection started", human::moment(flow.start_time, self.now));
        facts.text("Collection finished", view.finished.clone());
        facts.text("Duration", view.duration.clone());
        facts.text("Creator", view.creator.clone());
        let named = |named: &Named| Value { text: named.name.clone(), url: named.url.clone(), ..Value::default() };
        let requested = if flow.artifacts.is_empty() { &[] } else { view.artifacts.as_slice() };
        facts.whole_list("Requested", requested.iter().map(named));
        facts.list("Arguments", self.arguments().into_iter());
        let sources = flow.artifacts_with_results.iter();
        facts.list("With results", sources.map(|source| Value { text: name(source), ..Value::default() }));
        facts.text("Error", view.error.clone());
        facts.number("Urgent", if flow.urgent { "true" } else { "false" }, flow.urgent);
        facts.list("Hunt", view.hunt.iter().map(named));
        facts.number("Collected rows", &view.rows.to_string(), view.rows > 0);
        facts.number("Uploaded files", &view.files.to_string(), view.files > 0);
        let bytes = flow.total_uploaded_bytes;
        facts.number("Uploaded bytes", if bytes > 0 { &view.size } else { "0" }, bytes > 0);
        facts.finish(self.rule.keep_empty_rows)
    }

    /// Parameters of the request. A repeated artifact keeps its last spec; with several specs a name says whose
    /// parameter it is.
    fn arguments(&self) -> Vec<Value> {
        let specs = &self.event.flow.specs;
        let mut values = Vec::new();
        let last: HashMap<&str, usize> =
            specs.iter().enumerate().map(|(at, spec)| (spec.artifact.as_str(), at)).collect();
        for (at, spec) in specs.iter().enumerate() {
            if last.get(spec.artifact.as_str()) != Some(&at) {
                continue;
            }
            for (key, value) in spec.parameters.iter().filter(|(_, value)| !value.is_empty()) {
                let key = if specs.len() == 1 { name(key) } else { name(&format!("{}/{key}", spec.artifact)) };
                values.push(Value { name: key, text: cut(value, VALUE), url: None });
            }
        }
        values
    }

    fn uploads(&self) -> Option<Uploads> {
        let all = self.event.uploads.as_deref().filter(|uploads| !uploads.is_empty())?;
        let limit = usize::try_from(self.rule.include_uploads_table_rows).unwrap_or(usize::MAX);
        if limit == 0 {
            return None;
        }
        let files = all.iter().take(limit).map(|upload| UploadedFile {
            name: text::one_line(&text::cut_left(&upload.path, PATH)),
            size: human::size(upload.size),
            url: self
                .links
                .zip(upload.components.as_ref())
                .and_then(|(links, place)| short(links.upload(place, &upload.path))),
        });
        let total = self.event.uploads_total.unwrap_or_default().max(all.len() as u64);
        Some(Uploads { files: files.collect(), total, showing: showing(limit as u64, total) })
    }
}

/// Facts in the making. Empty ones keep their place until the end, so that metadata can take it.
#[derive(Default)]
struct Facts(Vec<(Fact, bool)>);

impl Facts {
    fn push(&mut self, label: &str, values: Vec<Value>, filled: bool) {
        self.0.push((Fact { label: label.to_owned(), values }, filled));
    }

    fn text(&mut self, label: &str, text: String) {
        self.link(label, &text, None);
    }

    fn link(&mut self, label: &str, text: &str, url: Option<String>) {
        let filled = !text.trim().is_empty();
        let values = if filled { vec![Value { text: text.to_owned(), url, ..Value::default() }] } else { Vec::new() };
        self.push(label, values, filled);
    }

    /// A fact that has a value to show even if it counts as empty.
    fn number(&mut self, label: &str, text: &str, filled: bool) {
        self.push(label, vec![Value { text: text.to_owned(), ..Value::default() }], filled);
    }

    fn list(&mut self, label: &str, values: impl Iterator<Item = Value>) {
        let mut values: Vec<Value> = values.filter(|value| !value.text.trim().is_empty()).collect();
        let more = values.len().saturating_sub(LIST);
        if more > 0 {
            values.truncate(LIST);
            values.push(Value { text: format!("{} {more} more", text::ELLIPSIS), ..Value::default() });
        }
        let filled = !values.is_empty();
        self.push(label, values, filled);
    }

    /// A list that has been cut already.
    fn whole_list(&mut self, label: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.filter(|value| !value.text.trim().is_empty()).collect();
        let filled = !values.is_empty();
        self.push(label, values, filled);
    }

    /// Takes the place of the row with this label, or is added.
    fn replace(&mut self, label: &str, text: String) {
        let filled = !text.trim().is_empty();
        let values = if filled { vec![Value { text, ..Value::default() }] } else { Vec::new() };
        match self.0.iter_mut().find(|(fact, _)| fact.label == label) {
            Some(place) => *place = (Fact { label: label.to_owned(), values }, filled),
            None => self.push(label, values, filled),
        }
    }

    fn finish(self, keep_empty: bool) -> Vec<Fact> {
        self.0.into_iter().filter(|(_, filled)| *filled || keep_empty).map(|(fact, _)| fact).collect()
    }
}

/// `(Showing 20 of 120 rows)`, if rows are left out.
pub(super) fn showing(shown: u64, total: u64) -> String {
    if shown < total { format!("(Showing {shown} of {total} rows)") } else { String::new() }
}

/// A link, unless it is longer than anybody could follow.
fn short(link: String) -> Option<String> {
    (link.len() <= LINK).then_some(link)
}

/// A name on one line.
pub(super) fn name(raw: &str) -> String {
    text::one_line(&text::cut(raw, NAME))
}

/// A value that may have several lines.
fn cut(raw: &str, limit: usize) -> String {
    text::clean(&text::cut(raw.trim_end(), limit)).into_owned()
}

fn outcome(event: &FlowCompletion) -> Outcome {
    match (event.flow.failed(), event.flow.cancelled()) {
        (false, _) => Outcome::Finished,
        (true, true) => Outcome::Cancelled,
        (true, false) => Outcome::Failed,
    }
}

fn title(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Finished => "Client collection finished",
        Outcome::Failed => "Client collection FAILED",
        Outcome::Cancelled => "Client collection was cancelled",
    }
}

fn subject(view: &View, artifacts: usize) -> String {
    let host = if view.fqdn.is_empty() { "Client" } else { &view.fqdn };
    let verb = if view.outcome == Outcome::Finished { "finished collecting" } else { "FAILED to collect" };
    format!("{host} {verb} {}", what(view, artifacts, "(+ N more)"))
}

/// The first artifact and how many more.
fn what(view: &View, artifacts: usize, form: &str) -> String {
    let Some(first) = view.artifacts.first() else { return "an unnamed artifact".to_owned() };
    match artifacts.saturating_sub(1) {
        0 => first.name.clone(),
        count => format!("{} {}", first.name, form.replace('N', &count.to_string())),
    }
}

fn summary(view: &View, artifacts: usize) -> String {
    let what = what(view, artifacts, "and N more");
    let what_first = if view.artifacts.is_empty() { "An unnamed artifact" } else { &what };
    let host = &view.host;
    let by = |form: &str| if view.creator.is_empty() { String::new() } else { format!("{form} {}", view.creator) };
    match view.outcome {
        Outcome::Finished => {
            let how_long = if view.duration.is_empty() { String::new() } else { format!(", {}", view.duration) };
            let counts = format!("{}, {}{how_long}", human::count(view.rows, "row"), human::count(view.files, "file"));
            match view.creator.as_str() {
                "" => format!("{what_first} was collected from {host}: {counts}."),
                creator => format!("{creator} collected {what} from {host}: {counts}."),
            }
        }
        Outcome::Failed => format!("{what_first} could not be collected from {host}{}.", by(", as requested by")),
        Outcome::Cancelled if view.creator.is_empty() => format!("The collection of {what} from {host} was cancelled."),
        Outcome::Cancelled => format!("The collection of {what} from {host}{}, was cancelled.", by(", requested by")),
    }
}
