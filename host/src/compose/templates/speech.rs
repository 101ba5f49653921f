//! What is said in the mail's language: `t`, and filters for numbers and times.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use super::filters::{escape, refuse, shown};
use crate::compose::locale::Locale;
use crate::event::time::Moment;
use crate::text;

/// Characters of a key that an error names.
const KEY: usize = 60;

pub(super) fn add(environment: &mut Environment<'static>, html: bool, locale: &Locale) {
    let own = locale.clone();
    environment.add_function("t", move |key: String, values: Kwargs| said(&own, html, &key, &values));
    let own = locale.clone();
    environment.add_filter("grouped", move |number: u64| own.grouped(number));
    let own = locale.clone();
    environment.add_filter("filesize", move |bytes: Value, options: Kwargs| {
        let binary = options.get::<Option<bool>>("binary")?.unwrap_or_default();
        options.assert_all_used()?;
        let Some(bytes) = number(&bytes, "filesize")? else { return Ok(String::new()) };
        let bytes = u64::try_from(bytes).unwrap_or_default();
        Ok(if binary { own.binary_size(bytes) } else { own.size(bytes) })
    });
    let own = locale.clone();
    environment.add_filter("duration", move |value: Value, unit: Option<String>| {
        if value.is_undefined() {
            return Err(unknown("duration"));
        }
        if value.is_none() {
            return Ok(String::new());
        }
        let scale = match unit.as_deref() {
            None | Some("s") => 1e9,
            Some("ms") => 1e6,
            Some("us") => 1e3,
            Some("ns") => 1.0,
            Some(_) => return Err(refuse("`duration` takes \"s\", \"ms\", \"us\" or \"ns\"")),
        };
        let value = f64::try_from(value).map_err(|_| refuse("`duration` is for a number"))?;
        // `as` saturates, which is what is wanted of hostile numbers.
        #[allow(clippy::cast_possible_truncation, reason = "saturates")]
        Ok(own.span((value * scale).round() as i64))
    });
    let own = locale.clone();
    environment.add_filter("datetime", move |value: Value, options: Kwargs| {
        let format = options.get::<Option<String>>("format")?;
        let zone = options.get::<Option<String>>("zone")?;
        options.assert_all_used()?;
        let Some(moment) = moment(&value, "datetime")? else { return Ok(own.t("never", &[])) };
        let zone = match zone {
            Some(name) => Some(
                TimeZone::get(&name)
                    .map_err(|_| refuse("there is no such time zone; they are named as in zone=\"Europe/Berlin\""))?,
            ),
            None => None,
        };
        let Ok(time) = Timestamp::from_microsecond(moment.0) else {
            return Ok(own.t("since_1970", &[("seconds", &moment.unix().to_string())]));
        };
        own.time_as(time, format.as_deref(), zone.as_ref()).map_err(|_| {
            refuse("this format has a part that there is not; it is written as in format=\"%d.%m.%Y %H:%M\"")
        })
    });
    let own = locale.clone();
    environment.add_filter("relative", move |state: &State<'_, '_>, value: Value, now: Option<Value>| {
        let Some(then) = moment(&value, "relative")? else { return Ok(own.t("never", &[])) };
        let now = now.or_else(|| state.lookup("written_at")).unwrap_or_default();
        let now = if now.is_undefined() { None } else { moment(&now, "relative")? };
        let Some(now) = now else {
            return Err(refuse("say what the time is relative to, as in `finished_at|relative(written_at)`"));
        };
        Ok(own.relative(then.unix(), now.unix()))
    });
}

/// A text of the catalogue. In the HTML part it is markup if one of its values is, such as what a macro writes; all else
/// in it is escaped then.
fn said(locale: &Locale, html: bool, key: &str, values: &Kwargs) -> Result<Value, Error> {
    let number: Option<u64> = values.get("n")?;
    let Some(text) = locale.language().text(key, number) else {
        let hint = match locale.language().nearest(key) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => "; texts are in lang/en.toml, and in files of yours beside it".to_owned(),
        };
        return Err(refuse(&format!("there is no text `{}`{hint}", text::one_line(&text::cut(key, KEY)))));
    };
    let mut filled = Vec::new();
    for place in text.places().filter(|place| *place != "n" || number.is_none()) {
        if !values.has(place) {
            return Err(refuse(&format!("the text `{key}` needs a value: t(\"{key}\", {place}=…)")));
        }
        let value: Value = values.get(place)?;
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        filled.push((place, value));
    }
    let markup = html && filled.iter().any(|(_, value)| value.is_safe());
    let count = number.map(|number| locale.grouped(number)).unwrap_or_default();
    let mut out = String::new();
    for piece in text.pieces() {
        let (words, safe) = match piece {
            Ok(words) => (words.into(), false),
            Err(place) => match filled.iter().find(|(name, _)| *name == place) {
                Some((_, value)) => (shown(value), value.is_safe()),
                None => (count.as_str().into(), false),
            },
        };
        if markup && !safe {
            out.push_str(&escape(&words));
        } else {
            out.push_str(&words);
        }
    }
    Ok(if markup { Value::from_safe_string(out) } else { Value::from(out) })
}

/// A filter's own word for a name that does not exist: the place that is known is the filter's.
fn unknown(filter: &str) -> Error {
    refuse(&format!("what `{filter}` is given is not known here"))
}

/// A whole number; `None` for `none`.
fn number(value: &Value, filter: &str) -> Result<Option<i128>, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(unknown(filter)),
        ValueKind::None => Ok(None),
        _ => i128::try_from(value.clone()).map(Some).map_err(|_| refuse(&format!("`{filter}` is for a whole number"))),
    }
}

/// A moment: a number whose size tells its unit, or ISO 8601; `None` for `none` and for zero.
fn moment(value: &Value, filter: &str) -> Result<Option<Moment>, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(unknown(filter)),
        ValueKind::None => Ok(None),
        ValueKind::Number => match i64::try_from(value.clone()) {
            Ok(number) => Ok(Moment::from_epoch(number)),
            Err(_) => Ok(f64::try_from(value.clone()).ok().and_then(Moment::from_float)),
        },
        _ => match value.as_str() {
            Some(text) => Ok(Moment::from_text(text)),
            None => Err(refuse(&format!("`{filter}` is for Unix seconds or a text such as 2026-08-12T02:02:03Z"))),
        },
    }
}
