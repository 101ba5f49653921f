//! A small decoder over TOML values that know their place: it reads typed values, collects every mistake instead of
//! stopping at the first, and, run over nothing, tells which keys it would have read. The last is what the JSON Schema
//! and the "did you mean" hints are made of, so neither can say what the decoder does not.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Severity};

/// Byte range in the file.
pub(super) type Span = Range<usize>;

/// What is known of a key beside its type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// In snake_case.
    pub(super) name: &'static str,
    /// Velociraptor's own name for it; empty: none.
    pub(super) alias: &'static str,
    /// One or two sentences, for editors.
    pub(super) doc: &'static str,
    /// What holds without it, as JSON; empty: nothing.
    pub(super) default: &'static str,
    /// The table makes no sense without it.
    pub(super) required: bool,
}

/// Begins the description of a key.
pub(super) const fn key(name: &'static str, doc: &'static str) -> Key {
    Key { name, alias: "", doc, default: "", required: false }
}

impl Key {
    /// Velociraptor's own name.
    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    /// The default, as JSON.
    pub(super) const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Must be there.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// What became of a key.
#[derive(Debug, Clone)]
pub(super) enum Field<T> {
    /// It is not in the file.
    Absent,
    /// It is, but its value is no good; that has been reported.
    Wrong(Span),
    /// Its value, and where that stands.
    Given(T, Span),
}

impl<T> Field<T> {
    /// The value, if there is a good one.
    pub(super) fn get(&self) -> Option<&T> {
        match self {
            Self::Given(value, _) => Some(value),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    /// The value, if there is a good one.
    pub(super) fn into_value(self) -> Option<T> {
        match self {
            Self::Given(value, _) => Some(value),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    /// The value or, if there is no good one, another.
    pub(super) fn or(self, default: T) -> T {
        self.into_value().unwrap_or(default)
    }

    /// The value or, if the key is not in the file, another; `None` if it is wrong.
    pub(super) fn unless_wrong(self, default: T) -> Option<T> {
        match self {
            Self::Given(value, _) => Some(value),
            Self::Absent => Some(default),
            Self::Wrong(_) => None,
        }
    }

    /// Where it stands, good or not.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Self::Absent => None,
            Self::Wrong(span) | Self::Given(_, span) => Some(span.clone()),
        }
    }

    /// Whether the key is not in the file.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A value of the file, with the key it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Spot<'k> {
    /// The key, as written.
    pub(super) key: &'k str,
    /// Of the value.
    pub(super) span: Span,
}

/// Every mistake of one file.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    list: Vec<Diagnostic>,
    /// What is worth a word only if nothing is wrong.
    remarks: Vec<Diagnostic>,
    /// Parts of the file could not be read: what seems to be missing may have been there.
    torn: bool,
}

impl Findings {
    /// Begins with none.
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new(), remarks: Vec::new(), torn: false }
    }

    /// From now on nothing is reported as missing.
    pub(super) fn tear(&mut self) {
        self.torn = true;
    }

    /// An error; `hint` may be empty.
    pub(super) fn error(&mut self, span: Option<Span>, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), hint.into());
    }

    /// An error that says that something is not there.
    pub(super) fn missing(&mut self, span: Option<Span>, message: impl Into<String>, hint: impl Into<String>) {
        if !self.torn {
            self.error(span, message, hint);
        }
    }

    /// A warning; `hint` may be empty.
    pub(super) fn warning(&mut self, span: Option<Span>, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), hint.into());
    }

    /// A warning that something is not there; it is not given beside errors, which may be the reason.
    pub(super) fn remark(&mut self, span: Option<Span>, message: impl Into<String>, hint: impl Into<String>) {
        let remark = self.diagnostic(Severity::Warning, span, message.into(), hint.into());
        self.remarks.push(remark);
    }

    /// An error: the value is of another type.
    pub(super) fn mistyped(&mut self, at: &Spot<'_>, wanted: &str, found: &DeValue<'_>, hint: impl Into<String>) {
        let message = format!("`{}` must be {wanted}, not {}", at.key, kind(found));
        self.error(Some(at.span.clone()), message, hint);
    }

    /// How many errors there are.
    pub(super) fn errors(&self) -> usize {
        self.list.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// All of them, in order of place.
    pub(super) fn into_list(mut self) -> Vec<Diagnostic> {
        if self.errors() == 0 {
            self.list.append(&mut self.remarks);
        }
        self.list.sort_by_key(|finding| finding.span.as_ref().map_or(0, |span| span.start));
        self.list
    }

    fn add(&mut self, severity: Severity, span: Option<Span>, message: String, hint: String) {
        let diagnostic = self.diagnostic(severity, span, message, hint);
        self.list.push(diagnostic);
    }

    fn diagnostic(&self, severity: Severity, span: Option<Span>, message: String, hint: String) -> Diagnostic {
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        Diagnostic { severity, file: self.file.clone(), span, message, hint }
    }
}

/// What a TOML value is called.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A type that a value of the file can be read as.
pub(super) trait Decode: Sized {
    /// How a JSON Schema describes the values that are read.
    fn schema() -> Value;

    /// Reads it; `None` has been reported.
    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self>;
}

/// A table of the file: its keys and no others.
pub(super) trait Section: Sized {
    /// As it is written: `[smtp]`.
    const TITLE: &'static str;
    /// What it is, for editors.
    const DOC: &'static str;

    /// Takes every key, whatever the values of others: what is not taken is not known.
    fn read(fields: &mut Fields<'_, '_>) -> Self;
}

