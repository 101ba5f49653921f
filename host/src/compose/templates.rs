//! Template sets: compiled once, proved by a sample render, then immutable.
//!
//! A set is `NAME.subject.j2`, `NAME.html.j2` and `NAME.txt.j2`; any other `*.j2` file is a partial that they include,
//! import or extend by its file name. The stock files are embedded; a site's folder overrides them by name. Escaping
//! follows the slot: everything that is rendered for the HTML part is escaped, whatever its file is called.
//!
//! Beside Jinja's own filters there are: `line` (one line, breaks shown as `⏎`), `br` (line breaks and places where
//! long words may break, for HTML; `br(16)` for words over 16 characters), `block(prefix)` (a prefix before each further line), `wrap(width, indent)`,
//! `cut(limit)`, `elide(limit, at)`, `count(noun)` (`1 row`, `no rows`), `text_table(width)`, `text_facts`, `text_bars` and
//! `text_code`; and, in the mail's language: `t(key, …)`, `grouped` (`1,234`), `filesize`, `duration`, `datetime`, `relative`.

mod bars;
mod cells;
mod engine;
mod filters;
mod folder;
mod given;
pub(super) mod lint;
mod own;
mod plain;
mod scan;
mod speech;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Serde, Value};
use serde::Serialize;

use self::engine::Engine;
use super::language::{self, ENGLISH, Language};
use super::locale::Locale;
use crate::locale::LocaleConfig;

/// The set that every site has.
pub const STOCK_SET: &str = "flow-completion";
/// The set that writes digests.
pub const DIGEST_SET: &str = "digest";

/// The embedded files, by name.
pub const STOCK: &[(&str, &str)] = &[
    ("_blocks.html.j2", include_str!("../../../templates/_blocks.html.j2")),
    ("_blocks.txt.j2", include_str!("../../../templates/_blocks.txt.j2")),
    ("_collection.html.j2", include_str!("../../../templates/_collection.html.j2")),
    ("_collection.txt.j2", include_str!("../../../templates/_collection.txt.j2")),
    ("_facts.html.j2", include_str!("../../../templates/_facts.html.j2")),
    ("_layout.html.j2", include_str!("../../../templates/_layout.html.j2")),
    ("_layout.txt.j2", include_str!("../../../templates/_layout.txt.j2")),
    ("_macros.html.j2", include_str!("../../../templates/_macros.html.j2")),
    ("_macros.txt.j2", include_str!("../../../templates/_macros.txt.j2")),
    ("_style.html.j2", include_str!("../../../templates/_style.html.j2")),
    ("_table.html.j2", include_str!("../../../templates/_table.html.j2")),
    ("digest.html.j2", include_str!("../../../templates/digest.html.j2")),
    ("digest.subject.j2", include_str!("../../../templates/digest.subject.j2")),
    ("digest.txt.j2", include_str!("../../../templates/digest.txt.j2")),
    ("flow-completion.html.j2", include_str!("../../../templates/flow-completion.html.j2")),
    ("flow-completion.subject.j2", include_str!("../../../templates/flow-completion.subject.j2")),
    ("flow-completion.txt.j2", include_str!("../../../templates/flow-completion.txt.j2")),
];

/// What a template's output is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// One line of raw text.
    Subject,
    /// The plain-text part.
    Text,
    /// The HTML part.
    Html,
}

impl Slot {
    /// The three slots of a set.
    pub const ALL: [Self; 3] = [Self::Subject, Self::Text, Self::Html];

    /// `NAME.subject.j2`, `NAME.txt.j2` or `NAME.html.j2`.
    #[must_use]
    pub fn file(self, set: &str) -> String {
        let ending = match self {
            Self::Subject => "subject",
            Self::Text => "txt",
            Self::Html => "html",
        };
        format!("{set}.{ending}.j2")
    }
}

/// A compiled, proved set of templates, and the languages that it can speak.
#[derive(Debug, Clone)]
pub struct Templates {
    site: Arc<Engine>,
    stock: Arc<Engine>,
    locales: Arc<BTreeMap<String, Locale>>,
    /// Of mails whose rule names none.
    language: String,
    remarks: Vec<TemplateError>,
}

