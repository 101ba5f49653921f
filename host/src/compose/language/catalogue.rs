//! A catalogue as it is written: TOML, each key a text or a table of forms.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::plural::Form;
use crate::compose::templates::TemplateError;

/// Keys that one remark names.
const NAMED: usize = 12;

/// Lists of names that must be complete, with their number.
const LISTS: [(&str, usize); 4] = [("months", 12), ("months_short", 12), ("weekdays", 7), ("weekdays_short", 7)];

/// A text with places to fill in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Words(String),
    Place(String),
}

impl Text {
    /// `{name}` is a place, `{{` a brace.
    fn parse(raw: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut words = String::new();
        let mut rest = raw;
        while let Some(open) = rest.find('{') {
            words.push_str(rest.get(..open).unwrap_or_default());
            rest = rest.get(open + 1..).unwrap_or_default();
            if let Some(after) = rest.strip_prefix('{') {
                words.push('{');
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.split_once('}') else {
                return Err("a `{` is not closed; write `{{` for a brace".to_owned());
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(format!("`{{{name}}}` is not the name of a value; write `{{{{` for a brace"));
            }
            parts.push(Part::Words(std::mem::take(&mut words)));
            parts.push(Part::Place(name.to_owned()));
            rest = after;
        }
        words.push_str(rest);
        parts.push(Part::Words(words));
        Ok(Self(parts))
    }

    /// The text with its places filled in; what is filled in is not looked at again.
    #[must_use]
    pub fn fill<'v>(&self, value: impl Fn(&str) -> &'v str) -> String {
        self.pieces().map(|piece| piece.unwrap_or_else(|place| value(place))).collect()
    }

    /// Words, or else the name of a place, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Result<&str, &str>> {
        self.0.iter().map(|part| match part {
            Part::Words(words) => Ok(words.as_str()),
            Part::Place(name) => Err(name.as_str()),
        })
    }

    /// Names of its places.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.pieces().filter_map(Result::err)
    }
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    One(Text),
    /// Always with [`Form::Other`].
    Forms(BTreeMap<Form, Text>),
}

impl Entry {
    /// The text for a number in a language.
    pub(super) fn form(&self, language: &str, number: Option<u64>) -> &Text {
        static NOTHING: Text = Text(Vec::new());
        match self {
            Self::One(text) => text,
            Self::Forms(forms) => number
                .and_then(|number| {
                    let none = (number == 0).then(|| forms.get(&Form::Zero)).flatten();
                    none.or_else(|| forms.get(&Form::of(language, number)))
                })
                .or_else(|| forms.get(&Form::Other))
                .unwrap_or(&NOTHING),
        }
    }

    /// Names of all places.
    pub(super) fn places(&self) -> BTreeSet<&str> {
        match self {
            Self::One(text) => text.places().collect(),
            Self::Forms(forms) => forms.values().flat_map(Text::places).collect(),
        }
    }
}

/// One file.
#[derive(Debug, Clone, Default)]
pub(super) struct Catalogue {
    pub(super) entries: BTreeMap<String, Entry>,
    /// Where the keys stand.
    spans: BTreeMap<String, Range<usize>>,
}

impl Catalogue {
    /// Reads what can be read.
    pub(super) fn read(file: &str, text: &str, errors: &mut Vec<TemplateError>) -> Self {
        let mut catalogue = Self::default();
        let (table, broken) = DeTable::parse_recoverable(text);
        for error in &broken {
            let span = error.span().unwrap_or_default();
            errors.push(TemplateError::at(file, text, span, format!("this is no TOML: {}", error.message())));
        }
        for (key, value) in table.get_ref() {
            match entry(value.get_ref()) {
                Ok(entry) => {
                    catalogue.spans.insert(key.get_ref().to_string(), key.span());
                    catalogue.entries.insert(key.get_ref().to_string(), entry);
                }
                Err(message) => errors.push(TemplateError::at(file, text, value.span(), message)),
            }
        }
        catalogue
    }

