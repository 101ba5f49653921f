//! `[velociraptor]` as it is written.

use serde_json::{Value, json};
use toml::de::DeValue;

use super::decode::{Decode, Field, Fields, Findings, Section, Spot, key};
use super::values::{FilePath, List, Word};

/// `[velociraptor]`
pub(super) struct Velociraptor {
    pub(super) api_config: Field<FilePath>,
    pub(super) org: Field<OrgNames>,
    pub(super) watch: Field<bool>,
    pub(super) publish: Field<Word>,
}

impl Section for Velociraptor {
    const TITLE: &'static str = "[velociraptor]";
    const DOC: &'static str = "A live server over its gRPC API: it is watched, and asked for the facts.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        fields.refuse(
            &["client_private_key", "client_cert", "ca_certificate", "api_connection_string"],
            "`{}` stands in the API client file, not here",
            "write api_config = \"api.config.yaml\", the file that `velociraptor config api_client` has written",
        );
        Self {
            api_config: fields.take(
                key(
                    "api_config",
                    "The API client file, as `velociraptor config api_client --role api` writes it. Others must not be \
                     able to read it.",
                )
                .required(),
            ),
            org: fields.take(
                key(
                    "org",
                    "Whose completions are watched: an org's id, a list of ids, or \"*\" for every org that the user \
                     may see.",
                )
                .default("\"root\""),
            ),
            watch: fields.take(
                key("watch", "Watch for completions; false: the server is only asked for facts.").default("true"),
            ),
            publish: fields.take(key(
                "publish",
                "Event artifact that gets a row for each notification; the user needs PUBLISH on it. Without it, nothing \
                 is written to the server.",
            )),
        }
    }
}

/// What stands in `org`.
#[derive(Debug, Clone)]
pub(super) enum OrgNames {
    /// One text.
    One(Word),
    /// A list.
    Several(List<Word>),
}

impl Decode for OrgNames {
    fn schema() -> Value {
        let id = Word::schema();
        json!({ "anyOf": [id, { "type": "array", "items": id, "minItems": 1 }], "examples": ["root", ["root", "O123"], "*"] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        match value {
            DeValue::Array(_) => List::decode(at, value, findings).map(Self::Several),
            DeValue::String(_) => Word::decode(at, value, findings).map(Self::One),
            _ => {
                findings.mistyped(at, "an org's id or a list of ids", value, "for example \"root\", or \"*\" for all");
                None
            }
        }
    }
}
