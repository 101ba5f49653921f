//! Results of a mail: each source as a table, or as what a plugin makes of it.

use std::time::{Duration, Instant};

use super::attachments::Files;
use super::blocks::{self, Ready};
use super::tables::{Reader, sources, stock_table};
use super::view::{Block, PluginNote, Table};
use super::{ComposeError, build, human};
use crate::fragment::{Fragment, Tone};
use crate::plugin::spec::OnFailure;
use crate::plugin::{Ask, Asked, Trouble};
use crate::rule::Rule;
use crate::text;

/// Sources that notes on failed plugins name.
const NAMED: usize = 20;
/// How long the renderers of one mail may take together. Each call has its own limit; a thousand of them had none.
const PATIENCE: Duration = Duration::from_secs(20);
/// Characters of a plugin's reason.
const REASON: usize = 300;

/// Results of a mail.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// In the order of the event.
    pub(super) tables: Vec<Table>,
    /// What the reader must know of them.
    pub(super) notes: Vec<String>,
}

/// Reads the results that a rule asks for. A source that `renderers` names is its plugin's, wherever the last entry that
/// matches it says so; every other one has a table by the last entry of `include_result_table_from` that matches it.
/// Pictures and files of plugins go to `files`. `noted` are the mail's notes, which take their share of its size.
///
/// # Errors
/// When a plugin has no answer and is to be asked again later, or the disk refuses.
pub(super) fn read(
    rule: &Rule,
    plugins: &dyn Ask,
    asked: &Asked<'_>,
    noted: &[PluginNote],
    files: &mut Files<'_>,
) -> Result<Results, ComposeError> {
    let mut reader = Reader::new(rule, asked.rows);
    reader.pay(noted.iter().map(|note| blocks::octets(&note.text)).sum());
    let mut out = Results::default();
    let mut troubles = Vec::new();
    let (begun, mut unasked) = (Instant::now(), 0_u64);
    for (source, set) in sources(asked.event) {
        let renderer = rule.renderers.iter().rev().find(|entry| entry.source.matches(source));
        let wanted = rule.include_result_table_from.iter().rev().find(|entry| entry.source.matches(source));
        if renderer.is_none() && wanted.is_none() {
            continue;
        }
        if reader.is_full() {
            break;
        }
        let mut instead = None;
        if renderer.is_some() && begun.elapsed() > PATIENCE {
            unasked += 1;
            instead = wanted.is_none().then(stock_table);
        } else if let Some(renderer) = renderer {
            match plugins.render(&renderer.plugin, asked, source) {
                Ok(fragment) => {
                    let shown = show(source, &renderer.plugin, fragment, &mut reader, files)?;
                    out.tables.extend(shown);
                    continue;
                }
                Err(trouble) if trouble.on_failure == OnFailure::Hold => return Err(ComposeError::Postponed(trouble)),
                Err(trouble) => {
                    instead = wanted.is_none().then(stock_table);
                    troubles.push((source, trouble));
                }
            }
        }
        if let Some(wanted) = wanted.or(instead.as_ref()) {
            out.tables.extend(reader.table(wanted, source, set));
        }
    }
    out.notes.extend(troubles.iter().take(NAMED).map(|(source, trouble)| excuse(source, trouble)));
    if troubles.len() > NAMED {
        let more = human::count((troubles.len() - NAMED) as u64, "more source");
        out.notes.push(format!("Plugins could not show {more} either; there are tables instead."));
    }
    if unasked > 0 {
        let sources = human::count(unasked, "source");
        out.notes.push(format!("Plugins took too long with this mail: {sources} are shown as tables."));
    }
    if reader.cut {
        out.notes.push("Some result rows were left out: the mail would have become too large.".to_owned());
    }
    Ok(out)
}

/// What a plugin makes of a source; nothing if that is nothing.
fn show(
    source: &str,
    plugin: &str,
    fragment: Fragment,
    reader: &mut Reader<'_>,
    files: &mut Files<'_>,
) -> Result<Option<Table>, ComposeError> {
    let mut ready = Ready::of(fragment);
    for file in std::mem::take(&mut ready.files) {
        files.file(source, file)?;
    }
    if ready.blocks.is_empty() {
        return Ok(None);
    }
    let mut shown = Table {
        source: build::name(source),
        plugin: build::name(plugin),
        title: std::mem::take(&mut ready.title),
        ..Table::default()
    };
    if !reader.pay(ready.cost()) {
        let text = format!(
            "What the plugin `{}` makes of this source was left out: the mail would have become too large.",
            shown.plugin
        );
        shown.title.clear();
        shown.blocks = vec![Block::Note { tone: Tone::Warning, text }];
        return Ok(Some(shown));
    }
    for (at, image) in ready.pictures {
        let Some(block) = ready.blocks.get_mut(at) else { continue };
        files.picture(&image, block)?;
    }
    shown.blocks = ready.blocks;
    Ok(Some(shown))
}

/// Why there is a table where a plugin was to be.
fn excuse(source: &str, trouble: &Trouble) -> String {
    let plugin = build::name(&trouble.plugin);
    let reason = text::one_line(&text::cut(&trouble.reason, REASON));
    let reason = reason.trim_end_matches('.');
    format!("The plugin `{plugin}` could not show {}, so there is a table instead: {reason}.", build::name(source))
}
