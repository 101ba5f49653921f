//! What plugins answer with: notes for a mail, and typed blocks for a result source. Pure data, below every layer; the
//! WIT package `bewit:plugin` (folder `wit/`) says what each part means to an author.
//!
//! Nothing in it has been cleaned: who shows it treats it as text from outside.

use serde::{Deserialize, Serialize};

/// How a thing is meant, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// No colour.
    #[default]
    Neutral,
    /// Good news.
    Good,
    /// To be looked at.
    Warning,
    /// Bad news.
    Danger,
}

/// A remark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How it is meant.
    pub tone: Tone,
    /// A few sentences.
    pub text: String,
}

/// What a filter plugin says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Abstain,
    /// Go on, with notes for the mail.
    Keep(Vec<Note>),
    /// No mail, because of this.
    Drop(String),
    /// A mail, whatever the built-in filters say, because of this.
    Force(String),
}

/// What stands in the mail for a result source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fragment {
    /// Its heading; empty: the source's name.
    pub title: String,
    /// Content, in order. None at all, and no attachment: the source is not shown.
    pub blocks: Vec<Block>,
    /// Files.
    pub attachments: Vec<File>,
}

impl Fragment {
    /// Bytes of its texts and files.
    #[must_use]
    pub fn size(&self) -> u64 {
        let blocks: usize = self.blocks.iter().map(Block::size).sum();
        let files: usize = self.attachments.iter().map(|file| file.name.len() + file.data.len()).sum();
        (self.title.len() + blocks + files) as u64
    }
}

impl Block {
    fn size(&self) -> usize {
        match self {
            Self::Heading(text) | Self::Paragraph(text) => text.len(),
            Self::Facts(facts) => facts.iter().map(|(label, value)| label.len() + value.len()).sum(),
            Self::Table(table) => {
                let names: usize = table.columns.iter().map(|column| column.name.len()).sum();
                names + table.rows.iter().flatten().map(String::len).sum::<usize>()
            }
            Self::Code { caption, text } => caption.len() + text.len(),
            Self::Bars(bars) => {
                bars.caption.len() + bars.items.iter().map(|bar| bar.label.len() + bar.text.len()).sum::<usize>()
            }
            Self::Badge(note) | Self::Note(note) => note.text.len(),
            Self::Image(image) => image.data.len() + image.alternative.len(),
        }
    }
}

/// A part of a fragment.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A heading inside the fragment.
    Heading(String),
    /// Text; line breaks are kept.
    Paragraph(String),
    /// Labels and values.
    Facts(Vec<(String, String)>),
    /// Rows.
    Table(Table),
    /// Text in a typewriter face.
    Code {
        /// What it is; may be empty.
        caption: String,
        /// The text.
        text: String,
    },
    /// A bar chart.
    Bars(Bars),
    /// A word that stands out.
    Badge(Note),
    /// A picture.
    Image(Image),
    /// A remark.
    Note(Note),
}

/// Rows as they are to be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Columns.
    pub columns: Vec<Column>,
    /// Cells, one list a row, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
    /// How many rows there are in all, if not all are shown.
    pub total: Option<u64>,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// One line.
    pub name: String,
    /// On the right, as numbers are.
    pub right: bool,
}

/// A bar chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// May be empty.
    pub caption: String,
    /// The value of a bar of full length; above 0, finite.
    pub maximum: f64,
    /// From top to bottom.
    pub items: Vec<Bar>,
}

/// One bar.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bar {
    /// What it measures.
    pub label: String,
    /// From 0 to the maximum, finite.
    pub value: f64,
    /// The value as it is to be read.
    pub text: String,
    /// Colour.
    pub tone: Tone,
}

/// A picture whose bytes have been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What the bytes are.
    pub kind: ImageKind,
    /// Content.
    pub data: Vec<u8>,
    /// What it shows; not empty.
    pub alternative: String,
    /// Pixels at which it is shown, 1 to 1 200.
    pub width: u32,
    /// The same.
    pub height: u32,
}

/// Formats that every mail program shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// `image/png`
    Png,
    /// `image/jpeg`
    Jpeg,
    /// `image/gif`
    Gif,
}

impl ImageKind {
    /// What bytes are, by their first ones.
    #[must_use]
    pub fn of(data: &[u8]) -> Option<Self> {
        match data {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            _ => None,
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
        }
    }

    /// Its file extension.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Gif => "gif",
        }
    }
}

/// A file to be attached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// Proposed name.
    pub name: String,
    /// A media type of the form `type/subtype`, checked.
    pub media_type: String,
    /// Content.
    pub data: Vec<u8>,
}
