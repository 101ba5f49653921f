//! Compiled templates: all files, for each language and both kinds of output.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

use super::{DIGEST_SET, Slot, TemplateError, cells, context, filters, lint, own, scan, speech};
use crate::compose::locale::Locale;
use crate::compose::samples;

/// Work that one render may do: about one unit an instruction, and one for 64 octets.
const FUEL: u64 = 2_000_000;
/// Octets that one render may write.
const OUTPUT: usize = 2 * 1024 * 1024;
/// Nesting of includes, macros and blocks; low enough for a thread's usual stack.
const RECURSION: usize = 60;

/// All files, compiled for each language and both kinds of output.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) files: BTreeMap<String, String>,
    /// By language; compiled once, and shared.
    environments: BTreeMap<String, Environments>,
    /// What each file that stands alone names and does not set itself.
    names: BTreeMap<String, HashSet<String>>,
}

#[derive(Debug, Clone)]
struct Environments {
    plain: Environment<'static>,
    html: Environment<'static>,
}

impl Engine {
    /// Compiles what can be compiled; what cannot is reported and left out.
    pub(super) fn new(
        files: BTreeMap<String, String>,
        locales: &BTreeMap<String, Locale>,
        errors: &mut Vec<TemplateError>,
    ) -> Self {
        let mut engine = Self { files: BTreeMap::new(), environments: BTreeMap::new(), names: BTreeMap::new() };
        let mut compiled = Environments { plain: environment(false), html: environment(true) };
        for (name, text) in files {
            let found = scan::refused(&name, &text);
            if !found.is_empty() {
                errors.extend(found);
                continue;
            }
            let done = compiled
                .plain
                .add_template_owned(name.clone(), text.clone())
                .and_then(|()| compiled.html.add_template_owned(name.clone(), text.clone()));
            engine.files.insert(name.clone(), text);
            if let Err(error) = done {
                errors.push(engine.explain(&name, &error, None));
            }
        }
        for (name, text) in &engine.files {
            let others = ["extends", "import", "include"].iter().any(|word| text.contains(word));
            if let Ok(template) = compiled.plain.get_template(name)
                && !others
            {
                let names = template.undeclared_variables(false).into_iter().filter(|name| name != "t").collect();
                engine.names.insert(name.clone(), names);
            }
        }
        for (name, locale) in locales {
            let mut own = compiled.clone();
            speech::add(&mut own.plain, false, locale);
            speech::add(&mut own.html, true, locale);
            engine.environments.insert(name.clone(), own);
        }
        engine
    }

