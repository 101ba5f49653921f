//! What a site says of how its mails speak (`[locale]`), and how languages are named. What is made of it is
//! [`crate::compose::locale`].

use jiff::tz::TimeZone;

/// What every other language falls back to.
pub const ENGLISH: &str = "en";

/// The folder of catalogues in a template folder.
pub const LANGUAGES: &str = "lang";

/// The embedded catalogues, English first.
pub const STOCK: &[(&str, &str)] =
    &[(ENGLISH, include_str!("../../templates/lang/en.toml")), ("de", include_str!("../../templates/lang/de.toml"))];

/// `[locale]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocaleConfig {
    /// Language of mails whose rule names none.
    pub language: String,
    /// Zone of all times in mails.
    pub time_zone: TimeZone,
    /// How they are written (strftime), proved; `None`: RFC 3339.
    pub date_format: Option<String>,
}

impl Default for LocaleConfig {
    fn default() -> Self {
        Self { language: ENGLISH.to_owned(), time_zone: TimeZone::UTC, date_format: None }
    }
}

/// Whether a text can be the name of a language: `de`, `pt-BR`. Such a name is a plain file name, too.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut parts = name.split('-');
    let first = parts.next().unwrap_or_default();
    (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_lowercase())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// `lang/NAME.toml`
#[must_use]
pub fn file(name: &str) -> String {
    format!("{LANGUAGES}/{name}.toml")
}
