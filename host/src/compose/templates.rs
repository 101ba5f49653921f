//! Template sets: compiled once, proved by a sample render, then immutable.
//!
//! A set is `NAME.subject.j2`, `NAME.html.j2` and `NAME.txt.j2`; any other `*.j2` file is a partial that they include,
//! import or extend by its file name. The stock files are embedded; a site's folder overrides them by name. Escaping
//! follows the slot: everything that is rendered for the HTML part is escaped, whatever its file is called.
//!
//! Beside Jinja's own filters there are: `line` (one line, breaks shown as `⏎`), `br` (line breaks and places where
//! long words may break, for HTML; `br(16)` for words over 16 characters), `block(prefix)` (a prefix before each further line), `wrap(width, indent)`,
//! `cut(limit)`, `count(noun)` (`1 row`, `no rows`), `grouped` (`1,234`), `text_table(width)`, `text_facts`, `text_bars` and
//! `text_code`.

mod bars;
mod filters;
mod folder;
pub(super) mod lint;
mod plain;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use super::samples;

/// The set that every site has.
pub const STOCK_SET: &str = "flow-completion";
/// The set that writes digests.
pub const DIGEST_SET: &str = "digest";

/// Work that one render may do: about one unit an instruction, and one for 64 octets.
const FUEL: u64 = 2_000_000;
/// Octets that one render may write.
const OUTPUT: usize = 2 * 1024 * 1024;
/// Nesting of includes, macros and blocks; low enough for a thread's usual stack.
const RECURSION: usize = 60;

/// The embedded files.
const STOCK: &[(&str, &str)] = &[
    ("_blocks.html.j2", include_str!("../../../templates/_blocks.html.j2")),
    ("_blocks.txt.j2", include_str!("../../../templates/_blocks.txt.j2")),
    ("_collection.html.j2", include_str!("../../../templates/_collection.html.j2")),
    ("_collection.txt.j2", include_str!("../../../templates/_collection.txt.j2")),
    ("_facts.html.j2", include_str!("../../../templates/_facts.html.j2")),
    ("_layout.html.j2", include_str!("../../../templates/_layout.html.j2")),
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

/// A compiled, proved set of templates.
#[derive(Debug, Clone)]
pub struct Templates {
    site: Arc<Engine>,
    stock: Arc<Engine>,
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
    fn of_file(name: &str, text: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), line: None, span: None, text: Some(text.to_owned()), message: message.into() }
    }

    fn at(name: &str, text: &str, span: std::ops::Range<usize>, message: impl Into<String>) -> Self {
        let line = text.get(..span.start).map(|before| before.matches('\n').count() + 1);
        Self { line, span: Some(span), ..Self::of_file(name, text, message) }
    }
}

impl Templates {
    /// The stock templates, overridden by name from `folder`; every template set in `sets` (the rules' `template`) is
    /// compiled and sample-rendered against the shipped samples.
    ///
    /// # Errors
    /// Every broken template of one run.
    pub fn load(folder: Option<&Path>, sets: &[&str]) -> Result<Self, Vec<TemplateError>> {
        let stock = Arc::new(Engine::new(stock_files(), &mut Vec::new()));
        let mut errors = Vec::new();
        let site = match folder {
            None => Arc::clone(&stock),
            Some(folder) => {
                let own = folder::read(folder, &mut errors);
                let mut files = stock_files();
                for (name, text) in own {
                    files.insert(name, text);
                }
                Arc::new(Engine::new(files, &mut errors))
            }
        };
        let mut names = vec![STOCK_SET, DIGEST_SET];
        names.extend(sets);
        names.sort_unstable();
        names.dedup();
        for set in names {
            // The stock templates have been rendered against the shipped samples by their tests.
            site.prove(set, folder.is_some(), &mut errors);
        }
        if errors.is_empty() { Ok(Self { site, stock }) } else { Err(errors) }
    }

    /// Renders one slot of a set.
    ///
    /// # Errors
    /// When the template fails on this view, or a site's own HTML holds on this view what no mail may hold: a branch that
    /// no sample takes has not been looked at before.
    pub fn render(&self, set: &str, slot: Slot, view: &impl Serialize) -> Result<String, TemplateError> {
        let file = slot.file(set);
        let output = self.site.render(&file, slot, &context(view))?;
        if slot == Slot::Html
            && !Arc::ptr_eq(&self.site, &self.stock)
            && let Err(mut finding) = lint::check(&output)
        {
            // It may name what a value wrote.
            finding.message = crate::text::one_line(&crate::text::cut(&finding.message, 200));
            let text = self.site.files.get(&file).map(String::as_str).unwrap_or_default();
            return Err(self.site.locate(&file, text, finding));
        }
        Ok(output)
    }

