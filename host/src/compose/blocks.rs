//! A plugin's fragment becomes blocks that a template may show: cleaned, cut, and counted.

#[cfg(test)]
mod tests;

use super::locale::Locale;
use super::tables::layout;
use super::view::{Bar, Block, Fact, Grid, Layout, PluginNote, Value};
use crate::fragment::{self, Image, Tone};
use crate::rule;
use crate::text;

/// Characters of a heading, a label, a caption, a column's name, a badge or a bar's text.
const LABEL: usize = 300;
/// Characters of a paragraph.
const PARAGRAPH: usize = 4_000;
/// Characters of a block of code.
const CODE: usize = 20_000;
/// Characters of a cell or of a fact's value.
const CELL: usize = 2_000;
/// Characters of a note or of a picture's alternative text.
const NOTE: usize = 2_000;
/// Blocks of one fragment.
const BLOCKS: usize = 200;
/// Rows of one table.
const ROWS: usize = 500;
/// Columns of one table.
const COLUMNS: usize = 30;
/// Bars of one chart.
const BARS: usize = 100;
/// Facts of one list.
const FACTS: usize = 200;
/// Notes of plugins in one mail.
const NOTES: usize = 50;
/// Pixels of a picture's side.
const SIDE: u32 = 1_200;

/// Octets of markup around one block, and around one cell, fact or bar.
const MARKUP: usize = 512;

/// A fragment, ready to be shown.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
    /// Pictures, with the place of their block.
    pub(super) pictures: Vec<(usize, Image)>,
    pub(super) files: Vec<fragment::File>,
}

impl Ready {
    pub(super) fn of(fragment: fragment::Fragment, locale: &Locale) -> Self {
        let mut ready = Self { title: label(&fragment.title), files: fragment.attachments, ..Self::default() };
        let all = fragment.blocks.len();
        for given in fragment.blocks.into_iter().take(BLOCKS) {
            if let fragment::Block::Image(image) = given {
                ready.pictures.push((ready.blocks.len(), image));
                if let Some((_, image)) = ready.pictures.last() {
                    ready.blocks.push(picture(image));
                }
            } else if let Some(block) = block(given, locale) {
                ready.blocks.push(block);
            }
        }
        if all > BLOCKS {
            let text = locale.showing("showing_blocks", BLOCKS as u64, all as u64);
            ready.blocks.push(Block::Paragraph { text });
        }
        ready
    }

    /// Octets of HTML that it takes, as an estimate.
    pub(super) fn cost(&self) -> usize {
        octets(&self.title) + self.blocks.iter().map(cost).sum::<usize>()
    }
}

/// A block, unless it has nothing to show.
fn block(given: fragment::Block, locale: &Locale) -> Option<Block> {
    let filled = |text: &str| !text.trim().is_empty();
    Some(match given {
        fragment::Block::Heading(text) if filled(&text) => Block::Heading { text: label(&text) },
        fragment::Block::Paragraph(text) if filled(&text) => Block::Paragraph { text: lines(&text, PARAGRAPH) },
        fragment::Block::Facts(list) if !list.is_empty() => facts(&list, locale),
        fragment::Block::Table(table) if !table.columns.is_empty() => Block::Table(grid(&table, locale)),
        fragment::Block::Code { caption, text } if filled(&text) || filled(&caption) => {
            Block::Code { caption: label(&caption), text: lines(&text, CODE) }
        }
        fragment::Block::Bars(chart) if !chart.items.is_empty() => bars(&chart, locale),
        fragment::Block::Badge(note) if filled(&note.text) => Block::Badge { tone: note.tone, text: label(&note.text) },
        fragment::Block::Note(note) if filled(&note.text) => {
            Block::Note { tone: note.tone, text: lines(&note.text, NOTE) }
        }
        fragment::Block::Image(image) => picture(&image),
        _ => return None,
    })
}

/// A picture whose bytes are nowhere yet.
fn picture(image: &Image) -> Block {
    Block::Image {
        url: None,
        alternative: text::one_line(&text::cut(&image.alternative, NOTE)),
        width: image.width.clamp(1, SIDE),
        height: image.height.clamp(1, SIDE),
    }
}

/// What stands where a picture does not fit.
pub(super) fn left_out(text: String) -> Block {
    Block::Note { tone: Tone::Neutral, text }
}

/// What plugins want the reader to know; what is over the limit is said in a last note.
pub(super) fn notes(given: &[rule::PluginNote], locale: &Locale) -> Vec<PluginNote> {
    let shown = given.iter().filter(|note| !note.text.trim().is_empty()).map(|note| PluginNote {
        plugin: label(&note.plugin),
        tone: note.tone,
        text: lines(&note.text, NOTE),
    });
    let mut notes: Vec<PluginNote> = shown.collect();
    let all = notes.len();
    if all > NOTES {
        notes.truncate(NOTES);
        let plugin = notes.last().map(|note| note.plugin.clone()).unwrap_or_default();
        let text = locale.showing("showing_notes", NOTES as u64, all as u64);
        notes.push(PluginNote { plugin, tone: Tone::Neutral, text });
    }
    notes
}

