//! What plugins may make of a source: every kind of block, with texts that an attacker could have written.

use super::{Layout, fact};
use crate::compose::view::{Bar, Block, Grid, PluginNote, Table};
use crate::fragment::Tone;

/// Markup, a line that looks like a header, and a character that is no longer one.
const HOSTILE: &str =
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\nBcc: evil@example.net ␀[U+202E]gpj.exe";
const TONES: [Tone; 4] = [Tone::Neutral, Tone::Good, Tone::Warning, Tone::Danger];

/// Every kind of block.
pub(super) fn everything() -> Table {
    let mut blocks = vec![heading("Since the last boot"), paragraph("Two lines\n  of text."), paragraph(HOSTILE)];
    blocks.extend(TONES.map(|tone| Block::Badge { tone, text: "3 hits".to_owned() }));
    blocks.extend(TONES.map(|tone| Block::Note { tone, text: HOSTILE.to_owned() }));
    blocks.push(Block::Facts {
        facts: vec![
            fact("", "Signed by", &["Example Corp.\nSecond line"]),
            fact("", "Empty", &[]),
            fact("", "<b>", &[HOSTILE]),
        ],
        showing: "(Showing 3 of 250 facts)".to_owned(),
    });
    blocks.extend([tree(Layout::Narrow), tree(Layout::Wide), wide(), nothing()]);
    blocks.push(Block::Code { caption: "Stdout".to_owned(), text: format!("$ ls\n    a  b\n\n\tc\n{HOSTILE}") });
    blocks.push(Block::Code { caption: String::new(), text: "one line".to_owned() });
    blocks.push(Block::Bars {
        caption: "Disk usage".to_owned(),
        bars: TONES.into_iter().zip([0, 1, 60, 100]).map(|(tone, percent)| bar(tone, percent)).collect(),
        showing: "(Showing 4 of 120 bars)".to_owned(),
    });
    blocks.push(picture(Some("cid:1.0f1e2d3c4b5a69788796a5b4c3d2e1f0@bewit.invalid")));
    blocks.push(picture(None));
    Table {
        source: "Custom.Windows.Everything/All".to_owned(),
        plugin: "everything".to_owned(),
        blocks,
        ..Table::default()
    }
}

/// A fragment with a heading of its own.
pub(super) fn titled() -> Table {
    Table {
        source: "Windows.System.Pslist".to_owned(),
        title: "Process tree".to_owned(),
        plugin: "process-tree".to_owned(),
        blocks: vec![paragraph("No process was running.")],
        ..Table::default()
    }
}

/// Notes of plugins.
pub(super) fn notes() -> Vec<PluginNote> {
    let texts =
        ["Nothing else is known.", "All hashes are on the list.", HOSTILE, "evil.exe is on the list of hashes."];
    let notes = TONES.into_iter().zip(texts);
    notes.map(|(tone, text)| PluginNote { plugin: "ioc".to_owned(), tone, text: text.to_owned() }).collect()
}

fn heading(text: &str) -> Block {
    Block::Heading { text: text.to_owned() }
}

fn paragraph(text: &str) -> Block {
    Block::Paragraph { text: text.to_owned() }
}

fn bar(tone: Tone, percent: u32) -> Bar {
    Bar { label: "/dev/sda1".to_owned(), percent, text: "40 GB".to_owned(), tone }
}

fn picture(url: Option<&str>) -> Block {
    Block::Image {
        url: url.map(str::to_owned),
        alternative: "A chart of disk usage: / 60 %, /home 100 %".to_owned(),
        width: 640,
        height: 200,
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn tree(layout: Layout) -> Block {
    let command =
        if layout == Layout::Wide { "C:\\Windows\\System32\\svchost.exe -k netsvcs -p -s Schedule" } else { "" };
    Block::Table(Grid {
        columns: strings(&["Process", "Pid", "Command line"]),
        right: vec![false, true, false],
        rows: vec![
            strings(&["services.exe", "612", ""]),
            strings(&["  svchost.exe", "1044", command]),
            strings(&["    taskhostw.exe", "5120", ""]),
        ],
        tree: true,
        total: 3,
        layout,
        ..Grid::default()
    })
}

fn wide() -> Block {
    Block::Table(Grid {
        columns: strings(&["Name", "…"]),
        right: vec![false, false],
        rows: vec![strings(&[HOSTILE, "…"])],
        hidden_columns: 4,
        total: 40,
        showing: "(Showing 1 of 40 rows)".to_owned(),
        layout: Layout::Record,
        ..Grid::default()
    })
}

/// A table without rows.
fn nothing() -> Block {
    Block::Table(Grid { columns: strings(&["Name"]), right: vec![false], ..Grid::default() })
}