    /// Renders one slot of a stock set, whatever the site's folder holds: the way out when its own templates fail.
    ///
    /// # Errors
    /// When even that fails: the view is too large.
    pub fn render_stock(&self, set: &str, slot: Slot, view: &impl Serialize) -> Result<String, TemplateError> {
        self.stock.render(&slot.file(set), slot, &context(view))
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

/// All files, compiled for both kinds of output.
#[derive(Debug)]
struct Engine {
    files: BTreeMap<String, String>,
    plain: Environment<'static>,
    html: Environment<'static>,
}

impl Engine {
    /// Compiles what can be compiled; what cannot is reported and left out.
    fn new(files: BTreeMap<String, String>, errors: &mut Vec<TemplateError>) -> Self {
        let mut engine = Self { files: BTreeMap::new(), plain: environment(false), html: environment(true) };
        for (name, text) in files {
            let found = scan::refused(&name, &text);
            if !found.is_empty() {
                errors.extend(found);
                continue;
            }
            let compiled = engine
                .plain
                .add_template_owned(name.clone(), text.clone())
                .and_then(|()| engine.html.add_template_owned(name.clone(), text.clone()));
            engine.files.insert(name.clone(), text);
            if let Err(error) = compiled {
                errors.push(engine.explain(&name, &error, None));
            }
        }
        engine
    }

    fn render(&self, file: &str, slot: Slot, context: &Value) -> Result<String, TemplateError> {
        let environment = if slot == Slot::Html { &self.html } else { &self.plain };
        let mut out = Capped(Vec::with_capacity(16 * 1024));
        environment
            .get_template(file)
            .and_then(|template| template.render_captured_to(context.clone(), &mut out).map(drop))
            .map_err(|error| self.explain(file, &error, Some(context)))?;
        let mut text = String::from_utf8_lossy(&out.0).replace("\r\n", "\n").replace('\r', "\n");
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(match slot {
            Slot::Subject => crate::text::one_line(&text),
            Slot::Text | Slot::Html => text,
        })
    }

    /// Renders every slot of a set against the made-up views, and those of the shipped events if `shipped`.
    fn prove(&self, set: &str, shipped: bool, errors: &mut Vec<TemplateError>) {
        for slot in Slot::ALL {
            let file = slot.file(set);
            let Some(text) = self.files.get(&file) else {
                // A file that did not compile has been reported.
                if !errors.iter().any(|error| error.name == file) {
                    errors.push(self.missing(set, &file));
                }
                continue;
            };
            if errors.iter().any(|error| error.name == file) {
                continue;
            }
            if let Err(error) = self.prove_slot(set, slot, shipped, &file, text) {
                errors.push(error);
            }
        }
    }

    fn prove_slot(&self, set: &str, slot: Slot, shipped: bool, file: &str, text: &str) -> Result<(), TemplateError> {
        let views: Vec<Value> = if set == DIGEST_SET {
            samples::digests().iter().map(context).collect()
        } else {
            let shipped = if shipped { samples::shipped() } else { &[] };
            samples::views().iter().chain(shipped).map(context).collect()
        };
        for view in &views {
            let output = self.render(file, slot, view)?;
            if output.trim().is_empty() {
                return Err(TemplateError::of_file(file, text, "it writes nothing: is it complete?"));
            }
            if slot == Slot::Html
                && let Err(finding) = lint::check(&output)
            {
                return Err(self.locate(file, text, finding));
            }
        }
        if slot == Slot::Html {
            self.prove_hostile(set, file, text)?;
        }
        Ok(())
    }

    /// Renders with values that break out of a place that is not quoted, and looks whether they did.
    fn prove_hostile(&self, set: &str, file: &str, text: &str) -> Result<(), TemplateError> {
        for probe in lint::PROBES {
            // Each sample: a branch may be taken by one alone.
            let views: Vec<Value> = if set == DIGEST_SET {
                samples::digests().iter().map(|view| context(&samples::hostile(view, probe))).collect()
            } else {
                samples::views().iter().map(|view| context(&samples::hostile(view, probe))).collect()
            };
            for view in &views {
                let output = match self.render(file, Slot::Html, view) {
                    Ok(output) => output,
                    // A value that decides about a branch may lead nowhere; the samples are what counts.
                    Err(_) => continue,
                };
                if let Err(finding) = lint::check(&output) {
                    return Err(self.locate(file, text, finding));
                }
            }
        }
        Ok(())
    }

    /// A finding in the output, with its place in the source if that can be told.
    fn locate(&self, file: &str, text: &str, finding: lint::Finding) -> TemplateError {
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
            kind if code.is_empty() => kind.to_string(),
            kind => format!("{kind} in `{}`", crate::text::one_line(&crate::text::cut(code, 100))),
        };
        TemplateError { name, line: inner.line(), span, text, message }
    }
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
