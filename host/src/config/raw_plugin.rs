//! `[plugins.NAME]` as it is written, and how a rule names plugins.

use serde_json::{Value, json};
use toml::de::DeValue;

use super::decode::{Decode, Field, Fields, Findings, Section, Spot, key, known};
use super::raw_rule;
use super::values::{Choice, FilePath, Json, Named, OneOf, Sha256Hex, SizeIn, WaitIn, Word};
use crate::plugin::spec::{Instances, OnFailure};
use crate::rule::pattern::Pattern;

/// Characters of a plugin's name.
pub(super) const LONGEST_NAME: usize = 40;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// `[plugins]`: a table of tables.
#[derive(Default)]
pub(super) struct Plugins(pub(super) Named<Plugin>);

impl Plugins {
    pub(super) const DOC: &'static str = "Plugins: WebAssembly components that rules name as filters and renderers.";
}

impl Decode for Plugins {
    fn schema() -> Value {
        let mut schema = Named::<Plugin>::schema();
        if let Some(schema) = schema.as_object_mut() {
            let pattern = format!("^[a-z][a-z0-9_-]{{0,{}}}$", LONGEST_NAME - 1);
            schema.insert("propertyNames".to_owned(), json!({ "pattern": pattern, "not": { "enum": taken_names() } }));
        }
        schema
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let DeValue::Table(table) = value else {
            findings.mistyped(at, "a table", value, "every plugin has a table of its own: [plugins.NAME]");
            return None;
        };
        Some(Self(Named::of(table, findings)))
    }
}

/// Names that a decision's trace uses for what is no plugin: the keys of a rule, and the event's `client_id`.
pub(super) fn taken_names() -> Vec<&'static str> {
    let mut names: Vec<_> = known::<raw_rule::Rule>().into_iter().map(|known| known.key.name).collect();
    names.push("client_id");
    names
}

/// `[plugins.NAME]`
pub(super) struct Plugin {
    pub(super) path: Field<FilePath>,
    pub(super) sha256: Field<Sha256Hex>,
    pub(super) settings: Field<Json>,
    pub(super) files: Field<Named<FilePath>>,
    pub(super) limits: Field<PluginLimits>,
    pub(super) on_failure: Field<OneOf<OnFailure>>,
    pub(super) instances: Field<OneOf<Instances>>,
}

impl Section for Plugin {
    const TITLE: &'static str = "[plugins.NAME]";
    const DOC: &'static str = "A plugin, under the name that rules use for it.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            path: fields
                .take(key("path", "The WebAssembly component. Others must not be able to change the file.").required()),
            sha256: fields.take(key(
                "sha256",
                "SHA-256 of the component, 64 hexadecimal digits: with it, no other file is taken for the plugin.",
            )),
            settings: fields.take(
                key("settings", "What the plugin is told, as JSON: the plugin says which keys there are.")
                    .default("{}"),
            ),
            files: fields.take(
                key("files", "Text files that the plugin can read, each under the name that it uses for it.")
                    .default("{}"),
            ),
            limits: fields.take(key("limits", PluginLimits::DOC)),
            on_failure: fields.take(
                key(
                    "on_failure",
                    "When the plugin gives no answer: keep (it has no say, and the mail carries a note) or hold (the \
                     event is judged again later, and dead-lettered in the end).",
                )
                .default("\"keep\""),
            ),
            instances: fields.take(
                key(
                    "instances",
                    "auto (as the plugin asks for), fresh (a new instance for each call) or warm (kept between calls).",
                )
                .default("\"auto\""),
            ),
        }
    }
}

impl Choice for OnFailure {
    const NAMES: &'static [(&'static str, Option<Self>)] = &[("keep", Some(Self::Keep)), ("hold", Some(Self::Hold))];
}

impl Choice for Instances {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("auto", Some(Self::Auto)), ("fresh", Some(Self::Fresh)), ("warm", Some(Self::Warm))];
}

/// `[plugins.NAME] limits`
pub(super) struct PluginLimits {
    pub(super) memory: Field<SizeIn<MIB, GIB>>,
    pub(super) time: Field<WaitIn<10, 60_000>>,
    pub(super) output: Field<SizeIn<KIB, { 64 * MIB }>>,
}

impl Section for PluginLimits {
    const TITLE: &'static str = "[plugins.NAME] limits";
    const DOC: &'static str = "Limits of one call of the plugin; those not named keep their defaults.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            memory: fields.take(key("memory", "Memory of an instance, from 1 MiB to 1 GiB.").default("\"64 MiB\"")),
            time: fields.take(
                key("time", "Processor time of a call, start included, from 10 ms to 60 s.").default("\"250 ms\""),
            ),
            output: fields.take(key("output", "Answer of a call, from 1 KiB to 64 MiB.").default("\"1 MiB\"")),
        }
    }
}

/// An entry of a rule's `filters`: a name, or a table.
pub(super) struct Filter {
    pub(super) plugin: Field<Word>,
    pub(super) when: Field<OneOf<When>>,
}

impl Decode for Filter {
    fn schema() -> Value {
        json!({ "anyOf": [Word::schema(), FilterTable::schema()] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        match value {
            DeValue::String(_) => {
                let name = Word::decode(at, value, findings)?;
                Some(Self { plugin: Field::Given(name, at.span.clone()), when: Field::Absent })
            }
            DeValue::Table(_) => FilterTable::decode(at, value, findings).map(|table| table.0),
            _ => {
                let hint = "for example \"NAME\" or { plugin = \"NAME\", when = \"always\" }";
                findings.mistyped(at, "a plugin's name or a table", value, hint);
                None
            }
        }
    }
}

/// A [`Filter`] in its long form.
pub(super) struct FilterTable(Filter);

impl Section for FilterTable {
    const TITLE: &'static str = "filters";
    const DOC: &'static str = "A plugin that is asked.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self(Filter {
            plugin: fields.take(key("plugin", "Its name: NAME of [plugins.NAME].").required()),
            when: fields.take(
                key(
                    "when",
                    "match (asked of events that the filters before it let through) or always (of every event; only \
                     then can it force a mail).",
                )
                .default("\"match\""),
            ),
        })
    }
}

/// `when`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Match,
    Always,
}

impl Choice for When {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("match", Some(Self::Match)), ("always", Some(Self::Always))];
}

/// A row of a rule's `renderers`.
pub(super) struct Renderer {
    pub(super) source: Field<Pattern>,
    pub(super) plugin: Field<Word>,
}

impl Section for Renderer {
    const TITLE: &'static str = "renderers";
    const DOC: &'static str = "Results that a plugin shows.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            source: fields.take(key("source", "Matched against `Artifact/Source`.").required()),
            plugin: fields.take(key("plugin", "The plugin's name: NAME of [plugins.NAME].").required()),
        }
    }
}
