//! The pages' templates: an environment of their own, apart from that of the mails. Everything is escaped.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

/// Name and text of each page and each part of pages.
const FILES: &[(&str, &str)] = &[
    ("decisions.html", include_str!("../pages/decisions.html")),
    ("event.html", include_str!("../pages/event.html")),
    ("explain.html", include_str!("../pages/explain.html")),
    ("layout.html", include_str!("../pages/layout.html")),
    ("login.html", include_str!("../pages/login.html")),
    ("mail.html", include_str!("../pages/mail.html")),
    ("mailbox.html", include_str!("../pages/mailbox.html")),
    ("message.html", include_str!("../pages/message.html")),
    ("parts.html", include_str!("../pages/parts.html")),
    ("preview.html", include_str!("../pages/preview.html")),
];

/// The compiled pages.
#[derive(Debug)]
pub(super) struct Pages(Environment<'static>);

impl Pages {
    /// Compiles them. A file that does not compile is missing when it is asked for; a test sees to it that none is.
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
            environment.set_syntax(syntax);
        }
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.remove_global("debug");
        // An error would list the variables, which include a session's word.
        environment.set_debug(false);
        for (name, text) in FILES {
            if let Err(error) = environment.add_template(name, text) {
                tracing::error!(name, %error, "a page of the studio is broken, which is a bug");
            }
        }
        Self(environment)
    }

    /// One page.
    pub(super) fn render(&self, name: &str, context: Value) -> Result<String, minijinja::Error> {
        self.0.get_template(name)?.render(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_compile_and_hold_nothing_inline() {
        let pages = Pages::new();
        let handler = regex::Regex::new(r"\son[a-z]+\s*=").unwrap();
        for (name, text) in FILES {
            assert!(pages.0.get_template(name).is_ok(), "{name}");
            for word in
                ["|safe", "| safe", "autoescape", " style=", "<style", "javascript:", "srcdoc", "http:", "https:"]
            {
                assert!(!text.contains(word), "{name}: {word}");
            }
            assert!(!handler.is_match(text), "{name}: {:?}", handler.find(text));
            for script in text.split("<script").skip(1) {
                assert!(script.starts_with(" src=\"/assets/"), "{name}");
            }
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/pages")).unwrap();
        let html = folder.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "html"));
        assert_eq!(html.count(), FILES.len(), "every page is compiled");
    }
}
