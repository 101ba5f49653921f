//! The view model: what a template sees. Every text in it is clean (controls made visible), none of it is escaped.
//!
//! This is the contract with template authors: names here are changed on purpose only. Texts may hold line breaks
//! where an endpoint sent some; the filters `line`, `br` and `block` (see [`super::templates`]) put them where they can
//! do no harm. A value that is not known is empty, or `none` where the type says `Option`.

mod block;

use serde::{Deserialize, Serialize};

pub use self::block::{Bar, Block, Grid, PluginNote};

/// Everything a template of a flow completion can name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The subject, as the stock subject template writes it before it is cut.
    pub subject: String,
    /// How the collection ended.
    pub outcome: Outcome,
    /// `Client collection finished`, `… FAILED` or `… was cancelled`.
    pub title: String,
    /// The collection in one sentence.
    pub summary: String,
    /// What the endpoint is best known by: its FQDN, else its host name, else its client id. One line.
    pub host: String,
    /// The FQDN that the endpoint reports; may be empty.
    pub fqdn: String,
    /// `C.…`
    pub client_id: String,
    /// `F.…`
    pub flow_id: String,
    /// `root`, or the org's id.
    pub org_id: String,
    /// Who started the collection: a user name or address; may be empty.
    pub creator: String,
    /// Whether the collection was marked urgent.
    pub urgent: bool,
    /// Whether the client enrolled shortly before (`new_client_threshold`).
    pub new_client: bool,
    /// The error message of a failed collection, or who cancelled it; may be empty.
    pub error: String,
    /// The artifacts requested, in order.
    pub artifacts: Vec<Named>,
    /// Rows collected.
    pub rows: u64,
    /// Files uploaded.
    pub files: u64,
    /// Size of the uploads, such as `40 MB`.
    pub size: String,
    /// The same in bytes, for `filesize`.
    #[serde(default)]
    pub bytes: u64,
    /// How long the longest query took, such as `17.3 s`; may be empty.
    pub duration: String,
    /// The same in nanoseconds, for `duration("ns")`.
    #[serde(default)]
    pub duration_ns: Option<i64>,
    /// When it finished, such as `2026-08-12T02:02:03Z (now)`.
    pub finished: String,
    /// The same in Unix seconds, for `datetime` and `relative`.
    #[serde(default)]
    pub finished_at: Option<i64>,
    /// When the collection was asked for, in Unix seconds.
    #[serde(default)]
    pub created_at: Option<i64>,
    /// When the client began, in Unix seconds.
    #[serde(default)]
    pub started_at: Option<i64>,
    /// When the mail was written, in Unix seconds: what relative times are relative to.
    #[serde(default)]
    pub written_at: i64,
    /// The mail's language, such as `en`.
    #[serde(default = "english")]
    pub language: String,
    /// The hunt that the flow belongs to.
    pub hunt: Option<Named>,
    /// The client's page in the GUI.
    pub client_url: Option<String>,
    /// The flow's page in the GUI.
    pub flow_url: Option<String>,
    /// Facts of the client, in order.
    pub client: Vec<Fact>,
    /// Facts of the flow, in order.
    pub flow: Vec<Fact>,
    /// Results, in the order of the event: tables, and what plugins make of a source instead.
    pub results: Vec<Table>,
    /// The uploads table, if the rule wants one and there are uploads.
    pub uploads: Option<Uploads>,
    /// Files attached to the mail.
    pub attachments: Vec<AttachedFile>,
    /// What the reader must know of this mail: attachments that were dropped, results that could not be read.
    pub notes: Vec<String>,
    /// What plugins want the reader to know, in order.
    #[serde(default)]
    pub plugin_notes: Vec<PluginNote>,
    /// Name of the rule that sent the mail.
    pub rule: String,
    /// Why it did.
    pub reason: String,
}

fn english() -> String {
    super::language::ENGLISH.to_owned()
}

/// How a collection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// State FINISHED.
    Finished,
    /// Any other state.
    #[default]
    Failed,
    /// Not finished, because somebody cancelled it.
    Cancelled,
}

/// A name that may have a page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Name.
    pub name: String,
    /// Its page in the GUI.
    pub url: Option<String>,
}

/// A label with its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is, in every language: `creator`, `labels`, …; empty for client metadata and for a plugin's facts.
    #[serde(default)]
    pub key: String,
    /// Label, in the mail's language.
    pub label: String,
    /// Values; none for a fact that is kept although it is empty (`keep_empty_rows`).
    pub values: Vec<Value>,
}

/// One value of a fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Name of the value, for arguments: `Artifact/parameter`; else empty.
    pub name: String,
    /// Value; may hold line breaks.
    pub text: String,
    /// Its page in the GUI.
    pub url: Option<String>,
}

