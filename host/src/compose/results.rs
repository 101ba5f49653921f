//! Results of a mail: each source as a table, or as what a plugin makes of it.

use std::time::{Duration, Instant};

use super::attachments::Files;
use super::blocks::{self, Ready};
use super::locale::Locale;
use super::tables::{Reader, sources, stock_table};
use super::view::{Block, PluginNote, Table};
use super::{ComposeError, build};
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
    locale: &Locale,
) -> Result<Results, ComposeError> {
    let mut reader = Reader::new(rule, asked.rows, locale);
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
                    let shown = show(source, &renderer.plugin, fragment, &mut reader, files, locale)?;
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
    out.notes.extend(troubles.iter().take(NAMED).map(|(source, trouble)| excuse(source, trouble, locale)));
    if troubles.len() > NAMED {
        let more = locale.n("more_sources", (troubles.len() - NAMED) as u64);
        out.notes.push(locale.t("note_plugins_failed", &[("sources", &more)]));
    }
    if unasked > 0 {
        let sources = locale.n("sources", unasked);
        out.notes.push(locale.t("note_plugins_slow", &[("sources", &sources)]));
    }
    if reader.cut {
        out.notes.push(locale.t("note_rows_left_out", &[]));
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
    locale: &Locale,
) -> Result<Option<Table>, ComposeError> {
    let mut ready = Ready::of(fragment, locale);
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
        let text = locale.t("note_plugin_too_large", &[("plugin", &shown.plugin)]);
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
fn excuse(source: &str, trouble: &Trouble, locale: &Locale) -> String {
    let plugin = build::name(&trouble.plugin);
    let reason = text::one_line(&text::cut(&trouble.reason, REASON));
    let reason = reason.trim_end_matches('.');
    let source = build::name(source);
    locale.t("note_plugin_table", &[("plugin", &plugin), ("source", &source), ("reason", reason)])
}
