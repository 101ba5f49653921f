//! What the host offers: on WebAssembly the imports, elsewhere what [`crate::testing`] has set.

#[cfg(target_arch = "wasm32")]
use wasm as side;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing as side;

pub(crate) use side::Cursor;

/// Name of the rule that asks; empty while settings are checked.
#[must_use]
pub fn rule() -> String {
    side::rule()
}

/// The host's clock: milliseconds since 1970-01-01T00:00:00Z.
#[must_use]
pub fn now() -> i64 {
    side::now()
}

/// The text of a file that the operator grants with `[plugins.NAME] files`; `None` if there is none of that name. It is
/// to be named in [`Plugin::FILES`](crate::Plugin::FILES).
#[must_use]
pub fn file(name: &str) -> Option<String> {
    side::file(name)
}

pub(crate) fn settings() -> String {
    side::settings()
}

pub(crate) fn sources() -> Vec<String> {
    side::sources()
}

pub(crate) fn log(level: crate::log::Level, message: &str) {
    side::log(level, message);
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use crate::bindings::imports::bewit::plugin::{context, logging, results, settings};
    use crate::log::Level;

    pub(crate) fn rule() -> String {
        context::rule()
    }

    pub(crate) fn now() -> i64 {
        context::now()
    }

    pub(crate) fn settings() -> String {
        settings::all()
    }

    pub(crate) fn file(name: &str) -> Option<String> {
        settings::file(name)
    }

    pub(crate) fn sources() -> Vec<String> {
        results::sources().into_iter().map(|source| source.name).collect()
    }

    pub(crate) fn log(level: Level, message: &str) {
        let level = match level {
            Level::Trace => logging::Level::Trace,
            Level::Debug => logging::Level::Debug,
            Level::Info => logging::Level::Info,
            Level::Warn => logging::Level::Warn,
            Level::Error => logging::Level::Error,
        };
        logging::log(level, message);
    }

    #[derive(Debug)]
    pub(crate) struct Cursor(results::Cursor);

    impl Cursor {
        pub(crate) fn open(source: &str) -> Result<Self, String> {
            results::open(source).map(Self)
        }

        pub(crate) fn columns(&self) -> Vec<String> {
            self.0.columns()
        }

        pub(crate) fn next(&mut self, limit: u32) -> Result<Option<String>, String> {
            self.0.next(limit)
        }

        pub(crate) fn total(&self) -> Result<u64, String> {
            self.0.total()
        }

        pub(crate) fn skipped(&self) -> u64 {
            self.0.skipped()
        }
    }
}