    /// Looks for places that nothing is given for, and for lists that are not complete.
    pub(super) fn check(&self, file: &str, text: &str, english: &Self, errors: &mut Vec<TemplateError>) {
        let mut wrong = |key: &str, message: String| {
            let span = self.spans.get(key).cloned().unwrap_or_default();
            errors.push(TemplateError::at(file, text, span, message));
        };
        for (key, entry) in &self.entries {
            let Some(stock) = english.entries.get(key) else { continue };
            let known = stock.places();
            for place in entry.places() {
                // A translation may need a number where English has words for it.
                let filled_in = known.contains(place) || (place == "n" && matches!(stock, Entry::Forms(_)));
                if !filled_in {
                    let names: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
                    let known = if names.is_empty() {
                        "it has none".to_owned()
                    } else {
                        format!("known are {}", names.join(", "))
                    };
                    wrong(key, format!("`{{{place}}}` is not filled in in `{key}`\n{known}"));
                }
            }
        }
        for (key, number) in LISTS {
            if let Some(entry) = self.entries.get(key) {
                let names = entry.form("", None).fill(|_| "").split_whitespace().count();
                if names != number {
                    wrong(key, format!("`{key}` has {names} names, not {number}\nnames are set apart by blanks"));
                }
            }
        }
    }

    /// Names what is missing. `region`: a language with a region says only what is different there.
    pub(super) fn remark(
        &self,
        file: &str,
        text: &str,
        english: &Self,
        region: bool,
        remarks: &mut Vec<TemplateError>,
    ) {
        let missing: Vec<&str> =
            english.entries.keys().filter(|key| !self.entries.contains_key(*key)).map(String::as_str).collect();
        for (key, span) in &self.spans {
            if !english.entries.contains_key(key)
                && let Some(near) = nearest(key, missing.iter().copied())
            {
                let message = format!("no stock text is called `{key}`\ndid you mean `{near}`?");
                remarks.push(TemplateError::at(file, text, span.clone(), message));
            }
        }
        if !missing.is_empty() && !region {
            let named: Vec<&str> = missing.iter().copied().take(NAMED).collect();
            let more = match missing.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let texts = crate::text::count(missing.len() as u64, "text");
            let message = format!("{texts} missing, which will be English\nmissing: {}{more}", named.join(", "));
            remarks.push(TemplateError { text: None, ..TemplateError::at(file, text, 0..0, message) });
        }
    }

    /// Takes over what is missing.
    pub(super) fn fall_back(&mut self, other: &Self) {
        for (key, entry) in &other.entries {
            self.entries.entry(key.clone()).or_insert_with(|| entry.clone());
        }
    }
}

fn entry(value: &DeValue<'_>) -> Result<Entry, String> {
    match value {
        DeValue::String(text) => Text::parse(text).map(Entry::One),
        DeValue::Table(table) => forms(table).map(Entry::Forms),
        _ => {
            Err("a text, or a table of forms such as { one = \"1 row\", other = \"{n} rows\" }, is needed here"
                .to_owned())
        }
    }
}

fn forms(table: &DeTable<'_>) -> Result<BTreeMap<Form, Text>, String> {
    let known = Form::NAMES.map(|(name, _)| name).join(", ");
    let mut forms = BTreeMap::new();
    for (name, value) in table {
        let name: &str = name.get_ref();
        let Some((_, form)) = Form::NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(format!("`{name}` is not a form of a number\nknown are {known}"));
        };
        let text = value_text(value).ok_or_else(|| format!("the form `{name}` must be a text"))?;
        forms.insert(*form, Text::parse(text)?);
    }
    if !forms.contains_key(&Form::Other) {
        return Err("the form `other` is missing: it is for all numbers that no other form is for".to_owned());
    }
    Ok(forms)
}

fn value_text<'v>(value: &'v Spanned<DeValue<'_>>) -> Option<&'v str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

/// The one of some keys that was probably meant.
pub(super) fn nearest<'n>(key: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .filter(|(distance, name)| *distance <= 1.max(name.len().min(key.len()) / 4))
        .min_by_key(|(distance, name)| (*distance, name.chars().next() != key.chars().next()))
        .map(|(_, name)| name)
}