    pub(super) fn render(
        &self,
        file: &str,
        slot: Slot,
        language: &str,
        context: &Value,
    ) -> Result<String, TemplateError> {
        let Some(environments) = self.environments.get(language) else {
            return Err(TemplateError::of_file(file, "", format!("there are no texts in the language `{language}`")));
        };
        let environment = if slot == Slot::Html { &environments.html } else { &environments.plain };
        let mut out = Capped(Vec::with_capacity(32 * 1024));
        environment
            .get_template(file)
            .and_then(|template| template.render_captured_to(context.clone(), &mut out).map(drop))
            .map_err(|error| self.explain(file, &error, Some(context)))?;
        // What a template writes is text, so nothing is lost here.
        let mut text = String::from_utf8(out.0).unwrap_or_default();
        if memchr::memchr(b'\r', text.as_bytes()).is_some() {
            text = text.replace("\r\n", "\n").replace('\r', "\n");
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(match slot {
            Slot::Subject => crate::text::one_line(&text),
            Slot::Text | Slot::Html => text,
        })
    }

    /// Whether a file names nothing of the view but these fields. It may not be told of one that includes others.
    pub(super) fn names_only(&self, file: &str, fields: &[&str]) -> bool {
        self.names.get(file).is_some_and(|names| names.iter().all(|name| fields.contains(&name.as_str())))
    }

    /// Renders every slot of a set in a language against the made-up views, and those of the shipped events if `shipped`.
    pub(super) fn prove(&self, set: &str, language: &str, shipped: bool, errors: &mut Vec<TemplateError>) {
        for slot in Slot::ALL {
            let file = slot.file(set);
            // A file that did not compile has been reported.
            if errors.iter().any(|error| error.name == file) {
                continue;
            }
            if !self.files.contains_key(&file) {
                errors.push(self.missing(set, &file));
            } else if let Err(error) = self.prove_slot(set, slot, language, shipped) {
                errors.push(error);
            }
        }
    }

    fn prove_slot(&self, set: &str, slot: Slot, language: &str, shipped: bool) -> Result<(), TemplateError> {
        let file = slot.file(set);
        let views: Vec<Value> = if set == DIGEST_SET {
            samples::digests().iter().map(context).collect()
        } else {
            let shipped = if shipped { samples::shipped() } else { &[] };
            samples::views().iter().chain(shipped).map(context).collect()
        };
        for view in views {
            let output = self.render(&file, slot, language, &in_language(view, language))?;
            if output.trim().is_empty() {
                let text = self.files.get(&file).map(String::as_str).unwrap_or_default();
                return Err(TemplateError::of_file(&file, text, "it writes nothing: is it complete?"));
            }
            if slot == Slot::Html
                && let Err(finding) = lint::check(&output)
            {
                return Err(self.locate(&file, finding));
            }
        }
        if slot == Slot::Html {
            self.prove_hostile(set, &file, language)?;
        }
        Ok(())
    }

    /// Renders with values that break out of a place that is not quoted, and looks whether they did.
    fn prove_hostile(&self, set: &str, file: &str, language: &str) -> Result<(), TemplateError> {
        for probe in lint::PROBES {
            // Each sample: a branch may be taken by one alone.
            let views: Vec<Value> = if set == DIGEST_SET {
                samples::digests().iter().map(|view| context(&samples::hostile(view, probe))).collect()
            } else {
                samples::views().iter().map(|view| context(&samples::hostile(view, probe))).collect()
            };
            for view in views {
                let output = match self.render(file, Slot::Html, language, &in_language(view, language)) {
                    Ok(output) => output,
                    // A value that decides about a branch may lead nowhere; the samples are what counts.
                    Err(_) => continue,
                };
                if let Err(finding) = lint::check(&output) {
                    return Err(self.locate(file, finding));
                }
            }
        }
        Ok(())
    }

    /// A finding in the output, with its place in the source if that can be told.
    pub(super) fn locate(&self, file: &str, finding: lint::Finding) -> TemplateError {
        let text = self.files.get(file).map(String::as_str).unwrap_or_default();
        let sources = std::iter::once((file, text)).chain(self.files.iter().map(|(name, text)| (&**name, &**text)));
        for (name, source) in sources {
            if let Some(at) = finding.needle.as_deref().and_then(|needle| find_ignore_case(source, needle)) {
                return TemplateError::at(name, source, at, finding.message);
            }
        }
        TemplateError::of_file(file, text, finding.message)
    }

    fn missing(&self, set: &str, file: &str) -> TemplateError {
        let mut known: Vec<&str> = self
            .files
            .keys()
            .filter_map(|name| name.strip_suffix(".subject.j2"))
            .filter(|name| *name != DIGEST_SET)
            .collect();
        known.sort_unstable();
        let message = if self.files.keys().any(|name| Slot::ALL.iter().any(|slot| slot.file(set) == *name)) {
            format!("it is missing: the set `{set}` needs a subject, a txt and an html file")
        } else {
            format!("there is no template set `{set}`; known are {}", known.join(", "))
        };
        TemplateError { name: file.to_owned(), line: None, span: None, text: None, message }
    }

    /// minijinja's error in our words: the innermost place, no values.
    fn explain(&self, file: &str, error: &minijinja::Error, context: Option<&Value>) -> TemplateError {
        let mut inner = error;
        while let Some(cause) =
            std::error::Error::source(inner).and_then(|source| source.downcast_ref::<minijinja::Error>())
        {
            if cause.name().is_none() {
                break;
            }
            inner = cause;
        }
        let name = inner.name().unwrap_or(file).to_owned();
        let text = self.files.get(&name).cloned();
        let span = inner.range().filter(|span| text.as_ref().is_some_and(|text| text.get(span.clone()).is_some()));
        let code = span.clone().and_then(|span| text.as_deref()?.get(span)).unwrap_or_default();
        let message = match inner.kind() {
            ErrorKind::UndefinedError => filters::undefined(code, context),
            ErrorKind::SyntaxError
            | ErrorKind::BadEscape
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::UnknownBlock
            | ErrorKind::TemplateNotFound
            | ErrorKind::TooManyArguments
            | ErrorKind::MissingArgument => match inner.detail() {
                Some(detail) => format!("{}: {detail}", inner.kind()),
                None => inner.kind().to_string(),
            },
            ErrorKind::OutOfFuel => format!("it does too much work (limit: {FUEL} steps)"),
            ErrorKind::WriteFailure => format!("it writes more than {} MiB", OUTPUT / 1024 / 1024),
            ErrorKind::InvalidOperation if inner.detail() == Some(filters::ESCAPE_OFF) => {
                filters::ESCAPE_OFF.to_owned()
            }
            ErrorKind::InvalidOperation if inner.detail().is_some_and(|detail| detail.starts_with(filters::OURS)) => {
                inner.detail().unwrap_or_default().trim_start_matches(filters::OURS).to_owned()
            }
            kind if code.is_empty() => kind.to_string(),
            kind => format!("{kind} in `{}`", crate::text::one_line(&crate::text::cut(code, 100))),
        };
        TemplateError { name, line: inner.line(), span, text, message }
    }
}

/// A sample as if the mail were in a language.
fn in_language(view: Value, language: &str) -> Value {
    minijinja::context! { language => language, ..view }
}

fn environment(html: bool) -> Environment<'static> {
    let mut environment = Environment::new();
    if let Ok(syntax) =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
    {
        environment.set_syntax(syntax);
    }
    let escape = move |_: &str| if html { AutoEscape::Html } else { AutoEscape::None };
    environment.set_auto_escape_callback(escape);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_auto_reload(false);
    // For spans only: messages are written by `explain`, which shows no values.
    environment.set_debug(true);
    environment.remove_global("debug");
    filters::add(&mut environment, html);
    own::add(&mut environment);
    if html {
        cells::add(&mut environment);
    }
    environment
}

/// Where `needle` is in `text`, letters compared without case.
fn find_ignore_case(text: &str, needle: &str) -> Option<std::ops::Range<usize>> {
    let at = text.to_ascii_lowercase().find(&needle.to_ascii_lowercase())?;
    Some(at..at + needle.len())
}

/// A writer that refuses to grow beyond [`OUTPUT`].
struct Capped(Vec<u8>);

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT {
            return Err(io::Error::other("output limit"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
