//! Where the rows of each source are.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::lenient::{Kind, Result, parse_fields, text};
use crate::event::rows::ResultSet;

/// Result rows by source. Source names are artifact names, so they are not folded. What is no object is no fact.
pub(super) struct Results(pub(super) Option<IndexMap<String, ResultSet>>);

impl<'de> Deserialize<'de> for Results {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Sources;
        impl<'de> Visitor<'de> for Sources {
            type Value = Results;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Results, A::Error> {
                let mut results = IndexMap::new();
                while let Some((source, value)) = map.next_entry::<String, &'de RawValue>()? {
                    results.insert(source, result_set(value).map_err(A::Error::custom)?);
                }
                Ok(Results(Some(results)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Results, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Results(None))
            }

            fn visit_unit<E>(self) -> std::result::Result<Results, E> {
                Ok(Results(None))
            }

            fn visit_bool<E>(self, _: bool) -> std::result::Result<Results, E> {
                Ok(Results(None))
            }

            fn visit_i64<E>(self, _: i64) -> std::result::Result<Results, E> {
                Ok(Results(None))
            }

            fn visit_u64<E>(self, _: u64) -> std::result::Result<Results, E> {
                Ok(Results(None))
            }

            fn visit_f64<E>(self, _: f64) -> std::result::Result<Results, E> {
                Ok(Results(None))
            }

            fn visit_str<E>(self, _: &str) -> std::result::Result<Results, E> {
                Ok(Results(None))
            }
        }
        deserializer.deserialize_any(Sources)
    }
}

/// Null is empty, as it is everywhere.
fn result_set(value: &RawValue) -> Result<ResultSet> {
    match Kind::of(value.get()) {
        Kind::Array => Ok(ResultSet::Inline(value.to_owned())),
        Kind::Null => serde_json::value::to_raw_value(&[(); 0]).map(ResultSet::Inline),
        Kind::Object => {
            let mut file = None;
            parse_fields(value.get(), |key, value| {
                if key == "file" {
                    file = text(value)?;
                }
                Ok(())
            })?;
            Ok(match file.filter(|file| !file.is_empty()) {
                Some(file) => ResultSet::File(file.into_owned()),
                None => ResultSet::Unusable("an object that names no file, not a list of rows".to_owned()),
            })
        }
        kind => Ok(ResultSet::Unusable(format!("a JSON {}, not a list of rows", kind.name()))),
    }
}
