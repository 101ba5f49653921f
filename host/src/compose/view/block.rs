//! What a template sees of a plugin's answer: typed blocks and notes.

use serde::{Deserialize, Serialize};

use super::{Fact, Layout};
use crate::fragment::Tone;

/// A part of what a plugin makes of a source. `kind` says which; the other names are those of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Block {
    /// A heading. One line.
    Heading {
        /// Its words.
        text: String,
    },
    /// Text; may hold line breaks.
    Paragraph {
        /// Its words.
        text: String,
    },
    /// Labels and values.
    Facts {
        /// As those of the client and the flow.
        facts: Vec<Fact>,
        /// `(Showing 200 of 250 facts)` if some were left out; else empty.
        showing: String,
    },
    /// Rows.
    Table(Grid),
    /// Text in a typewriter face.
    Code {
        /// What it is; may be empty. One line.
        caption: String,
        /// The text, with its line breaks.
        text: String,
    },
    /// A bar chart.
    Bars {
        /// What it shows; may be empty. One line.
        caption: String,
        /// From top to bottom.
        bars: Vec<Bar>,
        /// `(Showing 100 of 120 bars)` if some were left out; else empty.
        showing: String,
    },
    /// A word that stands out. One line.
    Badge {
        /// How it is meant.
        tone: Tone,
        /// The word.
        text: String,
    },
    /// A picture.
    Image {
        /// Where its bytes are, `cid:…`; `none` if they are not in the mail: in its text part, and in a digest.
        url: Option<String>,
        /// What it shows. One line.
        alternative: String,
        /// Pixels, 1 to 1 200.
        width: u32,
        /// The same.
        height: u32,
    },
    /// A remark; may hold line breaks.
    Note {
        /// How it is meant.
        tone: Tone,
        /// A few sentences.
        text: String,
    },
}

/// Rows of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Column names; the last one is `…` if columns were left out.
    pub columns: Vec<String>,
    /// For each column, whether it stands on the right, as numbers do.
    pub right: Vec<bool>,
    /// Cells, one list a row, as long as `columns`; may hold line breaks. Blanks at their beginning count.
    pub rows: Vec<Vec<String>>,
    /// Whether the first column is a tree, whose branches are blanks or lines at the beginning of its cells.
    pub tree: bool,
    /// Columns left out.
    pub hidden_columns: u64,
    /// Rows in all.
    pub total: u64,
    /// `(Showing 20 of 120 rows)` if rows were left out; else empty.
    pub showing: String,
    /// How it is best laid out.
    pub layout: Layout,
}

/// One bar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// What it measures. One line.
    pub label: String,
    /// How long it is, 0 to 100.
    pub percent: u32,
    /// The value as it is to be read. One line.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

/// What a plugin wants the reader to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginNote {
    /// The operator's name for the plugin.
    pub plugin: String,
    /// How it is meant.
    pub tone: Tone,
    /// A few sentences; may hold line breaks.
    pub text: String,
}
