//! What a renderer answers with: typed blocks, put together from top to bottom.

use crate::{Failure, Note, Tone};

pub use crate::bindings::renderer::exports::bewit::plugin::renderer::{
    Alignment, Attachment, Badge, Bar, Bars, Block, Code, Column, Fact, Fragment, Image, Table,
};

/// What a renderer says, or why it has nothing to say.
pub type Rendered = Result<Fragment, Failure>;

impl Fragment {
    /// An empty fragment under its heading; an empty heading is the source's name.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new(), attachments: Vec::new() }
    }

    /// Adds any block.
    #[must_use]
    pub fn block(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Adds a heading.
    #[must_use]
    pub fn heading(self, text: impl Into<String>) -> Self {
        self.block(Block::Heading(text.into()))
    }

    /// Adds text; line breaks are kept.
    #[must_use]
    pub fn paragraph(self, text: impl Into<String>) -> Self {
        self.block(Block::Paragraph(text.into()))
    }

    /// Adds labels and values.
    #[must_use]
    pub fn facts<L: Into<String>, V: Into<String>>(self, facts: impl IntoIterator<Item = (L, V)>) -> Self {
        let facts = facts.into_iter().map(|(label, value)| Fact { label: label.into(), value: value.into() }).collect();
        self.block(Block::Facts(facts))
    }

    /// Adds a table.
    #[must_use]
    pub fn table(self, table: Table) -> Self {
        self.block(Block::Table(table))
    }

    /// Adds text in a typewriter face, as it is; the caption may be empty.
    #[must_use]
    pub fn code(self, caption: impl Into<String>, text: impl Into<String>) -> Self {
        self.block(Block::Code(Code { caption: caption.into(), text: text.into() }))
    }

    /// Adds a bar chart.
    #[must_use]
    pub fn bars(self, bars: Bars) -> Self {
        self.block(Block::Bars(bars))
    }

    /// Adds a word that stands out.
    #[must_use]
    pub fn badge(self, tone: Tone, text: impl Into<String>) -> Self {
        self.block(Block::Badge(Badge { text: text.into(), tone }))
    }

    /// Adds a picture: PNG, JPEG or GIF, what it shows for those who do not see it, width and height in pixels.
    #[must_use]
    pub fn image(self, data: Vec<u8>, alternative: impl Into<String>, size: (u32, u32)) -> Self {
        self.block(Block::Image(Image { data, alternative: alternative.into(), size }))
    }

    /// Adds a remark.
    #[must_use]
    pub fn note(self, note: Note) -> Self {
        self.block(Block::Note(note))
    }

    /// Adds a file.
    #[must_use]
    pub fn attach(mut self, name: impl Into<String>, media_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        let (name, media_type, data) = (name.into(), media_type.into(), data.into());
        self.attachments.push(Attachment { name, media_type, data });
        self
    }
}

impl Table {
    /// A table without rows, its columns at the left.
    #[must_use]
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = N>) -> Self {
        let columns =
            columns.into_iter().map(|name| Column { name: name.into(), alignment: Alignment::Start }).collect();
        Self { columns, rows: Vec::new(), total: None }
    }

    /// Puts a column to the right, as numbers are; a name that no column has changes nothing.
    #[must_use]
    pub fn right(mut self, name: &str) -> Self {
        for column in self.columns.iter_mut().filter(|column| column.name == name) {
            column.alignment = Alignment::End;
        }
        self
    }

    /// Adds a row, as [`Self::push`].
    #[must_use]
    pub fn row<C: Into<String>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row. Cells that are missing are empty, those that are too many are left out.
    pub fn push<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Says how many rows there are in all, if not all are shown.
    #[must_use]
    pub fn of(mut self, total: u64) -> Self {
        self.total = (total > u64::try_from(self.rows.len()).unwrap_or(u64::MAX)).then_some(total);
        self
    }
}

impl Bars {
    /// A chart without bars. The maximum is the value of a bar of full length; it must be above 0.
    #[must_use]
    pub fn new(caption: impl Into<String>, maximum: f64) -> Self {
        Self { caption: caption.into(), maximum, items: Vec::new() }
    }

    /// Adds a bar: what it measures, how long it is (from 0 to the maximum), and the value as it is to be read.
    #[must_use]
    pub fn bar(mut self, label: impl Into<String>, value: f64, text: impl Into<String>, tone: Tone) -> Self {
        let value = if value.is_finite() { value.clamp(0.0, self.maximum.max(0.0)) } else { 0.0 };
        self.items.push(Bar { label: label.into(), value, text: text.into(), tone });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_long_as_the_columns() {
        let table = Table::new(["Name", "Size"]).right("Size").row(["a"]).row(["b", "2", "x"]);
        assert_eq!(table.rows, [vec!["a".to_owned(), String::new()], vec!["b".to_owned(), "2".to_owned()]]);
        assert_eq!(table.columns[1].alignment, Alignment::End);
        assert_eq!(table.clone().of(2).total, None);
        assert_eq!(table.of(3).total, Some(3));
    }

    #[test]
    fn a_bar_stays_inside_its_chart() {
        let bars = Bars::new("", 10.0).bar("a", 20.0, "20", Tone::Danger).bar("b", f64::NAN, "?", Tone::Neutral);
        assert_eq!(bars.items.iter().map(|bar| bar.value).collect::<Vec<_>>(), [10.0, 0.0]);
    }
}