/// A key that a [`Section`] takes.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Its description.
    pub(super) key: Key,
    /// Its type.
    pub(super) schema: Value,
}

/// The keys of one table while they are read.
pub(super) struct Fields<'t, 'i> {
    title: &'static str,
    /// Of the table's header.
    span: Option<Span>,
    /// `None`: nothing is read, only recorded.
    table: Option<&'t DeTable<'i>>,
    findings: &'t mut Findings,
    taken: Vec<Key>,
    /// What is no key here, with what to do instead.
    refused: Vec<(&'static str, String)>,
    recorded: Vec<Known>,
}

impl Fields<'_, '_> {
    /// Reads one key.
    pub(super) fn take<T: Decode>(&mut self, key: Key) -> Field<T> {
        self.taken.push(key);
        let Some(table) = self.table else {
            self.recorded.push(Known { key, schema: T::schema() });
            return Field::Absent;
        };
        let mut found: Option<(&str, Span, &Spanned<DeValue<'_>>)> = None;
        for (name, value) in table.iter() {
            let text: &str = name.get_ref();
            if text != key.name && (key.alias.is_empty() || text != key.alias) {
                continue;
            }
            if let Some((first, ..)) = &found {
                let message = format!("`{text}` and `{first}` are one key");
                self.findings.error(Some(name.span()), message, "keep one of them");
                continue;
            }
            found = Some((text, name.span(), value));
        }
        let Some((text, _, value)) = found else {
            if key.required {
                let message = match self.span {
                    Some(_) => format!("`{}` is missing in {}", key.name, self.title),
                    None => format!("[{}] is missing", key.name),
                };
                self.findings.missing(self.span.clone(), message, key.doc);
            }
            return Field::Absent;
        };
        let at = Spot { key: text, span: value.span() };
        match T::decode(&at, value.get_ref(), self.findings) {
            Some(decoded) => Field::Given(decoded, at.span),
            None => Field::Wrong(at.span),
        }
    }

    /// A key that is no key here, with what to do instead; `names` are its spellings.
    pub(super) fn refuse(&mut self, names: &[&'static str], message: &str, hint: &str) {
        for name in names {
            self.refused.push((name, hint.to_owned()));
            let written = self.table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name));
            if let Some((written, _)) = written {
                self.findings.error(Some(written.span()), message.replace("{}", name), hint);
            }
        }
    }

    /// The table's place, and the findings, for checks that a section makes of itself.
    pub(super) fn header(&self) -> Option<Span> {
        self.span.clone()
    }

    /// What an unknown key may have been meant to be.
    fn hint(&self, text: &str) -> String {
        let names = self.taken.iter().flat_map(|key| [key.name, key.alias]).filter(|name| !name.is_empty());
        if let Some(near) = nearest(text, names) {
            return format!("did you mean `{near}`?");
        }
        if let Some(near) = nearest(text, self.refused.iter().map(|(name, _)| *name)) {
            let hint = self.refused.iter().find(|(name, _)| *name == near);
            return hint.map(|(_, hint)| hint.clone()).unwrap_or_default();
        }
        if let Some(home) = super::schema::home(text) {
            return format!("`{text}` belongs in {home}");
        }
        let names: Vec<_> = self.taken.iter().map(|key| key.name).collect();
        if names.len() > 12 { String::new() } else { format!("keys are {}", list(&names)) }
    }

    /// Reports the keys that nobody took.
    fn finish(self) -> Vec<Known> {
        let Some(table) = self.table else { return self.recorded };
        for (name, _) in table.iter() {
            let text: &str = name.get_ref();
            let taken = self.taken.iter().any(|key| key.name == text || (!key.alias.is_empty() && key.alias == text));
            if taken || self.refused.iter().any(|(name, _)| *name == text) {
                continue;
            }
            let hint = self.hint(text);
            self.findings.error(Some(name.span()), format!("unknown key `{text}` in {}", self.title), hint);
        }
        Vec::new()
    }
}

/// The keys that a section takes, found by letting it read nothing.
pub(super) fn known<S: Section>() -> Vec<Known> {
    let mut findings = Findings::new("");
    let mut fields = Fields {
        title: S::TITLE,
        span: None,
        table: None,
        findings: &mut findings,
        taken: Vec::new(),
        refused: Vec::new(),
        recorded: Vec::new(),
    };
    let _ = S::read(&mut fields);
    fields.finish()
}

/// Reads a table.
pub(super) fn section<S: Section>(table: &DeTable<'_>, span: Option<Span>, findings: &mut Findings) -> S {
    let mut fields = Fields {
        title: S::TITLE,
        span,
        table: Some(table),
        findings,
        taken: Vec::new(),
        refused: Vec::new(),
        recorded: Vec::new(),
    };
    let read = S::read(&mut fields);
    let _ = fields.finish();
    read
}

impl<S: Section> Decode for S {
    fn schema() -> Value {
        super::schema::object::<S>()
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let DeValue::Table(table) = value else {
            let hint = match value {
                DeValue::Array(_) => format!("write {} once, not as a list", S::TITLE),
                _ => format!("see {}", S::TITLE),
            };
            findings.mistyped(at, "a table", value, hint);
            return None;
        };
        Some(section(table, Some(at.span.clone()), findings))
    }
}

/// `a`, `b` and `c`.
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

/// The one of some names that was probably meant.
pub(super) fn nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = text.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1.max(name.len().min(text.len()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