/// Templates and catalogues by file name.
#[derive(Debug)]
pub struct Listed {
    /// All of them, the stock ones too.
    pub files: BTreeSet<String>,
    /// Those that the site's folder has.
    pub own: BTreeSet<String>,
    /// What is wrong.
    pub errors: Vec<TemplateError>,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{name}: {message}")]
pub struct TemplateError {
    /// Template file name.
    pub name: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Byte range in the template's text.
    pub span: Option<std::ops::Range<usize>>,
    /// The template file's text, for a caret.
    pub text: Option<String>,
    /// What is wrong, with known names; never values.
    pub message: String,
}

impl TemplateError {
    pub(super) fn of_file(name: &str, text: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), line: None, span: None, text: Some(text.to_owned()), message: message.into() }
    }

    pub(super) fn at(name: &str, text: &str, span: std::ops::Range<usize>, message: impl Into<String>) -> Self {
        let line = text.get(..span.start).map(|before| before.matches('\n').count() + 1);
        Self { line, span: Some(span), ..Self::of_file(name, text, message) }
    }
}

impl Templates {
    /// The stock templates, overridden by name from `folder`; every template set in `sets` (the rules' `template`) is
    /// compiled and sample-rendered against the shipped samples. In English, with times in UTC.
    ///
    /// # Errors
    /// Every broken template of one run.
    pub fn load(folder: Option<&Path>, sets: &[&str]) -> Result<Self, Vec<TemplateError>> {
        Self::localized(folder, sets, &LocaleConfig::default(), &[])
    }

