//! The wording of mails in one language: texts by key, with places to fill in and forms that depend on a number.
//!
//! A catalogue is `lang/NAME.toml`, embedded or in the site's template folder. What it does not say, the language without
//! its region says (`de` for `de-AT`), and then English. Nothing in a text is ever read as a template or as markup.

mod catalogue;
mod plural;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use self::catalogue::Text;
use self::catalogue::{Catalogue, Entry};
use super::templates::TemplateError;
pub use crate::locale::{ENGLISH, STOCK, file, is_name};

/// One language, complete.
#[derive(Debug, Clone, Default)]
pub struct Language {
    name: String,
    entries: BTreeMap<String, Entry>,
}

impl Language {
    /// As it is configured: `en`, `de-AT`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a key, in the form for a number if there is one; `None` if no catalogue has the key.
    #[must_use]
    pub fn text(&self, key: &str, number: Option<u64>) -> Option<&Text> {
        self.entries.get(key).map(|entry| entry.form(&self.name, number))
    }

    /// Fills in a text. A place that nothing is given for stays empty; a key that is not known is shown itself.
    #[must_use]
    pub fn fill(&self, key: &str, number: Option<u64>, values: &[(&str, &str)]) -> String {
        let Some(text) = self.text(key, number) else { return key.to_owned() };
        let value = |name: &str| values.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
        text.fill(|name| value(name).unwrap_or_default())
    }

    /// The key that was probably meant.
    #[must_use]
    pub fn nearest(&self, key: &str) -> Option<&str> {
        catalogue::nearest(key, self.entries.keys().map(String::as_str))
    }
}

/// The embedded English.
#[must_use]
pub fn english() -> &'static Language {
    static ENGLISH_TEXTS: LazyLock<Language> = LazyLock::new(|| stock().remove(ENGLISH).unwrap_or_default());
    &ENGLISH_TEXTS
}

/// The embedded languages, by name.
#[must_use]
pub fn stock() -> BTreeMap<String, Language> {
    read(BTreeMap::new(), &mut Vec::new(), &mut Vec::new())
}

/// The embedded languages and those of a site, by name. `own` are the texts of its files, by name of the language.
/// What is wrong goes to `errors`; what is only incomplete goes to `remarks`.
pub(super) fn read(
    own: BTreeMap<String, String>,
    errors: &mut Vec<TemplateError>,
    remarks: &mut Vec<TemplateError>,
) -> BTreeMap<String, Language> {
    let mut catalogues: BTreeMap<&str, Catalogue> = BTreeMap::new();
    for (name, text) in STOCK {
        // They are proved by tests.
        catalogues.insert(name, Catalogue::read(&file(name), text, &mut Vec::new()));
    }
    let english = catalogues.get(ENGLISH).cloned().unwrap_or_default();
    for (name, text) in &own {
        let file = file(name);
        let mut catalogue = Catalogue::read(&file, text, errors);
        catalogue.check(&file, text, &english, errors);
        // Of a language that is shipped, a site's file only changes what it says.
        match catalogues.remove(name.as_str()) {
            Some(stock) => catalogue.fall_back(&stock),
            None => catalogue.remark(&file, text, &english, name.contains('-'), remarks),
        }
        catalogues.insert(name, catalogue);
    }
    let mut languages = BTreeMap::new();
    for (name, catalogue) in &catalogues {
        let mut whole = catalogue.clone();
        let parent = name.split_once('-').and_then(|(base, _)| catalogues.get(base));
        for other in parent.into_iter().chain(catalogues.get(ENGLISH)) {
            whole.fall_back(other);
        }
        languages.insert((*name).to_owned(), Language { name: (*name).to_owned(), entries: whole.entries });
    }
    languages
}