fn facts(list: &[(String, String)], locale: &Locale) -> Block {
    let shown: Vec<Fact> = list
        .iter()
        .take(FACTS)
        .map(|(name, value)| {
            let text = lines(value, CELL);
            let values = if text.is_empty() { Vec::new() } else { vec![Value { text, ..Value::default() }] };
            Fact { key: String::new(), label: label(name), values }
        })
        .collect();
    let showing = locale.showing("showing_facts", shown.len() as u64, list.len() as u64);
    Block::Facts { facts: shown, showing }
}

fn bars(chart: &fragment::Bars, locale: &Locale) -> Block {
    let shown: Vec<Bar> = chart
        .items
        .iter()
        .take(BARS)
        .map(|bar| Bar {
            label: label(&bar.label),
            percent: percent(bar.value, chart.maximum),
            text: label(&bar.text),
            tone: bar.tone,
        })
        .collect();
    let showing = locale.showing("showing_bars", shown.len() as u64, chart.items.len() as u64);
    Block::Bars { caption: label(&chart.caption), bars: shown, showing }
}

/// 0 only for nothing: the smallest bar can still be seen.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100, and no NaN")]
fn percent(value: f64, maximum: f64) -> u32 {
    let share = value / maximum * 100.0;
    if share.is_nan() || share <= 0.0 { 0 } else { share.clamp(1.0, 100.0).round() as u32 }
}

fn grid(table: &fragment::Table, locale: &Locale) -> Grid {
    let ellipsis = text::ELLIPSIS.to_string();
    let hidden = table.columns.len().saturating_sub(COLUMNS);
    let given = table.columns.iter().take(COLUMNS);
    let (mut columns, mut right): (Vec<String>, Vec<bool>) =
        given.map(|column| (label(&column.name), column.right)).unzip();
    let width = columns.len();
    if hidden > 0 {
        columns.push(ellipsis.clone());
        right.push(false);
    }
    let rows = table.rows.iter().take(ROWS).map(|row| {
        let mut cells: Vec<String> = row.iter().take(width).map(|cell| lines(cell, CELL)).collect();
        cells.resize(width, String::new());
        if hidden > 0 {
            cells.push(ellipsis.clone());
        }
        cells
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let total = table.total.unwrap_or_default().max(table.rows.len() as u64);
    let tree = is_tree(&rows);
    let layout = match layout(&columns, &rows) {
        // One value below the other would fell it.
        Layout::Record if tree => Layout::Wide,
        other => other,
    };
    let showing = locale.showing("showing_rows", rows.len() as u64, total);
    Grid { columns, right, rows, tree, hidden_columns: hidden as u64, total, showing, layout }
}

/// Whether the first column has branches: blanks, or the lines that trees are drawn with.
pub(super) fn is_tree(rows: &[Vec<String>]) -> bool {
    let branch = |cell: &String| cell.starts_with([' ', '│', '├', '└', '┃', '┣', '┗', '╰']);
    rows.iter().filter_map(|row| row.first()).any(branch)
}

/// One line.
fn label(raw: &str) -> String {
    text::one_line(&text::cut(raw.trim(), LABEL))
}

/// Several lines, blanks at the beginning kept.
fn lines(raw: &str, limit: usize) -> String {
    text::clean(&text::cut(raw.trim_end(), limit)).into_owned()
}

/// Octets of HTML that a block takes, as an estimate on the high side.
pub(super) fn cost(block: &Block) -> usize {
    MARKUP
        + match block {
            Block::Heading { text }
            | Block::Paragraph { text }
            | Block::Badge { text, .. }
            | Block::Note { text, .. } => octets(text),
            Block::Facts { facts, .. } => {
                let values = |fact: &Fact| fact.values.iter().map(|value| octets(&value.text)).sum::<usize>();
                facts.iter().map(|fact| MARKUP + octets(&fact.label) + values(fact)).sum()
            }
            Block::Table(grid) => {
                let names: usize = grid.columns.iter().map(|name| octets(name)).sum();
                // Below one another, or stacked on a phone, each cell has its column's name before it.
                let (times, markup) = match grid.layout {
                    Layout::Narrow => (1, MARKUP / 2),
                    Layout::Wide => (1 + grid.rows.len(), 3 * MARKUP / 4),
                    Layout::Record => (1 + grid.rows.len(), MARKUP + MARKUP / 4),
                };
                let cells: usize = grid.rows.iter().flatten().map(|cell| markup + octets(cell)).sum();
                times * names + grid.columns.len() * MARKUP + cells
            }
            Block::Code { caption, text } => octets(caption) + octets(text),
            Block::Bars { caption, bars, .. } => {
                let each = bars.iter().map(|bar| 2 * MARKUP + octets(&bar.label) + octets(&bar.text));
                octets(caption) + each.sum::<usize>()
            }
            Block::Image { alternative, .. } => octets(alternative),
        }
}

/// Octets of a text once it is escaped, its blanks are kept and its long words can break.
pub(super) fn octets(text: &str) -> usize {
    let mut blank = true;
    let mut sum = text.len() + text.len() / 2;
    for byte in text.bytes() {
        sum += match byte {
            b'<' | b'>' | b'&' | b'"' | b'\'' | b'\n' => 5,
            b'\t' => 17,
            b' ' if blank => 5,
            _ => 0,
        };
        blank = matches!(byte, b' ' | b'\n');
    }
    sum
}
