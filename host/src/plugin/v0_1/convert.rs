//! From Bewit's types to the guest's and back. What an answer claims is checked here, once: after it, a fragment means
//! what its type says.

use super::generated::about::exports::bewit::plugin::about;
use super::generated::filter::exports::bewit::plugin::filter;
use super::generated::imported::bewit::plugin::types;
use super::generated::renderer::exports::bewit::plugin::renderer;
use super::{CallError, Description, Refusal, Setting};
use crate::event::FlowCompletion;
use crate::event::time::Moment;
use crate::fragment::{Bar, Bars, Block, Column, File, Fragment, Image, ImageKind, Note, Table, Tone, Verdict};

/// Pixels of an image's side.
const PIXELS: u32 = 1_200;
/// Media type of a file whose own makes no sense.
const ANY: &str = "application/octet-stream";

pub(super) fn event(event: &FlowCompletion) -> types::Event {
    let flow = &event.flow;
    let client = event.client.as_ref();
    let names = client.map(|client| [&client.fqdn, &client.hostname]).into_iter().flatten();
    let host = names.chain([&event.key.client_id]).find(|name| !name.is_empty()).cloned();
    types::Event {
        id: event.key.to_string(),
        kind: "System.Flow.Completion".to_owned(),
        org_id: event.key.org_id.clone(),
        client_id: event.key.client_id.clone(),
        flow_id: event.key.flow_id.clone(),
        hunt_id: event.is_hunt().then(|| event.hunt_id()).flatten(),
        host: host.unwrap_or_default(),
        labels: client.map(|client| client.labels.clone()).unwrap_or_default(),
        creator: flow.creator.clone(),
        artifacts: flow.artifacts.clone(),
        state: flow.state.name().to_owned(),
        status: flow.status.clone(),
        created: flow.create_time.map(milliseconds),
        started: flow.start_time.map(milliseconds),
        completed: event.timestamp.map(milliseconds),
        total_rows: flow.total_collected_rows,
        total_files: flow.total_uploaded_files,
        total_bytes: flow.total_uploaded_bytes,
        document: event.document.to_string(),
    }
}

fn milliseconds(moment: Moment) -> i64 {
    moment.0.div_euclid(1000)
}

pub(super) fn source(name: &str) -> types::Source {
    types::Source { name: name.to_owned() }
}

pub(super) fn description(described: about::Description) -> Description {
    let settings = |settings: Vec<about::Setting>| {
        settings
            .into_iter()
            .map(|about::Setting { key, summary, required }| Setting { key, summary, required })
            .collect()
    };
    let about::Description { name, version, summary, settings: known, files, warm } = described;
    Description { name, version, summary, settings: settings(known), files: settings(files), warm }
}

pub(super) fn refusal(failure: types::Failure) -> CallError {
    let (reason, again) = match failure {
        types::Failure::Retry(reason) => (reason, true),
        types::Failure::Reject(reason) => (reason, false),
    };
    CallError::Refused(Refusal { reason, again })
}

pub(super) fn verdict(verdict: filter::Verdict) -> Verdict {
    match verdict {
        filter::Verdict::Abstain => Verdict::Abstain,
        filter::Verdict::Keep(notes) => Verdict::Keep(notes.into_iter().map(note).collect()),
        filter::Verdict::Drop(reason) => Verdict::Drop(reason),
        filter::Verdict::Force(reason) => Verdict::Force(reason),
    }
}

fn note(note: types::Note) -> Note {
    Note { tone: tone(note.tone), text: note.text }
}

fn tone(tone: types::Tone) -> Tone {
    match tone {
        types::Tone::Neutral => Tone::Neutral,
        types::Tone::Good => Tone::Good,
        types::Tone::Warning => Tone::Warning,
        types::Tone::Danger => Tone::Danger,
    }
}

pub(super) fn fragment(fragment: renderer::Fragment) -> Result<Fragment, CallError> {
    let renderer::Fragment { title, blocks, attachments } = fragment;
    let blocks = blocks.into_iter().map(block).collect::<Result<_, _>>().map_err(CallError::Nonsense)?;
    let attachments = attachments.into_iter().map(file).collect();
    Ok(Fragment { title, blocks, attachments })
}

fn block(block: renderer::Block) -> Result<Block, String> {
    Ok(match block {
        renderer::Block::Heading(text) => Block::Heading(text),
        renderer::Block::Paragraph(text) => Block::Paragraph(text),
        renderer::Block::Facts(facts) => {
            Block::Facts(facts.into_iter().map(|renderer::Fact { label, value }| (label, value)).collect())
        }
        renderer::Block::Table(rows) => Block::Table(table(rows)?),
        renderer::Block::Code(renderer::Code { caption, text }) => Block::Code { caption, text },
        renderer::Block::Bars(chart) => Block::Bars(bars(chart)?),
        renderer::Block::Badge(renderer::Badge { text, tone: shown }) => Block::Badge(Note { tone: tone(shown), text }),
        renderer::Block::Image(picture) => Block::Image(image(picture)?),
        renderer::Block::Note(remark) => Block::Note(note(remark)),
    })
}

