//! Filters, the formatter that cannot be talked out of escaping, and what is said about an unknown name.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use super::{bars, given, plain};
use crate::compose::human;
use crate::compose::view::Bar;
use crate::text;

/// Said when a template turns escaping off for the HTML part.
pub(super) const ESCAPE_OFF: &str = "escaping cannot be turned off in the HTML part";

/// Begins the detail of an error that is told as it is: it holds no value.
pub(super) const OURS: &str = "bewit: ";

/// An error of a filter of ours, with what to do.
pub(super) fn refuse(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{OURS}{message}"))
}

/// Characters of a word that `br` leaves whole.
pub(super) const LONG: usize = 32;

/// Columns of the widest text table, whatever a template asks for: each row is filled up to its width.
const WIDEST: usize = 1_000;

pub(super) fn add(environment: &mut Environment<'static>, html: bool) {
    environment.remove_filter("pprint");
    if html {
        environment.remove_filter("safe");
        environment.add_filter("escape", escape_filter);
        environment.add_filter("e", escape_filter);
        environment.add_filter("br", |value: Value, longest: Option<usize>| match value.is_safe() {
            true => value,
            false => {
                let (text, mut out) = (shown(&value), String::new());
                break_into(&mut out, &text, longest.unwrap_or(LONG));
                Value::from_safe_string(out)
            }
        });
        environment.set_formatter(|out, state, value| {
            if !matches!(state.auto_escape(), AutoEscape::Html) {
                return Err(Error::new(ErrorKind::InvalidOperation, ESCAPE_OFF));
            }
            if value.is_undefined() {
                return Err(Error::from(ErrorKind::UndefinedError));
            }
            match value.as_str() {
                Some(text) if value.is_safe() => out.write_str(text)?,
                Some(text) => out.write_str(&escape(text))?,
                None => out.write_str(&escape(&shown(value)))?,
            }
            Ok(())
        });
    } else {
        environment.add_filter("br", |value: Value, _: Option<usize>| shown(&value).into_owned());
    }
    environment.add_filter("line", |value: Value| text::one_line(&shown(&value)));
    environment.add_filter("cut", |value: Value, limit: usize| text::cut(&shown(&value), limit).into_owned());
    environment.add_filter("elide", |value: Value, limit: usize, options: Kwargs| {
        let at = options.get::<Option<String>>("at")?;
        options.assert_all_used()?;
        let at = match at.as_deref() {
            None | Some("end") => text::Elision::End,
            Some("middle") => text::Elision::Middle,
            Some("start") => text::Elision::Start,
            Some(_) => return Err(refuse("`elide` takes at=\"start\", at=\"middle\" or at=\"end\"")),
        };
        Ok(text::elide(&shown(&value), limit, at).into_owned())
    });
    environment.add_filter("block", |state: &State<'_, '_>, value: Value, prefix: String| {
        let clean = text::clean(&shown(&value)).into_owned();
        pay(state, clean.bytes().filter(|byte| *byte == b'\n').count(), prefix.len())?;
        Ok(clean.replace('\n', &format!("\n{prefix}")))
    });
    environment.add_filter(
        "wrap",
        |state: &State<'_, '_>, value: Value, width: Option<usize>, indent: Option<String>| {
            let (value, indent) = (shown(&value), indent.unwrap_or_default());
            // At most each blank or line break begins a line.
            pay(state, value.bytes().filter(|byte| matches!(byte, b' ' | b'\n' | b'\r')).count(), indent.len())?;
            Ok(plain::wrap(&value, width.unwrap_or(plain::WIDTH), &indent))
        },
    );
    environment.add_filter("count", |number: u64, noun: String| human::count(number, &noun));
    environment.add_filter("text_table", |table: Value, width: Option<usize>| {
        given::rows(&table, "text_table").map(|rows| plain::table(&rows, width.unwrap_or(plain::WIDTH).min(WIDEST)))
    });
    environment.add_filter(
        "text_facts",
        |state: &State<'_, '_>, facts: Value, width: Option<usize>, indent: Option<String>| {
            let facts = given::facts(&facts, "text_facts")?;
            let (text, indent) = (plain::facts(&facts, width.unwrap_or(plain::WIDTH)), indent.unwrap_or_default());
            pay(state, text.lines().count(), indent.len())?;
            Ok(text.lines().map(|line| format!("{indent}{line}\n")).collect::<String>())
        },
    );
    environment.add_filter("text_bars", |bars: Serde<Vec<Bar>>, width: Option<usize>| {
        bars::text(&bars, width.unwrap_or(plain::WIDTH).min(WIDEST))
    });
    environment.add_filter("text_code", |state: &State<'_, '_>, value: Value, prefix: Option<String>| {
        let (clean, prefix) = (text::clean(&shown(&value)).into_owned(), prefix.unwrap_or_else(|| "    ".to_owned()));
        pay(state, clean.lines().count(), prefix.len())?;
        Ok(clean.lines().map(|line| format!("{}\n", format!("{prefix}{line}").trim_end())).collect::<String>())
    });
}

