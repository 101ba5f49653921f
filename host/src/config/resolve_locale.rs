//! `[locale]`: a zone, a format and a language that there are.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::decode::{Field, Findings, list, nearest};
use super::raw;
use super::values::Word;
use crate::locale::{self, LANGUAGES, LocaleConfig};

/// The languages that mails can be written in.
pub(super) struct Languages(BTreeSet<String>);

impl Languages {
    /// Those that are shipped, and those of a template folder. A file's content is proved with the templates.
    pub(super) fn of(templates: Option<&Path>) -> Self {
        let mut names: BTreeSet<String> = locale::STOCK.iter().map(|(name, _)| (*name).to_owned()).collect();
        let own = templates.and_then(|folder| std::fs::read_dir(folder.join(LANGUAGES)).ok());
        for entry in own.into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            names.extend(file.strip_suffix(".toml").filter(|name| locale::is_name(name)).map(str::to_owned));
        }
        Self(names)
    }

    /// The language that a key names, if there is such a one.
    pub(super) fn known(&self, field: Field<Word>, findings: &mut Findings) -> Option<String> {
        let Field::Given(name, span) = field else { return None };
        let name = name.0;
        if self.0.contains(&name) {
            return Some(name);
        }
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let near = nearest(&name, names.iter().copied()).filter(|_| name.len() > 2);
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if locale::is_name(&name) => {
                format!("known are {}; a file lang/{name}.toml in the folder of [templates] adds it", list(&names))
            }
            None => format!("known are {}; a language is named as in de or pt-BR", list(&names)),
        };
        findings.error(Some(span), format!("there are no texts in the language `{name}`"), hint);
        None
    }
}

/// Resolves the section; what is wrong has been reported, and counts as not there.
pub(super) fn resolve(locale: Option<raw::Locale>, languages: &Languages, findings: &mut Findings) -> LocaleConfig {
    let mut out = LocaleConfig::default();
    let Some(locale) = locale else { return out };
    if let Field::Given(name, span) = &locale.time_zone {
        match TimeZone::get(&name.0) {
            // So that it is written as `Z`.
            Ok(zone) if zone.iana_name().is_some_and(|name| ["UTC", "Etc/UTC"].contains(&name)) => {}
            Ok(zone) if !zone.is_unknown() => out.time_zone = zone,
            _ => {
                let hint = zone_hint(&name.0);
                findings.error(Some(span.clone()), format!("`{}` is no time zone", name.0), hint);
            }
        }
    }
    if let Field::Given(format, span) = locale.date_format {
        let tried =
            jiff::fmt::strtime::format(&format.0, &Timestamp::UNIX_EPOCH.to_zoned_datetime(out.time_zone.clone()));
        let hint = "it is written as for strftime, such as \"%Y-%m-%d %H:%M %Z\" or \"%-d. %B %Y, %H:%M\"";
        match tried {
            Err(error) => findings.error(Some(span), format!("`date_format` cannot be used: {error}"), hint),
            Ok(text) if text.trim().is_empty() || text == format.0 => {
                findings.error(Some(span), "`date_format` writes no time", hint);
            }
            Ok(_) => out.date_format = Some(format.0),
        }
    }
    if let Some(language) = languages.known(locale.language, findings) {
        out.language = language;
    }
    out
}

/// The zone that was probably meant.
fn zone_hint(wanted: &str) -> String {
    let zones: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let names = || zones.iter().map(String::as_str);
    // `Berlin` for `Europe/Berlin`.
    let city = |name: &&str| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(wanted));
    match names().find(city).or_else(|| nearest(wanted, names())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "zones are named by continent and city, such as Europe/Berlin, or UTC".to_owned(),
    }
}