fn table(table: renderer::Table) -> Result<Table, String> {
    let renderer::Table { columns, rows, total } = table;
    let wrong = rows.iter().zip(1..).find(|(row, _)| row.len() != columns.len());
    if let Some((row, number)) = wrong {
        return Err(format!("row {number} of a table has {} cells for {} columns", row.len(), columns.len()));
    }
    let columns = columns
        .into_iter()
        .map(|renderer::Column { name, alignment }| Column { name, right: alignment == renderer::Alignment::End });
    Ok(Table { columns: columns.collect(), rows, total })
}

fn bars(chart: renderer::Bars) -> Result<Bars, String> {
    let renderer::Bars { caption, maximum, items } = chart;
    if !(maximum.is_finite() && maximum > 0.0) {
        return Err(format!("bars have the maximum {maximum}, which is not above 0"));
    }
    let bar = |bar: renderer::Bar| {
        let renderer::Bar { label, value, text, tone: shown } = bar;
        if !(0.0..=maximum).contains(&value) {
            return Err(format!("a bar has the value {value}, which is not between 0 and {maximum}"));
        }
        Ok(Bar { label, value, text, tone: tone(shown) })
    };
    Ok(Bars { caption, maximum, items: items.into_iter().map(bar).collect::<Result<_, _>>()? })
}

fn image(picture: renderer::Image) -> Result<Image, String> {
    let renderer::Image { data, alternative, size: (width, height) } = picture;
    let Some(kind) = ImageKind::of(&data) else {
        return Err("an image is neither PNG nor JPEG nor GIF".to_owned());
    };
    if alternative.trim().is_empty() {
        return Err("an image has no alternative text".to_owned());
    }
    if ![width, height].iter().all(|side| (1..=PIXELS).contains(side)) {
        return Err(format!("an image is {width} by {height} pixels; each side may have 1 to {PIXELS}"));
    }
    Ok(Image { kind, data, alternative, width, height })
}

fn file(attachment: renderer::Attachment) -> File {
    let renderer::Attachment { name, media_type, data } = attachment;
    File { name, media_type: media_type_of(&media_type), data }
}

/// RFC 2045 section 5.1, without parameters. What a mail program could take for a part with a meaning of its own is not
/// left to a guest.
fn media_type_of(named: &str) -> String {
    let named = named.to_ascii_lowercase();
    let token = |text: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed)
    };
    match named.split_once('/') {
        Some(("multipart" | "message", _)) => ANY.to_owned(),
        Some((kind, subtype)) if token(kind) && token(subtype) => named,
        _ => ANY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_tokens() {
        for (named, taken) in [
            ("text/csv", "text/csv"),
            ("Text/CSV", "text/csv"),
            ("application/vnd.x+json", "application/vnd.x+json"),
            ("", ANY),
            ("text", ANY),
            ("text/", ANY),
            ("text/csv; charset=x", ANY),
            ("text/csv\r\nX-Evil: 1", ANY),
            ("multipart/mixed", ANY),
            ("message/rfc822", ANY),
        ] {
            assert_eq!(media_type_of(named), taken, "{named}");
        }
    }

    #[test]
    fn a_chart_must_have_sound_numbers() {
        let chart = |maximum, value| renderer::Bars {
            caption: String::new(),
            maximum,
            items: vec![renderer::Bar { label: "a".into(), value, text: "1".into(), tone: types::Tone::Good }],
        };
        assert!(bars(chart(10.0, 0.0)).is_ok() && bars(chart(10.0, 10.0)).is_ok());
        for (maximum, value) in
            [(0.0, 0.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (10.0, -1.0), (10.0, 11.0), (10.0, f64::NAN)]
        {
            assert!(bars(chart(maximum, value)).is_err(), "{maximum} {value}");
        }
    }

    #[test]
    fn an_image_must_be_what_it_says() {
        let png = b"\x89PNG\r\n\x1a\nrest".to_vec();
        let picture = |data: &[u8], alternative: &str, size| renderer::Image {
            data: data.to_vec(),
            alternative: alternative.to_owned(),
            size,
        };
        assert_eq!(image(picture(&png, "bars", (1, 1_200))).unwrap().kind, ImageKind::Png);
        assert!(image(picture(b"<svg onload=x>", "bars", (1, 1))).is_err());
        assert!(image(picture(&png, "  ", (1, 1))).is_err());
        assert!(image(picture(&png, "bars", (0, 1))).is_err());
        assert!(image(picture(&png, "bars", (1, 1_201))).is_err());
    }

    #[test]
    fn a_table_must_be_square() {
        let column = || renderer::Column { name: "a".into(), alignment: renderer::Alignment::End };
        let rows = |rows: Vec<Vec<String>>| renderer::Table { columns: vec![column()], rows, total: None };
        assert!(table(rows(vec![vec!["x".into()]])).unwrap().columns[0].right);
        let error = table(rows(vec![vec!["x".into()], vec![]])).unwrap_err();
        assert_eq!(error, "row 2 of a table has 0 cells for 1 columns");
    }
}