/// Takes the fuel for `times` copies of `size` octets before they are made: what filters write is else counted too late.
fn pay(state: &State<'_, '_>, times: usize, size: usize) -> Result<(), Error> {
    state.consume_fuel((times as u64).saturating_mul(size as u64) / 64)
}

/// A value as text; nothing for `none`.
pub(super) fn shown(value: &Value) -> Cow<'_, str> {
    match value.as_str() {
        Some(text) => Cow::Borrowed(text),
        None if value.is_none() => Cow::Borrowed(""),
        None => Cow::Owned(value.to_string()),
    }
}

fn escape_filter(value: Value) -> Value {
    if value.is_safe() { value } else { Value::from_safe_string(escape(&shown(&value)).into_owned()) }
}

/// The five characters that mean something in HTML. Slashes stay, so that links can be read in the source.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Escaped text whose line breaks are `<br>`, whose runs of blanks stay apart, and whose long words may break at
/// their joints or, failing these, anywhere, so that no cell is wider than a phone even where no style is heeded.
pub(super) fn break_into(out: &mut String, text: &str, longest: usize) {
    if is_simple(text, longest) {
        out.push_str(&escape(text));
        return;
    }
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push_str("<br>");
        }
        // Blanks at the beginning are a branch of a tree: they stay together, and before the first word.
        let words = line.trim_start_matches(' ');
        out.push_str(&"&nbsp;".repeat(line.len() - words.len()));
        for (at, word) in words.split(' ').enumerate() {
            // The first of two blanks would be swallowed.
            match at {
                0 => {}
                _ if word.is_empty() => out.push_str("&nbsp;"),
                _ => out.push(' '),
            }
            for (at, part) in word.split('\t').enumerate() {
                out.push_str(if at > 0 { "&nbsp; &nbsp; " } else { "" });
                breakable(out, part, longest);
            }
        }
    }
}

/// Whether nothing needs to be broken or kept apart: one line of short words with a blank between them. Most cells are so.
fn is_simple(text: &str, longest: usize) -> bool {
    let (mut blank, mut run) = (true, 0);
    for byte in text.bytes() {
        match byte {
            b' ' if blank => return false,
            b' ' => (blank, run) = (true, 0),
            b'!'..=b'~' => (blank, run) = (false, run + 1),
            _ => return false,
        }
        if run > longest {
            return false;
        }
    }
    // A blank at the end is one before an empty word.
    !blank || text.is_empty()
}

/// A word, with places to break if it is long.
fn breakable(out: &mut String, word: &str, longest: usize) {
    const RUN: usize = 20;
    if word.chars().nth(longest).is_none() {
        out.push_str(&escape(word));
        return;
    }
    let mut run = 0;
    let mut utf8 = [0; 4];
    for c in word.chars() {
        out.push_str(&escape(c.encode_utf8(&mut utf8)));
        run += 1;
        let joint = matches!(c, '/' | '\\' | '.' | '_' | '-' | ',' | ';' | ':' | '&' | '=' | '?' | '|');
        if (joint && run >= RUN / 2) || run >= RUN {
            out.push_str("<wbr>");
            run = 0;
        }
    }
}

/// What is said about a name that is not there: the names that are, and the nearest.
pub(super) fn undefined(code: &str, context: Option<&Value>) -> String {
    let Some(context) = context else { return format!("`{code}` is not known here") };
    let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let path: &str = code.split(|c| !is_path(c)).find(|part| !part.is_empty()).unwrap_or_default();
    let mut place = context.clone();
    let mut above = Vec::new();
    for part in path.split('.') {
        let names: Vec<String> = place
            .try_iter()
            .map(|keys| keys.filter_map(|key| key.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        match place.get_attr(part) {
            Ok(inner) if !inner.is_undefined() => {
                place = inner;
                above.push(part);
            }
            // A name of the template's own: a loop variable, a macro's argument.
            _ if names.is_empty() => break,
            _ if above.is_empty() && path.contains('.') => break,
            _ => return unknown(part, &above, &names),
        }
    }
    format!("`{}` is not known here", text::one_line(&text::cut(code, 100)))
}

fn unknown(part: &str, above: &[&str], names: &[String]) -> String {
    let near = names.iter().min_by_key(|name| strsim::damerau_levenshtein(name, part));
    let hint = match near {
        Some(near) if strsim::damerau_levenshtein(near, part) <= 1 + part.len() / 3 => {
            format!("; did you mean `{near}`?")
        }
        _ => String::new(),
    };
    let inside = if above.is_empty() { String::new() } else { format!(" in `{}`", above.join(".")) };
    format!("`{part}` is not known{inside}{hint}\nknown are {}", names.join(", "))
}