    /// Like [`Templates::load`], in the language of `locale` and in `languages` (the rules' `language`).
    ///
    /// # Errors
    /// Every broken template and catalogue of one run; a language that there is not.
    pub fn localized(
        folder: Option<&Path>,
        sets: &[&str],
        locale: &LocaleConfig,
        languages: &[&str],
    ) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let templates = Self::compile(folder, locale, &mut errors);
        let mut names = vec![STOCK_SET, DIGEST_SET];
        names.extend(sets);
        names.sort_unstable();
        names.dedup();
        let spoken: BTreeSet<&str> = languages.iter().copied().chain([locale.language.as_str()]).collect();
        for language in spoken {
            if !templates.locales.contains_key(language) {
                let message = format!("there are no texts in the language `{language}`");
                errors.push(TemplateError {
                    text: None,
                    ..TemplateError::of_file(&language::file(language), "", message)
                });
                continue;
            }
            for set in &names {
                // The stock templates have been rendered against the shipped samples by their tests.
                templates.site.prove(set, language, folder.is_some(), &mut errors);
            }
        }
        if errors.is_empty() { Ok(templates) } else { Err(errors) }
    }

    /// What there is, broken or not. The sets named are proved as [`Templates::localized`] does it, and so is every other
    /// set that is whole.
    #[must_use]
    pub fn list(folder: Option<&Path>, sets: &[&str], locale: &LocaleConfig, languages: &[&str]) -> Listed {
        // What cannot be read is told once, by the proof below.
        let read = folder.map(|folder| folder::read(folder, &mut Vec::new())).unwrap_or_default();
        let own: BTreeSet<String> =
            read.templates.into_keys().chain(read.languages.keys().map(|name| language::file(name))).collect();
        let stock = STOCK.iter().map(|(name, _)| (*name).to_owned());
        let spoken = language::STOCK.iter().map(|(name, _)| language::file(name));
        let files: BTreeSet<String> = stock.chain(spoken).chain(own.iter().cloned()).collect();
        let whole = files.iter().filter_map(|name| name.strip_suffix(".subject.j2"));
        let whole = whole.filter(|set| Slot::ALL.iter().all(|slot| files.contains(&slot.file(set))));
        let sets: Vec<&str> = sets.iter().copied().chain(whole).collect();
        let errors = Self::localized(folder, &sets, locale, languages).err().unwrap_or_default();
        Listed { files, own, errors }
    }

    /// Compiles without proof.
    fn compile(folder: Option<&Path>, locale: &LocaleConfig, errors: &mut Vec<TemplateError>) -> Self {
        let own = folder.map(|folder| folder::read(folder, errors)).unwrap_or_default();
        let mut remarks = Vec::new();
        let languages = language::read(own.languages, errors, &mut remarks);
        let locales: BTreeMap<String, Locale> =
            languages.into_iter().map(|(name, language)| (name, Locale::new(language, locale))).collect();
        let stock = Arc::new(Engine::new(stock_files(), &locales, &mut Vec::new()));
        let site = match folder {
            None => Arc::clone(&stock),
            Some(_) => {
                let mut files = stock_files();
                files.extend(own.templates);
                Arc::new(Engine::new(files, &locales, errors))
            }
        };
        Self { site, stock, locales: Arc::new(locales), language: locale.language.clone(), remarks }
    }

    /// How mails in a language are written; in the site's own if it is none that there is.
    #[must_use]
    pub fn locale(&self, language: Option<&str>) -> &Locale {
        static FALLBACK: LazyLock<Locale> =
            LazyLock::new(|| Locale::new(Language::clone(language::english()), &LocaleConfig::default()));
        language
            .and_then(|language| self.locales.get(language))
            .or_else(|| self.locales.get(&self.language))
            .or_else(|| self.locales.get(ENGLISH))
            .unwrap_or(&FALLBACK)
    }

    /// What is not wrong, but incomplete: texts that a language lacks.
    #[must_use]
    pub fn remarks(&self) -> &[TemplateError] {
        &self.remarks
    }

    /// Renders one slot of a set.
    ///
    /// # Errors
    /// When the template fails on this view, or a site's own HTML holds on this view what no mail may hold: a branch that
    /// no sample takes has not been looked at before.
    pub fn render(&self, set: &str, slot: Slot, view: &Seen) -> Result<String, TemplateError> {
        let file = slot.file(set);
        let output = self.site.render(&file, slot, self.spoken(&view.0), &view.0)?;
        if slot == Slot::Html
            && !Arc::ptr_eq(&self.site, &self.stock)
            && let Err(mut finding) = lint::check(&output)
        {
            // It may name what a value wrote.
            finding.message = crate::text::one_line(&crate::text::cut(&finding.message, 200));
            return Err(self.site.locate(&file, finding));
        }
        Ok(output)
    }

    /// Renders one slot of a stock set, whatever the site's folder holds: the way out when its own templates fail.
    ///
    /// # Errors
    /// When even that fails: the view is too large.
    pub fn render_stock(&self, set: &str, slot: Slot, view: &Seen) -> Result<String, TemplateError> {
        self.stock.render(&slot.file(set), slot, self.spoken(&view.0), &view.0)
    }

    /// Whether a slot of a set, and of the stock set that stands in for it, names nothing but these fields of the view.
    #[must_use]
    pub fn names_only(&self, set: &str, stock: &str, slot: Slot, fields: &[&str]) -> bool {
        self.site.names_only(&slot.file(set), fields) && self.stock.names_only(&slot.file(stock), fields)
    }

    /// The language of a view.
    fn spoken(&self, context: &Value) -> &str {
        let wanted = context.get_attr("language").unwrap_or_default();
        self.locale(wanted.as_str()).language().name()
    }
}

/// A view as templates see it, made once for all parts of a mail.
#[derive(Debug, Clone)]
pub struct Seen(Value);

impl Seen {
    /// Each field by its name, and `view` for all of it, to be handed to macros.
    #[must_use]
    pub fn of(view: &impl Serialize) -> Self {
        Self(context(view))
    }
}

fn stock_files() -> BTreeMap<String, String> {
    STOCK.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Each field by its name, and `view` for all of it, to be handed to macros.
fn context(view: &impl Serialize) -> Value {
    let fields = Value::from(Serde(view));
    minijinja::context! { view => fields.clone(), ..fields }
}