/// Result rows of one source, or what a plugin makes of them: then there are `blocks`, and no rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `Artifact` or `Artifact/Source`.
    pub source: String,
    /// Column names; the last one is `…` if columns were left out.
    pub columns: Vec<String>,
    /// Cells, one list a row, as long as `columns`; may hold line breaks.
    pub rows: Vec<Vec<String>>,
    /// Columns left out because of `result_table_max_columns`.
    pub hidden_columns: u64,
    /// Rows of the whole set.
    pub total: u64,
    /// `(Showing 20 of 120 rows)` if rows were left out; else empty.
    pub showing: String,
    /// How it is best laid out.
    pub layout: Layout,
    /// Why the rows could not be read, or not all; else empty.
    pub problem: String,
    /// What the plugin calls it; empty: the source's name is enough. One line.
    #[serde(default)]
    pub title: String,
    /// The plugin that wrote the blocks; empty for a table.
    #[serde(default)]
    pub plugin: String,
    /// What the plugin makes of the source, in order; none for a table.
    #[serde(default)]
    pub blocks: Vec<Block>,
}

/// How a table is best laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Rows and columns that fit a phone.
    #[default]
    Narrow,
    /// Rows and columns that fit a desktop, but no phone.
    Wide,
    /// One value below the other: a single row, or values with line breaks.
    Record,
}

/// Uploaded files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploads {
    /// Files shown.
    pub files: Vec<UploadedFile>,
    /// Files in all.
    pub total: u64,
    /// `(Showing 10 of 25 rows)` if files were left out; else empty.
    pub showing: String,
}

/// An uploaded file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedFile {
    /// Its path on the endpoint, cut on the left.
    pub name: String,
    /// Such as `14 GB`.
    pub size: String,
    /// The same in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Where it can be downloaded.
    pub url: Option<String>,
}

/// A file attached to the mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedFile {
    /// File name.
    pub name: String,
    /// Such as `4.1 kB`.
    pub size: String,
    /// The same in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Where its rows come from.
    pub source: String,
    /// How many; 0 for a file that a plugin wrote.
    pub rows: u64,
}

/// Everything a digest's template can name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DigestView {
    /// The subject, as the stock subject template writes it before it is cut.
    pub subject: String,
    /// `5 client collections`.
    pub title: String,
    /// How many of them finished, failed and were cancelled, in one sentence.
    pub summary: String,
    /// The worst outcome among them.
    pub outcome: Outcome,
    /// The collections, in order of arrival; those after the first 100 without facts and tables.
    pub items: Vec<View>,
    /// Collections beyond those in `items`, of which there are at most 500.
    pub more: u64,
    /// How many finished.
    pub finished: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// When the digest was written, in Unix seconds.
    #[serde(default)]
    pub written_at: i64,
    /// The mail's language, such as `en`.
    #[serde(default = "english")]
    pub language: String,
    /// Files attached to the mail.
    pub attachments: Vec<AttachedFile>,
    /// What the reader must know of this mail.
    pub notes: Vec<String>,
    /// Name of the rule that sent the mail.
    pub rule: String,
    /// Why it did.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Block> {
        let full = crate::compose::samples::views().remove(0);
        let blocks: Vec<Block> = full.results.into_iter().flat_map(|table| table.blocks).collect();
        let kinds: std::collections::HashSet<_> = blocks.iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 9, "a sample has every kind of block");
        blocks
    }

    #[test]
    fn what_an_older_version_gathered_can_be_read() {
        let mut value = serde_json::to_value(View { results: vec![Table::default()], ..View::default() }).unwrap();
        value.as_object_mut().unwrap().remove("plugin_notes");
        for name in ["title", "plugin", "blocks"] {
            value["results"][0].as_object_mut().unwrap().remove(name);
        }
        let view: View = serde_json::from_value(value).unwrap();
        assert_eq!(view, View { results: vec![Table::default()], ..View::default() });
    }

    #[test]
    fn blocks_come_back_from_json_as_they_were() {
        let blocks = every_kind();
        let json = serde_json::to_string(&blocks).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Block>>(&json).unwrap(), blocks);
    }

    /// What a page for template authors says is what there is.
    #[test]
    fn the_authors_page_names_every_field() {
        let page = include_str!("../../../templates/README.md");
        let view = View {
            hunt: Some(Named::default()),
            client: vec![Fact { values: vec![Value::default()], ..Fact::default() }],
            results: vec![Table { blocks: every_kind(), ..Table::default() }],
            plugin_notes: vec![PluginNote::default()],
            uploads: Some(Uploads { files: vec![UploadedFile::default()], ..Uploads::default() }),
            attachments: vec![AttachedFile::default()],
            ..View::default()
        };
        let digest = DigestView { items: vec![view], ..DigestView::default() };
        let mut left = vec![serde_json::to_value(digest).unwrap()];
        let mut seen = 0;
        while let Some(value) = left.pop() {
            match value {
                serde_json::Value::Object(fields) => {
                    for (name, value) in fields {
                        assert!(
                            page.contains(&format!("\n| `{name}` | ")),
                            "templates/README.md does not name `{name}`"
                        );
                        seen += 1;
                        left.push(value);
                    }
                }
                serde_json::Value::Array(values) => left.extend(values),
                _ => {}
            }
        }
        assert!(seen > 50, "{seen} fields were looked up");
    }
}
